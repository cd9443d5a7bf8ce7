"""The calling half of the desk of upkeep.

It holds no key and no decision.
"""

from __future__ import annotations

from meterseal.security.backuporders import BackupDone, BackupRequest, Head, HeadRequest
from meterseal.security.client import Client


class UpkeepClient(Client):
    """The calls of this desk."""

    async def backup(self, path: str, passphrase: bytes) -> BackupDone:
        """Write a backup to a new file, named by its absolute path; LocalError `security.file`."""
        return await self._rpc.call("backup", BackupRequest(path=path, passphrase=passphrase), BackupDone)

    async def audit_head(self, known: int = 0) -> Head:
        """The audit log's head and the hash of entry `known`: a log that was put back no longer has that one."""
        return await self._rpc.call("audit_head", HeadRequest(known=known), Head)
