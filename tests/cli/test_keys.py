"""`meterseal keys` as people use it: cards, two signatures, rotation, a backup and its drill, and clear refusals."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meterseal.app.config import PUBLIC
from meterseal.crypto import sm2
from meterseal.crypto.handles import SymmetricKey
from tests.cli.conftest import Up, here


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running system whose founding officers are an and bo."""
    folder = tmp_path_factory.mktemp("keys")
    up = Up(folder / "data")
    try:
        for name in ("an", "bo", "cy"):
            officer(folder, name)
        added = here(
            "keys", "officer", "add", folder / "an.card", folder / "bo.card", "--data", up.data, "--json"
        )
        assert [one["officer"] for one in added.document] == ["an", "bo"]
        yield up
    finally:
        assert up.end() == 0


def officer(folder: Path, name: str) -> None:
    phrase = folder / f"{name}.phrase"
    phrase.write_text(f"the passphrase of {name}")
    phrase.chmod(0o600)
    roles = [word for role in ("enrol", "keys", "ca", "command") for word in ("--role", role)]
    made = here("keys", "officer", "new", name, *roles, "--to", folder, "--passphrase-file", phrase, "--json")
    assert made.status == 0
    assert stat.S_IMODE((folder / f"{name}.key").stat().st_mode) == 0o600


def sign(folder: Path, request: Path, name: str, phrase: str = "") -> object:
    return here(
        "keys", "sign", request, "--key", folder / f"{name}.key", "--passphrase-file",
        folder / f"{phrase or name}.phrase", "--json",
    )  # fmt: skip


def test_two_people_let_a_third_join(system: Up, tmp_path: Path) -> None:
    folder, request = system.data.parent, tmp_path / "join.request"
    made = here(
        "keys", "officer", "add", folder / "cy.card", "--data", system.data, "--to", request, "--json"
    )
    assert made.status == 0
    assert sign(folder, request, "an").document["signed"] == ["an"]  # type: ignore[attr-defined]
    alone = here("keys", "submit", request, "--data", system.data, "--json")
    assert (alone.status, alone.error()) == (1, "security.two-persons")
    assert sign(folder, request, "bo").document["signed"] == ["an", "bo"]  # type: ignore[attr-defined]
    done = here("keys", "submit", request, "--data", system.data, "--json")
    assert done.document["officers"] == ["an", "bo"]
    again = here("keys", "submit", request, "--data", system.data, "--json")
    assert (again.status, again.error()) == (1, "security.replayed")
    listed = here("keys", "officer", "list", "--data", system.data, "--json").document
    assert [one["officer"] for one in listed] == ["an", "bo", "cy"]
    assert here("keys", "officer", "list", "--data", system.data).status == 0


def test_what_is_signed_is_what_is_shown(system: Up, tmp_path: Path) -> None:
    """The words in a request file are not believed: they are read anew from the bytes that are signed."""
    folder, request = system.data.parent, tmp_path / "state.request"
    made = here(
        "keys", "request", "key-state", "key_id=DIAK", "version=1", "state=withdrawn", "despite=true",
        "--data", system.data, "--to", request, "--json",
    )  # fmt: skip
    assert made.document["says"]["state"] == "withdrawn"
    request.write_text(request.read_text().replace('"withdrawn"', '"retiring"'))
    assert sign(folder, request, "an").document["says"]["state"] == "withdrawn"  # type: ignore[attr-defined]
    assert sign(folder, request, "bo").status == 0  # type: ignore[attr-defined]
    last = here("keys", "submit", request, "--data", system.data, "--json")
    assert last.error() == "security.last-key"


def test_many_modules_are_withdrawn_by_one_request_that_names_a_file(system: Up, tmp_path: Path) -> None:
    folder, request, listed = system.data.parent, tmp_path / "stolen.request", tmp_path / "stolen.txt"
    listed.write_text("# off the van\n0102030405060708\n\n  1112131415161718\n")
    making = ("keys", "request", "withdraw-modules", "reason=a van was stolen", "--data", system.data)
    made = here(*making, f"module_ids=@{listed}", "--to", request, "--json")
    assert made.document["says"]["modules"] == 2
    assert made.document["says"]["module_ids"] == ["0102030405060708", "1112131415161718"]
    for name in ("an", "bo"):
        assert sign(folder, request, name).status == 0  # type: ignore[attr-defined]
    done = here("keys", "submit", request, "--data", system.data)
    assert done.status == 0
    assert "0 modules were taken out of service" in done.out
    assert "2 are none of this system's" in done.out
    for wrong, code in ((tmp_path / "none", "use.file"), (folder / "an.card", "use.fields")):
        answer = here(*making, f"module_ids=@{wrong}", "--to", tmp_path / "x", "--json")
        assert (answer.status, answer.error()) == (2, code)
    lacking = here(*making, "--to", tmp_path / "x")
    assert "module_ids" in lacking.sentence(), "a field that is missing is named"


