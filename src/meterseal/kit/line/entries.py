"""Beside the path: what passed on a line, unit by unit, and the file that keeps it.

It opens no socket and understands nothing; a unit is the bytes of one frame with whatever stood before it, or what was left
when the line fell silent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from meterseal.errors import DataError, LocalError
from meterseal.wire.codec import search
from meterseal.wire.frame import Frame

Way = Literal["down", "up"]
"""Towards the meters, or from them."""

MOST_KEPT: Final = 200_000
"""Entries in memory; the oldest go first."""
MOST_BUFFERED: Final = 8192
"""Bytes that wait for the rest of a frame; a line without frames is cut into pieces of this size."""
LONGEST_LINE: Final = 65_536
FORMAT: Final = "meterseal line 1"


class Entry(Struct, frozen=True, kw_only=True):
    """One unit: `at` Unix ms, the bytes as they came (`raw`), and as they went on, where a fault or a person changed that.

    `answers` is the number of the request that it stands beside, `note` what the line view did to it.
    """

    number: int
    at: int
    way: Way
    raw: bytes
    sent: tuple[bytes, ...] | None = None
    answers: int | None = None
    note: str = ""
    marked: bool = False

    @property
    def frame(self) -> Frame | None:
        """The frame in it, if there is one."""
        return search(self.raw).frame


class Cutter:
    """Cuts a stream into units as they complete."""

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The units that this piece completes, in order."""
        self._waiting += chunk
        units = []
        while (found := search(self._waiting)).frame is not None:
            units.append(self._waiting[: found.next])
            self._waiting = self._waiting[found.next :]
        while len(self._waiting) > MOST_BUFFERED:
            units.append(self._waiting[:MOST_BUFFERED])
            self._waiting = self._waiting[MOST_BUFFERED:]
        return units

    @property
    def waiting(self) -> bool:
        """Is there the beginning of something?"""
        return bool(self._waiting)

    def silence(self) -> bytes:
        """The line fell silent: what is there is all that comes."""
        rest, self._waiting = self._waiting, b""
        return rest


class _Head(Struct, frozen=True, forbid_unknown_fields=True):
    format: str


def save(path: Path, entries: list[Entry]) -> None:
    """Write a session: one JSON object a line, bytes in hex. LocalError `line.file`."""
    lines = [msgspec.json.encode(_Head(FORMAT))]
    lines += [msgspec.json.encode(_plain(entry)) for entry in entries]
    try:
        path.write_bytes(b"\n".join(lines) + b"\n")
    except OSError as error:
        raise LocalError("line.file", f"{path} cannot be written ({error.strerror}).") from None


def load(path: Path) -> list[Entry]:
    """Read a session. LocalError `line.file`; DataError `line.session` with the line that is wrong."""
    try:
        with path.open("rb") as file:
            return _entries(path, [line for line in iter(lambda: file.readline(LONGEST_LINE), b"")])
    except OSError as error:
        raise LocalError("line.file", f"{path} cannot be read ({error.strerror}).") from None


def _entries(path: Path, lines: list[bytes]) -> list[Entry]:
    found: list[Entry] = []
    for number, line in enumerate(lines[: MOST_KEPT + 1], start=1):
        try:
            if number == 1:
                if msgspec.json.decode(line, type=_Head).format != FORMAT:
                    raise msgspec.ValidationError("it is of another format")
            else:
                entry = _entry(msgspec.json.decode(line, type=_Plain))
                _check_order(entry, found)
                found.append(entry)
        except (msgspec.DecodeError, ValueError) as error:
            raise DataError(
                "line.session", f"{path} is no session of the line view: line {number}: {error}."
            ) from None
    if not lines:
        raise DataError("line.session", f"{path} is empty.")
    return found


def _check_order(entry: Entry, before: list[Entry]) -> None:
    """ValueError where numbers do not rise from 1, or a reply stands before what it answers."""
    if entry.number <= (before[-1].number if before else 0):
        raise ValueError(f"the number {entry.number} does not follow the one before")
    if entry.answers is not None and not 0 < entry.answers < entry.number:
        raise ValueError(f"{entry.number} cannot answer {entry.answers}")


class _Plain(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    n: int
    at: int
    way: Way
    hex: str
    sent: list[str] | None = None
    answers: int | None = None
    note: str = ""
    marked: bool = False


def _plain(entry: Entry) -> _Plain:
    return _Plain(
        n=entry.number,
        at=entry.at,
        way=entry.way,
        hex=entry.raw.hex(),
        sent=None if entry.sent is None else [one.hex() for one in entry.sent],
        answers=entry.answers,
        note=entry.note,
        marked=entry.marked,
    )


def _entry(plain: _Plain) -> Entry:
    return Entry(
        number=plain.n,
        at=plain.at,
        way=plain.way,
        raw=bytes.fromhex(plain.hex),
        sent=None if plain.sent is None else tuple(bytes.fromhex(one) for one in plain.sent),
        answers=plain.answers,
        note="".join(letter for letter in plain.note if letter.isprintable()),  # no orders to a terminal
        marked=plain.marked,
    )
