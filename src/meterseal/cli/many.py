"""Orders that reach many meters: who is meant, who is left out, and the file that officers sign.

What is ordered is `cli.bulk`'s and `cli.campaigns`'; whom it reaches the platform decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meterseal.app import config
from meterseal.app.bulking import Plan
from meterseal.cli.answers import plain, say
from meterseal.cli.arguments import device_id_of
from meterseal.cli.calls import epoch
from meterseal.cli.orders import says
from meterseal.cli.times import at
from meterseal.errors import LocalError
from meterseal.security import officerfile
from meterseal.security.orders import BulkOrder, SignedBulk, encoded, fresh_request_id

SHOWN = 40
"""Most meters that a dry run names to a person."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What makes an order of a plan."""

    data: Path
    act: str
    reason: str
    until: int
    start: str
    """The command that starts it once it is signed."""


def reached(found: Plan) -> int:
    """How many meters a plan would reach."""
    return sum(len(part.device_ids) for part in found.parts)


def told(found: Plan, order: Order, to: Path | None, lines: list[str], *, as_json: bool) -> int:
    """Print a plan; with a file, write its order there for officers to sign. LocalError `use.reason`, `use.bulk`."""
    said: dict[str, Any] = {"plan": found, "devices": reached(found)}
    if to is not None:
        officerfile.write(to, _file(found, order), mode=0o644)
        said["request"] = str(to)
        lines = [
            *lines,
            f"{to}: until {at(order.until)}. Sign it: meterseal keys sign {to}; then: {order.start} {to}",
        ]
    return say(said, as_json=as_json, lines=lines)


def _file(found: Plan, order: Order) -> officerfile.RequestFile:
    if not order.reason:
        raise LocalError(
            "use.reason", "Say with --reason why; officers read it and the audit trail keeps it."
        )
    if not 0 < reached(found) <= found.most:
        raise LocalError(
            "use.bulk",
            f"Such an order names 1 to {found.most} meters, and this would name {reached(found)}; filter more.",
        )
    made = BulkOrder(
        request_id=fresh_request_id(epoch(order.data)),
        not_after=order.until,
        project_id=bytes.fromhex(config.load(config.Layout(order.data)).project),
        act=order.act,
        reason=order.reason,
        parts=found.parts,
    )
    return officerfile.RequestFile(purpose="command-bulk", says=says(made), request=encoded(made))


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


def meters_of(found: Plan, *, say_what: bool) -> list[str]:
    """The meters that a plan would tell, zone by zone, with the frame where it is wanted, and those that it leaves out."""
    lines = []
    for part in found.parts:
        named = ", ".join(one.hex() for one in part.device_ids[:SHOWN])
        more = f" and {len(part.device_ids) - SHOWN} more" if len(part.device_ids) > SHOWN else ""
        what = f"{len(part.device_ids)} are told {part.control:02X} {part.data.hex()}: " if say_what else ""
        lines.append(f"  zone {plain(part.zone)}: {what}{named}{more}")
    return lines + [f"  left out: {one.device_id.hex()} {one.code}" for one in found.skipped]
