"""CJ/T 188 beyond the captured frames: payloads of section 6, error and write answers, vendors' habits."""

from __future__ import annotations

from typing import Any

import pytest

from meterseal.wire.decode import decode_bytes

from .frames import ADDRESS, household

CLOCK = "31012211051520"
"""2015-05-11 22:01:31, low byte first."""


def answer(control: int, data: str, meter_type: int = 0x10) -> dict[str, Any]:
    got = decode_bytes(household(control, data, meter_type)).answer
    assert got["valid"] is True
    return got


def readings(got: dict[str, Any]) -> dict[str, str]:
    return {name: f"{value['value']} {value['unit']}" for name, value in got["readings"].items()}


@pytest.mark.parametrize("di", ["1F90", "901F"])
def test_both_identifier_orders_are_one_identifier(di: str) -> None:
    got = answer(0x81, f"{di}05 01000000 2C 02000000 2C {CLOCK} 0500")
    assert got["frame"]["di"] == "901F"
    assert got["frame"]["ser"] == 5
    assert readings(got) == {"cumulative_volume": "0.01 m3", "settlement_volume": "0.02 m3"}
    assert got["status"] == {"raw": "0500", "valve": "closed", "battery_low": True}


@pytest.mark.parametrize(
    ("status", "valve", "low"),
    [
        ("00", "open", False),
        ("01", "closed", False),
        ("02", "reserved", False),
        ("03", "abnormal", False),
        ("04", "open", True),
        ("07", "abnormal", True),
        ("F8", "open", False),
    ],
)
def test_status_bits(status: str, valve: str, low: bool) -> None:
    got = answer(0x81, f"901F00 01000000 2C 02000000 2C {CLOCK} {status}00")
    assert got["status"] == {"raw": f"{status.lower()}00", "valve": valve, "battery_low": low}


@pytest.mark.parametrize(
    ("clock", "text", "note"),
    [
        (CLOCK, "2015-05-11T22:01:31", None),
        ("20200528205824", "2020-05-28T20:58:24", "clock-order"),
        ("20150511101112", "2015-05-11T10:11:12", "clock-order"),
        ("00000000000000", "0000-00-00T00:00:00", "clock-unset"),
        ("31012200000020", "2000-00-00T22:01:31", "clock-unset"),
        ("FFFFFFFFFFFFFF", None, "clock-unreadable"),
        ("AA012211051520", None, "clock-unreadable"),
        ("31012230021520", None, "clock-unreadable"),
    ],
)
def test_clocks_of_every_kind(clock: str, text: str | None, note: str | None) -> None:
    got = answer(0x81, f"901F00 01000000 2C 02000000 2C {clock} 0000")
    assert got["clock"] == text
    assert [line.partition(":")[0] for line in got["anomalies"]] == ([note] if note else [])


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        ("2C", "1234.56 m3"),
        ("29", "1234.56 L"),
        ("05", "1234.56 kWh"),
        ("08", "1234.56 MWh"),
        ("11", "1234.56 GJ"),
        ("13", "123456 GJ"),
        ("0A", "123456 MWh"),
        ("0B", "1234.56 kJ"),
        ("00", "1234.56 None"),
    ],
)
def test_units_scale_the_value(unit: str, shown: str) -> None:
    got = answer(0x81, f"D12000 56341200 {unit}", 0x20)
    assert list(readings(got).values()) == [shown]


def test_blank_and_broken_digits_are_null_and_kept_as_bytes() -> None:
    got = answer(0x81, f"901F00 FFFFFFFF 2C 0A000000 2C {CLOCK} 0000")
    assert got["readings"]["cumulative_volume"] == {"value": None, "unit": "m3"}
    assert got["readings"]["settlement_volume"] == {"value": None, "unit": "m3"}
    assert len([line for line in got["anomalies"] if line.startswith("not-bcd")]) == 2


