"""Columns for the tests of rules: channels made reading by reading from a seed, with everything in them that goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
from msgspec import Struct

from meterseal.mdms.columns import EMPTY, Columns, join
from meterseal.mdms.vee.context import (
    DAY,
    HOUR,
    OFFSET,
    Balance,
    Calendar,
    Clocked,
    Context,
    Event,
    Heating,
    Main,
    Multiplied,
    Period,
    Size,
    Warmth,
    Weather,
)
from meterseal.mdms.vee.rules import RULES
from meterseal.mdms.vee.rules.days import CopiedDay, HighUse, LowUse, Multiplier
from meterseal.mdms.vee.rules.gaps import Constant, Gap, Stuck, Zero
from meterseal.mdms.vee.rules.physics import FeedIn, GasHeating, HeatBalance, NightFlow, Vacant
from meterseal.mdms.vee.rules.steps import LonelySpike, Overload, ReverseFlow, Spike
from meterseal.mdms.vee.rules.sums import RegisterSum, SubMeters
from meterseal.model import Medium, Quality

STEP = 6 * HOUR
FIRST_DAY = 20_600
FIRST = FIRST_DAY * DAY - OFFSET
"""A local midnight."""
Row = tuple[int, int, int, int, int, int]
"""end_at, register, exponent, quality, unit, meter."""

SMALL: dict[str, Struct] = {
    "gap": Gap(),
    "stuck-register": Stuck(2 * DAY),
    "zero": Zero(days=2, known=3, least=10),
    "constant": Constant(intervals=5, least=2),
    "spike": Spike(least=1_000, window=3 * DAY, known=4),
    "lonely-spike": LonelySpike(least=500, times=3),
    "overload": Overload(),
    "reverse-flow": ReverseFlow(60),
    "high-use": HighUse(least=100, percent=150, known=2),
    "low-use": LowUse(least=100, percent=70, days=2, known=2, used=1, warmer=1),
    "copied-day": CopiedDay(least=5, intervals=2),
    "multiplier": Multiplier(least=10, days=2, within=60, known=2, digits=3),
    "register-sum": RegisterSum(tolerance=1),
    "sub-meters": SubMeters(percent=30, least=100, days=2, lasting=50),
    "heat-balance": HeatBalance(energy=100),
    "night-flow": NightFlow(least=60, hours=12, nights=2),
    "gas-heating": GasHeating(1_000),
    "vacant": Vacant(300),
    "feed-in": FeedIn(300),
}
"""Parameters under which short channels already have something to object to; the others' defaults do."""


def small(name: str) -> Struct:
    """The parameters of a rule for these tables."""
    rule = RULES[name]
    return SMALL.get(name) or rule.defaults("dwelling", rule.media[0])


def columns(*channels: Sequence[Row]) -> Columns:
    """The columns of these channels."""
    kinds = (np.int64, np.int64, np.int8, np.int8, np.int32, np.int32)
    parts = [
        Columns._make(
            [
                np.array([0, len(rows)], np.int64),
                *(np.array([row[k] for row in rows], kind) for k, kind in enumerate(kinds)),
            ]
        )
        for rows in channels
    ]
    return join(parts) if parts else EMPTY


def evenly(registers: Sequence[int], step: int = STEP, first: int = FIRST, exponent: int = -2) -> list[Row]:
    """Readings every `step` from a midnight on."""
    return [(first + k * step, value, exponent, 0, 0, 0) for k, value in enumerate(registers)]


