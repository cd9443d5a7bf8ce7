"""Station MDMS, what the journal says: one entry is what was committed at once.

No behaviour. An entry carries everything that replay needs, so that replay gives the same state whatever has
changed around it since, such as the installation of a meter.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from meterseal.model import Batch, Medium, Origin, Quality


class Place(Struct, frozen=True, array_like=True):
    """Where a device measured when the batch came: since <= end_at < until; until 0 while it lasts."""

    device_id: bytes
    usage_point: str
    medium: Medium
    since: int
    until: int
    concentrator: bytes = b""
    """That the fleet knew it behind as the batch came; empty where there is none, or in an entry of before it was kept."""


class Version(Struct, frozen=True, array_like=True):
    """New versions of evenly spaced readings of one channel: an estimate, an edit or a judgement."""

    usage_point: str
    medium: Medium
    channel: int
    start_at: int
    step: int
    registers: tuple[int, ...]
    exponent: int
    unit: str
    quality: Quality
    method: str
    recorded_at: int
    origin: Origin
    version: int


class Rollup(Struct, frozen=True, array_like=True):
    """From here on readings of a medium's main (or other) channels are kept by the day or month up to `until` (Unix ms).

    `held`: usage points of which less is rolled up, and up to where. `edges`: instants beside which registers stay.
    `author` and `at` say whose rule it followed, and when.
    """

    medium: Medium
    main: bool
    level: Literal["day", "month"]
    until: int
    held: dict[str, int]
    edges: dict[str, tuple[int, ...]]
    author: str
    at: int


class Entry(Struct, frozen=True, array_like=True):
    """One journal entry: batches that came together, where their devices were, versions, columns (`bulk`),
    and roll-ups that hold from here on.

    An entry of an earlier version ends before the parts that it does not know.
    """

    batch: Batch = Batch()
    places: tuple[Place, ...] = ()
    versions: tuple[Version, ...] = ()
    columns: tuple[bytes, ...] = ()
    rolled: tuple[Rollup, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def pack(entry: Entry) -> bytes:
    """The bytes that are sealed."""
    return _encoder.encode(entry)


def unpack(content: bytes) -> Entry:
    """The entry again; the bytes were authenticated before."""
    return _decoder.decode(content)
