"""Edits as the operator makes them: shown on bills before they are saved, signed by two officers, corrected by the run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from meterseal.app.editing import ApproveEdit, EditingDesk, EditMeter, EditNumber
from meterseal.app.operator import Page
from meterseal.cli.editing import _line
from meterseal.control import write
from meterseal.control.tables import meters
from meterseal.errors import DataError, LocalError, MetersealError, TrustError
from meterseal.mdms.entries import Version
from meterseal.mdms.facts import Fact
from meterseal.mdms.service import Mdms
from meterseal.model import EXPORT, MAIN, Batch, Quality, Series
from meterseal.people.editing import Editing
from meterseal.security.editorders import PURPOSE, EditOrder
from meterseal.security.orders import SignedOrder, encoded
from meterseal.things.fleet import Fleet
from meterseal.utility.customers import NewCustomer
from meterseal.utility.customers import Person as Somebody
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.service import Utility
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, open_store, point, register
from tests.security.conftest import Bench, Clock, bench, cheap_stretching, clock, template
from tests.security.people import Person, fields, founded, ordered
from tests.utility.twins import MemoryKeys

__all__ = ["bench", "cheap_stretching", "clock", "template"]

BEGIN, END = FIRST + DAY, FIRST + 30 * DAY
NOW = END + 2 * DAY
REASON = "the meter's clock stood still"


class House(Struct):
    """A water meter over one billing period, its customer, the desk and the officers."""

    mdms: Mdms
    utility: Utility
    desk: EditingDesk
    people: tuple[Person, ...]

    async def edit(self, **asked: Any) -> dict[str, Any]:
        request = EditMeter(**{"device_id": device(0), "reason": REASON, **asked})
        found: dict[str, Any] = json.loads((await self.desk.edit("operator", request)).json)
        return found

    async def undo(self, number: int, **asked: Any) -> dict[str, Any]:
        asked = {"number": number, "reason": "it was the right clock", **asked}
        found: dict[str, Any] = json.loads((await self.desk.undo("operator", EditNumber(**asked))).json)
        return found

    async def order(self, number: int, **other: Any) -> EditOrder:
        answer = await self.desk.approve("operator", ApproveEdit(number=number))
        said = json.loads(answer.json)["order"]
        said["digest"] = bytes.fromhex(said["digest"])
        return EditOrder(**(fields(NOW + HOUR) | said | other))  # type: ignore[arg-type]

    async def approve(self, number: int, order: SignedOrder | None) -> dict[str, Any]:
        answer = await self.desk.approve("operator", ApproveEdit(number=number, order=order))
        found: dict[str, Any] = json.loads(answer.json)
        return found

    def seen(self) -> list[tuple[int, int, int]]:
        found = self.mdms.registers(point(0), 1, 0, NOW)
        columns = (found.end_at, found.register, found.quality)
        rows = zip(*(one.tolist() for one in columns), strict=True)
        return [row for row in rows if row[2] != Quality.MISSING]


@pytest.fixture
async def house(tmp_path: Path, bench: Bench, clock: Clock) -> AsyncIterator[House]:
    clock.now = NOW
    mdms, engine = open_store(tmp_path, 4)
    for day in range(31):
        await mdms.publish(Batch((day_record(0, day, day + 1),)))
    utility = await Utility.start(engine, mdms, MemoryKeys(), BEGIN)
    utility.publish_tariffs(sample_tariffs())
    await utility.customers.add(NewCustomer(Somebody("张望舒", "梧桐里 3 号楼"), "c1"), BEGIN)
    utility.add_agreement("a-1", "c1", point(0), "sample-cold-water-tiered", BEGIN, 1)
    people = await founded(bench)
    editing = Editing(mdms.edits, utility, bench.platform, clock)
    desk = EditingDesk(mdms, editing, Fleet(engine, clock))
    yield House(mdms, utility, desk, people)
    await mdms.close()
    engine.dispose()


def value(at: int, more: int = 0) -> str:
    return f"{(register(0, at) + more) / 100:.2f}"


async def test_the_effect_on_the_bill_is_what_the_run_then_makes(house: House) -> None:
    """Before any bill: a small edit is one person's; the figures shown before are those of the bill issued after."""
    before = house.seen()
    asked = {"since": END, "until": END, "register": value(END, 5)}
    shown = await house.edit(**asked, dry_run=True)
    assert house.seen() == before
    assert house.mdms.edits.latest() == []
    assert (shown["people"], shown["moved"], shown["edit"]) == (0, "0.05", None)
    (period,) = shown["effect"]["periods"]
    assert (period["issued"], period["corrects"]) == ("", False)
    assert period["after_fen"] - period["before_fen"] == 25
    (line,) = period["lines"]
    assert line["before"] != line["after"]
    saved = await house.edit(**asked)
    assert (saved["edit"]["state"], saved["edit"]["visible"], saved["effect"]) == (
        "saved",
        1,
        shown["effect"],
    )
    report = await house.utility.run_bills(NOW)
    assert house.utility.bill(report.issued[0]).total_fen == period["after_fen"]


