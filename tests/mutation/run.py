"""`make mutate`: puts small faults into link and crypto, one at a time, and says which of them no test notices.

    python -m tests.mutation.run [MODULE …] [--seconds N] [--list] [--anew] [--quick]

A mutant runs in a fork of a process that has the tests collected (`warm`), against those that reach its line; what that
does not notice is tried once more with everything imported anew. The source tree is not touched. A survivor must stand in
survivors.toml with a reason, else the status is 1. What was found is kept in .mutation/ until a source or test changes.
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

from tests.mutation.fitting import FIRST, FITTING
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.warm import LONGEST, Warm, forked, silent

ROOT = Path(__file__).parents[2]
SURVIVORS = Path(__file__).with_name("survivors.toml")
KEPT = ROOT / ".mutation"

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
QUIET += ["--timeout=0", "--assert=plain", "-m", "not soak", "--hypothesis-seed=1"]


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


def tests_of(module: str) -> list[str]:
    return [one for one in FITTING[module] if (ROOT / one).exists()]


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


def noticed(module: str, source: str, *stages: Sequence[str], longest: float = LONGEST) -> bool:
    """Whether the fitting tests fail with this source in place of the module, all imported anew, stage by stage."""

    def run(chosen: Sequence[str]) -> bool:
        sys.meta_path.insert(0, _Changed(f"meterseal.{module}", source, path_of(module)))
        return _pytest(chosen) != 0

    stages = stages or (tests_of(module),)
    return any(forked(lambda one=one: run(one), longest) is not False for one in stages if one)  # type: ignore[misc]


def warm(
    module: str, chosen: Sequence[Mutant], first: dict[tuple[str, str], str]
) -> tuple[list[str | None], list[str], float]:
    """For each mutant the test that noticed it, of those that can be tried without an import; the slow tests; and the
    CPU seconds of all. Exits where the tests fail by themselves."""

    def run() -> tuple[str, list[str | None], list[str], float]:
        plugin = Warm(module, path_of(module), chosen, first)
        _pytest(tests_of(module), plugin)
        return plugin.fails, plugin.found, plugin.slow, plugin.cost

    fails, found, slow, cost = forked(run, sys.maxsize, sys.maxsize)  # type: ignore[misc]
    if len(found) != len(chosen):
        raise SystemExit(f"{module}: its tests fail without any fault ({fails}); mend them first.")
    return found, slow, cost


def reasons() -> dict[tuple[str, str, str], str]:
    """Survivors that are known: (module, where, change) -> why no test can notice them, or need not."""
    listed = tomllib.loads(SURVIVORS.read_text())["survivor"] if SURVIVORS.exists() else []
    return {(one["module"], one["where"], one["change"]): one["reason"] for one in listed}


def _digest(module: str) -> str:
    """Of a source, of all that it takes from these packages, and of the tests that try it."""
    from hashlib import sha256

    tried = [ROOT / one for one in tests_of(module)] + list((ROOT / "tests").glob("*/p*.py"))
    whole = sha256()
    for path in sorted({*_taken(module), *tried, *Path(__file__).parent.glob("[mrsw]*.py")}):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def _taken(module: str) -> set[Path]:
    """The source of a module and those that it imports, and these import, from the whole project."""
    import ast

    seen: set[Path] = set()
    queue = [module]
    while queue:
        path = path_of(queue.pop())
        if path in seen or not path.exists():
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("meterseal"):
                name = (node.module or "").removeprefix("meterseal").strip(".")
                queue += [name, *(f"{name}.{one.name}".strip(".") for one in node.names)]
    return seen


def survivors(module: str, anew: bool = False, quick: bool = False) -> tuple[int, list[Mutant], bool]:
    """How many mutants there are, those that nobody noticed, and whether that was known from the last time."""
    kept, digest = KEPT / f"{module}.json", _digest(module)
    last = json.loads(kept.read_text()) if kept.exists() and not anew else {"digest": "", "found": []}
    first = {(one[0], one[1]): one[2] for one in last["found"] if one[2]}
    chosen = list(mutants(path_of(module).read_text()))
    if last["digest"] == digest:
        return len(chosen), [one for one in chosen if (one.where, one.change) not in first], True
    if not chosen:
        return 0, [], False
    known = reasons()
    found, slow, cost = warm(module, chosen, first)
    whole = [*tests_of(module), *(f"--deselect={one}" for one in slow)]
    stages = [FIRST.get(module, whole[:4])] if quick else [FIRST.get(module, whole[:4]), whole, slow]
    for at, mutant in enumerate(chosen):
        if found[at] or (module, mutant.where, mutant.change) in known or (quick and found[at] == ""):
            continue
        if noticed(module, mutant.source, *stages, longest=LONGEST + 3 * cost):
            found[at] = "with everything imported anew"
    if not quick:
        KEPT.mkdir(exist_ok=True)
        lines = [[one.where, one.change, by] for one, by in zip(chosen, found, strict=True)]
        kept.write_text(json.dumps({"digest": digest, "found": lines}, indent=0))
    return len(chosen), [one for one, by in zip(chosen, found, strict=True) if not by], False


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make mutate")
    parser.add_argument("modules", nargs="*", default=list(FITTING))
    parser.add_argument("--seconds", type=float, default=7_200.0, help="begin no module after this time")
    parser.add_argument("--list", action="store_true", help="print every mutant and run none")
    parser.add_argument("--anew", action="store_true", help="believe nothing that an earlier run found")
    parser.add_argument(
        "--quick", action="store_true", help="believe the forks about survivors; keep nothing"
    )
    asked = parser.parse_args(arguments)
    os.chdir(ROOT)
    for heavy in ("pytest", "hypothesis", "numpy", "cryptography.x509", "OpenSSL.crypto", "gmalg", "msgspec"):
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
        count, alive, before = survivors(module, asked.anew, asked.quick)
        unknown = [one for one in alive if (module, one.where, one.change) not in known]
        new += len(unknown)
        tell(
            f"{module}: {count} mutants, {count - len(alive)} noticed, {len(alive) - len(unknown)} with a reason, "
            f"{len(unknown)} survive; {'unchanged since' if before else f'{time.monotonic() - began:.0f} s'}"
        )
        for one in unknown:
            tell(f"  {path_of(module).relative_to(ROOT)}:{one.line} {one.where}\n    {one.change}")
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
