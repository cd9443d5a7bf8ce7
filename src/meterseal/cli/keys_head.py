"""`meterseal keys head`: whether the security service's log still holds what the platform saw in it.

It holds no rule; the platform looks (`things.witness`).
"""

from __future__ import annotations

from meterseal.app.operator import as_json
from meterseal.cli.arguments import Data, Json
from meterseal.cli.calls import ask
from meterseal.cli.times import at
from meterseal.mesh.rpc import Empty
from meterseal.things.witness import Seen

_BEFORE = (
    "After a restore, officers, platforms, keys' states and zones stand as in the backup; look at them first (keys officer "
    "list, keys platform list, keys list).\nTo accept what it holds now: meterseal keys head --accept"
)


def head(*, data: Data, accept: bool = False, json: Json = False) -> int:
    """Look whether the keys directory was put back to an older state; exit status 1 when it was and is not accepted.

    Parameters
    ----------
    accept
        Take what the security service has now as the right one, after a restore. It is written down; modules that
        the platform knows and the service does not are reserved, so that they are enrolled again by two officers' order
        only, and modules that were withdrawn stay so.
    """
    seen = ask(data, "service_head_accept" if accept else "service_head", Empty(), Seen)
    if json:
        print(as_json(seen))
    elif seen.lost_at is None:
        print(f"The security service's log holds all that was seen in it: {seen.sequence} entries.")
        print(f"Its directory stands at revision {seen.revision}, digest {seen.digest.hex()}.")
        if seen.held:
            print("It was brought back: it enrols nobody yet and answers no platform of others.")
            print(_BEFORE)
    else:
        print(
            f"Since {at(seen.lost_at)} the security service's log does not hold entry {seen.sequence} as it was: its keys "
            "directory was put back to an older state or replaced."
        )
        print(_BEFORE)
    return 0 if seen.lost_at is None and not seen.held else 1
