"""An insider with the disk and the data keys of the platform: what such a person can change by hand, each well made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from meterseal.control.tables import segments, stores
from meterseal.crypto import merkle
from meterseal.mdms.ledger import files
from meterseal.mdms.ledger.files import Made
from meterseal.mdms.ledger.leaves import commitment, read
from meterseal.mdms.ledger.salts import Salts
from meterseal.mdms.ledger.tree import Tree
from meterseal.mdms.store.faults import HEADER
from meterseal.mdms.store.manifest import Manifest
from meterseal.mdms.store.rows import Rows, Words, sort_rows
from meterseal.mdms.store.segments import Bucket, SegmentWriter
from meterseal.mdms.store.store import Store
from tests.mdms.fleet import keys


class Insider:
    """Works on the directory of a store that nobody has open."""

    def __init__(self, root: Path, engine: sa.Engine) -> None:
        self.engine = engine
        self.measurements = root / "measurements"
        self.manifest = Manifest(engine, keys())
        _, self.counts, self.segments = self.manifest.open()

    def change_rows(self, change: Callable[[Rows, Words], Rows]) -> None:
        """Write every segment anew with other rows, sealed and listed as the compactor would."""
        words = Words()
        for segment in self.segments:
            store = Store(self.measurements / "segments", keys(), words)
            store.load([segment])
            parts = [store.rows(key, -1 << 62, 1 << 62) for key in store.keys_stored()]
            rows = parts[0].copy()
            for part in parts[1:]:
                rows.resize(len(rows) + len(part))
                rows[-len(part) :] = part
            rows = change(rows, words)
            if not len(rows):
                with self.engine.begin() as connection:
                    connection.execute(segments.delete().where(segments.c.id == segment.id))
                continue
            writer = SegmentWriter(
                store.directory,
                keys(),
                words,
                store_id=segment.store_id,
                medium=segment.medium,
                month=segment.month,
                bucket=segment.bucket or Bucket(),
                serial=segment.journal_last,
            )
            writer.add(sort_rows(rows, words))
            self.manifest.exchange([segment.id], [writer.finish()])

    def leaves(self) -> list[Made]:
        """What every leaf is made of."""
        directory = self.measurements / "ledger"
        return [
            made
            for file in files.found(directory, self.counts["leaves"])
            for made in files.read_leaves(file, self.manifest.store_id, keys())
        ]

    def rebuild(self, made: list[Made]) -> None:
        """Other leaves, with a whole new tree over them that fits."""
        directory = self.measurements / "ledger"
        shutil.rmtree(directory)
        directory.mkdir()
        salts = Salts(self.engine, keys())
        salts.prepare({(read(one.plaintext).owner, one.day) for one in made}, 0)
        tree = Tree(directory / "tree", 0)
        hashes = []
        for number, one in enumerate(made):
            salt = salts.salt(read(one.plaintext).owner, one.day, number)
            assert salt is not None
            hashes.append(commitment(one.digest, salt, one.plaintext))
        tree.append(hashes)
        tree.keep(len(made))
        tree.close()
        files.write_leaves(directory, self.manifest.store_id, keys(), 0, made)
        with self.engine.begin() as connection:
            connection.execute(stores.update().values(counts=self.counts | {"leaves": len(made)}))

    def swap_leaf_hash(self, number: int) -> None:
        """Another hash for one leaf, and every hash above it."""
        path = self.measurements / "ledger" / "tree"
        size = self.counts["leaves"]
        tree = Tree(path, size)
        hashes = [tree.node_at(0, at) for at in range(size)]
        tree.close()
        hashes[number] = merkle.leaf_hash(b"something else")
        path.unlink()
        tree = Tree(path, 0)
        tree.append(hashes)
        tree.keep(size)
        tree.close()

    def cut_journal(self) -> None:
        """Cut the journal's last file at its first frame, and let the control store know nothing of it."""
        path, at = self.journal_frames()[0]
        path.write_bytes(path.read_bytes()[:at])
        with self.engine.begin() as connection:
            connection.execute(stores.update().values(journal_ended=None, journal_begun=None))

    def journal_frames(self) -> list[tuple[Path, int]]:
        """Where each frame of the journal begins."""
        found = []
        for path in sorted((self.measurements / "journal").glob("*.journal")):
            content, at = path.read_bytes(), 0
            while at < len(content):
                found.append((path, at))
                at += HEADER.size + HEADER.unpack(content[at : at + HEADER.size])[0]
        return found
