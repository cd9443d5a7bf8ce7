"""The audit trail of refusals: what is written can be read, and what is changed afterwards shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterseal.control import write
from meterseal.control.tables import refusals
from meterseal.errors import DataError
from meterseal.model import Refusal
from meterseal.things.monitor import AuditLog
from tests.control_store import control_at
from tests.headend.ground import NOW, WATER


def entry(number: int) -> Refusal:
    return Refusal(NOW + number, "link.tag", f"Sentence {number}.", WATER, b"session!", number, "192.0.2.1")


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return control_at(tmp_path / "control.db")


@pytest.fixture
async def audit(engine: sa.Engine) -> AuditLog:
    log = AuditLog(engine)
    await log.refused([entry(number) for number in range(1, 4)])
    await log.refused([entry(4)])
    return log


async def test_entries_are_read_newest_first_by_pages(audit: AuditLog) -> None:
    assert [one.id for one in audit.latest(3)] == [4, 3, 2]
    assert [one.id for one in audit.latest(3, before=2)] == [1]
    newest = audit.latest(1)[0]
    assert (newest.code, newest.sentence, newest.counter, newest.device_id) == (
        "link.tag",
        "Sentence 4.",
        4,
        WATER,
    )
    assert (audit.count(), audit.verify()) == (4, 4)


@pytest.mark.parametrize("limit", [0, -1])
async def test_no_limit_opens_the_whole_trail(audit: AuditLog, limit: int) -> None:
    assert audit.latest(limit) == []


async def test_nothing_refused_writes_nothing(audit: AuditLog) -> None:
    await audit.refused([])
    assert audit.count() == 4


async def test_an_overlong_source_is_cut_and_still_verifies(audit: AuditLog) -> None:
    await audit.refused([Refusal(NOW, "x", "y", source="s" * 5_000)])
    assert len(audit.latest(1)[0].source) == 128
    assert audit.verify() == 5


@pytest.mark.parametrize(
    "change",
    [
        {"at": 1},
        {"code": "link.none"},
        {"sentence": "Nothing happened."},
        {"device_id": b"another!"},
        {"session_id": b"another!"},
        {"counter": 77},
        {"source": "203.0.113.7"},
        {"hash": bytes(32)},
        {"previous": bytes(32)},
    ],
)
async def test_a_changed_entry_is_found_by_its_number(
    audit: AuditLog, engine: sa.Engine, change: dict[str, Any]
) -> None:
    with write(engine) as connection:
        connection.execute(refusals.update().where(refusals.c.id == 2).values(**change))
    with pytest.raises(DataError) as broken:
        audit.verify()
    assert (broken.value.code, broken.value.facts["entry"]) == ("audit.broken", 2)


@pytest.mark.parametrize("gone", [1, 2, 3])
async def test_an_entry_taken_out_is_found(audit: AuditLog, engine: sa.Engine, gone: int) -> None:
    with write(engine) as connection:
        connection.execute(refusals.delete().where(refusals.c.id == gone))
    with pytest.raises(DataError):
        audit.verify()


async def test_two_entries_exchanged_are_found(audit: AuditLog, engine: sa.Engine) -> None:
    with write(engine) as connection:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            connection.execute(refusals.update().where(refusals.c.id == old).values(id=new))
    with pytest.raises(DataError):
        audit.verify()


@given(
    st.lists(
        st.builds(
            Refusal,
            st.integers(0, 2**50),
            st.text(max_size=20),
            st.text(max_size=80),
            st.binary(max_size=8),
            st.binary(max_size=8),
            st.integers(0, 2**48),
            st.text(max_size=200),
        ),
        max_size=5,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
async def test_whatever_is_refused_the_chain_holds(engine: sa.Engine, entries: list[Refusal]) -> None:
    log = AuditLog(engine)
    before = log.count()
    await log.refused(entries)
    assert log.verify() == before + len(entries)
