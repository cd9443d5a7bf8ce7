"""Station MDMS, the ledger: takes up what the journal committed, keeps it as leaves of the tree, and proves them.

It signs nothing (`checkpoints` asks the security service) and compares nothing with readings (`audit` does).

Leaves follow from the journal, in its order: the commit needs no write of its own, and what a crash leaves of the tree
is made again from the journal. `note` only remembers; the hashing is done by `take_up`, off the way of an answer, and
always before a checkpoint, a proof or a compaction.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import sqlalchemy as sa

from meterseal.control.sealing import KeyRing
from meterseal.crypto import merkle
from meterseal.crypto.symmetric import equal
from meterseal.errors import DataError, EngineError, LocalError
from meterseal.mdms.entries import Entry
from meterseal.mdms.ledger import files
from meterseal.mdms.ledger.files import File, Made
from meterseal.mdms.ledger.leaves import Leaf, commitment, leaves_of, plaintext, read
from meterseal.mdms.ledger.salts import Salts, Statement, digest_of
from meterseal.mdms.ledger.tree import Tree
from meterseal.mdms.store.files import disk
from meterseal.mdms.store.manifest import BEGINS, IN_TIME
from meterseal.model import Opened

LEAVES = "leaves"
"""Under what the manifest's counts hold how many leaves are kept."""


class Waiting(NamedTuple):
    """One journal entry that is not in the tree yet: the records of it that were new, and what stands beside them."""

    sequence: int
    taken: Sequence[Opened]
    entry: Entry


class Proven(NamedTuple):
    """One leaf with everything that shows it in the tree of `size` leaves."""

    number: int
    digest: bytes
    salt: bytes
    plaintext: bytes
    path: list[bytes]


