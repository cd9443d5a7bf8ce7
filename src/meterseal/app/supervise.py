"""Keeps a set of child processes alive: starts them, waits until they serve, restarts what dies, ends them cleanly.

It decides nothing about metering and holds no secret longer than it takes to hand it to the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from msgspec import Struct, field

from meterseal.errors import EngineError, LocalError, MetersealError, from_wire

START_WITHIN = 60.0
"""Seconds a child may take until it serves; slow disks and loaded machines included."""
LONGEST_PAUSE = 10.0
"""Seconds before a child that keeps failing for a passing cause is started again."""

log = structlog.get_logger()


class Spec(Struct, kw_only=True):
    """One child: its name, its module and its orders (sent through its standard input)."""

    name: str
    module: str
    arguments: list[str] = field(default_factory=list)
    orders: dict[str, Any] = field(default_factory=dict)
    last: bool = False
    """Others ask it until their end, so it ends after them."""


class Child:
    """One supervised process."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.process: asyncio.subprocess.Process | None = None
        self.ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.starts = 0
        self.serving = False
        self.trouble: MetersealError | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process and self.process.returncode is None else None


class Supervisor:
    """Runs the children of `specs`; `on_line` gets every further JSON line that a child says.

    Every child inherits the open files `keep`: a lock among them is held until the last child is gone.
    """

    def __init__(
        self,
        specs: list[Spec],
        on_line: Callable[[str, dict[str, Any]], None] | None = None,
        keep: Sequence[int] = (),
    ) -> None:
        self.children = {spec.name: Child(spec) for spec in specs}
        self.restarts = 0
        self.peak_mb: dict[str, float] = {}
        self.broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._on_line = on_line
        self._kept_files = tuple(keep)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> dict[str, dict[str, Any]]:
        """Start every child; returns what each said once it serves. EngineError or LocalError when one cannot."""
        self._tasks = [asyncio.create_task(self._keep(child)) for child in self.children.values()]
        waiting = asyncio.gather(*(child.ready for child in self.children.values()))
        try:
            await self._served(waiting)
        except BaseException:
            waiting.cancel()
            await asyncio.gather(waiting, self.stop(), return_exceptions=True)
            raise
        return {name: child.ready.result() for name, child in self.children.items()}

    async def _served(self, ready: asyncio.Future[Any]) -> None:
        await _first(ready, self.broken)
        if self.broken.done():
            raise self.broken.result()
        if not ready.done():
            late = [child for child in self.children.values() if not child.ready.done()]
            words = [child.trouble.message for child in late if child.trouble is not None]
            raise EngineError(
                "app.slow-start",
                f"{', '.join(child.spec.name for child in late)} did not start within {START_WITHIN:.0f} s. "
                f"{words[0] if words else 'See the log above.'}",
            )

    async def add(self, spec: Spec) -> dict[str, Any]:
        """Start one more child and wait until it serves."""
        child = self.children[spec.name] = Child(spec)
        self._tasks.append(asyncio.create_task(self._keep(child)))
        await self._served(child.ready)
        return child.ready.result()

    async def _keep(self, child: Child) -> None:
        try:
            await self._keep_alive(child)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: what ends it must end the system by name
            self._break(
                EngineError(
                    "app.supervisor",
                    f"{child.spec.name} can no longer be kept alive ({type(error).__name__}: {error}). "
                    "Start the system again.",
                )
            )

    async def _keep_alive(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopping:
            began = loop.time()
            code = await self._once(child)
            if self._stopping or self.broken.done():
                return
            self.restarts += 1
            failures = 0 if loop.time() - began > 10 else failures + 1
            if child.trouble is not None:
                await asyncio.sleep(min(LONGEST_PAUSE, 0.05 * 2**failures))
                continue
            if failures > 8:
                self._break(
                    EngineError(
                        "app.crashing",
                        f"{child.spec.name} ends again and again (status {code}); see the log above, then start again.",
                    )
                )
                return
            await asyncio.sleep(min(2.0, 0.05 * 2**failures))

    async def _once(self, child: Child) -> int:
        child.starts += 1
        child.serving, child.trouble = False, None
        child.process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the directory that one stands in may hold anybody's `meterseal`
            "-m",
            child.spec.module,
            *child.spec.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
            pass_fds=self._kept_files,
            start_new_session=True,  # Ctrl-C is for the supervisor: it ends its children in order
        )
        assert process.stdin is not None
        assert process.stdout is not None
        late = asyncio.get_running_loop().call_later(START_WITHIN, self._late, child, process)
        try:
            with contextlib.suppress(ConnectionError, BrokenPipeError):
                process.stdin.write(json.dumps(child.spec.orders).encode() + b"\n")
                await process.stdin.drain()
            async for line in process.stdout:
                self._heard(child, line)
            return await process.wait()
        finally:
            late.cancel()
            # Only when this task is cut off: a child that nobody watches must not live on.
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    def _heard(self, child: Child, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            sys.stderr.write(line.decode(errors="replace"))
            return
        if "failed" in said:
            self._failed(child, _failure(said))
        elif "ready" in said:
            child.serving = True
            if not child.ready.done():
                child.ready.set_result(said)
        elif self._on_line is not None:
            self._on_line(child.spec.name, said)

    def _failed(self, child: Child, error: MetersealError) -> None:
        """What a child says that cannot go on ends the system, unless the cause may pass by itself.

        A neighbour that is just being started again always may; a full disk may for a child that has served before,
        because ending what still runs would lose more than waiting.
        """
        if error.retryable and (child.ready.done() or error.code.startswith("mesh.")):
            child.trouble = error
            log.warning("supervisor.again", child=child.spec.name, code=error.code, message=error.message)
        else:
            self._break(error)

    def _late(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """A child started again that does not serve in time is ended, and so started once more."""
        if not child.serving and process.returncode is None:
            log.warning("supervisor.hangs", child=child.spec.name)
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    def _break(self, error: Exception) -> None:
        if not self.broken.done():
            self.broken.set_result(error)

    async def until(self, stop: asyncio.Event) -> None:
        """Wait until told to stop; raises when a child cannot be kept alive."""
        waiting = asyncio.ensure_future(stop.wait())
        futures: list[asyncio.Future[Any]] = [waiting, self.broken]
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.broken.done():
            raise self.broken.result()

    def measure(self) -> float:
        """Note each living child's peak resident size; returns the sum of all peaks in MB."""
        for name, child in self.children.items():
            with contextlib.suppress(OSError, StopIteration, ValueError):
                if child.pid is None:
                    continue
                with open(f"/proc/{child.pid}/status") as status:  # noqa: PTH123 - read many times a second
                    line = next(line for line in status if line.startswith("VmHWM:"))
                peak = int(line.split()[1]) / 1024
                self.peak_mb[name] = max(peak, self.peak_mb.get(name, 0.0))
        return sum(self.peak_mb.values())

    def kill(self, name: str) -> bool:
        """kill -9 one child, as a power cut or the out-of-memory killer would; it is started again."""
        pid = self.children[name].pid
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
        return True

    async def stop(self) -> None:
        """End every child, those that others lean on after them: SIGTERM, then after five seconds SIGKILL."""
        self._stopping = True
        self.measure()
        for last in (False, True):
            await _end([child for child in self.children.values() if child.spec.last is last])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _end(children: list[Child]) -> None:
    living = [child.process for child in children if child.pid is not None and child.process is not None]
    for process in living:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    ends = [asyncio.create_task(process.wait()) for process in living]
    if not ends:
        return
    _, late = await asyncio.wait(ends, timeout=5)
    if late:
        for process in living:
            with contextlib.suppress(ProcessLookupError):
                if process.returncode is None:
                    process.kill()
        await asyncio.wait(late, timeout=1)


def _failure(said: dict[str, Any]) -> MetersealError:
    return from_wire(
        str(said.get("kind", LocalError.kind)), str(said["failed"]), str(said.get("message", ""))
    )


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, timeout=START_WITHIN, return_when=asyncio.FIRST_COMPLETED)
