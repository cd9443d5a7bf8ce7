"""Station MDMS, proof: the book of what meters signed, and whether the stored load profile is the one they signed.

It verifies no signature itself; a port does (`verifier`), for suite 2 behind the security service.

What the word in `checked` means, and how it is found, is `chain`'s; nobody was asked yet: unchecked.

Whoever can put a false statement in first must not keep the meter's own out. So the row of an unchecked number holds
every statement that came under it (`rivals`), and none of them gives way to another before it was checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.engine import read, write
from meterseal.control.kinds import UNFIT, why
from meterseal.control.sealed import EVIDENCE
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import evidence as table
from meterseal.control.writes import insert_new
from meterseal.errors import DataError, PeerError, TrustError
from meterseal.link.evidence import EvidenceStatement, unpack
from meterseal.mdms import rivals
from meterseal.mdms.chain import BAD, GOOD, UNREADABLE, judged
from meterseal.mdms.finding import Finding
from meterseal.mdms.rivals import UNCHECKED, Rival
from meterseal.mdms.state import EvidenceKey, Pending
from meterseal.mdms.store.rows import EVER, Key
from meterseal.mdms.store.store import Store

AT_ONCE = 512
_ORDER = (table.c.device_id, table.c.channel, table.c.end_at)
_KEY = sa.tuple_(table.c.device_id, table.c.channel, table.c.sequence)
_BEFORE = (
    sa.select(table)
    .where(
        table.c.device_id == sa.bindparam("device"),
        table.c.channel == sa.bindparam("ch"),
        table.c.end_at < sa.bindparam("until"),
        table.c.checked.in_(GOOD),
    )
    .order_by(table.c.end_at.desc())
    .limit(1)
)


class EvidenceFacts(Struct, frozen=True, kw_only=True):
    """A meter's own statement about one register, and what its check said (`checked` as above)."""

    device_id: bytes
    usage_point: str
    channel: int
    end_at: int
    register: int
    exponent: int
    unit: int
    status: int
    sequence: int
    head: bytes
    suite: int
    module_id: bytes
    checked: str
    reason: str
    statement: bytes
    signature: bytes
    received_at: int

    @property
    def key(self) -> EvidenceKey:
        """What it is known by."""
        return self.device_id, self.channel, self.sequence


