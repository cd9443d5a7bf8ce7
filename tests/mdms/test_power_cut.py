"""T17 and T18: the power goes at any step of the disk, or the disk is full at any step: nothing that was answered is
lost, nothing counts twice, and the next start, or the next try, goes on by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from meterseal.errors import EngineError
from meterseal.mdms.service import Mdms
from meterseal.mdms.store import compact as compactor
from meterseal.mdms.verifier import each
from meterseal.model import MAIN, Batch
from tests.control_store import control_at
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, install, keys, point, register
from tests.mdms.shadow_disk import PowerCut, ShadowDisk
from tests.mdms.test_store_contract import bulk_of

METERS, DAYS = 2, 5
ALIKE = (0, 4, 8)
"""Meters of one medium: what is merged goes into several buckets, in one transaction."""


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control")
    engine = control_at(folder / "control.db")
    install(engine, ALIKE[-1] + 1)
    engine.dispose()
    return folder


def open_at(root: Path, control: Path) -> tuple[Mdms, sa.Engine]:
    if not (root / "control.db").exists():
        root.mkdir(exist_ok=True)
        for path in control.iterdir():
            shutil.copy(path, root)
    engine = control_at(root / "control.db")
    return Mdms.open(root / "measurements", engine, keys(), each(lambda *_: True)), engine


def day_columns(number: int, day: int) -> list[int | None]:
    return [register(number, FIRST + day * DAY + hour * HOUR) for hour in range(1, 25)]


async def deliver(
    mdms: Mdms, answered: set[tuple[int, int]], refused: list[str], numbers: Sequence[int] = range(METERS)
) -> None:
    """Days of readings, as records and as columns by turns, with compactions and merges in between."""
    for day in range(DAYS):
        for number in numbers:
            try:
                if (day + number) % 2:
                    await mdms.append(bulk_of(number, 24 * day + 1, day_columns(number, day)))
                else:
                    await mdms.publish(Batch((day_record(number, day, day + 1),)))
                answered.add((number, day))
            except EngineError as error:
                refused.append(error.code)
        try:
            await mdms.compact()
        except EngineError as error:
            refused.append(error.code)


def check(mdms: Mdms, answered: set[tuple[int, int]]) -> None:
    for number, day in answered:
        since = FIRST + day * DAY + HOUR
        shown = mdms.registers(point(number), MAIN, since, since + 23 * HOUR)
        assert shown.register.tolist() == day_columns(number, day)
    total = sum(
        len(mdms.registers(usage_point, channel, 0, 1 << 45).end_at)
        for usage_point, channel in mdms.channels()
    )
    assert mdms.counts().readings == total
    lines = mdms.reconciled()
    assert all(one.balanced for one in lines)
    assert sum(one.stored for one in lines) == total


def ended(mdms: Mdms) -> None:
    """What is left of a process that is no more."""
    for descriptor in (mdms._lock_file, mdms._journal._descriptor):
        if descriptor is not None:
            os.close(descriptor)


def cut_at(root: Path, control: Path, step: int, kept: int, numbers: Sequence[int]) -> bool:
    """Run until the power goes at a step, and again after it came back; True when the run ended before that step."""
    mdms, engine = open_at(root, control)
    disk = ShadowDisk(root / "measurements", step, kept)
    answered: set[tuple[int, int]] = set()
    loop = asyncio.new_event_loop()
    with disk.watching(), suppress(PowerCut):
        loop.run_until_complete(deliver(mdms, answered, [], numbers))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    ended(mdms)
    engine.dispose()
    disk.cut()
    mdms, engine = open_at(root, control)
    check(mdms, answered)
    everything: set[tuple[int, int]] = set()
    asyncio.run(deliver(mdms, everything, [], numbers))
    assert len(everything) == len(numbers) * DAYS
    check(mdms, everything)
    assert mdms.counts().conflicts == 0
    asyncio.run(mdms.close())
    named = {one.path for one in mdms.segments()}
    assert {path.name for path in (root / "measurements" / "segments").iterdir()} == named
    engine.dispose()
    return not disk.gone


def every_step(
    tmp_path: Path,
    control: Path,
    stride: int,
    monkeypatch: pytest.MonkeyPatch,
    numbers: Sequence[int] = range(METERS),
) -> int:
    monkeypatch.setattr(compactor, "FAN", 2)
    dice = random.Random(17)
    step = 1 + dice.randrange(stride)
    while True:
        root = tmp_path / str(step)
        if cut_at(root, control, step, dice.choice([0, 0, 1, 100, 1 << 20]), numbers):
            return step
        shutil.rmtree(root)
        step += stride


def test_power_cut_at_some_steps_of_the_disk(
    tmp_path: Path, control: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert every_step(tmp_path, control, 13, monkeypatch) > 80


def buckets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small ones; gives the list into which every merge writes how many files it made."""
    made: list[int] = []
    split = compactor._split

    def counted(*arguments: Any) -> Any:
        found = split(*arguments)
        made.append(len(found))
        return found

    monkeypatch.setattr(compactor, "FULL_ROWS", 20)
    monkeypatch.setattr(compactor, "_split", counted)
    return made


