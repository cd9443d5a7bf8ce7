"""What the portal publishes of the ledger for everybody: checkpoints and proofs, as machines read them.

No page and no session: a witness asks from time to time, and compares what different people were told.
"""

from __future__ import annotations

from litestar import Response, get
from litestar.params import FromQuery

from meterseal.errors import LocalError
from meterseal.people.ledger import LedgerCheckpoint, LedgerConsistency, LedgerInclusion, Published
from meterseal.people.portal.context import Visit, Web

_JSON = "application/json"


@get("/ledger/checkpoint")
async def checkpoint(request: Web) -> Response[bytes]:
    """The newest checkpoint, a signed note (C2SP tlog-checkpoint)."""
    found = await Visit(request).ask(LedgerCheckpoint(), Published)
    return Visit(request).packed(found.note.encode(), "text/plain")


@get("/ledger/keys")
async def keys(request: Web) -> Response[bytes]:
    """The keys that sign, the certificates that vouch for them, and the root."""
    found = await Visit(request).ask(LedgerCheckpoint(), Published)
    return Visit(request).packed(found.json.encode(), _JSON)


@get("/ledger/inclusion")
async def inclusion(request: Web, leaf: FromQuery[int], size: FromQuery[int] = 0) -> Response[bytes]:
    """The audit path of one leaf."""
    found = await Visit(request).ask(LedgerInclusion(leaf=_bounded(leaf), size=_bounded(size)), Published)
    return Visit(request).packed(found.json.encode(), _JSON)


@get("/ledger/consistency")
async def consistency(request: Web, old: FromQuery[int], new: FromQuery[int] = 0) -> Response[bytes]:
    """The proof that the tree only grew."""
    found = await Visit(request).ask(LedgerConsistency(old=_bounded(old), new=_bounded(new)), Published)
    return Visit(request).packed(found.json.encode(), _JSON)


def _bounded(number: int) -> int:
    if not 0 <= number < 1 << 63:
        raise LocalError("portal.request", "No ledger is that long.")
    return number


HANDLERS = [checkpoint, keys, inclusion, consistency]
