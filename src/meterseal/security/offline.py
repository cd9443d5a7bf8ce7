"""The offline root: the root CA's key, and with a quorum the top of the key tree, sealed in a directory of its own.

It signs nothing; whoever opened it hands the key to `pki`.

A new system has the lab default: one file under the system's passphrase, so one person opens it. A quorum
replaces that file by one whose key exists only in shares; ROOT and REGION move into it and are destroyed in
vault *keys*. Daily running needs neither: PROJECT and the CAs stay with the service. The directory may be
carried away and brought back for an act.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import sm3
from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.security.passphrase import Stretching, fresh_stretching, key_encryption_key
from meterseal.security.rootorders import QuorumFacts
from meterseal.security.vault import Vault

FILE = "root.key"
COMING = "root.key.coming"
"""The same key under a passphrase to come, while the system's passphrase changes."""
_CERTIFICATE = "root.der"
TOP = ("ROOT", "REGION")


class _Single(Struct, array_like=True):
    stretching: Stretching
    sealed: bytes


class _Quorum(Struct, kw_only=True):
    threshold: int
    people: tuple[str, ...]
    root: bytes
    top: bytes


def facts(directory: Path) -> QuorumFacts:
    """How the root in `directory` is sealed."""
    if not (directory / FILE).exists():
        return QuorumFacts(threshold=0, people=(), present=False)
    sealed = _read(directory)
    if isinstance(sealed, _Quorum):
        return QuorumFacts(threshold=sealed.threshold, people=sealed.people, present=True)
    return QuorumFacts(threshold=1, people=(), present=True)


def open_single(directory: Path, passphrase: bytes) -> Sm2PrivateKey:
    """The root key under the lab default; TrustError `security.passphrase`, `security.quorum` when one is needed."""
    sealed = _read(directory)
    if isinstance(sealed, _Quorum):
        raise TrustError(
            "security.quorum",
            f"{sealed.threshold} of {len(sealed.people)} people open this root, no passphrase does.",
        )
    key = _through(sealed, directory, passphrase)
    if key is None:
        raise TrustError("security.passphrase", "The passphrase does not open the offline root.")
    return key


def _through(sealed: _Single, directory: Path, passphrase: bytes) -> Sm2PrivateKey | None:
    kek = key_encryption_key(passphrase, "offline root", sealed.stretching)
    try:
        raw = kek.gcm_open(sealed.sealed, b"offline root\x00" + _certificate(directory))
    except TrustError:
        return None
    return Sm2PrivateKey.from_pkcs8(raw, "the root key")


def begin_change(directory: Path, present: bytes, coming: bytes) -> bool:
    """Lay the root's key under a coming passphrase beside the one there; False where no passphrase opens the root, or
    it is not here. TrustError `security.passphrase`.
    """
    if facts(directory).threshold != 1:
        return False
    key = open_single(directory, present)
    stretching = fresh_stretching()
    kek = key_encryption_key(coming, "offline root", stretching)
    sealed = kek.gcm_seal(key.to_pkcs8(), b"offline root\x00" + _certificate(directory))
    replace(directory, msgspec.msgpack.encode(_Single(stretching, sealed)), COMING)
    return True


def settle(directory: Path, passphrase: bytes) -> None:
    """After a change of the passphrase, ended or cut off: the file that this one opens stays, the other one goes."""
    beside = directory / COMING
    if not beside.exists():
        return
    raw = beside.read_bytes()
    with contextlib.suppress(msgspec.DecodeError):
        if _through(msgspec.msgpack.decode(raw, type=_Single), directory, passphrase) is not None:
            replace(directory, raw)
    beside.unlink()


def open_quorum(directory: Path, secret: bytes) -> Sm2PrivateKey:
    """The root key under the secret of a quorum; TrustError `security.share` when a share was wrong."""
    sealed = _read(directory)
    if not isinstance(sealed, _Quorum):
        raise TrustError("security.quorum", "This root has no quorum; its passphrase opens it.")
    key = SymmetricKey.from_bytes(secret, "the quorum's key")
    try:
        raw = key.gcm_open(sealed.root, _place("root", directory))
    except TrustError:
        raise TrustError(
            "security.share",
            "The shares do not open this root: one of them was altered, or is of an older quorum.",
        ) from None
    return Sm2PrivateKey.from_pkcs8(raw, "the root key")


def sealed_under(
    directory: Path,
    root_key: Sm2PrivateKey,
    vault: Vault,
    secret: bytes,
    threshold: int,
    people: tuple[str, ...],
) -> bytes:
    """The file that a quorum opens: the root key and the top of the tree under the quorum's secret."""
    key = SymmetricKey.from_bytes(secret, "the quorum's key")
    top = {key_id: expose(vault.symmetric(key_id, 1)) for key_id in TOP}
    document = _Quorum(
        threshold=threshold,
        people=people,
        root=key.gcm_seal(root_key.to_pkcs8(), _place("root", directory)),
        top=key.gcm_seal(msgspec.msgpack.encode(top), _place("top", directory)),
    )
    return msgspec.msgpack.encode(document)


def destroy_top(vault: Vault) -> None:
    """End ROOT and REGION in the vault, once they lie offline."""
    for key_id in reversed(TOP):
        if vault.facts(key_id, 1).state != "destroyed":
            vault.set_state(key_id, 1, "destroyed")


def digest(directory: Path) -> bytes:
    """SM3 of the file, empty when it is not here."""
    try:
        return sm3((directory / FILE).read_bytes())
    except OSError:
        return b""


def _read(directory: Path) -> _Single | _Quorum:
    try:
        raw = (directory / FILE).read_bytes()
    except OSError:
        raise LocalError(
            "security.offline", f"The offline root is not in {directory}; bring it back for this act."
        ) from None
    kinds: tuple[type[_Single] | type[_Quorum], ...] = (_Single, _Quorum)
    for kind in kinds:
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.msgpack.decode(raw, type=kind)
    raise LocalError("security.offline", f"{directory / FILE} is damaged; bring another copy of it.")


def _certificate(directory: Path) -> bytes:
    try:
        return (directory / _CERTIFICATE).read_bytes()
    except OSError:
        raise LocalError(
            "security.offline", f"{directory / _CERTIFICATE} is missing; bring it back."
        ) from None


def _place(what: str, directory: Path) -> bytes:
    return b"offline quorum\x00" + what.encode() + b"\x00" + _certificate(directory)


def replace(directory: Path, content: bytes, name: str = FILE) -> None:
    """Put a file in place of the one there, durably and at once."""
    fresh = directory / f"{name}.new"
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(directory / name)
        folder = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise EngineError(
            "security.disk", f"Cannot write {directory / name}: {error.strerror}. Nothing was changed."
        ) from None
