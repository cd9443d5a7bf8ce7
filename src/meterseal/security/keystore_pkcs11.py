"""The key store on a PKCS#11 token: one AES-256 key for each vault, made in the token and never out of it.

It keeps no SM2 or SM4 key in the token: PKCS#11 has no common mechanism for them (SoftHSM none at all), so such
keys are sealed under the token's AES key and used in this process's memory, and `facts` says so.

What the token gives: files and backups are worthless without it, and its PIN counter and removal stop the
service from starting. What it does not: keys in use can be read by who controls this process. A sealed record
is AES-256-GCM by the token, nonce from the operating system, associated data = place of the record.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import msgspec
from msgspec import Struct

from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.security.keystore import Kek, StoreFacts, other_store

_NONCE, _TAG_BITS = 12, 128
_KEY_BITS = 256


class TokenRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which key of which token seals a vault; public."""

    token: str
    serial: str
    key_id: bytes


class TokenStore:
    """An open token, logged in as its user."""

    def __init__(self, module: str, token: str, pin: bytes) -> None:
        pkcs11 = _library()
        self._errors: Any = pkcs11.exceptions
        try:
            library = pkcs11.lib(module)
            found = [one for one in library.get_tokens(token_label=token)]
        except (self._errors.PKCS11Error, RuntimeError, OSError):
            raise LocalError(
                "security.pkcs11",
                f"{module} is no PKCS#11 library that can be used here; give the path of the token's own library "
                "(SoftHSM: /usr/lib/softhsm/libsofthsm2.so).",
            ) from None
        if len(found) != 1:
            raise LocalError(
                "security.token-missing",
                f"{module} shows {len(found)} tokens called {token}, not one; insert it, or correct its name.",
            )
        self._token = found[0]
        self.label, self.serial = token, self._token.serial.decode(errors="replace").strip()
        try:
            self._session = self._token.open(rw=True, user_pin=pin.decode("utf-8"))
        except (
            self._errors.PinIncorrect,
            self._errors.PinInvalid,
            self._errors.PinLenRange,
            UnicodeDecodeError,
        ):
            raise TrustError(
                "security.pin",
                f"The PIN does not open token {token}. The token counts wrong PINs: correct the PIN file before you try "
                "again.",
            ) from None
        except self._errors.PinLocked:
            raise TrustError(
                "security.pin-locked",
                f"Token {token} is locked after wrong PINs; its security officer unlocks it.",
            ) from None
        except self._errors.PKCS11Error as error:
            raise self._lost(error) from None

    def facts(self) -> StoreFacts:
        """As `KeyStore.facts`."""
        return StoreFacts(
            kind="pkcs11",
            label=f"{self.label} {self.serial}",
            native=("AES-256-GCM",),
            wrapped=("SM2", "SM4"),
            sentence=f"Token {self.label} has no mechanism for SM2 and SM4: these keys are sealed under AES-256 keys that "
            "never leave it, and are used in this process's memory.",
        )

    def create(self, vault: str) -> tuple[bytes, Kek]:
        """As `KeyStore.create`; EngineError `security.token`."""
        pkcs11 = _library()
        of = pkcs11.Attribute
        key_id = os.urandom(16)
        try:
            key = self._session.generate_key(
                pkcs11.KeyType.AES,
                _KEY_BITS,
                id=key_id,
                label=f"meterseal vault {vault}",
                store=True,
                capabilities=pkcs11.MechanismFlag.ENCRYPT | pkcs11.MechanismFlag.DECRYPT,
                template={of.SENSITIVE: True, of.EXTRACTABLE: False, of.PRIVATE: True},
            )
            safe = key[of.NEVER_EXTRACTABLE] and key[of.ALWAYS_SENSITIVE] and key[of.LOCAL]
        except self._errors.PKCS11Error as error:
            raise self._lost(error) from None
        if not safe:
            key.destroy()
            raise LocalError(
                "security.token-unfit",
                f"Token {self.label} made a key that could leave it; it is not fit for this. Nothing was sealed.",
            )
        record = TokenRecord(token=self.label, serial=self.serial, key_id=key_id)
        return msgspec.msgpack.encode(record), self._kek(key, vault)

    def find(self, vault: str, record: bytes) -> Kek:
        """As `KeyStore.find`; TrustError `security.token-key` when the key is not in this token."""
        return self._kek(self._key(vault, record), vault)

    def destroy(self, vault: str, record: bytes) -> None:
        """As `KeyStore.destroy`: the key is gone from the token."""
        try:
            self._key(vault, record).destroy()
        except self._errors.PKCS11Error as error:
            raise self._lost(error) from None

    def close(self) -> None:
        """Log out; once more does no harm."""
        with contextlib.suppress(self._errors.PKCS11Error):
            self._session.close()

    def _key(self, vault: str, record: bytes) -> Any:
        try:
            named = msgspec.msgpack.decode(record, type=TokenRecord)
        except msgspec.DecodeError:
            raise other_store(vault, "a passphrase") from None
        pkcs11 = _library()
        try:
            return self._session.get_key(
                object_class=pkcs11.ObjectClass.SECRET_KEY, key_type=pkcs11.KeyType.AES, id=named.key_id
            )
        except (self._errors.NoSuchKey, self._errors.MultipleObjectsReturned):
            raise TrustError(
                "security.token-key",
                f"The key of vault {vault} is not in token {self.label} ({self.serial}): it was made in {named.token} "
                f"({named.serial}). Insert that one, or restore its backup.",
            ) from None
        except self._errors.PKCS11Error as error:
            raise self._lost(error) from None

    def _kek(self, key: Any, vault: str) -> Kek:
        return _TokenKek(self, key, f"the token's key for vault {vault}")

    def _lost(self, error: Exception) -> EngineError:
        return EngineError(
            "security.token",
            f"Token {self.label} did not answer ({type(error).__name__}); see that it is inserted, then start again.",
        )

    def __repr__(self) -> str:
        return f"<token {self.label}>"


