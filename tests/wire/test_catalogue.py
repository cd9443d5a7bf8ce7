"""The catalogue of CJ/T 188 against the tables of the reference: every identifier, its function and its length."""

from __future__ import annotations

import pytest

from meterseal.wire import identifiers as ids
from meterseal.wire import roles
from meterseal.wire.catalogue import FIELDS, ROWS, Identifier, name_of, row_of
from meterseal.wire.frame import Frame

from .households import GAS, HEAT, WATER, model

ANSWERS = {
    0x901F: (0x16, 0x2E),
    0x911F: (0x3E, 0x3E),
    0xD120: (8, 8),
    0xD12B: (8, 8),
    0xD200: (8, 0x12),
    0xD2FF: (8, 0x12),
    0xD300: (0x1A, None),
    0xD4FF: (0x1A, None),
    0x8102: (0x12, 0x12),
    0x8103: (4, 4),
    0x8104: (4, 4),
    0x8105: (0x12, 0x12),
    0x8106: (4, 4),
    0x810A: (3, 3),
}
"""L of answers, water or gas and heat (section 6.1); None where no source says."""
REQUESTS = {
    0xA010: (0x13, 0x04),
    0xA011: (4, 0x04),
    0xA012: (4, 0x04),
    0xA013: (8, 0x04),
    0xA014: (0x0C, 0x04),
    0xA015: (0x0A, 0x04),
    0xA016: (8, 0x16),
    0xA116: (None, 0x16),
    0xA017: (4, 0x04),
    0xA018: (0x0A, 0x15),
    0xA019: (3, 0x04),
    0xA101: (3, 0x04),
    0xA102: (3, 0x04),
    0xA103: (4, 0x04),
    0xA104: (7, 0x04),
    0xA105: (8, 0x04),
    0xA106: (7, 0x04),
    0xA107: (0x23, 0x04),
}
"""L and C of requests (section 6.2)."""


def size(row: Identifier, names: tuple[str, ...]) -> int | None:
    sizes = [row.opaque if name == "payload" else FIELDS[name].size for name in names]
    return None if 0 in sizes else 3 + sum(sizes)


@pytest.mark.parametrize("di", ANSWERS, ids=lambda di: f"{di:04X}")
def test_lengths_of_answers_are_the_references(di: int) -> None:
    row = row_of(di)
    assert row is not None
    water, heat = (size(row, row.layout(up=True, heat=heat)) for heat in (False, True))
    assert (water, heat) == ANSWERS[di]
    assert row.function == {0x8106: 0x09, 0x810A: 0x03}.get(di, 0x01)
    assert not row.writes


@pytest.mark.parametrize("di", REQUESTS, ids=lambda di: f"{di:04X}")
def test_lengths_and_functions_of_requests_are_the_references(di: int) -> None:
    row = row_of(di)
    assert row is not None
    assert (size(row, row.down), row.function) == REQUESTS[di]
    assert row.writes


def test_nothing_is_in_the_catalogue_that_the_reference_does_not_name() -> None:
    doubtful = {0x907F, 0x903F, 0x904F, 0x905F, 0x906F}
    ranges = {0xD120: 0xD12B, 0xD200: 0xD2FF, 0xD300: 0xD3FF, 0xD400: 0xD4FF}
    own = {ids.INTERVALS, ids.SEGMENTS, ids.FOUND, ids.ALARM, ids.CLOCK}
    assert {row.di: row.last for row in ROWS if row.last is not None} == ranges
    assert {row.di for row in ROWS} == {*REQUESTS, *doubtful, *own, *ranges} | set(ANSWERS) - {
        0xD12B,
        0xD2FF,
        0xD4FF,
    }
    assert len({row.di for row in ROWS}) == len(ROWS)
    assert all(row.mark == "C" and row.edition == "one source" for row in ROWS if row.di in doubtful)


def test_editions_are_the_references() -> None:
    newer = {row.di for row in ROWS if row.edition == "2018"}
    assert newer == {0x911F, 0xD200, 0xD300, 0xD400, 0xA116, *range(0xA101, 0xA108)}
    assert {row.di for row in ROWS if row.edition == "2004"} == {0x8106, 0xA014}


def test_names_are_given_in_both_languages_and_with_the_entry() -> None:
    for row in ROWS:
        assert row.english
        assert any(ord(letter) > 0x4E00 for letter in row.chinese)
    for field in FIELDS.values():
        assert any(ord(letter) > 0x4E00 for letter in field.chinese)
    assert name_of(0xD125) == ("history 1, settlement day of month -6", "历史计量数据6")
    assert name_of(0xD3FF) == ("timed freeze, entry 255", "定时冻结数据")
    assert name_of(0xD12C) is None


@pytest.mark.parametrize("device_id", [WATER, GAS, HEAT])
def test_a_real_answers_length_is_that_of_its_row(device_id: bytes) -> None:
    request = Frame("cjt188", device_id[0], device_id[:0:-1], 1, bytes.fromhex("901F00"))
    row = row_of(0x901F)
    assert row is not None
    blank = dict.fromkeys(row.layout(up=True, heat=device_id == HEAT), None)
    got = roles.answer(device_id, request, {**blank, "status": b"\x00\x00"}, model())
    assert len(got.data) == (0x2E if device_id == HEAT else 0x16)
