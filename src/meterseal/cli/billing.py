"""What `meterseal bill show` prints: lines, registers named once, what each word means, and the readings behind a line.

It asks through `cli.operate` and formats; every number comes from the platform.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

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
    seen = set()
    for one in bill["determinants"]:
        first, last = one["readings"]["first"], one["readings"]["last"]
        pair = one["kind"] == "year", first["end_at"], last["end_at"]
        if pair in seen:
            continue
        seen.add(pair)
        if one["kind"] == "year":
            carried = f", {one['carried']} of it carried over" if float(one["carried"] or 0) else ""
            lines.append(
                f"  the year before this bill, which sets the tier: {one['amount']} {bill['unit']}{carried}"
            )
        else:
            lines.append("  the registers of the period")
        lines += [f"    {_edge(name, edge, at)}" for name, edge in (("first", first), ("last", last))]
    for one in bill["exchanges"]:
        lines.append(f"  the meter was exchanged at {at(one['at'])}")
        for name, meter, register, edge in (
            ("went", one["removed"], one["last"], one["before"]),
            ("came", one["installed"], one["first"], one["after"]),
        ):
            if meter:
                lines.append(f"    {name}  {meter} with {register} {bill['unit']}, as the installer read it")
                lines.append(f"    {_edge('said', edge, at)}")
        lines.append(f"    {one['stated']} {bill['unit']} rest on what the installer read")
    for word in dict.fromkeys(line["assurance"] for line in bill["lines"]):
        lines.append(f"  {word}: {MEANING[word]}")
    for whole in bill.get("readings", ()):
        lines += _readings(bill, whole, at)
    return lines


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
    bill = json.loads(text)
    return json.dumps(bill | {"readings": opened(bill, ask)}, ensure_ascii=False)