class _TokenKek:
    """A key inside a token."""

    __slots__ = ("_key", "_store", "label")

    def __init__(self, store: TokenStore, key: Any, label: str) -> None:
        self._store, self._key, self.label = store, key, label

    def gcm_seal(self, plaintext: bytes, aad: bytes) -> bytes:
        """As `Kek.gcm_seal`; EngineError `security.token`."""
        pkcs11 = _library()
        nonce = os.urandom(_NONCE)
        try:
            sealed = self._key.encrypt(
                plaintext,
                mechanism=pkcs11.Mechanism.AES_GCM,
                mechanism_param=pkcs11.GCMParams(nonce, aad, _TAG_BITS),
            )
        except self._store._errors.PKCS11Error as error:
            raise self._store._lost(error) from None
        return nonce + bytes(sealed)

    def gcm_open(self, sealed: bytes, aad: bytes) -> bytes:
        """As `Kek.gcm_open`; EngineError `security.token` when the token is gone."""
        pkcs11, errors = _library(), self._store._errors
        params = pkcs11.GCMParams(sealed[:_NONCE], aad, _TAG_BITS)
        try:
            if len(sealed) >= _NONCE + _TAG_BITS // 8:
                opened = self._key.decrypt(
                    sealed[_NONCE:], mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=params
                )
                return bytes(opened)
        except (
            errors.EncryptedDataInvalid,
            errors.EncryptedDataLenRange,
            errors.GeneralError,
            errors.FunctionFailed,
        ):
            pass  # tokens differ in what they call a wrong tag
        except errors.PKCS11Error as error:
            raise self._store._lost(error) from None
        raise TrustError(
            "crypto.tag",
            f"What was sealed under {self.label} does not open: another key or place, or changed bytes.",
        )

    def __repr__(self) -> str:
        return f"<{self.label}>"


def _library() -> Any:
    """The package python-pkcs11; LocalError `security.pkcs11` when it is not installed."""
    try:
        import pkcs11
        import pkcs11.exceptions
    except ImportError:
        raise LocalError(
            "security.pkcs11",
            "A token needs the package python-pkcs11: pip install 'meterseal[pkcs11]', then start again.",
        ) from None
    return pkcs11
