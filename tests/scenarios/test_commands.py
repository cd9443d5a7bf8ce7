"""Words to meters, from the operator's desk to the meter's valve and back; whatever stops on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meterseal.errors import LocalError
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import parse_frame
from meterseal.wire.meaning import interpret
from tests.scenarios.small_system import ELECTRIC, GAS, HOUR, WATER, System
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[System]:
    made = System(tmp_path)
    await made.start()
    yield made
    await made.centre.stop()


async def test_a_meter_is_read_now_and_its_answer_completes_the_word(system: System) -> None:
    await system.settle()
    word = await system.read(encode.read_request(WATER, ids.METERING, 7))
    assert word.state == "waiting"
    done = await system.until_ended(word)
    assert (done.state, done.attempts) == ("done", 1)
    said = interpret(parse_frame(done.answer, 0, "cjt188")[0])
    assert said.readings["cumulative_volume"].register == system.nodes[WATER].meter.readings.register(
        1, system.clock.now
    )


async def test_a_word_that_was_queued_before_the_meter_had_a_session_reaches_it_with_its_first(
    system: System,
) -> None:
    word = await system.read(encode.read_request(ELECTRIC, 0x00010000))
    done = await system.until_ended(word)
    assert done.state == "done"


async def test_an_officers_command_closes_a_valve_once(system: System) -> None:
    await system.settle()
    frame = encode.valve_request(WATER, opened=False, ser=9)
    word = await system.command(frame, "valve-close")
    done = await system.until_ended(word)
    assert (done.state, done.number, done.attempts) == ("done", 1, 1)
    assert system.nodes[WATER].meter.state.valve == "closed"
    assert done.answer[9] == 0x84
    again = await system.command(encode.valve_request(WATER, opened=True, ser=10), "valve-open")
    assert (await system.until_ended(again)).number == 2
    assert system.nodes[WATER].meter.state.valve == "open"


async def test_nobody_opens_a_gas_valve_from_afar(system: System) -> None:
    await system.settle()
    meter = system.nodes[GAS].meter
    closed = await system.command(encode.valve_request(GAS, opened=False, ser=1), "valve-close")
    assert (await system.until_ended(closed)).state == "done"
    opens = encode.valve_request(GAS, opened=True, ser=2)
    with pytest.raises(LocalError) as refused:
        await system.command(opens, "valve-open")
    assert refused.value.code == "command.gas-valve"
    assert not meter.press_button(system.clock.now)
    permit = await system.command(opens, "valve-permit")
    assert (await system.until_ended(permit)).state == "done"
    assert meter.state.valve == "closed"
    assert meter.press_button(system.clock.now)


async def test_a_permission_to_open_by_hand_ends_after_an_hour(system: System) -> None:
    await system.settle()
    meter = system.nodes[GAS].meter
    for opened, act in ((False, "valve-close"), (True, "valve-permit")):
        word = await system.command(encode.valve_request(GAS, opened=opened, ser=1 + opened), act)  # type: ignore[arg-type]
        await system.until_ended(word)
    assert not meter.press_button(system.clock.now + HOUR)
    assert meter.state.valve == "closed"
