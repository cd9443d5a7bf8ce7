"""Tariff documents: what is accepted, what is refused and by which rule, and which version counts when."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meterseal.errors import DataError
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.tariff import AnyTariff, TariffBook, TimeOfUse, parse_tariff, tariff_document
from tests.utility.twins import day

SAMPLES = {tariff.code: tariff for tariff in sample_tariffs()}
WATER = "sample-cold-water-tiered"
POWER = "sample-electricity-time-of-use"


def changed(code: str, /, **changes: Any) -> AnyTariff:
    """A sample tariff with other values."""
    return parse_tariff(json.dumps({**json.loads(tariff_document(SAMPLES[code])), **changes}))


def test_the_samples_say_that_they_are_samples_and_cover_four_media() -> None:
    assert {tariff.medium for tariff in SAMPLES.values()} == {"water", "gas", "heat", "electricity"}
    for tariff in SAMPLES.values():
        assert tariff.code.startswith("sample-")
        assert tariff.name.zh.startswith("示例")
        assert tariff.name.en.startswith("Sample")


@pytest.mark.parametrize("code", SAMPLES)
def test_a_document_survives_writing_and_reading(code: str) -> None:
    assert parse_tariff(tariff_document(SAMPLES[code])) == SAMPLES[code]


def test_windows_over_midnight_belong_to_both_days() -> None:
    power = SAMPLES[POWER]
    assert isinstance(power, TimeOfUse)
    hours = power.by_hour()
    assert [hour for hour in range(24) if hours[hour] == "valley"] == [0, 1, 2, 3, 4, 5, 22, 23]
    assert [hour for hour in range(24) if hours[hour] == "peak"] == [8, 9, 10, 18, 19, 20, 21]


def test_a_window_may_end_the_day_at_24() -> None:
    bands = [{"band": "flat", "price": "1", "windows": [["00:00", "24:00"]]}]
    tariff = changed(POWER, bands=bands)
    assert isinstance(tariff, TimeOfUse)
    assert set(tariff.by_hour()) == {"flat"}


def band(*windows: tuple[str, str], name: str = "flat", price: object = "1") -> dict[str, object]:
    return {"band": name, "price": price, "windows": windows}


@pytest.mark.parametrize(
    ("code", "changes", "rule"),
    [
        (WATER, {"tiers": [{"price": 5}]}, "tariff.price"),
        (WATER, {"tiers": [{"price": 5.5}]}, "tariff.price"),
        (WATER, {"tiers": [{"price": "-1"}]}, "tariff.price"),
        (WATER, {"tiers": [{"price": "NaN"}]}, "tariff.price"),
        (WATER, {"tiers": [{"price": "1.0000001"}]}, "tariff.price"),
        (WATER, {"tiers": [{"price": "1E+9"}]}, "tariff.price"),
        (WATER, {"tiers": []}, "tariff.tiers"),
        (WATER, {"tiers": [{"price": "1", "up_to": "10"}]}, "tariff.tiers"),
        (WATER, {"tiers": [{"price": "1"}, {"price": "2"}]}, "tariff.tiers"),
        (WATER, {"tiers": [{"price": "1", "up_to": "0"}, {"price": "2"}]}, "tariff.tiers"),
        (WATER, {"tiers": [{"price": "1", "up_to": "Infinity"}, {"price": "2"}]}, "tariff.tiers"),
        (
            WATER,
            {"tiers": [{"price": "1", "up_to": "9"}, {"price": "2", "up_to": "9"}, {"price": "3"}]},
            "tariff.tiers",
        ),
        (WATER, {"tiers": [{"price": "1", "up_to": "NaN"}, {"price": "2"}]}, "tariff.tiers"),
        (WATER, {"tiers": [{"price": "1", "up_to": "1E-7"}, {"price": "2"}]}, "tariff.tiers"),
        (WATER, {"unit": "kWh"}, "tariff.unit"),
        (WATER, {"until": "2020-01-01"}, "tariff.validity"),
        (WATER, {"version": 0}, "tariff.document"),
        (WATER, {"code": "Not a code"}, "tariff.document"),
        (WATER, {"surprise": 1}, "tariff.document"),
        (WATER, {"kind": "guess"}, "tariff.document"),
        (WATER, {"fixed": [{"name": {"zh": "费", "en": "fee"}, "amount": 3}]}, "tariff.price"),
        (POWER, {"bands": [band(("00:00", "23:00"))]}, "tariff.windows"),
        (POWER, {"bands": [band(("00:00", "24:00"), ("23:00", "24:00"))]}, "tariff.windows"),
        (POWER, {"bands": [band(("00:30", "24:00"))]}, "tariff.windows"),
        (POWER, {"bands": [band(("00:00", "00:00"))]}, "tariff.windows"),
        (POWER, {"bands": [band(("24:00", "01:00"))]}, "tariff.windows"),
        (POWER, {"bands": [band(("00:00", "12:00")), band(("12:00", "24:00"))]}, "tariff.bands"),
    ],
)
def test_a_broken_rule_is_named(code: str, changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(DataError) as caught:
        changed(code, **changes)
    assert caught.value.code == rule


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff\xfe", b"nonsense", b'{"kind": "flat"}'])
def test_what_is_no_tariff_is_refused_in_one_sentence(text: bytes) -> None:
    with pytest.raises(DataError) as caught:
        parse_tariff(text)
    assert caught.value.code == "tariff.document"
    assert "\n" not in str(caught.value)


def test_the_highest_valid_version_counts() -> None:
    book = TariffBook(
        WATER,
        [
            SAMPLES[WATER],
            changed(WATER, version=2, since="2026-03-01"),
            changed(WATER, version=3, since="2026-02-01", until="2026-04-01"),
        ],
    )
    segments = book.segments(day("2026-01-15"), day("2026-05-01"))
    assert [(part.since, part.tariff.version) for part in segments] == [
        (day("2026-01-15"), 1),
        (day("2026-02-01"), 3),
        (day("2026-04-01"), 2),
    ]


def test_a_year_begins_a_segment_for_tiers_alone() -> None:
    turn = (day("2025-12-20"), day("2026-01-20"))
    assert [part.since for part in TariffBook(WATER, [SAMPLES[WATER]]).segments(*turn)] == [
        day("2025-12-20"),
        day("2026-01-01"),
    ]
    assert len(TariffBook(POWER, [SAMPLES[POWER]]).segments(*turn)) == 1


def test_a_period_may_span_years() -> None:
    parts = TariffBook(WATER, [SAMPLES[WATER]]).segments(day("2024-06-01"), day("2026-06-01"))
    assert [part.since for part in parts] == [day("2024-06-01"), day("2025-01-01"), day("2026-01-01")]
    assert parts[-1].until == day("2026-06-01")


def test_a_day_without_a_version_is_an_error_that_names_the_day() -> None:
    book = TariffBook(WATER, [changed(WATER, until="2026-02-01")])
    with pytest.raises(DataError, match="2026-02-01") as caught:
        book.segments(day("2026-01-15"), day("2026-02-15"))
    assert caught.value.code == "tariff.none"


def test_a_book_holds_one_code_and_each_version_once() -> None:
    for versions in ([SAMPLES[WATER], SAMPLES[POWER]], [SAMPLES[WATER], SAMPLES[WATER]]):
        with pytest.raises(DataError) as caught:
            TariffBook(WATER, versions)
        assert caught.value.code == "tariff.book"
