"""A whole system whose vaults' keys lie in a PKCS#11 token: SoftHSM, set up as an operator would."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Up, meterseal
from tests.security.test_keystore import LIBRARY

pytestmark = pytest.mark.skipif(
    not LIBRARY or shutil.which("softhsm2-util") is None or importlib.util.find_spec("pkcs11") is None,
    reason="no SoftHSM here: apt-get install softhsm2, and pip install 'meterseal[pkcs11]'",
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a fresh token, and its PIN in a file."""
    (tmp_path / "tokens").mkdir()
    settings = tmp_path / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(settings))
    made = ["--init-token", "--free", "--label", "street", "--so-pin", "12345678", "--pin", "24682468"]
    subprocess.run(["softhsm2-util", *made], check=True, capture_output=True, env=os.environ)
    (tmp_path / "pin").write_text("24682468\n")
    return f"pkcs11:token=street?module-path={LIBRARY}&pin-source=file:{tmp_path / 'pin'}"


def test_a_system_on_a_token_starts_again_with_it_and_not_without(place: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    up = Up(data, "--lab", "--keystore", place)
    issued = meterseal("device", "issue", "--data", data, "--lab", "--suite", "2", "--json")
    assert issued.status == 0, issued
    assert up.end() == 0
    facts = meterseal("keys", "store", "--data", data, "--json")
    assert (facts.document["kind"], facts.document["native"]) == ("pkcs11", ["AES-256-GCM"])
    assert "never leave it" in meterseal("keys", "store", "--data", data).out
    again = Up(data)
    listed = meterseal("keys", "list", "--data", data, "--json")
    assert listed.document["modules"] == 1
    assert again.end() == 0
    other = meterseal("up", "--data", data, "--keystore", "software", "--json")
    assert (other.status, other.error()) == (1, "app.keystore")
    shutil.rmtree(tmp_path / "tokens")
    (tmp_path / "tokens").mkdir()
    gone = meterseal("keys", "store", "--data", data, "--json")
    assert (gone.status, gone.error()) == (1, "security.token-missing")


def test_a_key_store_that_is_none_is_wrong_use(tmp_path: Path) -> None:
    answer = meterseal("up", "--data", tmp_path / "data", "--keystore", "cupboard", "--json")
    assert (answer.status, answer.error()) == (2, "use.keystore")
    assert not (tmp_path / "data").exists()
