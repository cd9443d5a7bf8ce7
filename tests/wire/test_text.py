"""What people paste: dumps of the usual programs, bytes as Python prints them, and more than anybody reads."""

from __future__ import annotations

import re
from typing import Any

import pytest

from meterseal.wire.decode import decode, decode_all
from meterseal.wire.text import LONGEST_TEXT, MOST_REPEATED, read_text

from .frames import VALID, VECTORS, household, name


def ascii_column(raw: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in raw)


def canonical(raw: bytes) -> str:
    lines = []
    for place in range(0, len(raw), 16):
        row = raw[place : place + 16]
        halves = f"{row[:8].hex(' ')}  {row[8:].hex(' ')}".strip()
        lines.append(f"{place:08x}  {halves:<48}  |{ascii_column(row)}|")
    return "\n".join([*lines, f"{len(raw):08x}", ""])


def xxd(raw: bytes) -> str:
    rows = [(place, raw[place : place + 16]) for place in range(0, len(raw), 16)]
    groups = [(place, row, re.sub("(....)", r"\1 ", row.hex()).strip()) for place, row in rows]
    return "\n".join(f"{place:08x}: {said:<39}  {ascii_column(row)}" for place, row, said in groups)


def words(raw: bytes, *, octal: bool = False) -> str:
    """`hexdump` without options, and `od -x`."""
    lines = []
    for place in range(0, len(raw), 16):
        row = raw[place : place + 16] + b"\0" * (len(raw[place : place + 16]) % 2)
        said = " ".join(f"{row[at + 1]:02x}{row[at]:02x}" for at in range(0, len(row), 2))
        lines.append(f"{place:07o} {said}" if octal else f"{place:07x} {said}")
    return "\n".join([*lines, f"{len(raw):07o}" if octal else f"{len(raw):07x}"])


def wireshark(raw: bytes) -> str:
    return "\n".join(
        f"{place:04x}   {raw[place : place + 16].hex(' '):<47}   {ascii_column(raw[place : place + 16])}"
        for place in range(0, len(raw), 16)
    )


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_dumps_and_printed_bytes_say_the_same_as_the_hex(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"])
    plain = decode(vector["hex"]).answer
    for text in (
        canonical(raw),
        xxd(raw),
        words(raw),
        words(raw, octal=True),
        wireshark(raw),
        repr(raw),
        f"DEBUG:bus:received {raw!r} in 0.2 s",
        repr(bytearray(raw)),
        f"({raw[:9]!r}\n {raw[9:]!r})",
        "$ xxd frame.bin\n" + xxd(raw),
    ):
        assert decode(text).answer == plain, text


@pytest.mark.parametrize("vector", VECTORS, ids=name)
def test_a_broken_frame_in_a_dump_has_the_fault_of_its_hex(vector: dict[str, Any]) -> None:
    plain = decode(vector["hex"]).answer
    if not plain["valid"]:
        assert decode(canonical(bytes.fromhex(vector["hex"]))).answer == plain


def test_a_dump_with_a_squeezed_line_is_filled_up_but_not_without_end() -> None:
    raw = bytes.fromhex("FEFEFE") + household(0x81, b"\xd3\x12\x05" + bytes(80))
    lines = canonical(raw).splitlines()
    squeezed = "\n".join([*lines[:3], "*", *lines[-2:]])
    assert len(squeezed.splitlines()) < len(lines)
    assert decode(squeezed).answer == decode(raw.hex()).answer
    bomb = "00000000  68 10 00 00 00 00 00 00  00 00 00 00 00 00 00 00\n*\nfffffff0  16"
    assert len(read_text(bomb).buf) < MOST_REPEATED


def test_offsets_that_do_not_add_up_are_no_dump() -> None:
    raw = bytes.fromhex(VALID[0]["hex"])
    text = canonical(raw).replace("00000010", "00000020")
    assert read_text(text).buf != raw


def test_a_whole_frame_in_plain_hex_is_found_beside_printed_bytes_that_hold_none() -> None:
    assert decode(f"sent b'\\x01\\x02', got {VALID[0]['hex']}").answer["valid"] is True
    assert decode("b'h\\q10' " + VALID[0]["hex"]).answer["valid"] is True


def test_input_that_is_too_long_is_said_to_be_cut_and_not_odd() -> None:
    frame = household(0x01, "901F00").hex()
    said = decode("0" * (LONGEST_TEXT - 1) + "16" + frame).answer["error"]["message"]
    assert "first 1,048,576 characters of the input were looked at" in said
    assert "odd" not in said
    long = frame + " zz" * LONGEST_TEXT
    assert decode(long).answer["anomalies"] == [
        "cut: only the first 1,048,576 characters of the input were looked at"
    ]
    assert any(note.startswith("cut") for note in decode_all(long)[-1].answer["anomalies"])
    assert decode(long[:LONGEST_TEXT]).answer["anomalies"] == []


def test_frames_behind_one_another_each_have_their_own_bytes() -> None:
    first, second = household(0x01, "901F00"), household(0x81, "901F00")
    answers = decode_all(f"AA{first.hex()}BB{second.hex()}CC")
    listed = ["".join(field["hex"] for field in decoded.answer["fields"]) for decoded in answers]
    assert listed == [f"AA{first.hex()}".upper(), f"BB{second.hex()}CC".upper()]