class Ledger:
    """The ledger of one store. Every method may be called from any thread.

    `counts` are the manifest's; a store from before there was a ledger begins one after what it holds.
    """

    def __init__(
        self,
        directory: Path,
        store_id: str,
        engine: sa.Engine,
        keys: KeyRing,
        counts: dict[str, int],
        sequence: int,
    ) -> None:
        with disk(directory):
            directory.mkdir(mode=0o700, exist_ok=True)
        self.directory = directory
        self.store_id = store_id
        self.begins = counts.get(BEGINS, sequence)
        self._keys = keys
        self.salts = Salts(engine, keys)
        size = counts.get(LEAVES, 0)
        self.in_time = counts.get(IN_TIME, size)
        """Leaves before this one were taken in by the rule of their time, and are compared by it."""
        self._files = files.found(directory, size)
        self._tree = Tree(directory / "tree", size)
        self._made: list[Made] = []
        """What the leaves after the kept ones are made of."""
        self._ends: list[tuple[int, int]] = []
        """(journal entry, leaves up to its end) of those."""
        self._waiting: list[Waiting] = []
        self._coming: list[File] = []
        self.lock = RLock()

    # --- in ---------------------------------------------------------------------------------------

    def note(self, sequence: int, taken: Sequence[Opened], entry: Entry) -> None:
        """Remember what an entry brought. Cheap; the caller holds the store's lock, so the order is the journal's."""
        self._waiting.append(Waiting(sequence, taken, entry))

    def take_up(self) -> int:
        """Put what was noted into the tree; gives its size. EngineError `control.*` when no seed can be stored."""
        with self.lock:
            while self._waiting:
                self._take(self._waiting[0])
                del self._waiting[0]
            return self._tree.size

    def _take(self, waiting: Waiting) -> None:
        leaves = leaves_of(waiting.taken, waiting.entry)
        number = self._tree.size
        self.salts.prepare({(leaf.owner, leaf.day) for _, leaf in leaves}, number)
        hashes = []
        for digest, leaf in leaves:
            salt = self.salts.salt(leaf.owner, leaf.day, number)
            assert salt is not None, "a prepared day has a salt"
            content = plaintext(leaf)
            hashes.append(commitment(digest, salt, content))
            self._made.append(Made(digest, leaf.day, content))
            number += 1
        self._tree.append(hashes)
        self._ends.append((waiting.sequence, number))

    # --- keeping ----------------------------------------------------------------------------------

    def keep(self, sequence: int) -> dict[str, int]:
        """Make the leaves up to a journal entry durable, before the manifest says so; gives what it is to say.

        Raises EngineError `mdms.*`, `control.*`; what was written then counts for nothing.
        """
        self.take_up()
        with self.lock:
            kept = self._tree.kept
            size = max((end for entry, end in self._ends if entry <= sequence), default=kept)
            self._tree.keep(size)
            made = self._made[: size - kept]
            first = kept
            if made and self._files and files.has_room(self._files[-1]):
                first = self._files[-1].first
                made = read_leaves(self, self._files[-1]) + made
            self._coming = [
                files.write_leaves(self.directory, self.store_id, self._keys, first + start, some)
                for start, some in files.portions(made)
            ]
            return {LEAVES: size, BEGINS: self.begins, IN_TIME: self.in_time}

    def kept(self, counts: dict[str, int], sequence: int) -> None:
        """The manifest has said what `keep` gave."""
        with self.lock:
            size, before, gone = counts[LEAVES], self._tree.kept, list[File]()
            if self._coming:
                first = self._coming[0].first
                gone = [one for one in self._files if one.first >= first]
                self._files = [one for one in self._files if one.first < first] + self._coming
            self._tree.kept_up_to(size)
            del self._made[: size - before]
            self._ends = [one for one in self._ends if one[0] > sequence]
            with contextlib.suppress(
                EngineError
            ):  # the manifest has spoken: what stays is removed at the next start
                files.forget(one.path for one in gone if one.path not in {new.path for new in self._coming})

    def at_rest(self) -> tuple[list[File], Path, int]:
        """(files that hold the kept leaves, the file of the tree, leaves that are kept)."""
        with self.lock:
            return list(self._files), self.directory / "tree", self._tree.kept

    def holds(self, number: int) -> bool:
        """Does the tree hold of a leaf what it is made of? Yes where its file does not open, or its salt is gone."""
        with self.lock:
            file = self._files[bisect_right(self._files, number, key=lambda one: one.first) - 1]
            try:
                made = read_leaves(self, file)[number - file.first]
            except DataError:
                return True
            salt = self.salts.salt(read(made.plaintext).owner, made.day, number)
            held = self._tree.node_at(0, number)
            return salt is None or equal(commitment(made.digest, salt, made.plaintext), held)

    def older(self) -> int:
        """Files that are sealed under another key version than the newest."""
        with self.lock:
            return sum(one.key_version != self._keys.version for one in self._files)

    def seal_again(self) -> int:
        """Seal one older file under the newest key version; how many it moved. Errors as `keep`, and DataError
        `mdms.ledger-damaged` when only damaged ones are left."""
        damage: DataError | None = None
        with self.lock:
            for position, one in enumerate(self._files):
                if one.key_version != self._keys.version:
                    try:
                        made = read_leaves(self, one)
                    except DataError as error:
                        damage = damage or error
                        continue
                    self._files[position] = files.write_leaves(
                        self.directory, self.store_id, self._keys, one.first, made
                    )
                    return 1
        if damage is not None:
            raise damage
        return 0

    def close(self) -> None:
        """Let go of the files; what was answered is in the journal."""
        self._tree.close()

    # --- out --------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Leaves in the tree; what was noted and not yet taken up is not among them."""
        return self._tree.size

    def root(self, size: int) -> bytes:
        """Root over the first `size` leaves. LocalError `crypto.tree` when there are not so many."""
        with self.lock:
            self._within(size)
            return self._tree.root(size)

    def inclusion(self, number: int, size: int) -> tuple[bytes, list[bytes]]:
        """A leaf's hash and its audit path. LocalError `crypto.tree`."""
        with self.lock:
            self._within(size)
            path = merkle.inclusion(number, size, self._tree.node_at)
            return self._tree.node_at(0, number), path

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the tree only grew. LocalError `crypto.tree`."""
        with self.lock:
            self._within(new)
            return merkle.consistency(old, new, self._tree.node_at)

    def nodes(self, first: int, end: int) -> bytes:
        """What the tree holds for leaves first .. end - 1, each followed by what it completes, from the disk where it is
        kept. DataError `mdms.ledger-damaged`."""
        with self.lock:
            return self._tree.nodes(first, end)

    def every(self, size: int) -> Iterator[tuple[int, Made]]:
        """What the first `size` leaves are made of, file by file; nothing is written meanwhile that they would miss.

        DataError `mdms.ledger-damaged` names the file that is not what was stored.
        """
        with self.lock:
            listed, kept, made = list(self._files), self._tree.kept, list(self._made)
        for file in listed:
            yield from enumerate(read_leaves(self, file), file.first)
        yield from enumerate(made[: size - kept], kept)

    def batches(self, size: int) -> Iterator[tuple[int, int, Callable[[], Sequence[Made]]]]:
        """(first, end, how to get them) of the leaves below `size`, a file at a time."""
        with self.lock:
            listed, kept, made = list(self._files), self._tree.kept, list(self._made)
        for file in listed:
            yield file.first, file.end, partial(read_leaves, self, file)
        if size > kept:
            yield kept, size, partial(list, made[: size - kept])

    def recent(self) -> list[tuple[int, Made]]:
        """The leaves that no file holds yet."""
        with self.lock:
            self.take_up()
            return list(enumerate(self._made, self._tree.kept))

    def of(
        self, usage_point: str, first_day: int, last_day: int, size: int
    ) -> Iterator[tuple[int, Made, Leaf]]:
        """The leaves of a usage point in some days, among the first `size`."""
        wanted = usage_point.encode()
        for first, batch in self._of_days(first_day, last_day):
            for number, one in enumerate(batch, first):
                if number < size and first_day <= one.day <= last_day and wanted in one.plaintext:
                    leaf = read(one.plaintext)
                    if leaf.owner == usage_point:
                        yield number, one, leaf

    def _of_days(self, first_day: int, last_day: int) -> Iterator[tuple[int, Sequence[Made]]]:
        """(first, leaves) of the files with leaves of these days, and of memory.

        A compaction may join a file with what came since, and delete it, before it is read: then the new one is.
        """
        at = 0
        while True:
            with self.lock:
                place = bisect_right(self._files, at, key=lambda one: one.first) - 1
                file = self._files[place] if place >= 0 and at < self._files[place].end else None
                kept, made = self._tree.kept, [] if file else list(self._made)
            if file is None:
                yield at, made[at - kept :]
                return
            if file.first_day <= last_day and file.last_day >= first_day:
                try:
                    batch = read_leaves(self, file)
                except DataError:
                    with self.lock:
                        if file in self._files:
                            raise
                    continue
                yield at, batch[at - file.first :]
            at = file.end

    def proven(self, number: int, made: Made, owner: str, size: int) -> Proven | None:
        """A leaf with its salt and audit path; None when its salt was destroyed."""
        with self.lock:
            salt = self.salts.salt(owner, made.day, number)
            if salt is None:
                return None
            return Proven(number, made.digest, salt, made.plaintext, self.inclusion(number, size)[1])

    def destroy(self, usage_point: str, first_day: int, last_day: int) -> bytes | None:
        """Destroy the salts of some days of a usage point; gives the sealed bytes that are gone.

        None, and nothing is destroyed, while a leaf of these days is made anew from the journal at every start: without
        its salt it would come out as another, and the tree would not be the one that was signed.
        """
        with self.lock:
            self.take_up()
            for one in self._made:
                if first_day <= one.day <= last_day and read(one.plaintext).owner == usage_point:
                    return None
            size = self._tree.size
            gone = [
                (number, self._tree.node_at(0, number))
                for number, made, _ in self.of(usage_point, first_day, last_day, size)
                if self.salts.salt(usage_point, made.day, number) is not None
            ]
            said = Statement(usage_point, first_day, last_day, size, len(gone), digest_of(gone))
            return self.salts.destroy(usage_point, first_day, last_day, said)

    def _within(self, size: int) -> None:
        if self._tree.size < size:
            self.take_up()
        if not 0 <= size <= self._tree.size:
            raise LocalError(
                "crypto.tree", f"The ledger has {self._tree.size} leaves, not {size}; ask for fewer."
            )


def without_leaves(counts: dict[str, int]) -> dict[str, int]:
    """The manifest's counts without what is the ledger's."""
    return {name: number for name, number in counts.items() if name not in (LEAVES, BEGINS, IN_TIME)}


def read_leaves(ledger: Ledger, file: File) -> list[Made]:
    """What a file of the ledger holds, from the disk."""
    return files.read_leaves(file, ledger.store_id, ledger._keys)
