"""The operator's desk for edits of readings: what one would do to bills, who must let it be, saved, listed, undone.

It decides nothing (`people.editing` does, for the portal as well); it finds the meter that is named and says what was done.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec import Struct

from meterseal.app import operator as ask
from meterseal.errors import DataError
from meterseal.mdms.editing import Wish
from meterseal.mdms.edits import Damaged, Edit
from meterseal.mdms.entries import Place
from meterseal.mdms.service import Mdms
from meterseal.mesh.rpc import OPERATOR, Methods, offered_to
from meterseal.model import EXPORT, MAIN
from meterseal.people.editing import Editing, Looked, check_reason, order_fields, sentences, value
from meterseal.security.orders import SignedOrder
from meterseal.things.fleet import Fleet


class EditMeter(Struct, frozen=True, kw_only=True):
    """One edit of what a meter counted as used, or `fed_in`; the other fields are those of `mdms.editing.Wish`."""

    device_id: bytes
    since: int
    until: int
    register: str = ""
    method: str = ""
    total: str = ""
    fed_in: bool = False
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


class EditingDesk:
    """The methods of the Unix socket about edits."""

    def __init__(self, mdms: Mdms, editing: Editing, fleet: Fleet) -> None:
        self._mdms, self._editing, self._fleet = mdms, editing, fleet
        self._edits = editing.edits

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
        check_reason(asked.reason)
        meter = await asyncio.to_thread(self._counted, asked)
        wish = Wish(
            usage_point=meter.usage_point,
            since=asked.since,
            until=asked.until,
            register=asked.register,
            method=asked.method,
            total=asked.total,
            channel=EXPORT if asked.fed_in else MAIN,
        )
        if asked.dry_run:
            return _said(None, await self._editing.look(wish), 0)
        looked, edit = await self._editing.edit(caller, wish, asked.reason)
        return _said(edit, looked, self._edits.shown(edit))

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
        edit = self._edits.get(asked.number)
        if edit.state == "proposed" and not asked.dry_run:
            return ask.Text(json=ask.as_json(self._row(await self._editing.give_up(caller, asked.number))))
        check_reason(asked.reason)
        if asked.dry_run:
            return _said(None, await self._editing.look_back(asked.number), 0)
        looked, edit = await self._editing.undo(caller, asked.number, asked.reason)
        return _said(edit, looked, self._edits.shown(edit))

    async def approve(self, caller: str, asked: ApproveEdit) -> ask.Text:
        """Save a proposal that two officers signed; without an order say what they sign, unless it is true no longer.

        LocalError `edit.none`; errors as `Editing.agree` and `Editing.finish`.
        """
        edit = self._edits.get(asked.number)
        if asked.order is not None:
            saved = await self._editing.agree(caller, asked.number, asked.order)
        elif edit.people:
            await self._editing.check_effect(edit)
            return ask.Text(json=ask.as_json(self._row(edit) | {"order": order_fields(edit)}))
        else:
            saved = await self._editing.finish(caller, asked.number)
        return ask.Text(json=ask.as_json(self._row(saved)))

    async def edits(self, _: str, asked: ask.Page) -> ask.Text:
        """The newest edits, with how many of their readings are visible still; of a damaged one its number and why."""
        found = await asyncio.to_thread(self._edits.listed, min(max(asked.limit, 1), 1000))
        return ask.Text(json=ask.as_json([self._row(edit) for edit in found]))

    def _row(self, edit: Edit | Damaged) -> dict[str, Any]:
        if isinstance(edit, Damaged):
            return {"number": edit.number, "state": "damaged", "sentence": edit.sentence}
        return _facts(edit) | {"visible": self._edits.shown(edit)}


def _facts(edit: Edit) -> dict[str, Any]:
    facts = {
        name: getattr(edit, name) for name in Edit.__struct_fields__ if name not in ("content", "digest")
    }
    content = edit.content
    readings = sum(len(one.registers) for one in content.plan.versions)
    return facts | {"reason": content.reason, "effect": content.effect, "readings": readings}


def _said(edit: Edit | None, looked: Looked, visible: int) -> ask.Text:
    rows = [
        {
            "end_at": at,
            "register": str(value(register, one.exponent)),
            "unit": one.unit,
            "quality": one.quality.name.lower(),
        }
        for at, register, one in looked.plan.instants
    ]
    said = {
        "edit": _facts(edit) | {"visible": visible} if edit is not None else None,
        "people": looked.people,
        "moved": str(looked.plan.moved),
        "readings": rows,
        "effect": msgspec.to_builtins(looked.effect),
        "says": sentences(looked.plan, looked.effect),
    }
    return ask.Text(json=ask.as_json(said))
