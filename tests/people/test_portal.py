"""Attacks on the portal's edge, and what every page promises: headers, forms, cookies, languages, size."""

from __future__ import annotations

import gzip
import html
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
import structlog
from litestar.testing import TestClient

from meterseal.errors import EngineError, LocalError
from meterseal.mesh.rpc import InProcess
from meterseal.people.portal import guard, words
from meterseal.people.portal.app import create_app
from meterseal.people.portal.assets import Assets
from meterseal.people.portal.context import local_path
from meterseal.people.portal.i18n import load_languages, negotiate
from meterseal.people.portal.settings import PortalSettings
from meterseal.utility.views import MEANING
from tests.people.town import MOVED, ZONE, Town

HOST = "http://testserver.local"
FETCHED = {"sec-fetch-site": "same-origin"}
FIRST_PAGE = 60 * 1024

Browser = TestClient[Any]


@pytest.fixture
def browser(town: Town) -> Iterator[Browser]:
    app = create_app(town.web(), PortalSettings(sign_ins=1000))
    with TestClient(app, base_url=HOST) as client:
        client.follow_redirects = False
        client.headers["accept-language"] = "en"
        yield client


def token_of(page: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found
    return found.group(1)


def enter(browser: Browser, town: Town, account: str) -> None:
    page = browser.get("/in").text
    link = town.accounts.make_link(account, town.now)
    done = post(browser, "/in", token_of(page), link=link)
    assert (done.status_code, done.headers["location"]) == (303, "/")


def post(
    browser: Browser, path: str, token: str, headers: dict[str, str] | None = None, **fields: str
) -> Any:
    body = urlencode({"token": token, **fields})
    form = {"content-type": "application/x-www-form-urlencoded"}
    return browser.post(path, content=body, headers=form | (FETCHED if headers is None else headers))


# --- headers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/sign-in", 200),
        ("GET", "/in", 200),
        ("GET", "/", 303),
        ("GET", "/nothing/here", 404),
        ("GET", "/static/none.js", 404),
        ("DELETE", "/sign-in", 404),
        ("POST", "/sign-in", 403),
        ("GET", "/fleet?before=x", 303),
        ("GET", "/fleet/refusals?before=x", 400),
        ("GET", "/favicon.ico", 200),
        ("GET", "/robots.txt", 200),
    ],
)
def test_every_answer_carries_the_protective_headers(
    browser: Browser, method: str, path: str, status: int
) -> None:
    answer = browser.request(method, path)
    assert answer.status_code == status
    for name, value in guard.HEADERS.items():
        assert answer.headers[name] == value, name
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "http" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"]


def test_a_fault_is_a_page_with_headers_and_its_log_line_has_no_address(town: Town) -> None:
    class Broken(InProcess):
        async def call(self, method: str, request: Any, reply: Any) -> Any:
            raise ZeroDivisionError("secret value")

    app = create_app(Broken({}, "web"), PortalSettings())
    with (
        TestClient(app, base_url=HOST, raise_server_exceptions=False) as client,
        structlog.testing.capture_logs() as lines,
    ):
        client.cookies.set("ms_session", "secret-cookie")
        answer = client.get("/bills/secret-bill", headers={"accept-language": "en"})
    assert answer.status_code == 500
    assert "The portal met a fault of its own" in answer.text
    assert answer.headers["content-security-policy"] == guard.CONTENT_SECURITY_POLICY
    assert [line["event"] for line in lines] == ["portal.fault"]
    assert "secret" not in str(lines)
    assert lines[0]["route"] == "/bills/{bill_id}"


def test_an_engine_that_is_away_is_a_sentence_and_not_its_own_words(town: Town) -> None:
    class Away(InProcess):
        async def call(self, method: str, request: Any, reply: Any) -> Any:
            raise EngineError("mesh.away", "host platform-7 is away")

    with TestClient(create_app(Away({}, "web"), PortalSettings()), base_url=HOST) as client:
        client.cookies.set("ms_session", "x")
        answer = client.get("/bills", headers={"accept-language": "zh-CN"})
    assert answer.status_code == 503
    assert "计量系统暂时没有应答" in answer.text
    assert "platform-7" not in answer.text


