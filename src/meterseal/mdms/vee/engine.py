"""Station VEE, a run: takes the channels with new readings, lets the rules look, and says what follows.

It writes nothing; findings and versions go back to the caller, who appends them. Running again says the
same, and what is there already is said only once.

Rules look at what the meters delivered (never at estimates or doubts of earlier runs), so the order of runs
does not matter; estimates look at what is visible, and only at what lies before a gap and at its two ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from msgspec import Struct

from meterseal.mdms.columns import Columns
from meterseal.mdms.entries import Version
from meterseal.mdms.finding import Finding
from meterseal.mdms.store.rows import EVER, Key, Rows, Words, standing
from meterseal.mdms.vee.channel import Bridging, Judged, ReadOff
from meterseal.mdms.vee.context import DAY, OFFSET, Balance, Context, Main, Multiplied, Warmth
from meterseal.mdms.vee.doubts import HIGH_FOR, by_clocks, unexplained
from meterseal.mdms.vee.filling import delivered_of
from meterseal.mdms.vee.judge import Choose, Failure, Judgement, Objection, judge
from meterseal.mdms.vee.rules import RULES, Rule
from meterseal.mdms.vee.rules.physics import BALANCE
from meterseal.mdms.vee.settings import Settings
from meterseal.mdms.vee.stretches import ANY, interval_of, stretches
from meterseal.mdms.vee.versions import Said, said_of, versions
from meterseal.model import Medium
from meterseal.units import RATIOS

KWH, M3 = (
    MappingProxyType({one: 1.0} | {other: float(1 / by) for (of, other), by in RATIOS.items() if of == one})
    for one in ("kWh", "m3")
)
"""What a unit of energy and of volume is in kWh and m3."""
AT_ONCE = 400
"""Channels whose rows are in memory at once."""
FAILED = "rule-failed"
"""The finding about a rule that raised."""


class History(Protocol):
    """Where stored rows come from."""

    words: Words

    def rows(self, key: Key, since: int, until: int) -> Rows:
        """Every version with since <= end_at <= until."""


class AsOf:
    """A store as it was: the versions that were recorded up to an instant (of runs that kept no point, ADR 0042)."""

    def __init__(self, store: History, at: int) -> None:
        self.words = store.words
        self._store, self._at = store, at

    def rows(self, key: Key, since: int, until: int) -> Rows:
        """Every version of then with since <= end_at <= until."""
        rows = self._store.rows(key, since, until)
        found = rows[rows["recorded_at"] <= self._at]
        assert isinstance(found, np.ndarray)
        return found


Water = Callable[[int, int], Mapping[int, Warmth]]
"""What is known of a heat meter's water on local days first <= day <= last."""


class Joined(NamedTuple):
    """Channels that belong together in since <= t < until: a main meter before its sub-meters, or where `balance`, a heat
    meter's energy before its volume, with its `water`. `fed`: places of a meter and, behind all of them, of what it fed in.
    """

    keys: tuple[Key, ...]
    since: int = 0
    until: int = EVER
    balance: bool = False
    fed: tuple[tuple[int, int], ...] = ()
    water: Water = lambda first, last: {}


class Surroundings(Protocol):
    """Where what is known beside the registers comes from."""

    def classes(self, keys: Sequence[Key]) -> list[str]:
        """The class of customer of each channel."""

    def context(self, context: Context, keys: Sequence[Key]) -> Context:
        """The same context with what is known about these channels, in this order."""

    def joined(self, keys: Collection[Key]) -> Sequence[Joined]:
        """The channels that belong together, wherever one of these is among them."""

    def neighbours(self, key: Key, since: int, until: int) -> Sequence[Key]:
        """Channels that were used alike in all of since <= t < until, in an order that holds."""

    def zone(self, key: Key, when: int) -> str:
        """The zone that supplied a usage point at an instant, empty for none."""

    def multipliers(self, keys: Sequence[Key]) -> tuple[Multiplied, ...]:
        """What use of these channels, numbered in their order, is multiplied by where that is not 1."""

    def read_off(self, key: Key) -> Mapping[int, ReadOff]:
        """What installers read of a channel's meters, by the instants at which one was put in place."""


