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

from tests.mutation.mutants import Mutant, mutants
from tests.mutation.warm import LONGEST, Warm, forked, silent

ROOT = Path(__file__).parents[2]
SURVIVORS = Path(__file__).with_name("survivors.toml")
KEPT = ROOT / ".mutation"

CRYPTO = [
    "tests/crypto/test_symmetric.py", "tests/crypto/test_vectors.py", "tests/crypto/test_sm2.py",
    "tests/crypto/test_certificates.py", "tests/crypto/test_lists.py", "tests/crypto/test_verifying.py",
    "tests/crypto/test_second_opinion.py", "tests/crypto/test_refusals.py", "tests/crypto/test_selftest.py",
    "tests/security/test_proven_leaves.py", "tests/link/test_handshake.py",
    "tests/contracts/test_refusals_of_misuse.py", "tests/mutation/test_kills.py", "tests/mutation/test_kills_of_crypto.py",
]  # fmt: skip
LINK = [
    "tests/link/test_records.py", "tests/link/test_link_runs.py", "tests/link/test_profiles.py",
    "tests/link/test_control.py", "tests/link/test_handshake.py", "tests/link/test_any_bytes.py",
    "tests/link/test_branches.py", "tests/link/test_counters.py", "tests/link/test_evidence.py",
    "tests/link/test_segments.py", "tests/link/test_transport.py", "tests/link/test_refusals.py",
    "tests/contracts/test_refusals_of_misuse.py", "tests/mutation/test_kills.py", "tests/mutation/test_kills_of_link.py",
]  # fmt: skip
CARD = [
    "tests/edge/test_module_vectors.py", "tests/edge/test_module_t15_authentication.py",
    "tests/edge/test_module_t14_root.py", "tests/edge/test_module_t12_clone.py",
]  # fmt: skip
FITTING: dict[str, list[str]] = {
    "link.records": LINK,
    "link.control": LINK,
    "link.commands": LINK,
    "link.counters": LINK,
    "link.evidence": LINK,
    "link.platform_run": LINK,
    "link.device_run": LINK,
    "link.schedule": [*LINK, "tests/link/test_schedules.py"],
    "link.proving": LINK,
    "link.messages": LINK,
    "link.identities": LINK,
    "link.legality": [*LINK, "tests/link/test_diagram.py"],
    "link.profiles": LINK,
    "link.segments": LINK,
    "link.transport": LINK,
    "link.handshake": LINK,
    "link.cardkeys": [*LINK, *CARD],
    "crypto.symmetric": CRYPTO,
    "crypto.sm2": CRYPTO,
    "crypto.certificates": CRYPTO,
    "crypto.proven": CRYPTO,
    "crypto.verifying": CRYPTO,
    "crypto.issuing": CRYPTO,
    "crypto.names": CRYPTO,
    "crypto.handles": CRYPTO,
    "crypto.selftest": CRYPTO,
    "crypto.expose": CRYPTO,
    "crypto._libcrypto": CRYPTO,
}
"""Every module of link and crypto, and the quick tests that ought to notice a fault in each."""

FIRST: dict[str, list[str]] = {
    "link.messages": ["tests/link/test_branches.py", "tests/link/test_handshake.py"],
    "link.identities": ["tests/link/test_handshake.py", "tests/link/test_control.py"],
    "link.transport": ["tests/link/test_transport.py"],
    "link.segments": ["tests/link/test_segments.py"],
    "link.profiles": ["tests/link/test_profiles.py"],
    "link.cardkeys": ["tests/edge/test_module_vectors.py", "tests/edge/test_module_t14_root.py"],
    "link.legality": ["tests/link/test_diagram.py", "tests/link/test_branches.py"],
    "link.counters": ["tests/link/test_counters.py", "tests/contracts/test_refusals_of_misuse.py"],
    "link.control": ["tests/link/test_control.py", "tests/mutation/test_kills.py"],
    "link.evidence": ["tests/link/test_evidence.py"],
    "crypto.sm2": ["tests/crypto/test_vectors.py", "tests/crypto/test_sm2.py"],
    "crypto.verifying": ["tests/crypto/test_verifying.py"],
    "crypto.proven": ["tests/security/test_proven_leaves.py"],
    "crypto.certificates": ["tests/crypto/test_certificates.py", "tests/crypto/test_lists.py"],
    "crypto.issuing": ["tests/crypto/test_certificates.py", "tests/crypto/test_lists.py"],
    "crypto.names": ["tests/crypto/test_certificates.py"],
    "crypto.selftest": ["tests/crypto/test_selftest.py"],
    "crypto._libcrypto": ["tests/crypto/test_sm2.py"],
}
"""Those that are tried first where everything must be imported anew."""

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
QUIET += ["--assert=plain", "-m", "not soak", "--hypothesis-seed=1"]


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
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutation")
    with silent():
        return int(pytest.main([*QUIET, *tests], plugins=list(plugins)))


def noticed(module: str, source: str, *stages: Sequence[str]) -> bool:
    """Whether the fitting tests fail with this source in place of the module, all imported anew, stage by stage."""

    def run(chosen: Sequence[str]) -> bool:
        sys.meta_path.insert(0, _Changed(f"meterseal.{module}", source, path_of(module)))
        return _pytest(chosen) != 0

    stages = stages or (tests_of(module),)
    return any(forked(lambda one=one: run(one), LONGEST + 30) is not False for one in stages if one)  # type: ignore[misc]


def warm(
    module: str, chosen: Sequence[Mutant], first: dict[tuple[str, str], str]
) -> tuple[list[str | None], list[str]]:
    """For each mutant the test that noticed it, of those that can be tried without an import; and the slow tests.
    Exits where the tests fail by themselves."""

    def run() -> tuple[str, list[str | None], list[str]]:
        plugin = Warm(module, path_of(module), chosen, first)
        _pytest(tests_of(module), plugin)
        return plugin.fails, plugin.found, plugin.slow

    fails, found, slow = forked(run, 86_400)  # type: ignore[misc]
    if len(found) != len(chosen):
        raise SystemExit(f"{module}: its tests fail without any fault ({fails}); mend them first.")
    return found, slow


def reasons() -> dict[tuple[str, str, str], str]:
    """Survivors that are known: (module, where, change) -> why no test can notice them, or need not."""
    listed = tomllib.loads(SURVIVORS.read_text())["survivor"] if SURVIVORS.exists() else []
    return {(one["module"], one["where"], one["change"]): one["reason"] for one in listed}


def _digest(module: str) -> str:
    """Of all sources of the packages below it and of the tests that try it."""
    from hashlib import sha256

    sources = [
        path for part in ("crypto", "link", "wire") for path in (ROOT / "src/meterseal" / part).glob("*.py")
    ]
    tried = [ROOT / one for one in tests_of(module)] + list((ROOT / "tests").glob("*/p*.py"))
    whole = sha256()
    for path in sorted([*sources, *tried, *Path(__file__).parent.glob("[mrsw]*.py")]):
        whole.update(path.read_bytes())
    return whole.hexdigest()


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
    found, slow = warm(module, chosen, first)
    whole = [*tests_of(module), *(f"--deselect={one}" for one in slow)]
    stages = [FIRST.get(module, whole[:4])] if quick else [FIRST.get(module, whole[:4]), whole, slow]
    for at, mutant in enumerate(chosen):
        if found[at] or (module, mutant.where, mutant.change) in known or (quick and found[at] == ""):
            continue
        if noticed(module, mutant.source, *stages):
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
