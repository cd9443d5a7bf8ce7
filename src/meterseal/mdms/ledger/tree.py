"""Station MDMS, the tree at rest: every complete subtree's hash in one file that only grows.

It knows no record and signs nothing; hashes and proofs are `crypto.merkle`'s.

The file holds 32-byte nodes in the order in which they become known: each leaf is followed by the subtrees that it
completes. So n leaves are 2n - popcount(n) nodes, a node's place follows from its level and index, and a batch of leaves
is one write. All of it is hashes under secret salts and lies there in clear. What came since the last `keep` is in
memory; after a crash it is made again from the journal.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from meterseal.crypto import merkle
from meterseal.crypto.symmetric import DIGEST
from meterseal.errors import DataError
from meterseal.mdms.store.files import disk, sync_directory, write_all

_PIECE = DIGEST << 15


def nodes_of(size: int) -> int:
    """Nodes that the first `size` leaves make."""
    return 2 * size - size.bit_count()


def place_of(level: int, index: int) -> int:
    """Where a complete subtree's hash stands among the nodes."""
    last = ((index + 1) << level) - 1
    return nodes_of(last) + level


class Tree:
    """The tree of one store; `size` leaves were kept in `path`. Not thread-safe: the ledger's lock guards it.

    Raises DataError `mdms.ledger-damaged` when the file holds fewer.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self.size = size
        self.kept = size
        """Leaves in the file."""
        self._tail = bytearray()
        with disk(path):
            new = not path.exists()
            self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            if new:
                sync_directory(path.parent)
            length = os.fstat(self._descriptor).st_size
            if length < nodes_of(size) * DIGEST:
                os.close(self._descriptor)
                raise _short(path, size, length)
            if length > nodes_of(size) * DIGEST:  # what a crash left of a compaction
                os.ftruncate(self._descriptor, nodes_of(size) * DIGEST)
        self._peaks = [
            (level, self.node_at(level, (size >> level) - 1)) for level in _ones(size)
        ]  # widest first

    def append(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes."""
        tail, peaks = self._tail, self._peaks
        for value in leaves:
            tail += value
            level = 0
            while peaks and peaks[-1][0] == level:
                value = merkle.node_hash(peaks.pop()[1], value)
                level += 1
                tail += value
            peaks.append((level, value))
            self.size += 1

    def node_at(self, level: int, index: int) -> bytes:
        """Hash of a complete subtree. EngineError `mdms.disk`, DataError `mdms.ledger-damaged`."""
        position = place_of(level, index)
        ahead = position - nodes_of(self.kept)
        if ahead >= 0:
            return bytes(self._tail[ahead * DIGEST : (ahead + 1) * DIGEST])
        with disk(self._path):
            found = os.pread(self._descriptor, DIGEST, position * DIGEST)
        if len(found) != DIGEST:
            raise _short(self._path, self.kept, position * DIGEST + len(found))
        return found

    def nodes(self, first: int, end: int) -> bytes:
        """The nodes of leaves first .. end - 1, each leaf followed by the subtrees that it completes. Errors as
        `node_at`."""
        begin, until, kept = (nodes_of(one) * DIGEST for one in (first, end, self.kept))
        found = b""
        if begin < kept:
            with disk(self._path):
                found = os.pread(self._descriptor, min(until, kept) - begin, begin)
            if len(found) != min(until, kept) - begin:
                raise _short(self._path, self.kept, begin + len(found))
        return found + bytes(self._tail[max(begin - kept, 0) : max(until - kept, 0)])

    def root(self, size: int) -> bytes:
        """Root over the first `size` leaves."""
        return merkle.root(size, self.node_at)

    def keep(self, size: int) -> None:
        """Make the first `size` leaves durable; they stay in memory until `kept_up_to`. EngineError `mdms.*`."""
        with disk(self._path):
            begin = nodes_of(self.kept) * DIGEST
            os.lseek(self._descriptor, begin, os.SEEK_SET)
            write_all(self._descriptor, bytes(self._tail[: nodes_of(size) * DIGEST - begin]))
            os.fdatasync(self._descriptor)

    def kept_up_to(self, size: int) -> None:
        """The first `size` leaves count as kept: forget them in memory."""
        del self._tail[: (nodes_of(size) - nodes_of(self.kept)) * DIGEST]
        self.kept = size

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


class TreeFile:
    """The file of a tree of `kept` leaves, read from front to back and hashed anew; memory for one piece of it.

    `run` gives the leaves (first, end) over which a hash stands that is not theirs, `root` is then that of the first
    `size` leaves, by the hashes of leaves alone. EngineError `mdms.disk`.
    """

    def __init__(self, path: Path, kept: int, size: int) -> None:
        self._path = path
        self._kept = kept
        self._size = size
        self.root = merkle.EMPTY

    def run(self) -> Iterator[tuple[int, int]]:
        """Go through it once."""
        nodes = self._nodes()
        peaks: list[tuple[int, bytes]] = []
        sound: list[tuple[int, bytes]] = []
        for number in range(self._kept):
            value = true = next(nodes)
            level = 0
            while peaks and peaks[-1][0] == level:
                computed = merkle.node_hash(peaks.pop()[1], value)
                true = merkle.node_hash(sound.pop()[1], true)
                level += 1
                value = next(nodes)  # from here on what stands there: what it is wrong about is said once
                if value != computed:
                    yield number + 1 - (1 << level), number + 1
            peaks.append((level, value))
            sound.append((level, true))
            if number + 1 == self._size:
                self.root = _joined(sound)

    def _nodes(self) -> Iterator[bytes]:
        with disk(self._path), self._path.open("rb") as file:
            while piece := file.read(_PIECE):
                for start in range(0, len(piece) - DIGEST + 1, DIGEST):
                    yield piece[start : start + DIGEST]


def _joined(peaks: list[tuple[int, bytes]]) -> bytes:
    value = peaks[-1][1]
    for _, left in peaks[-2::-1]:
        value = merkle.node_hash(left, value)
    return value


def _ones(size: int) -> list[int]:
    """Levels of the complete subtrees that a tree is made of, widest first."""
    return [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]


def _short(path: Path, size: int, length: int) -> DataError:
    return DataError(
        "mdms.ledger-damaged",
        f"{path} has {length} bytes and should hold the tree of {size} leaves: its end was cut off. Restore it from a "
        "backup; nothing was changed.",
    )
