"""Words to meters without a module, which their concentrator passes on; and to the concentrator, about whom it reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterseal import model
from meterseal.app import commanding, operator
from meterseal.app.alarming import Alarms, Since
from meterseal.app.commanding import (
    CommandMeter,
    Outcomes,
    ReadMeter,
    Way,
    WordQuery,
)
from meterseal.app.exchanging import Changed, ChangeMeter, NewMeter
from meterseal.edge.agent import Item
from meterseal.edge.concentrator import MeterAt
from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.gas import GasMeter
from meterseal.edge.meter import Meter
from meterseal.edge.metering.counting import born
from meterseal.edge.metering.design import DESIGNS
from meterseal.edge.metering.inputs import Opened
from meterseal.edge.node import Node
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.roster import MOST_METERS, Roster
from meterseal.edge.watching import EVERY
from meterseal.edge.water import WaterMeter
from meterseal.errors import LocalError, TrustError
from meterseal.headend.ports import Down
from meterseal.headend.saying import say
from meterseal.kit.bus import Bus
from meterseal.mesh.rpc import InProcess
from meterseal.security.enrolled import DEFAULT_ZONE
from meterseal.security.orders import CommandOrder, encoded, fresh_request_id
from meterseal.security.sdk import SecuritySdk
from meterseal.things.admission import Admission
from meterseal.things.commands import Act
from meterseal.things.verbs import frame_of
from meterseal.things.word import Word
from meterseal.things.words import Outcome
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.meaning import interpret
from meterseal.wire.profile import profile_of
from meterseal.wire.roster import Listed, roster_frame
from tests.scenarios.small_system import HOUR, KINDS, MASTER, PACE, PROJECT, SINCE, STORAGE, Counting, System
from tests.scenarios.small_system import WATER as SEALED
from tests.security.conftest import cheap_stretching
from tests.wire import built

__all__ = ["cheap_stretching"]

WATER = bytes.fromhex("1078330011220077")
GAS = bytes.fromhex("3078330011220078")
POWER = bytes.fromhex("d700000000000277")
NEXT = bytes.fromhex("1078330011220099")
"""Comes in the place of WATER; nobody told the concentrator of it."""
PLAIN: dict[bytes, type[Meter]] = {WATER: WaterMeter, GAS: GasMeter, POWER: ElectricityMeter}


class Riser(System):
    """The small system with three plain meters more behind its concentrator."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.silent: set[bytes] = set()
        self.there = dict(PLAIN)
        self.plain: dict[bytes, Meter] = {}

    async def _enrol(self) -> None:
        await super()._enrol()
        supplies = tuple(
            operator.Supply(
                device_id=device_id,
                medium=kind.medium,
                protocol="dlt645" if kind is ElectricityMeter else "cjt188",
                profile=f"{kind.medium}-generic",
                since=SINCE,
                concentrator_id=MASTER,
            )
            for device_id, kind in PLAIN.items()
        )
        home = operator.NewPremises(name="", address="", supplies=supplies)
        await self.desk.call("enrol", operator.Enrol(premises=(home,)), operator.EnrolReply)

    def power_on(self) -> None:
        super().power_on()
        self.lay()

    def behind(self) -> list[MeterAt]:
        return [MeterAt(device_id=one, plain=one in PLAIN) for one in (*KINDS, *PLAIN)]

    def lay(self) -> None:
        """Put on the bus what is there and not silent."""
        for device_id, kind in self.there.items():
            if device_id not in self.plain:
                lived = kind is ElectricityMeter  # what it freezes it counted itself
                self.plain[device_id] = kind(
                    device_id,
                    None if lived else Counting(device_id),
                    born(DESIGNS[kind.medium], SINCE, (4_711,)) if lived else None,
                    clear_writes=True,
                )
        heard = [
            Node(meter) for one, meter in self.plain.items() if one in self.there and one not in self.silent
        ]
        self.bus = Bus([*self.nodes.values(), *heard])

    async def ready(self) -> None:
        await self.until(lambda: self.concentrator.agent.phase == "open", "a session")
        for _ in range(20):
            await self.turn()

    def frame(self, device_id: bytes, act: Act, **said: str) -> Frame:
        now = self.clock.now
        return frame_of(device_id, act, said, profile_of(device_id), ser=9, until=now + HOUR, now=now)

    def ordered(self, frame: Frame, lasts: int = HOUR, concentrator: bytes = MASTER) -> bytes:
        return encoded(
            CommandOrder(
                request_id=fresh_request_id(),
                device_id=concentrator,
                zone=DEFAULT_ZONE,
                frame=frame.encode(),
                not_after=self.clock.now + lasts,
                reason="a reason of a test",
                project_id=PROJECT,
            )
        )

    async def tell(self, device_id: bytes, act: Act, lasts: int = HOUR, **said: str) -> Outcome:
        order = self.ordered(self.frame(device_id, act, **said), lasts)
        asked = CommandMeter(order=order, act=act, signatures=self.signed(order))
        return await self.desk.call("command_meter", asked, Outcome)

    async def done(self, device_id: bytes, act: Act, **said: str) -> Outcome:
        word = await self.until_ended(await self.tell(device_id, act, **said))
        assert word.meter == device_id
        return word


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[Riser]:
    made = Riser(tmp_path)
    await made.start()
    await made.ready()
    yield made
    await made.centre.stop()


