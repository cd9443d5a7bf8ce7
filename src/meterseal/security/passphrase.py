"""Where key-encryption keys come from: a passphrase of the operator, one Argon2id per vault.

It stores nothing; who reads the passphrase (a file, the system's keyring) hands over its bytes.

Each vault has a salt and a label of its own, so the two key-encryption keys have nothing in common but the
passphrase and one leaked key opens one vault (LINK 6: suite 1 stands unless both fall).
"""

from __future__ import annotations

import secrets

from argon2.low_level import Type, hash_secret_raw
from msgspec import Struct

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import LocalError, TrustError

SHORTEST = 8
_MOST_MEMORY = 1 << 20
"""KiB: a gigabyte, sixteen times what is asked for today."""


class Stretching(Struct, frozen=True):
    """How one key-encryption key was stretched; public, kept beside what it seals. Memory in KiB."""

    salt: bytes
    passes: int = 3
    memory: int = 65536
    lanes: int = 2


def fresh_stretching() -> Stretching:
    """Today's cost, RFC 9106's second recommendation, with a new salt."""
    return Stretching(secrets.token_bytes(16))


def key_encryption_key(passphrase: bytes, label: str, stretching: Stretching) -> SymmetricKey:
    """The SM4 key for one vault; LocalError `security.passphrase-short` below 8 bytes, TrustError `security.stretching`."""
    if len(passphrase) < SHORTEST:
        raise LocalError(
            "security.passphrase-short",
            f"The passphrase has fewer than {SHORTEST} bytes; put a longer one into the passphrase file.",
        )
    _check(stretching)
    raw = hash_secret_raw(
        b"ms1 " + label.encode() + b"\x00" + passphrase,
        stretching.salt,
        stretching.passes,
        stretching.memory,
        stretching.lanes,
        16,
        Type.ID,
    )
    return SymmetricKey.from_bytes(raw, f"the key-encryption key of {label}")


def _check(stretching: Stretching) -> None:
    """What a file says is not done whatever it costs: who wrote into it could have asked for all memory."""
    usual = (
        8 <= len(stretching.salt) <= 64
        and 1 <= stretching.passes <= 64
        and 1 <= stretching.lanes <= 64
        and 8 * stretching.lanes <= stretching.memory <= _MOST_MEMORY
    )
    if not usual:
        raise TrustError(
            "security.stretching",
            "A key file asks for its passphrase to be stretched in a way that this program never wrote: it was changed. "
            "Restore it from a backup.",
        )
