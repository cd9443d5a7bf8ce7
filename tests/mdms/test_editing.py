"""Edits by people in the store: they meet what stands beside them, are undone whole, and never replace what was there."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from meterseal.control import acts, write
from meterseal.control.tables import edits as table
from meterseal.errors import DataError, EngineError, LocalError, MetersealError
from meterseal.mdms.edit_versions import Plan
from meterseal.mdms.editing import Wish
from meterseal.mdms.edits import Edit
from meterseal.mdms.facts import Fact
from meterseal.mdms.ledger.checkpoints import Checkpoints
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.rows import Readings
from meterseal.mdms.vee.estimators import ESTIMATORS, Override
from meterseal.model import Batch, Quality
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, open_store, point, register
from tests.mdms.test_exchange import LEFT, NEW, OLD, exchanged, hours, say
from tests.security.conftest import Bench, bench, cheap_stretching, clock, template

__all__ = ["bench", "cheap_stretching", "clock", "template"]

DAYS = 30
NOW = FIRST + 40 * DAY
UP = point(0)


async def filled(root: Path, left_out: tuple[int, ...] = (), days: int = DAYS) -> tuple[Mdms, sa.Engine]:
    mdms, engine = open_store(root, 1)
    for day in range(days):
        if day not in left_out:
            await mdms.publish(Batch((day_record(0, day, day + 1),)))
    return mdms, engine


def propose(mdms: Mdms, wish: Wish, plan: Plan | None = None, people: int = 0, now: int = NOW) -> Edit:
    plan = plan or mdms.edits.plan(wish, now)
    return mdms.edits.propose(
        wish, plan, reason="read on a photo", effect="none", people=people, author="operator", now=now
    )


async def made(mdms: Mdms, wish: Wish, now: int = NOW) -> Edit:
    edit = propose(mdms, wish, now=now)
    return await mdms.edits.save(edit.number, edit.digest, (), "operator", now)


async def taken_back(mdms: Mdms, number: int, now: int = NOW) -> Edit:
    plan = mdms.edits.plan_undo(number, now)
    edit = mdms.edits.get(number)
    wish = Wish(usage_point=edit.usage_point, since=edit.since, until=edit.until)
    undo = mdms.edits.propose(
        wish, plan, reason="wrong meter", effect="none", people=0, author="operator", now=now, undoes=number
    )
    return await mdms.edits.save(undo.number, undo.digest, (), "operator", now)


def shown(mdms: Mdms, as_of: int | None = None) -> Readings:
    return mdms.registers(UP, 1, 0, NOW, as_of)


def facts(found: Readings) -> list[tuple[object, ...]]:
    """All that a reader counts with, missing instants left out as every reader does."""
    columns = (found.end_at, found.register, found.quality, found.origin)
    rows = zip(*(one.tolist() for one in columns), found.uncertainty, strict=True)
    return [(*row, found.exponent, found.unit) for row in rows if row[2] != Quality.MISSING]


def code(error: pytest.ExceptionInfo[MetersealError]) -> str:
    return error.value.code


def wishes(random: Random) -> Wish:
    """A point, a range with a method, or a total, somewhere in the month."""
    since = FIRST + random.randrange(26, 24 * 27) * HOUR
    hours = random.choice((1, 2, 5, 24, 47))
    until = since + hours * HOUR
    kind = random.choice(("point", "range", "total"))
    if kind == "point":
        value = register(0, since) + random.randrange(-5, 12)
        return Wish(usage_point=UP, since=since, until=since, register=f"{value / 100:.2f}")
    if kind == "range":
        return Wish(usage_point=UP, since=since, until=until, method=random.choice(["", *sorted(ESTIMATORS)]))
    total = register(0, until) - register(0, since) + random.randrange(-20, 12)
    return Wish(usage_point=UP, since=since, until=until, total=f"{max(total, 0) / 100:.2f}")


async def test_edited_energy_meets_the_registers_and_undo_gives_back_every_bit(tmp_path: Path) -> None:
    """Sixty random edits on top of each other over delivered, estimated and absent readings, then all taken back."""
    random = Random(38)
    mdms, _ = await filled(tmp_path, left_out=(7, 8, 20))
    await mdms.run_vee(NOW)
    states, done, refusals = [facts(shown(mdms))], [], 0
    assert {row[2] for row in states[0]} == {Quality.MEASURED, Quality.ESTIMATED}
    for k in range(60):
        now = NOW + k + 1
        wish = wishes(random)
        edit = None
        with contextlib.suppress(DataError):
            edit = await made(mdms, wish, now)
        if edit is None:
            refusals += 1
            assert facts(shown(mdms)) == states[-1]
            continue
        done.append((edit, now))
        after = facts(shown(mdms))
        registers = {int(row[0]): int(row[1]) for row in after}  # type: ignore[call-overload]
        assert all(lower <= higher for lower, higher in pairwise(registers.values()))
        old = {row[0]: row for row in states[-1]}
        touched = {row[0] for row in after if old.get(row[0]) != row}
        assert touched == {at for at, _, _ in edit.content.plan.instants}
        assert all(row[2] == Quality.EDITED for row in after if row[0] in touched)
        if wish.total:
            assert registers[wish.until] - registers[wish.since] == round(float(wish.total) * 100)
        elif wish.since < wish.until:
            assert wish.until not in touched
            assert wish.since not in touched
        states.append(after)
    assert len(done) > 25
    assert refusals > 3
    for (edit, now), before, after in zip(done, states, states[1:], strict=False):
        assert facts(shown(mdms, as_of=now)) == after, edit.number
        assert facts(shown(mdms, as_of=now - 1)) == before, edit.number
    for k, (edit, _) in reversed(list(enumerate(done))):
        await taken_back(mdms, edit.number, NOW + 1000)
        assert facts(shown(mdms)) == states[k]
        assert mdms.edits.get(edit.number).state == "undone"
    await mdms.compact()
    await mdms.close()
    mdms, _ = open_store(tmp_path)
    assert facts(shown(mdms)) == states[0]
    assert facts(shown(mdms, as_of=done[-1][1])) == states[-1]
    await mdms.close()


async def test_a_gap_is_filled_by_a_stated_use_and_what_is_undone_is_absent_again(tmp_path: Path) -> None:
    mdms, _ = await filled(tmp_path, days=10)
    end = FIRST + 10 * DAY
    before = facts(shown(mdms))
    edit = await made(mdms, Wish(usage_point=UP, since=end, until=end + DAY, total="4.81"))
    found = facts(shown(mdms))
    assert len(found) == len(before) + 24
    assert found[-1][:3] == (end + DAY, register(0, end) + 481, Quality.EDITED)
    assert mdms.edits.shown(edit) == 24
    await taken_back(mdms, edit.number)
    assert facts(shown(mdms)) == before
    with pytest.raises(DataError) as error:
        mdms.edits.plan_undo(edit.number, NOW)
    assert code(error) == "edit.state"
    await mdms.close()


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"since": NOW + HOUR, "register": "200"}, "edit.future"),
        ({"since": FIRST + DAY, "until": NOW + HOUR, "total": "5"}, "edit.future"),
        ({"since": FIRST + 2 * DAY, "until": FIRST + DAY, "method": "flat"}, "edit.period"),
        ({"since": FIRST - 9 * DAY, "until": FIRST + 39 * DAY, "method": "flat"}, "edit.period"),
        ({"since": FIRST + DAY, "until": FIRST + DAY + 90_000, "method": "flat"}, "edit.period"),
        ({"since": FIRST + DAY, "register": "99.99"}, "edit.falls"),
        ({"since": FIRST + DAY, "register": "0"}, "edit.falls"),
        ({"since": FIRST + DAY, "register": "4.875"}, "edit.number"),
        ({"since": FIRST + DAY, "register": "NaN"}, "edit.number"),
        ({"since": FIRST + DAY, "register": "1e400"}, "edit.number"),
        ({"since": FIRST + DAY, "register": "1000000"}, "edit.number"),
        ({"since": FIRST + DAY, "until": FIRST + 2 * DAY, "total": "999999.99"}, "edit.number"),
        ({"since": FIRST + DAY}, "edit.wish"),
        ({"since": FIRST + DAY, "register": "5", "method": "flat"}, "edit.wish"),
        ({"since": FIRST + DAY, "until": FIRST + 2 * DAY, "register": "5"}, "edit.wish"),
        ({"since": FIRST + DAY, "until": FIRST + 2 * DAY, "method": "guess"}, "edit.method"),
        ({"since": FIRST + DAY, "until": FIRST + DAY + 5 * HOUR, "method": "linear"}, "edit.method"),
        ({"since": FIRST, "until": FIRST + DAY, "method": "flat"}, "edit.ends"),
        ({"since": FIRST + DAY, "until": FIRST + DAY + HOUR, "method": "flat"}, "edit.no-change"),
        ({"since": FIRST + DAY, "until": FIRST + 2 * DAY, "total": "6.00"}, "edit.falls"),
        ({"usage_point": "up-of-nobody", "since": FIRST + DAY, "register": "5"}, "edit.nothing-known"),
    ],
)
async def test_what_cannot_be_is_refused_with_a_reason(
    tmp_path: Path, wish: dict[str, object], expected: str
) -> None:
    mdms, _ = await filled(tmp_path, days=5)
    asked = Wish(**{"usage_point": UP, "until": wish["since"], **wish})  # type: ignore[arg-type]
    with pytest.raises(DataError) as error:
        mdms.edits.plan(asked, NOW)
    assert code(error) == expected
    assert "Nothing was changed" in str(error.value)
    await mdms.close()


async def test_no_edit_goes_across_an_exchange_of_the_meter(tmp_path: Path) -> None:
    mdms, engine = await filled(tmp_path, days=5)
    exchanged(engine, FIRST + 2 * DAY)
    with pytest.raises(DataError) as error:
        mdms.edits.plan(Wish(usage_point=UP, since=FIRST + DAY, until=FIRST + 3 * DAY, method="flat"), NOW)
    assert code(error) == "edit.meters"
    assert mdms.edits.plan(
        Wish(usage_point=UP, since=FIRST + DAY, until=FIRST + 2 * DAY - HOUR, method="flat"), NOW
    ).versions
    await mdms.close()


async def test_an_edit_stands_above_what_was_taken_back_from_an_exchanged_meter(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await say(mdms, OLD, 1, hours(OLD, 1, 40, 1000), received_at=LEFT + 6 * HOUR)
    exchanged(engine)
    assert await mdms.meter_left(UP, LEFT, LEFT + 7 * HOUR) == 7
    await say(mdms, NEW, 1, hours(NEW, 34, 35), hours(NEW, 38, 48, 28), received_at=LEFT + DAY)
    before = facts(shown(mdms))
    at = FIRST + 36 * HOUR
    edit = await made(mdms, Wish(usage_point=UP, since=at, until=at, register="0.15"))
    assert [row[:3] for row in facts(shown(mdms)) if row[0] == at] == [(at, 15, Quality.EDITED)]
    await taken_back(mdms, edit.number)
    assert facts(shown(mdms)) == before
    await mdms.close()


async def test_many_small_edits_move_a_register_as_far_as_one_large_one(tmp_path: Path) -> None:
    """Attack: stay below the threshold of four eyes in many steps."""
    mdms, _ = await filled(tmp_path, left_out=(3,), days=6)
    at = FIRST + 3 * DAY + 12 * HOUR
    start = register(0, FIRST + 3 * DAY)
    for k in range(1, 5):
        wish = Wish(usage_point=UP, since=at, until=at, register=f"{(start + 100 * k) / 100:.2f}")
        assert mdms.edits.plan(wish, NOW).moved == k
        await made(mdms, wish)
    await mdms.close()


async def test_attack_one_person_counts_twice(tmp_path: Path) -> None:
    mdms, _ = await filled(tmp_path, days=5)
    edit = propose(
        mdms, Wish(usage_point=UP, since=FIRST + DAY, until=FIRST + 2 * DAY, method="flat"), people=2
    )
    before = facts(shown(mdms))
    for people in ((), ("an",), ("an", "an")):
        with pytest.raises(DataError) as error:
            await mdms.edits.save(edit.number, edit.digest, people, "operator", NOW)
        assert code(error) == "edit.people"
    assert facts(shown(mdms)) == before
    await mdms.close()


async def test_attack_replay_of_an_approval(tmp_path: Path) -> None:
    """Used once, given up or undone, an edit is not saved again, even where somebody turns its state back."""
    mdms, engine = await filled(tmp_path, days=5)
    wish = Wish(usage_point=UP, since=FIRST + DAY, until=FIRST + 2 * DAY, method="flat")
    edit = await made(mdms, wish)
    await taken_back(mdms, edit.number)
    before = facts(shown(mdms))
    with pytest.raises(DataError) as error:
        await mdms.edits.save(edit.number, edit.digest, ("an", "bo"), "operator", NOW)
    assert code(error) == "edit.state"
    with write(engine) as connection:
        connection.execute(table.update().where(table.c.id == edit.number).values(state="proposed"))
    await mdms.edits.save(edit.number, edit.digest, ("an", "bo"), "operator", NOW)
    assert facts(shown(mdms)) == before
    other = propose(mdms, wish)
    with pytest.raises(DataError) as error:
        await mdms.edits.save(other.number, edit.digest, ("an", "bo"), "operator", NOW)
    assert code(error) == "edit.differs"
    mdms.edits.withdraw(other.number, "operator", NOW)
    with pytest.raises(DataError) as error:
        await mdms.edits.save(other.number, other.digest, ("an", "bo"), "operator", NOW)
    assert code(error) == "edit.state"
    with pytest.raises(DataError) as error:
        mdms.edits.withdraw(other.number, "operator", NOW)
    assert code(error) == "edit.state"
    for ask in (mdms.edits.get, lambda number: mdms.edits.withdraw(number, "operator", NOW)):
        with pytest.raises(LocalError) as none:
            ask(99)
        assert none.value.code == "edit.none"
    await mdms.close()


@pytest.mark.parametrize(
    "change", [{"people": 0}, {"usage_point": point(1)}, {"author": "an"}, {"until": NOW}]
)
async def test_attack_change_a_proposal_in_the_control_store(
    tmp_path: Path, change: dict[str, object]
) -> None:
    mdms, engine = await filled(tmp_path, days=5)
    wish = Wish(usage_point=UP, since=FIRST + DAY, until=FIRST + 2 * DAY, method="flat")
    edit = propose(mdms, wish, people=2)
    with write(engine) as connection:
        connection.execute(table.update().where(table.c.id == edit.number).values(**change))
    with pytest.raises(MetersealError) as error:
        await mdms.edits.save(edit.number, edit.digest, ("an", "bo"), "operator", NOW)
    assert code(error) == "edit.damaged"
    await mdms.close()


async def test_attack_an_edit_races_with_a_late_delivery(tmp_path: Path) -> None:
    """What came between proposing and saving is not papered over; what comes after saving is the meter's own word."""
    mdms, _ = await filled(tmp_path, left_out=(3,), days=6)
    wish = Wish(usage_point=UP, since=FIRST + 3 * DAY, until=FIRST + 4 * DAY + HOUR, method="flat")
    edit = propose(mdms, wish)
    await mdms.publish(Batch((day_record(0, 3, 4),)))
    before = facts(shown(mdms))
    with pytest.raises(DataError) as error:
        await mdms.edits.save(edit.number, edit.digest, (), "operator", NOW)
    assert code(error) == "edit.overtaken"
    assert facts(shown(mdms)) == before
    await mdms.close()

    second = tmp_path / "second"
    second.mkdir()
    mdms, _ = await filled(second, left_out=(3,), days=6)
    edit = await made(mdms, wish)
    assert mdms.edits.shown(edit) == 24
    await mdms.publish(Batch((day_record(0, 3, 4),)))
    assert facts(shown(mdms)) == before
    assert mdms.edits.shown(edit) == 0
    with pytest.raises(DataError) as error:
        mdms.edits.plan_undo(edit.number, NOW)
    assert code(error) == "edit.gone"
    await mdms.close()


