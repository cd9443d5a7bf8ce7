"""Readings edited in the portal: shown on bills before they are saved, agreed to by officers, refused where anything moved.

Through the real pages, the real store and the real security service; one water meter over a billing period.
"""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import write
from meterseal.control.tables import former_installations, meters
from meterseal.errors import DataError
from meterseal.mdms.editing import Wish
from meterseal.mdms.service import Mdms
from meterseal.mesh.rpc import InProcess
from meterseal.model import Batch
from meterseal.people.accounts import Accounts
from meterseal.people.editing import Editing
from meterseal.people.portal.app import create_app
from meterseal.people.portal.settings import PortalSettings
from meterseal.people.queries import Queries
from meterseal.people.rules import RuleQueries
from meterseal.people.trail import Trail
from meterseal.security import officerfile
from meterseal.things.monitor import AuditLog
from meterseal.utility.calendar import local
from meterseal.utility.customers import NewCustomer
from meterseal.utility.customers import Person as Somebody
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.service import Utility
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, keys, open_store, point, register
from tests.people.test_portal import FETCHED, HOST, token_of
from tests.people.town import NoAnchor
from tests.security.conftest import Bench, Clock, bench, cheap_stretching, clock, template
from tests.security.people import Person, founded
from tests.utility.twins import MemoryKeys

__all__ = ["bench", "cheap_stretching", "clock", "template"]

BEGIN, END = FIRST + DAY, FIRST + 30 * DAY
AFTER = FIRST + 31 * DAY
NOW = AFTER + DAY
HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }} 表钟停走"


class House(Struct):
    """A water meter, the portal in front of it, its people and its officers."""

    mdms: Mdms
    utility: Utility
    accounts: Accounts
    app: Any
    people: tuple[Person, ...]
    clock: Clock
    trials: RuleQueries

    async def enter(self, account: str, language: str = "en") -> Browser:
        """A browser that somebody signed in with."""
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url=HOST, headers={"accept-language": language}
        )
        browser = Browser(client)
        page = (await client.get("/in")).text
        link = self.accounts.make_link(account, self.clock.now)
        done = await client.post("/in", data={"token": token_of(page), "link": link}, headers=FETCHED)
        assert done.status_code == 303
        return browser

    def operator(self) -> str:
        return self.accounts.create("operator", self.clock.now)

    def at(self, end_at: int) -> int:
        found = self.mdms.registers(point(0), 1, end_at, end_at)
        return int(found.register[0])


