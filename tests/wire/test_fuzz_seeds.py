"""The fuzz target's seeds pass through it, so that the target itself is known to work without atheris."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TARGET = Path(__file__).parent.parent / "fuzz" / "fuzz_wire.py"
SEEDS = sorted((TARGET.parent / "seeds" / "wire").iterdir())


def test_seeds_cover_both_protocols_and_faults() -> None:
    assert len(SEEDS) >= 12


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_seed(seed: Path) -> None:
    spec = importlib.util.spec_from_file_location("fuzz_wire", TARGET)
    assert spec is not None
    assert spec.loader is not None
    target = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(target)
    target.one_input(seed.read_bytes())
