"""Files that officers, backups and first starts read and write: each way in which one is refused, and what stays then."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import EngineError, LocalError, MetersealError, TrustError
from meterseal.security import backup, officerfile, offline, pki, platformfile
from meterseal.security.backup import Manifest, Proof
from meterseal.security.passphrase import Stretching, fresh_stretching, key_encryption_key
from meterseal.security.service import provision
from meterseal.security.vault import Vault

from .conftest import NOW, PASSPHRASE, PROJECT

WORDS = b"the words of a backup"
PROOF = Proof(name="a", wrapped=b"w", digest=b"d")
MANIFEST = Manifest(
    format=1, at=NOW, project_id=PROJECT, modules=0, entries=0, head=b"", revision=0, session=PROOF,
    data_key=PROOF, files=("keys/a", "keys/b"),
)  # fmt: skip


def refused(kind: type[MetersealError], code: str, act: Callable[[], object], says: str = "") -> None:
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.code == code
    assert says in caught.value.message


# --- backups: under the right passphrase, so that only what is inside is wrong --------------------------------

Entry = tuple[str, bytes, bytes]


def entry(name: str, content: bytes = b"content", kind: bytes = tarfile.REGTYPE) -> Entry:
    return name, content, kind


def first(**change: object) -> Entry:
    return entry(backup.MANIFEST, msgspec.json.encode(msgspec.structs.replace(MANIFEST, **change)))


def sealed(path: Path, entries: list[Entry], stretching: Stretching | None = None, tail: bytes = b"") -> Path:
    """A backup with these entries."""
    stretching = stretching or fresh_stretching()
    with path.open("wb") as file:
        out = backup._Sealing(file, key_encryption_key(WORDS, "backup", stretching), stretching)
        with tarfile.open(fileobj=out, mode="w|") as tar:  # type: ignore[call-overload]
            for name, content, kind in entries:
                made = tarfile.TarInfo(name)
                made.type, made.size = kind, len(content) if kind == tarfile.REGTYPE else 0
                made.linkname = "/etc/passwd"
                tar.addfile(made, io.BytesIO(content))
        out.write(tail)
        out.finish()
    return path


def unpacked(tmp_path: Path, entries: list[Entry]) -> Manifest:
    (tmp_path / "out").mkdir()
    return backup.unpack(sealed(tmp_path / "a.backup", entries), tmp_path / "out", WORDS)


def test_a_backup_gives_its_files_back(tmp_path: Path) -> None:
    assert unpacked(tmp_path, [first(), entry("keys/a"), entry("keys/b", b"other")]) == MANIFEST
    assert (tmp_path / "out" / "keys" / "b").read_bytes() == b"other"


@pytest.mark.parametrize(
    "entries",
    [
        [first(), entry("../keys/a")],
        [first(), entry("/keys/a")],
        [first(), entry("keys/.a")],
        [first(), entry("keys/a", kind=tarfile.SYMTYPE)],
        [first(), entry("keys/a", kind=tarfile.LNKTYPE)],
        [first(), entry("keys/a", kind=tarfile.DIRTYPE)],
        [first(), entry("keys/a", kind=tarfile.FIFOTYPE)],
        [entry("keys/a"), first()],
        [],
        [first(), entry("keys/a")],
        [first(), entry("keys/b"), entry("keys/a")],
        [first(), entry("keys/a"), entry("keys/b"), entry("keys/c")],
        [entry(backup.MANIFEST, b"{}")],
        [entry(backup.MANIFEST, b"no json")],
    ],
    ids=[
        "a name that climbs", "a whole path", "a hidden name", "a link", "a hard link", "a directory", "a pipe",
        "no manifest first", "nothing", "a file too few", "another order", "a file too many", "an empty manifest",
        "no manifest",
    ],
)  # fmt: skip
def test_a_backup_with_other_contents_than_it_says_is_refused(tmp_path: Path, entries: list[Entry]) -> None:
    refused(TrustError, "security.backup", lambda: unpacked(tmp_path, entries))
    assert not (tmp_path / "keys" / "a").exists()


def test_a_backup_of_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    refused(LocalError, "security.newer", lambda: unpacked(tmp_path, [first(format=2)]))


@pytest.mark.parametrize("change", [{"passes": 65}, {"memory": (1 << 22) + 1}, {"lanes": 65}])
def test_a_backup_that_would_have_its_reader_work_for_hours_is_refused_at_once(
    tmp_path: Path, change: dict[str, int]
) -> None:
    header = msgspec.msgpack.encode(msgspec.structs.replace(fresh_stretching(), **change))
    path = tmp_path / "a.backup"
    path.write_bytes(b"MSKEYS01" + len(header).to_bytes(4) + header)
    refused(TrustError, "security.backup", lambda: backup.unpack(path, tmp_path, WORDS), "does not open")


def test_a_backup_that_holds_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.backup"
    with path.open("wb") as file:
        stretching = fresh_stretching()
        out = backup._Sealing(file, key_encryption_key(WORDS, "backup", stretching), stretching)
        out.write(b"no archive" * 200)
        out.finish()
    refused(TrustError, "security.backup", lambda: backup.unpack(path, tmp_path, WORDS), "does not open")


def test_a_backup_that_is_not_there_or_has_no_place_to_go_is_named(tmp_path: Path) -> None:
    refused(LocalError, "security.file", lambda: backup.unpack(tmp_path / "none", tmp_path, WORDS), "none")
    made = sealed(tmp_path / "a.backup", [first(), entry("keys/a"), entry("keys/b")])
    (tmp_path / "keys").write_bytes(b"a file where a directory has to be")
    refused(LocalError, "security.file", lambda: backup.unpack(made, tmp_path, WORDS), "cannot be used")


def test_a_backup_goes_to_no_file_that_is_there_and_to_no_missing_directory(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_bytes(b"another backup")
    refused(LocalError, "security.file", lambda: backup.pack(tmp_path, there, MANIFEST, WORDS), "already")
    assert there.read_bytes() == b"another backup"
    missing = tmp_path / "missing" / "a.backup"
    refused(EngineError, "security.disk", lambda: backup.pack(tmp_path, missing, MANIFEST, WORDS))


def test_a_backup_that_breaks_off_leaves_no_half_of_itself(tmp_path: Path) -> None:
    target = tmp_path / "a.backup"
    refused(EngineError, "security.disk", lambda: backup.pack(tmp_path, target, MANIFEST, WORDS))
    assert not target.exists()


# --- files of officers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("officer", "roles"),
    [("", ("keys",)), ("An", ("keys",)), ("a" * 33, ("keys",)), ("an", ()), ("an", ("keys", "king"))],
    ids=["no id", "a capital", "too long", "no role", "no such role"],
)
def test_an_officer_has_an_id_and_roles_that_there_are(officer: str, roles: tuple[str, ...]) -> None:
    refused(LocalError, "security.officer", lambda: officerfile.make(officer, roles, PASSPHRASE))


def test_an_officers_key_opens_to_its_own_passphrase_alone() -> None:
    file, card = officerfile.make("an", ("keys",), PASSPHRASE)
    assert officerfile.unlock(file, PASSPHRASE).public_point == card.point
    for changed in (
        msgspec.structs.replace(file, officer="bo"),
        msgspec.structs.replace(file, point=bytes(65)),
        msgspec.structs.replace(file, sealed=file.sealed[:-1]),
    ):
        refused(TrustError, "security.passphrase", lambda c=changed: officerfile.unlock(c, PASSPHRASE))  # type: ignore[misc]
    refused(TrustError, "security.passphrase", lambda: officerfile.unlock(file, PASSPHRASE + b"x"))


def test_an_officers_file_is_neither_written_over_nor_into_a_missing_directory(tmp_path: Path) -> None:
    file, _ = officerfile.make("an", ("keys",), PASSPHRASE)
    path = tmp_path / "an.key"
    officerfile.write(path, file)
    assert path.stat().st_mode & 0o777 == 0o600
    refused(LocalError, "security.file", lambda: officerfile.write(path, file), "already")
    refused(LocalError, "security.file", lambda: officerfile.write(tmp_path / "no" / "an", file), "written")
    assert officerfile.read(path, officerfile.KeyFile) == file


def test_what_is_no_file_of_an_officer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "an.key"
    refused(
        LocalError, "security.file", lambda: officerfile.read(path, officerfile.KeyFile), "cannot be read"
    )
    for content in (b"", b"{}", b"\xff\xfe", b"[1]"):
        path.write_bytes(content)
        refused(
            LocalError, "security.file", lambda: officerfile.read(path, officerfile.KeyFile), "no file of"
        )


# --- first starts and vaults ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_project_id_of_another_length_starts_nothing(tmp_path: Path, size: int) -> None:
    act = lambda: provision(tmp_path / "keys", PASSPHRASE, bytes(size), NOW)  # noqa: E731
    refused(LocalError, "security.project", act, "16 bytes")
    assert list(tmp_path.iterdir()) == []


def test_a_first_start_over_something_else_leaves_it_alone(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    directory.mkdir()
    (directory / "notes").write_bytes(b"somebody's")
    act = lambda: provision(directory, PASSPHRASE, PROJECT, NOW)  # noqa: E731
    refused(EngineError, "security.disk", act)
    assert [one.name for one in directory.iterdir()] == ["notes"]


def test_a_vault_whose_record_holds_another_key_than_it_names_does_not_open(tmp_path: Path) -> None:
    """Somebody who has the passphrase put it there; the check value beside it says so."""
    path = tmp_path / "keys.vault"
    made = Vault.create(path, "keys", PASSPHRASE)
    made.add("DIAK", 1, SymmetricKey.generate("DIAK"))
    entry_of = made._entries["DIAK", 1]
    wrong = msgspec.structs.replace(entry_of.record(), check_value=b"\0\0\0")
    made._file.put("DIAK", 1, wrong, new=False)
    made.close()
    refused(TrustError, "security.key-record", lambda: Vault.open(path, "keys", PASSPHRASE), "DIAK version 1")


def test_a_key_that_was_withdrawn_or_is_none_of_sm4_is_not_shown_for_comparison(vault: Vault) -> None:
    vault.add("DIAK", 2, SymmetricKey.generate("DIAK"))
    assert vault.peek("DIAK", 1).check_value() == vault.facts("DIAK", 1).check_value
    for state in ("retiring", "withdrawn", "destroyed"):
        vault.set_state("DIAK", 1, state)
        if state == "retiring":
            vault.peek("DIAK", 1)
        else:
            refused(TrustError, "security.key-state", lambda: vault.peek("DIAK", 1), state)


def test_an_offline_root_without_its_certificate_does_not_open(tmp_path: Path) -> None:
    provision(tmp_path / "keys", PASSPHRASE, PROJECT, NOW)
    directory = tmp_path / "keys" / "offline"
    assert offline.open_single(directory, PASSPHRASE)
    (directory / offline._CERTIFICATE).rename(tmp_path / "elsewhere")
    refused(LocalError, "security.offline", lambda: offline.open_single(directory, PASSPHRASE), "is missing")


def test_an_offline_root_that_cannot_be_written_is_named_and_stays(tmp_path: Path) -> None:
    refused(EngineError, "security.disk", lambda: offline.replace(tmp_path / "none", b"a root"))


# --- the offline root and a platform's own files ------------------------------------------------------------


def test_the_lab_defaults_root_file_opens_under_no_quorum(tmp_path: Path) -> None:
    provision(tmp_path / "keys", PASSPHRASE, PROJECT, NOW)
    key = SymmetricKey.generate("a quorum's key")
    refused(
        TrustError, "security.root-file", lambda: offline.unseal(tmp_path / "keys" / "offline", key), "quorum"
    )


def test_a_quorums_file_that_is_not_there_is_not_put_in_force(tmp_path: Path) -> None:
    (tmp_path / offline.FILE).write_bytes(b"the one in force")
    refused(
        EngineError,
        "security.disk",
        lambda: offline.put_in_force(tmp_path, offline.DEALT),
        "Nothing was changed",
    )
    assert (tmp_path / offline.FILE).read_bytes() == b"the one in force"


def test_a_root_that_cannot_be_written_stops_the_first_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pki, "OFFLINE", "no/such/folder")
    refused(
        EngineError,
        "security.disk",
        lambda: provision(tmp_path / "keys", PASSPHRASE, PROJECT, NOW),
        "Free space",
    )
    assert not (tmp_path / "keys").exists()


def test_a_platforms_key_is_never_written_over_another(tmp_path: Path) -> None:
    path = tmp_path / "billing.tls.key"
    platformfile.put(path, b"the first")
    refused(LocalError, "security.file", lambda: platformfile.put(path, b"another"), "choose another name")
    assert path.read_bytes() == b"the first"
    platformfile.put(path, b"a newer certificate", replace=True)
    assert path.read_bytes() == b"a newer certificate"


@pytest.mark.parametrize("replace", [False, True])
def test_a_platforms_file_in_a_folder_that_is_not_there(tmp_path: Path, replace: bool) -> None:
    missing = tmp_path / "none" / "billing.crt"
    refused(
        LocalError,
        "security.file",
        lambda: platformfile.put(missing, b"a certificate", replace=replace),
        "cannot be written",
    )


@pytest.mark.parametrize(
    ("name", "purposes"),
    [
        ("", ("trail",)),
        ("Billing", ("trail",)),
        ("a" * 33, ("trail",)),
        ("billing", ()),
        ("billing", ("storage",)),
    ],
    ids=["no name", "capitals", "too long", "no purpose", "a purpose of ours"],
)
def test_a_platform_that_could_not_be_enrolled_gets_no_keys(
    tmp_path: Path, name: str, purposes: tuple[str, ...]
) -> None:
    def apply() -> object:
        told = {"project_id": PROJECT, "contact": "desk", "request_id": bytes(16), "not_after": NOW}
        return platformfile.apply(tmp_path, name, WORDS, purposes=purposes, **told)  # type: ignore[arg-type]

    refused(LocalError, "security.platform", apply, "nothing was written")
    assert not list(tmp_path.iterdir())
