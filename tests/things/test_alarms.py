"""Alarms: what was refused and held, by code and kind, and by no meter."""

from __future__ import annotations

from pathlib import Path

import pytest

from meterseal.control import write
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import quarantine
from meterseal.crypto.handles import SymmetricKey
from meterseal.model import Refusal
from meterseal.things.alarm import UNKNOWN, alarm_of
from meterseal.things.alarms import counts
from meterseal.things.fleet import Installation, install, new_premises
from meterseal.things.monitor import AuditLog
from tests.control_store import control_at
from tests.headend.ground import NOW, OTHER, WATER


async def test_refused_and_held_are_counted_by_code_since_a_time(tmp_path: Path) -> None:
    engine = control_at(tmp_path / "control.db")
    codes = ["link.tag"] * 3 + ["link.replay", "wire.checksum"]
    await AuditLog(engine).refused(
        [Refusal(NOW + number, code, "No.", WATER) for number, code in enumerate(codes)]
    )
    with write(engine) as connection:
        connection.execute(
            quarantine.insert().values(
                session_id=b"session1", counter=1, device_id=WATER, received_at=NOW, reject_class=2,
                code="link.policy", key_version=1, sealed_record=b"",
            )
        )  # fmt: skip
    found = {(one.code, one.alarm, one.held): (one.count, one.last_at) for one in counts(engine)}
    assert found == {
        ("link.tag", "integrity", False): (3, NOW + 2),
        ("link.replay", "counter", False): (1, NOW + 3),
        ("wire.checksum", "content", False): (1, NOW + 4),
        ("link.policy", "policy", True): (1, NOW),
    }
    assert [one.code for one in counts(engine, NOW + 3)] == ["link.replay", "wire.checksum"]
    assert all(WATER.hex() not in repr(one) for one in counts(engine))


async def test_a_found_meter_is_an_alarm_until_it_is_enrolled_however_often_it_was_told(
    tmp_path: Path,
) -> None:
    engine = control_at(tmp_path / "control.db")
    log = AuditLog(engine)
    await log.refused(
        [Refusal(NOW + at, UNKNOWN, "Found.", one) for at, one in enumerate((WATER, OTHER, WATER))]
    )
    (alarm,) = counts(engine)
    assert (alarm.code, alarm.alarm, alarm.count, alarm.last_at) == (UNKNOWN, "meter", 2, NOW + 2)
    assert log.count() == 0  # it is nothing that was refused
    with write(engine) as connection:
        home = new_premises(connection)
        what = Installation(
            device_id=WATER, medium="water", protocol="cjt188", profile="water-generic", since=NOW
        )
        install(connection, home, what, KeyRing({1: SymmetricKey.generate("key")}, 1))
    (alarm,) = counts(engine)
    assert (alarm.count, alarm.last_at) == (1, NOW + 1)
    assert len(log.latest()) == 3


@pytest.mark.parametrize(
    ("code", "alarm"),
    [
        ("link.padding", "decryption"),
        ("link.fin", "integrity"),
        ("link.module-copied", "identity"),
        ("link.rate", "load"),
        ("link.length", "content"),
        ("something.new", "other"),
    ],
)
def test_every_code_belongs_to_an_alarm(code: str, alarm: str) -> None:
    assert alarm_of(code) == alarm