async def test_attack_an_edit_and_a_delivery_at_the_same_time_leave_no_mixture(tmp_path: Path) -> None:
    """Whichever comes first, what the meter says of its day is what is visible, and the edit says so."""
    mdms, _ = await filled(tmp_path, left_out=(3,), days=6)
    edit = propose(
        mdms, Wish(usage_point=UP, since=FIRST + 3 * DAY, until=FIRST + 4 * DAY + HOUR, method="flat")
    )
    saving = mdms.edits.save(edit.number, edit.digest, (), "operator", NOW)
    came = mdms.publish(Batch((day_record(0, 3, 4),)))
    saved, _ = await asyncio.gather(saving, came, return_exceptions=True)
    assert isinstance(saved, Edit) or (isinstance(saved, DataError) and saved.code == "edit.overtaken")
    rows = facts(shown(mdms))
    assert [row[1] for row in rows] == [register(0, FIRST + k * HOUR) for k in range(1, 6 * 24 + 1)]
    assert mdms.edits.shown(edit) == 0
    await mdms.close()


async def test_no_edit_goes_where_the_decimal_places_or_the_unit_change(tmp_path: Path) -> None:
    mdms, _ = await filled(tmp_path, days=3)
    record = day_record(0, 3, 9)
    finer = tuple(
        replace(one, exponent=-3, registers=tuple(10 * (r or 0) for r in one.registers))
        for one in record.series
    )
    await mdms.publish(Batch((replace(record, series=finer),)))
    edge = FIRST + 3 * DAY
    with pytest.raises(DataError) as error:
        mdms.edits.plan(
            Wish(usage_point=UP, since=edge, until=edge, register=f"{register(0, edge) / 100:.2f}1"), NOW
        )
    assert code(error) == "edit.number"
    for at in (edge, edge + HOUR):
        text = f"{(register(0, at) - 1) / 100:.2f}"
        with pytest.raises(DataError) as error:
            mdms.edits.plan(Wish(usage_point=UP, since=at, until=at, register=text), NOW)
        assert code(error) == "edit.units"
    assert mdms.edits.plan(
        Wish(usage_point=UP, since=edge + 2 * HOUR, until=edge + DAY, method="flat"), NOW
    ).versions
    await mdms.close()


