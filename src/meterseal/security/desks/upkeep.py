"""Desk of upkeep: a backup while the service runs, and the audit log's head for whoever anchors it elsewhere.

It restores nothing; `restoring` does, with the service down.

The copy of the files is made between two acts and without a pause in between, so all of them show one moment. The
head that is anchored elsewhere covers the files beside the log: it says how far they are (`security.standing`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from meterseal.crypto.symmetric import sm3
from meterseal.errors import EngineError, LocalError
from meterseal.mesh.rpc import Empty
from meterseal.security import datakeys
from meterseal.security.authorise import OPERATOR, WATCH
from meterseal.security.backup import Manifest, Proof, pack
from meterseal.security.backuporders import BackupDone, BackupRequest, Head, HeadRequest
from meterseal.security.desk import Act, Acts, Desk, Room

PROOF_DEVICE = bytes(8)
PROOF_PURPOSE = "backup-proof"
STANDING = 3_600_000
"""How often (ms) the log says how far the files are, when its head is asked for."""
_BESIDE = ("tls", "meterseal.json")
"""Files of the data directory that open with the same passphrase or hold the project, and go with the keys."""


class UpkeepDesk(Desk):
    """backup, audit_head."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._folder: Path = room.book.store.path.parent
        self._stood_at = -STANDING

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "backup": Act(self._backup, BackupRequest, OPERATOR),
            "audit_head": Act(self._head, HeadRequest, WATCH),
        }

    async def _backup(self, caller: str, request: BackupRequest) -> BackupDone:
        target = Path(request.path)
        if not target.is_absolute() or target.exists() or target.is_relative_to(self._folder):
            raise LocalError(
                "security.file",
                "A backup goes to a new file outside the keys directory, named by its whole path.",
            )
        room = self._room
        room.note(caller, request, "security.backup", "A backup was made.")
        proofs = self._proofs()
        await room.durable()
        copy = self._folder / f".backup-{os.urandom(4).hex()}"
        try:
            manifest = self._copy(copy, *proofs)
            await asyncio.to_thread(pack, copy, target, manifest, request.passphrase)
        except OSError as error:
            raise EngineError(
                "security.disk", f"Cannot copy to {copy}: {_why(error)}. No backup was made."
            ) from None
        finally:
            shutil.rmtree(copy, ignore_errors=True)
        return BackupDone(
            path=request.path,
            at=manifest.at,
            modules=manifest.modules,
            entries=manifest.entries,
            bytes=target.stat().st_size,
        )

    def _proofs(self) -> tuple[Proof, Proof]:
        keys = self._room.keys
        session_id, packed = os.urandom(8), os.urandom(32)
        wrapped = datakeys.wrap_session(keys, session_id, PROOF_DEVICE, packed)
        made = datakeys.new_data_key(keys, PROOF_PURPOSE, session_id.hex())
        return (
            Proof(name=session_id.hex(), wrapped=wrapped, digest=sm3(packed)),
            Proof(name=session_id.hex(), wrapped=made.wrapped, digest=sm3(made.key)),
        )

    def _copy(self, copy: Path, session: Proof, data_key: Proof) -> Manifest:
        """Everything as it is now, in one go: no act runs meanwhile."""
        room = self._room
        (copy / "keys").mkdir(mode=0o700, parents=True)
        room.keys.copy_to(copy / "keys" / "keys.vault")
        room.authorities.copy_to(copy / "keys" / "ca.vault")
        room.registry.store.copy_to(copy / "keys" / "registry.db")
        room.audit.copy_to(copy / "keys" / "audit.db")
        room.book.copy_to(copy / "keys" / "acts.db")
        if (self._folder / "offline").exists():
            shutil.copytree(self._folder / "offline", copy / "keys" / "offline")
        for name in _BESIDE:
            beside = self._folder.parent / name
            if beside.is_dir():
                shutil.copytree(beside, copy / name)
            elif beside.exists():
                shutil.copy(beside, copy / name)
        entries, head = room.audit.head()
        return Manifest(
            format=1,
            at=room.clock(),
            project_id=room.project_id,
            modules=room.registry.count(),
            entries=entries,
            head=head,
            revision=room.book.revision,
            session=session,
            data_key=data_key,
            files=tuple(sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file())),
        )

    async def _head(self, caller: str, request: HeadRequest) -> Head:
        room = self._room
        self._stand()
        await room.durable()
        sequence, hashed = room.audit.head()
        return Head(
            sequence=sequence,
            hash=hashed,
            known=room.audit.at(request.known),
            revision=room.keys.revisions.total(),
            digest=room.keys.revisions.digest(),
            held=room.reserved.facts().held,
        )

    def _stand(self) -> None:
        """Say in the log how far the files are, now and then: what is counted without an entry is anchored with it too."""
        room, now = self._room, self._room.clock()
        if 0 <= now - self._stood_at < STANDING:
            return
        self._stood_at = now
        revisions = room.keys.revisions
        said = (
            f"The keys directory stands at revision {revisions.total()}, digest {revisions.digest().hex()}."
        )
        room.note("operator", Empty(), "security.standing", said)


def _why(error: OSError) -> str:
    """What is wrong with the disk; the first of several things where a whole folder was copied."""
    if isinstance(error, shutil.Error):
        return str(error.args[0][0][2])
    return error.strerror or type(error).__name__
