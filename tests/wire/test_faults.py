"""When several faults compete, the one a field engineer needs is told."""

from __future__ import annotations

from typing import Any

import pytest

from meterseal.errors import PeerError
from meterseal.wire.decode import decode, decode_all, decode_bytes
from meterseal.wire.frame import parse_frame, parse_frames

from .frames import electricity, household

WATER = household(0x81, "901F00 56341200 2C 00000000 2C 31012211051520 0000")
POWER = electricity(0x91, "00000100 26000000")
BOTH = pytest.mark.parametrize("raw", [WATER, POWER], ids=["cjt188", "dlt645"])


def error(buf: bytes) -> dict[str, Any]:
    answer = decode_bytes(buf).answer
    assert answer["valid"] is False
    return {
        **answer["error"],
        "checksum_expected": answer.get("checksum_expected"),
        "protocol": answer["protocol"],
    }


def length_at(raw: bytes) -> int:
    return 10 if raw == WATER else 9


@BOTH
def test_a_wrong_checksum_names_the_right_one(raw: bytes) -> None:
    wrong = raw[:-2] + bytes([raw[-2] ^ 0x55, 0x16])
    got = error(b"\xfe\xfe" + wrong + b"\x00")
    assert got["code"] == "wire.checksum"
    assert (got["expected"], got["found"]) == (f"{raw[-2]:02X}", f"{raw[-2] ^ 0x55:02X}")
    assert got["checksum_expected"] == f"{raw[-2]:02X}"
    assert f"should be {raw[-2]:02X}" in got["message"]


@BOTH
def test_a_changed_data_byte_is_a_wrong_checksum_even_when_it_looks_like_a_start(raw: bytes) -> None:
    for place in range(length_at(raw) + 1, len(raw) - 2):
        assert error(raw[:place] + b"\x68" + raw[place + 1 :])["code"] == "wire.checksum"


@BOTH
def test_a_wrong_end_byte_is_told(raw: bytes) -> None:
    got = error(raw[:-1] + b"\x17")
    assert (got["code"], got["expected"], got["found"]) == ("wire.end", "16", "17")
    assert error(raw[:-1] + b"\x17\xb5\x00")["code"] == "wire.end"


@BOTH
@pytest.mark.parametrize("shift", [-3, -1, 1, 5, 100])
@pytest.mark.parametrize("sealed", [False, True])
def test_a_wrong_length_byte_is_told(raw: bytes, shift: int, sealed: bool) -> None:
    place = length_at(raw)
    changed = bytearray(raw)
    changed[place] += shift
    if sealed:
        changed[-2] = sum(changed[:-2]) % 256
    got = error(bytes(changed))
    assert got["code"] == "wire.length"
    assert (got["expected"], got["found"]) == (raw[place], raw[place] + shift)


@BOTH
def test_a_lost_byte_is_a_truncated_frame_with_the_checksum_it_would_need(raw: bytes) -> None:
    place = length_at(raw) + 4
    assert raw[place] not in (0, raw[-2])
    got = error(raw[:place] + raw[place + 1 :])
    assert got["code"] == "wire.truncated"
    assert got["checksum_expected"] == f"{(raw[-2] - raw[place]) % 256:02X}"


@BOTH
def test_an_added_byte_is_a_wrong_length(raw: bytes) -> None:
    place = length_at(raw) + 3
    got = error(raw[:place] + b"\x01" + raw[place:])
    assert (got["code"], got["expected"] - got["found"]) == ("wire.length", 1)


@pytest.mark.parametrize("text", ["", "zz", "hello, meter", "FEFEFE", "00112233", "1616161616", "12 34 68"])
def test_nothing_found(text: str) -> None:
    answer = decode(text).answer
    assert answer["valid"] is False
    assert answer["error"]["code"] == "wire.no-frame"
    assert answer["protocol"] is None


