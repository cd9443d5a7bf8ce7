"""What every process of the system does first: read its orders, refuse core dumps, tell when it serves, end cleanly.

It knows no process in particular; `process` does.

A child gets one line of JSON on standard input (paths, ports, its own secrets: nothing secret travels in arguments
or the environment) and lives as long as that pipe is open: when the supervisor dies in any way, so does the child.
It answers with one line of JSON on standard output once it serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import structlog

from meterseal.crypto import selftest
from meterseal.errors import MetersealError

PR_SET_DUMPABLE = 4
ORPHAN_ENDS_WITHIN = 3.0
"""Seconds in which a process whose supervisor died closes its files; then it ends as it is (commits are durable)."""

Main = Callable[[dict[str, Any], asyncio.Event, Callable[..., None]], Awaitable[None]]


def harden() -> None:
    """No core dumps and no ptrace by the same user: memory holds keys (LINK section 6, not claimed: wiping)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def configure_logging(name: str, *, verbose: bool = False) -> None:
    """Structured lines on standard error; events are named, values are public."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.contextvars.merge_contextvars,
            structlog.processors.JSONRenderer(sort_keys=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO if verbose else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(process=name)


def say(**facts: object) -> None:
    """One line of JSON to the supervisor."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def _orphaned(stop: asyncio.Event, reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass
    stop.set()
    await asyncio.sleep(ORPHAN_ENDS_WITHIN)
    os._exit(1)


async def _run(name: str, main: Main) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    orders = json.loads(await reader.readline() or b"{}")
    if not orders:
        return 2
    configure_logging(name, verbose=bool(orders.get("verbose")))
    watcher = asyncio.create_task(_orphaned(stop, reader))
    try:
        selftest.require()  # before any key is opened
        await main(orders, stop, lambda **facts: say(ready=name, pid=os.getpid(), **facts))
    except MetersealError as error:
        say(failed=error.code, message=error.message, kind=error.kind)
        return 2
    finally:
        watcher.cancel()
    return 0


def run(name: str, main: Main) -> NoReturn:
    """Run one process until it is told to end; its exit status is 2 when it could not start."""
    harden()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = asyncio.run(_run(name, main))
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is closed. The interpreter is not taken down: the web server's threads, which are not ours, would meet it
    # half gone and abort with a native stack.
    os._exit(status)
