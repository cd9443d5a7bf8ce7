"""The proof of a file: that its rows are exactly those that the service wrote last, none added, taken, changed or put back.

It knows no row's meaning and no other file; `revisions` compares the files with each other.

Each row weighs HMAC-SM3(key, table ‖ rowid where there is one ‖ its values) as a number; the weights of all rows of
all tables are summed modulo 2^256 and the sum is kept, so a commit costs what its changed rows cost. Triggers that
live in the connection alone, never in the file, feed the sum: no writer can forget it. The state (revision, sum,
number of rows, digest of the schema, revisions of the other files, head of a chain) is one row, sealed under a key
of vault *keys* or of the vault itself, for its file and revision, and written in the transaction that it is about.
It is sealed, not only authenticated, because weights that somebody knows could be combined to a wanted sum.

A schema is part of the state, because a trigger that somebody puts into the file would act with our writes. And
SQLite's own check of the file runs before the rows are believed: a row out of its place in a tree would be in the
sum and never be found.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Struct

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import EngineError, TrustError
from meterseal.security.revisions import Revisions
from meterseal.security.store import Store

if TYPE_CHECKING:
    from meterseal.security.vault import Vault

TABLE = "proof"
_MAKE = f"CREATE TABLE {TABLE}(revision INTEGER NOT NULL, sealed BLOB NOT NULL)"
_MODULUS = 1 << 256
_SUBKEY_BITS = 24
"""A subkey seals at most 2^24 states, far below what random nonces allow one SM4-GCM key."""

Head = Callable[[sqlite3.Connection], bytes]
"""What a file proves of a chain that is not summed, as it stands inside a transaction."""


class _State(Struct, array_like=True, frozen=True):
    total: bytes
    rows: int
    schema: bytes
    changed: int
    others: dict[str, int]
    head: bytes


class _Coming(NamedTuple):
    """What holds once the transaction under way is on disk."""

    total: int
    rows: int
    schema_version: int
    schema: bytes
    head: bytes
    changed: bool


def _no_head(connection: sqlite3.Connection) -> bytes:
    return b""


class Proof:
    """The proof of one open file; `Store` asks it before and after each commit."""

    def __init__(
        self,
        store: Store,
        key: SymmetricKey,
        name: str,
        revisions: Revisions,
        *,
        chained: str = "",
        head: Head = _no_head,
    ) -> None:
        """`chained` names a table whose rows prove each other; `head` says where that chain ends."""
        self.name, self.store, self.revisions = name, store, revisions
        self._chained, self._head_of = chained, head
        self._row_key = key.diversify(b"MS1ROWS\x00", f"the proof of {store.path.name}")
        self._state_key = key.diversify(b"MS1STATE", f"the state of {store.path.name}")
        self._pack = msgspec.msgpack.Encoder().encode
        self.revision = self._total = self._rows = 0
        self.changed = 0
        """The revision of the last commit that changed a row."""
        self._delta = self._more = 0
        self._schema = self._head = b""
        self._schema_version = -1
        self._forced = False
        self._coming: _Coming | None = None

    @classmethod
    def under(
        cls, vault: Vault, store: Store, name: str, *, chained: str = "", head: Head = _no_head
    ) -> Proof:
        """The proof of a file that lies beside vault *keys*, under a key of it."""
        return cls(store, vault.proving_key(name), name, vault.revisions, chained=chained, head=head)

    # --- opening

    @property
    def present(self) -> bool:
        """Whether the file carries a proof; whether it should, the other files know (`Revisions.expect_unproven`)."""
        return bool(self.store.rows("SELECT 1 FROM main.sqlite_schema WHERE name = ?", TABLE))

    def begin(self, connection: sqlite3.Connection) -> None:
        """Give a file its first proof, inside the transaction that made or raised it."""
        connection.execute(_MAKE)
        total, rows = self._summed(connection)
        head, others = self._head_of(connection), self.revisions.others(self.name)
        sealed = self._sealed(1, _State(total.to_bytes(32), rows, _schema_of(connection), 1, others, head))
        connection.execute(f"INSERT INTO {TABLE} VALUES (1, ?)", (sealed,))  # noqa: S608  # a constant

    def open(self) -> Proof:
        """Prove the file, then watch its writes; TrustError `security.tampered`, `security.rolled-back`."""
        store = self.store
        if not self.present:
            raise self._tampered("it carries no proof of what it holds any more")
        found = store.rows(f"SELECT revision, CAST(sealed AS BLOB) FROM {TABLE}")  # noqa: S608  # a constant
        state = self._opened(found[0][0], bytes(found[0][1])) if len(found) == 1 else None
        if state is None:
            raise self._tampered("its state does not open")
        self._schema = store.ask(_schema_of)
        if not equal(self._schema, state.schema):
            raise self._tampered("its tables, indexes or triggers are not those that it had")
        if not self._chained and (wrong := store.rows("PRAGMA integrity_check(1)")) != [("ok",)]:
            raise self._tampered(f"it is not sound: {str(wrong[0][0])[:200]}")
        try:
            self._total, self._rows = store.ask(self._summed)
        except EngineError as error:
            if error.code != "security.damaged":
                raise
            raise self._tampered("a value is not of the kind that it was") from None
        if (self._total.to_bytes(32), self._rows) != (state.total, state.rows):
            raise self._tampered(f"its {self._rows} rows are not the {state.rows} that were written last")
        self._head = store.ask(self._head_of)
        if not equal(self._head, state.head):
            raise self._tampered("its last entry is not the one that was written last")
        self.revision, self.changed = found[0][0], state.changed
        self.revisions.opened(self, state.others)
        store.ask(self._watch)
        store.watched_by(self)
        return self

    def reform(self, connection: sqlite3.Connection, step: Callable[[sqlite3.Connection], None]) -> None:
        """Let a step to another format change the tables, inside a transaction, and prove what they hold then."""
        for (name,) in connection.execute(
            "SELECT name FROM temp.sqlite_schema WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER temp.{name}")
        step(connection)
        total, rows = self._summed(connection)
        self._delta, self._more = total - self._total, rows - self._rows
        self._watch(connection)

    def _opened(self, revision: object, sealed: bytes) -> _State | None:
        if not isinstance(revision, int) or not 0 < revision < 1 << 62:
            return None
        try:
            opened = self._subkey(revision).gcm_open(sealed, self._place(revision))
            return msgspec.msgpack.decode(opened, type=_State)
        except (TrustError, msgspec.DecodeError):
            return None

    def _summed(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """Sum and number of all rows of the file."""
        total = rows = 0
        for table, columns in self._tables(connection):
            query = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608  # names from the proven schema
            for row in connection.execute(query):
                total += self._weight((table, *row))
                rows += 1
        return total % _MODULUS, rows

    def _watch(self, connection: sqlite3.Connection) -> None:
        """Triggers in this connection that feed the sum with every row that is written."""
        connection.create_function("ms1_proven", -1, self._feed)
        for table, columns in self._tables(connection):
            old, new = (", ".join(f"{which}.{column}" for column in columns) for which in ("OLD", "NEW"))
            took, gave = (
                f"SELECT ms1_proven(-1, '{table}', {old});",
                f"SELECT ms1_proven(1, '{table}', {new});",
            )
            for event, does in (("INSERT", gave), ("DELETE", took), ("UPDATE", took + gave)):
                connection.execute(
                    f"CREATE TEMP TRIGGER ms1_{table}_{event} AFTER {event} ON main.{table} BEGIN {does} END"
                )

    def _tables(self, connection: sqlite3.Connection) -> Iterable[tuple[str, list[str]]]:
        """Each table that is summed, and the names of its columns, rowid first where it has one of its own."""
        listed = connection.execute("PRAGMA main.table_list").fetchall()
        for _, table, kind, _, without_rowid, *_ in sorted(listed, key=lambda row: row[1]):
            if kind == "table" and table not in (TABLE, self._chained) and not table.startswith("sqlite_"):
                columns = [f'"{row[1]}"' for row in connection.execute(f"PRAGMA main.table_info({table})")]
                yield table, columns if without_rowid else ["rowid", *columns]

    # --- writing

    def _feed(self, sign: int, *row: Any) -> None:
        self._delta += sign * self._weight(row)
        self._more += sign

    def force(self) -> None:
        """Let the next commit write the state down though no row changes, because other files went on."""
        self._forced = True

    def seal(self, connection: sqlite3.Connection) -> None:
        """Write the state that holds after this transaction, inside it."""
        version = connection.execute("PRAGMA schema_version").fetchone()[0]
        schema = self._schema if version == self._schema_version else _schema_of(connection)
        head = self._head_of(connection)
        changed = self._delta != 0 or schema != self._schema or head != self._head
        if not changed and not self._forced:
            return
        revision = self.revision + 1
        total, rows = (self._total + self._delta) % _MODULUS, self._rows + self._more
        others = self.revisions.others(self.name)
        sealed = self._sealed(
            revision,
            _State(total.to_bytes(32), rows, schema, revision if changed else self.changed, others, head),
        )
        connection.execute(f"UPDATE {TABLE} SET revision = ?, sealed = ?", (revision, sealed))  # noqa: S608  # a constant
        self._coming = _Coming(total, rows, version, schema, head, changed)

    def committed(self) -> None:
        """What `seal` wrote is on disk."""
        coming = self._coming
        self.dropped()
        if coming is None:
            return
        self._total, self._rows, self._schema_version, self._schema, self._head, changed = coming
        self.revision += 1
        self.changed = self.revision if changed else self.changed
        self.revisions.committed(self.name, self.revision, changed=changed)

    def dropped(self) -> None:
        """The transaction is over; what it fed is not to be counted (any more)."""
        self._delta = self._more = 0
        self._forced = False
        self._coming = None

    def digest(self) -> bytes:
        """Of all rows and of the chain's end, under the key of this file."""
        return self._row_key.mac(self._pack((b"digest", self._total.to_bytes(32), self._rows, self._head)))

    # --- words

    def _weight(self, row: Iterable[Any]) -> int:
        return int.from_bytes(self._row_key.mac(self._pack(row)))

    def _sealed(self, revision: int, state: _State) -> bytes:
        return self._subkey(revision).gcm_seal(self._pack(state), self._place(revision))

    def _subkey(self, revision: int) -> SymmetricKey:
        return self._state_key.diversify((revision >> _SUBKEY_BITS).to_bytes(8), self._state_key.label)

    def _place(self, revision: int) -> bytes:
        return b"ms1 proof\x00" + self.name.encode() + b"\x00" + revision.to_bytes(8)

    def _tampered(self, why: str) -> TrustError:
        return TrustError(
            "security.tampered",
            f"{self.store.path} was changed while the service was stopped: {why}. Restore the whole directory from one "
            "backup, and find out who can write into it.",
        )


def _schema_of(connection: sqlite3.Connection) -> bytes:
    """SM3 over the format number and every table, index, trigger and view of the file."""
    made = connection.execute(
        "SELECT type, name, tbl_name, sql FROM main.sqlite_schema ORDER BY type, name"
    ).fetchall()
    version = connection.execute("PRAGMA main.user_version").fetchone()
    return sm3(msgspec.msgpack.encode((version, made)))
