"""Beside the path: faults that show only beside what is known around a register: its clock, its water, other meters.

Each names the rule that is meant for it, as those of a register alone do (`faults`); sizes are those that happen.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
from msgspec.structs import replace

from meterseal.kit.backtest.around import (
    CLASS,
    PLANTS,
    Channel,
    Hours,
    Scene,
    alone,
    balances,
    behind,
    fed,
    heat,
    heating,
    measured,
    with_uses,
)
from meterseal.kit.backtest.ground import Beside, Ground, Truth
from meterseal.mdms.vee.context import CARRIES, DAY, OFFSET, Event, Period, Warmth
from meterseal.model import MEDIA, Medium

Stage = Callable[[Ground, Truth, int, Random], tuple[Scene, int] | None]
"""The scene with the fault in it and the row at which it begins; None where it cannot happen."""
SUMMER = 170 * 24
"""Hours before a day of winter."""


def _first_of_day(truth: Truth, at: int) -> int:
    return at - int((truth.end_at[at] + OFFSET) % DAY) // (DAY // 24)


def _counted(truth: Truth, uses: Hours) -> Scene:
    """A meter alone that counts these hours."""
    scene = alone(truth)
    return scene._replace(channels=(Channel(truth.end_at, with_uses(truth.register, uses)),))


def _hour_of(low: float, high: float) -> Stage:
    """One hour of so many times what the connection carries."""

    def stage(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int]:
        uses = np.diff(truth.register)
        uses[at] += round(random.uniform(low, high) * CARRIES["dwelling", truth.medium] / 10)
        return _counted(truth, uses), at

    return stage


def _day_of_much(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int]:
    at = _first_of_day(truth, at)
    uses = np.diff(truth.register)
    uses[at : at + 24] *= random.randrange(6, 16)
    return _counted(truth, uses), at


def _past(low: float, high: float) -> Stage:
    """From now on only such a part of the use passes the meter."""

    def stage(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int]:
        uses = np.diff(truth.register).astype(np.float64)
        uses[at:] *= random.uniform(low, high)
        return _counted(truth, uses), at

    return stage


def _other_digits(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int]:
    digits, context = np.full(len(truth.end_at), -2), truth.around.context(truth.medium)
    digits[at:] -= 1
    register = np.where(digits == -3, truth.register * 10, truth.register)
    return Scene((Channel(truth.end_at, register, digits),), context), at


def _reported(*kinds: str) -> Stage:
    """The meter reports one of these of itself."""

    def stage(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int]:
        (channels, context), kind = alone(truth), random.choice(kinds)
        event = Event(0, int(truth.end_at[at]) + random.randrange(3_600_000), kind)
        return Scene(channels, replace(context, events=(event,))), at

    return stage


def _clock(seconds: int) -> Stage:
    """A clock that leads or lags by so much, for a week, and is looked at through a network that is quick or slow."""

    def stage(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int]:
        (channels, context), since = alone(truth), int(truth.end_at[at])
        off = random.choice((-1, 1)) * seconds * 1_000
        clock = measured(random, off, since, since + 7 * DAY)
        return Scene(channels, replace(context, clocks=(clock,))), at

    return stage


def _vacant(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int]:
    channels, context = alone(truth)
    return Scene(channels, replace(context, vacancies=(Period(0, int(truth.end_at[at])),))), at


def _energy(low: float, high: float) -> Stage:
    """A heat meter that counts such a part of the energy that its water carries, within its class besides."""

    def stage(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int] | None:
        found = ground.household(truth)
        if found is None or found.volume is None:
            return None
        counts = np.full(len(truth.register) - 1, 1 + random.uniform(-CLASS, CLASS))
        counts[at:] *= random.uniform(low, high)
        return heat(truth, found, counts), at

    return stage


def _shows(scene: Scene, found: Beside, day: int, change: Callable[[Warmth], Warmth]) -> Scene:
    """The same, with other temperatures shown from a day on."""
    water = tuple(
        change(one) if one is not None and found.first + k >= day else one
        for k, one in enumerate(found.water)
    )
    return scene._replace(context=replace(scene.context, balances=balances(water, found)))


def _sensor(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int] | None:
    """The supply that is shown is 2 to 5 K off; energy is counted by other sensors."""
    found = ground.household(truth)
    if found is None or found.volume is None:
        return None
    off = random.choice((-1, 1)) * random.uniform(2, 5)
    scene, day = heat(truth, found, 1 + random.uniform(-CLASS, CLASS)), int(truth.end_at[at] + OFFSET) // DAY
    return _shows(scene, found, day, lambda one: one._replace(spread=one.spread + off)), at


def _turned(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int] | None:
    """Supply and return are connected the wrong way round: nothing is counted any more, and water flows."""
    found = ground.household(truth)
    if found is None or found.volume is None:
        return None
    counts = np.ones(len(truth.register) - 1)
    counts[at:] = 0
    scene, day = heat(truth, found, counts), int(truth.end_at[at] + OFFSET) // DAY
    return _shows(scene, found, day, lambda one: one._replace(spread=-one.spread)), at


def _summer_heating(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int] | None:
    if ground.household(truth) is None:
        return None
    at = _first_of_day(truth, at - SUMMER)
    uses = np.diff(truth.register)
    uses[at : at + 72] += random.randrange(40, 120)
    scene = _counted(truth, uses)
    return scene._replace(context=replace(scene.context, heating=heating(truth, heats=False))), at


def _cold_boiler(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int] | None:
    """Nothing passes the meter of a home that heats with gas for a week of winter."""
    found = ground.household(truth)
    if found is None or not found.heats:
        return None
    uses = np.diff(truth.register)
    uses[at : at + 168] = 0
    scene = _counted(truth, uses)
    return scene._replace(context=replace(scene.context, heating=heating(truth, heats=True))), at


def _fed_in(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int] | None:
    """A plant that nobody stated, on a balcony or a roof."""
    found = ground.household(truth)
    if found is None or found.sun is None:
        return None
    scene = alone(truth)
    export = fed(truth, found, random.randrange(*PLANTS), at)
    return Scene((*scene.channels, export), replace(scene.context, exports=(1,))), at


def _sub_meter(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int] | None:
    """One of five sub-meters sees 5 to 40 % of its use."""
    scene = behind(ground, truth)
    if scene is None:
        return None
    uses = np.diff(truth.register).astype(np.float64)
    uses[at:] *= random.uniform(0.05, 0.4)
    main, _, *others = scene.channels
    bypassed = Channel(truth.end_at, with_uses(truth.register, uses))
    return scene._replace(channels=(main, bypassed, *others)), at


def _leak_between(ground: Ground, truth: Truth, at: int, random: Random) -> tuple[Scene, int] | None:
    """20 to 100 litres an hour run off between a main meter and its sub-meters."""
    scene = behind(ground, truth)
    if scene is None:
        return None
    (end_at, register, _), *others = scene.channels
    leaking = np.where(np.arange(len(register)) > at, random.randrange(2, 11), 0)
    return scene._replace(channels=(Channel(end_at, register + np.cumsum(leaking)), *others)), at


STAGED: dict[str, tuple[Stage, str, tuple[Medium, ...], int]] = {
    "an hour near all that the connection carries": (_hour_of(0.6, 1.0), "spike", MEDIA, 1),
    "an hour near all that it carries, alone": (_hour_of(0.6, 1.0), "lonely-spike", MEDIA, 1),
    "an hour of more than the connection carries": (_hour_of(1.2, 3.0), "overload", MEDIA, 1),
    "a day of 6 to 15 times the use": (_day_of_much, "high-use", MEDIA, 2),
    "all but 2 to 8 % of the use past the meter": (_past(0.02, 0.08), "low-use", MEDIA, 25),
    "half of the use past the meter": (_past(0.4, 0.6), "low-use", MEDIA, 25),
    "another decimal point, told by the meter": (_other_digits, "unit", MEDIA, 1),
    "a magnet or an opened cover, told by the meter": (_reported("magnet", "removed"), "tamper", MEDIA, 1),
    "a fault or a weak battery, told by the meter": (_reported("fault", "battery"), "device-flag", MEDIA, 1),
    "a clock 3 minutes off, looked at": (_clock(180), "clock-error", MEDIA, 1),
    "a clock 20 minutes off, looked at": (_clock(1_200), "clock-error", MEDIA, 1),
    "use without an agreement": (_vacant, "vacant", MEDIA, 7),
    "energy 10 % off its water": (_energy(0.9, 0.9), "heat-balance", ("heat",), 3),
    "energy 20 to 40 % below its water": (_energy(0.6, 0.8), "heat-balance", ("heat",), 3),
    "a shown temperature 2 to 5 K off": (_sensor, "heat-balance", ("heat",), 3),
    "supply and return exchanged": (_turned, "heat-balance", ("heat",), 3),
    "a boiler that heats in summer": (_summer_heating, "gas-heating", ("gas",), 3),
    "a boiler off for a week of winter": (_cold_boiler, "gas-heating", ("gas",), 7),
    "a plant that nobody stated": (_fed_in, "feed-in", ("electricity",), 3),
    "one of five sub-meters bypassed": (_sub_meter, "sub-meters", ("water", "gas", "electricity"), 10),
    "20 to 100 litres an hour between the meters": (_leak_between, "sub-meters", ("water",), 3),
}
"""As `faults.FAULTS`."""
