"""Runs mutants in forks of a process that has made ready what they share: plug-ins of pytest in place of its loop.

`Trace` runs tests over the sound sources and notes which runs which line. `Warm` has all tests collected and runs for each
mutant those that reach its line, quickest first, ending at the first that fails. What it cannot put into a loaded module it
gives back, and what no test noticed too: both go to `Cold`, where the module, all that takes from it and the tests are
imported anew for each, because what a fixture made before, or an import, may have hidden the fault.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import resource
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

LONGEST = 20.0
"""CPU seconds that a mutant may use at least before it counts as noticed: it hangs."""

ASLEEP = 60
"""Looks, one a second, that find every process of a mutant asleep and no work done, after which it counts as noticed."""

MOST_MEMORY = 2 << 30
"""Bytes that a mutant may ask for: one whose loop never ends may gather without end."""

SLOW = 1.0
"""CPU seconds, traced, from which a test is tried last."""


Reached = dict[str, dict[str, tuple[set[int], float]]]
"""By source and test: the lines of that source that the test runs, and the CPU seconds of the whole test, traced."""


class Trace:
    """The plug-in that runs tests over the sound sources. `fails` names the first that fails."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = [str(path) for path in paths]
        self.reached: Reached = {path: {} for path in self._paths}
        self.fails = "no test was collected"

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        own: dict[str, set[int]] = {}

        def tracer(path: str) -> Callable[[FrameType, str, object], Any]:
            def local(frame: FrameType, event: str, _: object) -> Any:
                if event == "line":
                    own[path].add(frame.f_lineno)
                return local

            return local

        local = {path: tracer(path) for path in self._paths}

        def whole(frame: FrameType, _event: str, _: object) -> Any:
            return local.get(frame.f_code.co_filename)

        threading.settrace(whole)
        forget("meterseal", "tests")
        for at, item in enumerate(session.items):
            own.update({path: set() for path in self._paths})
            began = _spent()
            sys.settrace(whole)
            _run(session, item, session.items[at + 1] if at + 1 < len(session.items) else None)
            sys.settrace(None)
            if session.testsfailed:
                self.fails = item.nodeid
                return True
            took = _spent() - began
            for path, lines in own.items():
                self.reached[path][item.nodeid] = (lines, took)
        self.fails = ""
        return True


class Warm:
    """The plug-in that tries mutants. `found` says of each the test that noticed it, "" for none, None where it was not
    tried."""

    def __init__(
        self,
        module: str,
        mutants: Sequence[Mutant],
        reached: dict[str, tuple[set[int], float]],
        first: dict[tuple[str, str], str],
    ) -> None:
        self._module, self._mutants, self._reached, self._first = module, mutants, reached, first
        self.found: list[str | None] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        gc.freeze()  # what every fork shares stays shared
        order = sorted(session.items, key=lambda item: self._reached[item.nodeid][1])
        for mutant in self._mutants:
            lines = set(range(mutant.line, mutant.last + 1))
            tests = [item for item in order if self._reached[item.nodeid][0] & lines]
            before = self._first.get(mutant.name)
            tests.sort(key=lambda item: item.nodeid != before)
            bound = 3 + 3 * sum(self._reached[item.nodeid][1] for item in tests)
            noted = forked(lambda m=mutant, t=tests: self._try(session, m, t), bound) if tests else None  # type: ignore[misc]
            self.found.append(noted if isinstance(noted, str) else None)
        return True

    def _try(self, session: pytest.Session, mutant: Mutant, tests: Sequence[pytest.Item]) -> str | None:
        forget("meterseal", "tests")
        if not swap(sys.modules[f"meterseal.{self._module}"], mutant.where, mutant.source):
            return None
        for at, item in enumerate(tests):
            most = 2 + 5 * self._reached[item.nodeid][1]
            signal.setitimer(signal.ITIMER_PROF, most)  # its signal ends what hangs
            _run(session, item, tests[at + 1] if at + 1 < len(tests) else None)
            if session.testsfailed:
                return item.nodeid
        return ""


class Cold:
    """The plug-in that tries changed sources with the module, and all that takes from it, imported anew.

    `below` are loaded before: what the module itself takes. `found` says of each source what fails, "" where nothing
    does; `fails` what fails with the sound one.
    """

    def __init__(
        self,
        module: str,
        below: Sequence[str],
        put: Callable[[str], None],
        sound: str,
        sources: Sequence[tuple[str, str]],
        stages: Sequence[Sequence[str]],
        took: dict[str, float],
    ) -> None:
        self._module, self._below, self._put, self._sound = module, below, put, sound
        self._sources, self._stages, self._took = sources, stages, took
        self._good: set[int] = set()
        self.found: list[str] = []
        self.fails = "nothing was tried"

    def pytest_collection(self) -> bool:
        return True  # each fork collects for itself

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for one in self._below:
            importlib.import_module(one)
        if self._module in sys.modules:
            self.fails = f"{self._module} is loaded before it is changed"
            return True
        self.fails = ""
        gc.freeze()
        for source, before in self._sources:
            self.found.append(self._first(session, source, before))
            if self.fails:
                break
        return True

    def _first(self, session: pytest.Session, source: str, before: str) -> str:
        if before and self._said(session, source, [before]) == before:
            return before
        for at, chosen in enumerate(self._stages):
            by = self._said(session, source, chosen) if chosen else ""
            if by and at not in self._good:
                self.fails = self._said(session, self._sound, chosen)
                self._good.add(at)
            if by:
                return by
        return ""

    def _said(self, session: pytest.Session, source: str, chosen: Sequence[str]) -> str:
        return str(forked(lambda: self._try(session, source, chosen), LONGEST + 3 * sum(self._took.values())))

    def _try(self, session: pytest.Session, source: str, chosen: Sequence[str]) -> str:
        self._put(source)
        without = {one[1:] for one in chosen if one.startswith("-")}
        with contextlib.suppress(session.Failed, session.Interrupted, pytest.UsageError):
            session.perform_collect([one for one in chosen if one[1:] not in without])
            items = [item for item in session.items if item.nodeid not in without]
            for at, item in enumerate(items if not session.testsfailed else []):
                signal.setitimer(signal.ITIMER_PROF, 5 + 5 * self._took.get(item.nodeid, LONGEST))
                _run(session, item, items[at + 1] if at + 1 < len(items) else None)
                if session.testsfailed:
                    return item.nodeid
            return "no import" if session.testsfailed else ""
        return "no import"


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
            resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
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
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # what it started too
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
