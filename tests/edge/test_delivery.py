"""What a meter delivers of a day, and how old a day may be for its closing report."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from meterseal.edge.agent import Item
from meterseal.edge.chip import Freeze
from meterseal.edge.delivery import REPORTED_FOR, DailyOutbox
from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.line import FORWARD, REVERSE, Line
from meterseal.edge.metering.behaviour import behave
from meterseal.edge.metering.counting import born
from meterseal.edge.metering.design import DESIGNS, HOUR
from meterseal.edge.metering.inputs import Measured
from meterseal.edge.nv import MemoryNv
from meterseal.edge.poll import Pace, Riser
from meterseal.edge.water import WaterMeter
from meterseal.headend.saying import BACKLOG, say
from meterseal.model import EXPORT, MAIN
from meterseal.wire.asked import Ask
from meterseal.wire.frame import Frame, parse_frame, parse_frames
from meterseal.wire.meaning import interpret
from tests.edge.field import DAY, SINCE, Counting

WATER = bytes.fromhex("1078330011223301")
POWER = bytes.fromhex("D700003120260001")
BEGIN = SINCE + 8 * HOUR
"""A local midnight of a meter."""


class Glass:
    """A chip that seals nothing: what it is given can be read."""

    def state(self) -> Any:
        return SimpleNamespace(chained={}, kept=())

    def sign(self, freeze: object) -> int:
        return 1

    def seal(self, frames: bytes, now: int) -> Any:
        return frames


@pytest.mark.parametrize(("age", "reports"), [(-DAY, 1), (0, 1), (REPORTED_FOR, 1), (REPORTED_FOR + 1, 0)])
def test_a_day_too_old_for_its_closing_report_goes_as_load_profile_alone(age: int, reports: int) -> None:
    """A single reading stands at its own clock for 35 days; later it would pass for one of today."""
    chip: Any = Glass()
    outbox = DailyOutbox(WaterMeter(WATER, Counting(WATER, 1)), chip, MemoryNv())
    end_at = SINCE + DAY
    body: Any = outbox.seal(Item(("day", end_at), end_at), chip, end_at + age)
    said = [interpret(frame) for frame in parse_frames(body)]
    assert [one.clock_at for one in said if one.interval is None] == [end_at] * reports
    blocks = [one.interval for one in said if one.interval is not None]
    assert [block.channel for block in blocks] == [MAIN, MAIN]
    assert sum(len(block.registers) for block in blocks) == 24
    assert REPORTED_FOR < BACKLOG


class Signing(Glass):
    """It signs as a module counts: one sequence a channel."""

    def __init__(self) -> None:
        self.freezes: list[Freeze] = []

    def sign(self, freeze: Any) -> int:
        self.freezes.append(freeze)
        return sum(one.channel == freeze.channel for one in self.freezes)

    def seal_evidence(self, channel: int, sequence: int, now: int) -> Any:
        return channel, sequence


def two_way(days: int) -> ElectricityMeter:
    """A meter that lived so many days: 0.10 kWh drawn each hour, 0.25 kWh fed in."""
    design = replace(DESIGNS["electricity"], feeds=True)
    state = born(design, BEGIN, (300,))
    for hour in range(1, days * 24 + 1):
        totals = (hour * 100_000, hour * 250_000)
        state = behave(design, state, Measured(totals), BEGIN + hour * HOUR).state
    return ElectricityMeter(POWER, state=state, design=design)


def test_a_two_way_meter_delivers_both_registers_and_has_both_signed() -> None:
    chip: Any = Signing()
    meter = two_way(2)
    outbox = DailyOutbox(meter, chip, MemoryNv())
    day = outbox.next(BEGIN + 2 * DAY)
    assert day is not None
    body: Any = outbox.seal(day, chip, BEGIN + 2 * DAY)
    blocks = [block for frame in parse_frames(body) if (block := interpret(frame).interval) is not None]
    counted = {MAIN: [], EXPORT: []}  # type: dict[int, list[int | None]]
    for block in blocks:
        counted[block.channel] += block.registers
    assert counted[MAIN] == [300 + 10 * hour for hour in range(1, 25)]
    assert counted[EXPORT] == [25 * hour for hour in range(1, 25)]
    assert [(one.channel, one.register) for one in chip.freezes] == [(MAIN, 540), (EXPORT, 600)]
    assert [len(one.readings) for one in chip.freezes] == [24, 24]
    sealed: list[Any] = []
    while (item := outbox.next(BEGIN + 2 * DAY)) is not None:
        sealed.append(outbox.seal(item, chip, BEGIN + 2 * DAY))
    assert [one for one in sealed if isinstance(one, tuple)] == [
        (MAIN, 1),
        (EXPORT, 1),
        (MAIN, 2),
        (EXPORT, 2),
    ]


def test_the_head_end_takes_both_registers_of_an_electricity_meter_and_a_third_of_none() -> None:
    meter = two_way(1)
    found = say(meter.interval_frames(BEGIN, BEGIN + DAY), BEGIN + DAY, vouched=False)
    assert [one.channel for one in found.series] == [MAIN, EXPORT]
    assert {one.unit for one in found.series} == {"kWh"}
    answer = meter.answer_read(*_reverse(), BEGIN + DAY)
    (one,) = say([answer], BEGIN + DAY, vouched=True).series
    assert (one.channel, one.registers) == (EXPORT, (600,))


def _reverse() -> tuple[Frame, Ask]:
    line = Line(POWER, plain=True)
    return line.read_reverse(), Ask(kind="read", di=REVERSE)


@pytest.mark.parametrize(("fed", "kept"), [(600, 2), (0, 1), (None, 1)])
def test_a_plain_meter_is_asked_what_was_fed_in_and_one_without_a_plant_but_once_a_day(
    fed: int | None, kept: int
) -> None:
    line, heard = Line(POWER, plain=True), list[Frame]()
    riser = Riser([line], Pace(plain=HOUR), lambda *_: None, lambda _, frame, now: heard.append(frame))
    meter = two_way(1) if fed else ElectricityMeter(POWER)
    asked = list[int]()
    for now in range(BEGIN + DAY, BEGIN + 2 * DAY + HOUR, HOUR):
        while (request := riser.request(now)) is not None:
            frame, _ = parse_frame(request, 0, "dlt645")
            di = int.from_bytes(frame.data[:4], "little")
            asked.append(di)
            if di == REVERSE and fed is None:
                riser.timeout(now)
            else:
                assert riser.answer(meter.answer_read(frame, Ask(kind="read", di=di), now).encode(), now)
    often = 25 if fed else 2
    assert (asked.count(FORWARD), asked.count(REVERSE)) == (25, often)
    assert len(heard) == (50 if kept == 2 else 25)
    kinds = {name for frame in heard for name in interpret(frame).readings}
    assert kinds == {"forward_active_energy", *(["reverse_active_energy"] if fed else [])}