async def test_a_store_that_is_closed_takes_no_edit(tmp_path: Path) -> None:
    mdms, _ = await filled(tmp_path, days=5)
    edit = propose(mdms, Wish(usage_point=UP, since=FIRST + DAY, until=FIRST + 2 * DAY, method="flat"))
    await mdms.close()
    with pytest.raises(EngineError) as error:
        await mdms.edits.save(edit.number, edit.digest, (), "operator", NOW)
    assert error.value.code == "mdms.closed"


async def test_an_undo_that_would_leave_a_later_edit_with_a_fall_is_refused(tmp_path: Path) -> None:
    mdms, _ = await filled(tmp_path, days=5)
    at = FIRST + 2 * DAY
    lower = f"{register(0, at - HOUR) / 100:.2f}"
    first = await made(mdms, Wish(usage_point=UP, since=at, until=at, register=lower))
    one_more = f"{(register(0, at - HOUR) + 1) / 100:.2f}"
    await made(mdms, Wish(usage_point=UP, since=at + HOUR, until=at + HOUR, register=one_more))
    with pytest.raises(DataError) as error:
        mdms.edits.plan_undo(first.number, NOW)
    assert code(error) == "edit.built-on"
    await taken_back(mdms, 2)
    await taken_back(mdms, first.number)
    assert {row[2] for row in facts(shown(mdms))} == {Quality.MEASURED}
    await mdms.close()


