"""Everybody can use the screens: axe-core finds nothing on any page, light or dark, phone or wide window.

It says what a machine can say (names, roles, contrast, order); it is no test with people.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import ROOT

pytestmark = pytest.mark.browser

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = {
    "resident": [
        "/",
        "/use/up-ren-water",
        "/use/up-ren-water?day=2026-11-12",
        "/bills",
        "/bills/ag-ren-water.2026-10-01.v1",
        "/bills/ag-ren-water.2026-10-01.v1/readings?line=0",
        "/bills/ag-ren-electricity.2026-10-01.v1/readings?line=0",
        "/account",
    ],
    "operator": [
        "/fleet",
        "/fleet/refusals",
        "/fleet/readings",
        "/fleet/forecast?medium=electricity&of=west",
        "/fleet/exceptions",
        "/fleet/meters",
        "/fleet/meters/up-lu-water",
        "/fleet/meters/up-lu-water?as_of=2026-11-20",
        "/fleet/meters/up-lu-heat/edit?day=2026-11-01",
        "/fleet/edits",
        "/fleet/rules?rule=spike&medium=gas",
        "/account",
    ],
}
RULES = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}"


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.exists():
        pytest.skip("axe-core is not there; install it with: cd web && npm ci")
    return AXE.read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("locale", "width"), [("zh-CN", 390), ("en-GB", 1280)])
@pytest.mark.parametrize("who", ["resident", "operator"])
def test_axe_finds_no_obstacle(
    window: Any, served: Any, axe: str, who: str, locale: str, width: int, scheme: str
) -> None:
    watched = window(locale, width)
    watched.page.emulate_media(color_scheme=scheme)
    watched.enter(served.link(who))
    found = []
    for path in PAGES[who]:
        watched.open(path)
        watched.page.evaluate(axe)
        judged = watched.page.evaluate(f"axe.run(document, {RULES})")
        assert len(judged["passes"]) > 15, "axe looked at nothing"
        found += [(path, one["id"], one["nodes"][0]["target"]) for one in judged["violations"]]
    assert not found


def test_axe_would_find_an_obstacle(window: Any, served: Any, axe: str) -> None:
    watched = window("en-GB", 390)
    watched.enter(served.link("resident"))
    watched.page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<button></button>')"
    )
    watched.page.evaluate(axe)
    judged = watched.page.evaluate(f"axe.run(document, {RULES})")
    assert "button-name" in {one["id"] for one in judged["violations"]}


@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
def test_a_resident_reaches_everything_with_the_keyboard(window: Any, served: Any, locale: str) -> None:
    """Tab visits every link and control in view, each with a visible mark of focus, and Enter opens it."""
    watched = window(locale, 390)
    page = watched.page
    watched.enter(served.link("resident"))
    wanted = page.evaluate(
        "[...document.querySelectorAll('a[href], button, summary, select, input')]"
        ".filter(e => e.checkVisibility() && e.tabIndex >= 0 && e.type !== 'hidden').length"
    )
    visited = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        place = page.evaluate(
            "(() => { const e = document.activeElement; if (!e || e === document.body) return null;"
            " const s = getComputedStyle(e);"
            " return [[...document.querySelectorAll('*')].indexOf(e),"
            " s.outlineStyle !== 'none' || s.boxShadow !== 'none'] })()"
        )
        if place is not None:
            assert place[1], page.evaluate("document.activeElement.outerHTML")
            visited.add(place[0])
    assert len(visited) >= wanted
    page.focus("nav a[href='/bills']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/bills")


@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
def test_a_bill_line_opens_to_its_hours_with_the_keyboard(window: Any, served: Any, locale: str) -> None:
    """From the bill to one hour and back with Tab and Enter alone, on a phone."""
    watched = window(locale, 390)
    page = watched.page
    watched.enter(served.link("resident"))
    watched.open("/bills/ag-ren-water.2026-10-01.v1")
    page.focus("details.line >> nth=0 >> summary >> nth=0")
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("Tab")
        if "readings?line=0" in page.evaluate("document.activeElement.getAttribute('href') || ''"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/readings?line=0")
    watched.settled()
    assert page.locator("table.used tbody tr").count() == 31
    page.focus("table.used a >> nth=4")
    page.keyboard.press("Enter")
    page.wait_for_url("**since=**")
    watched.settled()
    assert page.locator("table.used tbody tr").count() == 24
    page.focus(".crumb a >> nth=0")
    page.keyboard.press("Enter")
    page.wait_for_url("**/bills/ag-ren-water.2026-10-01.v1")


@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
def test_the_hours_of_a_band_come_a_page_at_a_time(window: Any, served: Any, locale: str) -> None:
    watched = window(locale, 390)
    page = watched.page
    watched.enter(served.link("resident"))
    watched.open("/bills/ag-ren-electricity.2026-10-01.v1/readings?line=0")
    rows = page.locator("table.used tbody tr")
    shown = rows.count()
    assert shown == 101  # a hundred hours and the way to more
    while page.locator("#more a").count():
        page.click("#more a")
        rows.nth(shown).wait_for()
        shown = rows.count()
    watched.settled()
    assert shown > 200
