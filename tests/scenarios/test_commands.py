"""Words to meters, from the operator's desk to the meter's valve and back; whatever stops on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterseal.app import operator
from meterseal.app.commanding import CommandMeter
from meterseal.errors import DataError, LocalError, TrustError
from meterseal.headend.ports import Down
from meterseal.link import records
from meterseal.security.keyorders import Rotate, Rotated
from meterseal.security.orders import sign
from meterseal.things import rollout
from meterseal.things.commands import Act
from meterseal.things.verbs import frame_of
from meterseal.things.words import Outcome, Word
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import parse_frame
from meterseal.wire.meaning import interpret
from meterseal.wire.profile import profile_of
from tests.scenarios.small_system import ELECTRIC, GAS, HOUR, MASTER, WATER, System
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


STEPS = {
    "price1": "2.50",
    "volume1": "10",
    "price2": "3.75",
    "volume2": "20",
    "price3": "5.00",
    "start": "1",
}


@pytest.mark.parametrize(
    ("device_id", "act", "said", "shows"),
    [
        (WATER, "time", {}, lambda state: True),
        (WATER, "price", STEPS, lambda state: state.account.prices == (250, 375, 500)),
        (WATER, "purchase", {"serial": "1", "amount": "99.90"}, lambda state: state.account.bought == 9_990),
        (WATER, "settlement-day", {"day": "15"}, lambda state: state.parameters.settlement_day == 15),
        (WATER, "alarm-amount", {"amount": "20.00"}, lambda state: state.account.alarm_amount == 2_000),
        (GAS, "purchase", {"serial": "1", "amount": "50.00"}, lambda state: state.account.bought == 5_000),
        (ELECTRIC, "freeze", {}, lambda state: len(state.book.instants) == 1),
        (ELECTRIC, "day-table", {"periods": "6:1,22:4"}, lambda s: s.parameters.tariff_hours[6:8] == (1, 1)),
        (ELECTRIC, "load-limit", {"limit": "3.5"}, lambda state: state.load.limit == 3_500),
        (ELECTRIC, "relay-trip", {}, lambda state: state.valve == "closed"),
    ],
)
async def test_every_word_goes_from_an_officer_to_the_meter_which_confirms_it(
    system: System, device_id: bytes, act: Act, said: dict[str, str], shows: Callable[[Any], bool]
) -> None:
    await system.settle()
    now = system.clock.now
    frame = frame_of(device_id, act, said, profile_of(device_id), ser=9, until=now + HOUR, now=now)
    done = await system.until_ended(await system.command(frame, act, lasts=300_000))
    assert (done.state, done.act, done.number, done.officers) == ("done", act, 1, ("li", "wang"))
    assert (done.reason, done.sent_at is not None, bool(done.answer)) == ("a reason of a test", True, True)
    assert shows(system.nodes[device_id].meter.state)


@pytest.mark.parametrize(
    ("device_id", "act"), [(WATER, "freeze"), (ELECTRIC, "price"), (ELECTRIC, "purchase")]
)
def test_a_word_that_a_protocol_lacks_is_refused_with_the_reason(device_id: bytes, act: Act) -> None:
    with pytest.raises(LocalError, match=r"public|not ours") as refused:
        frame_of(device_id, act, STEPS, profile_of(device_id), ser=9, until=HOUR, now=0)
    assert refused.value.code == "use.act"


# --- what is lost, repeated or stopped on the way ------------------------------------------------------


class Turns:
    """Counts what a meter's valve was told; `cutting` cuts the link at that instant."""

    def __init__(self, system: System, device_id: bytes, *, cutting: bool = False) -> None:
        self.told: list[bool] = []
        meter = system.nodes[device_id].meter
        turn = meter.turn_valve

        def counted(*, opened: bool, now: int) -> object:
            self.told.append(opened)
            system.cut |= cutting
            return turn(opened=opened, now=now)

        meter.turn_valve = counted  # type: ignore[method-assign]


def guarded(system: System) -> list[records.Header]:
    """Headers of the guarded commands that the head-ends sent so far."""
    said = [one.message for one in system.said if one.message[:2] == b"MR"]
    return [header for header in map(records.parse_header, said) if header.guarded]


