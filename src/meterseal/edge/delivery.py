"""Station edge, what a meter delivers: each stored day as one record, and the signed freeze that closes it.

It seals nothing itself and keeps no readings; after a restart it goes on with the first day that is not
acknowledged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Protocol

import msgspec
from msgspec import Struct

from meterseal.edge.agent import Item
from meterseal.edge.chip import Chip, Freeze, Sealed
from meterseal.edge.meter import DAY, HOUR, Meter, MeterState

PAGE, METER = "controller", "meter"
EXPONENT = -2
SEQUENCES = 1 << 32
"""More than a channel has statements."""
REPORTED_FOR = 34 * DAY
"""An older day goes without its closing report: a single reading stands at its own clock for 35 days only, and would
be taken for one of the day it arrives. The load profile ends with the same register, at a time of its own."""


class ControllerState(Struct, frozen=True, array_like=True):
    """What the controller itself keeps: the days acknowledged (all that end at or before `through`, and
    `days`). `meter` is where earlier versions kept the meter's state, which has a page of its own now.
    """

    through: int = 0
    days: tuple[int, ...] = ()
    meter: MeterState | None = None


class Pages(Protocol):
    """Where the controller keeps its page; in a device they are sealed, because states tell use (HM-8.3.3.b)."""

    def read(self, name: str) -> bytes | None:
        """The page, None when there is none."""

    def write(self, pages: Mapping[str, bytes | None]) -> None:
        """Write these pages, all or none."""


class DailyOutbox:
    """The days of one meter, oldest first: a record with the load profile and the report, then its evidence."""

    def __init__(self, meter: Meter, chip: Chip, store: Pages) -> None:
        self._meter = meter
        self._chip = chip
        self._store = store
        page = store.read(PAGE)
        kept = ControllerState() if page is None else msgspec.msgpack.decode(page, type=ControllerState)
        own = store.read(METER)
        if own is not None:
            meter.state = msgspec.msgpack.decode(own, type=MeterState)
        elif kept.meter is not None:
            meter.take_up(kept.meter)
            self.keep()
        meter.keep = self.keep
        self.through = max(kept.through, meter.readings.since)
        self._days = set(kept.days)
        state = chip.state()
        self._signed = {
            channel: max(state.chained.get(channel, 0), meter.readings.since) for channel in meter.profiled
        }
        self._evidence = deque(
            _numbered(one.channel, one.sequence) for one in state.kept if one.channel in meter.profiled
        )
        self._next = self.through

    def next(self, now: int) -> Item | None:
        """Evidence that was signed and not acknowledged, else the next day."""
        if self._evidence:
            number = self._evidence.popleft()
            return Item(("evidence", number), number)
        self._forget_what_is_not_kept()
        while True:
            end_at = self._next + DAY
            if end_at > self._meter.readings.until:
                return None
            self._next = end_at
            if end_at not in self._days:
                return Item(("day", end_at), end_at)
            self._sign_through(end_at)
            if self._evidence:
                return self.next(now)

    def seal(self, item: Item, chip: Chip, now: int) -> Sealed:
        """Seal a day, evidence, or an answer that the controller queued."""
        if isinstance(item.what, bytes):
            return chip.seal(item.what, now)
        assert isinstance(item.what, int)
        if item.key == ("evidence", item.what):
            return chip.seal_evidence(*divmod(item.what, SEQUENCES), now)
        meter, end_at = self._meter, item.what
        frames = meter.interval_frames(end_at - DAY, end_at)
        if meter.clock(now) - end_at <= REPORTED_FOR:
            frames += meter.reports(end_at)
        sealed = chip.seal(b"".join(frame.encode() for frame in frames), now)
        self._sign_through(end_at)
        return sealed

    def done(self, items: list[Item]) -> None:
        """Note the days that need not be sent again."""
        ends = {item.what for item in items if item.key == ("day", item.what)}
        if not ends:
            return
        self._days |= {end_at for end_at in ends if isinstance(end_at, int)}
        while self.through + DAY in self._days:
            self.through += DAY
            self._days.discard(self.through)
        self.save()

    def save(self) -> None:
        """Store the controller's page."""
        state = ControllerState(self.through, tuple(sorted(self._days)))
        self._store.write({PAGE: msgspec.msgpack.encode(state)})

    def keep(self) -> None:
        """Store the meter's state."""
        self._store.write({METER: msgspec.msgpack.encode(self._meter.state)})

    def _forget_what_is_not_kept(self) -> None:
        """After a silence longer than the load profile, the days that it no longer holds are given up."""
        since = self._meter.readings.since
        if since > self._next:
            self._next = since
            self._signed = {channel: max(at, since) for channel, at in self._signed.items()}
        if since > self.through:
            self.through = since
            self._days = {end_at for end_at in self._days if end_at > since}

    def _sign_through(self, end_at: int) -> None:
        """Sign every daily freeze of every channel up to `end_at` that is not signed yet."""
        readings = self._meter.readings
        for channel in self._signed:
            while self._signed[channel] < end_at:
                freeze_at = self._signed[channel] + DAY
                hours = range(self._signed[channel] + HOUR, freeze_at + 1, HOUR)
                stored = ((hour, readings.stored(channel, hour)) for hour in hours)
                sequence = self._chip.sign(
                    Freeze(
                        channel=channel,
                        end_at=freeze_at,
                        register=readings.register(channel, freeze_at),
                        exponent=EXPONENT,
                        unit=self._meter.unit,
                        status=int.from_bytes(self._meter.status_word(freeze_at), "big"),
                        readings=tuple((hour, value) for hour, value in stored if value is not None),
                    )
                )
                self._signed[channel] = freeze_at
                self._evidence.append(_numbered(channel, sequence))


def _numbered(channel: int, sequence: int) -> int:
    """Channel and sequence of a statement as one number."""
    return channel * SEQUENCES + sequence
