"""The uplink's pure steps: what a good record says, and one test for each way of being refused, named after the attack."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from meterseal.crypto.symmetric import pad80, sm4_cbc_encrypt
from meterseal.headend import pipeline
from meterseal.headend.pipeline import Accepted, Again, Held, Proved, Refused, Spoken, Verdict
from meterseal.headend.ports import Enrolment
from meterseal.link import control, records
from meterseal.link.counters import CounterSet
from meterseal.link.evidence import STATEMENT
from meterseal.link.records import CONTROL, HEADER, VOUCHED, WANTED
from meterseal.model import MAIN
from meterseal.wire import encode
from meterseal.wire.frame import Frame, address_of
from tests.headend.ground import ELECTRIC, MASTER, NOW, OTHER, WATER, Device, arrival, water
from tests.wire import built


def judge(
    device: Device,
    message: bytes,
    *,
    claimed: bytes = b"",
    consumed: tuple[int, ...] = (),
    enrolments: dict[bytes, Enrolment] | None = None,
) -> Verdict:
    """All steps of one record in their order, as the uplink calls them."""
    came = arrival(message, claimed)
    header = pipeline.read_header(came)
    if isinstance(header, Refused):
        return header
    proved = pipeline.prove(came, header, device.facts, device.keys, CounterSet(consumed))
    if not isinstance(proved, Proved):
        return proved
    return pipeline.open_and_say(came, proved, device.facts, device.keys, enrolments or {})


def refused_as(verdict: Verdict) -> str:
    assert isinstance(verdict, Refused), verdict
    return verdict.refusal.code


def held_as(verdict: Verdict) -> tuple[int, str]:
    assert isinstance(verdict, Held), verdict
    return verdict.quarantined.reject_class, verdict.quarantined.code


def plain_behind(master: bytes = MASTER, *, plain: bool = True) -> dict[bytes, Enrolment]:
    return {WATER: Enrolment(device_id=WATER, plain=plain, medium="water", concentrator_id=master)}


# --- what a good record says ---------------------------------------------------------------------------


def test_a_sealed_answer_becomes_one_register_with_its_origin() -> None:
    device = Device()
    verdict = judge(device, device.seal())
    assert isinstance(verdict, Accepted)
    opened = verdict.opened
    assert (opened.counter, opened.device_id, opened.origin, opened.suite) == (1, WATER, "sealed", 1)
    (series,) = opened.series
    assert (series.channel, series.unit, series.registers, series.exponent) == (MAIN, "m3", (12_345,), -2)
    assert opened.statuses[0].valve == "open"


def test_a_day_of_intervals_keeps_its_gaps() -> None:
    device = Device(ELECTRIC)
    start = NOW - NOW % 60_000
    block = encode.interval_block(
        ELECTRIC, start_at=start, step_minutes=15, channel=1, unit=0x05, registers=[1, None, 3]
    )
    verdict = judge(device, device.seal(block.encode()))
    assert isinstance(verdict, Accepted)
    (series,) = verdict.opened.series
    assert (series.start_at, series.step, series.registers) == (start, 900_000, (1, None, 3))


def test_a_vouched_reading_keeps_that_origin() -> None:
    master = Device(MASTER)
    verdict = judge(master, master.seal(water(), vouched=True), enrolments=plain_behind())
    assert isinstance(verdict, Accepted)
    assert (verdict.opened.origin, verdict.opened.device_id) == ("vouched", MASTER)
    assert verdict.opened.series[0].device_id == WATER


def test_a_plain_record_is_taken_where_policy_allows_both() -> None:
    device = Device(policy=1)
    assert isinstance(judge(device, device.seal(plain=True)), Accepted)


@pytest.mark.parametrize("word", [control.ping(), control.rekey(), control.close(1)])
def test_a_spoken_word_is_answered_and_not_committed(word: control.Word) -> None:
    device = Device()
    verdict = judge(device, device.word(word))
    assert isinstance(verdict, Spoken)
    assert (verdict.kind, verdict.counter) == (word.kind, 1)


def test_the_devices_own_evidence_goes_forward_whole() -> None:
    device = Device()
    statement = WATER + bytes(STATEMENT - 8)
    verdict = judge(device, device.word(control.evidence(statement, b"s" * 64)))
    assert isinstance(verdict, Accepted)
    (evidence,) = verdict.opened.evidence
    assert (evidence.device_id, evidence.statement, evidence.signature) == (WATER, statement, b"s" * 64)


# --- attacks that change nothing -----------------------------------------------------------------------


def test_an_altered_record_is_refused_whichever_bit_was_changed() -> None:
    device = Device()
    record = device.seal()
    for bit in range(len(record) * 8):
        changed = bytearray(record)
        changed[bit // 8] ^= 1 << bit % 8
        code = refused_as(judge(device, bytes(changed)))
        assert code.startswith("link."), (bit, code)


def test_an_altered_tag_is_named_as_such() -> None:
    device = Device()
    record = device.seal()
    verdict = judge(device, record[:-1] + bytes((record[-1] ^ 1,)))
    assert refused_as(verdict) == "link.tag"
    assert isinstance(verdict, Refused)
    assert (verdict.refusal.device_id, verdict.refusal.counter) == (WATER, 1)
    assert verdict.refusal.session_id == device.facts.session_id


def test_a_record_of_the_platform_reflected_upward_is_refused() -> None:
    device = Device()
    down = device.seal(encode.read_request(WATER, 0x901F).encode(), up=False)
    assert refused_as(judge(device, down)) == "link.direction"


def test_a_replayed_counter_gets_its_answer_again_and_changes_nothing() -> None:
    device = Device()
    verdict = judge(device, device.seal(counter=7), consumed=(5, 6, 7))
    assert isinstance(verdict, Again)
    assert (verdict.counter, verdict.refusal.code) == (7, "link.replay")


def test_a_forged_record_under_a_consumed_counter_learns_nothing_of_that() -> None:
    device = Device()
    record = device.seal(counter=7)
    assert refused_as(judge(device, record[:-16] + bytes(16), consumed=(7,))) == "link.tag"


def test_an_envelope_put_around_a_foreign_record_is_refused() -> None:
    device = Device()
    assert refused_as(judge(device, device.seal(), claimed=OTHER)) == "link.envelope"
    assert isinstance(judge(device, device.seal(), claimed=WATER), Accepted)


def test_a_session_that_nobody_knows_is_refused_by_name() -> None:
    device = Device()
    came = arrival(device.seal())
    header = pipeline.read_header(came)
    assert not isinstance(header, Refused)
    assert pipeline.no_session(came, header).refusal.code == "link.session"


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_without_an_exception(message: bytes) -> None:
    assert isinstance(judge(Device(), message), Refused)
    assert isinstance(judge(Device(), b"MR\x01" + message), Refused)


# --- a good tag around what may not pass: quarantine and REJECT ----------------------------------------


def test_a_frame_of_another_meter_is_held() -> None:
    device = Device()
    assert held_as(judge(device, device.seal(water(OTHER)))) == (pipeline.DOES_NOT_DECODE, "link.address")


def test_one_foreign_frame_holds_the_whole_record() -> None:
    device = Device()
    assert isinstance(judge(device, device.seal(water(), water(OTHER))), Held)


def test_vouching_for_a_sealed_meter_is_held() -> None:
    master = Device(MASTER)
    verdict = judge(master, master.seal(water(), vouched=True), enrolments=plain_behind(plain=False))
    assert held_as(verdict) == (pipeline.UNKNOWN_METER, "link.vouching")


def test_vouching_for_a_meter_behind_another_concentrator_is_held() -> None:
    master = Device(MASTER)
    elsewhere = plain_behind(bytes.fromhex("f000000000000002"))
    verdict = judge(master, master.seal(water(), vouched=True), enrolments=elsewhere)
    assert held_as(verdict) == (pipeline.UNKNOWN_METER, "link.vouching")


@pytest.mark.parametrize("enrolments", [{}, {WATER: None}])
def test_vouching_for_a_meter_that_nobody_enrolled_is_held(enrolments: dict[bytes, Enrolment]) -> None:
    master = Device(MASTER)
    verdict = judge(master, master.seal(water(), vouched=True), enrolments=enrolments)
    assert held_as(verdict) == (pipeline.UNKNOWN_METER, "link.vouching")


def test_one_meter_of_a_vouched_record_that_is_unknown_holds_it_all() -> None:
    master = Device(MASTER)
    record = master.seal(water(), water(OTHER), vouched=True)
    assert isinstance(judge(master, record, enrolments=plain_behind()), Held)


def test_a_plain_record_under_cipher_only_is_held() -> None:
    device = Device(policy=pipeline.CIPHER_ONLY)
    assert held_as(judge(device, device.seal(plain=True))) == (pipeline.POLICY, "link.policy")


def test_a_cipher_record_under_a_policy_of_plain_only_is_rejected_with_class_2() -> None:
    device = Device(policy=pipeline.PLAIN_ONLY)
    assert held_as(judge(device, device.seal())) == (pipeline.POLICY, "link.policy")
    assert isinstance(judge(device, device.seal(plain=True)), Accepted)


def test_evidence_and_control_are_cipher_under_a_policy_of_plain_only_too() -> None:
    device = Device(policy=pipeline.PLAIN_ONLY)
    statement = WATER + bytes(STATEMENT - 8)
    assert isinstance(judge(device, device.word(control.evidence(statement, b"s" * 64))), Accepted)
    assert isinstance(judge(device, device.word(control.ping())), Spoken)


def test_a_request_instead_of_an_answer_is_held() -> None:
    device = Device()
    request = encode.read_request(WATER, 0x901F).encode()
    assert held_as(judge(device, device.seal(request))) == (pipeline.DOES_NOT_DECODE, "wire.direction")


def test_an_answer_that_says_nothing_known_is_held() -> None:
    device = Device()
    odd = Frame(*address_of(WATER), 0x81, b"\x77\x77\x00\x01\x02").encode()
    assert held_as(judge(device, device.seal(odd))) == (pipeline.DOES_NOT_DECODE, "wire.meaning")


def test_an_interval_block_of_a_channel_that_the_meter_does_not_have_is_held() -> None:
    device = Device()
    start = NOW - NOW % 60_000
    block = encode.interval_block(WATER, start_at=start, step_minutes=60, channel=2, unit=0x2C, registers=[1])
    assert held_as(judge(device, device.seal(block.encode()))) == (pipeline.DOES_NOT_DECODE, "wire.channel")


@pytest.mark.parametrize("body", [b"", b"\x00" * 16, b"\x68" * 40, water()[:-1], water()[:-2] + b"\x00\x16"])
def test_frames_that_do_not_decode_are_held(body: bytes) -> None:
    device = Device()
    reject_class, code = held_as(judge(device, device.raw(body)))
    assert reject_class == pipeline.DOES_NOT_DECODE
    assert code.startswith(("wire.", "link."))


def test_cipher_that_is_no_cipher_is_held() -> None:
    device = Device()
    assert held_as(judge(device, device.raw(water()))) == (pipeline.DOES_NOT_DECODE, "link.length")


def test_a_plain_electricity_frame_in_a_water_meters_session_is_held() -> None:
    device = Device()
    frame = built.energy_answer(ELECTRIC, 26).encode()
    assert isinstance(judge(device, device.seal(frame)), Held)


def test_an_unknown_control_word_is_held() -> None:
    device = Device()
    way = device.keys.towards(up=True)
    for spoken in (b"\x63", b"\x01\x00", b"\x05" + bytes(7), b""):
        device.counter += 1
        body = sm4_cbc_encrypt(way.enc, records.frame_ivs(way.iv, device.counter, 1), pad80(spoken))
        flags = CONTROL | WANTED
        record = records.finish(way, flags, device.facts.session_id, device.counter, body)
        assert held_as(judge(device, record))[0] in (pipeline.DOES_NOT_DECODE, pipeline.POLICY), spoken


def test_evidence_of_another_device_is_held() -> None:
    device = Device()
    foreign = control.evidence(OTHER + bytes(STATEMENT - 8), bytes(64))
    assert held_as(judge(device, device.word(foreign))) == (pipeline.POLICY, "link.address")


def test_evidence_of_the_other_suite_is_held() -> None:
    device = Device(suite=2)
    word = control.evidence(WATER + bytes(STATEMENT - 8), bytes(64))
    assert held_as(judge(device, device.word(word))) == (pipeline.DOES_NOT_DECODE, "link.control")


@given(st.binary(max_size=200), st.sampled_from((WANTED, WANTED | CONTROL, WANTED | VOUCHED)))
def test_any_body_under_a_good_tag_is_judged_without_an_exception(body: bytes, flags: int) -> None:
    device = Device()
    assert isinstance(judge(device, device.raw(body, flags)), Held | Spoken)


def test_quarantine_keeps_the_record_byte_for_byte() -> None:
    device = Device()
    record = device.seal(water(OTHER))
    verdict = judge(device, record)
    assert isinstance(verdict, Held)
    assert (verdict.quarantined.record, verdict.quarantined.device_id) == (record, WATER)
    assert len(record) > HEADER


def test_the_session_s_device_decides_and_not_what_the_record_says_of_itself() -> None:
    device = Device()
    stolen = structs.replace(device.facts, device_id=OTHER)
    came = arrival(device.seal())
    header = pipeline.read_header(came)
    assert not isinstance(header, Refused)
    verdict = pipeline.prove(came, header, stolen, device.keys, CounterSet())
    assert isinstance(verdict, Held)
