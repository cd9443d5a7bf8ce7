"""Whoever owns a bus of plain meters, or passes words on for the platform: whom they hold up, and what they hide."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meterseal.edge.metering.inputs import Opened
from meterseal.edge.passing import PATIENCE
from meterseal.edge.schedule import MINUTE
from meterseal.edge.watching import ANEW, EVERY
from meterseal.link.commands import authorise, is_read
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.roster import Listed, roster_frame, silence
from tests.edge.field import CONCENTRATOR, DAY, Field
from tests.edge.site import HOUR, Alive, Site
from tests.edge.test_passing import CLOSE, GAS, WATER, Told
from tests.edge.test_watching import HOURLY, Watched

POWER = bytes.fromhex("d700003100000004")
OPEN = encode.valve_request(WATER, opened=True, ser=8)


def hostile(site: Site, device: bytes, said: Callable[[Frame], Frame | None]) -> None:
    """Let one meter of a site answer what an attacker wants; None: nothing."""
    honest = site.wire.answer

    def answer(request: Frame, now: int) -> bytes:
        raw = honest(request, now)
        if not raw:
            return raw
        frame, _ = parse_frame(raw.lstrip(b"\xfe"))
        bent = said(frame) if frame.device_id == device else frame
        return b"" if bent is None else bent.encode()

    site.wire.answer = answer  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("device", "size"),
    [(WATER, 96), (WATER, 255), (POWER, 192), (POWER, 255)],
    ids=["96", "255", "192", "255 of DL/T 645"],
)
def test_a_plain_meter_that_says_more_than_a_record_takes_silences_nobody_else(
    device: bytes, size: int
) -> None:
    site = Site([device, GAS], HOURLY, suite=2)
    site.begin()
    hostile(site, device, lambda frame: frame.with_data(b"\x77" * size))
    for cut in (False, True):
        if cut:
            site.power_on()
        before = len(site.came(GAS))
        site.run(site.now + 2 * HOUR)
        assert len(site.came(GAS)) >= before + 2
    assert len(site.concentrator.outbox) == 0
    assert site.concentrator.agent.handshakes <= 2


def test_a_question_whose_answer_no_record_takes_is_refused_and_shuts_no_sealed_meter_out() -> None:
    """A head-end in wrong hands may ask anything: a load record of DL/T 645 has 195 bytes behind its identifier."""
    field = Field([[POWER]])
    field.run(200, until_done=False)
    node = field.nodes[POWER]
    alive = Alive(POWER, field.now - 40 * DAY)
    alive.live(field.now)
    node.meter = alive.meter
    long, short = (encode.read_request(POWER, di) for di in (0x06040001, 0x04000102))
    long = long.with_data(long.data + bytes.fromhex("ff0000200526"))  # from 20 May 2026 on
    secured = node.secured
    assert secured is not None
    assert len(node.meter.act(long, field.now).data) > 191
    before = len(field.platform.frames)
    for frame in (long, short):
        node.take(field.platform.request(POWER, frame), field.now)
        for _ in range(3):
            message = secured.offer(field.now)
            if message is not None:
                for reply in field.platform.receive(message):
                    node.take(reply, field.now)
    assert [frame.control for _, frame in field.platform.frames[before:]] == [0xD1, 0x91]
    assert secured.agent.phase == "open"


def test_a_plain_meter_that_answers_a_word_at_length_is_called_silent_and_silences_nobody_else() -> None:
    site = Told()
    hostile(site, WATER, lambda frame: frame.with_data((frame.data + b"\x77" * 200)[:200]))
    site.command(CLOSE, 1)
    site.turns(10)
    assert [frame for _, frame in site.platform.frames if frame.data == silence(CLOSE).data]
    site.run(site.now + 2 * HOUR)
    assert site.came(GAS)


def test_the_platform_hears_of_a_word_whose_bus_went_away_that_nothing_came_of_it() -> None:
    """Else every other word of this concentrator would wait until this one ends."""
    site = Told()
    site.command(CLOSE, 1)
    asked = site.riser.request(site.now)
    assert asked is not None
    site.riser.lost(site.now)
    site.exchange = lambda: None  # type: ignore[method-assign]
    site.turns(PATIENCE // 1_000 + 5, 1_000)
    assert [frame for _, frame in site.platform.frames if frame.data == silence(CLOSE).data]
    del site.exchange
    site.turns(20)
    assert site.told == []


@pytest.mark.parametrize("number", [0, 1])
def test_the_platform_hears_of_a_word_to_whoever_is_not_on_the_list_that_it_was_not_done(number: int) -> None:
    site = Told()
    stranger = bytes.fromhex("1078330000000077")
    frame = encode.valve_request(stranger, opened=False, ser=9)
    if number:
        site.command(frame, number)
    else:
        frame = encode.read_request(stranger, ids.METERING, 9)
        site.concentrator.receive(CONCENTRATOR, site.platform.request(CONCENTRATOR, frame), site.now)
    site.turns(5)
    (answer,) = [one for one in site.answers if one.device_id == stranger]
    assert (answer.control, answer.data) == (frame.control | 0xC0, b"\x09")
    assert not [one for one in site.wire.asked if one.device_id == stranger]


def test_a_word_that_a_later_one_overtook_is_done_neither_after_it_nor_again() -> None:
    """A head-end in wrong hands keeps an order back until another one was given, or gives two at once."""
    site = Told()
    site.wire.off.add(WATER)
    site.command(CLOSE, 1)
    site.turns(10)
    site.wire.off.clear()
    site.command(OPEN, 2)
    site.turns(PATIENCE // 1_000 + 20, 1_000)
    assert site.told == [True]
    assert [frame for _, frame in site.platform.frames if frame.data == silence(CLOSE).data]
    assert [frame for frame in site.answers if frame.data.startswith(OPEN.data[:3])]


def test_who_opens_a_plain_meter_and_clears_its_counters_is_known_all_the_same() -> None:
    """DL/T 645 has a command that clears events: the count of covers begins at 0 again."""
    site = Watched(POWER)
    counted = 5
    leads = (0x03300D00).to_bytes(4, "little")

    def said(frame: Frame) -> Frame:
        counts = frame.data.startswith(leads) and not frame.control & 0x40
        return frame.with_data(leads + bytes((counted, 0, 0))) if counts else frame

    hostile(site, POWER, said)
    site.hours(EVERY // HOUR + 1)
    before = list(site.codes)
    counted = 0
    site.hours(EVERY // HOUR + 1)
    assert site.codes == [*before, "meter.removed"]


@pytest.mark.parametrize(
    ("device", "model"),
    [
        ("d700003100000077", "water-generic"),
        ("1078330000000077", "electricity-generic"),
        ("10aaaaaaaaaaaaaa", ""),
        ("d700999999999999", ""),
    ],
)
def test_no_word_about_the_list_puts_on_it_what_stops_its_bus_or_stands_for_many(
    device: str, model: str
) -> None:
    site = Told()
    frame = roster_frame(bytes.fromhex(device), Listed("add", 0, model), 9)
    site.command(frame, 1)
    site.turns(5)
    (answer,) = [one for one in site.answers if one.device_id == frame.device_id]
    assert answer.control == frame.control | 0xC0
    site.power_on()
    assert bytes.fromhex(device) not in site.riser.lines
    site.run(site.now + 2 * HOUR, 10 * MINUTE)
    assert len(site.came(GAS)) >= 2


def test_a_question_to_one_meter_that_is_an_order_to_another_goes_on_no_bus() -> None:
    """The same bytes read one meter of DL/T 645 and put one of CJ/T 188 into verification: numbers may fall so."""
    order = Frame("cjt188", 0x10, bytes.fromhex("01020304056811"), 0x04, bytes.fromhex("01a107"))
    both = order.encode()
    question, _ = parse_frame(both)
    assert (question.protocol, is_read(question)) == ("dlt645", True)
    site = Site(
        [question.device_id, GAS], HOURLY, suite=2, models={question.device_id: "electricity-generic"}
    )
    site.begin()
    site.wire.asked.clear()
    site.concentrator.receive(CONCENTRATOR, site.platform.request(CONCENTRATOR, question), site.now)
    for _ in range(10):
        site.turn(200)
    assert both not in [frame.encode() for frame in site.wire.asked]
    assert site.concentrator.passing.refused == 1


def test_who_keeps_a_meter_silent_for_a_while_is_not_rid_of_its_counters_for_good() -> None:
    site = Watched(POWER)
    covers = (0x03300D00).to_bytes(4, "little")
    jammed = True
    hostile(site, POWER, lambda frame: None if jammed and frame.data.startswith(covers) else frame)
    site.hours(3 * EVERY // HOUR)
    jammed = False
    site.feel(Opened())
    site.hours(EVERY // HOUR + 1)
    before = site.codes.count("meter.removed")
    site.run(site.now + ANEW, 2 * HOUR)
    site.hours(EVERY // HOUR)
    assert (before, site.codes.count("meter.removed")) == (0, 1)


def test_a_meter_that_gets_a_module_while_a_word_to_it_waits_is_told_nothing_in_clear_any_more() -> None:
    site = Told()
    site.wire.off.add(WATER)
    site.command(CLOSE, 1)
    site.turns(10)
    site.command(roster_frame(WATER, Listed("add-sealed"), 9), 2)
    site.wire.off.clear()
    site.wire.asked.clear()
    site.turns(PATIENCE // 1_000 + 20, 1_000)
    assert site.told == []
    assert CLOSE not in site.wire.asked
    assert [frame for _, frame in site.platform.frames if frame.data == silence(CLOSE).data]


def test_what_was_authorised_for_one_concentrator_is_carried_out_by_no_other() -> None:
    site, other = Told(), Told()
    until = site.now + HOUR
    given = authorise(
        other.platform.enrolled_modules[CONCENTRATOR].keys.command, CONCENTRATOR, 1, until, CLOSE.encode()
    )
    record = site.platform.command(CONCENTRATOR, CLOSE, 1, until, authorisation=given)
    assert site.concentrator.receive(CONCENTRATOR, record, site.now) is None
    own = authorise(
        site.platform.enrolled_modules[CONCENTRATOR].keys.command, CONCENTRATOR, 1, until, CLOSE.encode()
    )
    for frame, number, end in ((OPEN, 1, until), (CLOSE, 2, until), (CLOSE, 1, until + 1)):
        record = site.platform.command(CONCENTRATOR, frame, number, end, authorisation=own)
        assert site.concentrator.receive(CONCENTRATOR, record, site.now) is None
    site.turns(10)
    assert (site.told, site.concentrator.agent.refused) == ([], 4)
    site.command(CLOSE, 1)
    site.turns(10)
    assert site.told == [False]
