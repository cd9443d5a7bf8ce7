"""A field in memory: everything arrives once, over losses, power cuts and restarts in any order."""

from __future__ import annotations

import pytest

from meterseal.edge.agent import Timing
from meterseal.link import control
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import parse_frame
from tests.edge.field import CONCENTRATOR, DAY, HOUR, SINCE, Field
from tests.edge.platform import Platform

WATER, GAS, HEAT, POWER = (
    bytes.fromhex("1078330000000001"),
    bytes.fromhex("3078330000000002"),
    bytes.fromhex("2078330000000003"),
    bytes.fromhex("d700003100000004"),
)
PLAIN_WATER, PLAIN_POWER = bytes.fromhex("1078330000000015"), bytes.fromhex("d700003100000016")
RISERS = [[WATER, GAS], [HEAT, POWER]]


def test_all_days_of_four_media_and_both_suites_arrive_once_with_their_evidence() -> None:
    field = Field(RISERS)
    assert field.run(3_000) < 3_000
    field.check_complete()
    assert len(field.platform.counters) == len(set(field.platform.counters)) == 4 * 3 * 2
    assert {node.secured.agent.handshakes for node in field.nodes.values() if node.secured} == {1}
    assert not field.platform.refused


@pytest.mark.parametrize("seed", range(6))
def test_a_lossy_field_still_delivers_every_reading(seed: int) -> None:
    field = Field(RISERS, seed=seed)
    assert field.run(60_000, loss=0.05) < 60_000
    field.check_complete()


@pytest.mark.parametrize("seed", range(6))
def test_restarts_of_either_side_at_any_moment_lose_nothing(seed: int) -> None:
    field = Field(RISERS, seed=seed)
    for _ in range(25):
        field.run(field.random.randrange(1, 60), loss=0.02, until_done=False)
        if field.random.random() < 0.5:
            field.power_on_meters()
        else:
            field.to_field.clear()
            field.power_on_concentrator()
    assert field.run(60_000) < 60_000
    field.check_complete()


def test_a_session_outlives_a_power_cut_of_the_meter() -> None:
    field = Field([[WATER]])
    field.run(60, until_done=False)
    agent = field.nodes[WATER].secured
    assert agent is not None
    session = agent.agent.session_id
    assert session
    field.power_on_meters()
    assert field.run(3_000) < 3_000
    again = field.nodes[WATER].secured
    assert again is not None
    assert (again.agent.session_id, again.agent.handshakes) == (session, 0)
    field.check_complete()


def test_a_record_is_kept_and_repeated_byte_for_byte_until_it_is_acknowledged() -> None:
    platform = Platform()
    platform.deaf = True
    field = Field([[WATER]], platform=platform, days=1)
    field.run(800, until_done=False)
    records = [up.message for up in field.heard if up.message[:2] == b"MR"]
    by_counter: dict[bytes, set[bytes]] = {}
    for record in records:
        by_counter.setdefault(record[4:18], set()).add(record)
    assert len(records) > 2 * len(by_counter)
    assert all(len(copies) == 1 for copies in by_counter.values())
    platform.deaf = False
    assert field.run(3_000) < 3_000
    field.check_complete()


def test_eight_sends_without_an_answer_lead_to_a_new_session_and_new_seals() -> None:
    platform = Platform()
    platform.deaf = True
    timing = Timing(repeat=50, slowest=100, sends=8, backoff=100, window=4)
    field = Field([[WATER]], platform=platform, days=1, timing=timing)
    field.run(1_000, until_done=False)
    secured = field.nodes[WATER].secured
    assert secured is not None
    assert secured.agent.handshakes >= 2
    platform.deaf = False
    assert field.run(3_000) < 3_000
    field.check_complete()


def test_rekey_makes_a_new_session() -> None:
    field = Field([[WATER]])
    assert field.run(3_000) < 3_000
    session = field.platform.latest[WATER]
    field.concentrator.receive(WATER, field.platform.word(session, control.rekey()), field.now)
    field.run(300, until_done=False)
    assert field.platform.latest[WATER] is not session


def test_a_rejected_record_is_dropped() -> None:
    platform = Platform()
    platform.deaf = True
    field = Field([[WATER]], platform=platform, days=1)
    field.run(100, until_done=False)
    secured = field.nodes[WATER].secured
    assert secured is not None
    before = secured.agent.waiting()
    session = platform.latest[WATER]
    counter = next(up.message[12:18] for up in field.heard if up.message[:4] == b"MR\x01\x02")
    rejected = control.reject(int.from_bytes(counter, "big"), control.POLICY)
    field.concentrator.receive(WATER, platform.word(session, rejected), field.now)
    field.run(30, until_done=False)
    assert secured.agent.waiting() == before - 1


