"""Station MDMS, what a store holds: recent rows in memory, and the segments of the manifest, of which none is opened here.

It takes in and changes what is listed; it answers nothing (channel, store).

A start opens no segment. Memory is bounded: recent rows by compaction, opened indices and chunks by the shelf. What
grows with the fleet is the words (about 300 bytes a usage point) and one index entry (about 110 bytes) for every
channel in the segments that are being asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from threading import RLock
from typing import TypeVar

from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, TrustError
from meterseal.mdms.store.catalogue import Catalogue
from meterseal.mdms.store.recent import Part, Recent
from meterseal.mdms.store.rows import Block, Key, Rows, Words
from meterseal.mdms.store.segments import Segment
from meterseal.mdms.store.shelf import Shelf

Answer = TypeVar("Answer")


class Held:
    """What there is to be asked. Every method may be called from any thread; `lock` guards what changes."""

    def __init__(self, directory: Path, keys: KeyRing, words: Words) -> None:
        self.lock = RLock()
        self.words = words
        self.directory = directory
        self.keys = keys
        self.catalogue = Catalogue()
        self.recent = Recent()
        self.shelf = Shelf(directory, keys, words)
        self.written = 0
        """Bytes of segments that were written since the start, merges included."""
        self.left_out: dict[str, tuple[int, ...]] = {}
        """Segments that were damaged when they were to be merged, and what their files were then; the compactor's."""

    # --- what comes -------------------------------------------------------------------------------

    def add(self, block: Block) -> None:
        """Take a block into memory."""
        with self.lock:
            self.recent.add(block)

    def add_part(self, rows: Rows) -> None:
        """Take in rows sorted by (usage point as a word, channel, end_at)."""
        with self.lock:
            self.recent.add_part(Part(rows))

    # --- segments ---------------------------------------------------------------------------------

    def load(self, segments: Iterable[Segment]) -> None:
        """Take up the segments of the manifest at start; none is opened. TrustError `sealing.key` when none of the
        keys could open one of them."""
        listed = list(segments)
        for version in sorted({segment.key_version for segment in listed} - set(self.keys.versions)):
            raise TrustError(
                "sealing.key",
                f"Segments in {self.directory} are sealed under data key version {version}, which was ended or not "
                "handed over. Restore the vault and the control store that belong together.",
                version=version,
            )
        with self.lock:
            self.catalogue.change([], listed)

    def replace(self, removed: Iterable[str], added: Iterable[Segment], sequence: int) -> None:
        """Show new segments instead of old ones and of all recent rows up to `sequence`."""
        with self.lock:
            self.catalogue.change(removed, added)
            if sequence >= 0:
                self.recent.forget(sequence)

    # --- for those who answer ---------------------------------------------------------------------

    def _holding(self, key: Key, since: int, until: int) -> list[Segment]:
        medium = self.words.medium.get(key.point)
        if medium is None:
            return []
        return self.catalogue.holding(medium, self.words.hash(key.point), since, until)

    def _steadily(self, read: Callable[[], Answer]) -> Answer:
        """Read again when a compaction took a segment away in the middle."""
        while True:
            with self.lock:
                before = set(self.catalogue.segments)
            try:
                return read()
            except DataError:
                with self.lock:
                    if before <= set(self.catalogue.segments):
                        raise
