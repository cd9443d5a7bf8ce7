"""`make mutate`: puts small faults into link and crypto, one at a time, and says which of them no test notices.

    python -m tests.mutation.run [MODULE …] [--seconds N] [--list] [--anew] [--quick]

A mutant runs in a fork of a process that has the tests collected, against those that reach its line; what that does not
notice is tried once more with all that takes from the module imported anew (`warm`). The source tree is not touched.
A survivor must stand in survivors.toml with a reason, else the status is 1. What was found is kept in .mutation/ until
a source or a test changes.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tests.mutation.fitting import FIRST, FITTING
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.warm import SLOW, Cold, Reached, Trace, Warm, forked, silent

ROOT = Path(__file__).parents[2]
SURVIVORS = Path(__file__).with_name("survivors.toml")
KEPT = ROOT / ".mutation"
ANEW = ", all imported anew"
"""Behind the name of a test that noticed a fault that way."""

QUIET = [
    "-x",
    "-q",
    "--no-header",
    "--tb=no",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:randomly",
    "-p",
    "no:xdist",
]
QUIET += ["-p", "no:unraisableexception"]  # it collects all garbage three times a run
QUIET += ["--timeout=0", "--assert=plain", "-m", "not soak", "--hypothesis-seed=1"]

HEAVY: tuple[str, ...] = (
    "pytest",
    "hypothesis",
    "numpy",
    "cryptography.x509",
    "OpenSSL.crypto",
    "gmalg",
    "msgspec",
)
HEAVY += (
    "_hypothesis_pytestplugin",
    "pytest_asyncio.plugin",
    "pytest_timeout",
    "pytest_randomly",
    "xdist.plugin",
)
HEAVY += ("meterseal.wire.encode", "meterseal.wire.dlt645.table", "meterseal.units")
"""Loaded once, before any fork: none of them imports what is changed."""


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another source."""

    def __init__(self, name: str, source: str, path: Path) -> None:
        self._name, self._source, self._path = name, source, path

    def find_spec(
        self, name: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=str(self._path))

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._path)
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)


def tell(line: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def path_of(module: str) -> Path:
    return ROOT / "src" / "meterseal" / (module.replace(".", "/") + ".py")


def name_of(path: Path) -> str:
    """The whole name of the module in this file."""
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)


