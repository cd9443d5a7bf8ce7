"""`meterseal vee runs|replay`: the runs of the rules that were made, and one of them made again from what it saw.

It judges nothing; the running system does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meterseal.app import operator
from meterseal.app.validation import RunQuery
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json, Limit
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.times import at
from meterseal.cli.vee import sentence


def runs(*, data: Data, limit: Limit = 50, json: Json = False) -> int:
    """List the runs of the rules, newest first, with what each looked at and said."""
    answer = ask(data, "vee_runs", operator.Page(limit=limit), operator.Text)
    show(answer.json, as_json=json, lines=lambda found: [_line(one) for one in found] or ["no run was made"])
    return 0


def replay(number: int, /, *, data: Data, json: Json = False) -> int:
    """Make a run again from what it saw, and show what it found. It comes out as it did, or it is said why it cannot.

    Parameters
    ----------
    number
        Of the run, as `meterseal vee runs` lists it.
    """
    answer = ask(
        data,
        "vee_replay",
        RunQuery(number=number),
        operator.Text,
        timeout=LONG_RUN,
        doing="making the run again",
    )
    show(answer.json, as_json=json, lines=lambda found: list(_again(found)))
    return 0


def _line(run: dict[str, Any]) -> str:
    unread = f", {run['unread']} channels in damaged files" if run["unread"] else ""
    return (
        f"{run['number']}  {at(run['at'])}  {run['channels']} channels, {run['readings']} readings: "
        f"{run['findings']} findings, {run['versions']} new versions{unread}"
    )


def _again(found: dict[str, Any]) -> Iterator[str]:
    yield _line(found["run"])
    yield "made again from what it saw: the same, bit for bit"
    yield from (sentence(row) for row in found["findings"])
