"""Every byte of the two runs that an independent implementation made: handshakes, derivations, records.

Proves HM 8.2, HM 8.5.2.2.a and HM 8.5.2.2.b (both sides derive the same session keys), HM 8.5.5.1.a.
"""

from __future__ import annotations

import pytest

from meterseal.crypto import sm2
from meterseal.crypto.expose import expose
from meterseal.link import commands, control, evidence, messages, proving, records, schedule
from meterseal.link.control import Word
from meterseal.wire.frame import parse_frame
from tests.link.vectors import SENT, SUITES, PlayedDevice, Run, device_run, platform_run

both = pytest.mark.parametrize("run", SUITES, ids=["suite 1", "suite 2"])


@both
def test_level_seven_keys(run: Run) -> None:
    keys = schedule.bound_keys(run.key("k_bound"))
    assert expose(keys.link) == run.k_link
    assert expose(keys.command) == run.k_cmnd
    assert expose(keys.evidence) == run.k_evid
    assert expose(schedule.update_key(run.key("module_root"))) == run.k_updt


@both
def test_derivations(run: Run) -> None:
    platform = messages.parse_platform(run.platform)
    transcript = proving.Transcript(run.hello, run.platform, platform.chain_at, platform.signature_at)
    assert (transcript.th1, transcript.th2, transcript.th3) == (run.th1, run.th2, run.th3)
    assert transcript.th4(run.device) == run.th4
    assert schedule.exchange_secret(run.key("k_link"), run.n_d, run.n_p) == run.es
    agreed = schedule.NO_AGREEMENT
    if run.suite == 1:
        agreed = run.private("e_d_private").agree(run.private("e_p_private").public_point)
    assert schedule.handshake_secret(run.es, agreed) == run.hs
    assert schedule.traffic_keys(run.hs, run.seed, run.th4) == run.traffic


@both
def test_the_device_says_every_byte(run: Run) -> None:
    device = device_run(run, bound=5)
    assert device.hello(SENT) == run.hello
    assert device.platform(run.platform, SENT + 100) == run.device
    session = device.session(run.session, SENT + 200)
    assert session.keys == run.traffic
    assert session.session_id == run.session_id
    grant = [session.records_allowed, session.seconds_allowed, session.platform_at, session.policy]
    assert grant == run.raw["grant"]


@both
def test_the_platform_says_every_byte(run: Run) -> None:
    platform = platform_run(run)
    assert platform.begin(run.hello, SENT - 1000) == run.platform
    granted = platform.finish(run.device, SENT)
    assert granted.message == run.session
    assert granted.keys == run.traffic
    assert granted.th4 == run.th4
    assert (granted.device_id, granted.module_id) == (run.device_id, run.module_id)
    assert (granted.session_id, granted.suite) == (run.session_id, run.suite)


def test_the_signatures_of_suite_1_hold() -> None:
    run = SUITES[0]
    platform, device = run.private("platform_private"), run.private("device_private")
    assert sm2.verify(platform.public_point, schedule.signed_by_platform(run.th2), run.signature("platform"))
    assert sm2.verify(device.public_point, schedule.signed_by_device(run.th3), run.signature("device"))
    assert not sm2.verify(device.public_point, schedule.signed_by_device(run.th2), run.signature("device"))


def test_our_own_signatures_lead_to_a_session_too() -> None:
    run = SUITES[0]
    device = device_run(run)
    device._ports = PlayedDevice(run, replay_signature=False)
    hello = device.hello(SENT)
    platform = platform_run(run)
    answer = device.platform(platform.begin(hello, SENT), SENT)
    assert answer != run.device
    granted = platform.finish(answer, SENT)
    assert device.session(granted.message, SENT).keys == granted.keys


@both
def test_frame_records_seal_and_open(run: Run) -> None:
    for counter, vector in enumerate(run.records[:2], start=1):
        frames = [bytes.fromhex(one) for one in vector["frames"]]
        record = bytes.fromhex(vector["record"])
        assert records.seal_record(run.traffic, run.session_id, counter, frames, up=True) == record
        header = records.parse_header(record, up=True)
        assert (header.session_id, header.counter, header.wanted) == (run.session_id, counter, True)
        assert records.check_tag(run.traffic, record)
        sealed = records.parse_body(header, record)
        records.check_addresses(header, sealed, run.device_id)
        assert [one.encode() for one in records.open_frames(run.traffic, header, sealed)] == frames


def opened(run: Run, record: bytes, *, up: bool) -> Word:
    header = records.parse_header(record, up=up)
    assert records.check_tag(run.traffic, record)
    return control.open_control(run.traffic, header, record)


@both
def test_ack(run: Run) -> None:
    record = bytes.fromhex(run.records[2]["record"])
    (word,) = control.acks([1])
    assert control.seal_control(run.traffic, run.session_id, 1, word, up=False) == record
    assert control.read_ack(opened(run, record, up=False).content) == [range(1, 2)]


@both
def test_guarded_command(run: Run) -> None:
    vector = run.records[3]
    record, frame = bytes.fromhex(vector["record"]), bytes.fromhex(vector["frames"][0])
    mac = commands.authorise(run.key("k_cmnd"), run.device_id, 1, vector["not_after"], frame)
    sealed = commands.seal_guarded(
        run.traffic,
        run.session_id,
        2,
        number=1,
        not_after=vector["not_after"],
        authorisation=mac,
        frame=frame,
    )
    assert sealed == record
    header = records.parse_header(record, up=False)
    assert records.check_tag(run.traffic, record)
    command = commands.open_guarded(run.traffic, header, record, run.device_id)
    assert command.frame == parse_frame(frame)[0]
    facts = {"last_number": 0, "last_authorisation": b"", "clock": SENT, "bound": 0}
    assert commands.judge(run.key("k_cmnd"), run.device_id, command, **facts) == "act"


@both
def test_evidence(run: Run) -> None:
    vector = run.records[4]
    record = bytes.fromhex(vector["record"])
    word = opened(run, record, up=True)
    found = control.read_evidence(word.content, run.suite)
    assert (found.statement + found.signature).hex() == vector["statement"]
    statement = evidence.unpack(found.statement)
    assert statement.pack() == found.statement
    assert (statement.device_id, statement.channel, statement.sequence) == (run.device_id, 1, 1)
    assert (statement.register, statement.exponent, statement.unit) == (123458, -2, 0x2C)
    if run.suite == 1:
        point = run.private("device_private").public_point
        assert evidence.check_signature(point, found.statement, found.signature)
    else:
        assert evidence.check_mac(run.key("k_evid"), found.statement, found.signature)
    again = control.evidence(found.statement, found.signature)
    assert control.seal_control(run.traffic, run.session_id, 3, again, up=True) == record


@both
def test_key_update(run: Run) -> None:
    vector = run.records[5]
    record, update = bytes.fromhex(vector["record"]), run.key("k_updt")
    word = opened(run, record, up=False)
    version, bound = control.read_key(update, run.device_id, run.module_id, 1, word.content)
    assert (version, expose(bound)) == (2, bytes.fromhex(vector["k_bound"]))
    again = control.key(update, run.device_id, run.module_id, 2, bound)
    assert control.seal_control(run.traffic, run.session_id, 3, again, up=False) == record


def test_every_record_of_the_runs_has_a_test_here() -> None:
    for run in SUITES:
        firsts = [vector["what"].split()[0] for vector in run.records]
        assert firsts == ["cold", "20", "ACK", "guarded:", "EVIDENCE,", "KEY"]
