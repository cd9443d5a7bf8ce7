"""`meterseal keys doctor`, `usage`, `certificates` and `factory` against a running system, as a person uses them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.link.messages import Hello
from meterseal.link.schedule import hello_mac
from meterseal.security.manifest import CHUNK, COLUMNS
from meterseal.security.symptoms import CHAIN
from tests.cli.conftest import Answer, Up, here


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running lab system whose officers are maker and bo."""
    folder = tmp_path_factory.mktemp("doctor")
    up = Up(folder / "data", "--lab")
    try:
        for name in ("maker", "bo"):
            phrase = folder / f"{name}.phrase"
            phrase.write_text(f"the passphrase of {name}")
            phrase.chmod(0o600)
            made = here(
                "keys", "officer", "new", name, "--role", "enrol", "--to", folder, "--passphrase-file", phrase
            )
            assert made.status == 0, made
        cards = (folder / "maker.card", folder / "bo.card")
        assert here("keys", "officer", "add", *cards, "--data", up.data).status == 0
        yield up
    finally:
        assert up.end() == 0


@pytest.fixture(scope="module")
def issued(system: Up) -> dict[str, Any]:
    made = here("device", "issue", "--data", system.data, "--lab", "--suite", "2", "--json")
    assert made.status == 0, made
    document: dict[str, Any] = made.document
    return document


def hello(issued: dict[str, Any], *, version: int = 1, key: SymmetricKey | None = None) -> bytes:
    bound = key or SymmetricKey.from_bytes(bytes.fromhex(issued["k_bound"]), "K_b")
    device, module = bytes.fromhex(issued["device_id"]), bytes.fromhex(issued["module_id"])
    bare = Hello(2, device, module, version, os.urandom(32), b"", b"")
    mac = hello_mac(bound.diversify(b"LINK0001", "K_link"), bare.claims())
    return Hello(2, device, module, version, bare.nonce, b"", mac).encode()


def doctor(system: Up, issued: dict[str, Any], *arguments: object) -> Answer:
    return here("keys", "doctor", issued["device_id"], "--data", system.data, *arguments)


def test_a_good_message_is_good_at_a_glance(system: Up, issued: dict[str, Any]) -> None:
    found = doctor(system, issued, "--message", hello(issued).hex())
    assert found.status == 0, found
    lines = found.out.splitlines()
    assert lines[0] == f"meter {issued['device_id']}, looked at: HELLO"
    assert [line[9:21].strip() for line in lines[1 : 1 + len(CHAIN)]] == list(CHAIN)
    assert "WRONG" not in found.out


def test_a_wrong_link_is_marked_with_expected_and_found_and_a_cure(
    system: Up, issued: dict[str, Any], tmp_path: Path
) -> None:
    message = hello(issued, version=7)
    for name, content in (("hex.txt", message.hex().encode() + b"\n"), ("raw.bin", message)):
        (tmp_path / name).write_bytes(content)
        found = doctor(system, issued, "--file", tmp_path / name)
        assert found.status == 1
        assert "  WRONG  key version" in found.out
        assert "expected  version 7" in found.out
        assert "found     version 1, check value " in found.out
        assert "do: " in found.out


def test_the_json_answer_lists_every_link(system: Up, issued: dict[str, Any]) -> None:
    stranger = SymmetricKey.generate("a stranger's")
    found = doctor(system, issued, "--message", hello(issued, key=stranger).hex(), "--json")
    assert found.status == 1
    document = found.document
    assert document["ok"] is False
    assert document["wrong"] == ["project"]
    assert [one["link"] for one in document["findings"]] == list(CHAIN)
    assert issued["k_bound"] not in found.out


def test_a_frame_in_clear_of_another_meter(system: Up, issued: dict[str, Any]) -> None:
    frame = "6810443322110033780103901f00ff16"
    found = doctor(system, issued, "--frame", frame, "--json")
    assert found.document["kind"] in {"frame", "unreadable"}
    assert found.status == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--message", "xyz"), "use.hex"),
        (("--message", "00", "--frame", "00"), "use.one"),
        (("--file", "/nowhere/at/all"), "use.file"),
        (("--message", "00", "--project", "31"), "use.project"),
    ],
)
def test_wrong_use_is_one_sentence(
    system: Up, issued: dict[str, Any], arguments: tuple[str, ...], code: str
) -> None:
    found = doctor(system, issued, *arguments, "--json")
    assert (found.status, found.error()) == (2, code)


