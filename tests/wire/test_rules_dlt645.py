"""DL/T 645 beyond the captured frames: blocks, sign bits, text, follow-up frames, errors, commands, 1997."""

from __future__ import annotations

from typing import Any

import pytest

from meterseal.wire.decode import decode_bytes

from .frames import electricity


def answer(control: int, data: str, address: str = "000000000161") -> dict[str, Any]:
    got = decode_bytes(electricity(control, data, address)).answer
    assert got["valid"] is True
    assert got["protocol"] == "dlt645"
    return got


def di(text: str) -> str:
    return bytes.fromhex(text)[::-1].hex()


def read(identifier: str, payload: str, control: int = 0x91) -> dict[str, str]:
    got = answer(control, di(identifier) + payload)
    assert got["frame"]["di"] == identifier
    shown = {name: f"{value['value']} {value['unit']}" for name, value in got["readings"].items()}
    assert (got["value"], got["unit"]) == tuple(next(iter(got["readings"].values())).values())
    return shown


@pytest.mark.parametrize(
    ("identifier", "payload", "shown"),
    [
        ("00000000", "64527500", {"combined_active_energy": "7552.64 kWh"}),
        ("00000000", "64520080", {"combined_active_energy": "-52.64 kWh"}),
        ("00010000", "64527580", {"forward_active_energy": "807552.64 kWh"}),
        ("00020000", "01000000", {"reverse_active_energy": "0.01 kWh"}),
        ("00030000", "01000080", {"combined_reactive_energy_1": "-0.01 kvarh"}),
        ("00010300", "01000000", {"forward_active_energy_tariff_3": "0.01 kWh"}),
        ("00010001", "01000000", {"forward_active_energy_settlement_1": "0.01 kWh"}),
        ("00440000", "01000000", {"quadrant_4_reactive_energy_c": "0.01 kvarh"}),
        ("02010200", "0123", {"voltage_b": "230.1 V"}),
        ("02020300", "991980", {"current_c": "-1.999 A"}),
        ("02030000", "512580", {"active_power": "-0.2551 kW"}),
        ("02030100", "512500", {"active_power_a": "0.2551 kW"}),
        ("02040000", "314300", {"reactive_power": "0.4331 kvar"}),
        ("02050000", "065000", {"apparent_power": "0.5006 kVA"}),
        ("02060000", "0185", {"power_factor": "-0.501 "}),
        ("02070100", "2001", {"phase_angle_a": "12.0 deg"}),
        ("02800001", "010080", {"neutral_current": "-0.001 A"}),
        ("02800002", "0150", {"frequency": "50.01 Hz"}),
        ("02800007", "3982", {"internal_temperature": "-23.9 C"}),
        ("02800008", "6003", {"clock_battery_voltage": "3.60 V"}),
        ("04000101", "03110524", {"date": "2024-05-11 None", "weekday": "3 None"}),
        ("04000102", "310122", {"time": "22:01:31 None"}),
        ("04000402", "563412907856", {"meter_number": "567890123456 None"}),
        ("04000501", "0480", {"status_word_1": "8004 None"}),
        ("04000409", "001600", {"active_constant": "1600 imp/kWh"}),
        ("00900200", "50120000", {"remaining_amount": "12.50 CNY"}),
        ("05060101", "01000000", {"forward_active_energy_daily_freeze_1": "0.01 kWh"}),
        ("05060001", "0000110524", {"daily_freeze_1_time": "2024-05-11T00:00 None"}),
    ],
)
def test_single_identifiers(identifier: str, payload: str, shown: dict[str, str]) -> None:
    assert read(identifier, payload) == shown


@pytest.mark.parametrize(
    ("identifier", "payload", "shown"),
    [
        ("0201FF00", "012302236022", ["voltage_a 230.1 V", "voltage_b 230.2 V", "voltage_c 226.0 V"]),
        (
            "0202FF00",
            "010000 020000 030080",
            ["current_a 0.001 A", "current_b 0.002 A", "current_c -0.003 A"],
        ),
        ("0206FF00", "0010 9909 9809 9709", ["power_factor 1.000 ", "power_factor_a 0.999 "]),
        ("0001FF00", "10000000 01000000 02000000", ["forward_active_energy 0.10 kWh"]),
        ("0001FF00", "10000000", ["forward_active_energy 0.10 kWh"]),
        ("01010000", "125600 3008110524", ["forward_active_maximum_demand 0.5612 kW"]),
    ],
)
def test_blocks_give_one_name_an_element(identifier: str, payload: str, shown: list[str]) -> None:
    got = read(identifier, payload)
    lines = [f"{name} {value}" for name, value in got.items()]
    assert lines[: len(shown)] == shown


def test_energy_block_names_its_tariffs() -> None:
    got = read("0001FF00", "10000000 01000000 02000000 03000000 04000000")
    assert list(got) == ["forward_active_energy"] + [f"forward_active_energy_tariff_{n}" for n in range(1, 5)]


def test_missing_phases_of_a_block_are_null() -> None:
    got = read("0201FF00", "0123 FFFF FFFF")
    assert got == {"voltage_a": "230.1 V", "voltage_b": "None V", "voltage_c": "None V"}


def test_text_values_keep_their_padding() -> None:
    assert read("04000404", "000056303232") == {"rated_voltage": "220V\0\0 None"}


def test_more_follows() -> None:
    got = answer(0xB1, di("0001FF00") + "10000000 01000000")
    assert got["frame"]["more"] is True
    assert got["frame"]["error"] is False
    assert answer(0x91, di("00010000") + "10000000")["frame"]["more"] is False


