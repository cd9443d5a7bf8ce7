"""Beside the path: measures pieces of work and their bounds in turn, so that a busy machine slows both alike.

It knows no benchmark. The figures are CPU seconds of this process unless a case asks for the wall clock, so other
programs cost a row little; what they do to caches and clocks hits the row and its limit in the same rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Literal, NamedTuple

from msgspec import Struct

from meterseal.errors import LocalError
from meterseal.kit.bench.machine import PeakMemory

Clock = Literal["cpu", "wall"]
ROUNDS = 7
LIMIT_SHARE = 0.5
"""Seconds spent on all bounds of a benchmark, for each second spent on one of its rows."""


class Watch:
    """A stopwatch for the parts of a slice that count: `with watch:` around each of them."""

    __slots__ = ("_cpu_from", "_wall_from", "cpu", "wall")

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0
        self._cpu_from = self._wall_from = 0.0

    def __enter__(self) -> Watch:
        self._wall_from, self._cpu_from = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *failed: object) -> None:
        self.cpu += time.process_time() - self._cpu_from
        self.wall += time.perf_counter() - self._wall_from

    def by(self, clock: Clock) -> float:
        """The seconds of one clock so far."""
        return self.cpu if clock == "cpu" else self.wall


class Primitive(Struct, frozen=True):
    """A bare operation of a library: `run` does it so many times."""

    name: str
    run: Callable[[int], None]


class Limit(Struct, frozen=True):
    """What one unit of work cannot be cheaper than: so many of each primitive."""

    name: str
    parts: tuple[tuple[float, Primitive], ...]


class Case(Struct, frozen=True, kw_only=True):
    """One row. `work` does a slice, times what counts, and answers how many units it did."""

    name: str
    unit: str
    work: Callable[[Watch], int]
    limit: Limit | None = None
    clock: Clock = "cpu"
    goal: float | None = None


class Cost(NamedTuple):
    """Seconds for one unit."""

    cpu: float
    wall: float

    def by(self, clock: Clock) -> float:
        """The seconds of one clock."""
        return self.cpu if clock == "cpu" else self.wall


class Measured(Struct, frozen=True, kw_only=True):
    """A row measured: one cost for each round, the bound's in the same rounds."""

    case: Case
    costs: tuple[Cost, ...]
    limits: tuple[Cost, ...]
    peak_mb: float

    @property
    def rate(self) -> float:
        """Units a second on one core, by the row's clock: the best round, which others disturbed least."""
        return 1 / min(cost.by(self.case.clock) for cost in self.costs)

    @property
    def median_rate(self) -> float:
        """The same of the middle round."""
        return 1 / median(cost.by(self.case.clock) for cost in self.costs)

    @property
    def limit(self) -> float | None:
        """The bound's best round."""
        return 1 / min(cost.by(self.case.clock) for cost in self.limits) if self.limits else None

    @property
    def cpu_s_per_million(self) -> float:
        """CPU seconds for a million units in the middle round."""
        return 1e6 * median(cost.cpu for cost in self.costs)


def measure(cases: Sequence[Case], seconds: float) -> list[Measured]:
    """Every case for about `seconds` of timed work, in rounds that also measure every bound.

    Preparation that a case does outside its watch comes on top. LocalError `use.seconds` unless 0 < seconds <= 3600.
    """
    if not 0 < seconds <= 3600:
        raise LocalError("use.seconds", "A row is measured for more than 0 and at most 3600 seconds.")
    rounds = ROUNDS if seconds >= 1 else max(1, int(ROUNDS * seconds))
    primitives = _distinct(cases)
    share = seconds * LIMIT_SHARE / rounds / max(1, len(primitives))
    memory = {case.name: PeakMemory() for case in cases}
    costs: dict[str, list[Cost]] = {case.name: [] for case in cases}
    limits: dict[str, list[Cost]] = {case.name: [] for case in cases}
    for case in cases:  # nothing is imported, looked up or cached for the first time on the clock
        case.work(Watch())
    for _ in range(rounds):
        for case in cases:
            with memory[case.name]:
                costs[case.name].append(_slices(case, seconds / rounds))
        bare = {name: _bare(one, share) for name, one in primitives.items()}
        for case in cases:
            if case.limit is not None:
                limits[case.name].append(_sum(case.limit, bare))
    return [
        Measured(
            case=case,
            costs=tuple(costs[case.name]),
            limits=tuple(limits[case.name]),
            peak_mb=memory[case.name].megabytes,
        )
        for case in cases
    ]


def _slices(case: Case, seconds: float) -> Cost:
    watch = Watch()
    done = 0
    while not done or watch.by(case.clock) < seconds:
        done += case.work(watch)
    return Cost(watch.cpu / done, watch.wall / done)


def _bare(primitive: Primitive, seconds: float) -> Cost:
    watch = Watch()
    times, done = 1, 0
    while not done or watch.cpu < seconds:
        with watch:
            primitive.run(times)
        done += times
        times = min(2 * times, 10_000)
    return Cost(watch.cpu / done, watch.wall / done)


def _sum(limit: Limit, bare: dict[str, Cost]) -> Cost:
    return Cost(
        sum(count * bare[one.name].cpu for count, one in limit.parts),
        sum(count * bare[one.name].wall for count, one in limit.parts),
    )


def _distinct(cases: Iterable[Case]) -> dict[str, Primitive]:
    return {one.name: one for case in cases if case.limit is not None for _, one in case.limit.parts}
