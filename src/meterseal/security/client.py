"""The calling half of a desk: what the typed clients of the security service have in common.

It holds no key and no decision; `sdk.SecuritySdk` joins the clients of all desks into one.
"""

from __future__ import annotations

from meterseal.mesh.rpc import Rpc


class Client:
    """Typed calls over an Rpc to the process `keys`. Every call may raise EngineError when it cannot be reached."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
