"""Station edge, strangers: meters that a search of a bus found and nobody named, told to the platform once each.

It searches nothing (`hunting` does) and enrols nobody. Whom it told of it remembers across a power cut, and forgets when
the meter is set up here or was long not found. Each bus has its own room. Where that is full, a search may still tell of
a few, in the place of the longest told: whoever answers under hundreds of numbers fills no bus but their own, and hides a
new meter there for some nights, not for good.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import replace

from meterseal.crypto.symmetric import sm3
from meterseal.edge.held import HeldAnswers
from meterseal.edge.nv import SealedNv
from meterseal.wire import encode

TOLD = "told/"
MOST_TOLD = 256
"""Strangers of one bus that are remembered."""
A_SEARCH = 16
"""So many more a search may tell of where that room is full."""
DAY = 86_400_000
NOTED, KEPT = 7 * DAY, 60 * DAY
"""A stranger that is still there is noted again after the one; one that no search found for the other is forgotten (ms)."""
_OLD, _WHOLE = 8 + 1 + 8, 8 + 1 + 8 + 8


class Stranger(Struct, frozen=True):
    """On which bus it was found, when first and about when last (Unix ms)."""

    bus: int
    first_seen: int
    last_seen: int


class Strangers:
    """The unknown meters of one concentrator that the platform was told of, or is being told of."""

    def __init__(self, store: SealedNv, held: HeldAnswers, known: Collection[bytes]) -> None:
        self._store = store
        self._held = held
        self.told: dict[bytes, Stranger] = {}
        self.untold = 0
        """How often one was not told of because there were too many, since the start."""
        self._before: dict[int, frozenset[bytes]] = {}
        self._names: dict[bytes, str] = {}
        gone: dict[str, bytes | None] = {}
        for name in store.names():
            if not name.startswith(TOLD):
                continue
            page = store.read(name) or b""
            if len(page) not in (_OLD, _WHOLE) or page[:8] in known or page[:8] in self.told:
                gone[name] = None
                continue
            first, last = (int.from_bytes(page[at : at + 8], "big") for at in (9, len(page) - 8))
            self.told[page[:8]] = Stranger(page[8], first, last)
            self._names[page[:8]] = name
        if gone:
            store.write(gone)

    def tell(self, bus: int, found: Collection[bytes], now: int, *, utc_offset_minutes: int) -> None:
        """These were found by a search that ended at `now`, by a clock known good."""
        self._look_again(bus, frozenset(found), now)
        new = [device_id for device_id in found if device_id not in self.told]
        before = self._before.get(bus, frozenset())
        self._before[bus] = frozenset(new)
        # Who was there at the last search too goes first; among equals the order is another each time.
        new.sort(key=lambda one: (one not in before, sm3(now.to_bytes(8, "big") + one)))
        room = max(0, MOST_TOLD - sum(1 for one in self.told.values() if one.bus == bus))
        most = max(0, min(A_SEARCH - room, len(new) - room))
        displaced = self._longest_told(bus, frozenset(found))[:most]
        self.untold += max(0, len(new) - room - len(displaced))
        for place, device_id in enumerate(new[: room + len(displaced)]):
            former = displaced[place - room] if place >= room else None
            frame = encode.found_report(device_id, bus, now, utc_offset_minutes=utc_offset_minutes)
            name = self._names[former] if former is not None else self._free()
            stranger = Stranger(bus, now, now)
            if self._held.hold([frame], now, beside={name: _page(device_id, stranger)}):
                if former is not None:
                    del self.told[former], self._names[former]
                self.told[device_id], self._names[device_id] = stranger, name

    def forget(self, device_id: bytes) -> None:
        """It was named since."""
        if device_id in self.told:
            self._store.write({self._names.pop(device_id): None})
            del self.told[device_id]

    def _look_again(self, bus: int, found: frozenset[bytes], now: int) -> None:
        """Note who of this bus is still there, and forget who was not found for long."""
        pages: dict[str, bytes | None] = {}
        for device_id, stranger in list(self.told.items()):
            if stranger.bus != bus or now - stranger.last_seen < NOTED:
                continue
            if device_id in found:
                self.told[device_id] = replace(stranger, last_seen=now)
                pages[self._names[device_id]] = _page(device_id, self.told[device_id])
            elif now - stranger.last_seen >= KEPT:
                pages[self._names.pop(device_id)] = None
                del self.told[device_id]
        if pages:
            self._store.write(pages)

    def _longest_told(self, bus: int, found: frozenset[bytes]) -> list[bytes]:
        """Whom to forget first: those that are not there any more, then by when they were told."""
        here = [
            (device_id in found, one.first_seen, device_id)
            for device_id, one in self.told.items()
            if one.bus == bus
        ]
        return [device_id for *_, device_id in sorted(here)]

    def _free(self) -> str:
        taken = set(self._names.values())
        return next(name for number in range(len(taken) + 1) if (name := f"{TOLD}n{number}") not in taken)


def _page(device_id: bytes, stranger: Stranger) -> bytes:
    times = (stranger.first_seen, stranger.last_seen)
    return device_id + bytes((stranger.bus,)) + b"".join(at.to_bytes(8, "big") for at in times)
