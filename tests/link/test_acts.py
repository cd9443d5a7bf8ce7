"""The table of commands: every frame stands under the protection that its row asks for, and unknown ones under the most."""

from __future__ import annotations

import pytest

from meterseal.link.act_rows import EVERY_DEVICE, Command, Form, Given
from meterseal.link.acts import ACTS, COMMANDS, Act, act_of, protection
from meterseal.model import Medium
from meterseal.wire.catalogue import name_of
from meterseal.wire.dlt645 import table
from meterseal.wire.frame import Frame

WATER = bytes.fromhex("1078330011223344")
GAS = bytes.fromhex("3078330011223355")
GUARD = bytes(8)
DAY_TABLE = bytes.fromhex("01000104")


def cjt188(content: str, control: int = 0x04) -> Frame:
    return Frame("cjt188", 0x10, WATER[:0:-1], control, bytes.fromhex(content))


def dlt645(control: int, data: bytes) -> Frame:
    return Frame("dlt645", 0, bytes(6), control, data)


def test_every_act_has_one_row_with_words_in_both_languages() -> None:
    assert set(COMMANDS) == set(ACTS)
    for act, row in COMMANDS.items():
        assert row.act == act
        assert row.english.isascii()
        assert not row.chinese.isascii()
        assert len({one.name for one in row.given}) == len(row.given)
        for one in row.given:
            assert one.english.isascii()
            assert not one.chinese.isascii()
            assert one.shape == "time" or one.least <= one.most


def test_no_row_can_be_changed_and_what_a_row_leaves_out_is_nothing() -> None:
    given, form = Given("day", "day", "日"), Form("relay", 0x1C)
    row = Command(act="read", english="read", chinese="读", officers=0, forms={"dlt645": form})
    assert (given.least, given.most, given.exponent, row.lasts) == (0, 0, 0, 0)
    for thing, name in ((given, "least"), (form, "first"), (row, "officers")):
        with pytest.raises(AttributeError):
            setattr(thing, name, 1)


def test_what_cuts_or_gives_a_supply_is_named_as_that() -> None:
    """They count by the limits for a zone and a minute."""
    valves = {"valve-open", "valve-permit", "valve-close"}
    relays = {"relay-trip", "relay-permit", "relay-close", "load-limit"}
    assert {act for act, row in COMMANDS.items() if row.supply} == valves | relays | {"write"}
    assert COMMANDS["relay-trip"].seen == {"dlt645": 0x04000503}


def test_a_clock_is_set_within_ten_minutes_or_not_at_all() -> None:
    assert {act: row.lasts for act, row in COMMANDS.items() if row.lasts} == {"time": 600_000}


AGREED = """\
read | 0 | all | 01 | 11 | - | identifier 1..4?
time | 1 | all | 04 A015 size 7 | 08 size 6 | 901F 4000102 | at 0..0?
freeze | 1 | all | - | 16 size 4 | 5010001 | -
freeze-parameters | 1 | all | 04 A104 size 4 | - | - | bytes 4..4
settlement-day | 1 | all | 04 A011 size 1 | 14 4000B01 size 2 | 8103 4000B01 | day 1..28
reading-day | 1 | all | 04 A012 size 1 | - | 8104 | day 1..28
alarm-volume | 1 | all | 04 A105 size 5 | - | - | volume 0..99999999e-2
alarm-amount | 1 | all | 04 A106 size 4 | 14 4001001 size 4 | 4001001 | amount 0..99999999e-2
overdraft | 1 | all | - | 14 4001003 size 4 | 4001003 | amount 0..99999999e-2
communication | 1 | all | 04 A103 size 1 | 17 size 1 | - | bytes 1..1
price | 1 | all | 04 A010 size 16 | - | 8102 | price1 0..999999e-2, volume1 0..999999, price2 0..999999e-2, \
volume2 0..999999, price3 0..999999e-2, start 1..28
day-table | 1 | all | - | 14 4010001 | 4010001 | periods 1..11
purchase | 1 | 0 | 04 A013 size 5 | - | 8105 | serial 0..255, amount 1..99999999e-2
verification-enter | 1 | 100 | 04 A101 size 0 | - | - | -
verification-leave | 1 | all | 04 A102 size 0 | - | - | -
address | 2 | 0 | 15 A018 size 7 | 15 size 6 | - | address 12..14
valve-open | 2 | 200 | 04 A017 size 1 first 55 | - | 901F | -
valve-permit | 2 | 200 | 04 A017 size 1 first 55 | - | 901F | -
valve-close | 2 | 200 | 04 A017 size 1 first 99 | - | 901F | -
relay-trip | 2 | 200 | - | 1C size 8 first 1A | 4000503 | -
relay-permit | 2 | 200 | - | 1C size 8 first 1B | 4000503 | -
relay-close | 2 | 200 | - | 1C size 8 first 1C | 4000503 | -
relay-alarm | 2 | all | - | 1C size 8 first 2A | 4000503 | -
relay-alarm-off | 2 | all | - | 1C size 8 first 2B | 4000503 | -
relay-keep | 2 | all | - | 1C size 8 first 3A | 4000503 | -
relay-keep-off | 2 | 200 | - | 1C size 8 first 3B | 4000503 | -
load-limit | 2 | 200 | - | 14 4000E01 size 3 | 4000E01 | limit 1..999999e-4
roster-add | 1 | 0 | 04 E005 first 01 | 14 E0050000 first 01 | - | bus 0..63?, model 1..24?
roster-seal | 1 | 0 | 04 E005 first 02 | 14 E0050000 first 02 | - | bus 0..63?, model 1..24?
roster-remove | 1 | 0 | 04 E005 size 2 first 03 | 14 E0050000 size 2 first 03 | - | -
firmware | 2 | all | 04 E004 size 32 | 14 E0040000 size 32 | - | manifest 32..32
write | 2 | 0 | - | - | - | -
"""
"""Act | officers | devices in an order | CJ/T 188: control code, identifier, size behind it | DL/T 645 | seen | given"""


