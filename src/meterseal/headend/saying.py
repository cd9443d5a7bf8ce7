"""What opened frames say, in the words of the path: series of registers, states of valve and battery.

Pure. It names channels and times; it neither judges values (mdms) nor knows usage points.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from meterseal.errors import PeerError
from meterseal.headend import heats
from meterseal.model import Evidence, HeatSeen, Series, Status, kept_of
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import Meaning, Value, interpret

BACKLOG = 35 * 86_400_000
AHEAD = 15 * 60_000
"""A single reading is taken at the meter's own clock if that is at most 35 days old (the backlog time) and at most
15 minutes ahead, else at the time it was received: plain meters often have no clock, or a wrong one (ADR 0010)."""

UP = 0x80


class Said(Struct, frozen=True):
    """What one record says."""

    series: tuple[Series, ...] = ()
    statuses: tuple[Status, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    heats: tuple[HeatSeen, ...] = ()


def say(frames: Sequence[Frame], received_at: int, *, vouched: bool) -> Said:
    """Series and states of the frames of one record; PeerError when one of them may not be taken.

    `wire.direction`: no good answer; `wire.meaning`: nothing known; `wire.interval`: no unit or no interval;
    `wire.channel`: an interval block of a channel that this meter's medium does not have.
    """
    series: list[Series] = []
    statuses: list[Status] = []
    warm: list[HeatSeen] = []
    for frame in frames:
        meaning = interpret(frame)
        if meaning.direction != "up" or meaning.error:
            raise PeerError("wire.direction", "A frame in the record is no good answer of a meter.")
        if not meaning.recognised and not (vouched and meaning.readings):
            # A module's own meter speaks the profile it was enrolled with; a plain one may shorten its answers.
            raise PeerError(
                "wire.meaning", "A frame in the record has an unknown identifier or is too short."
            )
        series += _series(frame, meaning, received_at)
        at = _taken_at(meaning, received_at)
        if (one := heats.seen(frame.device_id, meaning, at)) is not None:
            warm.append(one)
        if meaning.status is not None:
            state = meaning.status
            statuses.append(Status(frame.device_id, at, state.valve, state.battery_low, state.raw))
    return Said(tuple(series), tuple(statuses), heats=tuple(warm))


def _series(frame: Frame, meaning: Meaning, received_at: int) -> list[Series]:
    block = meaning.interval
    if block is not None:
        if not block.unit or block.step <= 0:
            raise PeerError("wire.interval", "The interval block has an unknown unit or no interval.")
        if block.channel not in kept_of(frame.device_id).values():
            raise PeerError(
                "wire.channel",
                "The interval block is of a channel that a meter of this medium does not have.",
            )
        return [
            Series(
                frame.device_id,
                block.channel,
                block.unit,
                block.exponent,
                block.start_at,
                block.step,
                block.registers,
            )
        ]
    at = _taken_at(meaning, received_at)
    return [
        Series(frame.device_id, channel, value.unit or "", value.exponent, at, 0, (value.register,))
        for name, channel in kept_of(frame.device_id).items()
        if (value := _kept(meaning, name)) is not None
    ]


def _kept(meaning: Meaning, name: str) -> Value | None:
    value = meaning.readings.get(name)
    return value if value is not None and value.register is not None else None


def _taken_at(meaning: Meaning, received_at: int) -> int:
    clock = meaning.frozen_at or meaning.clock_at
    if clock is not None and received_at - BACKLOG <= clock <= received_at + AHEAD:
        return clock
    return received_at
