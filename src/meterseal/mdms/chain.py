"""Station MDMS, proof: what one signed statement of a meter says of the readings that are stored of it.

It reads nothing and stores nothing; the book of evidence does.

The chain (LINK section 4) is followed from the nearest earlier statement with a good signature, or from 0^32
when there is none: c' = SM3(c || channel || end_at || register) over the stored readings in between. So an
altered reading shows in the one statement that covers it, and each stored reading is hashed once.

signed        suite 1: signature good, and the readings since the statement before are those the meter signed
mac           the same under suite 2
chain-open    signature good; readings or the statement before are missing, so the chain cannot be followed yet
chain-broken  signature good; every reading is there and they are not the ones that the meter signed
bad           the signature does not hold
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from meterseal.link.evidence import GENESIS, EvidenceStatement, chain

GOOD = ("signed", "mac", "chain-open", "chain-broken")
"""Those whose signature holds."""
BAD = "bad", "The signature is not that of the meter's module over this statement."
UNREADABLE = (
    "chain-open",
    "Readings that the meter signed lie in a damaged file; restored, they are followed.",
)


def judged(
    statement: EvidenceStatement,
    suite: int,
    anchor: EvidenceStatement | None,
    times: Sequence[int],
    registers: Sequence[int],
) -> tuple[str, str]:
    """A word of the table and the reason, for a good signature and the readings after `anchor` up to the statement."""
    head = GENESIS if anchor is None else anchor.head
    if chain(head, statement.channel, zip(times, registers, strict=True)) == statement.head:
        if times and times[-1] == statement.end_at and registers[-1] != statement.register:
            return "chain-broken", "The signed register is not the last one of the signed load profile."
        return ("signed" if suite == 1 else "mac"), ""
    if anchor is None and statement.sequence > 1:
        return (
            "chain-open",
            "The statement before this one has not arrived, so the chain has no beginning here.",
        )
    if hole := _hole(None if anchor is None else anchor.end_at, times, statement.end_at):
        return "chain-open", f"Readings that the meter signed are missing after {hole}."
    return "chain-broken", "The stored readings are not those that the meter signed."


def _hole(after: int | None, times: Sequence[int], end_at: int) -> int | None:
    """The instant after which evenly spaced readings are missing up to `end_at`; None when none are."""
    known = ([after] if after is not None else []) + list(times)
    if not known:
        return end_at
    steps = [later - earlier for earlier, later in pairwise(known)]
    if not steps:
        return None if known[-1] == end_at else known[-1]
    step = min(steps)
    for earlier, distance in zip(known, steps, strict=False):
        if distance != step:
            return earlier
    return None if known[-1] == end_at else known[-1]
