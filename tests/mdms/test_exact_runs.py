"""Attempts to have one run say two things: whatever is on its way while it looks, stamped before it, edited, set back by a
clock, compacted or taken up again by a start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.control.engine import read, write
from meterseal.control.tables import (
    former_installations,
    meter_changes,
    meters,
    point_facts,
    usage_points,
    vee_programs,
    vee_runs,
)
from meterseal.errors import DataError, LocalError
from meterseal.mdms import around, runs
from meterseal.mdms.editing import Wish
from meterseal.mdms.entries import Rollup
from meterseal.mdms.facts import Fact
from meterseal.mdms.reading import VeeRun
from meterseal.mdms.store.rows import Key
from meterseal.mdms.vee.engine import Outcome
from meterseal.mdms.vee.estimators import Override
from meterseal.mdms.vee.settings import RuleChange
from meterseal.model import MAGNET, MAIN, Batch, Opened, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, evidence_record, open_store, point
from tests.mdms.test_facts import alarm

NOW = FIRST + 60 * DAY
METERS = 9
LOUD = RuleChange(rule="spike", values={"least": "400"})
Step = Callable[[], Coroutine[Any, Any, object]]


def said(outcome: Outcome) -> bytes:
    return msgspec.msgpack.encode([outcome.findings, outcome.versions, outcome.readings, outcome.unjudged])


class Watch:
    """A store whose runs are remembered as they were said, and in the middle of which something can be done."""

    def __init__(self, root: Path, meters_: int = 0) -> None:
        self.root = root
        self.mdms, self.engine = open_store(root, meters_)
        self.said: dict[int, bytes] = {}
        self._look()

    def _look(self) -> None:
        keep = self.mdms.runs.keep

        def kept(at: int, seen: Any, dirty: Any, outcome: Outcome, unread: int) -> int:
            number = keep(at, seen, dirty, outcome, unread)
            self.said[number] = said(outcome)
            return number

        self.mdms.runs.keep = kept  # type: ignore[method-assign]

    async def run(self, now: int, meanwhile: Step | None = None, at: int = 0) -> int:
        """A run; `meanwhile` is done and durable as it reads its channel number `at`, before its point is kept where -1."""
        loop = asyncio.get_running_loop()
        count = iter(range(1_000_000))

        def do() -> None:
            assert meanwhile is not None
            asyncio.run_coroutine_threadsafe(meanwhile(), loop).result(60)

        store, runs = self.mdms._store, self.mdms.runs
        readable, taken = store.readable, runs.point

        def read(key: Any, since: int, until: int) -> Any:
            if next(count) == at:
                do()
            return readable(key, since, until)

        def point_(entry: int, replaced: Any) -> Any:
            if at == -1:
                do()
            return taken(entry, replaced)

        if meanwhile is not None:
            store.readable, runs.point = read, point_  # type: ignore[method-assign]
        try:
            return (await self.mdms.run_vee(now)).number
        finally:
            store.readable, runs.point = readable, taken  # type: ignore[method-assign]

    def replays(self) -> None:
        """Every run of so far says again what it said."""
        for number, was in self.said.items():
            assert said(self.mdms.replay(number)) == was, number

    async def again(self) -> None:
        await self.close()
        self.mdms, self.engine = open_store(self.root)
        self._look()

    async def close(self) -> None:
        await self.mdms.close()
        self.engine.dispose()


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    one = Watch(tmp_path, METERS)
    yield one
    await one.close()


def record(number: int, registers: dict[int, int], received_at: int) -> Opened:
    series = tuple(
        Series(device(number), MAIN, "m3", -2, FIRST + hour * HOUR, HOUR, (value,))
        for hour, value in sorted(registers.items())
    )
    counter = hash((number, received_at, *registers.items())) % (1 << 40)
    return msgspec.structs.replace(
        day_record(number, 0, counter), series=series, statuses=(), received_at=received_at
    )


def base(number: int, hours: range) -> dict[int, int]:
    """Rises unevenly, with one hour in sixty lost, a hole of ten and one hour that is high."""
    return {
        hour: 1000 * number + 30 * hour + 7 * ((hour + number) % 5) + 500 * (hour >= 150)
        for hour in hours
        if hour % 60 != 33 and not 100 <= hour < 110
    }


async def begun(watch: Watch) -> None:
    """Water at 4 (a main meter), behind which are 0 and 2, and at 8 (their neighbour); gas at 1 and 5. Of 2, and of 3 which
    is water too, nothing came yet.
    """
    with write(watch.engine) as connection:
        water = usage_points.update().where(usage_points.c.id.in_([point(2), point(3)]))
        connection.execute(water.values(medium="water"))
    for number in (0, 1, 4, 5, 8):
        await watch.mdms.publish(Batch((record(number, base(number, range(200)), NOW - DAY),)))
    facts = [
        *(Fact(usage_point=point(n), kind="main", value=point(4)) for n in (0, 2)),
        *(Fact(usage_point=point(n), kind="group", value="house") for n in (0, 2, 8)),
    ]
    await watch.mdms.state(facts, NOW - DAY)


def statement(received_at: int) -> Opened:
    """A meter's word that somebody held a magnet to it."""
    return evidence_record(alarm(5, 2, MAGNET), 5, 77, received_at)


