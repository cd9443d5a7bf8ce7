"""Bundles that a system handed out hold under its root, and no part of one can be another without it being said.

`bundles/*.json` are of a simulated street: a tier bill and one by bands, both signed by emulated modules.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from meterseal.crypto import certificates, merkle
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import DataError
from meterseal.link.evidence import unpack
from meterseal.mdms.entries import Version
from meterseal.mdms.ledger.leaves import Added, Part, read
from meterseal.model import MAIN, Quality
from meterseal.utility.bundle import Bundle, Checked, _holds, check, packed, unpacked
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


def priced(found: dict[str, Any], number: int, amount: Decimal) -> None:
    """Bill a quantity with another amount so that lines, parts, use and total follow it."""
    bill = found["bill"]
    bill["determinants"][number]["amount"] = str(amount)
    for line in bill["lines"]:
        if line["determinant"] == number:
            fen = int((amount * Decimal(line["charge"]["price"]) * 100).quantize(Decimal(1), ROUND_HALF_UP))
            line["charge"].update(quantity=str(amount), amount_fen=fen)
    follow(bill)


def follow(bill: dict[str, Any]) -> None:
    parts: dict[str, int] = {}
    for line in bill["lines"]:
        parts[line["assurance"]] = parts.get(line["assurance"], 0) + line["charge"]["amount_fen"]
    bill["parts"] = [{"assurance": name, "amount_fen": fen} for name, fen in parts.items()]
    bill["total_fen"] = sum(parts.values())
    used = [one["amount"] for one in bill["determinants"] if one["kind"] != "year"]
    bill["used"] = str(sum(map(Decimal, used), Decimal(0)))


def again(found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first quantity and its line, a second time."""
    bill = found["bill"]
    one, line = copy.deepcopy(bill["determinants"][0]), copy.deepcopy(bill["lines"][0])
    line["determinant"] = len(bill["determinants"])
    bill["determinants"].append(one)
    bill["lines"].append(line)
    follow(bill)
    return one, line


def scaled_again(found: dict[str, Any]) -> None:
    """A register with the digits of one that the meter signed, a hundred times as much."""
    one, line = again(found)
    one["assurance"] = line["assurance"] = "meter-chained"
    one["readings"]["last"].update(exponent=0, evidence=None, assurance="meter-chained")
    priced(found, len(found["bill"]["determinants"]) - 1, Decimal(50705) - Decimal("492.74"))


def made_up_exchange(found: dict[str, Any]) -> None:
    bill = found["bill"]
    one = bill["determinants"][0]
    one["exchanged"] = [["1000", "0"]]
    at = one["since"] + 1
    ends = {"removed": None, "installed": None, "before": None, "after": None, "stated": "0"}
    bill["exchanges"] = [{"at": at, "last": "1000", "first": "0", **ends}]
    priced(found, 0, Decimal(one["amount"]) + 1000)


def fixed(found: dict[str, Any], **how: object) -> None:
    line = copy.deepcopy(found["bill"]["lines"][0]) | {"determinant": None, **how}
    found["bill"]["lines"].append(line)
    follow(found["bill"])


def taken_over(found: dict[str, Any]) -> None:
    found["bill"]["determinants"][0]["carried"] = "1000"
    priced(found, 0, Decimal("1014.31"))


def between_bands(found: dict[str, Any]) -> None:
    """Dear hours up and cheap hours below nothing: the sum stays what the meter signed."""
    priced(found, 0, Decimal("1055.54"))
    priced(found, 2, Decimal("34.18") - 1000)


BILLED: dict[str, tuple[Path, Callable[[dict[str, Any]], object], str]] = {
    "a roll-over that was none": (
        TIER,
        lambda f: priced(f, 0, Decimal("14.31") + 10**6),
        "not the difference of its registers",
    ),
    "the same use twice": (TIER, again, "each once"),
    "another register with the same digits": (TIER, scaled_again, "no meter signed both"),
    "less than nothing in a band": (BANDS, between_bands, "is below nothing"),
    "a tier with less than nothing": (
        TIER,
        lambda f: f["bill"]["lines"][0]["charge"].update(quantity="-14.31"),
        "has a quantity below nothing",
    ),
    "an exchange that no word says": (TIER, made_up_exchange, "the meter was exchanged meanwhile"),
    "an exchange that the bill does not name": (
        TIER,
        lambda f: f["bill"]["determinants"][0].update(exchanged=[["1000", "0"]]),
        "counts other exchanges",
    ),
    "a use that nobody counted": (TIER, taken_over, "was taken over, and does not say so"),
    "a use that rests on nothing": (TIER, fixed, "is no fixed charge"),
    "another use": (TIER, lambda f: f["bill"].update(used="99"), "The use is not the sum"),
    "another month": (TIER, lambda f: f["bill"].update(since=0), "not those of the bill's time"),
    "another day in words": (
        TIER,
        lambda f: f["bill"].update(first_day="2020-01-01"),
        "first and last day",
    ),
    "another time of a quantity": (
        TIER,
        lambda f: f["bill"]["determinants"][0].update(since=0),
        "another time than its registers",
    ),
    "a line of another time": (
        TIER,
        lambda f: f["bill"]["lines"][0]["charge"].update(since=0),
        "prices another time",
    ),
    "better parts": (TIER, lambda f: f["bill"].update(parts=[]), "The parts by who stands behind"),
}


