"""Station edge, strangers: meters that a search of a bus found and nobody named, told to the platform once each.

It searches nothing (`hunting` does) and enrols nobody. Whom it told of it remembers across a power cut, and forgets when
the meter is set up here; however many there seem to be, only so many are told of.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from meterseal.edge.held import HeldAnswers
from meterseal.edge.nv import SealedNv
from meterseal.wire import encode

TOLD = "told/"
MOST_TOLD = 256
"""Whoever answers a search under ever new numbers gets no further than this."""
_WHOLE = 8 + 1 + 8


class Stranger(Struct, frozen=True):
    """On which bus it was found, and when first (Unix ms)."""

    bus: int
    first_seen: int


class Strangers:
    """The unknown meters of one concentrator that the platform was told of, or is being told of."""

    def __init__(self, store: SealedNv, held: HeldAnswers, known: Collection[bytes]) -> None:
        self._held = held
        self.told: dict[bytes, Stranger] = {}
        self.untold = 0
        """How many were not told of because there were too many, since the start."""
        self._names: dict[bytes, str] = {}
        gone: dict[str, bytes | None] = {}
        for name in store.names():
            if not name.startswith(TOLD):
                continue
            page = store.read(name) or b""
            if len(page) != _WHOLE or page[:8] in known:
                gone[name] = None
                continue
            self.told[page[:8]] = Stranger(page[8], int.from_bytes(page[9:], "big"))
            self._names[page[:8]] = name
        if gone:
            store.write(gone)

    def tell(self, bus: int, found: Collection[bytes], now: int, *, utc_offset_minutes: int) -> None:
        """These were found by a search that ended at `now`, by a clock known good."""
        for device_id in found:
            if device_id in self.told:
                continue
            if len(self.told) >= MOST_TOLD:
                self.untold += 1
                continue
            frame = encode.found_report(device_id, bus, now, utc_offset_minutes=utc_offset_minutes)
            name = self._free()
            page = device_id + bytes((bus,)) + now.to_bytes(8, "big")
            if self._held.hold([frame], now, beside={name: page}):
                self.told[device_id], self._names[device_id] = Stranger(bus, now), name

    def _free(self) -> str:
        taken = set(self._names.values())
        return next(name for number in range(MOST_TOLD) if (name := f"{TOLD}n{number}") not in taken)
