"""Station MDMS, what leaves it: the visible readings of one channel as packed columns, page by page.

It encodes no format (`text`, `columns`, `cim`) and asks nobody who may see them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.mdms.method import made
from meterseal.mdms.multipliers import NOTHING, Stated, factor_at, is_multiplied
from meterseal.mdms.store.rows import Key, Rows, Words, visible
from meterseal.model import Medium

LARGEST_PAGE = 200_000
"""Readings after which a page ends; a channel is never cut in two, so one page may hold more."""


class Exported(Struct, frozen=True, kw_only=True):
    """Visible readings of one channel in one unit and with one multiplier, sorted by end_at, as little-endian columns of
    one length.

    `end_at` int64 Unix milliseconds, `register` int64 (value = register * 10**exponent in `unit`; says nothing where
    quality is MISSING), `quality` int8 `model.Quality`, `origin` int8 (0 sealed by the meter's module, 1 vouched for),
    `version` int16, `method` int16 into `methods` ("" as the meter delivered it). Registers are as the meter shows them:
    the use of an interval that one of these readings ends is the register's step times `multiplier`, a decimal number;
    empty where nobody knows it (`multipliers.Unsaid`) and while none was ever stated in this system.
    """

    usage_point: str
    medium: Medium
    channel: int
    unit: str
    exponent: int
    end_at: bytes
    register: bytes
    quality: bytes
    origin: bytes
    version: bytes
    method: bytes
    methods: tuple[str, ...]
    multiplier: str = ""

    @property
    def halves(self) -> tuple[int | None, ...]:
        """Of each of `methods`: how many last digits a register by it may be off, with nine in ten; None where none is
        stated.
        """
        read = (made(text) for text in self.methods)
        return tuple(one.uncertainty if one is not None else None for one in read)

    def columns(self) -> Columns:
        """The columns as arrays, which may not be written to."""
        return Columns(
            np.frombuffer(self.end_at, "<i8"),
            np.frombuffer(self.register, "<i8"),
            np.frombuffer(self.quality, "<i1"),
            np.frombuffer(self.origin, "<i1"),
            np.frombuffer(self.version, "<i2"),
            np.frombuffer(self.method, "<i2"),
        )


class Columns(NamedTuple):
    """The columns of `Exported`, in its order."""

    end_at: NDArray[np.int64]
    register: NDArray[np.int64]
    quality: NDArray[np.int8]
    origin: NDArray[np.int8]
    version: NDArray[np.int16]
    method: NDArray[np.int16]


class History(Protocol):
    """Where stored rows come from."""

    words: Words

    def rows(self, key: Key, since: int, until: int) -> Rows:
        """Every version with since <= end_at <= until."""


class Since(Struct, frozen=True):
    """Only what was committed by the journal entries above < entry <= through: a part of a hand-over."""

    above: int
    through: int


class Page(Struct, frozen=True, kw_only=True):
    """Some channels in order of (usage point, channel), and the last one looked at, where the next page goes on; None
    when there is no more.

    `readings` counts the readings of these channels that are visible up to entry `through`, told here or before.
    """

    series: tuple[Exported, ...]
    after: tuple[str, int] | None
    readings: int
    through: int
    multiplied: bool = False
    """Whether a multiplier was ever stated: then every format has it, of every reading."""


def page(
    store: History,
    channels: Iterable[tuple[str, int]],
    since: int,
    until: int,
    as_of: int | None,
    entries: Since,
    stated: Mapping[str, Stated] | None = None,
) -> Page:
    """The next of these channels, which are in order, with readings of since <= end_at < until, as visible at `as_of`.

    `stated`: multipliers by usage point, where they ever were not 1; None while none was ever stated.
    """
    found: list[Exported] = []
    size = readings = 0
    last = None
    for usage_point, channel in channels:
        point = store.words.known(usage_point)
        if point is None:
            continue
        rows = store.rows(Key(point, channel), since, until - 1)
        rows = visible(rows[rows["batch"] <= entries.through], as_of)
        readings += len(rows)
        rows = rows[rows["batch"] > entries.above]
        size += len(rows)
        of = None
        if stated is not None:
            its = is_multiplied(store.words.medium[point], channel)
            of = stated.get(usage_point, NOTHING) if its else NOTHING
        found += _exported(usage_point, channel, rows, store.words, of)
        if size >= LARGEST_PAGE:
            last = (usage_point, channel)
            break
    return Page(
        series=tuple(found),
        after=last,
        readings=readings,
        through=entries.through,
        multiplied=stated is not None,
    )


def of_one_kind(page: Page, first: Page | None) -> tuple[Exported, ...]:
    """The series of a page that follows the first one of a file. DataError `export.multiplier` when a multiplier was stated
    meanwhile for the first time: the file has no place for it.
    """
    if first is not None and page.multiplied != first.multiplied:
        raise DataError(
            "export.multiplier",
            "A multiplier was stated for the first time while this was written, and its beginning does not say any. "
            "Nothing was written; do it again.",
        )
    return page.series


def _exported(
    usage_point: str, channel: int, rows: Rows, words: Words, stated: Stated | None
) -> Iterator[Exported]:
    """One series for each run of rows in one unit and exponent: a meter that was exchanged may count otherwise; and with
    one multiplier, that of the interval which a reading ends.
    """
    if not len(rows):
        return
    change = (rows["unit"][1:] != rows["unit"][:-1]) | (rows["exponent"][1:] != rows["exponent"][:-1])
    of = [_multiplier(stated, at - 1) for at in rows["end_at"].tolist()] if stated and stated.factors else []
    if of:
        change |= np.array(of[1:]) != np.array(of[:-1])
    edges = [0, *(np.flatnonzero(change) + 1).tolist(), len(rows)]
    for start, stop in pairwise(edges):
        part = rows[start:stop]
        codes, methods = np.unique(part["method"], return_inverse=True)
        yield Exported(
            usage_point=usage_point,
            medium=words.medium[int(part["point"][0])],
            channel=channel,
            unit=words.texts[int(part["unit"][0])],
            exponent=int(part["exponent"][0]),
            end_at=part["end_at"].astype("<i8").tobytes(),
            register=part["register"].astype("<i8").tobytes(),
            quality=part["quality"].astype("<i1").tobytes(),
            origin=part["origin"].astype("<i1").tobytes(),
            version=part["version"].astype("<i2").tobytes(),
            method=methods.astype("<i2").tobytes(),
            methods=tuple(words.texts[code] for code in codes.tolist()),
            multiplier="" if stated is None else of[start] if of else "1",
        )


def _multiplier(stated: Stated, at: int) -> str:
    known = not any(one.since <= at < one.until for one in stated.unsaid)
    return f"{factor_at(stated.factors, at):f}" if known else ""
