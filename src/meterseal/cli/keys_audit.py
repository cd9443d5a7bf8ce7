"""`meterseal keys audit`: what the security service wrote down, newest last, after its chain was walked.

It judges nothing; the service does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from meterseal.app.operator import as_json
from meterseal.cli.keys import ask
from meterseal.cli.operate import Flag, at, between, plain


def audit(
    *, data: Path, limit: Annotated[int, between(1, 1000)] = 20, json: Annotated[bool, Flag] = False
) -> int:
    """Show the newest entries of the security service's own log; status 1 when its chain does not hold.

    Parameters
    ----------
    data
        Data directory of the running system.
    limit
        How many entries.
    """
    state = ask(data, lambda sdk: sdk.verify_audit())
    entries = ask(data, lambda sdk: sdk.audit(limit=limit, newest=True))
    if json:
        print(as_json({"state": state, "ok": state.ok, "entries": list(entries)}))
        return 0 if state.ok else 1
    for one in entries:
        entry = one.entry
        who = ", ".join(entry.officers) or entry.caller or entry.source or "-"
        print(plain(f"{one.sequence:>6}  {at(entry.at)}  {entry.code:<28} {who:<20}  {entry.sentence}"))
    if state.ok:
        print(f"The chain of {state.entries} entries holds.")
    elif state.broken_at:
        print(
            f"Entry {state.broken_at} does not follow from the ones before: the log was changed. Restore a backup."
        )
    else:
        print(f"The log has lost its last {state.missing} entries. Restore a backup.")
    return 0 if state.ok else 1
