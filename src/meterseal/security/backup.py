"""A backup of the security service in one file: encrypted, authenticated, whole or refused.

It opens no vault: what it packs is sealed already; `restoring` unpacks it and proves that it works.

The file is a tar stream in chunks of 1 MiB, each SM4-GCM under a key stretched from the backup's passphrase
(Argon2id, a salt of its own), bound to the file's header, its number and whether it is the last: a chunk
changed, left out, put elsewhere or taken from another backup is refused, and so is a file that ends early.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import sm3
from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.security.passphrase import Stretching, fresh_stretching, key_encryption_key

MANIFEST = "manifest.json"
_MAGIC = b"MSKEYS01"
_CHUNK = 1 << 20
_LARGEST_HEADER = 4096
_NAME = re.compile(r"(keys/(offline/)?|tls/)?[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL = "backup"


class Proof(Struct, frozen=True, kw_only=True):
    """A key that the running service wrapped for this backup, and SM3 of it: the restored keys must open it."""

    name: str
    wrapped: bytes
    digest: bytes


class Manifest(Struct, frozen=True, kw_only=True):
    """What a backup holds and how far it goes; `head` is the hash of the last of `entries` audit entries."""

    format: int
    at: int
    project_id: bytes
    modules: int
    entries: int
    head: bytes
    revision: int
    session: Proof
    data_key: Proof
    files: tuple[str, ...]


def pack(source: Path, target: Path, manifest: Manifest, passphrase: bytes) -> None:
    """Write the files of `source` to `target`, a new file of mode 0600.

    LocalError `security.file` when it exists, `security.passphrase-short`; EngineError `security.disk`.
    """
    stretching = fresh_stretching()
    key = key_encryption_key(passphrase, _LABEL, stretching)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise LocalError("security.file", f"{target} is there already; choose another name.") from None
    except OSError as error:
        raise _disk(target, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            sealed = _Sealing(file, key, stretching)
            with tarfile.open(fileobj=sealed, mode="w|") as tar:  # type: ignore[call-overload]  # it only writes
                encoded = msgspec.json.encode(manifest)
                entry = tarfile.TarInfo(MANIFEST)
                entry.size = len(encoded)
                tar.addfile(entry, io.BytesIO(encoded))
                for name in manifest.files:
                    tar.add(source / name, arcname=name, recursive=False)
            sealed.finish()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        target.unlink(missing_ok=True)
        raise _disk(target, error) from None


def unpack(source: Path, target: Path, passphrase: bytes) -> Manifest:
    """Write the files of a backup below `target`, an empty directory.

    TrustError `security.backup` for a wrong passphrase or a changed file, LocalError `security.file`.
    """
    try:
        with source.open("rb") as file:
            return _unpack(file, target, passphrase)
    except tarfile.TarError:
        raise _changed() from None
    except OSError as error:
        raise LocalError(
            "security.file", f"{error.filename or source} cannot be used: {error.strerror}."
        ) from None


def _unpack(file: BinaryIO, target: Path, passphrase: bytes) -> Manifest:
    opened = _Opening(file, passphrase)
    manifest: Manifest | None = None
    found: list[str] = []
    with tarfile.open(fileobj=opened, mode="r|") as tar:  # type: ignore[call-overload]  # it only reads
        for entry in tar:
            content = tar.extractfile(entry)
            if content is None or not entry.isreg() or not _NAME.fullmatch(entry.name):
                raise _changed()
            if manifest is None:
                if entry.name != MANIFEST:
                    raise _changed()
                manifest = _manifest(content.read(_CHUNK))
                continue
            found.append(entry.name)
            _write(target / entry.name, content)
    opened.end()
    if manifest is None or tuple(found) != manifest.files:
        raise _changed()
    return manifest


def _manifest(raw: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except msgspec.DecodeError:
        raise _changed() from None
    if manifest.format != 1:
        raise LocalError(
            "security.newer",
            "This backup was made by a newer version of meterseal; restore it with that one.",
        )
    return manifest


def _write(path: Path, content: BinaryIO | object) -> None:
    assert hasattr(content, "read")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while piece := content.read(_CHUNK):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


class _Sealing:
    """A file object whose bytes leave in sealed chunks."""

    def __init__(self, file: BinaryIO, key: SymmetricKey, stretching: Stretching) -> None:
        header = msgspec.msgpack.encode(stretching)
        self._file, self._key = file, key
        self._bound = sm3(_MAGIC, header)
        self._number, self._held = 0, bytearray()
        file.write(_MAGIC + len(header).to_bytes(4) + header)

    def write(self, content: bytes) -> int:
        self._held += content
        while len(self._held) > _CHUNK:
            self._emit(bytes(self._held[:_CHUNK]), last=False)
            del self._held[:_CHUNK]
        return len(content)

    def finish(self) -> None:
        self._emit(bytes(self._held), last=True)

    def _emit(self, content: bytes, *, last: bool) -> None:
        sealed = self._key.gcm_seal(content, _place(self._bound, self._number, last=last))
        self._file.write(len(sealed).to_bytes(4) + sealed)
        self._number += 1


class _Opening:
    """A file object that gives the bytes back, each chunk checked before any of it is seen."""

    def __init__(self, file: BinaryIO, passphrase: bytes) -> None:
        self._file = file
        header = b""
        if file.read(len(_MAGIC)) == _MAGIC:
            size = int.from_bytes(file.read(4))
            header = file.read(size) if size <= _LARGEST_HEADER else b""
        try:
            stretching = msgspec.msgpack.decode(header, type=Stretching)
        except msgspec.DecodeError:
            raise TrustError(
                "security.backup", "This is no backup of a security service; give another file."
            ) from None
        if stretching.memory > 1 << 22 or stretching.passes > 64 or stretching.lanes > 64:
            raise _changed()
        self._key = key_encryption_key(passphrase, _LABEL, stretching)
        self._bound = sm3(_MAGIC, header)
        self._chunks = self._open()
        self._held = b""

    def _open(self) -> Iterator[bytes]:
        number, last = 0, False
        while not last:
            size = int.from_bytes(self._file.read(4))
            sealed = self._file.read(size) if 0 < size <= _CHUNK + 64 else b""
            following = self._file.read(1)
            last = not following
            if following:
                self._file.seek(-1, os.SEEK_CUR)
            try:
                opened = self._key.gcm_open(sealed, _place(self._bound, number, last=last))
            except TrustError:
                raise _changed() from None
            yield opened
            number += 1

    def read(self, size: int) -> bytes:
        while len(self._held) < size:
            piece = next(self._chunks, None)
            if piece is None:
                break
            self._held += piece
        given, self._held = self._held[:size], self._held[size:]
        return given

    def end(self) -> None:
        """Read what is left, so that a chunk changed behind the last file is refused too."""
        for _ in self._chunks:
            pass


def _place(bound: bytes, number: int, *, last: bool) -> bytes:
    return b"ms1 backup\x00" + bound + number.to_bytes(8) + bytes((last,))


def _changed() -> TrustError:
    return TrustError(
        "security.backup",
        "The backup does not open: another passphrase, or the file was changed or cut off. Nothing was restored.",
    )


def _disk(path: Path, error: OSError) -> EngineError:
    return EngineError("security.disk", f"Cannot write {path}: {error.strerror}. No backup was made.")
