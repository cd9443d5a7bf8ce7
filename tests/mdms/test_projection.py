"""The store against a slow obvious oracle: whatever arrives, in whatever order, across compaction and
restarts."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterseal.errors import DataError
from meterseal.link.counters import CounterSet
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.chunks import Chunk, channel_starts, decode, encode, kinds, rows_from
from meterseal.mdms.store.coverage import Coverage
from meterseal.mdms.store.index import Index, IndexMaker
from meterseal.mdms.store.packing import Unpacker, pack
from meterseal.mdms.store.rows import ROW, Block, Key, Words, rows_of, sort_rows, visible
from meterseal.mdms.store.segments import months
from meterseal.model import MAIN, Batch, Opened, Quality, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, device, medium, open_store, point

POINTS = 2
SLOTS = 8

series_of = st.builds(
    lambda start, spot, registers, minutes: (
        (FIRST + start * HOUR + minutes * 60_000 * spot, 0, registers[:1])
        if spot
        else (FIRST + start * HOUR, HOUR, registers)
    ),
    st.integers(0, SLOTS),
    st.booleans(),
    st.lists(st.one_of(st.none(), st.integers(0, 2)), min_size=1, max_size=6),
    st.sampled_from([0, 0, 30]),
)
record_of = st.tuples(
    st.integers(0, POINTS - 1),
    st.integers(1, 12),  # counters repeat on purpose
    st.lists(series_of, min_size=1, max_size=3),
)
step_of = st.one_of(record_of, record_of, record_of, st.sampled_from(["compact", "restart"]))


class Oracle:
    """One dictionary, one reading at a time."""

    def __init__(self) -> None:
        self.consumed: set[tuple[int, int]] = set()
        self.shown: dict[tuple[int, int], tuple[int | None, bool]] = {}
        """Register, and whether the load profile said it, by meter and instant."""
        self.doubted: set[tuple[int, int, int, int]] = set()
        """Meter, instant, the register that is kept, the one that is not."""
        self.conflicts = 0
        self.repeats = 0

    def take(self, number: int, counter: int, parts: list[tuple[int, int, list[int | None]]]) -> None:
        if (number, counter) in self.consumed:
            self.repeats += 1
            return
        self.consumed.add((number, counter))
        for start, step, registers in sorted(parts, key=lambda part: part[1] == 0):
            for index, register in enumerate(registers):
                at = (number, start + index * step)
                kept, profile = self.shown.get(at, (None, False))
                if kept is None:
                    self.shown[at] = (register, step > 0)
                elif register is not None:
                    replaces = step > 0 and not profile
                    if register != kept:
                        self.conflicts += 1
                        self.doubted.add((*at, register, kept) if replaces else (*at, kept, register))
                    if replaces:
                        self.shown[at] = (register, True)

    def series(self, number: int) -> list[tuple[int, int | None]]:
        return sorted((at, value) for (of, at), (value, _) in self.shown.items() if of == number)

    def profile(self, number: int) -> list[tuple[int, int]]:
        """What the meter's evidence chain runs over."""
        return sorted(
            (at, value)
            for (of, at), (value, profile) in self.shown.items()
            if of == number and profile and value is not None
        )


def opened(number: int, counter: int, parts: list[tuple[int, int, list[int | None]]]) -> Opened:
    return Opened(
        session_id=b"session" + bytes([number]),
        counter=counter,
        device_id=device(number),
        module_id=bytes(8),
        suite=1,
        origin="sealed",
        received_at=FIRST + 10 * DAY,
        digest=bytes(32),
        series=tuple(
            Series(device(number), MAIN, "m3", -2, start, step, tuple(registers))
            for start, step, registers in parts
        ),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step_of, max_size=25))
def test_shows_what_the_oracle_shows(steps: list[object]) -> None:
    asyncio.run(_against_oracle(steps))


