"""Roll-ups: what is left and what goes, that every difference stays, that the ledger says so, and that an end at any step
is finished by the next start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from meterseal.control import open_control
from meterseal.errors import DataError
from meterseal.mdms.bulk import Bulk
from meterseal.mdms.editing import Wish
from meterseal.mdms.entries import Entry, Rollup, pack, unpack
from meterseal.mdms.ledger import replay
from meterseal.mdms.ledger.checkpoints import Checkpoints
from meterseal.mdms.ledger.verdict import Verdict
from meterseal.mdms.rolling import Rolled, edge_of
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.rows import ROW, Rows, Words
from meterseal.model import MAIN, Medium, Quality
from tests.mdms.fleet import DAY, FIRST, HOUR, batches, day_record, medium, open_store, point, register
from tests.mdms.insider import Insider
from tests.mdms.test_crash import die_at
from tests.mdms.test_ledger import records
from tests.mdms.test_store_contract import bulk_of, version_of
from tests.security.conftest import Bench, bench, cheap_stretching, clock, template

__all__ = ["bench", "cheap_stretching", "clock", "template"]

METERS, DAYS = 4, 5
UNTIL = FIRST + 3 * DAY
NOW = FIRST + 900 * DAY


def of(medium_: Medium, until: int = UNTIL, **more: object) -> Rollup:
    given: dict[str, object] = {
        "main": True,
        "level": "day",
        "held": {},
        "edges": {},
        "author": "li",
        "at": NOW,
    }
    return Rollup(medium=medium_, until=until, **given | more)  # type: ignore[arg-type]


ALL = [of(one) for one in ("water", "gas", "heat", "electricity")]


class Kept:
    """A store with its ledger and the service that signs for it."""

    def __init__(self, root: Path, bench: Bench | None, meters: int = 0) -> None:
        self.root, self.bench = root, bench
        self.mdms, self.engine = open_store(root, meters)

    async def verdict(self) -> Verdict:
        assert self.bench is not None
        return await self.mdms.audit(Checkpoints(self.engine, self.mdms.ledger, self.bench.platform))

    async def again(self) -> Kept:
        await self.close()
        return Kept(self.root, self.bench)

    async def close(self) -> None:
        await self.mdms.close()
        self.engine.dispose()

    def hours(self, number: int) -> list[int]:
        """Hours since FIRST at which readings of a meter stand."""
        found = self.mdms.registers(point(number), MAIN, 0, NOW)
        assert [register(number, at) for at in found.end_at.tolist()] == found.register.tolist()
        return ((found.end_at - FIRST) // HOUR).tolist()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")

    async def make() -> None:
        mdms, engine = open_store(root, METERS)
        for number, batch in enumerate(batches(records(METERS, DAYS), 8)):
            await mdms.publish(batch)
            if number == 2:
                await mdms.settle()
                await mdms.compact()
        await mdms.settle()
        await mdms.close()
        engine.dispose()

    asyncio.run(make())
    return root


@pytest.fixture
async def kept(made: Path, tmp_path: Path, bench: Bench) -> AsyncIterator[Kept]:
    shutil.copytree(made, tmp_path / "one")
    one = Kept(tmp_path / "one", bench)
    yield one
    with contextlib.suppress(OSError):  # a test may have closed it
        await one.close()


# Midnight of UTC, and with it another month, is at 8 hours.
BOUNDARIES = [1, 7, 8, 24, 48, 72]
AFTER = list(range(73, 24 * DAYS + 1))


# --- what is left -----------------------------------------------------------------------------------------------


async def test_of_each_day_the_register_at_its_end_stays_and_the_ledger_holds(kept: Kept) -> None:
    assert kept.hours(1) == list(range(1, 24 * DAYS + 1))
    before = await kept.verdict()
    assert before.good
    tried = await kept.mdms.try_roll_up(ALL)
    assert kept.hours(1) == list(range(1, 24 * DAYS + 1))
    size = sum(one.size for one in kept.mdms.segments())
    gone = await kept.mdms.roll_up(ALL)
    assert [(one.medium, one.month, one.rows) for one in gone] == [
        (one.medium, one.month, one.rows) for one in tried
    ]
    for number in range(METERS):
        assert kept.hours(number) == BOUNDARIES + AFTER
    assert sum(one.readings for one in gone) == METERS * (72 - len(BOUNDARIES))
    assert sum(one.size for one in kept.mdms.segments()) == size - sum(one.bytes for one in gone)
    after = await kept.verdict()
    assert after.faults == ()
    assert after.rolled == METERS * (72 - len(BOUNDARIES))
    assert (after.rows, after.evidence) == (before.rows - after.rolled, before.evidence)
    assert after.leaves == before.leaves + len(ALL)
    again = await kept.again()
    assert again.hours(2) == BOUNDARIES + AFTER
    assert (await again.verdict()).faults == ()
    assert await again.mdms.roll_up(()) == []
    await again.close()


async def test_by_the_month_one_register_a_month_stays_and_every_difference_is_what_it_was(
    kept: Kept,
) -> None:
    until = edge_of(FIRST + 40 * DAY, "month")
    await kept.mdms.append(bulk_of(1, 24 * 35, [90_000, 90_010]))
    await kept.mdms.roll_up([of("gas", level="month", until=until)])
    found = kept.mdms.registers(point(1), MAIN, 0, NOW)
    hours = ((found.end_at - FIRST) // HOUR).tolist()
    assert hours == [1, 7, 8, 24 * DAYS, 24 * 35, 24 * 35 + 1]
    assert found.register.tolist() == [*(register(1, FIRST + h * HOUR) for h in hours[:4]), 90_000, 90_010]


async def test_what_is_held_and_what_lies_beside_an_edge_stays(kept: Kept) -> None:
    edge = FIRST + 30 * HOUR + 60_000
    await kept.mdms.roll_up(
        [
            of("water", held={point(0): FIRST + DAY}),
            of("gas", held={point(1): 0}),
            of("heat", edges={point(2): (edge,)}),
        ]
    )
    assert kept.hours(0) == [1, 7, 8, 24, *range(25, 24 * DAYS + 1)]
    assert kept.hours(1) == list(range(1, 24 * DAYS + 1))
    assert kept.hours(2) == [1, 7, 8, 24, 30, 31, 48, 72, *AFTER]
    assert kept.hours(3) == list(range(1, 24 * DAYS + 1))
    assert (await kept.verdict()).faults == ()
    await kept.mdms.roll_up([of("water", until=FIRST + 4 * DAY), of("gas", until=FIRST + 4 * DAY)])
    assert kept.hours(0) == kept.hours(1) == [*BOUNDARIES, 96, *range(97, 24 * DAYS + 1)]
    assert (await kept.verdict()).faults == ()


async def test_quality_and_versions_of_what_is_left_are_what_they_were(kept: Kept) -> None:
    await kept.mdms.revise([version_of(0, 48, register(0, FIRST + 48 * HOUR), 2, NOW)])
    await kept.mdms.revise([version_of(0, 40, 7, 2, NOW)])
    await kept.mdms.roll_up(ALL)
    shown = kept.mdms.registers(point(0), MAIN, FIRST + 48 * HOUR, FIRST + 48 * HOUR)
    assert shown.quality.tolist() == [Quality.EDITED]
    first = kept.mdms.registers(point(0), MAIN, FIRST + 48 * HOUR, FIRST + 48 * HOUR, NOW - 1)
    assert first.quality.tolist() == [Quality.MEASURED]
    verdict = await kept.verdict()
    assert verdict.faults == ()
    assert verdict.rolled == METERS * (72 - len(BOUNDARIES)) + 1


def test_a_day_whose_end_is_missing_keeps_its_last_value() -> None:
    words = Words()
    rows: Rows = np.zeros(24, ROW)
    rows["point"], rows["channel"], rows["version"] = words.code("up-1"), MAIN, 1
    rows["end_at"] = FIRST + DAY + HOUR * np.arange(1, 25)
    rows["quality"][22:] = Quality.MISSING
    words.medium[words.code("up-1")] = "water"
    rolled = Rolled()
    rolled.take(of("water"))
    left = rows[~rolled.removable(rows, words)]
    assert ((left["end_at"] - FIRST - DAY) // HOUR).tolist() == [1, 22]
    backwards = rows[::-1].copy()
    assert (rolled.removable(backwards, words)[::-1] == rolled.removable(rows, words)).all()


def obvious(rows: Rows, words: Words, one: Rollup) -> list[bool]:
    """What `Rolled.removable` says, one row after the other."""

    def place(row: Any) -> tuple[int, int]:
        return int(row["point"]), int(row["channel"])

    def local(at: int, level: str) -> datetime:
        day = datetime.fromtimestamp((at - 1) / 1000, timezone(timedelta(hours=8)))
        return day.replace(day=day.day if level == "day" else 1, hour=0, minute=0, second=0, microsecond=0)

    def utc(at: int) -> tuple[int, int]:
        there = datetime.fromtimestamp(at / 1000, UTC)
        return there.year, there.month

    newest: dict[tuple[int, int], dict[int, Any]] = {}
    for row in sorted(rows, key=lambda row: int(row["version"])):
        its = words.medium[int(row["point"])] == one.medium and (row["channel"] == MAIN) == one.main
        if its and row["end_at"] <= one.until:
            newest.setdefault(place(row), {})[int(row["end_at"])] = row
    kept = set()
    for key, readings in newest.items():
        shown = [at for at in sorted(readings) if readings[at]["quality"] != Quality.MISSING]
        for month in {utc(at) for at in shown}:
            here = [at for at in shown if utc(at) == month]
            kept.add((key, here[0]))
            kept |= {(key, at) for at in {local(at, one.level): at for at in here}.values()}
            for edge in one.edges.get(words.texts[key[0]], ()):
                if utc(edge) == month:
                    beside = [at for at in here if at <= edge][-1:] + [at for at in here if at > edge][:1]
                    kept |= {(key, at) for at in beside}
    return [
        place(row) in newest
        and row["end_at"] <= min(one.until, one.held.get(words.texts[int(row["point"])], one.until))
        and (place(row), int(row["end_at"])) not in kept
        for row in rows
    ]


@pytest.mark.parametrize("seed", range(6))
def test_what_goes_is_what_an_obvious_program_says_row_after_row(seed: int) -> None:
    dice = np.random.default_rng(seed)
    words = Words()
    media: list[Medium] = ["water", "gas"]
    for number in range(6):
        words.medium[words.code(f"up-{number}")] = media[number % 2]
    size = 600
    rows: Rows = np.zeros(size, ROW)
    rows["point"] = dice.choice([words.code(f"up-{number}") for number in range(6)], size)
    rows["channel"] = dice.choice([MAIN, 7], size, p=[0.8, 0.2])
    rows["end_at"] = FIRST + HOUR * dice.integers(0, 24 * 40, size) + dice.choice([0, 1, 60_000], size)
    rows["version"] = dice.integers(1, 4, size)
    # An instant has a version once.
    _, once = np.unique(rows[["point", "channel", "end_at", "version"]], return_index=True)
    rows = rows[dice.permutation(once)]
    rows["quality"] = dice.choice([Quality.MEASURED, Quality.MISSING], len(rows), p=[0.7, 0.3])
    every = sorted(set(rows["end_at"].tolist()))
    edges = {f"up-{number}": tuple(int(at) for at in dice.choice(every, 5)) for number in range(4)}
    for level in ("day", "month"):
        for main in (True, False):
            one = of(
                "water",
                level=level,
                main=main,
                until=FIRST + 31 * DAY,
                held={"up-0": FIRST + 9 * DAY, "up-2": 0},
                edges=edges,
            )
            rolled = Rolled()
            rolled.take(one)
            said = rolled.removable(rows, words)
            assert said.tolist() == obvious(rows, words, one)
            assert said.any()


def test_of_a_channel_that_says_nothing_but_that_it_has_no_value_all_goes() -> None:
    words = Words()
    rows: Rows = np.zeros(3, ROW)
    rows["point"], rows["channel"], rows["version"], rows["quality"] = (
        words.code("up-1"),
        MAIN,
        1,
        Quality.MISSING,
    )
    rows["end_at"] = FIRST + HOUR * np.arange(1, 4)
    words.medium[words.code("up-1")] = "water"
    rolled = Rolled()
    rolled.take(of("water", edges={"up-1": (FIRST,)}))
    assert rolled.removable(rows, words).all()


# --- what comes afterwards --------------------------------------------------------------------------------------


async def test_what_comes_late_for_a_time_that_was_rolled_up_is_held_back_and_said(kept: Kept) -> None:
    await kept.mdms.roll_up(ALL)
    counted = kept.mdms.counts().quarantined
    late = day_record(1, 1, 4_000, session=7)
    await kept.mdms.publish(batches([late], 1)[0])
    await kept.mdms.append(bulk_of(2, 30, [5, 6]))
    await kept.mdms.revise([version_of(0, 40, 7, 2, NOW)])
    assert kept.hours(1) == kept.hours(2) == kept.hours(0) == BOUNDARIES + AFTER
    assert kept.mdms.counts().quarantined == counted + 1
    assert kept.mdms.quarantine()[0].code == "mdms.rolled-up"
    assert all(line.balanced for line in kept.mdms.reconciled())
    assert (await kept.verdict()).faults == ()
    again = await kept.again()
    assert again.hours(1) == BOUNDARIES + AFTER
    assert (await again.verdict()).faults == ()
    await again.close()


async def test_rules_find_no_gap_where_intervals_were_rolled_up_and_evidence_stays_good(kept: Kept) -> None:
    await kept.mdms.run_vee(FIRST + 10 * DAY)
    good = kept.mdms.counts().evidence_good
    found = len(kept.mdms.findings())
    await kept.mdms.roll_up(ALL)
    again = await kept.again()
    run = await again.mdms.run_vee(FIRST + 10 * DAY)  # after a start everything is looked at once
    assert (run.findings, run.versions) == (0, 0)
    assert len(again.mdms.findings()) == found
    assert again.mdms.counts().evidence_good == good == METERS * DAYS
    wish = Wish(
        usage_point=point(1), channel=MAIN, since=FIRST + DAY, until=FIRST + DAY, register="1", method=""
    )
    with pytest.raises(DataError) as caught:
        again.mdms.edits.plan(wish, NOW)
    assert caught.value.code == "edit.rolled-up"
    await again.close()


async def test_what_was_found_before_a_roll_up_is_not_found_again_from_where_it_ends(tmp_path: Path) -> None:
    """A register that stands still for ten days is said once; what is left of it begins with the end of the roll-up."""
    kept = Kept(tmp_path, None, METERS)
    still = [5_000] * (24 * 10)
    await kept.mdms.append(bulk_of(3, 24, [*range(4_000, 4_048), *still], unit="kWh"))
    said = (await kept.mdms.run_vee(FIRST + 20 * DAY)).findings
    before = [one for one in kept.mdms.findings() if one.rule == "stuck-register"]
    assert len(before) == 1
    assert said >= 1
    await kept.mdms.roll_up([of("electricity", until=FIRST + 6 * DAY)])
    again = await kept.again()
    assert (await again.mdms.run_vee(FIRST + 20 * DAY)).findings == 0
    assert [one for one in again.mdms.findings() if one.rule == "stuck-register"] == before
    # What begins later is found, after another start as well.
    await again.mdms.append(bulk_of(3, 24 * 13, [*range(5_001, 5_025), *[5_024] * (24 * 4)], unit="kWh"))
    last = await again.again()
    await last.mdms.run_vee(FIRST + 30 * DAY)
    found = [one for one in last.mdms.findings() if one.rule == "stuck-register"]
    assert [one.since for one in found] == [FIRST + 14 * DAY - HOUR, before[0].since]
    await last.close()


async def test_what_nobody_had_found_is_found_where_a_roll_up_ends(tmp_path: Path) -> None:
    kept = Kept(tmp_path, None, METERS)
    await kept.mdms.append(bulk_of(3, 24, [5_000] * (24 * 10), unit="kWh"))
    await kept.mdms.roll_up([of("electricity", until=FIRST + 6 * DAY)])
    await kept.mdms.run_vee(FIRST + 20 * DAY)
    (one,) = (one for one in kept.mdms.findings() if one.rule == "stuck-register")
    assert one.since == FIRST + 6 * DAY
    await kept.close()


# --- attacks ----------------------------------------------------------------------------------------------------


async def test_a_reading_that_no_rule_took_is_missed_and_one_that_was_left_is_not_changed(kept: Kept) -> None:
    await kept.mdms.roll_up(ALL)
    await kept.close()
    engine = open_control(kept.root / "control.db")

    def cut(rows: Rows, words: Words) -> Rows:
        """A boundary goes, an hour after the end of the roll-up goes, another boundary is made cheaper."""
        mine = rows["point"] == words.known(point(1))
        gone = mine & np.isin(rows["end_at"], [FIRST + 48 * HOUR, FIRST + 80 * HOUR])
        rows["register"][mine & (rows["end_at"] == FIRST + 72 * HOUR)] -= 5
        left = rows[~gone]
        assert isinstance(left, np.ndarray)
        return left

    Insider(kept.root, engine).change_rows(cut)
    engine.dispose()
    again = Kept(kept.root, kept.bench)
    verdict = await again.verdict()
    assert {
        hour: [fault.sentence for fault in verdict.faults if f"end_at {FIRST + hour * HOUR}," in fault.where]
        for hour in (48, 72, 80)
    } == {
        48: ["It was accepted and is not stored any more: it was removed."],
        72: ["Its register is not what was accepted: it was changed."],
        80: ["It was accepted and is not stored any more: it was removed."],
    }
    assert {fault.code for fault in verdict.faults} == {"reading"}
    await again.close()


async def test_rows_that_vanish_without_a_roll_up_are_tampering_whatever_a_table_says(kept: Kept) -> None:
    """Somebody with the disk takes the intervals away and writes a row that a roll-up had done it."""
    await kept.mdms.compact()
    await kept.close()
    engine = open_control(kept.root / "control.db")

    def thinned(rows: Rows, words: Words) -> Rows:
        left = rows[(rows["end_at"] > UNTIL) | np.isin((rows["end_at"] - FIRST) // HOUR, BOUNDARIES)]
        assert isinstance(left, np.ndarray)
        return left

    Insider(kept.root, engine).change_rows(thinned)
    with engine.begin() as connection:
        for number, one in enumerate(ALL):
            import msgspec

            connection.execute(
                sa.text(
                    'INSERT INTO rollups (sequence, at, content, done, "rows", readings, bytes) '
                    "VALUES (:s, 0, :c, 1, 0, 0, 0)"
                ),
                {"s": number, "c": msgspec.msgpack.encode(one)},
            )
    engine.dispose()
    again = Kept(kept.root, kept.bench)
    verdict = await again.verdict()
    assert verdict.rolled == 0
    assert len(verdict.faults) + verdict.more == METERS * (72 - len(BOUNDARIES))
    await again.close()


# --- ends at any step -------------------------------------------------------------------------------------------


async def test_a_kill_at_any_step_of_a_roll_up_is_finished_by_the_next_one(
    made: Path, tmp_path: Path
) -> None:
    step = ended = 0
    while True:
        root = tmp_path / str(step)
        shutil.copytree(made, root)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                asyncio.run(_rolled(root, step + 1))
                os._exit(0)
            os._exit(1)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
        kept = Kept(root, None)
        hours = kept.hours(1)
        assert set(BOUNDARIES + AFTER) <= set(hours) <= set(range(1, 24 * DAYS + 1))
        holds = bool(list(kept.mdms._state.rolled))
        await kept.mdms.roll_up(())
        assert kept.hours(1) == (BOUNDARIES + AFTER if holds else list(range(1, 24 * DAYS + 1)))
        named = {one.path for one in kept.mdms.segments()}
        assert {path.name for path in (root / "measurements" / "segments").glob("*.segment*")} == named
        await kept.close()
        shutil.rmtree(root)
        ended += holds
        if not os.WIFSIGNALED(status):
            break
        step += 7
    assert step > 30
    assert ended > 3


async def _rolled(root: Path, step: int) -> None:
    mdms, engine = open_store(root)
    die_at(step)
    await mdms.roll_up([of("gas")])
    await mdms.close()
    engine.dispose()


def test_entries_of_before_have_no_roll_up_and_new_ones_keep_theirs() -> None:
    entry = Entry(rolled=(of("water", held={"a": 1}, edges={"b": (2, 3)}),))
    assert unpack(pack(entry)) == entry
    assert unpack(pack(Entry())[:1].replace(b"\x95", b"\x94") + pack(Entry())[1:-1]).rolled == ()


__all__ += ["Mdms", "medium"]


async def test_columns_of_many_usage_points_are_walked_over_in_shares(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a day of a city a share has fewer readings than the whole has usage points."""
    kept = Kept(tmp_path, bench, 40)
    parts = [bulk_of(number, 0, [number]) for number in range(0, 40, 4)]
    columns = [np.concatenate(column) for column in zip(*(part[7:] for part in parts), strict=True)]
    points = tuple(part.points[0] for part in parts)
    await kept.mdms.append(Bulk(*parts[0][:4], points, ("m3",), np.arange(len(parts)), *columns))
    monkeypatch.setattr(replay, "SHARE_ROWS", 3)
    verdict = await kept.verdict()
    assert (verdict.faults, verdict.rows) == ((), len(parts))
    await kept.close()
