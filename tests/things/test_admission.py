"""The commit believes no head-end more than it must: shapes, sessions, vouching, the future (a head-end in wrong hands)."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from meterseal.control import write
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import meters, sessions
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import PeerError, TrustError
from meterseal.headend.heats import COLDEST, HOTTEST, MOST_LITRES
from meterseal.headend.saying import AHEAD
from meterseal.model import Batch, ClockSeen, Evidence, HeatSeen, Opened, Origin, Quarantined, Series, Status
from meterseal.things.admission import CLOCKS_APART, LATEST, Admission
from meterseal.things.fleet import Fleet, Installation, add_concentrator, install, new_premises
from tests.control_store import control_at
from tests.headend.ground import MASTER, MODULE, NOW, OTHER, WATER

STRANGER = bytes.fromhex("f000000000000002")
SESSIONS = {
    device: b"session" + bytes((number,)) for number, device in enumerate((MASTER, WATER, OTHER, STRANGER))
}


class Store:
    """Keeps what reaches the commit."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def publish(self, batch: Batch) -> None:
        self.batches.append(batch)


def opened(meter: bytes, by: bytes = MASTER, origin: Origin = "vouched") -> Opened:
    series = Series(meter, 1, "m3", -2, NOW, 0, (1,))
    return Opened(SESSIONS[by], 1, by, MODULE, 1, origin, NOW, bytes(32), (series,))


KEYS = KeyRing({1: SymmetricKey.generate("fleet key")}, 1)


Guarded = tuple[Fleet, Store, Admission]


@pytest.fixture
def ground(tmp_path: Path) -> tuple[Fleet, Store, Admission]:
    engine, store = control_at(tmp_path / "control.db"), Store()
    plain = Installation(
        device_id=WATER, medium="water", protocol="cjt188", profile="p", since=0, concentrator_id=MASTER
    )
    with write(engine) as connection:
        add_concentrator(connection, MASTER, "Riser 1", KEYS)
        install(connection, new_premises(connection), plain, KEYS)
    for number, device in enumerate((MASTER, WATER, OTHER, STRANGER)):
        with write(engine) as connection:
            connection.execute(
                sessions.insert().values(
                    session_id=SESSIONS[device],
                    device_id=device,
                    module_id=MODULE,
                    suite=1,
                    wrapped=b"w",
                    policy=2,
                    profile="meterseal-1",
                    records_allowed=1,
                    seconds_allowed=1,
                    created_at=NOW + number,
                )
            )
    return Fleet(engine, lambda: NOW), store, Admission(engine, store, lambda: NOW)


async def test_a_plain_meter_is_vouched_for_by_its_own_concentrator(
    ground: tuple[Fleet, Store, Admission],
) -> None:
    _, store, guarded = ground
    batch = Batch((opened(WATER),))
    await guarded.publish(batch)
    assert store.batches == [batch]


async def test_a_module_enrolled_while_the_record_travelled_ends_vouching_at_the_commit(
    ground: tuple[Fleet, Store, Admission],
) -> None:
    fleet, store, guarded = ground
    fleet.make_sealed(WATER, MODULE, 1, bytes(16))
    with pytest.raises(TrustError) as refused:
        await guarded.publish(Batch((opened(WATER),)))
    assert refused.value.code == "link.vouching"
    assert store.batches == []


@pytest.mark.parametrize(("meter", "by"), [(WATER, STRANGER), (OTHER, MASTER)])
async def test_a_foreign_concentrator_or_meter_is_not_vouched_for(
    ground: tuple[Fleet, Store, Admission], meter: bytes, by: bytes
) -> None:
    _, store, guarded = ground
    with pytest.raises(TrustError):
        await guarded.publish(Batch((opened(meter, by),)))
    assert store.batches == []


