"""Bills ahead that are out of the ordinary: told apart from a change that all make, and worth a look."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec import structs

from meterseal.people.forecast_messages import OperatorForecast, UnusualBill
from meterseal.people.unusual import FEWEST, Ahead, Unusual, unusual
from meterseal.utility.views import UsagePointCard
from tests.people.town import Town

CREDIT = 90_000
"""What all are paid for what they feed in; it makes no use worth less."""
LAST = ("ag-1.v1", 5_000, 0, 30)


def ahead(number: int, used: str, last: float, spread: str = "0.1", price: int = 500) -> Ahead:
    """A running bill of `used` units, `last` of which are what the last bill lets expect."""
    use, off = Decimal(used), Decimal(used) * Decimal(spread)
    bill = UnusualBill(
        usage_point=f"up-{number:02}",
        medium="heat",
        unit="kWh",
        since=0,
        until=30,
        used=use,
        low=use - off,
        high=use + off,
        cost_fen=int(use * price) - CREDIT,
        credit_fen=CREDIT,
        expected=last,
        last=LAST,
    )
    return Ahead(bill, float(use) / last if last else None)


def street(change: str) -> list[Ahead]:
    return [ahead(number, str(Decimal(change) * 10), 10.0) for number in range(FEWEST)]


def test_who_uses_as_all_others_do_is_not_unusual_however_much_that_is() -> None:
    assert unusual(street("1")) == ()
    assert unusual(street("4")) == ()


def test_who_does_not_follow_the_others_is_unusual_both_ways_and_dearest_first() -> None:
    odd = [ahead(50, "40", 10.0), ahead(51, "190", 10.0), ahead(52, "0", 10.0)]
    found = unusual([*street("4"), *odd])
    assert [one.usage_point for one in found] == ["up-51", "up-52"]
    assert [one.expected for one in found] == [40.0, 40.0]
    alone = unusual(odd)  # too few say what is usual: each beside its own last bill
    assert [one.usage_point for one in alone] == ["up-51", "up-50", "up-52"]


def test_a_wide_band_and_small_money_are_no_reason_to_look() -> None:
    wide = ahead(60, "30", 10.0, spread="0.6")
    small = ahead(61, "30", 10.0, price=50)
    empty = ahead(62, "3", 0.0)
    assert unusual([*street("1"), wide, small, empty]) == ()
    assert [one.usage_point for one in unusual([*street("1"), ahead(63, "9", 0.0)])] == ["up-63"]


def test_what_is_paid_whatever_is_used_makes_no_use_dear() -> None:
    """The fixed charges of a bill of hardly anything, for each of its units, stood before the dearest leak of the town."""
    dear = ahead(70, "0.01", 10.0)
    dear = dear._replace(bill=structs.replace(dear.bill, cost_fen=4_000, credit_fen=0))
    leak = ahead(71, "40", 10.0)
    assert [one.usage_point for one in unusual([*street("1"), dear, leak])] == ["up-71", "up-70"]
    cheap = dear._replace(bill=structs.replace(dear.bill, last=("ag-1.v1", 1_900, 0, 30)))
    assert unusual([*street("1"), cheap]) == ()
    # The last bill was of ten days alone, and of a third of the use that is expected now.
    short = dear._replace(bill=structs.replace(dear.bill, last=("ag-1.v1", 1_900, 0, 10)))
    assert [one.usage_point for one in unusual([*street("1"), short])] == ["up-70"]


async def test_operators_are_shown_what_was_found_once_a_day(town: Town) -> None:
    session = town.accounts.redeem(town.accounts.make_link(town.operator, town.now), town.now).session
    question = OperatorForecast(session, "electricity")
    look = town.queries.unusual
    look.found = None
    assert (await town.queries.operator_forecast(question)).unusual is None
    await Unusual(town.engine, town.utility, lambda: town.now).daily()
    await look.daily()
    shown = (await town.queries.operator_forecast(question)).unusual
    assert look.found is not None
    assert shown == look.found.get("electricity", ())


async def test_after_a_start_operators_are_told_how_far_the_looking_is(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = town.accounts.redeem(town.accounts.make_link(town.operator, town.now), town.now).session
    question = OperatorForecast(session, "electricity")
    seen: list[tuple[int, int] | None] = []

    class Watched:
        def card(self, usage_point: str, now: int) -> UsagePointCard:
            seen.append(look.looking)
            return town.utility.card(usage_point, now)

    look = Unusual(town.engine, Watched(), lambda: town.now)  # type: ignore[arg-type]
    monkeypatch.setattr(town.queries, "unusual", look)
    assert (await town.queries.operator_forecast(question)).looking is None
    look.looking = 3, 8
    assert (await town.queries.operator_forecast(question)).looking == (3, 8)
    await look.daily()
    points = look._points(town.now)
    assert seen == [(number, len(points)) for number in range(len(points))]
    page = await town.queries.operator_forecast(question)
    assert page.looking is None
    assert page.unusual is not None
