"""The audit trail on the screen and in `status`: said to hold only when somebody looked, and loudly when it does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from litestar.testing import TestClient

from meterseal.control import write
from meterseal.control.tables import refusals
from meterseal.errors import EngineError
from meterseal.model import Refusal
from meterseal.people import trail as module
from meterseal.people.portal.app import create_app
from meterseal.people.portal.settings import PortalSettings
from meterseal.people.trail import RECENT, WHOLE, Trail
from meterseal.things.monitor import AuditLog
from tests.control_store import control_at
from tests.people.town import NoAnchor, Town

ENTRIES = 12


class Clock:
    """A clock that a test moves."""

    now = 1_000_000

    def __call__(self) -> int:
        return self.now


class Watched(AuditLog):
    """The real log, which says from where it was verified, and in which thread."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self.asked: list[int] = []
        self.threads: set[int] = set()

    def verify_from(self, number: int, previous: bytes) -> tuple[int, bytes]:
        self.asked.append(number)
        self.threads.add(threading.get_ident())
        return super().verify_from(number, previous)


def entry(number: int) -> Refusal:
    return Refusal(number, "link.tag", f"Sentence {number}.", b"device 1", b"", number, "192.0.2.1")


@pytest.fixture
async def audit(tmp_path: Path) -> Watched:
    log = Watched(control_at(tmp_path / "control.db"))
    await log.refused([entry(number) for number in range(1, ENTRIES + 1)])
    return log


def spoil(audit: AuditLog, *changes: sa.Executable) -> None:
    with write(audit._engine) as connection:
        for change in changes:
            connection.execute(change)


async def test_a_whole_trail_is_verified_off_the_event_loop_and_remembered_for_a_while(
    audit: Watched,
) -> None:
    clock = Clock()
    trail = Trail(audit, NoAnchor(), clock)
    for _ in range(3):
        found = await trail.state()
        assert (found.holds, found.entries, found.at, found.says) == (True, ENTRIES, clock.now, "")
    assert threading.get_ident() not in audit.threads
    assert len(audit.asked) == 2  # once what it knows (nothing yet), once the whole


async def test_between_two_whole_looks_only_what_is_new_is_read(audit: Watched) -> None:
    clock = Clock()
    trail = Trail(audit, NoAnchor(), clock)
    await trail.state()
    audit.asked.clear()
    await audit.refused([entry(99)])
    clock.now += RECENT
    assert (await trail.state()).entries == ENTRIES + 1
    assert audit.asked == [ENTRIES]
    clock.now += WHOLE
    await trail.state()
    assert audit.asked == [ENTRIES, ENTRIES + 1, 0]


@pytest.mark.parametrize("gone", [1, 5, ENTRIES])
async def test_attack_delete_rows_of_the_trail_is_said_with_the_entry_at_the_next_look(
    audit: Watched, gone: int
) -> None:
    """Out of the beginning, the middle, or the end, which is whole in itself."""
    clock = Clock()
    trail = Trail(audit, NoAnchor(), clock)
    assert (await trail.state()).holds
    spoil(audit, refusals.delete().where(refusals.c.id == gone))
    clock.now += RECENT
    found = await trail.state()
    assert (found.holds, found.entry) == (False, gone)
    assert f"entry {gone}:" in found.says
    clock.now += WHOLE
    assert (await trail.state()).holds is False


async def test_attack_cut_the_end_off_and_write_it_anew_is_said(audit: Watched) -> None:
    clock = Clock()
    trail = Trail(audit, NoAnchor(), clock)
    await trail.state()
    spoil(audit, refusals.delete().where(refusals.c.id > 9))
    await audit.refused([entry(70), entry(71), entry(72), entry(73)])
    audit.verify()  # in itself the chain is whole again
    clock.now += RECENT
    found = await trail.state()
    assert (found.holds, found.entry) == (False, ENTRIES)


async def test_attack_change_words_of_an_old_row_is_said_within_the_bounded_time(audit: Watched) -> None:
    clock = Clock()
    trail = Trail(audit, NoAnchor(), clock)
    await trail.state()
    spoil(audit, refusals.update().where(refusals.c.id == 3).values(sentence="Nothing."))
    clock.now += WHOLE
    found = await trail.state()
    assert (found.holds, found.entry) == (False, 3)
    spoil(audit, refusals.update().where(refusals.c.id == 3).values(sentence="Sentence 3."))
    clock.now += WHOLE
    assert (await trail.state()).holds is True  # restored


class SlowAnchor:
    """A security service that takes its time to say where the anchor is."""

    async def compared(self) -> int | None:
        await asyncio.sleep(60)
        return 1


async def test_a_service_that_is_slow_to_name_its_anchor_holds_up_no_page(
    audit: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANCHOR", 0.05)
    found = await Trail(audit, SlowAnchor(), Clock()).state()
    assert (found.holds, found.entries, found.anchored) == (True, ENTRIES, None)


async def test_while_nobody_could_look_nothing_is_said(
    audit: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away, and a trail so long that a page cannot wait for it."""
    clock = Clock()
    trail = Trail(audit, NoAnchor(), clock)

    def away(number: int, previous: bytes) -> tuple[int, bytes]:
        raise EngineError("control.busy", "Another program has locked the store.")

    monkeypatch.setattr(audit, "verify_from", away)
    assert (await trail.state()).holds is None
    goes_on = threading.Event()

    def slow(number: int, previous: bytes) -> tuple[int, bytes]:
        goes_on.wait(10)
        return AuditLog.verify_from(audit, number, previous)

    monkeypatch.setattr(audit, "verify_from", slow)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    assert (await trail.state()).holds is None
    goes_on.set()
    for _ in range(100):
        await asyncio.sleep(0.02)
        if (await trail.state()).holds:
            break
    assert (await trail.state()).holds is True


WARNING = {"en": "it was changed at entry 17", "zh-CN": "第 17 条被改动"}
CLAIM = {"en": "held when it was verified", "zh-CN": "的哈希链完好"}


@pytest.fixture
def spoilt(town: Town) -> Iterator[Town]:
    """The town with one row of its trail gone, and a trail that has not looked yet; put back afterwards."""
    with write(town.engine) as connection:
        gone = dict(connection.execute(sa.select(refusals).where(refusals.c.id == 17)).mappings().one())
        connection.execute(refusals.delete().where(refusals.c.id == 17))
    before = town.queries._trail
    town.queries._trail = Trail(AuditLog(town.engine), NoAnchor(), lambda: town.now)
    yield town
    town.queries._trail = before
    with write(town.engine) as connection:
        connection.execute(refusals.insert().values(gone))


@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize("page", ["/fleet", "/fleet/refusals"])
def test_attack_delete_a_refusal_and_hope_that_operators_do_not_notice(
    spoilt: Town, page: str, language: str
) -> None:
    with TestClient(create_app(spoilt.web(), PortalSettings())) as client:
        client.cookies.set("ms_session", spoilt.session(spoilt.operator))
        text = client.get(page, headers={"accept-language": language}).text
    assert WARNING[language] in text
    assert CLAIM[language] not in text
    assert 'role="alert"' in text


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_a_trail_that_holds_says_when_it_was_verified_and_nothing_more(town: Town, language: str) -> None:
    with TestClient(create_app(town.web(), PortalSettings())) as client:
        client.cookies.set("ms_session", town.session(town.operator))
        text = client.get("/fleet/refusals", headers={"accept-language": language}).text
        home = client.get("/fleet", headers={"accept-language": language}).text
    assert CLAIM[language] in text
    assert 'role="alert"' not in text + home
