"""A plain meter in place is given a module: vouching ends at once, its usage point and readings stay, and it seals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from meterseal.app import operator
from meterseal.edge.agent import LinkAgent
from meterseal.edge.concentrator import Concentrator, MeterAt
from meterseal.edge.delivery import DailyOutbox
from meterseal.edge.making import personal
from meterseal.edge.node import Node, Secured
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.water import WaterMeter
from meterseal.errors import DataError, LocalError, TrustError
from meterseal.kit.bus import Bus
from meterseal.security.messages import Personalisation
from tests.scenarios.small_system import KINDS, MASTER, PACE, SINCE, STORAGE, TIMING, WATER, Counting, System
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]

PLAIN = bytes.fromhex("1078330011220077")
ITS_MODULE = b"M" + PLAIN[1:]
VOUCHED_AGAIN = PACE.plain + 1


class Riser(System):
    """The small system with a plain meter behind its concentrator, whose module comes later."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.own = MemoryNv()
        self.page = MemoryNv()
        self.sealed = False

    async def _enrol(self) -> None:
        await super()._enrol()
        supply = operator.Supply(
            device_id=PLAIN,
            medium="water",
            protocol="cjt188",
            profile="water-generic",
            since=SINCE,
            concentrator_id=MASTER,
        )
        home = operator.NewPremises(name="", address="", supplies=(supply,))
        await self.desk.call("enrol", operator.Enrol(premises=(home,)), operator.EnrolReply)
        self.nv[PLAIN], self.pages[PLAIN] = self.own, self.page

    def power_on(self) -> None:
        super().power_on()
        meter, secured = WaterMeter(PLAIN, Counting(PLAIN)), None
        if self.sealed:
            chip = self.chip(PLAIN)
            outbox = DailyOutbox(meter, chip, self.page)
            secured = Secured(chip, LinkAgent(chip, outbox, TIMING, self.random.random), outbox)
        self.nodes[PLAIN] = Node(meter, secured)
        self.bus = Bus(list(self.nodes.values()))
        behind = [MeterAt(device_id=one) for one in KINDS] + [MeterAt(device_id=PLAIN, plain=not self.sealed)]
        self.concentrator = Concentrator(
            device_id=MASTER,
            chip=self.chip(MASTER),
            store=SealedNv(self.held, STORAGE, b"held"),
            risers=[behind],
            pace=PACE,
            timing=TIMING,
            jitter=self.random.random,
            send=self.up.append,
        )
        self.concentrator.reach(True)

    async def seal(
        self, device_id: bytes = PLAIN, module_id: bytes = ITS_MODULE, point: bytes = b""
    ) -> operator.Sealed:
        asked = operator.SealMeter(device_id=device_id, module_id=module_id, module_point=point, suite=1)
        return await self.desk.call("seal_meter", asked, operator.Sealed)

    async def origins(self) -> list[str]:
        shown = await self.desk.call("readings", operator.BillQuery(device_id=PLAIN), operator.Text)
        return list(msgspec.json.decode(shown.json)["origin"])


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[Riser]:
    made = Riser(tmp_path)
    await made.start()
    yield made
    await made.centre.stop()


async def turned(system: Riser, turns: int) -> None:
    for _ in range(turns):
        await system.turn()


async def test_from_vouched_to_sealed(system: Riser) -> None:
    for _ in range(400):
        if await system.origins():
            break
        await system.turn()
    vouched = await system.origins()
    assert vouched
    before = await system.readings(PLAIN)
    point = system.chip(PLAIN).make_key(ITS_MODULE)
    usage_points = {one.device_id: one.usage_point for one in system.centre.parts.desk._fleet.devices()}
    given = await system.seal(point=point)
    assert given.usage_point == usage_points[PLAIN]

    system.clock.now += VOUCHED_AGAIN  # the concentrator, which was told nothing, goes on vouching
    await turned(system, 200)
    assert await system.readings(PLAIN) == before
    await system.centre.parts.mdms.settle()
    assert "link.vouching" in {one.code for one in system.centre.parts.mdms.quarantine()}

    again = await system.seal(point=point)  # an answer that was lost
    packed = msgspec.msgpack.decode(again.personalisation, type=Personalisation)
    assert packed.device_id == PLAIN
    system.chip(PLAIN).personalise(personal(packed))
    system.sealed = True
    system.power_on()
    system.connect()
    await system.settle()
    await system.check_complete()
    found = await system.origins()
    assert set(found) == {vouched[0], *await origins_of_sealed(system)}
    assert len(found) > len(vouched)
    after = await system.readings(PLAIN)
    assert {at: after[at] for at in before} == before


async def origins_of_sealed(system: Riser) -> set[str]:
    shown = await system.desk.call("readings", operator.BillQuery(device_id=WATER), operator.Text)
    return set(msgspec.json.decode(shown.json)["origin"])


async def test_what_cannot_be_sealed_changes_nothing(system: Riser) -> None:
    point = system.chip(PLAIN).make_key(ITS_MODULE)
    for device_id, module_id, shown, kind, code in (
        (bytes.fromhex("1078330099999999"), ITS_MODULE, point, DataError, "fleet.unknown"),
        (WATER, ITS_MODULE, point, DataError, "fleet.sealed"),
        (PLAIN, b"short", point, LocalError, "use.module"),
        (PLAIN, ITS_MODULE, point[:-1], LocalError, "use.module"),
        (PLAIN, b"M" + WATER[1:], point, TrustError, "security.module-bound"),
    ):
        with pytest.raises(kind) as refused:
            await system.seal(device_id, module_id, shown)
        assert refused.value.code == code
    assert system.centre.parts.desk._fleet.device(PLAIN).plain