async def _against_oracle(steps: list[object]) -> None:
    oracle = Oracle()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        mdms, engine = open_store(root, POINTS)
        for step in steps:
            if step == "compact":
                await mdms.compact()
            elif step == "restart":
                await mdms.close()
                engine.dispose()
                mdms, engine = open_store(root)
            else:
                assert isinstance(step, tuple)
                oracle.take(*step)
                await mdms.publish(Batch((opened(*step),)))
        for number in range(POINTS):
            shown = mdms.registers(point(number), MAIN, 0, FIRST + 100 * DAY)
            values = [
                None if quality == Quality.MISSING else register
                for register, quality in zip(shown.register.tolist(), shown.quality.tolist(), strict=True)
            ]
            assert list(zip(shown.end_at.tolist(), values, strict=True)) == oracle.series(number)
            assert profile(mdms, number) == oracle.profile(number)
        counts = mdms.counts()
        assert counts.records == len(oracle.consumed)
        assert counts.repeats == oracle.repeats
        assert counts.readings == sum(value is not None for value, _ in oracle.shown.values())
        assert counts.missing == sum(value is None for value, _ in oracle.shown.values())
        assert counts.conflicts == oracle.conflicts
        await mdms.settle()
        assert doubted(mdms) == oracle.doubted
        for number, counter in oracle.consumed:
            assert counter in CounterSet.from_bytes(mdms.consumed(b"session" + bytes([number])))
        assert 99 not in CounterSet.from_bytes(mdms.consumed(b"session\0"))
        await mdms.close()
        engine.dispose()


def profile(mdms: Mdms, number: int) -> list[tuple[int, int]]:
    """The stored load profile, as the check of evidence reads it."""
    code = mdms._store.words.known(point(number))
    if code is None:
        return []
    return list(zip(*mdms._store.profile(Key(code, MAIN), -1, FIRST + 100 * DAY), strict=True))


def doubted(mdms: Mdms) -> set[tuple[int, int, int, int]]:
    numbers = {point(number): number for number in range(POINTS)}
    found = set()
    for finding in mdms.findings(limit=1000):
        values = msgspec.msgpack.decode(finding.values or b"")
        found.add((numbers[finding.usage_point], finding.since, values["kept"][0], values["refused"][0]))
    return found


block_of = st.builds(
    lambda point_, channel, start, step, registers, version, quality: Block(
        key=Key(point_, channel),
        start_at=start,
        step=step,
        registers=tuple(registers),
        exponent=-2,
        unit=1,
        quality=quality,
        origin=0,
        profile=True,
        version=version,
        method=0,
        recorded_at=start + 5,
        batch=1,
    ),
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(0, 2**45),
    st.integers(1, 10**7),
    st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=8),
    st.integers(1, 3),
    st.sampled_from(list(Quality)),
)


@given(st.lists(block_of, max_size=12))
def test_rows_are_the_readings_of_their_blocks(blocks: list[Block]) -> None:
    expected = [
        (block.key.point, block.start_at + k * block.step, register, block.version)
        for block in blocks
        for k, register in enumerate(block.registers)
    ]
    assert rows_of(blocks)[["point", "end_at", "register", "version"]].tolist() == expected


@given(st.lists(block_of, max_size=12), st.one_of(st.none(), st.integers(0, 2**46)))
def test_the_highest_version_is_visible(blocks: list[Block], as_of: int | None) -> None:
    rows = rows_of(blocks)
    best: dict[tuple[int, ...], int] = {}
    for row in rows.tolist():
        point_, channel, version, end_at = row[0], row[1], row[2], row[3]
        if as_of is None or row[11] <= as_of:
            best[point_, channel, end_at] = max(version, best.get((point_, channel, end_at), 0))
    shown = visible(rows, as_of)
    assert {(r[0], r[1], r[3]): r[2] for r in shown.tolist()} == best
    assert len(shown) == len(best)


