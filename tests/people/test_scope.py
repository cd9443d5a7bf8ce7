"""Attacks on scope: who asks the platform for what is not theirs, through every method the web may call."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Struct

from meterseal.errors import ConsentError, LocalError, MetersealError, TrustError
from meterseal.mesh.rpc import Empty
from meterseal.people import edit_messages as edits
from meterseal.people import fleet_messages as of_fleet
from meterseal.people import forecast_messages as forecasts
from meterseal.people import messages as ask
from meterseal.people import rule_messages as rules
from meterseal.people.messages import SignedIn
from meterseal.people.scope import Grant, clip
from meterseal.utility.bills import Bill, LineReadings
from meterseal.utility.views import UsageSeries
from tests.people.town import DAY, MOVED, Town
from tests.utility.twins import at, day

DOOR = {"people.redeem_link", "people.sign_in_facts", "people.sign_in", "people.sign_out"}


async def put(town: Town, question: Struct, reply: type[Any], caller: str = "web") -> Any:
    return await town.web(caller).call(ask.method_of(type(question)), question, reply)


async def refusal(town: Town, question: Struct, caller: str = "web") -> MetersealError:
    with pytest.raises(MetersealError) as caught:
        await put(town, question, Empty, caller)
    return caught.value


def questions(session: str) -> dict[str, Struct]:
    """One well-formed question for each method, with this session."""
    made: dict[str, Struct] = {}
    values = {"session": session, "usage_point": "up-ren-water", "bill_id": "ag-ren-water.2026-10-01.v1"}
    values |= {
        "line": 0,
        "resolution": "day",
        "since": MOVED,
        "until": MOVED + DAY,
        "locale": "en",
        "length": DAY,
    }
    for kind in (vars(ask) | vars(of_fleet) | vars(forecasts) | vars(edits) | vars(rules)).values():
        if not (isinstance(kind, type) and issubclass(kind, Struct) and "session" in kind.__struct_fields__):
            continue
        if kind is SignedIn:
            continue
        known = {name: values[name] for name in kind.__struct_fields__ if name in values}
        if kind is ask.SetPassword:
            known |= {"salt": b"s" * 16, "passes": 1, "memory_kib": 64, "lanes": 1, "verifier": b"v" * 32}
        made[ask.method_of(kind)] = kind(**known)
    return made


def test_the_list_of_questions_is_the_table_of_methods(town: Town) -> None:
    assert questions("").keys() | DOOR == town.queries.methods().keys()


async def test_attack_ask_anything_without_a_session(town: Town) -> None:
    for session in ("", "A" * 43, "not a token"):
        for name, question in questions(session).items():
            if name not in DOOR:
                found = await refusal(town, question)
                assert (type(found), found.code) == (TrustError, "people.session"), name


@pytest.mark.parametrize("caller", ["headend", "keys", "operator", "platform", ""])
async def test_attack_ask_as_another_process(town: Town, caller: str) -> None:
    session = town.session(town.operator)
    for name, question in questions(session).items():
        assert (await refusal(town, question, caller)).code == "mesh.denied", name
    assert (await refusal(town, ask.RedeemLink("x"), caller)).code == "mesh.denied"


async def test_attack_resident_asks_what_operators_see(town: Town) -> None:
    session = town.session(town.resident)
    for name, question in questions(session).items():
        if name.startswith("people.operator_"):
            assert (await refusal(town, question)).code == "people.not-found", name


async def test_attack_operator_asks_for_a_household(town: Town) -> None:
    session = town.session(town.operator)
    for name, question in questions(session).items():
        if name.startswith("people.resident_"):
            assert (await refusal(town, question)).code == "people.not-found", name


async def test_attack_resident_reads_the_neighbours_usage_point(town: Town) -> None:
    session = town.session(town.resident)

    def question(point: str) -> Struct:
        return ask.ResidentUsage(session, point, "day", MOVED, MOVED + 7 * DAY)

    theirs, nobodys = (
        await refusal(town, question("up-lu-water")),
        await refusal(town, question("up-never-was")),
    )
    assert (type(theirs), theirs.code, str(theirs)) == (type(nobodys), nobodys.code, str(nobodys))
    assert isinstance(theirs, ConsentError)
    own = await put(town, question("up-ren-water"), UsageSeries)
    assert len(own.starts) == 7


async def test_attack_resident_opens_the_neighbours_bill(town: Town) -> None:
    session = town.session(town.resident)
    theirs = await refusal(town, ask.ResidentBill(session, "ag-lu-water.2026-10-01.v1"))
    nobodys = await refusal(town, ask.ResidentBill(session, "ag-no-water.2026-10-01.v1"))
    assert (type(theirs), theirs.code, str(theirs)) == (type(nobodys), nobodys.code, str(nobodys))
    neighbour = town.session(town.neighbour)
    found = await put(town, ask.ResidentBill(neighbour, "ag-lu-water.2026-10-01.v1"), Bill)
    assert found.usage_point == "up-lu-water"


async def test_attack_resident_opens_the_readings_behind_the_neighbours_bill(town: Town) -> None:
    neighbour, session = town.session(town.neighbour), town.session(town.resident)
    (bill, *_) = (await put(town, ask.ResidentBills(neighbour), ask.ResidentBillsPage)).bills
    question = ask.ResidentBillReadings(neighbour, bill.bill_id, line=0)
    assert (await put(town, question, LineReadings)).rows
    codes = set()
    for bill_id in (bill.bill_id, "none.such.v1", ""):
        for line, determinant in ((0, None), (None, 0), (None, None), (99, None)):
            question = ask.ResidentBillReadings(session, bill_id, line, determinant)
            found = await refusal(town, question)
            codes.add((type(found), found.code, found.message))
    assert len(codes) == 1
    assert codes.pop()[:2] == (ConsentError, "people.not-found")


async def test_a_page_of_readings_behind_a_bill_is_bounded_whatever_is_asked(town: Town) -> None:
    session = town.session(town.resident)
    question = ask.ResidentBillReadings(
        session, "ag-ren-water.2026-10-01.v1", line=0, resolution="hour", limit=10**9
    )
    page = await put(town, question, LineReadings)
    assert len(page.rows) == 200
    assert page.next == page.rows[-1].until
    assert page.adds_up


async def test_attack_former_tenant_reads_the_time_after_moving_out(town: Town) -> None:
    session = town.session(town.former)
    after = ask.ResidentUsage(session, "up-lu-electricity", "day", MOVED, MOVED + 5 * DAY)
    assert (await refusal(town, after)).code == "people.not-found"
    across = ask.ResidentUsage(session, "up-lu-electricity", "day", MOVED - 3 * DAY, MOVED + 5 * DAY)
    found = await put(town, across, UsageSeries)
    assert max(found.starts) < MOVED
    assert len(found.starts) == 3
    home = await put(town, ask.ResidentHome(session), ask.ResidentHomePage)
    assert home.cards == (), "the card of the dwelling is the new tenant's"
    bills = await put(town, ask.ResidentBills(session), ask.ResidentBillsPage)
    assert [bill.agreement_id for bill in bills.bills] == ["ag-gone-electricity"]


async def test_attack_new_tenant_reads_the_time_before_moving_in(town: Town) -> None:
    session = town.session(town.neighbour)
    across = ask.ResidentUsage(session, "up-lu-electricity", "hour", MOVED - 2 * DAY, MOVED + DAY)
    found = await put(town, across, UsageSeries)
    assert min(found.starts) == MOVED
    assert (await refusal(town, ask.ResidentBill(session, "ag-gone-electricity.2026-10-01.v1"))).code == (
        "people.not-found"
    )


async def test_a_resident_sees_four_cards_and_their_own_name(town: Town) -> None:
    home = await put(town, ask.ResidentHome(town.session(town.resident)), ask.ResidentHomePage)
    assert [card.medium for card in home.cards] == ["water", "gas", "heat", "electricity"]
    assert {card.usage_point for card in home.cards} == {f"up-ren-{card.medium}" for card in home.cards}
    assert home.address == "梧桐里 3 号楼 2 单元 501"
    assert all(card.period.since == MOVED for card in home.cards)


async def test_operators_see_no_name_and_no_address(town: Town) -> None:
    session = town.session(town.operator)
    asked = questions(session)
    for name in (
        "operator_home",
        "operator_meters",
        "operator_refusals",
        "operator_exceptions",
        "operator_reconciliation",
        "operator_forecast",
        "operator_meter",
    ):
        method = town.queries.methods()[f"people.{name}"]
        answer = msgspec.json.encode(await method.handler("web", asked[f"people.{name}"])).decode()
        for secret in ("任晓", "梧桐里", "陆平", '"ren"', "ag-ren"):
            assert secret not in answer, (name, secret)


async def test_a_session_is_over_when_its_time_is(town: Town) -> None:
    session = town.session(town.operator)
    await put(town, ask.Me(session), ask.MeFacts)
    town.now += 13 * 3_600_000
    assert (await refusal(town, ask.Me(session))).code == "people.session"


async def test_too_long_a_period_is_refused(town: Town) -> None:
    session = town.session(town.operator)
    for length in (0, -1, 41 * DAY):
        found = await refusal(town, of_fleet.OperatorMeter(session, "up-ren-water", 0, length))
        assert (type(found), found.code) == (LocalError, "people.period")


def test_clip_answers_within_one_agreement_only() -> None:
    grants = [Grant("b", "up", 300, None), Grant("a", "up", 100, 200), Grant("c", "other", 0, None)]
    assert clip(grants, "up", 0, 150) == (100, 150)
    assert clip(grants, "up", 150, 400) == (300, 400), "the newest that overlaps, never both"
    assert clip(grants, "up", 350, 900) == (350, 900)
    for since, until in ((200, 300), (0, 100), (500, 400)):
        with pytest.raises(ConsentError):
            clip(grants, "up", since, until)


async def test_operator_pages_hold_together(town: Town) -> None:
    session = town.session(town.operator)
    home = await put(town, of_fleet.OperatorHome(session), of_fleet.OperatorHomePage)
    assert sum(medium.meters for medium in home.media) == 8
    assert [(late.usage_point, late.latest_at) for late in home.late] == [("up-lu-gas", day("2026-11-19"))]
    every, late, missing = 7 * (52 * 24 + 1), 50 * 24 + 1, 10
    assert home.counts.readings == every + late - missing
    assert home.counts.refused == 60
    seen: list[int] = []
    before = 0
    while True:
        page = await put(town, of_fleet.OperatorRefusals(session, before, 17), of_fleet.OperatorRefusalsPage)
        seen += [entry.id for entry in page.entries]
        before = page.next
        if not before:
            break
    assert seen == list(range(60, 0, -1))
    only = await put(town, of_fleet.OperatorRefusals(session, code="link.tag"), of_fleet.OperatorRefusalsPage)
    assert {entry.code for entry in only.entries} == {"link.tag"}
    assert {entry.usage_point for entry in only.entries} == {"up-lu-electricity"}
    first = await put(town, of_fleet.OperatorMeters(session, limit=5), of_fleet.OperatorMetersPage)
    rest = await put(
        town, of_fleet.OperatorMeters(session, after=first.next, limit=5), of_fleet.OperatorMetersPage
    )
    names = [row.usage_point for row in (*first.meters, *rest.meters)]
    assert names == sorted(names)
    assert len(set(names)) == 8
    assert rest.next == ""
    exceptions = await put(town, of_fleet.OperatorExceptions(session), of_fleet.OperatorExceptionsPage)
    assert {finding.rule for finding in exceptions.findings} == {
        *("gap", "spike", "stuck-register", "overload", "lonely-spike", "high-use", "negative-step"),
    }
    assert [held.usage_point for held in exceptions.bills.held] == ["up-lu-heat"]
    assert [entry.code for entry in exceptions.quarantined] == ["wire.checksum"]


async def test_pages_of_findings_leave_none_out_and_show_the_latest_hours_first(town: Town) -> None:
    session = town.session(town.operator)
    pages, before = [], 0
    while not pages or before:
        question = of_fleet.OperatorExceptions(session, before, limit=2)
        page = await put(town, question, of_fleet.OperatorExceptionsPage)
        pages.append([(one.since, one.id) for one in page.findings])
        before = page.next
    assert all(page == sorted(page, reverse=True) for page in pages)
    whole = await put(town, of_fleet.OperatorExceptions(session), of_fleet.OperatorExceptionsPage)
    assert sorted(one.id for one in whole.findings) == sorted(one for page in pages for _, one in page)
    assert len(pages) == -(-whole.total // 2)


async def test_a_meter_page_says_who_stands_behind_its_readings(town: Town) -> None:
    session = town.session(town.operator)
    sealed = await put(
        town, of_fleet.OperatorMeter(session, "up-ren-gas", 0, DAY), of_fleet.OperatorMeterPage
    )
    assert {reading.origin for reading in sealed.readings} == {"sealed"}
    assert [evidence.checked for evidence in sealed.evidence] == ["mac", "mac"]
    assert sealed.until == day("2026-11-21")
    vouched = await put(
        town, of_fleet.OperatorMeter(session, "up-lu-water", 0, DAY), of_fleet.OperatorMeterPage
    )
    assert {reading.origin for reading in vouched.readings} == {"vouched"}
    assert vouched.evidence == ()
    hole = await put(
        town,
        of_fleet.OperatorMeter(session, "up-lu-heat", at("2026-11-01T02:00"), DAY),
        of_fleet.OperatorMeterPage,
    )
    before = [reading for reading in hole.readings if reading.end_at < at("2026-10-31T22:00")]
    inside = [reading for reading in hole.readings if reading.end_at >= at("2026-10-31T22:00")]
    assert all(reading.register is not None for reading in before)
    assert len(before) == 20
    assert {reading.register for reading in inside} <= {None}
    assert (
        await refusal(town, of_fleet.OperatorMeter(session, "up-never", 0, DAY))
    ).code == "people.not-found"
