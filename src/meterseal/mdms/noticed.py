"""Station MDMS, what ingest notices of single readings, as findings: two values for one instant, and instants to come.

It decides nothing about a reading (`ingest` does) and keeps nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from meterseal.mdms.finding import Finding
from meterseal.mdms.store.rows import Block, Words

HOUR = 3_600_000


class Said(NamedTuple):
    """One value: its digits, their exponent and unit."""

    register: int
    exponent: int
    unit: str

    @property
    def amount(self) -> float:
        """In its unit."""
        return float(
            self.register * 10**self.exponent if self.exponent >= 0 else self.register / 10**-self.exponent
        )


def conflict(block: Block, words: Words, run: str, *, kept: Said, refused: Said) -> Finding:
    """Two values for the one instant of a block."""
    return Finding(
        usage_point=words.texts[block.key.point],
        channel=block.key.channel,
        since=block.start_at,
        until=block.start_at + 1,
        rule="conflict",
        version=1,
        severity="error",
        detail={},
        values=msgspec.msgpack.encode(
            {"kept": kept, "refused": refused, "facts": {"kept": kept.amount, "refused": refused.amount}}
        ),
        run=run,
    )


def ahead(block: Block, words: Words, run: str) -> Finding:
    """Readings of instants that had not come when they were received: the meter's clock is not to be trusted."""
    facts = {"readings": len(block.registers), "hours": (block.last_at - block.recorded_at) / HOUR}
    return Finding(
        usage_point=words.texts[block.key.point],
        channel=block.key.channel,
        since=block.start_at,
        until=block.last_at,
        rule="ahead",
        version=1,
        severity="warning",
        detail={},
        values=msgspec.msgpack.encode(
            {
                "registers": [block.registers[0], block.registers[-1]],
                "exponent": block.exponent,
                "facts": facts,
            }
        ),
        run=run,
    )
