"""Answers to operators about edits of readings: a day to be edited, what an edit would do, what waits, and who agrees.

It decides nothing of an edit (`editing` does) and signs nothing: two officers sign at their own machines, and somebody else
than who asked hands their signatures in. Usage points are pseudonyms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.engine import read
from meterseal.control.tables import former_installations, meters, usage_points
from meterseal.errors import ConsentError, DataError, LocalError
from meterseal.mdms.edit_versions import Plan
from meterseal.mdms.editing import Wish
from meterseal.mdms.edits import Damaged, Edit
from meterseal.mdms.finding import Finding
from meterseal.mdms.vee.estimators import ESTIMATORS
from meterseal.model import MAIN, Medium, Quality
from meterseal.people import edit_messages as ask
from meterseal.people import fleet_messages as of_fleet
from meterseal.people.accounts import Subject
from meterseal.people.editing import Editing, Looked, order_fields, value
from meterseal.people.fleet import MOST_ROWS
from meterseal.people.rows import facts_of, reading_rows
from meterseal.people.scope import not_found
from meterseal.security import officerfile
from meterseal.security.editorders import PURPOSE, EditOrder
from meterseal.security.messages import Anchors
from meterseal.security.orders import encoded, fresh_request_id
from meterseal.utility.calendar import local_day, midnight, next_midnight
from meterseal.utility.ports import RegisterColumns

HOUR = 3_600_000
LAST_DAY = 130 * 365 * 24 * HOUR
"""Of all that may be asked for: in about 2100."""
MOST_WAITING = 100
MOST_FINDINGS = 20
SIGNABLE = 24 * HOUR
"""How long officers have to sign a request that was fetched here."""
Answered = Callable[[Any], Awaitable[Struct]]


class Edited(Protocol):
    """The store of measurements, as far as it is edited."""

    def latest(self) -> dict[str, int]:
        """End of the newest reading of the main channel, per usage point that has any."""

    def registers(
        self, usage_point: str, channel: int, since: int, until: int, as_of: int | None = None
    ) -> RegisterColumns:
        """Visible readings with since <= end_at <= until, with `as_of` as they were visible then."""

    def findings(
        self, limit: int = 100, usage_point: str | None = None, period: tuple[int, int] | None = None
    ) -> Sequence[Finding]:
        """Newest findings first; of a period those that reach into since < t < until."""


class Requests(Protocol):
    """The security service, as far as a request of officers names it."""

    async def epoch(self) -> bytes:
        """What ids of requests begin with."""

    async def anchors(self) -> Anchors:
        """Names the project that requests are of."""


class EditQueries:
    """`operator` says who a session speaks for and refuses whoever is no operator."""

    def __init__(
        self,
        engine: sa.Engine,
        editing: Editing,
        readings: Edited,
        requests: Requests,
        operator: Callable[[str], Subject],
        clock: Callable[[], int],
    ) -> None:
        self._engine, self._editing, self._readings = engine, editing, readings
        self._requests, self._operator, self._clock = requests, operator, clock

    def table(self) -> list[tuple[type[Struct], Answered]]:
        """The questions and who answers them."""
        return [
            (ask.OperatorDay, self.day),
            (ask.OperatorEditLook, self.look),
            (ask.OperatorEdit, self.edit),
            (ask.OperatorUndoLook, self.look_back),
            (ask.OperatorUndo, self.undo),
            (ask.OperatorEdits, self.edits),
            (ask.OperatorEditView, self.view),
            (ask.OperatorEditFile, self.file),
            (ask.OperatorAgree, self.agree),
            (ask.OperatorDecline, self.decline),
        ]

    # --- a day ------------------------------------------------------------------------------------

    async def day(self, question: ask.OperatorDay) -> ask.OperatorDayPage:
        """A local day to be edited. ConsentError `people.not-found`."""
        self._operator(question.session)
        return await asyncio.to_thread(self._day, question)

    def _day(self, question: ask.OperatorDay) -> ask.OperatorDayPage:
        medium = self._medium(question.usage_point)
        latest, now = self._readings.latest().get(question.usage_point), self._clock()
        if not 0 <= question.since < LAST_DAY:
            raise LocalError("people.period", "There is no such day; ask for another one.")
        at = question.since or (latest - 1 if latest else now)
        since = midnight(local_day(at))
        until = next_midnight(at)
        columns = self._readings.registers(question.usage_point, MAIN, since, until)
        found = self._readings.findings(MOST_FINDINGS, question.usage_point, (since, until))
        return ask.OperatorDayPage(
            now=now,
            usage_point=question.usage_point,
            medium=medium,
            unit=columns.unit,
            exponent=columns.exponent,
            since=since,
            until=until,
            latest_at=latest,
            readings=reading_rows(columns),
            findings=tuple(
                of_fleet.Finding(
                    0,
                    one.usage_point,
                    medium,
                    one.channel,
                    one.since,
                    one.until,
                    one.rule,
                    one.version,
                    one.severity,
                    facts_of(one.detail),
                )
                for one in found
            ),
            methods=tuple(ESTIMATORS),
        )

    # --- one edit ---------------------------------------------------------------------------------

    async def look(self, question: ask.OperatorEditLook) -> ask.EditLooked:
        """What an edit would do; nothing is kept. ConsentError `people.not-found`; DataError `edit.*`."""
        self._operator(question.session)
        looked = await self._editing.look(await asyncio.to_thread(self._wish, question))
        return await asyncio.to_thread(self._looked, looked)

    async def edit(self, question: ask.OperatorEdit) -> ask.EditView:
        """Edit as it was looked at. Errors as `look`; LocalError `edit.reason`."""
        subject = self._operator(question.session)
        wish = await asyncio.to_thread(self._wish, question)
        _, edit = await self._editing.edit(subject.account_id, wish, question.reason, question.seen)
        return await self._view(edit, subject)

    async def look_back(self, question: ask.OperatorUndoLook) -> ask.EditLooked:
        """What taking an edit back would do. Errors as `Editing.look_back`."""
        self._operator(question.session)
        await self._edit(question.number)
        looked = await self._editing.look_back(question.number)
        return await asyncio.to_thread(self._looked, looked)

    async def undo(self, question: ask.OperatorUndo) -> ask.EditView:
        """Take an edit back as it was looked at. Errors as `Editing.undo`."""
        subject = self._operator(question.session)
        await self._edit(question.number)
        _, edit = await self._editing.undo(
            subject.account_id, question.number, question.reason, question.seen
        )
        return await self._view(edit, subject)

    def _wish(self, question: ask.OperatorEditLook) -> Wish:
        self._medium(question.usage_point)
        with read(self._engine) as db:
            here = (
                sa.select(of.c.since, of.c.until).where(of.c.usage_point_id == question.usage_point)
                for of in (
                    meters,
                    former_installations,
                )  # a meter that was moved, or came back, counted here before
            )
            rows = db.execute(sa.union_all(*here)).all()
        if not any(
            row.since <= question.since and (row.until is None or question.until < row.until) for row in rows
        ):
            raise DataError(
                "edit.elsewhere",
                "The edit is refused: no one meter counted here in all of this time. Edit the part of each meter by "
                "itself. Nothing was changed.",
            )
        return Wish(
            usage_point=question.usage_point,
            since=question.since,
            until=question.until,
            register=question.register,
            method=question.method,
            total=question.total,
        )

    def _looked(self, looked: Looked) -> ask.EditLooked:
        one = looked.plan.versions[0]
        return ask.EditLooked(
            medium=one.medium,
            unit=one.unit,
            moved=looked.plan.moved,
            readings=self._replaced(looked.plan),
            effect=looked.effect,
            people=looked.people,
            seen=looked.seen,
        )

    def _replaced(self, plan: Plan, as_of: int | None = None) -> tuple[ask.Replaced, ...]:
        """Each reading of a plan beside what stood there, now or as of a moment."""
        one = plan.versions[0]
        found = self._readings.registers(one.usage_point, one.channel, plan.first, plan.last, as_of)
        stood = {
            at: (value(register, found.exponent), Quality(quality))
            for at, register, quality in zip(
                *(np.asarray(c).tolist() for c in (found.end_at, found.register, found.quality)), strict=True
            )
            if quality != Quality.MISSING
        }
        found_at = {at: stood.get(at) or (None, None) for at, _, _ in plan.instants}
        return tuple(
            ask.Replaced(at, found_at[at][0], found_at[at][1], value(register, version.exponent))
            for at, register, version in plan.instants
        )

    # --- what waits -------------------------------------------------------------------------------

    async def edits(self, question: ask.OperatorEdits) -> ask.OperatorEditsPage:
        """What waits for officers, and a page of all edits."""
        self._operator(question.session)
        return await asyncio.to_thread(self._edits, question)

    def _edits(self, question: ask.OperatorEdits) -> ask.OperatorEditsPage:
        limit = max(1, min(question.limit, MOST_ROWS))
        found = self._editing.edits.listed(limit + 1, before=question.before)
        waiting = self._editing.edits.listed(MOST_WAITING, state="proposed")
        here = found[:limit] if question.before else (*waiting, *found[:limit])
        damaged = {one.number for one in here if isinstance(one, Damaged)}
        return ask.OperatorEditsPage(
            now=self._clock(),
            waiting=self._rows(waiting),
            waiting_total=self._editing.edits.waiting(),
            edits=self._rows(found[:limit]),
            next=found[limit - 1].number if len(found) > limit else 0,
            damaged=tuple(sorted(damaged, reverse=True)),
        )

    async def view(self, question: ask.OperatorEditView) -> ask.EditView:
        """One edit. ConsentError `people.not-found`."""
        subject = self._operator(question.session)
        return await self._view(await self._edit(question.number), subject)

    async def file(self, question: ask.OperatorEditFile) -> ask.EditFile:
        """What two officers sign of an edit that waits. DataError `edit.state`."""
        self._operator(question.session)
        edit = await self._edit(question.number)
        if edit.state != "proposed" or not edit.people:
            raise DataError("edit.state", f"Edit {edit.number} is {edit.state}; there is nothing to sign.")
        await self._editing.check_effect(edit)
        epoch, anchors = await asyncio.gather(self._requests.epoch(), self._requests.anchors())
        request = EditOrder(
            request_id=fresh_request_id(epoch),
            not_after=self._clock() + SIGNABLE,
            project_id=anchors.project_id,
            **order_fields(edit),
        )
        file = officerfile.RequestFile(purpose=PURPOSE, says=_said(request), request=encoded(request))
        return ask.EditFile(msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")

    async def agree(self, question: ask.OperatorAgree) -> ask.EditView:
        """Save an edit that two officers signed, and not whoever asked for it. ConsentError `edit.own`; LocalError
        `edit.file`; errors as `Editing.agree`.
        """
        subject = self._operator(question.session)
        edit = await self._edit(question.number)
        if edit.author == subject.account_id:
            raise ConsentError(
                "edit.own",
                "You asked for this edit yourself; somebody else hands the signatures in. Nothing was changed.",
            )
        try:
            file = msgspec.json.decode(question.file, type=officerfile.RequestFile)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise LocalError(
                "edit.file", "This is no request that officers signed; fetch it again and have it signed."
            ) from None
        return await self._view(
            await self._editing.agree(subject.account_id, edit.number, file.order), subject
        )

    async def decline(self, question: ask.OperatorDecline) -> ask.EditView:
        """Decline an edit, or give an own one up. Errors as `Editing.give_up`."""
        subject = self._operator(question.session)
        await self._edit(question.number)
        return await self._view(await self._editing.give_up(subject.account_id, question.number), subject)

    async def _edit(self, number: int) -> Edit:
        try:
            return await asyncio.to_thread(self._editing.edits.get, number)
        except LocalError as error:
            if error.code != "edit.none":
                raise
            raise not_found() from None

    async def _view(self, edit: Edit, subject: Subject) -> ask.EditView:
        waits = edit.state == "proposed"
        plan = edit.content.plan
        effect = await self._editing.effect(plan) if waits else None
        before = None if edit.saved_at is None else edit.saved_at - 1
        rows = await asyncio.to_thread(self._rows, [edit])
        return ask.EditView(
            edit=rows[0],
            unit=plan.versions[0].unit,
            moved=plan.moved,
            readings=await asyncio.to_thread(self._replaced, plan, before),
            effect=effect,
            own=edit.author == subject.account_id,
        )

    def of(self, usage_point: str, limit: int = MOST_FINDINGS) -> tuple[of_fleet.EditRow, ...]:
        """The newest edits of a usage point."""
        return self._rows(self._editing.edits.latest(limit, usage_point))

    def _rows(self, edits: Iterable[Edit | Damaged]) -> tuple[of_fleet.EditRow, ...]:
        return tuple(
            of_fleet.EditRow(
                number=one.number,
                usage_point=one.usage_point,
                medium=one.content.plan.versions[0].medium,
                since=one.since,
                until=one.until,
                undoes=one.undoes,
                people=one.people,
                state=one.state,
                author=one.author,
                officers=one.officers,
                created_at=one.created_at,
                saved_at=one.saved_at,
                reason=one.content.reason,
                effect=one.content.effect,
                readings=sum(len(version.registers) for version in one.content.plan.versions),
                visible=self._editing.edits.shown(one) if one.saved_at is not None else 0,
            )
            for one in edits
            if isinstance(one, Edit)
        )

    def _medium(self, usage_point: str) -> Medium:
        with read(self._engine) as db:
            medium: Medium | None = db.scalar(
                sa.select(usage_points.c.medium).where(usage_points.c.id == usage_point)
            )
        if medium is None:
            raise not_found()
        return medium


def _said(request: EditOrder) -> dict[str, Any]:
    """The fields of a request in words for people, bytes in hex."""
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in msgspec.structs.asdict(request).items()
    }
