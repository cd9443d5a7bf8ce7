"""Pages of an operator: freshness of the fleet, refused messages, exceptions, one meter with its readings.

It knows no names or addresses of customers: usage points are pseudonyms here.
"""

from __future__ import annotations

from litestar import Response, get
from litestar.params import FromPath, FromQuery

from meterseal.errors import LocalError
from meterseal.model import MEDIA, Medium
from meterseal.people.fleet_messages import (
    OperatorExceptions,
    OperatorExceptionsPage,
    OperatorHome,
    OperatorHomePage,
    OperatorMeter,
    OperatorMeterPage,
    OperatorMeters,
    OperatorMetersPage,
    OperatorReconciliation,
    OperatorReconciliationPage,
    OperatorRefusals,
    OperatorRefusalsPage,
)
from meterseal.people.forecast_messages import OperatorForecast, OperatorForecastPage
from meterseal.people.portal import curves
from meterseal.people.portal.context import Visit, Web, day_of
from meterseal.utility.calendar import next_midnight

DAY = 24 * 3_600_000
LONGEST_NAME = 64
_BY_NAME: dict[str, Medium] = {medium: medium for medium in MEDIA}


def _is_part(request: Web) -> bool:
    return request.headers.get("hx-request") == "true"


@get("/fleet")
async def fleet(request: Web) -> Response[bytes]:
    """The state of the fleet; the page asks again every half minute."""
    visit = Visit(request)
    await visit.signed_in("operator")
    page = await visit.ask(OperatorHome(visit.session), OperatorHomePage)
    return visit.page("part_fleet.html" if _is_part(request) else "fleet.html", page=page)


@get("/fleet/meters")
async def meters(request: Web, medium: FromQuery[str] = "", after: FromQuery[str] = "") -> Response[bytes]:
    """All meters, a page at a time."""
    visit = Visit(request)
    await visit.signed_in("operator")
    question = OperatorMeters(visit.session, _BY_NAME.get(medium), after[:64])
    page = await visit.ask(question, OperatorMetersPage)
    template = "part_meters.html" if _is_part(request) else "meters.html"
    return visit.page(template, page=page, medium=medium if medium in MEDIA else "", media=list(MEDIA))


@get("/fleet/refusals")
async def refusals(request: Web, before: FromQuery[int] = 0, code: FromQuery[str] = "") -> Response[bytes]:
    """Refused messages, newest first."""
    visit = Visit(request)
    await visit.signed_in("operator")
    question = OperatorRefusals(visit.session, _cursor(before), code=code[:64])
    page = await visit.ask(question, OperatorRefusalsPage)
    return visit.page("part_refusals.html" if _is_part(request) else "refusals.html", page=page, code=code)


@get("/fleet/exceptions")
async def exceptions(request: Web, before: FromQuery[int] = 0) -> Response[bytes]:
    """Findings of the rules, held bills, quarantined records."""
    visit = Visit(request)
    await visit.signed_in("operator")
    question = OperatorExceptions(visit.session, _cursor(before))
    page = await visit.ask(question, OperatorExceptionsPage)
    return visit.page("part_findings.html" if _is_part(request) else "exceptions.html", page=page)


@get("/fleet/readings")
async def readings(request: Web, concentrator: FromQuery[str] = "") -> Response[bytes]:
    """What became of every delivered reading, by concentrator and hour."""
    visit = Visit(request)
    await visit.signed_in("operator")
    question = OperatorReconciliation(visit.session, concentrator[:64])
    page = await visit.ask(question, OperatorReconciliationPage)
    return visit.page("readings.html", page=page, concentrator=concentrator)


@get("/fleet/forecast")
async def forecast(
    request: Web, medium: FromQuery[str] = "", of: FromQuery[str] = "", fed: FromQuery[str] = ""
) -> Response[bytes]:
    """What will probably be used in the next day and week, by zone and usage point, or fed in by one (`fed`), and how good
    that was lately.
    """
    visit = Visit(request)
    await visit.signed_in("operator")
    question = OperatorForecast(visit.session, _BY_NAME.get(medium), of.strip()[:LONGEST_NAME], fed == "1")
    page = await visit.ask(question, OperatorForecastPage)
    drawn = None if page.found is None else curves.drawn(page.found)
    return visit.page("forecast.html", page=page, found=page.found, drawn=drawn)


@get("/fleet/meters/{usage_point:str}")
async def meter(
    request: Web,
    usage_point: FromPath[str],
    until: FromQuery[int] = 0,
    days: FromQuery[int] = 2,
    as_of: FromQuery[str] = "",
) -> Response[bytes]:
    """One usage point: meters, readings with their origin, evidence; by default up to the newest reading. With `as_of` also
    as it stood at the end of that day.
    """
    visit = Visit(request)
    await visit.signed_in("operator")
    if not 1 <= days <= 40 or not 0 <= until < 1 << 53:
        raise LocalError("portal.request", "The address is not one this portal knows. Go back and try again.")
    then = next_midnight(day_of(as_of)) - 1 if as_of else 0
    question = OperatorMeter(visit.session, usage_point, until, days * DAY, then)
    page = await visit.ask(question, OperatorMeterPage)
    return visit.page("meter.html", page=page, days=days)


def _cursor(before: int) -> int:
    if not 0 <= before < 1 << 53:
        raise LocalError("portal.request", "The address is not one this portal knows. Go back and try again.")
    return before


HANDLERS = [fleet, meters, refusals, exceptions, readings, forecast, meter]
