"""What the platform answers the operator about the security service's audit head, as it remembers it.

It decides nothing; `things.witness` does.
"""

from __future__ import annotations

from meterseal.mesh.rpc import OPERATOR, Empty, Method, Methods
from meterseal.things.witness import Seen, Witness


def methods(witness: Witness) -> Methods:
    """service_head looks now; service_head_accept takes what the service has as the right one."""

    async def look(_: str, asked: Empty) -> Seen:
        await witness.look()
        return witness.seen()

    async def accept(_: str, asked: Empty) -> Seen:
        return await witness.accept()

    callers = frozenset({OPERATOR})
    return {
        "service_head": Method(look, Empty, callers),
        "service_head_accept": Method(accept, Empty, callers),
    }
