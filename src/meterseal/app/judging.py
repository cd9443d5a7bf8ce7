"""The operator's desk for validation: a run now, what the rules found, and a change of a rule tried before it is made.

It judges nothing itself; the measurements do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Struct

from meterseal.app import operator as ask
from meterseal.mdms.facts import Fact
from meterseal.mdms.finding import Finding
from meterseal.mdms.service import Mdms
from meterseal.mesh.rpc import OPERATOR, Method, Methods

DAY = 86_400_000
SHOWN = 20_000
"""Facts in an answer."""


class FindingsQuery(Struct, frozen=True, kw_only=True):
    """Newest findings, of one usage point or of all."""

    usage_point: str = ""
    limit: int = 50


class TrialOrder(Struct, frozen=True, kw_only=True):
    """Try a rule with other values of its parameters on so many days."""

    rule: str
    change: dict[str, str]
    days: int = 90


class FactsOrder(Struct, frozen=True, kw_only=True):
    """What an operator states of usage points."""

    facts: tuple[Fact, ...]


class FactsQuery(Struct, frozen=True, kw_only=True):
    """What is known of one usage point, or of all."""

    usage_point: str = ""


class JudgingDesk:
    """The methods of the Unix socket about validation."""

    def __init__(self, mdms: Mdms, clock: Callable[[], int]) -> None:
        self._mdms, self._clock = mdms, clock

    def methods(self) -> Methods:
        """The table that the Unix socket serves."""
        table: dict[str, tuple[Callable[[str, Any], Awaitable[Struct]], type[Struct]]] = {
            "vee_run": (self.run, ask.Page),
            "vee_show": (self.show, FindingsQuery),
            "vee_try": (self.attempt, TrialOrder),
            "facts_put": (self.facts_put, FactsOrder),
            "facts": (self.facts, FactsQuery),
        }
        return {
            name: Method(handler, request, frozenset({OPERATOR}))
            for name, (handler, request) in table.items()
        }

    async def run(self, _: str, asked: ask.Page) -> ask.Text:
        """Validate and estimate now."""
        return ask.Text(json=ask.as_json(await self._mdms.run_vee(self._clock())))

    async def show(self, _: str, asked: FindingsQuery) -> ask.Text:
        """What the rules found, newest first, with the numbers that led to it."""
        limit = min(max(asked.limit, 1), 1000)
        found = self._mdms.findings(limit, asked.usage_point or None)
        return ask.Text(json=_json([_row(finding) for finding in found]))

    async def attempt(self, _: str, asked: TrialOrder) -> ask.Text:
        """What a rule would flag with other values; nothing is kept. LocalError `use.rule`, `use.parameter`."""
        now = self._clock()
        days = min(max(asked.days, 1), 400)
        said = await self._mdms.try_rule(asked.rule, asked.change, now - days * DAY, now)
        rows = {"new": [_row(one) for one in said.new], "gone": [_row(one) for one in said.gone]}
        return ask.Text(json=_json(msgspec.structs.asdict(said) | rows))

    async def facts_put(self, _: str, asked: FactsOrder) -> ask.Text:
        """Keep what is stated; the next run judges by it. DataError `facts.*`."""
        await self._mdms.state(asked.facts, self._clock())
        return ask.Text(json=ask.as_json({"facts": len(asked.facts)}))

    async def facts(self, _: str, asked: FactsQuery) -> ask.Text:
        """What rules know now but alarms, by usage point (empty: all) and fact; at most SHOWN rows."""
        told = await asyncio.to_thread(self._mdms.facts.told, self._clock())
        found = [
            {"usage_point": point, "fact": kind, "value": one.value, "since": one.since, "until": one.until}
            for kind, points in told.items()
            for point, spans in points.items()
            for one in spans
            if asked.usage_point in ("", point)
        ]
        found.sort(key=lambda row: (row["usage_point"], row["fact"], row["since"]))
        return ask.Text(json=_json({"facts": found[:SHOWN], "more": max(len(found) - SHOWN, 0)}))


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "usage_point": finding.usage_point,
        "channel": finding.channel,
        "since": finding.since,
        "until": finding.until,
        "rule": finding.rule,
        "version": finding.version,
        "severity": finding.severity,
        "detail": finding.detail,
        "facts": finding.facts,
        "run": finding.run,
    }


def _json(found: object) -> str:
    return msgspec.json.encode(found).decode()
