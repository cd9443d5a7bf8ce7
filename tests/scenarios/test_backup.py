"""A whole system backed up through its desks and brought back: both backups together, an older one of the platform alone,
and what is refused until officers have looked."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import Struct

from meterseal.app import operator
from meterseal.app import restoring as restoring_app
from meterseal.app.backup import Written
from meterseal.app.backup_place import Place
from meterseal.app.comparing import Since
from meterseal.app.config import Layout
from meterseal.app.keeping import Backup, DrillBackup
from meterseal.app.restoring import Drill, restore
from meterseal.control import acts
from meterseal.errors import DataError, LocalError, TrustError
from meterseal.mdms.bulk import Bulk
from meterseal.mdms.integrity import Integrity
from meterseal.mesh.rpc import OPERATOR, Empty, InProcess
from meterseal.model import MAIN
from meterseal.security import restoring
from meterseal.security.ledgerorders import LedgerReset
from meterseal.security.orders import SignedOrder, encoded, fresh_request_id, sign
from meterseal.security.sdk import SecuritySdk
from meterseal.things.fleet import Fleet
from meterseal.things.witness import Seen
from meterseal.wire import encode
from tests.scenarios.small_system import HOUR, PASSPHRASE, PROJECT, WATER, System
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]

PHRASE = b"a passphrase of a backup"


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[System]:
    made = System(tmp_path / "one")
    await made.start()
    await made.settle()
    yield made
    await made.centre.stop()


async def told(system: System, method: str, request: Struct) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await system.desk.call(method, request, operator.Text)).json)
    return found


def service(system: System) -> SecuritySdk:
    return SecuritySdk(InProcess(system.centre.offered, OPERATOR))


async def back_up(system: System, root: Path) -> Written:
    return await system.desk.call("store_backup", Backup(place=str(root / "backups")), Written)


async def later_readings(system: System) -> None:
    """Something that the backup does not have."""
    mdms = system.centre.parts.mdms
    usage_point = Fleet(system.centre.engine, system.clock).device(WATER).usage_point
    one = np.ones(1, np.int64)
    at = system.clock() // HOUR * HOUR
    facts = (at, 7_000_000, -2, 0)
    end_at, register, exponent, unit = (np.array([fact], np.int64) for fact in facts)
    bulk = Bulk(
        "water",
        "sealed",
        False,
        at,
        (usage_point,),
        ("m3",),
        one * 0,
        one * MAIN,
        end_at,
        register,
        exponent,
        unit,
        one == 0,
    )
    await mdms.append(bulk)


async def brought_back(system: System, root: Path, *, keys_too: bool) -> None:
    """Lose everything, and start from the backups: the platform's, and the security service's or the directory it has."""
    await system.centre.stop()
    layout = Layout(root / "other")
    restore(Place(root / "backups"), layout)
    if keys_too:
        restoring.restore(root / "keys.backup", layout.platform, PHRASE, PASSPHRASE, system.clock())
    else:
        shutil.move(system.centre.root / "keys", layout.platform / "keys")
        shutil.move(system.centre.root / "tls", layout.platform / "tls")
    shutil.rmtree(system.centre.root)
    system.centre.root = layout.platform
    await system.centre.start()
    system.connect()


async def test_both_backups_bring_a_lost_system_back_with_every_reading_and_a_ledger_that_holds(
    system: System, tmp_path: Path
) -> None:
    await told(system, "ledger_checkpoint", Empty())
    await service(system).backup(str(tmp_path / "keys.backup"), PHRASE)
    await back_up(system, tmp_path)
    found = await system.desk.call("store_drill", DrillBackup(place=str(tmp_path / "backups")), Drill)
    assert found.ok
    assert found.integrity.readings + found.integrity.entries > 0
    await brought_back(system, tmp_path, keys_too=True)
    await system.check_complete()
    seen = await system.desk.call("service_head", Empty(), Seen)
    assert seen.held
    accepted = await system.desk.call("service_head_accept", Empty(), Seen)
    assert not accepted.held
    verdict = await told(system, "ledger_verify", Since())
    assert verdict["faults"] == []
    assert (await system.desk.call("store_check", Empty(), Integrity)).good
    word = await system.read(encode.read_request(WATER, 0x901F, ser=3))
    assert (await system.until_ended(word)).state == "done"  # sessions go on
    with pytest.raises(TrustError) as caught:  # what officers sign must name this restore
        await system.command(encode.valve_request(WATER, opened=False, ser=7), "valve-close")
    assert caught.value.code == "security.restored"
    said = [act.act for act in acts.verified(system.centre.engine)]
    assert said[-1] == "store-restored"  # the backup of before is written down after its moment


async def test_an_older_backup_of_the_platform_is_refused_by_the_ledger_until_two_officers_order_it(
    system: System, tmp_path: Path
) -> None:
    await back_up(system, tmp_path)
    await later_readings(system)
    newer = await told(system, "ledger_checkpoint", Empty())
    await brought_back(system, tmp_path, keys_too=False)
    await system.check_complete()
    with pytest.raises(DataError) as caught:
        await told(system, "ledger_checkpoint", Empty())
    assert caught.value.code == "mdms.ledger-cut"
    verdict = await told(system, "ledger_verify", Since())
    assert {fault["code"] for fault in verdict["faults"]} == {"checkpoint"}
    order = LedgerReset(
        request_id=fresh_request_id(),
        not_after=system.clock() + HOUR,
        project_id=PROJECT,
        reason="the platform's disk was lost",
    )
    raw = encoded(order)
    signatures = (
        sign("li", system.officer, "ledger-reset", raw),
        sign("wang", system.other_officer, "ledger-reset", raw),
    )
    await service(system).submit(SignedOrder(purpose="ledger-reset", request=raw, signatures=signatures))
    again = await told(system, "ledger_checkpoint", Empty())
    assert "reset" in again["note"]
    assert again["note"] != newer["note"]
    assert (await told(system, "ledger_verify", Since()))["faults"] == []
    # Who kept the newer checkpoint elsewhere sees for ever that the end was lost.
    assert {
        one["code"] for one in (await told(system, "ledger_verify", Since(note=newer["note"])))["faults"]
    } == {"checkpoint"}


async def test_keys_that_are_older_than_the_backup_of_the_platform_are_said_and_nothing_is_changed(
    system: System, tmp_path: Path
) -> None:
    await service(system).backup(str(tmp_path / "keys.backup"), PHRASE)
    await service(system).rotate("data-keys", b"", b"")
    await system.centre.parts.resealing.follow()
    for _ in range(1000):
        if not await system.centre.parts.resealing.step():
            break
    await back_up(system, tmp_path)
    for name in ("keys", "tls"):
        shutil.copytree(system.centre.root / name, tmp_path / "newer" / name)
    with pytest.raises(TrustError) as caught:
        await brought_back(system, tmp_path, keys_too=True)
    assert caught.value.code == "backup.keys"
    assert "keys restore" in caught.value.message
    assert (system.centre.root / restoring_app.RESTORED).exists()
    for name in ("keys", "tls"):  # with the right keys it starts
        shutil.rmtree(system.centre.root / name, ignore_errors=True)
        shutil.copytree(tmp_path / "newer" / name, system.centre.root / name)
    await system.centre.start()
    system.connect()
    await system.check_complete()


async def test_a_backup_into_the_platforms_own_directory_or_beside_another_is_refused(
    system: System, tmp_path: Path
) -> None:
    for place in (str(system.centre.root / "measurements" / "backup"), "relative/backups"):
        with pytest.raises(LocalError) as caught:
            await system.desk.call("store_backup", Backup(place=place), Written)
        assert caught.value.code == "backup.place"
    (tmp_path / "link").symlink_to(system.centre.root)
    with pytest.raises(LocalError) as caught:
        await system.desk.call("store_backup", Backup(place=str(tmp_path / "link" / "backups")), Written)
    assert caught.value.code == "backup.place"
