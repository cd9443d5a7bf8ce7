"""Schedules drawn from a seed: deliveries, facts, edits, changes, weather, compactions, starts and runs, some of them at
once and by a clock that jumps; at the end every run that was ever made says again what it said."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from meterseal.errors import DataError
from meterseal.mdms.editing import Wish
from meterseal.mdms.entries import Rollup
from meterseal.mdms.facts import Fact
from meterseal.mdms.vee.estimators import Override
from meterseal.mdms.vee.settings import RuleChange
from meterseal.model import MAGNET, Batch
from tests.mdms.fleet import DAY, FIRST, HOUR, evidence_record, medium, point
from tests.mdms.test_exact_runs import NOW, Watch, record, said
from tests.mdms.test_facts import alarm

METERS = 9
LAST = 260
"""Hours that are delivered, in any order."""


class Schedule(Watch):
    """Draws what is done next, and by which clock."""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(root, METERS)
        self.random, self.now, self.count = random.Random(seed), NOW, 0
        self.rolled = False

    def clock(self) -> int:
        """Mostly forward, sometimes standing, sometimes hours back."""
        self.now += self.random.choice((0, 1, 1000, HOUR, HOUR, DAY, -1, -3 * HOUR))
        return self.now

    async def deliver(self) -> None:
        records = []
        for number in self.random.sample(range(METERS), 3):
            first = self.random.randrange(LAST - 60)
            hours = [hour for hour in range(first, first + 60) if self.random.random() > 0.1]
            high = self.random.choice((0, 0, 0, 3000))
            registers = {hour: 1000 * number + 30 * hour + hour * number % 7 + high for hour in hours}
            one = record(number, registers, self.clock())
            self.count += 1
            records.append(msgspec.structs.replace(one, counter=self.count))
        await self.mdms.publish(Batch(tuple(records)))

    async def alarmed(self) -> None:
        self.count += 1
        number, day = self.random.randrange(METERS), self.random.randrange(9)
        await self.mdms.publish(
            Batch((evidence_record(alarm(number, day, MAGNET), number, self.count, self.clock()),))
        )

    async def state(self) -> None:
        draw = self.random
        number = draw.randrange(METERS)
        kind, value = draw.choice(
            (
                ("class", "business"), ("class", ""), ("size", str(draw.randint(1, 40))), ("heats", "gas"),
                ("group", draw.choice("ab")), ("group", ""), ("main", point((number + 4) % 8)), ("zone", "east"),
            )
        )  # fmt: skip
        fact = Fact(usage_point=point(number), kind=kind, value=value, since=FIRST + draw.randrange(9) * DAY)  # type: ignore[arg-type]
        try:
            await self.mdms.state([fact], self.clock())
        except DataError as error:
            if error.code != "facts.main":
                raise

    async def edit(self) -> None:
        now, at = self.clock(), FIRST + self.random.randrange(LAST) * HOUR
        number = self.random.randrange(METERS)
        value = (1000 * number + 30 * (at - FIRST) // HOUR + self.random.randrange(9)) / 100
        try:
            wish = Wish(usage_point=point(number), since=at, until=at, register=f"{value:.2f}")
            plan = self.mdms.edits.plan(wish, now)
            edit = self.mdms.edits.propose(
                wish, plan, reason="so", effect="none", people=0, author="op", now=now
            )
            await self.mdms.edits.save(edit.number, edit.digest, (), "op", now)
        except DataError as error:
            if not error.code.startswith("edit."):
                raise

    async def change(self) -> None:
        values = {"least": str(self.random.randint(100, 9000))}
        change = RuleChange(rule="spike", values=values)
        at = FIRST + self.random.randrange(10) * DAY
        await self.mdms.try_rule(change, at - 90 * DAY, at)
        await asyncio.to_thread(self.mdms.changes.change, change, reason="so", author="op", now=at)

    async def order(self) -> None:
        since = FIRST + self.random.randrange(8) * DAY
        methods = self.random.sample(("flat", "linear"), self.random.randint(1, 2))
        await self.mdms.order_methods(
            Override(since, since + 3 * DAY, tuple(methods), "a feast"), "op", self.clock()
        )

    async def weather(self) -> None:
        first, warm = FIRST // HOUR + self.random.randrange(200), self.random.choice((-5.0, 12.0, 25.0))
        hours = {hour: warm + hour % 5 for hour in range(first, first + 72)}
        await asyncio.to_thread(self.mdms.surroundings.put_weather, hours)
        await asyncio.to_thread(
            self.mdms.surroundings.put_days, {FIRST // DAY + self.random.randrange(9): "holiday"}
        )

    async def compact(self) -> None:
        await self.mdms.compact()

    async def roll(self) -> None:
        until = FIRST + self.random.randint(1, 3) * DAY
        await self.mdms.roll_up([Rollup(medium(0), True, "day", until, {}, {}, "li", self.now)])
        self.rolled = True

    async def judge(self) -> None:
        """A run alone, beside something, or with something in its middle."""
        others = (self.deliver, self.state, self.edit, self.alarmed, self.compact, self.weather)
        other = self.random.choice(others)
        how = self.random.randrange(3)
        if how == 0:
            await self.run(self.clock())
        elif how == 1:
            await asyncio.gather(self.run(self.clock()), other())
        else:
            await self.run(self.clock(), other, self.random.randint(-1, 6))

    async def live(self, length: int, *, rolling: bool = False) -> None:
        for _ in range(4):
            await self.deliver()
        steps: list[Callable[[], object]] = [
            self.deliver, self.state, self.edit, self.alarmed, self.change, self.order, self.weather, self.compact,
            self.again, *[self.judge] * 6,
        ]  # fmt: skip
        for step in range(length):
            if rolling and step == length // 2:
                await self.roll()
            done = self.random.choice(steps)()
            await done  # type: ignore[misc]
        await self.judge()
        self.all_found_again()
        await self.compact()
        await self.again()
        self.all_found_again()

    def all_found_again(self) -> None:
        kept = {one.number for one in self.mdms.runs.latest(1000)}
        assert kept == set(self.said)
        for number, was in self.said.items():
            try:
                assert said(self.mdms.replay(number)) == was, number
            except DataError as error:
                if not self.rolled or "rolled up since" not in error.message:
                    raise


@pytest.mark.parametrize("seed", range(3))
async def test_every_run_of_any_schedule_is_found_again(tmp_path: Path, seed: int) -> None:
    one = Schedule(tmp_path, seed)
    await one.live(26, rolling=seed == 2)
    assert len(one.said) > 3
    await one.close()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 180))
async def test_every_run_of_a_long_schedule_is_found_again(tmp_path: Path, seed: int) -> None:
    one = Schedule(tmp_path, seed)
    await one.live(60, rolling=seed % 5 == 0)
    await one.close()
