"""Beside the path: the program of one concentrator of the kit: its parameters as orders, its status as lines of JSON.

It decides nothing; what works is `app.concentrator`, which `meterseal concentrator` runs too.

    python -m meterseal.kit.programs.concentrator --config FILE   the first time; FILE is to be deleted after that
    python -m meterseal.kit.programs.concentrator --dir DIR       with the parameters that its memory keeps sealed
    python -m meterseal.kit.programs.concentrator                 as a child: one line of JSON on standard input
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meterseal.app import child
from meterseal.app.concentrator import gateway_of, work
from meterseal.edge.memories import Memories
from meterseal.edge.parameters import Parameters
from meterseal.errors import LocalError
from meterseal.kit.programs import run


async def main(orders: dict[str, Any], stop: asyncio.Event, ready: Callable[..., None]) -> None:
    """The child process: orders are the fields of `ConcentratorConfig`, or `dir` alone once they were given."""
    directory = orders.get("dir")
    if not isinstance(directory, str):
        raise LocalError(
            "concentrator.config", "The configuration of the concentrator is wrong: `dir` names no directory."
        )
    memories = Memories(Path(directory))
    try:
        gateway = gateway_of(Parameters(Path(directory), memories).take(orders), memories)
        last: dict[str, object] = {}

        def tell(status: dict[str, object]) -> None:
            nonlocal last
            if status != last:
                last = status
                child.say(status=status)

        ready()
        await work(gateway, stop, tell)
    finally:
        memories.close()


if __name__ == "__main__":
    sys.exit(run("concentrator", main, keeps=True))
