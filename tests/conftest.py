"""What the whole run of tests says at its end: how far the search of the link went, which checks it saw fall, and
which refusals no test met."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["tests.contracts.refusals"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [report for report in terminalreporter.stats.get("passed", ()) if report.when == "call"]
    told = [one for report in passed for one in report.user_properties]
    for line in (str(value) for name, value in told if name == "search"):
        terminalreporter.write_line(f"search of the link, {line}")
    for line in (str(value) for name, value in told if name == "tried"):
        terminalreporter.write_line(line)
    attacked = sorted({str(value) for name, value in told if name == "attack"})
    if attacked:
        terminalreporter.write_line(f"search of the link, attacked when switched off: {', '.join(attacked)}")


def pytest_collection_finish() -> None:
    """What was imported by now stays to the end: no later search for garbage looks through half a million objects again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # a library that counts what it gave away would complain at the end


MANY_FILES = 400


@pytest.fixture(autouse=True, scope="module")
def files_that_nobody_holds_are_closed() -> Iterator[None]:
    """Stores and engines that tests let go close their files when they are collected, which may be long after."""
    yield
    open_files = Path("/proc/self/fd")
    if open_files.is_dir() and sum(1 for _ in open_files.iterdir()) > MANY_FILES:
        gc.collect()