def test_over_tls_cookies_are_host_bound_and_browsers_stay_with_tls(town: Town) -> None:
    app = create_app(town.web(), PortalSettings(secure=True))
    with TestClient(app, base_url="https://testserver.local") as client:
        answer = client.get("/sign-in")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-ms_form=")
    for flag in ("HttpOnly", "SameSite=strict", "Path=/", "Secure"):
        assert flag in cookie
    assert "Domain" not in cookie
    assert answer.headers["strict-transport-security"] == guard.TRANSPORT


def test_attack_bind_a_foreign_name_to_our_address(town: Town) -> None:
    app = create_app(town.web(), PortalSettings(hosts=("127.0.0.1", "localhost")))
    with TestClient(app, base_url="http://evil.example:80") as client:
        assert client.get("/sign-in").status_code == 421
        assert client.get("/sign-in", headers={"host": "127.0.0.1:8080"}).status_code == 200
        assert client.get("/sign-in", headers={"host": "localhost"}).status_code == 200


# --- the door --------------------------------------------------------------------------------------------


def test_a_link_preview_does_not_burn_the_link(browser: Browser, town: Town) -> None:
    link = town.accounts.make_link(town.resident, town.now)
    for _ in range(3):
        assert browser.get(f"/in?utm={link}").status_code == 200
        assert browser.head("/in").status_code in (200, 404)
    page = browser.get("/in").text
    assert post(browser, "/in", token_of(page), link=link).status_code == 303
    assert browser.get("/").status_code == 200
    again = post(browser, "/in", token_of(browser.get("/in").text), link=link)
    assert again.status_code == 403
    assert "This sign-in link was used before" in again.text


def test_without_scripts_the_whole_link_can_be_typed(browser: Browser, town: Town) -> None:
    link = town.accounts.make_link(town.resident, town.now)
    page = browser.get("/in").text
    assert post(browser, "/in", token_of(page), link="", code=f" {HOST}/in#{link} ").status_code == 303


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: Browser, town: Town) -> None:
    page = browser.get("/in").text
    link = town.accounts.make_link(town.resident, town.now)
    cookie = post(browser, "/in", token_of(page), link=link).headers["set-cookie"]
    assert "ms_session=" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


def test_signing_out_ends_the_session_on_the_platform(browser: Browser, town: Town) -> None:
    enter(browser, town, town.resident)
    session = browser.cookies["ms_session"]
    page = browser.get("/account").text
    done = post(browser, "/sign-out", token_of(page))
    assert done.headers["location"] == "/sign-in"
    browser.cookies.set("ms_session", session)
    assert browser.get("/account").headers["location"] == "/sign-in"


def test_a_password_set_here_signs_in_here(browser: Browser, town: Town) -> None:
    name = town.accounts.create("resident", town.now, customer_id="ren")
    enter(browser, town, name)
    for fields, problem in (
        ({"password": "short", "again": "short"}, "too short"),
        ({"password": "long enough words", "again": "long enough word"}, "differ"),
    ):
        answer = post(browser, "/account/password", token_of(browser.get("/account").text), **fields)
        assert answer.status_code == 400
        assert problem in answer.text
    fields = {"password": "long enough words", "again": "long enough words"}
    done = post(browser, "/account/password", token_of(browser.get("/account").text), **fields)
    assert done.headers["location"] == "/account?done=password"
    browser.cookies.clear()
    for word, status in (("long enough wordz", 403), ("long enough words", 303)):
        page = browser.get("/sign-in").text
        assert post(browser, "/sign-in", token_of(page), name=name, password=word).status_code == status


def test_attack_try_many_sign_ins_from_one_address(town: Town) -> None:
    with TestClient(create_app(town.web(), PortalSettings(sign_ins=3)), base_url=HOST) as client:
        client.headers["accept-language"] = "en"
        answers = [
            post(client, path, token_of(client.get("/in").text), link="x", name="o-x", password="y" * 12)
            for path in ("/in", "/in", "/sign-in", "/sign-in", "/in")
        ]
    assert [answer.status_code for answer in answers] == [403, 403, 403, 429, 429]
    assert "Wait five minutes" in answers[-1].text