@pytest.mark.parametrize("month", range(1, 13))
def test_history_of_a_month(month: int) -> None:
    di = f"D1{0x1F + month:02X}"
    water = answer(0x81, f"{di}00 78563412 2C")
    assert water["frame"]["di"] == di
    assert readings(water) == {"settlement_volume": "123456.78 m3"}
    assert readings(answer(0x81, f"{di}00 78563412 05", 0x20)) == {"settlement_energy": "123456.78 kWh"}


def test_price_table() -> None:
    got = answer(0x81, "810200 500200 180000 000300 250000 750500")
    assert readings(got) == {
        "price_1": "2.50 CNY",
        "volume_1": "18 m3",
        "price_2": "3.00 CNY",
        "volume_2": "25 m3",
        "price_3": "5.75 CNY",
    }
    assert got["frame"]["length"] == 0x12


def test_purchase() -> None:
    got = answer(0x81, "810500 07 00010000 00020000 56340000 0400", 0x30)
    assert readings(got) == {
        "purchase_serial": "7 ",
        "purchase_amount": "1.00 CNY",
        "total_purchase_amount": "2.00 CNY",
        "remaining_amount": "34.56 CNY",
    }
    assert got["status"]["battery_low"] is True


@pytest.mark.parametrize(("di", "name"), [("8103", "settlement_day"), ("8104", "reading_day")])
def test_days(di: str, name: str) -> None:
    assert answer(0x81, f"{di}00 25")["readings"] == {name: {"value": "25", "unit": ""}}


HEAT = f"78563412 05 11223344 05 50010000 17 34120000 35 99000000 2C 792600 642600 664707 {CLOCK} 0000"
UNITS_FIRST = f"05 78563412 05 11223344 17 50010000 35 34120000 2C 99000000 792600 642600 664707 {CLOCK} 0000"


@pytest.mark.parametrize("payload", [HEAT, UNITS_FIRST])
@pytest.mark.parametrize("meter_type", [0x20, 0x21, 0x22, 0x25, 0x2F, 0xAA])
def test_heat_with_units_behind_or_before_the_values(payload: str, meter_type: int) -> None:
    got = answer(0x81, f"901F00 {payload}", meter_type)
    assert readings(got) == {
        "settlement_energy": "123456.78 kWh",
        "cumulative_energy": "443322.11 kWh",
        "power": "1.50 kW",
        "flow_rate": "0.1234 m3/h",
        "cumulative_volume": "0.99 m3",
        "supply_temperature": "26.79 degC",
        "return_temperature": "26.64 degC",
        "working_time": "74766 h",
    }
    assert got["clock"] == "2015-05-11T22:01:31"
    assert any(line.startswith("unit-order") for line in got["anomalies"]) is (payload == UNITS_FIRST)


def test_water_with_units_before_the_values() -> None:
    got = answer(0x81, f"901F00 2C 78563412 2C 11000000 {CLOCK} 0100")
    assert readings(got) == {"cumulative_volume": "123456.78 m3", "settlement_volume": "0.11 m3"}
    assert got["clock"] == "2015-05-11T22:01:31"
    assert got["status"]["valve"] == "closed"


def test_the_standard_order_wins_where_both_fit() -> None:
    got = answer(0x81, f"901F00 05000000 2C 05000000 2C {CLOCK} 0000")
    assert readings(got) == {"cumulative_volume": "0.05 m3", "settlement_volume": "0.05 m3"}


def test_heat_and_cooling_of_2018() -> None:
    energies = "01000000 05 02000000 05 03000000 05 04000000 05"
    got = answer(
        0x81,
        f"911F00 {energies} 05000000 17 06000000 35 07000000 2C 080000 090000 100000 110000 120000"
        f"{CLOCK} 0000",
        0x22,
    )
    assert got["frame"]["length"] == 0x3E
    assert readings(got)["cumulative_cooling_energy"] == "0.04 kWh"
    assert readings(got)["return_pressure"] == "0.11 None"
    assert readings(got)["working_time"] == "12 h"
    assert got["anomalies"] == []