class Nothing:
    """Surroundings in which nothing is known: every channel is a dwelling's."""

    def classes(self, keys: Sequence[Key]) -> list[str]:
        return ["dwelling"] * len(keys)

    def context(self, context: Context, keys: Sequence[Key]) -> Context:
        return context

    def joined(self, keys: Collection[Key]) -> Sequence[Joined]:
        return ()

    def neighbours(self, key: Key, since: int, until: int) -> Sequence[Key]:
        return ()

    def zone(self, key: Key, when: int) -> str:
        return ""

    def multipliers(self, keys: Sequence[Key]) -> tuple[Multiplied, ...]:
        return ()

    def read_off(self, key: Key) -> Mapping[int, ReadOff]:
        return {}


class Outcome(NamedTuple):
    """What a run says."""

    findings: list[Finding]
    versions: list[Version]
    readings: int
    unjudged: dict[str, int]
    """How many heat meters, by rule, could not be judged for want of their temperatures."""


class Run(Struct, frozen=True):
    """Everything that a run depends on beside the rows: run again with an equal one, it says the same bit for bit.

    `replaced`: usage points whose meter was exchanged, with the instants at which each was put in place, rising.
    `rolled`: up to where a channel was rolled up, -1 when it never was.
    """

    now: int
    replaced: Mapping[str, Sequence[int]] = MappingProxyType({})
    surroundings: Surroundings = Nothing()
    settings: Settings = Settings()
    rules: Mapping[str, Rule] = RULES
    bridging: Bridging = Bridging()
    rolled: Callable[[Key], int] = lambda _: -1


def run(store: History, dirty: Mapping[Key, int], how: Run) -> Outcome:
    """Judge channels from their oldest new reading on. `how.now` stamps the versions and names the run."""
    outcome = Outcome([], [], 0, {})
    several: dict[Key, list[Said]] = {}
    for _, channels, context in groups(store, dirty, how):
        columns = columns_of(channels)
        said = judged(columns, context, how, how.rules)
        stamped = by_clocks([one.delivered for one in channels], context, how.settings, how.rules)
        kept = unexplained(said.objections, stamped, columns, context.interval)
        said = within(channels, columns, context, Judgement(kept, said.failures))
        outcome.findings.extend(_findings(store, how, channels, columns, context, said))
        for channel, one in said_of(store, channels, columns, context, said, how, stamped):
            parts = several.setdefault(channel.key, []) if len(channel.kept.intervals) > 1 else []
            parts.append(one)
            # Of one that kept several intervals all is known with the last of them.
            if len(parts) == len(channel.kept.intervals):
                several.pop(channel.key, None)
                outcome.versions.extend(versions(store, channel, parts, how))
        new = sum(len(one.delivered) for one in channels if one.kept.intervals[0] == context.interval)
        outcome = outcome._replace(readings=outcome.readings + new)
    for _, channels, context in joined(store, dirty, how):
        columns = columns_of(channels)
        if dark := _dark(context, how):
            outcome.unjudged[BALANCE] = outcome.unjudged.get(BALANCE, 0) + dark
        said = judged(columns, context, how, _joint(how))
        outcome.findings.extend(_findings(store, how, channels, columns, context, said))
    return outcome


def within(channels: Sequence[Judged], columns: Columns, context: Context, said: Judgement) -> Judgement:
    """What was said of rows while the load profile kept the interval by which they were looked at."""
    several = {k: one.kept for k, one in enumerate(channels) if len(one.kept.parts) > 1}
    if not several:
        return said
    held = {k: one.holds(context.interval, columns.end_at) for k, one in several.items()}
    kept = [one for one in said.objections if one.channel not in held or held[one.channel][one.row]]
    return Judgement(kept, said.failures)


