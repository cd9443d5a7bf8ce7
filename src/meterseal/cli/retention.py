"""`meterseal store retention …`: how long readings are kept in full, what is held all the same, and what a run takes.

It asks the running system and formats.
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable, Iterable
from itertools import groupby
from json import dumps, loads
from typing import Annotated, Any, get_args

from meterseal.app.config import Layout
from meterseal.app.door import operator_connection
from meterseal.app.lock import in_use
from meterseal.app.operator import Text
from meterseal.app.retaining import Channels, HoldReadings, RunRetention, SetRetention, SetRuns
from meterseal.app.retention_plan import RUNS
from meterseal.cli.answers import plain, show
from meterseal.cli.arguments import Data, Json, between, device_id_of
from meterseal.cli.calls import LONG_RUN, ask, over
from meterseal.cli.times import at
from meterseal.cli.waiting import waiting
from meterseal.errors import EngineError, LocalError
from meterseal.mesh.rpc import Connection, Empty
from meterseal.model import MEDIA, Medium

_MB = 1_000_000
LOOK = 1.0
"""Seconds between looks at how far a run is."""
LEFT = "What a run began goes on at the next start of the system, or with the next run."
NAMED = 5
"""Usage points that a line names."""
STEADY = 10.0
"""Seconds after which a platform that was lost once more counts as lost anew; a try takes two."""
AGAIN = 120.0
"""Seconds that a platform that ended is waited for: its supervisor starts it again."""
Days = Annotated[int, between(0, 36_500)]


def show_retention(*, data: Data, json: Json = False) -> int:
    """Show rules, what is held, and what was rolled up so far."""
    answer = ask(data, "retention_show", Empty(), Text)
    show(answer.json, as_json=json, lines=_shown)
    return 0


def set_retention(
    medium: Medium,
    channels: Channels = "main",
    *,
    data: Data,
    intervals: Days,
    days: Days = 0,
    reason: str,
    by: str = "",
    json: Json = False,
) -> int:
    """State how long readings are kept in full. Nothing is removed before `store retention run`.

    Parameters
    ----------
    medium
        water, gas, heat or electricity.
    channels
        main (what bills count) or other.
    intervals
        Days that every reading is kept, 800 at least; 0 for ever.
    days
        Age in days from which one register a month is kept instead of one a day; 0 never.
    reason
        Why; it is written down.
    by
        Who states it; your login name when left out.
    """
    request = SetRetention(
        medium=medium, channels=channels, intervals=intervals, days=days, author=by or login(), reason=reason
    )
    answer = ask(data, "retention_set", request, Text)
    show(answer.json, as_json=json, lines=_shown)
    return 0


def keep_runs(*, data: Data, days: Days, reason: str, by: str = "", json: Json = False) -> int:
    """State how long runs of the rules are kept, so that `vee replay` can make them again. Findings and estimates stay.

    Parameters
    ----------
    days
        Days, 400 at least; 0 for ever.
    reason
        Why; it is written down.
    by
        Who states it; your login name when left out.
    """
    answer = ask(data, "retention_runs", SetRuns(days=days, author=by or login(), reason=reason), Text)
    show(answer.json, as_json=json, lines=_shown)
    return 0


def hold(
    meter: str,
    *,
    data: Data,
    reason: str,
    release: bool = False,
    by: str = "",
    json: Json = False,
) -> int:
    """Keep every reading of a meter's usage point whatever the rules say: a dispute, an order of a court.

    Parameters
    ----------
    meter
        Device id.
    reason
        Why; it is written down.
    release
        Let the rules hold for it again.
    by
        Who states it; your login name when left out.
    """
    request = HoldReadings(
        device_id=device_id_of(meter), author=by or login(), reason=reason, released=release
    )
    answer = ask(data, "retention_hold", request, Text)
    show(answer.json, as_json=json, lines=_shown)
    return 0


def try_retention(*, data: Data, json: Json = False) -> int:
    """Say what a run would take today, what it would hold and why; nothing is changed."""
    layout = Layout(data)
    with waiting("looking at what is old") as tell:
        answer = over(
            layout, lambda: operator_connection(layout, LONG_RUN), lambda way: _tried(way, tell), "The system"
        )
    show(answer.json, as_json=json, lines=lambda found: _told(found, "would go"))
    return 0


async def _tried(way: Connection, tell: Callable[[str], None]) -> Text:
    """Ask for a try, and say meanwhile how many months of how many it looked at."""

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK)
            through, of = loads((await way.call("retention_progress", Empty(), Text)).json)["tried"]
            tell(f"{through} of {of} months")

    looking = asyncio.create_task(look())
    try:
        return await way.call("retention_try", Empty(), Text)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def run_retention(
    *,
    data: Data,
    by: str = "",
    yes: bool = False,
    json: Json = False,
) -> int:
    """Roll up what the rules say today, while everything runs. What goes is gone; look first with `retention try`.

    Every month that is over is said. When this command is ended the run goes on; asked again it follows on. When the
    platform ends and is started again, this waits for it and follows on; the next start goes on with what is left.

    Parameters
    ----------
    by
        Who lets it run; your login name when left out.
    yes
        Needed: this takes readings away for good.
    """
    if not yes:
        raise LocalError(
            "use.yes", "This takes readings away for good. Look with `store retention try`, then add --yes."
        )
    asked = RunRetention(author=by or login())
    try:
        found = over(
            Layout(data),
            lambda: operator_connection(Layout(data)),
            lambda way: _seen_through(way, Layout(data), asked, as_json=json),
            "The system",
        )
    except EngineError as error:
        raise EngineError(error.code, f"{error.message} {LEFT}") from None
    if found["error"] is not None:
        raise EngineError(found["error"]["code"], f"{found['error']['message']} {LEFT}")
    show(dumps(found["done"]), as_json=json, lines=lambda done: _told(done | {"months": []}, "went"))
    return 0


async def _seen_through(
    way: Connection, layout: Layout, asked: RunRetention, *, as_json: bool
) -> dict[str, Any]:
    """Follow a run to its end, also one that goes on after the platform was started anew.

    EngineError `mesh.unreachable` when it is not back in AGAIN seconds, or the system does not run any more.
    """
    began = last = float("-inf")
    while True:
        try:
            found = await _followed(way, asked, as_json=as_json)
        except EngineError as error:
            now = asyncio.get_running_loop().time()
            anew = now - last > STEADY  # it was there in between, or is lost for the first time
            began = now if anew else began
            if error.code != "mesh.unreachable" or not in_use(layout) or now - began > AGAIN:
                raise
            if anew and not as_json:
                print("the platform ended; waiting until it is there again", flush=True)
            await asyncio.sleep(LOOK)
            last = asyncio.get_running_loop().time()
        else:
            if last > float("-inf") and not as_json:
                print("the sums are of what was left then; all of it: meterseal store retention show")
            return found


async def _followed(way: Connection, asked: RunRetention, *, as_json: bool) -> dict[str, Any]:
    """Begin a run, or join the one that is under way, and say of each month that it is over, until all are."""
    found: dict[str, Any] = loads((await way.call("retention_run", asked, Text)).json)
    said = 0
    if not as_json and found["running"] and found["author"] != asked.author:
        print(
            plain(f"a run of {found['author'] or 'an earlier start'} is under way; this follows it"),
            flush=True,
        )
    while True:
        for one in found["months"][said:] if not as_json else ():
            print(plain(f"{_month(one)}  ({found['through']} of {found['of']} months)"), flush=True)
        said = len(found["months"])
        if not found["running"]:
            return found
        await asyncio.sleep(LOOK)
        found = loads((await way.call("retention_progress", Empty(), Text)).json)


def login() -> str:
    """The name that the system knows whoever runs this by. LocalError `use.by`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise LocalError("use.by", "Say who you are: --by NAME; it is written down.") from None


