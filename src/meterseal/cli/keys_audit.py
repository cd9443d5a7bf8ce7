"""`meterseal keys audit`: what the security service wrote down, newest last, after its chain was walked.

It judges nothing; the service does.
"""

from __future__ import annotations

from meterseal.app.operator import as_json
from meterseal.cli.answers import plain
from meterseal.cli.arguments import Data, Json, Limit
from meterseal.cli.calls import ask_keys
from meterseal.cli.times import at


def audit(*, data: Data, limit: Limit = 20, json: Json = False) -> int:
    """Show the newest entries of the security service's own log; status 1 when its chain does not hold.

    Parameters
    ----------
    limit
        How many entries.
    """
    state = ask_keys(data, lambda sdk: sdk.verify_audit())
    entries = ask_keys(data, lambda sdk: sdk.audit(limit=limit, newest=True))
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
