"""Segments as files: what a start opens, how small ones become large ones, and what the first format leaves behind."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa
from arro3.core import Array, DataType, Table
from arro3.io import write_parquet

from meterseal.control import write
from meterseal.control.tables import segments
from meterseal.crypto.symmetric import sm3
from meterseal.errors import DataError
from meterseal.mdms.store import compact as compactor
from meterseal.mdms.store.manifest import Checkpoint, Manifest
from meterseal.mdms.store.recent import Part
from meterseal.mdms.store.rows import ROW, Rows, Words, hash_of, sort_rows, visible
from meterseal.mdms.store.segments import Bucket, Segment, SegmentFile
from meterseal.mdms.store.store import Store
from meterseal.model import MAIN, Batch, Quality
from meterseal.places import place
from tests.control_store import control_at
from tests.mdms.fleet import DAY, FIRST, HOUR, batches, days, keys, open_store, point, register

EVER = 1 << 60


class Ground:
    """A store with its manifest, without judges and without a journal."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        (root / "segments").mkdir(exist_ok=True)
        self.root = root
        self.engine = control_at(root / "control.db")
        self.manifest = Manifest(self.engine, keys())
        self.sequence, _, found = self.manifest.open()
        self.store = Store(root / "segments", keys(), Words())
        compactor.sweep(self.store, found)
        self.store.load(compactor.convert(self.store, self.manifest, found))

    def add(self, rows: Rows) -> None:
        self.sequence += 1
        rows["batch"] = self.sequence
        for one in np.unique(rows["point"]).tolist():
            self.store.words.medium[one] = "electricity"
        order = np.lexsort((rows["version"], rows["end_at"], rows["channel"], rows["point"]))
        self.store.recent.add_part(Part(rows[order]))

    def compact(self) -> None:
        compactor.compact(self.store, self.manifest, Checkpoint(self.sequence, {}, {}, 0))

    def all(self) -> Rows:
        return visible(np.concatenate([self.store.rows(key, 0, EVER) for key in self.store.keys_stored()]))

    def listed(self) -> list[Segment]:
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(segments)).mappings().all()
        return [Segment(**row) for row in rows]


def readings(store: Store, points: range, first: int, count: int, seed: int = 0) -> Rows:
    """Readings of every quarter of an hour from the given one on, in the order of time."""
    dice = np.random.default_rng(seed)
    codes = np.array([store.words.code(point(number)) for number in points])
    rows = np.zeros(len(codes) * count, ROW)
    rows["point"] = np.tile(codes, count)
    rows["channel"] = MAIN
    rows["version"] = 1
    rows["end_at"] = FIRST + 900_000 * (first + np.repeat(np.arange(count), len(codes)))
    rows["register"] = dice.integers(0, 1 << 40, len(rows))
    rows["exponent"], rows["profile"] = -2, True
    rows["unit"] = store.words.code("kWh")
    rows["recorded_at"] = rows["end_at"] + 5
    return rows