async def test_a_command_lost_on_the_way_is_sent_again_under_another_counter_and_acts_once(
    system: System,
) -> None:
    await system.settle()
    turns = Turns(system, WATER)
    system.cut = True
    word = await system.command(
        encode.valve_request(WATER, opened=False, ser=9), "valve-close", lasts=6 * HOUR
    )
    await system.until(lambda: guarded(system), "a first sending")
    system.cut = False
    done = await system.until_ended(word, turns=3_000)
    assert (done.state, done.number, turns.told) == ("done", 1, [False])
    assert done.attempts >= 2
    counters = [header.counter for header in guarded(system)]
    assert counters == sorted(set(counters))


async def test_a_command_whose_answer_is_lost_acts_once_and_is_known_to_be_done(system: System) -> None:
    await system.settle()
    turns = Turns(system, WATER, cutting=True)
    word = await system.command(
        encode.valve_request(WATER, opened=False, ser=9), "valve-close", lasts=6 * HOUR
    )
    await system.until(lambda: turns.told, "the act")
    for _ in range(40):
        await system.turn()
    assert (await system.outcome(word)).state == "sent"
    system.cut = False
    done = await system.until_ended(word)
    assert (done.state, turns.told) == ("done", [False])


@pytest.mark.parametrize("moment", ["queued", "sent", "acted"])
async def test_a_restart_of_everything_at_the_centre_loses_no_command_and_repeats_none(
    system: System, moment: str
) -> None:
    await system.settle()
    turns = Turns(system, WATER, cutting=moment == "acted")
    system.cut = moment != "acted"
    word = await system.command(
        encode.valve_request(WATER, opened=False, ser=9), "valve-close", lasts=12 * HOUR
    )
    if moment == "sent":
        await system.until(lambda: guarded(system), "a first sending")
    if moment == "acted":
        await system.until(lambda: turns.told, "the act")
    await system.centre.restart()
    system.move_to(0)
    system.cut = False
    done = await system.until_ended(word, turns=4_000)
    assert (done.state, done.number, turns.told) == ("done", 1, [False])


async def test_meters_that_lost_power_get_the_command_in_their_new_session(system: System) -> None:
    await system.settle()
    system.cut = True
    word = await system.command(
        encode.valve_request(WATER, opened=False, ser=9), "valve-close", lasts=12 * HOUR
    )
    await system.until(lambda: guarded(system), "a first sending")
    first = guarded(system)[0].session_id
    system.cut = False
    system.power_on()
    system.agent(WATER).restart(system.clock.now)
    turns = Turns(system, WATER)
    done = await system.until_ended(word)
    assert (done.state, done.number, turns.told) == ("done", 1, [False])
    assert guarded(system)[-1].session_id != first


async def test_a_riser_that_moved_to_another_head_end_gets_its_commands_there(system: System) -> None:
    await system.settle()
    system.move_to(1)
    word = await system.command(
        encode.valve_request(WATER, opened=False, ser=9), "valve-close", lasts=12 * HOUR
    )
    # Nobody spoke over the new line yet: the first head-end still owns the session and speaks into the void.
    for _ in range(5):
        await system.turn()
    request = await system.read(encode.read_request(GAS, ids.METERING, 7), lasts=12 * HOUR)
    for device_id in (WATER, GAS):
        system.agent(device_id).restart(system.clock.now)
    assert (await system.until_ended(word)).state == "done"
    assert (await system.until_ended(request)).state == "done"
    assert system.nodes[WATER].meter.state.valve == "closed"


async def test_a_head_end_that_lost_a_session_is_given_no_word_for_it(system: System) -> None:
    await system.settle()
    old = system.centre.uplinks[0].downlink
    system.move_to(1)
    meter = system.agent(WATER)
    meter._ping = True  # the meter speaks in its session, over the other head-end
    await system.until(lambda: system.line.down or (system.said and not meter._ping), "a PING")
    for _ in range(20):
        await system.turn()
    assert WATER in old._routes
    word = await system.command(encode.valve_request(WATER, opened=False, ser=9), "valve-close")
    assert (await system.until_ended(word)).attempts == 1
    assert WATER not in old._routes


async def test_commands_arrive_in_the_order_of_their_numbers(system: System) -> None:
    await system.settle()
    turns = Turns(system, WATER)
    system.cut = True
    words = [
        await system.command(
            encode.valve_request(WATER, opened=bool(number % 2), ser=number + 1),
            "valve-open" if number % 2 else "valve-close",
            lasts=6 * HOUR,
        )
        for number in range(4)
    ]
    await system.until(lambda: guarded(system), "a first sending")
    system.cut = False
    assert [(await system.until_ended(word)).state for word in words] == ["done"] * 4
    assert turns.told == [False, True, False, True]


