"""Station MDMS, what ingest notices of single readings, as findings: two values for one instant, instants to come, and
clocks that lead by less.

It decides nothing about a reading (`ingest` does) and keeps nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from meterseal.mdms.finding import Finding
from meterseal.mdms.store.rows import Block, Key, Words

HOUR = 3_600_000
DAY = 24 * HOUR
CLOCK = 2 * 60_000
"""A clock that leads by no more than this is a meter's (its drift, the platform's own clock and a link that is quick)."""


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


def clock(key: Key, day: int, lead: int, words: Words, run: str) -> Finding:
    """A reading was received `lead` ms before its instant, on the local day that begins at `day`: the clock leads by
    that at least. The reading counts; said once a day, whatever came first that day.
    """
    return Finding(
        usage_point=words.texts[key.point],
        channel=key.channel,
        since=day,
        until=day + DAY,
        rule="clock",
        version=1,
        severity="warning",
        detail={},
        values=msgspec.msgpack.encode({"facts": {"seconds": lead / 1000}}),
        run=run,
    )
