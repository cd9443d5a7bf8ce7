"""The offline root: the root CA's key, and with a quorum the top of the key tree, sealed in a directory of its own.

It signs nothing and knows no officers; whoever opened it hands the key to `pki`, `rootquorum` says which file counts.

A new system has the lab default: one file under the system's passphrase, so one person opens it. A quorum
replaces that file by one whose key is made of two halves: a secret that exists only in shares, and a key of
vault *ca* that is destroyed with the quorum. So an old file opens nothing, whoever keeps its shares. ROOT and
REGION move into the file and are destroyed in vault *keys*. Daily running needs neither: PROJECT and the CAs
stay with the service. The directory may be carried away and brought back for an act.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import sm3
from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.security.passphrase import Stretching, fresh_stretching, key_encryption_key
from meterseal.security.vault import Vault

FILE = "root.key"
COMING = "root.key.coming"
"""The same key under a passphrase to come, while the system's passphrase changes."""
DEALT = "root.key.quorum"
"""The same key under a quorum to come, until every holder has shown that they can open their share."""
_CERTIFICATE = "root.der"
TOP = ("ROOT", "REGION")


class _Single(Struct, array_like=True):
    stretching: Stretching
    sealed: bytes


class _Quorum(Struct, kw_only=True):
    generation: int
    quorum_id: bytes
    root: bytes
    top: bytes


class OpenRoot(NamedTuple):
    """The opened root, for one act: its key, and what the top of the tree is sealed anew from."""

    key: Sm2PrivateKey
    top: dict[str, SymmetricKey]


def from_vault(key: Sm2PrivateKey, vault: Vault) -> OpenRoot:
    """The root of the lab default, where the top of the tree still lies in vault *keys*."""
    return OpenRoot(key, {key_id: vault.symmetric(key_id, 1) for key_id in TOP})


def open_single(directory: Path, passphrase: bytes) -> Sm2PrivateKey:
    """The root key under the lab default; TrustError `security.passphrase`, `security.root-file`."""
    sealed = _read(directory)
    if isinstance(sealed, _Quorum):
        raise TrustError(
            "security.root-file",
            f"{directory / FILE} is a quorum's, and this system has none: it is another system's. Bring its own.",
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
    if not (directory / FILE).exists() or isinstance(_read(directory), _Quorum):
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


def seal(directory: Path, root: OpenRoot, key: SymmetricKey, generation: int, quorum_id: bytes) -> bytes:
    """The file of one generation of the quorum under its key (`quorum_key`)."""
    top = {key_id: expose(kept) for key_id, kept in root.top.items()}
    document = _Quorum(
        generation=generation,
        quorum_id=quorum_id,
        root=key.gcm_seal(root.key.to_pkcs8(), _place("root", generation, quorum_id, directory)),
        top=key.gcm_seal(msgspec.msgpack.encode(top), _place("top", generation, quorum_id, directory)),
    )
    return msgspec.msgpack.encode(document)


def unseal(directory: Path, key: SymmetricKey, name: str = FILE) -> OpenRoot:
    """The root out of the file of a quorum under that quorum's key; TrustError `security.share`."""
    sealed = _read(directory, name)
    if isinstance(sealed, _Single):
        raise TrustError(
            "security.root-file", f"{directory / name} is no quorum's file; bring the one in force."
        )
    try:
        raw = key.gcm_open(sealed.root, _place("root", sealed.generation, sealed.quorum_id, directory))
        top = key.gcm_open(sealed.top, _place("top", sealed.generation, sealed.quorum_id, directory))
    except TrustError:
        raise TrustError(
            "security.share", "The shares do not open this root: they are those of another quorum."
        ) from None
    kept = msgspec.msgpack.decode(top, type=dict[str, bytes])
    return OpenRoot(
        Sm2PrivateKey.from_pkcs8(raw, "the root key"),
        {key_id: SymmetricKey.from_bytes(kept[key_id], f"{key_id} version 1") for key_id in TOP},
    )


def quorum_key(secret: bytes, half: SymmetricKey) -> SymmetricKey:
    """The key of a quorum's file: HMAC-SM3 of the shared secret (16 bytes) under the vault's half."""
    return SymmetricKey.from_bytes(half.mac(b"ms1 offline quorum\x00", secret)[:16], "the quorum's key")


def destroy_top(vault: Vault) -> None:
    """End ROOT and REGION in the vault, once they lie offline."""
    for key_id in reversed(TOP):
        if vault.facts(key_id, 1).state != "destroyed":
            vault.set_state(key_id, 1, "destroyed")


def digest(directory: Path, name: str = FILE) -> bytes:
    """SM3 of the file, empty when it is not here."""
    try:
        return sm3((directory / name).read_bytes())
    except OSError:
        return b""


def _read(directory: Path, name: str = FILE) -> _Single | _Quorum:
    try:
        raw = (directory / name).read_bytes()
    except OSError:
        raise LocalError(
            "security.offline", f"The offline root is not in {directory}; bring it back for this act."
        ) from None
    kinds: tuple[type[_Single] | type[_Quorum], ...] = (_Single, _Quorum)
    for kind in kinds:
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.msgpack.decode(raw, type=kind)
    raise LocalError(
        "security.offline",
        f"{directory / name} is damaged, or of an earlier development version; bring another copy of it.",
    )


def _certificate(directory: Path) -> bytes:
    try:
        return (directory / _CERTIFICATE).read_bytes()
    except OSError:
        raise LocalError(
            "security.offline", f"{directory / _CERTIFICATE} is missing; bring it back."
        ) from None


def _place(what: str, generation: int, quorum_id: bytes, directory: Path) -> bytes:
    head = b"offline quorum\x00" + what.encode() + b"\x00" + generation.to_bytes(8) + quorum_id
    return head + _certificate(directory)


def put_in_force(directory: Path, name: str) -> None:
    """Put a file beside the one in force in its place, durably and at once; EngineError `security.disk`."""
    try:
        (directory / name).replace(directory / FILE)
        _sync(directory)
    except OSError as error:
        raise _disk(directory / FILE, error) from None


def replace(directory: Path, content: bytes, name: str = FILE) -> None:
    """Put a file in place of the one there, durably and at once; EngineError `security.disk`."""
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
        _sync(directory)
    except OSError as error:
        raise _disk(directory / name, error) from None


def _sync(directory: Path) -> None:
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _disk(path: Path, error: OSError) -> EngineError:
    return EngineError("security.disk", f"Cannot write {path}: {error.strerror}. Nothing was changed.")
