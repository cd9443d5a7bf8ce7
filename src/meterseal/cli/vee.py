"""`meterseal vee`: the rules and their parameters, a run now, what was found and why, and how good all of it is.

It judges nothing; the running system and the kit do.
"""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import msgspec

from meterseal.app import operator
from meterseal.app.validation import FindingsQuery, PastQuery
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json, Limit, between, device_id_of
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.times import at, moment, period
from meterseal.cli.times import day as local_day
from meterseal.errors import LocalError
from meterseal.model import MEDIA

SENTENCES = {
    "gap": "no reading for {hours:g} hours",
    "stuck-register": "the register has stood at {register:g} for {hours:g} hours",
    "zero": "nothing used for {days} days, after {mean:g} a day in the weeks before",
    "constant": "{use:g} in each of {intervals} intervals in a row",
    "negative-step": "the register fell from {before:g} to {after:g}",
    "roll-over": "the register began anew after {before:g} and shows {after:g}; {use:g} passed",
    "spike": "{rate:g} an hour, where the third highest of the week before was {third:g}",
    "lonely-spike": "{rate:g} an hour between intervals of at most {beside:g}",
    "overload": "{rate:g} an hour through a connection that carries {carries:g}",
    "reverse-flow": "{back:g} flowed back",
    "sentinel": "{register:g} is what a counter shows that was never written or overflew",
    "register-sum": "the intervals add up to {sum:g}, the register to {register:g}",
    "sub-meters": "the sub-meters add up to {subs:g}, the main meter counted {main:g}",
    "high-use": "{use:g} in a day, where like days used {mean:g}",
    "low-use": "{use:g} a day over {days} days, and {mean:g} in the four weeks before",
    "copied-day": "every hour is that of the day before; {use:g} in all",
    "multiplier": "use changed {factor:g}-fold, from {before:g} to {after:g} a day",
    "time": "{off_seconds:g} s off the load profile",
    "clock-error": "the meter's clock is {seconds:g} s ahead for sure (below 0 it lags), measured {least:g} to {most:g} s",
    "duplicate": "{seconds:g} s after the reading before",
    "unit": "the unit or the decimal point is another (exponent {exponent_before} before, {exponent_after} now)",
    "tamper": "the meter reported that somebody meddled with it (reports: {events})",
    "device-flag": "the meter reported a fault of its own (reports: {events})",
    "heat-balance": "energy and volume mean {implied:.3g} K, the sensors {measured:.3g} K",
    "night-flow": "at least {least:g} an hour, {nights} nights in a row",
    "gas-heating": "{use:g} in a day that does not fit the heating",
    "vacant": "{use:g} in a day on which nobody has an agreement",
    "feed-in": "{use:g} fed in on a day on which no plant is stated",
}
"""What a rule says, from the facts of its finding and its parameters."""
FLAGGED = "the meter reported that something flowed backwards through it"
"""What `reverse-flow` says where the meter's own flag shows it and no register."""
NOTED = {
    "ahead": "{readings} readings of instants that had not come, the last {hours:.3g} hours before its time",
    "clock": "the meter's clock leads by {seconds:g} s at least",
    "conflict": "two values for one instant: {kept:g} is kept, {refused:g} is not",
    "edited": "people changed readings: edit {edit}",
    "edit-undone": "a change by people was taken back: edit {edit}",
    "evidence-contradiction": "the module signed two different statements under number {sequence}",
    "rule-failed": "the rule {rule} failed ({fault}); please report it",
    "unreadable": "these readings lie in {file}, which is damaged; restore it from a backup",
}
"""What a finding says that is no rule's."""


def rules(*, medium: str = "", customer: str = "dwelling", json: Json = False) -> int:
    """List every rule with its version, severity and parameters.

    Parameters
    ----------
    medium
        water, gas, heat or electricity; else all.
    customer
        dwelling or business.
    """
    from meterseal.mdms.vee.context import CLASSES
    from meterseal.mdms.vee.rules import RULES

    if customer not in CLASSES or medium not in ("", *MEDIA):
        raise LocalError("use.rules", f"Customers are {' or '.join(CLASSES)}; media are {', '.join(MEDIA)}.")
    rows = [
        {
            "rule": rule.name,
            "version": rule.version,
            "severity": rule.severity,
            "medium": one,
            "parameters": msgspec.to_builtins(rule.defaults(customer, one)),
        }
        for rule in RULES.values()
        for one in rule.media
        if medium in ("", one)
    ]
    if json:
        print(json_module.dumps({"customer": customer, "rules": rows}))
        return 0
    for row in rows:
        values = " ".join(f"{name}={value}" for name, value in row["parameters"].items()) or "-"
        print(f"{row['rule']:<15} {row['medium']:<12} {row['severity']:<8} v{row['version']}  {values}")
    return 0


