"""Any past state is shown as of its time and any run replayed bit for bit, whatever came, was edited or changed since."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from meterseal.control.engine import write
from meterseal.control.tables import former_installations, meter_changes, meters
from meterseal.mdms.editing import Wish
from meterseal.mdms.facts import Fact
from meterseal.mdms.service import Mdms
from meterseal.mdms.vee.estimators import Override
from meterseal.mdms.vee.settings import RuleChange
from meterseal.model import HEAT_VOLUME, MAIN, Batch, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, open_store, point

START = FIRST + 60 * DAY
WATER, GAS = 0, 1
LOUD = RuleChange(rule="spike", values={"least": "400"})

State = tuple[list[object], bytes]


async def fed(mdms: Mdms, number: int, registers: dict[int, int], received_at: int) -> None:
    series = tuple(
        Series(device(number), MAIN, "m3", -2, FIRST + hour * HOUR, HOUR, (value,))
        for hour, value in sorted(registers.items())
    )
    record = msgspec.structs.replace(
        day_record(number, 0, 1 + received_at % 100_000_000), series=series, received_at=received_at
    )
    await mdms.publish(Batch((record,)))


def base(number: int, hours: range) -> dict[int, int]:
    """Rises unevenly, with one hour in sixty lost, one hole of thirty and one hour that is high."""
    return {
        hour: 1000 * number + 30 * hour + 7 * (hour % 5) + 500 * (hour >= 500)
        for hour in hours
        if hour % 60 != 33 and not 300 < hour < 330
    }


def shown(mdms: Mdms, as_of: int | None) -> list[object]:
    """All that people see of both usage points, as of an instant."""
    found: list[object] = []
    for number in (WATER, GAS):
        one = mdms.registers(point(number), MAIN, 0, START + 99 * DAY, as_of=as_of)
        columns = (one.end_at, one.register, one.quality, one.origin, one.version)
        found.append([column.tolist() for column in columns] + [one.method, one.exponent, one.unit])
    return found


def replay(mdms: Mdms, now: int) -> bytes:
    """Findings and versions of a run, bit for bit."""
    said = mdms.replayed(now)
    return msgspec.msgpack.encode([said.findings, said.versions, said.readings])


class Life:
    """Steps that change something, one a day; after each what is shown and what a run says is remembered."""

    def __init__(self, mdms: Mdms) -> None:
        self.mdms, self.now = mdms, START
        self.past: dict[int, State] = {}

    async def step(self, change: Callable[[int], Awaitable[object]]) -> None:
        self.now += DAY
        await change(self.now)
        run = self.now + HOUR
        said = replay(self.mdms, run)
        await self.mdms.run_vee(run)
        assert replay(self.mdms, run) == said  # what a run wrote is not what it looked at
        self.past[run] = (shown(self.mdms, None), said)
        await self.check((min(self.past), run))

    async def check(self, runs: Sequence[int] = ()) -> None:
        """Every state of before, or those of these runs, is still there."""
        for run in runs or self.past:
            seen, said = self.past[run]
            assert shown(self.mdms, run) == seen
            assert replay(self.mdms, run) == said


@pytest.mark.parametrize("compacting", [False, True])
async def test_every_past_state_is_shown_and_every_run_replayed_whatever_follows(
    tmp_path: Path, compacting: bool
) -> None:
    mdms, engine = open_store(tmp_path, 6)
    life = Life(mdms)

    async def first(now: int) -> None:
        for number in (WATER, GAS):
            await fed(mdms, number, base(number, range(700)), now)

    async def late(now: int) -> None:
        await fed(mdms, WATER, {hour: 30 * hour + 7 * (hour % 5) for hour in (33, 93, 310, 311)}, now)

    async def contradicted(now: int) -> None:
        await fed(mdms, WATER, {100: 99_999, 700: 30_000}, now)

    async def edited(now: int) -> None:
        wish = Wish(
            usage_point=point(WATER), since=FIRST + 340 * HOUR, until=FIRST + 340 * HOUR, register="102.10"
        )
        plan = mdms.edits.plan(wish, now)
        edit = mdms.edits.propose(wish, plan, reason="so", effect="none", people=0, author="op", now=now)
        await mdms.edits.save(edit.number, edit.digest, (), "op", now)

    async def undone(now: int) -> None:
        plan = mdms.edits.plan_undo(1, now)
        wish = Wish(usage_point=point(WATER), since=FIRST + 340 * HOUR, until=FIRST + 340 * HOUR)
        edit = mdms.edits.propose(
            wish, plan, reason="no", effect="none", people=0, author="op", now=now, undoes=1
        )
        await mdms.edits.save(edit.number, edit.digest, (), "op", now)

    async def louder(now: int) -> None:
        await mdms.try_rule(LOUD, now - 90 * DAY, now)
        mdms.changes.change(LOUD, reason="so", author="op", now=now)

    async def otherwise(now: int) -> None:
        flat = Override(FIRST + 290 * HOUR, FIRST + 320 * HOUR, ("flat",), "a feast")
        await mdms.order_methods(flat, "op", now)

    async def stated(now: int) -> None:
        facts = [
            Fact(usage_point=point(GAS), kind="class", value="business"),
            Fact(usage_point=point(WATER), kind="main", value=point(4)),
        ]
        await mdms.state(facts, now)

    async def heat(now: int) -> None:
        for channel in (MAIN, HEAT_VOLUME):
            series = Series(
                device(2),
                channel,
                "kWh" if channel == MAIN else "m3",
                -2,
                FIRST,
                HOUR,
                tuple(range(0, 960, 2)),
            )
            record = msgspec.structs.replace(day_record(2, 0, 5 + channel), series=(series,), received_at=now)
            await mdms.publish(Batch((record,)))

    for change in (first, late, contradicted, edited, undone, louder, otherwise, stated, heat, first):
        await life.step(change)
        if compacting:
            await mdms.compact()
            await life.check()
    await life.check()
    assert len({said for _, said in life.past.values()}) >= 6  # the steps did change what runs say
    assert len({str(seen) for seen, _ in life.past.values()}) >= 6
    await mdms.close()
    engine.dispose()
    mdms, engine = open_store(tmp_path)
    life.mdms = mdms
    await life.check()
    await mdms.close()
    engine.dispose()


async def test_an_exchange_that_is_entered_later_does_not_change_what_a_run_of_before_said(
    tmp_path: Path,
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    life = Life(mdms)

    async def fallen(now: int) -> None:
        await fed(mdms, WATER, {hour: 30 * hour - 9_000 * (hour >= 400) for hour in range(500)}, now)

    await life.step(fallen)
    life.now += DAY
    at, entered = FIRST + 400 * HOUR, life.now
    with write(engine) as connection:
        connection.execute(
            former_installations.insert().values(
                device_id=device(7), since=FIRST, until=at, usage_point_id=point(WATER)
            )
        )
        connection.execute(meters.update().values(since=at))
        connection.execute(
            meter_changes.insert().values(
                usage_point_id=point(WATER),
                at=at,
                removed=device(7),
                installed=device(0),
                recorded_at=entered,
                sealed_stated=b"x" * 40,
                key_version=1,
            )
        )
    mdms.meters_changed()
    await life.check()  # then it was a fall
    (before,) = (said for _, said in life.past.values())
    assert b"negative-step" in before
    assert b"negative-step" not in replay(mdms, entered + HOUR)  # now it is another meter that counts
    await mdms.close()
    engine.dispose()
