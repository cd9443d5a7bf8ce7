"""Commands that speak to a running system over its Unix socket: bills, validation, accounts, audit; and how they do it.

They open no file of the system; when it is down they say so and how to start it. Devices are `cli.device`'s.
"""

from __future__ import annotations

import asyncio
import json as json_module
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from msgspec import Struct

from meterseal.app import config, operator, system
from meterseal.app.commanding import Alarms, Since
from meterseal.app.door import KEYS, socket_path
from meterseal.app.listening import Listening
from meterseal.app.lock import in_use
from meterseal.cli import billing
from meterseal.errors import EngineError, LocalError
from meterseal.hostport import written
from meterseal.mdms.reconciliation import OUTCOMES
from meterseal.mesh.rpc import Connection, Empty
from meterseal.security.messages import KeyFacts
from meterseal.security.nearing import Nearing, nearing
from meterseal.security.orders import CommandRoom
from meterseal.security.sdk import SecuritySdk

Flag = Parameter(negative=())


def between(least: int, most: int) -> Parameter:
    """Bounds of a numeric option; what is beyond them is refused in a sentence, status 2."""
    return Parameter(validator=Number(gte=least, lte=most))


T = TypeVar("T", bound=Struct)
Answer = TypeVar("Answer")
LOCAL = ZoneInfo("Asia/Shanghai")
LONG_RUN = 3600.0
"""Seconds that a run over all readings or bills may take."""


def ask(data: Path, method: str, request: Struct, reply: type[T], *, timeout: float = 60.0) -> T:
    """One call to the running system; errors as `over`."""
    layout = config.Layout(data)
    return over(
        layout,
        lambda: system.operator_connection(layout, timeout),
        lambda way: way.call(method, request, reply),
        "The system",
    )


