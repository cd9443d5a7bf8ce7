"""Station edge, inside the module: its state in working memory and how it reaches the non-volatile one.

It decides nothing. A change is written first and adopted afterwards, so that what the module says or does
never runs ahead of what it will remember after a power cut.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.edge.chip import DESTROYED, FACTORY
from meterseal.edge.image import KeptEvidence, SessionState, State, Trust, state_from_bytes, state_to_bytes
from meterseal.edge.nv import SealedNv
from meterseal.errors import TrustError
from meterseal.link import profiles
from meterseal.link.schedule import BoundKeys, TrafficKeys, bound_keys

STATE, TRUST, EVIDENCE = "state", "trust", "evidence/"
_KEYS = msgspec.msgpack.Decoder(TrafficKeys)
pack = msgspec.msgpack.Encoder().encode


class OpenSession:
    """A session in working memory. `next_up` is the next up counter that was never used."""

    __slots__ = ("keys", "next_up", "state")

    def __init__(self, state: SessionState, next_up: int) -> None:
        self.state = state
        self.keys = _KEYS.decode(state.keys)
        self.next_up = next_up


class Memory:
    """State, certificates and kept evidence of one module."""

    def __init__(self, store: SealedNv, serial: bytes = b"") -> None:
        self._store = store
        image = store.read(STATE)
        self.state = State(serial=serial) if image is None else state_from_bytes(image)
        trust = store.read(TRUST)
        self.trust = Trust(b"", ()) if trust is None else msgspec.msgpack.decode(trust, type=Trust)
        self.kept: dict[tuple[int, int], KeptEvidence] = {}
        for name in store.names():
            page = store.read(name) if name.startswith(EVIDENCE) else None
            if page is not None:
                channel, sequence = name[len(EVIDENCE) :].split("/")
                self.kept[int(channel), int(sequence, 16)] = msgspec.msgpack.decode(page, type=KeptEvidence)
        self.profile = profiles.load(self.state.profile)
        self._read_key()
        self._bound: dict[int, BoundKeys] = {}
        if self.state.life == DESTROYED:
            store.scrub()
        elif self.state.life != FACTORY and self.state.suite == 1 and not self.trust.root:
            raise TrustError(
                "module.image", "The module's memory holds keys but no root of trust: a torn write."
            )
        self.direct = False
        """Told since the power came that this device speaks straight over IP."""
        # Counters below the reservation may have been used before the power went.
        self.sessions: dict[bytes, OpenSession] = {}
        for session in (self.state.current, self.state.previous):
            if session is not None:
                self.sessions[session.session_id] = OpenSession(session, session.up_reserved)

    @property
    def gathered(self) -> bool:
        """Do the windows behind a concentrator hold? Only personalisation grants them; a controller may narrow them."""
        return self.state.gathered and not self.direct

    def _read_key(self) -> None:
        state = self.state
        self.private = (
            Sm2PrivateKey.from_pkcs8(state.private, f"the key of module {state.serial.hex()}")
            if state.private
            else None
        )

    def bound(self, version: int) -> BoundKeys | None:
        """The level 7 keys of a slot of K_b; None for an empty slot."""
        found = self._bound.get(version)
        raw = self.state.bound_keys.get(version)
        if found is None and raw is not None:
            label = f"K_b version {version} of module {self.state.serial.hex()}"
            found = self._bound[version] = bound_keys(SymmetricKey.from_bytes(raw, label))
        return found

    def save(
        self,
        pages: dict[str, bytes | None] | None = None,
        trust: Trust | None = None,
        *,
        settled: bool = True,
        **changes: Any,
    ) -> None:
        """Write the state with these changes, and other pages with it, all or nothing; then adopt them.

        Only what may be lost in a power cut of the whole machine goes without `settled`: an answer that would
        be asked for again, a down counter whose word does no harm when it comes twice.
        """
        state = replace(self.state, **changes) if changes else self.state
        own: dict[str, bytes | None] = {STATE: state_to_bytes(state)}
        if trust is not None:
            own[TRUST] = pack(trust)
        self._store.write({**own, **(pages or {})}, settled=settled)
        self.state = state
        self.trust = trust or self.trust
        if "profile" in changes:
            self.profile = profiles.load(state.profile)
        if "private" in changes:
            self._read_key()
        if "bound_keys" in changes:
            self._bound = {}

    def read_page(self, name: str) -> bytes | None:
        """A page that is no part of the state; None when there is none."""
        return self._store.read(name)

    def write_page(self, name: str, page: bytes) -> None:
        """Write such a page."""
        self._store.write({name: page}, settled=True)

    def destroy(self) -> None:
        """Erase every key and page for good; serial and device_id stay, so that the thing can be named."""
        state = State(serial=self.state.serial, life=DESTROYED, device_id=self.state.device_id)
        pages: dict[str, bytes | None] = dict.fromkeys(self._store.names())
        self._store.write({**pages, STATE: state_to_bytes(state)}, settled=True)
        self.state, self.trust, self.private = state, Trust(b"", ()), None
        self.kept, self.sessions, self._bound = {}, {}, {}
        self._store.scrub()

    def save_session(self, session: OpenSession, state: SessionState, **others: Any) -> None:
        """Write a changed session, with other changes and `pages`; then adopt it."""
        current = self.state.current
        place = "current" if current is not None and current.session_id == state.session_id else "previous"
        changes: dict[str, Any] = {place: state, **others}
        self.save(**changes)
        session.state = state


def evidence_page(channel: int, sequence: int) -> str:
    """Name of the page that keeps a signed statement."""
    return f"{EVIDENCE}{channel}/{sequence:08x}"
