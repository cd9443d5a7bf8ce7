"""Station MDMS, all stored rows together: scans of every channel in blocks, and what there is at all.

It reads and remembers; it commits nothing (journal), moves nothing (compactor) and judges nothing (VEE).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import structlog
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.mdms.columns import Columns, Lost, Missed, after
from meterseal.mdms.store.catalogue import Listed
from meterseal.mdms.store.channel import OneChannel
from meterseal.mdms.store.index import CHANNELS, Index, key_of
from meterseal.mdms.store.packing import Ints
from meterseal.mdms.store.recent import joined
from meterseal.mdms.store.rows import EVER, RETRACTED, Key, Rows, sort_rows, together, visible_of_many
from meterseal.mdms.store.segments import Bucket
from meterseal.mdms.store.sources import Memory, Source, blocks, delivered, rows_of_keys
from meterseal.model import MAIN, Medium

BLOCK_ROWS = 1_000_000
"""Rows in a block of a scan, about; one channel may have more."""

log = structlog.get_logger()


class Store(OneChannel):
    """Rows of every version by key and time.

    Reading raises DataError `mdms.segment-damaged` when a segment that it needs is not what was stored, EngineError
    `mdms.disk` when it cannot be read.
    """

    # --- readings in blocks -----------------------------------------------------------------------

    def scan(
        self, medium: Medium, since: int, until: int, missed: Missed | None = None
    ) -> Iterator[tuple[list[Key], Columns]]:
        """The load profile of every channel as meters delivered it, since <= end_at <= until, whole in one block.

        Of each instant the highest version with a value that came from a meter: estimates, edits, doubts and holes do
        not show, nor single readings, nor what was taken back. Blocks have about BLOCK_ROWS rows. What is stored
        meanwhile may be missing.

        Of a channel that lies in a damaged file only what comes after it shows, so that nobody takes what is there and
        cannot be read for a hole; `missed` gets what of it was asked for. Where not even the index of a file opens, these
        are the channels of its usage points that other files know.
        """
        return self._scan(medium, since, until, missed, self.words.code(RETRACTED))

    def shown(
        self, medium: Medium, since: int, until: int, missed: Missed | None = None
    ) -> Iterator[tuple[list[Key], Columns]]:
        """As `scan`, with what came of it: what is in doubt, edited or estimated shows as that, with its quality."""
        return self._scan(medium, since, until, missed, None)

    def _scan(
        self, medium: Medium, since: int, until: int, missed: Missed | None, back: int | None
    ) -> Iterator[tuple[list[Key], Columns]]:
        missed = {} if missed is None else missed
        for here, numbers, closed in self._blocks(medium, since, until):
            found = delivered(here, numbers, since, until, back)
            lost = self._lost_of(numbers, here, closed, since, until)
            if lost:
                found = after(*found, {key: max(one.until for one in of) for key, of in lost.items()})
                missed |= lost
            if found[0]:
                yield found

    def visible(self, medium: Medium, since: int, until: int) -> Iterator[Rows]:
        """Visible readings of every channel with since <= end_at <= until, whole channels in blocks of BLOCK_ROWS stored
        rows. What is stored meanwhile may be missing; what lies in a damaged file raises."""
        for here, numbers, closed in self._blocks(medium, since, until):
            for one in closed:
                self.shelf.index(one.segment)  # says which
            rows = rows_of_keys(here, numbers, (since, until))
            lost = self._lost_of(numbers, here, closed, since, until)
            again = [
                self.rows(key, since, until) for key in lost
            ]  # says which file, or has it when it was restored
            rows = visible_of_many(together([rows, *again]) if again else rows, self.words)
            if len(rows):
                yield rows

    def _blocks(
        self, medium: Medium, since: int, until: int
    ) -> Iterator[tuple[list[Source | Memory], Ints, list[Listed]]]:
        """(what is read, keys of a block, files of which not even the index opens)."""
        with ExitStack() as stack:
            sources, closed, buckets = self._steadily(lambda: self._sources(medium, since, until))
            for one in sources:
                stack.callback(one.close)
            for number in range(buckets):
                bucket = Bucket(number, buckets)
                here = [one for one in sources if isinstance(one, Memory) or one.bucket.holds(number)]
                for numbers in blocks(here, self.words, bucket, BLOCK_ROWS):
                    yield here, numbers, closed

    def _lost_of(
        self, numbers: Ints, sources: list[Source | Memory], closed: list[Listed], since: int, until: int
    ) -> Missed:
        """What of these channels lies in chunks, and in files, that do not open."""
        lost: Missed = {}
        broken = [one.lost for one in sources if isinstance(one, Source) and one.lost]
        if not broken and not closed:
            return lost
        for number in numbers.tolist():
            key = key_of(number)
            text, hashed = self.words.texts[key.point], self.words.hash(key.point)
            of = [one[number] for one in broken if number in one]
            of += [
                Lost(one.first_end_at, one.last_end_at, one.path)
                for one, bucket in closed
                if bucket.holds(hashed) and one.first_usage_point <= text <= one.last_usage_point
            ]
            of = [one for one in of if one.since <= until and one.until >= since]
            if of:
                lost[key] = of
        return lost

    def _sources(
        self, medium: Medium, since: int, until: int
    ) -> tuple[list[Source | Memory], list[Listed], int]:
        """(what is read, files of which not even the index opens, how many buckets they are in)."""
        with self.lock:
            listed = self.catalogue.of(medium, since, until)
            recent = joined(*self.recent.up_to(EVER))
        sources: list[Source | Memory] = []
        closed: list[Listed] = []
        try:
            for one in listed:
                try:
                    sources.append(self._source(one))
                except DataError as error:
                    with self.lock:
                        if one.segment.id not in self.catalogue.segments:
                            raise  # a compaction took it away: `_steadily` asks again
                    log.warning("mdms.scan", code=error.code, message=str(error))
                    closed.append(one)
        except BaseException:
            for source in sources:
                source.close()
            raise
        here = [point for point, of in list(self.words.medium.items()) if of == medium]
        recent = recent[np.isin(recent["point"], here)]
        recent = recent[(recent["end_at"] >= since) & (recent["end_at"] <= until)]
        if len(recent):
            sources.append(Memory(sort_rows(recent, self.words), self.words))
        return sources, closed, max((one.bucket.of for one in listed), default=1)

    def _source(self, one: Listed) -> Source:
        file = self.shelf.file(one.segment)
        try:
            return Source(file, self.shelf.index(one.segment), one.bucket, bears=True)
        except BaseException:
            file.close()
            raise

    # --- what is there at all ---------------------------------------------------------------------

    def oldest(self) -> dict[Key, int]:
        """Every key that has readings, and its first instant; opens the index of every segment.

        A damaged segment is left out here and below, and said in the log.
        """

        def ask() -> tuple[Ints, Ints]:
            parts = [(index.numbers, index.first) for index in self._indices()]
            with self.lock:
                rows = joined(*self.recent.up_to(EVER))
            parts.append(((rows["point"].astype(np.int64) << CHANNELS) | rows["channel"], rows["end_at"]))
            numbers, firsts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
            order = np.lexsort((firsts, numbers))
            found, where = np.unique(numbers[order], return_index=True)
            return found, firsts[order][where]

        numbers, firsts = self._steadily(ask)
        return {key_of(number): at for number, at in zip(numbers.tolist(), firsts.tolist(), strict=True)}

    def keys_stored(self) -> list[Key]:
        """Every key that has readings."""
        return [key_of(number) for number in self.numbers_stored().tolist()]

    def numbers_stored(self) -> Ints:
        """The same as numbers, rising."""

        def ask() -> Ints:
            found = np.unique(np.concatenate([np.empty(0, np.int64), *(i.numbers for i in self._indices())]))
            with self.lock:
                return np.union1d(found, self.recent.numbers())

        return self._steadily(ask)

    def newest(self) -> dict[int, tuple[int, int]]:
        """end_at and receipt of the newest measured reading of the main channel that is in a segment, by word."""

        def ask() -> dict[int, tuple[int, int]]:
            found: dict[int, tuple[int, int]] = {}
            for index in self._indices():
                wanted = np.flatnonzero(
                    ((index.numbers & (1 << CHANNELS) - 1) == MAIN) & (index.newest_at >= 0)
                )
                columns = (
                    index.numbers[wanted] >> CHANNELS,
                    index.newest_at[wanted],
                    index.newest_receipt[wanted],
                )
                for point, at, receipt in zip(*(column.tolist() for column in columns), strict=True):
                    found[point] = max((at, receipt), found.get(point, (-1, 0)))
            return found

        return self._steadily(ask)

    def _indices(self) -> Iterator[Index]:
        """The index of every segment; of one that is damaged nothing, which is said."""
        with self.lock:
            segments = list(self.catalogue.segments.values())
        for segment in segments:
            try:
                yield self.shelf.index(segment)
            except DataError as error:
                with self.lock:
                    if segment.id not in self.catalogue.segments:
                        raise  # a compaction took it away: `_steadily` asks again
                log.warning("mdms.index", code=error.code, message=str(error))

    def touches_all(self, medium: Medium, numbers: Ints, first: Ints, last: Ints) -> NDArray[np.bool_]:
        """The same for many channels of one medium, as numbers of keys, rising. A damaged segment says no, and why."""
        with self.lock:
            touched = self.recent.touches_all(numbers, first, last)
            listed = self.catalogue.of(medium, int(first.min()), int(last.max()))
        for one in listed:
            try:
                index = self.shelf.index(one.segment)
            except DataError as error:
                log.warning("mdms.index", code=error.code, message=str(error))
                continue
            entries = index.find_all(numbers)
            near = (entries >= 0) & (index.first[entries] <= last) & (index.last[entries] >= first) & ~touched
            for at in np.flatnonzero(near).tolist():
                touched[at] = index.touches(int(entries[at]), int(first[at]), int(last[at]))
        return touched
