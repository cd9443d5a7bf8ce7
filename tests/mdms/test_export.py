"""What leaves the store says the same in every format, says it exactly, and says it once."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from arro3.io import read_ipc_stream, read_parquet

from meterseal.cli import export as cli_export
from meterseal.errors import DataError, LocalError
from meterseal.mdms.export import series as exporting
from meterseal.mdms.export.cim import NAMESPACE, reading_type, write_cim
from meterseal.mdms.export.columns import write_arrow, write_parquet_file
from meterseal.mdms.export.history import Held, as_csv
from meterseal.mdms.export.series import Exported, Page, Since, of_one_kind, page
from meterseal.mdms.export.text import write_csv
from meterseal.mdms.facts import Fact
from meterseal.mdms.service import Mdms
from meterseal.mdms.store import store as stores
from meterseal.mdms.store.index import CHANNELS
from meterseal.mdms.store.order import Order
from meterseal.mdms.store.rows import ROW, Key, Rows, Words, visible, visible_of_many
from meterseal.model import MAIN, Medium, Quality
from tests.mdms.fleet import DAY, FIRST, HOUR, batches, day_record, open_store, point
from tests.mdms.test_store_contract import bulk_of, version_of

ZONE = ZoneInfo("Asia/Shanghai")
EVER = FIRST + 400 * DAY


def one(
    registers: list[int | None], *, medium: Medium = "water", unit: str = "m3", exponent: int = -2
) -> Exported:
    quality = [Quality.MISSING if register is None else Quality.MEASURED for register in registers]
    size = len(registers)
    return Exported(
        usage_point="up-1",
        medium=medium,
        channel=MAIN,
        unit=unit,
        exponent=exponent,
        end_at=np.arange(FIRST, FIRST + size * HOUR, HOUR, dtype="<i8").tobytes(),
        register=np.array([register or 0 for register in registers], "<i8").tobytes(),
        quality=np.array(quality, "<i1").tobytes(),
        origin=np.zeros(size, "<i1").tobytes(),
        version=np.ones(size, "<i2").tobytes(),
        method=np.zeros(size, "<i2").tobytes(),
        methods=("",),
    )


def with_quality(quality: Quality) -> Exported:
    series = one([5])
    methods = ("linear/1:gap/1",) if quality == Quality.ESTIMATED else ("",)
    return Exported(
        **{
            name: getattr(series, name)
            for name in series.__struct_fields__
            if name not in ("quality", "methods")
        },
        quality=np.array([quality], "<i1").tobytes(),
        methods=methods,
    )


def lines_of(series: list[Exported]) -> list[dict[str, str]]:
    out = io.BytesIO()
    written = write_csv(series, out, ZONE)
    lines = list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))
    assert len(lines) == written
    return lines


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\u3000＋", "＝", "＠"])
def test_attack_no_word_of_a_reading_is_calculated_by_a_spreadsheet(begin: str) -> None:
    """Columns come from other systems, with usage points and units as these wrote them."""
    word = f"{begin}HYPERLINK(1)"
    whole = one([-5])
    values = {name: getattr(whole, name) for name in whole.__struct_fields__}
    (line,) = lines_of([Exported(**values | {"usage_point": word, "unit": word, "methods": (word,)})])
    assert {line["usage_point"], line["unit"], line["method"]} == {f"'{word}"}
    assert line["value"].startswith("-"), "a number stays one"
    stated = Held(usage_point=word, since=0, until=1_000, multiplier="40")
    (row,) = csv.DictReader(io.StringIO(as_csv((stated,)).decode(), newline=""))
    assert row["usage_point"] == f"'{word}"


def tree_of(series: list[Exported]) -> ElementTree.Element:
    out = io.BytesIO()
    write_cim(series, out, ZONE)
    return ElementTree.fromstring(out.getvalue())


def named(name: str) -> str:
    return f".//{{{NAMESPACE}}}{name}"


@pytest.fixture
async def stored(tmp_path: Path) -> Mdms:
    """Three days of four meters, the last of them still in memory."""
    mdms, _ = open_store(tmp_path, 4)
    for day in range(3):
        for batch in batches([day_record(number, day, 1 + day) for number in range(4)], 3):
            await mdms.publish(batch)
        if day == 1:
            await mdms.compact()
    return mdms


def all_pages(mdms: Mdms, since: int, until: int) -> Iterator[Page]:
    after = None
    while True:
        answer = mdms.page(since, until, None, after)
        yield answer
        if answer.after is None:
            return
        after = answer.after


async def test_blocks_in_no_order_hold_the_same_readings_as_pages(
    stored: Mdms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late ones, contradicted ones and new versions are in memory and in segments, of several channels to a block."""
    await stored.append(bulk_of(1, 1, [5], received_at=FIRST + 91 * DAY))
    await stored.revise([version_of(2, 7, 4711, 1, FIRST + 92 * DAY)])
    await stored.append(bulk_of(3, 24 * 3 + 1, [99, None]))
    monkeypatch.setattr(stores, "BLOCK_ROWS", 100)
    for since, until in ((0, EVER), (FIRST + HOUR, FIRST + DAY), (FIRST + 71 * HOUR, FIRST + 80 * HOUR)):
        for usage_point in (None, point(2), "up-nobody"):
            paged = [
                (one.usage_point, one.channel, *row)
                for one in stored.page(since, until, None, None, usage_point).series
                for row in zip(*(column.tolist() for column in one.columns()[:5]), strict=True)
            ]
            blocks = list(stored.visible(since, until, usage_point))
            names = ("point", "channel", "end_at", "register", "quality", "origin", "version")
            found = [
                (stored.words.texts[row[0]], *row[1:])
                for block in blocks
                for row in block[list(names)].tolist()
            ]
            assert sorted(found) == sorted(paged)
            assert bool(found) == (usage_point != "up-nobody")
    assert len(list(stored.visible(0, EVER))) == 4


