"""Erasing a person: afterwards no file of the data directory knows them, and what is owed stays owed."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.control import acts
from meterseal.control.engine import open_control, read, scrub, write
from meterseal.control.tables import accounts, customers, sign_in_links, web_sessions
from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.people import password
from meterseal.people.erasure import ACT, erase
from meterseal.utility.customers import NewCustomer, Person
from tests.control_store import control_at
from tests.people.town import NOW, PEOPLE, Town


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """Built once, for each test copies it."""

    async def build() -> Town:
        town = await Town(tmp_path_factory.mktemp("pattern")).build()
        await town.close()
        return town

    return asyncio.run(build())


@pytest.fixture
async def own(pattern: Town, tmp_path: Path) -> AsyncIterator[Town]:
    town = await pattern.copied(tmp_path)
    yield town
    await town.close()


def everything(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def secrets_of(engine: sa.Engine, customer_id: str) -> list[bytes]:
    with read(engine) as connection:
        row = connection.execute(sa.select(customers).where(customers.c.id == customer_id)).one()
        hashes = connection.execute(
            sa.select(accounts.c.password_hash).where(accounts.c.customer_id == customer_id)
        ).scalars()
        return [row.name, row.address, row.wrapped_key, *(text.encode() for text in hashes if text)]


def plant(path: Path, left: bytes) -> None:
    """Put bytes into unused space of a page, as SQLite may leave them there when it splits one."""
    content = bytearray(path.read_bytes())
    at = next(found.start() for found in re.finditer(b"\0" * 200, content) if found.start() > 8192)
    content[at + 50 : at + 50 + len(left)] = left
    path.write_bytes(content)


async def test_no_file_knows_an_erased_person_and_a_later_backup_neither(own: Town, tmp_path: Path) -> None:
    own.accounts.set_password(
        own.session(own.resident), password.Stretch(b"s" * password.SALT), b"v" * password.VERIFIER, NOW
    )
    gone = secrets_of(own.engine, "ren")
    assert all(one in everything(tmp_path) for one in gone)
    erase(own.engine, "ren", "operator", NOW)
    backup = tmp_path.with_name("backup.db")
    source = sqlite3.connect(own.engine.url.database or "")
    target = sqlite3.connect(backup)
    source.backup(target)
    target.close()
    source.close()
    for files in (everything(tmp_path), backup.read_bytes()):
        for one in [*gone, *(text.encode() for text in PEOPLE["ren"])]:
            assert one not in files
    assert await own.utility.customers.open("ren") is None


async def test_a_copy_that_a_page_split_left_behind_is_found_and_gone(tmp_path: Path) -> None:
    engine = control_at(tmp_path / "control.db")
    planted = b"the wrapped key of one who leaves"
    scrub(engine, [planted])
    engine.dispose()
    path = tmp_path / "control.db"
    plant(path, planted)
    engine = control_at(path)
    assert planted in path.read_bytes()
    scrub(engine, [planted])
    assert planted not in everything(tmp_path)
    with read(engine) as connection:
        assert connection.exec_driver_sql("pragma integrity_check").scalar() == "ok"


async def test_others_stay_readable_and_bills_stay_valid(own: Town) -> None:
    agreements = own.utility.agreements("ren")
    before = [own.utility.bills(one.agreement_id) for one in agreements]
    assert any(before)
    erase(own.engine, "ren", "operator", NOW)
    other = await own.utility.customers.open("lu")
    assert other is not None
    assert (other.name, other.address) == PEOPLE["lu"]
    assert [own.utility.bills(one.agreement_id) for one in agreements] == before
    assert (await own.utility.run_bills(NOW)).corrected == ()


async def test_every_way_to_sign_in_ends_with_the_person(own: Town) -> None:
    session = own.session(own.resident)
    link = own.accounts.make_link(own.resident, NOW)
    done = erase(own.engine, "ren", "operator", NOW)
    assert (done.before, done.accounts) == (False, 1)
    with pytest.raises(TrustError):
        own.accounts.subject(session, NOW)
    with pytest.raises(TrustError):
        own.accounts.redeem(link, NOW)
    with pytest.raises(LocalError):
        own.accounts.make_link(own.resident, NOW)
    with read(own.engine) as connection:
        rows = connection.execute(sa.select(accounts).where(accounts.c.customer_id == "ren")).all()
        assert [(row.password_hash, row.disabled_at) for row in rows] == [(None, NOW)]
        for table in (web_sessions, sign_in_links):
            assert not connection.execute(sa.select(table).where(table.c.account_id == own.resident)).first()
    assert own.accounts.subject(own.session(own.neighbour), NOW).customer_id == "lu"


async def test_erasing_twice_is_one_act_that_names_an_id_and_no_person(own: Town) -> None:
    first = erase(own.engine, "ren", "operator", NOW)
    again = erase(own.engine, "ren", "operator", NOW + 9)
    assert (again.before, again.erased_at, again.accounts) == (True, first.erased_at, 0)
    assert acts.verified(own.engine) == [acts.Act(NOW, "operator", ACT, "ren")]


async def test_an_account_made_after_the_erasure_ends_with_the_next_one(own: Town) -> None:
    erase(own.engine, "ren", "operator", NOW)
    late = own.accounts.create("resident", NOW, customer_id="ren")
    assert erase(own.engine, "ren", "operator", NOW + 9).accounts == 1
    with pytest.raises(LocalError):
        own.accounts.make_link(late, NOW)


async def test_an_unknown_customer_is_not_erased(own: Town) -> None:
    with pytest.raises(LocalError) as caught:
        erase(own.engine, "nobody", "operator", NOW)
    assert caught.value.code == "customer.none"
    assert acts.verified(own.engine) == []


async def test_a_reader_that_keeps_the_log_is_said_and_the_next_call_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meterseal.control import engine as control
    from tests.utility.twins import MemoryKeys

    monkeypatch.setattr(
        control, "_PRAGMAS", (*(one for one in control._PRAGMAS if "busy" not in one), "busy_timeout=50")
    )
    engine = control_at(tmp_path / "control.db")
    from meterseal.utility.customers import Customers

    await Customers(engine, MemoryKeys()).add(NewCustomer(Person("名", "址"), "c1"), NOW)
    gone = secrets_of(engine, "c1")
    engine.dispose()
    plant(tmp_path / "control.db", gone[2])
    engine = control_at(tmp_path / "control.db")
    with read(engine) as reader:
        reader.execute(sa.select(customers)).all()
        with pytest.raises(EngineError) as caught:
            erase(engine, "c1", "operator", NOW)
        assert caught.value.code == "control.busy"
    erase(engine, "c1", "operator", NOW)
    assert not any(one in everything(tmp_path) for one in gone)


def test_attack_another_program_that_closes_the_store_after_an_erasure_takes_no_log_away(
    tmp_path: Path,
) -> None:
    """The search for what was deleted must not let go of the locks by which SQLite knows that we use the file."""
    path = tmp_path / "control.db"
    engine = control_at(path)
    open_control(path).dispose()  # neither must a second look at the file
    scrub(engine, [b"the wrapped key of one who leaves"])
    with write(engine) as connection:
        connection.exec_driver_sql("create table later (at integer)")
    closing = "import sqlite3, sys; one = sqlite3.connect(sys.argv[1]); one.execute('select * from later'); one.close()"
    subprocess.run([sys.executable, "-c", closing, path], check=True, timeout=60)
    assert path.with_name("control.db-wal").exists()
    with write(engine) as connection:
        connection.exec_driver_sql("insert into later values (1)")
    engine.dispose()
    with read(control_at(path)) as connection:
        assert connection.exec_driver_sql("select at from later").scalar() == 1