async def test_a_command_recorded_on_the_way_and_played_again_does_nothing(system: System) -> None:
    await system.settle()
    turns = Turns(system, WATER)
    word = await system.command(encode.valve_request(WATER, opened=False, ser=9), "valve-close")
    await system.until_ended(word)
    recorded = [one for one in system.said if one.device_id == WATER and one.message[:2] == b"MR"]
    refused = system.agent(WATER).refused
    for one in recorded:
        system.concentrator.receive(one.device_id, one.message, system.clock.now)
        for _ in range(5):
            await system.turn()
    assert turns.told == [False]
    assert system.agent(WATER).refused == refused + len(recorded)


# --- time ----------------------------------------------------------------------------------------------


async def test_a_command_that_was_not_sent_in_its_time_never_is(system: System) -> None:
    await system.settle()
    turns = Turns(system, WATER)
    await system.centre.stop_headends()
    word = await system.command(encode.valve_request(WATER, opened=False, ser=9), "valve-close")
    system.clock.now += HOUR + 1
    assert (await system.outcome(word)).state == "expired"
    system.centre.start_headends()
    for _ in range(100):
        await system.turn()
    assert (guarded(system), turns.told) == ([], [])
    assert (await system.outcome(word)).state == "expired"


async def test_a_command_that_was_not_confirmed_in_its_time_is_unknown_until_its_answer_comes(
    system: System,
) -> None:
    await system.settle()
    turns = Turns(system, WATER, cutting=True)
    word = await system.command(encode.valve_request(WATER, opened=False, ser=9), "valve-close")
    await system.until(lambda: turns.told, "the act")
    system.clock.now += HOUR
    assert (await system.outcome(word)).state == "unknown"
    sent = len(guarded(system))
    system.cut = False
    await system.until(
        lambda: not system.agent(WATER).waiting() and system.agent(WATER).phase == "open", "rest"
    )
    done = await system.outcome(word)
    assert (done.state, turns.told) == ("done", [False])
    assert len(guarded(system)) == sent


# --- who may, and what may be said ---------------------------------------------------------------------


async def test_an_officer_without_the_role_and_a_signature_of_nobody_queue_nothing(system: System) -> None:
    order = system.order(encode.valve_request(WATER, opened=False))
    for officer, key in (
        ("li", system.officer),
        ("zhou", system.third_officer),
        ("zhao", system.officer),
        ("li", system.other_officer),
    ):
        asked = CommandMeter(
            order=order, act="valve-close", signatures=(sign(officer, key, "command", order),)
        )
        with pytest.raises(TrustError):
            await system.desk.call("command_meter", asked, Outcome)
    with pytest.raises(TrustError):
        await system.desk.call(
            "command_meter", CommandMeter(order=order, act="valve-close", signatures=()), Outcome
        )
    assert system.centre.parts.words.counts() == {}


async def test_the_same_order_twice_is_one_command(system: System) -> None:
    await system.settle()
    turns = Turns(system, WATER)
    order = system.order(encode.valve_request(WATER, opened=False))
    asked = CommandMeter(order=order, act="valve-close", signatures=system.signed(order))
    first = await system.desk.call("command_meter", asked, Outcome)
    assert (await system.until_ended(first)).state == "done"
    again = await system.desk.call("command_meter", asked, Outcome)
    assert (again.id, again.number, again.state) == (first.id, 1, "done")
    assert turns.told == [False]


async def test_a_frame_that_does_something_else_than_it_is_said_to_do_is_refused(system: System) -> None:
    for frame, act in (
        (encode.valve_request(WATER, opened=True), "valve-close"),
        (encode.valve_request(GAS, opened=True), "valve-close"),
        (encode.write_request(WATER, ids.WRITE_CLOCK, bytes(7)), "valve-open"),
    ):
        with pytest.raises(LocalError) as refused:
            await system.command(frame, act)  # type: ignore[arg-type]
        assert refused.value.code == "command.act"
    with pytest.raises(LocalError):  # a command dressed as a question
        await system.read(encode.valve_request(WATER, opened=False))
    with pytest.raises(DataError):
        await system.read(encode.read_request(bytes.fromhex("1078330000000000"), ids.METERING))
    assert system.centre.parts.words.counts() == {}


