"""`meterseal vee edit|edits|approve|undo`: readings that people change, with what it does to bills before it is done.

It works out nothing; the running system does. Officers sign on their own machines (`meterseal keys sign`).
"""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meterseal.app import operator
from meterseal.app.editing import ApproveEdit, EditMeter, EditNumber
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Hours, Json, Limit, device_id_of
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.orders import ordered
from meterseal.cli.times import at, period
from meterseal.errors import LocalError
from meterseal.security.editorders import PURPOSE
from meterseal.security.officerfile import RequestFile, read

SHOWN = 10


def edit(
    meter: str,
    /,
    *,
    data: Data,
    reason: str,
    at: str = "",
    since: str = "",
    until: str = "",
    day: str = "",
    register: str = "",
    method: str = "",
    total: str = "",
    fed_in: bool = False,
    dry_run: bool = False,
    json: Json = False,
) -> int:
    """Edit readings of a meter: a point, a range or a local day; shows what it does to bills.

    What moves much, or what a bill counted with, is only proposed, and saved when two officers signed it.

    Parameters
    ----------
    meter
        Its device id, 16 hex digits.
    reason
        Why; it is kept sealed, and officers see it.
    at
        One reading, local time YYYY-MM-DD HH:MM, with --register.
    since
        Begin of a range, local time; the registers at both ends stay unless --total is given.
    until
        End of the range, local time.
    day
        A local day, YYYY-MM-DD, instead of a range.
    register
        What the meter showed at that time, in the unit it is billed in.
    method
        Estimate the range by this method (see docs/validation.md); else by the first of the table that can.
    total
        Use of the range; what is more or less than before is taken from the use after it.
    fed_in
        Of what the meter counted as fed in, and not of what was used.
    dry_run
        Show what it would do, and keep nothing.
    """
    first, last = period(at, since, until, day)
    asked = EditMeter(
        device_id=device_id_of(meter),
        since=first,
        until=last,
        register=register,
        method=method,
        total=total,
        fed_in=fed_in,
        reason=reason,
        dry_run=dry_run,
    )
    answer = ask(
        data, "edit", asked, operator.Text, timeout=LONG_RUN, doing="working out what it does to bills"
    )
    show(answer.json, as_json=json, lines=_done)
    return 0


def edits(*, data: Data, limit: Limit = 50, json: Json = False) -> int:
    """List edits, newest first; one that is not what was written is named in its place."""
    answer = ask(data, "edits", operator.Page(limit=limit), operator.Text)
    show(
        answer.json,
        as_json=json,
        lines=lambda rows: (_line(row) for row in rows) if rows else ["No edit yet."],
    )
    return 0


def approve(
    number: int,
    /,
    *,
    data: Data,
    to: Path | None = None,
    order: Path | None = None,
    hours: Hours = 24,
    json: Json = False,
) -> int:
    """Have a proposed edit signed and saved: first --to FILE, which two officers sign (`meterseal keys sign FILE`), then
    --order FILE.

    Parameters
    ----------
    number
        The edit, as `meterseal vee edits` lists it.
    to
        Write what officers sign into this file.
    order
        The signed file.
    hours
        How long the request holds, at most 168.
    """
    if to is not None and order is not None:
        raise LocalError("use.order", "Give --to FILE to have the edit signed, or --order FILE once it is.")
    signed = read(order, RequestFile).order if order is not None else None
    answer = ask(data, "edit_approve", ApproveEdit(number=number, order=signed), operator.Text)
    said = json_module.loads(answer.json)
    if "order" not in said:
        show(answer.json, as_json=json, lines=lambda row: [_line(row)])
        return 0
    fields = said["order"] | {"digest": bytes.fromhex(said["order"]["digest"])}
    return ordered(data, PURPOSE, fields, to, hours, as_json=json)


def undo(
    number: int,
    /,
    *,
    data: Data,
    reason: str = "",
    dry_run: bool = False,
    json: Json = False,
) -> int:
    """Take a saved edit back, or give a proposed one up; what was visible before is visible again.

    Parameters
    ----------
    number
        The edit, as `meterseal vee edits` lists it.
    reason
        Why; a proposal needs none.
    dry_run
        Show what it would do, and keep nothing.
    """
    asked = EditNumber(number=number, reason=reason, dry_run=dry_run)
    answer = ask(data, "edit_undo", asked, operator.Text, timeout=LONG_RUN)
    show(answer.json, as_json=json, lines=lambda said: _done(said) if "says" in said else [_line(said)])
    return 0


def _done(said: dict[str, Any]) -> Iterator[str]:
    rows = said["readings"]
    for row in rows[:SHOWN]:
        yield f"  {at(row['end_at'])}  {row['register']} {row['unit']}  {row['quality']}"
    if len(rows) > SHOWN:
        yield f"  … and {len(rows) - SHOWN} more (--json shows all)"
    yield from said["says"]
    for one in said["effect"]["periods"]:
        for line in one["lines"]:
            yield f"  {line['line']}: {line['before'] or '-'} -> {line['after'] or '-'}"
    made = said["edit"]
    if made is None:
        who = (
            f"{said['people']} officers would have to sign it" if said["people"] else "one person may save it"
        )
        yield f"Nothing was changed; {who}."
    elif made["state"] == "proposed":
        yield f"Edit {made['number']} is proposed. Two officers sign it: meterseal vee approve {made['number']} --to FILE"
    else:
        yield f"Edit {made['number']} is saved."


def _line(row: dict[str, Any]) -> str:
    if row["state"] == "damaged":
        return f"{row['number']:>5}  {row['state']:<9}  {row['sentence']}"
    what = f"undoes {row['undoes']}  " if row["undoes"] is not None else ""
    who = ", ".join(row["officers"]) or row["author"]
    return (
        f"{row['number']:>5}  {row['state']:<9}  {row['usage_point']}/{row['channel']}  {at(row['since'])} to "
        f"{at(row['until'])}  {what}{row['visible']} of {row['readings']} visible  by {who}: {row['reason']}"
    )
