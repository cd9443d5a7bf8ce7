"""Bring a backup back, or prove on a copy that it would come back; with the service of that directory down.

It makes no backup (`desks.upkeep` does).

A restored service must not repeat what happened after the backup: numbers of commands go on a million
higher than the backup knew, and signed requests are taken only when their id names the random epoch of this
restore, or when they end later than any request that may have been used since (`officers`). What the backup does
not know stays lost, and the audit log goes on from its last entry in the backup. Nobody is enrolled until the operator
has accepted the head; what the platform knows was enrolled after the backup is then reserved (`reserved`).
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path

from msgspec import Struct

from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import LocalError, TrustError
from meterseal.security import datakeys
from meterseal.security.backup import Manifest, unpack
from meterseal.security.book import Book
from meterseal.security.desks.upkeep import PROOF_DEVICE, PROOF_PURPOSE
from meterseal.security.officers import RESTORED, Restored
from meterseal.security.reserved import HELD, Held
from meterseal.security.service import SecurityService
from meterseal.security.vault import Vault

EPOCH = 8
"""Bytes of the random epoch that the ids of requests made since the restore begin with."""
NUMBERS_AHEAD = 1_000_000
_REASON = "this system was brought back from a backup"


class DrillReport(Struct, frozen=True, kw_only=True):
    """What a drill found; `ok` when all of it holds."""

    at: int
    modules: int
    entries: int
    audit_whole: bool
    head_same: bool
    session_opened: bool
    data_key_opened: bool

    @property
    def ok(self) -> bool:
        """Whether the backup would bring the service back."""
        return self.audit_whole and self.head_same and self.session_opened and self.data_key_opened


def restore(file: Path, root: Path, backup_passphrase: bytes, passphrase: bytes, now: int) -> Manifest:
    """Put the keys directory of a backup into the data directory `root`.

    LocalError `security.file` when there is one already; TrustError `security.backup`, `security.passphrase`.
    The TLS files and settings of the backup fill in only what is missing. Complete or not at all.
    """
    keys = root / "keys"
    if keys.exists() and any(keys.iterdir()):
        raise LocalError(
            "security.file",
            f"{keys} holds keys already; move that directory away first. Nothing was restored.",
        )
    making = root / ".keys.restored"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    try:
        manifest = unpack(file, making, backup_passphrase)
        _settle(making / "keys", passphrase, now)
        if (making / "tls").exists() and not (root / "tls" / "root.crt").exists():
            shutil.rmtree(root / "tls", ignore_errors=True)
            (making / "tls").rename(root / "tls")
        if (making / "meterseal.json").exists() and not (root / "meterseal.json").exists():
            (making / "meterseal.json").rename(root / "meterseal.json")
        (making / "keys").replace(keys)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return manifest


def _settle(directory: Path, passphrase: bytes, now: int) -> None:
    """Make sure that nothing used after the backup can be used again."""
    vault = Vault.open(directory / "keys.vault", "keys", passphrase)
    try:
        book = Book.open(directory / "acts.db", vault)
        try:
            before = book.read(RESTORED, Restored, Restored())
            with book.transaction() as connection:
                connection.execute("UPDATE command SET number = number + ?", (NUMBERS_AHEAD,))
                restored = Restored(
                    at=now, first_number=before.first_number + NUMBERS_AHEAD, epoch=secrets.token_bytes(EPOCH)
                )
                book.write(connection, RESTORED, restored)
                book.write(connection, HELD, Held(since=max(1, now), reason=_REASON))
        finally:
            book.close()
    finally:
        vault.close()


async def drill(file: Path, backup_passphrase: bytes, passphrase: bytes, now: int) -> DrillReport:
    """Restore into a directory of mode 0700 that is removed again, start a service there, and open with its keys what
    the running service wrapped for this backup.

    TrustError `security.backup`, `security.passphrase` and the errors of a start.
    """
    with tempfile.TemporaryDirectory(prefix="meterseal-drill-") as folder:
        manifest = restore(file, Path(folder), backup_passphrase, passphrase, now)
        service = SecurityService.open(Path(folder) / "keys", passphrase, clock=lambda: now)
        try:
            state = service.room.audit.verify()
            return DrillReport(
                at=manifest.at,
                modules=service.room.registry.count(),
                entries=state.entries,
                audit_whole=state.ok,
                head_same=equal(service.room.audit.at(manifest.entries), manifest.head),
                session_opened=_session_opens(service, manifest),
                data_key_opened=_data_key_opens(service, manifest),
            )
        finally:
            service.close()


def _session_opens(service: SecurityService, manifest: Manifest) -> bool:
    proof = manifest.session
    try:
        packed = datakeys.unwrap_session(
            service.room.keys, bytes.fromhex(proof.name), PROOF_DEVICE, proof.wrapped
        )
    except TrustError:
        return False
    return equal(sm3(packed), proof.digest)


def _data_key_opens(service: SecurityService, manifest: Manifest) -> bool:
    proof = manifest.data_key
    try:
        opened = datakeys.open_data_key(service.room.keys, PROOF_PURPOSE, proof.name, proof.wrapped)
    except TrustError:
        return False
    return equal(sm3(opened.key), proof.digest)
