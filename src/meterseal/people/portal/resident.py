"""Pages of a resident: use and cost of the running month, charts, bills that open to their evidence.

It computes no use and no money; it shows what the platform answered for the person signed in.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
from litestar import Response, get
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from meterseal.errors import LocalError
from meterseal.model import Quality
from meterseal.people.messages import (
    ResidentBill,
    ResidentBillReadings,
    ResidentBills,
    ResidentBillsPage,
    ResidentHome,
    ResidentHomePage,
    ResidentUsage,
)
from meterseal.people.portal.context import Visit, Web
from meterseal.utility.bills import Bill, LineReadings
from meterseal.utility.calendar import local_day, midnight, next_midnight
from meterseal.utility.views import Resolution, UsagePointCard, UsageSeries

HOUR = 3_600_000
DAY = 24 * HOUR
RESOLUTIONS: dict[str, Resolution] = {"hour": "hour", "day": "day"}
_LONGEST: dict[Resolution, int] = {"hour": 40 * DAY, "day": 800 * DAY}


@get("/")
async def home(request: Web) -> Response[bytes] | Redirect:
    """A resident's first page; operators are sent to theirs, visitors to the door."""
    visit = Visit(request)
    if not visit.session:
        return visit.go("/sign-in")
    me = await visit.signed_in()
    if me.role == "operator":
        return visit.go("/fleet")
    page = await visit.ask(ResidentHome(visit.session), ResidentHomePage)
    return visit.page("home.html", page=page, freshness=freshness(page.cards), total=total(page.cards))


class Freshness(msgspec.Struct, frozen=True):
    """How far all cards are complete, and how many of their hours are estimates."""

    complete_to: int | None
    hours: int
    estimated: int
    missing: int


def freshness(cards: tuple[UsagePointCard, ...]) -> Freshness:
    """The page is as fresh as its stalest card."""
    ends = [card.complete_to for card in cards]
    complete_to = None if None in ends or not ends else min(end for end in ends if end is not None)
    hours = sum(
        (card.period.as_of - card.period.since) // HOUR for card in cards if card.period.as_of is not None
    )
    return Freshness(
        complete_to,
        hours,
        sum(card.period.estimated for card in cards),
        sum(card.period.missing for card in cards),
    )


def total(cards: tuple[UsagePointCard, ...]) -> int | None:
    """Cost so far of all cards in fen, None while one is unknown."""
    costs = [card.period.cost_fen for card in cards]
    return None if None in costs or not costs else sum(cost for cost in costs if cost is not None)


@get("/use/{usage_point:str}/series")
async def series(
    request: Web,
    usage_point: FromPath[str],
    since: FromQuery[int],
    until: FromQuery[int],
    resolution: FromQuery[str] = "day",
    fed: FromQuery[bool] = False,
) -> Response[bytes]:
    """A series as columns: JSON that a chart draws without reshaping; with `fed` of what was fed in."""
    visit = Visit(request)
    found = await _series(visit, usage_point, resolution, since, until, fed_in=fed)
    columns = {
        "unit": visit.language.formats.unit(found.unit),
        "exponent": found.exponent,
        "resolution": found.resolution,
        "starts": found.starts,
        "ends": found.ends,
        "used": found.used,
        "quality": [Quality(quality).name.lower() for quality in found.quality],
    }
    return visit.packed(msgspec.json.encode(columns), "application/json")


@get("/use/{usage_point:str}/table")
async def table(
    request: Web,
    usage_point: FromPath[str],
    since: FromQuery[int],
    until: FromQuery[int],
    resolution: FromQuery[str] = "day",
    fed: FromQuery[bool] = False,
) -> Response[bytes]:
    """The same series as a table, for those who read rather than look."""
    visit = Visit(request)
    found = await _series(visit, usage_point, resolution, since, until, fed_in=fed)
    return visit.page("part_table.html", series=found, fed=fed)