async def test_a_plain_meters_valve_is_closed_and_opened_and_its_own_answer_confirms_it(
    system: Riser,
) -> None:
    way = await system.desk.call("command_way", WordQuery(device_id=WATER), Way)
    assert (way.plain, way.concentrator_id, way.model) == (True, MASTER, "water-generic")
    closed = await system.done(WATER, "valve-close")
    assert (closed.state, closed.device_id, closed.number) == ("done", MASTER, 1)
    assert system.plain[WATER].state.valve == "closed"
    assert parse_frame(closed.answer)[0].device_id == WATER
    assert (await system.done(WATER, "valve-open")).number == 2
    assert system.plain[WATER].state.valve == "open"
    said = await system.desk.call("words", WordQuery(device_id=WATER), Outcomes)
    assert [(one.act, one.meter, one.reason) for one in said.words] == [
        ("valve-open", WATER, "a reason of a test"),
        ("valve-close", WATER, "a reason of a test"),
    ]


async def test_every_word_of_the_issue_reaches_plain_meters(system: Riser) -> None:
    water, power = system.plain[WATER], system.plain[POWER]
    timed = await system.tell(WATER, "time", lasts=300_000)
    assert (await system.until_ended(timed)).state == "done"
    steps = {
        "price1": "2.50",
        "volume1": "10",
        "price2": "3.75",
        "volume2": "20",
        "price3": "5.00",
        "start": "1",
    }
    assert (await system.done(WATER, "price", **steps)).state == "done"
    assert water.state.account.prices == (250, 375, 500)
    assert (await system.done(WATER, "purchase", serial="1", amount="100.00")).state == "done"
    assert (water.state.account.serial, water.state.account.bought) == (1, 10_000)
    assert (await system.done(WATER, "settlement-day", day="15")).state == "done"
    assert water.state.parameters.settlement_day == 15
    assert (await system.done(POWER, "freeze")).state == "done"
    assert len(power.state.book.instants) == 1
    assert (await system.done(POWER, "relay-trip")).state == "done"
    assert power.state.valve == "closed"


async def test_a_plain_meter_is_read_now(system: Riser) -> None:
    for device_id, di, name in ((WATER, ids.METERING, "cumulative_volume"), (POWER, 0x02010100, "voltage_a")):
        frame = encode.read_request(device_id, di, 7)
        asked = ReadMeter(device_id=MASTER, frame=frame.encode(), not_after=system.clock.now + HOUR)
        word = await system.until_ended(await system.desk.call("read_meter", asked, Outcome))
        assert word.state == "done"
        assert name in interpret(parse_frame(word.answer)[0]).readings


