"""`meterseal vee facts`: what an operator states of usage points so that rules can judge them, read from a CSV file.

It stores nothing itself; a file is taken whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meterseal.app.operator import Text
from meterseal.app.validation import FactsOrder, FactsQuery
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json
from meterseal.cli.calls import ask
from meterseal.cli.csv_rows import rows, wrong
from meterseal.cli.times import at, day, instant
from meterseal.errors import LocalError
from meterseal.mdms.ever import EVER
from meterseal.mdms.fact import MOST, STATED, Fact

COLUMNS = ("usage_point", "fact", "value", "since", "until")
WANTED = (
    f"a usage point (none for limit), one of {', '.join(STATED)}, a value (none takes it back), and days such as "
    "2026-11-21 or instants with their offset, or nothing, as since and until"
)
LONGEST = 64


def facts_import(file: Path, *, data: Data, json: Json = False) -> int:
    """Take facts from a CSV with the columns usage_point, fact, value, since and until.

    fact is class (dwelling or business), size (what the connection carries, unit an hour), main (the usage point of its
    main meter), group (neighbours used alike), zone (what supplies it, forecast as one), heats (gas, where gas heats),
    plant (kW of a generator that feeds in; what is fed in is paid for from then on), limit (degC, of no usage point: a
    colder day is one of heating), or multiplier (what the meter's register is multiplied
    by to be what was used: 40, 0.01, or the ratio of a transformer, 2000/5). A period begins with since and ends before
    until; an empty one is open. A later file wins.

    Bills count with multipliers: one that is stated of the past corrects the bills of that time at the next run, by a new
    version that says so. It is about the meter in place when it begins, and ends where the next one is put in place;
    say the next one's from the instant of the exchange on, 1 if it counts all of the use: until then its bills wait. It
    is of all that an electricity meter counts, what was fed in as well, and of other meters' billed register alone.

    Parameters
    ----------
    file
        The CSV file.
    """
    facts: list[Fact] = []
    for line, row in rows(file, COLUMNS):
        fact = _fact(row)
        if fact is None:
            raise wrong(file, line, WANTED)
        facts.append(fact)
        if len(facts) > MOST:
            raise LocalError("use.csv", f"{file} has more than {MOST} facts; cut it. Nothing was taken.")
    answer = ask(data, "facts_put", FactsOrder(facts=tuple(facts)), Text)
    show(answer.json, as_json=json, lines=lambda said: [f"{said['facts']} facts taken"])
    return 0


def facts_show(usage_point: str = "", /, *, data: Data, json: Json = False) -> int:
    """What rules know of usage points: what was stated, and what follows from agreements and the weather.

    Parameters
    ----------
    usage_point
        Of this one alone.
    """
    answer = ask(data, "facts", FactsQuery(usage_point=usage_point), Text)
    show(answer.json, as_json=json, lines=_lines)
    return 0


def _lines(said: dict[str, Any]) -> Iterator[str]:
    if not said["facts"]:
        yield "nothing is known; state something with: meterseal vee facts import FILE.csv"
    for one in said["facts"]:
        since = "always" if one["since"] <= 0 else at(one["since"])
        until = "open" if one["until"] >= EVER else at(one["until"])
        yield f"{one['usage_point'] or 'all':<24} {one['fact']:<8} {one['value']:<12} {since} to {until}"
    if said["more"]:
        yield f"and {said['more']} more; name a usage point to see its own"


def _fact(row: dict[str, str]) -> Fact | None:
    cells = {name: cell.strip() for name, cell in row.items()}
    since, until = _instant(cells["since"], 0), _instant(cells["until"], EVER)
    if any(len(cell) > LONGEST for cell in cells.values()) or cells["fact"] not in STATED:
        return None
    if since is None or until is None:
        return None
    kind = cells["fact"]
    return Fact(usage_point=cells["usage_point"], kind=kind, value=cells["value"], since=since, until=until)


def _instant(text: str, empty: int) -> int | None:
    """Unix ms of a local day or of an instant with its offset, None for what is neither."""
    if not text:
        return empty
    if len(text) != len("2026-11-21"):
        return instant(text)
    try:
        return day(text)
    except LocalError:
        return None
