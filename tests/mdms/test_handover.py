"""Deliveries to a warehouse: together they are what the store shows, and nobody can take one away unseen."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from arro3.core import Array, RecordBatch, RecordBatchReader
from arro3.io import read_parquet, write_parquet

from meterseal.errors import DataError, LocalError
from meterseal.mdms.export.handover import LOCK, MANIFEST, MULTIPLIERS, READINGS, deliver
from meterseal.mdms.export.history import as_csv, held
from meterseal.mdms.export.receiving import check
from meterseal.mdms.export.rowkeys import RowKeys
from meterseal.mdms.export.schema import SCHEMA
from meterseal.mdms.export.series import Page, Since
from meterseal.mdms.facts import Fact
from meterseal.mdms.multipliers import Multiplied, Stated, Unsaid
from meterseal.mdms.service import Mdms
from meterseal.model import MAIN, Batch, Opened, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, UNITS, batches, day_record, device, medium, open_store, point

EVER = 1 << 62
METERS = 5


def pages(mdms: Mdms) -> Callable[[Since], Iterator[Page]]:
    def ask(entries: Since) -> Iterator[Page]:
        after = None
        while True:
            page = mdms.page(0, EVER, None, after, None, entries)
            yield page
            if page.after is None:
                return
            after = page.after

    return ask


def write(mdms: Mdms, root: Path) -> None:
    store_id, sequence = mdms.position()

    def multipliers() -> bytes:
        stated, found = mdms.multipliers()
        return as_csv(held(found)) if stated else b""

    deliver(root, store_id, sequence, pages(mdms), 1, multipliers=multipliers)


async def take(mdms: Mdms, day: int) -> None:
    for batch in batches([day_record(number, day, 1 + day) for number in range(METERS)], 2):
        await mdms.publish(batch)


def told(root: Path) -> dict[tuple[str, int, int], int | None]:
    """What a receiver has after all deliveries: a later one takes the place of an earlier one."""
    found: dict[tuple[str, int, int], int | None] = {}
    for path in sorted(root.glob(f"*/{READINGS}")):
        table = read_parquet(path).read_all()
        names = ("usage_point", "channel", "end_at", "register")
        for point_, channel, at, register in zip(*(table.column(n).to_pylist() for n in names), strict=True):
            found[point_, channel, round(at.timestamp() * 1000)] = register
    return found


def shown(mdms: Mdms) -> dict[tuple[str, int, int], int | None]:
    return {
        (usage_point, channel, at): register
        for usage_point, channel in mdms.channels()
        for readings in [mdms.readings(usage_point, channel, 0, EVER)]
        for at, register in zip(readings.end_at.tolist(), readings.register.tolist(), strict=True)
    }


def late(number: int, counter: int, register: int) -> Opened:
    """A reading of an hour that is stored already, as a load profile with another value."""
    series = Series(device(number), MAIN, UNITS[medium(number)], -2, FIRST + 500 * DAY, 0, (register,))
    return Opened(
        session_id=bytes([9]) * 4 + number.to_bytes(4),
        counter=counter,
        device_id=device(number),
        module_id=bytes(8),
        suite=1,
        origin="sealed",
        received_at=FIRST + 500 * DAY,
        digest=bytes(32),
        series=(series,),
    )


@pytest.fixture
async def mdms(tmp_path: Path) -> Mdms:
    opened, _ = open_store(tmp_path / "store", METERS)
    await take(opened, 0)
    return opened


async def test_deliveries_together_are_what_the_store_shows(mdms: Mdms, tmp_path: Path) -> None:
    root = tmp_path / "out"
    write(mdms, root)
    await take(mdms, 1)
    await mdms.compact()
    await take(mdms, 2)
    write(mdms, root)
    write(mdms, root)  # nothing new is a delivery of nothing
    await mdms.publish(Batch((late(2, 1, 77),)))
    write(mdms, root)
    held = check(root)
    assert told(root) == shown(mdms)
    assert (held.deliveries, held.distinct, held.carried) == (4, METERS * 72 + 1, METERS * 72 + 1)
    counts = [json.loads((path / MANIFEST).read_text())["readings"] for path in sorted(root.glob("0*"))]
    assert counts == [METERS * 24, METERS * 48, 0, 1]


async def test_a_correction_is_told_again_and_counts_once(mdms: Mdms, tmp_path: Path) -> None:
    root = tmp_path / "out"
    for number in range(METERS):
        # The first hour of the second day is not there yet, so it is estimated, and comes late.
        far = day_record(number, 1, 2)
        first = far.series[0]
        part = Series(first.device_id, MAIN, first.unit, -2, first.start_at + HOUR, HOUR, first.registers[1:])
        opened = Opened(
            far.session_id, 2, far.device_id, far.module_id, 1, "sealed", far.received_at, far.digest, (part,)
        )
        await mdms.publish(Batch((opened,)))
    write(mdms, root)
    assert (await mdms.run_vee(FIRST + 3 * DAY)).versions == METERS
    write(mdms, root)
    for number in range(METERS):
        await mdms.publish(Batch((day_record(number, 1, 9),)))
    write(mdms, root)
    held = check(root)
    assert told(root) == shown(mdms)
    assert held.carried > held.distinct == len(shown(mdms))


async def test_a_multiplier_stated_of_the_past_reaches_who_has_the_readings_already(
    mdms: Mdms, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    await take(mdms, 0)
    write(mdms, root)
    assert not (root / "000001" / MULTIPLIERS).exists()
    turn = FIRST + 12 * HOUR
    await mdms.state([Fact(usage_point=point(3), kind="multiplier", value="2000/5", until=turn)], FIRST)
    write(mdms, root)
    first = (root / "000002" / MULTIPLIERS).read_bytes()
    assert json.loads((root / "000002" / MANIFEST).read_bytes())["readings"] == 0
    await mdms.state([Fact(usage_point=point(3), kind="multiplier", value="80", since=turn)], FIRST)
    write(mdms, root)
    at = datetime.fromtimestamp(turn / 1000, UTC).isoformat(timespec="milliseconds").encode()
    assert first.splitlines() == [
        b"usage_point,since,until,multiplier",
        f"{point(3)},,".encode() + at + b",400",
    ]
    assert (root / "000003" / MULTIPLIERS).read_bytes().splitlines()[1:] == [
        f"{point(3)},,".encode() + at + b",400",
        f"{point(3)},".encode() + at + b",,80",
    ]
    assert check(root).deliveries == 3
    for number in ("000002", "000003"):
        path = root / number / MULTIPLIERS
        content = path.read_bytes()
        path.write_bytes(content.replace(b"400", b"401"))
        with pytest.raises(DataError, match="multipliers"):
            check(root)
        path.write_bytes(content)
    (root / "000001" / MULTIPLIERS).write_bytes(first)
    with pytest.raises(DataError, match="Delivery 1 was changed"):
        check(root)
    (root / "000001" / MULTIPLIERS).unlink()
    (root / "000003" / MULTIPLIERS).unlink()
    with pytest.raises(DataError, match="multipliers"):
        check(root)


def test_time_in_which_nobody_knows_the_multiplier_is_told_as_such() -> None:
    stated = {"b": Stated((Multiplied(0, 1_000, Decimal(40)),), (Unsaid(1_000, EVER),)), "a": Stated(())}
    assert as_csv(held(stated)).splitlines()[1:] == [
        b"b,,1970-01-01T00:00:01.000+00:00,40",
        b"b,1970-01-01T00:00:01.000+00:00,,",
    ]


async def test_attack_deliveries_that_were_touched_are_found(mdms: Mdms, tmp_path: Path) -> None:
    good = tmp_path / "out"
    for day in (1, 2):
        write(mdms, good)
        await take(mdms, day)
    write(mdms, good)
    assert check(good).deliveries == 3
    second = good / "000002"

    def changed(do: Callable[[Path], object]) -> str:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(good, copy)
        do(copy)
        with pytest.raises(DataError) as found:
            check(copy)
        return found.value.code

    def edit(name: str, value: object) -> Callable[[Path], object]:
        def do(copy: Path) -> None:
            path = copy / "000002" / MANIFEST
            path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))

        return do

    content = (second / READINGS).read_bytes()
    flipped = content[:300] + bytes([content[300] ^ 1]) + content[301:]
    assert changed(lambda c: shutil.rmtree(c / "000002")) == "handover.missing"
    assert changed(lambda c: shutil.rmtree(c / "000001")) == "handover.missing"
    assert changed(lambda c: (c / "000002" / READINGS).write_bytes(flipped)) == "handover.changed"
    assert changed(lambda c: (c / "000002" / READINGS).unlink()) == "handover.missing"
    assert changed(lambda c: (c / "000002" / MANIFEST).unlink()) == "handover.missing"
    assert changed(lambda c: (c / "000002" / MANIFEST).write_bytes(b"{")) == "handover.changed"
    assert changed(lambda c: (c / "000002" / MANIFEST).write_bytes(b"[" * 70_000)) == "handover.changed"
    for name, value in {
        "readings": 1,
        "total": 1,
        "above": 0,
        "through": 99,
        "number": 3,
        "store": "st-2",
        "previous": "0" * 64,
        "sha256": "0" * 64,
        "format": "meterseal-handover/2",
    }.items():
        assert changed(edit(name, value)) in ("handover.changed", "handover.incomplete"), name


def handed_in(root: Path, content: bytes) -> None:
    """A delivery whose manifest was made to fit its file."""
    (root / "000001" / READINGS).write_bytes(content)
    path = root / "000001" / MANIFEST
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()})
    )


async def test_attack_a_delivery_whose_file_makes_the_library_panic_is_refused(
    mdms: Mdms, tmp_path: Path
) -> None:
    await take(mdms, 0)
    write(mdms, tmp_path / "d")
    good = (tmp_path / "d/000001" / READINGS).read_bytes()
    generator = random.Random(8)
    for _ in range(6):
        bad = bytearray(good)
        for _ in range(4):
            bad[-10 - generator.randrange(400)] ^= 0xFF
        handed_in(tmp_path / "d", bytes(bad))
        with pytest.raises(DataError) as refused:
            check(tmp_path / "d")
        assert refused.value.code == "handover.changed"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1",
        b"PAR1" * 100,
        b"PAR1" + bytes(4) + b"PAR1",
        b"PAR1" + b"\xff\xff\xff\x7f" + b"PAR1",
        bytes(64),
    ],
)
async def test_a_file_that_is_no_parquet_is_said_in_one_sentence_and_nothing_else_is_printed(
    mdms: Mdms, tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes
) -> None:
    write(mdms, tmp_path / "d")
    handed_in(tmp_path / "d", content)
    with pytest.raises(DataError) as refused:
        check(tmp_path / "d")
    assert (refused.value.code, "no Parquet file" in refused.value.message) == ("handover.changed", True)
    assert capfd.readouterr().err == ""


async def test_attack_a_small_file_of_very_many_readings_is_not_read_to_its_end(
    mdms: Mdms, tmp_path: Path
) -> None:
    await take(mdms, 0)
    write(mdms, tmp_path / "d")
    one = next(iter(read_parquet(tmp_path / "d/000001" / READINGS))).slice(0, 1)
    many = 300_000
    columns = [one.column(name).take(Array(np.zeros(many, np.uint64))) for name in SCHEMA.names]
    batch = RecordBatch.from_arrays(columns, schema=SCHEMA)
    out = io.BytesIO()
    write_parquet(RecordBatchReader.from_batches(batch.schema, [batch]), out, compression="zstd(3)")
    assert len(out.getvalue()) < 100_000
    handed_in(tmp_path / "d", out.getvalue())
    said = json.loads((tmp_path / "d/000001" / MANIFEST).read_text())["readings"]
    with RowKeys() as keys:
        rows = sum(len(some) for some in keys.of(tmp_path / "d/000001" / READINGS, said))
    assert said < rows < many // 10
    with pytest.raises(DataError) as refused:
        check(tmp_path / "d")
    assert refused.value.code == "handover.changed"


async def test_attack_the_last_delivery_is_taken_away_and_the_next_one_tells(
    mdms: Mdms, tmp_path: Path
) -> None:
    """What is cut off the end is seen as soon as another delivery follows from what was cut off."""
    good, cut = tmp_path / "out", tmp_path / "cut"
    write(mdms, good)
    await take(mdms, 1)
    write(mdms, good)
    await take(mdms, 2)
    write(mdms, good)
    shutil.copytree(good, cut)
    shutil.rmtree(cut / "000002")
    (cut / "000003").rename(cut / "000002")
    with pytest.raises(DataError):
        check(cut)


async def test_deliveries_of_another_store_or_of_a_later_copy_are_not_gone_on_with(
    mdms: Mdms, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    write(mdms, root)
    store_id, sequence = mdms.position()
    for other, entry in (("st-other", sequence), (store_id, sequence - 1)):
        with pytest.raises(LocalError) as refused:
            deliver(root, other, entry, pages(mdms), 1)
        assert refused.value.code == "handover.other"
    assert {path.name for path in root.iterdir()} == {"000001", LOCK}


async def test_a_delivery_that_fails_leaves_nothing_and_the_next_is_whole(mdms: Mdms, tmp_path: Path) -> None:
    root = tmp_path / "out"
    store_id, sequence = mdms.position()

    def failing(entries: Since) -> Iterator[Page]:
        yield mdms.page(0, EVER, None, None, None, entries)
        raise DataError("mdms.segment-damaged", "A file is damaged.")

    with pytest.raises(DataError, match="damaged"):
        deliver(root, store_id, sequence, failing, 1)
    assert [path.name for path in root.iterdir()] == [LOCK]
    (root / ".000001.new").mkdir()  # what a killed program leaves
    write(mdms, root)
    assert check(root).distinct == METERS * 24
    assert (root / "000001" / READINGS).stat().st_mode & 0o777 == 0o600
    assert point(1) in str(told(root))


async def test_a_file_in_the_place_of_the_directory_is_said_in_one_sentence(
    mdms: Mdms, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(LocalError, match="out cannot be written: File exists") as refused:
        write(mdms, tmp_path / "out")
    assert refused.value.code == "handover.file"
    assert (tmp_path / "out").read_text() == "mine"


def test_an_empty_directory_is_no_hand_over(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        check(tmp_path)
    assert refused.value.code == "handover.missing"
