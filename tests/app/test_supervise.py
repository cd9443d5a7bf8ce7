"""The supervisor and its children, as real processes: crashes, refusals, deaf children, and a supervisor that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

import pytest

from meterseal.app import supervise
from meterseal.app.config import Layout
from meterseal.app.lock import in_use, take_lock
from meterseal.app.supervise import Spec, Supervisor
from meterseal.errors import EngineError, MetersealError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def children_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not looked for where one stands."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))


def spec(folder: Path, manner: str, name: str = "") -> Spec:
    name = name or manner
    orders = {"folder": str(folder), "name": name, "manner": manner}
    return Spec(name=name, module="tests.app.children", arguments=[name], orders=orders)


def starts(folder: Path, name: str) -> list[int]:
    return [int(line) for line in (folder / f"{name}.starts").read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(check: object, within: float = 8.0) -> None:
    assert callable(check)
    async with asyncio.timeout(within):
        while not check():
            await asyncio.sleep(0.02)


async def test_children_serve_and_end_cleanly(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "serves"), spec(tmp_path, "serves", "second")])
    said = await supervisor.start()
    assert [said[name]["seen"] for name in ("serves", "second")] == ["serves", "second"]
    pids = [child.pid for child in supervisor.children.values()]
    assert supervisor.measure() > 1
    await supervisor.stop()
    assert not any(alive(pid) for pid in pids if pid)
    assert (tmp_path / "serves.ended").exists()
    assert (tmp_path / "second.ended").exists()


async def test_an_interrupt_at_the_keyboard_reaches_the_supervisor_alone(tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to a whole session: a child that is still importing would die of it in a traceback."""
    supervisor = Supervisor([spec(tmp_path, "serves")])
    await supervisor.start()
    pid = supervisor.children["serves"].pid
    assert pid is not None
    assert os.getsid(pid) == pid != os.getsid(0)
    await supervisor.stop()


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "serves")])
    await supervisor.start()
    try:
        for count in (2, 3):
            assert supervisor.kill("serves")
            await until(lambda count=count: len(starts(tmp_path, "serves")) == count)
        assert supervisor.restarts == 2
        assert not supervisor.broken.done()
    finally:
        await supervisor.stop()


async def test_a_clear_failure_is_reported_once_in_its_own_words(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "refuses"), spec(tmp_path, "serves")])
    with pytest.raises(EngineError) as failed:
        await supervisor.start()
    assert (failed.value.code, failed.value.message) == ("test.refused", "The disk is full. Free some space.")
    assert len(starts(tmp_path, "refuses")) == 1
    assert all(child.pid is None for child in supervisor.children.values())


async def test_a_neighbour_that_is_not_there_yet_ends_nothing_at_the_first_start(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "alone-at-first")])
    await supervisor.start()
    await supervisor.stop()
    assert len(starts(tmp_path, "alone-at-first")) == 2


@pytest.mark.parametrize("manner", ["full-once", "hangs-once"])
async def test_a_child_started_again_that_cannot_serve_yet_is_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    supervisor = Supervisor([spec(tmp_path, manner)])
    await supervisor.start()
    monkeypatch.setattr(supervise, "START_WITHIN", 3.0)
    try:
        supervisor.kill(manner)
        await until(lambda: len(starts(tmp_path, manner)) == 3 and supervisor.children[manner].serving, 20)
        assert not supervisor.broken.done()
    finally:
        await supervisor.stop()


async def test_a_child_that_crashes_again_and_again_is_given_up_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    supervisor = Supervisor([spec(tmp_path, "crashes")])
    with pytest.raises(MetersealError) as failed:
        await supervisor.start()
    assert failed.value.code == "app.crashing"
    assert "crashes" in failed.value.message
    assert "status 3" in failed.value.message


async def test_output_that_is_no_message_is_shown_and_harms_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = Supervisor([spec(tmp_path, "garbage")])
    await supervisor.start()
    await supervisor.stop()
    assert "this is no JSON" in capsys.readouterr().err


async def test_a_child_that_cannot_be_watched_any_more_ends_the_system_by_name(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "floods")])
    with pytest.raises(MetersealError) as failed:
        await supervisor.start()
    assert failed.value.code == "app.supervisor"
    assert not any(alive(pid) for pid in starts(tmp_path, "floods"))


async def test_a_program_that_cannot_be_started_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(MetersealError) as failed:
        await Supervisor([spec(tmp_path, "serves")]).start()
    assert failed.value.code == "app.supervisor"


async def test_until_says_what_broke_later(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "serves")])
    await supervisor.start()
    try:
        supervisor._heard(
            supervisor.children["serves"], b'{"failed": "x.y", "message": "Why.", "kind": "trust"}'
        )
        with pytest.raises(MetersealError) as failed:
            await supervisor.until(asyncio.Event())
        assert (failed.value.kind, failed.value.code) == ("trust", "x.y")
    finally:
        await supervisor.stop()


async def test_attack_a_module_of_our_name_where_one_stands_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever could write in the directory in which a system was started ran programs with its passphrase."""
    for name in ("meterseal", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    supervisor = Supervisor([spec(tmp_path, "serves")])
    assert (await supervisor.start())["serves"]["seen"] == "serves"
    await supervisor.stop()
    assert not (tmp_path / "run").exists()


async def test_stop_ends_within_five_seconds_even_a_child_that_does_not_listen(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "deaf"), spec(tmp_path, "serves")])
    await supervisor.start()
    began = time.monotonic()
    await supervisor.stop()
    assert time.monotonic() - began < 6
    assert not any(alive(pid) for pid in (*starts(tmp_path, "deaf"), *starts(tmp_path, "serves")))


async def test_children_die_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.app.supervising", str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in (await process.stdout.readline()).split()]
    try:
        assert len(pids) == 2
        assert all(map(alive, pids))
        process.kill()
        await process.wait()
        await until(lambda: not any(map(alive, pids)))
        assert (tmp_path / "serves.ended").exists()
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


async def test_a_lock_that_children_inherit_is_held_until_the_last_is_gone(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    lock = await take_lock(layout)
    supervisor = Supervisor([spec(tmp_path, "serves")], keep=[lock])
    await supervisor.start()
    os.close(lock)
    assert in_use(layout)
    await supervisor.stop()
    assert not in_use(layout)