async def test_a_meter_that_knows_no_such_identifier_says_so(system: System) -> None:
    await system.settle()
    held = system.centre.parts.mdms.counts().quarantined
    for frame in (encode.read_request(WATER, 0x9FFF, 3), encode.read_request(ELECTRIC, 0x00990000)):
        done = await system.until_ended(await system.read(frame))
        assert done.state == "refused"
        assert interpret(parse_frame(done.answer)[0]).error
    assert system.centre.parts.mdms.counts().quarantined == held


async def test_what_was_asked_and_answered_is_on_disk_only_sealed(system: System, tmp_path: Path) -> None:
    await system.settle()
    frame = encode.valve_request(WATER, opened=False, ser=0xA7)
    done = await system.until_ended(await system.command(frame, "valve-close"))
    read = await system.until_ended(await system.read(encode.read_request(WATER, ids.METERING, 0xA8)))
    for path in tmp_path.glob("control.db*"):
        stored = path.read_bytes()
        for clear in (frame.encode()[10:], done.answer[10:], read.answer[10:26], b"a reason of a test"):
            assert clear not in stored


# --- keys and certificates -----------------------------------------------------------------------------


async def test_every_module_moves_to_a_new_key_over_the_link_and_a_waiting_command_with_it(
    system: System,
) -> None:
    await system.settle()
    turns = Turns(system, WATER)
    await system.centre.service_call("rotate", Rotate(kind="diak"), Rotated)
    system.cut = True  # the command is authorised under the old key, and does not arrive before the new one
    word = await system.command(
        encode.valve_request(WATER, opened=False, ser=9), "valve-close", lasts=24 * HOUR
    )
    report = msgspec.json.decode((await system.desk.call("rollout", operator.Page(), operator.Text)).json)
    # The concentrator has a module too.
    assert (report["keys_behind"], report["keys_queued"], report["keys_waiting"]) == (4, 4, 0)
    again = msgspec.json.decode((await system.desk.call("rollout", operator.Page(), operator.Text)).json)
    assert (again["keys_queued"], again["keys_waiting"]) == (0, 4)
    await system.until(lambda: guarded(system), "a first sending")
    system.cut = False
    counts = system.centre.parts.words.counts
    await system.until(lambda: counts().get("rekey", {}).get("done", 0) == 4, "new keys", turns=6_000)
    await system.settle()
    assert {system.chip_state(device_id).key_version for device_id in (WATER, GAS, ELECTRIC)} == {2}
    assert (await system.facts(MASTER)).key_version == 2
    assert counts()["key"] == {"done": 4}
    assert (await system.until_ended(word)).number == 1
    assert turns.told == [False]
    done = msgspec.json.decode((await system.desk.call("rollout", operator.Page(), operator.Text)).json)
    assert (done["keys_behind"], done["keys_queued"], done["refused"]) == (0, 0, 0)
    await system.check_complete()


async def test_a_certificate_near_its_end_is_renewed_over_the_link(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.settle()
    before = (await system.facts(WATER)).chain[0]
    monkeypatch.setattr(rollout, "DUE_WITHIN", 40 * 365 * 24 * HOUR)
    system.clock.now += 24 * HOUR  # a certificate of today ends no later than one of today
    report = await system.centre.parts.rollout.run()
    assert report.certificates_queued >= 1
    counts = system.centre.parts.words.counts
    due = {"done": report.certificates_queued}
    await system.until(lambda: counts()["cert"] == due, "new certificates", turns=4_000)
    assert (await system.facts(WATER)).chain[0] != before


async def test_a_word_that_the_service_did_not_authorise_moves_nothing_whoever_queues_it(
    system: System,
) -> None:
    """A platform in wrong hands: it can queue what it likes, and the module wants K_cmnd."""
    await system.settle()
    turns = Turns(system, WATER)
    frame = encode.valve_request(WATER, opened=False).encode()
    down = Down(
        kind="guarded", content=frame, number=9, not_after=system.clock.now + HOUR, authorisation=bytes(16)
    )
    forged = Word(request_id=bytes(16), device_id=WATER, not_after=system.clock.now + HOUR, down=down)
    await system.centre.parts.words.put(forged)
    bare = Word(
        request_id=b"1" * 16,
        device_id=WATER,
        not_after=system.clock.now + HOUR,
        down=Down(kind="request", content=frame),
    )
    await system.centre.parts.words.put(bare)
    await system.until(lambda: guarded(system), "a sending")
    for _ in range(50):
        await system.turn()
    assert turns.told == []
    assert system.agent(WATER).refused == 2
    await asyncio.sleep(0)
