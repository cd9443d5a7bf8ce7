"""What opens the passwords of the tls directory once its passphrase was changed: one door, or two while it changes.

It writes no file and opens no key; `authority` does.

The passwords of the key files come from one master secret. At first that is stretched from the passphrase with the
directory's salt. A changed passphrase does not change it: the master lies then in the file `doors`, sealed under a key
that the passphrase opens, and the salt is deleted, so that the passphrase before opens nothing in a copy made later.
"""

from __future__ import annotations

import secrets

import msgspec
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from meterseal.errors import LocalError

_NONCE = 12
_PLACE = b"ms1 tls door"


class Door(Struct, frozen=True, array_like=True):
    """Salt of the stretching, and the master under the key that it gives."""

    salt: bytes
    sealed: bytes


def stretched(passphrase: bytes, salt: bytes, label: bytes = b"ms1 tls\x00") -> bytes:
    """Argon2id (64 MiB, 3 passes) over the passphrase with a 16-byte salt: 32 bytes."""
    return hash_secret_raw(label + passphrase, salt, 3, 65536, 2, 32, Type.ID)


def make(master: bytes, passphrase: bytes) -> Door:
    """A door that this passphrase opens."""
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(_NONCE)
    return Door(salt, nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, master, _PLACE))


def through(door: Door, passphrase: bytes) -> bytes | None:
    """The master; None when the passphrase does not open the door."""
    try:
        return AESGCM(_key(passphrase, door.salt)).decrypt(door.sealed[:_NONCE], door.sealed[_NONCE:], _PLACE)
    except InvalidTag:
        return None


def _key(passphrase: bytes, salt: bytes) -> bytes:
    return stretched(passphrase, salt, _PLACE + b"\x00")


def encode(doors: list[Door]) -> bytes:
    """The file."""
    return msgspec.msgpack.encode(doors)


def decode(raw: bytes) -> list[Door]:
    """The doors of a file; LocalError `mesh.files` when it is none."""
    try:
        return msgspec.msgpack.decode(raw, type=list[Door])
    except msgspec.DecodeError:
        raise LocalError(
            "mesh.files", "The file of TLS doors is damaged; restore the tls directory."
        ) from None
