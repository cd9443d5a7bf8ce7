"""The fuzz targets' seeds pass through them, so that the targets themselves are known to work without atheris."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent.parent / "fuzz"
SEEDS = [(name, seed) for name in ("wire", "models") for seed in sorted((FUZZ / "seeds" / name).iterdir())]


@pytest.mark.parametrize(("target", "least"), [("wire", 12), ("models", 10)])
def test_seeds_cover_what_the_targets_take(target: str, least: int) -> None:
    assert len([seed for name, seed in SEEDS if name == target]) >= least


@pytest.mark.parametrize(("target", "seed"), SEEDS, ids=lambda part: getattr(part, "name", part))
def test_seed(target: str, seed: Path) -> None:
    spec = importlib.util.spec_from_file_location(f"fuzz_{target}", FUZZ / f"fuzz_{target}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    loaded.one_input(seed.read_bytes())
