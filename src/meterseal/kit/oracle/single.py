"""Beside the path: the oracles of rules about one reading and its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from meterseal.kit.oracle.channel import Channel
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.rules.steps import BAD

Oracle = Callable[[Channel, list[Channel], Context, Any], list[int]]


def gap(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    return [
        r.row for r in channel.readings[1:] if r.event != "swap" and r.elapsed > context.interval + p.allowed
    ]


def stuck(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found, since, said = [], 0, False
    for place, reading in enumerate(channel.readings):
        if place and reading.register != channel.readings[place - 1].register:
            since, said = place, False
        if not said and reading.at - channel.readings[since].at >= p.lasting:
            found.append(reading.row)
            said = True
    return found


def constant(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found, run = [], 0
    before: int | None = None
    for reading in channel.readings:
        use = reading.use if reading.elapsed == context.interval else None
        run = run + 1 if use is not None and use == before and use >= p.least else 1
        before = use
        if run == p.intervals:
            found.append(reading.row)
    return found


def negative_step(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    return [
        now.row
        for before, now in pairwise(channel.readings)
        if now.event == "fall" and before.register - now.register > p.allowed
    ]


def roll_over(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    return [reading.row for reading in channel.readings if reading.event == "roll-over"]


def spike(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found = []
    for place, reading in enumerate(channel.readings):
        rate = channel.rate(place)
        if rate <= channel.digits(p.least):
            continue
        history = [channel.rate(k) for k in range(1, place) if channel.readings[k].at > reading.at - p.window]
        third = sorted(history)[-3] if len(history) >= max(p.known, 3) else 0
        if rate * 100 > third * (100 + p.excess):
            found.append(reading.row)
    return found


def lonely_spike(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found = []
    for place in range(2, len(channel.readings) - 1):
        three = channel.readings[place - 1 : place + 2]
        if any(r.use is None or r.elapsed != context.interval for r in three):
            continue
        rate = channel.rate(place)
        if rate > channel.digits(p.least) and rate > p.times * max(
            channel.rate(place - 1), channel.rate(place + 1)
        ):
            found.append(three[1].row)
    return found


def overload(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found, before = [], False
    for place, reading in enumerate(channel.readings):
        said = [
            size.thousandths
            for size in context.sizes
            if size.channel == channel.number and size.since < reading.at <= size.until
        ]
        limit = [context.carried, *said][-1] * 10.0**-channel.exponent * p.percent / 100_000
        if channel.rate(place) > limit and not before:
            found.append(reading.row)
        before = channel.rate(place) > limit
    return found


def reverse_flow(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found = []
    for before, now in pairwise(channel.readings):
        said = any(
            e.channel == channel.number and e.kind == "reverse" and before.at < e.at <= now.at
            for e in context.events
        )
        small = now.event == "fall" and (before.register - now.register) * now.factor <= channel.digits(
            p.most
        )
        if said or small:
            found.append(now.row)
    return found


def sentinel(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found = []
    for place, reading in enumerate(channel.readings):
        if not any(abs(reading.digits - bad) <= p.within for bad in BAD):
            continue
        step = reading.register - channel.readings[place - 1].register if place else -1
        carried = channel.digits(context.carried) * (reading.elapsed / 3_600_000)
        if not (place and step >= 0 and step * reading.factor <= carried):
            found.append(reading.row)
    return found


def time(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found, before = [], None
    for reading in channel.readings:
        past = (reading.at + context.offset) % context.interval
        if min(past, context.interval - past) > p.off and past != before:
            found.append(reading.row)
        before = past
    return found


def duplicate(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    return [r.row for r in channel.readings[1:] if r.elapsed * 100 < context.interval * p.percent]


def unit(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    return [
        now.row
        for before, now in pairwise(channel.readings)
        if now.event != "swap" and (now.unit != before.unit or now.exponent != before.exponent)
    ]


def flags(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    return [
        now.row
        for before, now in pairwise(channel.readings)
        if any(
            e.channel == channel.number and e.kind in p.kinds and before.at < e.at <= now.at
            for e in context.events
        )
    ]


def clock_error(channel: Channel, _: list[Channel], context: Context, p: Any) -> list[int]:
    found = set()
    for span in context.clocks:
        if span.channel != channel.number or (span.least <= p.allowed and span.most >= -p.allowed):
            continue
        inside = [r.row for r in channel.readings if span.since < r.at <= span.until]
        found.update(inside[:1])
    return sorted(found)


ORACLES: dict[str, Oracle] = {
    "gap": gap,
    "stuck-register": stuck,
    "constant": constant,
    "negative-step": negative_step,
    "roll-over": roll_over,
    "spike": spike,
    "lonely-spike": lonely_spike,
    "overload": overload,
    "reverse-flow": reverse_flow,
    "sentinel": sentinel,
    "time": time,
    "duplicate": duplicate,
    "unit": unit,
    "tamper": flags,
    "device-flag": flags,
    "clock-error": clock_error,
}
