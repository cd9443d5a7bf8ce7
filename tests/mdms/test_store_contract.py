"""What every store of measurements must do, held against a slow obvious one: late, repeated, contradicting readings,
versions, compaction, ends at any step of the disk, and every question after each of them."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from meterseal.errors import DataError, EngineError
from meterseal.mdms.bulk import Bulk, pack_bulk, unpack_bulk
from meterseal.mdms.columns import Columns
from meterseal.mdms.commit import Committer
from meterseal.mdms.entries import Entry, Version, pack, unpack
from meterseal.mdms.port import Measurements
from meterseal.mdms.service import Mdms
from meterseal.mdms.store import compact as compactor
from meterseal.mdms.store import store
from meterseal.mdms.store.manifest import Manifest
from meterseal.mdms.store.rows import RETRACTED
from meterseal.mdms.verifier import each
from meterseal.model import MAIN, Batch, Medium, Origin, Quality
from tests.control_store import control_at
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, install, keys, medium, open_store, point
from tests.mdms.memory_store import MemoryStore

POINTS = 3
EVER = 1 << 45
Asked = dict[str, Any]


def bulk_of(
    number: int,
    start: int,
    registers: list[int | None],
    *,
    step: int = HOUR,
    received_at: int = FIRST + 90 * DAY,
    profile: bool = True,
    exponent: int = -2,
    unit: str = "m3",
    medium_: Medium | None = None,
    origin: Origin = "sealed",
) -> Bulk:
    """Evenly spaced readings of one usage point."""
    size = len(registers)
    return Bulk(
        medium_ or medium(number),
        origin,
        profile,
        received_at,
        (point(number),),
        (unit,),
        np.zeros(size, np.int64),
        np.full(size, MAIN, np.int64),
        FIRST + start * HOUR + step * np.arange(size),
        np.array([register or 0 for register in registers], np.int64),
        np.full(size, exponent, np.int64),
        np.zeros(size, np.int64),
        np.array([register is None for register in registers], np.bool_),
    )


def version_of(
    number: int, hour: int, register: int, version: int, recorded_at: int, *, back: bool = False
) -> Version:
    return Version(
        usage_point=point(number),
        medium=medium(number),
        channel=MAIN,
        start_at=FIRST + hour * HOUR,
        step=0,
        registers=(0 if back else register,),
        exponent=-2,
        unit="m3",
        quality=Quality.MISSING if back else Quality.EDITED,
        method=RETRACTED if back else "edit/1:test/1",
        recorded_at=recorded_at,
        origin="sealed",
        version=version,
    )


def asked(one: Measurements, text: Callable[[int], str], as_of: int | None) -> Asked:
    """Every question, answered in a form that can be compared."""
    found: Asked = {"channels": one.channels()}
    for usage_point, channel in one.channels():
        try:
            shown = one.registers(usage_point, channel, 0, EVER, as_of)
            found[usage_point] = [
                column.tolist() if isinstance(column, np.ndarray) else column for column in shown
            ]
        except DataError as error:
            found[usage_point] = error.code
    for medium_ in ("water", "gas", "heat", "electricity"):
        for since, until in ((0, EVER), (FIRST + 7 * HOUR, FIRST + 9 * HOUR)):
            rows = {}
            for found_keys, columns in one.scan(medium_, since, until):
                assert len(found_keys) == columns.channels
                for at, key in enumerate(found_keys):
                    part = columns.part(at, at + 1)
                    name = (text(key.point), key.channel)
                    assert name not in rows
                    rows[name] = _plain(part, text)
            found[f"{medium_} {since}"] = rows
    return found


def _plain(part: Columns, text: Callable[[int], str]) -> list[Any]:
    return [
        *(column.tolist() for column in (part.end_at, part.register, part.exponent, part.quality)),
        [text(unit) for unit in part.unit.tolist()],
    ]


class PowerLost(BaseException):
    """The process ends here."""


@contextmanager
def ending_at(step: int) -> Iterator[None]:
    """From this step of the disk on, nothing reaches it any more: the process is as good as killed."""
    done = 0
    gone = False

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def counting(*arguments: Any, **named: Any) -> Any:
            nonlocal done, gone
            done += 1
            if gone or done == step:
                gone = True
                raise PowerLost
            return call(*arguments, **named)

        return counting

    names = ("write", "fsync", "fdatasync", "rename", "unlink", "ftruncate")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(os, name, counted(getattr(os, name)))
        for name in ("advance", "exchange", "note"):
            patch.setattr(Manifest, name, counted(getattr(Manifest, name)))
        yield


class Machine(RuleBasedStateMachine):
    """Both stores get the same; both must say the same."""

    control: ClassVar[dict[str, bytes] | None] = None
    """The files of a control store with its usage points, made once."""
    tried: ClassVar[Counter[str]] = Counter()
    """What was done to both, and how often."""

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        # small enough that a few readings fill chunks, buckets and blocks
        self.patch.setattr(compactor, "CHUNK", 5)
        self.patch.setattr(compactor, "FULL_ROWS", 20)
        self.patch.setattr(compactor, "_BLOCK", 7)
        self.patch.setattr(compactor, "FAN", 2)
        self.patch.setattr(store, "BLOCK_ROWS", 9)
        for name in ("fsync", "fdatasync"):  # processes end here, power is cut in test_power_cut
            self.patch.setattr(os, name, lambda _: None)
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.loop = asyncio.new_event_loop()
        self.oracle = MemoryStore()
        if self.control is None:
            engine = control_at(self.root / "control.db")
            install(engine, POINTS)
            engine.dispose()
            type(self).control = {path.name: path.read_bytes() for path in self.root.iterdir()}
        assert self.control is not None
        for name, content in self.control.items():
            (self.root / name).write_bytes(content)
        self.engine = control_at(self.root / "control.db")
        self._open()
        self.clock = FIRST + 90 * DAY

    def teardown(self) -> None:
        self.loop.run_until_complete(self.mdms.close())
        self.engine.dispose()
        self.loop.close()
        self.folder.cleanup()
        self.patch.undo()

    def both(self, act: Callable[[Measurements], Any]) -> None:
        self.loop.run_until_complete(act(self.mdms))
        self.loop.run_until_complete(act(self.oracle))

    @rule(
        number=st.integers(0, POINTS - 1),
        start=st.integers(0, 20),
        registers=st.lists(st.one_of(st.none(), st.integers(0, 2)), min_size=1, max_size=8),
        step=st.sampled_from([HOUR, HOUR, 2 * HOUR, HOUR // 2]),
        profile=st.booleans(),
        exponent=st.sampled_from([-2, -2, -3]),
        ahead=st.sampled_from([False, False, True]),
    )
    def deliver(
        self,
        number: int,
        start: int,
        registers: list[int | None],
        step: int,
        profile: bool,
        exponent: int,
        ahead: bool,
    ) -> None:
        self.clock += 1
        self.tried["delivered"] += 1
        received_at = FIRST + 10 * HOUR if ahead else self.clock
        bulk = bulk_of(
            number, start, registers, step=step, profile=profile, exponent=exponent, received_at=received_at
        )
        self.both(lambda one: one.append(bulk))

    @rule(
        number=st.integers(0, POINTS - 1),
        hour=st.integers(0, 20),
        register=st.integers(0, 9),
        back=st.booleans(),
    )
    def edit(self, number: int, hour: int, register: int, back: bool) -> None:
        self.clock += 1
        self.tried["edited"] += 1
        stored = self.oracle.rows.get((point(number), MAIN), {}).get(FIRST + hour * HOUR, [])
        highest = max((one.version for one in stored), default=0)
        version = version_of(number, hour, register, highest + 1, self.clock, back=back)
        self.both(lambda one: one.revise([version]))

    @rule()
    def compact(self) -> None:
        self.tried["compacted"] += 1
        self.both(lambda one: one.compact())

    @rule()
    def reopen(self) -> None:
        self.loop.run_until_complete(self.mdms.close())
        self._open()

    @rule(
        step=st.integers(1, 40),
        number=st.integers(0, POINTS - 1),
        start=st.integers(0, 20),
        registers=st.lists(st.integers(0, 2), min_size=1, max_size=8),
    )
    def end_at_any_step(self, step: int, number: int, start: int, registers: list[int]) -> None:
        """Deliver and compact; the process ends somewhere in between; what was not answered is sent again."""
        self.clock += 1
        bulk = bulk_of(number, start, list(registers), received_at=self.clock)
        answered = False

        async def run() -> None:
            nonlocal answered
            await self.mdms.append(bulk)
            answered = True
            await self.mdms.compact()

        with ending_at(step):
            try:
                self.loop.run_until_complete(run())
            except (PowerLost, EngineError):
                self.tried["ended"] += 1
                self._abandon()
            else:
                self.loop.run_until_complete(self.mdms.close())
        self._open()
        self.loop.run_until_complete(self.oracle.append(bulk))
        if not answered:
            self.loop.run_until_complete(self.mdms.append(bulk))

    def _abandon(self) -> None:
        assert self.mdms._lock_file is not None
        os.close(self.mdms._lock_file)
        self.loop.close()
        self.loop = asyncio.new_event_loop()

    def _open(self) -> None:
        self.mdms = Mdms.open(self.root / "measurements", self.engine, keys(), each(lambda *_: True))

    @invariant()
    def says_the_same(self) -> None:
        self.tried["asked"] += 1
        for as_of in (None, self.clock - 3):
            mine = asked(self.mdms, self.mdms._store.words.texts.__getitem__, as_of)
            assert mine == asked(self.oracle, self.oracle.text, as_of)
        assert all(one.balanced for one in self.mdms.reconciled())


def _run(examples: int) -> Counter[str]:
    Machine.tried.clear()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
    return Machine.tried


def test_both_stores_say_the_same_whatever_happens() -> None:
    tried = _run(12)
    assert tried["asked"] > 100
    assert tried["ended"] > 5


@pytest.mark.soak
@pytest.mark.timeout(7200)  # five minutes of CPU, and twice that on a busy machine
def test_both_stores_say_the_same_for_long(record_property: Callable[[str, object], None]) -> None:
    tried = _run(400)
    said = ", ".join(f"{number} times {what}" for what, number in sorted(tried.items()))
    record_property("tried", f"both stores: {said}")
    assert tried["asked"] > 4_000
    assert tried["ended"] > 200


@pytest.fixture(params=["memory", "sealed"])
async def one(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "memory":
        return MemoryStore()
    return open_store(tmp_path, 4)[0]


async def test_a_late_reading_fills_a_hole_and_another_value_does_not_stand(one: Measurements) -> None:
    await one.append(bulk_of(0, 1, [10, None, 30]))
    await one.compact()
    await one.append(bulk_of(0, 1, [11, 20, 30, 40]))
    shown = one.registers(point(0), MAIN, 0, EVER)
    assert shown.register.tolist() == [10, 20, 30, 40]
    assert set(shown.quality.tolist()) == {Quality.MEASURED}
    await one.close()


async def test_an_edit_shows_from_when_it_was_recorded_and_the_scan_keeps_to_what_came(
    one: Measurements,
) -> None:
    await one.append(bulk_of(0, 1, [10, 20, 30]))
    later = FIRST + 95 * DAY
    await one.revise([version_of(0, 2, 25, 2, later)])
    await one.compact()
    assert one.registers(point(0), MAIN, 0, EVER).register.tolist() == [10, 25, 30]
    assert one.registers(point(0), MAIN, 0, EVER, later - 1).register.tolist() == [10, 20, 30]
    ((_, columns),) = one.scan("water", 0, EVER)
    assert columns.register.tolist() == [10, 20, 30]
    assert list(one.scan("gas", 0, EVER)) == []
    await one.close()


async def test_a_channel_is_whole_in_one_block_over_many_months(one: Measurements) -> None:
    for month in range(12):
        for number in (0, 4):
            await one.append(bulk_of(number % 4 or 0, 700 * month + number, [month * 10 + 1, month * 10 + 2]))
        await one.compact()
    blocks = list(one.scan("water", 0, EVER))
    assert sum(len(keys) for keys, _ in blocks) == 1
    assert len(blocks[0][1].end_at) == 12 * 4
    assert (np.diff(blocks[0][1].end_at) > 0).all()
    await one.close()


@pytest.mark.parametrize(
    "change",
    [
        {"points": ("",)},
        {"points": ("p" * 33,)},
        {"units": ("u" * 17,)},
        {"units": ("m3", "L", "kWh", "J")},
        {"point": np.array([0, 0, 1])},
        {"unit": np.array([0, -1, 0])},
        {"channel": np.array([1, 128, 1])},
        {"exponent": np.array([0, 31, 0])},
        {"end_at": np.array([0, -1, 2])},
        {"end_at": np.array([0, 1, 1 << 50])},
        {"register": np.array([0, 1 << 53, 0])},
        {"register": np.array([0.5, 1.0, 2.0])},
        {"missing": np.zeros(2, np.bool_)},
        {"received_at": -1},
    ],
)
def test_columns_that_are_none_are_refused(change: Asked) -> None:
    with pytest.raises(DataError) as caught:
        pack_bulk(bulk_of(0, 1, [1, 2, 3])._replace(**change))
    assert caught.value.code == "mdms.columns"


async def test_refused_columns_change_nothing(one: Measurements) -> None:
    with pytest.raises(DataError) as caught:
        await one.append(bulk_of(0, 1, [1, 2, 3])._replace(received_at=-1))
    assert caught.value.code == "mdms.columns"
    assert one.channels() == []
    await one.close()


def test_a_bulk_comes_back_from_its_bytes() -> None:
    bulk = bulk_of(1, 3, [5, None, 7], exponent=-3)
    again = unpack_bulk(pack_bulk(bulk))
    assert again[:6] == bulk[:6]
    assert all((mine == theirs).all() for mine, theirs in zip(again[6:], bulk[6:], strict=True))


async def test_columns_of_a_usage_point_that_nobody_entered_are_refused(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 2)
    for bulk in (bulk_of(3, 1, [1]), bulk_of(0, 1, [1], medium_="gas")):
        with pytest.raises(DataError) as caught:
            await mdms.append(bulk)
        assert caught.value.code == "mdms.unknown-usage-point"
    await mdms.append(bulk_of(0, 1, [1]))
    assert mdms.channels() == [(point(0), MAIN)]
    await mdms.close()


def test_an_entry_of_the_journal_from_before_there_were_columns_still_opens() -> None:
    entry = Entry(Batch((day_record(0, 0, 1),)))
    before = msgspec.msgpack.encode(msgspec.to_builtins(entry, builtin_types=(bytes,))[:3])
    assert unpack(before) == entry
    assert unpack(pack(Entry(columns=(b"columns",)))).columns == (b"columns",)


async def test_columns_and_records_meet_as_one_delivery(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    record = day_record(0, 0, 1)
    await mdms.publish(Batch((record,)))
    registers = [register for series in record.series for register in series.registers]
    await mdms.append(bulk_of(0, 1, [*registers, 99_999], received_at=FIRST + 2 * DAY))
    counts = mdms.counts()
    assert (counts.readings, counts.repeated_readings, counts.conflicts) == (25, 24, 0)
    await mdms.compact()
    await mdms.append(bulk_of(0, 24, [1, 99_999], received_at=FIRST + 2 * DAY))
    counts = mdms.counts()
    assert (counts.readings, counts.repeated_readings, counts.conflicts) == (25, 25, 1)
    assert (await mdms.run_vee(FIRST + 90 * DAY)).channels == 1
    assert mdms.latest() == {point(0): FIRST + 25 * HOUR}
    await mdms.close()
    engine.dispose()
    mdms, _ = open_store(tmp_path)
    assert mdms.counts() == counts
    assert mdms.latest() == {point(0): FIRST + 25 * HOUR}
    await mdms.close()


async def test_a_commit_that_is_ended_in_the_middle_is_no_answer() -> None:
    """A task that is taken down as its loop ends must not tell publishers that their batch is durable."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: Entry) -> None:
        begun.set()
        go_on.wait(10)

    committer = Committer(slow)
    waiting = asyncio.create_task(committer.submit(Batch((day_record(0, 0, 1),))))
    await asyncio.to_thread(begun.wait, 10)
    assert committer._task is not None
    committer._task.cancel()
    with pytest.raises(EngineError) as caught:
        await waiting
    assert caught.value.code == "mdms.closed"
    go_on.set()
