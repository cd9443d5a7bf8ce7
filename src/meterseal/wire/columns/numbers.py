"""Station wire, numbers of columns: BCD digits and meter clocks of many rows at once, in whole numbers throughout.

It knows no frame. One row alone is read by `fields`; both give the same.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from meterseal.wire.columns.stack import UNSET, Bytes, Flags, Numbers, refuse

CENTURIES: Final = (19, 21)
_SIXES: Final = np.uint64(0x66666666)
_CARRIES: Final = np.uint64(0x111111110)
_LOW: Final = np.uint64(0x0F0F0F0F)
_BYTE: Final = np.uint64(0xFF)
_TENS: Final = np.array([tens << 4 | ones for tens in range(10) for ones in range(10)], np.uint8)
"""BCD of 0 to 99."""
_VALUES: Final = np.full(256, -1, np.int16)
_VALUES[_TENS] = np.arange(100)
"""Value of a BCD byte, -1 where a nibble is no digit."""


def bcd_columns(raw: Bytes) -> tuple[Numbers, Flags]:
    """Numbers of at most four BCD bytes a row, low byte first, and whether all their nibbles are digits."""
    word = np.zeros((len(raw), 8), np.uint8)
    word[:, : raw.shape[1]] = raw
    digits = word.view("<u8")[:, 0]
    carried = (digits + _SIXES) ^ digits ^ _SIXES
    right = (carried & _CARRIES) == 0
    pairs = digits - ((digits >> np.uint64(4)) & _LOW) * np.uint64(6)
    value = np.zeros(len(raw), np.uint64)
    for place in range(raw.shape[1]):
        value += ((pairs >> np.uint64(8 * place)) & _BYTE) * np.uint64(100**place)
    return value.astype(np.int64), right


def to_bcd_columns(values: Numbers, size: int) -> Bytes:
    """`size` BCD bytes a row, low byte first. LocalError `wire.field` where the digits do not fit."""
    refuse((values < 0) | (values >= 100**size), f"its value does not fit in {2 * size} BCD digits")
    raw = np.empty((len(values), size), np.uint8)
    rest = values
    for place in range(size):
        rest, pair = np.divmod(rest, 100)
        raw[:, place] = _TENS[pair]
    return raw


def clock_columns(raw: Bytes, utc_offset_minutes: int, *, either: bool) -> Numbers:
    """Unix ms of seven clock bytes a row, UNSET where they are no date; `either`: sent high byte first counts too."""
    at = _low_first(raw, utc_offset_minutes)
    if either:
        other = np.flatnonzero(at == UNSET)
        if len(other):
            at[other] = _low_first(raw[other][:, ::-1], utc_offset_minutes)
    return at


def _low_first(raw: Bytes, utc_offset_minutes: int) -> Numbers:
    fields = _VALUES[raw]
    second, minute, hour, day, month, year, century = (fields[:, place] for place in range(7))
    possible = (
        (century >= CENTURIES[0]) & (century <= CENTURIES[1]) & (year >= 0) & (month >= 1) & (month <= 12)
    )
    possible &= (day >= 1) & (hour >= 0) & (hour < 24) & (minute >= 0) & (minute < 60)
    possible &= (second >= 0) & (second < 60)
    months = np.where(possible, (century.astype(np.int64) * 100 + year - 1970) * 12 + month - 1, 0)
    first, following = _first_day(months), _first_day(months + 1)
    possible &= day <= following - first
    days = first + day - 1
    seconds = ((days * 24 + hour) * 60 + minute - utc_offset_minutes) * 60 + second
    return np.where(possible, seconds * 1000, UNSET)


def _first_day(months: Numbers) -> Numbers:
    """Days from 1970-01-01 to the first of a month, by its number since 1970-01."""
    days: NDArray[np.datetime64] = months.astype("datetime64[M]").astype("datetime64[D]")
    return days.astype(np.int64)


def to_clock_columns(at: Numbers, utc_offset_minutes: int) -> Bytes:
    """Seven clock bytes a row in local time, all zero for UNSET. LocalError `wire.field` beyond 1900 to 2199."""
    unset = at == UNSET
    seconds = np.where(unset, 0, np.floor_divide(at, 1000) + utc_offset_minutes * 60)
    days, second = np.divmod(seconds, 86_400)
    refuse(~unset & ((days < FIRST_DAY) | (days > LAST_DAY)), "its clock is not between 1900 and 2199")
    date = days.astype("datetime64[D]")
    month = date.astype("datetime64[M]")
    number = month.astype(np.int64)
    year = 1970 + np.floor_divide(number, 12)
    hour, rest = np.divmod(second, 3600)
    raw = np.empty((len(at), 7), np.uint8)
    for place, field in enumerate(
        (
            rest % 60,
            rest // 60,
            hour,
            (date - month).astype(np.int64) + 1,
            number % 12 + 1,
            year % 100,
            year // 100,
        )
    ):
        raw[:, place] = _TENS[field]
    raw[unset] = 0
    return raw


FIRST_DAY: Final = -25_567
"""1900-01-01, in days of 1970-01-01."""
LAST_DAY: Final = 84_005
"""2199-12-31."""
