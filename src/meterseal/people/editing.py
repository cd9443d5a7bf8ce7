"""Edits of readings by people, for the portal and the operator's socket alike: looked at, proposed, agreed to, taken back.

It works out no register (`mdms.editing`) and no bill (`utility`), and asks nobody who they are. What it decides is how many
people an edit takes: one, or two officers where it moves much, where a bill counted with the readings, or where it lies
between two customers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import DataError, LocalError, TrustError
from meterseal.mdms.edit_versions import Plan, refused
from meterseal.mdms.editing import FOUR_EYES, Wish
from meterseal.mdms.edits import MOST_REASON, Content, Edit, Edits
from meterseal.mdms.entries import Version
from meterseal.security.editorders import EditOrder, EditSigned
from meterseal.security.orders import SignedOrder, decoded
from meterseal.utility.calendar import local_day
from meterseal.utility.views import EditEffect

OFFICERS = 2


class Judge(Protocol):
    """The security service: who signed."""

    async def judge_edit(self, order: SignedOrder) -> EditSigned:
        """Raises TrustError unless two officers did."""


class Billed(Protocol):
    """The utility: what readings do to bills."""

    def effect_of(self, versions: tuple[Version, ...], now: int) -> EditEffect:
        """What further versions of one channel would do to bills."""

    def check_one_tenant(self, usage_point: str, since: int, until: int) -> None:
        """DataError `edit.tenants` when the customer changed in between."""


class Looked(Struct, frozen=True, kw_only=True):
    """An edit as it would be made now: its versions, what they do to bills, and how many officers must sign."""

    plan: Plan
    effect: EditEffect
    people: int

    @property
    def seen(self) -> bytes:
        """Hash of all of it: who saves says with it that this is what was looked at."""
        return sm3(msgspec.msgpack.encode((self.plan, self.effect, self.people)))


class Editing:
    """Edits over one store. One is made at a time, so that a form that is sent twice edits once."""

    def __init__(self, edits: Edits, utility: Billed, security: Judge, clock: Callable[[], int]) -> None:
        self.edits = edits
        self._utility, self._security, self._clock = utility, security, clock
        self._alone = asyncio.Lock()

    # --- looking ----------------------------------------------------------------------------------

    async def look(self, wish: Wish) -> Looked:
        """What an edit would do; nothing is kept. DataError `edit.*`."""
        now = self._clock()
        plan = await asyncio.to_thread(self.edits.plan, wish, now)
        edited = [wish.since, wish.until, *(at for at, _, _ in plan.instants)]
        self._utility.check_one_tenant(wish.usage_point, min(edited), max(edited))
        effect = await self.effect(plan)
        medium = plan.versions[0].medium
        much = plan.moved > FOUR_EYES[medium]
        people = OFFICERS if much or effect.used_by or effect.between_tenants else 0
        return Looked(plan=plan, effect=effect, people=people)

    async def look_back(self, number: int) -> Looked:
        """What taking a saved edit back would do, with as many people as it took. Errors as `Edits.plan_undo`."""
        edit = await asyncio.to_thread(self.edits.get, number)
        plan = await asyncio.to_thread(self.edits.plan_undo, number, self._clock())
        effect = await self.effect(plan)
        people = OFFICERS if edit.people or effect.used_by or effect.between_tenants else 0
        return Looked(plan=plan, effect=effect, people=people)

    async def effect(self, plan: Plan) -> EditEffect:
        """What the versions of a plan do to bills now."""
        return await asyncio.to_thread(self._utility.effect_of, plan.versions, self._clock())

    # --- making -----------------------------------------------------------------------------------

    async def edit(
        self, author: str, wish: Wish, reason: str, seen: bytes | None = None
    ) -> tuple[Looked, Edit]:
        """Propose an edit and, where one person suffices, save it. LocalError `edit.reason`; DataError `edit.*`, and
        `edit.overtaken` when it is not what was `seen` any more.
        """
        check_reason(reason)
        async with self._alone:
            looked = await self.look(wish)
            return looked, await self._kept(author, wish, looked, reason, None, seen)

    async def undo(
        self, author: str, number: int, reason: str, seen: bytes | None = None
    ) -> tuple[Looked, Edit]:
        """Take a saved edit back by further versions. Errors as `edit` and `Edits.plan_undo`."""
        check_reason(reason)
        async with self._alone:
            looked = await self.look_back(number)
            edit = self.edits.get(number)
            wish = Wish(
                usage_point=edit.usage_point, channel=edit.channel, since=edit.since, until=edit.until
            )
            return looked, await self._kept(author, wish, looked, reason, number, seen)

    async def _kept(
        self, author: str, wish: Wish, looked: Looked, reason: str, undoes: int | None, seen: bytes | None
    ) -> Edit:
        if seen is not None and not equal(looked.seen, seen):
            raise refused(
                "edit.overtaken",
                "readings or bills changed since it was looked at, or it was changed itself; look at it anew",
            )
        effect, now = " ".join(sentences(looked.plan, looked.effect)), self._clock()

        def propose() -> Edit:
            return self.edits.propose(
                wish,
                looked.plan,
                reason=reason,
                effect=effect,
                people=looked.people,
                author=author,
                now=now,
                undoes=undoes,
            )

        waiting: Edit | None = None
        if seen is not None:  # a form that was sent twice
            waiting = await asyncio.to_thread(
                self._waiting, author, wish, looked, Content(reason.strip(), effect, looked.plan), undoes
            )
        edit = waiting if waiting is not None else await asyncio.to_thread(propose)
        return edit if edit.people else await self.edits.save(edit.number, edit.digest, (), author, now)

    def _waiting(
        self, author: str, wish: Wish, looked: Looked, content: Content, undoes: int | None
    ) -> Edit | None:
        """The same proposal of the same person, where it waits already; not one from before a bill counted with it, which
        fewer people sufficed for.
        """
        said = (author, wish.since, wish.until, undoes, looked.people)
        for one in self.edits.latest(usage_point=wish.usage_point):
            same = said == (one.author, one.since, one.until, one.undoes, one.people)
            numbered = replace(content, plan=looked.plan.numbered(one.number))
            if one.state == "proposed" and same and one.content == numbered:
                return one
        return None

    # --- what waits -------------------------------------------------------------------------------

    async def agree(self, author: str, number: int, order: SignedOrder) -> Edit:
        """Save a proposal that two officers signed. LocalError `edit.none`; TrustError `edit.order` when they signed
        something else, and what `judge_edit` raises; DataError `edit.state`, `edit.tenants`, `edit.overtaken`.
        """
        edit = await asyncio.to_thread(self.edits.get, number)
        signed = decoded(order.request, EditOrder)
        if {name: getattr(signed, name) for name in order_fields(edit)} != order_fields(edit):
            raise TrustError(
                "edit.order",
                f"What was signed is not edit {number} as it stands; nothing was changed. Ask for its order "
                f"anew: meterseal vee approve {number} --to FILE",
            )
        await self.check_effect(edit)
        officers = (await self._security.judge_edit(order)).officers
        return await self.edits.save(number, signed.digest, officers, author, self._clock())

    async def check_effect(self, edit: Edit) -> None:
        """Whether a proposal does to bills what it was said to do: officers sign those sentences, and a bill, a tariff or a
        customer may have come since. DataError `edit.overtaken`, `edit.tenants`.
        """
        plan = edit.content.plan
        if edit.state != "proposed" or self.edits.shown(edit):
            return  # what its readings do is done: only the end of a save that was cut off is missing
        if edit.undoes is None:
            edited = [edit.since, edit.until, *(at for at, _, _ in plan.instants)]
            self._utility.check_one_tenant(edit.usage_point, min(edited), max(edited))
        if " ".join(sentences(plan, await self.effect(plan))) != edit.content.effect:
            raise refused(
                "edit.overtaken",
                f"what edit {edit.number} does to bills is no longer what it was proposed with, and officers sign that. "
                f"Give it up (meterseal vee undo {edit.number}), and propose it anew",
            )

    async def finish(self, author: str, number: int) -> Edit:
        """Save a proposal that one person suffices for, where an end of the process came in between. DataError
        `edit.people` when a bill counted with it since, errors as `Edits.save`.
        """
        edit = await asyncio.to_thread(self.edits.get, number)
        if not self.edits.shown(edit) and (await self.effect(edit.content.plan)).used_by:
            # since it was proposed, so that nobody has seen what it does to that bill
            raise DataError(
                "edit.people",
                f"A bill counted with the readings of edit {number} meanwhile; nothing was changed. Give it up "
                f"(meterseal vee undo {number}) and propose it anew.",
            )
        await self.check_effect(edit)
        return await self.edits.save(number, edit.digest, (), author, self._clock())

    async def give_up(self, author: str, number: int) -> Edit:
        """Give a proposal up, or decline it. LocalError `edit.none`; DataError `edit.state`."""
        return await asyncio.to_thread(self.edits.withdraw, number, author, self._clock())


def order_fields(edit: Edit) -> dict[str, Any]:
    """What officers sign of an edit (purpose `edit-readings`), beside what every request has."""
    return {
        "edit": edit.number,
        "usage_point": edit.usage_point,
        "since": edit.since,
        "until": edit.until,
        "reason": edit.content.reason,
        "effect": edit.content.effect,
        "digest": edit.digest,
    }


def sentences(plan: Plan, effect: EditEffect) -> list[str]:
    """What an edit does, as officers sign it and the command line shows it."""
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


def check_reason(reason: str) -> None:
    """LocalError `edit.reason`."""
    if not 0 < len(reason.strip()) <= MOST_REASON:
        raise LocalError(
            "edit.reason", f"Say why the readings are edited, in at most {MOST_REASON} characters."
        )


def value(register: int, exponent: int) -> Decimal:
    """A register in the unit of its medium."""
    return Decimal(register).scaleb(exponent)
