"""Rules as operators see them, and trials of changed ones: one at a time, in the background, with what each would flag.

It judges nothing (`mdms.vee.trial` does) and changes no rule: a change is made on the command line, with the same words.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import msgspec
import sqlalchemy as sa

from meterseal.control.engine import read
from meterseal.control.tables import usage_points
from meterseal.errors import EngineError, LocalError, MetersealError
from meterseal.mdms.changes import Change
from meterseal.mdms.finding import Finding
from meterseal.mdms.vee.context import CLASSES, DAY
from meterseal.mdms.vee.rules import RULES
from meterseal.mdms.vee.settings import RuleChange, check, rule_named
from meterseal.mdms.vee.trial import DAYS, Trial
from meterseal.model import MEDIA, Medium
from meterseal.people import fleet_messages as of_fleet
from meterseal.people import rule_messages as ask
from meterseal.people.accounts import Subject
from meterseal.people.rows import facts_of

KEPT = 20
"""Trials that are remembered with their examples."""
MOST_CHANGES = 20
LONGEST = 64
"""Characters of a value."""


class Changes(Protocol):
    """What was changed of rules."""

    def latest(self, limit: int | None = 100) -> Sequence[Change]:
        """Newest first."""


class Judging(Protocol):
    """The store of measurements, as far as rules are tried on it."""

    @property
    def changes(self) -> Changes: ...

    async def try_rule(self, change: RuleChange, since: int, now: int) -> Trial:
        """What a rule would flag with a change. LocalError `use.rule`, `use.rules`, `use.parameter`."""


class RuleQueries:
    """`operator` says who a session speaks for and refuses whoever is no operator."""

    def __init__(
        self,
        engine: sa.Engine,
        judging: Judging,
        operator: Callable[[str], Subject],
        clock: Callable[[], int],
    ) -> None:
        self._engine, self._judging = engine, judging
        self._operator, self._clock = operator, clock
        self._running: ask.Asked | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried: deque[ask.Tried] = deque(maxlen=KEPT)

    def table(self) -> list[tuple[type[msgspec.Struct], Callable[[Any], Any]]]:
        """The questions and who answers them."""
        return [(ask.OperatorRules, self.rules), (ask.OperatorTry, self.attempt)]

    async def rules(self, question: ask.OperatorRules) -> ask.OperatorRulesPage:
        """The rules, their trials and their changes. LocalError `use.rule`, `use.rules`."""
        self._operator(question.session)
        return await asyncio.to_thread(self._page, question.rule, question.medium, question.customer)

    async def attempt(self, question: ask.OperatorTry) -> ask.OperatorRulesPage:
        """Begin a trial. LocalError `rules.busy` while one runs, `use.rule`, `use.rules`, `use.parameter`."""
        subject = self._operator(question.session)
        change = RuleChange(
            rule=question.rule,
            medium=_medium(question.medium),
            customer=question.customer or None,
            on=question.on,
            values={name[:LONGEST]: value[:LONGEST] for name, value in question.values.items()},
        )
        check(change)
        if self._running is not None:
            raise LocalError("rules.busy", "Another trial runs; wait until it has come to its end.")
        self._running = ask.Asked(
            rule=change.rule,
            medium=question.medium,
            customer=question.customer,
            on=change.on,
            values=tuple(sorted(change.values.items())),
            author=subject.account_id,
            at=self._clock(),
        )
        self._task = asyncio.create_task(self._attempt(change, self._running))
        return await asyncio.to_thread(self._page, question.rule, question.medium, question.customer)

    async def settled(self) -> None:
        """Return once no trial runs."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _attempt(self, change: RuleChange, asked: ask.Asked) -> None:
        try:
            said = await self._judging.try_rule(change, asked.at - DAYS * DAY, asked.at)
            media = await asyncio.to_thread(self._media, [*said.new, *said.gone])
            self._tried.appendleft(_tried(asked, said, media, self._clock()))
        except MetersealError as error:
            self._tried.appendleft(_failed(asked, error, self._clock()))
        except Exception as error:
            fault = EngineError("rules.fault", "The trial met a fault of the platform's own.")
            self._tried.appendleft(_failed(asked, fault, self._clock()))
            raise fault from error
        finally:
            self._running = None

    def _media(self, found: Sequence[Finding]) -> dict[str, Medium]:
        points = {one.usage_point for one in found}
        query = sa.select(usage_points.c.id, usage_points.c.medium).where(usage_points.c.id.in_(points))
        with read(self._engine) as db:
            return {row.id: row.medium for row in db.execute(query)}

    def _page(self, rule: str, medium: str, customer: str) -> ask.OperatorRulesPage:
        parameters: tuple[ask.Parameter, ...] = ()
        if rule:
            change = RuleChange(rule=rule, medium=_medium(medium), customer=customer or None)
            check(change)
            chosen = rule_named(rule)
            values = msgspec.to_builtins(
                chosen.defaults(customer or CLASSES[0], change.medium or chosen.media[0])
            )
            parameters = tuple(ask.Parameter(name, _written(value)) for name, value in values.items())
        changed = [one for one in self._judging.changes.latest(MOST_CHANGES) if one.kind == "rule"]
        return ask.OperatorRulesPage(
            now=self._clock(),
            rules=tuple(ask.RuleRow(one.name, one.severity, tuple(one.media)) for one in RULES.values()),
            customers=tuple(CLASSES),
            rule=rule,
            medium=medium,
            customer=customer,
            parameters=parameters,
            running=self._running,
            tried=tuple(self._tried),
            changed=tuple(_changed(one) for one in changed),
        )


def _written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _medium(text: str) -> Medium | None:
    if text not in ("", *MEDIA):
        raise LocalError("use.rules", f"Media are {', '.join(MEDIA)}.")
    return cast(Medium, text) if text else None


def _tried(asked: ask.Asked, said: Trial, media: Mapping[str, Medium], now: int) -> ask.Tried:
    return ask.Tried(
        asked=asked,
        ended_at=now,
        days=DAYS,
        readings=said.readings,
        channels=said.channels,
        flags_now=said.flags_now,
        would_flag=said.would_flag,
        new_count=said.new_count,
        gone_count=said.gone_count,
        new=tuple(_finding(one, media) for one in said.new if one.usage_point in media),
        gone=tuple(_finding(one, media) for one in said.gone if one.usage_point in media),
    )


def _failed(asked: ask.Asked, error: MetersealError, now: int) -> ask.Tried:
    return ask.Tried(
        asked=asked,
        ended_at=now,
        days=DAYS,
        readings=0,
        channels=0,
        flags_now=0,
        would_flag=0,
        new_count=0,
        gone_count=0,
        new=(),
        gone=(),
        code=error.code,
        failed=error.message,
    )


def _finding(one: Finding, media: Mapping[str, Medium]) -> of_fleet.Finding:
    facts = tuple((name, f"{value:g}") for name, value in sorted(one.facts.items()))
    return of_fleet.Finding(
        0,
        one.usage_point,
        media[one.usage_point],
        one.channel,
        one.since,
        one.until,
        one.rule,
        one.version,
        one.severity,
        facts or facts_of(one.detail),
    )


def _changed(one: Change) -> ask.Changed:
    return ask.Changed(
        number=one.number,
        asked=ask.Asked(
            rule=one.rule,
            medium=one.medium,
            customer=one.customer,
            on=one.on,
            values=tuple(sorted(one.values.items())),
            author=one.author,
            at=one.recorded_at,
        ),
        reason=one.reason,
        flags_now=None if one.tried is None else one.tried.flags_now,
        would_flag=None if one.tried is None else one.tried.would_flag,
    )