async def test_a_bill_that_waits_for_what_was_fed_in_goes_on_by_an_edit_of_it(house: House) -> None:
    mdms, utility, power = house.mdms, house.utility, 3
    hours = (END - FIRST) // HOUR
    for channel, first, last in ((MAIN, 1_000, hours + 24), (EXPORT, 5_000, hours - 3)):
        registers = tuple(first + 20 * hour for hour in range(last + 1))
        series = (Series(device(power), channel, "kWh", -2, FIRST, HOUR, registers),)
        record = replace(day_record(power, 0, channel), series=series, received_at=NOW)
        await mdms.publish(Batch((record,)))
    await mdms.state([Fact(usage_point=point(power), kind="plant", value="6")], NOW)
    await mdms.run_vee(NOW)
    utility.add_agreement("a-2", "c1", point(power), "sample-electricity-feed-in", BEGIN, 1)
    used = mdms.registers(point(power), MAIN, 0, NOW).register.tolist()
    await utility.run_bills(NOW)
    asked = {"device_id": device(power), "since": END, "until": END, "register": "195.00", "fed_in": True}
    before = [held.code for held in utility.held() if held.usage_point == point(power)]
    said = await house.edit(**asked)
    report = await utility.run_bills(NOW + 1)
    (bill,) = (one for one in map(utility.bill, report.issued) if one.usage_point == point(power))
    assert before == ["bill.export-missing"]
    assert (said["edit"]["state"], bill.lines[-1].charge.quantity) == ("saved", Decimal("140.20"))
    assert mdms.registers(point(power), MAIN, 0, NOW).register.tolist() == used


async def test_an_edit_that_a_bill_counted_with_takes_two_officers_and_the_run_corrects_the_bill(
    house: House,
) -> None:
    (issued,) = (await house.utility.run_bills(NOW)).issued
    before = house.seen()
    shown = await house.edit(since=END, until=END, register=value(END, 5))
    assert (shown["people"], shown["edit"]["state"], shown["effect"]["used_by"]) == (2, "proposed", [issued])
    (period,) = shown["effect"]["periods"]
    assert (period["issued"], period["corrects"]) == (issued, True)
    assert house.seen() == before
    assert (await house.utility.run_bills(NOW)).corrected == ()
    order = ordered(PURPOSE, await house.order(1), house.people)
    saved = await house.approve(1, order)
    assert (saved["state"], saved["officers"], saved["visible"]) == ("saved", ["an", "bo"], 1)
    (corrected,) = (await house.utility.run_bills(NOW + 1)).corrected
    assert house.utility.bill(corrected).total_fen == period["after_fen"]
    assert house.utility.bill(issued).total_fen == period["before_fen"]
    undo = await house.undo(1)
    assert (undo["people"], undo["edit"]["state"], undo["moved"]) == (2, "proposed", "0.05")
    await house.approve(2, ordered(PURPOSE, await house.order(2), house.people))
    assert house.seen() == before
    (again,) = (await house.utility.run_bills(NOW + 2)).corrected
    assert house.utility.bill(again).total_fen == period["before_fen"]
    rows = json.loads((await house.desk.edits("operator", Page())).json)
    assert [(row["number"], row["state"], row["undoes"]) for row in rows] == [
        (2, "saved", 1),
        (1, "undone", None),
    ]


