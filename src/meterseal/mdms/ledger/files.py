"""Station MDMS, what leaves are made of, at rest: digest and plaintext of every leaf, in sealed files of a few thousand.

It hashes nothing and decides nothing. A file's name is the leaves in it (first and count), and no leaf is in two files
that count: of two that begin alike the one that the manifest's size allows and that reaches further does.

A file is magic 4 ‖ first 8 ‖ count 8 ‖ first day 4 ‖ last day 4 ‖ key version 4 ‖ sealed zlib of the leaves. What is in
clear is bound to the seal.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, TrustError
from meterseal.mdms.store.files import disk, place_file
from meterseal.places import place

SUFFIX = ".leaves"
FULL = 8192
"""Leaves in one file; one with fewer is joined with what comes next."""
FULL_BYTES = 4 * 1024 * 1024
"""Bytes of plaintexts in one file, about."""
_HEADER = struct.Struct(">4sQQIII")
_MAGIC = b"msl1"
_LARGEST = 1 << 30


class Made(Struct, frozen=True, array_like=True, gc=False):
    """What one leaf is made of, beside its salt: SM3(record), the day it lies in, and its plaintext."""

    digest: bytes
    day: int
    plaintext: bytes


class File(NamedTuple):
    """Leaves first .. first + size - 1, of the days first_day .. last_day."""

    path: Path
    first: int
    size: int
    first_day: int
    last_day: int
    key_version: int

    @property
    def end(self) -> int:
        """The leaf after its last."""
        return self.first + self.size


_DECODER = msgspec.msgpack.Decoder(list[Made])


def write_leaves(directory: Path, store_id: str, keys: KeyRing, first: int, made: Sequence[Made]) -> File:
    """Seal leaves into a new durable file. Raises EngineError `mdms.full`, `mdms.disk`."""
    file = File(
        directory / f"{first:012d}-{len(made):06d}{SUFFIX}",
        first,
        len(made),
        min(one.day for one in made),
        max(one.day for one in made),
        keys.version,
    )
    header = _HEADER.pack(_MAGIC, *file[1:])
    packed = zlib.compress(msgspec.msgpack.encode(made), 1)
    place_file(
        file.path,
        header + keys.seal(packed, place(store_id, "ledger", header), file.key_version),
    )
    return file


def read_leaves(file: File, store_id: str, keys: KeyRing) -> list[Made]:
    """What a file holds. DataError `mdms.ledger-damaged` when it is not what was stored there."""
    with disk(file.path):
        content = file.path.read_bytes() if file.path.exists() else b""
    header, sealed = content[: _HEADER.size], content[_HEADER.size :]
    if header != _HEADER.pack(_MAGIC, *file[1:]):
        raise damaged(file.path)
    try:
        packed = keys.open(sealed, place(store_id, "ledger", header), file.key_version)
    except TrustError as error:
        if error.code != "crypto.tag":
            raise
        raise damaged(file.path) from error
    made = _DECODER.decode(zlib.decompressobj().decompress(packed, _LARGEST))
    if len(made) != file.size:
        raise damaged(file.path)
    return made


def portions(made: Sequence[Made]) -> Iterator[tuple[int, Sequence[Made]]]:
    """(begin, leaves) cut into what one file takes."""
    begin, weight = 0, 0
    for at, one in enumerate(made):
        if at > begin and (at - begin >= FULL or weight >= FULL_BYTES):
            yield begin, made[begin:at]
            begin, weight = at, 0
        weight += len(one.plaintext)
    if begin < len(made):
        yield begin, made[begin:]


def has_room(file: File) -> bool:
    """May what comes next be joined with this file?"""
    with disk(file.path):
        return file.size < FULL and file.path.stat().st_size < FULL_BYTES // 4


def found(directory: Path, size: int) -> list[File]:
    """The files that hold the first `size` leaves, in order; what a crash left beside them is removed.

    DataError `mdms.ledger-damaged` when leaves are in no file.
    """
    with disk(directory):
        every = [_described(path) for path in sorted(directory.glob(f"*{SUFFIX}"))]
    listed: list[File] = []
    at = 0
    while at < size:
        file = max(
            (one for one in every if one.first == at < one.end <= size),
            key=lambda one: one.end,
            default=None,
        )
        if file is None:
            raise DataError(
                "mdms.ledger-damaged",
                f"No file in {directory} holds leaf {at} of the ledger, which has {size}. Restore the missing file from a "
                "backup; nothing was changed.",
                leaf=at,
            )
        listed.append(file)
        at = file.end
    named = {one.path for one in listed}
    forget(one.path for one in every if one.path not in named)
    forget(directory.glob(f"*{SUFFIX}.new"))
    return listed


def forget(paths: Iterable[Path]) -> None:
    """Delete files that count no more."""
    for path in paths:
        with disk(path):
            path.unlink(missing_ok=True)


def _described(path: Path) -> File:
    with path.open("rb") as file:
        header = os.pread(file.fileno(), _HEADER.size, 0)
    if len(header) != _HEADER.size or header[:4] != _MAGIC:
        raise damaged(path)
    return File(path, *_HEADER.unpack(header)[1:])


def damaged(path: Path) -> DataError:
    """The error that names a file that is not what was stored."""
    return DataError(
        "mdms.ledger-damaged",
        f"{path} is missing, or is not the file that was stored there: changed, moved or swapped. Restore it from a "
        "backup; until then the leaves in it cannot be shown.",
    )
