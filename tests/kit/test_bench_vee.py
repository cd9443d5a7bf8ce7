"""What the benchmark of the rules times is the real work: over every reading once, and held against the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from meterseal.errors import EngineError, LocalError
from meterseal.kit import series
from meterseal.kit.bench import registry, vee
from meterseal.kit.bench.timing import Watch
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.judge import judge
from meterseal.mdms.vee.rules import RULES, Found

READINGS = 40_000


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> vee.Ground:
    return vee.Ground(tmp_path_factory.mktemp("vee"), READINGS)


def test_a_scan_brings_every_reading_of_every_channel_once(ground: vee.Ground) -> None:
    seen: dict[int, int] = {}
    for _, keys, columns in ground.scan():
        for key, first, last in zip(keys, columns.starts, columns.starts[1:], strict=False):
            assert key.point not in seen
            seen[key.point] = int(last - first)
    assert sum(seen.values()) == ground.readings >= READINGS
    written = {text: len(profile.end_at) for text, profile in series.repeated(188, READINGS, vee.DAYS)}
    assert {ground.store.words.texts[point]: count for point, count in seen.items()} == written


def test_the_sample_agrees_with_its_oracle(ground: vee.Ground) -> None:
    assert vee.check(ground) > 0


@pytest.mark.parametrize("fault", ["overlooks", "raises"])
def test_a_rule_that_differs_from_its_oracle_fails_the_run(
    ground: vee.Ground, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def wrong(*_: object) -> Found:
        if fault == "raises":
            raise ValueError
        return Found()

    found = next(
        one.rule
        for medium, _, columns in ground.scan()
        for one in judge(columns, Context(medium=medium)).objections
        if one.channel % 100 == 0
    )
    rules = {name: replace(rule, look=wrong) if name == found else rule for name, rule in RULES.items()}
    monkeypatch.setattr(vee, "judge", lambda columns, context: judge(columns, context, rules=rules))
    with pytest.raises(EngineError) as refused:
        vee.check(ground)
    assert refused.value.code == "bench.vee"


def test_a_scan_that_loses_a_block_fails_the_run(ground: vee.Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    def fewer() -> Iterator[object]:
        blocks = list(vee.Ground.scan(ground))
        yield from blocks[:-1]

    monkeypatch.setattr(ground, "scan", fewer)
    with pytest.raises(EngineError) as refused:
        vee.check(ground)
    assert refused.value.code == "bench.vee"


def test_every_row_counts_every_reading(ground: vee.Ground) -> None:
    both, rules = vee.cases_over(ground)[1:3]
    for case in (both, rules):
        watch = Watch()
        assert case.work(watch) == ground.readings
        assert watch.cpu > 0


def test_only_a_benchmark_over_readings_takes_their_number(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as refused:
        registry.run("decode", 0.01, 20_000)
    assert refused.value.code == "use.readings"
