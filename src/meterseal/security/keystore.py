"""Where the key-encryption keys of the vaults lie: the port, and its software adapter (a passphrase, the default).

It stores no key record itself; a vault keeps those and seals each with a `Kek` from here. The adapter for a
PKCS#11 token is in `keystore_pkcs11`.

A vault keeps the *record* of its key-encryption key beside what that key seals; the record is public and names
how to come to the key again: how a passphrase was stretched, or which key of which token it is. Every vault
has a key of its own, so one that leaks opens one vault.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol, TypeAlias
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Struct

from meterseal.errors import EngineError, LocalError
from meterseal.security.passphrase import Stretching, fresh_stretching, key_encryption_key


class Kek(Protocol):
    """The key-encryption key of one vault; it does not say what it is."""

    def gcm_seal(self, plaintext: bytes, aad: bytes) -> bytes:
        """Nonce ‖ ciphertext ‖ tag, bound to its place `aad`."""

    def gcm_open(self, sealed: bytes, aad: bytes) -> bytes:
        """What was sealed for this place; TrustError `crypto.tag` for another place, key or changed bytes."""


class StoreFacts(Struct, frozen=True, kw_only=True):
    """What may be said of a key store. `native`: what it does itself; `wrapped`: keys that it only seals."""

    kind: str
    label: str
    native: tuple[str, ...]
    wrapped: tuple[str, ...]
    sentence: str


class KeyStore(Protocol):
    """A place for key-encryption keys."""

    def facts(self) -> StoreFacts:
        """What it is and does."""

    def create(self, vault: str) -> tuple[bytes, Kek]:
        """A new key for this vault, and the record by which it is found again."""

    def find(self, vault: str, record: bytes) -> Kek:
        """The key of a record; LocalError `security.other-store` when another kind of store made it.

        Whether it is the right one only what it sealed can tell (a wrong passphrase gives a wrong key).
        """

    def destroy(self, vault: str, record: bytes) -> None:
        """End a key: what it sealed opens no more. A passphrase cannot be ended; there the record must go."""

    def close(self) -> None:
        """Let go of it."""


Opener: TypeAlias = bytes | KeyStore
"""What opens a vault: a passphrase, or a store that is open already."""


class SoftwareStore:
    """Keys from a passphrase by Argon2id, one for each vault; they live in this process's memory."""

    def __init__(self, passphrase: bytes) -> None:
        self._passphrase = passphrase

    def facts(self) -> StoreFacts:
        """As `KeyStore.facts`."""
        return StoreFacts(
            kind="software",
            label="passphrase",
            native=(),
            wrapped=("SM2", "SM4"),
            sentence="Keys are sealed with SM4-GCM under a key stretched from the passphrase; whoever has passphrase "
            "and files has the keys.",
        )

    def create(self, vault: str) -> tuple[bytes, Kek]:
        """As `KeyStore.create`; LocalError `security.passphrase-short`."""
        stretching = fresh_stretching()
        kek = key_encryption_key(self._passphrase, f"vault {vault}", stretching)
        return msgspec.msgpack.encode(stretching), kek

    def find(self, vault: str, record: bytes) -> Kek:
        """As `KeyStore.find`."""
        try:
            stretching = msgspec.msgpack.decode(record, type=Stretching)
        except msgspec.DecodeError:
            raise other_store(vault, "a token") from None
        return key_encryption_key(self._passphrase, f"vault {vault}", stretching)

    def destroy(self, vault: str, record: bytes) -> None:
        """As `KeyStore.destroy`: nothing to end."""

    def close(self) -> None:
        """Nothing is open."""

    def __repr__(self) -> str:
        return "<software key store>"


def of(opener: Opener) -> KeyStore:
    """The store of a passphrase, or the store itself."""
    return SoftwareStore(opener) if isinstance(opener, bytes) else opener


class Place(Struct, frozen=True, kw_only=True):
    """A key store as the settings name it; `module` is empty for the software store."""

    module: str = ""
    token: str = ""
    pin_file: str = ""


def parse_place(text: str) -> Place:
    """`software`, or a PKCS#11 URI (RFC 7512): `pkcs11:token=NAME?module-path=/lib.so&pin-source=/file`.

    LocalError `use.keystore` for anything else.
    """
    if text in ("", "software"):
        return Place()
    path, _, query = text.removeprefix("pkcs11:").partition("?")
    attributes = dict(one.partition("=")[::2] for one in path.split(";"))
    try:
        asked = {name: values[0] for name, values in parse_qs(query, strict_parsing=True).items()}
    except ValueError:
        asked = {}
    module, token = asked.get("module-path", ""), unquote(attributes.get("token", ""))
    if not text.startswith("pkcs11:") or not module or not token or set(attributes) != {"token"}:
        raise LocalError(
            "use.keystore",
            f"`{text}` is no key store: write software, or pkcs11:token=NAME?module-path=/path/of/the/library.so and, "
            "if the PIN is not the passphrase, &pin-source=/path/of/a/file.",
        )
    return Place(module=module, token=token, pin_file=re.sub("^file:(//)?", "", asked.get("pin-source", "")))


def open_place(place: Place, passphrase: bytes) -> KeyStore:
    """The store of these settings; LocalError `security.pkcs11`, TrustError `security.pin`, EngineError
    `security.token`.
    """
    if not place.module:
        return SoftwareStore(passphrase)
    from meterseal.security.keystore_pkcs11 import TokenStore  # its library is an extra

    pin = passphrase
    if place.pin_file:
        try:
            pin = Path(place.pin_file).read_bytes().strip()
        except OSError as error:
            raise EngineError(
                "security.token",
                f"The PIN file {place.pin_file} cannot be read ({error.strerror}); see its owner and mode.",
            ) from None
    return TokenStore(place.module, place.token, pin)


def other_store(vault: str, made_by: str) -> LocalError:
    """The refusal of a record that another kind of store made."""
    return LocalError(
        "security.other-store",
        f"Vault {vault} was made with {made_by} as its key store; start it with that one. Nothing was changed.",
    )
