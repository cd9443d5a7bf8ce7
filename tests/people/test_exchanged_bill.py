"""The page of a bill across an exchange shows both meters, and that of multiplied use how it was multiplied."""

from __future__ import annotations

import pytest

from meterseal.mesh.rpc import InProcess
from meterseal.people.portal.context import Portal
from meterseal.people.portal.settings import PortalSettings
from meterseal.utility.calendar import HOUR
from tests.utility.conftest import Town, town
from tests.utility.test_billing import JULY, JUNE, only_bill
from tests.utility.test_exchange import NEW, OLD_LAST, swap, two_meters
from tests.utility.test_multiplier import MID, counted, state
from tests.utility.twins import DEVICE

__all__ = ["town"]


@pytest.mark.parametrize(
    ("code", "says"),
    [("en", "The meter was exchanged"), ("zh_Hans_CN", "表计已更换")],
)
async def test_a_bill_across_an_exchange_shows_both_meters(town: Town, code: str, says: str) -> None:
    two_meters(town.supply("x", "water", "2026-06-01"), first=107)
    swap(town, OLD_LAST, "1.05")
    bill = await only_bill(town)
    portal = Portal(InProcess({}, "web"), PortalSettings())
    page = portal.languages[code].environment.get_template("bill.html")
    html = page.render(me=None, path="/bills/x", form_token=lambda: "t", bill=bill)
    assert says in html
    assert DEVICE.hex() in html
    assert NEW.hex() in html
    assert OLD_LAST in html
    formula = html.partition('<p class="formula">')[2]
    assert "(28.32 − 1.05)" in html, formula[:200]


@pytest.mark.parametrize(
    ("code", "says", "changed"),
    [
        (
            "en",
            "The meter signs its registers; the multiplier is stated by your utility.",
            "Register when the multiplier",
        ),
        ("zh_Hans_CN", "示数由表计签名，倍率由供应单位声明。", "倍率变更时的示数"),
    ],
)
async def test_a_bill_of_multiplied_use_shows_registers_multiplier_and_product(
    town: Town, code: str, says: str, changed: str
) -> None:
    counted(town, "water")
    state(town, "2000/5", until=MID)
    state(town, "0.5", since=MID)
    bill = await only_bill(town)
    portal = Portal(InProcess({}, "web"), PortalSettings())
    template = portal.languages[code].environment.get_template("bill.html")
    html = template.render(me=None, path="/bills/x", form_token=lambda: "t", bill=bill)
    assert says in html
    assert changed in html
    assert "75.00 − 3.00 = 72.00" in html
    assert "36.00 × 400 = <b>14,400.00" in html or "36.00 × 400 = <b>14400.00" in html, html[-6000:]
    assert "36.00 × 0.5 = <b>18.000" in html


@pytest.mark.parametrize(("code", "says"), [("en", "registers times 40"), ("zh_Hans_CN", "乘以倍率 40")])
async def test_the_page_of_use_says_by_what_registers_are_multiplied(
    town: Town, code: str, says: str
) -> None:
    counted(town, "water")
    portal = Portal(InProcess({}, "web"), PortalSettings())
    template = portal.languages[code].environment.get_template("use.html")
    for stated in ("1", "40"):
        state(town, stated)
        card = town.utility.card("x", JULY - HOUR)
        html = template.render(
            me=None,
            path="/use/x",
            form_token=lambda: "t",
            card=card,
            day=JUNE,
            day_end=JUNE + 24 * HOUR,
            began=JUNE,
        )
        assert (says in html) == (stated == "40")
