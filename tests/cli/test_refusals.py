"""What goes wrong at the keyboard: status 1 or 2, one sentence or one JSON object, never a traceback."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from meterseal.app import config
from meterseal.app.config import Layout, Settings
from meterseal.app.settings import save
from meterseal.mesh.authority import Passwords
from meterseal.wire.profile import profiles
from tests.cli.conftest import Run, Up, meterseal

NO_DATA = [
    ["status"],
    ["device", "list"],
    ["device", "issue", "--lab"],
    ["bill", "run"],
    ["bill", "list"],
    ["bill", "show", "b-1"],
    ["vee", "run"],
    ["account", "link"],
    ["audit"],
    ["simulate"],
]

EXCHANGE = [
    "device",
    "exchange",
    "1078330011223344",
    "1078330011223355",
    "--data",
    "x",
    "--last",
    "1",
    "--first",
    "0",
]
EXCHANGE += ["--reason", "worn out", "--installer", "7"]

WRONG_USE = [
    ["frobnicate"],
    ["device", "frobnicate"],
    ["status", "--frobnicate"],
    ["status"],
    ["up"],
    ["bill", "show", "--data", "x"],
    ["audit", "--data", "x", "--limit", "many"],
    ["audit", "--data", "x", "--limit", "-1"],
    ["audit", "--data", "x", "--limit", "0"],
    ["audit", "--data", "x", "--limit", "1001"],
    ["demo", "--dwellings", "0", "--exit"],
    ["demo", "--days", "-1", "--exit"],
    ["simulate", "--data", "x", "--seed", "-1"],
    ["device", "issue", "--data", "x", "--medium", "beer"],
    ["device", "issue", "--data", "x", "--suite", "3"],
    ["device", "issue", "--data", "x"],
    ["device", "issue", "--data", "x", "--lab", "--device-id", "zz"],
    ["device", "issue", "--data", "x", "--lab", "--since", "2026-13-01"],
    ["device", "issue", "--data", "x", "--lab", "--since", "yesterday"],
    ["bill", "list", "--data", "x", "--meter", "1078"],
    [*EXCHANGE, "--at", "yesterday"],
    [*EXCHANGE, "--at", "2026-11-20 10:00", "--module-id", "1122334455667788"],
    ["device", "add", "--data", "x"],
    ["demo", "--until", "31.12.2026", "--exit"],
    ["up", "--data", "{new}", "--web-port", "99999"],
    ["up", "--data", "{new}", "--project", "no hex"],
    ["bench", "sm3", "--seconds", "0"],
    ["device", "words", "--data", "{new}", "--limit", "0"],
    ["device", "command", "1078330011223344", "read", "--data", "{new}", "--within", "99999"],
    ["keys", "officer", "remove", "an", "--data", "{new}", "--to", "{new}", "--hours", "169"],
    ["keys", "certificates", "--data", "{new}", "--within", "-1"],
    ["device", "command", "1078330011223344", "--data", "{new}"],
    ["device", "new-profile", "{new}"],
    [
        "device",
        "seal",
        "1078330011223344",
        "--data",
        "{new}",
        "--module-id",
        "0102030405060708",
        "--module-point",
        "zz",
        "--to",
        "{new}",
    ],
]


def test_a_model_that_is_none_points_to_the_list_of_those_that_are(inside: Run) -> None:
    refused = inside("device", "add", "1078330011223344", "--data", "x", "--model", "none")
    assert refused.status == 2
    assert refused.sentence().endswith("See: meterseal device models.")
    listed = inside("device", "models")
    assert {line.split()[0] for line in listed.out.splitlines()} == set(profiles())
    assert {one["name"] for one in inside("device", "models", "--json").document} == set(profiles())


@pytest.mark.parametrize(
    ("command", "helps"), [("vee try", "vee try "), ("device nosuch", "device "), ("nosuch", "")]
)
def test_wrong_arguments_point_to_the_help_of_that_command(command: str, helps: str, inside: Run) -> None:
    assert inside(*command.split(), "--data", "x").sentence().endswith(f"Try: meterseal {helps}--help")


@pytest.mark.parametrize("command", NO_DATA, ids=" ".join)
def test_a_directory_without_a_system(command: list[str], tmp_path: Path, inside: Run) -> None:
    data = tmp_path / "nothing"
    plain = inside(*command, "--data", data)
    assert plain.status == 1
    assert f"meterseal up --data {data}" in plain.sentence()
    if command == ["status"]:
        with_json = inside(*command, "--data", data, "--json")
        assert (with_json.status, with_json.error()) == (1, "app.no-data")
    assert not data.exists()


@pytest.mark.parametrize("command", WRONG_USE, ids=" ".join)
def test_wrong_use_is_status_2_as_json_too(command: list[str], tmp_path: Path, inside: Run) -> None:
    new = tmp_path / "new"
    answer = inside(*(word.replace("{new}", str(new)) for word in command), "--json")
    assert answer.status == 2
    assert answer.error().startswith("use.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["frobnicate"], ["status", "--frobnicate"], ["demo", "--until", "now"]])
def test_wrong_use_is_one_sentence_for_people(command: list[str]) -> None:
    answer = meterseal(*command)
    assert answer.status == 2
    answer.sentence()


def test_a_system_that_is_down_is_said_with_how_to_start_it(tmp_path: Path, inside: Run) -> None:
    layout = Layout(tmp_path / "data")
    config.make_directories(layout)
    save(layout, Settings(), Passwords(bytes(32)))
    answer = inside("status", "--data", layout.root)
    assert answer.status == 1
    assert f"meterseal up --data {layout.root}" in answer.sentence()
    assert inside("status", "--data", layout.root, "--json").error() == "app.down"


@pytest.mark.parametrize("command", [["status"], ["up"]])
def test_a_directory_of_a_newer_version(command: list[str], tmp_path: Path, inside: Run) -> None:
    layout = Layout(tmp_path / "data")
    config.make_directories(layout)
    layout.settings_file.write_text(json.dumps({"format": 99}))
    answer = inside(*command, "--data", layout.root)
    assert answer.status == 1
    assert "newer meterseal" in answer.sentence()
    assert not layout.lock.exists()


def test_a_platform_that_was_restored_alone_gets_no_new_keys(tmp_path: Path) -> None:
    """They would open nothing of it, and `keys restore` writes over none."""
    layout = Layout(tmp_path / "data")
    layout.platform.mkdir(parents=True)
    layout.control.write_bytes(b"as it was")
    answer = meterseal("up", "--data", layout.root, "--json")
    assert (answer.status, answer.error()) == (1, "app.no-keys")
    assert [path.name for path in layout.root.rglob("*") if path.is_file()] == ["control.db"]


def test_keys_whose_platform_is_gone_get_no_empty_one(tmp_path: Path) -> None:
    """It would look like a system that lost nothing, and a restore would be refused where it stands."""
    layout = Layout(tmp_path / "data")
    up = Up(layout.root)
    assert up.end() == 0
    for state in ("gone", "a mount point without its disk"):
        if state == "gone":
            layout.platform.rename(tmp_path / "aside")
        else:
            layout.platform.mkdir()
        there = sorted(layout.root.rglob("*"))
        answer = meterseal("up", "--data", layout.root, "--json")
        assert (answer.status, answer.error()) == (1, "app.no-platform"), state
        assert sorted(layout.root.rglob("*")) == there
    layout.platform.rmdir()
    (tmp_path / "aside").rename(layout.platform)
    again = Up(layout.root)
    assert again.said["ready"]
    assert again.end() == 0


def test_somebody_elses_directory_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    answer = meterseal("up", "--data", tmp_path, "--json")
    assert (answer.status, answer.error()) == (1, "app.not-empty")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_busy_port_is_refused_and_the_next_try_starts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        answer = meterseal("up", "--data", data, "--web-port", port)
    assert answer.status == 1
    assert f"Port {port}" in answer.sentence()
    assert list(tmp_path.iterdir()) == []
    up = Up(data)
    assert up.said["operator_link"]
    assert up.end() == 0


def test_a_wrong_passphrase_opens_nothing_and_changes_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert Up(data).end() == 0
    before = {
        path: path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file() and path.name != "lock"
    }
    wrong = tmp_path / "wrong"
    wrong.write_text("this is another passphrase")
    wrong.chmod(0o600)
    answer = meterseal("up", "--data", data, "--passphrase-file", wrong)
    assert answer.status == 1
    assert "passphrase" in answer.sentence()
    after = {
        path: path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file() and path.name != "lock"
    }
    changed = {path.name for path in before | after if before.get(path) != after.get(path)}
    assert changed <= {"meterseal.json"}, changed
    up = Up(data)
    assert "operator_link" not in up.said
    assert up.end() == 0
