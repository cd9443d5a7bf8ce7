"""The ledger of a whole system: proofs at the operator's desk, a bill's bundle, an erased person, a changed audit row."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from msgspec import Struct

from meterseal.app import operator
from meterseal.app.comparing import Comparing, Since
from meterseal.app.rowwatch import Looked, RowWatch
from meterseal.crypto import merkle
from meterseal.errors import DataError, EngineError, LocalError, MetersealError
from meterseal.mdms.facts import Fact
from meterseal.mdms.integrity import Integrity
from meterseal.mdms.ledger.walk import Walk
from meterseal.mesh.rpc import Empty, InProcess
from meterseal.people.ledger import LedgerCheckpoint, LedgerConsistency, LedgerInclusion, Published
from meterseal.people.messages import method_of
from meterseal.people.portal.app import create_app
from meterseal.people.portal.settings import PortalSettings
from meterseal.security.checkpoints import LedgerKey, check_key, read, verified
from meterseal.security.ledgerorders import LedgerHead
from meterseal.security.sdk import SecuritySdk
from meterseal.things.monitor import AuditLog
from meterseal.utility.bundle import check, unpacked
from meterseal.utility.customers import NewCustomer, Person
from tests.scenarios.small_system import DAY, MORNING, SINCE, WATER, System
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[System]:
    made = System(tmp_path)
    await made.start()
    await made.settle()
    yield made
    await made.centre.stop()


async def told(system: System, method: str, request: Struct) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await system.desk.call(method, request, operator.Text)).json)
    return found


async def test_checkpoints_and_proofs_come_from_the_desk_and_hold_outside_of_it(system: System) -> None:
    first = await told(system, "ledger_checkpoint", Empty())
    note, root = first["note"], bytes.fromhex(first["root"])
    keys = [
        LedgerKey(
            version=one["version"],
            point=bytes.fromhex(one["point"]),
            at=one["at"],
            chain=(bytes.fromhex(one["chain"][0]), bytes.fromhex(one["chain"][1])),
            signature=bytes.fromhex(one["signature"]),
        )
        for one in first["keys"]
    ]
    for key in keys:
        check_key(key, root)
    checkpoint = verified(note, keys)
    assert checkpoint.size > 4
    proof = await told(system, "ledger_inclusion", LedgerInclusion(leaf=2))
    path = [bytes.fromhex(one) for one in proof["path"]]
    assert merkle.included(bytes.fromhex(proof["hash"]), 2, checkpoint.size, path, checkpoint.root)
    grown = await told(system, "ledger_consistency", LedgerConsistency(old=3))
    path = [bytes.fromhex(one) for one in grown["path"]]
    old = bytes.fromhex(grown["old_root"])
    assert merkle.consistent(3, old, checkpoint.size, checkpoint.root, path)
    with pytest.raises(LocalError):
        await told(system, "ledger_inclusion", LedgerInclusion(leaf=10**9))
    verdict = await told(system, "ledger_verify", Since(note=note))
    assert (verdict["faults"], verdict["since"], verdict["covered"]) == ([], 1, checkpoint.size)


async def test_the_portal_publishes_checkpoints_and_proofs_for_everybody(system: System) -> None:
    note = (await told(system, "ledger_checkpoint", Empty()))["note"]
    size = read(note).size
    web = InProcess(system.centre.parts.methods, "web")

    def get(path: str) -> Any:
        with TestClient(create_app(web, PortalSettings()), base_url="http://testserver.local") as browser:
            answer = browser.get(path)
        assert answer.headers["content-security-policy"]
        return answer

    published = await asyncio.to_thread(get, "/ledger/checkpoint")
    assert (published.status_code, published.text) == (200, note)
    assert published.headers["content-type"] == "text/plain; charset=utf-8"
    keys = (await asyncio.to_thread(get, "/ledger/keys")).json()
    assert [one["version"] for one in keys["keys"]] == [1]
    proof = (await asyncio.to_thread(get, "/ledger/inclusion?leaf=1")).json()
    path = [bytes.fromhex(one) for one in proof["path"]]
    assert merkle.included(bytes.fromhex(proof["hash"]), 1, size, path, read(note).root)
    grown = (await asyncio.to_thread(get, "/ledger/consistency?old=2")).json()
    path = [bytes.fromhex(one) for one in grown["path"]]
    assert merkle.consistent(2, bytes.fromhex(grown["old_root"]), size, read(note).root, path)
    far = f"/ledger/inclusion?leaf={2**70}"
    for bad in ("/ledger/inclusion?leaf=-1", far, "/ledger/inclusion", "/ledger/consistency?old=x"):
        assert (await asyncio.to_thread(get, bad)).status_code == 400


async def test_strangers_see_what_was_signed_alone_and_cost_the_security_service_nothing(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who could ask for trees of any size would see every record at the moment when it comes."""
    web = InProcess(system.centre.parts.methods, "web")
    asked = 0
    head = SecuritySdk.ledger_head

    async def counted(sdk: SecuritySdk) -> LedgerHead:
        nonlocal asked
        asked += 1
        return await head(sdk)

    questions = (LedgerInclusion(leaf=1, size=4), LedgerConsistency(old=1, new=4))
    for question in questions:
        await told(system, f"ledger_{type(question).__name__.removeprefix('Ledger').lower()}", question)
        with pytest.raises(LocalError) as refused:
            await web.call(method_of(type(question)), question, Published)
        assert "4 leaves yet; ask for 0" in refused.value.message
    signed = await told(system, "ledger_checkpoint", Empty())
    monkeypatch.setattr(SecuritySdk, "ledger_head", counted)
    for question in questions:
        assert (await web.call(method_of(type(question)), question, Published)).json
    for _ in range(5):
        published = await web.call(method_of(LedgerCheckpoint), LedgerCheckpoint(), Published)
        assert published.note == signed["note"]
        assert json.loads(published.json)["keys"] == signed["keys"]
    assert asked == 1


