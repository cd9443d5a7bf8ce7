"""kill -9 at any step: nothing that was answered is lost, nothing counts twice, the next start recovers
by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from meterseal.control.tables import segments
from meterseal.link.counters import CounterSet
from meterseal.mdms.ledger.audit import TreeWalk
from meterseal.mdms.ledger.leaves import Part, read
from meterseal.mdms.ledger.progress import Progress
from meterseal.mdms.ledger.verdict import Faults
from meterseal.mdms.reading import Limits
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.manifest import Manifest
from meterseal.model import MAIN, Batch, Opened
from tests.control_store import control_at
from tests.mdms.fleet import DAY, FIRST, batches, days, install, open_store, point, register

METERS, DAYS = 2, 3
NOW = FIRST + 30 * DAY
RECORDS = [record for day in days(METERS, DAYS) for record in day]


async def scenario(root: Path, answered: Callable[[Opened], object]) -> None:
    """Publish everything in small batches, with a compaction, a run of the rules and another compaction."""
    mdms, engine = open_store(root)
    for number, batch in enumerate(batches(RECORDS, 4)):
        await mdms.publish(batch)
        for record in batch.opened:
            answered(record)
        size = mdms.ledger.take_up()
        with (root / "roots").open("a") as seen:
            print(size, mdms.ledger.root(size).hex(), file=seen)
        if number == 1:
            await mdms.compact()
    await mdms.run_vee(NOW)
    await mdms.compact()
    await mdms.close()
    engine.dispose()


def die_at(step: int) -> None:
    """Kill this process just before and just after everything it does to the disk, at the given one."""
    done = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def counting(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            done += 1
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args, **kwargs)
            done += 1
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counting

    def torn(call: Callable[..., int]) -> Callable[..., int]:
        def half(descriptor: int, content: Any) -> int:
            nonlocal done
            done += 1
            if done == step:
                call(descriptor, content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(descriptor, content)

        return half

    os.write = torn(os.write)
    for name in ("fsync", "fdatasync", "rename", "unlink", "ftruncate"):
        setattr(os, name, counted(getattr(os, name)))
    Manifest.advance = counted(Manifest.advance)  # type: ignore[method-assign]


def run_until(root: Path, step: int) -> tuple[bool, set[bytes]]:
    """Run the scenario in a child that dies at a step; returns (it died, records that were answered)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # The pipe stands for the acknowledgement that left: it is written the moment a batch was answered.
        with contextlib.suppress(BaseException):
            write = os.write
            os.close(reader)
            die_at(step)
            asyncio.run(scenario(root, lambda record: write(writer, name_of(record))))
            os._exit(0)
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        heard = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status), {heard[at : at + 16] for at in range(0, len(heard), 16)}


def name_of(record: Opened) -> bytes:
    return record.session_id + record.counter.to_bytes(8)


def check_answered(mdms: Mdms, answered: set[bytes]) -> None:
    for record in RECORDS:
        if name_of(record) in answered:
            assert record.counter in CounterSet.from_bytes(mdms.consumed(record.session_id))
            for series in record.series:
                last = series.start_at + series.step * (len(series.registers) - 1)
                number = int.from_bytes(series.device_id[1:])
                stored = mdms.registers(point(number), MAIN, series.start_at, last)
                assert stored.register.tolist() == list(series.registers)
    assert mdms.counts().readings == sum(
        len(mdms.registers(usage_point, channel, 0, NOW).end_at) for usage_point, channel in mdms.channels()
    )
    assert mdms.counts().repeated_readings == 0


def check_ledger(mdms: Mdms, root: Path, answered: set[bytes]) -> None:
    """The tree is the one that the process had which died; each record is in it once, and it holds in itself."""
    size, faults = mdms.ledger.take_up(), Faults()
    TreeWalk(mdms.ledger, size, [], faults).run(Progress())
    assert faults.named == []
    leaves = [read(made.plaintext) for _, made in mdms.ledger.every(size)]
    names = [leaf.session_id + leaf.counter.to_bytes(8) for leaf in leaves if isinstance(leaf, Part)]
    assert len(names) == len(set(names))
    assert answered <= set(names)
    seen = root / "roots"
    for line in seen.read_text().splitlines() if seen.exists() else []:
        then, known = line.split()
        assert mdms.ledger.root(int(then)).hex() == known


async def recover(root: Path, answered: set[bytes]) -> None:
    mdms, engine = open_store(root)
    check_answered(mdms, answered)
    check_ledger(mdms, root, answered)
    with engine.connect() as connection:
        named = set(connection.execute(sa.select(segments.c.path)).scalars())
    assert {path.name for path in (root / "measurements" / "segments").iterdir()} == named
    # The meters send again whatever was not acknowledged, and some of what was.
    await mdms.publish(Batch(tuple(RECORDS)))
    await mdms.run_vee(NOW + 1)
    await mdms.compact()
    counts = mdms.counts()
    assert (counts.records, counts.readings) == (len(RECORDS), METERS * DAYS * 24)
    assert (counts.evidence, counts.evidence_good) == (METERS * DAYS, METERS * DAYS)
    assert (counts.repeated_readings, counts.conflicts, counts.quarantined) == (0, 0, 0)
    assert mdms.findings() == []
    await mdms.close()
    mdms, _ = open_store(root)
    assert mdms.counts() == counts
    check_answered(mdms, {name_of(record) for record in RECORDS})
    check_ledger(mdms, root, {name_of(record) for record in RECORDS})
    assert list((root / "measurements" / "journal").iterdir()) == []
    await mdms.close()
    engine.dispose()