def test_the_limit_forgets_after_its_window_and_stays_bounded() -> None:
    clock = [0.0]
    limit = guard.SignInLimit(2, lambda: clock[0])
    limit.note("a")
    limit.note("a")
    with pytest.raises(guard.TooMany):
        limit.note("a")
    limit.note("b")
    clock[0] = guard.WINDOW + 1
    limit.note("a")
    for number in range(guard._TRACKED + 10):
        limit.note(f"address {number}")
    assert len(limit._seen) == guard._TRACKED


# --- forms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "http://evil.example"},
        {"origin": "https://testserver.local"},
    ],
)
def test_attack_post_a_form_from_another_site(browser: Browser, town: Town, headers: dict[str, str]) -> None:
    enter(browser, town, town.resident)
    token = token_of(browser.get("/account").text)
    assert post(browser, "/sign-out", token, headers).status_code == 403
    assert browser.get("/account").status_code == 200, "nothing happened"
    assert post(browser, "/sign-out", token, {"origin": HOST}).status_code == 303


def test_attack_post_without_or_with_a_foreign_token(browser: Browser, town: Town) -> None:
    enter(browser, town, town.resident)
    mine = token_of(browser.get("/account").text)
    other = guard.form_token("another form cookie", "another session")
    for token in ("", "x", "!" * 88, other, mine[:-4] + "AAA=", guard.form_token("", "")):
        assert post(browser, "/sign-out", token).status_code == 403
    browser.cookies.delete("ms_form")
    assert post(browser, "/sign-out", mine).status_code == 403


def test_a_token_looks_new_each_time() -> None:
    assert len({guard.form_token("form", "session") for _ in range(20)}) == 20


def test_attack_send_a_huge_form(browser: Browser) -> None:
    token = token_of(browser.get("/sign-in").text)
    assert post(browser, "/sign-in", token, name="x" * 100_000).status_code == 400


# --- scope at the edge -----------------------------------------------------------------------------------


def test_attack_resident_types_addresses_of_others(browser: Browser, town: Town) -> None:
    enter(browser, town, town.resident)
    there = f"since={MOVED}&until={MOVED + 86_400_000}"
    pairs = [
        ("/use/up-lu-water", "/use/up-never"),
        (f"/use/up-lu-water/series?{there}", f"/use/up-never/series?{there}"),
        (f"/use/up-lu-water/table?{there}", f"/use/up-never/table?{there}"),
        ("/bills/ag-lu-water.2026-10-01.v1", "/bills/never"),
        ("/fleet", "/fleeting"),
        ("/fleet/meters/up-lu-water", "/fleet/meters/up-ren-water"),
    ]
    for theirs, nobodys in pairs:
        answers = [browser.get(path) for path in (theirs, nobodys)]
        assert [answer.status_code for answer in answers] == [404, 404], theirs
        sentences = [re.findall(r'class="problem">(.*?)</p>', answer.text) for answer in answers]
        assert sentences[0] == sentences[1]


def test_visitors_are_shown_the_door_everywhere(browser: Browser) -> None:
    for path in ("/", "/bills", "/account", "/fleet", "/fleet/meters/up-ren-water", "/use/up-ren-water"):
        answer = browser.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in"), path
    browser.cookies.set("ms_session", "A" * 43)
    answer = browser.get("/")
    assert answer.headers["location"] == "/sign-in"
    assert 'ms_session=""; ' in answer.headers["set-cookie"] or "Max-Age=0" in answer.headers["set-cookie"]


# --- pages -----------------------------------------------------------------------------------------------


def test_the_home_page_says_freshness_use_cost_and_tier(browser: Browser, town: Town) -> None:
    enter(browser, town, town.resident)
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", browser.get("/").text))
    assert "Complete to 21 Nov 00:00. 2 of 1,920 hours estimated." in page
    assert "Tier 1 of 3" in page
    assert page.count("Last bill:") == 4
    assert page.index("Complete to") < page.index("since 1 Nov")