def over(
    layout: config.Layout,
    make: Callable[[], Connection],
    call: Callable[[Connection], Awaitable[Answer]],
    who: str,
) -> Answer:
    """What `call` says over a connection of its own; EngineError `app.down` when the system does not run, `app.no-answer`
    when `who` is slow.
    """
    config.load(layout)

    async def run() -> Answer:
        connection = make()
        try:
            return await call(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(run())
    except EngineError as error:
        if error.code != "mesh.unreachable":
            raise
        if in_use(layout):
            raise EngineError(
                "app.no-answer",
                f"{who} of {layout.root} runs but did not answer: it is starting, or busy. Try again in a moment.",
            ) from None
        raise EngineError(
            "app.down",
            f"The system of {layout.root} is not running. Start it with: meterseal up --data {layout.root}",
        ) from None


def show(text: str, *, as_json: bool, lines: Any = None) -> None:
    """Print a JSON answer as it is, or as the lines a person reads."""
    if as_json or lines is None:
        print(text)
    else:
        for line in lines(json_module.loads(text)):
            print(plain(line))


def device_id_of(text: str) -> bytes:
    """Eight bytes from hex; LocalError `use.device` when it is not that."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 8:
        raise LocalError(
            "use.device", f"`{text}` is no device id: give 16 hex digits, such as 1078330011223344."
        )
    return raw


def day(text: str) -> int:
    """Local midnight of YYYY-MM-DD in Unix milliseconds."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=LOCAL).timestamp()) * 1000
    except ValueError:
        raise LocalError("use.date", f"`{text}` is no date: write it as 2026-11-21.") from None


def plain(line: str) -> str:
    """One line for a terminal, in which nothing that others wrote (a contact, a reason) moves or hides anything."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line
    )


def at(milliseconds: int | None) -> str:
    """Local time for people."""
    if milliseconds is None:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, LOCAL).strftime("%Y-%m-%d %H:%M")


def bill_run(*, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """Bill every completed period that is not billed yet; a changed input issues a new version."""
    answer = ask(data, "bills_run", operator.BillRun(), operator.Text, timeout=LONG_RUN)
    show(answer.json, as_json=json, lines=_run_lines)
    return 0


def _run_lines(report: dict[str, Any]) -> list[str]:
    lines = [
        f"{report['periods']} periods looked at, {len(report['issued'])} bills issued, "
        f"{len(report['corrected'])} corrected, {report['unchanged']} unchanged, {len(report['held'])} held"
    ]
    lines += [f"  held {held['usage_point']}: {held['sentence']}" for held in report["held"]]
    return lines


def bill_list(*, data: Path, device_id: str = "", json: Annotated[bool, Flag] = False) -> int:
    """List the newest version of each bill."""
    request = operator.BillQuery(device_id=device_id_of(device_id) if device_id else b"")
    answer = ask(data, "bills", request, operator.Text)
    show(
        answer.json,
        as_json=json,
        lines=lambda rows: (
            [
                f"{row['bill_id']}  {row['medium']:<12} {at(row['since'])} to {at(row['until'])}  {row['used']:>10} "
                f"{row['unit']:<4} {row['total_fen'] / 100:>10.2f} CNY  {row['assurance']}"
                for row in rows
            ]
            or ["No bill was issued yet; completed periods are billed by: meterseal bill run"]
        ),
    )
    return 0


def bill_show(
    bill_id: str,
    *,
    data: Path,
    readings: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Open one bill: its lines, what they rest on, and the meter's signed evidence.

    Parameters
    ----------
    readings
        Open every line to the readings it was made of: hours for bands, days and hours for everything else.
    """
    answer = ask(data, "bill", operator.BillQuery(bill_id=bill_id), operator.Text)

    def page(line: int | None, determinant: int | None, resolution: Any, after: int) -> dict[str, Any]:
        request = operator.BillLine(
            bill_id=bill_id, line=line, determinant=determinant, resolution=resolution, after=after
        )
        found: dict[str, Any] = json_module.loads(ask(data, "bill_readings", request, operator.Text).json)
        return found

    text = billing.with_readings(answer.json, page) if readings else answer.json
    show(text, as_json=json, lines=lambda bill: billing.bill_lines(bill, at))
    return 0


def account_link(
    *,
    data: Path,
    resident: str = "",
    json: Annotated[bool, Flag] = False,
) -> int:
    """Print a one-time sign-in link for the operator, or for the resident behind a meter.

    Parameters
    ----------
    resident
        Device id of one of the resident's meters, 16 hex digits.
    """
    request = operator.Account()
    if resident:
        request = operator.Account(role="resident", device_id=device_id_of(resident))
    link = ask(data, "account_link", request, operator.Link)
    where = ask(data, "listening", Empty(), Listening)
    url = f"http://{written(where.host, where.web)}{link.path}"
    print(json_module.dumps({"url": url, "expires_at": link.expires_at}) if json else url)
    return 0


def customer_end(device_id: str, *, data: Path, until: str, json: Annotated[bool, Flag] = False) -> int:
    """End the agreement that bills a meter: its last bill goes up to this day, and nobody is billed from it on.

    Saying the same again changes nothing. The meter stays where it is and goes on being read.

    Parameters
    ----------
    device_id
        Device id of the meter, 16 hex digits.
    until
        The first day that is not billed any more, YYYY-MM-DD; it may lie ahead.
    """
    request = operator.EndAgreement(device_id=device_id_of(device_id), until=day(until))
    answer = ask(data, "customer_end", request, operator.Text)
    show(
        answer.json,
        as_json=json,
        lines=lambda ended: [f"agreement {ended['agreement']} of {ended['usage_point']} ends before {until}"],
    )
    return 0


def customer_erase(
    customer_id: str = "", *, data: Path, device_id: str = "", json: Annotated[bool, Flag] = False
) -> int:
    """Erase a person for good: name, address, key and every way to sign in. Bills stay, without the name.

    Parameters
    ----------
    customer_id
        The customer's id; or name one of the meters with --device-id.
    device_id
        Device id of one of the person's meters, 16 hex digits.
    """
    if bool(customer_id) == bool(device_id):
        raise LocalError("use.customer", "Say who is erased: a customer id, or --device-id of a meter.")
    request = operator.EraseCustomer(
        customer_id=customer_id, device_id=device_id_of(device_id) if device_id else b""
    )
    answer = ask(data, "customer_erase", request, operator.Text)
    show(
        answer.json,
        as_json=json,
        lines=lambda done: [
            f"customer {done['customer_id']} erased at {at(done['erased_at'])}"
            + (", and had been before" if done["before"] else f"; {done['accounts']} accounts ended")
        ],
    )
    return 0


def reseal(*, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """Begin new data keys; what is stored moves to them in the background. `meterseal status` counts what remains."""
    answer = ask(data, "data_keys_renew", operator.Page(), operator.Text)
    show(
        answer.json, as_json=json, lines=lambda begun: [f"{begun['to_reseal']} still stand under older keys"]
    )
    return 0


def audit(
    *, data: Path, limit: Annotated[int, between(1, 1000)] = 20, json: Annotated[bool, Flag] = False
) -> int:
    """Show the newest refused messages; verify the audit trail's chain and compare it with its anchor."""
    answer = ask(data, "audit", operator.Page(limit=limit), operator.Text)
    show(
        answer.json,
        as_json=json,
        lines=lambda found: [
            *(
                f"{row['id']:>6}  {at(row['at'])}  {row['code']:<20} {row['device_id'] or '-':<16}  {row['sentence']}"
                for row in found["entries"]
            ),
            f"chain of {found['verified']} entries holds, "
            + (
                "not compared with its anchor: the security service is away"
                if found["anchored"] is None
                else f"anchored up to {found['anchored']}"
            ),
        ],
    )
    return 0


def status(
    *, data: Path, prometheus: Annotated[bool, Flag] = False, json: Annotated[bool, Flag] = False
) -> int:
    """Count what the running system holds, what it refused by code, what waits for meters, and which keys come near their
    limit of uses; status 1 when its audit trail was changed.

    Parameters
    ----------
    prometheus
        Print the counters in Prometheus' text format, key uses with them.
    """
    counts = ask(data, "counts", operator.Page(), operator.Counts)
    alarms = ask(data, "alarms", Since(), Alarms)
    if prometheus:
        from meterseal.cli.prometheus import exposition

        print(exposition(counts, alarms, _key_uses(data)), end="")
    else:
        keys = _key_uses(data)
        near = {"keys": None if keys is None else json_module.loads(operator.as_json(nearing(keys)))}
        text = json_module.dumps(
            json_module.loads(operator.as_json(counts)) | json_module.loads(operator.as_json(alarms)) | near,
            ensure_ascii=False,
        )
        show(text, as_json=json, lines=_status_lines)
    return 1 if counts.audit_ok is False else 0


def _key_uses(data: Path) -> Sequence[KeyFacts] | None:
    """Every key with its uses; None while the security service is away."""
    layout = config.Layout(data)
    try:
        found = over(
            layout,
            lambda: Connection.unix(socket_path(layout, KEYS), timeout=60.0),
            lambda way: SecuritySdk(way).usage(),
            "The security service",
        )
    except EngineError:
        return None
    return found.keys


def _near(one: dict[str, Any]) -> str:
    return msgspec.convert(one, Nearing).sentence


def _reconciled(lines: list[dict[str, Any]]) -> list[str]:
    """What became of every delivered reading, a line for each way."""
    said = []
    for way in sorted({one["way"] for one in lines}):
        here = [one for one in lines if one["way"] == way]
        sums = {name: sum(one[name] for one in here) for name in ("received", *OUTCOMES)}
        parts = " + ".join(f"{sums[name]} {name}" for name in OUTCOMES)
        newest = max(here, key=lambda one: int(one["hour_at"]))["received"]
        said.append(f"{way:<14} {sums['received']} readings = {parts}; newest hour {newest}")
    return said


def _status_lines(found: dict[str, Any]) -> list[str]:
    from meterseal.cli.words import limits

    lists = ("alarms", "words", "room", "keys", "reconciled", "audit_broken", "keys_put_back_at", "troubles")
    lines = [f"KEY LIMIT {one['level'].upper()}: {_near(one)}" for one in found["keys"] or ()]
    lines += [f"{one['what'].upper()}: {one['sentence']}" for one in found["troubles"]]
    if found["audit_ok"] is False:
        lines.append(f"THE AUDIT TRAIL DOES NOT HOLD: {found['audit_broken']}")
    if found["keys_put_back_at"] is not None:
        lines.append(
            f"THE KEYS WERE PUT BACK TO AN OLDER STATE, seen {at(found['keys_put_back_at'])}: meterseal audit"
        )
    lines += [
        f"{key:<14} {'not known' if value is None else value}"
        for key, value in found.items()
        if key not in lists
    ]
    lines += _reconciled(found["reconciled"])
    for one in found["alarms"]:
        said = "held" if one["held"] else "refused"
        lines.append(f"{said:<14} {one['count']} {one['code']} ({one['alarm']}, last {at(one['last_at'])})")
    lines += [
        f"{kind:<14} {number} {state}" for kind, by in found["words"].items() for state, number in by.items()
    ]
    if found["room"] is not None:
        lines += limits(msgspec.convert(found["room"], CommandRoom))
    return lines
