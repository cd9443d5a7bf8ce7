"""`meterseal store give-up`: entries of the journal that cannot be read any more, named and given up.

It works on the files of a system that is down, holds no key and opens no entry.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from meterseal.app import config
from meterseal.app.lock import take_lock
from meterseal.cli.answers import say
from meterseal.cli.arguments import Json
from meterseal.cli.retention import login
from meterseal.control import open_control
from meterseal.errors import LocalError
from meterseal.mdms.giving_up import give_up as drop
from meterseal.mdms.giving_up import unreadable
from meterseal.mdms.store.faults import Fault


def give_up(*, data: Path, by: str = "", yes: bool = False, json: Json = False) -> int:
    """Go on without entries of the journal that are lost for good, while the system is down; without --yes only look.

    A system whose journal lacks readings that were acknowledged does not start. Each entry is named: missing (no file has
    it: look for the file, on the disk that was exchanged, in a copy) or damaged (its file is there and what stands in it
    is not what was written: look for another copy). Everything that can be read is read at the next start, what stands
    behind as well; an entry that was given up and can be read after all is none the worse. It is written down who did it.

    Parameters
    ----------
    data
        The data directory.
    by
        Who gives them up; your login name when left out.
    yes
        Give them up.
    """
    layout = config.Layout(data)
    if not layout.control.exists():
        raise LocalError(
            "use.data", f"There is no platform's store in {data}. Name its data directory with --data."
        )
    lost = _given_up(layout, by or login(), yes)
    facts = {
        "given_up": yes and bool(lost),
        "lost": [
            {
                "state": "damaged" if one.damaged else "missing",
                "first": one.first,
                "last": one.last or None,
                "file": one.file or None,
                "offset": one.offset if one.damaged else None,
            }
            for one in lost
        ],
    }
    if not lost:
        line = (
            "nothing of the journal is known to be missing or damaged. Whether every entry opens can only the system tell, "
            "which has the keys: start it, and if it refuses, look here again."
        )
        return say(facts, lines=[line], as_json=json)
    lines = [_line(one) for one in lost]
    if yes:
        lines.append("given up; the next start goes on behind them, and reads what can be read all the same.")
        lines.append("If the ledger says that its end was cut off: two officers order ledger-reset.")
    else:
        lines.append("To go on without them for good add --yes; first copy the files elsewhere.")
    return say(facts, lines=lines, as_json=json, good=yes)


def _line(one: Fault) -> str:
    if not one.damaged:
        return f"missing: {one.entries}, in no file"
    return f"damaged: {one.entries}; {one.file} is there, and bytes {one.offset} to {one.end} are not what was written"


def _given_up(layout: config.Layout, actor: str, yes: bool) -> tuple[Fault, ...]:
    lock = asyncio.run(take_lock(layout))  # nobody starts the system meanwhile
    try:
        engine = open_control(layout.control)
        try:
            journal = layout.platform / "measurements" / "journal"
            lost = unreadable(engine, journal)
            if yes and lost:
                drop(engine, journal, lost, actor=actor, now=time.time_ns() // 1_000_000)
            return lost
        finally:
            engine.dispose()
    finally:
        os.close(lock)