def test_rotation_and_what_still_moves(system: Up) -> None:
    before = here("keys", "list", "--data", system.data, "--json").document
    rotated = here("keys", "rotate", "data-keys", "--data", system.data, "--json").document
    assert rotated == {"kind": "data-keys", "version": 2}
    assert here("keys", "rotate", "vault-kek", "--data", system.data).status == 0
    after = here("keys", "list", "--data", system.data, "--json").document
    assert len(after["keys"]) == len(before["keys"]) + 1
    kinds = {one["kind"] for one in here("keys", "moving", "--data", system.data, "--json").document}
    assert {"diak", "device-certificates", "session-wraps", "data-keys", "vault-kek"} <= kinds
    assert here("keys", "list", "--data", system.data).status == 0
    assert here("keys", "moving", "--data", system.data).status == 0
    assert here("status", "--data", system.data).status == 0


def test_a_key_from_elsewhere_is_imported_with_what_the_commands_show(system: Up, tmp_path: Path) -> None:
    folder, request = system.data.parent, tmp_path / "import.request"
    secret = os.urandom(16)
    shown = here("keys", "transport", "--data", system.data, "--json").document
    assert shown["point"] in here("keys", "transport", "--data", system.data).out
    envelope = sm2.encrypt(bytes.fromhex(shown["point"]), secret)
    check = SymmetricKey.from_bytes(secret, "a key from elsewhere").check_value()
    made = here(
        "keys", "request", "import-key", "key_id=DIAK", f"envelope={envelope.hex()}", f"check_value={check.hex()}",
        "--data", system.data, "--to", request, "--json",
    )  # fmt: skip
    assert made.status == 0, made.out
    for name in ("an", "bo"):
        assert sign(folder, request, name).status == 0  # type: ignore[attr-defined]
    done = here("keys", "submit", request, "--data", system.data)
    assert done.status == 0, done.out
    listed = here("keys", "list", "--data", system.data, "--json").document["keys"]
    assert [one["state"] for one in listed if one["check_value"] == check.hex()] == ["new"]


def test_the_head_says_what_is_held_and_reserved_since_the_directory_came_back(system: Up) -> None:
    asked = ("keys", "head", "--data", system.data)
    before = here(*asked, "--json")
    assert (before.status, before.document["reservations"]) == (
        0, {"held": False, "since": 0, "reason": "", "reserved": 0},
    )  # fmt: skip
    assert "reserved" not in here(*asked).out


def test_the_services_own_log_is_walked_and_shown(system: Up) -> None:
    shown = here("keys", "audit", "--data", system.data, "--limit", "1000", "--json")
    assert shown.status == 0
    assert shown.document["ok"]
    codes = [one["entry"]["code"] for one in shown.document["entries"]]
    assert "security.officers-founded" in codes
    assert shown.document["state"]["entries"] >= len(codes)
    lines = here("keys", "audit", "--data", system.data, "--limit", "3").out.splitlines()
    assert len(lines) == 4
    assert "entries holds" in lines[-1]


def test_a_backup_its_drill_and_its_return(system: Up, tmp_path: Path) -> None:
    phrase = tmp_path / "backup.phrase"
    phrase.write_text("the backup's passphrase")
    phrase.chmod(0o600)
    file, secret = tmp_path / "keys.backup", ("--backup-passphrase-file", phrase)
    made = here("keys", "backup", "--data", system.data, "--to", file, *secret, "--json")
    assert made.status == 0
    drilled = here("keys", "restore", file, "--drill", "--data", system.data, *secret, "--json")
    assert drilled.status == 0
    assert drilled.document["session_opened"] is True
    running = here("keys", "restore", file, "--data", system.data, *secret, "--json")
    assert (running.status, running.error()) == (1, "app.in-use")
    shutil.copy(system.data.with_name("data.passphrase"), tmp_path / "new.passphrase")
    back = here("keys", "restore", file, "--data", tmp_path / "new", *secret, "--json")
    assert back.status == 0
    free = []  # the system that was backed up still runs on its ports
    for name in PUBLIC:
        with socket.create_server(("127.0.0.1", 0)) as one:
            free += [f"--{name.replace('_', '-')}-port", str(one.getsockname()[1])]
    up = Up(tmp_path / "new", *free)
    try:
        listed = here("keys", "officer", "list", "--data", up.data, "--json").document
        assert "an" in {one["officer"] for one in listed}
    finally:
        assert up.end() == 0


