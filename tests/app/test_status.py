"""`meterseal status` over a real platform in this process: what it counts and whether the audit trail holds."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from meterseal.app import keys, operator, platform
from meterseal.control import write
from meterseal.control.tables import refusals
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.rpc import OPERATOR, InProcess
from meterseal.model import Refusal
from meterseal.people.trail import RECENT, Trail
from meterseal.security.service import SecurityService, provision
from meterseal.things.monitor import AuditLog
from tests.control_store import control_at

PASSPHRASE = b"a passphrase of this test"
PROJECT = bytes.fromhex("1101000000000001aa01bb0200000001")
NOW = 1_779_033_600_000


async def test_attack_delete_a_refusal_shows_in_status_with_its_entry(tmp_path: Path) -> None:
    """The review found `audit_ok` true for ever: nothing had set it."""
    now = NOW
    provision(tmp_path / "keys", PASSPHRASE, PROJECT, now)
    TlsDirectory(tmp_path / "tls").provision(PASSPHRASE, now)
    service = SecurityService.open(tmp_path / "keys", PASSPHRASE, clock=lambda: now)
    engine = control_at(tmp_path / "control.db")
    offered = keys.methods(service, TlsDirectory(tmp_path / "tls"), PASSPHRASE, lambda: now)
    parts = await platform.assemble(
        engine, tmp_path / "measurements", InProcess(offered, "platform"), lambda: now
    )
    desk = InProcess(parts.desk.methods(), OPERATOR)
    await AuditLog(engine).refused(
        [Refusal(now, "link.tag", f"Sentence {n}.", b"device 1", b"", n) for n in range(1, 9)]
    )
    counts = await desk.call("counts", operator.Page(), operator.Counts)
    assert (counts.audit_ok, counts.audit_entries, counts.audit_broken) == (True, 8, "")
    await parts.anchoring.look()
    now += RECENT
    counts = await desk.call("counts", operator.Page(), operator.Counts)
    assert (counts.audit_ok, counts.audit_anchored) == (True, 8)
    with write(engine) as connection:
        last = dict(connection.execute(sa.select(refusals).where(refusals.c.id == 8)).mappings().one())
        connection.execute(refusals.delete().where(refusals.c.id == 8))
    # A platform that started after the end was cut off knows it from the security service's anchor alone.
    found = await Trail(AuditLog(engine), parts.anchoring, lambda: now).state()
    assert (found.holds, found.entry) == (False, 8)
    with write(engine) as connection:
        connection.execute(refusals.insert().values(last))
        connection.execute(refusals.delete().where(refusals.c.id == 5))
    now += RECENT
    counts = await desk.call("counts", operator.Page(), operator.Counts)
    assert counts.audit_ok is False
    assert "entry 5" in counts.audit_broken
    await parts.mdms.close()
    service.close()
    engine.dispose()