async def billed(system: System) -> tuple[str, str]:
    """A customer of the water meter, and the bill of the second day."""
    utility, fleet = system.centre.parts.utility, system.centre.parts.desk._fleet
    customer = await utility.customers.add(NewCustomer(Person("Li Wei", "Riser 1")), system.clock())
    point = next(one.usage_point for one in fleet.devices() if one.device_id == WATER)
    utility.add_agreement("ag-1", customer, point, "sample-cold-water-tiered", SINCE + DAY, 20)
    system.clock.now = MORNING + DAY
    await system.desk.call("bills_run", operator.BillRun(), operator.Text)
    assert utility.held() == ()
    (bill,) = utility.bills("ag-1")
    return customer, bill.bill_id


async def test_a_bill_is_handed_out_with_its_proof_until_its_customer_is_erased(system: System) -> None:
    customer, bill_id = await billed(system)
    before = await told(system, "ledger_verify", Since())
    assert (before["faults"], before["covered"]) == ([], before["leaves"])  # signed when the bills were run
    answer = await system.desk.call("bill_bundle", operator.BillQuery(bill_id=bill_id), operator.Text)
    bundle = unpacked(answer.json.encode())
    checked = check(bundle, system.centre.service.room.pki.root)
    assert checked.faults == ()
    assert [one.signed_by for one in checked.registers] == ["meter", "meter"]
    assert all(one.leaves for one in checked.registers)
    # The day before was somebody else's: of it only what the meter stated about its midnight goes out.
    parts = [json.loads(one.plaintext) for one in bundle.records]
    assert sorted((len(part[12]) > 0, len(part[14])) for part in parts) == [(False, 1), (False, 1), (True, 0)]
    assert "Li Wei" not in answer.json
    assert all(json.loads(one.plaintext)[1] == bundle.bill.usage_point for one in bundle.records)
    for _ in range(2):
        await system.desk.call("customer_erase", operator.EraseCustomer(customer_id=customer), operator.Text)
    with pytest.raises(LocalError) as erased:
        await told(system, "bill_bundle", operator.BillQuery(bill_id=bill_id))
    assert erased.value.code == "bill.erased"
    after = await told(system, "ledger_verify", Since(note=bundle.checkpoint))
    assert after["faults"] == []
    assert after["erased"] > 0
    assert after["leaves"] == before["leaves"]
    assert check(bundle).good, "what was handed out before stays the customer's"


