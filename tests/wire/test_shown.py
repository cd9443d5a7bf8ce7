"""The tree and `--json` say the same: whatever a person is shown, a program gets."""

from __future__ import annotations

from typing import Any

import pytest

from meterseal.wire.decode import decode_bytes
from meterseal.wire.tree import tree

from .frames import VECTORS, electricity, household

FRAMES = {
    **{vector["id"]: bytes.fromhex(vector["hex"]) for vector in VECTORS},
    "key version": household(0x89, "810600 05"),
    "key version after a new key": household(0x84, "A01400 07"),
    "new key": household(0x04, "A01400 07 0102030405060708"),
    "purchase": household(0x81, "810500 09 00100000 00200000 00300000 0000"),
    "purchase written": household(0x04, "A01300 09 00100000"),
    "date": electricity(0x91, "01010004 06211126"),
    "date and time": electricity(0x91, "0C010004 59302306211126"),
    "date of 1997": electricity(0x81, "10C0 06211126"),
    "error of 1997": electricity(0xC1, "02"),
    "relay": electricity(0x1C, "02000000 01000000 1A 00 59301221112 6".replace(" ", "")),
    "freeze": household(0x81, "D30100 59302321112620 00100000 2C 00000100 35 002000 003000", 0x10),
    "address": household(0x83, "810A00 00332211003378"),
    "interval": household(0x81, "01E000 00000021112620 0F 01 2C 00 02 00010000 00020000"),
    "segment": household(0x84, "02E000 0004 0000 01020304"),
    "junk around": b"\x01\x02\xfe\xfe" + household(0x01, "901F00") + b"\x03",
    "cut": household(0x81, "901F00 56341200 2C 00000000 2C 31012211051520 0000")[:25],
    "nothing": b"\x01\x02\x03",
}


def strings(value: Any) -> set[str]:
    """Every string, number and joined pair in an object."""
    if isinstance(value, dict):
        return {text for one in value.values() for text in strings(one)}
    if isinstance(value, list):
        return {text for one in value for text in strings(one)}
    return {str(value)}


@pytest.mark.parametrize("kind", FRAMES)
def test_nothing_that_the_tree_shows_is_missing_from_the_json(kind: str) -> None:
    decoded = decode_bytes(FRAMES[kind])
    said = strings(decoded.answer)
    head, _, table = tree(decoded).partition("bytes: offset, hex as sent, field, value\n")
    shown = "".join(field["hex"] for field in decoded.answer["fields"])
    assert bytes.fromhex(shown) == FRAMES[kind]
    for line in table.splitlines():
        offset, *cells = [cell.strip() for cell in line.strip(" ├└│─").split("  ") if cell.strip()]
        if set(line.partition(offset)[0]) & set("├└"):
            field = next(field for field in decoded.answer["fields"] if str(field["offset"]) == offset)
            labels = [cell for cell in cells if field["name"] in cell]
            assert labels, line
            texts = cells[cells.index(labels[0]) + 1 :]
            assert not texts or "  ".join(texts).strip() in field["value"].replace("\0", ""), line
    for line in head.splitlines()[1:]:
        text = line.strip("├└─ ")
        words = [word.strip(",:") for word in text.split() if word.isascii() and word[:1].isalnum()]
        everything = " ".join(said)
        common = {"from", "to", "the", "meter", "clock", "asks", "for", "battery", "valve", "more", "follows"}
        common |= {
            "unreadable",
            "ERROR",
            "ANSWER",
            "new",
            "address",
            "right",
            "checksum",
            "found",
            "of",
            "bytes",
        }
        common |= {"there", "length", "as", "sent", "that", "fits", "them"}
        readings = decoded.answer.get("readings", {})
        for word in words:
            assert word in everything or word in common or word in readings, (line, word)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("key version", "key_version", "5"),
        ("key version after a new key", "key_version", "7"),
        ("new key", "key_version", "7"),
        ("purchase", "purchase_serial", "9"),
        ("purchase written", "purchase_serial", "9"),
        ("date", "weekday", "6"),
        ("date and time", "weekday", "6"),
        ("date of 1997", "weekday", "6"),
        ("freeze", "freeze_time", "2026-11-21T23:30:59"),
    ],
)
def test_a_version_a_serial_and_a_weekday_are_readings(kind: str, name: str, value: str) -> None:
    assert decode_bytes(FRAMES[kind]).answer["readings"][name]["value"] == value
