"""What is asked about backups and the audit log's head. No behaviour."""

from __future__ import annotations

from msgspec import Struct

from meterseal.security.messages import Secret


class BackupRequest(Secret, frozen=True, kw_only=True):
    """Write a backup to this absolute path, under this passphrase."""

    path: str
    passphrase: bytes


class BackupDone(Struct, frozen=True, kw_only=True):
    """What the backup holds."""

    path: str
    at: int
    modules: int
    entries: int
    bytes: int


class HeadRequest(Struct, frozen=True, kw_only=True):
    """Ask for the audit log's head, and for the hash of the entry that the asker knew as head before (0: none)."""

    known: int = 0


class Head(Struct, frozen=True, kw_only=True):
    """The last entry's number and hash, and the hash of the entry asked for (empty when the log is shorter).

    `revision` and `digest` say how far the files of the directory are and what they hold together; `held` whether
    enrolment waits for the head to be accepted.
    """

    sequence: int
    hash: bytes
    known: bytes
    revision: int = 0
    digest: bytes = b""
    held: bool = False