@pytest.mark.parametrize(("days", "taken"), [(30, True), (41, False)])
async def test_what_a_concentrator_read_of_a_meter_that_left_comes_for_a_while(
    ground: Guarded, days: int, taken: bool
) -> None:
    """Readings of later than the removal are nobody's (`mdms.places`); earlier ones must not be lost with the meter."""
    fleet, store, guarded = ground
    with write(fleet._engine) as connection:
        left = NOW - days * 86_400_000
        connection.execute(meters.update().where(meters.c.device_id == WATER).values(until=left))
    found = {one.device_id for one in await fleet.enrolments([WATER])}
    assert found == ({WATER} if taken else set())
    batch = Batch((opened(WATER),))
    if taken:
        await guarded.publish(batch)
    else:
        with pytest.raises(TrustError):
            await guarded.publish(batch)
    assert len(store.batches) == taken


async def test_what_a_meter_sealed_itself_needs_nobody_to_vouch(
    ground: tuple[Fleet, Store, Admission],
) -> None:
    _, store, guarded = ground
    await guarded.publish(Batch((opened(OTHER, OTHER, "sealed"),)))
    assert len(store.batches) == 1


HONEST = opened(OTHER, OTHER, "sealed")


@pytest.mark.parametrize(
    "change",
    [
        {"session_id": SESSIONS[WATER]},
        {"session_id": b"made up!"},
        {"module_id": b"another!"},
        {"series": (structs.replace(HONEST.series[0], device_id=WATER),)},
        {"statuses": (Status(WATER, NOW, "open", False, "0000"),)},
        {"evidence": (Evidence(WATER, bytes(65), bytes(64)),)},
    ],
    ids=[
        "another's session",
        "no session",
        "another module",
        "another's reading",
        "another's state",
        "another's evidence",
    ],
)
async def test_a_head_end_speaks_for_no_device_whose_session_it_does_not_show(
    ground: Guarded, change: dict[str, object]
) -> None:
    _, store, guarded = ground
    await guarded.publish(Batch((HONEST,)))
    with pytest.raises(TrustError) as refused:
        await guarded.publish(Batch((HONEST, structs.replace(HONEST, **change))))
    assert refused.value.code == "link.session"
    with pytest.raises(TrustError):
        await guarded.publish(
            Batch(quarantined=(Quarantined(b"made up!", 1, OTHER, NOW, 1, "wire.checksum", b"record"),))
        )
    assert len(store.batches) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"session_id": b""},
        {"session_id": bytes(100_000)},
        {"device_id": b"short"},
        {"counter": 0},
        {"counter": 1 << 48},
        {"received_at": NOW + CLOCKS_APART + 1},
        {"received_at": 1 << 63},
        {"received_at": -1},
        {"digest": b""},
        {"series": HONEST.series * 300},
        {"series": (structs.replace(HONEST.series[0], start_at=LATEST),)},
        {"series": (structs.replace(HONEST.series[0], step=-1),)},
        {"series": (structs.replace(HONEST.series[0], channel=256),)},
        {"series": (structs.replace(HONEST.series[0], exponent=99),)},
        {"series": (structs.replace(HONEST.series[0], registers=(1 << 70,)),)},
        {"series": (structs.replace(HONEST.series[0], unit="m" * 99),)},
        {"statuses": (Status(OTHER, 1 << 60, "open", False, "0000"),)},
        {"evidence": (Evidence(OTHER, bytes(64), bytes(64)),)},
        {"evidence": (Evidence(OTHER, bytes(65), b""),)},
    ],
)
async def test_what_no_record_can_hold_reaches_no_journal(ground: Guarded, change: dict[str, object]) -> None:
    _, store, guarded = ground
    with pytest.raises(PeerError) as refused:
        await guarded.publish(Batch((structs.replace(HONEST, **change),)))
    assert refused.value.code == "platform.record"
    assert store.batches == []


