"""Station MDMS, how good the kept forecasts were: each day of one held against what came.

It forecasts nothing and keeps nothing. Sums are judged by the usage points that they were made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from meterseal.mdms.forecast.history import HOUR
from meterseal.mdms.forecast.scores import PeakScore, Score, low_score, mean, mean_peaks, peak_score, score
from meterseal.mdms.forecast.sums import ALL, Sums
from meterseal.mdms.forecast.task import HORIZON, LEVELS, Floats
from meterseal.mdms.forecast_files import Block
from meterseal.mdms.forecast_uses import Uses
from meterseal.model import EXPORT, MAIN, Medium

DAY = 24 * HOUR
_KINDS = ((False, MAIN), (False, EXPORT), (True, MAIN))
"""Usage points, what they fed in, and sums."""


class PeakDay(Struct, frozen=True):
    """The highest hour of a day of all usage points of a medium together, or the lowest, as its first forecast foresaw it:
    between `low` and `high` nine times of ten; and as it `came`.
    """

    begin: int
    foreseen: float
    low: float
    high: float
    came: float


class Judged(Struct, frozen=True, kw_only=True):
    """How good the kept forecasts of a medium were over their first day (`score`), and over the six days after it where
    those are over, too (`week`): those of usage points, of what they fed in (`fed`), or of sums.

    `peak` is of the first days' highest hours, `back` of the lowest ones of nets, in which most is fed back. `highest` and
    `lowest` (empty where it is no net) are each of these of all together, newest first.
    """

    medium: Medium
    sums: bool
    days: int
    score: Score
    fed: bool = False
    weeks: int = 0
    week: Score | None = None
    peak: PeakScore | None = None
    back: PeakScore | None = None
    highest: tuple[PeakDay, ...] = ()
    lowest: tuple[PeakDay, ...] = ()


class Seen(NamedTuple):
    """What one day of a forecast was worth, of usage points, of what they fed in, or of sums."""

    kind: tuple[bool, int]
    day: int
    score: Score
    peak: PeakScore | None = None
    back: PeakScore | None = None
    highest: PeakDay | None = None
    lowest: PeakDay | None = None


def ahead(begin: int, now: int) -> range:
    """Which days of a forecast are judged: none before the first is over, all once the week is."""
    whole = HORIZON * HOUR // DAY
    return range(whole if begin + whole * DAY <= now else int(begin + DAY <= now))


def judge(
    blocks: Sequence[Block], uses: Uses, zones: Mapping[str, str], medium: Medium, days: Sequence[int]
) -> Iterator[Seen]:
    """Judge these days of the forecast that these blocks (at least one) are, all of one medium."""
    begin = blocks[0].begin
    told = {(point, block.channel) for block in blocks if not block.sums for point in block.points}
    for day in days:
        came: dict[tuple[str, int], Floats] = {}
        for part in uses.scan(medium, begin + day * DAY, 24):
            for channel, used in part.items():
                came.update(
                    {(point, channel): use for point, use in zip(used.points, used.use.T, strict=True)}
                )
        summed = Sums(24)
        for channel, put in ((MAIN, summed.add), (EXPORT, summed.less)):
            new = [
                point
                for (point, of), use in came.items()
                if of == channel and (point, of) not in told and _counts(channel, use)
            ]
            known = [block.points for block in blocks if not block.sums and block.channel == channel]
            for points in (*known, new):
                if points:
                    put([zones.get(point, ALL) for point in points], _beside(came, points, channel))
        for kind in _KINDS:
            of_kind = [block for block in blocks if (block.sums, block.channel) == kind]
            names = [name for block in of_kind for name in block.points]
            use = summed.wholes(names) if kind[0] else _beside(came, names, kind[1])
            seen = _seen(kind, of_kind, names, use, begin, day)
            if seen is not None:
                yield seen


def together(medium: Medium, seen: Sequence[Seen]) -> Iterator[Judged]:
    """All that was seen of a medium (oldest first) taken together."""
    for kind in _KINDS:
        first = [one for one in seen if one.kind == kind and one.day == 0]
        later = [one.score for one in seen if one.kind == kind and one.day]
        if first:
            yield Judged(
                medium=medium,
                sums=kind[0],
                fed=kind[1] == EXPORT,
                days=len(first),
                score=mean([one.score for one in first]),
                weeks=-(-len(later) // (HORIZON * HOUR // DAY - 1)),
                week=mean(later) if later else None,
                peak=mean_peaks([one.peak for one in first if one.peak is not None]),
                back=mean_peaks([one.back for one in first if one.back is not None]),
                highest=tuple(one.highest for one in reversed(first) if one.highest is not None),
                lowest=tuple(one.lowest for one in reversed(first) if one.lowest is not None),
            )


def _counts(channel: int, use: Floats) -> bool:
    """Whether a usage point that had no forecast of its own used, or fed in, something known on a day."""
    return bool((use > 0).any() if channel == EXPORT else not np.isnan(use).all())


def _seen(
    kind: tuple[bool, int], of: Sequence[Block], names: Sequence[str], use: Floats, begin: int, day: int
) -> Seen | None:
    """Judge one day of these blocks by what came (24 hours, series)."""
    found = (
        score(
            np.concatenate([np.frombuffer(block.error, "<f4") for block in of]),
            np.concatenate([np.frombuffer(block.square, "<f4") for block in of]),
            use,
            np.concatenate([block.quantiles()[:, day * 24 : (day + 1) * 24] for block in of], axis=2),
        )
        if of
        else None
    )
    if found is None:
        return None
    seen = Seen(kind, day, found)
    peaks = [one[:, day] for block in of if (one := block.highest()) is not None]
    if len(peaks) < len(of):  # made before peaks were forecast
        return seen
    foreseen = np.concatenate(peaks, axis=1)
    seen = seen._replace(
        peak=peak_score(use, foreseen), highest=_whole(kind, names, begin, foreseen, use.max(axis=0))
    )
    lows = [(block, one[:, day]) for block in of if (one := block.lowest()) is not None]
    if not lows:
        return seen
    nets = [name for block, _ in lows for name in block.points]
    place = {name: at for at, name in enumerate(names)}
    net, foreseen = (
        use[:, [place[name] for name in nets]],
        np.concatenate([one for _, one in lows], axis=1),
    )
    return seen._replace(
        back=low_score(net, foreseen), lowest=_whole(kind, nets, begin, foreseen, net.min(axis=0))
    )


def _whole(
    kind: tuple[bool, int], names: Sequence[str], begin: int, foreseen: Floats, came: Floats
) -> PeakDay | None:
    """That of all together; None where it is not among these, or an hour of it is not known."""
    if not kind[0] or ALL not in names or np.isnan(came[names.index(ALL)]):
        return None
    at = names.index(ALL)
    low, middle, high = (foreseen[level, at] for level in (0, LEVELS.index(0.5), -1))
    return PeakDay(begin, *(round(float(one), 4) for one in (middle, low, high, came[at])))


def _beside(came: Mapping[tuple[str, int], Floats], points: Sequence[str], channel: int) -> Floats:
    """(hours, points) of a day, not known where nothing came."""
    nothing = np.full(24, np.nan, np.float32)
    found = [came.get((point, channel), nothing) for point in points]
    return np.array(found, np.float32).reshape(len(points), 24).T
