"""Station link, firmware: the manifest that a module verifies, an image in blocks, the words that carry them (ADR 0030).

It trusts nobody and keeps nothing: whose signature counts is the module's to judge, where blocks lie the controller's.

A manifest says what an image is for and names it by the root of a tree over its blocks (`crypto.merkle`). So one
block proves by itself that it belongs, whatever order blocks come in, and no altered one is ever stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import msgspec
from msgspec import Struct

from meterseal.crypto import merkle, symmetric
from meterseal.errors import MetersealError, PeerError
from meterseal.link import messages
from meterseal.link.control import FIRMWARE, Word
from meterseal.wire.encode import NO_CREDENTIALS
from meterseal.wire.frame import Frame, address_of

OFFER, BLOCK, SEEN = 1, 2, 3
"""Words down. Up there is one, the state."""
STATE = 0x11
SIZE = 1024
"""Bytes of a block; the last one may be shorter."""
MOST_BLOCKS = 512
LABEL = b"ms1 firmware\x00"
DIGEST = symmetric.DIGEST
NAMED = 8
"""Bytes of a manifest's digest by which a block says whose it is."""
REPORT_NOW = 1
"""Flag of the last block of a burst: the device says at once what it lacks."""
_SIGNATURE = 64
_LONGEST_NAME = 32
_LARGEST = 0xFFFF_FFFF
_DIGESTS = 9
_FIXED = _DIGESTS + 2 * DIGEST + 4 + 2


class Phase(IntEnum):
    """What a device is doing with firmware."""

    IDLE = 0
    RECEIVING = 1
    READY = 2
    """Whole, and verified by the module: only the guarded order to switch is missing."""
    TRIAL = 3
    """The new image runs and has not been seen by the platform yet."""


class Reason(IntEnum):
    """Why the last thing asked of a device was not done; 0 for nothing of the kind."""

    NONE = 0
    SIGNATURE = 1
    PROJECT = 2
    VERSION = 3
    LOWEST = 4
    LATE = 5
    MODEL = 6
    HARDWARE = 7
    BUSY = 8
    IMAGE = 9
    NO_REPORT = 10
    NO_START = 11


