"""A meter is exchanged, taken out, put in and moved, over the operator's desk of a whole system."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from meterseal.app import operator
from meterseal.app.exchanging import Changed, ChangeMeter, NewMeter
from meterseal.control import acts
from meterseal.edge.making import personal
from meterseal.edge.nv import MemoryNv
from meterseal.errors import DataError, LocalError, MetersealError
from meterseal.mdms.facts import Fact
from meterseal.mdms.vee.channel import ReadOff
from meterseal.mesh.rpc import InProcess
from meterseal.model import MAIN
from meterseal.security.messages import Personalisation
from tests.scenarios.small_system import GAS, HOUR, MASTER, MORNING, SINCE, WATER, Counting, System
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]

NEW = bytes.fromhex("1078330011220099")
LEFT = MORNING - HOUR
SAID = {"reason": "calibration is over", "installer": "installer 7"}


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[System]:
    made = System(tmp_path)
    await made.start()
    await made.settle()
    yield made
    await made.centre.stop()


def shows(device_id: bytes, at: int = LEFT) -> str:
    """What the meter shows, as an installer writes it: two decimals."""
    return f"{Counting(device_id).register(1, at) / 100:.2f}"


def exchange(**how: object) -> ChangeMeter:
    said: dict[str, object] = {
        "removed": WATER,
        "installed": NEW,
        "at": LEFT,
        "last": shows(WATER),
        "first": "0.00",
        **SAID,
    }
    return ChangeMeter(**(said | how))  # type: ignore[arg-type]


async def change(system: System, asked: ChangeMeter, caller: str = "operator") -> Changed:
    return await InProcess(system.centre.parts.operator, caller).call("change_meter", asked, Changed)


def in_place(system: System) -> dict[bytes, tuple[str, bool]]:
    return {one.device_id: (one.usage_point, one.plain) for one in system.centre.parts.desk._fleet.devices()}


async def test_an_exchange_keeps_the_usage_point_and_ends_the_old_meter(system: System) -> None:
    system.clock.now = MORNING + 10 * HOUR
    before = in_place(system)
    done = await change(system, exchange())
    after = in_place(system)
    assert done.left == done.came == before[WATER][0]
    assert after == {device_id: at for device_id, at in before.items() if device_id != WATER} | {
        NEW: (done.came, True)
    }
    again = await change(system, exchange())  # an answer that was lost
    assert (again.left, again.came) == (done.left, done.came)
    assert in_place(system) == after
    told = [(one.act, one.subject) for one in acts.verified(system.centre.engine)]
    assert told[-2:] == [("meter-taken-out", WATER.hex()), ("meter-put-in", NEW.hex())]


async def test_the_new_meter_may_have_a_module_and_the_old_one_never_comes_back(system: System) -> None:
    system.clock.now = MORNING + 10 * HOUR
    system.nv[NEW] = MemoryNv()
    chip = system.chip(NEW)
    module_id = b"M" + NEW[1:]
    point = chip.make_key(module_id)
    asked = exchange(new=NewMeter(module_id=module_id, module_point=point), withdraw=True)
    done = await change(system, asked)
    chip.personalise(personal(msgspec.msgpack.decode(done.personalisation, type=Personalisation)))
    assert not in_place(system)[NEW][1]
    facts = await system.facts(NEW)
    assert facts.module_id == module_id
    with pytest.raises(MetersealError) as refused:
        await system.facts(WATER)
    assert refused.value.code == "security.not-enrolled"
    assert await system.centre.parts.revoking.run() == 1
    again = await change(system, asked)
    assert msgspec.msgpack.decode(again.personalisation, type=Personalisation).module_id == module_id


async def test_who_writes_an_exchange_down_is_told_of_the_multiplier_that_ended(system: System) -> None:
    system.clock.now = MORNING + 10 * HOUR
    mdms = system.centre.parts.mdms
    usage_point = in_place(system)[WATER][0]
    await mdms.state([Fact(usage_point=usage_point, kind="multiplier", value="40")], MORNING)
    done = await change(system, exchange())
    assert done.multiplier == "40"
    assert mdms.multipliers()[1][usage_point].factors[0].until == LEFT
    await mdms.state([Fact(usage_point=usage_point, kind="multiplier", value="80", since=LEFT)], MORNING)
    assert [one.factor for one in mdms.multipliers()[1][usage_point].factors] == [40, 80]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"at": MORNING + 20 * HOUR}, "fleet.change-time"),  # it was not done yet
        ({"at": SINCE}, "fleet.change-time"),  # before the old meter itself was there for any time
        ({"removed": NEW, "installed": WATER}, "fleet.unknown"),  # the wrong way round
        ({"installed": GAS}, "fleet.medium"),
        ({"installed": bytes.fromhex("1078330011223345"), "new": NewMeter(model="none")}, "use.model"),
        ({"new": NewMeter(concentrator_id=b"\xf0" + bytes(6) + b"\x09")}, "use.concentrator"),
        ({"last": "0.01"}, "bill.registers-apart"),  # the meter itself had said more
        ({"last": "999999.00"}, "bill.registers-apart"),
        ({"last": "1e3"}, "use.register"),
        ({"last": "NaN"}, "use.register"),
        ({"first": ""}, "use.register"),
        ({"first": "-1"}, "use.register"),
        ({"reason": " "}, "use.change"),
        ({"installer": "x" * 201}, "use.change"),
        ({"usage_point": "up-1"}, "use.change"),
        ({"removed": b"", "installed": b""}, "use.change"),
        ({"removed": b"short"}, "use.change"),
        (
            {
                "removed": b"",
                "usage_point": "up-none",
                "new": NewMeter(model="water-generic", concentrator_id=MASTER),
            },
            "fleet.no-usage-point",
        ),
        ({"new": NewMeter(module_id=b"M" + bytes(7), module_point=b"4")}, "use.module"),
    ],
)
async def test_what_cannot_have_been_changes_nothing(
    system: System, how: dict[str, object], code: str
) -> None:
    system.clock.now = MORNING + 10 * HOUR
    before, told = in_place(system), len(acts.verified(system.centre.engine))
    with pytest.raises((DataError, LocalError)) as refused:
        await change(system, exchange(**how))
    assert refused.value.code == code
    assert in_place(system) == before
    assert len(acts.verified(system.centre.engine)) == told


async def test_attack_an_exchange_before_its_time_takes_back_nothing_that_the_meter_counted(
    system: System,
) -> None:
    """By the wrong day, or by one that suits somebody, weeks of true readings would be gone from bills."""
    system.clock.now = MORNING + 10 * HOUR
    before, (usage_point, _) = in_place(system), in_place(system)[WATER]
    mdms = system.centre.parts.mdms
    stored = mdms.registers(usage_point, MAIN, SINCE, MORNING).register.tolist()
    early = MORNING - 14 * HOUR
    for how in ({}, {"installed": b"", "first": ""}):
        with pytest.raises(DataError) as refused:
            await change(system, exchange(at=early, last=shows(WATER, early), **how))
        assert refused.value.code == "fleet.counted-on"
    assert in_place(system) == before
    assert mdms.registers(usage_point, MAIN, SINCE, MORNING).register.tolist() == stored
    done = await change(system, exchange(at=early, last=shows(WATER, early), counted_on=True))
    assert done.taken_back > 1


async def test_the_same_exchange_told_otherwise_is_refused(system: System) -> None:
    system.clock.now = MORNING + 10 * HOUR
    await change(system, exchange())
    after = in_place(system)
    for how in ({"first": "5.00"}, {"last": shows(WATER, LEFT + HOUR)}, {"at": LEFT + 1}, {"installer": "8"}):
        with pytest.raises(DataError) as refused:
            await change(system, exchange(**how))
        assert refused.value.code in ("fleet.unknown", "fleet.change-time")
    assert in_place(system) == after


@pytest.mark.parametrize("caller", ["headend", "web", "platform", "keys"])
async def test_nobody_but_the_operator_exchanges_meters(system: System, caller: str) -> None:
    before = in_place(system)
    with pytest.raises(MetersealError) as refused:
        await change(system, exchange(), caller)
    assert refused.value.code.startswith("mesh.")
    assert in_place(system) == before


async def test_two_exchanges_at_once_leave_one_meter(system: System) -> None:
    system.clock.now = MORNING + 10 * HOUR
    other = bytes.fromhex("1078330011220098")
    await change(system, exchange())
    with pytest.raises(DataError) as refused:
        await change(system, exchange(installed=other))
    assert refused.value.code == "fleet.unknown"
    points = [point for point, _ in in_place(system).values()]
    assert len(set(points)) == len(points)


async def test_a_meter_moves_with_its_register_and_its_module(system: System) -> None:
    system.clock.now = MORNING + 10 * HOUR
    done = await change(system, exchange())
    shown = shows(WATER)
    supply = operator.Supply(
        device_id=bytes.fromhex("1078330011220055"),
        medium="water",
        protocol="cjt188",
        profile="water-generic",
        since=SINCE,
        concentrator_id=MASTER,
    )
    home = operator.NewPremises(name="", address="", supplies=(supply,))
    made = await system.desk.call("enrol", operator.Enrol(premises=(home,)), operator.EnrolReply)
    there = made.meters[0].usage_point
    placed = ChangeMeter(
        installed=WATER, usage_point=there, at=MORNING + HOUR, first=shown, **SAID
    )  # out of stock
    with pytest.raises(DataError) as refused:
        await change(system, placed)
    assert refused.value.code == "fleet.occupied"
    await change(system, ChangeMeter(removed=supply.device_id, at=MORNING, last="1.00", **SAID))
    assert (await change(system, placed)).came == there
    assert in_place(system)[WATER] == (there, False)

    await change(system, ChangeMeter(removed=NEW, at=MORNING + HOUR, last="0.00", **SAID))
    moved = ChangeMeter(
        removed=WATER, installed=WATER, usage_point=done.left, at=MORNING + 2 * HOUR, last=shown, **SAID
    )
    back = await change(system, moved)
    assert (back.left, back.came) == (there, done.left)
    assert in_place(system)[WATER] == (done.left, False)
    again = await change(system, moved)
    assert (again.left, again.came, again.words_ended) == (there, done.left, 0)
    places = system.centre.parts.mdms._places.of([WATER])
    assert [(place.usage_point, place.until) for place in places] == [
        (done.left, LEFT),
        (there, MORNING + 2 * HOUR),
        (done.left, 0),
    ]
    # What estimates meet: of the meter before what was read as it went, though the place was vacant for a while after.
    read_off = system.centre.parts.mdms._read_off
    assert read_off(done.left) == {
        LEFT: ReadOff(Decimal(shows(WATER)), Decimal(0), LEFT),
        MORNING + 2 * HOUR: ReadOff(Decimal(0), Decimal(shown), MORNING + HOUR),
    }
    assert read_off(there) == {MORNING + HOUR: ReadOff(Decimal(1), Decimal(shown), MORNING)}
