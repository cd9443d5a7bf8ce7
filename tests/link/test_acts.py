"""The table of commands: every frame stands under the protection that its row asks for, and unknown ones under the most."""

from __future__ import annotations

import pytest

from meterseal.link.act_rows import Command, Form, Given
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


def test_a_question_has_the_control_codes_of_the_standards_and_four_bytes_of_an_identifier() -> None:
    row = COMMANDS["read"]
    assert {protocol: form.control for protocol, form in row.forms.items()} == {
        "cjt188": 0x01,
        "dlt645": 0x11,
    }
    assert [(one.least, one.most) for one in row.given] == [(1, 4)]


def test_a_clock_is_set_within_ten_minutes_or_not_at_all() -> None:
    assert {act: row.lasts for act, row in COMMANDS.items() if row.lasts} == {"time": 600_000}


def test_steps_of_a_price_are_six_digits_from_nothing_up() -> None:
    steps = {one.name: (one.least, one.most, one.exponent) for one in COMMANDS["price"].given}
    prices, volumes = ({f"{name}{at}" for at in (1, 2, 3)} for name in ("price", "volume"))
    assert steps.pop("start") == (1, 28, 0)
    assert steps == dict.fromkeys(prices, (0, 999_999, -2)) | dict.fromkeys(
        volumes - {"volume3"}, (0, 999_999, 0)
    )


def test_how_many_devices_one_order_may_name_is_fewer_where_a_supply_is_cut() -> None:
    few = {act: row.bulk for act, row in COMMANDS.items() if row.bulk in (100, 200)}
    valves = ("valve-open", "valve-permit", "valve-close")
    relays = ("relay-trip", "relay-permit", "relay-close", "relay-keep-off", "load-limit")
    assert few == dict.fromkeys((*valves, *relays), 200) | {"verification-enter": 100}


def test_what_a_person_gives_has_the_sizes_of_its_field() -> None:
    most = {(act, one.name): one.most for act, row in COMMANDS.items() for one in row.given}
    for act, name in (("alarm-volume", "volume"), ("alarm-amount", "amount"), ("overdraft", "amount")):
        assert most[act, name] == 99_999_999  # type: ignore[index]
    assert (most["purchase", "amount"], most["load-limit", "limit"]) == (99_999_999, 999_999)
    assert (most["day-table", "periods"], most["address", "address"]) == (11, 14)


def test_a_clock_and_a_freeze_are_seen_by_the_identifiers_of_their_tables() -> None:
    assert COMMANDS["time"].seen["dlt645"] == 0x04000102
    assert COMMANDS["freeze"].seen["dlt645"] == 0x05010001


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