@pytest.mark.parametrize("attack", BILLED)
def test_no_bill_comes_of_true_registers_that_the_meter_did_not_count(attack: str) -> None:
    path, change, says = BILLED[attack]
    checked = changed(path, change)
    assert not checked.good
    assert any(says in fault for fault in checked.faults), checked.faults


def edge_number(**how: object) -> Callable[[dict[str, Any]], None]:
    return lambda found: first(found).update(**how)


@pytest.mark.parametrize(
    "change",
    [
        edge_number(exponent=10**6),
        edge_number(exponent=-(10**12)),
        edge_number(register=10**4000),
        *(
            lambda found, value=value: found["bill"]["lines"][0]["charge"].update(quantity=value)
            for value in ("1E+999999", "1E-999999", "NaN", "sNaN", "Infinity")
        ),
        lambda found: [
            one.update(amount=f"{sign}Infinity")
            for one, sign in zip(found["bill"]["determinants"], ("", "-"), strict=False)
        ],
        lambda found: found["bill"].update(until=10**18),
    ],
)
def test_numbers_that_no_bill_has_are_refused_and_not_counted_with(
    change: Callable[[dict[str, Any]], object],
) -> None:
    with pytest.raises(DataError) as refused:
        changed(BANDS, change)
    assert refused.value.code == "bill.bundle"


@pytest.mark.parametrize("how", [{"version": 1 << 40}, {"at": -1}, {"at": 1 << 70}])
def test_a_ledger_key_with_numbers_that_none_has_is_no_key(how: dict[str, int]) -> None:
    checked = changed(TIER, lambda found: found["ledger_keys"][0].update(how))
    assert any("The checkpoint does not hold" in fault for fault in checked.faults)


def leaf_of(path: Path, place: int) -> Part:
    found = read(bundle(path).records[place].plaintext.encode())
    assert isinstance(found, Part)
    return found


def test_a_leaf_holds_a_register_only_of_its_channel_and_of_the_meter_that_stated_it() -> None:
    found = bundle(TIER)
    edge = found.bill.determinants[0].readings.last
    assert edge.evidence is not None
    statement = unpack(bytes.fromhex(edge.evidence.statement))
    held = [leaf_of(TIER, place) for place in range(len(found.records))]
    read_ = next(leaf for leaf in held if leaf.series)
    series = next(one for one in read_.series if one.channel == MAIN)

    def leaf(**how: object) -> Part:
        end_at = edge.end_at
        said = {"start_at": end_at, "registers": (edge.register,), "exponent": edge.exponent}
        one = replace(series, **(said | how))
        return replace(read_, series=(one,), evidence=())

    assert _holds(leaf(), MAIN, edge, statement)
    assert _holds(leaf(device_id=b"thief..."), MAIN, edge, None)
    assert not _holds(leaf(device_id=b"thief..."), MAIN, edge, statement)
    assert not _holds(leaf(channel=MAIN + 1), MAIN, edge, None)
    assert not _holds(leaf(exponent=10**9), MAIN, edge, None)

    def version(channel: int) -> Added:
        return Added(
            day=read_.day,
            version=Version(
                usage_point=read_.usage_point,
                medium="water",
                channel=channel,
                start_at=edge.end_at,
                step=0,
                registers=(edge.register,),
                exponent=edge.exponent,
                unit="m3",
                quality=Quality.ESTIMATED,
                method="like-days",
                recorded_at=0,
                origin="sealed",
                version=2,
            ),
        )

    assert _holds(version(MAIN), MAIN, edge, None)
    assert not _holds(version(MAIN + 1), MAIN, edge, None)
    assert not _holds(version(MAIN), MAIN, edge, statement)


@pytest.mark.parametrize("content", [b"null", b'["record"]', b"[" * 5000, b'["columns",1,"AA=="]'])
def test_a_made_up_ledger_with_a_leaf_that_is_none_is_a_fault(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes up the root can prove any bytes; it must be said, not fallen over."""
    monkeypatch.setattr(merkle, "included", lambda *_: True)
    found = bundle(TIER)
    records = tuple(replace(one, plaintext=content.decode()) for one in found.records)
    checked = check(replace(found, records=records))
    assert any("no leaf of a ledger" in one or "another usage point" in one for one in checked.faults)


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
