"""What a concentrator tells of plain meters' clocks: bounds that hold however slow the bus was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.errors import PeerError
from meterseal.headend import clocks
from meterseal.headend.ports import Enrolment
from meterseal.headend.telling import CLOCKS_A_DAY
from meterseal.model import ClockSeen
from meterseal.wire import encode
from meterseal.wire.frame import Frame
from tests.headend.ground import ELECTRIC, MASTER, NOW, WATER, Device, Line
from tests.headend.test_uplink import Ground, Start, start

__all__ = ["start"]

HOUR, MINUTE = 3_600_000, 60_000


def report(
    off: int, at: int = NOW, took: int = 400, agreed: int | None = None, device: bytes = WATER
) -> bytes:
    """The clock was `off` ms ahead between two moments of the concentrator's, the second `at`."""
    asked = at - took
    shown = asked + took // 2 + off
    return encode.clock_report(device, shown, asked, at, asked if agreed is None else agreed).encode()


def begun(start: Start) -> tuple[Ground, Device, Line]:
    """A concentrator with one plain water meter."""
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    ground.platform.enrolled[WATER] = Enrolment(
        device_id=WATER, plain=True, medium="water", concentrator_id=MASTER
    )
    return ground, master, line


async def test_a_clock_that_lags_an_hour_is_committed_with_its_bounds_and_is_an_alarm(start: Start) -> None:
    ground, master, line = begun(start)
    await ground.send(line, master.seal(report(-HOUR, agreed=NOW - 2 * HOUR), vouched=True))
    assert line.acked(master) == {1}
    (batch,) = ground.platform.batches
    ((one,), series, statuses) = batch.opened[0].clocks, batch.opened[0].series, batch.opened[0].statuses
    assert (series, statuses) == ((), ())
    assert (one.device_id, one.since, one.stamps) == (WATER, NOW - 2 * HOUR, True)
    assert one.least <= -HOUR <= one.most
    assert one.most - one.least <= 4_000
    (entry,) = ground.platform.audit
    assert (entry.code, entry.device_id) == ("meter.clock", WATER)
    assert "lags by at least 59 min" in entry.sentence


async def test_a_clock_told_all_day_is_one_alarm_and_no_more_than_is_taken(start: Start) -> None:
    ground, master, line = begun(start)
    for _ in range(CLOCKS_A_DAY + 20):
        await ground.send(line, master.seal(report(HOUR), vouched=True))
    taken = [one for batch in ground.platform.batches for opened in batch.opened for one in opened.clocks]
    assert len(taken) == CLOCKS_A_DAY
    assert [entry.code for entry in ground.platform.audit] == ["meter.clock"]
    assert (
        len(line.acked(master)) == CLOCKS_A_DAY + 20
    )  # what is not taken is not kept at the concentrator for ever


async def test_nobody_tells_of_the_clock_of_a_meter_that_is_not_behind_them(start: Start) -> None:
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    await ground.send(line, master.seal(report(HOUR), vouched=True))
    assert [one.code for one in ground.platform.batches[0].quarantined] == ["link.vouching"]
    assert ground.platform.audit == []


@pytest.mark.parametrize(
    "frame",
    [
        encode.clock_report(WATER, NOW, NOW, NOW - 5_000, NOW - 9_000),
        encode.clock_report(WATER, NOW, NOW - clocks.LONGEST - 5_000, NOW, NOW - HOUR),
        encode.clock_report(WATER, NOW, NOW - 1_000, NOW, NOW + HOUR),
        encode.clock_report(WATER, NOW, NOW + HOUR, NOW + HOUR, NOW + HOUR),
        encode.clock_report(WATER, NOW, NOW - 40 * 24 * HOUR, NOW - 40 * 24 * HOUR, NOW - 40 * 24 * HOUR),
    ],
    ids=["answered before asked", "too long between", "agreed later", "to come", "long ago"],
)
async def test_a_look_at_times_that_cannot_be_is_held_and_said(start: Start, frame: Frame) -> None:
    ground, master, line = begun(start)
    await ground.send(line, master.seal(frame.encode(), vouched=True))
    assert [one.code for one in ground.platform.batches[0].quarantined] == ["wire.clock"]
    with pytest.raises(PeerError, match="times that cannot be"):
        clocks.seen(frame, NOW)


def test_a_look_with_a_time_that_is_no_date_is_refused() -> None:
    frame = encode.clock_report(WATER, NOW, NOW, NOW, NOW)
    broken = Frame(
        frame.protocol,
        frame.meter_type,
        frame.address,
        frame.control,
        frame.data[:3] + b"\x99" * 7 + frame.data[10:],
    )
    with pytest.raises(PeerError, match="no date"):
        clocks.seen(broken, NOW)


@given(
    off=st.integers(-40 * 24 * HOUR, 40 * 24 * HOUR),
    took=st.integers(0, clocks.LONGEST - 1_000),
    part=st.floats(0, 1),
    device=st.sampled_from([WATER, ELECTRIC]),
)
def test_whatever_the_bus_takes_the_bounds_hold_and_nothing_is_claimed_that_is_not_so(
    off: int, took: int, part: float, device: bytes
) -> None:
    asked = NOW - took
    shown = asked + int(took * part) + off
    frame = encode.clock_report(device, shown, asked, NOW, asked)
    assert clocks.is_one(frame)
    one = clocks.seen(frame, NOW)
    assert one.least <= off <= one.most
    assert one.since == one.at
    sure = one.off
    assert abs(sure) <= abs(off)
    assert sure * off >= 0
    assert abs(off) - abs(sure) <= took + 3_000 + (MINUTE if shown // 1_000 % 60 == 0 else 0)


def test_how_far_is_said_in_words() -> None:
    assert clocks.spoken(3_600_000 + 62_000) == "1 h 1 min"
    assert clocks.spoken(0) == "0 s"
    assert "leads by at least 3 min" in clocks.sentence(
        ClockSeen(WATER, NOW, NOW, 180_000, 181_000, stamps=True), MASTER
    )
