"""Both roles of DL/T 645: what a master asks is what a meter understands, and what it answers is what is read."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from meterseal.errors import LocalError, PeerError
from meterseal.wire.asked import Ask, Credentials, Reason
from meterseal.wire.dlt645 import load, table, table1997
from meterseal.wire.dlt645.answering import (
    BITS,
    address_answer,
    answer,
    done,
    joined,
    matches,
    refuse,
    report,
    stated,
)
from meterseal.wire.dlt645.asking import ask_of, level_suffices, request
from meterseal.wire.dlt645.habits import Habits
from meterseal.wire.dlt645.items import Item
from meterseal.wire.dlt645.payloads import load_record
from meterseal.wire.dlt645.rules import Table
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.meaning import interpret
from meterseal.wire.sheet import Segment, Value, scaled
from meterseal.wire.values import Stated

from .frames import VALID, electricity

METER = bytes.fromhex("d700000000000161")
ANYBODY = bytes.fromhex("d700aaaaaaaaaaaa")
NEW, OLD = Habits(), Habits(edition="1997")
AT = 1_715_436_091_000
"""2024-05-11T22:01:31 in Shanghai."""
GUARD = Credentials(2, b"\x11\x22\x33", b"\x01\x02\x03\x04")


def frame_of(control: int, data: str, address: str = "000000000161") -> Frame:
    return parse_frame(electricity(control, data, address))[0]


def value_for(item: Item, dice: random.Random) -> Stated:
    if item.kind == "number":
        most = 10 ** (2 * item.size) - 1
        return (
            dice.randrange(-most // 2 + 1, most // 2) if item.signed and most > 999 else dice.randrange(most)
        )
    if item.kind == "ascii":
        return "".join(dice.choices("0123456789ABCV.-", k=item.size))
    if item.kind == "bits":
        return dice.randbytes(item.size).hex().upper()
    if item.name == "date":
        return f"20{dice.randrange(10, 99)}-0{dice.randrange(1, 9)}-{dice.randrange(10, 28)}"
    if item.form.startswith("YY") and not item.form.endswith("NN"):
        return AT - dice.randrange(10**6) * 60_000
    return "".join(dice.choices("0123456789", k=2 * item.size))


def sample(rules: Table) -> list[tuple[int, tuple[Item, ...], bool]]:
    found = []
    for rule in rules.rules:
        every = list(islice(rules.identifiers(rule), 5000))
        for di in {every[0], every[-1], *random.Random(rule.at).sample(every, min(3, len(every)))}:
            quantity = rules.lookup(di)
            assert quantity is not None
            if quantity.items[0].kind != "bytes":
                found.append((di, quantity.items, quantity.block))
    return found


@pytest.mark.parametrize(
    ("rules", "habits"), [(table.TABLE, NEW), (table1997.TABLE, OLD)], ids=["2007", "1997"]
)
def test_every_identifier_is_asked_answered_and_read_back(rules: Table, habits: Habits) -> None:
    dice = random.Random(20)
    for di, items, block in sample(rules):
        quantity = rules.lookup(di)
        assert quantity is not None
        ask = Ask(kind="read", di=di)
        asked = request(METER, ask, habits)
        if quantity.access == "w":
            continue
        understood = ask_of(asked, habits)
        assert (understood.kind, understood.di) == ("read", di)
        given = items[: dice.randrange(1, len(items) + 1)] if block else items
        values = {item.name: value_for(item, dice) for item in given}
        pieces = [answer(METER, asked, values, habits)]
        while pieces[-1].control & 0x20:
            more = request(METER, Ask(kind="follow-up", di=di, number=len(pieces)), habits)
            assert ask_of(more, habits).number == (len(pieces) if habits is NEW else 0)
            pieces.append(answer(METER, more, values, habits, number=len(pieces)))
            assert matches(more, pieces[-1], habits).answers
        assert matches(asked, pieces[0], habits).answers
        assert all(len(piece.data) <= 200 for piece in pieces)
        read = interpret(joined(pieces)).readings
        for name, value in values.items():
            assert name in read
            if isinstance(value, int) and read[name].text is None:
                assert read[name].register == value, (hex(di), name)
        again = answer(METER, asked, {**read}, replace(habits, largest=195))
        assert again == pieces[0], hex(di)


def test_a_piece_of_a_long_answer_ends_between_two_values_and_has_its_number() -> None:
    di = 0x0001FF00
    asked = request(METER, Ask(kind="read", di=di), NEW)
    values = {item.name: n for n, item in enumerate(table.TABLE.lookup(di).items)}  # type: ignore[union-attr]
    first = answer(METER, asked, values, NEW)
    follow = request(METER, Ask(kind="follow-up", di=di, number=1), NEW)
    assert follow.data.hex() == "00ff010001"
    second = answer(METER, follow, values, NEW)
    assert (first.control, second.control) == (0xB1, 0x92)
    assert (len(first.data) - 4) % 4 == 0
    assert second.data[-1] == 1
    whole = joined([first, second])
    assert whole.control == 0x91
    assert [value.register for value in interpret(whole).readings.values()] == list(range(64))
    for wrong in (
        [first],
        [second, first],
        [first, second, second],
        [first, replace(second, data=second.data[:-1] + b"\x02")],
    ):
        with pytest.raises(PeerError, match="do not belong together"):
            joined(wrong)
    with pytest.raises(LocalError, match="2 pieces"):
        answer(METER, replace(follow, data=follow.data[:-1] + b"\x02"), values, NEW)
    with pytest.raises(LocalError, match="2 pieces"):
        answer(METER, replace(follow, data=follow.data[:-1] + b"\x00"), values, NEW)


def test_small_frames_make_more_pieces_and_the_same_answer() -> None:
    di, habits = 0x0001FF00, Habits(largest=8)
    asked = request(METER, Ask(kind="read", di=di), habits)
    values = {item.name: 7 for item in table.TABLE.lookup(di).items[:5]}  # type: ignore[union-attr]
    pieces = [answer(METER, asked, values, habits)]
    for number in (1, 2):
        follow = request(METER, Ask(kind="follow-up", di=di, number=number), habits)
        pieces.append(answer(METER, follow, values, habits))
    assert joined(pieces) == answer(METER, asked, values, NEW)


ASKS = {
    "08 time": (Ask(kind="time", at=AT, broadcast=True), "08 310122110524", "99" * 6),
    "11 read": (Ask(kind="read", di=0x00010000), "11 00000100", ""),
    "11 interval block": (Ask(kind="intervals", di=0xE0010000), "11 000001e0", ""),
    "11 load records": (
        Ask(kind="read", di=0x06000001, payload=bytes.fromhex("080015110524")),
        "11 01000006 08 0015110524",
        "",
    ),
    "11 segment": (
        Ask(kind="segment", di=0xE0020000, segment=Segment(None, 0x50, b"")),
        "11 000002e0 0050",
        "",
    ),
    "12 follow-up": (Ask(kind="follow-up", di=0x0001FF00, number=3), "12 00ff0100 03", ""),
    "13 read address": (Ask(kind="read-address", wildcard=True), "13", "aa" * 6),
    "14 write": (
        Ask(kind="write", di=0x04000103, credentials=GUARD, values={"demand_period": 15}),
        "14 03010004 02112233 01020304 15",
        "",
    ),
    "14 segment": (
        Ask(kind="segment", di=0xE0020000, credentials=Credentials(), segment=Segment(2, 0, b"MR")),
        "14 000002e0 0000000000000000 0002 0000 4d52",
        "",
    ),
    "15 write address": (
        Ask(kind="write-address", values={"new_address": "000000000162"}, wildcard=True),
        "15 620100000000",
        "aa" * 6,
    ),
    "16 freeze now": (
        Ask(kind="freeze", values={"freeze_time": "99999999"}, broadcast=True),
        "16 99999999",
        "99" * 6,
    ),
    "16 freeze daily": (Ask(kind="freeze", values={"freeze_time": "99990030"}), "16 30009999", ""),
    "17 baud rate": (Ask(kind="baud-rate", values={"baud_rate": 9600}), "17 20", ""),
    "18 password": (
        Ask(
            kind="password",
            di=0x04000C03,
            credentials=replace(GUARD, operator=bytes(4)),
            payload=b"\x02\x44\x55\x66",
        ),
        "18 030c0004 02112233 02445566",
        "",
    ),
    "19 clear demand": (Ask(kind="clear-demand", credentials=GUARD), "19 02112233 01020304", ""),
    "1A clear meter": (Ask(kind="clear-meter", credentials=GUARD), "1a 02112233 01020304", ""),
    "1B clear events": (
        Ask(kind="clear-events", di=0xFFFFFFFF, credentials=GUARD),
        "1b 02112233 01020304 ffffffff",
        "",
    ),
    "1C trip": (
        Ask(kind="relay", action="trip", at=AT, credentials=GUARD),
        "1c 02112233 01020304 1a 00 310122110524",
        "",
    ),
    "1C keep power, no end": (
        Ask(kind="relay", action="keep-power", credentials=GUARD),
        "1c 02112233 01020304 3a 00 000000000000",
        "",
    ),
    "03 security": (
        Ask(kind="security", di=0x070000FF, payload=bytes(12), opaque=True),
        "03 ff000007" + "00" * 12,
        "",
    ),
}


@pytest.mark.parametrize("name", ASKS)
def test_an_ask_of_2007_becomes_the_frame_of_the_standard_and_comes_back(name: str) -> None:
    ask, raw, address = ASKS[name]
    control, data = raw[:2], raw[2:].replace(" ", "")
    frame = request(ANYBODY if ask.wildcard else METER, ask, NEW)
    assert frame == frame_of(int(control, 16), data, address or "000000000161")
    understood = ask_of(frame, NEW)
    assert (understood.kind, understood.di, understood.at, understood.action) == (
        ask.kind,
        ask.di,
        ask.at,
        ask.action,
    )
    assert (understood.number, understood.segment, understood.credentials) == (
        ask.number,
        ask.segment,
        ask.credentials,
    )
    assert (understood.broadcast, understood.wildcard, understood.opaque) == (
        ask.broadcast,
        ask.wildcard,
        ask.opaque,
    )
    for key, value in ask.values.items():
        got = understood.values[key]
        assert (got.register if isinstance(got, Value) else got) == value
    assert request(ANYBODY if ask.wildcard else METER, understood, NEW) == frame


def test_what_the_older_edition_asks() -> None:
    for ask, control, data in (
        (Ask(kind="read", di=0x9010), 0x01, "1090"),
        (Ask(kind="follow-up", di=0x901F), 0x02, "1f90"),
        (
            Ask(
                kind="write",
                di=0xC111,
                credentials=Credentials(1, b"\x11\x22\x33"),
                values={"demand_period": 15},
            ),
            0x04,
            "11c1 01112233 15",
        ),
        (Ask(kind="time", at=AT, broadcast=True), 0x08, "310122110524"),
        (Ask(kind="write-address", values={"new_address": "000000000162"}), 0x0A, "620100000000"),
        (Ask(kind="baud-rate", values={"baud_rate": 2400}), 0x0C, "08"),
        (
            Ask(kind="password", credentials=Credentials(1, b"\x11\x22\x33"), payload=b"\x01\x44\x55\x66"),
            0x0F,
            "01112233 01445566",
        ),
        (Ask(kind="clear-demand"), 0x10, ""),
    ):
        frame = request(METER, ask, OLD)
        assert (frame.control, frame.data.hex()) == (control, data.replace(" ", ""))
        assert request(METER, ask_of(frame, OLD), OLD) == frame
    for kind in ("read-address", "relay", "freeze"):
        with pytest.raises(LocalError, match="1997 has no request"):
            request(METER, Ask(kind=kind), OLD)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("control", "data", "why"),
    [
        (0x91, "00000100", "an answer is no request"),
        (0x11, "000001", "hold no identifier"),
        (0x11, "0000010000", "where a request to read has none"),
        (0x11, "030c0004", "can only be written"),
        (0x11, "01000006 08 00151105", "where a request to read has none"),
        (0x11, "01000006 08 0f15110524", "where a request to read has none"),
        (0x11, "000002e0 00", "segment's head"),
        (0x12, "00ff0100", "has 1 bytes here"),
        (0x13, "00", "has 0 bytes here"),
        (0x14, "03010004 0211223301020304", "takes 1 bytes, not 0"),
        (0x14, "03010004 0211223301020304 1515", "takes 1 bytes, not 2"),
        (0x14, "03010004 0211223301020304 1f", "is no BCD number"),
        (0x14, "03010004 021122", "password and operator are missing"),
        (0x14, "00000100 0211223301020304 00000000", "can only be read"),
        (0x14, "000002e0 0211223301020304 0002", "segment's head"),
        (0x15, "6201000000", "has 6 bytes here"),
        (0x15, "6f0100000000", "is no BCD number"),
        (0x08, "310122110f24", "is no time"),
        (0x08, "310122320524", "is no time"),
        (0x16, "60009999", "no time of a freeze"),
        (0x16, "0f009999", "no time of a freeze"),
        (0x16, "00000001", "no time of a freeze"),
        (0x17, "03", "is no baud rate"),
        (0x17, "0404", "has 1 bytes here"),
        (0x18, "030c0004 02112233", "has 12 bytes here"),
        (0x19, "02112233 010203", "are missing"),
        (0x19, "02112233 01020304 00", "has 0 bytes here"),
        (0x1B, "02112233 01020304", "has 4 bytes here"),
        (0x1C, "02112233 01020304 1a 00", "has 8 bytes here"),
        (0x1C, "02112233 01020304 1a 00 310122320524", "is no time"),
    ],
)
def test_a_meter_does_not_act_on_what_is_not_whole(control: int, data: str, why: str) -> None:
    with pytest.raises(PeerError, match=why) as refused:
        ask_of(frame_of(control, data), NEW)
    assert refused.value.code == "wire.request"


@pytest.mark.parametrize("control", [0x00, 0x01, 0x09, 0x1F, 0x31, 0x51])
def test_functions_of_no_edition_and_of_the_other_one_are_refused(control: int) -> None:
    with pytest.raises(PeerError) as refused:
        ask_of(frame_of(control, "00000100"), NEW)
    assert refused.value.code == "wire.function"
    with pytest.raises(PeerError) as refused:
        ask_of(frame_of(0x11, "00000100"), OLD)
    assert refused.value.code == "wire.function"


def test_a_relay_command_that_nobody_knows_is_an_ask_without_action() -> None:
    raw = "02112233 01020304 4d 00 000000000000"
    ask = ask_of(frame_of(0x1C, raw), NEW)
    assert ask.action is None
    assert request(METER, ask, NEW) == frame_of(0x1C, raw)


def test_a_write_to_an_identifier_beside_the_table_is_opaque() -> None:
    ask = ask_of(frame_of(0x14, "000000ee 0211223301020304 0a0b"), NEW)
    assert (ask.opaque, ask.payload, ask.values) == (True, b"\x0a\x0b", {})


@given(st.integers(0, 255), st.binary(max_size=60), st.sampled_from(["000000000161", "9" * 12, "a" * 12]))
def test_any_frame_is_an_ask_that_makes_itself_again_or_is_refused(
    control: int, data: bytes, address: str
) -> None:
    for habits in (NEW, OLD):
        frame = frame_of(control, data.hex(), address)
        try:
            ask = ask_of(frame, habits)
        except PeerError as error:
            code = error.code
        else:
            code = ""
        if code:
            assert code in ("wire.request", "wire.function")
            continue
        assert request(frame.device_id, ask, habits) == frame


def test_a_printed_ask_shows_no_password() -> None:
    ask = ask_of(frame_of(0x14, "03010004 02112233 01020304 15"), NEW)
    assert "112233" not in repr(ask)
    assert "\\x11" not in repr(ask)
    assert "level=2" in repr(ask)


@pytest.mark.parametrize(("reason", "bit"), list(BITS.items()))
def test_a_refusal_says_its_reason(reason: Reason, bit: int) -> None:
    asked = request(METER, Ask(kind="read", di=0x00010000), NEW)
    got = refuse(METER, asked, reason, NEW)
    assert (got.control, got.data) == (0xD1, bytes((bit,)))
    assert matches(asked, got, NEW).answers
    assert len(interpret(got).error_reasons) == 1
    older = refuse(METER, request(METER, Ask(kind="read", di=0x9010), OLD), reason, OLD)
    wanted = {"no-such-data": "identifier", "not-authorised": "password", "tariffs": "tariffs"}
    assert wanted.get(reason, "") in interpret(older).error_reasons[0]


def test_what_a_meter_says_when_it_has_done_something() -> None:
    for kind, said in (
        ("14 write", ""),
        ("15 write address", ""),
        ("17 baud rate", "20"),
        ("18 password", "02445566"),
        ("19 clear demand", ""),
        ("1A clear meter", ""),
        ("1B clear events", ""),
        ("1C trip", ""),
    ):
        asked = request(METER, ASKS[kind][0], NEW)
        got = done(METER, asked, NEW)
        assert (got.control, got.data.hex()) == (asked.control | 0x80, said)
        assert matches(asked, got, NEW).answers
        assert not interpret(got).error
    with pytest.raises(LocalError, match="never answered"):
        done(METER, request(METER, ASKS["08 time"][0], NEW), NEW)


def test_an_answer_matches_its_own_request_only() -> None:
    asked = request(METER, Ask(kind="read", di=0x00010000), NEW)
    got = answer(METER, asked, {"forward_active_energy": 26}, NEW)
    assert matches(asked, got, NEW).answers
    assert matches(replace(asked, address=b"\xaa" * 6), got, NEW).answers
    assert matches(replace(asked, address=asked.address[:3] + b"\xaa" * 3), got, NEW).answers
    for other, why in (
        (replace(got, address=b"\x62" + got.address[1:]), "another meter"),
        (replace(got, control=0x94), "another function"),
        (replace(got, control=0x11), "no answer"),
        (replace(got, data=b"\x01" + got.data[1:]), "identifier"),
        (replace(got, data=b"\x00"), "identifier"),
    ):
        match = matches(asked, other, NEW)
        assert not match.answers
        assert why in match.why
    assert not matches(replace(asked, address=b"\x99" * 6), got, NEW).answers
    renamed = request(METER, Ask(kind="write-address", values={"new_address": "000000000162"}), NEW)
    for address, answers in ((renamed.address, True), (renamed.data, True), (b"\x63" + bytes(5), False)):
        assert matches(renamed, Frame("dlt645", 0, address, 0x95, b""), NEW).answers is answers
    follow = request(METER, Ask(kind="follow-up", di=0x00010000, number=2), NEW)
    assert not matches(follow, replace(got, control=0x92, data=got.data + b"\x01"), NEW).answers


def test_reports_and_addresses() -> None:
    assert report(METER, 0x00010000, {"forward_active_energy": 26}, NEW).encode().hex().upper() == (
        "6861010000000068910833333433593333338A16"
    )
    got = address_answer(METER, request(ANYBODY, Ask(kind="read-address"), NEW), NEW)
    assert got.data == got.address == bytes.fromhex("610100000000")


@pytest.mark.parametrize(
    ("di", "values", "why"),
    [
        (0x00010000, {}, "nothing is stated"),
        (0x00010000, {"forward_active_energy": -1}, "no sign"),
        (0x00010000, {"forward_active_energy": 10**8}, "more than 8 digits"),
        (0x00000000, {"combined_active_energy": 80_000_000}, "sign bit"),
        (0x00010000, {"forward_active_energy": "26"}, "no number"),
        (0x00010000, {"forward_active_energy": b"\x26"}, "takes 4 bytes"),
        (0x00010000, {"forward_active_energy": Value(None, None, text="much")}, "no number"),
        (0x00010000, {"forward_active_energy": Value(None, "MWh", 1, -2)}, "nothing"),
        (
            0x01010000,
            {"forward_active_maximum_demand": 1, "forward_active_maximum_demand_time": "soon"},
            "YYMMDDhhmm",
        ),
        (0x04000402, {"meter_number": "12"}, "12 digits"),
        (0x04000404, {"rated_voltage": "220 Volt"}, "takes 6 characters"),
        (0x04000101, {"date": "2024-02-31"}, "no date"),
        (0x04000101, {"date": 10**18}, "no time"),
        (0x04000402, {"meter_number": 7}, "does not say"),
        (0x06000002, {}, "takes bytes"),
        (0x00010000, {"forward_active_energy": 1, "tail": 5}, "it is bytes"),
    ],
)
def test_values_that_do_not_fit_are_refused(di: int, values: dict[str, Stated], why: str) -> None:
    asked = request(METER, Ask(kind="read", di=di), NEW)
    if why == "nothing":
        value = Value(None, "MWh", 1, -2)
        assert answer(METER, asked, values, NEW).data[4:] == b"\xff" * 4  # unreadable digits are sent blank
        values, why = {"forward_active_energy": replace(value, value=0)}, "not in MWh"  # type: ignore[arg-type]
    with pytest.raises(LocalError, match=why) as refused:
        answer(METER, asked, values, NEW)
    assert refused.value.code == "wire.field"


def test_a_reading_in_other_decimals_is_sent_in_the_meter_s() -> None:
    for register, exponent, sent in (
        (12, 0, "00120000"),
        (1250, -3, "25010000"),
        (1259, -3, "25010000"),
        (7, -2, "07000000"),
    ):
        asked = request(METER, Ask(kind="read", di=0x00010000), NEW)
        values = {"forward_active_energy": scaled(register, exponent, "kWh")}
        assert answer(METER, asked, values, NEW).data[4:].hex() == sent
    back = {"combined_active_energy": scaled(-1259, -3, "kWh")}
    got = answer(METER, request(METER, Ask(kind="read", di=0), NEW), back, NEW)
    assert interpret(got).readings["combined_active_energy"].register == -125


def test_load_records_travel_as_bytes_and_read_as_records() -> None:
    record = load.record(bytes.fromhex("0015110524"), (b"", b"", b"", bytes(16), b"", b""))
    asked = request(METER, Ask(kind="read", di=0x06000002), NEW)
    got = answer(METER, asked, {"payload": record}, NEW)
    assert interpret(got).readings["load_1_forward_active_energy"].register == 0
    assert stated(got, interpret(got), NEW) == {"payload": record}


def test_a_load_record_is_built_from_what_a_meter_has_and_read_back() -> None:
    values: dict[str, Stated] = {
        "voltage_a": 2301,
        "current_a": -5,
        "frequency": 5001,
        "forward_active_energy": 7,
    }
    raw = load_record(AT, values, NEW)
    assert len(raw) == 3 + 5 + 17 + 16 + 6 + 2
    asked = request(METER, Ask(kind="read", di=0x06000002), NEW)
    readings = interpret(answer(METER, asked, {"payload": raw}, NEW)).readings
    assert readings["load_1_time"].text == "2024-05-11T22:01"
    for name, value in values.items():
        assert readings[f"load_1_{name}"].register == value
    assert readings["load_1_voltage_b"].register is None
    assert "load_1_active_demand" not in readings
    with pytest.raises(LocalError, match="do not hold"):
        load_record(AT, {"internal_temperature": 200}, NEW)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("14 write", (0, 2, 4)),
        ("19 clear demand", (0, 4)),
        ("1A clear meter", (0, 2)),
        ("1B clear events", (2,)),
        ("1C trip", (2,)),
    ],
)
def test_a_password_of_too_low_a_level_does_not_suffice(name: str, levels: tuple[int, ...]) -> None:
    ask = ask_of(request(METER, ASKS[name][0], NEW), NEW)
    assert ask.credentials is not None
    for level in range(10):
        shown = replace(ask, credentials=replace(ask.credentials, level=level))
        assert level_suffices(shown) is (level <= max(levels))
    for mode in (0x98, 0x99):
        assert not level_suffices(replace(ask, credentials=replace(ask.credentials, level=mode)))
    assert not level_suffices(replace(ask, credentials=None))
    assert level_suffices(Ask(kind="read", di=0x00010000))


def test_a_block_of_1997_may_end_with_aa() -> None:
    asked = request(METER, Ask(kind="read", di=0x901F), OLD)
    values = {"forward_active_energy": 1, "forward_active_energy_tariff_1": 2}
    got = answer(METER, asked, values, replace(OLD, block_end=True))
    assert got.data.hex() == "1f90" + "01000000" + "02000000" + "aa"
    assert [value.register for value in interpret(got).readings.values()] == [1, 2]


OURS = [one for one in VALID if one["expect"]["protocol"] == "dlt645" and one["id"] != "dlt645-020"]
"""020 has another address in its header than in its data."""


@pytest.mark.parametrize("vector", OURS, ids=lambda one: one["id"])
def test_every_captured_frame_is_made_again_from_what_it_states(vector: dict[str, str]) -> None:
    frame, _ = parse_frame(bytes.fromhex(vector["hex"]).lstrip(b"\xfe"))
    meaning = interpret(frame)
    habits = OLD if meaning.edition == "1997" else NEW
    if not frame.control & 0x80:
        assert request(frame.device_id, ask_of(frame, habits), habits) == frame
        return
    asked = replace(frame, control=frame.control & 0x1F)
    if meaning.error:
        reason = next(one for one, bit in BITS.items() if bytes((bit,)) == frame.data)
        assert refuse(frame.device_id, asked, reason, habits) == frame
    elif frame.control in (0x91, 0x81):
        assert answer(frame.device_id, asked, stated(frame, meaning, habits), habits) == frame
    else:
        assert address_answer(frame.device_id, asked, habits) == frame