def test_freeze_of_2018() -> None:
    got = answer(0x81, f"D30000 {CLOCK} 01000000 2C 02000000 35 252000 330000")
    assert "clock" not in got
    assert readings(got) == {
        "freeze_time": "2015-05-11T22:01:31 None",
        "cumulative_volume": "0.01 m3",
        "flow_rate": "0.0002 m3/h",
        "temperature": "20.25 degC",
        "pressure": "0.33 None",
    }


@pytest.mark.parametrize(
    ("payload", "names"),
    [
        ("", []),
        ("78", []),
        ("785634", []),
        ("78563412 2C", ["cumulative_volume"]),
        ("78563412 00FF", ["cumulative_volume"]),
        ("78563412 2C 01", ["cumulative_volume"]),
        ("78563412 2C 0100", ["cumulative_volume"]),
        ("78563412 2C 78563412 2C", ["cumulative_volume", "settlement_volume"]),
        ("78563412 2C 78563412 2C 310122", ["cumulative_volume", "settlement_volume"]),
        (f"78563412 2C 78563412 2C {CLOCK}", ["cumulative_volume", "settlement_volume"]),
        (f"78563412 2C 78563412 2C {CLOCK} 01", ["cumulative_volume", "settlement_volume"]),
    ],
)
def test_short_answers_give_the_fields_that_fit(payload: str, names: list[str]) -> None:
    got = answer(0x81, f"901F00 {payload}")
    assert list(got["readings"]) == names
    assert all(value["value"] == "123456.78" for value in got["readings"].values())
    assert got["anomalies"] != []
    assert got.get("clock") == ("2015-05-11T22:01:31" if CLOCK in payload else None)


def test_no_field_is_read_behind_one_that_was_cut() -> None:
    got = answer(0x81, "901F00 78563412 05 11223344 05 500100", 0x20)
    assert list(got["readings"]) == ["settlement_energy", "cumulative_energy"]
    assert got["anomalies"] == ["short: the data end before power"]


def test_an_identifier_whose_low_byte_looks_like_a_high_one() -> None:
    assert answer(0x81, "A0D200 01000000 2C")["frame"]["di"] == "D2A0"
    assert answer(0x81, "D2A000 01000000 2C")["frame"]["di"] == "D2A0"


def test_value_and_status_without_unit() -> None:
    got = answer(0x81, "901F00 78563412 0102")
    assert got["readings"] == {
        "cumulative_volume": {"value": "123456.78", "unit": None, "digits": "12345678"}
    }
    assert got["status"] == {"raw": "0102", "valve": "closed", "battery_low": False}


def test_longer_answers_keep_their_fields_and_flag_the_tail() -> None:
    got = answer(0x81, f"901F00 01000000 2C 02000000 2C {CLOCK} 0000 AABBCC")
    assert readings(got) == {"cumulative_volume": "0.01 m3", "settlement_volume": "0.02 m3"}
    assert got["anomalies"] == ["tail: 3 bytes follow the known layout"]


@pytest.mark.parametrize(
    ("data", "di", "ser", "code", "status"),
    [
        ("", None, None, None, None),
        ("02", None, None, "02", None),
        ("0702", None, 7, "02", None),
        ("070102", None, 7, "0102", "0102"),
        ("901F0702", "901F", 7, "02", None),
        ("1F90070102", "901F", 7, "0102", "0102"),
        ("010203040506", None, None, "010203040506", None),
    ],
)
@pytest.mark.parametrize("control", [0xC1, 0xC3, 0xC4, 0xC9, 0xD5, 0xD6, 0xF3])
def test_error_answers_of_every_length(
    control: int, data: str, di: str | None, ser: int | None, code: str | None, status: str | None
) -> None:
    got = answer(control, data)
    assert got["frame"]["error"] is True
    assert got["frame"]["direction"] == "up"
    assert got["frame"].get("di") == di
    assert got["frame"].get("ser") == ser
    assert got["error_answer"]["code"] == code
    assert got.get("status", {}).get("raw") == status
    assert got["readings"] == {}


