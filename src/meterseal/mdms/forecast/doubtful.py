"""Station forecast, what history is not learnt from: hours that no connection lets pass, and such as came once and went.

Pure. It changes no reading and says nothing to anybody (VEE does); an hour in doubt is an hour that is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from meterseal.mdms.forecast.task import DAY, Floats
from meterseal.mdms.spans import Span

Kind = TypeVar("Kind", np.float32, np.bool_)
HOUR = 3_600_000
MANY = 3.0
"""As a spike is known in California: a day whose peak exceeds the third-highest by 180 %."""
FEW = 3
"""Hours that are left out even while they may go on."""
FEWEST_DAYS = 14
AFTER = 18
"""Known hours that follow a day before it is over for sure."""
WEEKDAYS = 7
CARRIED = 1.1
"""Part of what a connection is said to carry that passes it at most, as the rules of VEE have it."""
MOSTLY = 0.05
"""Share of the known hours above that from which on the statement is wrong and not the register."""
HALF_A_DAY = 12
"""Such hours that are left out however few are known: kept forecasts are judged day by day."""


def plausible(use: Floats) -> Floats:
    """(hours, series) without hours that nothing is to be learnt from: on two days at most, above MANY times the peak of
    the third-highest day, and over.

    A register that jumped, or ran away for half a day, is a reading as any other, and would be in every mean, band and peak
    of its weekday for a month. Who fills a pool does it once, too. What goes on is believed from the first day if that
    are more hours than FEW (the heating, an electric car), or any where hardly anything was used before, and so is what
    came again a week later at like hours.
    """
    days = len(use) // DAY
    if days < FEWEST_DAYS:
        return use
    peaks = np.fmax.reduce(_by_day(use), axis=1)
    third: Floats = np.partition(np.nan_to_num(peaks, nan=0.0), days - 3, axis=0)[days - 3]
    highest: Floats = np.fmax.reduce(use, axis=0)
    high = np.flatnonzero(highest > MANY * third)
    if not len(high):
        return use
    here = use[:, high]
    with np.errstate(invalid="ignore"):
        odd = here > MANY * third[high]
    lasts = odd & _goes_on(odd, ~np.isnan(here))
    believed = lasts & ((lasts.sum(axis=0) > FEW) | (third[high] == 0))
    kept = use.copy()
    kept[:, high] = np.where(odd & ~believed, np.float32(np.nan), here)
    return kept


def _goes_on(odd: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(hours, series), whole days: which of the odd ones, on two days at most, are not over, or came again a week later."""
    by_day = _by_day(odd)
    days, series = len(by_day), np.arange(odd.shape[1])
    some: NDArray[np.bool_] = np.logical_or.reduce(by_day, axis=1)
    first, last = some.argmax(axis=0), days - 1 - some[::-1].argmax(axis=0)
    apart = last - first
    hours = _by_day(known).sum(axis=1)

    def over(since: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(series): is enough known from these days on?"""
        enough: NDArray[np.bool_] = np.where(np.arange(days)[:, None] >= since, hours, 0).sum(axis=0) >= AFTER
        return enough

    running = ~over(last + 1)
    before, after = by_day[first, :, series], by_day[last, :, series]
    alike = (before & after).sum(axis=1) * 2 >= np.maximum(before.sum(axis=1), after.sum(axis=1))
    # It was due again, and did not come: then it has ended, too.
    weekly = (apart > 0) & (apart % WEEKDAYS == 0) & alike & ~over(last + apart)
    good = np.zeros((days, len(series)), np.bool_)
    good[last, series] = running | weekly
    good[first, series] |= weekly | (running & (apart <= 1))
    whole = np.zeros(odd.shape, np.bool_)
    whole[len(odd) - days * DAY :] = np.repeat(good, DAY, axis=0)
    return whole


def _by_day(of: NDArray[Kind]) -> NDArray[Kind]:
    """(whole days, 24, series) of (hours, series), the last of them whole."""
    days = len(of) // DAY
    return of[len(of) - days * DAY :].reshape(days, DAY, -1)


def carried(use: Floats, since: int, sizes: Mapping[int, Sequence[Span]]) -> Floats:
    """(hours, channels) without hours in which more was counted than passes the connection; `sizes` are what it is said to
    carry (unit an hour), by place of the channel, `since` (Unix ms) is where the hours begin. Changes `use`.

    Where that is so of many hours the statement is doubted, and nothing left out.
    """
    for place, spans in sizes.items():
        most = np.full(len(use), np.inf)
        for span in spans:
            first, last = ((edge - since) // HOUR for edge in (span.since, span.until))
            most[max(first, 0) : max(last, 0)] = float(span.value) * CARRIED
        with np.errstate(invalid="ignore"):
            over = use[:, place] > most
        if over.sum() <= max(MOSTLY * (~np.isnan(use[:, place])).sum(), HALF_A_DAY):
            use[over, place] = np.nan
    return use