def steps(watch: Watch, now: int) -> dict[str, Step]:
    """Everything that a run looks at, changed: stamped with an instant at or before the run."""
    mdms, engine = watch.mdms, watch.engine

    async def delivered() -> None:
        late = {33: 1000 + 990, 153: 9, 200: 6600, 201: 6600}
        await mdms.publish(Batch(tuple(record(number, late, now) for number in (0, 1, 4, 8))))

    async def first_of_a_neighbour() -> None:
        await mdms.publish(Batch((record(2, base(2, range(200)), now),)))

    async def stated() -> None:
        facts = [
            Fact(usage_point=point(1), kind="class", value="business"),
            Fact(usage_point=point(0), kind="size", value="1"),
            Fact(usage_point=point(8), kind="main", value=point(4)),
            Fact(usage_point=point(8), kind="group", value="other"),
        ]
        await mdms.state(facts, now)

    async def alarmed() -> None:
        await mdms.publish(Batch((statement(now - HOUR),)))
        await mdms.settle()

    async def edited() -> None:
        at = FIRST + 92 * HOUR
        wish = Wish(usage_point=point(0), since=at, until=at, register="27.70")
        plan = mdms.edits.plan(wish, now)
        edit = mdms.edits.propose(wish, plan, reason="so", effect="none", people=0, author="op", now=now)
        await mdms.edits.save(edit.number, edit.digest, (), "op", now)

    async def changed() -> None:
        # By a clock that is months behind, so that it holds for what the run looks at.
        await mdms.try_rule(LOUD, FIRST - 90 * DAY, FIRST)
        await asyncio.to_thread(mdms.changes.change, LOUD, reason="so", author="op", now=FIRST)

    async def ordered() -> None:
        flat = Override(FIRST, FIRST + 300 * HOUR, ("flat",), "a feast")
        await mdms.order_methods(flat, "op", now)

    async def exchanged() -> None:
        at = FIRST + 160 * HOUR
        with write(engine) as connection:
            connection.execute(
                former_installations.insert().values(
                    device_id=device(77), since=FIRST, until=at, usage_point_id=point(0)
                )
            )
            connection.execute(meters.update().where(meters.c.device_id == device(0)).values(since=at))
            connection.execute(
                meter_changes.insert().values(
                    usage_point_id=point(0),
                    at=at,
                    removed=device(77),
                    installed=device(0),
                    recorded_at=now,
                    sealed_stated=b"x" * 40,
                    key_version=1,
                )
            )
        mdms.meters_changed()

    async def weathered() -> None:
        hours = range(FIRST // HOUR - 24, FIRST // HOUR + 220)
        await asyncio.to_thread(mdms.surroundings.put_weather, {hour: 20.0 + hour % 9 for hour in hours})
        await asyncio.to_thread(mdms.surroundings.put_days, {FIRST // DAY + 3: "holiday"})

    async def compacted() -> None:
        await mdms.compact()

    return {
        one.__name__: one
        for one in (
            delivered, first_of_a_neighbour, stated, alarmed, edited, changed, ordered, exchanged, weathered,
            compacted,
        )
    }  # fmt: skip


STEPS = (
    "delivered", "first_of_a_neighbour", "stated", "alarmed", "edited", "changed", "ordered", "exchanged", "weathered",
    "compacted",
)  # fmt: skip


@pytest.mark.parametrize(
    ("step", "at"),
    [(one, 2) for one in STEPS]
    + [(one, -1) for one in ("delivered", "stated", "changed", "exchanged", "weathered")],
)
async def test_what_comes_while_a_run_looks_is_not_in_it_and_not_in_its_replay(
    watch: Watch, step: str, at: int
) -> None:
    await begun(watch)
    await watch.run(NOW, steps(watch, NOW)[step], at)
    watch.replays()
    assert watch.said  # it was a run of something
    await watch.run(NOW + 1)
    watch.replays()
    await watch.mdms.compact()
    await watch.again()
    watch.replays()
    await watch.run(NOW + 2)  # after a start everything is looked at again
    watch.replays()


async def test_what_the_attacks_bring_does_change_what_runs_say(watch: Watch) -> None:
    """Else the test above would hold for a replay that looks at nothing."""
    await begun(watch)
    await watch.run(NOW)
    shown = {watch.said[1]}
    now = NOW
    for name in STEPS:
        await steps(watch, NOW)[name]()
        now += 1
        await watch.again()
        number = await watch.run(now)
        if name != "compacted":
            found = msgspec.msgpack.decode(watch.said[number])
            text = repr([found[0], found[1]]).replace(f"vee-{now}", "")
            assert text not in shown, name
            shown.add(text)
    watch.replays()


async def test_a_fact_stamped_before_a_run_and_committed_after_it(watch: Watch) -> None:
    await begun(watch)
    go, stopped = threading.Event(), threading.Event()
    check = watch.mdms.facts._check_points

    def stop(stated: Any) -> None:
        check(stated)
        stopped.set()
        assert go.wait(60)

    watch.mdms.facts._check_points = stop  # type: ignore[method-assign]
    fact = Fact(usage_point=point(0), kind="size", value="1")
    stating = asyncio.create_task(watch.mdms.state([fact], NOW - 1))
    await asyncio.to_thread(stopped.wait, 60)
    number = await watch.run(NOW)
    before = said(watch.mdms.replayed(NOW))
    go.set()
    await stating
    assert said(watch.mdms.replayed(NOW)) != before  # who goes by the stamp is told otherwise now
    watch.replays()
    assert b"overload" not in watch.said[number]
    assert b"overload" in watch.said[await watch.run(NOW + 1)]
    watch.replays()


async def test_a_delivery_received_before_a_run_and_committed_after_it_has_looked(watch: Watch) -> None:
    await begun(watch)
    go, stopped = threading.Event(), threading.Event()
    places, keep = watch.mdms._places.of, watch.mdms.runs.keep

    def stop(devices: Any) -> Any:
        if device(8) in set(devices):
            stopped.set()
            assert go.wait(60)
        return places(devices)

    def release(*given: Any) -> int:
        number = keep(*given)
        go.set()  # the run has looked; what it wants to write waits behind the delivery
        return number

    watch.mdms._places.of = stop  # type: ignore[method-assign]
    watch.mdms.runs.keep = release  # type: ignore[method-assign]
    high = {hour: 50_000 + hour for hour in range(200, 230)}
    coming = asyncio.create_task(watch.mdms.publish(Batch((record(8, high, NOW - 5),))))
    await asyncio.to_thread(stopped.wait, 60)
    number = await watch.run(NOW)
    await coming
    before = watch.said[number]
    assert said(watch.mdms.replay(number)) == before
    assert said(watch.mdms.replayed(NOW)) != before
    watch.replays()


async def test_a_clock_that_is_set_back_hides_nothing_from_a_run_and_puts_nothing_into_an_earlier_one(
    watch: Watch,
) -> None:
    await begun(watch)
    await watch.run(NOW)
    for number, (name, step) in enumerate(steps(watch, NOW - HOUR).items()):
        await step()
        watch.replays()
        # Its clock is behind the run before, and behind what it must see.
        run = await watch.run(NOW - 2 * HOUR + number)
        assert run or name not in ("delivered", "first_of_a_neighbour", "stated", "alarmed", "ordered")
        watch.replays()
    await watch.again()
    watch.replays()


async def test_an_alarm_of_a_meter_of_which_nothing_was_read_is_in_no_run_before_and_after_a_start(
    watch: Watch,
) -> None:
    await begun(watch)
    for number in (3, 6):  # 6 is a heat meter: balances count those whose temperatures nobody knows
        await watch.mdms.publish(Batch((evidence_record(alarm(number, 2, MAGNET), number, 78, NOW - HOUR),)))
    await watch.run(NOW)
    watch.replays()
    await watch.mdms.compact()
    await watch.again()
    watch.replays()


async def test_a_neighbour_that_was_first_heard_of_after_a_run_takes_no_place_among_those_it_asked(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(around, "NEIGHBOURS", 3)  # 2 stands before 3, 4 and 8
    await begun(watch)
    await watch.mdms.order_methods(
        Override(FIRST, FIRST + 300 * HOUR, ("neighbour-group",), "they live alike"), "op", NOW
    )
    facts = [Fact(usage_point=point(number), kind="group", value="house") for number in (3, 4)]
    await watch.mdms.state(facts, NOW - DAY)
    for number in (3, 4, 8):
        whole = {hour: 1000 * number + 30 * hour + 7 * ((hour + number) % 5) for hour in range(99, 111)}
        hours = {at: register for at, register in whole.items() if number == 3 or 100 <= at < 110}
        await watch.mdms.publish(Batch((record(number, hours, NOW - 2 * DAY),)))
    number = await watch.run(NOW)
    assert b"neighbour-group" in watch.said[number]
    await steps(watch, NOW)["first_of_a_neighbour"]()
    watch.replays()


async def test_what_comes_at_an_instant_that_a_run_estimates_stands_alone_there(watch: Watch) -> None:
    await begun(watch)

    async def come() -> None:
        await watch.mdms.publish(Batch((record(0, {93: 2790}, NOW),)))

    number = await watch.run(NOW, come, 4)
    assert b"linear" in watch.said[number]
    key = Key(watch.mdms._store.words.code(point(0)), MAIN)
    at = FIRST + 93 * HOUR
    assert watch.mdms._store.rows(key, at, at)[["register", "version"]].tolist() == [(2790, 1)]
    await watch.run(NOW + 1)
    watch.replays()
    assert watch.mdms._store.rows(key, at, at)[["register", "version"]].tolist() == [(2790, 1)]


async def test_two_runs_at_once_make_no_instant_twice(watch: Watch) -> None:
    """The second one is asked for as the first has looked and written nothing, and a reading of the gap's channel came."""
    await begun(watch)
    second: list[asyncio.Task[VeeRun]] = []

    async def meanwhile() -> None:
        await watch.mdms.publish(Batch((record(0, {93: 2790}, NOW),)))
        second.append(asyncio.create_task(watch.mdms.run_vee(NOW + 1)))
        await asyncio.wait(second, timeout=1)  # time enough to estimate the same gap, if it could

    await watch.run(NOW, meanwhile, 4)
    await second[0]
    store = watch.mdms._store
    for key in store.keys_stored():
        rows = store.rows(key, 0, NOW)
        made = rows[["end_at", "version"]].tolist()
        assert len(made) == len(set(made))
        first = rows[(rows["recorded_at"] == NOW) & (rows["method"] != 0)]
        assert (
            first["batch"] <= watch.mdms.runs.get(2).run.seen.entry
        ).all()  # it saw what the first one wrote
    watch.replays()


async def test_weather_that_is_said_otherwise_later_is_that_of_then_in_a_replay(watch: Watch) -> None:
    await begun(watch)
    await steps(watch, NOW)["weathered"]()
    number = await watch.run(NOW)
    assert b"gas-heating" in watch.said[number]
    hours = range(FIRST // HOUR - 24, FIRST // HOUR + 220)
    watch.mdms.surroundings.put_weather({hour: 22.0 + hour % 9 for hour in hours})
    watch.mdms.surroundings.put_days({FIRST // DAY + 3: "workday"})
    watch.replays()
    await watch.again()
    again = await watch.run(NOW + 1)
    assert watch.said[again] != watch.said[number].replace(b"%d" % NOW, b"%d" % (NOW + 1))
    watch.replays()


async def test_two_runs_of_one_instant_are_two(watch: Watch) -> None:
    await begun(watch)
    first = await watch.run(NOW)
    await steps(watch, NOW)["delivered"]()
    second = await watch.run(NOW)
    assert (first, second) == (1, 2)
    assert watch.said[1] != watch.said[2]
    watch.replays()
    assert (await watch.mdms.run_vee(NOW)).number == 0  # of nothing
    assert [one.number for one in watch.mdms.runs.latest()] == [2, 1]
    # What judged stands once, and each run says it.
    with read(watch.engine) as connection:
        (name,) = connection.execute(sa.select(vee_programs.c.id)).scalars()
        assert connection.execute(sa.select(vee_runs.c.program)).scalars().all() == [{"set": name}] * 2
    assert [one.program for one in watch.mdms.runs.latest()] == [dict(runs.program())] * 2
    with pytest.raises(LocalError) as refused:
        watch.mdms.replay(3)
    assert refused.value.code == "vee.no-run"


# --- what cannot be found again says so -----------------------------------------------------------


def told(watch: Watch, number: int) -> tuple[str, str]:
    with pytest.raises(DataError) as refused:
        watch.mdms.replay(number)
    return refused.value.code, refused.value.message


@pytest.mark.parametrize("table", ["fact", "looked", "at", "entry"])
async def test_a_run_whose_facts_or_row_somebody_changed_is_told_from_one_that_is_whole(
    watch: Watch, table: str
) -> None:
    await begun(watch)
    await steps(watch, NOW)["stated"]()
    await watch.run(NOW)
    watch.replays()
    with write(watch.engine) as connection:
        if table == "fact":
            connection.execute(point_facts.delete().where(point_facts.c.kind == "size"))
        elif table == "looked":
            other = watch.mdms.runs.get(1).looked
            connection.execute(vee_runs.update().values(looked=other[:6] + bytes([other[6] ^ 1]) + other[7:]))
        else:
            connection.execute(vee_runs.update().values({table: 1}))
    code, message = told(watch, 1)
    assert code == ("vee.run-damaged" if table == "looked" else "vee.replay-differs"), message


async def test_what_was_rolled_up_since_is_said_and_other_media_are_replayed(watch: Watch) -> None:
    mdms = watch.mdms
    for number in (0, 1):
        await mdms.publish(Batch((record(number, base(number, range(200)), NOW - DAY),)))
        await watch.run(NOW + number)
    # Registers of the hours are gone from here on, and with them what the rules saw.
    rollup = Rollup("water", True, "day", FIRST + 7 * DAY, {}, {}, "li", NOW)
    assert await mdms.roll_up([rollup])
    code, message = told(watch, 1)
    assert (code, "1 of its channels were rolled up" in message) == ("vee.not-replayable", True)
    assert said(mdms.replay(2)) == watch.said[2]
    await mdms.publish(Batch((record(0, base(0, range(200, 260)), NOW),)))
    after = await watch.run(NOW + 5)
    assert said(mdms.replay(after)) == watch.said[after]
    await watch.again()
    assert said(watch.mdms.replay(after)) == watch.said[after]
    assert told(watch, 1)[0] == "vee.not-replayable"


async def test_a_roll_up_in_the_middle_of_a_run_is_said_of_it(watch: Watch) -> None:
    await begun(watch)
    await watch.mdms.compact()

    async def roll() -> None:
        await watch.mdms.roll_up([Rollup("water", True, "day", FIRST + 7 * DAY, {}, {}, "li", NOW)])

    number = await watch.run(NOW, roll, 2)
    assert told(watch, number)[0] == "vee.not-replayable"
    again = await watch.run(NOW + 1)
    if again:
        assert said(watch.mdms.replay(again)) == watch.said[again]


async def test_a_damaged_file_is_named_and_once_it_is_back_the_run_is_the_same(watch: Watch) -> None:
    await begun(watch)
    await watch.mdms.compact()
    await watch.run(NOW)
    file = next((watch.root / "measurements" / "segments").glob("water-*"))
    whole = file.read_bytes()
    await watch.close()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    watch.mdms, watch.engine = open_store(watch.root)
    watch._look()
    code, message = told(watch, 1)
    assert (code, "damaged files" in message) == ("vee.not-replayable", True)
    blind = await watch.run(NOW + 1)
    await watch.close()
    file.write_bytes(whole)
    watch.mdms, watch.engine = open_store(watch.root)
    watch._look()
    assert said(watch.mdms.replay(1)) == watch.said[1]
    code, message = told(watch, blind)
    assert (code, "can be read now" in message) == ("vee.not-replayable", True)


async def test_another_version_of_a_rule_is_named(watch: Watch) -> None:
    await begun(watch)
    await steps(watch, NOW)["delivered"]()
    await watch.run(NOW)
    with write(watch.engine) as connection:
        now = watch.mdms.runs.get(1).run.program
        connection.execute(
            vee_runs.update().values(program=now | {"rule spike": "0"}, digest=bytes(32))
        )  # as an earlier program would have written it
    code, message = told(watch, 1)
    assert (code, "rule spike" in message) == ("vee.not-replayable", True)
