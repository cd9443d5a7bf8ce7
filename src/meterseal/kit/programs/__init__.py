"""Beside the path: how the programs of the field start, as children or by themselves.

It knows no meter and no concentrator.

Without arguments a program is a child of `app.supervise` and reads its orders from standard input. With
`--config FILE` it reads them from that file and runs until SIGTERM; a program that keeps its parameters
sealed takes them from that file once, says that it is to be deleted, and starts with `--dir DIR` after that.
`--with-parent` ends it when the process that started it is gone.
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


def run(name: str, main: Main, *, keeps: bool = False) -> int:
    """Run a program of the field, which `keeps` its parameters or not; the exit status (0 ended, 2 could not start)."""
    if len(sys.argv) == 1:
        return child.run(name, main)
    parser = argparse.ArgumentParser(prog=name)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--config", type=Path, help="one JSON object")
    if keeps:
        given.add_argument("--dir", help="the directory that keeps the parameters since they were given once")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent process ends")
    arguments = parser.parse_args()
    try:
        orders = {"dir": arguments.dir} if arguments.config is None else _object(arguments.config)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{arguments.config} cannot be read as JSON ({error}); correct it.\n")
        return 2
    child.harden()
    child.configure_logging(name, verbose=bool(orders.get("verbose")))
    sealed = ""
    if keeps and arguments.config is not None:
        sealed = (
            f"The parameters are sealed in {orders.get('dir')} now. Delete {arguments.config}, which has them in clear, "
            f"and start from now on with: --dir {orders.get('dir')}\n"
        )
    return asyncio.run(_alone(name, main, orders, sealed, with_parent=arguments.with_parent))


def _object(path: Path) -> dict[str, Any]:
    orders = json.loads(path.read_text())
    if not isinstance(orders, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - the caller's sentence is the same for all of them
    return orders


async def _alone(name: str, main: Main, orders: dict[str, Any], sealed: str, *, with_parent: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watcher = asyncio.create_task(_watch(os.getppid(), stop)) if with_parent else None

    def ready(**facts: object) -> None:
        sys.stderr.write(sealed)
        child.say(ready=name, pid=os.getpid(), **facts)

    try:
        await main(orders, stop, ready)
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