async def test_attack_have_signed_what_was_harmless_and_hand_it_in_once_a_bill_counted_with_it(
    house: House,
) -> None:
    """The signatures are good, over the very registers, and over an effect that is not true any more."""
    shown = await house.edit(since=BEGIN + DAY, until=BEGIN + DAY, register=value(BEGIN + DAY, 2))
    assert (shown["people"], shown["edit"]["state"]) == (0, "saved")
    asked = {"since": NOW - DAY, "until": NOW - DAY, "register": value(NOW - DAY, 300)}
    shown = await house.edit(**asked)
    assert shown["people"] == 2
    order = ordered(PURPOSE, await house.order(2), house.people)
    before = house.seen()
    assert len((await house.utility.run_bills(NOW)).issued) == 1
    house.utility.end_agreement(
        "a-1", NOW - DAY, actor="operator", now=NOW
    )  # what it moves lies at the end of a bill now
    for handed in (order, None):
        with pytest.raises(DataError) as error:
            await house.approve(2, handed)
        assert error.value.code == "edit.overtaken"
        assert "propose it anew" in error.value.message
    assert house.seen() == before
    assert json.loads((await house.desk.edits("operator", Page())).json)[0]["state"] == "proposed"
    await house.undo(2)
    again = await house.edit(**asked)
    assert again["effect"]["periods"] != shown["effect"]["periods"]
    saved = await house.approve(3, ordered(PURPOSE, await house.order(3), house.people))
    assert saved["state"] == "saved"


async def test_attack_hand_in_signatures_once_the_readings_lie_between_two_customers(house: House) -> None:
    shown = await house.edit(since=NOW - 2 * DAY, until=NOW - DAY, total="9.50")
    assert shown["people"] == 2
    order = ordered(PURPOSE, await house.order(1), house.people)
    middle = NOW - DAY - 12 * HOUR
    house.utility.end_agreement("a-1", middle, actor="operator", now=NOW)
    with pytest.raises(DataError) as error:
        await house.approve(1, order)
    assert error.value.code == "edit.tenants"


async def test_inside_a_billed_period_an_edit_takes_two_even_when_no_total_changes(house: House) -> None:
    (issued,) = (await house.utility.run_bills(NOW)).issued
    asked = {"since": BEGIN + DAY, "until": BEGIN + 2 * DAY, "method": "flat", "dry_run": True}
    shown = await house.edit(**asked)
    assert shown["people"] == 2
    assert f"Readings of it were counted with: {issued}." in shown["says"]
    assert [one["before_fen"] - one["after_fen"] for one in shown["effect"]["periods"]] == [0] * len(
        shown["effect"]["periods"]
    )


async def test_what_moves_much_takes_two_officers_without_any_bill(house: House) -> None:
    end = FIRST + 31 * DAY
    small, large = (
        {"since": end, "until": end + HOUR, "total": total, "dry_run": True} for total in ("1.00", "1.01")
    )
    assert (await house.edit(**small))["people"] == 0
    assert (await house.edit(**large))["people"] == 2


async def proposed(house: House) -> int:
    end = FIRST + 31 * DAY
    shown = await house.edit(since=end, until=end + HOUR, total="5")
    assert shown["edit"]["state"] == "proposed"
    return int(shown["edit"]["number"])


async def test_attack_one_person_approves_an_own_proposal(house: House) -> None:
    """Alone, twice, under another name, with a stranger, or without any signature."""
    number = await proposed(house)
    an, bo = house.people
    before, request = house.seen(), await house.order(number)
    renamed = Person("bo")
    renamed.key = an.key
    for signers, code in (
        ((), "security.two-persons"),
        ((an,), "security.two-persons"),
        ((an, an), "security.two-persons"),
        ((an, renamed), "security.signature"),
        ((an, Person("eve")), "security.officer"),
    ):
        with pytest.raises(TrustError) as error:
            await house.approve(number, ordered(PURPOSE, request, signers))
        assert error.value.code == code
    with pytest.raises(TrustError) as error:
        await house.approve(number, ordered("command", request, (an, bo)))
    assert error.value.code == "security.signature"
    said = await house.approve(number, None)  # asks only what there is to sign
    assert said["state"] == "proposed"
    assert house.seen() == before