class Browser:
    """One person's browser, without scripts."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(path)

    async def send(self, path: str, files: Any = None, **fields: str) -> httpx.Response:
        token = token_of((await self.get("/account")).text)
        return await self.client.post(path, data={"token": token, **fields}, files=files, headers=FETCHED)


def edit_path(at: int) -> str:
    return f"/fleet/meters/{point(0)}/edit?day={local(at - 1).date().isoformat()}"


def typed(at: int) -> str:
    return local(at).strftime("%Y-%m-%dT%H:%M")


def value(at: int, more: int = 0) -> str:
    return f"{(register(0, at) + more) / 100:.2f}"


def seen(page: httpx.Response) -> str:
    found = re.search(r'name="seen" value="([0-9a-f]+)"', page.text)
    assert found, page.text
    return found.group(1)


def problem(page: httpx.Response) -> str:
    found = re.search(r'class="problem" role="alert"><p>(.*?)</p>', page.text, re.DOTALL)
    return html.unescape(found.group(1)) if found else ""


def words(page: httpx.Response) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page.text)))


@pytest.fixture
async def house(tmp_path: Path, bench: Bench, clock: Clock) -> AsyncIterator[House]:
    clock.now = NOW
    mdms, engine = open_store(tmp_path, 2)
    for day in range(31):
        await mdms.publish(Batch((day_record(0, day, day + 1),)))
    utility = await Utility.start(engine, mdms, MemoryKeys(), BEGIN)
    utility.publish_tariffs(sample_tariffs())
    await utility.customers.add(NewCustomer(Somebody("张望舒", "梧桐里 3 号楼"), "c1"), BEGIN)
    utility.add_agreement("a-1", "c1", point(0), "sample-cold-water-tiered", BEGIN, 1)
    accounts = Accounts(engine)
    queries = Queries(
        engine,
        accounts,
        utility,
        mdms,
        clock,
        keys(),
        Trail(AuditLog(engine), NoAnchor(), clock),
        mdms.forecasts,
        Editing(mdms.edits, utility, bench.platform, clock),
        mdms,
        bench.platform,
        mdms,
    )
    app = create_app(InProcess(queries.methods(), "web"), PortalSettings(sign_ins=1000))
    yield House(mdms, utility, accounts, app, await founded(bench), clock, queries.trials)
    await mdms.close()
    engine.dispose()


POINT = {"what": "point", "at": typed(AFTER), "register": value(AFTER, 5), "reason": HOSTILE}


async def test_a_small_edit_is_shown_and_then_saved_by_one_person(house: House) -> None:
    browser = await house.enter(house.operator())
    first = await browser.get(edit_path(AFTER))
    assert first.status_code == 200
    assert first.text.count('class="bar q-measured"') >= 24
    shown = await browser.send(edit_path(AFTER), action="look", **POINT)
    assert shown.status_code == 200
    assert "1 reading; a register moves by up to 0.05 m³." in words(shown)
    assert 'class="bar then"' in shown.text
    assert house.mdms.edits.latest() == [], "looking keeps nothing"
    done = await browser.send(edit_path(AFTER), action="save", seen=seen(shown), **POINT)
    assert (done.status_code, done.headers["location"]) == (303, "/fleet/edits/1")
    assert house.at(AFTER) == register(0, AFTER) + 5
    (edit,) = house.mdms.edits.latest()
    assert (edit.state, edit.content.reason) == ("saved", HOSTILE)
    assert edit.author.startswith("o-")
    view = await browser.get("/fleet/edits/1")
    assert "<script>alert" not in view.text
    assert html.unescape(HOSTILE) in words(view)
    assert value(AFTER) in words(view)
    assert value(AFTER, 5) in words(view)
    meter = await browser.get(f"/fleet/meters/{point(0)}?until={AFTER}")
    assert "/fleet/edits/1" in meter.text


async def test_the_effect_on_the_bill_is_the_one_the_next_run_makes(house: House) -> None:
    (issued,) = (await house.utility.run_bills(NOW)).issued
    before = house.utility.bill(issued).total_fen
    asker, other = await house.enter(house.operator()), await house.enter(house.operator())
    fields = POINT | {"at": typed(END), "register": value(END, 5)}
    shown = await asker.send(edit_path(END), action="look", **fields)
    figures = [float(one.replace(",", "")) for one in re.findall(r"¥([\d,]+\.\d\d)", shown.text)]
    assert round(figures[0] * 100) == before
    assert "is saved" in words(shown) or "saved when two officers signed it" in words(shown)
    done = await asker.send(edit_path(END), action="save", seen=seen(shown), **fields)
    assert done.headers["location"] == "/fleet/edits/1"
    assert house.at(END) == register(0, END), "it waits"
    listed = words(await other.get("/fleet/edits"))
    assert "1 edit waits for officers" in listed
    assert HOSTILE in listed
    assert house.mdms.edits.get(1).author in listed
    fetched = await other.get("/fleet/edits/1/request")
    assert 'filename="edit-1.request"' in fetched.headers["content-disposition"]
    file = msgspec.json.decode(fetched.content, type=officerfile.RequestFile)
    for person in house.people:
        file = officerfile.signed(file, person.officer, person.key)
    sent = {"file": ("edit-1.request", msgspec.json.encode(file), "application/json")}
    agreed = await other.send("/fleet/edits/1/agree", files=sent)
    assert (agreed.status_code, agreed.headers.get("location")) == (303, "/fleet/edits/1"), problem(agreed)
    assert house.at(END) == register(0, END) + 5
    (corrected,) = (await house.utility.run_bills(NOW + 1)).corrected
    assert house.utility.bill(corrected).total_fen == round(figures[1] * 100)
    assert "signed by an, bo" in words(await other.get("/fleet/edits"))
    house.clock.now += HOUR
    undo = await other.send("/fleet/edits/1/undo", action="look", reason="it was right")
    assert "saved when two officers signed it" in words(undo)
    back = await other.send("/fleet/edits/1/undo", action="save", reason="it was right", seen=seen(undo))
    assert back.headers["location"] == "/fleet/edits/2"
    assert house.mdms.edits.get(2).undoes == 1


async def waiting(house: House, browser: Browser) -> bytes:
    """An edit that waits, and its request as both officers signed it."""
    fields = {"what": "use", "since": typed(AFTER - HOUR), "until": typed(AFTER), "total": "5"}
    shown = await browser.send(edit_path(AFTER), action="look", **fields, reason="a burst pipe")
    await browser.send(edit_path(AFTER), action="save", **fields, reason="a burst pipe", seen=seen(shown))
    file = msgspec.json.decode(
        (await browser.get("/fleet/edits/1/request")).content, type=officerfile.RequestFile
    )
    for person in house.people:
        file = officerfile.signed(file, person.officer, person.key)
    return msgspec.json.encode(file)


async def test_attack_agree_to_an_own_edit(house: House) -> None:
    asker = await house.enter(house.operator())
    signed = await waiting(house, asker)
    answer = await asker.send("/fleet/edits/1/agree", files={"file": ("x", signed)})
    assert answer.status_code == 403
    assert "You asked for this edit yourself" in problem(answer)
    assert house.mdms.edits.get(1).state == "proposed"
    given_up = await asker.send("/fleet/edits/1/decline")
    assert given_up.status_code == 303
    other = await house.enter(house.operator())
    late = await other.send("/fleet/edits/1/agree", files={"file": ("x", signed)})
    assert late.status_code == 400
    assert house.mdms.edits.get(1).state == "withdrawn"


async def test_attack_agree_without_two_officers(house: House) -> None:
    asker, other = await house.enter(house.operator()), await house.enter(house.operator())
    signed = msgspec.json.decode(await waiting(house, asker), type=officerfile.RequestFile)
    one = msgspec.structs.replace(signed, signatures=signed.signatures[:1])
    twice = msgspec.structs.replace(signed, signatures=signed.signatures[:1] * 2)
    none = msgspec.structs.replace(signed, signatures=())
    for content, status in (
        (msgspec.json.encode(one), 403),
        (msgspec.json.encode(twice), 403),
        (msgspec.json.encode(none), 403),
        (b"", 400),
        (b"\xff" * 3000, 400),
        (b"[" * 12_000, 400),
        (b'{"purpose": "edit-readings"}', 400),
    ):
        answer = await other.send("/fleet/edits/1/agree", files={"file": ("x", content)})
        assert (answer.status_code, bool(problem(answer))) == (status, True), content[:40]
    huge = await other.send("/fleet/edits/1/agree", files={"file": ("x", b"x" * 100_000)})
    assert huge.status_code == 400
    assert house.mdms.edits.get(1).state == "proposed"
    assert house.at(AFTER) == register(0, AFTER)


async def test_attack_send_a_form_twice(house: House) -> None:
    """One edit that is saved at once, and one that waits."""
    browser = await house.enter(house.operator())
    shown = await browser.send(edit_path(AFTER), action="look", **POINT)
    fields = POINT | {"action": "save", "seen": seen(shown)}
    assert (await browser.send(edit_path(AFTER), **fields)).status_code == 303
    again = await browser.send(edit_path(AFTER), **fields)
    assert again.status_code == 400
    assert "visible already" in problem(again)
    assert len(house.mdms.edits.latest()) == 1
    large = {"what": "use", "since": typed(AFTER - HOUR), "until": typed(AFTER), "total": "5", "reason": "x"}
    shown = await browser.send(edit_path(AFTER), action="look", **large)
    fields = large | {"action": "save", "seen": seen(shown)}
    for _ in range(2):
        assert (await browser.send(edit_path(AFTER), **fields)).headers["location"] == "/fleet/edits/2"
    assert len(house.mdms.edits.latest()) == 2


async def test_a_small_edit_that_was_cut_off_takes_two_officers_once_a_bill_counted_with_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was proposed for one person before the bill is not what the same form asks for after it."""
    browser = await house.enter(house.operator())
    fields = {"what": "point", "at": typed(END), "register": value(END, 2), "reason": "it stood still"}

    async def cut_off(*_: object) -> None:
        raise DataError("edit.overtaken", "the process ended here")

    shown = await browser.send(edit_path(END), action="look", **fields)
    with monkeypatch.context() as patch:
        patch.setattr(house.mdms.edits, "save", cut_off)
        await browser.send(edit_path(END), action="save", seen=seen(shown), **fields)
    assert [(one.state, one.people) for one in house.mdms.edits.latest()] == [("proposed", 0)]
    await house.utility.run_bills(NOW)
    shown = await browser.send(edit_path(END), action="look", **fields)
    done = await browser.send(edit_path(END), action="save", seen=seen(shown), **fields)
    assert done.headers["location"] == "/fleet/edits/2"
    assert [(one.state, one.people) for one in house.mdms.edits.latest()] == [
        ("proposed", 2),
        ("proposed", 0),
    ]
    assert house.at(END) == register(0, END)


