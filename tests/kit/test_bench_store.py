"""What the benchmark of the store times is the real work: every reading durable, and given back as it came."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from meterseal.errors import EngineError
from meterseal.kit.bench.store import A_DAY, AT_REST, BATCH, YEAR, Ground, chunks_of
from meterseal.mdms.store.packing import Unpacker


def decode_rows(content: bytes) -> int:
    """Rows in an opened chunk: the length of its third column."""
    columns = Unpacker(zlib.decompress(content))
    return [len(columns.next()) for _ in range(3)][2]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = Ground(tmp_path_factory.mktemp("store"), 2 * YEAR * A_DAY)
    yield made
    made.close()


def test_every_reading_is_in_segments_in_few_bytes_and_comes_back(ground: Ground, tmp_path: Path) -> None:
    bytes_, rows = ground.at_rest()
    assert rows == 2 * YEAR * A_DAY
    assert bytes_ < AT_REST * rows
    assert ground.year(0) == ground.year(1) == YEAR * A_DAY
    assert ground.mdms.counts().readings == rows
    ((keys, columns),) = ground.mdms.scan("electricity", 0, 1 << 60)
    assert len(keys) == 2
    assert (np.diff(columns.register[: YEAR * A_DAY]) >= 0).all()


def test_a_year_that_came_back_otherwise_fails_the_run(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = ground._registers.copy()
    changed[1, 17] += 1
    monkeypatch.setattr(ground, "_registers", changed)
    with pytest.raises(EngineError) as caught:
        ground.year(1)
    assert caught.value.code == "bench.store"


def test_readings_come_in_batches_of_exactly_so_many_and_none_twice(tmp_path: Path) -> None:
    ground = Ground(tmp_path, YEAR * A_DAY)
    before = ground.at_rest()[1]
    bulks = list(ground.bulks(2 * BATCH + 17))
    assert [len(bulk.point) for bulk in bulks] == [BATCH, BATCH, 17]
    assert ground.take(iter(bulks)) == 2 * BATCH + 17
    counts = ground.mdms.counts()
    assert (counts.readings, counts.conflicts, counts.repeated_readings) == (before + 2 * BATCH + 17, 0, 0)
    assert ground.at_rest()[1] == counts.readings
    ground.close()


def test_the_bound_of_a_year_opens_every_chunk_of_it(ground: Ground) -> None:
    chunks = chunks_of(ground, 1)
    keys = ground.keys()
    opened = [
        decode_rows(keys.open(one.path.read_bytes()[one.offset : one.offset + one.size], one.where, 1))
        for one in chunks
    ]
    assert sum(opened) >= YEAR * A_DAY
    assert len(chunks) == len({(one.path, one.offset) for one in chunks})
