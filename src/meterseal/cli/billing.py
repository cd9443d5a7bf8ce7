"""`meterseal bill run|list|show`: a bill with its lines, registers named once, what each word means, and its readings.

It asks and formats; every number comes from the platform. Bundles that prove a bill are `cli.proving`'s.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from typing import Any

from meterseal.app import operator
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json, device_id_of
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.times import at
from meterseal.utility.views import MEANING

Ask = Callable[[int | None, int | None, str, int], dict[str, Any]]
"""(line, determinant, resolution, cursor) to one page of readings."""
At = Callable[[int], str]


def opened(bill: dict[str, Any], ask: Ask) -> list[dict[str, Any]]:
    """All readings behind every line and every determinant that is not priced, each with all its pages joined.

    Hours for bands; for everything else days and hours. Determinants are sets of readings that lines share.
    """
    wanted: list[tuple[int | None, int | None]] = [
        (number, None) for number, line in enumerate(bill["lines"]) if line["determinant"] is not None
    ]
    wanted += [(None, number) for number, one in enumerate(bill["determinants"]) if one["kind"] == "year"]
    found = []
    for line, determinant in wanted:
        first = _whole(ask, line, determinant, "day")
        found.append(first)
        if first["resolution"] == "day" and determinant is None:
            found.append(_whole(ask, line, determinant, "hour"))
    return found


def _whole(ask: Ask, line: int | None, determinant: int | None, resolution: str) -> dict[str, Any]:
    page = ask(line, determinant, resolution, 0)
    whole = dict(page)
    while page["next"]:
        page = ask(line, determinant, resolution, page["next"])
        whole["rows"] = whole["rows"] + page["rows"]
    whole["next"] = 0
    return whole


def _estimate(said: dict[str, Any], unit: str, at: At) -> list[str]:
    lines = [f"  ESTIMATED: the register of {', '.join(at(one) for one in said['at'])} was not delivered"]
    if said["low"] is not None:
        money = ""
        if said["low_fen"] is not None:
            money = f", {said['low_fen'] / 100:.2f} to {said['high_fen'] / 100:.2f} in all"
        lines.append(f"    in nine cases of ten {said['low']} to {said['high']} {unit}{money}")
    return lines


def bill_lines(bill: dict[str, Any], at: At) -> list[str]:
    """A bill as a person reads it."""
    lines = [
        f"bill {bill['bill_id']} (version {bill['version']}), {bill['medium']}, "
        f"{bill['first_day']} to {bill['last_day']}, tariff {bill['tariff_code']}"
    ]
    for line in bill["lines"]:
        charge = line["charge"]
        lines.append(
            f"  {_name(line):<8} {charge['quantity']:>12} x {charge['price']:>8} = {charge['amount_fen'] / 100:>10.2f}"
            f"  {line['assurance']}"
        )
    lines.append(f"  total {bill['total_fen'] / 100:.2f} {bill['currency']}")
    if bill["estimate"]:
        lines += _estimate(bill["estimate"], bill["unit"], at)
    seen = set()
    for one in bill["determinants"]:
        first, last = one["readings"]["first"], one["readings"]["last"]
        kind = one["kind"] if one["kind"] in ("year", "export") else ""
        pair = kind, first["end_at"], last["end_at"]
        if pair in seen:
            continue
        seen.add(pair)
        if one["kind"] == "year":
            carried = f", {one['carried']} of it carried over" if float(one["carried"] or 0) else ""
            lines.append(
                f"  the year before this bill, which sets the tier: {one['amount']} {bill['unit']}{carried}"
            )
        elif one["kind"] == "export":
            lines.append("  the registers of what was fed in")
        else:
            lines.append("  the registers of the period")
        lines += [f"    {_edge(name, edge, at)}" for name, edge in (("first", first), ("last", last))]
    lines += _multiplied(bill, at)
    for one in bill["exchanges"]:
        lines.append(f"  the meter was exchanged at {at(one['at'])}")
        for name, meter, register, edge in (
            ("went", one["removed"], one["last"], one["before"]),
            ("came", one["installed"], one["first"], one["after"]),
        ):
            if meter:
                lines.append(f"    {name}  {meter} with {register} {bill['unit']}, as the installer read it")
                lines.append(f"    {_edge('said', edge, at)}")
        if one["last_export"] or one["first_export"]:
            fed = [one[name] or "none" for name in ("last_export", "first_export")]
            lines.append(f"    fed in: went with {fed[0]}, came with {fed[1]} {bill['unit']}")
        lines.append(f"    {one['stated']} {bill['unit']} rest on what the installer read")
    for word in dict.fromkeys(line["assurance"] for line in bill["lines"]):
        lines.append(f"  {word}: {MEANING[word]}")
    for whole in bill.get("readings", ()):
        lines += _readings(bill, whole, at)
    return lines


def _multiplied(bill: dict[str, Any], at: At) -> list[str]:
    """What the registers counted and by what it is multiplied, of each quantity where that is not 1 all along."""
    lines: list[str] = []
    for one in bill["determinants"]:
        name = one["band"] or {"year": "the year before", "export": "fed in"}.get(one["kind"], "")
        for part in one["multiplied"]:
            said = f"{part['used']:>12} x {part['multiplier']:>8} = {part['amount']:>10} {bill['unit']}"
            lines.append(f"    {said}  {at(part['since'])} to {at(part['until'])}  {name}".rstrip())
            edge = f"    {_edge('there', part['edge'], at)}" if part["edge"] else ""
            if edge and edge not in lines:
                lines.append(edge)
    return [
        *(["  what the registers counted, times the multiplier that the utility states"] if lines else []),
        *lines,
    ]


def _name(line: dict[str, Any]) -> str:
    charge = line["charge"]
    return str(charge["band"] or (f"tier {charge['tier']}" if charge["tier"] else charge["kind"]))


def _edge(name: str, edge: dict[str, Any], at: At) -> str:
    proof = edge["evidence"]
    says = f"sequence {proof['sequence']}, {proof['checked']}" if proof else "no evidence"
    return f"{name:<5} {_scaled(edge['register'], edge['exponent']):>12} at {at(edge['end_at'])}: {says}"


def _readings(bill: dict[str, Any], whole: dict[str, Any], at: At) -> list[str]:
    name = "the year before" if whole["line"] is None else _name(bill["lines"][whole["line"]])
    lines = [f"  {name}, {whole['total']} {whole['resolution']}s, {whole['unit']}"]
    if not whole["adds_up"]:
        lines.append("    the store no longer holds what was billed: these do not add up to the line")
    for row in whole["rows"]:
        part = "" if row["counted"] == row["used"] else f", {row['counted']} of it in this line"
        lines.append(
            f"    {at(row['since'])} to {at(row['until'])}  register {_scaled(row['register'], whole['exponent']):>12}  "
            f"used {row['used']:>8}{part}  {QUALITY[row['quality']]}, {row['origin']}"
        )
    return lines


QUALITY = {0: "measured", 1: "estimated", 2: "edited"}


def _scaled(register: int, exponent: int) -> str:
    """A register with its decimal places, exactly."""
    if exponent >= 0:
        return str(register * 10**exponent)
    text = f"{register:0{1 - exponent}d}"
    return f"{text[:exponent]}.{text[exponent:]}"


def with_readings(text: str, ask: Ask) -> str:
    """The JSON of a bill with `readings` added."""
    bill = json_module.loads(text)
    return json_module.dumps(bill | {"readings": opened(bill, ask)}, ensure_ascii=False)


def bill_run(*, data: Data, json: Json = False) -> int:
    """Bill every completed period that is not billed yet; a changed input issues a new version.

    What came since the last run of the rules is judged first, for bills count with estimates and leave doubted readings
    out. The first time after a start of the system the rules look at every usage point again.
    """
    doing = "judging what is new, and billing"
    answer = ask(data, "bills_run", operator.BillRun(), operator.Text, timeout=LONG_RUN, doing=doing)
    show(answer.json, as_json=json, lines=_run_lines)
    return 0


def _run_lines(report: dict[str, Any]) -> list[str]:
    lines = []
    if (new := report["judged"])["channels"]:
        lines.append(
            f"judged first, being new: {new['readings']} readings of {new['channels']} channels, "
            f"{new['findings']} findings"
        )
    lines += [
        f"{report['periods']} periods looked at, {len(report['issued'])} bills issued, "
        f"{len(report['corrected'])} corrected, {report['unchanged']} unchanged, {len(report['held'])} held"
    ]
    lines += [f"  held {held['usage_point']}: {held['sentence']}" for held in report["held"]]
    return lines


def bill_list(*, data: Data, meter: str = "", json: Json = False) -> int:
    """List the newest version of each bill.

    Parameters
    ----------
    meter
        Only the bills of this device, 16 hex digits.
    """
    request = operator.BillQuery(device_id=device_id_of(meter) if meter else b"")
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
    data: Data,
    readings: bool = False,
    json: Json = False,
) -> int:
    """Open one bill: its lines, what they rest on, and the meter's signed evidence.

    Parameters
    ----------
    bill_id
        The bill, as `meterseal bill list` shows it.
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

    text = with_readings(answer.json, page) if readings else answer.json
    show(text, as_json=json, lines=lambda bill: bill_lines(bill, at))
    return 0
