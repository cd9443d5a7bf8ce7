"""Station MDMS, proof: the statements that wait for their check, as they lie together in the row of their number.

It judges none of them (`evidence` does). Whoever can put a false statement in first must not keep the meter's own out, so
none gives way to another before somebody could check both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.tables import evidence as table
from meterseal.link.evidence import STATEMENT, unpack
from meterseal.mdms.state import Pending

UNCHECKED = "unchecked"
RIVALS = 64
"""Statements kept under one number while nobody can check them."""
_SINGLE = (STATEMENT + 64, STATEMENT + 32)
"""Sizes of a statement that lies alone: checked, or kept by an older version."""


class Rival(Struct, frozen=True, array_like=True):
    """One statement under a number, with what its check needs."""

    raw: bytes
    signature: bytes
    usage_point: str
    suite: int
    module_id: bytes
    received_at: int

    @classmethod
    def of(cls, item: Pending) -> Rival:
        """One that came just now."""
        return cls(item.raw, item.signature, item.usage_point, item.suite, item.module_id, item.received_at)

    def pending(self) -> Pending:
        """The same as something to be checked."""
        return Pending(
            usage_point=self.usage_point,
            statement=unpack(self.raw),
            raw=self.raw,
            signature=self.signature,
            suite=self.suite,
            module_id=self.module_id,
            received_at=self.received_at,
            batch=0,
        )

    def same(self, other: Rival) -> bool:
        """Are statement and signature the same bytes?"""
        return (self.raw, self.signature) == (other.raw, other.signature)


_DECODER = msgspec.msgpack.Decoder(list[Rival])


def pack(rivals: Sequence[Rival]) -> bytes:
    """What is sealed in an unchecked row."""
    return msgspec.msgpack.encode(rivals)


def unpacked(row: sa.Row[Any], opened: bytes) -> list[Rival]:
    """Every statement of a row whose sealed column is open, first come first; a checked row has one."""
    if row.checked == UNCHECKED and len(opened) not in _SINGLE:
        return _DECODER.decode(opened)
    raw, signature = opened[:STATEMENT], opened[STATEMENT:]
    return [Rival(raw, signature, row.usage_point, row.suite, row.module_id, row.received_at)]


def number_of(item: Pending) -> sa.ColumnElement[bool]:
    """The row of its number."""
    device_id, channel, sequence = item.key
    return sa.and_(table.c.device_id == device_id, table.c.channel == channel, table.c.sequence == sequence)
