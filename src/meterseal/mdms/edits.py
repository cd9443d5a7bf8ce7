"""Station MDMS, edits by people as they are kept: proposed, saved as further versions, undone, never forgotten.

It decides neither who may edit nor how many must sign (the desk and the security service do); how an edit comes about is
`editing`'s. A proposal holds its versions; it is saved only as it was proposed, while what it stands on is unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from meterseal.control import acts
from meterseal.control.engine import read, write
from meterseal.control.kinds import UNFIT
from meterseal.control.rowtrail import as_held
from meterseal.control.sealed import EDITS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import edits as table
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal
from meterseal.errors import DataError, LocalError, TrustError
from meterseal.mdms.edit_versions import EDIT, UNDO, Plan, Scene, own_method, refused
from meterseal.mdms.editing import Wish, planned
from meterseal.mdms.entries import Version
from meterseal.mdms.finding import Finding
from meterseal.mdms.findings import Findings
from meterseal.mdms.store.rows import EVER, standing, visible
from meterseal.mdms.store.store import Store
from meterseal.mdms.undoing import undone
from meterseal.mdms.vee.channel import YEAR_AND_MORE
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.engine import Run
from meterseal.mdms.vee.filling import beside, delivered_of, order_of

State = Literal["proposed", "saved", "undone", "withdrawn"]
MOST_REASON = 400


class Content(Struct, frozen=True, array_like=True):
    """What is sealed of an edit: why, what it does to bills as it was shown, and its versions."""

    reason: str
    effect: str
    plan: Plan


class Edit(Struct, frozen=True, kw_only=True):
    """One edit. `people`: how many officers must sign it; `digest` is over all of it but state, officers and time of
    saving, and changes with any of it.
    """

    number: int
    usage_point: str
    channel: int
    since: int
    until: int
    undoes: int | None
    people: int
    state: State
    author: str
    officers: tuple[str, ...]
    created_at: int
    saved_at: int | None
    content: Content
    digest: bytes


class Damaged(NamedTuple):
    """An edit that is not what was written: which one, and a sentence."""

    number: int
    sentence: str


class Edits:
    """The edits of one store. `how` tells what runs of the rules know; `alone` commits versions with
    nothing between their making and their entry.
    """

    def __init__(
        self,
        engine: sa.Engine,
        keys: KeyRing,
        mark: SymmetricKey,
        store: Store,
        how: Callable[[int], Run],
        findings: Findings,
        alone: Callable[[Callable[[], Iterable[Version]]], Awaitable[None]],
    ) -> None:
        self._engine, self._keys, self._mark = engine, keys, mark
        self._store, self._how, self._findings, self._alone = store, how, findings, alone

    rolled: Callable[[str, int], int] = staticmethod(lambda _usage_point, _channel: -1)
    """Up to where a channel was rolled up."""

    def plan(self, wish: Wish, now: int) -> Plan:
        """What a wish would make of what is visible now; nothing is kept. DataError `edit.*`."""
        return planned(wish, self._scene(wish.usage_point, wish.channel, wish.since, now))

    def plan_undo(self, number: int, now: int) -> Plan:
        """What would take an edit back; nothing is kept. LocalError `edit.none`; DataError `edit.state`, `edit.gone`,
        `edit.built-on`.
        """
        edit = self.get(number)
        if edit.state != "saved" or edit.undoes is not None:
            raise refused(
                "edit.state", f"edit {number} is {edit.state} and only a saved one is undone; make a new edit"
            )
        scene = self._scene(edit.usage_point, edit.channel, edit.since, now)
        return undone(number, edit.content.plan.first, edit.content.plan.last, scene)

    def propose(
        self,
        wish: Wish,
        plan: Plan,
        *,
        reason: str,
        effect: str,
        people: int,
        author: str,
        now: int,
        undoes: int | None = None,
    ) -> Edit:
        """Keep an edit that is not saved yet, with its entry in the trail of acts. LocalError `edit.reason`."""
        if not 0 < len(reason.strip()) <= MOST_REASON:
            raise LocalError(
                "edit.reason", f"Say why the readings are edited, in at most {MOST_REASON} characters."
            )
        with write(self._engine) as connection:
            last = connection.execute(sa.select(sa.func.max(table.c.id))).scalar()
            number = (last or 0) + 1
            content = Content(reason.strip(), effect, plan.numbered(number))
            row: dict[str, Any] = {
                "id": number,
                "usage_point": wish.usage_point,
                "channel": wish.channel,
                "since": wish.since,
                "until": wish.until,
                "undoes": undoes,
                "people": people,
                "state": "proposed",
                "author": author,
                "officers": "",
                "created_at": now,
                "saved_at": None,
                "sealed_content": msgspec.msgpack.encode(content),
            }
            row["digest"] = self._digest(row)
            connection.execute(table.insert().values(EDITS.seal(self._keys, row)))
            acts.append(connection, acts.Act(now, author, "edit-proposed", f"{EDIT}{number}"))
        return self.get(number)

    def get(self, number: int) -> Edit:
        """One edit. LocalError `edit.none`; DataError `edit.damaged` when it is not what was written."""
        with as_held(self._engine) as connection:
            row = connection.execute(sa.select(table).where(table.c.id == number)).one_or_none()
        if row is None:
            raise LocalError("edit.none", f"There is no edit {number}. See: meterseal vee edits")
        return self._edit(row)

    def latest(
        self, limit: int = 50, usage_point: str | None = None, *, before: int = 0, state: State | None = None
    ) -> list[Edit]:
        """Newest first, of one usage point or of all, numbers below `before` (0: any), in one state; without those that
        are damaged.
        """
        found = self.listed(limit, usage_point, before=before, state=state)
        return [one for one in found if isinstance(one, Edit)]

    def listed(
        self, limit: int = 50, usage_point: str | None = None, *, before: int = 0, state: State | None = None
    ) -> list[Edit | Damaged]:
        """What `latest` gives, and in their places those that are not what was written: one hides no other."""
        query = sa.select(table).order_by(table.c.id.desc()).limit(limit)
        if before:
            query = query.where(table.c.id < before)
        if state is not None:
            query = query.where(table.c.state == state)
        if usage_point is not None:
            query = query.where(table.c.usage_point == usage_point)
        with as_held(self._engine) as connection:
            rows = connection.execute(query).all()
        found: list[Edit | Damaged] = []
        for row in rows:
            try:
                found.append(self._edit(row))
            except DataError as error:
                found.append(Damaged(row.id, error.message))
        return found

    def waiting(self) -> int:
        """How many are proposed and not saved."""
        query = sa.select(sa.func.count()).select_from(table).where(table.c.state == "proposed")
        with read(self._engine) as connection:
            return connection.execute(query).scalar_one()

    def shown(self, edit: Edit) -> int:
        """How many of its readings are visible still; late deliveries and further edits take its place."""
        plan = edit.content.plan
        key = self._store.key(edit.usage_point, edit.channel, plan.first, plan.last)
        if key is None:
            return 0
        rows = visible(self._store.rows(key, plan.first, plan.last))
        ours = {f"{EDIT}{edit.number}"} if edit.undoes is None else {one.method for one in plan.versions}
        texts = self._store.words.texts
        found = (texts[method] for method in rows["method"].tolist())
        return sum(method in ours or own_method(method) in ours for method in found)

    def withdraw(self, number: int, author: str, now: int) -> Edit:
        """Give a proposal up. LocalError `edit.none`, DataError `edit.state`."""
        with write(self._engine) as connection:
            self._expect(connection, number, "proposed", "withdrawn")
            connection.execute(table.update().where(table.c.id == number).values(state="withdrawn"))
            acts.append(connection, acts.Act(now, author, "edit-withdrawn", f"{EDIT}{number}"))
        return self.get(number)

    async def save(self, number: int, digest: bytes, officers: Sequence[str], author: str, now: int) -> Edit:
        """Save a proposal as it was approved: `digest` is that of the edit the officers signed.

        Asking again after a crash completes it. DataError `edit.state` (saved before, withdrawn), `edit.people`,
        `edit.differs`, `edit.overtaken` when readings around it changed since it was proposed.
        """
        await self._alone(lambda: self._ready(number, digest, officers, now))
        edit = await asyncio.to_thread(self._saved, number, officers, author, now)
        await asyncio.to_thread(self._findings.append, [self._finding(edit)])
        return edit

    def _ready(self, number: int, digest: bytes, officers: Sequence[str], now: int) -> list[Version]:
        """The versions to be written; none where a crash came after they were."""
        edit = self.get(number)
        if edit.state != "proposed":
            raise refused("edit.state", f"edit {number} is {edit.state} already; an approval counts once")
        if len(set(officers)) < edit.people:
            raise refused(
                "edit.people", f"edit {number} needs the signatures of {edit.people} different officers"
            )
        if not equal(edit.digest, digest):
            raise refused("edit.differs", f"what was approved is not edit {number} as it stands")
        plan = edit.content.plan
        key = self._store.key(edit.usage_point, edit.channel, plan.first, plan.last)
        rows = self._store.rows(key, plan.first, plan.last) if key is not None else None
        word = self._store.words.known(plan.versions[0].method)
        if rows is not None and word is not None and (rows["method"] == word).any():
            return []
        if rows is None or not plan.stands(rows):
            raise refused(
                "edit.overtaken",
                f"readings around edit {number} came or changed since it was proposed; look at it and propose it anew",
            )
        return [replace(one, recorded_at=now) for one in plan.versions]

    def _saved(self, number: int, officers: Sequence[str], author: str, now: int) -> Edit:
        with write(self._engine) as connection:
            undoes = self._expect(connection, number, "proposed", "saved").undoes
            said = {"state": "saved", "officers": ",".join(officers), "saved_at": now}
            connection.execute(table.update().where(table.c.id == number).values(**said))
            if undoes is not None:
                connection.execute(table.update().where(table.c.id == undoes).values(state="undone"))
            for actor in officers or (author,):
                acts.append(connection, acts.Act(now, actor, "edit-saved", f"{EDIT}{number}"))
        return self.get(number)

    def _expect(self, connection: sa.Connection, number: int, state: State, then: State) -> sa.Row[Any]:
        row = connection.execute(sa.select(table).where(table.c.id == number)).one_or_none()
        if row is None:
            raise LocalError("edit.none", f"There is no edit {number}. See: meterseal vee edits")
        if row.state != state:
            raise refused("edit.state", f"edit {number} is {row.state} and cannot become {then}")
        return row

    def _scene(self, usage_point: str, channel: int, since: int, now: int) -> Scene:
        if since <= self.rolled(usage_point, channel):
            raise refused(
                "edit.rolled-up",
                "its beginning lies where readings were rolled up, and what is left there stays",
            )
        begin = max(0, since - YEAR_AND_MORE, self.rolled(usage_point, channel))
        key = self._store.key(usage_point, channel, begin, EVER)
        if key is None:
            raise refused("edit.nothing-known", "no reading of this meter is stored")
        how, medium = self._how(now), self._store.words.medium[key.point]
        begins = how.replaced.get(usage_point, ())[1:]
        customer = how.surroundings.classes([key])[0]
        context = how.surroundings.context(Context(medium=medium, customer=customer), [key])
        rows = self._store.rows(key, begin, EVER)
        delivered = delivered_of(standing(rows, self._store.words))
        return Scene(
            key,
            rows,
            self._store.words,
            begins,
            context,
            now,
            order=lambda gap: order_of(key, gap, medium, customer, how),
            beside=lambda gap: beside(self._store, key, delivered, gap, how),
        )

    def _finding(self, edit: Edit) -> Finding:
        return Finding(
            usage_point=edit.usage_point,
            channel=edit.channel,
            since=edit.content.plan.first,
            until=edit.content.plan.last,
            rule="edited" if edit.undoes is None else "edit-undone",
            version=1,
            severity="info",
            detail={"edit": edit.number, "people": len(edit.officers)},
            run=f"{EDIT if edit.undoes is None else UNDO}{edit.number}",
        )

    def _digest(self, row: dict[str, Any]) -> bytes:
        """Keyed, because the content holds registers of eight digits; over the clear content."""
        names = ("id", "usage_point", "channel", "since", "until", "undoes", "people", "author", "created_at")
        said = msgspec.msgpack.encode([*(row[name] for name in names), row["sealed_content"]])
        return self._mark.mac(b"meterseal edit\0", said)

    def _edit(self, row: sa.Row[Any]) -> Edit:
        """DataError `edit.damaged` for a row that does not open, or has a value that no program of ours writes."""
        damaged = DataError(
            "edit.damaged",
            f"Edit {row.id} is not what was written in the control store. Restore it from a backup.",
        )
        try:
            opened = EDITS.open(self._keys, row) or b""
            whole = equal(self._digest({**row._mapping, "sealed_content": opened}), bytes(row.digest))
        except (TrustError, *UNFIT):
            raise damaged from None
        said = isinstance(row.officers, str) and row.state in get_args(State)
        if not whole or not said or type(row.saved_at) not in (int, type(None)):
            raise damaged
        return Edit(
            number=row.id,
            usage_point=row.usage_point,
            channel=row.channel,
            since=row.since,
            until=row.until,
            undoes=row.undoes,
            people=row.people,
            state=cast(State, row.state),
            author=row.author,
            officers=tuple(one for one in row.officers.split(",") if one),
            created_at=row.created_at,
            saved_at=row.saved_at,
            content=msgspec.msgpack.decode(opened, type=Content),
            digest=bytes(row.digest),
        )
