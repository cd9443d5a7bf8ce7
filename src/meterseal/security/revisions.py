"""The revisions of the files of one keys directory: each writes down how far the others are, so none is put back alone.

It reads no row and proves none; `proof` does, and tells it what each file's proven state says.

Every commit that changes a file raises that file's revision, and with its own state writes the newest revisions of
the others that are on disk. When files are opened, a file whose revision is below what another one has seen is an
older copy. The newest commit of all is the one that no other file has seen yet: another one is made to write it
down within a second, and when the service ends (`tie`). So after a clean end no file can be put back alone, and
after a crash none but to its own state of the last second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from meterseal.crypto.symmetric import sm3
from meterseal.errors import TrustError
from meterseal.security.store import Store


class Proven(Protocol):
    """The proof of one open file."""

    name: str
    revision: int
    changed: int
    store: Store

    def digest(self) -> bytes:
        """Of all that the file holds, under its key."""


class Revisions:
    """What is known of the files of one directory."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._proofs: dict[str, Proven] = {}
        self._changed: dict[str, int] = {}
        self.raised: list[str] = []
        """Files that were found in a format from before there were proofs, and were given one."""

    def expect_unproven(self, name: str, path: Path) -> None:
        """TrustError `security.tampered` when a file without a proof is known to have had one."""
        if self._seen.get(name):
            raise TrustError(
                "security.tampered",
                f"{path} carries no proof of what it holds, and the other files know that it had one: it was put back to "
                "an older format or made anew. Restore the whole directory from one backup.",
            )

    def opened(self, proof: Proven, others: dict[str, int]) -> None:
        """Take up a file whose state was proven; TrustError `security.rolled-back` when it or another is too old."""
        for other, bound in others.items():
            self._seen[other] = max(bound, self._seen.get(other, 0))
        self._at[proof.name], self._changed[proof.name] = proof.revision, proof.changed
        self._proofs[proof.name] = proof
        for other, at in self._at.items():
            if at < self._seen.get(other, 0):
                raise TrustError(
                    "security.rolled-back",
                    f"{self._proofs[other].store.path} is an older copy: it stands at revision {at}, and other files of "
                    f"its directory have seen revision {self._seen[other]}. What was spent, withdrawn or counted since is "
                    "not in it. Put the newest copy back, or restore the whole directory from one backup.",
                )

    def others(self, name: str) -> dict[str, int]:
        """What a commit of this file writes down: the newest revision of every other file that is on disk."""
        known = self._seen | {other: max(at, self._seen.get(other, 0)) for other, at in self._at.items()}
        return {other: at for other, at in known.items() if other != name}

    def committed(self, name: str, revision: int, *, changed: bool) -> None:
        """A file is at this revision on disk; `changed` unless it only wrote down the others."""
        self._seen = self.others(name) | {name: self._seen.get(name, 0)}
        self._at[name] = revision
        if changed:
            self._changed[name] = revision

    @property
    def tied(self) -> bool:
        """Whether every change of every file is written down by another one."""
        return len(self._proofs) < 2 or not self._loose()

    def tie(self) -> None:
        """Have every change written down by another file, now; EngineError."""
        while not self.tied:
            loose = self._loose()
            by = next((name for name in self._proofs if name not in loose), next(iter(self._proofs)))
            self._proofs[by].store.tie()

    def _loose(self) -> set[str]:
        return {name for name, changed in self._changed.items() if changed > self._seen.get(name, 0)}

    def total(self) -> int:
        """The revisions of all files together: one number that only rises."""
        return sum(self._at.values())

    def digest(self) -> bytes:
        """SM3 over the revision and the keyed digest of every file that is open."""
        held = [(name, proof.revision, proof.digest()) for name, proof in sorted(self._proofs.items())]
        return sm3(msgspec.msgpack.encode(held))