def test_a_quorum_is_set_and_opens_the_root_for_a_ca_that_two_people_ordered(
    system: Up, tmp_path: Path
) -> None:
    folder, where = system.data.parent, ("--data", system.data, "--json")

    def done(*words: object) -> Any:
        answer = here(*words)
        assert answer.status == 0, answer
        return answer.document

    def own(name: str) -> tuple[object, ...]:
        return "--key", folder / f"{name}.key", "--passphrase-file", folder / f"{name}.phrase", "--json"

    def order(*words: object) -> Any:
        request = tmp_path / f"{words[1]}-{len(list(tmp_path.iterdir()))}.request"
        done("keys", *words, "--to", request, *where)
        for name in ("an", "bo"):
            sign(folder, request, name)
        return done("keys", "submit", request, *where)

    def take(stage: str) -> None:
        to = tmp_path / stage
        to.mkdir()
        done("keys", "quorum", "shares", "--to", to, *where)
        for name in ("an", "bo"):
            share = to / f"{name}.share"
            done("keys", "quorum", "keep", share, "--to", to / f"{name}.kept", *own(name))
        done("keys", "quorum", "confirm", to / "an.kept", to / "bo.kept", *where)

    def hand_in(stage: str, shares: str) -> Any:
        opening, files = tmp_path / f"{stage}.opening", []
        shown = done("keys", "quorum", "opening", "--to", opening, *where)
        assert (shown["needed"], shown["handed_in"]) == (2, [])
        for name in ("an", "bo"):
            files.append(tmp_path / f"{stage}-{name}.in")
            share = tmp_path / shares / f"{name}.share"
            done("keys", "quorum", "seal", share, "--opening", opening, "--to", files[-1], *own(name))
        return done("keys", "quorum", "open", *files, *where)

    order("quorum", "begin", "2/2", "an", "bo")
    done("keys", "quorum", "open", *where)  # the passphrase, this once
    take("first")
    assert "waits" in order("request", "ca-rotate", "authority=device")["sentence"]
    assert json.loads(hand_in("ca", "first")["facts"]) == {"version": 2}
    shown = here("keys", "quorum", "show", "--data", system.data)
    assert (shown.status, shown.out.strip()) == (0, "2 of 2 people open the root.")


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("officer", "new", "An", "--role", "keys"), 1, "security.officer"),
        (("officer", "new", "di", "--role", "king"), 1, "security.officer"),
        (("request", "everything", "--to", "x"), 2, "use.purpose"),
        (("request", "key-state", "key=DIAK", "--to", "x"), 2, "use.fields"),
        (("request", "key-state", "version=one", "--to", "x"), 2, "use.fields"),
        (("request", "key-state", "version=1", "--to", "x"), 2, "use.fields"),
        (("officer", "add"), 2, "use.cards"),
        (("quorum", "begin", "2/3", "an", "bo", "--to", "x"), 2, "use.quorum"),
        (("quorum", "begin", "²/2", "an", "bo", "--to", "x"), 2, "use.quorum"),
        (("quorum", "begin", "2/2", "an", "bo", "--to", "x", "--hours", "0"), 2, "use.arguments"),
        (("quorum", "shares", "--to", "x"), 1, "security.quorum"),
        (("quorum", "confirm"), 2, "use.file"),
        (("rotate", "everything"), 1, "security.kind"),
        (("submit", "nothing.request"), 1, "security.file"),
    ],
)
def test_wrong_use_is_one_sentence(
    system: Up, tmp_path: Path, words: tuple[str, ...], status: int, code: str
) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text("a passphrase here")
    phrase.chmod(0o600)
    where: tuple[object, ...] = ("--data", system.data)
    if words[:2] == ("officer", "new"):
        where = ("--passphrase-file", phrase, "--to", tmp_path)
    answer = here(
        "keys",
        *(word.replace("x", str(tmp_path / "x")) if word == "x" else word for word in words),
        *where,
        "--json",
    )
    assert (answer.status, answer.error()) == (status, code)


def test_a_wrong_passphrase_and_one_that_others_can_read(system: Up, tmp_path: Path) -> None:
    folder, request = system.data.parent, tmp_path / "ca.request"
    made = here("keys", "request", "ca-rotate", "authority=device", "--data", system.data, "--to", request)
    assert made.status == 0
    wrong = sign(folder, request, "an", "bo")
    assert (wrong.status, wrong.error()) == (1, "security.passphrase")  # type: ignore[attr-defined]
    (folder / "cy.phrase").chmod(0o644)
    shown = sign(folder, request, "cy")
    assert (shown.status, shown.error()) == (2, "use.passphrase")  # type: ignore[attr-defined]


def test_a_system_that_is_down(tmp_path: Path) -> None:
    assert here("keys", "list", "--data", tmp_path, "--json").error() == "app.no-data"
