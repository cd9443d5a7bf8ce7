"""Station edge, what a concentrator holds: answers of plain meters, sealed and durable until their record is acknowledged.

It asks no meter and opens nothing. What it holds is bounded by number and by age; what is dropped is counted.

An answer without a clock of its own would be taken for one of the moment at which it arrives, a week later perhaps. So it
goes up as an interval block (LINK section 4) of its one register at the time at which it was read, where the
concentrator's clock was known good then (`at`); else as it came.
"""

from __future__ import annotations

from collections import deque

from msgspec.structs import replace

from meterseal.crypto.symmetric import sm3
from meterseal.edge.agent import Item
from meterseal.edge.chip import Chip, Sealed, fits
from meterseal.edge.marks import SEEN, Mark, Marks
from meterseal.edge.nv import SealedNv
from meterseal.edge.restating import blocks
from meterseal.errors import PeerError
from meterseal.wire.frame import Frame, parse_frame, parse_frames
from meterseal.wire.meaning import interpret

HELD = "held/"
MOST_HELD = 750_000
"""Answers: 1,000 meters read every hour for 30 days."""
KEPT = 30 * 86_400_000
BACKLOG, AHEAD = 35 * 86_400_000, 15 * 60_000
"""Within these a reading stands at the meter's own clock (ADR 0010)."""
HEAD = 9
"""Bytes before the frame: when it came, and what is done with it."""
AS_CAME, STATED, READY = 0, 1, 2
"""It is sealed as it came; restated at the time at which it came; ready: frames that say their times themselves."""
FRAMES_A_RECORD = 8
"""Blocks in one record of what was read back; a record takes 4096 bytes."""


