"""Attempts to have a run say something else through what is done to a whole store: a backup brought back, a person erased,
data keys that move on, a journal given up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meterseal.app.backup import write
from meterseal.app.backup_place import Place
from meterseal.app.config import Layout
from meterseal.app.restoring import restore, settle
from meterseal.control import write as writing
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import customers
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import DataError
from meterseal.mdms.service import Mdms
from meterseal.mdms.verifier import each
from meterseal.model import Batch
from meterseal.people.erasure import erase
from tests.mdms.fleet import DAY, FIRST, keys, open_store, point
from tests.mdms.test_answers import give_up_the_journal
from tests.mdms.test_exact_runs import METERS, NOW, STEPS, Watch, base, begun, record, said, steps


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    root = Layout(tmp_path / "data").platform
    root.mkdir(parents=True)
    one = Watch(root, METERS)
    await begun(one)
    await one.run(NOW)
    for number, name in enumerate(STEPS):
        await steps(one, NOW)[name]()
        await one.run(NOW + 1 + number)
    assert len(one.said) > 4
    yield one
    await one.close()


async def test_a_backup_that_is_brought_back_says_of_every_run_what_it_said(
    watch: Watch, tmp_path: Path
) -> None:
    place = Place(tmp_path / "backups")
    with place.writing():
        moment = await watch.mdms.moment(place.known())
        try:
            write(place, moment, NOW, 0)
        finally:
            moment.release()
    before = dict(watch.said)
    await steps(watch, NOW)["stated"]()
    await watch.run(NOW + DAY)  # of this the backup knows nothing
    layout = Layout(tmp_path / "other")
    restore(place, layout)
    back = Watch(layout.platform)
    settle(layout.platform, back.engine, keys(), NOW)
    back.said = dict(before)
    back.replays()
    # Its numbers are given out again, and to other runs.
    await steps(back, NOW)["delivered"]()
    await back.run(NOW + DAY)
    back.replays()
    assert {one.number for one in back.mdms.runs.latest()} == set(back.said)
    await back.close()


async def test_erasing_a_person_changes_nothing_that_a_run_said(watch: Watch) -> None:
    agreed: dict[str, list[tuple[int, int | None]]] = {point(0): [(FIRST, FIRST + 3 * DAY)]}
    watch.mdms.agreements_from(lambda: agreed)
    with writing(watch.engine) as connection:
        connection.execute(
            customers.insert().values(
                id="c1", name=b"n" * 40, address=b"a" * 40, wrapped_key=b"k" * 60, created_at=NOW
            )
        )
    vacant = await watch.run(NOW + DAY)
    assert b"vacant" in watch.said[vacant]
    erase(watch.engine, "c1", "operator", NOW + DAY)
    erase(watch.engine, "c1", "operator", NOW + DAY)  # which rewrites the whole file
    agreed.clear()
    await watch.run(NOW + 2 * DAY)
    watch.replays()
    await watch.again()
    watch.replays()


async def test_moving_to_a_newer_data_key_changes_nothing_that_a_run_said(watch: Watch) -> None:
    await watch.mdms.close()
    first, second = (SymmetricKey.from_bytes(bytes(range(n, n + 16)), "data key") for n in (0, 1))
    ring = KeyRing({1: first, 2: second}, 2)
    watch.mdms = mdms = Mdms.open(watch.root / "measurements", watch.engine, ring, each(lambda *_: True))
    moved = 0
    while done := await mdms.reseal():
        moved += done
    assert moved > 1
    for number, was in watch.said.items():
        assert said(mdms.replay(number)) == was


async def test_a_journal_that_was_given_up_is_said_of_runs_that_saw_it_and_its_numbers_fool_nobody(
    watch: Watch,
) -> None:
    await watch.mdms.compact()
    before = dict(watch.said)
    await watch.mdms.publish(Batch((record(0, base(0, range(200, 230)), NOW),)))
    lost = await watch.run(NOW + DAY)
    watch.replays()
    await watch.close()
    give_up_the_journal(watch.root)
    watch.mdms, watch.engine = open_store(watch.root)
    for _ in range(3):  # entries under the numbers of those that were lost
        await watch.mdms.publish(Batch((record(0, base(0, range(200, 230)), NOW),)))
        with pytest.raises(DataError) as refused:
            watch.mdms.replay(lost)
        assert (refused.value.code, "given up" in refused.value.message) == ("vee.not-replayable", True)
    watch.said = before
    watch.replays()
