"""The trail of rows: what each transaction wrote into tables that decide bills, readings, findings and rights.

It compares nothing with the tables (`rowcheck` does) and anchors nothing (`things.anchoring` does). Which tables it covers
says `covered`.

Whoever has rights on the database file writes rows as we do. So every transaction of this program that touches a covered
table ends with an entry here: for each row that it wrote its key and SM3 of its columns, for each that it took away its
key. Which rows these are, triggers of our own connection say; nobody else's connection has them, and none of our writers
can forget them. Entries are chained by SM3, each is under an HMAC whose key is sealed, and the security service remembers
the head of the chain. So a row that somebody else changed, added or took away is not as its entry says.

What stood in a store before it had a trail is written down when the trail begins, as it is then (`BEGUN`).
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from meterseal.control import chains, schema
from meterseal.control.chains import GENESIS
from meterseal.control.covered import COVERED, GROWS_OFFLINE, Covered
from meterseal.control.engine import before_writing, is_reading, raw_of, read, write
from meterseal.control.kinds import UNFIT
from meterseal.control.rowitems import Entry, Item, Written, digest, item_of, key_of, part_of, rows_of, whole
from meterseal.control.sealed import TRAIL_KEYS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import row_trail as table
from meterseal.control.tables import trail_keys
from meterseal.crypto.symmetric import equal, hmac_sm3, sm3
from meterseal.errors import DataError, TrustError

BEGUN = "begun"
OFFLINE = "offline"
FOREIGN = "foreign"
PLANTED = "planted"
"""Notes of entries: what stood before the trail began; acts of our own that were written while no key was at hand; one
before which somebody else's entries stand; and one that was written while the schema was not as we found it at the start,
or had a trigger or view: these, and defaults, change rows within our own transaction."""
KEY = "rows"
ACTS = "acts"
_TAG = b"ms1 row trail\x00"
_AT_ONCE = 5_000
_KEY_BYTES = 32
_READY = "meterseal_row_trail"
_SCHEMA = "meterseal_schema"
_LOADED = "meterseal_schema_loaded"


class Head(NamedTuple):
    """Number and hash of the last entry."""

    number: int
    hash: bytes


_DECODER = msgspec.msgpack.Decoder(Entry)
NONE = Head(0, GENESIS)


@contextmanager
def as_held(engine: sa.Engine) -> Iterator[sa.Connection]:
    """`read`, in which text that is no UTF-8 comes as bytes: one such value, put there to end the reading, would hide every
    other row. EngineError `control.*`."""
    with read(engine) as connection:
        raw = raw_of(connection)
        raw.text_factory = _text
        try:
            yield connection
        finally:
            raw.text_factory = str


def _text(held: bytes) -> str | bytes:
    try:
        return held.decode()
    except UnicodeDecodeError:
        return held


class RowTrail:
    """The trail of one control store, written with every transaction of this engine from `begin` on."""

    def __init__(self, engine: sa.Engine, key: bytes, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._key = key
        self._clock = clock
        self._last = self._coming = NONE
        self._schema = b""
        """The schema of the file as it was when the trail began to be written; empty where it has what we never make."""

    @classmethod
    def begin(cls, engine: sa.Engine, ring: KeyRing, clock: Callable[[], int], offline: str = "") -> RowTrail:
        """The trail of this store, from now on written with whatever `engine` writes; where there is none, it begins with
        what stands. `offline` names the act that this program writes while nobody can seal.

        Call it once for an engine, before anything is written. DataError `audit.key` when its key does not open.
        """
        trail = cls(engine, _key(engine, ring), clock)
        with read(engine) as connection:
            trail._last = trail._coming = _last(connection)
            trail._schema = b"" if _planted(connection) else schema.mark(connection)
        told, acts, grows = trail._told_of()
        trail._begin([covered for covered in COVERED if covered.name not in told])
        if offline:
            trail._adopt(offline, acts, grows)
        before_writing(engine, _prepared, trail._written)
        return trail

    # --- writing ----------------------------------------------------------------------------------

    def _told_of(self) -> tuple[set[str], set[str], dict[str, Item]]:
        """The tables of which an entry tells, the acts, and what is told last of rows that grow while nobody can seal."""
        tables, acts, grows = set[str](), set[str](), dict[str, Item]()
        for _, entry in self.entries():
            for part in entry.written:
                tables.add(part.table)
                if part.table == ACTS:
                    acts |= {item.key for item in part.items}
                elif part.table == GROWS_OFFLINE.table:
                    grows |= {item.key: item for item in part.items}
        return tables, acts, grows

    def _begin(self, tables: Sequence[Covered]) -> None:
        """Take up tables as they stand: all of them in a new trail, and later those that are covered since an upgrade. An
        empty one is told of as well, so that this is done once."""
        if not tables:
            return
        with write(self._engine) as connection:
            parts: list[Written] = []
            for covered in tables:
                every = rows_of(connection, covered, (*covered.fixed, *covered.rest))
                items = [item_of(covered, key, values) for key, values in every]
                for start in range(0, len(items) or 1, _AT_ONCE):
                    parts.append(part_of(covered, items[start : start + _AT_ONCE]))
                    if sum(len(part.items) for part in parts) >= _AT_ONCE:
                        self._append(connection, Entry(BEGUN, tuple(parts)))
                        parts = []
            if parts:
                self._append(connection, Entry(BEGUN, tuple(parts)))
        self._last = self._coming

    def _adopt(self, act: str, known: set[str], grows: dict[str, Item]) -> None:
        """Acts of that name of which no entry tells, and what as many of them added to a list that grows with them."""
        covered = _of(ACTS)
        place = covered.fixed.index("act")
        with write(self._engine) as connection:
            items = [
                item_of(covered, key, values)
                for key, values in rows_of(connection, covered, covered.fixed)
                if key not in known and values[place] == act
            ]
            if items:
                grown = list(_grown(connection, grows, len(items)))
                parts = (
                    part_of(covered, items),
                    *([part_of(_of(GROWS_OFFLINE.table), grown)] if grown else ()),
                )
                self._append(connection, Entry(OFFLINE, parts))
        self._last = self._coming

    def _written(self, connection: sa.Connection) -> None:
        """The last thing in a transaction that is about to be committed."""
        if is_reading(connection) or _READY not in connection.info:
            return
        raw = raw_of(connection)
        numbers = [one[0] for one in raw.execute("SELECT DISTINCT number FROM temp.touched ORDER BY number")]
        if not numbers:
            return
        parts = tuple(_now(raw, number) for number in numbers)
        raw.execute("DELETE FROM temp.touched")
        stands = _last(connection)
        if stands == self._coming:
            self._last = self._coming
        # A commit that failed leaves the entry before it; anything else is an entry that we did not write.
        note = "" if stands == self._last else FOREIGN
        self._append(connection, Entry(PLANTED if self._tampered(connection) else note, parts), stands)

    def _tampered(self, connection: sa.Connection) -> bool:
        """Does this connection write under another schema than stood there at the start? It reads the schema when it is
        opened, and again when SQLite's number of it moved."""
        number = schema.cookie(connection)
        if connection.info.get(_SCHEMA, (None,))[0] != number:
            connection.info[_SCHEMA] = (number, schema.mark(connection) != self._schema)
        return bool(connection.info[_SCHEMA][1])

    def _append(self, connection: sa.Connection, entry: Entry, after: Head | None = None) -> None:
        previous = self._coming if after is None else after
        number, at = previous.number + 1, self._clock()
        content = msgspec.msgpack.encode(entry)
        self._last = previous
        self._coming = Head(number, _link(previous.hash, number, at, content))
        connection.execute(
            table.insert().values(
                id=number,
                at=at,
                content=content,
                previous=previous.hash,
                hash=self._coming.hash,
                tag=self._tag(self._coming.hash),
            )
        )

    def _tag(self, link: bytes) -> bytes:
        return hmac_sm3(self._key, _TAG, link)

    # --- reading ----------------------------------------------------------------------------------

    def head(self) -> tuple[int, bytes]:
        """Number and hash of the last entry."""
        with read(self._engine) as connection:
            return _last(connection)

    def hash_of(self, number: int) -> bytes | None:
        """The hash of an entry, None when there is none."""
        with read(self._engine) as connection:
            found: bytes | None = connection.execute(
                sa.select(table.c.hash).where(table.c.id == number)
            ).scalar()
        return found

    def entries(self, connection: sa.Connection | None = None) -> Iterator[tuple[int, Entry]]:
        """(number, entry), oldest first, without a look at the chain."""
        if connection is None:
            with as_held(self._engine) as own:
                yield from self.entries(own)
            return
        for row in connection.execute(sa.select(table.c.id, table.c.content).order_by(table.c.id)).yield_per(
            100
        ):
            try:
                yield row.id, _DECODER.decode(row.content)
            except (msgspec.DecodeError, TypeError):
                continue  # the chain names it

    def verify(self) -> int:
        """Recompute the whole chain and every entry's tag; its length. DataError `audit.broken` names the first entry."""
        return self.verify_from(0, GENESIS)[0]

    def verify_from(self, number: int, previous: bytes) -> tuple[int, bytes]:
        """What `verify` does, from behind an entry that was verified before; the last entry and its hash."""
        with as_held(self._engine) as connection:
            return verify_chain(connection, self._tag, number, previous)


