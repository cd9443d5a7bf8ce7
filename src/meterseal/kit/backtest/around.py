"""Beside the path: what a platform would know around a simulated meter where nothing is wrong, for the rules that want it.

It puts no fault in. What is measured is as good as meters are: a clock within seconds and a look at it within minutes,
energy within the class of the meter. Nothing here comes from a rule or its thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from meterseal.kit.backtest.ground import Beside, Ground, Ints, Truth
from meterseal.mdms.facts import LIMIT
from meterseal.mdms.store.rows import EVER
from meterseal.mdms.vee.context import (
    DAY,
    OFFSET,
    Balance,
    Clocked,
    Context,
    Heating,
    Main,
    Period,
    Size,
    Warmth,
)

CLOCK, LOOK = 30_000, (2_000, 20_000, 120_000)
"""ms that a good clock is off, and between the bounds of a look at it."""
CLASS = 0.03
"""Of energy that a heat meter may count too much or too little."""
PLANTS = (300, 5_000)
"""W of what stands on a balcony, and on a roof."""
OF_MAIN = 5
"""Sub-meters behind one main meter."""
MAIN_CLASS, LOST = 0.02, 0.01
"""What a main meter counts too much or too little, and what runs past its sub-meters, as parts of the use."""


Hours = NDArray[np.float64] | Ints


class Channel(NamedTuple):
    """Registers of one channel; `exponent` of each row, None where all have hundredths."""

    end_at: Ints
    register: Ints
    exponent: Ints | None = None


class Scene(NamedTuple):
    """Channels and what is known of them; the first is the meter that is looked at."""

    channels: tuple[Channel, ...]
    context: Context


def alone(truth: Truth) -> Scene:
    """A meter of which nothing is known but its medium, the weather and the calendar."""
    return Scene((Channel(truth.end_at, truth.register),), truth.around.context(truth.medium))


def known(ground: Ground, truth: Truth) -> Iterator[Scene]:
    """A meter with all that would be known of it; of one in five also with a main meter before it."""
    found = ground.household(truth)
    if found is None:
        yield alone(truth)
        return
    yield _known(ground, truth, found)
    if truth.medium != "heat" and int(truth.name) % OF_MAIN == 0 and (main := behind(ground, truth)):
        yield main


def _known(ground: Ground, truth: Truth, found: Beside) -> Scene:
    random = Random(f"{ground.seed}/{truth.name}/{truth.medium}/around")
    channels, context = alone(truth)
    context = replace(
        context,
        clocks=(measured(random, random.uniform(-CLOCK, CLOCK), 0, EVER),),
        vacancies=() if truth.lived_in else (Period(0, 0),),
        heating=heating(truth, heats=found.heats),
    )
    if found.volume is not None:
        scene = heat(truth, found, 1 + random.uniform(-CLASS, CLASS))
        return scene._replace(context=replace(context, balances=scene.context.balances))
    if found.sun is not None:
        watts = random.randrange(*PLANTS)
        channels = (*channels, fed(truth, found, watts))
        context = replace(context, exports=(1,), sizes=(Size(1, watts),))
    return Scene(channels, context)


def measured(random: Random, off: float, since: int, until: int) -> Clocked:
    """What a look at a clock tells that is off by so many ms."""
    apart = random.choice(LOOK)
    least = round(off - random.random() * apart)
    return Clocked(0, since, until, least, least + apart)


def heating(truth: Truth, *, heats: bool) -> Heating:
    """Days on which there is heating, as the platform tells them from the weather."""
    if truth.medium != "gas":
        return Heating()
    first = int(truth.end_at[0] + OFFSET) // DAY
    days = np.arange(first, int(truth.end_at[-1] + OFFSET) // DAY + 1)
    degrees = truth.around.weather.days(days, OFFSET)
    on = np.where(np.isnan(degrees), -1, degrees < LIMIT)
    return Heating(first, tuple(on.tolist()), (0,) if heats else ())


def heat(truth: Truth, found: Beside, counts: float | Hours) -> Scene:
    """A heat meter that counts this part of its energy, in all hours or in each, and its volume beside it."""
    assert found.volume is not None
    energy = with_uses(truth.register, np.diff(truth.register) * counts)
    channels = (Channel(truth.end_at, energy), Channel(truth.end_at, found.volume))
    context = replace(truth.around.context(truth.medium), balances=balances(found.water, found))
    return Scene(channels, context)


def balances(water: tuple[Warmth | None, ...], found: Beside) -> tuple[Balance, ...]:
    """Energy against volume and this water."""
    return (Balance(0, 1, found.first, water, {0: 1.0}, {0: 1.0}),)


def fed(truth: Truth, found: Beside, watts: int, since: int = 0) -> Channel:
    """What a home with such a plant feeds in, from a row on: what it makes and does not use."""
    assert found.sun is not None
    spare = np.maximum(found.sun * watts / 10 - np.diff(truth.register), 0)
    spare[:since] = 0
    return Channel(truth.end_at, with_uses(truth.register * 0, spare))


def behind(ground: Ground, truth: Truth) -> Scene | None:
    """A main meter and sub-meters of which the first is this one; None without enough others."""
    others = ground.beside(truth)
    if len(others) < OF_MAIN:
        return None
    subs = [truth, *[others[(int(truth.name) + k) % len(others)] for k in range(OF_MAIN - 1)]]
    random = Random(f"{ground.seed}/{truth.name}/{truth.medium}/main")
    counts = 1 + random.uniform(-MAIN_CLASS, MAIN_CLASS) + random.uniform(0, LOST)
    total = np.sum([np.diff(one.register) for one in subs], axis=0)
    main = Channel(truth.end_at, with_uses(truth.register * 0, total * counts))
    context = replace(truth.around.context(truth.medium), mains=(Main(0, tuple(range(1, OF_MAIN + 1))),))
    return Scene((main, *[Channel(one.end_at, one.register) for one in subs]), context)


def with_uses(register: Ints, uses: Hours) -> Ints:
    """Registers that begin with the same one and count these hours, whole digits."""
    counted = np.floor(np.concatenate([[0.0], np.cumsum(uses, dtype=np.float64)]) + 1e-6).astype(np.int64)
    return np.asarray(register[0] + counted, np.int64)