@settings(deadline=None)
@given(st.lists(block_of, min_size=1, max_size=12))
def test_a_chunk_and_its_index_give_back_their_rows_in_another_process(blocks: list[Block]) -> None:
    words = Words()
    for text in ("m3", "up-b", "up-a", "up-c", "linear/1"):
        words.code(text)
    rows = sort_rows(rows_of(blocks), words)
    rows["register"][rows["quality"] == Quality.MISSING] = 0
    maker = IndexMaker(words)
    starts = channel_starts(rows["point"], rows["channel"])
    content = encode(rows, starts, kinds(rows, *maker.local(rows)))
    maker.add(rows, starts, len(content), bytes(16))
    other = Words()
    for text in ("kWh", "up-c", "up-z"):
        other.code(text)
    index = Index(maker.encode(), other, "water")
    chunk = decode(content, index.row, len(rows))
    of = np.repeat(index.numbers, index.rows)
    again = rows_from(chunk, of >> 7, of & 127, index.units, index.methods)
    for name in ROW.names or ():
        if name in ("point", "unit", "method"):
            assert [other.texts[p] for p in again[name]] == [words.texts[p] for p in rows[name]]
        else:
            assert again[name].tolist() == rows[name].tolist()
    assert isinstance(chunk, Chunk)
    texts = [words.texts[p] for p in rows["point"]]
    assert texts == sorted(texts)
    for entry, number in enumerate(index.numbers.tolist()):
        assert index.find(Key(number >> 7, number & 127)) == entry
        at = again["end_at"][of == number]
        assert (index.first[entry], index.last[entry]) == (at.min(), at.max())
        assert all(index.touches(entry, one, one) for one in at.tolist())
        assert not index.touches(entry, 0, int(at.min()) - 1)
        assert not index.touches(entry, int(at.max()) + 1, 1 << 60)
        measured = again[(of == number) & (again["quality"] == Quality.MEASURED)]
        assert index.newest_at[entry] == max(measured["end_at"].tolist(), default=-1)
    assert index.find(Key(other.code("up-z"), 1)) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_packed_integers_come_back(values: list[int]) -> None:
    column = np.array(values, np.int64)
    packed = pack(column) + pack(column[::-1])
    unpacker = Unpacker(packed)
    assert unpacker.next().tolist() == values
    assert unpacker.next().tolist() == values[::-1]
    assert unpacker.rest == 0
    for cut in range(len(packed)):
        shorter = Unpacker(packed[:cut])
        with pytest.raises(DataError):
            shorter.next(), shorter.next()


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 9), st.integers(0, 4)), max_size=60))
def test_coverage_never_misses_an_instant_and_stays_in_order(runs: list[tuple[int, int, int]]) -> None:
    coverage = Coverage()
    stored: set[int] = set()
    for first, size, step in runs:
        step = step if size > 1 else 0
        last = first + step * (size - 1)
        if coverage.touches(first, last) or (size > 1 and not step):
            continue
        coverage.add(first, last, step)
        stored.update(range(first, last + 1, step or 1))
    assert all(coverage.touches(at, at) for at in stored)
    edges = [edge for first, last, _ in coverage.runs() for edge in (first, last)]
    assert edges == sorted(edges)
    assert not any(coverage.touches(at, at) for at in (-1, 10_000))


def test_coverage_stays_small_and_still_misses_nothing() -> None:
    coverage = Coverage()
    times = [at * at for at in range(2_000)]
    for at in times:
        assert not coverage.touches(at, at)
        coverage.add(at, at, 0)
    assert len(coverage.runs()) <= 256
    assert all(coverage.touches(at, at) for at in times)
    assert not coverage.touches(times[-1] + 1, times[-1] + 9)


def test_months_are_those_of_the_calendar() -> None:
    assert months([0, 951_782_400_000, 1_793_462_400_000]).tolist() == [197001, 200002, 202610]
    assert medium(0) == "water"
    assert ROW.names is not None
