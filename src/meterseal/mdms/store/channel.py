"""Station MDMS, what is stored of one channel: every version of its rows, and what came when.

It opens what it needs of the segments and nothing else; it scans no fleet (store) and judges nothing (VEE).
"""

from __future__ import annotations

from meterseal.errors import DataError
from meterseal.mdms.columns import Lost
from meterseal.mdms.store.held import Held
from meterseal.mdms.store.rows import (
    EVER,
    RETRACTED,
    Block,
    Key,
    Readings,
    Rows,
    hash_of,
    pick,
    readings_of,
    rows_of,
    standing,
    together,
    visible,
)
from meterseal.mdms.store.segments import Segment
from meterseal.mdms.store.shelf import NO_ROWS
from meterseal.model import Quality


class OneChannel(Held):
    """What is asked of one channel, or one usage point."""

    # --- readings ---------------------------------------------------------------------------------

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

    # --- what came when and where -----------------------------------------------------------------

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
