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
    "resident": ["/", "/use/up-ren-water", "/use/up-ren-water?day=2026-11-12", "/bills", "/account"],
    "operator": [
        "/fleet",
        "/fleet/refusals",
        "/fleet/exceptions",
        "/fleet/meters",
        "/fleet/meters/up-lu-water",
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