class HeldAnswers:
    """The outbox of the concentrator's own module. Each method that takes `now` takes Unix ms."""

    def __init__(self, store: SealedNv, *, most: int = MOST_HELD, kept: int = KEPT) -> None:
        self._store = store
        self._most, self._kept = most, kept
        names = store.names()
        numbers = [int(name[len(HELD) :], 16) for name in names if name.startswith(HELD)]
        self._waiting = deque(numbers)
        self._held = set(numbers)
        self._number = numbers[-1] + 1 if numbers else 1
        self._oldest: tuple[int, int] = 0, 0
        self.dropped = 0
        """Answers that were too old or too many, since the start."""
        self.marks = Marks(store, [name for name in names if name.startswith(SEEN)])

    def __len__(self) -> int:
        return len(self._held)

    def take(
        self, device_id: bytes, frame: Frame, now: int, *, timed: bool = False, expected: int = 0
    ) -> None:
        """Keep an answer. `timed`: the concentrator's clock is known good. One with the same bytes as the last of this
        meter says nothing new, unless it can be stated at a time of its own.

        Where the last one came longer than `expected` ms ago (0: nobody says how long), what the meter froze since then
        was missed, and the mark says so from the moment at which this answer is held.
        """
        raw = frame.encode()
        stated = timed and not has_time(frame, now) and bool(blocks(frame, now))
        before = self.marks[device_id]
        mark = replace(before, digest=sm3(raw), read_at=now if timed else before.read_at)
        if timed and expected and before.read_at and now - before.read_at > expected:
            # To the second, as this answer may be stated: the freeze of that instant says the same.
            mark = replace(mark, since=before.since or before.read_at, until=now - now % 1_000)
        if mark.digest == before.digest and not stated:
            if mark != before:
                self.note(device_id, mark)
            return
        name, marked = self.marks.page(device_id, mark)
        page = now.to_bytes(8, "big") + bytes((STATED if stated else AS_CAME,)) + raw
        if self._hold([page], now, {name: marked}):
            self.marks.put(device_id, mark)

    def take_back(self, device_id: bytes, frames: list[Frame], now: int) -> None:
        """Keep what a meter gave of what was missed, and note in the same write that nothing is missed any more."""
        mark = replace(self.marks[device_id], since=0, until=0)
        name, page = self.marks.page(device_id, mark)
        if self.hold(frames, now, beside={name: page}):
            self.marks.put(device_id, mark)

    def hold(self, frames: list[Frame], now: int, *, beside: dict[str, bytes]) -> bool:
        """Keep frames that say their times themselves, and write pages `beside` them: all of it, or nothing and False."""
        lead = now.to_bytes(8, "big") + bytes((READY,))
        pages = [
            lead + b"".join(frame.encode() for frame in frames[at : at + FRAMES_A_RECORD])
            for at in range(0, len(frames), FRAMES_A_RECORD)
        ]
        return self._hold(pages, now, beside)

    def note(self, device_id: bytes, mark: Mark) -> None:
        """Change a meter's mark and nothing else."""
        name, page = self.marks.page(device_id, mark)
        self._store.write({name: page})
        self.marks.put(device_id, mark)

    def _hold(self, pages: list[bytes], now: int, beside: dict[str, bytes]) -> bool:
        """Make room for pages, then write them and what belongs to them, all or nothing."""
        self.expire(now)
        while len(self._held) + len(pages) > self._most and self._waiting:
            self._drop()
        if len(self._held) + len(pages) > self._most:
            self.dropped += len(pages)
            return False
        numbers = range(self._number, self._number + len(pages))
        written = {f"{HELD}{number:012x}": page for number, page in zip(numbers, pages, strict=True)}
        self._store.write({**written, **beside})
        self._held.update(numbers)
        self._waiting.extend(numbers)
        self._number += len(pages)
        return True

    def expire(self, now: int) -> None:
        """Drop what has waited too long."""
        while self._waiting:
            number = self._waiting[0]
            if self._oldest[0] != number:
                page = self._store.read(f"{HELD}{number:012x}") or b""
                self._oldest = number, now if page[:1] == b"\x68" else int.from_bytes(page[:8], "big")
            if now - self._oldest[1] <= self._kept:
                return
            self._drop()

    def _drop(self) -> None:
        number = self._waiting.popleft()
        self._store.write({f"{HELD}{number:012x}": None})
        self._held.discard(number)
        self.dropped += 1

    def next(self, now: int) -> Item | None:
        """The oldest answer that was not handed out."""
        self.expire(now)
        if not self._waiting:
            return None
        number = self._waiting.popleft()
        return Item(f"{HELD}{number:012x}", number)

    def seal(self, item: Item, chip: Chip, now: int) -> Sealed | None:
        """A vouched record of one answer, or of some of what was read back; or of what a meter said to a word. None where a
        meter said more than a record takes: refused each time, it would hold up all others for good.
        """
        raw = self._raw(item)
        try:
            good = all(fits(frame) for frame in parse_frames(raw))
        except PeerError:
            good = False
        if not good:
            self.dropped += 1
            return None
        return chip.seal(raw, now, vouched=True)

    def _raw(self, item: Item) -> bytes:
        if isinstance(item.what, bytes):
            return item.what
        page = self._store.read(str(item.key))
        assert page is not None
        if page[:1] == b"\x68":  # of an earlier version, which knew no times
            return page
        raw = page[HEAD:]
        return blocks(parse_frame(raw)[0], int.from_bytes(page[:8], "big")) if page[8] == STATED else raw

    def done(self, items: list[Item]) -> None:
        """Forget answers that are committed, or lie in quarantine."""
        there = [item for item in items if item.what in self._held]
        if there:
            self._store.write({str(item.key): None for item in there})
            self._held.difference_update(int(str(item.what)) for item in there)


def has_time(frame: Frame, now: int) -> bool:
    """Whether the platform would take an answer at the meter's own clock."""
    meaning = interpret(frame)
    at = meaning.frozen_at or meaning.clock_at
    return at is not None and now - BACKLOG <= at <= now + AHEAD