async def test_a_word_reaches_a_concentrator_that_is_connected_to_a_new_head_end_and_has_nothing_to_say(
    system: Riser,
) -> None:
    await system.centre.stop_headends()
    system.centre.start_headends()
    system.connect()
    heard = len(system.heard)
    word = await system.tell(GAS, "valve-close")
    assert not [one for one in system.heard[heard:] if one.device_id == MASTER]
    assert (await system.until_ended(word)).state == "done"


async def test_what_a_meter_refuses_is_refused_in_its_own_words(system: Riser) -> None:
    assert (await system.done(WATER, "purchase", serial="7", amount="1.00")).state == "refused"
    assert system.plain[WATER].state.account.bought == 0


async def test_the_same_purchase_is_credited_once_for_each_meter(system: Riser) -> None:
    assert (await system.done(WATER, "purchase", serial="1", amount="5.00")).state == "done"
    with pytest.raises(LocalError) as refused:
        await system.tell(WATER, "purchase", serial="1", amount="5.00")
    assert refused.value.code == "command.purchase"
    assert (await system.done(GAS, "purchase", serial="1", amount="5.00")).state == "done"


async def test_nobody_opens_a_plain_gas_meters_valve_from_afar(system: Riser) -> None:
    gas = system.plain[GAS]
    assert (await system.done(GAS, "valve-close")).state == "done"
    order = system.ordered(encode.valve_request(GAS, opened=True, ser=3))
    asked = CommandMeter(order=order, act="valve-open", signatures=system.signed(order))
    with pytest.raises(LocalError) as refused:
        await system.desk.call("command_meter", asked, Outcome)
    assert refused.value.code == "command.gas-valve"
    assert (await system.done(GAS, "valve-permit")).state == "done"
    assert gas.state.valve == "closed"
    assert gas.press_button(system.clock.now)


async def test_one_officer_twice_closes_no_plain_meters_valve(system: Riser) -> None:
    order = system.ordered(system.frame(WATER, "valve-close"))
    li = system.signed(order)[:1]
    for signatures in (li, li * 2):
        asked = CommandMeter(order=order, act="valve-close", signatures=signatures)
        with pytest.raises(TrustError):
            await system.desk.call("command_meter", asked, Outcome)
    assert system.plain[WATER].state.valve == "open"


async def test_no_concentrator_is_told_anything_for_a_meter_that_has_a_module(system: Riser) -> None:
    frame = encode.valve_request(SEALED, opened=False, ser=3)
    order = system.ordered(frame)
    asked = CommandMeter(order=order, act="valve-close", signatures=system.signed(order))
    with pytest.raises(LocalError) as refused:
        await system.desk.call("command_meter", asked, Outcome)
    assert refused.value.code == "command.elsewhere"
    # A platform in wrong hands goes past its own check; the security service does not.
    security = SecuritySdk(InProcess(system.centre.offered, "platform"))
    with pytest.raises(TrustError) as denied:
        await security.authorise_command(order, list(system.signed(order)))
    assert denied.value.code == "security.not-plain"


async def test_a_silent_meter_is_told_again_until_it_answers_and_acts_once(system: Riser) -> None:
    told: list[bool] = []
    meter = system.plain[WATER]
    turn = meter.turn_valve
    meter.turn_valve = lambda *, opened, now: (told.append(opened), turn(opened=opened, now=now))[1]  # type: ignore[method-assign]
    system.silent = {WATER}
    system.lay()
    word = await system.tell(WATER, "valve-close")
    for _ in range(60):
        await system.turn()
    assert (await system.outcome(word)).state == "sent"
    system.silent = set()
    system.lay()
    assert (await system.until_ended(word)).state == "done"
    assert told == [False]


async def test_a_meter_that_stays_silent_is_told_nothing_any_more_and_holds_up_nobody_else(
    system: Riser,
) -> None:
    system.silent = {WATER}
    system.lay()
    dead = await system.tell(WATER, "valve-close")
    other = await system.tell(GAS, "valve-close")
    assert (await system.until_ended(dead)).state == "unknown"
    assert (await system.until_ended(other)).state == "done"
    system.silent = set()
    system.lay()
    for _ in range(200):
        await system.turn()
    assert system.plain[WATER].state.valve == "open"
    read = await system.desk.call(
        "read_meter",
        ReadMeter(
            device_id=MASTER,
            frame=encode.read_request(WATER, ids.METERING, 5).encode(),
            not_after=system.clock.now + HOUR,
        ),
        Outcome,
    )
    assert (await system.until_ended(read)).state == "done"


