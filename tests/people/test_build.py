"""The package build: fresh stamps, lock without hosts, exact versions, assets that call nobody."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src/meterseal/people/portal/static"


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lock_file_names_no_host_and_pins_every_package() -> None:
    text = (ROOT / "web/package-lock.json").read_text()
    assert "resolved" not in text
    assert not re.search(r'"https?://(?!opencollective|github|tidelift)', text)
    wanted = json.loads((ROOT / "web/package.json").read_text())
    for version in (wanted["dependencies"] | wanted["devDependencies"]).values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    locked = json.loads(text)["packages"]
    assert all("integrity" in entry for name, entry in locked.items() if name)


def test_the_stamp_follows_every_source_and_ignores_node_modules(hook: ModuleType, tmp_path: Path) -> None:
    web = tmp_path / "web"
    (web / "src").mkdir(parents=True)
    (web / "src/app.js").write_text("1")
    first = hook.web_digest(web)
    (web / "node_modules/x").mkdir(parents=True)
    (web / "node_modules/x/y.js").write_text("2")
    assert hook.web_digest(web) == first
    (web / "src/app.js").write_text("3")
    changed = hook.web_digest(web)
    assert changed != first
    (web / "src/app.js").rename(web / "src/other.js")
    assert hook.web_digest(web) not in (first, changed)
    assert not hook.fresh(tmp_path)
    stamp = tmp_path / hook.STATIC / ".stamp"
    stamp.parent.mkdir(parents=True)
    stamp.write_text(hook.web_digest(web) + "\n")
    assert hook.fresh(tmp_path)


def test_without_node_the_build_asks_for_the_wheel_and_with_fresh_files_for_nothing(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(
        "hatchling", reason="the build backend is not here; pip install hatchling runs this test"
    )
    (tmp_path / "web").mkdir()
    (tmp_path / "web/build.mjs").write_text("")
    made = hook.PortalBuildHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel")
    monkeypatch.setattr(hook.shutil, "which", lambda name: None)
    assert hook.NODE_WHEEL in made.dependencies()
    stamp = tmp_path / hook.STATIC / ".stamp"
    stamp.parent.mkdir(parents=True)
    stamp.write_text(hook.web_digest(tmp_path / "web"))
    assert hook.NODE_WHEEL not in made.dependencies()


def test_built_assets_call_no_other_host() -> None:
    named = {"http://www.w3.org", "https://www.w3.org"}  # names of vocabularies, never fetched
    for path in (*STATIC.glob("*.js"), *STATIC.glob("*.css")):
        hosts = {match.group(0) for match in re.finditer(r"https?://[\w.-]+", path.read_text())}
        assert hosts <= named, path.name
