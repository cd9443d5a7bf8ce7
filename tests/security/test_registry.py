"""The registry: what it keeps of a module, its file's older formats, and every refusal of it by name."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterseal.crypto.certificates import parse
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError, TrustError
from meterseal.security.pki import Pki, establish
from meterseal.security.proof import TABLE
from meterseal.security.registry import FORMAT, Issued, Module, Registry
from meterseal.security.registry_format import SCHEMA
from meterseal.security.vault import Vault

from .conftest import DAY, NOW, PASSPHRASE, PROJECT

FORMAT_1 = """
CREATE TABLE setting(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE module(device_id BLOB NOT NULL, module_id BLOB NOT NULL UNIQUE, suite INTEGER NOT NULL,
  key_version INTEGER NOT NULL, project_id BLOB NOT NULL, point BLOB NOT NULL, leaf BLOB NOT NULL,
  state TEXT NOT NULL, lab INTEGER NOT NULL, enrolled_at INTEGER NOT NULL, PRIMARY KEY(device_id, module_id))
  WITHOUT ROWID;
CREATE UNIQUE INDEX module_in_service ON module(device_id) WHERE state = 'active';
CREATE TABLE certificate(issuer TEXT NOT NULL, serial TEXT NOT NULL, der BLOB NOT NULL,
  issued_at INTEGER NOT NULL, revoked_at INTEGER, PRIMARY KEY(issuer, serial)) WITHOUT ROWID;
PRAGMA user_version=1;
"""
"""The tables as the first release made them, word for word but for spaces."""


def ids(number: int) -> tuple[bytes, bytes]:
    return bytes.fromhex("10783300") + number.to_bytes(4), bytes.fromhex("01020304") + number.to_bytes(4)


class Made:
    """A registry with CAs, and modules to put into it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "registry.db"
        self.vault = Vault.create(directory / "ca.vault", "ca", PASSPHRASE)
        self.registry = Registry.create(self.path, {}, self.vault)
        establish(directory, self.vault, self.registry, PASSPHRASE, PROJECT, NOW)
        self.pki = Pki(self.vault, self.registry, PROJECT)
        self.point = Sm2PrivateKey.generate().public_point

    def module(self, number: int, suite: int = 1, at: int = NOW) -> Module:
        device_id, module_id = ids(number)
        leaf = self.pki.issue_device(device_id, module_id, self.point, at) if suite == 1 else b""
        return Module(
            device_id=device_id,
            module_id=module_id,
            suite=suite,
            key_version=1,
            project_id=PROJECT,
            point=self.point,
            leaf=leaf,
            state="active",
            lab=False,
            enrolled_at=at,
        )

    def enrol(self, *modules: Module) -> list[Module]:
        issued = [Issued("device", 1, module.leaf, NOW) for module in modules if module.leaf]
        self.registry.enrol(modules, issued)
        return [found for module in modules if (found := self.registry.module(module.module_id))]

    def reopened(self) -> Registry:
        self.registry.close()
        self.registry = Registry.open(self.path, self.vault)
        return self.registry

    def both(self) -> Iterator[Registry]:
        """The registry as it is in memory, then as its file says."""
        yield self.registry
        yield self.reopened()


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def fresh_vault(directory: Path, name: str = "keys.vault") -> Vault:
    """A vault that has never seen a registry."""
    return Vault.create(directory / name, "keys", PASSPHRASE)


def old_file(made: Made, path: Path) -> list[Module]:
    """A file of format 1 with three modules (suites 1, 2, 1), the last two withdrawn; what they were."""
    modules = [made.module(1), made.module(2, 2), made.module(3)]
    connection = sqlite3.connect(path)
    connection.executescript(FORMAT_1)
    for number, module in enumerate(modules):
        connection.execute(
            "INSERT INTO module VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                module.device_id,
                module.module_id,
                module.suite,
                module.key_version,
                module.project_id,
                module.point,
                module.leaf,
                "withdrawn" if number else "active",
                0,
                module.enrolled_at,
            ),
        )
        if module.leaf:
            serial = str(parse(module.leaf).serial)
            revoked = NOW + DAY if number else None
            connection.execute(
                "INSERT INTO certificate VALUES ('device',?,?,?,?)", (serial, module.leaf, NOW, revoked)
            )
    connection.execute("INSERT INTO setting VALUES ('project', ?)", (PROJECT,))
    connection.commit()
    connection.close()
    path.chmod(0o600)
    return modules


