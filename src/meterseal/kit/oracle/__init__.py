"""Beside the path: every rule once more, slow and obvious, reading by reading; what the fast ones are held against.

It shares no code with them but the parameters and the context. A rule without an oracle fails the tests.
"""

from __future__ import annotations

from typing import Any

from meterseal.kit.oracle import daily, single
from meterseal.kit.oracle.channel import Channel, channels
from meterseal.mdms.columns import Columns
from meterseal.mdms.vee.context import Context

ORACLES = single.ORACLES | daily.ORACLES


def flagged(name: str, columns: Columns, context: Context, parameters: Any) -> list[int]:
    """Rows of the columns that the rule must object to, rising."""
    read = channels(columns, context)
    return sorted({row for channel in read for row in ORACLES[name](channel, read, context, parameters)})


__all__ = ["ORACLES", "Channel", "flagged"]