def test_odd_hex_is_answered_and_said() -> None:
    assert decode(WATER.hex() + "5").answer["valid"] is True
    assert decode("5" + WATER.hex()).answer["valid"] is True
    cut = decode(WATER.hex()[:-1]).answer
    assert cut["error"]["code"] == "wire.truncated"
    assert "odd number of hex digits" in cut["error"]["message"]


def test_a_whole_frame_behind_a_broken_one_is_found() -> None:
    broken = WATER[:-2] + b"\x00\x16"
    answer = decode_bytes(broken + POWER).answer
    assert answer["valid"] is True
    assert answer["protocol"] == "dlt645"
    assert decode_bytes(WATER[:12] + POWER).answer["protocol"] == "dlt645"


def test_a_frame_inside_a_damaged_frame_does_not_hide_the_damage() -> None:
    outer = household(0x81, bytes.fromhex("02E000 0100 0000".replace(" ", "")) + POWER)
    assert decode_bytes(outer).answer["protocol"] == "cjt188"
    damaged = outer[:13] + b"\x77" + outer[14:]
    assert error(damaged)["code"] == "wire.checksum"


def test_a_frame_in_an_envelope_is_found() -> None:
    envelope = bytes.fromhex("aa3000011b68") + WATER + bytes.fromhex("77aa16")
    answer = decode_bytes(envelope).answer
    assert answer["valid"] is True
    assert [note.partition(":")[0] for note in answer["anomalies"]] == ["junk-before", "behind"]


def test_every_frame_of_a_text_is_given_in_order() -> None:
    text = f"{WATER.hex()} {POWER.hex()} 55 {WATER.hex()}"
    assert [decoded.answer["protocol"] for decoded in decode_all(text)] == ["cjt188", "dlt645", "cjt188"]
    assert len(decode_all("nothing")) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "wire.no-frame"),
        (b"\xfe" + WATER, "wire.no-frame"),
        (WATER + b"\x00", "wire.no-frame"),
        (WATER[:-1], "wire.truncated"),
        (WATER + POWER[:5], "wire.truncated"),
        (WATER[:-1] + b"\x17", "wire.end"),
        (POWER[:-2] + b"\x00\x16", "wire.checksum"),
    ],
)
def test_strict_parsing_says_what_is_wrong(body: bytes, code: str) -> None:
    with pytest.raises(PeerError) as caught:
        parse_frames(body)
    assert caught.value.code == code
    assert parse_frame(WATER + b"\x00")[1] == len(WATER)


def test_a_frame_made_with_a_wrong_length_is_told_both_checksums_and_the_corrected_one_is_valid() -> None:
    made = bytes.fromhex("6810998877665544338117901F05785634122C000055122C5634123112252005008A16")
    answer = decode_bytes(made).answer
    assert answer["checksum_expected"] == "8A"
    assert answer["checksums"] == {"length_as_sent": "8A", "length_corrected": "89"}
    assert "checksum 89" in answer["error"]["message"]
    corrected = made[:10] + b"\x16" + made[11:-2] + b"\x89\x16"
    assert decode_bytes(corrected).answer["valid"] is True


@BOTH
@pytest.mark.parametrize("lost", [0x00, 0xFF])
def test_a_byte_lost_on_the_line_is_never_blamed_on_the_maker_alone(raw: bytes, lost: int) -> None:
    """A lost 00 leaves the checksum right for the length as sent, a lost FF for the corrected one."""
    place = length_at(raw) + 5
    longer = bytearray(raw[:place] + bytes((lost,)) + raw[place:])
    longer[length_at(raw)] += 1
    longer[-2] = sum(longer[:-2]) % 256
    assert decode_bytes(bytes(longer)).answer["valid"] is True
    damaged = bytes(longer[:place] + longer[place + 1 :])
    got = error(damaged)
    assert got["code"] == "wire.length"
    assert "lost" in got["message"]
    assert "read the meter again" in got["message"].lower()
    assert "correct the length" not in got["message"]