def test_power_cut_while_segments_are_split_into_buckets(
    tmp_path: Path, control: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = buckets(monkeypatch)
    assert every_step(tmp_path, control, 31, monkeypatch, ALIKE) > 100
    assert max(made) > 1


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_power_cut_at_every_step_while_segments_are_split_into_buckets(
    tmp_path: Path, control: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets(monkeypatch)
    assert every_step(tmp_path, control, 1, monkeypatch, ALIKE) > 100


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_power_cut_at_every_step_of_the_disk(
    tmp_path: Path, control: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert every_step(tmp_path, control, 1, monkeypatch) > 80


@contextmanager
def full_from(step: int, kind: int) -> Iterator[None]:
    """From this write on the disk takes nothing more; of the first that fails it takes half."""
    done = 0
    write = os.write

    def filling(descriptor: int, content: Any) -> int:
        nonlocal done
        done += 1
        if done == step and len(content) > 1:
            return write(descriptor, content[: len(content) // 2])
        if done >= step:
            raise OSError(kind, os.strerror(kind))
        return write(descriptor, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", filling)
        yield


@contextmanager
def read_only_from(step: int) -> Iterator[list[str]]:
    """From this step on the disk can be read only, as the system makes one that failed; gives what it refused."""
    done = 0
    refused: list[str] = []

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def refusing(*arguments: Any, **named: Any) -> Any:
            nonlocal done
            if name == "open" and not arguments[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                return call(*arguments, **named)
            done += 1
            if done >= step:
                refused.append(name)
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return call(*arguments, **named)

        return refusing

    with pytest.MonkeyPatch.context() as patch:
        for name in ("open", "write", "rename", "replace", "unlink", "ftruncate", "link"):
            patch.setattr(os, name, counted(name, getattr(os, name)))
        yield refused


def test_a_disk_that_becomes_read_only_at_any_step_loses_nothing_and_goes_on_by_itself(
    tmp_path: Path, control: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compactor, "FAN", 2)
    met: set[str] = set()
    for step in range(1, 140, 9):
        root = tmp_path / str(step)
        mdms, engine = open_at(root, control)
        answered: set[tuple[int, int]] = set()
        refused: list[str] = []
        with read_only_from(step) as hit:
            asyncio.run(deliver(mdms, answered, refused))
            check(mdms, answered)
        met.update(hit[:1])
        assert set(refused) <= {"mdms.disk"}
        everything: set[tuple[int, int]] = set()
        asyncio.run(deliver(mdms, everything, again := []))
        assert again == []
        check(mdms, everything)
        assert mdms.counts().conflicts == 0
        assert asyncio.run(mdms.integrity()).good
        ended(mdms)
        engine.dispose()
        mdms, engine = open_at(root, control)
        check(mdms, everything)
        assert asyncio.run(mdms.integrity()).good
        asyncio.run(mdms.close())
        named = {one.path for one in mdms.segments()}
        assert {path.name for path in (root / "measurements" / "segments").iterdir()} == named
        engine.dispose()
        shutil.rmtree(root)
    assert met == {"open", "write", "rename", "unlink"}


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_or_read_only_answers_nothing_and_takes_it_all_when_it_may(
    tmp_path: Path, control: Path, kind: int
) -> None:
    code = "mdms.full" if kind == errno.ENOSPC else "mdms.disk"
    for step in range(1, 60, 6):
        root = tmp_path / str(step)
        mdms, engine = open_at(root, control)
        answered: set[tuple[int, int]] = set()
        refused: list[str] = []
        with full_from(step, kind):
            asyncio.run(deliver(mdms, answered, refused))
        assert set(refused) <= {code}
        assert bool(refused) == (len(answered) < METERS * DAYS) or step > 20
        check(mdms, answered)
        # Space is there again: the same process goes on without a restart.
        everything: set[tuple[int, int]] = set()
        asyncio.run(deliver(mdms, everything, again := []))
        assert again == []
        check(mdms, everything)
        assert mdms.counts().conflicts == 0
        ended(mdms)
        engine.dispose()
        mdms, engine = open_at(root, control)
        check(mdms, everything)
        asyncio.run(mdms.close())
        named = {one.path for one in mdms.segments()}
        assert {path.name for path in (root / "measurements" / "segments").iterdir()} == named
        engine.dispose()
