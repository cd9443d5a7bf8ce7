"""`meterseal bench` as a person runs it."""

from __future__ import annotations

from pathlib import Path

from meterseal.kit.bench.page import BEGIN, END
from meterseal.kit.bench.registry import BENCHMARKS
from tests.cli.conftest import meterseal


def test_without_a_name_it_lists_every_benchmark() -> None:
    answer = meterseal("bench")
    assert answer.status == 0
    assert [line.split()[0] for line in answer.out.splitlines()] == list(BENCHMARKS)
    listed = meterseal("bench", "--json").document
    assert [row["bench"] for row in listed["benchmarks"]] == list(BENCHMARKS)


def test_one_benchmark_prints_one_object_or_a_table_and_fills_a_page(tmp_path: Path) -> None:
    document = meterseal("bench", "seal", "--seconds", "0.01", "--json").document
    assert document["bench"] == "seal"
    names = [row["name"] for row in document["results"]]
    file = tmp_path / "page.md"
    file.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    answer = meterseal("bench", "seal", "--seconds", "0.01", "--page", file)
    assert answer.status == 0
    for name in names:
        assert f"| {name} " in answer.out
        assert f"| {name} " in file.read_text(encoding="utf-8")


def test_wrong_use_is_one_sentence_and_status_2() -> None:
    for arguments in (("bench", "vibes"), ("bench", "seal", "--seconds", "0")):
        answer = meterseal(*arguments)
        assert answer.status == 2
        answer.sentence()
    assert meterseal("bench", "vibes", "--json").error() == "use.benchmark"
