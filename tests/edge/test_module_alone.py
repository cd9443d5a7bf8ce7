"""One running program for each memory of modules: a second is refused, and a killed one leaves nothing locked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meterseal.edge.chip import Chip
from meterseal.edge.module import Module
from meterseal.edge.nv import NvFile, SealedNv, SqliteNv, open_nv_database
from meterseal.errors import EngineError, LocalError
from tests.edge.platform import STORAGE, Platform, shake_hands

WATER = bytes.fromhex("1078330000000001")
MODULE = bytes.fromhex("4d53000000000001")
OTHER = bytes.fromhex("4d53000000000002")

OTHER_PROGRAM = """
import sys, time
from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.module import Module
from meterseal.edge.nv import SealedNv, SqliteNv, open_nv_database
module = Module(SealedNv(SqliteNv(open_nv_database(sys.argv[1]), b"other"), SymmetricKey.generate("k"), bytes(8)))
print("on" if not module.fault else module.fault, flush=True)
time.sleep(600)
"""


def powered(file: NvFile, module_id: bytes = MODULE) -> Module:
    return Module(SealedNv(SqliteNv(file, module_id), STORAGE, module_id))


def refused(file: NvFile) -> None:
    with pytest.raises(LocalError) as caught:
        powered(file)
    assert caught.value.code == "module.in-use"
    assert "Stop that one first" in caught.value.message


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "modules.db")


def test_a_second_opener_is_refused_and_the_first_goes_on_with_its_session(path: str) -> None:
    first = open_nv_database(path)
    platform = Platform()
    chip, _ = platform.module(WATER, MODULE, 2, SqliteNv(first, MODULE))
    session_id = shake_hands(platform, chip)
    second = open_nv_database(path)
    before = [tuple(row) for row in second.execute("SELECT * FROM pages ORDER BY owner, name")]
    refused(second)
    assert [tuple(row) for row in second.execute("SELECT * FROM pages ORDER BY owner, name")] == before
    assert chip.state().session_id == session_id
    first.close()
    assert Chip(powered(second)).state().session_id == session_id
    second.close()


def test_a_program_powers_all_modules_of_its_file_and_each_of_them_anew(path: str) -> None:
    file = open_nv_database(path)
    assert not powered(file).fault
    assert not powered(file, OTHER).fault
    assert not powered(file).fault
    file.close()


def test_whoever_was_refused_holds_nothing_and_reading_pages_holds_nothing(path: str) -> None:
    first, second, third = (open_nv_database(path) for _ in range(3))
    SqliteNv(second, MODULE).write({"page": b"of a controller"})
    powered(first)
    refused(second)
    second.close()
    refused(third)
    first.close()
    assert not powered(third).fault
    third.close()


def test_kill_9_of_the_program_that_had_it_leaves_it_free(path: str) -> None:
    other = subprocess.Popen([sys.executable, "-c", OTHER_PROGRAM, path], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "on\n"
        file = open_nv_database(path)
        refused(file)
        os.kill(other.pid, signal.SIGKILL)
        other.wait(30)
        assert not powered(file).fault
        file.close()
    finally:
        other.kill()
        other.wait(30)
        other.stdout.close()  # type: ignore[union-attr]


def test_a_child_that_a_program_started_does_not_hold_its_modules_after_it(path: str) -> None:
    file = open_nv_database(path)
    powered(file)
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        file.close()
        assert not powered(open_nv_database(path)).fault
    finally:
        child.kill()
        child.wait(30)


def test_a_lock_that_cannot_be_made_is_a_fault_of_the_memory(path: str) -> None:
    file = open_nv_database(path)
    Path(f"{path}.lock").mkdir()
    with pytest.raises(EngineError) as caught:
        file.hold()
    assert caught.value.code == "module.memory"
    assert powered(file).fault == caught.value.message
    file.close()
