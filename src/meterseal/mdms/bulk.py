"""Station MDMS, delivered readings as columns: how a back-fill or another system's readings come in by the thousand.

No behaviour beyond packing and its check; `ingest` decides what each reading is. One bulk is of one medium, came at one
time, and is durable as a whole or not at all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.mdms.cutting import LATEST
from meterseal.mdms.store.packing import Unpacker, pack
from meterseal.model import Medium, Origin

LARGEST = 50_000
"""Readings in one bulk."""
_TEXT = 32


class Bulk(NamedTuple):
    """Readings that meters delivered; all arrays have one length, 1 to LARGEST.

    `point` and `unit` are indices of `points` (usage points) and `units`; value = register * 10**exponent. Where
    `missing` is True the meter said that it has no value. `profile` says that these are of load profiles (ADR 0006).
    """

    medium: Medium
    origin: Origin
    profile: bool
    received_at: int
    """Unix ms."""
    points: tuple[str, ...]
    units: tuple[str, ...]
    point: NDArray[np.integer[Any]]
    channel: NDArray[np.integer[Any]]
    end_at: NDArray[np.integer[Any]]
    """Unix ms."""
    register: NDArray[np.integer[Any]]
    exponent: NDArray[np.integer[Any]]
    unit: NDArray[np.integer[Any]]
    missing: NDArray[np.bool_]


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    medium: Medium
    origin: Origin
    profile: bool
    received_at: int
    points: tuple[str, ...]
    units: tuple[str, ...]
    columns: bytes


class _Receipt(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of `_Packed`."""

    medium: Medium
    origin: Origin
    profile: bool
    received_at: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Packed)
_receipt = msgspec.msgpack.Decoder(_Receipt)


def pack_bulk(bulk: Bulk) -> bytes:
    """The bytes of a bulk. Raises DataError `mdms.columns` when it is not one, naming what is wrong."""
    _check(bulk)
    return _encoder.encode(_Packed(*bulk[:6], b"".join(pack(column) for column in bulk[6:])))


def unpack_bulk(content: bytes) -> Bulk:
    """The bulk again; the bytes were authenticated before. Raises DataError `mdms.packed`."""
    packed = _decoder.decode(content)
    columns = Unpacker(packed.columns)
    point, channel, end_at, register, exponent, unit, missing = (columns.next() for _ in range(7))
    return Bulk(
        packed.medium,
        packed.origin,
        packed.profile,
        packed.received_at,
        packed.points,
        packed.units,
        point,
        channel,
        end_at,
        register,
        exponent,
        unit,
        missing.astype(np.bool_),
    )


def received_at(content: bytes) -> int:
    """When packed columns came, without unpacking them."""
    return _receipt.decode(content).received_at


def _check(bulk: Bulk) -> None:
    columns = bulk[6:]
    size = len(bulk.point)
    if not 1 <= size <= LARGEST or any(column.shape != (size,) for column in columns):
        raise _refused(f"its columns have not all one length of 1 to {LARGEST}")
    if len(bulk.points) > size or len(bulk.units) > size:
        raise _refused("it names more usage points or units than it has readings")
    if not all(0 < len(text) <= _TEXT for text in bulk.points) or not all(
        len(text) <= 16 for text in bulk.units
    ):
        raise _refused("a usage point has more than 32 characters or none, or a unit more than 16")
    bounds: tuple[tuple[str, NDArray[np.integer[Any]], int, int], ...] = (
        ("point", bulk.point, 0, len(bulk.points) - 1),
        ("unit", bulk.unit, 0, len(bulk.units) - 1),
        ("channel", bulk.channel, 0, 127),
        ("exponent", bulk.exponent, -30, 30),
        ("end_at", bulk.end_at, 0, LATEST - 1),
        ("register", bulk.register, 1 - (1 << 53), (1 << 53) - 1),
    )
    for name, column, least, most in bounds:
        if column.dtype.kind not in "iu" or int(column.min()) < least or int(column.max()) > most:
            raise _refused(f"`{name}` is not whole numbers from {least} to {most}")
    if not 0 <= bulk.received_at < LATEST:
        raise _refused("the time of its receipt is none that this system stores")


def _refused(why: str) -> DataError:
    return DataError(
        "mdms.columns", f"Nothing of these readings was kept: {why}. Correct it and send them again."
    )
