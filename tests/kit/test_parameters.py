"""What the field's programs keep is sealed: parameters given once, controllers' pages, and what an older version left."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterseal.edge.delivery import PAGE as CONTROLLER
from meterseal.edge.delivery import ControllerState
from meterseal.edge.making import personalise
from meterseal.edge.memories import MEMORY, OLDER, Memories
from meterseal.edge.meter import MeterState
from meterseal.edge.nv import SqliteNv, open_nv_database
from meterseal.edge.parameters import Parameters
from meterseal.errors import LocalError, TrustError
from meterseal.kit.factory import manufacture_concentrator
from meterseal.kit.field import Field, Joined
from meterseal.kit.plan import make_plan
from tests.edge.platform import NOW, Platform
from tests.kit.test_replay import personalisation

PASSWORD = "the-password-of-the-tls-key"
METER, OTHER = bytes.fromhex("1020000000000001"), bytes.fromhex("1020000000000002")
STATE = ControllerState(1_749_999_600_000, (1_750_172_400_000,), MeterState())


def orders(folder: Path, **changed: Any) -> dict[str, Any]:
    return {
        "dir": str(folder),
        "device_id": "f0" + "00" * 7,
        "module_id": "01" * 16,
        "headend_host": "127.0.13.37",
        "headend_port": 48_215,
        "risers": [{"port": 48_300, "meters": [{"device_id": METER.hex()}]}],
        "tls": {"certificate": "a.crt", "key": "a.key", "root": "r.crt", "password": PASSWORD},
        **changed,
    }


PLANTED = [b"127.0.13.37", PASSWORD.encode(), METER.hex().encode(), b"a.crt", b"headend_port"]
PLANTED += [b"\xcd" + port.to_bytes(2) for port in (48_215, 48_300)] + [b"48215", b"48300"]


def shown(folder: Path, marks: list[bytes]) -> list[tuple[str, bytes]]:
    return [
        (path.name, mark)
        for path in folder.rglob("*")
        if path.is_file()
        for mark in marks
        if mark in path.read_bytes()
    ]


def kept(folder: Path, given: dict[str, Any]) -> Any:
    memories = Memories(folder)
    try:
        return Parameters(folder, memories).take(given)
    finally:
        memories.close()


def test_parameters_given_once_are_sealed_and_come_back_whole(tmp_path: Path) -> None:
    """HM-8.3.3.b, HM-8.4.3.b."""
    first = kept(tmp_path, orders(tmp_path))
    assert shown(tmp_path, PLANTED) == []
    again = kept(tmp_path, {"dir": str(tmp_path)})
    assert again == first
    assert again.tls.password == PASSWORD
    unsaid = orders(tmp_path, headend_port=48_216)
    unsaid["tls"].pop("password")
    assert kept(tmp_path, unsaid).tls.password == PASSWORD
    assert kept(tmp_path, {"dir": str(tmp_path)}).headend_port == 48_216


def test_a_concentrator_that_was_told_nothing_says_how_to_tell_it(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="once with --config FILE") as error:
        kept(tmp_path, {"dir": str(tmp_path)})
    assert error.value.code == "concentrator.no-parameters"


@pytest.mark.parametrize("harm", ["damaged", "moved", "renamed"])
def test_a_page_that_was_changed_or_moved_is_refused_until_it_is_given_again(
    tmp_path: Path, harm: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        kept(folder, orders(folder))
    files = {folder: sqlite3.connect(folder / MEMORY, isolation_level=None) for folder in (here, there)}
    pages = {one: file.execute("SELECT page FROM pages").fetchone()[0] for one, file in files.items()}
    if harm == "damaged":
        files[here].execute("UPDATE pages SET page = ?", (pages[here][:-1] + bytes([pages[here][-1] ^ 1]),))
    elif harm == "moved":
        files[here].execute("UPDATE pages SET page = ?", (pages[there],))
    else:  # a sealed page of the same memory, under the same name
        memories = Memories(here)
        memories.page(b"buses").write({"parameters 1": b"[1]"})
        memories.close()
        other = (
            files[here].execute("SELECT page FROM pages WHERE owner = ?", (b"program buses",)).fetchone()[0]
        )
        files[here].execute("UPDATE pages SET page = ?", (other,))
    for file in files.values():
        file.close()
    with pytest.raises(TrustError, match="Give them again with --config FILE") as error:
        kept(here, {"dir": str(here)})
    assert error.value.code == "concentrator.parameters"
    kept(here, orders(here))
    assert kept(here, {"dir": str(here)}).headend_host == "127.0.13.37"


async def _program(*arguments: str) -> tuple[int | None, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "meterseal.kit.programs.concentrator",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    first = await process.stdout.readline()
    if process.returncode is None and b"ready" in first:
        process.terminate()
    _, said = await process.communicate()
    return process.returncode, first, said


async def test_the_program_asks_that_its_setup_file_be_deleted_and_starts_without_it(tmp_path: Path) -> None:
    folder, file = tmp_path / "concentrator", tmp_path / "setup.json"
    plan = make_plan(until=NOW, dwellings=1, days=1)
    made = manufacture_concentrator(folder, plan)
    personalise(folder, [personalisation(Platform(), made)])
    given = orders(folder, device_id=made.device_id.hex(), module_id=made.module_id.hex())
    del given["tls"]
    file.write_text(json.dumps(given))
    code, ready, said = await _program("--config", str(file))
    assert (code, json.loads(ready)["ready"]) == (0, "concentrator")
    assert f"Delete {file}" in said.decode()
    file.unlink()
    code, ready, said = await _program("--dir", str(folder))
    assert (code, json.loads(ready)["ready"]) == (0, "concentrator")
    assert b"Delete" not in said
    assert shown(tmp_path, PLANTED[:1] + PLANTED[4:]) == []


async def test_the_program_says_in_one_line_that_it_was_told_nothing(tmp_path: Path) -> None:
    code, out, said = await _program("--dir", str(tmp_path / "new"))
    assert code == 2
    assert json.loads(out)["failed"] == "concentrator.no-parameters"
    assert b"Traceback" not in said


def test_a_controllers_page_is_sealed_for_its_own_device(tmp_path: Path) -> None:
    page = msgspec.msgpack.encode(STATE)
    memories = Memories(tmp_path)
    memories.controller(METER).write({CONTROLLER: page})
    assert memories.controller(METER).read(CONTROLLER) == page
    raw = memories.connection.execute("SELECT page FROM pages").fetchone()[0]
    SqliteNv(memories.connection, b"controls " + OTHER).write({CONTROLLER: raw})
    with pytest.raises(TrustError):
        memories.controller(OTHER).read(CONTROLLER)
    memories.close()
    assert shown(tmp_path, [page, STATE.through.to_bytes(8)]) == []


def older(folder: Path) -> bytes:
    """A memory as an older version left it: two controllers' pages in clear."""
    page = msgspec.msgpack.encode(STATE)
    folder.mkdir(exist_ok=True)
    connection = open_nv_database(str(folder / MEMORY))
    for device_id in (METER, OTHER):
        SqliteNv(connection, OLDER + device_id).write({CONTROLLER: page})
    connection.close()
    return page


