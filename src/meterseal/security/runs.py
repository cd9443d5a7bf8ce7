"""Handshakes under way, for one caller: found by session id or by HELLO, bounded, and forgotten after 15 minutes.

It takes no step of a handshake and knows no key; `handshake` does.

Each caller has a table of its own. So whoever overheard a HELLO and shows it gets a run of their own, with another
session id and another nonce, and takes neither the run that the device's own platform began nor its place in the table:
the device answers one PLATFORM, and that answer fits one run. Up to three half-open runs of a device stand side by side
in a table, a fourth takes the place of the oldest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set
from typing import Any

from meterseal.link.handshake import PlatformRun
from meterseal.link.proving import GATHERED_PATIENCE
from meterseal.security.messages import SessionReply

HALF_OPEN = 3
"""Half-open runs of one device in one table."""


class Run:
    """One run, what it borrows from the service, the digest of its HELLO, and the reply that repeats get."""

    __slots__ = ("device_id", "ports", "reply", "run", "same")

    def __init__(self, run: PlatformRun, ports: Any, same: bytes, device_id: bytes) -> None:
        self.run, self.ports, self.same, self.device_id = run, ports, same, device_id
        self.reply: SessionReply | None = None


class Runs:
    """The runs of one caller, at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_session: OrderedDict[bytes, Run] = OrderedDict()
        self._by_hello: dict[bytes, Run] = {}
        self._half_open: dict[bytes, list[Run]] = {}

    def __len__(self) -> int:
        """How many runs are kept."""
        return len(self._by_session)

    def of_session(self, session_id: bytes) -> Run | None:
        """The run that made this session id."""
        return self._by_session.get(session_id)

    def of_hello(self, same: bytes) -> Run | None:
        """The run that this HELLO began."""
        return self._by_hello.get(same)

    def keep(self, run: Run) -> None:
        """Take a run in; it may push out the oldest of its device or of all."""
        others = self._half_open.get(run.device_id, [])
        if len(others) >= HALF_OPEN:
            self._drop(others[0])
        while len(self._by_session) >= self._most:
            self._drop(next(iter(self._by_session.values())))
        self._half_open.setdefault(run.device_id, []).append(run)
        self._by_session[run.run.session_id] = run
        self._by_hello[run.same] = run

    def opened(self, run: Run) -> None:
        """A run has ended well: it is kept for repeats and is half-open no more."""
        others = self._half_open.get(run.device_id, [])
        if run in others:
            others.remove(run)
        if not others:
            self._half_open.pop(run.device_id, None)

    def forget(self, device_ids: Set[bytes]) -> None:
        """Drop every run of devices that may not go on."""
        for run in [one for one in self._by_session.values() if one.device_id in device_ids]:
            self._drop(run)

    def expire(self, now: int) -> None:
        """Drop what began more than 15 minutes ago."""
        while self._by_session:
            oldest = next(iter(self._by_session.values()))
            if now - oldest.run.began_at <= GATHERED_PATIENCE:
                return
            self._drop(oldest)

    def _drop(self, run: Run) -> None:
        self._by_session.pop(run.run.session_id, None)
        self._by_hello.pop(run.same, None)
        self.opened(run)
