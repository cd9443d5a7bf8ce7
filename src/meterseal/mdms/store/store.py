"""Station MDMS, all stored rows together: recent ones in memory, and segments of which only what is asked for is opened.

It reads and remembers; it commits nothing (journal), moves nothing (compactor) and judges nothing (VEE).

A start opens no segment. Memory is bounded: recent rows by compaction, opened indices and chunks by the shelf. What
grows with the fleet is the words (about 300 bytes a usage point) and one index entry (about 110 bytes) for every
channel in the segments that are being asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import RLock
from typing import TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, TrustError
from meterseal.mdms.columns import Columns, Lost, Missed, after
from meterseal.mdms.store.catalogue import Catalogue, Listed
from meterseal.mdms.store.index import CHANNELS, Index, key_of
from meterseal.mdms.store.packing import Ints
from meterseal.mdms.store.recent import Part, Recent, joined
from meterseal.mdms.store.rows import (
    EVER,
    RETRACTED,
    Block,
    Key,
    Readings,
    Rows,
    Words,
    hash_of,
    pick,
    readings_of,
    rows_of,
    sort_rows,
    standing,
    together,
    visible,
    visible_of_many,
)
from meterseal.mdms.store.segments import Bucket, Segment
from meterseal.mdms.store.shelf import NO_ROWS, Shelf
from meterseal.mdms.store.sources import Memory, Source, blocks, delivered, rows_of_keys
from meterseal.model import MAIN, Medium, Quality

BLOCK_ROWS = 1_000_000
"""Rows in a block of a scan, about; one channel may have more."""

Answer = TypeVar("Answer")
log = structlog.get_logger()


class Store:
    """Rows of every version by key and time. Every method may be called from any thread; `lock` guards what changes.

    Reading raises DataError `mdms.segment-damaged` when a segment that it needs is not what was stored, EngineError
    `mdms.disk` when it cannot be read.
    """

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

    # --- what is there ----------------------------------------------------------------------------

    def rows(self, key: Key, since: int, until: int) -> Rows:
        """Every version with since <= end_at <= until, in no particular order."""
        return self._steadily(lambda: self._rows(key, since, until))

    def _rows(self, key: Key, since: int, until: int) -> Rows:
        with self.lock:
            parts = [rows_of(self.recent.blocks(key, since, until)), *self.recent.parts(key, since, until)]
            segments = self._holding(key, since, until)
        parts += [self.shelf.rows(segment, key, since, until) for segment in segments]
        return _within(together(parts), since, until)

    def readable(self, key: Key, since: int, until: int) -> tuple[Rows, list[Lost]]:
        """The same as far as files open, and what of it lies in those that do not.

        Where not even the index of a file opens, the channel may have readings in all of the file's time.
        """
        while True:
            lost: list[Lost] = []
            with self.lock:
                parts = [
                    rows_of(self.recent.blocks(key, since, until)),
                    *self.recent.parts(key, since, until),
                ]
                segments = self._holding(key, since, until)
            for segment in segments:
                try:
                    parts.append(self.shelf.rows(segment, key, since, until))
                except DataError:
                    lost += self._lost(segment, key)
            with self.lock:
                if lost and any(one.id not in self.catalogue.segments for one in segments):
                    continue  # a compaction took one away in the middle
            return _within(together(parts), since, until), lost

    def _lost(self, segment: Segment, key: Key) -> list[Lost]:
        text = self.words.texts[key.point]
        first, last = segment.first_end_at, segment.last_end_at
        try:
            index = self.shelf.index(segment)
            entry = index.find(key)
            assert entry is not None, "only a channel that is in a chunk can be lost with it"
            first, last = int(index.first[entry]), int(index.last[entry])
        except DataError:
            if not segment.first_usage_point <= text <= segment.last_usage_point:
                return []
        return [Lost(first, last, segment.path)]

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

    def readings(
        self, usage_point: str, channel: int, since: int, until: int, as_of: int | None, entry: int = EVER
    ) -> Readings:
        """Visible readings with since <= end_at <= until, by the versions recorded up to `as_of` and stored with journal
        entries up to `entry`.
        """
        point = self._point(usage_point, since, until)
        rows = NO_ROWS if point is None else self.rows(Key(point, channel), since, until)
        if (rows["batch"] > entry).any():
            rows = pick(rows, rows["batch"] <= entry)
        return readings_of(visible(rows, as_of), self.words)

    def key(self, usage_point: str, channel: int, since: int, until: int) -> Key | None:
        """What a channel is known by in memory; None where nothing is stored of its usage point in this time."""
        point = self._point(usage_point, since, until)
        return None if point is None else Key(point, channel)

    def _point(self, usage_point: str, since: int, until: int) -> int | None:
        """The word of a usage point; after a start only indices know it, of which those in question are opened."""

        def ask() -> int | None:
            with self.lock:
                wanted = [
                    segment
                    for medium in self.catalogue.media()
                    for segment in self.catalogue.holding(medium, hash_of(usage_point), since, until)
                    if segment.first_usage_point <= usage_point <= segment.last_usage_point
                ]
            for segment in wanted:
                if self.shelf.index(segment).names(usage_point):
                    found = self.words.code(usage_point)
                    self.words.medium[found] = segment.medium
                    return found
            return None

        point = self.words.known(usage_point)
        return point if point is not None and point in self.words.medium else self._steadily(ask)

    def profile(self, key: Key, after: int, until: int) -> tuple[list[int], list[int]]:
        """Times and registers of the load profile as the meter delivered it, after < end_at <= until, in
        order."""
        with self.lock:
            segments = [] if after >= until else self._holding(key, after + 1, until)
            if not segments and not self.recent.parts(key, after + 1, until):
                near = self.recent.blocks(key, after + 1, until)
                found = [b for b in near if b.profile and not b.method]
                back = self.words.known(RETRACTED)
                if all(b.quality != Quality.MISSING for b in found) and all(b.method != back for b in near):
                    return _delivered(found, after, until)
        rows = standing(self.rows(key, after + 1, until), self.words)
        rows = pick(rows, rows["profile"] & (rows["method"] == 0) & (rows["quality"] != Quality.MISSING))
        rows = visible(rows)
        return rows["end_at"].tolist(), rows["register"].tolist()

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
        missed = {} if missed is None else missed
        for here, numbers, closed in self._blocks(medium, since, until):
            found = delivered(here, numbers, since, until, self.words.code(RETRACTED))
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

    def came_by(self, key: Key, entry: int) -> bool:
        """Is there a reading of a channel that came with an entry up to `entry`? Yes where a file does not open."""

        def ask() -> bool:
            with self.lock:
                if any(block.batch <= entry for block in self.recent.blocks(key, 0, EVER)):
                    return True
                if any((rows["batch"] <= entry).any() for rows in self.recent.parts(key, 0, EVER)):
                    return True
                segments = self._holding(key, 0, EVER)
            return any(
                one.journal_last <= entry or (self.shelf.rows(one, key, 0, EVER)["batch"] <= entry).any()
                for one in segments
                if self.shelf.index(one).find(key) is not None
            )

        try:
            return self._steadily(ask)
        except DataError:
            return True

    def came_after(self, key: Key, since: int, until: int, entry: int) -> set[int]:
        """Instants of since <= end_at <= until at which a version came with a journal entry after `entry`."""

        def ask() -> set[int]:
            with self.lock:
                blocks = [one for one in self.recent.blocks(key, since, until) if one.batch > entry]
                parts = [rows_of(blocks), *self.recent.parts(key, since, until)]
                segments = self._holding(key, since, until)
            later = (one for one in segments if one.journal_last > entry)
            parts += [self.shelf.rows(one, key, since, until) for one in later]
            rows = _within(together(parts), since, until)
            return set(rows["end_at"][rows["batch"] > entry].tolist())

        return self._steadily(ask)

    # --- what comes -------------------------------------------------------------------------------

    def touches(self, key: Key, first: int, last: int) -> bool:
        """Can there be readings of a channel in [first, last]? Never wrong when it says no."""
        with self.lock:
            if self.recent.touches(key, first, last):
                return True
            segments = self._holding(key, first, last)
        for segment in segments:
            index = self.shelf.index(segment)
            entry = index.find(key)
            if entry is not None and index.touches(entry, first, last):
                return True
        return False

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


def _within(rows: Rows, since: int, until: int) -> Rows:
    within = (rows["end_at"] >= since) & (rows["end_at"] <= until)
    return rows if within.all() else pick(rows, within)


def _delivered(found: list[Block], after: int, until: int) -> tuple[list[int], list[int]]:
    registers: dict[int, int] = {}
    for block in sorted(found, key=lambda b: b.version):
        times = range(
            block.start_at, block.start_at + (block.step or 1) * len(block.registers), block.step or 1
        )
        registers.update(zip(times, block.registers, strict=True))
    times_in = sorted(at for at in registers if after < at <= until)
    return times_in, [registers[at] for at in times_in]