async def _series(
    visit: Visit, usage_point: str, resolution: str, since: int, until: int, *, fed_in: bool
) -> UsageSeries:
    wanted = RESOLUTIONS.get(resolution)
    if wanted is None or not 0 <= since < until < 1 << 53:
        raise LocalError("portal.request", "The address is not one this portal knows. Go back and try again.")
    if until - since > _LONGEST[wanted]:
        raise LocalError("people.period", "This period is too long for one question; ask for a shorter one.")
    question = ResidentUsage(visit.session, usage_point, wanted, since, until, fed_in)
    return await visit.ask(question, UsageSeries)


@get("/use/{usage_point:str}")
async def use(request: Web, usage_point: FromPath[str], day: FromQuery[str] = "") -> Response[bytes]:
    """One usage point: its month by day and one day by hour."""
    visit = Visit(request)
    await visit.signed_in("resident")
    page = await visit.ask(ResidentHome(visit.session), ResidentHomePage)
    card = next((card for card in page.cards if card.usage_point == usage_point), None)
    if card is None:
        raise LocalError("portal.not-found", "There is nothing at this address that you may see.")
    began = page.began[usage_point]
    chosen = _day(day, card, began)
    return visit.page("use.html", card=card, day=chosen, day_end=next_midnight(chosen), began=began)


def _day(text: str, card: UsagePointCard, began: int) -> int:
    """Local midnight of the day asked for, else of the last day with readings; only days of the agreement."""
    last = midnight(local_day((card.period.as_of or card.period.since + 1) - 1))
    if not text:
        return last
    try:
        chosen = midnight(msgspec.convert(text, type=date))
    except msgspec.ValidationError:
        raise LocalError(
            "portal.request", "The day in the address is not a date. Go back and try again."
        ) from None
    if not began - DAY < chosen <= last:
        raise LocalError("portal.not-found", "There is nothing at this address that you may see.")
    return chosen


@get("/bills")
async def bills(request: Web) -> Response[bytes]:
    """All bills, newest first."""
    visit = Visit(request)
    await visit.signed_in("resident")
    found = await visit.ask(ResidentBills(visit.session), ResidentBillsPage)
    return visit.page("bills.html", bills=found.bills)


@get("/bills/{bill_id:str}")
async def bill(request: Web, bill_id: FromPath[str]) -> Response[bytes]:
    """One bill: lines, each opening to its determinant, readings and evidence."""
    visit = Visit(request)
    await visit.signed_in("resident")
    found = await visit.ask(ResidentBill(visit.session, bill_id), Bill)
    return visit.page("bill.html", bill=found)


@get("/bills/{bill_id:str}/readings")
async def bill_readings(
    request: Web,
    bill_id: FromPath[str],
    line: FromQuery[int] = -1,
    determinant: FromQuery[int] = -1,
    since: FromQuery[int] = 0,
    until: FromQuery[int] = 0,
    after: FromQuery[int] = 0,
) -> Response[bytes]:
    """The readings behind a line of a bill: hours of a band, else days, each of which opens to its hours."""
    visit = Visit(request)
    await visit.signed_in("resident")
    if not (0 <= since <= until < 1 << 53 and 0 <= after < 1 << 53 and max(line, determinant) < 1 << 31):
        raise LocalError("portal.request", "The address is not one this portal knows. Go back and try again.")
    question = ResidentBillReadings(
        visit.session,
        bill_id,
        line if line >= 0 else None,
        determinant if determinant >= 0 else None,
        "hour" if until else "day",
        since,
        until,
        after,
    )
    page = await visit.ask(question, LineReadings)
    behind = f"line={line}" if line >= 0 else f"determinant={determinant}"
    shown: dict[str, Any] = {
        "page": page,
        "address": f"/bills/{bill_id}/readings?{behind}",
        "day": (since, until) if until else None,
    }
    if request.headers.get("hx-request") == "true":
        return visit.page("part_used.html", **shown)
    found = await visit.ask(ResidentBill(visit.session, bill_id), Bill)
    return visit.page("bill_readings.html", bill=found, **shown)


HANDLERS = [home, series, table, use, bills, bill, bill_readings]