def steps_until_done(tmp_path: Path, stride: int) -> None:
    """Die at every so many-th step, until the scenario comes to its end."""
    step, partly = 1 - stride, 0
    while True:
        step += stride
        root = tmp_path / str(step)
        root.mkdir()
        engine = control_at(root / "control.db")
        install(engine, METERS)
        engine.dispose()
        died, answered = run_until(root, step)
        partly += 0 < len(answered) < len(RECORDS)
        asyncio.run(recover(root, answered))
        if not died:
            break
    assert step > 40
    assert partly > 10 // stride
    assert answered == {name_of(record) for record in RECORDS}


def test_some_steps_may_be_the_last(tmp_path: Path) -> None:
    steps_until_done(tmp_path, 3)


@pytest.mark.soak
def test_every_step_may_be_the_last(tmp_path: Path) -> None:
    steps_until_done(tmp_path, 1)


async def forever(root: Path) -> None:
    """The other process of the test below: publish, compact often, say what was answered."""
    mdms, _ = open_store(root, limits=Limits(recent_rows=100, idle_seconds=0.01, gather_seconds=0.0))
    mdms.start()
    slots = asyncio.Semaphore(6)

    async def one(number: int) -> None:
        async with slots:
            await mdms.publish(Batch((ENDLESS[number],)))
            os.write(1, number.to_bytes(4))

    await asyncio.gather(*(one(number) for number in range(len(ENDLESS))))
    await asyncio.sleep(60)


ENDLESS = [record for day in days(3, 40) for record in day]
CHILD = """
import asyncio, pathlib, sys
from tests.mdms import test_crash
asyncio.run(test_crash.forever(pathlib.Path(sys.argv[1])))
"""


def test_killed_again_and_again_at_random_moments(tmp_path: Path) -> None:
    dice = random.Random(1)
    engine = control_at(tmp_path / "control.db")
    install(engine, 3)
    engine.dispose()
    answered: set[int] = set()
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}:{root}"}
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, tmp_path], stdout=subprocess.PIPE, env=environment
        )
        assert child.stdout is not None
        heard = child.stdout.read(4)
        time.sleep(dice.random() * 0.25)
        child.kill()
        heard += child.stdout.read()
        child.wait()
        answered |= {int.from_bytes(heard[at : at + 4]) for at in range(0, len(heard) // 4 * 4, 4)}
    asyncio.run(_all_there(tmp_path, answered))


SETTLED = """
import asyncio, os, pathlib, signal, sys
from tests.mdms import test_crash
asyncio.run(test_crash.settled(pathlib.Path(sys.argv[1])))
os.kill(os.getpid(), signal.SIGKILL)
"""


async def settled(root: Path) -> None:
    """The other process of the test below: publish what is new, check it, and be killed."""
    mdms, _ = open_store(root)
    await mdms.publish(Batch(tuple(RECORDS)))
    await mdms.settle()
    mdms.counts()


def test_evidence_is_counted_once_after_a_kill(tmp_path: Path) -> None:
    engine = control_at(tmp_path / "control.db")
    install(engine, METERS)
    engine.dispose()
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}:{root}"}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", SETTLED, tmp_path], env=environment, check=False)
        assert done.returncode == -signal.SIGKILL
        mdms, engine = open_store(tmp_path)
        counts = mdms.counts()
        assert (counts.evidence, counts.evidence_good, counts.evidence_waiting) == (
            METERS * DAYS,
            METERS * DAYS,
            0,
        )
        assert counts.records == len(RECORDS)
        asyncio.run(mdms.close())
        engine.dispose()


async def _all_there(root: Path, answered: set[int]) -> None:
    mdms, _ = open_store(root)
    assert len(answered) > 20
    for number in answered:
        record = ENDLESS[number]
        assert record.counter in CounterSet.from_bytes(mdms.consumed(record.session_id))
        for series in record.series:
            meter = int.from_bytes(series.device_id[1:])
            at = series.start_at
            assert mdms.registers(point(meter), MAIN, at, at).register.tolist() == [register(meter, at)]
    await mdms.publish(Batch(tuple(ENDLESS)))
    await mdms.settle()
    counts = mdms.counts()
    assert (counts.records, counts.readings, counts.evidence_good) == (len(ENDLESS), 3 * 40 * 24, 120)
    assert counts.repeated_readings == 0
    await mdms.close()