def run(*, data: Data, json: Json = False) -> int:
    """Validate what was read and estimate gaps now; what was done before is not done again."""
    answer = ask(
        data, "vee_run", operator.Page(), operator.Text, timeout=LONG_RUN, doing="judging what is new"
    )
    show(answer.json, as_json=json, lines=_done)
    return 0


def _done(done: dict[str, Any]) -> list[str]:
    if not done["number"]:
        return ["nothing came since the last run; the runs that were made: meterseal vee runs"]
    lines = [f"{key}: {value}" for key, value in done.items() if key != "unjudged"]
    return lines + [
        f"cannot judge: {rule} of {meters} heat meters, whose temperatures are not known or only of a few hours a day; "
        "their energy and volume were only held against what is possible at all"
        for rule, meters in done["unjudged"].items()
    ]


def findings(
    usage_point: str = "",
    /,
    *,
    data: Data,
    meter: str = "",
    as_of: str = "",
    day: str = "",
    limit: Limit = 50,
    json: Json = False,
) -> int:
    """Show what the rules found, newest first, with the numbers that led to it; also as it was at a time of the past.

    Parameters
    ----------
    usage_point
        Of this one alone.
    meter
        Only of the usage point of this device.
    as_of
        As it was then: local YYYY-MM-DD HH:MM, or YYYY-MM-DD for its beginning.
    day
        Of a local day, YYYY-MM-DD, alone; of one usage point and with --as-of also its readings, then and now.
    """
    if meter and usage_point:
        raise LocalError("use.meter", "Name a usage point or a --meter, not both.")
    then = (moment(as_of) if " " in as_of.strip() else local_day(as_of)) if as_of else None
    since, until = period("", "", "", day) if day else (0, 0)
    device = device_id_of(meter) if meter else b""
    asked = FindingsQuery(
        usage_point=usage_point, device_id=device, limit=limit, as_of=then, since=since, until=until
    )
    answer = ask(data, "vee_show", asked, operator.Text)
    if then is None or not day or not (usage_point or meter):
        show(answer.json, as_json=json, lines=_said)
        return 0
    question = PastQuery(usage_point=usage_point, device_id=device, since=since, until=until, as_of=then)
    past = ask(data, "vee_past", question, operator.Text)
    both = {"findings": json_module.loads(answer.json), **json_module.loads(past.json)}
    show(json_module.dumps(both), as_json=json, lines=_then_and_now)
    return 0


def _then_and_now(both: dict[str, Any]) -> list[str]:
    lines = [*_said(both["findings"]), f"{'':<16}  {'as of ' + at(both['as_of']):<26}  now"]
    for row in both["readings"]:
        then, now = (
            f"{one['register']} {one['unit']} {one['quality']}" if one["register"] is not None else "-"
            for one in (row["then"], row["now"])
        )
        mark = "" if then == now else "  *"
        lines.append(f"{at(row['end_at'])}  {then:<26}  {now}{mark}")
    return lines if both["readings"] else [*lines, "no reading of that day is stored"]


def _said(rows: list[dict[str, Any]]) -> list[str]:
    return [sentence(row) for row in rows] or [
        "nothing was found; rules run every hour, or now with: meterseal vee run"
    ]


def sentence(row: dict[str, Any]) -> str:
    """A finding as a person reads it."""
    template = (SENTENCES | NOTED).get(row["rule"], "")
    if row["rule"] == "reverse-flow" and row["facts"].get("back") == 0:
        template = FLAGGED
    try:
        why = template.format(**(row["detail"].get("parameters", {}) | row["detail"] | row["facts"]))
    except KeyError:  # found by an earlier version, which kept other facts
        why = ""
    where = f"{row['usage_point']}/{row['channel']}"
    said = f"{at(row['since'])} to {at(row['until'])}  {where}  {row['severity']}: {row['rule']}: {why}"
    return said.rstrip(": ")


def backtest(
    *,
    seed: int = 2027,
    dwellings: Annotated[int, between(4, 200)] = 20,
    samples: bool = False,
    page: Path | None = None,
    json: Json = False,
) -> int:
    """Hide known hours of a simulated street and estimate them; put faults in and look for them.

    It needs no running system, and gives the same numbers of the same seed.

    Parameters
    ----------
    seed
        The street, its weather and the half that is shown.
    dwellings
        How many households, of which about half are shown.
    samples
        Also over the sample meters of the package opendsm, where it is installed (`make backtest`).
    page
        Write the documentation's page here as well.
    """
    from meterseal.kit.backtest import page as kit

    report = kit.run(seed, dwellings, samples=samples)
    text = kit.page(report)
    if page is not None:
        page.write_text(text, encoding="utf-8")
    show(msgspec.json.encode(report).decode(), as_json=json, lines=lambda _: text.splitlines()[5:])
    return 0