def test_usage_shows_what_was_used(system: Up, issued: dict[str, Any]) -> None:
    found = here("keys", "usage", "--data", system.data, "--since", "2h", "--json")
    uses = {(one["id"], one["version"]): one["uses"] for one in found.document["uses"]}
    assert uses["DIAK", 1] >= 1
    listed = here("keys", "usage", "--data", system.data, "--since", "7d", "--by-day")
    assert listed.status == 0
    assert "DIAK" in listed.out
    assert here("keys", "usage", "--data", system.data, "--since", "soon", "--json").error() == "use.since"


def test_certificates_that_end_soon_are_listed_with_tls(system: Up) -> None:
    found = here("keys", "certificates", "--data", system.data, "--within", "500", "--json")
    assert found.status == 0
    kinds = {one["kind"] for one in found.document["items"]}
    assert {"platform", "tls"} <= kinds
    assert "platform" in here("keys", "certificates", "--data", system.data).out
    assert "Nothing ends" in here("keys", "certificates", "--data", system.data, "--within", "1").out


def manifest(path: Path, count: int, first: int = 1) -> list[str]:
    point = Sm2PrivateKey.generate("the maker's").public_point.hex()
    rows = [
        f"{0xA1 << 56 | number:016x},{0x10783300 << 32 | 0x9000_0000 | number:016x},{point},{1 + number % 2},B-1"
        for number in range(first, first + count)
    ]
    path.write_text(",".join(COLUMNS) + "\n" + "\n".join(rows) + "\n")
    return rows


def test_a_batch_from_manifest_to_packages_also_after_an_interruption(system: Up, tmp_path: Path) -> None:
    folder, sheet = system.data.parent, tmp_path / "batch.csv"
    rows = manifest(sheet, CHUNK + 3)
    assert here("keys", "factory", "template").out.strip() == ",".join(COLUMNS)
    checked = here("keys", "factory", "check", sheet, "--json")
    assert (checked.status, checked.document["rows"]) == (0, CHUNK + 3)
    order, packages = tmp_path / "batch.request", tmp_path / "packages.jsonl"
    made = here("keys", "factory", "order", sheet, "--data", system.data, "--to", order, "--json")
    assert made.document["chunks"] == 2
    arguments = ("keys", "factory", "issue", sheet, "--data", system.data, "--order", order, "--to", packages)
    unsigned = here(*arguments, "--json")
    assert (unsigned.status, unsigned.error()) == (1, "security.two-persons")
    signed = here(
        "keys",
        "sign",
        order,
        "--key",
        folder / "maker.key",
        "--passphrase-file",
        folder / "maker.phrase",
        "--json",
    )
    assert signed.document["signed"] == ["maker"], signed
    issued = here(*arguments, "--json")
    assert (issued.status, issued.document["packages"]) == (0, CHUNK + 3), issued
    whole = packages.read_bytes()
    made_once = {line["module_id"]: line["chain"] for line in map(json.loads, whole.splitlines())}
    assert list(made_once) == [row.split(",")[0] for row in rows]
    packages.write_bytes(whole[: len(whole) // 3])  # cut off in the middle of a line
    again = here(*arguments, "--json")
    assert (again.status, again.document["packages"]) == (0, CHUNK + 3)
    assert {
        line["module_id"]: line["chain"] for line in map(json.loads, packages.read_text().splitlines())
    } == made_once
    assert packages.stat().st_mode & 0o077 == 0
    state = here("keys", "factory", "state", "--data", system.data, "--order", order, "--json").document
    assert (state["chunks"], state["done"], state["officers"]) == (2, [0, 1], ["maker"])


def test_wrong_rows_are_named_before_anything_is_signed(system: Up, tmp_path: Path) -> None:
    sheet = tmp_path / "wrong.csv"
    rows = manifest(sheet, 2, 500)
    sheet.write_text(sheet.read_text() + rows[0] + "\n")
    checked = here("keys", "factory", "check", sheet)
    assert checked.status == 1
    assert checked.out.startswith("row 3: ")
    made = here(
        "keys", "factory", "order", sheet, "--data", system.data, "--to", tmp_path / "x.request", "--json"
    )
    assert (made.status, made.error()) == (2, "use.manifest")