async def test_attack_an_order_for_something_else_than_the_edit_as_it_stands(house: House) -> None:
    number, other = await proposed(house), await proposed(house)
    before, request = house.seen(), await house.order(number)
    for change in (
        {"edit": other},
        {"digest": (await house.order(other)).digest},
        {"reason": "another"},
        {"effect": "nothing at all"},
        {"until": NOW},
        {"usage_point": point(1)},
    ):
        with pytest.raises(TrustError) as error:
            await house.approve(number, ordered(PURPOSE, replace(request, **change), house.people))
        assert error.value.code == "edit.order"
    for change, code in (
        ({"project_id": bytes(16)}, "security.project"),
        ({"not_after": NOW - 1}, "security.expired"),
    ):
        with pytest.raises(TrustError) as error:
            await house.approve(number, ordered(PURPOSE, replace(request, **change), house.people))
        assert error.value.code == code
    signed = ordered(PURPOSE, request, house.people)
    with pytest.raises(LocalError) as garbled:
        await house.approve(number, replace(signed, request=encoded(request) + b"\0"))
    assert garbled.value.code == "security.request"
    assert house.seen() == before


async def test_readings_of_a_meter_that_was_taken_out_are_edited_by_its_own_name(house: House) -> None:
    left = FIRST + 20 * DAY
    with write(house.utility._engine) as connection:
        connection.execute(meters.update().values(until=left))
        connection.execute(
            meters.insert().values(
                device_id=device(7), usage_point_id=point(0), protocol="cjt188", since=left, plain=False
            )
        )
    asked = {"since": left - DAY, "until": left - HOUR, "method": "flat", "dry_run": True}
    assert (await house.edit(**asked))["readings"]
    for other in (asked | {"until": left}, asked | {"device_id": device(7)}):
        with pytest.raises(DataError) as error:
            await house.edit(**other)
        assert error.value.code == "edit.elsewhere"
    with pytest.raises(DataError) as unknown:
        await house.edit(**asked | {"device_id": device(9)})
    assert unknown.value.code == "fleet.unknown"


async def test_attack_a_point_whose_estimates_reach_into_the_time_of_another_tenant(house: House) -> None:
    gap = range(10 * 24 + 1, 12 * 24)
    change = FIRST + 11 * DAY
    versions = [
        Version(
            usage_point=point(0),
            medium="water",
            channel=1,
            start_at=FIRST + hour * HOUR,
            step=0,
            registers=(register(0, FIRST + hour * HOUR),),
            exponent=-2,
            unit="m3",
            quality=Quality.ESTIMATED,
            method="flat/2:gap/2~9",
            recorded_at=NOW,
            origin="sealed",
            version=2,
        )
        for hour in gap
    ]
    await house.mdms.revise(versions)
    house.utility.end_agreement("a-1", change)
    await house.utility.customers.add(NewCustomer(Somebody("李四", "梧桐里 3 号楼"), "c2"), BEGIN)
    house.utility.add_agreement("a-2", "c2", point(0), "sample-cold-water-tiered", change, 1)
    at = FIRST + (10 * 24 + 12) * HOUR
    with pytest.raises(DataError) as error:
        await house.edit(since=at, until=at, register=value(at, 100), dry_run=True)
    assert error.value.code == "edit.tenants"


async def test_attack_an_approval_is_used_again(house: House, bench: Bench) -> None:
    number = await proposed(house)
    order = ordered(PURPOSE, await house.order(number), house.people)
    await house.approve(number, order)
    noted = (await bench.platform.audit(0, 10, newest=True))[-1].entry
    assert (noted.code, noted.officers) == ("security.edit-readings", ("an", "bo"))
    with pytest.raises(DataError) as error:
        await house.approve(number, order)
    assert error.value.code == "edit.state"
    undo = (await house.undo(number))["edit"]["number"]
    with pytest.raises(TrustError) as wrong:
        await house.approve(undo, order)
    assert wrong.value.code == "edit.order"