async def test_a_command_whose_time_is_over_is_not_passed_on_any_more(system: Riser) -> None:
    system.silent = {WATER}
    system.lay()
    word = await system.tell(WATER, "valve-close", lasts=20_000)
    for _ in range(60):
        await system.turn()
    system.clock.now += 60_000
    system.silent = set()
    system.lay()
    assert (await system.until_ended(word)).state == "unknown"
    for _ in range(40):
        await system.turn()
    assert system.plain[WATER].state.valve == "open"


async def test_a_command_whose_answer_is_lost_is_answered_again_and_not_done_again(system: Riser) -> None:
    told: list[bool] = []
    meter = system.plain[WATER]
    turn = meter.turn_valve

    def once(*, opened: bool, now: int) -> object:
        told.append(opened)
        system.cut = True
        return turn(opened=opened, now=now)

    meter.turn_valve = once  # type: ignore[method-assign]
    word = await system.tell(WATER, "valve-close")
    await system.until(lambda: told, "the act")
    for _ in range(30):
        await system.turn()
    system.power_on()  # the concentrator forgets what it did not send; its module does not
    system.plain[WATER] = meter
    system.lay()
    system.cut = False
    assert (await system.until_ended(word, turns=4_000)).state == "done"
    assert told == [False]


async def test_a_head_end_in_wrong_hands_passes_no_write_off_as_a_read(system: Riser) -> None:
    """What is not guarded may only read, whoever says it and however it came into the queue."""
    write = system.frame(WATER, "valve-close").encode()
    word = Word(
        request_id=fresh_request_id()[:16],
        device_id=MASTER,
        not_after=system.clock.now + HOUR,
        down=Down(kind="request", content=write),
        act="read",
    )
    await system.centre.parts.words.put(word)
    for _ in range(60):
        await system.turn()
    assert system.plain[WATER].state.valve == "open"


@pytest.mark.parametrize("silent", [False, True])
async def test_an_answer_that_comes_again_when_nothing_is_awaited_any_more_lands_in_no_quarantine(
    system: Riser, silent: bool
) -> None:
    """A word that was given out twice is answered twice, out of the module's memory, in records of their own."""
    if silent:
        system.silent = {WATER}
        system.lay()
    word = await system.done(WATER, "valve-close")
    assert word.state == ("unknown" if silent else "done")
    for _ in range(60):
        await system.turn()
    assert not system.centre.uplinks[system.at].downlink.awaits(MASTER)
    accepted = system.centre.uplinks[system.at].counts["accepted"]
    system.concentrator.agent.queue(Item(("answer", 1), word.answer))
    await system.until(lambda: not system.concentrator.agent.waiting(), "an acknowledgement")
    for _ in range(20):
        await system.turn()
    assert system.centre.uplinks[system.at].counts["accepted"] > accepted
    await system.centre.parts.mdms.settle()
    assert system.centre.parts.mdms.quarantine() == []
    assert (await system.outcome(word)).state == word.state


# --- whom a concentrator reads ------------------------------------------------------------------------------


async def exchanged(system: Riser) -> Changed:
    now = system.clock.now
    asked = ChangeMeter(
        removed=WATER,
        installed=NEXT,
        at=now - 60_000,
        last=f"{system.plain[WATER].readings.register(1, now) / 100:.2f}",
        first="0",
        reason="worn",
        installer="7",
        counted_on=True,
    )
    changed = await system.desk.call("change_meter", asked, Changed)
    del system.there[WATER]
    system.there[NEXT] = WaterMeter
    system.lay()
    return changed


