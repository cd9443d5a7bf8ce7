"""Beside the path: how the programs of the field start, as children or by themselves.

It knows no meter and no concentrator.

Without arguments a program is a child of `app.supervise` and reads its orders from standard input. With
`--config FILE` it reads them from that file and runs until SIGTERM; `--with-parent` ends it when the
process that started it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from meterseal.app import child
from meterseal.errors import MetersealError

Main = Callable[[dict[str, Any], asyncio.Event, Callable[..., None]], Awaitable[None]]


def run(name: str, main: Main) -> int:
    """Run a program of the field; the exit status (0 ended, 2 could not start)."""
    if len(sys.argv) == 1:
        return child.run(name, main)
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--config", required=True, type=Path, help="one JSON object")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent process ends")
    arguments = parser.parse_args()
    try:
        orders = json.loads(arguments.config.read_text())
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{arguments.config} cannot be read as JSON ({error}); correct it.\n")
        return 2
    child.harden()
    child.configure_logging(name, verbose=bool(orders.get("verbose")))
    return asyncio.run(_alone(name, main, orders, with_parent=arguments.with_parent))


async def _alone(name: str, main: Main, orders: dict[str, Any], *, with_parent: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watcher = asyncio.create_task(_watch(os.getppid(), stop)) if with_parent else None
    try:
        await main(orders, stop, lambda **facts: child.say(ready=name, pid=os.getpid(), **facts))
    except MetersealError as error:
        child.say(failed=error.code, message=error.message)
        return 2
    finally:
        if watcher is not None:
            watcher.cancel()
    return 0


async def _watch(parent: int, stop: asyncio.Event) -> None:
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    stop.set()
