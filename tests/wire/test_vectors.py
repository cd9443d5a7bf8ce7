"""Every captured frame is answered as its expectation says: whole, in noise, in pieces, cut, flipped."""

from __future__ import annotations

from typing import Any

import pytest

from meterseal.wire.codec import Reader, search
from meterseal.wire.decode import decode, decode_bytes
from meterseal.wire.frame import parse_frame
from meterseal.wire.tree import tree

from .frames import BROKEN, VALID, VECTORS, name


def differences(expected: Any, got: Any, place: str = "") -> list[str]:
    """Each key of the expectation whose answer differs; keys beyond it are free."""
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return [f"{place}: {got!r} is no object"]
        return [
            line
            for key, value in expected.items()
            for line in (
                differences(value, got[key], f"{place}/{key}") if key in got else [f"{place}/{key}: missing"]
            )
        ]
    return [] if expected == got and type(expected) is type(got) else [f"{place}: {expected!r} but {got!r}"]


def test_the_file_holds_both_protocols_and_broken_frames() -> None:
    assert len(VECTORS) == 122
    assert len(BROKEN) == 15
    assert {vector["expect"]["protocol"] for vector in VECTORS} == {"cjt188", "dlt645"}


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_answer_has_every_expected_key(vector: dict[str, Any]) -> None:
    assert differences(vector["expect"], decode(vector["hex"]).answer) == []


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_encoding_the_parsed_frame_gives_the_same_bytes(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"]).lstrip(b"\xfe")
    frame, end = parse_frame(raw)
    assert frame.encode() == raw[:end]


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_text_around_the_frame_changes_nothing(vector: dict[str, Any]) -> None:
    plain = decode(vector["hex"]).answer
    pairs = [vector["hex"][index : index + 2] for index in range(0, len(vector["hex"]), 2)]
    written = [
        vector["hex"].lower(),
        " ".join(pairs),
        ":".join(pairs),
        "-".join(pairs),
        ", ".join(f"0x{pair}" for pair in pairs),
        "{" + ",".join(f"0X{pair}" for pair in pairs) + "};",
        "".join(f"\\x{pair}" for pair in pairs),
        "\r\n" + "\t".join(pairs) + "\n",
    ]
    for text in written:
        assert decode(text).answer == plain
    for text in (f"CTRL:&1234567890123456{vector['hex']}", f"[2024-5-1 08:15:00] RX>{vector['hex']}<"):
        answer = decode(text).answer
        around = {"anomalies": None, "fields": None}
        assert {**answer, **around} == {**plain, **around}


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_junk_before_and_behind_is_passed_over(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"])
    for before in (b"\x00", b"\x68", b"\x68\x68\x10", b"\x16\x16", b"\xaa\x30\x68\x20\x01"):
        for behind in (b"", b"\xb5\x3c", b"\x68", b"\x16"):
            answer = decode_bytes(before + raw + behind).answer
            assert differences(vector["expect"], answer) == []


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_every_truncation_is_answered_and_named(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"]).lstrip(b"\xfe")
    for size in range(1, len(raw)):
        answer = decode_bytes(raw[:size]).answer
        assert answer["valid"] is False
        assert answer["error"]["code"] == "wire.truncated"
        assert answer["error"]["found"] < answer["error"]["expected"]


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_one_flipped_bit_never_gives_the_frame_back(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"]).lstrip(b"\xfe")
    whole = decode_bytes(raw)
    for place in range(len(raw)):
        for bit in range(8):
            flipped = bytearray(raw)
            flipped[place] ^= 1 << bit
            decoded = decode_bytes(bytes(flipped))
            assert decoded.found.frame is None, (place, bit)
            assert decoded.answer["error"]["code"].startswith("wire.")
    assert whole.valid


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_byte_by_byte_feeding_gives_the_frame_with_its_last_byte(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"])
    reader = Reader()
    for byte in raw[:-1]:
        reader.feed(bytes([byte]))
        assert reader.next_frame() is None
    reader.feed(raw[-1:])
    assert reader.next_frame() == search(raw).frame
    assert len(reader) == 0


def test_concatenated_frames_come_out_one_by_one() -> None:
    stream = b"".join(bytes.fromhex(vector["hex"]) for vector in VALID)
    expected = [search(bytes.fromhex(vector["hex"])).frame for vector in VALID]
    for step in (1, 7, 64, len(stream)):
        reader, got = Reader(), []
        for start in range(0, len(stream), step):
            reader.feed(stream[start : start + step])
            while (frame := reader.next_frame()) is not None:
                got.append(frame)
        assert got == expected


def test_broken_frames_between_good_ones_are_passed_over_when_the_line_is_idle() -> None:
    good = bytes.fromhex(VALID[0]["hex"])
    for vector in BROKEN:
        reader = Reader()
        reader.feed(bytes.fromhex(vector["hex"]))
        assert reader.next_frame(idle=True) is None
        reader.feed(good)
        assert reader.next_frame(idle=True) == search(good).frame


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_tree_shows_every_byte_once_and_in_order(vector: dict[str, Any]) -> None:
    decoded = decode(vector["hex"])
    shown, place = "", 0
    for line in tree(decoded).partition("offset, hex as sent, field, value")[2].splitlines()[1:]:
        offset, _, rest = line.strip(" ├└│─").partition("  ")
        assert int(offset) == place, line
        raw = rest.partition("  ")[0].replace(" ", "")
        shown += raw
        place += len(raw) // 2
    assert shown == vector["hex"]
    if not decoded.valid:
        assert vector["expect"]["checksum_expected"] in tree(decoded)
