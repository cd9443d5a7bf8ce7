"""Station edge, inside the module: how a command is refused.

It says nothing but a status word; what was refused changed nothing.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from meterseal.edge.apdu import Sw

_T = TypeVar("_T", bound=Struct)
NOW = 8
"""Bytes of the time in front of a command's data."""


class Refused(Exception):
    """Never leaves the module; becomes its status word."""

    def __init__(self, word: int) -> None:
        super().__init__(word)
        self.word = word


def need(condition: bool, word: int) -> None:
    """Refuse with the status word unless the condition holds."""
    if not condition:
        raise Refused(word)


def decode(content: bytes, kind: type[_T]) -> _T:
    """The struct in a command's data; refused with 6A80 when it is none."""
    try:
        return msgspec.msgpack.decode(content, type=kind)
    except msgspec.MsgspecError:
        raise Refused(Sw.WRONG_DATA) from None


def timed(content: bytes) -> tuple[int, bytes]:
    """The meter's time (Unix ms) in front of a command's data, and the rest."""
    need(len(content) >= NOW, Sw.WRONG_LENGTH)
    return int.from_bytes(content[:NOW], "big"), content[NOW:]