def test_pages_that_an_older_version_left_in_clear_are_sealed_and_forgotten(tmp_path: Path) -> None:
    page = older(tmp_path)
    assert shown(tmp_path, [page]) != []
    for _ in range(2):
        memories = Memories(tmp_path)
        assert [memories.controller(one).read(CONTROLLER) for one in (METER, OTHER)] == [page, page]
        assert shown(tmp_path, [page]) == []  # while it is open too: not in the log either
        memories.close()


class Killed(BaseException):
    """Where the process would have ended."""


@pytest.mark.parametrize("moment", range(7))
def test_a_stop_between_any_two_writes_of_that_loses_no_page(
    tmp_path: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = older(tmp_path)
    left = moment
    real = open_nv_database

    class Stopping:
        """The connection, whose process is gone before a certain statement; what was not committed is not there."""

        def __init__(self, path: str) -> None:
            self.under = real(path)

        def execute(self, statement: str, values: Any = ()) -> Any:
            nonlocal left
            if not statement.startswith("SELECT"):
                left -= 1
                if left < 0:
                    raise Killed
            return self.under.execute(statement, values)

        @property
        def in_transaction(self) -> bool:
            return self.under.in_transaction

    stopped: list[Stopping] = []

    def opened(path: str) -> Any:
        stopped.append(Stopping(path))
        return stopped[-1]

    monkeypatch.setattr("meterseal.edge.memories.open_nv_database", opened)
    with pytest.raises(Killed):
        Memories(tmp_path)
    stopped[0].under.close()  # rolls back what stands open
    monkeypatch.undo()
    memories = Memories(tmp_path)
    assert [memories.controller(one).read(CONTROLLER) for one in (METER, OTHER)] == [page, page]
    memories.close()


def test_the_password_that_an_older_field_kept_moves_into_the_concentrators_memory(tmp_path: Path) -> None:
    plan = make_plan(until=1_750_000_000_000, dwellings=1, days=1)
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(plan))
    (tmp_path / "field.json").write_bytes(msgspec.json.encode(Joined(key_password=PASSWORD)))
    field = Field(tmp_path, plan)
    assert field.take_up()
    assert shown(tmp_path, [PASSWORD.encode()]) == []
    memories = Memories(field.concentrator)
    assert Parameters(field.concentrator, memories).password == PASSWORD
    memories.close()
    assert Field(tmp_path, plan).take_up()
