"""Beside the path: the oracles of rules about whole days."""

from __future__ import annotations

from itertools import pairwise
from math import inf, log10
from typing import Any

from meterseal.kit.oracle.channel import Channel, Day
from meterseal.kit.oracle.single import Oracle
from meterseal.mdms.vee.context import DAY, HOUR, Context


def _kind(context: Context, number: int) -> int:
    calendar = context.calendar
    at = number - calendar.first
    return calendar.kinds[at] if calendar.kinds and 0 <= at < len(calendar.kinds) else (number + 3) % 7


def _before(channel: Channel, number: int, back: int) -> list[Day]:
    days = (channel.known(number - k) for k in range(1, back + 1))
    return [day for day in days if day is not None]


def _closes(channel: Channel, numbers: list[int]) -> list[int]:
    return [channel.readings[channel.days[number].closes].row for number in numbers]


def _known(channel: Channel) -> list[tuple[int, int, Day]]:
    return [(number, day.use, day) for number, day in sorted(channel.days.items()) if day.use is not None]


def _in_a_row(numbers: list[int], count: int) -> list[int]:
    """Those at which exactly so many days in a row have been named."""
    named = set(numbers)
    return [
        number
        for number in numbers
        if all(number - k in named for k in range(count)) and number - count not in named
    ]


