"""Station MDMS, salts: 32 secret bytes for every leaf, made so that those of a person's days can be destroyed for good.

It knows no person; whoever erases one says which usage point and which days.

A usage point has a random seed of its own, and under it a tree of keys over the days, sixteen wide and four deep: child =
HMAC-SM3(parent, digit), and the salt of leaf n is HMAC-SM3(key of its day, n). To destroy days the keys above them are
replaced by the keys beside the path down to them, which say nothing of what is gone. The seed is stored before a leaf
under it is made, so replay after a crash gives the same leaves. What comes later for a destroyed day gets a new seed,
which is good for leaves from then on alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.engine import read, write
from meterseal.control.sealed import LEDGER_SEEDS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import ledger_erasures
from meterseal.control.tables import ledger_seeds as table
from meterseal.control.writes import insert_new, upsert
from meterseal.crypto.symmetric import hmac_sm3, sm3
from meterseal.mdms.ledger.leaves import LAST_DAY

DEPTH = 4
_BITS = 4
SALT = 32
KEPT = 100_000
"""Usage points whose seeds are held in memory."""
_AT_ONCE = 500


class Node(Struct, frozen=True, array_like=True):
    """A key over the days whose first `level` digits are `prefix`; good for leaves from number `since` on."""

    level: int
    prefix: int
    since: int
    key: bytes


class Statement(NamedTuple):
    """That salts of a usage point's leaves went, among the first `size`: how many, and SM3 over (number, hash) of each."""

    usage_point: str
    first_day: int
    last_day: int
    size: int
    leaves: int
    digest: bytes


def stated(engine: sa.Engine) -> list[Statement]:
    """Every statement, oldest first."""
    columns = [ledger_erasures.c[name] for name in Statement._fields]
    with read(engine) as connection:
        rows = connection.execute(sa.select(*columns).order_by(ledger_erasures.c.id)).all()
    return [Statement(*row) for row in rows]


def digest_of(leaves: Iterable[tuple[int, bytes]]) -> bytes:
    """SM3 over numbers and hashes of leaves, which rise."""
    return sm3(*(part for number, value in leaves for part in (number.to_bytes(8), value)))


_DECODER = msgspec.msgpack.Decoder(list[Node])
_Nodes = dict[tuple[int, int], Node]


