"""The settings at rest: what is sealed, what is refused, and an older file that is sealed at the next start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meterseal.app import config
from meterseal.app.config import Layout, Settings
from meterseal.app.settings import open_settings, save
from meterseal.errors import LocalError, TrustError
from meterseal.mesh.authority import Passwords, TlsDirectory

NOW = 1_750_000_000_000
PORTS = {
    "web": 48_213,
    "headend_tcp": 48_214,
    "headend_tls": 48_215,
    "platforms": 48_218,
    "keys": 48_216,
    "platform": 48_217,
}
KEPT = Settings(lab=True, host="127.0.13.37", ports=PORTS, keystore="pkcs11:token=vault-of-ours")
CLEAR = {
    "format": 1,
    "project": KEPT.project,
    "lab": True,
    "host": KEPT.host,
    "ports": PORTS,
    "keyring": False,
    "keystore": KEPT.keystore,
}
"""The same settings as format 1 wrote them."""
PLANTED = [b"127.0.13.37", bytes((127, 0, 13, 37)), b"vault-of-ours", b"headend_tls"]
PLANTED += [str(port).encode() for port in PORTS.values()]
PLANTED += [b"\xcd" + port.to_bytes(2) for port in PORTS.values()]


def system(root: Path, passphrase: bytes = b"correct horse battery") -> tuple[Layout, Passwords]:
    layout = Layout(root)
    config.make_directories(layout)
    return layout, TlsDirectory(layout.tls).provision(passphrase, NOW, ())


def refused(layout: Layout, passwords: Passwords) -> TrustError | LocalError:
    """It does not open, and stays as it is."""
    before = layout.settings_file.read_bytes()
    with pytest.raises((TrustError, LocalError)) as error:
        open_settings(layout, passwords)
    assert layout.settings_file.read_bytes() == before
    return error.value


def test_hosts_ports_and_the_place_of_keys_are_not_in_the_file(tmp_path: Path) -> None:
    """HM-8.3.3.b, HM-8.4.3.b."""
    layout, passwords = system(tmp_path / "data")
    save(layout, KEPT, passwords)
    raw = layout.settings_file.read_bytes()
    assert [mark for mark in PLANTED if mark in raw] == []
    sealed = config.load(layout).sealed
    assert [mark for mark in PLANTED if mark in sealed] == []
    assert set(json.loads(raw)) == {"format", "project", "lab", "keyring", "sealed"}
    assert open_settings(layout, passwords) == KEPT


def test_another_passphrase_is_said_to_be_that(tmp_path: Path) -> None:
    layout, passwords = system(tmp_path / "data")
    save(layout, KEPT, passwords)
    error = refused(layout, TlsDirectory(layout.tls).open(b"another passphrase"))
    assert error.code == "mesh.passphrase"
    assert "passphrase" in error.message


def test_every_changed_byte_of_the_sealed_part_is_refused(tmp_path: Path) -> None:
    layout, passwords = system(tmp_path / "data")
    save(layout, KEPT, passwords)
    whole = json.loads(layout.settings_file.read_bytes())
    sealed = whole["sealed"]
    for at in range(0, len(sealed) - 4, 5):
        other = "A" if sealed[at] != "A" else "B"
        layout.settings_file.write_text(
            json.dumps({**whole, "sealed": sealed[:at] + other + sealed[at + 1 :]})
        )
        assert refused(layout, passwords).code == "app.settings-sealed"
    layout.settings_file.write_text(json.dumps({**whole, "sealed": ""}))
    assert refused(layout, passwords).code == "app.settings"


@pytest.mark.parametrize("change", [{"lab": False}, {"keyring": True}, {"project": "00" * 16}])
def test_what_is_stated_in_clear_cannot_be_changed_by_hand(tmp_path: Path, change: dict[str, Any]) -> None:
    layout, passwords = system(tmp_path / "data")
    save(layout, KEPT, passwords)
    whole = json.loads(layout.settings_file.read_bytes())
    layout.settings_file.write_text(json.dumps(whole | change))
    error = refused(layout, passwords)
    assert error.code == "app.settings-sealed"
    assert "Restore both from one backup" in error.message


def test_a_file_moved_from_another_directory_is_refused_even_under_the_same_passphrase(
    tmp_path: Path,
) -> None:
    one, first = system(tmp_path / "one")
    other, second = system(tmp_path / "other")
    save(one, KEPT, first)
    save(other, KEPT, second)
    other.settings_file.write_bytes(one.settings_file.read_bytes())
    assert refused(other, second).code == "app.settings-sealed"


def test_a_sealed_part_under_another_format_is_refused(tmp_path: Path) -> None:
    layout, passwords = system(tmp_path / "data")
    save(layout, KEPT, passwords)
    whole = json.loads(layout.settings_file.read_bytes())
    for version, code in ((0, "app.settings"), (1, "app.settings"), (config.FORMAT + 1, "app.newer")):
        layout.settings_file.write_text(json.dumps({**whole, "format": version}))
        assert refused(layout, passwords).code == code


@pytest.mark.parametrize("wrong", [{"ports": [1]}, {"host": 7}, {"ports": {"web": "x"}}])
def test_an_older_file_that_is_damaged_is_refused_in_a_sentence(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    layout, passwords = system(tmp_path / "data")
    layout.settings_file.write_text(json.dumps(CLEAR | wrong))
    error = refused(layout, passwords)
    assert error.code == "app.settings"
    assert "Restore it from a backup" in error.message


def test_an_older_file_is_read_and_stays_until_the_next_start_saves(tmp_path: Path) -> None:
    layout, passwords = system(tmp_path / "data")
    layout.settings_file.write_text(json.dumps(CLEAR))
    assert config.load(layout).lab
    assert open_settings(layout, passwords) == KEPT
    assert json.loads(layout.settings_file.read_text()) == CLEAR
    save(layout, open_settings(layout, passwords), passwords)
    assert open_settings(layout, passwords) == KEPT
    for path in layout.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [mark for mark in PLANTED[:4] if mark in content] == [], path


_KILLED = """
import os, sys
from pathlib import Path
from meterseal.app.config import Layout
from meterseal.app.settings import open_settings, save
from meterseal.mesh.authority import Passwords