def test_a_series_is_columns_of_exact_integers(browser: Browser, town: Town) -> None:
    enter(browser, town, town.resident)
    answer = browser.get(f"/use/up-ren-water/series?since={MOVED}&until={MOVED + 20 * 86_400_000}")
    columns = answer.json()
    assert columns["unit"] == "m³"
    assert {len(columns[name]) for name in ("starts", "ends", "used", "quality")} == {20}
    assert columns["quality"].count("estimated") == 1
    assert all(isinstance(value, int) for value in columns["used"])
    meter = next(meter for meter in town.meters if meter.point == "up-ren-water")
    assert sum(columns["used"]) == meter.registers[MOVED + 20 * 86_400_000] - meter.registers[MOVED]


def test_hours_are_shown_for_days_of_the_agreement_only(browser: Browser, town: Town) -> None:
    enter(browser, town, town.neighbour)
    first = browser.get("/use/up-lu-electricity?day=2026-11-01")
    assert first.status_code == 200
    assert "Day before" not in first.text
    assert "Day after" in first.text
    for day in ("2026-10-31", "2026-11-21", "1970-01-01", "9999-12-31"):
        assert browser.get(f"/use/up-lu-electricity?day={day}").status_code == 404, day
    assert browser.get("/use/up-lu-electricity?day=2026-11-31").status_code == 400


def test_a_bill_opens_to_registers_and_signatures(browser: Browser, town: Town) -> None:
    enter(browser, town, town.resident)
    listed = browser.get("/bills").text
    path = re.search(r'href="(/bills/ag-ren-water[^"]+)"', listed)
    assert path
    page = browser.get(path.group(1)).text
    meter = next(meter for meter in town.meters if meter.point == "up-ren-water")
    assert f"{meter.registers[MOVED] / 100:.2f}" in page
    assert "signature and chain hold" in page
    assert "Signed by the meter" in page
    bill = town.utility.bill(path.group(1).removeprefix("/bills/"))
    evidence = bill.determinants[bill.lines[0].determinant or 0].readings.last.evidence
    assert evidence is not None
    assert evidence.signature in page


def _rows(page: str) -> list[list[str]]:
    """The cells of a table's rows, tags off."""
    return [
        [re.sub(r"<[^>]+>", " ", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)]
        for row in re.findall(r"<tr>(.*?)</tr>", page, re.S)
    ]


@pytest.mark.parametrize("medium", ["water", "gas", "heat", "electricity"])
def test_every_line_of_a_bill_opens_to_the_readings_it_was_made_of(
    browser: Browser, town: Town, medium: str
) -> None:
    """The footer says so of every number; the review found counts where readings were promised."""
    enter(browser, town, town.resident)
    (bill_id,) = (bill.bill_id for bill in town.utility.bills(f"ag-ren-{medium}"))
    bill = town.utility.bill(bill_id)
    page = browser.get(f"/bills/{bill_id}").text
    for number, line in enumerate(bill.lines):
        if line.determinant is None:
            continue
        path = f"/bills/{bill_id}/readings?line={number}"
        assert f'href="{path}"' in page
        rows = list[list[str]]()
        while path:
            shown = browser.get(path).text
            rows += [row for row in _rows(shown) if len(row) == 4]
            more = re.search(r'href="([^"]+after=\d+)"', shown)
            path = more.group(1).replace("&amp;", "&") if more else ""
        used = bill.determinants[line.determinant]
        assert len(rows) == (used.readings.count if used.kind == "hours" else 31)
        assert all("measured" in row[3] or "estimated" in row[3] for row in rows)
        total = sum((Decimal(row[2].split()[0].replace(",", "")) for row in rows), Decimal(0))
        assert total == line.charge.quantity
        days = re.findall(r'href="(/bills/[^"]+since=\d+[^"]+until=\d+)"', shown)
        if used.kind == "register":
            hours = browser.get(days[0].replace("&amp;", "&")).text
            assert len([row for row in _rows(hours) if len(row) == 4]) == 24
            assert f"/bills/{bill_id}/readings?line={number}" in hours