def verify_chain(
    connection: sa.Connection, tag: Callable[[bytes], bytes], number: int, previous: bytes
) -> tuple[int, bytes]:
    """The last entry and its hash, after the chain behind entry `number` was recomputed. DataError `audit.broken`."""
    if (
        number
        and connection.execute(sa.select(table.c.hash).where(table.c.id == number)).scalar() != previous
    ):
        number, previous = 0, GENESIS  # from the beginning, to name the entry
    query = sa.select(table).order_by(table.c.id)
    if number:  # else all of it: an entry below the first one would be believed like any other
        query = query.where(table.c.id > number)
    for row in connection.execute(query).yield_per(100):
        number += 1
        link = _link(previous, number, row.at, row.content) if _sound(row) else None
        if (
            link is None
            or (row.id, row.previous, row.hash) != (number, previous, link)
            or not equal(row.tag, tag(link))
        ):
            raise DataError(
                "audit.broken",
                f"The trail of rows was changed at entry {number}: it does not follow from the one before, or was not "
                "written by this platform. Compare with a backup.",
                entry=number,
            )
        previous = row.hash
    return number, previous


def _sound(row: sa.Row[Any]) -> bool:
    """Is every column of the type that we write? SQLite keeps whatever somebody puts there."""
    blobs = (row.content, row.previous, row.hash, row.tag)
    return type(row.at) is int and row.at >= 0 and all(type(one) is bytes for one in blobs)


