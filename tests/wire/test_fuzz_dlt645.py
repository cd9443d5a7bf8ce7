"""The seeds of the fuzz target of roles and columns pass through it, so that it is known to work without atheris."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

TARGET = Path(__file__).parent.parent / "fuzz" / "fuzz_roles.py"
SEEDS = sorted((TARGET.parent / "seeds" / "roles").iterdir())


@pytest.fixture(scope="module")
def target() -> object:
    spec = importlib.util.spec_from_file_location("fuzz_roles", TARGET)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_seeds_cover_both_protocols_both_editions_and_columns() -> None:
    assert {seed.stem.rpartition("-")[2] for seed in SEEDS} >= {"645", "1997", "188", "captured"}
    assert {seed.read_bytes()[0] for seed in SEEDS} == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_a_seed_and_its_neighbours_are_answered(target: object, seed: Path) -> None:
    raw = seed.read_bytes()
    dice = random.Random(seed.name)
    for _ in range(30):
        changed = bytearray(raw)
        changed[dice.randrange(1, len(raw))] = dice.randrange(256)
        target.one_input(bytes(changed))  # type: ignore[attr-defined]
        target.one_input(raw[: dice.randrange(len(raw) + 1)])  # type: ignore[attr-defined]
    target.one_input(raw)  # type: ignore[attr-defined]