async def test_attack_save_something_else_than_was_shown(house: House) -> None:
    """Readings moved or fields were changed: refused, shown anew, and nothing that was typed is lost."""
    browser, other = await house.enter(house.operator()), await house.enter(house.operator())
    shown = await browser.send(edit_path(AFTER), action="look", **POINT)
    changed = POINT | {"register": value(AFTER, 7)}
    for fields, kept in (
        (changed | {"seen": seen(shown)}, value(AFTER, 7)),
        (POINT, value(AFTER, 5)),
        (POINT | {"seen": "zz"}, value(AFTER, 5)),
    ):
        answer = await browser.send(edit_path(AFTER), action="save", **fields)
        assert answer.status_code == 409
        assert f'name="register" value="{kept}"' in answer.text
        assert html.escape(HOSTILE).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in answer.text
        assert seen(answer)
    point_before = {
        "what": "point",
        "at": typed(AFTER - HOUR),
        "register": value(AFTER - HOUR, 1),
        "reason": "y",
    }
    theirs = await other.send(edit_path(AFTER), action="look", **point_before)
    assert (
        await other.send(edit_path(AFTER), action="save", seen=seen(theirs), **point_before)
    ).status_code == 303
    stale = await browser.send(edit_path(AFTER), action="save", seen=seen(shown), **POINT)
    assert stale.status_code == 409
    assert "changed since it was looked at" in problem(stale)
    assert house.at(AFTER) == register(0, AFTER)
    assert seen(stale) != seen(shown)
    done = await browser.send(edit_path(AFTER), action="save", seen=seen(stale), **POINT)
    assert done.status_code == 303, "as it is shown now it is saved"