class Salts:
    """The salts of one store. Not thread-safe: the ledger's lock guards it."""

    def __init__(self, engine: sa.Engine, keys: KeyRing) -> None:
        self._engine = engine
        self._keys = keys
        self._known: dict[str, _Nodes] = {}
        self._days: dict[str, tuple[int, int, bytes]] = {}
        """The day last asked for of a usage point: (day, since, key)."""
        self._near: dict[str, tuple[Node, int, bytes]] = {}
        """The sixteen days last asked for of a usage point: what they are made of, their digits, the key above them."""

    def prepare(self, wanted: Iterable[tuple[str, int]], size: int) -> None:
        """Have a seed for each (owner, day) at hand, durably, for leaves from number `size` on.

        Raises EngineError `control.*`.
        """
        owners: dict[str, list[int]] = {}
        for owner, day in wanted:
            owners.setdefault(owner, []).append(day)
        if len(self._known) + len(owners) > KEPT:
            self._forget()
        missing = [owner for owner in owners if owner not in self._known]
        found = self._stored(missing)
        new = {
            owner: {(0, 0): Node(0, 0, 0, secrets.token_bytes(SALT))}
            for owner in missing
            if owner not in found
        }
        if new:
            with write(self._engine) as connection:
                insert_new(connection, table, [self._row(owner, nodes) for owner, nodes in new.items()])
            found |= self._stored(list(new))
        self._known |= found
        for owner, days in owners.items():
            for day in days:
                if _above(self._known[owner], day) is None:
                    self._begin_again(owner, day, size)

    def salt(self, owner: str, day: int, number: int) -> bytes | None:
        """The salt of leaf `number`; None when it was destroyed. The owner must be prepared or stored."""
        last = self._days.get(owner)
        if last is None or last[0] != day:
            if owner not in self._known:
                if len(self._known) >= KEPT:
                    self._forget()
                self._known |= self._stored([owner])
            node = _above(self._known.get(owner, {}), day)
            if node is None:
                return None
            last = self._days[owner] = (day, node.since, self._key_of(owner, node, day))
        _, since, key = last
        return hmac_sm3(key, b"ms1 leaf\x00", number.to_bytes(8)) if number >= since else None

    def _key_of(self, owner: str, node: Node, day: int) -> bytes:
        """A day's key; days that share all but their last digit share the way to it."""
        if node.level == DEPTH:
            return node.key
        near = self._near.get(owner)
        if near is None or near[0] is not node or near[1] != day >> _BITS:
            near = self._near[owner] = (node, day >> _BITS, _descend(node, day, DEPTH - 1))
        return _child(near[2], DEPTH - 1, day & 15)

    def _forget(self) -> None:
        for known in (self._known, self._days, self._near):
            known.clear()

    def destroy(self, owner: str, first: int, last: int, statement: Statement | None = None) -> bytes:
        """Destroy the salts of the days first..last, both included; gives the sealed bytes that are gone.

        `statement` says which leaves lose theirs by it, and is kept with it. Raises EngineError `control.*`, then nothing
        was destroyed.
        """
        with write(self._engine) as connection:
            if statement is not None:
                connection.execute(ledger_erasures.insert().values(**statement._asdict()))
            row = connection.execute(sa.select(table).where(table.c.usage_point == owner)).one_or_none()
            if row is None:
                return b""
            nodes = self._opened(row)
            kept = [left for node in nodes.values() for left in _without(node, first, last)]
            rest = {(node.level, node.prefix): node for node in kept}
            upsert(connection, table, [self._row(owner, rest)])
        for known in (self._known, self._days, self._near):
            known.pop(owner, None)
        return bytes(row.sealed_nodes)

    def _begin_again(self, owner: str, day: int, size: int) -> None:
        """A day whose salts were destroyed hears of its meter again."""
        nodes = self._known[owner] | {
            (DEPTH, day): Node(DEPTH, day, size, secrets.token_bytes(SALT)),
        }
        with write(self._engine) as connection:
            upsert(connection, table, [self._row(owner, nodes)])
        self._known[owner] = nodes
        self._days.pop(owner, None)
        self._near.pop(owner, None)

    def _stored(self, owners: list[str]) -> dict[str, _Nodes]:
        found: dict[str, _Nodes] = {}
        for start in range(0, len(owners), _AT_ONCE):
            query = sa.select(table).where(table.c.usage_point.in_(owners[start : start + _AT_ONCE]))
            with read(self._engine) as connection:
                for row in connection.execute(query).all():
                    found[row.usage_point] = self._opened(row)
        return found

    def _opened(self, row: sa.Row[tuple[object, ...]]) -> _Nodes:
        nodes = _DECODER.decode(LEDGER_SEEDS.open(self._keys, row) or b"\x90")
        return {(node.level, node.prefix): node for node in nodes}

    def _row(self, owner: str, nodes: Mapping[tuple[int, int], Node]) -> dict[str, object]:
        packed = msgspec.msgpack.encode(list(nodes.values()))
        return dict(LEDGER_SEEDS.seal(self._keys, {"usage_point": owner, "sealed_nodes": packed}))


def _above(nodes: _Nodes, day: int) -> Node | None:
    """The key that a day's is made of: the deepest one above it."""
    for level in range(DEPTH, -1, -1):
        node = nodes.get((level, day >> _BITS * (DEPTH - level)))
        if node is not None:
            return node
    return None


def _descend(node: Node, day: int, depth: int) -> bytes:
    key = node.key
    for level in range(node.level, depth):
        key = _child(key, level, day >> _BITS * (DEPTH - 1 - level) & 15)
    return key


def _child(key: bytes, level: int, digit: int) -> bytes:
    return hmac_sm3(key, b"ms1 day\x00", bytes((level, digit)))


def _without(node: Node, first: int, last: int) -> list[Node]:
    """What is left of a key when nothing may say anything of the days first..last."""
    width = _BITS * (DEPTH - node.level)
    begin = node.prefix << width
    end = begin + (1 << width) - 1
    if end < first or begin > min(last, LAST_DAY):
        return [node]
    if first <= begin and end <= last:
        return []
    return [
        left
        for digit in range(16)
        for left in _without(
            Node(
                node.level + 1,
                node.prefix << _BITS | digit,
                node.since,
                _child(node.key, node.level, digit),
            ),
            first,
            last,
        )
    ]
