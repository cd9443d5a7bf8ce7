"""The clock of a process, in one place: what asks for the time is given this function.

It is the only reading of the wall clock in the processes; cores get `now` as an argument.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """The clock of this program, Unix milliseconds UTC."""
    return time.time_ns() // 1_000_000