@pytest.mark.parametrize("whole", [False, True])
async def test_blocks_leave_out_nothing_that_lies_in_a_damaged_file(
    stored: Mdms, tmp_path: Path, whole: bool
) -> None:
    one = stored.segments()[0]
    path = tmp_path / "measurements" / "segments" / one.path
    content = bytearray(path.read_bytes())
    for at in range(0, len(content), 40) if whole else [40]:
        content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(stored.visible(0, EVER))
    assert caught.value.code == "mdms.segment-damaged"
    assert one.path in caught.value.message


def test_of_a_version_that_is_there_twice_a_block_shows_the_one_committed_first() -> None:
    rows, words = np.zeros(5, ROW), Words()
    rows["point"] = words.code("up-1")
    rows["end_at"], rows["version"] = [2, 1, 1, 1, 1], [0, 1, 0, 1, 0]
    rows["batch"], rows["register"] = [9, 8, 7, 6, 5], [20, 18, 17, 16, 15]
    assert visible_of_many(rows, words)["register"].tolist() == visible(rows)["register"].tolist() == [16, 20]
    assert visible_of_many(rows[1:3], words)["register"].tolist() == [18]
    assert not len(visible_of_many(rows[:0], words))


def test_a_citys_channels_are_sorted_once_for_all_pages() -> None:
    words, sortings = Words(), 0

    class Counted(Order):
        def _named(self, number: int) -> tuple[str, int]:
            nonlocal sortings
            sortings += 1
            return super()._named(number)

    names = [f"up-{number * 7919 % 1000:04d}" for number in range(1000)]
    numbers = np.array(sorted(words.code(name) << CHANNELS | 1 for name in names))
    order = Counted(words)
    assert [name for name, _ in order.after(numbers, None)] == sorted(names)
    sortings = 0
    assert next(order.after(numbers, ("up-0499", 1))) == ("up-0500", 1)
    assert sortings < 20
    assert list(order.after(numbers, ("up-0999", 1))) == []
    more = np.append(numbers, words.code("up-0499a") << CHANNELS | 1)
    assert next(order.after(more, ("up-0499", 1))) == ("up-0499a", 1)


