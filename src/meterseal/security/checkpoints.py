"""Checkpoints of the ledger: the signed text that is published, how it is read, and which key may have signed it.

Pure: it signs nothing and remembers nothing (`ledgering` does), and it proves no leaf (`crypto.merkle` does).

A checkpoint is a note as logs and witnesses exchange them (C2SP tlog-checkpoint and signed-note), with SM2 and SM3: the
origin, the size, the root in base64, then a line each for number, time, previous, begins and reset; an empty line; and
`— name base64(key id 4 ‖ r ‖ s)`. `previous` is SM3 of the text signed before, so checkpoints are a chain. A signature is
over the text up to and with the newline before the empty line. Signatures of others (witnesses) may follow ours; the key
id says whose is whose: SM3(name ‖ 0A ‖ FF ‖ "SM2" ‖ point), the first four bytes.

The ledger's key is vouched for by the platform's certificate of the time at which it was made, under the root that every
module knows; so a checkpoint is verified with the root alone, also after the key was replaced.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable

from msgspec import Struct

from meterseal.crypto import certificates, sm2
from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import MetersealError, TrustError

ORIGIN = "meterseal/ledger/"
NO_PREVIOUS = bytes(32)
LONGEST = 16_384
"""Characters of a note."""
_NUMBER = r"(0|[1-9][0-9]{0,18})"
_HASH = r"([A-Za-z0-9+/]{43}=)"
_BODY = re.compile(
    rf"(meterseal/ledger/[0-9a-z-]{{1,40}})\n{_NUMBER}\n{_HASH}\nnumber {_NUMBER}\ntime {_NUMBER}\n"
    rf"previous {_HASH}\nbegins {_NUMBER}\n(?:reset {_NUMBER}\n)?"
)
_SIGNATURE = re.compile(r"— ([^\s+]{1,100}) ([A-Za-z0-9+/]{1,400}={0,2})")
_KEY = b"ms1 ledger key\x00"


class Checkpoint(Struct, frozen=True, kw_only=True):
    """What one checkpoint says: the tree of `size` leaves has `root`, at `at` (Unix ms).

    `begins` is the journal entry after which the ledger begins: 0, or where a store from before there was a ledger
    stood. `reset` is 0, or the number after which two officers let the tree begin again from an older state.
    """

    store_id: str
    size: int
    root: bytes
    number: int
    at: int
    previous: bytes
    begins: int = 0
    reset: int = 0

    @property
    def name(self) -> str:
        """Whose log it is: the origin, which is also the name that signs."""
        return ORIGIN + self.store_id

    def text(self) -> str:
        """What is signed."""
        lines = [
            self.name,
            f"{self.size}",
            _b64(self.root),
            f"number {self.number}",
            f"time {self.at}",
            f"previous {_b64(self.previous)}",
            f"begins {self.begins}",
            *([f"reset {self.reset}"] if self.reset else []),
        ]
        return "".join(f"{line}\n" for line in lines)

    def digest(self) -> bytes:
        """What the next one names as `previous`."""
        return sm3(self.text().encode())


class LedgerKey(Struct, frozen=True, kw_only=True):
    """A version of the ledger's key: its public point (65 bytes), made at `at` (Unix ms), vouched for by `signature` of
    the platform's certificate at the head of `chain` (leaf, CA; DER)."""

    version: int
    point: bytes
    at: int
    chain: tuple[bytes, bytes]
    signature: bytes

    def said(self) -> bytes:
        """What the platform's key signs."""
        return key_statement(self.version, self.point, self.at)


def key_statement(version: int, point: bytes, at: int) -> bytes:
    """What vouches for a ledger key."""
    return _KEY + version.to_bytes(4) + at.to_bytes(8) + point


def check_key(key: LedgerKey, root: bytes) -> None:
    """Does the system with this root (DER) vouch for the key? TrustError `crypto.*` or `ledger.key` when it does not."""
    if 0 <= key.version < 1 << 32 and 0 <= key.at < 1 << 48:  # what a stranger hands in may be any number
        leaf = certificates.verify_chain(key.chain, root=root, purpose="platform", at=key.at)
        if sm2.verify(leaf.point, key.said(), key.signature):
            return
    raise TrustError(
        "ledger.key", f"Nobody under this root vouches for version {key.version} of the ledger's key."
    )


def key_id(name: str, point: bytes) -> bytes:
    """The four bytes by which a signature line says whose it is."""
    return sm3(name.encode(), b"\n\xffSM2", point)[:4]


def signed(checkpoint: Checkpoint, point: bytes, signature: bytes) -> str:
    """The note with its signature."""
    line = _b64(key_id(checkpoint.name, point) + signature)
    return f"{checkpoint.text()}\n— {checkpoint.name} {line}\n"


def read(note: str) -> Checkpoint:
    """What a note says; its signature is `verified`'s. TrustError `ledger.note` for anything that is no checkpoint."""
    return _parted(note)[0]


def verified(note: str, keys: Iterable[LedgerKey]) -> Checkpoint:
    """What a note says, once one of these keys is found to have signed it, and no later one was made by then.

    The keys themselves are `check_key`'s. TrustError `ledger.note`, `ledger.signature`.
    """
    checkpoint, lines = _parted(note)
    message = checkpoint.text().encode()
    made = sorted(keys, key=lambda key: key.version)
    replaced = max((place for place, key in enumerate(made) if key.at < checkpoint.at), default=0)
    points = {key_id(checkpoint.name, key.point): key.point for key in made[replaced:]}
    for name, signature in lines:
        point = points.get(signature[:4])
        if name == checkpoint.name and point and sm2.verify(point, message, signature[4:]):
            return checkpoint
    raise TrustError(
        "ledger.signature",
        f"Checkpoint {checkpoint.number} of {checkpoint.name} is not signed by the ledger's key: changed, or made up.",
    )


def _parted(note: str) -> tuple[Checkpoint, list[tuple[str, bytes]]]:
    body, between, rest = note[:LONGEST].partition("\n\n")
    found = _BODY.fullmatch(f"{body}\n") if between and len(note) <= LONGEST else None
    if found is None:
        raise TrustError(
            "ledger.note", "This is no checkpoint of a ledger; give the text as it was published."
        )
    name, size, root, number, at, previous, begins, reset = found.groups()
    checkpoint = Checkpoint(
        store_id=name.removeprefix(ORIGIN),
        size=int(size),
        root=b64decode(root),
        number=int(number),
        at=int(at),
        previous=b64decode(previous),
        begins=int(begins),
        reset=int(reset or 0),
    )
    if not equal(checkpoint.text().encode(), f"{body}\n".encode()):  # one text for one content
        raise TrustError("ledger.note", "This checkpoint is not written as ours are; it is refused.")
    lines = []
    for line in rest.splitlines():
        said = _SIGNATURE.fullmatch(line)
        if said is None:
            raise TrustError("ledger.note", "A line after the checkpoint is no signature; it is refused.")
        try:
            lines.append((said[1], b64decode(said[2], validate=True)))
        except ValueError:
            raise TrustError(
                "ledger.note", "A signature under the checkpoint is no base64; refused."
            ) from None
    return checkpoint, lines


def good(note: str, keys: Iterable[LedgerKey]) -> bool:
    """Is this a checkpoint that one of the keys signed?"""
    try:
        verified(note, keys)
    except MetersealError:
        return False
    return True


def _b64(value: bytes) -> str:
    return b64encode(value).decode()
