"""Keys for stored data: made here, used elsewhere, and at rest anywhere only wrapped (DESIGN section 5).

It keeps no data key: whoever asked keeps the wrapped form, and a key whose wrapped form is deleted is gone
(crypto-erase).

A wrapped key is bound to its purpose and name: each purpose has a wrapping key of its own, derived from
WRAP-DATA, and the name is associated data. So a customer's key never opens as a journal's, nor one
customer's as another's. Sessions' traffic keys are wrapped alike under WRAP-SESSION, bound to session and
device.
"""

from __future__ import annotations

import re

from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import LocalError, TrustError
from meterseal.security.messages import DataKey
from meterseal.security.vault import Vault

_DATA = "WRAP-DATA"
_SESSION = "WRAP-SESSION"
_PURPOSE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_LONGEST_NAME = 200


def new_data_key(vault: Vault, purpose: str, key_id: str) -> DataKey:
    """A fresh SM4 key for `purpose`, named `key_id`; LocalError `security.purpose` for a malformed name."""
    _check(purpose, key_id)
    version = vault.newest(_DATA)
    vault.use(_DATA, version)
    key = SymmetricKey.generate("a data key")
    sealed = _wrapping(vault, version, purpose).gcm_seal(expose(key), _place(purpose, key_id))
    return DataKey(key=expose(key), wrapped=version.to_bytes(2) + sealed, version=version)


def open_data_key(vault: Vault, purpose: str, key_id: str, wrapped: bytes) -> DataKey:
    """The key in `wrapped`; TrustError `security.wrapped` when it was made for another purpose or name, or
    changed.
    """
    _check(purpose, key_id)
    version = version_of(wrapped)
    try:
        raw = _wrapping(vault, version, purpose).gcm_open(wrapped[2:], _place(purpose, key_id))
    except TrustError:
        raise _not_ours("data key") from None
    vault.use(_DATA, version)
    return DataKey(key=raw, wrapped=wrapped, version=version)


def rewrap_data_key(vault: Vault, purpose: str, key_id: str, wrapped: bytes) -> bytes:
    """The same data key under the newest wrapping key; errors as `open_data_key`."""
    opened = open_data_key(vault, purpose, key_id, wrapped)
    version = vault.newest(_DATA)
    vault.use(_DATA, version)
    return version.to_bytes(2) + _wrapping(vault, version, purpose).gcm_seal(
        opened.key, _place(purpose, key_id)
    )


def version_of(wrapped: bytes) -> int:
    """The version of the wrapping key that a wrapped key stands under: its first two bytes."""
    return int.from_bytes(wrapped[:2])


def wrap_session(vault: Vault, session_id: bytes, device_id: bytes, packed: bytes) -> bytes:
    """Traffic keys sealed for the control store, bound to their session and device; counted."""
    version = vault.newest(_SESSION)
    vault.use(_SESSION, version)
    return version.to_bytes(2) + vault.symmetric(_SESSION, version).gcm_seal(
        packed, _session_place(session_id, device_id)
    )


def unwrap_session(vault: Vault, session_id: bytes, device_id: bytes, wrapped: bytes) -> bytes:
    """What `wrap_session` sealed; TrustError `security.wrapped` for another session, another device,
    changed bytes.
    """
    version = version_of(wrapped)
    try:
        packed = vault.symmetric(_SESSION, version).gcm_open(
            wrapped[2:], _session_place(session_id, device_id)
        )
    except TrustError:
        raise _not_ours("session") from None
    vault.use(_SESSION, version)
    return packed


def _wrapping(vault: Vault, version: int, purpose: str) -> SymmetricKey:
    return vault.symmetric(_DATA, version).expand(
        b"ms1 data key\x00" + purpose.encode(), 16, f"the wrapping key for {purpose}"
    )


def _place(purpose: str, key_id: str) -> bytes:
    return b"ms1 data key\x00" + purpose.encode() + b"\x00" + key_id.encode()


def _session_place(session_id: bytes, device_id: bytes) -> bytes:
    return b"ms1 session\x00" + len(session_id).to_bytes(1) + session_id + device_id


def _check(purpose: str, key_id: str) -> None:
    if not _PURPOSE.fullmatch(purpose) or not 0 < len(key_id) <= _LONGEST_NAME:
        raise LocalError(
            "security.purpose",
            "A data key needs a purpose of lower-case letters, digits and hyphens, and a name of 1 to 200 "
            "characters.",
        )


def _not_ours(what: str) -> TrustError:
    return TrustError(
        "security.wrapped",
        f"The wrapped {what} does not open for what it is shown for: it belongs elsewhere or was changed.",
    )
