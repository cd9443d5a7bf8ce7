"""Station VEE, rules that know what is measured: heat in water, water at night, gas and the heating, an empty flat.

Sources: heat balance E = 1.163 kWh/(m3 K) x V x dT (EN 1434); continuous-flow leak check of water utilities; usage for
inactive of the California set. Thresholds are ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from meterseal.mdms.vee.context import DAY, HOUR, Balance, Warmth
from meterseal.mdms.vee.rules.rule import Found, Reach, Rule, alike, by_medium, nth, table
from meterseal.mdms.vee.view import Floats, Mask, View

BALANCE = "heat-balance"
CARRIES = 1.163
"""kWh that one m3 of cold water gives up over one degree: 4,187 kJ / 3,600."""
_DENSITY = 288.9414, 3.9863, 508_929.2, 68.12963
"""Of water against 1,000 kg/m3 by degC (McCutcheon, Martin, Barnwell 1993)."""
MOST_PLACE = 10**6
LATE = HOUR
"""How long after midnight a day may be opened by the first answer with energy and volume in it (ms)."""


class HeatBalance(Struct, frozen=True):
    """The spread that energy and volume of a day imply must be within `percent` of the measured one, or `apart` K, where it
    was measured in `samples` hours of the day, else between `least` and `most` K; of days with `energy` Wh at least. A
    return that is `reversed` K warmer than the supply is none, of days on which `water` litres flowed. What the last
    digits of the registers, and the measurement itself, leave open is no difference.
    """

    percent: int = 15
    apart: float = 0.5
    least: float = 1.0
    most: float = 80.0
    energy: int = 3_000
    samples: int = 12
    reversed: float = 1.0
    water: int = 100


def carries(degrees: float) -> float:
    """kWh that one m3 of water of this temperature (degC) gives up over one degree.

    The heat coefficient of EN 1434 to half a percent up to 95 degC: heat by weight hardly changes, density does.
    """
    a, b, c, d = _DENSITY
    return CARRIES * (1 - (degrees + a) * (degrees - b) ** 2 / (c * (degrees + d)))


def heat_balance(view: View, parameters: HeatBalance) -> Found:
    """Closes of days of a heat meter whose energy is not what its volume and temperatures make."""
    rows, since, implied_, measured_ = [], [], [], []
    for balance in view.context.balances:
        for day in _balanced(view, balance):
            water = balance.of(day.number)
            known = water is not None and water.samples >= parameters.samples
            shown = water if known else None
            if _is_turned(day, shown, parameters) or _is_off(day, shown, parameters):
                rows.append(day.closes)
                since.append(day.opens)
                implied_.append(_spread(day.energy, day.volume, shown))
                measured_.append(np.nan if shown is None else float(shown.spread))
    order = np.argsort(np.array(rows, np.int64), kind="stable")
    facts = {"implied": np.array(implied_)[order], "measured": np.array(measured_)[order]}
    return Found(np.array(rows, np.int64)[order], facts, np.array(since, np.int64)[order])


class _Balanced(NamedTuple):
    """A local day: the rows of energy that open and close it, kWh and m3 between them, and the last digits of these."""

    number: int
    opens: int
    closes: int
    energy: float
    volume: float
    kwh: float
    m3: float


def _is_turned(day: _Balanced, water: Warmth | None, parameters: HeatBalance) -> bool:
    if water is None or day.volume * 1000 < parameters.water:
        return False
    return water.spread + water.within < -parameters.reversed


def _is_off(day: _Balanced, water: Warmth | None, parameters: HeatBalance) -> bool:
    if day.energy * 1000 < parameters.energy:
        return False
    least = _spread(day.energy - day.kwh, day.volume + day.m3, water)
    most = _spread(day.energy + day.kwh, day.volume - day.m3, water)
    if water is None:
        return most < parameters.least or least > parameters.most
    bears = max(parameters.apart, parameters.percent * abs(water.spread) / 100) + water.within + water.slight
    return most < water.spread - bears or least > water.spread + bears


def _spread(kwh: float, m3: float, water: Warmth | None) -> float:
    """What spread (K) so much energy in so much water is."""
    return float(kwh / (carries(4.0 if water is None else water.degrees) * m3)) if m3 > 0 else np.inf


def _balanced(view: View, balance: Balance) -> list[_Balanced]:
    """Days from the first instant of one at which both registers are known to the first of the next.

    An answer has both at one instant, a little after midnight: between two of them the balance is as true as from midnight
    to midnight.
    """
    parts = [
        slice(int(view.starts[one]), int(view.starts[one + 1])) for one in (balance.energy, balance.volume)
    ]
    energy_at, volume_at = (view.end_at[part] for part in parts)
    instants, *places = np.intersect1d(energy_at, volume_at, assume_unique=True, return_indices=True)
    local = instants + view.context.offset
    number, first = np.unique(local // DAY, return_index=True)
    early = local[first] - number * DAY <= LATE
    number, first = number[early], first[early]
    follows = np.flatnonzero(np.diff(number) == 1)
    edges = [part.start + at[first] for part, at in zip(parts, places, strict=True)]
    known = np.ones(len(follows), np.bool_)
    amounts = []
    its = (balance.energy, balance.kwh), (balance.volume, balance.m3)
    for rows, (channel, units) in zip(edges, its, strict=True):
        opens, closes = rows[follows], rows[follows + 1]
        use = view.register[closes] - view.register[opens] + view.mending(opens, closes)
        # Where the unit turned in between, use is not known.
        unit = np.array([units.get(one, 0.0) for one in view.unit[opens].tolist()], np.float64)
        known &= (view.within(view.unknown, opens, closes) == 0) & (unit > 0)
        digits = [_digit(view, *both) for both in zip(opens.tolist(), closes.tolist(), strict=True)]
        for digits_ in (use, np.array(digits, np.int64)):
            amounts.append((view.amount(digits_, np.full(len(use), channel)) * unit).tolist())
    opened, closed = (edges[0][at].tolist() for at in (follows, follows + 1))
    energy, kwh, volume, m3 = amounts
    return [
        _Balanced(*day)
        for *day, whole in zip(
            number[follows].tolist(), opened, closed, energy, volume, kwh, m3, known.tolist(), strict=True
        )
        if whole
    ]


def _digit(view: View, opens: int, closes: int) -> int:
    """The last place that a register shows between two rows, in last digits of its channel: a meter that counts whole kWh
    fills what its protocol has behind the point with zeros.
    """
    registers = view.register[opens : closes + 1]
    coarse = view.raw_exponent[[opens, closes]].max() - view.exponent[view.of(np.array([opens]))[0]]
    place: int = 10 ** min(int(coarse), 18)
    while place < MOST_PLACE and registers.any() and not (registers % (place * 10)).any():
        place *= 10
    return place


class NightFlow(Struct, frozen=True):
    """At least `least` thousandths of the unit an hour in every interval of the first `hours` of `nights` days in a row."""

    least: int
    hours: int = 5
    nights: int = 3


def night_flow(view: View, parameters: NightFlow) -> Found:
    """Close of the day after whose night flow has not stopped for so many nights: a leak."""
    days = view.days
    interval = view.context.interval
    each = parameters.hours * HOUR // interval
    night = np.arange(1, each + 1)
    long = days.closes - days.opens >= each
    until = np.where(long, days.opens + each, days.opens)
    limit = view.limit(parameters.least, days.channel)
    whole = long & (view.end_at[until] - view.end_at[days.opens] == each * interval)
    # What the whole night lets through bounds its least interval: only few nights are looked into.
    through = view.register[until] - view.register[days.opens] + view.mending(days.opens, until)
    at = np.flatnonzero(whole & (through * (HOUR / interval) >= limit * each * 0.999))
    flow = view.rate[days.opens[at][:, None] + night]
    even = (view.elapsed[days.opens[at][:, None] + night] == interval).all(axis=1)
    least = flow.min(axis=1, initial=np.inf)
    flowing = even & (least >= limit[at])
    at, least = at[flowing], least[flowing]
    last = nth(days.key[at], parameters.nights)
    at, least = at[last], least[last]
    facts = {
        "least": view.amount(least, days.channel[at]),
        "nights": np.full(len(at), parameters.nights),
    }
    return Found(days.closes[at], facts, days.opens[at])


class GasHeating(Struct, frozen=True):
    """More than `most` thousandths of the unit in a day without heating is heating; a day without any use of a meter
    that heats, colder than `cold` degC, with heating on, is none.
    """

    most: int
    cold: float = 5.0


def gas_heating(view: View, parameters: GasHeating) -> Found:
    """Closes of days on which the use of gas does not fit the heating: as much as in winter, or nothing in the cold."""
    heating, days = view.context.heating, view.days
    if not heating.on or not len(days.day):
        return Found()
    at = days.day - heating.first
    known = (at >= 0) & (at < len(heating.on))
    on = np.array(heating.on)[np.clip(at, 0, len(heating.on) - 1)]
    heats = np.isin(days.channel, np.array(heating.channels, np.int64))
    summer = known & (on == 0) & (days.use > view.limit(parameters.most, days.channel))
    outside = view.context.weather.days(days.day, view.context.offset)
    winter = (
        known & (on == 1) & heats & (days.use == 0) & (np.nan_to_num(outside, nan=np.inf) < parameters.cold)
    )
    return _days(view, summer | winter, {"heating": on.astype(np.float64), "outside": outside})


class Vacant(Struct, frozen=True):
    """More than `least` thousandths of the unit on a day on which nobody has an agreement."""

    least: int


def vacant(view: View, parameters: Vacant) -> Found:
    """Close of the first of days in a row with use where nobody has an agreement."""
    days = view.days
    empty = np.zeros(len(days.use), np.bool_)
    for period in view.context.vacancies:
        begin = days.day * DAY - view.context.offset
        empty |= (days.channel == period.channel) & (begin >= period.since) & (begin + DAY <= period.until)
    used = np.flatnonzero(empty & (days.use > view.limit(parameters.least, days.channel)))
    chosen = np.zeros(len(days.use), np.bool_)
    chosen[used[nth(days.key[used], 1)]] = True
    return _days(view, chosen, {})


class FeedIn(Struct, frozen=True):
    """More than `least` thousandths of the unit fed in on a day on which no plant is stated."""

    least: int = 20


def feed_in(view: View, parameters: FeedIn) -> Found:
    """Close of the first of days in a row on which something was fed in where no plant is stated: nobody is paid for it."""
    days = view.days
    unstated = np.isin(days.channel, np.array(view.context.exports, np.int64))
    begin = days.day * DAY - view.context.offset
    for size in view.context.sizes:
        unstated &= ~((days.channel == size.channel) & (begin < size.until) & (begin + DAY > size.since))
    fed = np.flatnonzero(unstated & (days.use > view.limit(parameters.least, days.channel)))
    chosen = np.zeros(len(days.use), np.bool_)
    chosen[fed[nth(days.key[fed], 1)]] = True
    return _days(view, chosen, {})


def _days(view: View, chosen: Mask, facts: dict[str, Floats]) -> Found:
    days = view.days
    at = np.flatnonzero(chosen)
    use = {"use": view.amount(days.use[at], days.channel[at])}
    return Found(days.closes[at], use | {name: fact[at] for name, fact in facts.items()}, days.opens[at])


RULES = (
    Rule(
        BALANCE,
        3,
        "warning",
        heat_balance,
        alike(HeatBalance()),
        lambda _: Reach(2 * DAY),
        ("heat",),
        joint=True,
    ),
    Rule(
        "night-flow",
        1,
        "warning",
        night_flow,
        table(
            {
                ("dwelling", "water"): NightFlow(10),
                ("business", "water"): NightFlow(100),
                ("dwelling", "gas"): NightFlow(50),
                ("business", "gas"): NightFlow(500),
            }
        ),
        lambda p: Reach((p.nights + 3) * DAY),
        ("water", "gas"),
    ),
    Rule(
        "gas-heating",
        1,
        "warning",
        gas_heating,
        table({("dwelling", "gas"): GasHeating(8_000), ("business", "gas"): GasHeating(80_000)}),
        lambda _: Reach(2 * DAY),
        ("gas",),
    ),
    Rule(
        "vacant",
        1,
        "warning",
        vacant,
        by_medium(water=Vacant(50), gas=Vacant(100), heat=Vacant(20_000), electricity=Vacant(3_000)),
        lambda _: Reach(3 * DAY),
    ),
    Rule(
        "feed-in",
        1,
        "warning",
        feed_in,
        alike(FeedIn()),
        lambda _: Reach(3 * DAY),
        ("electricity",),
        fed=True,
    ),
)
