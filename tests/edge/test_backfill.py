"""Back-fill: freezes missed in an outage of the concentrator, the bus or a meter come once, true, and disturb nothing."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from msgspec.structs import replace

from meterseal.edge.clocks import Clocks
from meterseal.edge.marks import SEEN
from meterseal.edge.node import Node
from meterseal.edge.schedule import DAY, MINUTE, Schedule
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.meaning import interpret
from meterseal.wire.profile import profiles
from tests.edge.site import HOUR, Alive, Site

WATER, GAS, HEAT, POWER, OLD_POWER = (
    bytes.fromhex(one)
    for one in (
        "1078330000000001",
        "3078330000000002",
        "2078330000000003",
        "d700003100000004",
        "d700003100000005",
    )
)
OFTEN = Schedule(every_minutes=15)
DAILY = Schedule(every_minutes=0, at=("00:10",))


class Building(Site):
    """A site whose meters live as time passes; `bend` is what the line makes of an answer."""

    def __init__(self, devices: list[bytes], schedule: Schedule = OFTEN, **more: object) -> None:
        models = {one: "electricity-1997" for one in devices if one == OLD_POWER}
        super().__init__(devices, schedule, models=models, suite=2)
        self.alive = {
            one: Alive(one, self.now, profiles()[models[one]] if one in models else None) for one in devices
        }
        for one, alive in self.alive.items():
            self.wire.nodes[one] = Node(alive.meter)
            self.wire.named[alive.meter.wire_address] = {one: self.wire.nodes[one]}
        self.cut = False
        self.bend: Callable[[Frame, bytes], bytes] = lambda _, answer: answer
        self.begin()

    def turn(self, step: int) -> None:
        for alive in self.alive.values():
            alive.live(self.now + step)
        super().turn(step)

    def exchange(self) -> Frame | None:
        raw = self.riser.request(self.now)
        if raw is None:
            return None
        request, _ = parse_frame(raw)
        heard = b"" if self.cut else self.bend(request, self.wire.answer(request, self.now))
        if not heard or not self.riser.protocol or not self.riser.answer(heard, self.now):
            self.riser.timeout(self.now, heard)
        return request

    def away(self, days: float) -> None:
        """The concentrator is without power; the meters live on."""
        until = self.now + int(days * DAY)
        for alive in self.alive.values():
            alive.live(until)
        self.now = until
        self.power_on()

    def settle(self, most: int = 20_000) -> int:
        """Back on the line: until each meter was read by a good clock, nothing is to be read back and nothing waits; how
        many exchanges that took.
        """
        before, began, held = self.riser.exchanges, self.now, self.concentrator.outbox
        read = False
        for _ in range(most):
            good = self.concentrator.clock.good(self.now)
            self.turn(100 if not good else 1_000 if read else MINUTE)
            read = all(held.marks[device].read_at > began for device in self.devices)
            if read and not self.concentrator.backfill.waiting() and not len(held):
                return self.riser.exchanges - before
        raise AssertionError("it does not come to an end")

    def at(self, device: bytes) -> dict[int, int | None]:
        """What came as blocks: register by time; what comes twice is a failure."""
        found: dict[int, int | None] = {}
        for _, frame in self.platform.frames:
            block = interpret(frame).interval
            if frame.device_id != device or block is None:
                continue
            for k, register in enumerate(block.registers):
                at = block.start_at + k * block.step
                assert at not in found, (device.hex(), at)
                found[at] = register
        return found

    def check(self, device: bytes, *, since: int, until: int, every: int) -> dict[int, int | None]:
        """Every freeze of (since, until) came, and true; what came of full hours besides is true as well."""
        found, truth = self.at(device), self.alive[device].truth
        wanted = [at for at in truth if since < at < until and (at + 8 * HOUR) % every == 0]
        assert wanted
        for at in wanted:
            assert found.get(at) == truth[at], (device.hex(), at)
        assert all(truth[at] == register for at, register in found.items() if at in truth and register)
        return found


def lived(devices: list[bytes], schedule: Schedule = OFTEN, days: int = 2) -> Building:
    """A building after some days of readings."""
    building = Building(devices, schedule)
    building.run(building.now + days * DAY, 5 * MINUTE)
    building.settle()
    building.platform.frames.clear()
    return building


@pytest.mark.parametrize("device", [WATER, GAS, POWER])
@pytest.mark.parametrize("hours", [7, 30])
def test_hours_missed_by_a_concentrator_without_power_come_once_and_true(device: bytes, hours: int) -> None:
    building = lived([device])
    since = building.now
    building.away(hours / 24)
    until = building.now
    building.settle()
    building.check(device, since=since, until=until, every=HOUR)
    assert building.concentrator.backfill.missing == 0


def test_a_bus_that_was_cut_for_five_weeks_gives_every_midnight_and_the_hours_that_meters_still_keep() -> (
    None
):
    devices = [WATER, POWER]
    building = lived(devices)
    since = building.now
    building.cut = True
    building.run(since + 35 * DAY, 30 * MINUTE)
    building.cut = False
    until = building.now
    building.settle()
    building.check(POWER, since=since, until=until, every=HOUR)  # its load records are of every hour
    building.check(WATER, since=until - 250 * HOUR, until=until, every=HOUR)
    older = {at: found for at, found in building.at(WATER).items() if since < at < until - 254 * HOUR}
    truth = building.alive[WATER].truth
    assert len(older) == 24  # by the midnight, for CJ/T 188 has no daily freeze that says its day
    assert {at: found for at, found in older.items() if found} == {
        at: truth[at] for at in older if Alive.is_first(at)
    }


def test_a_meter_without_power_for_three_days_gives_what_it_froze_and_invents_nothing() -> None:
    building = lived([WATER, POWER])
    since = building.now
    building.alive[POWER].power(since, on=False)
    building.wire.off.add(POWER)
    building.run(since + 3 * DAY, 4 * MINUTE)
    building.wire.off.clear()
    until = building.now
    building.alive[POWER].power(until, on=True)
    building.settle()
    found = building.check(POWER, since=since, until=until, every=DAY)
    assert len([at for at in found if since < at < until]) == 3  # no hour that it did not live through
    assert building.concentrator.backfill.missing == 0
    assert not building.at(WATER)  # its bus mate was read all the time


@pytest.mark.parametrize("device", [WATER, HEAT, POWER])
def test_what_a_meter_no_longer_keeps_is_said_to_be_missing_by_the_midnight(device: bytes) -> None:
    schedule = Schedule(every_minutes=0, at=("00:10",), backfill_days=100)
    building = lived([device], schedule, days=3)
    since = building.now
    building.away(80)
    until = building.now
    building.settle()
    found = building.at(device)
    truth = building.alive[device].truth
    midnights = [at for at in truth if since < at < until and (at + 8 * HOUR) % DAY == 0]
    assert [at for at in midnights if at not in found] == []
    lost = [at for at in midnights if found[at] is None]
    assert all(found[at] in (None, truth[at]) for at in midnights)
    assert building.concentrator.backfill.missing == list(found.values()).count(None) >= len(lost)
    kept = {at for at in midnights if found[at] is not None}
    firsts = {at for at in midnights if Alive.is_first(at)}
    if device == POWER:
        assert len(kept) == 61 + len([at for at in firsts if at < until - 62 * DAY])
        assert not [at for at in found if since < at < until and at not in midnights]
    else:
        assert kept >= firsts
        assert len(firsts) >= 2


def test_a_meter_of_the_older_edition_gives_its_last_two_settlement_days() -> None:
    building = lived([OLD_POWER], DAILY)
    since = building.now
    building.away(50)
    building.settle()
    found, truth = building.at(OLD_POWER), building.alive[OLD_POWER].truth
    midnights = [at for at in truth if since < at < building.now and (at + 8 * HOUR) % DAY == 0]
    kept = {at: register for at in midnights if (register := found.get(at)) is not None}
    assert kept == {at: truth[at] for at in midnights if Alive.is_first(at)}
    assert kept
    assert [at for at in midnights if at not in found] == []


def test_of_a_meter_that_keeps_hours_only_as_load_records_every_hour_comes() -> None:
    building = lived([POWER])
    since = building.now

    def bend(request: Frame, answer: bytes) -> bytes:
        frame = parse_frame(answer)[0] if answer else request
        refused = (interpret(request).di or 0) >> 16 == 0x0504
        return replace(frame, control=0xD1, data=b"\x02").encode() if refused else answer

    building.bend = bend
    building.away(20)
    until = building.now
    building.settle()
    building.check(POWER, since=since, until=until, every=HOUR)
    assert building.concentrator.backfill.missing == 0


def test_a_meter_that_keeps_silent_where_it_should_refuse_is_soon_asked_for_what_it_has() -> None:
    building = lived([POWER])
    since = building.now
    lacking = (0x0504, 0x0604, 0x0400)

    def bend(request: Frame, answer: bytes) -> bytes:
        di = interpret(request).di or 0
        return b"" if di >> 16 in lacking and di not in (0x04000101, 0x04000102) else answer

    building.bend = bend
    building.away(5)
    until = building.now
    assert building.settle() < 100
    assert building.now - until < 20 * MINUTE  # no quarter of an hour for each
    building.check(POWER, since=since, until=until, every=DAY)
    assert building.concentrator.backfill.missing == 0


def test_killed_at_any_moment_it_begins_again_and_nothing_arrives_with_two_values() -> None:
    building = lived([POWER])
    since = building.now
    building.away(2)
    until = building.now
    for exchanges in range(1, 60, 7):
        building.begin()
        for _ in range(60 * 16):
            building.now += 1_000
            building.concentrator.tick(building.now)
            if building.exchange() is not None and building.concentrator.backfill.waiting():
                exchanges -= 1
            if not exchanges:
                break
        building.power_on()
        assert POWER in building.concentrator.outbox.marks.missed
    building.settle()
    building.check(POWER, since=since, until=until, every=HOUR)
    building.power_on()
    assert not building.concentrator.backfill.waiting()


@pytest.mark.parametrize("away", [0, 20])
def test_live_readings_go_first_and_are_not_later_for_it(away: int) -> None:
    """Of twelve meters that are all due at once the last is read as soon as without a back-fill, but for one exchange."""
    devices = [WATER, POWER, *(bytes.fromhex(f"1078330000{number:06d}") for number in range(100, 110))]
    building = lived(devices)
    building.away(away)
    building.begin()
    quarter = building.now - building.now % (15 * MINUTE) + 15 * MINUTE
    building.now = quarter - MINUTE
    step, read, others = 300, list[int](), 0
    while building.now < quarter + 16 * MINUTE:
        building.now += step
        request = building.exchange()
        di = interpret(request).di if request is not None else None
        if request is not None and di in (0x901F, 0x00010000):
            read.append(building.now - quarter - 15 * MINUTE)
        elif di is not None:
            others += 1
    live = [at for at in read if at >= 0]
    assert live[len(devices) - 1] <= (len(devices) + 1) * step
    assert others > 2_500 if away else others == 3  # the look at a clock: date, time, date


def _late() -> Callable[[Frame], Frame]:
    """Each answer comes one question too late."""
    before: list[Frame] = []

    def bend(frame: Frame) -> Frame:
        before.append(frame)
        return before[-2] if len(before) > 1 else frame

    return bend


def _noise() -> Callable[[Frame], Frame]:
    dice = Random(7)
    return lambda frame: replace(frame, data=frame.data[:2] + dice.randbytes(dice.randrange(0, 60)))


def _times(change: Callable[[bytes, int], bytes]) -> Callable[[Frame], Frame]:
    """The time of a freeze is another one; `change` gets its bytes, low first, and the number of the entry."""

    def bend(frame: Frame) -> Frame:
        di, data = interpret(frame).di or 0, frame.data
        if di >> 24 == 6:
            times = [place for place in range(len(data) - 7) if data[place : place + 2] == b"\xa0\xa0"]
            for place in times:  # a record that does not add up any more
                data = data[: place + 3] + change(data[place + 3 : place + 8], place) + data[place + 8 :]
            return replace(frame, data=data)
        if di >> 8 in (0x050400, 0x050600):
            return replace(frame, data=data[:4] + change(data[4:9], di & 0xFF))
        if di >> 8 == 0xD3:
            return replace(frame, data=data[:4] + change(data[4:9], di & 0xFF) + data[9:])
        return frame

    return bend


HOSTILE: dict[str, Callable[[], Callable[[Frame], Frame]]] = {
    "too short": lambda: lambda frame: replace(frame, data=frame.data[: len(frame.data) // 2]),
    "nothing but the identifier": lambda: lambda frame: replace(frame, data=frame.data[:4]),
    "no data": lambda: lambda frame: replace(frame, data=b""),
    "too long": lambda: lambda frame: replace(frame, data=frame.data + bytes(40)),
    "endless follow-up frames": lambda: lambda frame: replace(frame, control=frame.control | 0x20),
    "another address": lambda: lambda frame: replace(frame, address=bytes(len(frame.address))),
    "another serial number": lambda: (
        lambda frame: replace(frame, data=frame.data[:2] + b"\x77" + frame.data[3:])
    ),
    "all refused": lambda: lambda frame: replace(frame, control=frame.control | 0x40, data=b"\x02"),
    "an answer to the question before": _late,
    "noise": _noise,
    "years ahead": lambda: _times(lambda raw, _: raw[:4] + b"\x99"),
    "always the same time": lambda: _times(lambda raw, _: b"\x00\x00\x01\x06\x26"),
    "forward in time": lambda: _times(lambda raw, n: bytes((n % 6 * 16,)) + raw[1:]),
    "no time": lambda: _times(lambda raw, _: b"\xff" * 5),
}


@pytest.mark.parametrize("how", HOSTILE)
@pytest.mark.parametrize("evil", [WATER, POWER])
def test_a_hostile_meter_neither_stops_the_back_fill_nor_takes_anything_from_others(
    how: str, evil: bytes
) -> None:
    building = lived([evil, GAS])
    since = building.now
    building.away(1.5)
    until = building.now
    change = HOSTILE[how]()

    def bend(request: Frame, answer: bytes) -> bytes:
        if request.device_id != evil or not answer or interpret(request).di in (0x901F, 0x00010000):
            return answer
        return change(parse_frame(answer)[0]).encode()

    building.bend = bend
    assert building.settle() < 1_500
    building.check(GAS, since=since, until=until, every=HOUR)
    building.bend = lambda _, answer: answer
    assert all(since - 1_000 <= at <= building.now for at in building.at(evil))
    given = [register for at, register in building.at(evil).items() if since < at < until]
    assert len([register for register in given if register is not None]) <= 40
    if how in ("all refused", "no data", "another address", "no time", "years ahead"):
        assert given == [None]  # the one midnight, and nothing else is said of that time


def test_a_meter_whose_clock_is_wrong_is_not_believed_a_freeze() -> None:
    building = lived([WATER, POWER])
    since = building.now
    for alive in building.alive.values():
        alive.meter.set_clock(since - 3 * HOUR, since)
    building.away(2)
    until = building.now
    building.settle()
    for device in (WATER, POWER):
        given = {at: register for at, register in building.at(device).items() if since < at < until}
        assert set(given.values()) == {None}
        assert all((at + 8 * HOUR) % DAY == 0 for at in given)


def test_a_midnight_between_a_meters_date_and_its_time_makes_no_wrong_clock_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Clocks, "heard", lambda *_: None)  # nobody else asks for the date
    building = lived([POWER])
    since = building.now
    dates = 0

    def bend(request: Frame, answer: bytes) -> bytes:
        nonlocal dates
        di = interpret(request).di
        if di == 0x0400010C:  # it tells the two apart only
            return replace(parse_frame(answer)[0], control=0xD1, data=b"\x02").encode()
        if di == 0x04000101:
            dates += 1
            frame = parse_frame(answer)[0]
            year = frame.data[7] - (dates == 1)  # of the day before, were it a new year
            return replace(frame, data=frame.data[:7] + bytes((year,))).encode()
        return answer

    building.bend = bend
    building.away(2)
    until = building.now
    building.settle()
    assert dates == 2
    building.check(POWER, since=since, until=until, every=HOUR)


def test_a_meter_that_falls_silent_half_way_is_asked_on_when_it_is_heard_again() -> None:
    building = lived([POWER, WATER])
    since = building.now
    building.away(2)
    until = building.now
    asked = 0

    def bend(request: Frame, answer: bytes) -> bytes:
        nonlocal asked
        asked += request.device_id == POWER
        return b"" if request.device_id == POWER and asked % 40 > 30 else answer

    building.bend = bend
    building.settle()
    building.bend = lambda _, answer: answer
    for device in (POWER, WATER):
        building.check(device, since=since, until=until, every=HOUR)


def test_two_meters_that_fall_silent_again_and_again_do_not_make_each_other_begin_anew_for_ever() -> None:
    other = bytes.fromhex("d700003100000014")
    building = lived([POWER, other])
    since = building.now
    building.away(2)
    until = building.now
    said = {POWER: 0, other: 0}

    def bend(request: Frame, answer: bytes) -> bytes:
        said[request.device_id] = (said[request.device_id] + 1) % 18
        return b"" if said[request.device_id] > 12 else answer

    building.bend = bend
    assert building.settle() < 700
    building.bend = lambda _, answer: answer
    for device in (POWER, other):
        building.check(device, since=since, until=until, every=HOUR)


def test_on_request_the_last_days_are_read_back_by_a_concentrator_that_took_anothers_place() -> None:
    building = Building([WATER, POWER])
    building.run(building.now + 9 * DAY, 4 * MINUTE)
    building.settle()
    building.store.pages.clear()  # another concentrator: it knows of nothing
    building.power_on()
    building.platform.frames.clear()
    building.begin()
    building.settle()
    assert not any(len(building.at(device)) > 5 for device in (WATER, POWER))
    now = building.now
    for device in (WATER, POWER):
        building.concentrator.backfill.again(device, 7, now)
    building.settle()
    for device in (WATER, POWER):
        building.check(device, since=now - 7 * DAY, until=now, every=HOUR)


def test_marks_are_sealed_bounded_by_the_meters_there_are_and_say_no_number_in_their_names() -> None:
    building = lived([WATER, POWER])
    marks = {name: page for name, page in building.store.pages.items() if name.startswith(SEEN)}
    assert len(marks) == 2
    for name, page in marks.items():
        assert len(page) < 150
        for device in (WATER, POWER):
            assert device.hex() not in name
            assert device not in page
    building.devices = [WATER]
    building.power_on()
    assert len([name for name in building.store.pages if name.startswith(SEEN)]) == 1
