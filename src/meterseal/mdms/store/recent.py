"""Station MDMS, what is not yet in segments: blocks that records brought, and parts that came as columns.

It commits nothing; all of it stands in the journal. Not thread-safe: callers hold the store's lock. It is bounded by
how often the compactor takes it away.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from meterseal.mdms.store.coverage import Coverage
from meterseal.mdms.store.index import CHANNELS, key_of, number_of
from meterseal.mdms.store.packing import Ints
from meterseal.mdms.store.rows import Block, Key, Rows, rows_of, together


class Part:
    """Rows of one journal entry, sorted by (usage point as a word, channel, end_at, version)."""

    def __init__(self, rows: Rows) -> None:
        numbers = (rows["point"].astype(np.int64) << CHANNELS) | rows["channel"]
        begins = np.append(0, np.flatnonzero(numbers[1:] != numbers[:-1]) + 1)
        self.rows = rows
        self.batch = int(rows["batch"][0])
        self.numbers: Ints = numbers[begins]
        self.row: Ints = np.append(begins, len(rows))
        self.first: Ints = rows["end_at"][begins].astype(np.int64)
        self.last: Ints = rows["end_at"][self.row[1:] - 1].astype(np.int64)
        self.earliest, self.latest = int(self.first.min()), int(self.last.max())

    def of(self, number: int, since: int, until: int) -> Rows | None:
        """Rows of one channel with since <= end_at <= until; None for none."""
        if self.earliest > until or self.latest < since:
            return None
        at = int(np.searchsorted(self.numbers, number))
        if at == len(self.numbers) or self.numbers[at] != number:
            return None
        rows = self.rows[self.row[at] : self.row[at + 1]]
        # They rise, and so do those of one instant with several versions.
        first, last = np.searchsorted(rows["end_at"], (since, until + 1)).tolist()
        return rows[first:last] if first < last else None


class Recent:
    """Rows by key and time, of every version."""

    def __init__(self) -> None:
        self.rows = 0
        """How many there are."""
        self._packed = 0
        self._blocks: dict[Key, list[Block]] = {}
        self._covered: dict[Key, Coverage] = {}
        self._parts: list[Part] = []

    @property
    def weight(self) -> int:
        """Rows as blocks of records cost memory; those that came as columns cost an eighth."""
        return self.rows - self._packed + self._packed // 8

    def add(self, block: Block) -> None:
        """Take a block in."""
        self._blocks.setdefault(block.key, []).append(block)
        self.rows += len(block.registers)
        self._cover(block)

    def add_part(self, part: Part) -> None:
        """Take in rows that came together as columns."""
        self._parts.append(part)
        self._packed += len(part.rows)
        self.rows += len(part.rows)

    def blocks(self, key: Key, since: int, until: int) -> list[Block]:
        """Blocks of a channel that reach into [since, until]."""
        return [b for b in self._blocks.get(key, ()) if b.start_at <= until and b.last_at >= since]

    def parts(self, key: Key, since: int, until: int) -> list[Rows]:
        """Rows of a channel that came in parts, with since <= end_at <= until."""
        number = number_of(key)
        return [rows for part in self._parts if (rows := part.of(number, since, until)) is not None]

    def touches(self, key: Key, first: int, last: int) -> bool:
        """Can there be readings of a channel in [first, last]? Never wrong when it says no."""
        covered = self._covered.get(key)
        if covered is not None and covered.touches(first, last):
            return True
        return bool(self._parts) and bool(self.parts(key, first, last))

    def touches_all(
        self, numbers: Ints, first: Ints, last: Ints
    ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """The same for many channels at once; `numbers` of keys, rising."""
        touched = np.zeros(len(numbers), np.bool_)
        earliest, latest = int(first.min()), int(last.max())
        for part in self._parts:
            if part.earliest > latest or part.latest < earliest:
                continue
            if part.numbers[0] > numbers[-1] or part.numbers[-1] < numbers[0]:
                continue
            at = np.minimum(np.searchsorted(part.numbers, numbers), len(part.numbers) - 1)
            touched |= (part.numbers[at] == numbers) & (part.first[at] <= last) & (part.last[at] >= first)
        if self._covered:
            for place in np.flatnonzero(~touched).tolist():
                covered = self._covered.get(key_of(int(numbers[place])))
                touched[place] = covered is not None and covered.touches(int(first[place]), int(last[place]))
        return touched

    def numbers(self) -> Ints:
        """Numbers of all keys, some of them more than once."""
        blocks = np.fromiter(map(number_of, self._blocks), np.int64, len(self._blocks))
        return np.concatenate([blocks, *(part.numbers for part in self._parts)])

    def up_to(self, sequence: int) -> tuple[list[Block], list[Part]]:
        """What came with journal entries up to `sequence`."""
        blocks = [b for blocks in self._blocks.values() for b in blocks if b.batch <= sequence]
        return blocks, [part for part in self._parts if part.batch <= sequence]

    def forget(self, sequence: int) -> None:
        """All of that is in segments now."""
        for key in list(self._blocks):
            kept = [block for block in self._blocks[key] if block.batch > sequence]
            del self._covered[key]
            if kept:
                self._blocks[key] = kept
                for block in kept:
                    self._cover(block)
            else:
                del self._blocks[key]
        self._parts = [part for part in self._parts if part.batch > sequence]
        self.rows = sum(len(block.registers) for blocks in self._blocks.values() for block in blocks)
        self._packed = sum(len(part.rows) for part in self._parts)
        self.rows += self._packed

    def _cover(self, block: Block) -> None:
        coverage = self._covered.setdefault(block.key, Coverage())
        if not coverage.touches(block.start_at, block.last_at):
            coverage.add(block.start_at, block.last_at, block.step if len(block.registers) > 1 else 0)
        elif len(block.registers) > 1:
            for at in range(block.start_at, block.last_at + 1, block.step):
                if not coverage.touches(at, at):
                    coverage.add(at, at, 0)


def joined(blocks: Iterable[Block], parts: Iterable[Part]) -> Rows:
    """The rows of both, in no order."""
    return together([rows_of(list(blocks)), *(part.rows for part in parts)])