def _pytest(tests: Sequence[str], *plugins: object) -> int:
    """Run tests in this process; hypothesis looks for no smaller example and keeps none."""
    import hypothesis
    import pytest

    hypothesis.settings.register_profile(
        "mutation",
        database=None,
        derandomize=True,
        deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutation")
    with silent():
        return int(pytest.main([*QUIET, *tests], plugins=list(plugins)))


class TestsFail(Exception):
    """The tests of a module fail without any fault, so that they can say nothing of one."""

    __test__ = False


def noticed(
    module: str,
    sources: Sequence[tuple[str, str]],
    *stages: Sequence[str],
    took: dict[str, float] | None = None,
) -> list[str]:
    """For each source what fails with it in place of the module, all that takes from it imported anew, stage by stage; ""
    where nothing does.

    Behind each source stands the test that noticed it the last time, which is tried alone first. A stage names files or
    tests, and tests not to run with a minus before them; `took` says their CPU seconds. Raises TestsFail where a stage
    fails with the sound source too.
    """
    path = path_of(module)
    below = [name_of(one) for one in _taken(path, of="meterseal") - {path}]

    def put(source: str) -> None:
        sys.meta_path.insert(0, _Changed(f"meterseal.{module}", source, path))

    def run() -> list[str] | str:
        plugin = Cold(
            f"meterseal.{module}",
            below,
            put,
            path.read_text(),
            sources,
            stages or [FITTING[module]],
            took or {},
        )
        _pytest(["tests/mutation"], plugin)
        return plugin.fails or plugin.found

    found = forked(run, sys.maxsize, sys.maxsize)
    if not isinstance(found, list):
        raise TestsFail(found)
    return found


def traced(module: str) -> dict[str, tuple[set[int], float]]:
    """For each test that fits: the lines of the module that it runs, and its CPU seconds. Raises TestsFail.

    A file of tests is run over the sound sources once for all modules that it fits.
    """
    every = [path_of(one) for one in FITTING]

    def run(file: str) -> tuple[str, Reached]:
        plugin = Trace(every)
        _pytest([file], plugin)
        return plugin.fails, plugin.reached

    found: dict[str, tuple[set[int], float]] = {}
    for file in FITTING[module]:
        if file not in _TRACED:
            said = forked(lambda file=file: run(file), sys.maxsize, sys.maxsize)  # type: ignore[misc]
            _TRACED[file] = said if isinstance(said, tuple) else (f"{file} {said}", {})
        fails, reached = _TRACED[file]
        if fails:
            raise TestsFail(fails)
        found |= reached[str(path_of(module))]
    return found


_TRACED: dict[str, tuple[str, Reached]] = {}


def warm(
    module: str, chosen: Sequence[Mutant], first: dict[tuple[str, str], str]
) -> tuple[list[str | None], dict[str, float]]:
    """For each mutant the test that noticed it, of those that can be tried without an import; and the CPU seconds of
    each test. Raises TestsFail."""
    reached = traced(module)

    def run() -> list[str | None]:
        plugin = Warm(module, chosen, reached, first)
        _pytest(FITTING[module], plugin)
        return plugin.found

    found = forked(run, sys.maxsize, sys.maxsize)
    if not isinstance(found, list) or len(found) != len(chosen):
        raise TestsFail("together, or they changed meanwhile")
    return found, {test: took for test, (_, took) in reached.items()}


def reasons() -> dict[tuple[str, str, str], str]:
    """Survivors that are known: (module, where, change) -> why no test can notice them, or need not."""
    listed = tomllib.loads(SURVIVORS.read_text())["survivor"] if SURVIVORS.exists() else []
    return {(one["module"], one["where"], one["change"]): one["reason"] for one in listed}


def _digest(module: str) -> str:
    """Of a source and all that it takes from the project, of the tests that try it and what these share, and of what
    makes and runs mutants."""
    from hashlib import sha256

    tests = [ROOT / one for one in FITTING[module]]
    around = {above / "conftest.py" for one in tests for above in one.parents if ROOT in above.parents}
    shared = _taken(*tests, *(one for one in around if one.exists()), of="tests")
    whole = sha256()
    for path in sorted(
        {*_taken(path_of(module), of="meterseal"), *shared, *Path(__file__).parent.glob("[mrsw]*.py")}
    ):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def _taken(*paths: Path, of: str) -> set[Path]:
    """These sources, those that they import from the packages of that name, and those that these import."""
    import ast

    folder = {"meterseal": ROOT / "src" / "meterseal", "tests": ROOT / "tests"}[of]
    seen: set[Path] = set()
    queue = [*paths]
    while queue:
        path = queue.pop()
        if path in seen or not path.exists():
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == of:
                parts = (node.module or "").split(".")[1:]
                for one in ([], *([alias.name] for alias in node.names)):
                    queue.append(folder.joinpath(*parts, *one).with_suffix(".py"))
    return seen


class Found(NamedTuple):
    """What was found of a module: how many mutants it has, those that nobody noticed, those that somebody did though a
    reason says why nobody can, and whether all that was known from the last time."""

    made: int
    alive: list[Mutant]
    needless: list[Mutant]
    before: bool


def survivors(module: str, anew: bool = False, quick: bool = False) -> Found:
    """Try a module. What has a reason is believed to survive, unless all is tried anew; a quick run believes also that
    what was noticed before still is."""
    kept, digest = KEPT / f"{module}.json", _digest(module)
    last = json.loads(kept.read_text()) if kept.exists() else {"digest": "", "found": []}
    first = {(one[0], one[1]): one[2] for one in last["found"] if one[2]}
    known = {key[1:] for key in reasons() if key[0] == module}
    every = list(mutants(path_of(module).read_text()))
    by: dict[tuple[str, str], str] = first
    if last["digest"] != digest or anew:
        chosen = [
            one for one in every if anew or (one.name not in known and not (quick and one.name in first))
        ]
        by = (first if quick else {}) | _tried(module, chosen, known, first, quick)
        KEPT.mkdir(exist_ok=True)
        lines = [[*one.name, by.get(one.name, "")] for one in every]
        kept.write_text(json.dumps({"digest": "" if quick else digest, "found": lines}, indent=0))
    alive = [one for one in every if not by.get(one.name)]
    needless = [one for one in every if by.get(one.name) and one.name in known]
    return Found(len(every), alive, needless, last["digest"] == digest and not anew)


def _tried(
    module: str,
    chosen: list[Mutant],
    known: set[tuple[str, str]],
    first: dict[tuple[str, str], str],
    quick: bool,
) -> dict[tuple[str, str], str]:
    if not chosen:
        return {}
    found, took = warm(module, chosen, first)
    slow = [one for one, seconds in took.items() if seconds > SLOW]
    whole = [*FITTING[module], *(f"-{one}" for one in slow)]
    first_of_all = [*dict.fromkeys((*FITTING[module][:2], *FIRST.get(module, FITTING[module][2:4])))]
    stages = [first_of_all] if quick else [first_of_all, whole, slow]
    left = [
        at
        for at, one in enumerate(chosen)
        if not found[at] and one.name not in known and not (quick and found[at] == "")
    ]
    sources = [(chosen[at].source, first.get(chosen[at].name, "").removesuffix(ANEW)) for at in left]
    for at, by in zip(left, noticed(module, sources, *stages, took=took) if left else [], strict=True):
        found[at] = by and by + ANEW
    return {one.name: by or "" for one, by in zip(chosen, found, strict=True)}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make mutate")
    parser.add_argument("modules", nargs="*", default=list(FITTING))
    parser.add_argument("--seconds", type=float, default=7_200.0, help="begin no module after this time")
    parser.add_argument("--list", action="store_true", help="print every mutant and run none")
    parser.add_argument("--anew", action="store_true", help="believe nothing that an earlier run found")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="try what was not noticed before, believe the forks about it, and try all again the next time",
    )
    asked = parser.parse_args(arguments)
    os.chdir(ROOT)
    for heavy in HEAVY:
        __import__(heavy)
    known, until, new = reasons(), time.monotonic() + asked.seconds, 0
    for module in asked.modules:
        if asked.list:
            for mutant in mutants(path_of(module).read_text()):
                tell(f"{module}:{mutant.line} {mutant.where}: {mutant.change}")
            continue
        began = time.monotonic()
        if began > until:
            tell(f"{module}: no time left")
            new += 1
            continue
        try:
            count, alive, needless, before = survivors(module, asked.anew, asked.quick)
        except TestsFail as error:
            tell(f"{module}: its tests fail without any fault ({error}); mend them first")
            new += 1
            continue
        unknown = [one for one in alive if (module, *one.name) not in known]
        new += len(unknown) + len(needless)
        tell(
            f"{module}: {count} mutants, {count - len(alive)} noticed, {len(alive) - len(unknown)} with a reason, "
            f"{len(unknown)} survive; {'unchanged since' if before else f'{time.monotonic() - began:.0f} s'}"
        )
        for one in (*unknown, *needless):
            has = " has a reason in survivors.toml, but a test notices it" if one in needless else ""
            tell(f"  {path_of(module).relative_to(ROOT)}:{one.line} {one.where}{has}\n    {one.change}")
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
