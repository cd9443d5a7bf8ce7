"""Notes which refusals a run of tests met: of every error of our tree, where it was made, and by which test.

It is a plug-in of pytest. After a run of everything it lists the places in link, crypto and security that refuse and that
no test of their own met, and fails the run for one; `--refusals` asks that of a run of chosen tests.
Places that no test can meet stand in refusals.toml, each with its reason. It does not know whether a test asserts what it
meets: `test_refusals_are_shown` holds codes against assertions, and `make mutate` takes each refusal of link and crypto
away and looks who notices.
"""

from __future__ import annotations

import ast
import shutil
import sys
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

import meterseal
from meterseal.errors import MetersealError

SOURCE = Path(meterseal.__file__).parent
PACKAGES = ("link", "crypto", "security")
EXCUSED = Path(__file__).with_name("refusals.toml")
DEPTH = 6
"""Frames that are looked at from where an error is made: helpers stand between it and the branch."""
GENERAL = (
    "test_any_bytes.py",
    "tests/link/search/",
    "test_lossy_network.py",
    "test_schedules.py",
    "tests/fuzz/",
)
"""Tests that meet a refusal by the way; none of them is named after one."""


class Site(NamedTuple):
    """One place that refuses: a `raise`, or a call of a helper that only raises."""

    file: str
    where: str
    text: str
    first: int
    last: int


@cache
def sites() -> tuple[Site, ...]:
    """Every place of the three packages that refuses; a bare `raise`, or one of a name, hands on what others made."""
    found: list[Site] = []
    for package in PACKAGES:
        for path in sorted((SOURCE / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            helpers = {
                one.name
                for one in ast.walk(tree)
                if isinstance(one, ast.FunctionDef) and getattr(one.returns, "id", "") == "NoReturn"
            }
            _look(tree, str(path.relative_to(SOURCE)), "", helpers, found)
    return tuple(found)


def _look(node: ast.AST, file: str, where: str, helpers: set[str], found: list[Site]) -> None:
    for child in ast.iter_child_nodes(node):
        inside = where
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = f"{where}.{child.name}".strip(".")
        call = child.value if isinstance(child, ast.Expr) else None
        calls = isinstance(call, ast.Call) and getattr(call.func, "id", "") in helpers
        if (isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call)) or calls:
            assert isinstance(child, ast.stmt)
            text = ast.unparse(child)[:110]
            found.append(Site(file, where, text, child.lineno, child.end_lineno or child.lineno))
        _look(child, file, inside, helpers, found)


class Recorder:
    """Which test met which line; installed once in a process, for all errors of the tree."""

    def __init__(self) -> None:
        self.test = ""
        self.met: dict[tuple[str, int], set[str]] = defaultdict(set)
        self._files: dict[str, str | None] = {}

    def install(self) -> None:
        made, note = MetersealError.__init__, self.note

        def noted(self: MetersealError, *args: Any, **facts: Any) -> None:
            note(sys._getframe(1))
            made(self, *args, **facts)

        MetersealError.__init__ = noted  # type: ignore[method-assign]

    def note(self, frame: FrameType | None) -> None:
        for _ in range(DEPTH):
            if frame is None:
                return
            file = self._file(frame.f_code.co_filename)
            if file is not None:
                self.met[file, frame.f_lineno].add(self.test)
            frame = frame.f_back

    def _file(self, name: str) -> str | None:
        if name not in self._files:
            path = Path(name)
            own = path.is_relative_to(SOURCE) and path.relative_to(SOURCE).parts[0] in PACKAGES
            self._files[name] = str(path.relative_to(SOURCE)) if own else None
        return self._files[name]


RECORDER = Recorder()


def excused() -> dict[tuple[str, str, str], tuple[str, str]]:
    """Places that no test need meet: (file, where, text) -> (reason, program that is needed to meet it)."""
    listed = tomllib.loads(EXCUSED.read_text()).get("site", [])
    return {(one["file"], one["where"], one["text"]): (one["reason"], one.get("needs", "")) for one in listed}


def missing(met: dict[tuple[str, int], set[str]]) -> list[Site]:
    """Places that no test of their own met and that have no excuse."""
    known = excused()

    def shown(site: Site) -> bool:
        lines = range(site.first, site.last + 1)
        tests = {test for line in lines for test in met.get((site.file, line), ())}
        return any(test and not any(general in test for general in GENERAL) for test in tests)

    def pardoned(site: Site) -> bool:
        reason = known.get((site.file, site.where, site.text))
        return reason is not None and not (reason[1] and shutil.which(reason[1]))

    return [site for site in sites() if not pardoned(site) and not shown(site)]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--refusals", action="store_true", help="fail where the chosen tests miss a refusal")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(MetersealError.__init__, "__wrapped_by_tests__"):
        RECORDER.install()
        MetersealError.__init__.__wrapped_by_tests__ = True  # type: ignore[attr-defined]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    RECORDER.test = item.nodeid.split("[")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    for file, line, tests in getattr(node, "workeroutput", {}).get("refusals", ()):
        RECORDER.met[file, line].update(tests)


def _asked(config: pytest.Config) -> bool:
    """Whether every test was to run: nothing chosen, nothing left out but the long ones."""
    option = config.option
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    partly = option.keyword or option.collectonly or getattr(option, "lf", False) or option.deselect
    return bool(option.refusals or (whole and not partly and option.markexpr in ("", "not soak")))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["refusals"] = [[*at, sorted(tests)] for at, tests in RECORDER.met.items()]
    elif exitstatus == 0 and _asked(config) and missing(RECORDER.met):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _asked(terminalreporter.config):
        return
    left = missing(RECORDER.met)
    for site in left:
        terminalreporter.write_line(
            f"met by no test of its own: {site.file}:{site.first} {site.where}: {site.text}"
        )
    terminalreporter.write_line(
        f"refusals: {len(sites()) - len(left)} of {len(sites())} places met or excused"
    )
