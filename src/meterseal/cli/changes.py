"""`meterseal vee try|change|order|changes`: what an operator changes of validation and estimation, tried before it holds.

It judges nothing and keeps nothing; the running system does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from meterseal.app import operator
from meterseal.app.validation import ChangeOrder, MethodsOrder, TrialOrder
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json, Limit, between
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.times import at, day
from meterseal.cli.vee import sentence
from meterseal.errors import LocalError


def attempt(
    rule: str,
    /,
    *values: str,
    data: Data,
    off: bool = False,
    medium: str = "",
    customer: str = "",
    days: Annotated[int, between(1, 400)] = 90,
    json: Json = False,
) -> int:
    """Try a rule with other values, or without it, on what is stored, and show what it would flag; nothing is changed.

    Parameters
    ----------
    rule
        Its name, as `meterseal vee rules` lists it.
    values
        Parameters as name=value; none are the defaults.
    off
        Try the system without the rule.
    medium
        Of this medium alone: water, gas, heat or electricity.
    customer
        Of this class of customer alone: dwelling or business.
    days
        How many days back; a change needs 90.
    """
    order = TrialOrder(
        rule=rule, change=_values(values), on=not off, medium=medium, customer=customer, days=days
    )
    _check(order)
    answer = ask(data, "vee_try", order, operator.Text, timeout=LONG_RUN, doing="trying the rule")
    show(answer.json, as_json=json, lines=_trial)
    return 0


def change(
    rule: str,
    /,
    *values: str,
    data: Data,
    reason: str,
    off: bool = False,
    medium: str = "",
    customer: str = "",
    json: Json = False,
) -> int:
    """Let a rule judge readings from now on by other values, or switch it off; the same must have been tried before.

    It lasts until the next change of the rule. What was found before stays, and is found again the same.

    Parameters
    ----------
    rule
        Its name, as `meterseal vee rules` lists it.
    values
        Parameters as name=value; none are the defaults again.
    reason
        Why; it is kept with who and when.
    off
        Switch the rule off.
    medium
        Of this medium alone: water, gas, heat or electricity.
    customer
        Of this class of customer alone: dwelling or business.
    """
    order = ChangeOrder(
        rule=rule, change=_values(values), on=not off, medium=medium, customer=customer, reason=reason
    )
    _check(order)
    answer = ask(data, "vee_change", order, operator.Text)
    show(answer.json, as_json=json, lines=lambda made: [line(made)])
    return 0


def order(
    methods: str,
    /,
    *,
    data: Data,
    since: str,
    until: str,
    reason: str,
    medium: str = "",
    zone: str = "",
    json: Json = False,
) -> int:
    """Ask methods in another order for gaps that begin in a period: a feast, a lockdown, a cold spell.

    Estimates of that time are made anew by the next run; what they were stays readable. An order may not name them all:
    where none of it can, the gap stays open.

    Parameters
    ----------
    methods
        Names between commas, the first to be asked first (see docs/validation.md); `table` for the usual order again.
    since
        The first day, such as 2027-02-15.
    until
        The day after the last one.
    reason
        Why; it is kept with who and when.
    medium
        Of this medium alone.
    zone
        Of what this zone supplies alone, as facts name it (`meterseal vee facts`).
    """
    asked = MethodsOrder(
        order=() if methods == "table" else tuple(one.strip() for one in methods.split(",")),
        since=day(since),
        until=day(until),
        reason=reason,
        medium=medium,
        zone=zone,
    )
    answer = ask(data, "vee_order", asked, operator.Text)
    show(answer.json, as_json=json, lines=lambda made: [line(made)])
    return 0


def changes(*, data: Data, limit: Limit = 50, json: Json = False) -> int:
    """List what was changed of rules and of the order of methods, newest first, with who and why."""
    answer = ask(data, "vee_changes", operator.Page(limit=limit), operator.Text)
    show(
        answer.json,
        as_json=json,
        lines=lambda made: (
            [line(one) for one in made] or ["nothing was changed; rules judge by their defaults"]
        ),
    )
    return 0


def line(made: dict[str, Any]) -> str:
    """A change as a person reads it."""
    where = " ".join(filter(None, (made["medium"], made["customer"], made["zone"]))) or "all"
    if made["kind"] == "rule":
        what = made["rule"] + " "
        what += " ".join(f"{k}={v}" for k, v in made["values"].items()) or "by its defaults"
        what = what if made["on"] else f"{made['rule']} off"
        period = f"from {at(made['since'])}"
        tried = made["tried"]
        period += f", tried: {tried['flags_now']} findings before, {tried['would_flag']} with it"
    else:
        what = "methods: " + (", ".join(made["order"]) or "as in the table")
        period = f"for gaps from {at(made['since'])} to {at(made['until'])}"
    return f"{made['number']}. {what} ({where}) {period}; {made['author']}, {at(made['recorded_at'])}: {made['reason']}"


def _trial(said: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{said['readings']:,} readings of {said['channels']} channels: {said['rule']} flags {said['flags_now']} now "
        f"and would flag {said['would_flag']}."
    )
    for name, word in (("new", "would be new"), ("gone", "would be gone")):
        yield f"{said[name + '_count']} {word}" + (":" if said[name] else ".")
        yield from (f"  {sentence(row)}" for row in said[name])


def _values(values: tuple[str, ...]) -> dict[str, str]:
    if any("=" not in one for one in values):
        raise LocalError("use.parameter", "Give each parameter as name=value, such as `percent=300`.")
    return dict(one.partition("=")[::2] for one in values)


def _check(order: TrialOrder | ChangeOrder) -> None:
    from meterseal.mdms.vee.settings import check

    check(order.asked)