def files_opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Segments, each time that the file of one is opened from now on."""
    opened: list[str] = []
    init = SegmentFile.__init__

    def counting(self: SegmentFile, directory: Path, segment: Segment, ring: Any) -> None:
        opened.append(segment.id)
        init(self, directory, segment, ring)

    monkeypatch.setattr(SegmentFile, "__init__", counting)
    return opened


def test_a_start_opens_no_segment_and_a_question_only_those_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = Ground(tmp_path / "s")
    ground.add(readings(ground.store, range(3), 0, 90 * 96))
    ground.compact()
    opened = files_opened(monkeypatch)
    again = Ground(tmp_path / "s")
    assert opened == []
    assert len(again.listed()) == 4
    found = again.store.readings(point(1), MAIN, FIRST + 50 * DAY, FIRST + 50 * DAY + HOUR, None)
    assert len(found.end_at) == 5
    assert len(set(opened)) == 1
    assert len(again.store.readings(point(99), MAIN, 0, EVER, None).end_at) == 0
    assert again.store.newest().keys() == {again.store.words.known(point(number)) for number in range(3)}
    assert {at for at, _ in again.store.newest().values()} == {FIRST + 900_000 * (90 * 96 - 1)}


def test_small_segments_become_large_ones_in_buckets_and_every_version_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compactor, "FULL_ROWS", 3_000)
    monkeypatch.setattr(compactor, "_BLOCK", 700)
    ground = Ground(tmp_path / "s")
    dice = random.Random(5)
    all_: list[Rows] = []
    for flush in range(24):
        rows = readings(ground.store, range(40), dice.randrange(0, 20), 12, flush)
        rows["version"] = flush + 1
        all_.append(rows)
        ground.add(rows)
        ground.compact()
        compactor.merge(ground.store, ground.manifest)
        assert len(ground.listed()) < 14
    listed = ground.listed()
    assert {path.name for path in (tmp_path / "s" / "segments").iterdir()} == {one.path for one in listed}
    assert max(one.bucket.of for one in listed if one.bucket) >= 2
    assert all(one.rows <= 2 * 3_000 for one in listed)
    expected = np.concatenate(all_)
    names = ["point", "end_at", "version", "register"]

    def content(rows: Rows) -> list[Any]:
        return sorted(rows[names].tolist())

    for store in (ground.store, Ground(tmp_path / "s").store):
        found = np.concatenate([store.rows(key, 0, EVER) for key in store.keys_stored()])
        texts = [store.words.texts[code] for code in found["point"].tolist()]
        found["point"] = [ground.store.words.code(text) for text in texts]
        assert content(found) == content(expected)
    for one in listed:
        assert one.bucket is not None
        for key in ground.store.keys_stored():
            text = ground.store.words.texts[key.point]
            if not one.bucket.holds(ground.store.words.hash(key.point)):
                assert text not in (one.first_usage_point, one.last_usage_point)


def test_a_usage_points_month_lies_in_one_segment_once_the_next_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compactor, "FULL_ROWS", 2_000)
    ground = Ground(tmp_path / "s")

    def holding(day: int, number: int) -> int:
        at = FIRST + day * DAY
        hashed = hash_of(point(number))
        return len(ground.store.catalogue.holding("electricity", hashed, at, at + DAY))

    written = []
    for day in range(35):
        rows = readings(ground.store, range(20), 96 * day, 96, day)
        ground.add(rows)
        ground.compact()
        compactor.merge(ground.store, ground.manifest)
        written.append(len(rows))
        # of each size fewer than FAN, and sizes grow by FAN
        assert max(holding(day, number) for number in range(20)) <= 3 * 4
    assert {holding(day, number) for day in (2, 10, 20) for number in range(20)} == {1}
    assert max(one.bucket.of for one in ground.listed() if one.bucket) >= 16
    assert ground.store.written < 5 * sum(one.size for one in ground.listed())
    assert len(ground.all()) == sum(written)
    # a reading that comes late for a month that is over makes nobody write all of it again
    before = ground.store.written
    late = readings(ground.store, range(1), 96 * 5, 1, 99)
    late["version"] = 2
    ground.add(late)
    ground.compact()
    assert compactor.merge(ground.store, ground.manifest) == 0
    assert ground.store.written - before < 1000


def test_a_damaged_segment_is_left_out_of_a_merge_and_the_others_are_merged(
    tmp_path: Path,
) -> None:
    ground = Ground(tmp_path / "s")
    for flush in range(4):
        ground.add(readings(ground.store, range(2), 100 + 10 * flush, 10, flush))
        ground.compact()
    one = tmp_path / "s" / "segments" / ground.listed()[0].path
    content = one.read_bytes()
    one.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    assert compactor.merge(ground.store, ground.manifest) == 0
    assert len(ground.listed()) == 4
    with pytest.raises(DataError, match="segment"):
        ground.all()
    one.write_bytes(content)
    assert compactor.merge(ground.store, ground.manifest) == 4
    assert len(ground.all()) == 80


def test_a_file_of_an_earlier_attempt_does_not_open_as_a_later_one(tmp_path: Path) -> None:
    ground = Ground(tmp_path / "s")
    ground.add(readings(ground.store, range(2), 0, 10))
    ground.compact()
    (first,) = ground.listed()
    rows = sort_rows(ground.all(), ground.store.words)
    other = compactor._write(ground.store, ground.manifest, "electricity", 202610, Bucket(), 1, [rows])
    assert other[0].path != first.path
    folder = tmp_path / "s" / "segments"
    (folder / first.path).write_bytes((folder / other[0].path).read_bytes())
    with pytest.raises(DataError), SegmentFile(folder, first, keys()) as file:
        file.index(Words())


def first_format(rows: Rows, words: Words) -> bytes:
    """The Parquet bytes of a segment as they were written before there were chunks."""
    columns: dict[str, Any] = {}
    for name in ROW.names or ():
        values = rows[name].copy()
        if values.dtype == np.bool_:
            values = values.view(np.int8)
        if name in ("point", "unit", "method"):
            columns[name] = Array([words.texts[code] for code in values.tolist()], type=DataType.string())
        else:
            columns[name] = Array(values)
    out = BytesIO()
    write_parquet(Table.from_pydict(columns), out, compression="zstd(3)", skip_arrow_metadata=True)
    return out.getvalue()


async def test_a_store_of_the_first_format_opens_and_is_one_of_this_format_then(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 4)
    for day in days(4, 3):
        for batch in batches(day, 4):
            await mdms.publish(batch)
    await mdms.run_vee(FIRST + 90 * DAY)
    await mdms.compact()
    counts = mdms.counts()
    store = mdms._store
    folder = tmp_path / "measurements" / "segments"
    old = []
    for number, one in enumerate(store.catalogue.segments.values()):
        wanted = [key for key in store.keys_stored() if store.words.medium[key.point] == one.medium]
        rows = sort_rows(np.concatenate([store.shelf.rows(one, key, 0, EVER) for key in wanted]), store.words)
        name = f"{one.medium}-{one.month}-{number:012d}"
        sealed = keys().seal(first_format(rows, store.words), place(one.store_id, "segment", name), 1)
        (folder / f"{name}.segment").write_bytes(sealed)
        (folder / one.path).unlink()
        old.append(
            msgspec.structs.replace(
                one, id=name, path=f"{name}.segment", size=len(sealed), digest=sm3(sealed)
            )
        )
    await mdms.close()
    with write(engine) as connection:
        connection.execute(segments.delete())
        connection.execute(segments.insert(), [msgspec.structs.asdict(one) for one in old])
    engine.dispose()
    damaged = folder / old[-1].path
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + b"\0")
    mdms, engine = open_store(tmp_path)  # one of them is damaged: the others are converted all the same
    assert {path.name for path in folder.iterdir()} & {one.path for one in old} == {damaged.name}
    await mdms.close()
    engine.dispose()
    damaged.write_bytes(content)
    mdms, engine = open_store(tmp_path)
    assert not {path.name for path in folder.iterdir()} & {one.path for one in old}
    assert mdms.counts() == counts
    for number in range(4):
        shown = mdms.registers(point(number), MAIN, 0, FIRST + 3 * DAY)
        assert shown.register.tolist() == [register(number, FIRST + hour * HOUR) for hour in range(1, 73)]
        assert set(shown.quality.tolist()) == {Quality.MEASURED}
    await mdms.publish(Batch(tuple(record for day in days(4, 3) for record in day)))
    assert mdms.counts().readings == counts.readings
    await mdms.close()