def judged(columns: Columns, context: Context, how: Run, rules: Mapping[str, Rule]) -> Judgement:
    """What rules say of every row by the parameters that held at its instant."""
    if not len(columns.end_at):
        return Judgement([], [])
    said = Judgement([], [])
    first, last = int(columns.end_at.min()), int(columns.end_at.max())
    held = {
        name: list(how.settings.held_in(rule, context, first, last).items())
        for name, rule in rules.items()
        if context.medium in rule.media
    }
    # As often as one rule has parameters of its own, and not all rules at every change of any.
    for turn in range(max(map(len, held.values()), default=0)):
        here = {name: ways[turn] for name, ways in held.items() if turn < len(ways)}
        found = judge(columns, context, _nth(here), {name: rules[name] for name in here})
        for one in found.objections:
            at = int(columns.end_at[one.row])
            if any(since <= at < until for since, until in here[one.rule][1]):
                said.objections.append(one)
        said.failures.extend(one for one in found.failures if one not in said.failures)
    return said


def _nth(here: Mapping[str, tuple[Struct, Sequence[tuple[int, int]]]]) -> Choose:
    return lambda rule, _: here[rule.name][0]


Group = tuple[str, Medium, int]
"""Class of customer, medium and interval of channels that are judged together."""


def groups(
    store: History, dirty: Mapping[Key, int], how: Run
) -> Iterator[tuple[Group, list[Judged], Context]]:
    """The channels with their rows, by class, medium and interval, some hundred at a time. One that kept several intervals
    comes with each of them.

    In the order of their names: numbers of words are another one after a start, and what is added up beside what decides
    the last bit of a sum.
    """
    texts = store.words.texts
    keys = sorted(dirty, key=lambda key: (texts[key.point], key.channel))
    reach = cache(lambda customer, medium: _reach(how, customer, medium, how.rules))
    for start in range(0, len(keys), AT_ONCE):
        together: dict[Group, list[Judged]] = {}
        part = keys[start : start + AT_ONCE]
        for key, customer in zip(part, how.surroundings.classes(part), strict=True):
            medium = store.words.medium[key.point]
            begins = how.replaced.get(store.words.texts[key.point], ())[1:]
            read_off = how.surroundings.read_off(key) if begins else {}
            taken = _take(store, key, dirty[key], reach(customer, medium), begins, read_off)
            for interval in taken.kept.intervals:
                together.setdefault((customer, medium, interval), []).append(taken)
        for group, channels in together.items():
            context = Context(medium=group[1], customer=group[0], interval=group[2])
            yield group, channels, how.surroundings.context(context, [c.key for c in channels])


def joined(
    store: History, dirty: Mapping[Key, int], how: Run
) -> Iterator[tuple[Group, list[Judged], Context]]:
    """Channels that belong together, where one of them is among the dirty: for the rules that look at them as one.

    They are of the class and interval of the first, and a channel may come more than once.
    """
    rules = _joint(how)
    reach = cache(lambda customer, medium: _reach(how, customer, medium, rules))
    clusters = how.surroundings.joined(dirty) if rules else ()
    heads = how.surroundings.classes([cluster.keys[0] for cluster in clusters])
    together: dict[Group, list[tuple[Joined, list[Judged]]]] = {}
    taken = 0
    for cluster, customer in zip(clusters, heads, strict=True):
        medium = store.words.medium[cluster.keys[0].point]
        since = min(dirty[key] for key in cluster.keys if key in dirty)
        channels = []
        for key in cluster.keys:
            begins = how.replaced.get(store.words.texts[key.point], ())[1:]
            # Energy and volume are held against each other: answers have both, a load profile energy alone.
            back = reach(customer, medium)
            channels.append(_take(store, key, since, back, begins, joint=True, singles=cluster.balance))
        group = (customer, medium, interval_of(channels[0].delivered))
        together.setdefault(group, []).append((cluster, channels))
        taken += len(channels)
        if taken >= AT_ONCE:
            yield from _as_one(store.words, together, how.surroundings)
            together, taken = {}, 0
    yield from _as_one(store.words, together, how.surroundings)


