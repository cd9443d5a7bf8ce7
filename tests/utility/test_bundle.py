"""Bundles that a system handed out hold under its root, and no part of one can be another without it being said.

`bundles/*.json` are of a simulated street: a tier bill and one by bands, both signed by emulated modules.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from meterseal.crypto import certificates
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import DataError
from meterseal.utility.bundle import Bundle, Checked, check, packed, unpacked
from tests.cli.conftest import Run, inside

__all__ = ["inside"]

FILES = sorted((Path(__file__).parent / "bundles").glob("*.json"))
TIER, BANDS = (Path(__file__).parent / "bundles" / name for name in ("tier.json", "bands.json"))


def bundle(path: Path = TIER) -> Bundle:
    return unpacked(path.read_bytes())


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> Checked:
    found = json.loads(path.read_bytes())
    change(found)
    return check(unpacked(json.dumps(found).encode()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bundle_as_it_was_handed_out_holds_and_says_who_stands_behind_it(path: Path) -> None:
    checked = check(bundle(path))
    assert checked.faults == ()
    assert checked.good
    assert {register.signed_by for register in checked.registers} == {"meter"}
    assert all(register.leaves for register in checked.registers)
    assert (checked.checkpoint, checked.leaves) == (1, 3841)
    assert sum(line.amount_fen for line in checked.lines) == bundle(path).bill.total_fen
    assert unpacked(packed(bundle(path)).encode()) == bundle(path)
    assert check(bundle(path), bundle(path).root).good


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bundle_from_before_there_was_a_ledger_is_checked_without_one(path: Path) -> None:
    def older(found: dict[str, Any]) -> None:
        for key in ("checkpoint", "ledger_keys", "records"):
            del found[key]

    checked = changed(path, older)
    assert checked.good
    assert (checked.checkpoint, checked.leaves) == (0, 0)
    assert {register.signed_by for register in checked.registers} == {"meter"}
    assert not any(register.leaves for register in checked.registers)


def first(found: dict[str, Any]) -> dict[str, Any]:
    edge: dict[str, Any] = found["bill"]["determinants"][0]["readings"]["first"]
    return edge


ATTACKS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a line costs more": (
        lambda f: f["bill"]["lines"][0]["charge"].update(amount_fen=1),
        "quantity times price",
    ),
    "the total is another": (lambda f: f["bill"].update(total_fen=1), "sum of the lines"),
    "a quantity is another": (
        lambda f: f["bill"]["determinants"][0].update(amount="999.99"),
        "not the difference of its registers",
    ),
    "a register is another": (lambda f: first(f).update(register=1), "What the meter stated is not"),
    "the signature is another": (
        lambda f: first(f)["evidence"].update(signature="00" * 64),
        "signature over the register",
    ),
    "the statement is another": (
        lambda f: first(f)["evidence"].update(
            statement=first(f)["evidence"]["statement"][:-2]
            + ("00" if first(f)["evidence"]["statement"][-2:] != "00" else "01")
        ),
        "signature over the register",
    ),
    "the statement is none": (lambda f: first(f)["evidence"].update(statement="00"), "is none"),
    "the evidence is taken away": (
        lambda f: first(f).update(evidence=None),
        "Nobody shows that the meter signed",
    ),
    "no certificate": (lambda f: f.update(modules=[]), "signature over the register"),
    "a certificate of another device": (
        lambda f: f["modules"][0].update(device_id="AAAAAAAAAAA="),
        "another device's",
    ),
    "a line calls itself better": (
        lambda f: f["bill"]["lines"][0].update(assurance="tariff"),
        "calls itself",
    ),
    "a line rests on nothing": (
        lambda f: f["bill"]["lines"][0].update(determinant=7),
        "rests on no quantity",
    ),
    "a salt is another": (lambda f: f["records"][0].update(salt="A" * 43 + "="), "is not in the ledger"),
    "a record says another": (
        lambda f: f["records"][0].update(
            plaintext=f["records"][0]["plaintext"].replace("signed", "Signed") + " "
        ),
        "is not in the ledger",
    ),
    "a record stands elsewhere": (lambda f: f["records"][0].update(number=1), "is not in the ledger"),
    "the records are left out": (lambda f: f.update(records=[]), "No record of the ledger"),
    "the checkpoint is left out": (lambda f: f.update(checkpoint=""), "without a checkpoint"),
    "the checkpoint is another": (
        lambda f: f.update(checkpoint=f["checkpoint"].replace("3841", "3842")),
        "The checkpoint does not hold",
    ),
    "the ledger's key is another": (
        lambda f: f["ledger_keys"][0].update(version=2),
        "The checkpoint does not hold",
    ),
    "a record is of another usage point": (
        lambda f: f["bill"].update(usage_point="up-somebody-else"),
        "another usage point",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_in_a_bundle_can_be_another(attack: str) -> None:
    change, says = ATTACKS[attack]
    checked = changed(TIER, change)
    assert not checked.good
    assert any(says in fault for fault in checked.faults), checked.faults


def test_the_bands_of_a_bill_add_up_to_what_the_meter_signed() -> None:
    def shifted(found: dict[str, Any]) -> None:
        one = found["bill"]["determinants"][0]
        more = Decimal(one["amount"]) + 1
        one["amount"] = str(more)
        for line in found["bill"]["lines"]:
            if line["determinant"] == 0:
                fen = int(more * Decimal(line["charge"]["price"]) * 100)
                found["bill"]["total_fen"] += fen - line["charge"]["amount_fen"]
                line["charge"].update(quantity=str(more), amount_fen=fen)

    checked = changed(BANDS, shifted)
    assert any("hours of all bands" in fault for fault in checked.faults)


def test_a_bundle_of_another_system_does_not_hold_under_our_root() -> None:
    mine, other = bundle(), bundle(BANDS)
    assert mine.root == other.root
    stranger = certificates.issue_root(
        Sm2PrivateKey.generate("another root"), name="meterseal root", since=0, until=4_000_000_000_000
    )
    assert not check(mine, stranger).good
    swapped = check(replace(mine, root=stranger))
    assert not swapped.good
    assert len(swapped.faults) >= 2


def test_a_signature_of_somebody_else_is_nobodys() -> None:
    def forged(found: dict[str, Any]) -> None:
        key = Sm2PrivateKey.generate("a thief")
        from meterseal.link.evidence import signed_bytes

        statement = bytes.fromhex(first(found)["evidence"]["statement"])
        first(found)["evidence"]["signature"] = key.sign(signed_bytes(statement)).hex()

    assert any("signature over" in fault for fault in changed(TIER, forged).faults)


@pytest.mark.parametrize("bad", [b"", b"[]", b"{}", b"null", b"[" * 9000, b'{"bill": 7}', b"\xff"])
def test_what_is_no_bundle_is_refused(bad: bytes) -> None:
    with pytest.raises(DataError) as refused:
        unpacked(bad)
    assert refused.value.code == "bill.bundle"


def test_the_command_says_what_holds_and_answers_no_otherwise(inside: Run, tmp_path: Path) -> None:
    answer = inside("bill", "check", TIER)
    assert answer.status == 0
    assert "signed by the meter; in the ledger as leaf" in answer.out
    assert answer.out.rstrip().endswith("everything holds")
    assert inside("bill", "check", TIER, "--json").document["good"] is True
    spoilt = tmp_path / "bill.json"
    spoilt.write_text(TIER.read_text().replace('"total_fen":', '"total_fen":1'))
    answer = inside("bill", "check", spoilt)
    assert answer.status == 1
    assert "does not hold: The total is not the sum of the lines." in answer.out
    root = tmp_path / "root.der"
    root.write_bytes(bundle().root)
    assert inside("bill", "check", TIER, "--root", root).status == 0
    root.write_bytes(bundle().root[::-1])
    assert inside("bill", "check", TIER, "--root", root).status == 1
    assert inside("bill", "check", tmp_path / "none").status == 2
