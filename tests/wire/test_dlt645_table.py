"""The identifier tables of DL/T 645: every row read, no two names alike, and what a package of others knows agrees."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.wire.decode import decode_bytes
from meterseal.wire.dlt645 import axes, load, table, table1997
from meterseal.wire.dlt645.items import Item, item
from meterseal.wire.dlt645.rules import Rule, Table, one
from meterseal.wire.frame import parse_frame
from meterseal.wire.meaning import interpret
from meterseal.wire.sheet import Meaning

from .frames import electricity

EDITIONS = ((table.TABLE, 4, 0x91), (table1997.TABLE, 2, 0x81))
SAMPLE = 60


def some(rules: Table, rule: Rule) -> list[int]:
    """The identifiers of a row: all of few, else the first ones and a seeded sample."""
    every = list(islice(rules.identifiers(rule), 40_000))
    if len(every) <= SAMPLE:
        return every
    return every[:3] + random.Random(rule.at).sample(every, SAMPLE)


def payload(items: tuple[Item, ...], dice: random.Random) -> tuple[bytes, dict[str, Any]]:
    """Random content for fields, and what its readings are: register or text."""
    raw, expected = b"", {}
    for one_item in items:
        size = one_item.size
        if one_item.kind == "bits":
            part = dice.randbytes(size)
            expected[one_item.name] = part[::-1].hex().upper()
        elif one_item.kind == "ascii":
            text = "".join(dice.choices("0123456789ABCV.-", k=size))
            part = text.encode()[::-1]
            expected[one_item.name] = text
        else:
            digits = "".join(dice.choices("0123456789", k=2 * size))
            if one_item.signed:
                digits = str(dice.randrange(8)) + digits[1:]
            if one_item.name == "date_time":
                digits = f"2405{dice.randrange(10, 29)}06220131"
            part = bytes.fromhex(digits)[::-1]
            if one_item.kind == "number":
                expected[one_item.name] = int(digits)
            else:
                expected[one_item.name] = digits
        raw += part
    return raw, expected


def read(di: int, width: int, control: int, raw: bytes) -> Meaning:
    frame, _ = parse_frame(electricity(control, di.to_bytes(width, "little") + raw))
    return interpret(frame)


@pytest.mark.parametrize(("rules", "width", "control"), EDITIONS, ids=["2007", "1997"])
def test_every_row_reads_what_its_format_says(rules: Table, width: int, control: int) -> None:
    dice = random.Random(645)
    for rule in rules.rules:
        for di in some(rules, rule):
            quantity = rules.lookup(di)
            assert quantity is not None
            if quantity.items[0].kind == "bytes":
                continue
            fitting = quantity.items[: min(len(quantity.items), 20)]
            raw, expected = payload(fitting, dice)
            if len(fitting) < len(quantity.items) and not quantity.block:
                fitting = quantity.items
                raw, expected = payload(fitting, dice)
            meaning = read(di, width, control, raw)
            assert meaning.di == di
            for name, wanted in expected.items():
                value = meaning.readings[name]
                if isinstance(wanted, int):
                    assert value.register == wanted, (hex(di), name)
                else:
                    assert value.text is not None
                    shown = "".join(char for char in value.text if char not in "-:T")
                    if name == "date_time":
                        wanted = wanted[:6] + wanted[8:]
                    assert shown in (wanted, "20" + wanted, "20" + wanted[:-2]) or value.text == wanted
            assert set(meaning.readings) - set(expected) <= {"weekday"}


@pytest.mark.parametrize(("rules", "width", "control"), EDITIONS, ids=["2007", "1997"])
def test_every_row_cut_short_says_so_and_reads_nothing_beyond(rules: Table, width: int, control: int) -> None:
    dice = random.Random(1997)
    for rule in rules.rules:
        di = next(rules.identifiers(rule))
        quantity = rules.lookup(di)
        assert quantity is not None
        first = quantity.items[0]
        if first.kind == "bytes":
            continue
        raw, _ = payload((first,), dice)
        meaning = read(di, width, control, raw[:-1])
        assert meaning.readings == {}
        assert not meaning.recognised
        assert any(note.startswith("short") for note in meaning.anomalies)


@pytest.mark.parametrize(("rules", "width", "control"), EDITIONS, ids=["2007", "1997"])
def test_an_identifier_has_one_row_and_a_name_one_identifier(rules: Table, width: int, control: int) -> None:
    """The ADR's promise: a name says which identifier was read, within an edition."""
    seen: dict[str, int] = {}
    for rule in rules.rules:
        for di in some(rules, rule):
            assert len(rules.matching(di)) == 1, hex(di)
            quantity = rules.lookup(di)
            assert quantity is not None
            if quantity.block and len(quantity.items) > 1:
                continue
            for one_item in quantity.items:
                assert seen.setdefault(one_item.name, di) == di, one_item.name
                assert one_item.name == one_item.name.lower()
                assert one_item.chinese
    assert len(seen) > (600 if width == 4 else 200)


