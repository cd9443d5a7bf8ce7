"""An officer's own files: the key under a passphrase, the card to hand in, and requests on their way between people.

It reaches no service; the command line carries these files to it.

    NAME.key       JSON: id, roles, public point, the SM2 key as PKCS#8 sealed under Argon2id of a passphrase; mode 0600
    NAME.card      JSON: id, roles, public point, proof that the key is at hand; nothing secret
    *.request      JSON: purpose, the exact bytes to sign, what they say in words, the signatures so far
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError, TrustError
from meterseal.security import orders as o
from meterseal.security.passphrase import Stretching, fresh_stretching, key_encryption_key

S = TypeVar("S", bound=Struct)
_LABEL = "an officer's key"


class KeyFile(Struct, frozen=True, kw_only=True):
    """An officer's key at rest."""

    officer: str
    roles: tuple[str, ...]
    point: bytes
    stretching: Stretching
    sealed: bytes

    def __repr__(self) -> str:
        return f"KeyFile({self.officer})"


class RequestFile(Struct, frozen=True, kw_only=True):
    """A request and its signatures; `says` is for people and not signed, `request` is."""

    purpose: str
    says: dict[str, Any]
    request: bytes
    signatures: tuple[o.OfficerSignature, ...] = ()

    @property
    def order(self) -> o.SignedOrder:
        """What is submitted."""
        return o.SignedOrder(purpose=self.purpose, request=self.request, signatures=self.signatures)


def make(officer: str, roles: tuple[str, ...], passphrase: bytes) -> tuple[KeyFile, o.OfficerCard]:
    """A fresh key; LocalError `security.officer`, `security.passphrase-short`."""
    if not o.OFFICER_ID.fullmatch(officer) or not roles or not set(roles) <= set(o.ROLES):
        raise LocalError(
            "security.officer",
            f"An officer has an id of 1 to 32 of a-z, 0-9 and -, and roles of {', '.join(o.ROLES)}.",
        )
    key = Sm2PrivateKey.generate(_LABEL)
    stretching = fresh_stretching()
    kek = key_encryption_key(passphrase, f"officer {officer}", stretching)
    file = KeyFile(
        officer=officer,
        roles=roles,
        point=key.public_point,
        stretching=stretching,
        sealed=kek.gcm_seal(key.to_pkcs8(), _place(officer, key.public_point)),
    )
    return file, o.card(officer, roles, key)


def unlock(file: KeyFile, passphrase: bytes) -> Sm2PrivateKey:
    """The key; TrustError `security.passphrase`."""
    kek = key_encryption_key(passphrase, f"officer {file.officer}", file.stretching)
    try:
        raw = kek.gcm_open(file.sealed, _place(file.officer, file.point))
    except TrustError:
        raise TrustError(
            "security.passphrase",
            f"The passphrase does not open the key of {file.officer}, or the file was changed.",
        ) from None
    return Sm2PrivateKey.from_pkcs8(raw, _LABEL)


def signed(file: RequestFile, officer: str, key: Sm2PrivateKey) -> RequestFile:
    """The request with one more signature, in place of an older one of the same officer."""
    others = tuple(one for one in file.signatures if one.officer != officer)
    made = o.sign(officer, key, file.purpose, file.request)
    return msgspec.structs.replace(file, signatures=(*others, made))


def write(path: Path, content: Struct, *, mode: int = 0o600, replace: bool = False) -> None:
    """Write one of these files; LocalError `security.file` when one is there already or the place cannot be used."""
    raw = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
    try:
        fresh = path.with_name(path.name + ".new") if replace else path
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if replace else os.O_EXCL)
        descriptor = os.open(fresh, flags, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            fresh.replace(path)
    except FileExistsError:
        raise LocalError("security.file", f"{path} is there already; choose another name.") from None
    except OSError as error:
        raise LocalError("security.file", f"{path} cannot be written: {error.strerror}.") from None


def read(path: Path, kind: type[S]) -> S:
    """Read one of these files; LocalError `security.file`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise LocalError("security.file", f"{path} cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise LocalError("security.file", f"{path} is no file of this kind; ask for it again.") from None


def _place(officer: str, point: bytes) -> bytes:
    return b"ms1 officer file\x00" + officer.encode() + b"\x00" + point
