"""Beside the path: all rules over sealed segments of simulated load profiles, beside a plain scan of the same segments.

A run fails when one channel in a hundred, judged reading by reading by the slow oracle, is judged otherwise.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from meterseal.control import open_control
from meterseal.control.sealing import KeyRing
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import EngineError
from meterseal.kit import series
from meterseal.kit.bench.timing import Case, Limit, Primitive, Watch
from meterseal.kit.oracle import flagged
from meterseal.mdms.columns import Columns
from meterseal.mdms.store import compact as compactor
from meterseal.mdms.store.manifest import Checkpoint, Manifest
from meterseal.mdms.store.recent import Part
from meterseal.mdms.store.rows import ROW, Key, Rows, Words
from meterseal.mdms.store.store import Store
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.judge import defaults, judge
from meterseal.mdms.vee.rules import RULES, Rule
from meterseal.model import MAIN, MEDIA, Medium

READINGS = 5_000_000
DAYS = 365
AT_ONCE = 2_000_000
"""Readings that are in memory while the segments are written."""
UNIT = "readings per CPU second"
GOAL = 10_000_000.0
ALONE = ("gap", "spike", "register-sum")
_EVER = 1 << 60


class Ground:
    """A store of sealed segments of so many readings, in a directory of its own."""

    def __init__(self, root: Path, readings: int, seed: int = 188) -> None:
        (root / "segments").mkdir()
        keys = KeyRing({1: SymmetricKey.from_bytes(bytes(range(16)), "bench key")}, 1)
        self._manifest = Manifest(open_control(root / "control.db"), keys)
        self._sequence, _, _ = self._manifest.open()
        self.store = Store(root / "segments", keys, Words())
        self.readings = 0
        waiting: list[Rows] = []
        for text, profile in series.repeated(seed, readings, DAYS):
            waiting.append(self._rows(text, profile))
            self.readings += len(profile.end_at)
            if sum(len(rows) for rows in waiting) >= AT_ONCE:
                self._seal(waiting)
        self._seal(waiting)

    def _rows(self, text: str, profile: series.Profile) -> Rows:
        words = self.store.words
        rows = np.zeros(len(profile.end_at), ROW)
        point = words.code(text)
        words.medium[point] = profile.medium
        rows["point"], rows["channel"], rows["version"] = point, MAIN, 1
        rows["end_at"], rows["register"], rows["exponent"] = profile.end_at, profile.register, -2
        rows["unit"] = words.code("m3" if profile.medium in ("water", "gas") else "kWh")
        rows["profile"], rows["recorded_at"] = True, profile.end_at + 5_000
        return rows

    def _seal(self, waiting: list[Rows]) -> None:
        if not waiting:
            return
        rows = np.concatenate(waiting)
        waiting.clear()
        self._sequence += 1
        rows["batch"] = self._sequence
        self.store.recent.add_part(Part(rows))
        compactor.compact(self.store, self._manifest, Checkpoint(self._sequence, {}, {}, 0))

    def scan(self) -> Iterator[tuple[Medium, list[Key], Columns]]:
        """Every block of every medium."""
        for medium in MEDIA:
            for keys, columns in self.store.scan(medium, 0, _EVER):
                yield medium, keys, columns


def cases(closing: ExitStack, seconds: float, readings: int = READINGS) -> list[Case]:
    """The rows: a plain scan, all rules with and without it, and three rules alone."""
    ground = Ground(Path(closing.enter_context(tempfile.TemporaryDirectory())), readings)
    check(ground)
    return cases_over(ground)


def cases_over(ground: Ground) -> list[Case]:
    """The rows over readings that were checked."""
    count = len(RULES)
    scan = Limit(
        "a plain scan of the same sealed segments",
        ((1, Primitive("scan", lambda times: _scan(ground, times))),),
    )

    def plain(watch: Watch) -> int:
        with watch:
            _scan(ground, 1)
        return ground.readings

    def both(watch: Watch) -> int:
        with watch:
            for medium, _, columns in ground.scan():
                judge(columns, Context(medium=medium))
        return ground.readings

    return [
        Case(name="plain scan of the sealed segments", unit=UNIT, work=plain),
        Case(
            name=f"scan and all {count} rules",
            unit=UNIT,
            work=both,
            limit=Limit(scan.name, scan.parts, units=ground.readings),
        ),
        Case(name=f"all {count} rules, without the scan", unit=UNIT, work=_rules(ground, RULES), goal=GOAL),
        Case(
            name=f"all {count} rules, rules x readings",
            unit="rules x readings per CPU second",
            work=_applied(ground),
        ),
        *(
            Case(name=f"{name} alone", unit=UNIT, work=_rules(ground, {name: RULES[name]}), goal=GOAL)
            for name in ALONE
        ),
    ]


def _scan(ground: Ground, times: int) -> None:
    for _ in range(times):
        for _block in ground.scan():
            pass


def _rules(ground: Ground, rules: Mapping[str, Rule]) -> Callable[[Watch], int]:
    def work(watch: Watch) -> int:
        for medium, _, columns in ground.scan():
            with watch:
                judge(columns, Context(medium=medium), defaults, rules)
        return ground.readings

    return work


def _applied(ground: Ground) -> Callable[[Watch], int]:
    def work(watch: Watch) -> int:
        done = 0
        for medium, _, columns in ground.scan():
            with watch:
                judge(columns, Context(medium=medium))
            done += len(columns.end_at) * sum(medium in rule.media for rule in RULES.values())
        return done

    return work


def check(ground: Ground) -> int:
    """Hold one channel in a hundred against the oracle; returns how many objections both made.

    EngineError `bench.vee` when a rule and its oracle differ, or when readings are missing.
    """
    seen = agreed = 0
    for medium, _, columns in ground.scan():
        context = Context(medium=medium)
        said = judge(columns, context)
        seen += len(columns.end_at)
        chosen = range(0, columns.channels, 100)
        found: dict[tuple[str, int], list[int]] = {}
        for one in said.objections:
            found.setdefault((one.rule, one.channel), []).append(one.row - int(columns.starts[one.channel]))
        for channel in chosen:
            part = columns.part(channel, channel + 1)
            for name, rule in RULES.items():
                wanted = flagged(name, part, context, defaults(rule, context)) if medium in rule.media else []
                if found.get((name, channel), []) != wanted:
                    raise EngineError("bench.vee", f"The rule {name} says something else than its oracle.")
                agreed += len(wanted)
        if said.failures:
            raise EngineError("bench.vee", f"The rule {said.failures[0].rule} failed.")
    if seen != ground.readings:
        raise EngineError("bench.vee", f"The scan brought {seen} readings of {ground.readings}.")
    return agreed