def test_a_bill_explains_each_of_its_words_once(browser: Browser, town: Town) -> None:
    enter(browser, town, town.resident)
    for medium in ("water", "gas", "heat", "electricity"):
        (summary,) = town.utility.bills(f"ag-ren-{medium}")
        page = html.unescape(browser.get(f"/bills/{summary.bill_id}").text)
        bill = town.utility.bill(summary.bill_id)
        for word in {line.assurance for line in bill.lines}:
            assert page.count(MEANING[word]) == 1 + (word == "tariff")
    assert words.WORDS["assurance-why"] == MEANING


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 404),
        ("line=99", 404),
        ("line=0&determinant=0", 404),
        ("line=x", 400),
        ("line=0&since=5&until=1", 400),
        ("line=0&after=-1", 400),
        (f"line={1 << 40}", 400),
        (f"line=0&until={1 << 60}", 400),
    ],
)
def test_an_address_that_names_no_readings_is_a_page_that_says_so(
    browser: Browser, town: Town, query: str, status: int
) -> None:
    enter(browser, town, town.resident)
    answer = browser.get(f"/bills/ag-ren-water.2026-10-01.v1/readings?{query}")
    assert answer.status_code == status


def test_an_operator_sees_what_a_medium_a_zone_and_a_usage_point_will_use(
    browser: Browser, town: Town
) -> None:
    enter(browser, town, town.operator)
    whole = html.unescape(browser.get("/fleet/forecast?medium=electricity").text)
    assert "Sat, 21 Nov: about" in whole
    assert "All usage points together." in whole
    rows = [row for row in _rows(whole) if len(row) == 4]
    forecast = town.mdms.forecasts.whole("electricity")
    assert [row[0] for row in rows][:2] == ["Sat, 21 Nov", "Sun, 22 Nov"]
    assert len(rows) == 7
    assert rows[0][1] == f"{sum(forecast.quantiles[2][:24]):,.2f}"
    assert rows[6][3] == f"{forecast.peaks[4][6]:,.2f}"
    (judged,) = [one for one in town.mdms.forecasts.lately or () if one.medium == "electricity" and one.sums]
    assert f"{judged.score.mase:.2f}" in whole[whole.index("How good it was lately") :]
    (day,) = judged.highest
    table = whole[whole.index("Each day's highest hour") :]
    assert re.findall(r'<td class="num">(?:<b>)?([^<]+)', table) == [
        f"{day.foreseen:,.2f}",
        f"{day.low:,.2f} – {day.high:,.2f}",
        f"{day.came:,.2f}",
    ]
    zone = browser.get(f"/fleet/forecast?{urlencode({'medium': 'electricity', 'of': ZONE})}").text
    assert html.escape(ZONE).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in zone
    assert "<b>站前" not in zone
    assert "All usage points of the zone" in zone
    point = browser.get("/fleet/forecast?medium=water&of=up-ren-electricity").text
    assert 'data-medium="electricity"' in point
    assert "Usage point up-ren-electricity." in point
    for nothing in ("west%00", "up-none", "x" * 500):
        answer = browser.get(f"/fleet/forecast?medium=electricity&of={nothing}")
        assert (answer.status_code, "There is no forecast of" in answer.text) == (200, True)


def test_an_operator_sees_the_predicted_bill_that_the_resident_sees(browser: Browser, town: Town) -> None:
    enter(browser, town, town.operator)
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", browser.get("/fleet/meters/up-ren-electricity").text))
    foreseen = town.utility.card("up-ren-electricity", town.now).period.projection
    assert foreseen is not None
    assert foreseen.low_fen is not None
    assert foreseen.high_fen is not None
    low, cost, high = (
        f"¥{fen / 100:,.2f}" for fen in (foreseen.low_fen, foreseen.cost_fen, foreseen.high_fen)
    )
    assert f"≈ {cost} nine times of ten between {low} and {high}" in page
    assert "ag-ren" not in page
    assert "任晓" not in page


def test_a_resident_is_shown_no_forecast_of_others(browser: Browser, town: Town) -> None:
    enter(browser, town, town.resident)
    assert browser.get("/fleet/forecast?of=up-lu-electricity").status_code == 404
    assert "/fleet/forecast" not in browser.get("/").text


