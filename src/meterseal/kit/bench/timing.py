"""Beside the path: measures pieces of work and their bounds in turn, so that a busy machine slows both alike.

It knows no benchmark. The figures are CPU seconds of this process unless a case asks for the wall clock, so other
programs cost a row little; what they do to caches and clocks hits the row and its limit in the same rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal, NamedTuple

from msgspec import Struct

from meterseal.errors import LocalError
from meterseal.kit.bench.machine import PeakMemory

Clock = Literal["cpu", "wall"]
ROUNDS = 7


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
    """What `units` units of work cannot be cheaper than: so many of each primitive, one after the other."""

    name: str
    parts: tuple[tuple[int, Primitive], ...]
    units: int = 1


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
    """A row measured: one cost for each slice, and the bound's for as long right after each."""

    case: Case
    costs: tuple[Cost, ...]
    limits: tuple[Cost, ...]
    peak_mb: float

    @property
    def rate(self) -> float:
        """Units a second on one core, by the row's clock: the best slice, which others disturbed least."""
        return 1 / min(cost.by(self.case.clock) for cost in self.costs)

    @property
    def median_rate(self) -> float:
        """The same of the middle slice."""
        return 1 / median(cost.by(self.case.clock) for cost in self.costs)

    @property
    def limit(self) -> float | None:
        """The bound's best slice."""
        return 1 / min(cost.by(self.case.clock) for cost in self.limits) if self.limits else None

    @property
    def cpu_s_per_million(self) -> float:
        """CPU seconds for a million units in the middle slice."""
        return 1e6 * median(cost.cpu for cost in self.costs)


def measure(cases: Sequence[Case], seconds: float) -> list[Measured]:
    """Every case for about `seconds` of timed work in rounds, and its bound for as long, slice after slice.

    Preparation that a case does outside its watch comes on top. LocalError `use.seconds` unless 0 < seconds <= 3600.
    """
    if not 0 < seconds <= 3600:
        raise LocalError("use.seconds", "A row is measured for more than 0 and at most 3600 seconds.")
    rounds = ROUNDS if seconds >= 1 else max(1, int(ROUNDS * seconds))
    memory = [PeakMemory() for _ in cases]
    costs: list[list[Cost]] = [[] for _ in cases]
    limits: list[list[Cost]] = [[] for _ in cases]
    for case in cases:  # nothing is imported, looked up or cached for the first time on the clock
        case.work(Watch())
    for _ in range(rounds):
        for at, case in enumerate(cases):
            with memory[at]:
                _round(case, seconds / rounds, costs[at], limits[at])
    return [
        Measured(case=case, costs=tuple(costs[at]), limits=tuple(limits[at]), peak_mb=memory[at].megabytes)
        for at, case in enumerate(cases)
    ]


def _round(case: Case, seconds: float, costs: list[Cost], limits: list[Cost]) -> None:
    """Slices of the work, and after each its bound for as long."""
    spent = 0.0
    while not spent or spent < seconds:
        watch = Watch()
        done = case.work(watch)
        costs.append(Cost(watch.cpu / done, watch.wall / done))
        spent += watch.by(case.clock)
        if case.limit is not None:
            limits.append(_bare(case.limit, watch.by(case.clock), case.clock))


def _bare(limit: Limit, seconds: float, clock: Clock) -> Cost:
    """The bound for about these seconds by a clock."""
    watch = Watch()
    passes, at_once = 0, 1
    while not passes or watch.by(clock) < seconds:
        with watch:
            for _ in range(at_once):
                for count, part in limit.parts:
                    part.run(count)
        passes += at_once
        at_once = min(2 * at_once, 16)
    done = passes * limit.units
    return Cost(watch.cpu / done, watch.wall / done)
