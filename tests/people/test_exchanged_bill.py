"""The page of a bill across an exchange shows both meters, in both languages."""

from __future__ import annotations

import pytest

from meterseal.mesh.rpc import InProcess
from meterseal.people.portal.context import Portal
from meterseal.people.portal.settings import PortalSettings
from tests.utility.conftest import Town, town
from tests.utility.test_billing import only_bill
from tests.utility.test_exchange import NEW, OLD_LAST, swap, two_meters
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
