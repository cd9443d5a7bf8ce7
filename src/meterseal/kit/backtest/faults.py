"""Beside the path: faults that are put into series without any, and which of them the rules find.

Each fault has the rule that is meant for it and the days within which it must speak. What rules say of series that are left
as they are is counted too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

import numpy as np
from msgspec import Struct

from meterseal.kit.backtest.around import Channel, Scene, known
from meterseal.kit.backtest.ground import EXPONENT, Ground, Ints, Truth
from meterseal.kit.backtest.staged import STAGED
from meterseal.mdms.columns import Columns
from meterseal.mdms.vee.context import DAY, HOUR, OFFSET
from meterseal.mdms.vee.judge import judge
from meterseal.mdms.vee.rules import RULES
from meterseal.model import MEDIA, Medium


class Detection(Struct, frozen=True, kw_only=True):
    """One line: how many of the faults of a kind the rule meant for it found."""

    fault: str
    rule: str
    medium: Medium
    injected: int
    found: int


class Alarms(Struct, frozen=True, kw_only=True):
    """Findings on series into which nothing was put, per thousand days of a usage point."""

    medium: Medium
    days: int
    per_thousand: float
    rules: dict[str, int]


SUM = "sub-meters"
Inject = Callable[[Ints, Ints, int, Random], tuple[Ints, Ints]]


def _added(end_at: Ints, register: Ints, at: int, uses: Ints) -> tuple[Ints, Ints]:
    """More use in the hours that begin at a row."""
    more = np.zeros(len(register), np.int64)
    more[at + 1 : at + 1 + len(uses)] = uses
    return end_at, register + np.cumsum(more)


def _lost(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    gone = np.arange(at + 1, at + 1 + random.choice((1, 5, 30)))
    return np.delete(end_at, gone), np.delete(register, gone)


def _jumped(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    register = register.copy()
    register[at] += random.choice((3_000, 20_000, 900_000))
    return end_at, register


def _burst(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    return _added(end_at, register, at, np.full(random.randrange(2, 6), random.randrange(200, 400)))


def _stopped(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    register = register.copy()
    register[at:] = register[at]
    return end_at, register


def _exchanged(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    register = register.copy()
    register[at:] -= register[at] - random.randrange(50)
    return end_at, register


def _rolled(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    return end_at, (register - register[at] + 10**8) % 10**8


def _shifted(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    end_at = end_at.copy()
    end_at[at:] += random.choice((7_000, 600_000))
    return end_at, register


def _leaking(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    return _added(end_at, register, at, np.full(24 * 7, random.randrange(2, 6)))


def _copied(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    at -= int((end_at[at] + OFFSET) % DAY) // HOUR
    uses = np.diff(register)
    uses[at : at + 24] = uses[at - 24 : at]
    return end_at, register[0] + np.concatenate([[0], np.cumsum(uses)])


def _tenfold(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    at -= int((end_at[at] + OFFSET) % DAY) // HOUR
    uses = np.diff(register)
    uses[at:] *= 10
    return end_at, register[0] + np.concatenate([[0], np.cumsum(uses)])


def _twice(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    again = end_at[at] + random.randrange(1_000, 60_000)
    return np.insert(end_at, at + 1, again), np.insert(register, at + 1, register[at])


def _backwards(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    register = register.copy()
    register[at + 1 :] -= register[at + 1] - register[at] + random.randrange(1, 5)
    return end_at, register


def _unwritten(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    register = register.copy()
    register[at] = random.choice((2**32 - 1, 2**31 - 1, 2**24 - 1))
    return end_at, register


def _steady(end_at: Ints, register: Ints, at: int, random: Random) -> tuple[Ints, Ints]:
    uses = np.diff(register)
    uses[at : at + 24] = random.randrange(25, 60)
    return end_at, register[0] + np.concatenate([[0], np.cumsum(uses)])


FAULTS: dict[str, tuple[Inject, str, tuple[Medium, ...], int]] = {
    "hours lost": (_lost, "gap", MEDIA, 3),
    "a high reading, taken back": (_jumped, "negative-step", MEDIA, 1),
    "a high reading, not in the sum of its day": (_jumped, "register-sum", MEDIA, 2),
    "a pipe that bursts": (_burst, "spike", ("water",), 1),
    "a register that stops": (_stopped, "stuck-register", ("water", "electricity"), 20),
    "a home that uses nothing any more": (_stopped, "zero", MEDIA, 5),
    "another meter, unannounced": (_exchanged, "negative-step", MEDIA, 1),
    "a register that begins anew": (_rolled, "roll-over", MEDIA, 20),
    "a clock that is off": (_shifted, "time", MEDIA, 1),
    "a leak of 20 to 50 litres an hour": (_leaking, "night-flow", ("water",), 7),
    "a day delivered twice": (_copied, "copied-day", ("water", "gas", "electricity"), 2),
    "a decimal point that slipped": (_tenfold, "multiplier", ("water", "gas", "electricity"), 10),
    "an hour read twice": (_twice, "duplicate", MEDIA, 1),
    "a little flow backwards": (_backwards, "reverse-flow", ("water", "gas"), 1),
    "a number that no meter shows": (_unwritten, "sentinel", MEDIA, 1),
    "the same use for a day": (_steady, "constant", MEDIA, 2),
}
"""What is put in, the rule that is meant for it, the media it happens to, and days within which it must be found."""


def detections(ground: Ground) -> Iterator[Detection]:
    """Every fault in every usage point of its media, `often` times; of those that cannot happen on a ground no line."""
    for fault, (inject, rule, media, days) in FAULTS.items():
        for medium in media:
            said = [
                _found(truth, random, at, inject, rule, days)
                for truth, random, at in _places(ground, medium, inject.__name__, days)
            ]
            if said:
                yield Detection(fault=fault, rule=rule, medium=medium, injected=len(said), found=sum(said))
    for fault, (stage, rule, media, days) in STAGED.items():
        for medium in media:
            said = [
                _seen(put[0], int(truth.end_at[put[1]]), rule, days)
                for truth, random, at in _places(ground, medium, fault, days)
                if (put := stage(ground, truth, at, random)) is not None
            ]
            if said:
                yield Detection(fault=fault, rule=rule, medium=medium, injected=len(said), found=sum(said))


def _places(ground: Ground, medium: Medium, fault: str, days: int) -> Iterator[tuple[Truth, Random, int]]:
    """Usage points, and rows at which a fault is put."""
    for truth in ground.profiles.get(medium, ()):
        if truth.sane and truth.lived_in:
            for random, at in _rows(ground, truth, fault, days):
                yield truth, random, at


def _rows(ground: Ground, truth: Truth, fault: str, days: int) -> Iterator[tuple[Random, int]]:
    """The first row that comes up with every hour of the fault's time known, `often` times."""
    name = f"{ground.seed}/{truth.name}/{truth.medium}/{fault}"
    known = np.cumsum(truth.whole)
    for number in range(ground.often):
        random = Random(f"{name}/{number}" if number else name)
        for _ in range(100):
            at = len(truth.end_at) - random.randrange(ground.faults[1] * 24, ground.faults[0] * 24)
            first, last = at - 15 * 24, min(at + (days + 2) * 24, len(known) - 1)
            if known[last] - known[first] == last - first:
                yield random, at
                break