async def test_after_an_exchange_the_concentrator_learns_its_new_list_and_keeps_it(system: Riser) -> None:
    before = await system.readings(WATER)
    await system.centre.stop_headends()
    waiting = await system.tell(WATER, "valve-close", lasts=20 * HOUR)
    changed = await exchanged(system)
    assert changed.words_ended == 1
    assert (await system.outcome(waiting)).state == "withdrawn"
    system.centre.start_headends()
    system.connect()
    assert [(one.concentrator_id, one.device_id, one.act, one.given) for one in changed.roster] == [
        (MASTER, WATER, "roster-remove", {}),
        (MASTER, NEXT, "roster-add", {"bus": "0"}),
    ]
    assert (await system.done(WATER, "roster-remove")).state == "done"
    added = await system.done(NEXT, "roster-add", bus="0")
    assert added.state == "done"
    for cut in (False, True):
        if cut:
            system.power_on()
        (riser,) = system.concentrator.risers
        assert WATER not in riser.lines
        assert riser.lines[NEXT].plain
    system.clock.now += PACE.plain
    for _ in range(60):
        await system.turn()
    assert await system.readings(NEXT)
    assert before.items() <= {**(await system.readings(NEXT)), **before}.items()


OTHER = bytes.fromhex("f000000000000002")


async def moved_away(system: Riser) -> Changed:
    """WATER goes behind another concentrator, to where a meter with a module was; both are on MASTER's bus still."""
    serial = b"M" + OTHER[1:]
    system.nv[OTHER] = MemoryNv()
    asked = operator.EnrolConcentrator(
        device_id=OTHER,
        name="next door",
        module_id=serial,
        module_point=system.chip(OTHER).make_key(serial),
        key_password=b"a password of a key",
    )
    await system.desk.call("enrol_concentrator", asked, operator.ConcentratorIdentity)
    now = system.clock.now
    shown = f"{system.plain[WATER].readings.register(1, now) / 100:.2f}"
    said: dict[str, Any] = {"reason": "the riser was split", "installer": "7"}
    last = f"{system.nodes[SEALED].meter.readings.register(1, now) / 100:.2f}"
    out = ChangeMeter(removed=SEALED, at=now - 120_000, last=last, counted_on=True, **said)
    left = await system.desk.call("change_meter", out, Changed)
    assert [(one.concentrator_id, one.device_id, one.act) for one in left.roster] == [
        (MASTER, SEALED, "roster-remove")
    ]
    move = ChangeMeter(
        removed=WATER, installed=WATER, usage_point=left.left, at=now - 60_000, last=shown,
        new=NewMeter(concentrator_id=OTHER, riser=1), **said,
    )  # fmt: skip
    return await system.desk.call("change_meter", move, Changed)


