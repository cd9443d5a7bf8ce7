"""Station MDMS, the journal as somebody reads it who changes nothing: what looks torn is said, not cut off.

It mends nothing and gives nothing up.
"""

from __future__ import annotations

from pathlib import Path

from meterseal.control.sealing import KeyRing
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import DataError
from meterseal.mdms.store.faults import Fault
from meterseal.mdms.store.journal import Book, Journal


class StrictJournal(Journal):
    """Only `replay` of it is meant to be called."""

    def _cut(self, path: Path, offset: int) -> None:
        raise DataError("mdms.journal-damaged", f"{path} ends in the middle of an entry, at byte {offset}.")

    def _took(self) -> None:
        """Nothing is noted."""


class LookingJournal(StrictJournal):
    """Says all that cannot be read; without keys, all that is not there or has lost its frame."""

    def __init__(self, directory: Path, store_id: str, keys: KeyRing | None, book: Book) -> None:
        nothing = KeyRing({0: SymmetricKey.generate("opens nothing")}, 0)
        super().__init__(directory, store_id, keys or nothing, book)
        self._blind = keys is None

    def faults(self, after: int) -> list[Fault]:
        """Of the entries later than `after`. EngineError `mdms.disk`."""
        for _ in self.replay(after):
            pass
        return self.passed

    def _pass(self, fault: Fault, error: DataError) -> None:
        self.passed.append(fault)
        self.sequence = max(self.sequence, fault.last)

    def _opened(self, sealed: bytes, sequence: int, version: int) -> bytes:
        return b"" if self._blind else super()._opened(sealed, sequence, version)

    def _without_header(self, piece: bytes, sequence: int) -> bytes | None:
        return None

    def _cut(self, path: Path, offset: int) -> None:
        """A torn end was never answered."""