def _found(truth: Truth, random: Random, at: int, inject: Inject, rule: str, days: int) -> bool:
    changed = Channel(*inject(truth.end_at, truth.register, at, random))
    scene = Scene((changed,), truth.around.context(truth.medium))
    return _seen(scene, int(truth.end_at[at]), rule, days)


def _seen(scene: Scene, at: int, rule: str, days: int) -> bool:
    """Does the rule speak, of any channel, from a day before the fault begins on?"""
    columns, begin = _columns(scene.channels), at - DAY
    return any(
        one.rule == rule and begin <= int(columns.end_at[one.row]) <= begin + (days + 2) * DAY
        for one in judge(columns, scene.context).objections
    )


def alarms(ground: Ground) -> Iterator[Alarms]:
    """What the rules say of series that are as they are, with all that would be known of them."""
    for medium, profiles in ground.profiles.items():
        said: dict[str, int] = {}
        days = 0
        for truth in profiles:
            if truth.sane:
                days += len(truth.end_at) // 24
                for scene in known(ground, truth):
                    # A main meter is another's, of another class: only the sum is looked at.
                    rules = {SUM: RULES[SUM]} if scene.context.mains else RULES
                    for one in judge(_columns(scene.channels), scene.context, rules=rules).objections:
                        said[one.rule] = said.get(one.rule, 0) + 1
        if days:
            per = round(1000 * sum(said.values()) / days, 3)
            yield Alarms(medium=medium, days=days, per_thousand=per, rules=dict(sorted(said.items())))


def _columns(channels: Sequence[Channel]) -> Columns:
    sizes = [len(one.end_at) for one in channels]
    count = sum(sizes)
    exponents = [
        np.full(len(one.end_at), EXPONENT) if one.exponent is None else one.exponent for one in channels
    ]
    return Columns(
        np.cumsum([0, *sizes]),
        np.concatenate([one.end_at for one in channels]),
        np.concatenate([one.register for one in channels]),
        np.concatenate(exponents).astype(np.int8),
        np.zeros(count, np.int8),
        np.zeros(count, np.int32),
        np.zeros(count, np.int32),
    )