async def test_a_concentrator_is_told_of_a_meter_that_moved_behind_another_one_and_speaks_for_it_no_more(
    system: Riser,
) -> None:
    system.cut = True
    lost = await system.tell(WATER, "valve-close", lasts=20 * HOUR)
    while (await system.outcome(lost)).state == "waiting":
        await system.turn()
    changed = await moved_away(system)
    system.cut = False
    assert [(one.concentrator_id, one.act, one.given, one.elsewhere) for one in changed.roster] == [
        (MASTER, "roster-remove", {}, True),
        (OTHER, "roster-add", {"bus": "1"}, False),
    ]
    assert changed.words_ended == 1
    assert (await system.outcome(lost)).state == "unknown"  # it was sent; nobody says that it took no effect

    # Until it hears so, MASTER reads the meter on; the platform believes it no more, whatever its place in the records.
    before = await system.readings(WATER)
    system.clock.now += PACE.plain
    for _ in range(60):
        await system.turn()
    assert await system.readings(WATER) == before
    mdms = system.centre.parts.mdms
    await mdms.settle()
    assert {one.code for one in mdms.quarantine()} == {"link.vouching"}
    reading = frame_with(WATER, system.clock.now)
    session = await system.centre.parts.sessions.latest(MASTER)
    assert session is not None
    said = say([reading], system.clock.now, vouched=True)
    forged = model.Opened(
        session_id=session.session_id, counter=900, device_id=MASTER, module_id=session.module_id, suite=session.suite,
        origin="vouched", received_at=system.clock.now, digest=bytes(32), series=said.series, statuses=said.statuses,
    )  # fmt: skip
    with pytest.raises(TrustError) as believed:  # a head-end in wrong hands takes it all the same
        await Admission(system.centre.engine, mdms, system.clock).publish(model.Batch((forged,), ()))
    assert believed.value.code == "link.vouching"

    # And nobody tells MASTER anything for it any more, but that it is gone.
    for act in ("valve-close", "roster-add"):
        order = system.ordered(system.frame(WATER, act))  # type: ignore[arg-type]
        with pytest.raises(LocalError) as refused:
            await system.desk.call(
                "command_meter", CommandMeter(order=order, act=act, signatures=system.signed(order)), Outcome
            )
        assert refused.value.code == "command.elsewhere"
    order = system.ordered(system.frame(WATER, "roster-remove"), lasts=24 * HOUR)
    asked = CommandMeter(order=order, act="roster-remove", signatures=system.signed(order))
    word = await system.until_ended(await system.desk.call("command_meter", asked, Outcome))
    assert word.state == "done"
    assert WATER not in system.concentrator.risers[0].lines

    # A platform in wrong hands goes past its desk, with an honest order: the gateway itself has no such meter.
    order = system.ordered(system.frame(WATER, "valve-close"))
    security = SecuritySdk(InProcess(system.centre.offered, "platform"))
    given = await security.authorise_command(order, list(system.signed(order)))
    down = Down(
        kind="guarded", content=given.frame, number=given.number, not_after=given.not_after,
        authorisation=given.authorisation,
    )  # fmt: skip
    queued = Word(
        request_id=fresh_request_id()[:16], device_id=MASTER, not_after=given.not_after, down=down, act="valve-close",
        module_id=given.module_id, key_version=given.key_version,
    )  # fmt: skip
    number = await system.centre.parts.words.put(queued)
    for _ in range(200):
        await system.turn()
    assert system.centre.parts.words.outcome(number).state == "refused"
    assert system.plain[WATER].state.valve == "open"


