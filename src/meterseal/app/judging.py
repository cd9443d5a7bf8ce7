"""The operator's desk for validation: a run now, what the rules found, and a change of a rule tried before it is made.

It judges nothing itself; the measurements do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import msgspec

from meterseal.app import operator as ask
from meterseal.app.validation import (
    ChangeOrder,
    FactsOrder,
    FactsQuery,
    FindingsQuery,
    MethodsOrder,
    PastQuery,
    RunQuery,
    TrialOrder,
)
from meterseal.errors import DataError, LocalError
from meterseal.mdms.clocks import Told
from meterseal.mdms.finding import Finding
from meterseal.mdms.service import Mdms
from meterseal.mdms.vee.estimators import Override
from meterseal.mesh.rpc import OPERATOR, Methods, offered_to
from meterseal.model import MAIN, Medium, Quality

DAY = 86_400_000
MOST_DAYS = 40
SHOWN = 20_000
"""Facts in an answer."""


class JudgingDesk:
    """The methods of the Unix socket about validation."""

    def __init__(self, mdms: Mdms, clock: Callable[[], int]) -> None:
        self._mdms, self._clock = mdms, clock

    def methods(self) -> Methods:
        """The table that the Unix socket serves."""
        return offered_to(
            OPERATOR,
            {
                "vee_run": (self.run, ask.Page),
                "vee_runs": (self.runs, ask.Page),
                "vee_replay": (self.replay, RunQuery),
                "vee_show": (self.show, FindingsQuery),
                "vee_past": (self.past, PastQuery),
                "vee_try": (self.attempt, TrialOrder),
                "vee_change": (self.change, ChangeOrder),
                "vee_order": (self.order, MethodsOrder),
                "vee_changes": (self.changes, ask.Page),
                "facts_put": (self.facts_put, FactsOrder),
                "facts": (self.facts, FactsQuery),
            },
        )

    async def run(self, _: str, asked: ask.Page) -> ask.Text:
        """Validate and estimate now."""
        return ask.Text(json=ask.as_json(await self._mdms.run_vee(self._clock())))

    async def runs(self, _: str, asked: ask.Page) -> ask.Text:
        """The runs that were made, newest first."""
        found = await asyncio.to_thread(self._mdms.runs.latest, min(max(asked.limit, 1), 1000))
        return ask.Text(json=ask.as_json(found))

    async def replay(self, _: str, asked: RunQuery) -> ask.Text:
        """Run again what a run saw; what comes out is what it said, bit for bit. Errors as `Mdms.replay`."""
        said = await asyncio.to_thread(self._mdms.replay, asked.number)
        kept = self._mdms.runs.get(asked.number).run
        rows = [_row(one) for one in said.findings[:SHOWN]]
        return ask.Text(json=_json({"run": kept, "same": True, "findings": rows}))

    async def show(self, _: str, asked: FindingsQuery) -> ask.Text:
        """What the rules found, newest first, with the numbers that led to it. DataError `fleet.unknown`."""
        limit = min(max(asked.limit, 1), 1000)
        usage_point = await asyncio.to_thread(self._point, asked)
        period = (asked.since, asked.until) if asked.until else None
        found = await asyncio.to_thread(self._mdms.findings, limit, usage_point or None, period, asked.as_of)
        return ask.Text(json=_json([_row(finding) for finding in found]))

    async def past(self, _: str, asked: PastQuery) -> ask.Text:
        """Readings as they were visible then, beside now. DataError `fleet.unknown`; LocalError `use.period`."""
        if not asked.since < asked.until <= asked.since + MOST_DAYS * DAY:
            raise LocalError("use.period", f"Readings of the past are shown for at most {MOST_DAYS} days.")
        point = await asyncio.to_thread(self._point, asked)
        then = await asyncio.to_thread(self._said, point, asked, asked.as_of)
        now = await asyncio.to_thread(self._said, point, asked, None)
        nothing: dict[str, str | None] = {"register": None, "quality": None}
        rows = [
            {"end_at": at, "then": then.get(at, nothing), "now": now.get(at, nothing)}
            for at in sorted({*then, *now})
        ]
        return ask.Text(json=_json({"usage_point": point, "as_of": asked.as_of, "readings": rows}))

    def _said(self, point: str, asked: PastQuery, as_of: int | None) -> dict[int, dict[str, str | None]]:
        found = self._mdms.registers(point, MAIN, asked.since, asked.until, as_of)
        return {
            at: {
                "register": str(Decimal(register).scaleb(found.exponent)),
                "unit": found.unit,
                "quality": Quality(quality).name.lower(),
            }
            for at, register, quality in zip(
                *(one.tolist() for one in (found.end_at, found.register, found.quality)), strict=True
            )
            if quality != Quality.MISSING
        }

    def _point(self, asked: FindingsQuery | PastQuery) -> str:
        if not asked.device_id:
            return asked.usage_point
        places = self._mdms.places(asked.device_id)
        if not places:
            raise DataError(
                "fleet.unknown", f"No device {asked.device_id.hex()} is known. See: meterseal device list"
            )
        return places[-1].usage_point

    async def attempt(self, _: str, asked: TrialOrder) -> ask.Text:
        """What a rule would flag with other values; nothing is changed. Errors as `Mdms.try_rule`."""
        now = self._clock()
        days = min(max(asked.days, 1), 400)
        said = await self._mdms.try_rule(asked.asked, now - days * DAY, now)
        rows = {"new": [_row(one) for one in said.new], "gone": [_row(one) for one in said.gone]}
        return ask.Text(json=_json(msgspec.structs.asdict(said) | rows))

    async def change(self, caller: str, asked: ChangeOrder) -> ask.Text:
        """Let a rule judge otherwise from now on. Errors as `Changes.change`."""
        made = await asyncio.to_thread(
            self._mdms.changes.change, asked.asked, reason=asked.reason, author=caller, now=self._clock()
        )
        return ask.Text(json=ask.as_json(made))

    async def order(self, caller: str, asked: MethodsOrder) -> ask.Text:
        """Ask methods in another order for gaps of a time. Errors as `Changes.order`."""
        override = Override(
            asked.since,
            asked.until,
            asked.order,
            asked.reason,
            cast(Medium, asked.medium) if asked.medium else None,
            asked.zone,
        )
        return ask.Text(json=ask.as_json(await self._mdms.order_methods(override, caller, self._clock())))

    async def changes(self, _: str, asked: ask.Page) -> ask.Text:
        """What was changed of rules and of the order of methods, newest first, with who and why."""
        found = await asyncio.to_thread(self._mdms.changes.latest, min(max(asked.limit, 1), 1000))
        return ask.Text(json=ask.as_json(found))

    async def facts_put(self, _: str, asked: FactsOrder) -> ask.Text:
        """Keep what is stated; the next run judges by it. DataError `facts.*`."""
        await self._mdms.state(asked.facts, self._clock())
        return ask.Text(json=ask.as_json({"facts": len(asked.facts)}))

    async def facts(self, _: str, asked: FactsQuery) -> ask.Text:
        """What rules know now but alarms, by usage point (empty: all) and fact; at most SHOWN rows. Of a meter's clock, how
        many seconds it was measured to lead by, at least and at most.
        """
        told = await asyncio.to_thread(self._mdms.facts.told, self._clock(), replaced=self._mdms.exchanged())
        found = [
            {"usage_point": point, "fact": kind, "value": one.value, "since": one.since, "until": one.until}
            for kind, points in told.items()
            for point, spans in points.items()
            for one in spans
            if asked.usage_point in ("", point)
        ]
        measured = await asyncio.to_thread(self._measured, asked.usage_point)
        found += [
            {
                "usage_point": point,
                "fact": "clock",
                "value": f"{one.least / 1000:g}..{one.most / 1000:g}",
                "since": one.since,
                "until": one.at,
            }
            for point, told in measured.items()
            for one in told
        ]
        found.sort(key=lambda row: (row["usage_point"], row["fact"], row["since"]))
        return ask.Text(json=_json({"facts": found[:SHOWN], "more": max(len(found) - SHOWN, 0)}))

    def _measured(self, usage_point: str) -> dict[str, list[Told]]:
        facts = self._mdms.facts
        return facts.clocks_of([usage_point], self._clock()) if usage_point else facts.clocks_latest(SHOWN)


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
