"""Station edge, a concentrator's schedule: when a plain meter is read, and how often one that does not answer is tried.

Pure: it asks nobody and reads no clock. Times of day are local, at `utc_offset_minutes` from UTC; times given and
returned are Unix ms.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Annotated

from msgspec import Meta, Struct

from meterseal.errors import LocalError

MINUTE, DAY = 60_000, 86_400_000
MINUTES = 1440

OfDay = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Window = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]


class Schedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When plain meters are read.

    Every `every_minutes` from local midnight on (0: not at all) and at each time of `at`, both within `windows` only
    (`22:00-06:00` spans midnight; none: the whole day). A meter that does not answer is tried `attempts` times, at
    least `retry_seconds` apart; one that keeps silent is tried every `silent_minutes` at most. `search_at` is when a
    bus is searched for unknown meters, `clock_at` when plain meters' clocks are set. `backfill_days` is how far back
    freezes are read after an outage (0: not at all); a meter keeps what it keeps.
    """

    every_minutes: Annotated[int, Meta(ge=0, le=MINUTES)] = 15
    at: tuple[OfDay, ...] = ()
    windows: tuple[Window, ...] = ()
    attempts: Annotated[int, Meta(ge=1, le=20)] = 3
    retry_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 30
    silent_minutes: Annotated[int, Meta(ge=1, le=MINUTES)] = 60
    search_at: tuple[OfDay, ...] = ()
    clock_at: tuple[OfDay, ...] = ()
    backfill_days: Annotated[int, Meta(ge=0, le=400)] = 62
    utc_offset_minutes: Annotated[int, Meta(ge=-720, le=840)] = 480

    def check(self) -> None:
        """LocalError `concentrator.schedule` when no meter would ever be read."""
        if not _moments(self):
            raise LocalError(
                "concentrator.schedule",
                "By this schedule no meter is ever read: give every_minutes or at, within the windows.",
            )

    def open(self, now: int) -> bool:
        """Whether meters may be read now."""
        return _within(self, (now + self.utc_offset_minutes * MINUTE) % DAY // MINUTE)

    def longest(self) -> int:
        """The longest time between two moments at which meters are read, in ms. LocalError `concentrator.schedule`."""
        self.check()
        moments = _moments(self)
        return max(later - one for one, later in pairwise((*moments, moments[0] + MINUTES))) * MINUTE

    def after(self, now: int) -> int:
        """The first moment later than `now` at which meters are read. LocalError `concentrator.schedule`."""
        self.check()
        return self._next(_moments(self), now)

    def search_after(self, now: int) -> int | None:
        """The first moment later than `now` at which buses are searched, None for never."""
        return self._first(self.search_at, now)

    def clock_after(self, now: int) -> int | None:
        """The first moment later than `now` at which plain meters' clocks are set, None for never."""
        return self._first(self.clock_at, now)

    def _first(self, texts: tuple[str, ...], now: int) -> int | None:
        moments = tuple(sorted(_minute(text) for text in texts))
        return self._next(moments, now) if moments else None

    def _next(self, moments: tuple[int, ...], now: int) -> int:
        local = now + self.utc_offset_minutes * MINUTE
        midnight = local // DAY * DAY
        today = next((midnight + one * MINUTE for one in moments if midnight + one * MINUTE > local), None)
        found = midnight + DAY + moments[0] * MINUTE if today is None else today
        return found - self.utc_offset_minutes * MINUTE


@lru_cache(maxsize=64)
def _moments(schedule: Schedule) -> tuple[int, ...]:
    """Minutes of a day at which meters are read."""
    step = schedule.every_minutes
    every = set(range(0, MINUTES, step)) if step else set()
    wanted = every | {_minute(text) for text in schedule.at}
    return tuple(sorted(one for one in wanted if _within(schedule, one)))


def _within(schedule: Schedule, minute: int) -> bool:
    if not schedule.windows:
        return True
    for window in schedule.windows:
        begin, end = (_minute(text) for text in window.split("-"))
        if begin <= minute < end or (begin >= end and (minute >= begin or minute < end)):
            return True
    return False


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