@pytest.mark.parametrize("who", ["resident", "neighbour", "former", "operator"])
@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_every_link_on_every_page_leads_somewhere(
    browser: Browser, town: Town, who: str, language: str
) -> None:
    browser.headers["accept-language"] = language
    enter(browser, town, getattr(town, who))
    seen: set[str] = set()
    waiting = ["/"]
    while waiting and len(seen) < 120:  # the days of every line are many more pages of the same kind
        path = waiting.pop(0)
        seen.add(path)
        answer = browser.get(path)
        if answer.status_code == 303:
            waiting.append(answer.headers["location"])
            continue
        assert answer.status_code == 200, path
        found = re.findall(r'(?:href|hx-get|data-chart|src)="(/[^"#]*)', answer.text)
        for link in (link.replace("&amp;", "&") for link in found):
            if link not in seen and link not in waiting:
                waiting.append(link)
    assert len(seen) >= 8


def test_pages_carry_no_inline_style_and_no_inline_script(browser: Browser, town: Town) -> None:
    enter(browser, town, town.resident)
    for path in ("/", "/use/up-ren-water", "/bills", "/account", "/in", "/sign-in"):
        page = browser.get(path).text
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son[a-z]+=|hx-on|javascript:", page), (
            path
        )
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page), path


def test_the_first_page_is_small(browser: Browser, town: Town) -> None:
    enter(browser, town, town.resident)
    page = browser.get("/")
    files = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text))
    assert {path.rpartition(".")[2] for path in files} == {"js", "css", "svg"}
    size = len(gzip.compress(page.content))
    for path in files:
        raw = browser.get(path, headers={"accept-encoding": "gzip"})
        assert raw.headers["content-encoding"] == "gzip"
        assert "immutable" in raw.headers["cache-control"]
        size += int(raw.headers["content-length"])
    assert size <= FIRST_PAGE
    assert "chart-" not in browser.get("/bills").text, "pages without a chart do not load one"


# --- languages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "zh_Hans_CN"),
        ("*", "zh_Hans_CN"),
        ("zh", "zh_Hans_CN"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh_Hans_CN"),
        ("zh-Hans", "zh_Hans_CN"),
        ("zh-TW", "zh_Hans_CN"),
        ("ZH-hk", "zh_Hans_CN"),
        ("en-GB", "en"),
        ("de-DE,en;q=0.5", "en"),
        ("fr", "en"),
        ("en;q=0.2,zh;q=0.9", "zh_Hans_CN"),
        ("zh;q=0,en", "en"),
        ("zh;q=high,en;q=0.1", "en"),
        (",;;,q=", "en"),
    ],
)
def test_a_language_is_chosen_by_accept_language(accept: str, expected: str) -> None:
    assert negotiate(accept) == expected


def test_a_chosen_language_sticks_to_browser_and_account(browser: Browser, town: Town) -> None:
    enter(browser, town, town.neighbour)
    page = browser.get("/").text
    assert '<html lang="en">' in page
    done = post(browser, "/language", token_of(page), language="zh_Hans_CN", to="/bills")
    assert done.headers["location"] == "/bills"
    assert '<html lang="zh-Hans">' in browser.get("/bills").text
    session = browser.cookies["ms_session"]
    assert town.accounts.subject(session, town.now).locale == "zh_Hans_CN"
    assert post(browser, "/language", token_of(browser.get("/").text), language="tlh").status_code == 400


@pytest.mark.parametrize(
    "to",
    ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "", "/a\nb", "/static/x"],
)
def test_attack_redirect_through_the_language_switch(to: str) -> None:
    assert local_path(to) == "/"


def test_a_tree_that_was_not_built_says_so_and_how_to_cure_it(tmp_path: Any) -> None:
    for load in (Assets, load_languages):
        with pytest.raises(LocalError, match=r"python hatch_build\.py") as caught:
            load(tmp_path)
        assert caught.value.code == "portal.not-built"


def test_the_web_process_holds_no_store() -> None:
    asked = (
        "import sys, meterseal.people.portal.serve\n"
        "stores = ('sqlalchemy', 'sqlite3', 'alembic', 'numpy', 'arro3', 'duckdb')\n"
        "ours = ('meterseal.control', 'meterseal.mdms', 'meterseal.security', 'meterseal.people.accounts')\n"
        "print([name for name in sys.modules if name.split('.')[0] in stores or name.startswith(ours)])"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