async def test_a_changed_row_of_an_audit_trail_is_named(system: System) -> None:
    customer, _ = await billed(system)
    await system.desk.call("customer_erase", operator.EraseCustomer(customer_id=customer), operator.Text)
    insider(system, "UPDATE acts SET actor = 'somebody' WHERE id = 1")
    faults = (await told(system, "ledger_verify", Since()))["faults"]
    assert [(one["code"], one["where"]) for one in faults] == [
        ("audit", "the acts of the platform"),
        ("row", "acts, row 1"),
    ]
    insider(
        system,
        "INSERT INTO refusals SELECT id + 1, at, 'link.tag', 'Never.', device_id, session_id, counter, source, previous, "
        "hash FROM refusals ORDER BY id DESC LIMIT 1",
    )
    faults = (await told(system, "ledger_verify", Since()))["faults"]
    assert ("audit", "the platform's audit trail") in [(one["code"], one["where"]) for one in faults]


def insider(system: System, *statements: str) -> None:
    """Work on the control store with a program of one's own."""
    with contextlib.closing(sqlite3.connect(system.centre.root / "control.db")) as raw, raw:
        for statement in statements:
            raw.execute(statement)


async def test_what_an_insider_changes_in_the_control_store_is_named_by_verify_check_and_status(
    system: System,
) -> None:
    """Each change by itself in a running system, and a statement that goes with everything that told of it."""
    _, bill_id = await billed(system)
    bundle = operator.BillQuery(bill_id=bill_id)
    point = system.centre.parts.desk._fleet.devices()[0].usage_point
    stated = Fact(usage_point=point, kind="multiplier", value="40", since=SINCE)
    await system.centre.parts.mdms.state([stated], system.clock())
    anchoring = system.centre.parts.rows.anchoring
    assert await anchoring.look() > 1
    assert (await told(system, "ledger_verify", Since()))["faults"] == []
    assert (await system.desk.call("store_check", Empty(), Integrity)).damages == ()
    for place, change, back in (
        ("point_facts, row ", "point_facts SET value = '400'", "point_facts SET value = '40'"),
        ("tariffs, row ", "tariffs SET since = since - 1", "tariffs SET since = since + 1"),
        ("meters, row ", "meters SET since = since + 60000", "meters SET since = since - 60000"),
    ):
        insider(system, f"UPDATE {change}")
        faults = (await told(system, "ledger_verify", Since()))["faults"]
        assert faults, place
        assert {one["code"] for one in faults} == {"row"}
        assert all(one["where"].startswith(place) for one in faults)
        damages = (await system.desk.call("store_check", Empty(), Integrity)).damages
        assert [(one.code, one.where) for one in damages] == [("row", one["where"]) for one in faults]
        counts = await system.desk.call("counts", operator.Page(), operator.Counts)
        assert counts.audit_ok is False
        assert "ledger verify" in counts.audit_broken
        with pytest.raises(DataError) as refused:
            await told(system, "bill_bundle", bundle)
        assert refused.value.code == "bill.rows-changed"
        insider(system, f"UPDATE {back}")
    hundred = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 101)"
    for change, back in (
        (
            f"{hundred} INSERT INTO usage_points SELECT 'z' || i, (SELECT min(id) FROM premises), 'gas' FROM n",
            "DELETE FROM usage_points WHERE id LIKE 'z%'",
        ),
        (
            "CREATE TRIGGER t AFTER INSERT ON bulk_orders BEGIN UPDATE meters SET usage_point_id = 'p'; END",
            "DROP TRIGGER t",
        ),
    ):
        insider(system, change)
        with pytest.raises(DataError) as refused:
            await told(system, "bill_bundle", bundle)
        assert refused.value.code == "bill.rows-changed", change
        insider(system, back)
    insider(system, "INSERT INTO premises VALUES ('z')")
    assert (await told(system, "bill_bundle", bundle))["bill"], "no bill is counted with it"
    insider(system, "DELETE FROM premises WHERE id = 'z'")
    assert (await told(system, "ledger_verify", Since()))["faults"] == []
    said = [
        one.sentence for one in AuditLog(system.centre.engine).latest() if one.code == "control.row-changed"
    ]
    assert any(one.startswith("point_facts, row ") for one in said)
    # The statement, its act and every entry that tells of them go together: whole in itself, and shorter than was anchored.
    insider(
        system,
        "DELETE FROM point_facts WHERE kind = 'multiplier'",
        "DELETE FROM acts WHERE act = 'multiplier-stated'",
        "DELETE FROM row_trail WHERE id = (SELECT max(id) FROM row_trail)",
    )
    (fault,) = (await told(system, "ledger_verify", Since()))["faults"]
    assert (fault["code"], fault["where"]) == ("row", "the trail of rows")
    assert "was cut off" in fault["sentence"]


