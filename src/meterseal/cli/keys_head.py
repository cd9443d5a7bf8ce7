"""`meterseal keys head`: whether the security service's log still holds what the platform saw in it.

It holds no rule; the platform looks (`things.witness`), and what is held and reserved meanwhile the service says.
"""

from __future__ import annotations

import msgspec

from meterseal.app.operator import as_json
from meterseal.cli.answers import plain
from meterseal.cli.arguments import Data, Json
from meterseal.cli.calls import ask, ask_keys
from meterseal.cli.times import at
from meterseal.mesh.rpc import Empty
from meterseal.security.reserveorders import Reservations
from meterseal.things.witness import Seen

_BEFORE = (
    "After a restore, officers, platforms, keys' states and zones stand as in the backup; look at them first (keys officer "
    "list, keys platform list, keys list).",
    "To accept what it holds now: meterseal keys head --accept",
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
    kept = ask_keys(data, lambda sdk: sdk.reservations())
    if json:
        print(as_json({**msgspec.structs.asdict(seen), "reservations": kept}))
    else:
        print("\n".join(map(plain, said(seen, kept))))
    return 0 if seen.lost_at is None and not seen.held else 1


def said(seen: Seen, kept: Reservations) -> list[str]:
    """What a person reads of it."""
    if seen.lost_at is None:
        lines = [
            f"The security service's log holds all that was seen in it: {seen.sequence} entries.",
            f"Its directory stands at revision {seen.revision}, digest {seen.digest.hex()}.",
        ]
    else:
        lines = [
            f"Since {at(seen.lost_at)} the security service's log does not hold entry {seen.sequence} as it was: its keys "
            "directory was put back to an older state or replaced."
        ]
    if kept.held:
        lines.append(
            f"Since {at(kept.since)} it enrols nobody and answers no platform of others: {kept.reason}."
        )
    if kept.held or seen.lost_at is not None:
        lines += _BEFORE
    if kept.reserved:
        lines.append(
            f"{kept.reserved} modules and devices that it does not know are reserved: two officers release a module with "
            "`meterseal keys request release-module`."
        )
    return lines