@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_what_cannot_be_is_refused_with_the_form_as_it_was(house: House, language: str) -> None:
    browser = await house.enter(house.operator(), language)
    for fields in (
        POINT | {"register": value(AFTER)},
        POINT | {"register": "1e99"},
        POINT | {"register": "NaN"},
        POINT | {"register": "' OR 1"},
        POINT | {"register": "٣"},
        POINT | {"register": ""},
        POINT | {"register": "0"},
        POINT | {"at": ""},
        POINT | {"at": "9999-99-99T99:99"},
        POINT | {"at": "2099-01-01T00:00"},
        POINT | {"what": "good"},
        POINT | {"what": "good", "at": "2026-01-01T00:00"},
        POINT | {"what": "nonsense"},
        {"what": "again", "since": typed(AFTER), "until": typed(AFTER - DAY), "reason": "x"},
        {
            "what": "again",
            "since": typed(AFTER - DAY),
            "until": typed(AFTER),
            "method": "magic",
            "reason": "x",
        },
        {"what": "again", "since": typed(BEGIN), "until": typed(BEGIN + 50 * DAY), "reason": "x"},
        {"what": "use", "since": typed(AFTER - DAY), "until": typed(AFTER), "total": "-5", "reason": "x"},
    ):
        answer = await browser.send(edit_path(AFTER), action="look", **fields)
        assert (answer.status_code, bool(problem(answer))) == (400, True), fields
    no_reason = POINT | {"reason": " "}
    shown = await browser.send(edit_path(AFTER), action="look", **no_reason)
    answer = await browser.send(edit_path(AFTER), action="save", seen=seen(shown), **no_reason)
    assert answer.status_code == 400
    assert house.mdms.edits.latest() == []