@given(st.integers(0, 0x21), st.integers(0, 0xFFFFFF), st.integers(0x9000, 0xC6FF))
@settings(max_examples=500)
def test_any_identifier_has_at_most_one_row_and_is_found_by_it(group: int, rest: int, old: int) -> None:
    for rules, number in ((table.TABLE, group << 24 | rest), (table1997.TABLE, old)):
        rows = rules.matching(number)
        assert len(rows) <= 1
        quantity = rules.lookup(number)
        assert (quantity is None) is (not rows)
        if quantity is not None:
            assert quantity.items
            assert quantity.chinese
            assert quantity.size >= len(quantity.items) or quantity.items[0].kind == "bytes"


def test_a_block_repeats_the_single_identifiers_in_order() -> None:
    for block, singles in (
        (0x0001FF00, [0x00010000 + (tariff << 8) for tariff in range(64)]),
        (0x000100FF, [0x00010000 + day for day in range(13)]),
        (0x01010000 | 0xFF00, [0x01010000 + (tariff << 8) for tariff in range(64)]),
        (0x0203FF00, [0x02030000 + (phase << 8) for phase in range(4)]),
        (0x020A01FF, [0x020A0100 + n for n in range(1, 22)]),
        (0x040005FF, [0x04000500 + n for n in range(1, 8)]),
        (0x1D00FF03, [0x1D000003 + (n << 8) for n in range(1, 9)]),
    ):
        whole = table.lookup(block)
        assert whole is not None
        assert whole.block
        parts = [table.lookup(di) for di in singles]
        assert whole.items == tuple(one_item for part in parts if part for one_item in part.items)


def test_two_blocks_at_once_and_values_beside_the_table_are_not_in_it() -> None:
    for di in (
        0x0001FFFF,
        0x00014000,
        0x0001000D,
        0x02010000,
        0x02010400,
        0x050600FF,
        0x0F000000,
        0x03010001,
    ):
        assert table.lookup(di) is None, hex(di)
    for di in (0x9030, 0x902E + 0x0400 + 0x0400 + 0x0400, 0x9230, 0xB610, 0xFFFF, 0x0000):
        assert table1997.lookup(di) is None, hex(di)


def test_a_pattern_that_is_no_identifier_is_a_mistake_in_the_table() -> None:
    for at in ("00 {energy}", "00 {energy} {tariff} {settlement} 00", "00 zz 00 00"):
        with pytest.raises(ValueError, match="no pattern"):
            Table((one(at, "name", "名", "XX"),), axes.AXES, 8)
    with pytest.raises(ValueError, match="no format"):
        item("name", "名", "XX.X.X")


# --- what others know ------------------------------------------------------------------------------------------


def test_the_package_dlt645_agrees_on_the_size_and_decimals_of_every_identifier_it_has() -> None:
    """20,286 identifiers; only units differ, where the package has the unit of the quantity that is distorted."""
    from dlt645.common.transform import parse_format
    from dlt645.model.data.define import DIMap

    opaque, units = set(), set()
    for di, known in DIMap.items():
        quantity = table.lookup(di)
        assert quantity is not None, f"{di:08X}"
        rows = known if isinstance(known, list) else [known]
        if quantity.items[0].kind == "bytes":
            opaque.add(f"{di:08X}"[:6])
            continue
        digits = sum(len(row.data_format.replace(".", "").replace(",", "")) for row in rows)
        assert 2 * quantity.size == digits + (10 if di >> 24 == 1 else 0), f"{di:08X}"
        first = quantity.items[0]
        if len(rows) == 1 and "." in rows[0].data_format and first.kind == "number":
            assert first.exponent == -parse_format(rows[0].data_format)[0], f"{di:08X}"
            unit = rows[0].unit.strip()
            if unit and unit != first.unit:
                units.add((f"{di:08X}"[:4], unit, first.unit))
    assert opaque == {"033005", "04000C"}  # sources disagree on the one; the other are passwords
    assert units == {
        ("0206", "kW", ""),
        ("0208", "V", "%"),
        ("0209", "A", "%"),
        ("020A", "V", "%"),
        ("020B", "A", "%"),
        ("0280", "℃", "C"),
    }


# --- what needs more than a row --------------------------------------------------------------------------------


def notes(control: int, data: bytes) -> list[str]:
    return list(decode_bytes(electricity(control, data)).answer["anomalies"])


def test_passwords_and_layouts_that_are_not_public_stay_bytes() -> None:
    for di in (0x04000C03, 0x05060000 | 0xFF01, 0x03300501, 0x1301FF01):
        answer = decode_bytes(electricity(0x91, di.to_bytes(4, "little") + bytes(range(1, 9)))).answer
        assert answer["readings"] == {}
        assert answer["anomalies"][0].startswith("layout: ")
        kept = next(row for row in answer["fields"] if row["offset"] == 14)
        assert bytes((int(pair, 16) - 0x33) & 0xFF for pair in _pairs(kept["hex"])) == bytes(range(1, 9))


def _pairs(text: str) -> list[str]:
    return [text[place : place + 2] for place in range(0, len(text), 2)]


