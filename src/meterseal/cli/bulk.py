"""`meterseal device bulk …`: say the same to many meters: a dry run, an order that officers sign, how far it is, its end.

It decides nothing: whom an order reaches is the platform's, how fast the security service's limits'.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

from meterseal.app.bulking import BulkQuery, Filter, Plan, PlanBulk, Progresses
from meterseal.app.clock import now_ms
from meterseal.cli.answers import plain, say
from meterseal.cli.arguments import Data, Json, between, device_id_of
from meterseal.cli.calls import ask
from meterseal.cli.many import Order, listed, meters_of, reached, signed_bulk, told
from meterseal.cli.times import at
from meterseal.link.acts import COMMANDS
from meterseal.model import Medium
from meterseal.things.bulk import Progress
from meterseal.things.verbs import given, split

MINUTE = 60_000


def plan(
    *act: str,
    data: Data,
    medium: Medium | None = None,
    zone: str = "",
    concentrator: str = "",
    model: str = "",
    file: Path | None = None,
    everything: bool = False,
    reason: str = "",
    hours: Annotated[int, between(1, 168)] = 24,
    to: Path | None = None,
    json: Json = False,
) -> int:
    """Show which meters an order would reach, which it leaves out and why; with --to, write the order for officers to sign.

    Without --to nothing is written or sent. Then: keys sign FILE, and device bulk start FILE.

    Parameters
    ----------
    act
        What to say, such as `settlement-day 15` or `valve close`. See: meterseal device verbs
    medium
        Only meters of this medium.
    zone
        Only meters of this recorded zone.
    concentrator
        Only meters behind this one, 16 hex digits.
    model
        Only meters enrolled as this model.
    file
        Only the meters of this list, one device id a line.
    everything
        Every meter in place, when no filter is given.
    reason
        What the audit trail keeps; needed with --to.
    hours
        How long the order holds, at most 168; setting the clock ten minutes.
    to
        Where the order goes.
    """
    name, rest = split(act)
    row = COMMANDS[name]
    until = now_ms() + (row.lasts - MINUTE if row.lasts else hours * 60 * MINUTE)
    asked = PlanBulk(
        act=name,
        said=given(name, rest),
        which=Filter(
            medium=medium,
            zone=zone,
            concentrator_id=device_id_of(concentrator) if concentrator else b"",
            model=model,
            device_ids=listed(file) if file is not None else (),
            everything=everything,
        ),
        ser=secrets.randbelow(255) + 1,
        until=until,
    )
    found = ask(data, "bulk_plan", asked, Plan, timeout=600.0)
    lines = [_head(found, row.english, row.chinese), *meters_of(found, say_what=True)]
    order = Order(data=data, act=name, reason=reason, until=until, start="device bulk start")
    return told(found, order, to, lines, as_json=json)


def start(file: Path, *, data: Data, json: Json = False) -> int:
    """Start a signed order; the same order again is the same one.

    Parameters
    ----------
    file
        The order with its signatures.
    """
    signed = signed_bulk(file)
    return _told(ask(data, "bulk_start", signed, Progress), as_json=json)


def orders(
    order: Annotated[int, between(0, 2**53)] = 0,
    *,
    data: Data,
    limit: Annotated[int, between(1, 500)] = 50,
    json: Json = False,
) -> int:
    """How far orders are, newest first; with a number, that order and whom it skipped and why.

    Parameters
    ----------
    order
        Number of one order.
    limit
        How many at most.
    """
    found = ask(data, "bulk_orders", BulkQuery(bulk_id=order, limit=limit), Progresses)
    if order:
        return _told(found.orders[0], as_json=json)
    lines = [_line(one) for one in found.orders] or ["No order for many meters was started yet."]
    return say(found, as_json=json, lines=lines)


def cancel(order: Annotated[int, between(1, 2**53)], *, data: Data, json: Json = False) -> int:
    """Take back what an order did not send yet. What was sent stays as it is: its meter may act on it.

    Parameters
    ----------
    order
        Number of the order.
    """
    return _told(ask(data, "bulk_cancel", BulkQuery(bulk_id=order), Progress), as_json=json)


def _head(found: Plan, english: str, chinese: str) -> str:
    takes = "two officers" if found.officers > 1 else "one officer"
    slow = f"at least {found.minutes} min" if found.minutes else "never: a limit of the minute is 0"
    return f"{english} {chinese}: {reached(found)} meters, {takes}, at most {found.most} an order; by the limits {slow}"


def _told(order: Progress, *, as_json: bool) -> int:
    by = "; ".join(f"{code}: {number}" for code, number in _codes(order).items())
    lines = [
        _line(order),
        f"  ordered by {', '.join(order.officers)} because: {plain(order.reason)}; good until {at(order.not_after)}",
    ]
    if by:
        lines.append(f"  skipped {by}")
    lines += [f"    {one.device_id.hex()} {one.code}" for one in order.skipped]
    return say(order, as_json=as_json, lines=lines)


def _codes(order: Progress) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in order.skipped:
        found[one.code] = found.get(one.code, 0) + 1
    return found


def _line(order: Progress) -> str:
    outcomes = ", ".join(f"{number} {state}" for state, number in sorted(order.outcomes.items()))
    return f"{order.id:>6} {at(order.created_at)} {order.act.replace('-', ' ')} {order.state}: {outcomes}"