def shape(form: Form | None) -> str:
    if form is None:
        return "-"
    parts = [f"{form.control:02X}", *([] if form.di is None else [f"{form.di:X}"])]
    parts += [] if form.size is None else [f"size {form.size}"]
    return " ".join([*parts, *([] if form.first is None else [f"first {form.first:02X}"])])


def bounds(one: Given) -> str:
    exponent = f"e{one.exponent}" if one.exponent else ""
    return f"{one.name} {one.least}..{one.most}{exponent}{'' if one.needed else '?'}"


def test_each_row_is_what_was_agreed_for_it() -> None:
    """Control codes and identifiers are those of the two standards; officers and numbers of devices those of ADR 0028 and
    0040. Who changes the protection of a command changes it here as well, and says why."""
    rows = []
    for act, row in COMMANDS.items():
        bulk = "all" if row.bulk == EVERY_DEVICE else str(row.bulk)
        seen = " ".join(f"{di:X}" for di in row.seen.values()) or "-"
        forms = [shape(row.forms.get(protocol)) for protocol in ("cjt188", "dlt645")]
        given = ", ".join(bounds(one) for one in row.given) or "-"
        rows.append(" | ".join([act, str(row.officers), bulk, *forms, seen, given]))
    assert rows == AGREED.replace("\\\n", "").strip().splitlines()


def test_whatever_cuts_or_gives_a_supply_takes_two_officers() -> None:
    two = {act for act, row in COMMANDS.items() if row.officers == 2}
    assert {act for act, row in COMMANDS.items() if row.supply} <= two
    assert {act for act in ACTS if act.startswith(("valve-", "relay-", "load-"))} <= two
    assert {act for act, row in COMMANDS.items() if row.officers == 0} == {"read"}


def test_what_shows_the_effect_is_an_identifier_that_can_be_read() -> None:
    for row in COMMANDS.values():
        for protocol, di in row.seen.items():
            known = name_of(di) if protocol == "cjt188" else table.lookup(di)
            assert known is not None, (row.act, f"{di:X}")


@pytest.mark.parametrize(
    ("frame", "medium", "act"),
    [
        (cjt188("17A00155"), "water", "valve-open"),
        (cjt188("A0170155"), "heat", "valve-open"),
        (cjt188("17A00155"), "gas", "valve-permit"),
        (cjt188("17A00199"), "gas", "valve-close"),
        (cjt188("17A00111"), "water", "write"),
        (cjt188("17A0015500"), "water", "write"),
        (cjt188("17A00155", 0x24), "water", "write"),
        (cjt188("11A00101"), "water", "settlement-day"),
        (cjt188("11A0010100"), "water", "write"),
        (cjt188("13A0010100500000"), "water", "purchase"),
        (cjt188("01A101"), "water", "verification-enter"),
        (cjt188("01A1"), "water", "write"),
        (cjt188("16A001" + "00" * 5, 0x16), "water", "write"),
        (cjt188("05E0010100"), "water", "roster-add"),
        (cjt188("E005010100"), "water", "write"),
        (cjt188("04E001" + "00" * 32), "water", "firmware"),
        (cjt188("E00401" + "00" * 32), "water", "write"),
        (cjt188("1F9001", 0x01), "water", "read"),
        (dlt645(0x1C, GUARD + b"\x1a" + bytes(7)), "electricity", "relay-trip"),
        (dlt645(0x1C, GUARD + b"\x3b" + bytes(7)), "electricity", "relay-keep-off"),
        (dlt645(0x1C, GUARD + b"\x1a" + bytes(6)), "electricity", "write"),
        (dlt645(0x1C, GUARD + b"\x7a" + bytes(7)), "electricity", "write"),
        (dlt645(0x14, bytes.fromhex("010e0004") + GUARD + bytes(3)), "electricity", "load-limit"),
        (dlt645(0x14, bytes.fromhex("020e0004") + GUARD + bytes(3)), "electricity", "write"),
        (dlt645(0x14, bytes.fromhex("010e0004")), "electricity", "write"),
        (dlt645(0x14, DAY_TABLE + GUARD + b"\x01\x00\x06"), "electricity", "day-table"),
        (dlt645(0x14, DAY_TABLE + GUARD), "electricity", "write"),
        (dlt645(0x14, DAY_TABLE + GUARD[:-1]), "electricity", "write"),
        (dlt645(0x08, bytes(6)), "electricity", "time"),
        (dlt645(0x1A, GUARD), "electricity", "write"),
    ],
)
def test_a_frame_is_what_its_bytes_say(frame: Frame, medium: Medium, act: Act) -> None:
    assert act_of(frame, medium) == act
    assert protection(frame, medium) is COMMANDS[act]
