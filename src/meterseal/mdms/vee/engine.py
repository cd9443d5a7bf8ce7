"""Station VEE, a run: takes the channels with new readings, lets the rules look, and says what follows.

It writes nothing; findings and versions go back to the caller, who appends them. Running again says the
same, and what is there already is said only once.

Rules look at what the meters delivered (never at estimates or doubts of earlier runs), so the order of runs
does not matter; estimates look at what is visible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.mdms.entries import Version
from meterseal.mdms.finding import Finding
from meterseal.mdms.store.rows import ORIGINS, Key, Rows, Words, standing, visible
from meterseal.mdms.vee.columns import Columns, Mask
from meterseal.mdms.vee.estimate import METHOD, Linear, linear
from meterseal.mdms.vee.rules import RULES, suspects
from meterseal.model import Medium, Quality

AT_ONCE = 400
"""Channels whose rows are in memory at once."""
_EVER = 1 << 62
_SPAN = 40 * 86_400_000


class History(Protocol):
    """Where stored rows come from."""

    words: Words

    def rows(self, key: Key, since: int, until: int) -> Rows:
        """Every version with since <= end_at <= until."""


class Outcome(NamedTuple):
    """What a run says."""

    findings: list[Finding]
    versions: list[Version]
    readings: int


class Judged(Struct, frozen=True):
    """One channel in a run: all its rows, what the meter delivered of them, and from where on they are
    new."""

    key: Key
    rows: Rows
    delivered: Rows
    since: int
    meter: NDArray[np.int64]
    """Which of the usage point's meters delivered each row, counted from 0: registers of two have nothing in common."""


