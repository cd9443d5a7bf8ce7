"""Station edge, what a concentrator holds: answers of plain meters, sealed and durable until their record is acknowledged.

It asks no meter and opens nothing. What it holds is bounded by number and by age; what is dropped is counted.

An answer without a clock of its own would be taken for one of the moment at which it arrives, a week later perhaps. So it
goes up as an interval block (LINK section 4) of its one register at the time at which it was read, where the
concentrator's clock was known good then (`at`); else as it came.
"""

from __future__ import annotations

from collections import deque

from meterseal.crypto.symmetric import sm3
from meterseal.edge.agent import Item
from meterseal.edge.chip import Chip, Sealed
from meterseal.edge.nv import SealedNv
from meterseal.errors import LocalError
from meterseal.model import HEAT_VOLUME, MAIN, medium_of
from meterseal.units import unit_code
from meterseal.wire import encode
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.meaning import interpret

HELD, SEEN = "held/", "seen/"
MOST_HELD = 750_000
"""Answers: 1,000 meters read every hour for 30 days."""
KEPT = 30 * 86_400_000
BACKLOG, AHEAD = 35 * 86_400_000, 15 * 60_000
"""Within these a reading stands at the meter's own clock (ADR 0010)."""
STEP = 60
"""Minutes that a block of one register names; its register is at the block's start whatever they are."""
CHANNELS = {
    "electricity": {"forward_active_energy": MAIN},
    "heat": {"cumulative_energy": MAIN, "cumulative_volume": HEAT_VOLUME},
}
"""Readings that the platform keeps, by medium; of all others the volume."""
HEAD = 9
"""Bytes before the frame: when it came, and whether it is to be stated at that time."""


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
        self._seen: dict[bytes, tuple[str, bytes]] = {}
        self._load_seen([name for name in names if name.startswith(SEEN)])

    def _load_seen(self, names: list[str]) -> None:
        """The last answer of each meter. Pages of earlier versions bore the meter's number as their name, in clear."""
        older: dict[str, bytes | None] = {}
        for name in names:
            page = self._store.read(name) or b""
            if len(page) == 40:
                self._seen[page[:8]] = name, page[8:]
            else:
                older[name] = page
        for name, digest in list(older.items()):
            device_id, own = bytes.fromhex(name[len(SEEN) :]), f"{SEEN}n{len(self._seen)}"
            self._seen[device_id] = own, digest or b""
            older |= {own: device_id + (digest or b""), name: None}
        if older:
            self._store.write(older)

    def __len__(self) -> int:
        return len(self._held)

    def take(self, device_id: bytes, frame: Frame, now: int, *, timed: bool = False) -> None:
        """Keep an answer. `timed`: the concentrator's clock is known good. One with the same bytes as the last of this
        meter says nothing new, unless it can be stated at a time of its own.
        """
        raw = frame.encode()
        stated = timed and not has_time(frame, now) and bool(blocks(frame, now))
        name, last = self._seen.get(device_id, (f"{SEEN}n{len(self._seen)}", b""))
        digest = sm3(raw)
        if last == digest and not stated:
            return
        self.expire(now)
        while len(self._held) >= self._most and self._waiting:
            self._drop()
        if len(self._held) >= self._most:
            self.dropped += 1
            return
        page = now.to_bytes(8, "big") + bytes((stated,)) + raw
        self._store.write({f"{HELD}{self._number:012x}": page, name: device_id + digest})
        self._seen[device_id] = name, digest
        self._held.add(self._number)
        self._waiting.append(self._number)
        self._number += 1

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

    def seal(self, item: Item, chip: Chip, now: int) -> Sealed:
        """A vouched record of one answer."""
        page = self._store.read(str(item.key))
        assert page is not None
        if page[:1] == b"\x68":  # of an earlier version, which knew no times
            return chip.seal(page, now, vouched=True)
        raw = page[HEAD:]
        if page[8]:
            raw = blocks(parse_frame(raw)[0], int.from_bytes(page[:8], "big"))
        return chip.seal(raw, now, vouched=True)

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


def blocks(frame: Frame, at: int) -> bytes:
    """The kept registers of an answer as interval blocks of one reading each, at that time to the second; b"" where
    they cannot be stated so.
    """
    readings = interpret(frame).readings
    found = b""
    for name, channel in CHANNELS.get(medium_of(frame.device_id) or "", {"cumulative_volume": MAIN}).items():
        value = readings.get(name)
        if value is None or value.register is None:
            continue
        try:
            block = encode.interval_block(
                frame.device_id,
                start_at=at - at % 1_000,
                step_minutes=STEP,
                channel=channel,
                unit=unit_code(value.unit or ""),
                registers=[value.register],
            )
        except (KeyError, LocalError):
            return b""
        said = interpret(block).interval
        if said is None or (said.unit, said.exponent, said.registers) != (
            value.unit,
            value.exponent,
            (value.register,),
        ):
            return b""
        found += block.encode()
    return found
