"""Vouching at the commit: a module enrolled while a record was on its way keeps that record out of the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from meterseal.control import open_control, write
from meterseal.control.sealing import KeyRing
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import TrustError
from meterseal.model import Batch, Opened, Origin, Series
from meterseal.things.fleet import Fleet, Installation, add_concentrator, install, new_premises
from meterseal.things.vouching import VouchedFor
from tests.headend.ground import MASTER, MODULE, NOW, OTHER, WATER

STRANGER = bytes.fromhex("f000000000000002")


class Store:
    """Keeps what reaches the commit."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def publish(self, batch: Batch) -> None:
        self.batches.append(batch)


def opened(meter: bytes, by: bytes = MASTER, origin: Origin = "vouched") -> Opened:
    series = Series(meter, 1, "m3", -2, NOW, 0, (1,))
    return Opened(b"session1", 1, by, MODULE, 1, origin, NOW, bytes(32), (series,))


KEYS = KeyRing({1: SymmetricKey.generate("fleet key")}, 1)


@pytest.fixture
def ground(tmp_path: Path) -> tuple[Fleet, Store, VouchedFor]:
    engine, store = open_control(tmp_path / "control.db"), Store()
    plain = Installation(
        device_id=WATER, medium="water", protocol="cjt188", profile="p", since=0, concentrator_id=MASTER
    )
    with write(engine) as connection:
        add_concentrator(connection, MASTER, "Riser 1", KEYS)
        install(connection, new_premises(connection), plain, KEYS)
    return Fleet(engine), store, VouchedFor(engine, store)


async def test_a_plain_meter_is_vouched_for_by_its_own_concentrator(
    ground: tuple[Fleet, Store, VouchedFor],
) -> None:
    _, store, guarded = ground
    batch = Batch((opened(WATER),))
    await guarded.publish(batch)
    assert store.batches == [batch]


async def test_a_module_enrolled_while_the_record_travelled_ends_vouching_at_the_commit(
    ground: tuple[Fleet, Store, VouchedFor],
) -> None:
    fleet, store, guarded = ground
    fleet.make_sealed(WATER, MODULE, 1, bytes(16))
    with pytest.raises(TrustError) as refused:
        await guarded.publish(Batch((opened(WATER),)))
    assert refused.value.code == "link.vouching"
    assert store.batches == []


@pytest.mark.parametrize(("meter", "by"), [(WATER, STRANGER), (OTHER, MASTER)])
async def test_a_foreign_concentrator_or_meter_is_not_vouched_for(
    ground: tuple[Fleet, Store, VouchedFor], meter: bytes, by: bytes
) -> None:
    _, store, guarded = ground
    with pytest.raises(TrustError):
        await guarded.publish(Batch((opened(meter, by),)))
    assert store.batches == []


async def test_what_a_meter_sealed_itself_needs_nobody_to_vouch(
    ground: tuple[Fleet, Store, VouchedFor],
) -> None:
    _, store, guarded = ground
    await guarded.publish(Batch((opened(OTHER, OTHER, "sealed"),)))
    assert len(store.batches) == 1
