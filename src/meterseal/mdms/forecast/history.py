"""Station forecast, from readings to hours: what each channel used in each whole hour, and what kind of hour it was.

Pure. It fills no hole: what is not known stays NaN, for models know better than to take it for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from meterseal.mdms.columns import Columns
from meterseal.mdms.forecast.task import REST, SATURDAY, WORKDAY, Codes, Floats
from meterseal.mdms.multipliers import Stated
from meterseal.model import Quality

HOUR = 3_600_000
LOCAL = 8
"""Hours that Asia/Shanghai is ahead of UTC, the whole year."""
BRIDGED = 6
"""Hours that a weather station may be silent: without the weather is worse than with a straight line for so long."""
_USABLE = (Quality.MEASURED, Quality.EDITED)
"""An estimate is what others or earlier days used: what is learnt from it was known before, and its errors are none."""


def hourly(
    columns: Columns, since: int, hours: int, exchanged: Mapping[int, Sequence[int]] = MappingProxyType({})
) -> Floats:
    """(hours, channels): use in the unit of the channel in each hour from `since` (Unix ms, a whole hour) on.

    An hour is known when the registers at both its ends are usable, of one meter and one unit, and do not fall.
    `exchanged` are the instants, by place of the channel, from which on another meter counts: its registers begin anew.
    """
    channel = np.repeat(np.arange(columns.channels), np.diff(columns.starts))
    edge, odd = np.divmod(columns.end_at - since, HOUR)
    kept = (odd == 0) & (edge >= 0) & (edge <= hours) & np.isin(columns.quality, _USABLE)
    channel, edge = channel[kept], edge[kept]
    register, exponent = columns.register[kept], columns.exponent[kept]
    unit, meter = columns.unit[kept], columns.meter[kept]
    joined = (
        (channel[1:] == channel[:-1])
        & (edge[1:] == edge[:-1] + 1)
        & (unit[1:] == unit[:-1])
        & (meter[1:] == meter[:-1])
        & (exponent[1:] == exponent[:-1])
        & (register[1:] >= register[:-1])
    )
    use = np.full((hours, columns.channels), np.nan, np.float32)
    step = (register[1:] - register[:-1])[joined] * 10.0 ** exponent[1:][joined]
    use[edge[:-1][joined], channel[1:][joined]] = step
    for place, instants in exchanged.items():
        for instant in instants:
            hour = (instant - 1 - since) // HOUR
            if 0 <= hour < hours:
                use[hour, place] = np.nan
    return use


def multiplied(use: Floats, since: int, stated: Mapping[int, Stated]) -> Floats:
    """(hours, channels) of what was used, from what registers counted; `stated` by place of the channel. An hour within
    which a multiplier changes or is not said is not known. Changes `use`.
    """
    for place, of in stated.items():
        for lacks in of.unsaid:
            first, last = (max(lacks.since - since, 0) // HOUR, max(-(-(lacks.until - since) // HOUR), 0))
            use[first:last, place] = np.nan
        for one in of.factors:
            edges = [min(max((edge - since) / HOUR, 0), len(use)) for edge in (one.since, one.until)]
            use[int(edges[0]) : int(edges[1]), place] *= float(one.factor)
            for edge in edges:
                if edge != int(edge):
                    use[int(edge), place] = np.nan
    return use


def from_nothing(fed: Floats) -> Floats:
    """(hours, series) of what was fed in, with nothing before the first known hour: there was no plant, or nobody counted
    what it made.
    """
    begun = np.logical_or.accumulate(~np.isnan(fed), axis=0)
    return np.where(begun, fed, np.float32(0))


def bridged(degrees: Floats) -> Floats | None:
    """Temperatures with holes of up to BRIDGED hours filled in a straight line; None while there is any other hole."""
    known = np.flatnonzero(~np.isnan(degrees))
    if (
        not len(known)
        or known[0] > 0
        or known[-1] < len(degrees) - 1
        or np.diff(known).max(initial=1) > BRIDGED + 1
    ):
        return None
    return np.interp(np.arange(len(degrees)), known, degrees[known]).astype(np.float32)


def calendar(
    since: int, hours: int, exceptions: Mapping[int, Literal["holiday", "workday"]]
) -> tuple[Codes, Codes]:
    """Local hour and kind of the local day, of so many hours from `since` on; `exceptions` are days since 1970 that are
    not what their weekday says.
    """
    at = since // HOUR + np.arange(hours) + LOCAL
    day: NDArray[np.int64] = at // 24
    weekday = (day + 3) % 7  # 1970-01-01 was a Thursday
    kind = np.where(weekday == 6, REST, np.where(weekday == 5, SATURDAY, WORKDAY))
    for one in np.unique(day).tolist():
        if one in exceptions:
            kind[day == one] = REST if exceptions[one] == "holiday" else WORKDAY
    return (at % 24).astype(np.int8), kind.astype(np.int8)
