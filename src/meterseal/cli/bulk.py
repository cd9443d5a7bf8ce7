"""`meterseal device bulk …`: say the same to many meters: a dry run, an order that officers sign, how far it is, its end.

It decides nothing: whom an order reaches is the platform's, how fast the security service's limits'.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any

from meterseal.app import config
from meterseal.app.bulking import BulkQuery, Filter, Plan, PlanBulk, Progresses
from meterseal.app.system import now_ms
from meterseal.cli.keys import epoch, say
from meterseal.cli.keys_orders import says
from meterseal.cli.operate import Flag, ask, at, between, device_id_of, plain
from meterseal.errors import LocalError
from meterseal.link.acts import COMMANDS
from meterseal.model import Medium
from meterseal.security import officerfile
from meterseal.security.orders import BulkOrder, SignedBulk, encoded, fresh_request_id
from meterseal.things.bulk import Progress
from meterseal.things.verbs import given, split

MINUTE = 60_000
SHOWN = 40
"""Most meters that a dry run names to a person."""


def plan(
    *act: str,
    data: Path,
    medium: Medium | None = None,
    zone: str = "",
    concentrator: str = "",
    model: str = "",
    file: Path | None = None,
    everything: Annotated[bool, Flag] = False,
    reason: str = "",
    hours: Annotated[int, between(1, 168)] = 24,
    to: Path | None = None,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Show which meters an order would reach, which it leaves out and why; with --to, write the order for officers to sign.

    Without --to nothing is written or sent. Then: keys sign FILE, and device bulk start FILE.

    Parameters
    ----------
    act
        What to say, such as `settlement-day 15` or `valve close`. See: meterseal device verbs
    data
        Data directory of the running system.
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
    number = sum(len(part.device_ids) for part in found.parts)
    lines = _plan_lines(found, number, row.english, row.chinese)
    said: dict[str, Any] = {"plan": found, "devices": number}
    if to is not None:
        order = order_file(data, name, found, number, reason, until)
        officerfile.write(to, order, mode=0o644)
        said["request"] = str(to)
        lines.append(
            f"{to}: until {at(until)}. Sign it: meterseal keys sign {to}; then: device bulk start {to}"
        )
    return say(said, as_json_text=json, lines=lines)


def start(file: Path, *, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """Start a signed order; the same order again is the same one.

    Parameters
    ----------
    file
        The order with its signatures.
    data
        Data directory of the running system.
    """
    signed = signed_bulk(file)
    return _told(ask(data, "bulk_start", signed, Progress), as_json_text=json)


def orders(
    order: Annotated[int, between(0, 2**53)] = 0,
    *,
    data: Path,
    limit: Annotated[int, between(1, 500)] = 50,
    json: Annotated[bool, Flag] = False,
) -> int:
    """How far orders are, newest first; with a number, that order and whom it skipped and why.

    Parameters
    ----------
    order
        Number of one order.
    data
        Data directory of the running system.
    limit
        How many at most.
    """
    found = ask(data, "bulk_orders", BulkQuery(bulk_id=order, limit=limit), Progresses)
    if order:
        return _told(found.orders[0], as_json_text=json)
    lines = [_line(one) for one in found.orders] or ["No order for many meters was started yet."]
    return say(found, as_json_text=json, lines=lines)


def cancel(
    order: Annotated[int, between(1, 2**53)], *, data: Path, json: Annotated[bool, Flag] = False
) -> int:
    """Take back what an order did not send yet. What was sent stays as it is: its meter may act on it.

    Parameters
    ----------
    order
        Number of the order.
    data
        Data directory of the running system.
    """
    return _told(ask(data, "bulk_cancel", BulkQuery(bulk_id=order), Progress), as_json_text=json)


def order_file(
    data: Path, act: str, found: Plan, number: int, reason: str, until: int
) -> officerfile.RequestFile:
    """The order of a plan, for officers to sign. LocalError `use.reason`, `use.bulk`."""
    if not reason:
        raise LocalError(
            "use.reason", "Say with --reason why; officers read it and the audit trail keeps it."
        )
    if not 0 < number <= found.most:
        raise LocalError(
            "use.bulk",
            f"Such an order names 1 to {found.most} meters, and this would name {number}; filter more.",
        )
    order = BulkOrder(
        request_id=fresh_request_id(epoch(data)),
        not_after=until,
        project_id=bytes.fromhex(config.load(config.Layout(data)).project),
        act=act,
        reason=reason,
        parts=found.parts,
    )
    return officerfile.RequestFile(purpose="command-bulk", says=says(order), request=encoded(order))


def signed_bulk(file: Path) -> SignedBulk:
    """The order of a file, with its signatures. LocalError `use.purpose`."""
    asked = officerfile.read(file, officerfile.RequestFile)
    if asked.purpose != "command-bulk":
        raise LocalError("use.purpose", f"{file} is no order for many meters; it is for `{asked.purpose}`.")
    return SignedBulk(order=asked.request, signatures=asked.signatures)


def listed(file: Path) -> tuple[bytes, ...]:
    """The device ids of a list. LocalError `use.file`."""
    try:
        lines = file.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError("use.file", f"{file} is no list of device ids: {error}") from None
    found = tuple(dict.fromkeys(map(device_id_of, lines)))
    if not 0 < len(found) <= 5000:
        raise LocalError(
            "use.file", f"{file} lists {len(found)} meters; give 1 to 5000, one device id a line."
        )
    return found


def _plan_lines(found: Plan, number: int, english: str, chinese: str) -> list[str]:
    takes = "two officers" if found.officers > 1 else "one officer"
    slow = f"at least {found.minutes} min" if found.minutes else "never: a limit of the minute is 0"
    lines = [
        f"{english} {chinese}: {number} meters, {takes}, at most {found.most} an order; by the limits {slow}"
    ]
    return lines + meters_of(found, say_what=True)


def meters_of(found: Plan, *, say_what: bool) -> list[str]:
    """The meters that a plan would tell, zone by zone, with the frame where it is wanted, and those that it leaves out."""
    lines = []
    for part in found.parts:
        named = ", ".join(one.hex() for one in part.device_ids[:SHOWN])
        more = f" and {len(part.device_ids) - SHOWN} more" if len(part.device_ids) > SHOWN else ""
        what = f"{len(part.device_ids)} are told {part.control:02X} {part.data.hex()}: " if say_what else ""
        lines.append(f"  zone {plain(part.zone)}: {what}{named}{more}")
    return lines + [f"  left out: {one.device_id.hex()} {one.code}" for one in found.skipped]


def _told(order: Progress, *, as_json_text: bool) -> int:
    by = "; ".join(f"{code}: {number}" for code, number in _codes(order).items())
    lines = [
        _line(order),
        f"  ordered by {', '.join(order.officers)} because: {plain(order.reason)}; good until {at(order.not_after)}",
    ]
    if by:
        lines.append(f"  skipped {by}")
    lines += [f"    {one.device_id.hex()} {one.code}" for one in order.skipped]
    return say(order, as_json_text=as_json_text, lines=lines)


def _codes(order: Progress) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in order.skipped:
        found[one.code] = found.get(one.code, 0) + 1
    return found


def _line(order: Progress) -> str:
    outcomes = ", ".join(f"{number} {state}" for state, number in sorted(order.outcomes.items()))
    return f"{order.id:>6} {at(order.created_at)} {order.act.replace('-', ' ')} {order.state}: {outcomes}"
