"""Station MDMS, work in a thread that a caller waits for to its end, so that no lock is let go of under it.

It locks nothing itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def whole(work: Callable[[], T]) -> T:
    """What `work` gives, from a worker thread. Whoever is cancelled meanwhile is so after it has ended: a thread cannot be
    cancelled, and goes on changing what the caller holds a lock for.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        task.exception()  # nobody else asks for it
        raise asyncio.CancelledError
    return task.result()
