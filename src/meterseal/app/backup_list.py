"""The list of one backup: which files were there at one instant, sealed under the data key of the store.

It reads and writes no file (`app.backup` does).
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from meterseal.control.sealing import KeyRing
from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import TrustError
from meterseal.places import place

FORMAT = 1


class Part(Struct, frozen=True, array_like=True):
    """One file of a backup: its name below the platform's directory, its bytes' number and SHA-256, and `Held.fact`.

    A file that only grows is several parts, each from `offset` on."""

    name: str
    size: int
    digest: str
    fact: str
    offset: int = 0


class Point(Struct, frozen=True, kw_only=True):
    """One backup: everything of one store as of one instant."""

    format: int
    id: str
    at: int
    store_id: str
    sequence: int
    """Newest journal entry in it."""
    leaves: int
    control: str
    """Version of the control store's tables."""
    missing: tuple[str, ...]
    """Files that the store had lost already."""
    parts: tuple[Part, ...]


class _Seal(Struct, frozen=True, kw_only=True):
    format: int
    key_version: int
    seal: bytes


def sealed(point: Point, ring: KeyRing) -> bytes:
    """The bytes of a list: a line with the seal over it, then the list."""
    body = msgspec.json.encode(point)
    seal = _Seal(
        format=FORMAT, key_version=ring.version, seal=ring.seal(sm3(body), _place(point), ring.version)
    )
    return msgspec.json.encode(seal) + b"\n" + body


def sealed_by(raw: bytes, ring: KeyRing) -> Point:
    """The backup in a list's bytes, after its seal was opened. TrustError `backup.seal`, `sealing.key`."""
    head, _, body = raw.partition(b"\n")
    try:
        seal = msgspec.json.decode(head, type=_Seal)
        point = msgspec.json.decode(body, type=Point)
        opened = ring.open(seal.seal, _place(point), seal.key_version)
    except (msgspec.DecodeError, RecursionError, TrustError) as error:
        if isinstance(error, TrustError) and error.code != "crypto.tag":
            raise
        raise _not_ours() from None
    if not equal(opened, sm3(body)):
        raise _not_ours()
    return point


def _place(point: Point) -> bytes:
    return place(point.store_id, "backup", point.id)


def _not_ours() -> TrustError:
    return TrustError(
        "backup.seal",
        "This backup was not sealed by the store that it names, or its list was changed. Take another one; nothing of it "
        "is used.",
    )