def table(seed: int, channels: int = 4, longest: int = 90) -> tuple[Columns, Context]:
    """Channels and their context; the same for the same seed."""
    random = Random(seed)
    rows = [
        _channel(random, random.choice((0, 1, 2, longest // 3, longest, longest))) for _ in range(channels)
    ]
    media: tuple[Medium, ...] = ("water", "gas", "heat", "electricity")
    days = longest * STEP // DAY + 2
    context = Context(
        medium=random.choice(media),
        interval=STEP,
        digits=5,
        carries=6_000,
        calendar=Calendar(FIRST_DAY, tuple(random.randrange(7) for _ in range(days // 2))),
        weather=Weather(FIRST_DAY * 24 - 8, tuple(random.uniform(-5, 15) for _ in range(24 * days))),
        heating=Heating(FIRST_DAY, tuple(random.randrange(2) for _ in range(days)), (0, 2)),
        sizes=(Size(0, 4_000), Size(1, 9_000, FIRST + 2 * DAY, FIRST + 4 * DAY)),
        vacancies=tuple(_period(random, channels, days) for _ in range(2)),
        multipliers=_multipliers(random, channels, days) if random.random() < 0.2 else (),
        events=tuple(
            Event(
                random.randrange(channels),
                FIRST + random.randrange(days * DAY),
                random.choice(("magnet", "removed", "reverse", "fault", "battery", "nothing")),
            )
            for _ in range(6)
        ),
        clocks=tuple(_clocked(random, channels, days) for _ in range(3)),
        mains=(
            Main(
                0, (1, 2), FIRST + (seed % 3) * DAY, FIRST + (days - seed % 2) * DAY, ((1, 3),) * (seed % 2)
            ),
        ),
        exports=(0, 3) if seed % 2 else (),
        balances=(
            Balance(
                0,
                3,
                FIRST_DAY,
                tuple(_water(random) for _ in range(days // 2)),
                {0: 1.0, 1: 2.0},
                {0: 1.0},
            ),
        ),
    )
    return columns(*rows), context


def _water(random: Random) -> Warmth | None:
    """Often enough, too seldom or not at all measured; now and then the return is warmer than the supply."""
    known = Warmth(
        random.uniform(-5, 40),
        random.uniform(4, 90),
        random.choice((1, 11, 12, 24)),
        random.choice((0.0, 0.0, 1.5)),
        random.choice((0.0, 0.0, 3.0)),
    )
    return known if random.random() < 0.9 else None


def _period(random: Random, channels: int, days: int) -> Period:
    since = FIRST + random.randrange(days) * DAY
    return Period(random.randrange(channels), since, since + random.randrange(1, 9) * DAY)


def _clocked(random: Random, channels: int, days: int) -> Clocked:
    since, least = FIRST + random.randrange(days * DAY), random.randrange(-2 * HOUR, 2 * HOUR)
    until = since + random.choice((0, HOUR, 2 * DAY))
    return Clocked(random.randrange(channels), since, until, least, least + 3_000, random.random() < 0.5)


def _multipliers(random: Random, channels: int, days: int) -> tuple[Multiplied, ...]:
    """Two of one channel, the second from where the first ends or later, and not always at midnight."""
    channel, since = random.randrange(channels), FIRST + random.randrange(days) * DAY
    turn = since + random.randrange(1, 20) * STEP
    again = turn + random.choice((0, 0, DAY))
    return (
        Multiplied(channel, since, turn, random.choice((2, 10))),
        Multiplied(
            channel, again, again + random.randrange(1, 9) * DAY, random.choice((40, 15)), random.randrange(3)
        ),
    )


def _channel(random: Random, count: int) -> list[Row]:
    at, register = FIRST, random.choice((0, 5_000, 98_000, 2**24 - 40, 2**31 - 1))
    exponent, unit, meter = random.choice((-2, -2, -1)), 0, 0
    rows: list[Row] = []
    uses: list[int] = []
    troubled = random.random() < 0.7
    base, mode, left = random.choice((5, 40, 400)), "plain", 0
    for _ in range(count):
        if not left:
            mode = random.choice(("plain", "plain", "zero", "steady", "copied", "tenfold", "small"))
            left = random.randrange(4, 24)
        left -= 1
        use = {
            "plain": random.randrange(base),
            "small": random.randrange(3),
            "zero": 0,
            "steady": base,
            "copied": uses[-4] if len(uses) >= 4 else 1,
            "tenfold": 10 * random.randrange(base),
        }[mode]
        quality = Quality.MEASURED
        if troubled and random.random() < 0.12:
            trouble = random.choice(
                ("fall", "spike", "gap", "off", "twice", "unit", "exponent", "swap", "quality", "bad")
            )
            if trouble == "fall":
                use = -random.choice((1, 3, 50, max(0, register - 30)))
            elif trouble == "spike":
                use = random.choice((2_000, 90_000))
            elif trouble == "gap":
                at += STEP * random.randrange(1, 9)
            elif trouble == "off":
                at += random.choice((1_000, STEP // 2))
            elif trouble == "twice" and rows:
                at -= STEP - random.choice((1_000, STEP // 3))
            elif trouble == "unit":
                unit += 1
            elif trouble == "exponent":
                exponent = random.choice((-3, -2, -1, 0))
            elif trouble == "swap":
                meter, use = meter + 1, -register + random.randrange(40)
            elif trouble == "quality":
                quality = random.choice(list(Quality))
            else:
                use = random.choice((2**31 - 1, 2**24)) - register
        register += use
        if troubled and register >= 10**5 and random.random() < 0.8 and register < 2 * 10**5:
            register -= 10**5
        uses.append(use)
        rows.append((at, register, exponent, int(quality), unit, meter))
        at += STEP
        if troubled and random.random() < 0.3:
            at = -(-(at - FIRST) // STEP) * STEP + FIRST
    return rows