@pytest.mark.parametrize("estimated_before", [False, True])
async def test_estimates_meet_what_a_person_wrote_into_a_gap(tmp_path: Path, estimated_before: bool) -> None:
    mdms, _ = await filled(tmp_path, left_out=(7,), days=14)
    at, start = FIRST + 7 * DAY + 12 * HOUR, register(0, FIRST + 7 * DAY)
    if estimated_before:
        assert (await mdms.run_vee(NOW)).versions == 24
    await made(mdms, Wish(usage_point=UP, since=at, until=at, register=f"{(start + 3) / 100:.2f}"))
    await mdms.run_vee(NOW)
    rows = facts(shown(mdms))
    assert len(rows) == 14 * 24
    assert all(int(one[1]) <= int(other[1]) for one, other in pairwise(rows))  # type: ignore[call-overload]
    edited = [row for row in rows if row[2] == Quality.EDITED]
    assert (at, start + 3) in [row[:2] for row in edited]
    assert len(edited) == (
        24 if estimated_before else 1
    )  # estimates that it contradicts are made anew with it
    assert (await mdms.run_vee(NOW)).versions == 0
    await mdms.close()


async def test_a_crash_between_journal_and_state_is_completed_and_the_trail_says_who(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdms, engine = await filled(tmp_path, days=5)
    edit = propose(
        mdms, Wish(usage_point=UP, since=FIRST + DAY, until=FIRST + 2 * DAY, method="flat"), people=2
    )

    def crash(*_: object) -> Edit:
        raise OSError("the process ended here")

    with monkeypatch.context() as patch:
        patch.setattr(mdms.edits, "_saved", crash)
        with pytest.raises(OSError, match="ended"):
            await mdms.edits.save(edit.number, edit.digest, ("an", "bo"), "operator", NOW)
    await mdms.close()
    mdms, engine = open_store(tmp_path)
    written = facts(shown(mdms))
    assert mdms.edits.get(edit.number).state == "proposed"
    saved = await mdms.edits.save(edit.number, edit.digest, ("an", "bo"), "operator", NOW)
    assert (saved.state, saved.officers, saved.saved_at) == ("saved", ("an", "bo"), NOW)
    assert facts(shown(mdms)) == written
    assert mdms.edits.shown(saved) == len(list(saved.content.plan.instants))
    assert [(act.actor, act.act, act.subject) for act in acts.verified(engine)] == [
        ("operator", "edit-proposed", "edit/1"),
        ("an", "edit-saved", "edit/1"),
        ("bo", "edit-saved", "edit/1"),
    ]
    (finding,) = [one for one in mdms.findings() if one.rule == "edited"]
    assert (finding.usage_point, finding.detail) == (UP, {"edit": 1, "people": 2})
    await mdms.close()


async def test_no_register_of_an_edit_and_no_reason_lies_in_clear(tmp_path: Path) -> None:
    mdms, engine = await filled(tmp_path, days=5)
    propose(mdms, Wish(usage_point=UP, since=FIRST + DAY, until=FIRST + 2 * DAY, method="flat"))
    with engine.connect() as connection:
        row = connection.execute(sa.select(table)).one()
    assert b"photo" not in row.sealed_content
    assert "photo" not in str(row._mapping)
    for reason in ("", "   ", "x" * 401):
        plan = mdms.edits.plan(
            Wish(usage_point=UP, since=FIRST + DAY, until=FIRST + 2 * DAY, method="flat"), NOW
        )
        with pytest.raises(LocalError) as error:
            mdms.edits.propose(
                Wish(usage_point=UP, since=1, until=1),
                plan,
                reason=reason,
                effect="",
                people=0,
                author="o",
                now=NOW,
            )
        assert error.value.code == "edit.reason"
    await mdms.close()


async def test_the_ledger_holds_with_edits_and_shows_one_that_came_by_no_journal(
    tmp_path: Path, bench: Bench
) -> None:
    mdms, engine = await filled(tmp_path, days=5)
    await made(mdms, Wish(usage_point=UP, since=FIRST + DAY, until=FIRST + 2 * DAY, method="flat"))
    checkpoints = Checkpoints(engine, mdms.ledger, bench.platform)
    await mdms.settle()
    await checkpoints.look()
    assert (await mdms.audit(checkpoints)).faults == ()
    await mdms.compact()
    assert (await mdms.audit(checkpoints)).faults == ()
    await mdms.close()


async def rolling(root: Path) -> Mdms:
    """Four days of a meter of 30 litres an hour, whose register begins anew in the 50th; hours 47 to 53 are missing."""
    mdms, _ = open_store(root, 1)
    await mdms.order_methods(Override(FIRST, NOW, ("flat",), "so that one can count it"), "operator", NOW)
    for counter, (first, last) in enumerate(((1, 46), (54, 96))):
        registers = tuple((10**8 - 1_500 + 30 * hour) % 10**8 for hour in range(first, last + 1))
        await say(mdms, 0, counter + 1, replace(hours(0, first, last), registers=registers), received_at=NOW)
    return mdms


def register_at(mdms: Mdms, *hours: int) -> list[int]:
    found = shown(mdms)
    seen = dict(zip(found.end_at.tolist(), found.register.tolist(), strict=True))
    return [seen[FIRST + hour * HOUR] for hour in hours]


async def test_a_range_in_which_the_register_begins_anew_is_edited_and_undone(tmp_path: Path) -> None:
    mdms = await rolling(tmp_path)
    since, until = FIRST + 46 * HOUR, FIRST + 54 * HOUR
    edit = await made(mdms, Wish(usage_point=UP, since=since, until=until))
    assert register_at(mdms, 46, 47, 49, 50, 53, 54) == [10**8 - 120, 10**8 - 90, 10**8 - 30, 0, 90, 120]
    assert (await mdms.run_vee(NOW)).versions == 0
    with pytest.raises(DataError) as error:
        mdms.edits.plan(Wish(usage_point=UP, since=since, until=until, total="2.71"), NOW)
    assert code(error) == "edit.falls"
    point_at = FIRST + 51 * HOUR
    plan = mdms.edits.plan(Wish(usage_point=UP, since=point_at, until=point_at, register="0.50"), NOW + 1)
    assert plan.moved == Decimal("1.70")  # what stood before any person's edit is the register before the gap
    for wrong in ("999999.90", "5.00"):
        with pytest.raises(DataError) as error:
            mdms.edits.plan(Wish(usage_point=UP, since=point_at, until=point_at, register=wrong), NOW + 1)
        assert code(error) == "edit.falls"
    await taken_back(mdms, edit.number, NOW + 2)
    assert {row[0] for row in facts(shown(mdms))} & set(range(since + 1, until)) == set()
    await mdms.close()


async def test_an_edit_asks_methods_in_the_order_that_a_run_would(tmp_path: Path) -> None:
    mdms, _ = await filled(tmp_path)
    wish = Wish(usage_point=UP, since=FIRST + 20 * DAY, until=FIRST + 21 * DAY)

    def registers() -> tuple[int, ...]:
        return tuple(register for _, register, _ in mdms.edits.plan(wish, NOW).instants)

    usual = registers()
    flat = Override(FIRST + 19 * DAY, FIRST + 22 * DAY, ("flat",), "everybody stays at home")
    await mdms.order_methods(flat, "operator", NOW)
    assert registers() != usual
    assert registers() == tuple(r for _, r, _ in mdms.edits.plan(replace(wish, method="flat"), NOW).instants)
    await mdms.close()


async def test_an_edit_asks_the_neighbours(tmp_path: Path) -> None:
    members = (0, 4, 8, 12, 16)
    mdms, _ = open_store(tmp_path, 20)
    for day in range(3):
        await mdms.publish(Batch(tuple(day_record(number, day, day + 1) for number in members)))
    await mdms.state(
        [Fact(usage_point=point(n), kind="group", value="riser", since=FIRST) for n in members], NOW
    )
    wish = Wish(usage_point=UP, since=FIRST + DAY, until=FIRST + DAY + 8 * HOUR, method="neighbour-group")
    assert mdms.edits.plan(wish, NOW).versions
    alone = Wish(usage_point=point(4), since=wish.since, until=wish.until, method=wish.method)
    await mdms.state([Fact(usage_point=point(4), kind="group", value="", since=FIRST)], NOW + 1)
    with pytest.raises(DataError) as error:
        mdms.edits.plan(alone, NOW + 2)
    assert code(error) == "edit.method"
    await mdms.close()