class Manifest(Struct, frozen=True, array_like=True):
    """What the security service signs: project 16, the model and hardware revision that it is for, its version, the
    lowest version it may follow, bytes of the image, root of its blocks, and until when a switch may begin (Unix ms).
    """

    project_id: bytes
    model: str
    hardware: int
    version: int
    lowest: int
    size: int
    root: bytes
    until: int

    @property
    def blocks(self) -> int:
        """How many blocks the image has."""
        return -(-self.size // SIZE)


class Signed(Struct, frozen=True, array_like=True):
    """A manifest's bytes, the platform key's signature over LABEL ‖ bytes, and the chain of that key (leaf, CA; DER)."""

    manifest: bytes
    signature: bytes
    chain: tuple[bytes, ...]


class Block(Struct, frozen=True):
    """One block, the first 8 bytes of its manifest's digest, and its path to the root."""

    named: bytes
    index: int
    flags: int
    content: bytes
    path: tuple[bytes, ...]


class Report(Struct, frozen=True, kw_only=True):
    """What a device says of its firmware. `running` and `staged` are digests of manifests, zeros for none; `missing` has a
    bit for each block that is not there, block 0 the highest of the first byte; `refused` counts what was not taken.
    """

    phase: Phase
    reason: Reason
    version: int
    hardware: int
    running: bytes
    staged: bytes
    refused: int
    model: str
    missing: bytes = b""
    blocks: int = 0


# --- manifest and image -------------------------------------------------------------------------------------


def manifest_bytes(manifest: Manifest) -> bytes:
    """The bytes that are signed."""
    return msgspec.msgpack.encode(manifest)


def read_manifest(raw: bytes) -> Manifest:
    """The manifest, unverified. PeerError `link.firmware` for one that is none, or not in its one encoding."""
    try:
        found = msgspec.msgpack.decode(raw, type=Manifest)
    except msgspec.MsgspecError:
        raise _no_firmware("This is no manifest of firmware; refused.") from None
    good = (
        manifest_bytes(found) == raw
        and len(found.project_id) == 16
        and len(found.root) == DIGEST
        and 0 < len(found.model.encode()) <= _LONGEST_NAME
        and 0 <= found.hardware <= 0xFFFF
        and 0 <= found.lowest < found.version <= _LARGEST
        and 0 < found.size <= MOST_BLOCKS * SIZE
        and 0 < found.until < 1 << 62
    )
    if not good:
        raise _no_firmware("A field of the manifest is out of bounds; refused.")
    return found


def leaf_of(block: bytes) -> bytes:
    """The hash of a block."""
    return merkle.leaf_hash(block)


def split(image: bytes) -> list[bytes]:
    """The blocks of an image."""
    return [image[at : at + SIZE] for at in range(0, len(image), SIZE)]


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over at least one leaf."""
    return merkle.root(len(leaves), _over(leaves))


def path_of(index: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """The siblings of a leaf on its way to the root, lowest first. LocalError `crypto.tree` where there is no such leaf."""
    return tuple(merkle.inclusion(index, len(leaves), _over(leaves)))


def belongs(manifest: Manifest, block: Block) -> bool:
    """Is this the block of the image at its index?"""
    count = manifest.blocks
    size = manifest.size - (count - 1) * SIZE if block.index == count - 1 else SIZE
    if len(block.content) != size:
        return False
    return merkle.included(leaf_of(block.content), block.index, count, block.path, manifest.root)


def _over(leaves: Sequence[bytes]) -> merkle.NodeAt:
    def node_at(level: int, index: int) -> bytes:
        if not level:
            return leaves[index]
        return merkle.node_hash(node_at(level - 1, 2 * index), node_at(level - 1, 2 * index + 1))

    return node_at


# --- words down ---------------------------------------------------------------------------------------------


def offer(signed: Signed) -> Word:
    """The manifest with signature and chain."""
    size = len(signed.manifest).to_bytes(2, "big")
    rest = signed.signature + messages.chain_bytes(signed.chain)
    return Word(FIRMWARE, bytes((OFFER,)) + size + signed.manifest + rest)


def read_offer(content: bytes) -> Signed:
    """What an offer carries, unverified. PeerError `link.firmware`, `link.length`, `link.chain-shape`."""
    size = int.from_bytes(content[1:3], "big")
    rest = content[3 + size :]
    if len(rest) <= _SIGNATURE:
        raise _no_firmware("An offer of firmware has a manifest, a signature and a chain; refused.")
    return Signed(content[3 : 3 + size], rest[:_SIGNATURE], messages.parse_chain(rest[_SIGNATURE:]))


def block(digest: bytes, index: int, blocks: Sequence[bytes], leaves: Sequence[bytes], flags: int) -> Word:
    """One block of the image whose manifest has this digest."""
    content = blocks[index]
    head = bytes((BLOCK,)) + digest[:NAMED] + index.to_bytes(2, "big") + bytes((flags,))
    return Word(FIRMWARE, head + len(content).to_bytes(2, "big") + content + b"".join(path_of(index, leaves)))


def read_block(content: bytes) -> Block:
    """One block, unchecked. PeerError `link.firmware`."""
    at = 1 + NAMED
    size = int.from_bytes(content[at + 3 : at + 5], "big")
    begin = at + 5
    path = content[begin + size :]
    if not 0 < size <= SIZE or len(content) < begin + size or len(path) % DIGEST:
        raise _no_firmware("A block of firmware has another length than it says; refused.")
    return Block(
        named=content[1:at],
        index=int.from_bytes(content[at : at + 2], "big"),
        flags=content[at + 2],
        content=content[begin : begin + size],
        path=tuple(path[k : k + DIGEST] for k in range(0, len(path), DIGEST)),
    )


def seen(running: bytes, counter: int) -> Word:
    """The platform has heard the report under this up counter of a device that runs the image of the manifest with this
    digest."""
    return Word(FIRMWARE, bytes((SEEN,)) + running + counter.to_bytes(6, "big"))


def read_seen(content: bytes) -> tuple[bytes, int]:
    """Digest and counter. PeerError `link.firmware`."""
    if len(content) != 1 + DIGEST + 6:
        raise _no_firmware("A sighting has a digest and a counter; refused.")
    return content[1 : 1 + DIGEST], int.from_bytes(content[1 + DIGEST :], "big")


# --- word up ------------------------------------------------------------------------------------------------


def report(said: Report) -> bytes:
    """The content of the word by which a device says how its firmware stands."""
    model = said.model.encode()[:_LONGEST_NAME]
    return b"".join(
        (
            bytes((STATE, said.phase, said.reason)),
            said.version.to_bytes(4, "big"),
            said.hardware.to_bytes(2, "big"),
            said.running,
            said.staged,
            said.refused.to_bytes(4, "big"),
            said.blocks.to_bytes(2, "big"),
            bytes((len(model),)),
            model,
            said.missing,
        )
    )


def read_report(content: bytes) -> Report:
    """What a device says. PeerError `link.firmware`."""
    found = _report(content) if len(content) > _FIXED and content[0] == STATE else None
    if found is None:
        raise _no_firmware("What the device says of its firmware cannot be read; it speaks another version.")
    return found


def _report(content: bytes) -> Report | None:
    at = _DIGESTS + 2 * DIGEST
    blocks = int.from_bytes(content[at + 4 : at + 6], "big")
    name = content[at + 7 : at + 7 + content[at + 6]]
    missing = content[at + 7 + len(name) :]
    if len(name) != content[at + 6] or blocks > MOST_BLOCKS or len(missing) != (blocks + 7) // 8:
        return None
    try:
        return Report(
            phase=Phase(content[1]),
            reason=Reason(content[2]),
            version=int.from_bytes(content[3:7], "big"),
            hardware=int.from_bytes(content[7:9], "big"),
            running=content[_DIGESTS : _DIGESTS + DIGEST],
            staged=content[_DIGESTS + DIGEST : at],
            refused=int.from_bytes(content[at : at + 4], "big"),
            model=name.decode(),
            missing=missing,
            blocks=blocks,
        )
    except ValueError:
        return None


def missing_of(bitmap: bytes, blocks: int) -> list[int]:
    """The blocks whose bit is set."""
    return [index for index in range(blocks) if bitmap[index // 8] & 0x80 >> index % 8]


# --- the order to switch ------------------------------------------------------------------------------------

SWITCH: Final = 0xE004
SWITCH_645: Final = 0xE0040000
_FORMS: Final = {
    "cjt188": (0x04, SWITCH.to_bytes(2, "little"), 3),
    "dlt645": (0x14, SWITCH_645.to_bytes(4, "little"), 4 + len(NO_CREDENTIALS)),
}
"""By protocol: control code, identifier as sent, and where the digest stands."""


def switch_frame(device_id: bytes, digest: bytes, ser: int) -> Frame:
    """The frame of the guarded order to run the image of the manifest with this digest."""
    protocol, meter_type, address = address_of(device_id)
    control, identifier, _ = _FORMS[protocol]
    lead = bytes((ser,)) if protocol == "cjt188" else NO_CREDENTIALS
    return Frame(protocol, meter_type, address, control, identifier + lead + digest)


def switch_of(frame: Frame) -> bytes | None:
    """The digest in such an order; None for any other frame."""
    control, identifier, at = _FORMS[frame.protocol]
    if frame.control != control or not frame.data.startswith(identifier) or len(frame.data) != at + DIGEST:
        return None
    return frame.data[at:]


def switched(frame: Frame) -> Frame:
    """The good answer to such an order: CJ/T 188 repeats identifier and SER, DL/T 645 nothing."""
    repeated = frame.data[:3] if frame.protocol == "cjt188" else b""
    return Frame(frame.protocol, frame.meter_type, frame.address, frame.control | 0x80, repeated)


def _no_firmware(sentence: str) -> MetersealError:
    return PeerError("link.firmware", sentence)
