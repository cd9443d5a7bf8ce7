"""`make mutate`: puts small faults into link and crypto, one at a time, and says which of them no test notices.

    python -m tests.mutation.run [MODULE …] [--seconds N] [--list]

Each mutant runs in a process of its own, forked from one that has the libraries loaded, so that a mutant costs what its
tests cost; the source tree is not touched. A survivor must stand in survivors.toml with a reason, else the status is 1.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import os
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
SURVIVORS = Path(__file__).with_name("survivors.toml")
LONGEST = 90.0
"""Seconds after which a mutant counts as noticed: it hangs."""

LINK = ["tests/link/test_records.py", "tests/link/test_link_runs.py", "tests/link/test_profiles.py"]
FITTING: dict[str, list[str]] = {
    "link.records": [*LINK, "tests/link/test_control.py", "tests/link/test_any_bytes.py", "tests/mutation/test_kills.py"],
    "link.control": ["tests/link/test_control.py", "tests/link/test_link_runs.py", "tests/mutation/test_kills.py"],
    "link.commands": ["tests/link/test_control.py", "tests/link/test_records.py", "tests/mutation/test_kills.py"],
    "link.counters": [
        "tests/link/test_counters.py", "tests/contracts/test_refusals_of_misuse.py", "tests/mutation/test_kills.py",
    ],
    "link.evidence": ["tests/link/test_evidence.py", "tests/mutation/test_kills.py"],
    "link.platform_run": ["tests/link/test_handshake.py", "tests/mutation/test_kills.py"],
    "link.device_run": ["tests/link/test_handshake.py", "tests/mutation/test_kills.py"],
    "link.schedule": ["tests/link/test_schedules.py", "tests/link/test_link_runs.py", "tests/mutation/test_kills.py"],
    "link.proving": ["tests/link/test_handshake.py", "tests/link/test_flips.py", "tests/mutation/test_kills.py"],
    "crypto.symmetric": [
        "tests/crypto/test_symmetric.py", "tests/crypto/test_vectors.py", "tests/crypto/test_second_opinion.py",
        "tests/contracts/test_refusals_of_misuse.py", "tests/mutation/test_kills.py",
    ],
    "crypto.sm2": [
        "tests/crypto/test_sm2.py", "tests/contracts/test_refusals_of_misuse.py", "tests/mutation/test_kills.py",
    ],
    "crypto.certificates": ["tests/crypto/test_certificates.py", "tests/mutation/test_kills.py"],
}  # fmt: skip
"""Modules in order of importance, and the quick tests that ought to notice a fault in each."""


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


def tell(line: str, *, flush: bool = True) -> None:
    """A line for whoever waits."""
    sys.stdout.write(line + "\n")
    if flush:
        sys.stdout.flush()


def path_of(module: str) -> Path:
    return ROOT / "src" / "meterseal" / (module.replace(".", "/") + ".py")


def noticed(module: str, source: str) -> bool:
    """Whether the fitting tests fail with this source in place of the module."""
    child = os.fork()
    if child == 0:
        status = 9
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            import pytest

            sys.meta_path.insert(0, _Changed(f"meterseal.{module}", source, path_of(module)))
            tests = [one for one in FITTING[module] if (ROOT / one).exists()]
            quiet = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly"]
            quiet += ["-p", "no:xdist", "--assert=plain", "-m", "not soak", "--hypothesis-seed=1"]
            status = int(pytest.main([*quiet, *tests]))
        finally:
            os._exit(status)
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return True


def reasons() -> dict[tuple[str, str, str], str]:
    """Survivors that are known: (module, where, change) -> why no test can notice them, or need not."""
    listed = tomllib.loads(SURVIVORS.read_text())["survivor"] if SURVIVORS.exists() else []
    return {(one["module"], one["where"], one["change"]): one["reason"] for one in listed}


def survivors(module: str, until: float) -> tuple[int, list[Mutant], bool]:
    """How many mutants ran, those that nobody noticed, and whether time was left for all."""
    ran, alive = 0, []
    source = path_of(module).read_text()
    if noticed(module, source):
        raise SystemExit(f"{module}: its tests fail without any fault; mend them first.")
    for mutant in mutants(source):
        if time.monotonic() > until:
            return ran, alive, False
        ran += 1
        if not noticed(module, mutant.source):
            alive.append(mutant)
    return ran, alive, True


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make mutate")
    parser.add_argument("modules", nargs="*", default=list(FITTING))
    parser.add_argument("--seconds", type=float, default=7_200.0)
    parser.add_argument("--list", action="store_true", help="print every mutant and run none")
    asked = parser.parse_args(arguments)
    os.chdir(ROOT)
    for heavy in (
        "pytest",
        "hypothesis",
        "numpy",
        "cryptography.x509",
        "OpenSSL.crypto",
        "gmalg",
        "msgspec",
        "pytest_asyncio",
    ):
        __import__(heavy)
    known, until, new = reasons(), time.monotonic() + asked.seconds, 0
    for module in asked.modules:
        if asked.list:
            for mutant in mutants(path_of(module).read_text()):
                tell(f"{module}:{mutant.line} {mutant.where}: {mutant.change}")
            continue
        began = time.monotonic()
        ran, alive, whole = survivors(module, until)
        unknown = [one for one in alive if (module, one.where, one.change) not in known]
        new += len(unknown)
        tell(
            f"{module}: {ran} mutants, {ran - len(alive)} noticed, {len(alive) - len(unknown)} with a reason, "
            f"{len(unknown)} survive{'' if whole else ' (time ran out)'}; {time.monotonic() - began:.0f} s",
            flush=True,
        )
        for one in unknown:
            tell(
                f"  {path_of(module).relative_to(ROOT)}:{one.line} {one.where}\n    {one.change}", flush=True
            )
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