def run(
    store: History,
    dirty: Mapping[Key, int],
    now: int,
    replaced: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> Outcome:
    """Judge channels from their oldest new reading on. `now` stamps the versions and names the run.

    `replaced`: usage points whose meter was exchanged, with the instants at which each was put in place, rising.
    """
    outcome = Outcome([], [], 0)
    keys = sorted(dirty)
    for start in range(0, len(keys), AT_ONCE):
        by_medium: dict[Medium, list[Judged]] = {}
        for key in keys[start : start + AT_ONCE]:
            medium = store.words.medium[key.point]
            by_medium.setdefault(medium, []).append(_take(store, key, dirty[key], _context(medium), replaced))
        for medium, channels in by_medium.items():
            part = _judge(store, medium, channels, now)
            outcome.findings.extend(part.findings)
            outcome.versions.extend(part.versions)
            outcome = outcome._replace(readings=outcome.readings + part.readings)
    return outcome


def _context(medium: Medium) -> int:
    """Valid rows that rules look back at most, and one more to see where a finding begins."""
    return 2 + max(rule.before(rule.defaults[medium]) for rule in RULES.values())


def _take(
    store: History, key: Key, since: int, context: int, replaced: Mapping[str, Sequence[int]]
) -> Judged:
    """The rows of a channel from `since` on, with the context that the rules want before it."""
    span = _SPAN
    while True:
        rows = store.rows(key, max(0, since - span), _EVER)
        stands = standing(rows, store.words)
        delivered = visible(
            stands[stands["profile"] & (stands["method"] == 0) & (stands["quality"] != Quality.MISSING)]
        )
        if span >= since or int((delivered["end_at"] < since).sum()) >= context:
            begins = np.array(replaced.get(store.words.texts[key.point], ())[1:], np.int64)
            meter = np.searchsorted(begins, delivered["end_at"].astype(np.int64), side="right")
            return Judged(key, rows, delivered, since, meter)
        span *= 8


def _judge(store: History, medium: Medium, channels: list[Judged], now: int) -> Outcome:
    sizes = [len(channel.delivered) for channel in channels]
    rows = np.concatenate([channel.delivered for channel in channels])
    channel_of = np.repeat(np.arange(len(channels)), sizes)
    columns = Columns(
        series=_numbered(channel_of, np.concatenate([channel.meter for channel in channels])),
        end_at=rows["end_at"].astype(np.int64),
        register=rows["register"].astype(np.int64),
        exponent=rows["exponent"].astype(np.int64),
        valid=np.ones(len(rows), np.bool_),
    )
    masks = {rule.name: rule.mask(columns, rule.defaults[medium]) for rule in RULES.values()}
    findings = [
        finding
        for name, flagged in masks.items()
        for finding in _findings(store, name, medium, channels, channel_of, columns, flagged, now)
    ]
    doubted = suspects(columns, masks)
    versions: list[Version] = []
    start = 0
    for channel, size in zip(channels, sizes, strict=True):
        part = slice(start, start + size)
        versions += _versions(store, medium, channel, doubted[part], now)
        start += size
    return Outcome(findings, versions, len(rows))


def _numbered(channel_of: NDArray[np.int64], meter: NDArray[np.int64]) -> NDArray[np.int64]:
    """A rising number of each series: one meter's rows of one channel."""
    begins = (np.diff(channel_of, prepend=channel_of[:1]) != 0) | (np.diff(meter, prepend=meter[:1]) != 0)
    return np.cumsum(begins)


def _findings(
    store: History,
    name: str,
    medium: Medium,
    channels: list[Judged],
    channel_of: NDArray[np.int64],
    columns: Columns,
    flagged: Mask,
    now: int,
) -> list[Finding]:
    """A finding where a mask begins; while it goes on it is the same finding."""
    rule = RULES[name]
    parameters = rule.defaults[medium]
    begins = flagged.copy()
    if rule.lasting:
        begins[1:] &= ~(flagged[:-1] & (columns.series[1:] == columns.series[:-1]))
    found = []
    for at in np.flatnonzero(begins).tolist():
        channel = channels[int(channel_of[at])]
        until = int(columns.end_at[at])
        if until < channel.since:
            continue
        first = at - rule.before(parameters) + 1 if rule.lasting else at - 1
        values = None
        if name in ("negative-step", "spike"):
            values = msgspec.msgpack.encode(
                [columns.register[first : at + 1].tolist(), int(columns.exponent[at])]
            )
        found.append(
            Finding(
                usage_point=store.words.texts[channel.key.point],
                channel=channel.key.channel,
                since=int(columns.end_at[first]),
                until=until,
                rule=name,
                version=rule.version,
                severity=rule.severity,
                detail={"parameters": msgspec.structs.asdict(parameters)},
                values=values,
                run=f"vee-{now}",
            )
        )
    return found


def _versions(store: History, medium: Medium, channel: Judged, doubted: Mask, now: int) -> list[Version]:
    """Doubts about delivered readings, then estimates between those that are left."""
    shown = visible(channel.rows)
    if not len(shown) or not len(channel.delivered):
        return []
    quality = dict(zip(shown["end_at"].tolist(), shown["quality"].tolist(), strict=True))
    register = dict(zip(shown["end_at"].tolist(), shown["register"].tolist(), strict=True))
    highest = dict(zip(shown["end_at"].tolist(), shown["version"].tolist(), strict=True))
    text = store.words.texts
    versions = []

    def version(like: np.void, at: int, value: int, kind: Quality, method: str) -> Version:
        highest[at] = highest.get(at, 0) + 1
        return Version(
            usage_point=text[channel.key.point],
            medium=medium,
            channel=channel.key.channel,
            start_at=at,
            step=0,
            registers=(value,),
            exponent=int(like["exponent"]),
            unit=text[int(like["unit"])],
            quality=kind,
            method=method,
            recorded_at=now,
            origin=ORIGINS[int(like["origin"])],  # type: ignore[arg-type]
            version=highest[at],
        )

    for row in channel.delivered[doubted]:
        at = int(row["end_at"])
        if quality[at] == Quality.MEASURED:
            versions.append(
                version(row, at, int(row["register"]), Quality.SUSPECT, "doubt/1:negative-step/1")
            )
            quality[at] = Quality.SUSPECT
    for meter in np.unique(channel.meter).tolist():
        mine = channel.delivered[channel.meter == meter]
        units = mine[["exponent", "unit"]]
        if (units != units[0]).any():
            continue  # across a change of unit nothing is interpolated
        good = [
            k
            for k, at in enumerate(mine["end_at"].tolist())
            if quality[at] in (Quality.MEASURED, Quality.EDITED)
        ]
        times, registers = mine["end_at"][good].tolist(), mine["register"][good].tolist()
        step = min((later - earlier for earlier, later in pairwise(times)), default=0)
        for estimate in linear(times, registers, step, Linear()) if step else ():
            seen = quality.get(estimate.end_at)
            if seen == Quality.ESTIMATED and register[estimate.end_at] == estimate.register:
                continue
            if seen in (None, Quality.MISSING, Quality.SUSPECT, Quality.ESTIMATED):
                versions.append(version(mine[good[0]], *estimate, Quality.ESTIMATED, METHOD + ":gap/1"))
    return versions
