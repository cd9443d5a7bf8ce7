"""Data directories that may not be used, each refused in one sentence with nothing changed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterseal.app import config, lock
from meterseal.app.config import Layout, Settings
from meterseal.app.door import LONGEST, socket_path
from meterseal.app.settings import open_settings, save
from meterseal.errors import LocalError
from meterseal.mesh.authority import Passwords

PASSWORDS = Passwords(bytes(32))


@contextlib.contextmanager
def refused(code: str) -> Iterator[list[str]]:
    """The block ends in this LocalError; its sentence is left in the list."""
    said: list[str] = []
    with pytest.raises(LocalError) as error:
        yield said
    assert error.value.code == code
    said.append(error.value.message)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- passphrase ----------------------------------------------------------------------------------------


def test_a_fresh_passphrase_lies_beside_the_directory_and_is_ours_alone(layout: Layout) -> None:
    made = config.read_passphrase(layout, create=True)
    assert layout.passphrase_file.parent == layout.root.parent
    assert layout.passphrase_file.stat().st_mode & 0o777 == 0o600
    assert config.read_passphrase(layout, create=True) == made
    assert len(made) >= 32


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666, 0o620])
def test_a_passphrase_file_that_others_can_read_or_write_is_refused(layout: Layout, mode: int) -> None:
    config.read_passphrase(layout, create=True)
    layout.passphrase_file.chmod(mode)
    with refused("app.passphrase-mode") as said:
        config.read_passphrase(layout, create=False)
    assert f"chmod 600 {layout.passphrase_file}" in said[0]


def test_a_missing_passphrase_is_not_made_anew_for_an_existing_system(layout: Layout) -> None:
    with refused("app.no-passphrase"):
        config.read_passphrase(layout, create=False)
    assert not layout.passphrase_file.exists()


def test_a_weak_passphrase_is_refused(layout: Layout) -> None:
    layout.passphrase_file.write_text("short\n")
    layout.passphrase_file.chmod(0o600)
    with refused("app.weak-passphrase"):
        config.read_passphrase(layout, create=False)


def test_a_passphrase_file_that_is_a_directory_is_refused(layout: Layout) -> None:
    layout.passphrase_file.mkdir(mode=0o700)
    with refused("app.unusable"):
        config.read_passphrase(layout, create=False)


# --- the directory -------------------------------------------------------------------------------------


def test_no_system_is_said_with_how_to_start_one(layout: Layout) -> None:
    with refused("app.no-data") as said:
        config.load(layout)
    assert f"meterseal up --data {layout.root}" in said[0]
    assert not layout.root.exists()


def test_a_directory_of_a_newer_version_is_refused_and_unchanged(layout: Layout) -> None:
    config.make_directories(layout)
    layout.settings_file.write_text(json.dumps({"format": config.FORMAT + 1, "new": "field"}))
    before = everything(layout.root)
    with refused("app.newer") as said:
        config.load(layout)
    assert str(config.FORMAT + 1) in said[0]
    assert everything(layout.root) == before


@given(st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_settings_of_any_bytes_are_refused_or_read(layout: Layout, content: bytes) -> None:
    config.make_directories(layout)
    layout.settings_file.write_bytes(content)
    try:
        assert isinstance(open_settings(layout, PASSWORDS), Settings)
    except LocalError as error:
        assert error.code in ("app.settings", "app.newer")  # noqa: PT017


def test_somebody_elses_directory_is_refused_and_unchanged(layout: Layout) -> None:
    layout.root.mkdir()
    (layout.root / "thesis.txt").write_text("three years of work")
    for look in (config.check_free, config.make_directories):
        with refused("app.not-empty"):
            look(layout)
    assert [path.name for path in layout.root.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_place_of_the_directory_is_refused(layout: Layout) -> None:
    layout.root.write_text("a file")
    with refused("app.unusable"):
        config.make_directories(layout)


def test_a_first_start_that_was_cut_off_is_gone_on_with(layout: Layout) -> None:
    config.make_directories(layout)
    layout.lock.touch()
    config.make_directories(layout)


def test_directories_are_ours_alone(layout: Layout) -> None:
    config.make_directories(layout)
    for path in (layout.root, layout.keys, layout.tls, layout.platform):
        assert path.stat().st_mode & 0o777 == 0o700


def test_settings_come_back_as_saved(layout: Layout) -> None:
    config.make_directories(layout)
    save(layout, Settings(lab=True, ports={"web": 8000}), PASSWORDS)
    assert open_settings(layout, PASSWORDS) == Settings(lab=True, ports={"web": 8000})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("a full disk is made with a small tmpfs, which needs root: sudo make test")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_the_old_settings_stay_whole(small_disk: Path) -> None:
    layout = Layout(small_disk / "data", small_disk / "passphrase")
    layout.root.mkdir()
    save(layout, Settings(), PASSWORDS)
    before = layout.settings_file.read_bytes()
    with refused("app.disk-full"):
        config.replace_file(layout.settings_file, b"x" * 65_536)
    assert layout.settings_file.read_bytes() == before
    with refused("app.disk-full"):
        config.read_passphrase(layout, create=True)
    assert not layout.passphrase_file.exists()


def test_a_disk_that_takes_a_part_first_leaves_no_half_file(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.make_directories(layout)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, bytes(content)[:7]))
    save(layout, Settings(lab=True), PASSWORDS)
    assert open_settings(layout, PASSWORDS).lab


# --- ports ---------------------------------------------------------------------------------------------


def test_ports_are_free_distinct_and_kept() -> None:
    made = Settings()
    config.choose_ports(made, {})
    assert len(set(made.ports.values())) == len(made.ports) == len(config.PUBLIC) + len(config.INTERNAL)
    before = dict(made.ports)
    config.choose_ports(made, {})
    assert made.ports == before


def test_a_busy_port_is_refused_by_name_and_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with refused("app.port-busy") as said:
            config.choose_ports(Settings(), {"headend_tcp": port})
        assert f"Port {port}" in said[0]
        assert "--headend-tcp-port" in said[0]


def test_a_busy_port_between_our_own_processes_is_chosen_anew() -> None:
    made = Settings()
    config.choose_ports(made, {})
    with socket.create_server(("127.0.0.1", made.ports["keys"])) as taken:
        config.choose_ports(made, {})
        assert made.ports["keys"] != taken.getsockname()[1]


def test_one_port_for_two_listeners_is_refused() -> None:
    free = Settings()
    config.choose_ports(free, {})
    port = free.ports["web"]
    with refused("app.port-twice"):
        config.choose_ports(Settings(), {"web": port, "headend_tcp": port})


@pytest.mark.parametrize("port", [-1, 65_536, 10**12])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with refused("use.port"):
        config.choose_ports(Settings(), {"web": port})


def test_an_address_that_is_not_ours_is_refused() -> None:
    with refused("app.host"):
        config.choose_ports(Settings(host="203.0.113.1"), {})


# --- lock ----------------------------------------------------------------------------------------------


async def test_a_directory_in_use_is_refused_at_once_and_by_name(layout: Layout) -> None:
    held = await lock.take_lock(layout)
    assert lock.in_use(layout)
    with refused("app.in-use") as said:
        await lock.take_lock(layout, patience=60)
    assert str(layout.root) in said[0]
    assert str(os.getpid()) in said[0]
    os.close(held)
    assert not lock.in_use(layout)
    os.close(await lock.take_lock(layout))


async def test_processes_of_a_dead_supervisor_are_waited_for(layout: Layout) -> None:
    held = await lock.take_lock(layout)
    os.pwrite(held, b"999999999\n", 0)
    with refused("app.in-use"):
        await lock.take_lock(layout, patience=0.2)
    asyncio.get_running_loop().call_later(0.2, os.close, held)
    os.close(await lock.take_lock(layout, patience=5))


def test_no_lock_means_not_in_use(layout: Layout) -> None:
    assert not lock.in_use(layout)


# --- the operator's socket -----------------------------------------------------------------------------


def test_a_short_path_keeps_the_socket_inside(layout: Layout) -> None:
    assert socket_path(Layout(Path("/tmp/x"))) == Path("/tmp/x/operator.sock")


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Layout]:
    runtime = Path(os.path.realpath("/tmp")) / f"ms-{os.getpid()}"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    yield Layout(tmp_path / ("d" * 120))
    shutil.rmtree(runtime)


def test_a_long_path_gets_a_private_directory_of_our_own(deep: Layout) -> None:
    found = socket_path(deep)
    assert len(os.fsencode(found)) <= LONGEST
    assert found.parent.stat().st_mode & 0o777 == 0o700
    assert found.parent.parent == Path(os.environ["XDG_RUNTIME_DIR"])
    assert socket_path(deep) == found
    assert socket_path(Layout(deep.root / "other")) != found


def test_a_private_directory_that_others_may_enter_is_refused(deep: Layout) -> None:
    socket_path(deep).parent.chmod(0o755)
    with refused("app.socket-directory"):
        socket_path(deep)


def test_a_link_planted_in_the_place_of_the_private_directory_is_refused(
    deep: Layout, tmp_path: Path
) -> None:
    place = socket_path(deep).parent
    place.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "elsewhere")
    with refused("app.socket-directory"):
        socket_path(deep)


def test_both_ends_find_the_socket_whatever_their_environment(
    deep: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    served = socket_path(deep)
    served.touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    try:
        assert socket_path(deep) == served
    finally:
        served.unlink()
        served.parent.rmdir()
