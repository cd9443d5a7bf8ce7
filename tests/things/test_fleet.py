"""The fleet: a device stands in one place, and what the head-end may know of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.control import write
from meterseal.control.sealing import KeyRing
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import DataError
from meterseal.things.fleet import Fleet, Installation, add_concentrator, install, new_premises
from tests.control_store import control_at
from tests.headend.ground import MASTER, MODULE, NOW, OTHER, WATER


def meter(device_id: bytes = WATER, **how: object) -> Installation:
    facts: dict[str, object] = {
        "device_id": device_id,
        "medium": "water",
        "protocol": "cjt188",
        "profile": "water-generic",
        "since": NOW,
    }
    return Installation(**(facts | how))  # type: ignore[arg-type]


KEYS = KeyRing({1: SymmetricKey.generate("fleet key")}, 1)


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return control_at(tmp_path / "control.db")


def put(engine: sa.Engine, *what: Installation) -> list[str]:
    with write(engine) as connection:
        home = new_premises(connection)
        return [install(connection, home, one, KEYS) for one in what]


async def test_a_plain_meter_is_known_with_its_concentrator(engine: sa.Engine) -> None:
    with write(engine) as connection:
        add_concentrator(connection, MASTER, "Riser 1", KEYS)
    put(engine, meter(concentrator_id=MASTER))
    (found,) = await Fleet(engine, lambda: NOW).enrolments([WATER])
    assert (found.plain, found.medium, found.concentrator_id) == (True, "water", MASTER)


async def test_a_sealed_meter_is_not_plain(engine: sa.Engine) -> None:
    put(engine, meter(suite=1, module_id=MODULE))
    (found,) = await Fleet(engine, lambda: NOW).enrolments([WATER])
    assert not found.plain


async def test_a_concentrator_is_known_and_is_no_meter(engine: sa.Engine) -> None:
    with write(engine) as connection:
        add_concentrator(connection, MASTER, "Riser 1", KEYS)
        add_concentrator(connection, MASTER, "again", KEYS)
    (found,) = await Fleet(engine, lambda: NOW).enrolments([MASTER])
    assert (found.plain, found.medium) == (False, None)
    assert Fleet(engine, lambda: NOW).devices() == []


async def test_nobody_knows_a_device_that_was_not_enrolled(engine: sa.Engine) -> None:
    assert await Fleet(engine, lambda: NOW).enrolments([WATER]) == []


async def test_many_devices_are_asked_for_at_once(engine: sa.Engine) -> None:
    put(engine, meter(), meter(OTHER, suite=1, module_id=MODULE))
    strangers = [number.to_bytes(8) for number in range(1200)]
    found = await Fleet(engine, lambda: NOW).enrolments([*strangers, WATER, OTHER])
    assert {one.device_id: one.plain for one in found} == {WATER: True, OTHER: False}


def test_a_device_enrolled_twice_is_refused_and_leaves_nothing_of_the_second(engine: sa.Engine) -> None:
    put(engine, meter())
    with pytest.raises(DataError) as refused:
        put(engine, meter(OTHER), meter(WATER))
    assert refused.value.code == "fleet.enrolled"
    assert [one.device_id for one in Fleet(engine, lambda: NOW).devices()] == [WATER]


async def test_enrolling_a_module_ends_the_plain_enrolment(engine: sa.Engine) -> None:
    put(engine, meter())
    fleet = Fleet(engine, lambda: NOW)
    fleet.make_sealed(WATER, MODULE, 1, bytes(16))
    (found,) = await fleet.enrolments([WATER])
    assert not found.plain


def test_usage_points_are_pseudonyms(engine: sa.Engine) -> None:
    points = put(engine, meter(), meter(OTHER))
    assert len(set(points)) == 2
    assert not any(WATER.hex() in point or OTHER.hex() in point for point in points)