def test_status_words_name_their_bits_and_stay_hex_as_readings() -> None:
    answer = decode_bytes(
        electricity(0x91, bytes.fromhex("ff050004") + bytes.fromhex("0800 0000 1800 0100 0000 8000 2000"))
    ).answer
    assert answer["readings"]["status_word_3"] == {"value": "0018", "unit": None}
    said = {row["name"]: row["value"] for row in answer["fields"]}
    assert "relay off 继电器断" in said["status_word_3"]
    assert "programming permitted 编程许可" in said["status_word_3"]
    assert "voltage loss 失压" in said["status_word_4"]
    assert "phase loss 断相" in said["status_word_6"]
    assert "power failure 掉电" in said["status_word_7"]


def test_function_03_is_security_with_an_identifier_07_and_reading_again_without() -> None:
    body = bytes.fromhex("ff000007" + "01020304") + bytes(8)
    secure = decode_bytes(electricity(0x03, body)).answer
    assert (secure["edition"], secure["frame"]["function"], secure["frame"]["di"]) == (
        "2007",
        "security",
        "070000FF",
    )
    assert "安全认证数据" in {row["chinese"] for row in secure["fields"]}
    control = next(row for row in secure["fields"] if row["name"] == "control code")
    assert control["value"] == "request, security 安全认证"
    again = decode_bytes(electricity(0x03, b"")).answer
    assert (again["edition"], again["frame"]["function"]) == ("1997", "read again")
    failed = decode_bytes(electricity(0xC3, b"\x04")).answer
    assert failed["frame"]["error"] is True


@pytest.mark.parametrize(
    ("code", "said"), [(0x08, "2400 baud"), (0x20, "9600 baud"), (0x00, "no known rate")]
)
def test_a_rate_byte_names_its_rate(code: int, said: str) -> None:
    rows = decode_bytes(electricity(0x17, bytes((code,)))).answer["fields"]
    assert any(row["value"].endswith(said) for row in rows)


def test_modes_98_and_99_of_a_write_are_named() -> None:
    for level, said in ((0x98, "密文"), (0x99, "明文"), (0x02, "2级密码")):
        rows = decode_bytes(
            electricity(0x14, bytes.fromhex("03010004") + bytes((level,)) + bytes(7) + b"\x15")
        ).answer["fields"]
        assert any(said in row["value"] for row in rows)


# --- load records ----------------------------------------------------------------------------------------------

TIME = bytes.fromhex("0015110524")
VOLTS = bytes.fromhex("0123 0223 0323 010000 020000 030080 0150")
ENERGIES = bytes.fromhex("10000000 20000000 30000080 40000000")


def profile(di: int, raw: bytes) -> dict[str, Any]:
    return decode_bytes(electricity(0x91, di.to_bytes(4, "little") + raw)).answer


def test_a_load_record_reads_the_classes_it_holds() -> None:
    whole = load.record(TIME, (VOLTS, b"", b"", ENERGIES, b"", b""))
    assert whole[:3] == bytes((0xA0, 0xA0, len(whole) - 5))
    answer = profile(0x06000001, whole + load.record(TIME, (b"", b"", b"", ENERGIES, b"", b"")))
    shown = {name: f"{one['value']} {one['unit']}" for name, one in answer["readings"].items()}
    assert shown["load_1_time"] == "2024-05-11T15:00 None"
    assert shown["load_1_voltage_b"] == "230.2 V"
    assert shown["load_1_current_c"] == "-0.003 A"
    assert shown["load_1_frequency"] == "50.01 Hz"
    assert shown["load_1_combined_reactive_energy_1"] == "-0.30 kvarh"
    assert shown["load_2_reverse_active_energy"] == "0.20 kWh"
    assert "load_2_voltage_a" not in shown
    assert "load_1_active_power" not in shown
    assert answer["anomalies"] == []


def test_every_load_record_with_a_changed_byte_is_kept_as_bytes_or_reads_its_own_digits() -> None:
    whole = load.record(TIME, (VOLTS, b"", b"", b"", b"", b""))
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x01
        answer = profile(0x06000002, bytes(changed))
        assert answer["readings"] == {}
        assert any(note.startswith("load-record") for note in answer["anomalies"])
    for size in range(len(whole)):
        answer = profile(0x06000002, whole[:size])
        assert answer["readings"] == {}


def test_a_record_that_the_meter_calls_wrong_gives_its_time_only() -> None:
    raw = bytearray(load.record(TIME, (VOLTS, b"", b"", b"", b"", b"")))
    raw[0] = raw[1] = 0xE0
    raw[-2] = sum(raw[:-2]) & 0xFF
    answer = profile(0x06010002, bytes(raw))
    assert list(answer["readings"]) == ["load_1_time"]
    assert answer["anomalies"][0].startswith("load-damaged")


def test_a_request_for_load_records_says_how_many_and_from_when() -> None:
    rows = decode_bytes(electricity(0x11, bytes.fromhex("01000006") + b"\x08" + TIME)).answer["fields"]
    assert {"负荷记录块数", "起始时间"} <= {row["chinese"] for row in rows}