async def test_ten_thousand_words_about_lists_end_at_a_bound_on_either_side(
    system: Riser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue of the platform (here a shorter one) and the list of the gateway; what finds no room is refused, and the
    rest goes on."""
    monkeypatch.setattr(commanding, "MOST_OPEN", 64)
    await system.centre.stop_headends()
    meters = [bytes.fromhex(f"10783300{number:08d}") for number in range(1, 10_001)]
    words = system.centre.parts.words
    now, known = system.clock.now, words.waiting(MASTER)
    for device_id in meters[: 63 - known]:
        content = roster_frame(device_id, Listed("add"), 1).encode()
        word = Word(
            request_id=device_id * 2,
            device_id=MASTER,
            not_after=now + HOUR,
            down=Down(kind="guarded", content=content),
            act="roster-add",
        )
        await words.put(word)
    last = await system.tell(WATER, "roster-remove")
    authorised = system.centre.service.room.keys.facts("DIAK", 1).used
    with pytest.raises(LocalError) as refused:
        await system.tell(GAS, "roster-remove")
    assert refused.value.code == "command.too-many"
    read = encode.read_request(WATER, ids.METERING, 5).encode()
    asked = ReadMeter(device_id=MASTER, frame=read, not_after=now + HOUR)
    with pytest.raises(LocalError) as full:
        await system.desk.call("read_meter", asked, Outcome)
    assert full.value.code == "command.too-many"
    assert system.centre.service.room.keys.facts("DIAK", 1).used == authorised, "no number was given"
    assert (
        await system.command(encode.valve_request(SEALED, opened=False, ser=3), "valve-close")
    ).state == "waiting"
    words.withdraw(last.id)
    assert (await system.tell(GAS, "roster-remove")).state == "waiting"

    listed = [system.concentrator.relist(one, Listed("add"), now) for one in meters]
    assert listed.count(True) == MOST_METERS - len(system.behind())
    assert sum(len(riser.lines) for riser in system.concentrator.risers) == MOST_METERS
    assert system.concentrator.roster.refuses(NEXT, Listed("add")) == "too many meters"
    assert system.concentrator.relist(WATER, Listed("remove"), now)
    assert system.concentrator.relist(NEXT, Listed("add"), now)


async def test_only_an_enrolled_concentrator_is_told_that_a_meter_is_gone(system: Riser) -> None:
    order = system.ordered(system.frame(WATER, "roster-remove"), concentrator=OTHER)
    asked = CommandMeter(order=order, act="roster-remove", signatures=system.signed(order))
    with pytest.raises(LocalError) as refused:
        await system.desk.call("command_meter", asked, Outcome)
    assert refused.value.code == "command.elsewhere"


def frame_with(device_id: bytes, now: int) -> Frame:
    return built.current_data_answer(device_id, built.volume_payload(4_711, 0, now))


async def test_a_setup_with_another_list_ends_what_was_changed_before(system: Riser) -> None:
    assert (await system.done(WATER, "roster-remove")).state == "done"
    store = SealedNv(system.held, STORAGE, b"held")
    listed = [[MeterAt(device_id=one, plain=True) for one in PLAIN]]
    assert [one.device_id for one in Roster(store, listed).risers[0]] == list(PLAIN)
    assert store.read("roster") is None


async def test_what_a_concentrator_cannot_list_it_refuses_and_reads_as_before(system: Riser) -> None:
    await exchanged(system)
    for said in ({"bus": "9"}, {"bus": "0", "model": "water-misspelt"}):
        assert (await system.done(NEXT, "roster-add", **said)).state == "refused"
    assert NEXT not in system.concentrator.risers[0].lines
    with pytest.raises(LocalError) as refused:
        await system.tell(NEXT, "roster-seal", bus="0")
    assert refused.value.code == "command.roster"


async def test_a_meter_that_is_taken_off_in_the_middle_of_a_question_stops_nothing(system: Riser) -> None:
    (riser,) = system.concentrator.risers
    for _ in range(5_000):
        if riser.request(system.clock.now) is not None and riser._line is riser.lines[WATER]:
            break
        if riser._line is not None:
            riser.timeout(system.clock.now)
        system.clock.now += 60_000
    assert riser._line is riser.lines[WATER]
    assert system.concentrator.relist(WATER, Listed("remove"), system.clock.now)
    assert not riser.answer(encode.read_request(WATER, ids.METERING).encode(), system.clock.now)
    riser.timeout(system.clock.now)
    assert (await system.done(GAS, "valve-close")).state == "done"


# --- what plain meters raise the alarm about ----------------------------------------------------------------


async def told(system: Riser) -> list[tuple[bytes, str]]:
    shown = await system.desk.call("audit", operator.Page(limit=50), operator.Text)
    entries = msgspec.json.decode(shown.json)["entries"]
    return [
        (bytes.fromhex(one["device_id"]), one["code"]) for one in entries if one["code"].startswith("meter.")
    ]


async def looked(system: Riser) -> None:
    """The concentrator has time to look at the counters of its plain meters once."""
    system.clock.now += EVERY + PACE.plain
    for _ in range(120):
        await system.turn()


async def test_an_opened_cover_of_a_plain_meter_is_in_the_audit_trail_and_an_alarm_once(
    system: Riser,
) -> None:
    await looked(system)
    assert await told(system) == []
    system.plain[POWER].feed(Opened(), system.clock.now)
    for _ in range(2):
        await looked(system)
        assert await told(system) == [(POWER, "meter.removed")]
    alarms = await system.desk.call("alarms", Since(), Alarms)
    assert [(one.alarm, one.count) for one in alarms.alarms if one.code == "meter.removed"] == [("tamper", 1)]


async def test_a_concentrator_raises_no_alarm_in_the_name_of_a_meter_that_is_not_plain_behind_it(
    system: Riser,
) -> None:
    for device_id in (SEALED, bytes.fromhex("1078330099999999")):
        frame = encode.alarm_report(device_id, b"\x00\x20", system.clock.now)
        assert system.concentrator.outbox.hold([frame], system.clock.now, beside={})
    for _ in range(60):
        await system.turn()
    assert await told(system) == []
    await system.centre.parts.mdms.settle()
    assert {one.code for one in system.centre.parts.mdms.quarantine()} == {"link.vouching"}