@pytest.mark.parametrize(
    "change",
    [{"counter": -1}, {"code": ""}, {"record": bytes(5000)}, {"received_at": 1 << 60}, {"reject_class": 0}],
)
async def test_a_quarantine_of_no_record_reaches_no_journal(
    ground: Guarded, change: dict[str, object]
) -> None:
    _, store, guarded = ground
    held = Quarantined(SESSIONS[OTHER], 1, OTHER, NOW, 1, "wire.checksum", b"record")
    await guarded.publish(Batch(quarantined=(held,)))
    with pytest.raises(PeerError):
        await guarded.publish(Batch(quarantined=(structs.replace(held, **change),)))
    assert len(store.batches) == 1


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (opened(OTHER, OTHER, "sealed"), PeerError),  # of its own clock a meter says nothing
        (opened(OTHER), TrustError),  # it has a module
        (opened(WATER, STRANGER), TrustError),
    ],
    ids=["by itself", "sealed", "another's"],
)
async def test_a_head_end_puts_no_clock_in_doubt_of_a_meter_that_is_not_plain_behind_that_concentrator(
    ground: Guarded, record: Opened, error: type[Exception]
) -> None:
    _, store, guarded = ground
    (device_id,) = {one.device_id for one in record.series}
    clocks = (ClockSeen(device_id, NOW - 9, NOW, -3_600_000, -3_599_000, stamps=True),)
    with pytest.raises(error):
        await guarded.publish(Batch((structs.replace(record, series=(), clocks=clocks),)))
    assert store.batches == []


@pytest.mark.parametrize(
    "clock",
    [
        ClockSeen(b"short", NOW, NOW, 0, 0, stamps=True),
        ClockSeen(WATER, NOW + 1, NOW, 0, 0, stamps=True),
        ClockSeen(WATER, NOW, NOW + CLOCKS_APART + 1, 0, 0, stamps=True),
        ClockSeen(WATER, NOW, NOW, 5, 4, stamps=True),
        ClockSeen(WATER, NOW, NOW, -LATEST, 0, stamps=True),
    ],
)
async def test_a_look_at_a_clock_that_nobody_can_have_had_reaches_no_journal(
    ground: Guarded, clock: ClockSeen
) -> None:
    _, store, guarded = ground
    good = structs.replace(opened(WATER), series=(), clocks=(ClockSeen(WATER, NOW, NOW, 0, 0, stamps=True),))
    await guarded.publish(Batch((good,)))
    with pytest.raises(PeerError):
        await guarded.publish(Batch((structs.replace(good, clocks=(clock,)),)))
    assert len(store.batches) == 1


HEAT = bytes.fromhex("2078330011223344")
WARM = HeatSeen(HEAT, NOW, 6_000, 4_000, 12_345, flows=True)


@pytest.mark.parametrize(
    "change",
    [
        {"device_id": b"short"},
        {"device_id": WATER},
        {"at": -1},
        {"at": NOW + CLOCKS_APART + AHEAD + 1},
        {"supply": HOTTEST + 1},
        {"back": COLDEST - 1},
        {"volume": -2},
        {"volume": MOST_LITRES + 1},
    ],
)
async def test_temperatures_that_no_heat_meter_shows_reach_no_journal(
    ground: Guarded, change: dict[str, object]
) -> None:
    fleet, store, guarded = ground
    plain = Installation(
        device_id=HEAT, medium="heat", protocol="cjt188", profile="p", since=0, concentrator_id=MASTER
    )
    with write(fleet._engine) as connection:
        install(connection, new_premises(connection), plain, KEYS)
    good = structs.replace(opened(WATER), series=(), heats=(WARM,))
    await guarded.publish(Batch((good,)))
    with pytest.raises(PeerError):
        await guarded.publish(Batch((structs.replace(good, heats=(structs.replace(WARM, **change),)),)))
    assert len(store.batches) == 1


@pytest.mark.parametrize(
    "record",
    [opened(OTHER, OTHER, "sealed"), opened(WATER, STRANGER), opened(OTHER)],
    ids=["in a sealed record", "behind another", "with a module"],
)
async def test_nobody_tells_temperatures_of_a_meter_that_is_not_its_own(
    ground: Guarded, record: Opened
) -> None:
    _, store, guarded = ground
    with pytest.raises(TrustError):
        await guarded.publish(Batch((structs.replace(record, series=(), heats=(WARM,)),)))
    assert store.batches == []