def test_the_concentrator_sees_nothing_of_a_sealed_meter() -> None:
    field = Field(RISERS)
    field.run(3_000)
    seen = b"".join(up.message for up in field.heard) + b"".join(field.held.pages.values())
    for device, node in field.nodes.items():
        for at in range(SINCE + HOUR, SINCE + 3 * DAY, HOUR):
            frames = [*node.meter.interval_frames(at - HOUR, at), *node.meter.reports(at)]
            for frame in frames:
                assert frame.encode()[11:-2] not in seen, device.hex()


def test_plain_meters_are_vouched_for_and_held_until_acknowledged() -> None:
    platform = Platform()
    platform.deaf = True
    field = Field([[WATER, PLAIN_WATER], [PLAIN_POWER]], [PLAIN_WATER, PLAIN_POWER], platform=platform)
    field.run(200, until_done=False)
    assert len(field.concentrator.outbox) == 2
    raw = b"".join(field.held.pages.values())
    assert field.nodes[PLAIN_WATER].meter.wire_address not in raw
    for _ in range(3):  # killed again and again: nothing is lost, nothing doubled
        field.power_on_concentrator()
        field.run(50, until_done=False)
    platform.deaf = False
    assert field.run(5_000) < 5_000
    field.run(300, until_done=False)
    assert len(field.concentrator.outbox) == 0
    vouched = [frame for sender, frame in platform.frames if sender == CONCENTRATOR]
    assert {frame.device_id for frame in vouched} == {PLAIN_WATER, PLAIN_POWER}


def test_the_same_answer_of_a_plain_meter_is_not_vouched_for_twice() -> None:
    field = Field([[PLAIN_POWER]], [PLAIN_POWER])
    for _ in range(4):
        field.run(200, until_done=False)
        field.now += 120_000
    assert sum(sender == CONCENTRATOR for sender, _ in field.platform.frames) == 1


def test_a_read_request_under_the_seal_is_answered_under_the_seal() -> None:
    field = Field([[WATER]], days=1)
    assert field.run(3_000) < 3_000
    before = len(field.platform.frames)
    request = field.platform.request(WATER, encode.read_request(WATER, ids.METERING, 9))
    field.concentrator.receive(WATER, request, field.now)
    field.run(100, until_done=False)
    (answered,) = [frame for _, frame in field.platform.frames[before:]]
    assert answered.data[:3] == encode.read_request(WATER, ids.METERING, 9).data


def test_a_guarded_command_turns_the_valve_once_and_its_answer_comes_back() -> None:
    field = Field([[WATER]], days=1)
    assert field.run(3_000) < 3_000
    close = encode.valve_request(WATER, opened=False)
    not_after = field.now + HOUR
    for _ in range(2):
        command = field.platform.command(WATER, close, 1, not_after)
        field.concentrator.receive(WATER, command, field.now)
        field.run(100, until_done=False)
    assert field.nodes[WATER].meter.state.valve == "closed"
    answers = [frame for _, frame in field.platform.frames if frame.control == 0x84]
    assert len(answers) == 2
    assert answers[0] == answers[1]
    field.power_on_meters()
    assert field.nodes[WATER].meter.state.valve == "closed"


def test_under_cipher_only_a_sealed_meter_tells_its_address_in_clear_and_nothing_else() -> None:
    field = Field([[WATER]], days=1)
    assert field.run(3_000) < 3_000
    node = field.nodes[WATER]
    refused, _ = parse_frame(node.answer(encode.read_request(WATER, ids.METERING), field.now))
    assert refused.control == 0xC1
    told, _ = parse_frame(node.answer(encode.read_address_request(WATER), field.now))
    assert told.control == 0x83


def test_a_silent_meter_does_not_hold_up_its_riser() -> None:
    field = Field([[WATER, GAS]])
    del field.buses[0]._nodes[b"\x30" + field.nodes[GAS].meter.wire_address]
    field.run(2_000, until_done=False)
    secured = field.nodes[WATER].secured
    assert secured is not None
    assert secured.outbox.through == SINCE + 3 * DAY


def test_messages_for_the_platform_wait_in_the_meters_while_it_is_out_of_reach() -> None:
    field = Field(RISERS)
    field.concentrator.reach(False)
    field.run(500, until_done=False)
    assert {up.device_id for up in field.heard} == {CONCENTRATOR}
    field.concentrator.reach(True)
    assert field.run(3_000) < 3_000
    field.check_complete()


def test_a_message_for_a_stranger_is_dropped() -> None:
    field = Field([[WATER]])
    assert field.concentrator.receive(b"\x10" * 8, b"MR\x01", field.now) is None
    assert field.concentrator.misdirected == 1