def _as_one(
    words: Words, together: Mapping[Group, list[tuple[Joined, list[Judged]]]], surroundings: Surroundings
) -> Iterator[tuple[Group, list[Judged], Context]]:
    for group, clusters in together.items():
        channels: list[Judged] = []
        mains, balances = [], []
        for cluster, its in clusters:
            first = len(channels)
            channels += its
            if cluster.balance:
                balances.append(_balance(words, first, its, cluster.water))
            else:
                subs = tuple(range(first + 1, len(channels) - len(cluster.fed)))
                fed = tuple((first + used, first + export) for used, export in cluster.fed)
                mains.append(Main(first, subs, cluster.since, cluster.until, fed))
        alone = {one.energy for one in balances}  # a meter's own balance is of what it counted
        factors = surroundings.multipliers([channel.key for channel in channels])
        yield (
            group,
            channels,
            Context(
                medium=group[1],
                customer=group[0],
                interval=group[2],
                multipliers=tuple(one for one in factors if one.channel not in alone),
                mains=tuple(mains),
                balances=tuple(balances),
            ),
        )


def _balance(words: Words, first: int, its: Sequence[Judged], water: Water) -> Balance:
    kwh, m3 = (_units(words, channel.delivered, known) for channel, known in zip(its, (KWH, M3), strict=True))
    ends = its[0].delivered["end_at"]
    if not len(ends):
        return Balance(first, first + 1, kwh=kwh, m3=m3)
    begin, end = ((int(at) + OFFSET) // DAY for at in (ends[0], ends[-1]))
    known = water(begin, end)
    return Balance(first, first + 1, begin, tuple(known.get(day) for day in range(begin, end + 1)), kwh, m3)


def _units(words: Words, delivered: Rows, known: Mapping[str, float]) -> dict[int, float]:
    """What one of each unit of a channel is, as far as it is one of these."""
    units = sorted(set(delivered["unit"].tolist()))
    return {unit: known[words.texts[unit]] for unit in units if words.texts[unit] in known}


def _dark(context: Context, how: Run) -> int:
    """Of how many heat meters the units, or the water of any day, are not known so well that a rule says more than what is
    possible at all.
    """
    if not context.balances or (rule := how.rules.get(BALANCE)) is None:
        return 0
    few = min(getattr(one, "samples", 0) for one in how.settings.every(rule, context))
    return sum(
        not (one.kwh and one.m3) or all(water is None or water.samples < few for water in one.water)
        for one in context.balances
    )


def _joint(how: Run) -> dict[str, Rule]:
    return {name: rule for name, rule in how.rules.items() if rule.joint}


def _reach(how: Run, customer: str, medium: Medium, rules: Mapping[str, Rule]) -> int:
    """Milliseconds that these rules look back at most."""
    context = Context(medium=medium, customer=customer)
    applied = [rule for rule in rules.values() if medium in rule.media]
    every = (rule.reach(one).before for rule in applied for one in how.settings.every(rule, context))
    return max(every, default=0)


def _take(
    store: History,
    key: Key,
    since: int,
    before: int,
    begins: Sequence[int],
    read_off: Mapping[int, ReadOff] = MappingProxyType({}),
    *,
    joint: bool = False,
    singles: bool = False,
) -> Judged:
    """The rows of a channel with the context that the rules want before its first new reading, and before what that reading
    may have trusted again. `joint`: it is looked at for rules about channels that belong together, and nothing is filled.
    """
    span = before + 4 * DAY
    while True:
        rows = store.rows(key, max(0, since - span), EVER)
        delivered = delivered_of(standing(rows, store.words), singles=singles)
        # A rule that waits for the reading after may judge the one before the first new one now.
        ends = delivered["end_at"].astype(np.int64)
        first = max(int(np.searchsorted(ends, since)) - 1, 0)
        whole = span >= since
        # Readings up to so many back may be doubted for a fall, and what they rose from lies as many before.
        judged = int(np.searchsorted(ends, ends[0] + before)) if len(ends) else 0
        firm = judged + 2 * HIGH_FOR
        if whole or firm <= first - HIGH_FOR:
            from_at = int(ends[first]) if len(ends) else since
            firm_at = 0 if whole else int(ends[firm])
            kept = ANY if joint else stretches(ends, since, whole=whole)
            # A gap that waited for the meter to go on may be filled now.
            if whole or joint or kept.exact <= min(kept.unsure, firm_at) - 4 * DAY:
                from_at = min(since, from_at)
                return Judged(key, rows, delivered, from_at, tuple(begins), firm_at, read_off, kept)
        span *= 4


def columns_of(channels: Sequence[Judged]) -> Columns:
    """What the meters delivered, in the shape that rules look at."""
    rows = np.concatenate([channel.delivered for channel in channels])
    return Columns(
        starts=np.cumsum([0, *(len(channel.delivered) for channel in channels)]),
        end_at=rows["end_at"].astype(np.int64),
        register=rows["register"].astype(np.int64),
        exponent=rows["exponent"].astype(np.int8),
        quality=np.zeros(len(rows), np.int8),
        unit=rows["unit"].astype(np.int32),
        meter=np.concatenate([channel.meters for channel in channels]),
    )


def _findings(
    store: History, how: Run, channels: Sequence[Judged], columns: Columns, context: Context, said: Judgement
) -> list[Finding]:
    found = [
        finding_of(store, how, channels, columns, context, objection)
        for objection in said.objections
        if int(columns.end_at[objection.row]) >= channels[objection.channel].since
    ]
    found += [_failed(store, how, channels[failure.channel], failure) for failure in said.failures]
    return sorted(found, key=lambda one: (one.usage_point, one.channel, one.until, one.rule))


def finding_of(
    store: History,
    how: Run,
    channels: Sequence[Judged],
    columns: Columns,
    context: Context,
    objection: Objection,
) -> Finding:
    """An objection as it is kept: what it is about, the parameters and which change set them in clear, registers and facts
    to be sealed.
    """
    rule, channel = how.rules[objection.rule], channels[objection.channel]
    first, last = objection.since, objection.row
    values = {
        "registers": columns.register[[first, last]].tolist(),
        "exponent": int(columns.exponent[last]),
        "unit": store.words.texts[int(columns.unit[last])],
        "facts": objection.facts,
    }
    until = int(columns.end_at[last])
    parameters = how.settings.parameters(rule, context, until)
    detail: dict[str, Any] = {"parameters": msgspec.to_builtins(parameters)}
    change = how.settings.at(rule, context, until)
    return Finding(
        usage_point=store.words.texts[channel.key.point],
        channel=channel.key.channel,
        since=int(columns.end_at[first]),
        until=until,
        rule=rule.name,
        version=rule.version,
        severity=rule.severity,
        detail=detail if change is None else detail | {"change": change.number},
        values=msgspec.msgpack.encode(values),
        run=f"vee-{how.now}",
    )


def _failed(store: History, how: Run, channel: Judged, failure: Failure) -> Finding:
    last = int(channel.delivered["end_at"][-1]) if len(channel.delivered) else channel.since
    return Finding(
        usage_point=store.words.texts[channel.key.point],
        channel=channel.key.channel,
        since=min(channel.since, last),
        until=last,
        rule=FAILED,
        version=how.rules[failure.rule].version,
        severity="error",
        detail={"rule": failure.rule, "fault": failure.fault},
        run=f"vee-{how.now}",
    )
