"""`python -m tests.app.children`: children for the supervisor's tests, on the real start of a process (`app.child`)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meterseal.app.child import run
from meterseal.errors import EngineError


async def main(orders: dict[str, Any], stop: asyncio.Event, ready: Callable[..., None]) -> None:
    starts = Path(orders["folder"]) / f"{orders['name']}.starts"
    with starts.open("a") as log:
        log.write(f"{os.getpid()}\n")
    nth = len(starts.read_text().split())
    match orders["manner"]:
        case "full-once" if nth == 2:
            raise EngineError("test.full", "The disk is full. Free some space.")
        case "alone-at-first" if nth == 1:
            raise EngineError("mesh.unreachable", "The neighbour is not there yet.")
        case "hangs-once" if nth == 2:
            await asyncio.sleep(600)
        case "refuses":
            raise EngineError("test.refused", "The disk is full. Free some space.")
        case "crashes":
            os._exit(3)
        case "garbage":
            print("this is no JSON")  # noqa: T201
            print('"nor an object"', flush=True)  # noqa: T201
        case "floods":
            print("x" * (2 << 20), flush=True)  # noqa: T201
    ready(seen=orders["name"])
    if orders["manner"] == "deaf":
        while True:
            await asyncio.sleep(60)
    await stop.wait()
    (Path(orders["folder"]) / f"{orders['name']}.ended").write_text("cleanly")


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1], main))
