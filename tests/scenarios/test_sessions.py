"""What ends and renews sessions, on real parts: limits, REKEY and CLOSE from either side, silence, another head-end,
withdrawal. Each time every reading arrives once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meterseal.app import operator
from meterseal.headend.ports import Down
from meterseal.link import control, records
from meterseal.mesh.rpc import Empty
from meterseal.security import handshake
from meterseal.security.messages import WithdrawRequest
from meterseal.things.words import Word
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from tests.scenarios.small_system import ELECTRIC, GAS, HOUR, KINDS, WATER, System
from tests.security.conftest import cheap_stretching
from tests.wire import built

__all__ = ["cheap_stretching"]


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[System]:
    made = System(tmp_path)
    await made.start()
    yield made
    await made.centre.stop()


async def say(system: System, device_id: bytes, down: Down) -> int:
    word = Word(
        request_id=device_id + device_id, device_id=device_id, not_after=system.clock.now + HOUR, down=down
    )
    return await system.centre.parts.words.put(word)


def sessions_of(system: System, device_id: bytes) -> list[bytes]:
    """Sessions that the device sent records in, in order of their first."""
    own = [one.message for one in system.heard if one.device_id == device_id and one.message[:2] == b"MR"]
    return list(dict.fromkeys(message[4:12] for message in own))


def counters(system: System, device_id: bytes) -> list[tuple[bytes, int, bytes]]:
    own = [one.message for one in system.heard if one.device_id == device_id and one.message[:2] == b"MR"]
    return [(header.session_id, header.counter, one) for one in own if (header := records.parse_header(one))]


async def test_a_session_ends_after_the_records_it_allows_and_the_rest_goes_in_the_next(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "RECORDS_ALLOWED", 3)
    await system.settle()
    await system.check_complete()
    for device_id in KINDS:
        assert len(sessions_of(system, device_id)) >= 2
        assert max(counter for _, counter, _ in counters(system, device_id)) <= 3
        # One counter, one record: what was sent again was sent byte for byte.
        by_place = {(session, counter): record for session, counter, record in counters(system, device_id)}
        assert len(by_place) == len(set(counters(system, device_id)))


async def test_a_session_ends_after_the_seconds_it_allows_for_both_senders(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "SECONDS_ALLOWED", 600)
    await system.settle()
    before = {device_id: sessions_of(system, device_id)[-1] for device_id in KINDS}
    system.clock.now += 600_000
    word = await system.read(encode.read_request(WATER, ids.METERING, 7))
    for _ in range(40):
        await system.turn()
    assert (await system.outcome(word)).attempts == 0  # the platform does not send in it either
    system.agent(WATER)._ping = True  # the meter has something to say, and may not say it in that session
    done = await system.until_ended(word)
    assert done.state == "done"
    assert sessions_of(system, WATER)[-1] != before[WATER]


async def test_rekey_from_the_platform_and_from_the_device_makes_a_new_session_and_loses_nothing(
    system: System,
) -> None:
    await system.until(lambda: sessions_of(system, WATER), "a session")
    word = await say(system, WATER, Down(kind="rekey", content=b""))
    secured = system.nodes[GAS].secured
    assert secured is not None
    await system.until(lambda: sessions_of(system, GAS), "a session")
    rekey = secured.chip.seal_control(control.REKEY, system.clock.now)
    system.centre.uplinks[0].receive(system.line, GAS, rekey.record)  # type: ignore[arg-type]
    secured.agent.restart(system.clock.now)
    await system.settle()
    await system.check_complete()
    assert len(sessions_of(system, WATER)) >= 2
    assert len(sessions_of(system, GAS)) >= 2
    assert system.centre.parts.words.outcome(word).state == "done"


async def test_close_from_the_platform_ends_the_session_and_the_device_comes_again(system: System) -> None:
    await system.settle()
    before = sessions_of(system, WATER)
    word = await say(system, WATER, Down(kind="close", content=b"\x00"))
    shaken = system.agent(WATER).handshakes
    await system.until(lambda: system.agent(WATER).handshakes > shaken, "a new session")
    await system.settle()
    assert system.centre.parts.words.outcome(word).state == "done"
    assert sessions_of(system, WATER)[: len(before)] == before
    assert sessions_of(system, WATER)[-1] not in before


async def test_close_from_the_device_ends_what_is_sent_to_it_there(system: System) -> None:
    await system.settle()
    secured = system.nodes[WATER].secured
    assert secured is not None
    closing = secured.chip.seal_control(control.CLOSE, system.clock.now, b"\x00")
    downlink = system.centre.uplinks[0].downlink
    assert WATER in downlink._routes
    system.centre.uplinks[0].receive(system.line, WATER, closing.record)  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    assert WATER not in downlink._routes


async def test_a_device_with_a_backlog_shakes_hands_again_after_eight_sends_and_delivers_each_reading_once(
    system: System,
) -> None:
    await system.until(lambda: len(counters(system, WATER)) > 1, "a first record")
    system.cut = True
    shaking = system.agent(WATER)
    await system.until(lambda: shaking.phase != "open", "giving up", turns=4_000)
    system.cut = False
    await system.settle()
    await system.check_complete()
    assert len(sessions_of(system, WATER)) >= 2


async def test_silence_past_its_schedule_makes_a_device_ask_and_then_shake_hands_again(
    system: System,
) -> None:
    await system.settle()
    agent, shaken = system.agent(WATER), system.agent(WATER).handshakes
    heard = len(counters(system, WATER))
    system.clock.now += 6 * HOUR
    await system.until(lambda: len(counters(system, WATER)) > heard, "a PING")
    for _ in range(40):
        await system.turn()
    assert (agent.handshakes, agent.phase) == (shaken, "open")  # it was answered: all is well
    system.cut = True
    system.clock.now += 6 * HOUR
    await system.until(lambda: agent.phase != "open", "giving up", turns=4_000)
    system.cut = False
    await system.until(lambda: agent.handshakes > shaken, "a new session", turns=4_000)


async def test_sessions_are_taken_up_by_a_second_head_end_in_the_middle_of_a_delivery(system: System) -> None:
    await system.until(lambda: len(counters(system, WATER)) > 1, "a first record")
    system.move_to(1)
    for _ in range(3):
        await system.turn()
    system.move_to(0)
    await system.settle()
    await system.check_complete()
    for device_id in KINDS:
        assert len(sessions_of(system, device_id)) == 1  # nobody had to shake hands again for it
    assert all(system.agent(device_id).refused == 0 for device_id in KINDS)


async def test_t8_an_open_session_of_a_withdrawn_module_is_cut_and_no_new_one_is_made(system: System) -> None:
    await system.settle()
    uplink = system.centre.uplinks[0]
    live = await uplink.sessions.get(sessions_of(system, WATER)[-1], system.clock.now)
    assert live is not None
    gone = WithdrawRequest(device_id=WATER, module_id=b"M" + WATER[1:])
    await system.centre.service_call("withdraw", gone, Empty)
    await system.centre.parts.revoking.run()
    await system.centre.parts.revoking.run()  # what was cut is cut
    # The head-end asks every 15 s by itself; here it is let ask now, not waited for.
    for work in system.centre.revocations:
        await work.look()
    counts = await system.desk.call("counts", operator.Page(), operator.Counts)
    agent, accepted = system.agent(WATER), uplink.counts["accepted"]
    secured = system.nodes[WATER].secured
    assert secured is not None
    frame = built.current_data_answer(WATER, built.volume_payload(9_999, 0, system.clock.now))
    record = secured.chip.seal(frame.encode(), system.clock.now).record
    uplink.receive(system.line, WATER, record)  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    assert uplink.counts["accepted"] == accepted
    agent.restart(system.clock.now)
    for _ in range(200):
        await system.turn()
    assert agent.phase in ("calling", "silent")
    after = await system.desk.call("counts", operator.Page(), operator.Counts)
    assert after.readings == counts.readings
    assert after.refused > counts.refused
    other = await system.read(encode.read_request(ELECTRIC, 0x00010000))
    assert (await system.until_ended(other)).state == "done"  # nobody else is touched


async def test_t8_a_restarted_head_end_opens_no_session_of_a_withdrawn_module(system: System) -> None:
    await system.settle()
    session_id = sessions_of(system, WATER)[-1]
    gone = WithdrawRequest(device_id=WATER, module_id=b"M" + WATER[1:])
    await system.centre.service_call("withdraw", gone, Empty)
    await system.centre.parts.revoking.run()
    await system.centre.stop_headends()
    system.centre.start_headends()
    assert await system.centre.uplinks[0].sessions.get(session_id, system.clock.now) is None
