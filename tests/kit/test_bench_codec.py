"""What the codec benchmark times is the real work: every kind both ways, the same frames for the package dlt645."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import pytest
from msgspec.structs import replace

from meterseal.errors import EngineError
from meterseal.kit.bench import codec
from meterseal.kit.bench.timing import Case, Watch
from meterseal.wire.columns import stack

WAYS = ("read one by one", "read by the column", "built one by one", "built by the column")


@pytest.fixture(scope="module")
def kinds() -> list[codec.Kind]:
    return codec.kinds(64)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, kinds: list[codec.Kind]) -> None:
    monkeypatch.setattr(codec, "kinds", lambda: kinds)


def rows() -> list[Case]:
    with ExitStack() as closing:
        return codec.cases(closing, 0.01)


@pytest.mark.usefixtures("few")
def test_each_kind_of_both_protocols_is_read_and_built_both_ways(kinds: list[codec.Kind]) -> None:
    names = [row.name for row in rows()]
    assert [f"{kind.name}, {way}" for kind in kinds for way in WAYS] == [
        name for name in names if "package" not in name
    ]
    assert [name for name in names if "package" in name] == [
        "DL/T 645 energy answers, read by the package dlt645"
    ]
    assert {kind.name[:8] for kind in kinds} == {"CJ/T 188", "DL/T 645"}
    assert all(row.limit is not None for row in rows() if "package" not in row.name)


@pytest.mark.usefixtures("few")
def test_every_row_does_its_work_under_the_watch(kinds: list[codec.Kind]) -> None:
    for row in rows():
        watch = Watch()
        assert row.work(watch) in {len(kind.frames) for kind in kinds}
        assert watch.cpu > 0
        if row.limit is not None:
            for count, part in row.limit.parts:
                part.run(count)


@pytest.mark.usefixtures("few")
def test_without_the_package_the_names_of_the_rows_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlt645", None)
    assert codec.packaged() is None
    names = [row.name for row in rows()]
    said = [name for name in names if name.endswith("(the package dlt645 is not installed)")]
    assert [name.split(" (")[0] for name in said] == [f"DL/T 645 energy answers, {way}" for way in WAYS]
    assert not any("read by the package" in name for name in names)


def test_both_read_the_same_values_from_the_same_frames(kinds: list[codec.Kind]) -> None:
    read = codec.packaged()
    assert read is not None
    energy = kinds[1]
    found = energy.read(stack(energy.frames))
    assert [round(100 * read(raw)) for raw in energy.frames] == found.value.tolist()


def test_frames_that_say_something_else_are_not_measured(
    monkeypatch: pytest.MonkeyPatch, kinds: list[codec.Kind]
) -> None:
    for kind in kinds:
        for wrong in (
            replace(kind, frames=[kind.frames[0][:-1] + b"\x17", *kind.frames[1:]]),
            replace(kind, rows=kind.rows[1:] + kind.rows[:1]),
        ):
            monkeypatch.setattr(codec, "kinds", lambda wrong=wrong: [wrong])
            with pytest.raises(EngineError) as refused:
                rows()
            assert refused.value.code == "bench.codec"
    monkeypatch.setattr(codec, "kinds", lambda: kinds[1:2])
    monkeypatch.setattr(codec, "packaged", lambda: lambda raw: 0.0)
    with pytest.raises(EngineError, match="other values"):
        rows()