async def test_the_time_before_a_meter_came_back_from_the_bench_is_edited_too(house: House) -> None:
    browser = await house.enter(house.operator())
    with write(house.mdms._engine) as connection:
        here = meters.c.usage_point_id == point(0)
        (row,) = connection.execute(sa.select(meters).where(here)).all()
        before = {"device_id": row.device_id, "usage_point_id": row.usage_point_id, "since": row.since}
        connection.execute(former_installations.insert().values(until=AFTER + HOUR, **before))
        connection.execute(meters.update().where(here).values(since=AFTER + 2 * HOUR))
    shown = await browser.send(edit_path(AFTER), action="look", **POINT)
    assert (shown.status_code, problem(shown)) == (200, "")


async def test_attack_somebody_else_edits(house: House) -> None:
    """A resident, a visitor, another site, and addresses that do not exist look the same as ever."""
    resident = await house.enter(house.accounts.create("resident", NOW, customer_id="c1"))
    paths = [edit_path(AFTER), "/fleet/edits", "/fleet/edits/1", "/fleet/edits/1/request"]
    for path in paths:
        assert (await resident.get(path)).status_code == 404
    for path in [edit_path(AFTER), "/fleet/edits/1/agree", "/fleet/edits/1/decline", "/fleet/edits/1/undo"]:
        answer = await resident.send(path, action="save", **POINT)
        assert answer.status_code == 404, path
    operator = await house.enter(house.operator())
    for path in (
        "/fleet/meters/up-never/edit",
        "/fleet/edits/9",
        "/fleet/edits/9/request",
        "/fleet/meters/%3Cb%3E/edit",
    ):
        assert (await operator.get(path)).status_code == 404, path
    for path in ("/fleet/edits/9/undo", "/fleet/edits/9/decline", "/fleet/meters/up-never/edit"):
        assert (await operator.send(path, action="look", **POINT)).status_code == 404, path
    for path in (f"{edit_path(AFTER)}x", "/fleet/edits?before=-1", f"/fleet/edits/{1 << 40}"):
        assert (await operator.get(path)).status_code == 400, path
    token = token_of((await operator.get("/account")).text)
    for path in (edit_path(AFTER), "/fleet/edits/1/decline"):
        for headers, given in (({"sec-fetch-site": "cross-site"}, token), (FETCHED, "x")):
            answer = await operator.client.post(path, data={"token": given, **POINT}, headers=headers)
            assert answer.status_code == 403, path
    nobody = Browser(httpx.AsyncClient(transport=httpx.ASGITransport(house.app), base_url=HOST))
    for path in paths:
        assert (await nobody.get(path)).headers["location"] == "/sign-in", path
    assert house.mdms.edits.latest() == []


async def test_a_usage_point_is_shown_as_it_stood_at_the_end_of_a_day(house: House) -> None:
    house.clock.now = NOW + 2 * DAY
    browser = await house.enter(house.operator())
    shown = await browser.send(edit_path(AFTER), action="look", **POINT)
    await browser.send(edit_path(AFTER), action="save", seen=seen(shown), **POINT)
    house.clock.now += 2 * DAY
    browser = await house.enter(house.operator())
    day, today = (local(at).date().isoformat() for at in (NOW + DAY, NOW + 2 * DAY))
    path = f"/fleet/meters/{point(0)}?until={AFTER}"
    then = words(await browser.get(f"{path}&as_of={day}"))
    assert f"{value(AFTER)} {value(AFTER, 5)}" in then
    for later in (today, "2040-01-01"):
        assert f"{value(AFTER, 5)} {value(AFTER, 5)}" in words(await browser.get(f"{path}&as_of={later}"))
    for nonsense in ("2026-02-31", "x", "0001-01-01", "9999-12-31"):
        assert (await browser.get(f"{path}&as_of={nonsense}")).status_code == 400, nonsense


