"""Station edge, what a concentrator knows of each plain meter across a power cut: its last reading, and what was missed.

It holds no readings (`held` does) and asks for none. One small page a meter, sealed by the store, whose name says nothing
of the meter.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from meterseal.edge.nv import SealedNv

SEEN = "seen/"
DIGEST = 32
_OLD, _WHOLE = 8 + DIGEST, 8 + DIGEST + 24


class Mark(Struct, frozen=True):
    """`digest` is that of the last answer, `read_at` when it came by a clock known good (Unix ms, 0: never). What the
    meter froze later than `since` and before `until` is still to be read back; both 0 for nothing.
    """

    digest: bytes = bytes(DIGEST)
    read_at: int = 0
    since: int = 0
    until: int = 0


class Marks:
    """The marks of the meters of one concentrator."""

    def __init__(self, store: SealedNv, names: Collection[str]) -> None:
        self._marks: dict[bytes, Mark] = {}
        self._names: dict[bytes, str] = {}
        self.missed: set[bytes] = set()
        """Meters of which something is to be read back."""
        self._store = store
        self._next = 0
        older: dict[str, bytes] = {}
        for name in names:
            page = store.read(name) or b""
            self._next = max(self._next, _number(name) + 1)
            if len(page) in (_OLD, _WHOLE):
                self._take(page, name)
            else:
                older[name] = page
        self._rename(older)

    def _take(self, page: bytes, name: str) -> None:
        device_id = page[:8]
        times = [int.from_bytes(page[at : at + 8], "big") for at in range(_OLD, len(page), 8)]
        self._names[device_id] = name
        self.put(device_id, Mark(page[8:_OLD], *times))

    def _rename(self, older: dict[str, bytes]) -> None:
        """Pages of earlier versions bore the meter's number as their name, in clear."""
        pages: dict[str, bytes | None] = dict.fromkeys(older)
        for name, digest in older.items():
            device_id = bytes.fromhex(name[len(SEEN) :])
            own, page = self.page(device_id, Mark(digest.ljust(DIGEST, b"\0")[:DIGEST]))
            pages[own] = page
            self._take(page, own)
        if pages:
            self._store.write(pages)

    def __getitem__(self, device_id: bytes) -> Mark:
        return self._marks.get(device_id, Mark())

    def page(self, device_id: bytes, mark: Mark) -> tuple[str, bytes]:
        """The page that this mark takes, by name; to be written with what it speaks of."""
        name = self._names.get(device_id)
        if name is None:
            name = self._names[device_id] = f"{SEEN}n{self._next}"
            self._next += 1
        times = (mark.read_at, mark.since, mark.until)
        return name, device_id + mark.digest + b"".join(at.to_bytes(8, "big") for at in times)

    def put(self, device_id: bytes, mark: Mark) -> None:
        """It is written: from now on this is its mark."""
        self._marks[device_id] = mark
        if mark.until:
            self.missed.add(device_id)
        else:
            self.missed.discard(device_id)

    def keep(self, known: Collection[bytes]) -> None:
        """Forget every meter but these."""
        gone = [device_id for device_id in self._marks if device_id not in known]
        if gone:
            self._store.write({self._names[device_id]: None for device_id in gone})
        for device_id in gone:
            del self._marks[device_id], self._names[device_id]
            self.missed.discard(device_id)


def _number(name: str) -> int:
    digits = name[len(SEEN) + 1 :]
    return int(digits) if name[len(SEEN) :][:1] == "n" and digits.isdecimal() else -1
