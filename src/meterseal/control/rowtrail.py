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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.covered import COVERED, Covered
from meterseal.control.engine import before_writing, is_reading, raw_of, read, write
from meterseal.control.sealed import TRAIL_KEYS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import row_trail as table
from meterseal.control.tables import trail_keys
from meterseal.crypto.symmetric import equal, hmac_sm3, sm3
from meterseal.errors import DataError, TrustError

GENESIS = bytes(32)
BEGUN = "begun"
OFFLINE = "offline"
FOREIGN = "foreign"
PLANTED = "planted"
"""Notes of entries: what stood before the trail began; acts of our own that were written while no key was at hand; one
before which somebody else's entries stand; and one that was written while a trigger or view stood in the file, which would
change rows within our own transaction."""
KEY = "rows"
ACTS = "acts"
_TAG = b"ms1 row trail\x00"
_AT_ONCE = 5_000
_KEY_BYTES = 32
_READY = "meterseal_row_trail"


class Item(Struct, frozen=True, array_like=True):
    """A row as it was left: SM3 over its fixed columns and over the others; both empty: it is gone. `found`: SM3 over both
    as the transaction found them, so that what somebody else wrote is not made ours by our next write; empty: it was new.
    """

    key: str
    fixed: bytes
    rest: bytes
    found: bytes = b""


class Written(Struct, frozen=True, array_like=True):
    """The rows of one table; `fixed` and `rest` name the columns under the two digests."""

    table: str
    fixed: tuple[str, ...]
    rest: tuple[str, ...]
    items: tuple[Item, ...]


class Entry(Struct, frozen=True, array_like=True):
    """What one transaction wrote."""

    note: str
    written: tuple[Written, ...]


class Head(NamedTuple):
    """Number and hash of the last entry."""

    number: int
    hash: bytes


_DECODER = msgspec.msgpack.Decoder(Entry)
NONE = Head(0, GENESIS)


def key_of(columns: Sequence[str], of: str = "") -> str:
    """The SQL by which a row is named in the trail."""
    return " || '|' || ".join(f'quote({of}"{name}")' for name in columns)


def digest(values: Iterable[object]) -> bytes:
    """SM3 over columns as SQLite holds them; of none it is empty."""
    held = list(values)
    return sm3(msgspec.msgpack.encode(held)) if held else b""


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


def planted(connection: sa.Connection) -> list[tuple[str, str]]:
    """(kind, name) of triggers and views in the file. We make none, and theirs would act within our own transactions."""
    query = "SELECT type, name FROM main.sqlite_schema WHERE type IN ('trigger', 'view') ORDER BY name"
    return [(str(row[0]), str(row[1])) for row in connection.exec_driver_sql(query)]


def whole(fixed: bytes, rest: bytes) -> bytes:
    """One hash over the two of a row."""
    return sm3(fixed, rest)


def rows_of(
    connection: sa.Connection, covered: Covered, columns: Sequence[str]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(key, columns) of every row of a table, as SQLite holds them."""
    names = ", ".join(f'"{name}"' for name in columns)
    query = f'SELECT {key_of(covered.key)}, {names} FROM "{covered.name}"'  # noqa: S608 - names of our own tables
    for row in connection.exec_driver_sql(query).yield_per(_AT_ONCE):
        yield row[0], tuple(row[1:])


class RowTrail:
    """The trail of one control store, written with every transaction of this engine from `begin` on."""

    def __init__(self, engine: sa.Engine, key: bytes, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._key = key
        self._clock = clock
        self._last = self._coming = NONE

    @classmethod
    def begin(cls, engine: sa.Engine, ring: KeyRing, clock: Callable[[], int], offline: str = "") -> RowTrail:
        """The trail of this store, from now on written with whatever `engine` writes; where there is none, it begins with
        what stands. `offline` names the act that this program writes while nobody can seal.

        Call it once for an engine, before anything is written. DataError `audit.key` when its key does not open.
        """
        trail = cls(engine, _key(engine, ring), clock)
        trail._last = trail._coming = Head(*trail.head())
        told, acts = trail._told_of()
        trail._begin([covered for covered in COVERED if covered.name not in told])
        if offline:
            trail._adopt(offline, acts)
        before_writing(engine, _prepared, trail._written)
        return trail

    # --- writing ----------------------------------------------------------------------------------

    def _told_of(self) -> tuple[set[str], set[str]]:
        """The tables of which an entry tells, and the acts."""
        tables, acts = set[str](), set[str]()
        for _, entry in self.entries():
            for part in entry.written:
                tables.add(part.table)
                if part.table == ACTS:
                    acts |= {item.key for item in part.items}
        return tables, acts

    def _begin(self, tables: Sequence[Covered]) -> None:
        """Take up tables as they stand: all of them in a new trail, and later those that are covered since an upgrade. An
        empty one is told of as well, so that this is done once."""
        if not tables:
            return
        with write(self._engine) as connection:
            parts: list[Written] = []
            for covered in tables:
                every = rows_of(connection, covered, (*covered.fixed, *covered.rest))
                items = [_item(covered, key, values) for key, values in every]
                for start in range(0, len(items) or 1, _AT_ONCE):
                    parts.append(_part(covered, items[start : start + _AT_ONCE]))
                    if sum(len(part.items) for part in parts) >= _AT_ONCE:
                        self._append(connection, Entry(BEGUN, tuple(parts)))
                        parts = []
            if parts:
                self._append(connection, Entry(BEGUN, tuple(parts)))
        self._last = self._coming

    def _adopt(self, act: str, known: set[str]) -> None:
        """Acts of that name of which no entry tells."""
        (covered,) = (one for one in COVERED if one.name == ACTS)
        place = covered.fixed.index("act")
        with write(self._engine) as connection:
            items = [
                _item(covered, key, values)
                for key, values in rows_of(connection, covered, covered.fixed)
                if key not in known and values[place] == act
            ]
            if items:
                self._append(connection, Entry(OFFLINE, (_part(covered, items),)))
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
        self._append(connection, Entry(PLANTED if planted(connection) else note, parts), stands)

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
            except TrustError:
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
    if is_reading(connection) or _READY in connection.info:
        return
    raw = raw_of(connection)
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
            items[key] = _item(covered, key, values, first[key])
        else:  # it went, or is another row by now
            items.setdefault(key, Item(key, b"", b"", first[key]))
    return _part(covered, [items[key] for key in sorted(items)])


def _item(covered: Covered, key: str, values: Sequence[Any], found: bytes = b"") -> Item:
    cut = len(covered.fixed)
    return Item(key, digest(values[:cut]), digest(values[cut:]), found)


def _part(covered: Covered, items: Iterable[Item]) -> Written:
    return Written(covered.name, covered.fixed, covered.rest, tuple(items))


def _last(connection: sa.Connection) -> Head:
    row = connection.execute(sa.select(table.c.id, table.c.hash).order_by(table.c.id.desc()).limit(1)).first()
    return Head(row.id, row.hash) if row else NONE


def _link(previous: bytes, number: int, at: int, content: bytes) -> bytes:
    return sm3(previous, number.to_bytes(8), at.to_bytes(8), content)
