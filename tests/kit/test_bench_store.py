"""What the benchmark of the store times is the real work: every reading durable, and given back as it came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from meterseal.errors import EngineError
from meterseal.kit.bench.store import A_DAY, AT_REST, YEAR, Ground


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