def zero(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found = []
    for number in _in_a_row([number for number, use, _ in _known(channel) if use == 0], p.days):
        before = _before(channel, number - p.days + 1, 28)
        uses = [day.use or 0 for day in before]
        if len(uses) < p.known or 0 in uses:
            continue
        if sum(uses) / max(len(uses), 1) > channel.digits(p.least):
            found.append(number)
    return _closes(channel, found)


def _like(channel: Channel, context: Context, number: int, known: int) -> float | None:
    free = _kind(context, number) >= 5
    uses = [day.use or 0 for day in _before(channel, number, 28) if (_kind(context, day.number) >= 5) == free]
    return sum(uses) / max(len(uses), 1) if len(uses) >= known else None


def high_use(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found = []
    for number, use, _day in _known(channel):
        mean = _like(channel, context, number, p.known)
        if mean is not None and use - mean > channel.digits(p.least) and use * 100 > mean * p.percent:
            found.append(number)
    return _closes(channel, found)


def low_use(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    low = []
    for number, _use, _day in _known(channel):
        recent = [channel.known(number - k) for k in range(p.days)]
        before = [day.use or 0 for day in _before(channel, number - p.days + 1, 28)]
        if None in recent or len(before) < p.known:
            continue
        lately = [day.use or 0 for day in recent if day]
        mean = sum(before) / max(len(before), 1)
        some = sum(use > 0 for use in lately) >= p.used
        fallen = mean > channel.digits(p.least) and sum(lately) * 100 < mean * p.percent * p.days
        if some and fallen and not _in_spring(channel, context, number, p):
            low.append(number)
    found = [one for one in low if not any(one - k in low for k in range(1, p.days + 1))]
    return _closes(channel, found)


def _in_spring(channel: Channel, context: Context, number: int, p: Any) -> bool:
    if context.medium != "heat" and channel.number not in context.heating.channels:
        return False
    degrees = [_outside(context, number - k) for k in range(p.days + 28)]
    if None in degrees:
        return True
    known = [one for one in degrees if one is not None]
    now, before = known[: p.days], known[p.days :]
    return bool(sum(now) / len(now) - sum(before) / len(before) > p.warmer)


def _outside(context: Context, number: int) -> float | None:
    weather = context.weather
    first = number * 24 - context.offset // HOUR - weather.first
    known = first >= 0 and first + 24 <= len(weather.degrees)
    return sum(weather.degrees[first : first + 24]) / 24 if known else None


def _even(channel: Channel, context: Context, day: Day) -> bool:
    inside = channel.inside(day)
    return len(inside) == DAY // context.interval and all(r.elapsed == context.interval for r in inside)


def copied_day(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found = []
    for number, use, day in _known(channel):
        before = channel.known(number - 1)
        if (
            before is None
            or use < p.least
            or not (_even(channel, context, day) and _even(channel, context, before))
        ):
            continue
        now = [reading.use for reading in channel.inside(day)]
        if now == [reading.use for reading in channel.inside(before)] and len(set(now)) >= p.intervals:
            found.append(number)
    return _closes(channel, found)


def multiplier(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    changed = []
    for number, _use, _day in _known(channel):
        recent = [channel.known(number - k) for k in range(p.days)]
        if None in recent:
            continue
        before = _before(channel, number - p.days + 1, 28)
        uses = [day.use or 0 for day in before]
        mean = sum(uses) / max(len(uses), 1)
        if len(uses) < p.known or not mean > channel.digits(p.least):
            continue
        lately = sum(day.use or 0 for day in recent if day) / p.days
        peaks = [
            max(reading.use or 0 for day in days if day for reading in channel.inside(day))
            for days in (recent, before)
        ]
        power = _power(lately, mean, p.within)
        first = min(day.number for day in before) if before else number
        begins = channel.readings[channel.days[first].opens].at
        ends = channel.readings[channel.days[number].closes].at
        if any(
            begins < edge < ends
            for one in context.multipliers
            if one.channel == channel.number
            for edge in (one.since, one.until)
        ):
            continue
        if power and min(peaks) >= p.digits and power == _power(peaks[0], peaks[1], p.within):
            changed.append(number)
    return _closes(channel, _in_a_row(changed, 1))


def _power(now: float, before: float, within: int) -> int:
    if now <= 0 or before <= 0:
        return 0
    power = round(log10(now / before))
    return power if abs(now / before / 10.0**power - 1) * 100 <= within and abs(power) <= 4 else 0


def register_sum(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found = []
    for number, day in channel.days.items():
        inside = channel.inside(day)
        if _altered(channel, day):
            continue
        begin, end = channel.readings[day.opens], channel.readings[day.closes]
        register = end.register - begin.register
        for reading in inside:
            if reading.event == "roll-over":
                register += 10 ** (context.digits + reading.exponent - channel.exponent)
        if abs(sum(reading.counted or 0 for reading in inside) - register) > p.tolerance:
            found.append(number)
    return _closes(channel, found)


def _altered(channel: Channel, day: Day) -> bool:
    """Was another meter or another unit or decimal point there within the day?"""
    return any(
        now.event in ("swap", "unit") or now.exponent != before.exponent
        for before, now in pairwise(channel.readings[day.opens : day.closes + 1])
    )


def _amount(channel: Channel, number: int) -> float | None:
    day = channel.known(number)
    if day is None or day.use is None:
        return None
    scale = 10.0 ** abs(channel.exponent)
    return day.use / scale if channel.exponent < 0 else day.use * scale


def sub_meters(channel: Channel, every: list[Channel], context: Context, p: Any) -> list[int]:
    found = []
    for main in context.mains:
        if main.channel != channel.number:
            continue
        sums = {}
        for number in sorted(channel.days):
            fed = dict(main.fed)
            whole = _net(every, channel.number, fed, number)
            parts = [part for sub in main.subs if (part := _net(every, sub, fed, number)) is not None]
            begin = number * DAY - context.offset
            within = main.since <= begin and begin + DAY <= main.until
            if whole is not None and len(parts) == len(main.subs) and within:
                sums[number] = (whole, sum(parts))
        over = {number: _week_apart(sums, number, p) for number in sums}
        for number, (whole, parts_sum) in sums.items():
            alone = abs(whole - parts_sum) > max(p.percent * abs(whole) / 100, p.least / 1000)
            if alone or (over[number] and not over.get(number - 1, False)):
                found.append(number)
    return _closes(channel, found)


def _week_apart(sums: dict[int, tuple[float, float]], number: int, p: Any) -> bool:
    week = [sums[number - k] for k in range(p.days) if number - k in sums]
    whole, parts = (sum(column) for column in zip(*week, strict=True))
    apart = abs(whole - parts) > max(p.percent * abs(whole) / 100, p.lasting / 1000)
    return len(week) == p.days and bool(apart)


def _net(every: list[Channel], channel: int, fed: dict[int, int], number: int) -> float | None:
    used = _amount(every[channel], number)
    if channel not in fed or used is None:
        return used
    back = _amount(every[fed[channel]], number)
    return None if back is None else used - back


def heat_balance(channel: Channel, every: list[Channel], context: Context, p: Any) -> list[int]:
    found = []
    for balance in context.balances:
        if balance.energy != channel.number:
            continue
        water = every[balance.volume]
        places = {reading.at: place for place, reading in enumerate(water.readings)}
        opened: dict[int, tuple[int, int]] = {}
        for place, reading in enumerate(channel.readings):
            if reading.at in places:
                opened.setdefault((reading.at + context.offset) // DAY, (place, places[reading.at]))
        opened = {
            number: both
            for number, both in opened.items()
            if (channel.readings[both[0]].at + context.offset) % DAY <= HOUR
        }
        for number, (first, first_water) in opened.items():
            if number + 1 not in opened:
                continue
            last, last_water = opened[number + 1]
            used, passed = _between(channel, first, last), _between(water, first_water, last_water)
            if used is None or passed is None:
                continue
            kwh = balance.kwh.get(channel.readings[first].unit)
            m3 = balance.m3.get(water.readings[first_water].unit)
            if kwh is None or m3 is None:
                continue
            energy, volume = used * kwh, passed * m3
            open_energy = _place(channel, first, last) * kwh
            open_volume = _place(water, first_water, last_water) * m3
            at = number - balance.first
            seen = balance.water[at] if 0 <= at < len(balance.water) else None
            if seen is not None and seen.samples < p.samples:
                seen = None
            coefficient = _coefficient(4.0 if seen is None else seen.degrees)
            lowest = (energy - open_energy) / (coefficient * (volume + open_volume))
            left = volume - open_volume
            highest = (energy + open_energy) / (coefficient * left) if left > 0 else inf
            below, above, turned = p.least, p.most, False
            if seen is not None:
                bears = max(p.apart, p.percent * abs(seen.spread) / 100) + seen.within + seen.slight
                below, above = seen.spread - bears, seen.spread + bears
                turned = seen.spread < -p.reversed - seen.within and volume * 1000 >= p.water
            if turned or (energy * 1000 >= p.energy and (highest < below or lowest > above)):
                found.append(channel.readings[last].row)
    return found


def _place(channel: Channel, first: int, last: int) -> float:
    """What the last figure stands for that a register shows between two readings, in its unit."""
    readings = channel.readings[first : last + 1]
    place = max(10 ** (reading.exponent - channel.exponent) for reading in (readings[0], readings[-1]))
    if any(reading.register for reading in readings):
        while place < 10**6 and all(reading.register % (place * 10) == 0 for reading in readings):
            place *= 10
    return float(place / 10**-channel.exponent if channel.exponent < 0 else place * 10.0**channel.exponent)


def _coefficient(degrees: float) -> float:
    """kWh of a cubic metre and a degree."""
    thinner = (degrees + 288.9414) * (degrees - 3.9863) ** 2 / (508929.2 * (degrees + 68.12963))
    return 1.163 * (1 - thinner)


def _between(channel: Channel, first: int, last: int) -> float | None:
    uses = [reading.use for reading in channel.readings[first + 1 : last + 1]]
    if None in uses:
        return None
    total = sum(use for use in uses if use is not None)
    return float(total / 10**-channel.exponent if channel.exponent < 0 else total * 10.0**channel.exponent)


def night_flow(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    flowing = []
    for number, _use, day in _known(channel):
        count = p.hours * HOUR // context.interval
        night = channel.inside(day)[:count]
        if (
            len(night) == count
            and all(reading.elapsed == context.interval for reading in night)
            and all(
                (reading.use or 0) * float(HOUR) / context.interval >= channel.digits(p.least)
                for reading in night
            )
        ):
            flowing.append(number)
    return _closes(channel, _in_a_row(flowing, p.nights))


def gas_heating(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found, heating = [], context.heating
    for number, use, _day in _known(channel):
        at = number - heating.first
        if not 0 <= at < len(heating.on):
            continue
        outside = _outside(context, number)
        outside = inf if outside is None else outside
        if (heating.on[at] == 0 and use > channel.digits(p.most)) or (
            heating.on[at] == 1 and use == 0 and channel.number in heating.channels and outside < p.cold
        ):
            found.append(number)
    return _closes(channel, found)


def vacant(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    used = []
    for number, use, _day in _known(channel):
        begin = number * DAY - context.offset
        empty = any(
            v.channel == channel.number and v.since <= begin and begin + DAY <= v.until
            for v in context.vacancies
        )
        if empty and use > channel.digits(p.least):
            used.append(number)
    return _closes(channel, _in_a_row(used, 1))


def feed_in(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    if channel.number not in context.exports:
        return []
    fed = []
    for number, use, _day in _known(channel):
        begin = number * DAY - context.offset
        stated = any(
            s.channel == channel.number and s.since < begin + DAY and begin < s.until for s in context.sizes
        )
        if not stated and use > channel.digits(p.least):
            fed.append(number)
    return _closes(channel, _in_a_row(fed, 1))


ORACLES: dict[str, Oracle] = {
    "zero": zero,
    "high-use": high_use,
    "low-use": low_use,
    "copied-day": copied_day,
    "multiplier": multiplier,
    "register-sum": register_sum,
    "sub-meters": sub_meters,
    "heat-balance": heat_balance,
    "night-flow": night_flow,
    "gas-heating": gas_heating,
    "vacant": vacant,
    "feed-in": feed_in,
}
