"""Beside the path: a tap in a line: what a bus master says passes through it to the meters, and the answers back.

Bytes go on as they come, unless somebody holds the line, arms a fault or sends something of their own; either way every
unit is recorded. It shows nothing (`screen` does) and opens nothing that is sealed (`overhear` does).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from meterseal.edge.place import Place
from meterseal.errors import EngineError, LocalError
from meterseal.hostport import written
from meterseal.kit.line.entries import MOST_KEPT, Cutter, Entry, Way
from meterseal.kit.line.faults import Case, Fault

SILENCE = 0.25
"""Seconds after which what began is taken for all that comes."""
AGAIN = 0.5
"""Seconds until the meters' side is connected again."""
MOST_HELD = 1000
"""Units that wait while the line is held; more is dropped, and said."""


class Held:
    """A unit that waits for somebody's decision."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry


class Tap:
    """One line. `place` says where the meters are, `changed` is called whenever an entry was added or changed; `clock`
    gives Unix ms.
    """

    def __init__(
        self,
        place: Place | None,
        clock: Callable[[], int],
        changed: Callable[[Entry], None] = lambda entry: None,
    ) -> None:
        self.place = place
        self.changed = changed
        self._clock = clock
        self.entries: dict[int, Entry] = {}
        self.held: deque[Held] = deque()
        self.holding = False
        self._fault: tuple[Fault, int] | None = None
        self._number = 0
        self._request: int | None = None
        self._before: dict[bytes, bytes] = {}
        self._master: asyncio.Transport | None = None
        self._upstream: asyncio.Transport | None = None
        self._server: asyncio.Server | None = None
        self._cutters: dict[Way, Cutter] = {"down": Cutter(), "up": Cutter()}
        self._silences: dict[Way, asyncio.TimerHandle] = {}
        self._works: set[asyncio.Task[None]] = set()
        self.dropped = 0
        self.away = ""
        """Why the meters' side is not connected, where that is known."""

    # --- the line ------------------------------------------------------------------------------------------

    async def listen(self, host: str, port: int) -> int:
        """Take a bus master's connection here; the port. EngineError `line.port`."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: _Side(self, "down"), host, port)
        except OSError as error:
            raise EngineError(
                "line.port",
                f"{written(host, port)} cannot be listened on ({error.strerror}); choose another port.",
            ) from None
        return int(self._server.sockets[0].getsockname()[1])

    async def run(self) -> None:
        """Keep the meters' side connected until cancelled."""
        try:
            while True:
                side = _Side(self, "up")
                try:
                    if self.place is not None:
                        await self.place.connect(lambda side=side: side)  # type: ignore[misc]  # a lambda's default has no type
                        self.away = ""
                        await side.closed.wait()
                except OSError as error:
                    self.away = f"no meters: {error.strerror or error}"
                await asyncio.sleep(AGAIN)
        finally:
            if self._server is not None:
                self._server.close()
            for transport in (self._master, self._upstream):
                if transport is not None:
                    transport.abort()
            for work in self._works:
                work.cancel()

    @property
    def connected(self) -> bool:
        """Are the meters there?"""
        return self._upstream is not None

    @property
    def served(self) -> bool:
        """Is a bus master there?"""
        return self._master is not None

    def joined(self, way: Way, transport: asyncio.Transport) -> None:
        """A side is there: `down` is where requests come from. A new bus master takes the place of the one before."""
        if way == "down":
            if self._master is not None:
                self._master.abort()
            self._master = transport
        else:
            self._upstream = transport

    def parted(self, way: Way, transport: asyncio.Transport | None) -> None:
        """A side is gone."""
        if way == "down" and self._master is transport:
            self._master = None
        elif way == "up" and self._upstream is transport:
            self._upstream = None

    def came(self, way: Way, chunk: bytes) -> None:
        """Bytes from a side."""
        cutter = self._cutters[way]
        for unit in cutter.feed(chunk):
            self._unit(way, unit)
        if (timer := self._silences.pop(way, None)) is not None:
            timer.cancel()
        if cutter.waiting:
            loop = asyncio.get_running_loop()
            self._silences[way] = loop.call_later(SILENCE, self._fell_silent, way)

    def _fell_silent(self, way: Way) -> None:
        self._silences.pop(way, None)
        if rest := self._cutters[way].silence():
            self._unit(way, rest)

    def _unit(self, way: Way, unit: bytes) -> None:
        entry = self._record(way, unit)
        if self.holding:
            if len(self.held) >= MOST_HELD:
                self.dropped += 1
                self._change(replace(entry, sent=(), note="dropped: too many are held"))
                return
            self.held.append(Held(entry))
            self._change(replace(entry, note="held"))
        else:
            self._pass(entry)

    def _record(self, way: Way, unit: bytes, note: str = "") -> Entry:
        self._number += 1
        answers = self._request if way == "up" else None
        entry = Entry(number=self._number, at=self._clock(), way=way, raw=unit, answers=answers, note=note)
        if way == "down":
            self._request = entry.number
        self._change(entry)
        return entry

    def _change(self, entry: Entry) -> None:
        self.entries[entry.number] = entry
        while len(self.entries) > MOST_KEPT:
            del self.entries[next(iter(self.entries))]
        self.changed(entry)

    def _pass(self, entry: Entry) -> None:
        if entry.way == "down":
            self._write("down", entry.raw)
            return
        asked = self.entries.get(entry.answers or 0)
        request = asked.raw if asked is not None else b""
        before = self._before.get(request, b"")
        self._before[request] = entry.raw
        if len(self._before) > MOST_HELD:
            del self._before[next(iter(self._before))]
        if self._fault is None:
            self._write("up", entry.raw)
            return
        fault, times = self._fault
        self._fault = (fault, times - 1) if times > 1 else None
        pieces = fault.act(Case(entry.raw, request, before, entry.number))
        self._change(replace(entry, sent=tuple(raw for _, raw in pieces), note=f"fault: {fault.name}"))
        self._work(self._piecewise(pieces))

    async def _piecewise(self, pieces: list[tuple[float, bytes]]) -> None:
        for pause, raw in pieces:
            if pause:
                await asyncio.sleep(pause)
            self._write("up", raw)

    def _work(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    def _write(self, way: Way, raw: bytes) -> None:
        transport = self._upstream if way == "down" else self._master
        if transport is not None and not transport.is_closing():
            transport.write(raw)

    # --- what a person does --------------------------------------------------------------------------------

    def arm(self, fault: Fault | None, times: int = 1) -> None:
        """Let the next answers meet a fault, or none."""
        self._fault = (fault, times) if fault is not None and times > 0 else None

    @property
    def armed(self) -> str:
        """The fault that waits, and for how many answers; empty for none."""
        return f"{self._fault[0].name} ×{self._fault[1]}" if self._fault else ""

    def hold(self, holding: bool) -> None:
        """Let every unit wait, or let go of all that do."""
        self.holding = holding
        while not holding and self.held:
            self.release()

    def release(self, instead: bytes | None = None) -> None:
        """Let the oldest held unit go on; as it is, or with other bytes instead."""
        entry = self.held.popleft().entry
        if instead is None or instead == entry.raw:
            self._change(replace(entry, note=""))
            self._pass(entry)
        else:
            self._change(replace(entry, sent=(instead,), note="edited"))
            self._write(entry.way, instead)

    def drop(self) -> None:
        """Let the oldest held unit go nowhere."""
        entry = self.held.popleft().entry
        self._change(replace(entry, sent=(), note="dropped"))

    def say(self, raw: bytes) -> Entry:
        """Send something of one's own to the meters, as a bus master. LocalError `line.away` when they are not there."""
        if self._upstream is None:
            raise LocalError("line.away", "The meters' side is not connected; nothing was sent.")
        entry = self._record("down", raw, note="sent by hand")
        self._write("down", raw)
        return entry

    def mark(self, number: int) -> None:
        """Mark an entry, or take its mark off."""
        entry = self.entries.get(number)
        if entry is not None:
            self._change(replace(entry, marked=not entry.marked))


class _Side(asyncio.Protocol):
    """One connection of a tap."""

    def __init__(self, tap: Tap, way: Way) -> None:
        self._tap, self._way = tap, way
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a serial port's is no Transport by type
        self._tap.joined(self._way, self._transport)  # type: ignore[arg-type]  # the same

    def data_received(self, data: bytes) -> None:
        self._tap.came(self._way, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tap.parted(self._way, self._transport)
        self.closed.set()
