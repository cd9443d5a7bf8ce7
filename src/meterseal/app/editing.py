"""The operator's desk for edits of readings: what one would do to bills, who must let it be, saved, listed, undone.

It works out no register (`mdms.editing`) and no bill (`utility`). What it decides is how many people an edit takes: one,
or two officers where it moves much, where a bill counted with the readings, or where it lies between two customers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from meterseal.app import operator as ask
from meterseal.errors import DataError, LocalError, TrustError
from meterseal.mdms.edit_versions import Plan
from meterseal.mdms.editing import FOUR_EYES, Wish
from meterseal.mdms.edits import MOST_REASON, Edit
from meterseal.mdms.entries import Place
from meterseal.mdms.service import Mdms
from meterseal.mesh.rpc import OPERATOR, Methods, offered_to
from meterseal.security.editorders import EditOrder, EditSigned
from meterseal.security.orders import SignedOrder, decoded
from meterseal.things.fleet import Fleet
from meterseal.utility.calendar import local_day
from meterseal.utility.effect import EditEffect
from meterseal.utility.service import Utility

OFFICERS = 2


class EditMeter(Struct, frozen=True, kw_only=True):
    """One edit of a meter's main channel; the fields are those of `mdms.editing.Wish`."""

    device_id: bytes
    since: int
    until: int
    register: str = ""
    method: str = ""
    total: str = ""
    reason: str
    dry_run: bool = False


class EditNumber(Struct, frozen=True, kw_only=True):
    """An edit, with a reason where it is taken back."""

    number: int
    reason: str = ""
    dry_run: bool = False


class ApproveEdit(Struct, frozen=True, kw_only=True):
    """An edit and the officers' order for it; None only asks what they would sign."""

    number: int
    order: SignedOrder | None = None


class Judge(Protocol):
    """The security service: who signed."""

    async def judge_edit(self, order: SignedOrder) -> EditSigned:
        """Raises TrustError unless two officers did."""


class EditingDesk:
    """The methods of the Unix socket about edits."""

    def __init__(
        self, mdms: Mdms, utility: Utility, fleet: Fleet, security: Judge, clock: Callable[[], int]
    ) -> None:
        self._mdms, self._utility, self._fleet = mdms, utility, fleet
        self._security, self._clock = security, clock

    def methods(self) -> Methods:
        """The table that the Unix socket serves."""
        return offered_to(
            OPERATOR,
            {
                "edit": (self.edit, EditMeter),
                "edits": (self.edits, ask.Page),
                "edit_approve": (self.approve, ApproveEdit),
                "edit_undo": (self.undo, EditNumber),
            },
        )

    async def edit(self, caller: str, asked: EditMeter) -> ask.Text:
        """Show what an edit does, and unless it is a dry run propose it and, where one person suffices, save it.

        DataError `fleet.unknown`, `edit.*`; LocalError `edit.reason`.
        """
        _check_reason(asked.reason)
        now = self._clock()
        meter = await asyncio.to_thread(self._counted, asked)
        wish = Wish(
            usage_point=meter.usage_point,
            since=asked.since,
            until=asked.until,
            register=asked.register,
            method=asked.method,
            total=asked.total,
        )
        plan = await asyncio.to_thread(self._mdms.edits.plan, wish, now)
        edited = [wish.since, wish.until, *(at for at, _, _ in plan.instants)]
        self._utility.check_one_tenant(wish.usage_point, min(edited), max(edited))
        effect = await asyncio.to_thread(self._utility.effect_of, plan.versions, now)
        much = plan.moved > FOUR_EYES[meter.medium]
        people = OFFICERS if much or effect.used_by or effect.between_tenants else 0
        if asked.dry_run:
            return _said(None, plan, effect, people, 0)
        return await self._kept(caller, wish, plan, effect, people, asked.reason, None, now)

    def _counted(self, asked: EditMeter) -> Place:
        """Where the meter counted in the time of an edit; one that was taken out since did, too."""
        places = self._mdms.places(asked.device_id)
        if not places:
            self._fleet.device(asked.device_id)
        here = [p for p in places if p.since <= asked.since and not 0 < p.until <= asked.until]
        if not here:
            raise DataError(
                "edit.elsewhere",
                "The edit is refused: this meter did not count at one place in all of this time, and what was read there "
                "is another meter's and maybe another customer's. Name the meter that counted then, and a time that ends "
                "before it was taken out. Nothing was changed.",
            )
        return here[-1]

    async def undo(self, caller: str, asked: EditNumber) -> ask.Text:
        """Take a saved edit back by further versions, with as many people as it took; give a proposal up.

        LocalError `edit.none`, `edit.reason`; DataError `edit.*`.
        """
        now, edits = self._clock(), self._mdms.edits
        edit = edits.get(asked.number)
        if edit.state == "proposed" and not asked.dry_run:
            gone = await asyncio.to_thread(edits.withdraw, asked.number, caller, now)
            return ask.Text(json=ask.as_json(self._row(gone)))
        _check_reason(asked.reason)
        plan = await asyncio.to_thread(edits.plan_undo, asked.number, now)
        effect = await asyncio.to_thread(self._utility.effect_of, plan.versions, now)
        people = OFFICERS if edit.people or effect.used_by or effect.between_tenants else 0
        if asked.dry_run:
            return _said(None, plan, effect, people, 0)
        wish = Wish(usage_point=edit.usage_point, channel=edit.channel, since=edit.since, until=edit.until)
        return await self._kept(caller, wish, plan, effect, people, asked.reason, asked.number, now)

    async def approve(self, caller: str, asked: ApproveEdit) -> ask.Text:
        """Save a proposal that two officers signed; without an order say what they sign.

        LocalError `edit.none`; TrustError `edit.order` when they signed something else, and what `judge_edit` raises;
        DataError `edit.state`, `edit.overtaken`.
        """
        edits = self._mdms.edits
        edit = edits.get(asked.number)
        if asked.order is None and edit.people:
            return ask.Text(json=ask.as_json(self._row(edit) | {"order": _order_fields(edit)}))
        officers: tuple[str, ...] = ()
        digest = edit.digest
        if asked.order is not None:
            order = decoded(asked.order.request, EditOrder)
            if {name: getattr(order, name) for name in _order_fields(edit)} != _order_fields(edit):
                raise TrustError(
                    "edit.order",
                    f"What was signed is not edit {asked.number} as it stands; nothing was changed. Ask for its order "
                    f"anew: meterseal vee approve {asked.number} --to FILE",
                )
            officers, digest = (await self._security.judge_edit(asked.order)).officers, order.digest
        elif not edits.shown(edit):
            effect = await asyncio.to_thread(
                self._utility.effect_of, edit.content.plan.versions, self._clock()
            )
            if effect.used_by:  # since it was proposed, so that nobody has seen what it does to that bill
                raise DataError(
                    "edit.people",
                    f"A bill counted with the readings of edit {asked.number} meanwhile; nothing was changed. Give it up "
                    f"(meterseal vee undo {asked.number}) and propose it anew.",
                )
        saved = await edits.save(asked.number, digest, officers, caller, self._clock())
        return ask.Text(json=ask.as_json(self._row(saved)))

    async def edits(self, _: str, asked: ask.Page) -> ask.Text:
        """The newest edits, with how many of their readings are visible still."""
        found = await asyncio.to_thread(self._mdms.edits.latest, min(max(asked.limit, 1), 1000))
        return ask.Text(json=ask.as_json([self._row(edit) for edit in found]))

    async def _kept(
        self,
        caller: str,
        wish: Wish,
        plan: Plan,
        effect: EditEffect,
        people: int,
        reason: str,
        undoes: int | None,
        now: int,
    ) -> ask.Text:
        def propose() -> Edit:
            return self._mdms.edits.propose(
                wish,
                plan,
                reason=reason,
                effect=" ".join(_sentences(plan, effect)),
                people=people,
                author=caller,
                now=now,
                undoes=undoes,
            )

        edit = await asyncio.to_thread(propose)
        if not people:
            edit = await self._mdms.edits.save(edit.number, edit.digest, (), caller, now)
        return _said(edit, plan, effect, people, self._mdms.edits.shown(edit))

    def _row(self, edit: Edit) -> dict[str, Any]:
        return _facts(edit) | {"visible": self._mdms.edits.shown(edit)}