async def test_attack_edit_a_period_of_another_tenant(house: House) -> None:
    """Before the meter came, across a change of customers, and at the register at which one followed the other."""
    before = house.seen()
    change = FIRST + 10 * DAY
    with write(house.utility._engine) as connection:
        connection.execute(meters.update().values(since=BEGIN))
    with pytest.raises(DataError) as error:
        await house.edit(since=BEGIN - HOUR, until=BEGIN + DAY, method="flat")
    assert error.value.code == "edit.elsewhere"
    house.utility.end_agreement("a-1", change)
    await house.utility.customers.add(NewCustomer(Somebody("李四", "梧桐里 3 号楼"), "c2"), BEGIN)
    house.utility.add_agreement("a-2", "c2", point(0), "sample-cold-water-tiered", change, 1)
    with pytest.raises(DataError) as error:
        await house.edit(since=change - DAY, until=change + DAY, method="flat")
    assert error.value.code == "edit.tenants"
    shown = await house.edit(since=change, until=change, register=value(change, 1), dry_run=True)
    assert shown["people"] == 2
    assert shown["effect"]["between_tenants"]
    assert (await house.edit(since=change - DAY, until=change, method="flat", dry_run=True))["people"] == 0
    assert house.seen() == before


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"since": NOW + HOUR, "until": NOW + HOUR, "register": "9999"}, "edit.future"),
        ({"since": END, "until": END, "register": "1", "device_id": bytes(8)}, "fleet.unknown"),
        ({"since": END, "until": END, "register": "1", "reason": " "}, "edit.reason"),
    ],
)
async def test_what_is_refused_leaves_nothing(house: House, asked: dict[str, Any], code: str) -> None:
    with pytest.raises(MetersealError) as error:
        await house.edit(**asked)
    assert error.value.code == code
    assert house.mdms.edits.latest() == []


async def test_a_proposal_is_given_up_and_then_nobody_saves_it(house: House) -> None:
    number = await proposed(house)
    order = ordered(PURPOSE, await house.order(number), house.people)
    assert (await house.undo(number, reason=""))["state"] == "withdrawn"
    with pytest.raises(DataError) as error:
        await house.approve(number, order)
    assert error.value.code == "edit.state"


async def test_the_use_of_a_month_follows_the_register_at_its_beginning(house: House) -> None:
    shown = await house.edit(since=BEGIN, until=BEGIN, register=value(BEGIN, 3), dry_run=True)
    (period,) = shown["effect"]["periods"]
    assert period["after_fen"] == period["before_fen"] - 15


async def test_a_small_edit_that_was_cut_off_is_not_completed_by_one_person_once_a_bill_counted_with_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = house.seen()

    async def crash(*_: object) -> None:
        raise OSError("the process ended here")

    for at in (END, FIRST + 31 * DAY):
        with monkeypatch.context() as patch:
            patch.setattr(house.mdms.edits, "save", crash)
            with pytest.raises(OSError, match="ended"):
                await house.edit(since=at, until=at, register=value(at, 2))
    await house.utility.run_bills(NOW)
    with pytest.raises(DataError) as error:
        await house.approve(1, None)
    assert error.value.code == "edit.people"
    assert house.seen() == before
    assert (await house.approve(2, None))["state"] == "saved"
    assert len(set(house.seen()) - set(before)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "author = 'somebody'",
        "sealed_content = x'00'",
        "sealed_content = 7",
        "digest = NULL",
        "state = 'approved'",
        "officers = x'ff'",
        "author = CAST(x'ff' AS TEXT)",
        "saved_at = 'x'",
    ],
)
async def test_attack_a_damaged_edit_hides_no_other_and_is_named(house: House, damage: str) -> None:
    for at in (END, END - HOUR, END - 2 * HOUR):
        await house.edit(since=at, until=at, register=value(at, 5))
    with write(house.utility._engine) as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
        connection.exec_driver_sql("PRAGMA writable_schema=ON")
        connection.exec_driver_sql(
            "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'edits'"
        )
        connection.exec_driver_sql("PRAGMA writable_schema=RESET")
        connection.exec_driver_sql(f"UPDATE edits SET {damage} WHERE id = 2")
    listed = json.loads((await house.desk.edits("operator", Page())).json)
    assert [one["number"] for one in listed] == [3, 2, 1]
    assert [one["state"] for one in listed] == ["saved", "damaged", "saved"]
    assert "Edit 2 is not what was written" in listed[1]["sentence"]
    assert "Edit 2 is not what was written" in _line(listed[1])
    with pytest.raises(DataError) as refused:
        house.mdms.edits.get(2)
    assert refused.value.code == "edit.damaged"
    more = await house.edit(since=END - 3 * HOUR, until=END - 3 * HOUR, register=value(END - 3 * HOUR, 5))
    assert more["edit"]["number"] == 4