async def test_every_format_says_what_the_store_shows(stored: Mdms) -> None:
    series = [one for found in all_pages(stored, 0, EVER) for one in found.series]
    shown = {
        (usage_point, channel, int(at)): int(register)
        for usage_point, channel in stored.channels()
        for readings in [stored.readings(usage_point, channel, 0, EVER)]
        for at, register in zip(readings.end_at, readings.register, strict=True)
    }
    assert len(shown) == 4 * 3 * 24
    exact = {key: Decimal(value).scaleb(-2) for key, value in shown.items()}

    lines = lines_of(series)
    assert {
        (line["usage_point"], int(line["channel"]), _milliseconds(line["end_at"])): Decimal(line["value"])
        for line in lines
    } == exact
    assert len(lines) == len(exact)

    for write, read in ((write_arrow, read_ipc_stream), (write_parquet_file, read_parquet)):
        out = io.BytesIO()
        assert write(series, out) == len(exact)
        table = read(io.BytesIO(out.getvalue())).read_all()
        columns = [
            table.column(name).to_pylist() for name in ("usage_point", "channel", "end_at", "register")
        ]
        assert {
            (usage_point, channel, round(at.timestamp() * 1000)): register
            for usage_point, channel, at, register in zip(*columns, strict=True)
        } == shown

    values = [Decimal(element.text or "") for element in tree_of(series).findall(named("value"))]
    assert sorted(values) == sorted(exact.values())


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def test_pages_of_any_size_join_to_the_whole_without_a_repeat(
    stored: Mdms, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stored.page(0, EVER).series
    monkeypatch.setattr(exporting, "LARGEST_PAGE", 1)
    pages = list(all_pages(stored, 0, EVER))
    assert len(pages) > 4
    assert [one for found in pages for one in found.series] == list(whole)


async def test_a_period_is_half_open_and_one_usage_point_is_only_itself(stored: Mdms) -> None:
    found = stored.page(FIRST + HOUR, FIRST + 3 * HOUR, usage_point=point(2)).series
    assert {one.usage_point for one in found} == {point(2)}
    for series in found:
        times = series.columns().end_at.tolist()
        assert times == [at for at in times if FIRST + HOUR <= at < FIRST + 3 * HOUR]
    assert [FIRST + HOUR, FIRST + 2 * HOUR] in [one.columns().end_at.tolist() for one in found]


class ChangedUnit:
    """A meter that counted in kWh was exchanged for one that counts in MWh."""

    def __init__(self) -> None:
        self.words = Words()
        self.words.medium[self.words.code("up-1")] = "heat"

    def rows(self, key: Key, since: int, until: int) -> Rows:
        rows = np.zeros(4, ROW)
        rows["point"], rows["channel"] = key
        rows["end_at"] = [FIRST, FIRST + HOUR, FIRST + 2 * HOUR, FIRST + 3 * HOUR]
        rows["register"] = [100, 110, 7, 8]
        rows["unit"] = [self.words.code("kWh")] * 2 + [self.words.code("MWh")] * 2
        rows["exponent"] = [-2, -2, -3, -3]
        rows["batch"] = 1
        return rows


def test_a_change_of_unit_ends_a_series_and_begins_another() -> None:
    found = page(ChangedUnit(), [("up-1", MAIN)], 0, EVER, None, Since(0, 9)).series
    assert [(one.unit, one.exponent, one.columns().register.tolist()) for one in found] == [
        ("kWh", -2, [100, 110]),
        ("MWh", -3, [7, 8]),
    ]
    assert [line["value"] for line in lines_of(list(found))] == ["1.00", "1.10", "0.007", "0.008"]


def test_a_missing_register_has_no_value_in_any_format() -> None:
    series = [one([100, None, 102])]
    assert [line["value"] for line in lines_of(series)] == ["1.00", "", "1.02"]
    out = io.BytesIO()
    write_parquet_file(series, out)
    assert read_parquet(io.BytesIO(out.getvalue())).read_all().column("register").to_pylist() == [
        100,
        None,
        102,
    ]
    readings = tree_of(series).findall(named("Readings"))
    assert [reading.find(f"{{{NAMESPACE}}}value") is not None for reading in readings] == [True, False, True]


def test_an_estimate_says_how_far_it_may_be_off_and_nothing_else_does() -> None:
    whole = one([100, 117, 130, 140])
    values = {name: getattr(whole, name) for name in whole.__struct_fields__}
    methods = ("", "like-day/2:gap/2~24", "undo/3:linear/2:gap/2~7", "edit/4")
    series = [Exported(**values | {"methods": methods, "method": np.arange(4, dtype="<i2").tobytes()})]
    assert [line["uncertainty"] for line in lines_of(series)] == ["", "0.24", "0.07", ""]
    out = io.BytesIO()
    write_parquet_file(series, out)
    table = read_parquet(io.BytesIO(out.getvalue())).read_all()
    assert table.column("uncertainty").to_pylist() == [None, 24, 7, None]


@pytest.mark.parametrize(
    ("quality", "code"),
    [
        (Quality.MEASURED, "3.0.0"),
        (Quality.ESTIMATED, "3.8.0"),
        (Quality.EDITED, "3.7.0"),
        (Quality.MISSING, "3.5.259"),
        (Quality.SUSPECT, "3.5.258"),
    ],
)
def test_reading_quality_codes(quality: Quality, code: str) -> None:
    series = [with_quality(quality)]
    (said,) = tree_of(series).findall(named("ReadingQualityType"))
    assert said.attrib == {"ref": code}
    assert lines_of(series)[0]["reading_quality"] == code
    out = io.BytesIO()
    write_arrow(series, out)
    table = read_ipc_stream(io.BytesIO(out.getvalue())).read_all()
    assert table.column("reading_quality").to_pylist() == [code]
    comments = [element.text for element in tree_of(series).findall(named("comment"))]
    assert comments == (["linear/1:gap/1"] if quality == Quality.ESTIMATED else [])


@pytest.mark.parametrize(
    ("medium", "unit", "code"),
    [
        ("electricity", "kWh", "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0"),
        ("water", "m3", "0.0.0.1.1.9.58.0.0.0.0.0.0.0.0.0.42.0"),
        ("gas", "m³", "0.0.0.1.1.7.58.0.0.0.0.0.0.0.0.0.42.0"),
        ("heat", "GJ", "0.0.0.1.1.12.12.0.0.0.0.0.0.0.0.9.31.0"),
    ],
)
def test_reading_types(medium: Medium, unit: str, code: str) -> None:
    assert reading_type(medium, MAIN, unit) == code
    kinds = tree_of([one([1], medium=medium, unit=unit)]).findall(named("ReadingType"))
    assert [kind.attrib["ref"] for kind in kinds] == [code]


def test_a_unit_that_cim_has_no_code_for_here_is_refused_and_named() -> None:
    with pytest.raises(DataError, match="kvarh") as refused:
        tree_of([one([1], medium="electricity", unit="kvarh")])
    assert refused.value.code == "export.unit"


def test_elements_stand_in_the_order_of_the_profile() -> None:
    (reading,) = tree_of([with_quality(Quality.ESTIMATED)])
    assert [child.tag.partition("}")[2] for child in reading] == ["Readings", "UsagePoint"]
    assert [child.tag.partition("}")[2] for child in reading[0]] == [
        "timeStamp",
        "value",
        "ReadingQualities",
        "ReadingType",
    ]
    assert [child.tag.partition("}")[2] for child in reading[0][2]] == ["comment", "ReadingQualityType"]


def test_what_a_word_says_stays_text_in_xml() -> None:
    hostile = Exported(
        **{
            name: getattr(one([1]), name)
            for name in one([1]).__struct_fields__
            if name not in ("usage_point", "methods")
        },
        usage_point="up-<&>\"'",
        methods=("</comment><evil/>",),
    )
    tree = tree_of([hostile])
    assert [element.text for element in tree.findall(named("mRID"))] == ["up-<&>\"'"]
    assert [element.text for element in tree.findall(named("comment"))] == ["</comment><evil/>"]
    assert not tree.findall(named("evil"))


def test_attack_characters_that_xml_has_none_of_do_not_end_the_document() -> None:
    series = one([1])
    values = {name: getattr(series, name) for name in series.__struct_fields__}
    hostile = Exported(**values | {"usage_point": "up\x001", "methods": ("a\x1bb\ufffec\td𠮷",)})
    tree = tree_of([hostile])
    assert [element.text for element in tree.findall(named("mRID"))] == ["up\ufffd1"]
    assert [element.text for element in tree.findall(named("comment"))] == ["a\ufffdb\ufffdc\td𠮷"]


class FullDisk(io.BytesIO):
    def write(self, content: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("write", [write_parquet_file, write_arrow])
def test_a_full_disk_is_the_disks_own_error_and_nothing_is_printed(
    write: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OSError, match="No space left"):
        write([one(list(range(1000)))] * 3, FullDisk())
    assert capfd.readouterr().err == ""


def test_a_file_is_placed_whole_and_over_nobody_elses(tmp_path: Path) -> None:
    out, beside = tmp_path / "out.csv", tmp_path / "out.csv.new"
    beside.write_text("somebody's own")
    with cli_export._whole(out, force=False) as file:
        file.write(b"1")
        assert not out.exists()
    assert (out.read_bytes(), out.stat().st_mode & 0o777) == (b"1", 0o600)
    late = tmp_path / "late.csv"
    writing = cli_export._whole(late, force=False)
    writing.__enter__().write(b"2")
    late.write_text("came meanwhile")
    with pytest.raises(LocalError) as refused:
        writing.__exit__(None, None, None)
    assert (refused.value.code, late.read_text()) == ("use.file-exists", "came meanwhile")
    with cli_export._whole(late, force=True) as file:
        file.write(b"3")
    assert late.read_bytes() == b"3"
    with pytest.raises(LocalError) as refused, cli_export._whole(tmp_path / ("x" * 300), force=False):
        pass
    assert refused.value.code == "use.file"
    assert {path.name for path in tmp_path.iterdir()} == {"out.csv", "out.csv.new", "late.csv"}
    assert beside.read_text() == "somebody's own"


@pytest.mark.parametrize("why", [errno.EACCES, errno.EINVAL, errno.EIO])
def test_a_file_that_stands_is_not_said_to_fail_where_its_directory_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    """A drop box may be written to and not opened; some disks sync no directory. A disk that fails is said."""

    def fails(_: Path) -> None:
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(cli_export, "sync_directory", fails)
    expected = pytest.raises(LocalError) if why == errno.EIO else contextlib.nullcontext()
    with expected, cli_export._whole(tmp_path / "out.csv", force=False) as file:
        file.write(b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_nothing_to_export_is_a_whole_empty_document() -> None:
    assert lines_of([]) == []
    assert list(tree_of([])) == []
    out = io.BytesIO()
    assert write_parquet_file([], out) == 0
    assert read_parquet(io.BytesIO(out.getvalue())).read_all().num_rows == 0


async def test_what_leaves_is_the_register_as_it_was_before_with_its_multiplier_beside_it(
    stored: Mdms,
) -> None:
    def parts(of: int) -> list[Exported]:
        page = stored.page(FIRST, FIRST + 4 * DAY, usage_point=point(of))
        return [one for one in page.series if one.channel == MAIN]

    before = parts(3)
    assert {one.multiplier for one in before} == {""}
    plain = {name: written(before, name) for name in ("csv", "arrow", "parquet", "cim")}
    turn = FIRST + DAY + HOUR // 2
    await stored.state(
        [
            Fact(usage_point=point(3), kind="multiplier", value="2000/5", until=turn),
            Fact(usage_point=point(3), kind="multiplier", value="0.5", since=turn),
        ],
        FIRST,
    )
    first, second = parts(3)
    assert (first.multiplier, second.multiplier) == ("400", "0.5")
    # The reading that ends the interval in which it changes is told the later one: the turn lies before its end.
    assert int(first.columns().end_at[-1]) == FIRST + DAY
    joined = np.concatenate([one.columns().register for one in (first, second)])
    np.testing.assert_array_equal(joined, np.concatenate([one.columns().register for one in before]))
    out = io.BytesIO()
    write_csv([first, second], out, ZONE, multiplied=True)
    rows = list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))
    assert [row.pop("multiplier") for row in rows] == ["400"] * 24 + ["0.5"] * 48
    assert rows == list(csv.DictReader(io.StringIO(plain["csv"].decode(), newline="")))
    for write, read in ((write_arrow, read_ipc_stream), (write_parquet_file, read_parquet)):
        out = io.BytesIO()
        write([first, second], out, multiplied=True)
        table = read(io.BytesIO(out.getvalue())).read_all()
        assert table.column("multiplier").to_pylist() == ["400"] * 24 + ["0.5"] * 48
    root = tree_of([first, second])
    comments = [one.text or "" for one in root.findall(named("comment"))]
    assert [one for one in comments if "multiplier" in one] == ["multiplier 400"] * 24 + [
        "multiplier 0.5"
    ] * 48
    kinds = {one.attrib["ref"].split(".")[15:17][0] for one in root.findall(named("ReadingType"))}
    assert kinds == {"3"}, "the power of ten before Wh, as before"
    assert {one.multiplier for one in parts(1)} == {"1"}
    assert stored.page(FIRST, FIRST + DAY).multiplied


def written(series: list[Exported], format: str) -> bytes:
    out = io.BytesIO()
    if format == "csv":
        write_csv(series, out, ZONE)
    elif format == "cim":
        write_cim(series, out, ZONE)
    else:
        (write_arrow if format == "arrow" else write_parquet_file)(series, out)
    return out.getvalue()


def test_a_file_begun_without_multipliers_does_not_go_on_with_them() -> None:
    first = Page(series=(), after=("up-1", 1), readings=0, through=1)
    then = Page(series=(one([5]),), after=None, readings=1, through=1, multiplied=True)
    assert of_one_kind(first, first) == ()
    with pytest.raises(DataError) as caught:
        of_one_kind(then, first)
    assert caught.value.code == "export.multiplier"
