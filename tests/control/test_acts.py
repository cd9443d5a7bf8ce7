"""The trail of acts: chained, by id, and every change of it is found."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.control import acts, open_control, write
from meterseal.control.tables import acts as table
from meterseal.errors import DataError


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    engine = open_control(tmp_path / "control.db")
    with write(engine) as connection:
        for number in range(3):
            acts.append(connection, acts.Act(number, "operator", "customer.erased", f"c{number}"))
    return engine


def test_acts_are_read_in_order_after_the_chain_was_verified(engine: sa.Engine) -> None:
    assert [act.subject for act in acts.verified(engine)] == ["c0", "c1", "c2"]


@pytest.mark.parametrize(
    "statement",
    [
        "update acts set subject = 'c9' where id = 2",
        "update acts set at = 7 where id = 1",
        "delete from acts where id = 2",
        "update acts set id = id + 10",
        "update acts set previous = zeroblob(32) where id = 3",
    ],
)
def test_a_changed_moved_or_missing_act_is_found(engine: sa.Engine, statement: str) -> None:
    with write(engine) as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(DataError) as caught:
        acts.verified(engine)
    assert caught.value.code == "audit.broken"


def test_an_act_that_is_undone_leaves_no_hole(engine: sa.Engine) -> None:
    def half() -> None:
        with write(engine) as connection:
            acts.append(connection, acts.Act(9, "operator", "x", "y"))
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert len(acts.verified(engine)) == 3
    with write(engine) as connection:
        assert acts.append(connection, acts.Act(9, "operator", "x", "y")) == 4
        assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 4
