"""Every registered benchmark: its object, its arithmetic, and that the work on the clock is really done.

No figure is judged here; a busy machine must not fail a test.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterseal.errors import EngineError, LocalError
from meterseal.kit.bench import decode, forecast, page, registry, store
from meterseal.kit.bench.registry import BENCHMARKS
from meterseal.kit.bench.report import facts, result, table
from meterseal.kit.bench.timing import Case, Cost, Limit, Measured, Primitive, Watch, measure

ALWAYS = {"name", "rate", "unit", "cores", "cpu_s_per_million"}
MAYBE = {"limit", "limit_name", "ratio", "peak_mb"}
SHORT = 0.01
OVER_READINGS = {"vee", "ingest-store"}


@pytest.fixture(scope="module")
def reports() -> Iterator[Callable[[str], registry.Run]]:
    """Small slices of the work: the same is done, and no figure of it is looked at."""
    done: dict[str, registry.Run] = {}

    def of(name: str) -> registry.Run:
        if name not in done:
            done[name] = registry.run(name, SHORT, 40_000 if name in OVER_READINGS else None)
        return done[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SLICE", 50_000)
        patch.setattr(forecast, "AT_ONCE", 100)
        yield of


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_prints_the_object_of_design_section_7(
    name: str, reports: Callable[[str], registry.Run]
) -> None:
    printed: dict[str, Any] = json.loads(msgspec.json.encode(reports(name).report))
    assert set(printed) == {"bench", "machine", "seconds", "results"}
    assert printed["bench"] == name
    assert printed["results"]
    for row in printed["results"]:
        assert ALWAYS <= set(row) <= ALWAYS | MAYBE
        assert row["rate"] > 0
        assert row["cpu_s_per_million"] > 0
        assert row["cores"] == 1
        assert ("limit" in row) == ("limit_name" in row) == ("ratio" in row)
        if "limit" in row:
            assert row["ratio"] == pytest.approx(row["rate"] / row["limit"], rel=1e-2, abs=1e-4)
    names = [row["name"] for row in printed["results"]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_report_names_the_processor_and_no_host_or_path(
    name: str, reports: Callable[[str], registry.Run]
) -> None:
    report = reports(name).report
    printed = msgspec.json.encode(report).decode()
    assert report.machine.cpu
    assert report.machine.libcrypto.startswith("OpenSSL")
    assert platform.node() not in printed
    assert str(Path.home()) not in printed
    assert str(Path(__file__).parents[2]) not in printed


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_table_shows_every_row(name: str, reports: Callable[[str], registry.Run]) -> None:
    run = reports(name)
    lines = table(run.report, run.measured)
    for row in run.report.results:
        assert sum(line.startswith(f"| {row.name} ") for line in lines) == 1
    assert len({len(line) for line in lines if line.startswith("|")}) == 1
    assert run.report.machine.cpu in facts(run.report)


def _measured(costs: list[float], limits: list[float]) -> Measured:
    limit = Limit("bare", ()) if limits else None
    case = Case(name="row", unit="things", work=lambda watch: 1, limit=limit)
    return Measured(
        case=case,
        costs=tuple(Cost(one, 10 * one) for one in costs),
        limits=tuple(Cost(one, 10 * one) for one in limits),
        peak_mb=1.0,
    )


def test_a_row_tells_the_best_slice_and_its_cpu_seconds_the_middle_one() -> None:
    measured = _measured([0.004, 0.002, 0.003], [0.0015, 0.001, 0.002])
    row = result(measured)
    assert (row.rate, row.limit, row.ratio) == (500, 1000, 0.5)
    assert row.cpu_s_per_million == 3000
    assert measured.median_rate == pytest.approx(1 / 0.003)


def test_a_row_of_the_wall_clock_is_measured_by_it() -> None:
    measured = _measured([0.002], [0.001])
    case = msgspec.structs.replace(measured.case, clock="wall")
    row = result(msgspec.structs.replace(measured, case=case))
    assert (row.rate, row.limit) == (50, 100)
    assert row.cpu_s_per_million == 2000


def test_a_row_without_a_bound_says_nothing_of_one() -> None:
    printed = msgspec.to_builtins(result(_measured([0.002], [])))
    assert MAYBE & set(printed) == {"peak_mb"}


def test_only_what_stands_under_the_watch_is_measured() -> None:
    watch = Watch()
    with watch:
        pass
    inside = watch.cpu
    sum(range(300_000))
    assert watch.cpu == inside
    with watch:
        sum(range(300_000))
    assert watch.cpu > inside
    assert watch.by("wall") == watch.wall > 0


def test_a_bound_does_each_of_its_parts_and_takes_turns_with_its_row() -> None:
    order: list[tuple[str, int]] = []

    def bare(name: str) -> Primitive:
        def run(times: int) -> None:
            order.append((name, times))
            sum(range(2_000 * times))

        return Primitive(name, run)

    def work(watch: Watch) -> int:
        order.append(("row", 1))
        with watch:
            sum(range(200_000))
        return 1

    limit = Limit("both", ((2, bare("one")), (3, bare("other"))))
    case = Case(name="row", unit="things", work=work, limit=limit)
    (measured,) = measure([case], 1.0)
    names = [name for name, _ in order]
    assert len(measured.costs) == len(measured.limits) == names.count("row") - 1 >= 7
    assert set(order) == {("row", 1), ("one", 2), ("other", 3)}
    assert order.count(("one", 2)) == order.count(("other", 3))
    assert "rowone" in "".join(names)
    assert "otherrow" in "".join(names)


def test_a_bound_of_many_units_is_shared_among_them() -> None:
    def work(watch: Watch) -> int:
        with watch:
            sum(range(20_000))
        return 1

    def rate(units: int) -> float:
        def run(times: int) -> None:
            sum(range(20_000))

        bare = Primitive("bare", run)
        limit = Limit("bare", ((1, bare),), units)
        (measured,) = measure([Case(name="row", unit="things", work=work, limit=limit)], 0.1)
        assert measured.limit is not None
        return measured.limit

    assert rate(1000) > 100 * rate(1)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 3601.0, float("nan")])
def test_seconds_that_nobody_can_measure_are_refused(seconds: float) -> None:
    with pytest.raises(LocalError) as refused:
        measure([], seconds)
    assert refused.value.code == "use.seconds"


def test_a_benchmark_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(LocalError) as refused:
        registry.run("vibes", SHORT)
    assert refused.value.code == "use.benchmark"
    assert all(name in refused.value.message for name in BENCHMARKS)


def test_decoding_outside_the_repository_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(decode, "VECTORS", tmp_path / "frames.jsonl")
    with pytest.raises(LocalError) as refused:
        decode.cases(ExitStack(), SHORT)
    assert refused.value.code == "use.vectors"


def test_a_slice_of_decoding_answers_every_whole_frame_of_the_vectors() -> None:
    lines = decode.VECTORS.read_text(encoding="utf-8").splitlines()
    whole = sum(json.loads(line)["expect"].get("valid", False) for line in lines)
    assert whole > 50
    for case in decode.cases(ExitStack(), SHORT):
        assert case.work(Watch()) >= whole


def test_a_page_changes_between_its_marks_alone(
    tmp_path: Path, reports: Callable[[str], registry.Run]
) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", encoding="utf-8")
    run = reports("decode")
    page.write(file, [run])
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{page.BEGIN}\n")
    assert text.endswith(f"{page.END}\nafter\n")
    assert "old" not in text
    assert all(line in text for line in table(run.report, run.measured))
    page.write(file, [reports("seal")])
    both = file.read_text(encoding="utf-8")
    assert both.index("## seal") < both.index("## decode")
    assert all(line in both for line in table(run.report, run.measured))
    page.write(file, [run])
    assert file.read_text(encoding="utf-8") == both


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("words", encoding="utf-8")
    with pytest.raises(LocalError) as refused:
        page.write(file, [])
    assert refused.value.code == "use.page"
    assert file.read_text(encoding="utf-8") == "words"


def test_a_failure_of_the_library_is_not_measured_as_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    from meterseal.crypto import sm2
    from meterseal.kit.bench import primitives

    monkeypatch.setattr(sm2, "verify", lambda *_: False)
    (row,) = [one for one in primitives.cases(ExitStack(), SHORT) if one.name == "SM2 verify"]
    with pytest.raises(EngineError) as refused:
        row.work(Watch())
    assert refused.value.code == "bench.verify"