def test_an_hourly_freeze_has_a_total_only() -> None:
    got = answer(0x91, di("05040101") + "10000000 01000000")
    assert list(got["readings"]) == ["forward_active_energy_hourly_freeze_1"]
    assert got["anomalies"] == ["tail: 4 bytes follow the known layout"]


def test_follow_up_frames_end_with_their_number() -> None:
    got = answer(0x92, di("0001FF00") + "10000000 01000000 02")
    assert list(got["readings"]) == ["forward_active_energy", "forward_active_energy_tariff_1"]
    assert got["anomalies"] == []
    assert answer(0x12, di("0001FF00") + "01")["anomalies"] == []


@pytest.mark.parametrize("bit", range(8))
def test_error_words_name_their_reason(bit: int) -> None:
    got = answer(0xD1, f"{1 << bit:02x}")
    assert got["frame"]["error"] is True
    assert got["error_answer"]["code"] == f"{1 << bit:02x}"
    assert len(got["error_answer"]["reasons"]) == 1
    assert "value" not in got


def test_error_answers_of_odd_lengths() -> None:
    assert answer(0xD1, "")["error_answer"] == {"code": None, "reasons": []}
    assert answer(0xD4, "0600")["anomalies"] == ["tail: 1 bytes follow the known layout"]
    assert len(answer(0xC1, "06")["error_answer"]["reasons"]) == 2


@pytest.mark.parametrize(
    ("code", "action"),
    [
        ("1A", "trip"),
        ("1B", "permit-close"),
        ("1C", "close"),
        ("2A", "alarm"),
        ("2B", "alarm-off"),
        ("3A", "keep-power"),
        ("3B", "keep-power-off"),
    ],
)
def test_relay_commands(code: str, action: str) -> None:
    got = answer(0x1C, f"02000000 01020304 {code} 00 000000110524")
    assert got["note_action"] == action
    assert answer(0x9C, "")["frame"]["direction"] == "up"


def test_addresses_read_and_written() -> None:
    assert answer(0x93, "610100000000")["anomalies"] == []
    assert answer(0x93, "620100000000")["anomalies"][0].startswith("address-differs")
    assert answer(0x15, "620100000000", "AA" * 6)["new_address"] == "000000000162"
    assert answer(0x95, "")["anomalies"] == []


def test_broadcast_time() -> None:
    assert answer(0x08, "310122110524", "99" * 6)["clock"] == "2024-05-11T22:01:31"


def test_writes_show_what_they_set() -> None:
    got = answer(0x14, di("04000103") + "02000000 01000000 15")
    assert got["readings"] == {"demand_period": {"value": "15", "unit": "min"}}
    assert answer(0x94, "")["readings"] == {}


@pytest.mark.parametrize(
    ("identifier", "payload", "shown"),
    [
        ("9010", "15000000", {"forward_active_energy": "0.15 kWh"}),
        ("9011", "15000000", {"forward_active_energy_tariff_1": "0.15 kWh"}),
        ("9420", "15000000", {"reverse_active_energy_settlement_1": "0.15 kWh"}),
        ("9110", "15000000", {"forward_reactive_energy": "0.15 kvarh"}),
        ("A010", "125600", {"forward_active_maximum_demand": "0.5612 kW"}),
        ("B611", "3002", {"voltage_a": "230 V"}),
        ("B622", "3002", {"current_b": "2.30 A"}),
        ("B630", "125600", {"active_power": "0.5612 kW"}),
        ("B650", "9909", {"power_factor": "0.999 "}),
        ("C032", "563412907856", {"meter_number": "567890123456 None"}),
        (
            "901F",
            "0100000002000000AA",
            {"forward_active_energy": "0.01 kWh", "forward_active_energy_tariff_1": "0.02 kWh"},
        ),
    ],
)
def test_the_1997_edition(identifier: str, payload: str, shown: dict[str, str]) -> None:
    assert read(identifier, payload, control=0x81) == shown
    assert answer(0x81, di(identifier) + payload)["edition"] == "1997"


def test_short_and_unknown_answers() -> None:
    assert answer(0x91, di("00010000") + "1000")["readings"] == {}
    assert answer(0x91, "0000")["anomalies"][0].startswith("short")
    assert answer(0x91, di("0EEE0000") + "1000")["anomalies"][0].startswith("identifier")
    assert "value" not in answer(0x91, di("0EEE0000") + "1000")
    assert answer(0x81, "")["readings"] == {}


def test_wildcard_addresses_are_no_anomaly() -> None:
    assert answer(0x11, di("00010000"), "AAAAAAAA0161")["anomalies"] == []
    assert answer(0x11, di("00010000"), "0000000F0161")["anomalies"][0].startswith("address")


def test_interval_block_and_segments() -> None:
    got = answer(0x91, di("E0010000") + "00000028052620 3C 01 05 00 02 56341200 57341200")
    assert got["interval"]["values"] == ["1234.56", "1234.57"]
    assert got["interval"]["step_minutes"] == 60
    assert answer(0x91, di("E0020000") + "0002 0000 4D52")["segment"] == {
        "total": 2,
        "offset": 0,
        "bytes": "4d52",
    }
    assert answer(0x14, di("E0020000") + "00" * 8 + "0002 0000 4D52")["segment"]["bytes"] == "4d52"
    assert answer(0x11, di("E0020000") + "0050")["segment"] == {"total": None, "offset": 0x50, "bytes": ""}


def test_the_error_word_of_each_edition_has_its_own_names() -> None:
    old = answer(0xC1, "03")["error_answer"]
    new = answer(0xD1, "03")["error_answer"]
    assert old["reasons"] == ["illegal data 非法数据", "wrong data identifier 数据标识错"]
    assert new["reasons"] == ["other error 其他错误", "no such data 无请求数据"]