def _shown(found: dict[str, Any]) -> list[str]:
    lines = [
        f"{one['subject']:<20} {_period(one)}  ({one['author']}, {at(one['at'])}: {one['reason']})"
        for one in found["rules"]
    ]
    stated = {one["subject"] for one in found["rules"]}
    silent = [f"{medium}/{kind}" for medium in MEDIA for kind in get_args(Channels)]
    lines.append("kept in full for ever: " + ", ".join(one for one in silent if one not in stated))
    lines += [
        f"held: {one['subject']}  ({one['author']}, {at(one['at'])}: {one['reason']})"
        for one in found["holds"]
    ]
    lines += [
        f"rolled up to {at(one['until'])}: {one['medium']}/{one['channels']} by the {one['level']}, {one['readings']} "
        f"readings, {one['bytes'] / _MB:.1f} MB{'' if one['done'] else ', not finished'}  "
        f"({one['author']}, {at(one['at'])})"
        for one in found["rollups"]
    ]
    return lines


def _period(one: dict[str, Any]) -> str:
    if one["subject"] == RUNS:
        return f"kept for {one['intervals']} days" if one["intervals"] else "kept for ever"
    if not one["intervals"]:
        return "in full for ever"
    later = f", after {one['days']} days one register a month" if one["days"] else ""
    return f"in full for {one['intervals']} days, then one register a day{later}"


def _month(one: dict[str, Any]) -> str:
    size = f"{one['bytes'] / _MB:.1f} MB"
    return f"  {one['medium']} {one['month']}: {one['readings']} readings, {one['rows']} versions, {size}"


def _told(found: dict[str, Any], verb: str) -> list[str]:
    lines = [
        f"{one['medium']}/{one['channels']} up to {at(one['until'])}: one register a {one['level']}"
        for one in found["rollups"]
    ]
    if not lines:
        lines = ["no rule reaches further than it did at the last run"]
    lines += [_month(one) for one in found["months"]]
    lines.append(
        f"{found['readings']} readings, {found['rows']} versions, {found['bytes'] / _MB:.1f} MB {verb}"
    )
    if found["runs"]:
        lines.append(f"{found['runs']} runs of the rules {verb}; their findings and estimates stay")
    lines += _kept(found["held"])
    if found.get("bills"):
        lines.append(
            f"{found['bills']} issued bills would open to registers by the day or month and no longer to every hour; they, "
            "their totals and their proofs stay"
        )
    return lines


def _kept(held: Iterable[dict[str, Any]]) -> list[str]:
    """What is kept all the same; usage points that are for one reason from one day on in one line."""

    def how(one: dict[str, Any]) -> tuple[str, str]:
        return one["why"], f"from {at(one['until'])} on" if one["until"] > 31 * 86_400_000 else "in full"

    lines = []
    for (why, since), same in groupby(sorted(held, key=how), how):
        points = [one["usage_point"] for one in same]
        named = ", ".join(points[:NAMED]) + (
            f" and {len(points) - NAMED} more" if len(points) > NAMED else ""
        )
        lines.append(f"kept {since}: {named}: {why}")
    return lines
