"""`meterseal keys platform` from end to end: application, two signatures, certificate, calls from outside, withdrawal."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Answer, Run, Up

DOCUMENT = Path(__file__).parents[2] / "docs" / "platforms.md"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("platform") / "data")
    yield up
    assert up.end() == 0


def phrase(folder: Path, name: str) -> Path:
    path = folder / f"{name}.phrase"
    if not path.exists():
        path.write_text(f"the passphrase of {name}")
        path.chmod(0o600)
    return path


def example(folder: Path, host: str, port: int) -> subprocess.CompletedProcess[str]:
    """The client of the documentation, as it stands there."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    arguments = [str(folder), "billing", str(phrase(folder, "billing")), host, str(port)]
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_person_enrols_a_platform_that_then_calls_until_it_is_withdrawn(
    system: Up, inside: Run, tmp_path: Path
) -> None:
    where = ("--data", system.data, "--json")
    for officer in ("an", "bo"):
        made = inside(
            "keys", "officer", "new", officer, "--role", "enrol", "--to", tmp_path,
            "--passphrase-file", phrase(tmp_path, officer), "--json",
        )  # fmt: skip
        assert made.status == 0
    assert inside("keys", "officer", "add", tmp_path / "an.card", tmp_path / "bo.card", *where).status == 0

    def sign(request: Path, officer: str) -> Answer:
        return inside(
            "keys", "platform", "sign", request, "--key", tmp_path / f"{officer}.key",
            "--passphrase-file", phrase(tmp_path, officer), "--json",
        )  # fmt: skip

    applied = inside(
        "keys", "platform", "request", "billing", "--purpose", "trail", "--purpose", "modules",
        "--contact", "night desk", "--to", tmp_path, "--passphrase-file", phrase(tmp_path, "billing"), *where,
    )  # fmt: skip
    request = tmp_path / "billing.request"
    assert applied.document["request"] == str(request)
    for kept in ("billing.key", "billing.tls.key"):
        assert stat.S_IMODE((tmp_path / kept).stat().st_mode) == 0o600
    assert b"ENCRYPTED PRIVATE KEY" in (tmp_path / "billing.tls.key").read_bytes()
    early = inside("keys", "platform", "certificate", "billing", "--to", tmp_path, *where)
    assert (early.status, early.error()) == (1, "security.platform")
    assert sign(request, "an").document["says"]["caller"] == "billing"
    alone = inside("keys", "platform", "enrol", request, *where)
    assert alone.error() == "security.two-persons"
    assert sign(request, "bo").document["signed"] == ["an", "bo"]
    assert inside("keys", "platform", "enrol", request, *where).document["officers"] == ["an", "bo"]
    given = inside("keys", "platform", "certificate", "billing", "--to", tmp_path, *where).document
    called = example(tmp_path, given["host"], given["port"])
    assert called.returncode == 0, called.stderr
    assert called.stdout.splitlines()[1] == "security.platform-project"
    (listed,) = [
        one
        for one in inside("keys", "platform", "list", *where).document["platforms"]
        if one["caller"] == "platform:billing"
    ]
    assert listed["calls"] == {"enrolled": 1, "trail": 1}
    assert "night desk" not in inside("keys", "platform", "list", "--data", system.data).out
    again = example(tmp_path, given["host"], given["port"])  # under the certificate that it fetched itself
    assert again.returncode == 0, again.stderr

    lent = inside("keys", "platform", "sessions", "billing", *where)
    assert lent.document == {"count": 0, "until": 0, "sessions": []}
    assert "No module" in inside("keys", "platform", "sessions", "billing", "--data", system.data).out
    assert inside("keys", "platform", "sessions", "bliling", *where).error() == "security.platform"

    leaving = tmp_path / "leaving.request"
    asked = inside(
        "keys", "platform", "withdraw", "billing", "--reason", "contract ended", "--to", leaving, *where
    )
    assert asked.status == 0
    assert sign(leaving, "an").status == sign(leaving, "bo").status == 0
    assert inside("keys", "platform", "enrol", leaving, *where).status == 0
    refused = example(tmp_path, given["host"], given["port"])
    assert "platform:billing was withdrawn" in refused.stderr


def test_an_application_says_which_system_it_is_for(inside: Run, tmp_path: Path) -> None:
    common = ("keys", "platform", "request", "billing", "--purpose", "trail", "--contact", "desk", "--json",
              "--to", tmp_path, "--passphrase-file", phrase(tmp_path, "billing"))  # fmt: skip
    for wrong in ((), ("--project", "12"), ("--project", "no hex")):
        assert inside(*common, *wrong).error() == "use.project"
    assert not (tmp_path / "billing.key").exists()
    odd = inside(*common, "--project", "31" * 16, "--purpose", "everything")
    assert odd.error() == "security.platform"
    good = inside(*common, "--project", "31" * 16, "--epoch", "0a0b")
    assert good.document["says"]["request_id"].startswith("0a0b")
    assert inside(*common, "--project", "31" * 16).error() == "security.file"
