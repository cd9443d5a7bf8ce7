"""People at their screens: residents and operators, both languages, a phone and a wide window."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytestmark = pytest.mark.browser

SCREENS = [("zh-CN", 390), ("zh-CN", 1280), ("en-GB", 390), ("en-GB", 1280)]
HOME = {"zh-CN": "数据完整至", "en-GB": "Complete to"}
FLEET = {"zh-CN": "8 只表中 7 只数据及时", "en-GB": "7 of 8 meters are fresh"}


@pytest.mark.parametrize(("locale", "width"), SCREENS)
def test_a_resident_reads_use_charts_and_bill(window: Any, served: Any, locale: str, width: int) -> None:
    watched = window(locale, width)
    page = watched.page
    watched.enter(served.link("resident"))
    assert HOME[locale] in page.inner_text("main")
    assert page.locator("figure[data-chart] canvas").count() == 4
    drawn = page.evaluate(
        "[...document.querySelectorAll('figure canvas')].map(c => new Set(new Uint32Array("
        "c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size)"
    )
    assert all(colours > 3 for colours in drawn), "a chart is empty"

    page.click("article#water h2 a")
    watched.settled()
    assert page.locator("figure canvas").count() == 2
    bars = page.locator("figure[data-day] .u-over")
    box = bars.bounding_box()
    bars.click(position={"x": box["width"] * 12.5 / 20, "y": box["height"] - 6})  # the 12th or 13th
    page.wait_for_url(re.compile(r"day=2026-11-1[23]"))
    watched.open("/use/up-ren-water?day=2026-11-12")
    page.click("#hours details summary")
    page.wait_for_selector("#hours table")
    assert page.locator("#hours .q-estimated").count() == 2

    page.click("nav a[href='/bills']")
    watched.settled()
    page.click(".bills li[data-medium='water'] a")
    watched.settled()
    page.click("details.line >> nth=0")
    opened = page.inner_text("details.line >> nth=0")
    assert {"zh-CN": "签名与链均有效", "en-GB": "signature and chain hold"}[locale] in opened
    page.click("details.line >> nth=0 >> details summary >> nth=0")
    assert page.locator(".hex >> nth=0").is_visible()
    watched.settled()
    watched.open("/account")


@pytest.mark.parametrize(("locale", "width"), SCREENS)
def test_an_operator_reads_fleet_refusals_exceptions_and_a_meter(
    window: Any, served: Any, locale: str, width: int
) -> None:
    watched = window(locale, width)
    page = watched.page
    watched.enter(served.link("operator"))
    assert page.inner_text("h1") == FLEET[locale]
    page.click("nav a[href='/fleet/refusals']")
    watched.settled()
    first = page.locator(".entries > li").count()
    page.click("#more a")
    page.wait_for_selector(f".entries > li >> nth={first}")
    assert page.locator(".entries > li").count() == 60
    page.click("nav a[href='/fleet/readings']")
    watched.settled()
    assert "3 号楼 2 单元" in page.inner_text("table >> nth=0")
    page.click("table >> nth=0 >> a")
    watched.settled()
    assert "concentrator=" in page.url
    assert page.locator("table >> nth=1 >> tbody tr").count() > 0
    page.click("nav a[href='/fleet/forecast']")
    watched.settled()
    page.click("nav.chips a >> nth=3")
    watched.settled()
    page.fill("#of", "up-ren-electricity")
    page.click(".pick button")
    watched.settled()
    assert "up-ren-electricity" in page.url
    assert page.locator(".band .middle").count() == 2
    assert page.locator("section >> nth=1 >> tbody tr").count() == 7
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("nav a[href='/fleet/exceptions']")
    watched.settled()
    assert "up-lu-heat" in page.inner_text("#held")
    page.click("#held a")
    watched.settled()
    assert page.locator("table tbody tr").count() > 24
    watched.open("/fleet/meters/up-lu-water")
    vouched = {"zh-CN": "集中器担保", "en-GB": "vouched for by the concentrator"}[locale]
    assert vouched in page.inner_text("table")
    watched.open("/fleet/meters?medium=gas")
    assert page.locator(".entries > li").count() == 2
    watched.open("/account")


def test_a_link_opens_once_and_leaves_no_trace(window: Any, served: Any) -> None:
    link = served.link("neighbour")
    first = window()
    first.open(link)
    first.page.reload()
    assert "#" not in first.page.url, "the token is gone from the address"
    first.open("/sign-in")
    first.enter(link)
    assert first.page.locator("article").count() == 4
    assert link.rpartition("#")[2] not in first.page.evaluate("document.documentElement.outerHTML")
    second = window()
    second.open(link)
    second.page.click("#enter")
    second.page.wait_for_selector("[role=alert]")
    assert "used before" in second.page.inner_text("[role=alert]")
    second.faults = [fault for fault in second.faults if "403" not in fault]  # the browser notes the refusal


def test_a_language_can_be_chosen_before_a_link_is_used(window: Any, served: Any) -> None:
    watched = window("en-GB", 390)
    watched.open(served.link("former"))
    watched.page.click("button[value=zh_Hans_CN]")
    watched.settled()
    assert watched.page.inner_text("h1") == "欢迎"
    watched.page.click("#enter")
    watched.settled()
    assert watched.page.locator("html").get_attribute("lang") == "zh-Hans"
    assert watched.page.url == f"{served.base}/"


def test_a_chosen_language_stays_and_signing_out_ends_it_all(window: Any, served: Any) -> None:
    watched = window("zh-CN", 390)
    watched.enter(served.link("resident"))
    watched.page.click("button[value=en]")
    watched.settled()
    watched.open("/bills")
    assert watched.page.inner_text("h1") == "Bills"
    watched.open("/account")
    watched.page.click("#leave")
    watched.settled()
    watched.open("/")
    assert watched.page.url.endswith("/sign-in")


def test_the_pages_work_without_scripts_and_in_the_dark(window: Any, served: Any) -> None:
    plain = window("zh-CN", 390, java_script_enabled=False)
    link = served.link("resident")
    plain.page.goto(link)
    plain.page.fill("#code", link)
    plain.page.click("#enter")
    plain.page.wait_for_selector("article#water")
    assert HOME["zh-CN"] in plain.page.inner_text("main")
    dark = window("en-GB", 1280, color_scheme="dark")
    dark.enter(served.link("operator"))
    ground = dark.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(int(part) for part in re.findall(r"\d+", ground)[:3]) < 120


def test_colours_of_text_keep_their_contrast(window: Any, served: Any) -> None:
    for scheme in ("light", "dark"):
        watched = window(color_scheme=scheme)
        watched.open("/sign-in")
        tokens = watched.page.evaluate(
            "(names => { const s = getComputedStyle(document.documentElement);"
            " return Object.fromEntries(names.map(n => [n, s.getPropertyValue('--' + n).trim()])) })"
            "(['paper', 'sheet', 'soft', 'ink', 'muted', 'link', 'good', 'warn', 'bad'])"
        )
        for ground in ("paper", "sheet"):
            for text in ("ink", "muted", "link", "good", "warn", "bad"):
                assert contrast(tokens[text], tokens[ground]) >= 4.5, (scheme, text, ground)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio of two #rrggbb colours."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_an_operator_edits_a_day_on_a_phone(window: Any, served: Any) -> None:
    """From the chart of a day over what it does to what was done, and nothing sticks out sideways."""
    watched = window("zh-CN", 390)
    page = watched.page
    watched.enter(served.link("operator"))
    watched.open("/fleet/meters/up-ren-heat")
    page.click("a[href*='/edit?day=']")
    watched.settled()
    watched.open("/fleet/meters/up-ren-heat/edit?day=2026-11-15")
    assert page.locator("svg .bar.q-measured").count() >= 24
    page.select_option("#method", "flat")
    page.fill("#reason", "表钟停走")
    page.click("button[value=look]")
    watched.settled()
    assert page.locator("svg .bar.then").count() >= 24
    page.click("button[value=save]")
    page.wait_for_url(re.compile(r"/fleet/edits/\d+$"))
    watched.settled()
    assert "已保存" in page.inner_text("h1")
    assert "表钟停走" in page.inner_text("main")
    page.fill("#reason", "改回")
    page.click("button[value=look]")
    watched.settled()
    page.click("button[value=save]")
    page.wait_for_url(re.compile(r"/fleet/edits/\d+$"))
    watched.open("/fleet/meters/up-ren-heat?as_of=2026-11-20")
    watched.open("/fleet/edits")
    assert page.locator(".entries > li").count() >= 2