def _facts(edit: Edit) -> dict[str, Any]:
    facts = {
        name: getattr(edit, name) for name in Edit.__struct_fields__ if name not in ("content", "digest")
    }
    content = edit.content
    readings = sum(len(one.registers) for one in content.plan.versions)
    return facts | {"reason": content.reason, "effect": content.effect, "readings": readings}


def _order_fields(edit: Edit) -> dict[str, Any]:
    """What officers sign of an edit, beside what every request has."""
    return {
        "edit": edit.number,
        "usage_point": edit.usage_point,
        "since": edit.since,
        "until": edit.until,
        "reason": edit.content.reason,
        "effect": edit.content.effect,
        "digest": edit.digest,
    }


def _said(edit: Edit | None, plan: Plan, effect: EditEffect, people: int, visible: int) -> ask.Text:
    rows = [
        {
            "end_at": at,
            "register": str(Decimal(register).scaleb(one.exponent)),
            "unit": one.unit,
            "quality": one.quality.name.lower(),
        }
        for at, register, one in plan.instants
    ]
    said = {
        "edit": _facts(edit) | {"visible": visible} if edit is not None else None,
        "people": people,
        "moved": str(plan.moved),
        "readings": rows,
        "effect": msgspec.to_builtins(effect),
        "says": _sentences(plan, effect),
    }
    return ask.Text(json=ask.as_json(said))


def _sentences(plan: Plan, effect: EditEffect) -> list[str]:
    """What an edit does, as people read it and officers sign it."""
    readings = list(plan.instants)
    unit = readings[0][2].unit
    said = [f"{len(readings)} readings; a register moves by up to {plan.moved} {unit}."]
    for one in effect.periods:
        before, after = (
            f"{fen / 100:.2f} CNY" if fen is not None else "held" for fen in (one.before_fen, one.after_fen)
        )
        said.append(
            f"Bill of {one.agreement_id} from {local_day(one.since)} to {local_day(one.until)}: {before}, "
            f"with the edit {after}"
            + (f"; {one.issued} is corrected by the next run." if one.corrects else ".")
            + (f" Held: {one.held_after}" if one.held_after else "")
        )
    if not effect.periods:
        said.append("No bill of a completed period changes.")
        if effect.used_by:
            said.append(f"Readings of it were counted with: {', '.join(effect.used_by)}.")
    if effect.between_tenants:
        said.append("It changes the register at which one customer followed another.")
    return said


def _check_reason(reason: str) -> None:
    if not 0 < len(reason.strip()) <= MOST_REASON:
        raise LocalError(
            "edit.reason", f"Say why the readings are edited, in at most {MOST_REASON} characters."
        )