def _key(engine: sa.Engine, ring: KeyRing) -> bytes:
    with write(engine) as connection:
        row = connection.execute(sa.select(trail_keys).where(trail_keys.c.id == KEY)).one_or_none()
        if row is not None:
            try:
                return TRAIL_KEYS.open(ring, row) or b""
            except (TrustError, *UNFIT):
                raise DataError(
                    "audit.key",
                    "The key of the trail of rows does not open: it was changed, or is of another store. Restore the "
                    "control store from a backup.",
                ) from None
        key = secrets.token_bytes(_KEY_BYTES)
        connection.execute(trail_keys.insert().values(TRAIL_KEYS.seal(ring, {"id": KEY, "sealed_key": key})))
    return key


def _prepared(connection: sa.Connection) -> None:
    """Before a transaction that writes: this connection notes which rows it touches, in memory and for itself alone."""
    if is_reading(connection):
        return
    raw, number = raw_of(connection), schema.cookie(connection)
    if (
        connection.info.get(_LOADED) != number
    ):  # what it read meanwhile may have stood there under the same number
        raw.execute("PRAGMA writable_schema=RESET")
        connection.info[_LOADED] = number
    if _READY in connection.info:
        return
    raw.execute("PRAGMA temp_store=MEMORY")
    raw.execute("CREATE TEMP TABLE IF NOT EXISTS touched (number INTEGER, row INTEGER, key TEXT, found BLOB)")
    raw.create_function("meterseal_row", -1, _found, deterministic=True)
    for number, covered in enumerate(COVERED):
        columns = (*covered.fixed, *covered.rest)
        held = ", ".join(f'old."{name}"' for name in columns)
        old, new = (
            f"INSERT INTO touched VALUES ({number}, {of}.rowid, {key_of(covered.key, f'{of}.')}, {found});"  # noqa: S608 - as above
            for of, found in (("old", f"meterseal_row({len(covered.fixed)}, {held})"), ("new", "x''"))
        )
        other = " OR ".join(f'old."{name}" IS NOT new."{name}"' for name in columns)
        for verb, when, body in (
            ("INSERT", "", new),
            ("DELETE", "", old),
            ("UPDATE", f"WHEN {other}", old + new),
        ):
            raw.execute(
                f'CREATE TEMP TRIGGER IF NOT EXISTS "trail_{covered.name}_{verb}" AFTER {verb} '
                f'ON main."{covered.name}" {when} BEGIN {body} END'
            )
    connection.info[_READY] = True