class EvidenceBook:
    """Checked evidence in the control store, statements sealed."""

    def __init__(
        self, engine: sa.Engine, store: Store, keys: KeyRing, since: Callable[[bytes, str, int], int]
    ) -> None:
        self._engine = engine
        self._store = store
        self._keys = keys
        self._since = since
        """When the device was put in place at its usage point before an instant (`Places.since`)."""
        self._newest: dict[tuple[bytes, int], EvidenceStatement | None] = {}
        """The latest good statement of each channel met so far; None where there is none yet."""
        self.rolled: Callable[[str, int], int] = lambda _usage_point, _channel: -1
        """Up to where a channel was rolled up."""

    # --- asking -----------------------------------------------------------------------------------

    def at(self, usage_point: str, channel: int, end_at: int) -> EvidenceFacts | None:
        """The checked evidence for the register of one instant, or None."""
        found = self.between(usage_point, channel, end_at, end_at)
        return found[-1] if found else None

    def between(self, usage_point: str, channel: int, since: int, until: int) -> list[EvidenceFacts]:
        """Checked evidence with since <= end_at <= until, oldest first."""
        return self._query(
            table.c.usage_point == usage_point,
            table.c.channel == channel,
            table.c.end_at.between(since, until),
            table.c.checked != UNCHECKED,
        )

    def _unfinished(self, grown: Mapping[Key, int]) -> list[EvidenceFacts]:
        """Evidence whose chain could not be followed, of channels with new readings."""
        found: list[EvidenceFacts] = []
        points = sorted({self._store.words.texts[key.point] for key in grown})
        for start in range(0, len(points), AT_ONCE):
            found += self._query(
                table.c.checked.in_(["chain-open", "chain-broken"]),
                table.c.usage_point.in_(points[start : start + AT_ONCE]),
            )
        return found

    def unchecked(self) -> list[Pending]:
        """What was stored before anybody could check it: all that came under some numbers, AT_ONCE or a few more."""
        query = sa.select(table).where(table.c.checked == UNCHECKED)
        query = query.order_by(*_ORDER).limit(AT_ONCE)
        found: list[Pending] = []
        with read(self._engine) as connection:
            for row in connection.execute(query).all():
                found += [one.pending() for one in self._rivals(row)]
                if len(found) >= AT_ONCE:
                    break
        return found

    def tally(self, pending: Iterable[EvidenceKey]) -> tuple[dict[str, int], int]:
        """How many statements have which state, and how many of `pending` the book does not hold.

        `pending` is taken before the call: what is stored meanwhile is then counted once, here.
        """
        with read(self._engine) as connection:
            query = sa.select(table.c.checked, sa.func.count()).group_by(table.c.checked)
            states = {state: number for state, number in connection.execute(query)}
            wanted = sorted(set(pending))
            held = 0
            for start in range(0, len(wanted), AT_ONCE):
                counting = sa.select(sa.func.count()).where(_KEY.in_(wanted[start : start + AT_ONCE]))
                held += connection.execute(counting).scalar_one()
        return states, len(wanted) - held

    def of_points(
        self, usage_points: Sequence[str]
    ) -> tuple[list[tuple[EvidenceFacts, int]], list[tuple[str, str]]]:
        """All evidence of some usage points, each with the instant under which it is kept and asked for; and what does not
        open, as where it stands and why."""
        found: list[tuple[EvidenceFacts, int]] = []
        shut: list[tuple[str, str]] = []
        with read(self._engine) as connection:
            for start in range(0, len(usage_points), AT_ONCE):
                here = table.c.usage_point.in_(usage_points[start : start + AT_ONCE])
                for row in connection.execute(sa.select(table).where(here).order_by(*_ORDER)):
                    try:
                        _check_kinds(row)
                        found.append((self._facts(row), row.end_at))
                    except (TrustError, PeerError, *UNFIT) as error:
                        of = row.device_id
                        device = f"device {of.hex() if isinstance(of, bytes) else 'of no number'}"
                        shut.append((f"{device}, channel {row.channel}, sequence {row.sequence}", why(error)))
        return found, shut

    def waiting(self) -> set[EvidenceKey]:
        """The keys of what is stored unchecked."""
        query = sa.select(table.c.device_id, table.c.channel, table.c.sequence)
        with read(self._engine) as connection:
            rows = connection.execute(query.where(table.c.checked == UNCHECKED)).all()
        return {(bytes(row.device_id), row.channel, row.sequence) for row in rows}

    def judged(self, facts: EvidenceFacts, *, holds: bool) -> str:
        """How a stored statement comes out now, by the readings of this book's store; nothing is written."""
        statement = unpack(facts.statement)
        return self._judge(facts.usage_point, statement, facts.suite, holds, self._anchor(statement))[0]

    def settled(self, items: Iterable[Pending]) -> set[tuple[bytes, int, int, bytes]]:
        """Those of the pending (by key and signed bytes) whose very statement was checked before."""
        wanted = sorted({item.key for item in items})
        found = set()
        for start in range(0, len(wanted), AT_ONCE):
            for facts in self._query(_KEY.in_(wanted[start : start + AT_ONCE]), table.c.checked != UNCHECKED):
                found.add((*facts.key, facts.statement + facts.signature))
        return found

    def _query(self, *conditions: Any) -> list[EvidenceFacts]:
        query = sa.select(table).where(*conditions).order_by(*_ORDER)
        with read(self._engine) as connection:
            return [self._facts(row) for row in connection.execute(query).all()]

    def _rivals(self, row: sa.Row[Any]) -> list[Rival]:
        """Every statement of a row, first come first; a checked one has one."""
        return rivals.unpacked(row, EVIDENCE.open(self._keys, row) or b"")

    def _facts(self, row: sa.Row[Any]) -> EvidenceFacts:
        one = self._rivals(row)[0]
        return EvidenceFacts(
            **unpack(one.raw)._asdict(),
            usage_point=row.usage_point,
            suite=row.suite,
            module_id=row.module_id,
            checked=row.checked,
            reason=row.reason,
            statement=one.raw,
            signature=one.signature,
            received_at=row.received_at,
        )

    # --- checking ---------------------------------------------------------------------------------

    def store(self, items: Sequence[Pending], good: Sequence[bool]) -> list[Finding]:
        """Follow the chains of verified statements and store the results, in one transaction.

        `good` says whose signature holds. A statement that is stored already stays as it is, unless its
        signature does not hold and this one's does; another one with the same sequence is a finding. What is
        stored unchecked gives way to a good one, and to a bad one only when all of it is among `items`.
        Raises EngineError `mdms.*` or `control.*`, then nothing was stored.
        """
        rows = []
        before: dict[tuple[bytes, int], EvidenceStatement] = {}
        for item, holds in zip(items, good, strict=True):
            channel = (item.statement.device_id, item.statement.channel)
            anchor = self._anchor(item.statement, before.get(channel))
            checked, reason = self._judge(item.usage_point, item.statement, item.suite, holds, anchor)
            rows.append(self._row(item, checked, reason))
            if holds:
                before[channel] = item.statement
        findings = self._insert(items, rows)
        for statement in before.values():
            self._good(statement)
        return findings

    def _good(self, statement: EvidenceStatement) -> None:
        channel = (statement.device_id, statement.channel)
        newest = self._newest.get(channel)
        if newest is None or newest.end_at < statement.end_at:
            self._newest[channel] = statement

    def keep(self, pending: Sequence[Pending]) -> list[Finding]:
        """Store evidence that nobody could check yet, so that the journal need not hold it any longer.

        It stands beside whatever waits under its number, and beside a bad one; against a good one it is a finding.
        """
        findings = []
        with write(self._engine) as connection:
            for item in pending:
                mine, new = rivals.number_of(item), Rival.of(item)
                kept = connection.execute(sa.select(table).where(mine)).one_or_none()
                if kept is not None and kept.checked in GOOD:
                    if (stored := self._facts(kept).statement) != item.raw:
                        findings.append(_contradiction(item, stored))
                    continue
                there = [] if kept is None else self._rivals(kept)
                if len(there) >= rivals.RIVALS or any(one.same(new) for one in there):
                    continue
                row = self._row(item, UNCHECKED, "The check could not be made yet.")
                row["sealed_statement"] = rivals.pack([*there, new])
                sealed = EVIDENCE.seal(self._keys, row)
                if kept is None:
                    connection.execute(table.insert().values(**sealed))
                else:
                    connection.execute(table.update().where(mine).values(**sealed))
        return findings

    def judge_again(self, grown: Mapping[Key, int]) -> None:
        """Judge open chains of channels with new readings again; `grown` has the oldest new reading by channel.

        What lies where readings were rolled up stays as it was judged.
        """
        words = self._store.words
        for facts in self._unfinished(grown):
            point = words.known(facts.usage_point)
            oldest = grown.get(Key(point, facts.channel)) if point is not None else None
            if (
                oldest is None
                or oldest > facts.end_at
                or facts.end_at <= self.rolled(facts.usage_point, facts.channel)
            ):
                continue
            statement = unpack(facts.statement)
            anchor = self._anchor(statement)
            checked, reason = self._judge(facts.usage_point, statement, facts.suite, True, anchor)
            if (checked, reason) != (facts.checked, facts.reason):
                self._update(facts, checked, reason)
            if checked in GOOD:
                self._good(statement)

    def _judge(
        self,
        usage_point: str,
        statement: EvidenceStatement,
        suite: int,
        holds: bool,
        anchor: EvidenceStatement | None,
    ) -> tuple[str, str]:
        """As `chain.judged` over the stored readings; open where these lie in a damaged file, so that all others are
        followed the same."""
        if not holds:
            return BAD
        # What another meter said at this usage point before is no part of this one's chain.
        here = self._since(statement.device_id, usage_point, statement.end_at)
        key = Key(self._store.words.code(usage_point), statement.channel)
        after = -1 if anchor is None else anchor.end_at
        try:
            times, registers = self._store.profile(key, max(after, here - 1), statement.end_at)
        except DataError as error:
            if error.code != "mdms.segment-damaged":
                raise
            return UNREADABLE
        return judged(statement, suite, anchor, times, registers)

    def _anchor(
        self, statement: EvidenceStatement, near: EvidenceStatement | None = None
    ) -> EvidenceStatement | None:
        """The nearest earlier statement of the channel with a good signature; `near` is one not stored
        yet."""
        channel = (statement.device_id, statement.channel)
        if channel not in self._newest:
            self._newest[channel] = self._stored(channel, EVER)
        newest = self._newest[channel]
        if newest is not None and newest.end_at >= statement.end_at:
            newest = self._stored(channel, statement.end_at)
        found = [one for one in (newest, near) if one is not None and one.end_at < statement.end_at]
        return max(found, key=lambda one: one.end_at, default=None)

    def _stored(self, channel: tuple[bytes, int], before: int) -> EvidenceStatement | None:
        """The latest stored statement of a channel with a good signature and end_at < before."""
        with read(self._engine) as connection:
            row = connection.execute(
                _BEFORE, {"device": channel[0], "ch": channel[1], "until": before}
            ).first()
        return None if row is None else unpack(self._facts(row).statement)

    # --- storing ----------------------------------------------------------------------------------

    def _row(self, item: Pending, checked: str, reason: str) -> dict[str, Any]:
        statement = item.statement
        return {
            "device_id": statement.device_id,
            "channel": statement.channel,
            "sequence": statement.sequence,
            "usage_point": item.usage_point,
            "end_at": statement.end_at,
            "suite": item.suite,
            "module_id": item.module_id,
            "checked": checked,
            "reason": reason,
            "received_at": item.received_at,
            "sealed_statement": item.raw + item.signature,
        }

    def _insert(self, items: Sequence[Pending], rows: list[dict[str, Any]]) -> list[Finding]:
        findings = []
        true_first = sorted(rows, key=lambda row: row["checked"] not in GOOD)
        with write(self._engine) as connection:
            sealed = [EVIDENCE.seal(self._keys, row) for row in true_first]
            if insert_new(connection, table, sealed) == len(rows):
                return []
            said = {(item.key, item.raw, item.signature) for item in items}
            # The good ones first: what they replace is then no longer there for a bad one to replace.
            for item, row in sorted(
                zip(items, rows, strict=True), key=lambda one: one[1]["checked"] not in GOOD
            ):
                mine = rivals.number_of(item)
                stored = connection.execute(sa.select(table).where(mine)).one()
                there = self._rivals(stored)
                judged = all((item.key, one.raw, one.signature) in said for one in there)
                good = row["checked"] in GOOD
                if (stored.checked == "bad" and good) or (stored.checked == UNCHECKED and (good or judged)):
                    # Whoever stored a false statement first must not keep the meter's own out.
                    connection.execute(table.update().where(mine).values(**EVIDENCE.seal(self._keys, row)))
                    lost = [one.pending() for one in there if stored.checked == UNCHECKED]
                    findings += [
                        _contradiction(one, item.raw)
                        for one in lost
                        if one.raw != item.raw and (one.key, one.raw, one.signature) not in said
                    ]
                    if lost:
                        continue
                if there[0].raw != item.raw:
                    findings.append(_contradiction(item, there[0].raw))
        return findings

    def _update(self, facts: EvidenceFacts, checked: str, reason: str) -> None:
        with write(self._engine) as connection:
            connection.execute(
                table.update()
                .where(
                    table.c.device_id == facts.device_id,
                    table.c.channel == facts.channel,
                    table.c.sequence == facts.sequence,
                )
                .values(checked=checked, reason=reason)
            )


def _check_kinds(row: sa.Row[Any]) -> None:
    """TypeError where what is handed on would be of another kind."""
    numbers = (row.channel, row.sequence, row.end_at, row.suite, row.received_at)
    if not all(type(one) is int for one in numbers) or not all(
        type(one) is bytes for one in (row.device_id, row.module_id)
    ):
        raise TypeError


def _contradiction(item: Pending, stored: bytes) -> Finding:
    """A module signed two different statements with one sequence: one of the two is not its own."""
    return Finding(
        usage_point=item.usage_point,
        channel=item.statement.channel,
        since=item.statement.end_at,
        until=item.statement.end_at + 1,
        rule="evidence-contradiction",
        version=1,
        severity="error",
        detail={"sequence": item.statement.sequence},
        values=msgspec.msgpack.encode([stored, item.raw, item.signature]),
        run="ingest",
    )