layout, passwords, left = Layout(Path(sys.argv[1])), Passwords(bytes(32)), int(sys.argv[2])
settings = open_settings(layout, passwords)

def counted(module, name):
    real = getattr(module, name)
    def call(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        if name == "write":  # little at a time: many cuts of the content are among the moments
            arguments = (arguments[0], bytes(arguments[1])[:40])
        return real(*arguments, **named)
    setattr(module, name, call)

for name in ("open", "write", "fsync", "close", "replace", "rename"):
    counted(os, name)
save(layout, settings, passwords)
"""


def test_a_kill_between_any_two_writes_of_the_upgrade_leaves_one_whole_file(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    config.make_directories(layout)
    passwords = Passwords(bytes(32))
    formats = []
    for moment in range(40):
        layout.settings_file.write_text(json.dumps(CLEAR))
        code = subprocess.run(
            [sys.executable, "-c", _KILLED, str(layout.root), str(moment)], env=os.environ, check=False
        ).returncode
        assert code in (0, -9)
        assert open_settings(layout, passwords) == KEPT
        formats.append(config.load(layout).format)
        leftover = layout.settings_file.with_name("meterseal.json.new")
        if leftover.exists():
            content = leftover.read_bytes()
            assert [mark for mark in PLANTED if mark in content] == []
        save(layout, open_settings(layout, passwords), passwords)  # the next start goes on
        assert config.load(layout).format == config.FORMAT
        assert not leftover.exists()
        if code == 0:
            break
    assert formats == sorted(formats)
    assert set(formats) == {1, config.FORMAT}
    assert len(formats) > 8
    assert code == 0
