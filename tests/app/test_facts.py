"""The platform put together: what agreements say reaches the rules."""

from __future__ import annotations

from pathlib import Path

from meterseal.app import keys, platform
from meterseal.control import write
from meterseal.control.tables import customers, premises, usage_points
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.rpc import InProcess
from meterseal.security.service import SecurityService, provision
from tests.control_store import control_at

PASSPHRASE = b"a passphrase of this test"
PROJECT = bytes.fromhex("1101000000000001aa01bb0200000001")
NOW = 1_779_033_600_000
DAY = 86_400_000


async def test_the_end_of_an_agreement_is_known_at_the_next_run(tmp_path: Path) -> None:
    provision(tmp_path / "keys", PASSPHRASE, PROJECT, NOW)
    TlsDirectory(tmp_path / "tls").provision(PASSPHRASE, NOW)
    service = SecurityService.open(tmp_path / "keys", PASSPHRASE, clock=lambda: NOW)
    engine = control_at(tmp_path / "control.db")
    offered = keys.methods(service, TlsDirectory(tmp_path / "tls"), PASSPHRASE, lambda: NOW)
    parts = await platform.assemble(
        engine, tmp_path / "measurements", InProcess(offered, "platform"), lambda: NOW
    )
    with write(engine) as connection:
        connection.execute(premises.insert().values(id="pr"))
        connection.execute(usage_points.insert().values(id="up", premises_id="pr", medium="water"))
        connection.execute(customers.insert().values(id="cu", created_at=NOW))
    parts.utility.add_agreement("ag", "cu", "up", "any", NOW - 9 * DAY, 1)
    await parts.mdms.run_vee(NOW)
    assert "vacant" not in parts.mdms.facts.told(NOW)
    parts.utility.end_agreement("ag", NOW - 2 * DAY)
    await parts.mdms.run_vee(NOW + 1)
    (vacant,) = parts.mdms.facts.told(NOW + 1)["vacant"]["up"]
    assert vacant.since == NOW - 2 * DAY
    await parts.mdms.close()
    service.close()
    engine.dispose()