# --- formats


def test_a_file_of_format_1_opens_upgraded_for_good(made: Made, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    modules = old_file(made, old)
    vault = fresh_vault(tmp_path)
    for _ in range(2):  # upgraded, then as it is
        registry = Registry.open(old, vault)
        first, second, third = (registry.module(module.module_id) for module in modules)
        assert first is not None
        assert second is not None
        assert third is not None
        assert (first.policy, first.profile, first.renewed, first.authority) == (2, "meterseal-1", b"", 1)
        assert first.until == parse(first.leaf).until
        assert (second.until, second.authority) == (0, 0)
        assert registry.of_device(first.device_id) == first
        assert [one.module_id for one in registry.gone_since(0, 9)] == [second.module_id, third.module_id]
        assert registry.gone_since(0, 9)[1].at == NOW + DAY
        assert registry.revoked("device") == [(parse(third.leaf).serial, NOW + DAY)]
        assert registry.is_revoked("device", parse(third.leaf).serial)
        assert registry.setting("project") == PROJECT
        registry.close()
    assert sqlite3.connect(old).execute("PRAGMA user_version").fetchone() == (FORMAT,)


def test_an_upgraded_file_has_the_tables_of_a_new_one(made: Made, tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    old_file(made, old)
    Registry.open(old, fresh_vault(tmp_path)).close()
    Registry.create(new, {}, fresh_vault(tmp_path, "other.vault")).close()

    def columns(path: Path) -> dict[str, set[tuple[str, str, int]]]:
        connection = sqlite3.connect(path)
        names = [n for (n,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            name: {(row[1], row[2], row[3]) for row in connection.execute(f"PRAGMA table_info({name})")}
            for name in names
        }

    assert columns(old) == columns(new)
    assert all(f" {name}(" in " ".join(SCHEMA.split()) for name in columns(new) if name != TABLE)


def test_an_upgrade_that_was_killed_leaves_one_format_or_the_other(made: Made, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from meterseal.security.registry import Registry;"
        "from meterseal.security.vault import Vault;"
        "vault = Vault.open(Path(sys.argv[2]), 'keys', sys.argv[3].encode());"
        "print('go', flush=True); Registry.open(Path(sys.argv[1]), vault)"
    )
    for number in range(4):
        path = tmp_path / f"old{number}.db"
        modules = old_file(made, path)
        fresh_vault(tmp_path, f"keys{number}.vault").close()
        words = (str(path), str(tmp_path / f"keys{number}.vault"), PASSPHRASE.decode())
        child = subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.004 * number)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        registry = Registry.open(path, Vault.open(tmp_path / f"keys{number}.vault", "keys", PASSPHRASE))
        assert registry.module(modules[0].module_id) is not None
        assert registry.count() == 1
        registry.close()


def test_a_file_of_a_newer_version_is_refused_and_kept(made: Made) -> None:
    made.registry.close()
    connection = sqlite3.connect(made.path)
    connection.execute(f"PRAGMA user_version={FORMAT + 1}")
    connection.close()
    with pytest.raises(LocalError) as caught:
        Registry.open(made.path, made.vault)
    assert caught.value.code == "security.newer"
    assert sqlite3.connect(made.path).execute("PRAGMA user_version").fetchone() == (FORMAT + 1,)


# --- what is kept


def test_policy_and_profile_are_cipher_only_and_ours_unless_set(made: Made) -> None:
    (module,) = made.enrol(made.module(1))
    assert (module.policy, module.profile) == (2, "meterseal-1")
    made.registry.set_policy(module, 1, "other-2")
    again = made.reopened().module(module.module_id)
    assert again is not None
    assert (again.policy, again.profile) == (1, "other-2")
    assert made.registry.of_device(module.device_id) == again


def test_a_key_version_never_falls_and_never_stays(made: Made) -> None:
    (module,) = made.enrol(made.module(1))
    module = made.registry.set_key_version(module, 3)
    for version in (3, 2, 0):
        with pytest.raises(LocalError) as caught:
            made.registry.set_key_version(module, version)
        assert caught.value.code == "security.version"
    found = made.reopened().module(module.module_id)
    assert found is not None
    assert found.key_version == 3


def test_a_module_that_is_enrolled_is_bound_for_good(made: Made) -> None:
    (module,) = made.enrol(made.module(1))
    with pytest.raises(TrustError) as caught:
        made.registry.check_free(ids(2)[0], module.module_id)
    assert caught.value.code == "security.module-bound"
    with pytest.raises(TrustError) as caught:
        made.registry.check_free(module.device_id, ids(2)[1])
    assert caught.value.code == "security.device-bound"
    made.registry.check_free(*ids(2))


def test_a_setting_that_is_missing_is_named(made: Made) -> None:
    with pytest.raises(LocalError) as caught:
        made.registry.setting("colour")
    assert caught.value.code == "security.setting"
    assert "colour" in caught.value.message


def test_a_serial_that_was_never_issued_cannot_be_revoked(made: Made) -> None:
    with pytest.raises(LocalError) as caught:
        made.registry.revoke("platform", 7, NOW)
    assert caught.value.code == "security.serial"
    assert not made.registry.is_revoked("platform", 7)


def test_the_same_serial_is_never_recorded_twice(made: Made) -> None:
    module = made.module(1)
    made.enrol(module)
    with pytest.raises(Exception, match=r"damaged|disk") as caught:
        made.registry.renew(module, Issued("device", 1, module.leaf, NOW))
    assert type(caught.value).__name__ == "EngineError"
    found = made.reopened().module(module.module_id)
    assert found is not None
    assert found.renewed == b""


def test_a_withdrawal_revokes_every_certificate_that_the_module_ever_got(made: Made) -> None:
    (module,) = made.enrol(made.module(1))
    module = made.pki.renew_device(module, NOW + DAY)
    assert made.registry.shown(module.module_id, module.renewed)
    shown = made.registry.module(module.module_id)
    assert shown is not None
    waiting = made.pki.renew_device(shown, NOW + 15 * 365 * DAY)
    serials = {parse(der).serial for der in (module.leaf, module.renewed, waiting.renewed)}
    assert len(serials) == 3
    made.registry.withdraw([waiting], NOW + 2 * DAY)
    for registry in made.both():
        assert {serial for serial, _ in registry.revoked("device")} == serials
        assert all(registry.is_revoked("device", serial) for serial in serials)
        assert registry.of_device(module.device_id) is None


def test_withdrawals_are_numbered_in_their_order_even_within_one_millisecond(made: Made) -> None:
    modules = made.enrol(made.module(1), made.module(2, 2), made.module(3))
    for module in (modules[1], modules[0], modules[2]):
        made.registry.withdraw([module], NOW)
    for registry in made.both():
        gone = registry.gone_since(0, 2)
        assert [one.module_id for one in gone] == [modules[1].module_id, modules[0].module_id]
        assert [one.module_id for one in registry.gone_since(gone[-1].sequence, 9)] == [modules[2].module_id]
        assert registry.gone_since(3, 9) == []


def test_a_renewed_certificate_is_in_force_only_once_the_module_has_shown_it(made: Made) -> None:
    (module,) = made.enrol(made.module(1))
    waiting = made.pki.renew_device(module, NOW + DAY)
    assert (waiting.leaf, waiting.until) == (module.leaf, module.until)
    assert not made.registry.shown(module.module_id, module.leaf)
    assert not made.registry.shown(module.module_id, os.urandom(40))
    assert not made.registry.shown(ids(9)[1], waiting.renewed)
    assert made.registry.shown(module.module_id, waiting.renewed)
    for registry in made.both():
        found = registry.module(module.module_id)
        assert found is not None
        assert (found.leaf, found.renewed) == (waiting.renewed, b"")
        assert found.until == parse(waiting.renewed).until > module.until


def test_certificates_that_end_soon_are_listed_soonest_first(made: Made) -> None:
    late, soon, other = made.enrol(made.module(1, at=NOW + 9 * DAY), made.module(2), made.module(3, 2))
    assert made.registry.ending(soon.until + 1, 9) == (1, [soon])
    assert made.registry.ending(late.until + 1, 9) == (2, [soon, late])
    assert made.registry.ending(late.until + 1, 1) == (2, [soon])
    made.registry.withdraw([soon], NOW)
    assert made.registry.ending(late.until + 1, 9) == (1, [late])
    assert other.until == 0


def test_a_device_is_found_by_its_address_whatever_its_type_byte(made: Made) -> None:
    (module,) = made.enrol(made.module(1))
    assert made.registry.of_address(module.device_id[1:]) == module
    assert made.registry.of_address(bytes(7)) is None
    made.registry.withdraw([module], NOW)
    found = made.registry.of_address(module.device_id[1:])
    assert found is not None
    assert found.state == "withdrawn"
