"""Station MDMS, what an operator changed of validation and estimation: appended with who and why, never overwritten.

It judges nothing. A change of a rule holds from the instant of its recording and is taken only after the same change was
tried on the days before; an order of methods holds for gaps of a stated time. What any past run knew is found again: it is
the rows up to the number that it saw.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, Literal, cast

import msgspec
import sqlalchemy as sa
import structlog
from msgspec import Struct

from meterseal.control import acts
from meterseal.control.engine import read, write
from meterseal.control.sealed import VEE_CHANGES
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import vee_changes as table
from meterseal.errors import DataError, LocalError
from meterseal.mdms.trials import Trials, Tried
from meterseal.mdms.vee.context import DAY, HOUR
from meterseal.mdms.vee.estimators import ESTIMATORS, Override
from meterseal.mdms.vee.settings import RuleChange, Settings, check
from meterseal.mdms.vee.trial import DAYS, Trial
from meterseal.model import MEDIA, Medium

VALID = 24 * HOUR
"""How long a trial allows its change."""
LONGEST = 400
"""Days that an order of methods holds at most."""
MOST_REASON = 400
_WAIT = 60_000
"""How long a change may take to be written, at most; a clock that is further behind a run was set back."""

log = structlog.get_logger()


class Change(Struct, frozen=True, kw_only=True):
    """One change as it is kept: of a rule (`values`, or off), or of the order of methods (`order`) for gaps that begin in
    since <= t < `until`. Empty names stand for all.
    """

    number: int
    kind: Literal["rule", "order"]
    rule: str
    medium: str
    customer: str
    zone: str
    since: int
    until: int | None
    on: bool
    values: dict[str, str]
    order: tuple[str, ...]
    tried: Tried | None
    author: str
    reason: str
    recorded_at: int


class Changes:
    """The table `vee_changes`; `trials` says which changes were tried lately."""

    def __init__(self, engine: sa.Engine, keys: KeyRing) -> None:
        self._engine, self._keys = engine, keys
        self._trials = Trials(engine)
        self._lock, self._asked = Lock(), 0

    # --- asking -----------------------------------------------------------------------------------

    def known(self, as_of: int, upto: int | None = None) -> tuple[Settings, tuple[Override, ...]]:
        """What holds for runs of an instant: the changes of rules and the orders of methods up to number `upto` (`seen`),
        without one those recorded up to that instant.

        What is recorded from now on is recorded after that instant: asking again says the same.
        """
        with self._lock:
            self._asked = max(self._asked, as_of)
        rules, orders = [], []
        for one in reversed(self.latest(as_of=as_of if upto is None else None, limit=None, upto=upto)):
            if one.kind == "order":
                orders.append(_override(one))
                continue
            change = _rule_change(one)
            try:
                check(change)
            except LocalError as error:  # a later version of the rule has no such parameter
                log.warning("vee.change-unfit", number=one.number, rule=one.rule, code=error.code)
                continue
            rules.append(change)
        return Settings(tuple(rules)), tuple(orders)

    def latest(
        self, limit: int | None = 100, as_of: int | None = None, upto: int | None = None
    ) -> list[Change]:
        """Newest first."""
        query = sa.select(table).order_by(table.c.id.desc())
        if limit is not None:
            query = query.limit(limit)
        if as_of is not None:
            query = query.where(table.c.recorded_at <= as_of)
        if upto is not None:
            query = query.where(table.c.id <= upto)
        with read(self._engine) as connection:
            return [self._change(row) for row in connection.execute(query)]

    # --- taking -----------------------------------------------------------------------------------

    def tried(self, change: RuleChange, said: Trial) -> None:
        """A change was tried; for a day it may be made."""
        self._trials.keep(change, said)

    def change(self, change: RuleChange, *, reason: str, author: str, now: int) -> Change:
        """Let a rule judge otherwise from now on. Errors of `settings.check`; LocalError `vee.reason`; DataError
        `vee.untried` unless the same change was tried on the last 90 days within the day before.
        """
        check(change)
        tried = self._trials.of(change)
        if tried is None or not 0 <= now - tried.at <= VALID or tried.since > tried.at - DAYS * DAY:
            raise DataError(
                "vee.untried",
                f"This change of {change.rule} was not tried on the last {DAYS} days, or not within the last day; nothing "
                "was changed. See what it would flag with `meterseal vee try` and the same words, then change it.",
            )
        return self._append(
            {
                "kind": "rule",
                "rule": change.rule,
                "medium": change.medium or "",
                "customer": change.customer or "",
                "zone": "",
                "since": now,
                "until": None,
                "state": "on" if change.on else "off",
                "setting": {"values": dict(change.values)},
                "tried": msgspec.to_builtins(tried),
            },
            reason,
            author,
            now,
        )

    def order(self, override: Override, *, author: str, now: int) -> Change:
        """Ask methods in another order for gaps of a time. DataError `vee.order`; LocalError `vee.reason`."""
        for method in override.order:
            if method not in ESTIMATORS:
                raise DataError(
                    "vee.order", f"There is no method `{method}`; there are: {', '.join(ESTIMATORS)}."
                )
        if len(set(override.order)) != len(override.order):
            raise DataError("vee.order", "Name each method once, the one to be asked first at the front.")
        if override.medium not in (None, *MEDIA) or len(override.zone) > 64:
            raise DataError(
                "vee.order",
                f"A medium is one of {', '.join(MEDIA)}, a zone has at most 64 characters.",
            )
        if not 0 <= override.since < override.until <= override.since + LONGEST * DAY:
            raise DataError(
                "vee.order",
                f"An order holds from a beginning to a later end, at most {LONGEST} days; give both.",
            )
        return self._append(
            {
                "kind": "order",
                "rule": "",
                "medium": override.medium or "",
                "customer": "",
                "zone": override.zone,
                "since": override.since,
                "until": override.until,
                "state": "on",
                "setting": {"order": list(override.order)},
                "tried": {},
            },
            override.reason,
            author,
            now,
        )

    def _append(self, row: dict[str, Any], reason: str, author: str, now: int) -> Change:
        if not 0 < len(reason.strip()) <= MOST_REASON:
            raise LocalError(
                "vee.reason", f"Say why this is changed, in at most {MOST_REASON} characters (--reason)."
            )
        with self._lock, write(self._engine) as connection:
            recorded = self._asked + 1 if now <= self._asked < now + _WAIT else now
            if row["kind"] == "rule":
                row["since"] = recorded
            number = (connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0) + 1
            row |= {
                "id": number,
                "author": author,
                "recorded_at": recorded,
                "sealed_reason": reason.strip().encode(),
            }
            connection.execute(table.insert().values(VEE_CHANGES.seal(self._keys, row)))
            acts.append(connection, acts.Act(now, author, f"vee-{row['kind']}-changed", f"change/{number}"))
            made = connection.execute(sa.select(table).where(table.c.id == number)).one()
        return self._change(made)

    def _change(self, row: sa.Row[Any]) -> Change:
        return Change(
            number=row.id,
            kind=cast(Literal["rule", "order"], row.kind),
            rule=row.rule,
            medium=row.medium,
            customer=row.customer,
            zone=row.zone,
            since=row.since,
            until=row.until,
            on=row.state == "on",
            values=dict(row.setting.get("values", {})),
            order=tuple(row.setting.get("order", ())),
            tried=msgspec.convert(row.tried, Tried) if row.tried else None,
            author=row.author,
            reason=(VEE_CHANGES.open(self._keys, row) or b"").decode(),
            recorded_at=row.recorded_at,
        )


def _rule_change(one: Change) -> RuleChange:
    return RuleChange(
        rule=one.rule,
        medium=cast(Medium, one.medium) if one.medium else None,
        customer=one.customer or None,
        on=one.on,
        values=one.values,
        since=one.since,
        number=one.number,
    )


def _override(one: Change) -> Override:
    assert one.until is not None
    medium = cast(Medium, one.medium) if one.medium else None
    return Override(one.since, one.until, one.order, one.reason, medium, one.zone, one.number)
