"""Station MDMS, the journal as somebody reads it who changes nothing: what looks torn is said, not cut off."""

from __future__ import annotations

from pathlib import Path

from meterseal.errors import DataError
from meterseal.mdms.store.journal import Journal


class StrictJournal(Journal):
    """Only `replay` of it is meant to be called."""

    def _cut(self, path: Path, offset: int) -> None:
        raise DataError("mdms.journal-damaged", f"{path} ends in the middle of an entry, at byte {offset}.")

    def _took(self) -> None:
        """Nothing is noted."""
