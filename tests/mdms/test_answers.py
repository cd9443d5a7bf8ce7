"""Attempts to have one moment of the past shown in two ways: by deliveries that were on their way, by a clock set back, by
a start, by questions at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from meterseal.control.engine import read
from meterseal.control.tables import answered
from meterseal.mdms.export.series import Page
from meterseal.mdms.giving_up import give_up, unreadable
from meterseal.mdms.service import Mdms
from meterseal.mdms.verifier import each
from meterseal.model import MAIN, Batch
from tests.control_store import control_at
from tests.mdms.fleet import DAY, FIRST, HOUR, device, install, keys, point
from tests.mdms.test_exact_runs import base, record

NOW = FIRST + 10 * DAY


class Desk:
    """A store that has a clock, and those who ask."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = root, NOW
        self.open()
        install(self.engine, 2)

    def open(self) -> None:
        self.engine = control_at(self.root / "control.db")
        verifier = each(lambda *_: True)
        self.mdms = Mdms.open(
            self.root / "measurements", self.engine, keys(), verifier, clock=lambda: self.now
        )

    async def come(self, hours: range, received_at: int, number: int = 0) -> None:
        await self.mdms.publish(Batch((record(number, base(number, hours), received_at),)))

    def shown(self, as_of: int | None, number: int = 0) -> list[int]:
        """Hours that are shown as of a moment."""
        found = self.mdms.registers(point(number), MAIN, 0, NOW + DAY, as_of)
        page: Page = self.mdms.page(0, NOW + DAY, as_of, usage_point=point(number))
        hours: list[int] = ((found.end_at - FIRST) // HOUR).tolist()
        assert sum(len(one.columns().end_at) for one in page.series) == len(hours) == page.readings
        return hours

    async def close(self) -> None:
        await self.mdms.close()
        self.engine.dispose()


def give_up_the_journal(root: Path) -> None:
    """Of a store that is closed: its files are lost for good, and an operator says so."""
    journal = root / "measurements" / "journal"
    for file in journal.iterdir():
        file.unlink()
    engine = control_at(root / "control.db")
    missed = unreadable(engine, journal)
    assert missed
    give_up(engine, journal, missed, actor="operator", now=NOW)
    engine.dispose()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    one = Desk(tmp_path)
    yield one
    await one.close()


async def test_what_was_received_before_and_is_stored_after_the_first_question_stays_out_of_it(
    desk: Desk,
) -> None:
    await desk.come(range(3), NOW - HOUR)
    before = desk.shown(NOW)
    assert before == [0, 1, 2]
    await desk.come(range(3, 6), NOW - 1)  # it was on its way
    assert desk.shown(NOW) == before
    assert (
        desk.shown(NOW - 1) == before
    )  # nobody asked for it; but what is shown of later moments is not less
    assert desk.shown(NOW - 2 * HOUR) == []
    desk.now += 1
    assert desk.shown(NOW + 1) == desk.shown(None) == [*range(6)]
    await desk.mdms.compact()
    await desk.close()
    desk.open()
    await desk.come(range(6, 9), NOW - 1)
    assert [desk.shown(at) for at in (NOW - 2 * HOUR, NOW, NOW + 1)] == [[], before, [*range(6)]]


async def test_a_delivery_that_stands_between_its_stamp_and_its_commit(desk: Desk) -> None:
    await desk.come(range(3), NOW - HOUR)
    go, stopped = threading.Event(), threading.Event()
    places = desk.mdms._places.of

    def stop(devices: Any) -> Any:
        if device(1) in set(devices):
            stopped.set()
            assert go.wait(60)
        return places(devices)

    desk.mdms._places.of = stop  # type: ignore[method-assign]
    coming = asyncio.create_task(desk.come(range(4), NOW - 1, 1))
    await asyncio.to_thread(stopped.wait, 60)
    assert desk.shown(NOW, 1) == []
    go.set()
    await coming
    assert desk.shown(NOW, 1) == []
    assert desk.shown(None, 1) == [*range(4)]
    desk.now += 1
    assert desk.shown(NOW + 1, 1) == [*range(4)]


async def test_a_clock_that_is_set_back_changes_no_answer(desk: Desk) -> None:
    await desk.come(range(3), NOW - HOUR)
    assert desk.shown(NOW) == [0, 1, 2]
    desk.now = NOW - DAY
    await desk.come(range(3, 6), NOW - DAY)
    assert desk.shown(NOW) == [0, 1, 2]
    assert desk.shown(NOW - DAY) == []
    await desk.close()
    desk.open()
    await desk.come(range(6, 9), NOW - DAY + 1)
    assert desk.shown(NOW) == [0, 1, 2]
    assert desk.shown(NOW - DAY + 1) == []
    desk.now = NOW + 1  # it has caught up
    assert desk.shown(NOW + 1) == [*range(9)]
    assert desk.shown(NOW) == [0, 1, 2]


async def test_the_future_is_promised_to_nobody_and_becomes_past_once(desk: Desk) -> None:
    await desk.come(range(3), NOW - HOUR)
    assert desk.shown(NOW + HOUR) == [0, 1, 2]
    await desk.come(range(3, 6), NOW)
    assert desk.shown(NOW + HOUR) == [*range(6)]
    with read(desk.engine) as connection:
        assert connection.execute(answered.select()).all() == []
    desk.now = NOW + HOUR
    assert desk.shown(NOW + HOUR) == [*range(6)]
    await desk.come(range(6, 9), NOW + HOUR)
    assert desk.shown(NOW + HOUR) == [*range(6)]


async def test_questions_without_news_between_them_keep_one_row(desk: Desk) -> None:
    await desk.come(range(3), NOW - HOUR)
    for at in range(50):
        desk.now = NOW + at
        assert desk.shown(NOW + at) == [0, 1, 2]
    with read(desk.engine) as connection:
        assert len(connection.execute(answered.select()).all()) == 1
    await desk.come(range(3, 6), NOW - HOUR)
    assert {len(desk.shown(NOW + at)) for at in range(50)} == {3}


async def test_whoever_asks_at_once_while_readings_come_is_answered_alike_for_ever(desk: Desk) -> None:
    """Questions about rising moments from three threads beside deliveries, each stamped a moment before its commit."""
    heard: list[tuple[int, list[int]]] = []

    def ask() -> None:
        for at in range(15):
            moment = NOW + 10 * at
            heard.append((moment, desk.shown(moment)))

    desk.now = NOW + 1000
    asking = [asyncio.to_thread(ask) for _ in range(3)]

    async def coming() -> None:
        for hour in range(0, 60, 2):
            await desk.come(range(hour, hour + 2), NOW + 2 * hour)

    await asyncio.gather(coming(), *asking)
    await desk.mdms.compact()
    for moment, hours in heard:
        assert desk.shown(moment) == hours
    at = [desk.shown(NOW + 10 * k) for k in range(15)]
    assert all(set(one) <= set(other) for one, other in pairwise(at))


async def test_answers_of_a_journal_that_was_given_up_do_not_fill_with_what_has_its_numbers(
    desk: Desk,
) -> None:
    await desk.come(range(3), NOW - HOUR)
    await desk.mdms.compact()
    await desk.come(range(3, 6), NOW - HOUR)
    assert desk.shown(NOW) == [*range(6)]
    await desk.close()
    give_up_the_journal(desk.root)
    desk.open()
    assert desk.shown(NOW) == [0, 1, 2]
    await desk.come(range(6, 9), NOW - HOUR)
    assert desk.shown(NOW) == [0, 1, 2]
