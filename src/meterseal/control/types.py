"""Column types of the control store: what a value means, checked on its way in.

No table and no query here. Times are Unix milliseconds UTC, money whole fen 分, ids fixed-length bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.types import TypeDecorator

from meterseal.errors import DataError

_ENCODER = msgspec.json.Encoder(order="deterministic")


class Instant(TypeDecorator[int]):
    """Unix milliseconds UTC as a 64-bit integer; anything but an int is refused (ValueError)."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """Refuse what is not whole milliseconds, such as float seconds."""
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"a time is whole Unix milliseconds, not {value!r}")
        return value


class WrongLength(DataError, DontWrapMixin):
    """`control.id`: it comes out of a statement as it is, for ids come from other processes."""


class Id(TypeDecorator[bytes]):
    """Bytes of one fixed length (device, module, session: 8); another length is refused (`WrongLength`)."""

    impl = sa.LargeBinary
    cache_ok = True

    def __init__(self, length: int = 8) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        """Refuse an id of another length."""
        if value is not None and len(value) != self.length:
            raise WrongLength(
                "control.id",
                f"An id here has {self.length} bytes, not {len(value)}; nothing was read or written.",
            )
        return value


class Document(TypeDecorator[Any]):
    """A JSON document kept as text with sorted keys, so that equal documents are equal text.

    Takes dicts, lists and msgspec structs (Decimals become strings); gives dicts and lists back.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """Encode deterministically."""
        return None if value is None else _ENCODER.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        """Decode to plain dicts and lists."""
        return None if value is None else msgspec.json.decode(value)