SPOILT = (
    ("stores", "sequence", "'x'", "control"),
    ("stores", "journal_begun", "x'00'", "control"),
    ("meters", "since", "'never'", "row"),
    ("ledger_checkpoints", "note", "7", "checkpoint"),
    ("ledger_seeds", "sealed_nodes", "'text'", "row"),
    ("row_trail", "hash", "'text'", "row"),
    ("refusals", "hash", "'text'", "audit"),
    ("evidence", "device_id", "5.5", "evidence"),
    ("bills", "sealed_document", "'text'", "row"),
    ("tariffs", "document", "x'ff'", "row"),
)


async def test_a_value_of_another_kind_is_a_statement_of_verify_check_and_status_and_ends_none_of_them(
    system: System,
) -> None:
    _, bill_id = await billed(system)
    await system.desk.call("store_check", Empty(), Integrity)
    for table, column, other, code in SPOILT:
        with contextlib.closing(sqlite3.connect(system.centre.root / "control.db")) as raw:
            was = raw.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid DESC LIMIT 1").fetchone()
        insider(system, f"UPDATE {table} SET {column} = {other} WHERE rowid = {was[0]}")
        faults = (await told(system, "ledger_verify", Since()))["faults"]
        assert code in {one["code"] for one in faults}, (table, column, faults)
        damages = (await system.desk.call("store_check", Empty(), Integrity)).damages
        assert any(table in one.where or "trail" in one.where for one in damages), (table, column, damages)
        counts = await system.desk.call("counts", operator.Page(), operator.Counts)
        assert counts.audit_ok is False, (table, column)
        assert "ledger verify" in counts.audit_broken
        with contextlib.suppress(DataError, LocalError):  # a bill that does not rest on it is proved
            await told(system, "bill_bundle", operator.BillQuery(bill_id=bill_id))
        with contextlib.closing(sqlite3.connect(system.centre.root / "control.db")) as raw, raw:
            raw.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (was[1], was[0]))
    rest = (await told(system, "ledger_verify", Since()))["faults"]
    assert {one["where"] for one in rest} <= {"the platform's audit trail", "the trail of rows"}, rest
    await system.centre.stop()
    insider(system, "UPDATE stores SET sequence = 'x' || sequence")
    with pytest.raises(DataError) as refused:
        await system.centre.start()
    assert refused.value.code == "control.kind"
    system.centre.engine.dispose()
    system.centre.service.close()
    insider(system, "UPDATE stores SET sequence = substr(sequence, 2)")
    await system.centre.start()


async def test_a_text_that_is_no_checkpoint_of_ours_is_refused(system: System) -> None:
    note = (await told(system, "ledger_checkpoint", Empty()))["note"]
    for bad, code in (
        ("nothing", "ledger.note"),
        (note.replace(f"\n{read(note).size}\n", "\n1\n", 1), "ledger.signature"),
    ):
        with pytest.raises(MetersealError) as refused:
            await told(system, "ledger_verify", Since(note=bad))
        assert refused.value.code == code


