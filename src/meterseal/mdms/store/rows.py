"""Station MDMS, the shape of a stored reading in memory: one numpy row a version of a reading.

Pure: no file, no clock. What is visible of many versions is decided here and nowhere else.

A reading is known by (usage point, channel, end_at); every version of it is a row, and the visible one is the
highest version. Registers are scaled integers: value = register * 10**exponent, in `unit`.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.mdms.ever import EVER as EVER
from meterseal.mdms.method import made
from meterseal.model import Medium, Origin, Quality

Rows = NDArray[np.void]
"""A structured array of ROW."""

ROW = np.dtype(
    [
        ("point", "<i4"),  # word: usage point
        ("channel", "i1"),
        ("version", "<i2"),
        ("end_at", "<i8"),
        ("register", "<i8"),  # 0 where quality is MISSING
        ("exponent", "i1"),
        ("unit", "<i4"),  # word
        ("quality", "i1"),  # model.Quality
        ("origin", "i1"),  # index of ORIGINS
        ("profile", "?"),  # of the meter's load profile, so a link of its evidence chain
        ("method", "<i4"),  # word: "" as delivered, else "method/version:reason/version"
        ("recorded_at", "<i8"),
        ("batch", "<i8"),  # sequence of the journal entry
    ]
)
_WHOLE = np.dtype((np.void, ROW.itemsize))
"""A row as plain bytes: numpy moves these twenty times as fast as a row of many fields."""
ORIGINS: tuple[Origin, ...] = ("sealed", "vouched")
_SPAN = 1 << 33
_POINTS = 1 << 23
_PLACES = (40, 33)
"""One integer sorts rows of a month: rank of the usage point, channel, and milliseconds since the first."""
MEASURED = (Quality.MEASURED, Quality.SUSPECT)
"""Qualities whose register is what the meter delivered."""


RETRACTED = "retracted/1:exchange"
"""Method of a version that takes back what a meter said after it had been taken out of its place."""


def hash_of(text: str) -> int:
    """What decides in which bucket a usage point is kept; it protects nothing."""
    return zlib.crc32(text.encode())


def pick(rows: Rows, which: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> Rows:
    """Rows by their numbers, or those that a mask says; a copy."""
    found: Rows = rows.view(_WHOLE)[which].view(ROW)
    return found


def together(parts: Iterable[Rows]) -> Rows:
    """The rows of all parts, one after the other; a copy."""
    found: Rows = np.concatenate([np.empty(0, _WHOLE), *(part.view(_WHOLE) for part in parts)]).view(ROW)
    return found


class Words:
    """Strings that rows carry as small numbers, and the medium of each usage point; grows, never shrinks."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {"": 0}
        self.texts: list[str] = [""]
        self.medium: dict[int, Medium] = {}
        self._hashes = array("I", [0])
        self._lock = Lock()

    def code(self, text: str) -> int:
        """The number of a string, given out on first use."""
        code = self._codes.get(text)
        if code is None:
            with self._lock:
                code = self._codes.get(text)
                if code is None:
                    code = len(self.texts)
                    self.texts.append(text)
                    self._hashes.append(hash_of(text))
                    self._codes[text] = code
        return code

    def hash(self, code: int) -> int:
        """`hash_of` the string behind a number."""
        return self._hashes[code]

    def hashes(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same for many."""
        with self._lock:  # a view of an array that somebody makes longer would be refused
            return np.frombuffer(self._hashes, np.uint32)[codes].astype(np.int64)

    def known(self, text: str) -> int | None:
        """The number of a string, or None if it was never met."""
        return self._codes.get(text)


class Key(NamedTuple):
    """One channel of one usage point (as a word)."""

    point: int
    channel: int


class Block(Struct, frozen=True, gc=False):
    """Readings of one channel at start_at, start_at + step, …, alike in everything but time and register."""

    key: Key
    start_at: int
    step: int
    registers: tuple[int, ...]
    exponent: int
    unit: int
    quality: int
    origin: int
    profile: bool
    version: int
    method: int
    recorded_at: int
    batch: int

    @property
    def last_at(self) -> int:
        """end_at of the last reading."""
        return self.start_at + self.step * (len(self.registers) - 1)


def rows_of(blocks: Sequence[Block]) -> Rows:
    """The rows of blocks, in their order."""
    lengths = np.fromiter((len(block.registers) for block in blocks), np.int64, len(blocks))
    rows = np.empty(int(lengths.sum()), ROW)
    if not len(rows):
        return rows
    of = np.repeat(np.arange(len(blocks)), lengths)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows["register"] = np.fromiter(chain.from_iterable(b.registers for b in blocks), np.int64, len(rows))
    rows["end_at"] = _column(b.start_at for b in blocks)[of] + _column(b.step for b in blocks)[of] * within
    rows["point"] = _column(b.key.point for b in blocks)[of]
    rows["channel"] = _column(b.key.channel for b in blocks)[of]
    for name in (
        "exponent",
        "unit",
        "quality",
        "origin",
        "profile",
        "version",
        "method",
        "recorded_at",
        "batch",
    ):
        rows[name] = _column(getattr(b, name) for b in blocks)[of]
    return rows


def blocks_of(rows: Rows) -> Iterator[Block]:
    """Rows of one channel, sorted by time, as blocks of evenly spaced readings that are alike."""
    alike = [name for name in ROW.names or () if name not in ("end_at", "register")]
    same = rows[alike][1:] == rows[alike][:-1]
    steps = np.diff(rows["end_at"])
    start = 0
    while start < len(rows):
        stop, step = start + 1, 0
        if stop < len(rows) and same[start] and steps[start] > 0:
            step = int(steps[start])
            ends = np.flatnonzero(~same[start:] | (steps[start:] != step))
            stop = start + int(ends[0]) + 1 if len(ends) else len(rows)
        first = {name: rows[name][start].item() for name in alike}
        yield Block(
            key=Key(first.pop("point"), first.pop("channel")),
            start_at=int(rows["end_at"][start]),
            step=step,
            registers=tuple(rows["register"][start:stop].tolist()),
            **first,
        )
        start = stop


def _column(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, np.int64)


def visible(rows: Rows, as_of: int | None = None) -> Rows:
    """The highest version of each reading, of the versions recorded up to `as_of`, sorted by (point, channel, end_at).

    Of one version that is there twice, which only a repair brings about, the one that was committed first.
    """
    if as_of is not None:
        rows = pick(rows, rows["recorded_at"] <= as_of)
    if _in_order(rows):
        return rows
    order = np.lexsort((-rows["batch"], rows["version"], rows["end_at"], rows["channel"], rows["point"]))
    rows = pick(rows, order)
    same = (
        (rows["end_at"][1:] == rows["end_at"][:-1])
        & (rows["channel"][1:] == rows["channel"][:-1])
        & (rows["point"][1:] == rows["point"][:-1])
    )
    return pick(rows, np.append(~same, True))


def visible_of_many(rows: Rows, words: Words) -> Rows:
    """`visible` of many keys, in the order of a segment where no version is there twice."""
    rows = sort_rows(rows, words)
    same = np.ones(max(0, len(rows) - 1), np.bool_)
    for name in ("end_at", "channel", "point"):
        same &= rows[name][1:] == rows[name][:-1]
    if not same.any():
        return rows
    if (same & (rows["version"][1:] == rows["version"][:-1])).any():
        return visible(rows)
    return pick(rows, np.append(~same, True))


def _in_order(rows: Rows) -> bool:
    """Rows of one key, each later than the one before: what a read of merged segments gives."""
    if len(rows) < 2:
        return True
    same = all((rows[name] == rows[name][0]).all() for name in ("point", "channel"))
    return same and bool((rows["end_at"][1:] > rows["end_at"][:-1]).all())


def standing(rows: Rows, words: Words) -> Rows:
    """Rows of one key without those that were taken back: of lower versions than a `RETRACTED` one of that instant."""
    word = words.known(RETRACTED)
    taken = pick(rows, rows["method"] == word) if word is not None else rows[:0]
    if not len(taken):
        return rows
    floor: dict[int, int] = {}
    for end_at, version in taken[["end_at", "version"]].tolist():
        floor[end_at] = max(version, floor.get(end_at, 0))
    kept = [version > floor.get(end_at, 0) for end_at, version in rows[["end_at", "version"]].tolist()]
    return pick(rows, np.array(kept, np.bool_))


class Readings(NamedTuple):
    """Visible register readings of one channel of one usage point, sorted by end_at without repeats.

    `register` has any value where `quality` is MISSING; `origin` is an index of ORIGINS; `method` names how
    an estimate or edit was made ("" as delivered).
    """

    end_at: NDArray[np.int64]
    register: NDArray[np.int64]
    quality: NDArray[np.int8]
    origin: NDArray[np.int8]
    version: NDArray[np.int16]
    profile: NDArray[np.bool_]
    method: tuple[str, ...]
    exponent: int
    unit: str

    @property
    def uncertainty(self) -> tuple[int | None, ...]:
        """How many last digits an estimate may be off at most, with nine in ten; None where none is stated."""
        read = (made(text) for text in self.method)
        return tuple(one.uncertainty if one is not None else None for one in read)


def readings_of(rows: Rows, words: Words) -> Readings:
    """Columns of visible rows of one key; mixed exponents are brought to the finest.

    Raises DataError `mdms.units` when the channel changed its unit within the rows.
    """
    units = set(rows["unit"].tolist())
    if len(units) > 1:
        raise DataError(
            "mdms.units",
            "The unit of this channel changed within the period: "
            + ", ".join(sorted(words.texts[unit] for unit in units))
            + ". Ask for the periods before and after the change separately.",
        )
    register = rows["register"].astype(np.int64)
    exponents = rows["exponent"].astype(np.int64)
    exponent = int(exponents.min()) if len(rows) else 0
    if len(rows) and int(exponents.max()) != exponent:
        register = register * 10 ** (exponents - exponent)
    texts = words.texts
    return Readings(
        end_at=rows["end_at"].astype(np.int64),
        register=register,
        quality=rows["quality"].astype(np.int8),
        origin=rows["origin"].astype(np.int8),
        version=rows["version"].astype(np.int16),
        profile=rows["profile"].astype(np.bool_),
        method=tuple([texts[method] for method in rows["method"].tolist()])
        if rows["method"].any()
        else ("",) * len(rows),
        exponent=exponent,
        unit=words.texts[units.pop()] if units else "",
    )


def sort_rows(rows: Rows, words: Words) -> Rows:
    """Order of a segment: usage point (as text), channel, time, version."""
    if len(rows) < 2:
        return rows
    there = np.zeros(len(words.texts), np.bool_)
    there[rows["point"]] = True
    ranked = sorted(np.flatnonzero(there).tolist(), key=words.texts.__getitem__)
    rank = np.zeros(len(words.texts), np.int64)
    rank[ranked] = np.arange(len(ranked))
    point = rank[rows["point"]]
    end_at = rows["end_at"].astype(np.int64)
    end_at -= end_at.min()
    if len(ranked) < _POINTS and int(end_at.max()) < _SPAN:
        place = (point << _PLACES[0]) | (rows["channel"].astype(np.int64) << _PLACES[1]) | end_at
        if not (place[1:] >= place[:-1]).all():
            order = np.argsort(place, kind="stable")
            rows, place = pick(rows, order), place[order]
        again = place[1:] == place[:-1]
        if not (again & (rows["version"][1:] < rows["version"][:-1])).any():
            return rows
        point = rank[rows["point"]]
    return pick(rows, np.lexsort((rows["version"], rows["end_at"], rows["channel"], point)))
