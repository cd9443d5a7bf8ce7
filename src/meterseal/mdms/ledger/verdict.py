"""Station MDMS, verdict: what the walk over the whole store found, and where. No behaviour but putting it together."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

MOST = 100
"""Faults that are named; more are counted."""


class Erasure(NamedTuple):
    """Days of a usage point, both included, whose salts were destroyed with a person."""

    usage_point: str
    first: int
    last: int


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that is not as it was accepted. `where` names it; neither holds a register.

    `code`: "checkpoint" (chain, signature or root), "tree" (an inner hash), "leaf" (what a leaf is made of), "salt" (salts
    that are gone or changed), "journal", "segment" (a file), "reading" (a version of a reading), "evidence", "control"
    (what the control store says of the store), "audit" (a row of the audit trail), "row" (a row of the control store that
    decides a bill, a reading, a finding or a right).
    """

    code: str
    where: str
    sentence: str


class Verdict(Struct, frozen=True, kw_only=True):
    """What was looked at, and every fault. `checkpoints` that were signed, `covered` leaves under the newest of them.

    `rolled` versions of readings are not stored any more because a roll-up that stands in the ledger took them.

    `erased` leaves have no salt any more: their place in the tree holds, what they said is nobody's.
    """

    store_id: str
    leaves: int
    covered: int
    checkpoints: int
    erased: int
    rows: int
    channels: int
    evidence: int
    journal: int
    since: int | None
    faults: tuple[Fault, ...]
    more: int
    root: str
    """SM3 of the root certificate under which checkpoints were verified, hex."""
    rolled: int = 0
    written: int = 0
    """Rows of the control store that are as the platform wrote them, and how many of these stood before there was a trail
    of rows and were taken as they were then (`written_before`)."""
    written_before: int = 0

    @property
    def good(self) -> bool:
        """Is everything as it was accepted?"""
        return not self.faults


class Faults:
    """Faults as they are found; the first of them are named."""

    def __init__(self) -> None:
        self.named: list[Fault] = []
        self.more = 0

    def add(self, code: str, where: str, sentence: str) -> None:
        """Take one down."""
        if len(self.named) < MOST:
            self.named.append(Fault(code=code, where=where, sentence=sentence))
        else:
            self.more += 1