def _found(cut: int, *values: object) -> bytes:
    """A row as a transaction found it."""
    return whole(digest(values[:cut]), digest(values[cut:]))


def _now(raw: sqlite3.Connection, number: int) -> Written:
    """What stands now of the rows of one table that were touched."""
    covered = COVERED[number]
    names = ", ".join(f't."{name}"' for name in (*covered.fixed, *covered.rest))
    query = (
        f"SELECT k.key, {key_of(covered.key, 't.')}, {names} FROM "  # noqa: S608 - as above
        "(SELECT DISTINCT row, key FROM temp.touched WHERE number = ?) k "
        f'LEFT JOIN main."{covered.name}" t ON t.rowid = k.row'
    )
    first: dict[str, bytes] = {}
    told = "SELECT key, found FROM temp.touched WHERE number = ? ORDER BY rowid"
    for key, found in raw.execute(told, (number,)):
        first.setdefault(key, found)
    items: dict[str, Item] = {}
    for key, here, *values in raw.execute(query, (number,)):
        if key == here:
            items[key] = item_of(covered, key, values, first[key])
        else:  # it went, or is another row by now
            items.setdefault(key, Item(key, b"", b"", first[key]))
    return part_of(covered, [items[key] for key in sorted(items)])


def _grown(connection: sa.Connection, told: dict[str, Item], by: int) -> Iterator[Item]:
    """Rows whose list has so many more members than when they were told of, and nothing else is otherwise."""
    covered = _of(GROWS_OFFLINE.table)
    place = len(covered.fixed) + covered.rest.index(GROWS_OFFLINE.column)
    for key, values in rows_of(connection, covered, (*covered.fixed, *covered.rest)):
        last = told.get(key)
        try:
            members = msgspec.json.decode(values[place] or b"[]", type=list[Any])
        except (msgspec.MsgspecError, TypeError):
            continue  # it is named as changed
        before = members[: max(len(members) - by, 0)]
        was = [*values]
        was[place] = msgspec.json.encode(before).decode() if before else None
        found = item_of(covered, key, was)
        if last is not None and (found.fixed, found.rest) == (last.fixed, last.rest):
            yield item_of(covered, key, values, whole(last.fixed, last.rest))


def _of(name: str) -> Covered:
    return next(covered for covered in COVERED if covered.name == name)


def _planted(connection: sa.Connection) -> bool:
    """Has the file a trigger or view? We make none, and theirs would act within our own transactions."""
    query = "SELECT count(*) FROM main.sqlite_schema WHERE type IN ('trigger', 'view')"
    return bool(connection.exec_driver_sql(query).scalar_one())


def _last(connection: sa.Connection) -> Head:
    return Head(*chains.end(connection, table))


def _link(previous: bytes, number: int, at: int, content: bytes) -> bytes:
    return sm3(previous, number.to_bytes(8), at.to_bytes(8), content)