async def followed(system: System, asked: Since) -> dict[str, Any]:
    """Ask for a comparison until there is a verdict."""
    for _ in range(6_000):
        found = await told(system, "ledger_verify", asked)
        if "stands" not in found:
            return found
        assert found["run"] == asked.run
        await asyncio.sleep(0.01)
    raise AssertionError(f"No verdict in a minute: {found}")


async def test_a_comparison_is_followed_goes_on_without_who_asked_and_ends_when_wished(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterseal.app.comparing.PAUSE", 0.0)
    go, look = asyncio.Event(), RowWatch.look

    async def held(watch: RowWatch, only: frozenset[str] | None = None) -> Looked:
        await go.wait()
        return await look(watch, only)

    monkeypatch.setattr(RowWatch, "look", held)
    first = await told(system, "ledger_verify", Since(follow=True))
    assert (first["run"], first["stands"]) == (1, "the journal")
    assert (await told(system, "ledger_verify", Since(follow=True)))["run"] == 1, (
        "who comes later follows the same"
    )
    note = (await told(system, "ledger_checkpoint", Empty()))["note"]
    with pytest.raises(LocalError) as busy:
        await told(system, "ledger_verify", Since(note=note, follow=True))
    assert busy.value.code == "ledger.busy"
    assert await told(system, "ledger_verify", Since(stop=True)) == {"stopped": True, "stands": "the journal"}
    go.set()
    with pytest.raises(EngineError) as ended:
        await followed(system, Since(follow=True, run=1))
    assert ended.value.code == "ledger.stopped"
    assert "leaves hashed" in ended.value.message
    assert await told(system, "ledger_verify", Since(stop=True)) == {"stopped": False, "stands": ""}
    second = await told(system, "ledger_verify", Since(note=note, follow=True))
    assert second["run"] == 2
    second = await followed(system, Since(note=note, follow=True, run=2))
    assert (second["faults"], second["since"]) == ([], 1)
    assert (await told(system, "ledger_verify", Since(note=note, follow=True, run=2))) == second, (
        "asked again"
    )
    other = await told(system, "ledger_verify", Since(follow=True, run=2))
    assert other["run"] == 3, "a number of before a start is not the verdict on another checkpoint"
    await followed(system, Since(follow=True, run=3))


async def test_a_comparison_that_was_ended_in_its_last_stage_gives_no_verdict(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def held(comparing: Comparing) -> None:
        reached.set()
        await go.wait()

    monkeypatch.setattr(Comparing, "_service_log", held)
    asking = asyncio.create_task(told(system, "ledger_verify", Since()))
    await reached.wait()
    said = await told(system, "ledger_verify", Since(stop=True))
    assert said == {"stopped": True, "stands": "the security service's audit log"}
    go.set()
    with pytest.raises(EngineError) as ended:
        await asking
    assert ended.value.code == "ledger.stopped"


async def test_a_platform_that_ends_waits_for_no_comparison(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has five seconds to put everything away, and the comparison holds what is to be put away."""
    walking = asyncio.Event()

    async def held(_: Walk, *__: object) -> None:
        walking.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Walk, "run", held)
    asked = asyncio.create_task(told(system, "ledger_verify", Since()))
    await asyncio.wait_for(walking.wait(), 60)
    await system.centre.parts.comparing.close(0.01)
    await asyncio.wait_for(system.centre.parts.mdms.compact(), 60)
    with pytest.raises(EngineError) as ended:
        await asked
    assert ended.value.code == "ledger.stopped"


async def test_a_store_that_its_control_store_forgot_is_named_and_not_made_anew(system: System) -> None:
    with contextlib.closing(sqlite3.connect(system.centre.engine.url.database or "")) as raw, raw:
        raw.execute("DELETE FROM stores")
    faults = (await told(system, "ledger_verify", Since()))["faults"]
    assert any((one["code"], one["where"]) == ("control", "stores") for one in faults), faults
    with contextlib.closing(sqlite3.connect(system.centre.engine.url.database or "")) as raw:
        assert raw.execute("SELECT count(*) FROM stores").fetchone() == (0,)