@pytest.mark.parametrize("control", [0x84, 0xAA])
@pytest.mark.parametrize(
    ("data", "raw"), [("A01701", None), ("17A001", None), ("A0170101", "01"), ("17A0010104", "0104")]
)
def test_write_answers_of_every_length(control: int, data: str, raw: str | None) -> None:
    got = answer(control, data)
    assert got["frame"]["di"] == "A017"
    assert got.get("status", {}).get("raw") == raw
    if raw is not None:
        assert got["status"]["valve"] == "closed"


@pytest.mark.parametrize(("code", "action"), [("55", "open"), ("99", "close")])
@pytest.mark.parametrize("control", [0x04, 0x2A])
def test_valve_commands(control: int, code: str, action: str) -> None:
    got = answer(control, f"17A000{code}")
    assert got["note_action"] == action
    assert got["frame"]["direction"] == "down"


def test_address_write_and_its_answer() -> None:
    got = answer(0x15, "18A000 01000005080000")
    assert got["new_address"] == "00000805000001"
    assert got["frame"]["function"] == "write address"
    assert answer(0x95, "18A000")["frame"]["di"] == "A018"


def test_writes_of_section_6() -> None:
    assert answer(0x04, f"15A000 {CLOCK}")["clock"] == "2015-05-11T22:01:31"
    assert readings(answer(0x16, "16A0FF 78563412 2C", 0x10)) == {"cumulative_volume": "123456.78 m3"}
    assert readings(answer(0x04, "A01300 03 00100000")) == {
        "purchase_serial": "3 ",
        "purchase_amount": "10.00 CNY",
    }
    table = readings(answer(0x04, "A01000 500200 180000 000300 250000 750500 01"))
    assert table["start_day"] == "1 "
    assert readings(answer(0x04, "A01100 25")) == {"settlement_day": "25 "}
    assert answer(0x04, "A01900")["anomalies"] == []


def test_unknown_identifiers_are_kept_and_said() -> None:
    got = answer(0x81, "C20001 0102030405")
    assert got["frame"]["di"] == "C200"
    assert got["readings"] == {}
    assert got["anomalies"][0].startswith("identifier")
    sealed = answer(0x81, "112233445566778899AABBCCDDEEFF00")
    assert sealed["anomalies"][0].startswith("opaque")


def test_addresses_that_are_no_bcd_are_flagged_not_refused() -> None:
    got = decode_bytes(household(0x01, "901F00", address=bytes.fromhex("443322FFFFF178"))).answer
    assert got["valid"] is True
    assert got["frame"]["address"] == "78F1FFFF223344"
    assert got["anomalies"][0].startswith("address")


@pytest.mark.parametrize("meter_type", [0x00, 0x14, 0x19, 0x29, 0x3F, 0x49, 0x68, 0xAA, 0xFF])
def test_no_meter_type_is_refused(meter_type: int) -> None:
    got = answer(0x81, f"901F00 01000000 2C 02000000 2C {CLOCK} 0000", meter_type)
    assert got["frame"]["meter_type"] == f"{meter_type:02X}"
    assert "cumulative_volume" in got["readings"]


def test_an_address_that_looks_like_a_second_start_byte_stays_cjt188() -> None:
    address = bytes.fromhex("11223344556878")
    got = decode_bytes(
        household(0x81, f"901F00 01000000 2C 02000000 2C {CLOCK} 0000", address=address)
    ).answer
    assert got["protocol"] == "cjt188"
    assert got["frame"]["address"] == "78685544332211"


def test_interval_block() -> None:
    got = answer(0x81, "01E002 00000028052620 0F 01 2C 00 03 56341200 FFFFFFFF 58341200")
    assert got["frame"]["di"] == "E001"
    assert got["interval"] == {
        "channel": 1,
        "unit": "m3",
        "status": "00",
        "start": "2026-05-28T00:00:00",
        "step_minutes": 15,
        "values": ["1234.56", None, "1234.58"],
    }