async def test_many_edits_come_a_page_at_a_time(house: House) -> None:
    author = house.operator()
    for number in range(60):
        wish = Wish(usage_point=point(0), since=AFTER, until=AFTER, register=value(AFTER, number + 1))
        plan = house.mdms.edits.plan(wish, NOW)
        house.mdms.edits.propose(
            wish, plan, reason=f"reason {number}", effect="", people=2, author=author, now=NOW
        )
    browser = await house.enter(author)
    first = await browser.get("/fleet/edits")
    assert "60 edits wait for officers" in words(first)
    more = re.search(r'href="(/fleet/edits\?before=\d+)"', first.text)
    assert more
    rest = await browser.get(more.group(1))
    assert "reason 9" in words(rest)
    assert "/fleet/edits?before=" not in rest.text


async def test_a_rule_is_tried_in_the_background_and_its_findings_are_linked(house: House) -> None:
    await house.mdms.run_vee(NOW)
    browser = await house.enter(house.operator())
    chosen = await browser.get("/fleet/rules?rule=night-flow&medium=water")
    parameters = re.findall(r'name="value-(\w+)"[^>]*placeholder="([^"]*)"', chosen.text)
    assert parameters
    fields = {"rule": "night-flow", "medium": "water", "customer": ""}
    began = await browser.send("/fleet/rules", off="1", **fields)
    assert (began.status_code, began.headers["location"]) == (
        303,
        "/fleet/rules?rule=night-flow&medium=water&customer=#trials",
    )
    busy = await browser.send("/fleet/rules", off="1", **fields)
    assert (busy.status_code, problem(busy)) == (
        400,
        "Another trial runs; wait until it has come to its end.",
    )
    assert 'hx-trigger="every 3s"' in busy.text
    await house.trials.settled()
    shown = await browser.get("/fleet/rules")
    assert "hx-trigger" not in shown.text
    found = [one for one in house.mdms.findings(1000) if one.rule == "night-flow"]
    assert found
    numbers = re.findall(r'<td class="num">(?:<b>)?([\d,]+)', shown.text)
    assert numbers == [str(len(found)), "0", "0", str(len(found))]
    assert f"/fleet/meters/{point(0)}?until=" in shown.text
    name, _ = parameters[0]
    for wrong in (
        fields | {"rule": "nonsense"},
        fields | {"medium": "oil"},
        fields | {"customer": "king"},
        fields | {f"value-{name}": "<b>"},
        fields | {"value-nonsense": "1"},
        fields | {f"value-{name}": "9" * 64},
    ):
        answer = await browser.send("/fleet/rules", **wrong)
        assert (answer.status_code, bool(problem(answer))) == (400, True), wrong
    assert (await browser.get("/fleet/rules?rule=nonsense")).status_code == 400
    resident = await house.enter(house.accounts.create("resident", NOW, customer_id="c1"))
    assert (await resident.get("/fleet/rules")).status_code == 404
    assert (await resident.send("/fleet/rules", **fields)).status_code == 404


async def test_a_damaged_edit_is_named_in_the_list_beside_the_others(house: House) -> None:
    browser = await house.enter(house.operator())
    shown = await browser.send(edit_path(AFTER), action="look", **POINT)
    await browser.send(edit_path(AFTER), action="save", seen=seen(shown), **POINT)
    with write(house.utility._engine) as connection:
        connection.exec_driver_sql("UPDATE edits SET author = 'somebody' WHERE id = 1")
    page = await browser.get("/fleet/edits")
    assert page.status_code == 200
    assert "Edit 1 It is not what was written in the control store" in words(page)
