"""Runs mutants in forks of one process that has all tests collected, each against the tests that reach its line.

It is a plug-in of pytest in place of the loop over tests: once over the sound source, noting which test runs which line,
then once for each mutant, quickest tests first, ending at the first that fails. What it cannot put into a loaded module it
gives back, and what no test noticed too: both are tried again in a process of their own (`run.noticed`), because what a
fixture made before, or an import, may have hidden the fault.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest

from tests.mutation.mutants import Mutant
from tests.mutation.swap import forget, swap

LONGEST = 60.0
"""CPU seconds that a mutant may use at least before it counts as noticed: it hangs."""

ASLEEP = 60
"""Looks, one a second, that find every process of a mutant asleep and no work done, after which it counts as noticed."""

SLOW = 1.0
"""CPU seconds, traced, from which a test is tried last."""


class Warm:
    """The plug-in. `found` says of each mutant the test that noticed it, "" for none, None where it was not tried."""

    def __init__(
        self, module: str, path: Path, mutants: Sequence[Mutant], first: dict[tuple[str, str], str]
    ) -> None:
        self._module, self._path, self._mutants, self._first = module, str(path), mutants, first
        self.found: list[str | None] = []
        self.slow: list[str] = []
        self.cost = 0.0
        """CPU seconds of all tests over the sound source, traced."""
        self.fails = ""
        """The test that fails over the sound source, or what else went wrong; then nothing was tried."""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        reached = forked(lambda: self._trace(session), 3_600)
        if not isinstance(reached, list):
            self.fails = str(reached)
            return True
        self.slow = [
            item.nodeid for item, (_, took) in zip(session.items, reached, strict=True) if took > SLOW
        ]
        self.cost = sum(took for _, took in reached)
        order = sorted(range(len(session.items)), key=lambda at: reached[at][1])
        for mutant in self._mutants:
            tests = [at for at in order if reached[at][0] & set(range(mutant.line, mutant.last + 1))]
            before = self._first.get((mutant.where, mutant.change))
            tests.sort(key=lambda at: session.items[at].nodeid != before)
            bound = 5 + 3 * sum(reached[at][1] for at in tests)
            noted = forked(lambda m=mutant, t=tests: self._try(session, m, t), bound) if tests else None  # type: ignore[misc]
            self.found.append(noted if isinstance(noted, str) else None)
        return True

    def _trace(self, session: pytest.Session) -> list[tuple[set[int], float]] | str:
        lines: list[tuple[set[int], float]] = []
        own: set[int] = set()

        def local(frame: FrameType, event: str, _: object) -> Any:
            if event == "line":
                own.add(frame.f_lineno)
            return local

        def whole(frame: FrameType, _event: str, _: object) -> Any:
            return local if frame.f_code.co_filename == self._path else None

        threading.settrace(whole)
        forget("meterseal", "tests")
        for at, item in enumerate(session.items):
            own = set()
            began = _spent()
            sys.settrace(whole)
            _run(session, item, session.items[at + 1] if at + 1 < len(session.items) else None)
            sys.settrace(None)
            if session.testsfailed:
                return item.nodeid
            lines.append((own, _spent() - began))
        return lines

    def _try(self, session: pytest.Session, mutant: Mutant, tests: Sequence[int]) -> str | None:
        forget("meterseal", "tests")
        if not swap(sys.modules[f"meterseal.{self._module}"], mutant.where, mutant.source):
            return None
        items = [session.items[at] for at in tests]
        for at, item in enumerate(items):
            _run(session, item, items[at + 1] if at + 1 < len(items) else None)
            if session.testsfailed:
                return item.nodeid
        return ""


def _run(session: pytest.Session, item: pytest.Item, after: pytest.Item | None) -> None:
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing of what tests print."""
    kept, null = (os.dup(1), os.dup(2)), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for one in (*kept, null):
            os.close(one)


def forked(work: Callable[[], object], longest: float, asleep: int = ASLEEP) -> object:
    """What work returned in a process of its own; the word "hangs" or "dies" where it returned nothing.

    `longest` counts CPU seconds, of its own children too, so that a busy machine changes no answer.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            os.close(read)
            answer = pickle.dumps(work())
            with os.fdopen(write, "wb") as out:
                out.write(answer)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(_all_of(read)), daemon=True)
    reader.start()
    hangs = _hangs(psutil.Process(child), reader, longest, asleep)
    if hangs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        reader.join()
    os.waitpid(child, 0)
    return pickle.loads(said[0]) if said[0] else "hangs" if hangs else "dies"


def _hangs(child: psutil.Process, reader: threading.Thread, longest: float, most_asleep: int) -> bool:
    """Wait until the reader has all, or the work used too much or sleeps for good."""
    before, asleep = 0.0, 0
    while asleep < most_asleep:
        reader.join(1.0)
        if not reader.is_alive():
            return False
        used, awake = 0.0, False
        for one in (child, *child.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                used += sum(one.cpu_times()[:4])
                awake = awake or one.status() != psutil.STATUS_SLEEPING
        if used > longest:
            return True
        asleep = 0 if awake or used > before + 0.02 else asleep + 1
        before = max(before, used)
    return True


def _spent() -> float:
    """CPU seconds of this process and of the children it waited for."""
    return sum(os.times()[:4])


def _all_of(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()