@pytest.mark.parametrize(
    "head",
    [
        "00000028052620 0F 01 2C 00 04",
        "00000028052620 00 01 2C 00 03",
        "00000099052620 0F 01 2C 00 03",
        "00000028052620 0F 01 00 00 03",
        "00000028052620 0F 01 2C 00 00",
    ],
)
def test_interval_block_that_contradicts_itself_gives_no_values(head: str) -> None:
    got = answer(0x81, f"01E002 {head} 56341200 57341200 58341200")
    assert "interval" not in got
    assert any(line.startswith("interval") for line in got["anomalies"])


def test_segments_of_link_messages() -> None:
    assert answer(0x81, "02E000 0123 0050 4D52")["segment"] == {
        "total": 0x123,
        "offset": 0x50,
        "bytes": "4d52",
    }
    assert answer(0x01, "02E000 0050")["segment"] == {"total": None, "offset": 0x50, "bytes": ""}
    assert answer(0x04, "02E000 0002 0000 4D52")["segment"]["total"] == 2
    assert "segment" not in answer(0x81, "02E000 0001 0000 4D52")


def test_wildcards() -> None:
    got = decode_bytes(household(0x03, "810A00", 0xAA, b"\xaa" * 7)).answer
    assert got["frame"]["medium"] == "any"
    assert got["frame"]["address"] == "AA" * 7
    assert got["anomalies"] == []
    assert len(ADDRESS) == 7


def test_an_address_in_the_data_that_differs_from_the_header_is_flagged() -> None:
    header, data = "33445566778899", "32445566778899"
    got = decode_bytes(bytes.fromhex("681099887766554433810A810A01998877665544322216")).answer
    assert got["valid"] is True
    assert [note.partition(":")[0] for note in got["anomalies"]] == ["address-differs"]
    assert header in got["anomalies"][0]
    assert data in got["anomalies"][0]
    assert answer(0x83, "810A00 44332211003378")["anomalies"] == []


@pytest.mark.parametrize(("raw", "flagged"), [("100580", True), ("002003", True), ("002000", False)])
def test_a_temperature_that_no_meter_measures_is_kept_and_flagged(raw: str, flagged: bool) -> None:
    heat = (
        f"11740200 05 88274405 05 00000000 17 00000000 35 08567100 2C{raw} 642600 664707 11521703092520 0005"
    )
    got = answer(0x81, f"901F00 {heat}", 0x25)
    shown = f"{int(bytes.fromhex(raw)[::-1].hex()) / 100:.2f} degC"
    assert readings(got)["supply_temperature"] == shown
    assert [note.partition(":")[0] for note in got["anomalies"]] == (["range"] if flagged else [])
    assert ("top bit" in str(got["anomalies"])) is (raw == "100580")


def test_litres_have_their_digits_and_say_that_their_decimals_are_in_doubt() -> None:
    got = answer(0x81, "901F00 47700100 29 51480100 2C 31012211051520 0000")
    assert got["readings"]["cumulative_volume"] == {"value": "170.47", "unit": "L", "digits": "17047"}
    assert got["readings"]["settlement_volume"] == {"value": "148.51", "unit": "m3"}
    assert [note.partition(":")[0] for note in got["anomalies"]] == ["unit-decimals"]
    assert "00017047" in got["anomalies"][0]


def test_an_unreadable_freeze_time_is_no_clock_that_is_unreadable() -> None:
    got = answer(0x81, "D30000 FFFFFFFFFFFFFF 01000000 2C 02000000 35 252000 330000")
    assert "clock" not in got
    assert got["readings"]["freeze_time"]["value"] is None
    assert [note.partition(":")[0] for note in got["anomalies"]] == ["freeze-time-unreadable"]
