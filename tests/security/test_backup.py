"""A backup brings the service back, shows nothing, and lets nothing that was used be used again."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from msgspec import structs

from meterseal.crypto.expose import expose
from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.security import orders as o
from meterseal.security.backup import MANIFEST
from meterseal.security.restoring import NUMBERS_AHEAD, drill, restore

from .conftest import DAY, NOW, PASSPHRASE, Bench, Module
from .people import HOUR, Person, fields, founded, operator, ordered
from .test_commanding import order, signed

SECRET = b"the backup's own passphrase"


async def made(bench: Bench, tmp_path: Path) -> Path:
    file = tmp_path / "keys.backup"
    await operator(bench).backup(str(file), SECRET)
    return file


async def test_a_restored_service_goes_on_where_the_backup_was(bench: Bench, tmp_path: Path) -> None:
    module = await bench.module(1)
    _, reply = await bench.shake(module)
    made_key = await bench.platform.data_key("journal", "j")
    file = await made(bench, tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    await bench.module(2)
    bench.service.close()
    restore(file, tmp_path / "new", SECRET, PASSPHRASE, NOW)
    back = Bench(tmp_path / "new" / "keys", bench.clock)
    assert (await back.headend.unwrap(reply.session_id, reply.device_id, reply.wrapped)) == reply.keys
    assert (await back.platform.unwrap_data_key("journal", "j", made_key.wrapped)).key == made_key.key
    await back.shake(module)
    assert (await back.platform.usage()).modules == 1  # what came after the backup is not in it
    assert (await back.platform.verify_audit()).ok
    for path in (tmp_path / "new").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


async def test_a_drill_proves_the_backup_and_leaves_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    await bench.module(1)
    file = await made(bench, tmp_path)
    report = await drill(file, SECRET, PASSPHRASE, NOW)
    assert report.ok
    assert report.modules == 1
    await bench.module(2)  # the running service was not touched
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_backups_under_load_show_one_moment(bench: Bench, tmp_path: Path) -> None:
    module = await bench.module(1)
    people = await founded(bench)
    running = True

    async def load() -> None:
        number = 0
        while running:
            await bench.shake(module)
            await bench.platform.authorise_command(*signed(order(module), people[0]))
            number += 1

    loading = asyncio.create_task(load())
    for number in range(4):
        file = tmp_path / f"{number}.backup"
        await operator(bench).backup(str(file), SECRET)
        assert (await drill(file, SECRET, PASSPHRASE, NOW)).ok
    running = False
    await loading


async def test_a_changed_cut_or_mixed_backup_is_refused(bench: Bench, tmp_path: Path) -> None:
    file = await made(bench, tmp_path)
    raw = file.read_bytes()
    second = tmp_path / "second.backup"
    await operator(bench).backup(str(second), SECRET)
    other = second.read_bytes()
    cases = [raw[:-1], raw[:60], b"", raw + b"\x00", raw[: len(raw) // 2] + other[len(raw) // 2 :]]
    for at in (0, 9, 20, 40, len(raw) // 2, len(raw) - 1):
        bent = bytearray(raw)
        bent[at] ^= 1
        cases.append(bytes(bent))
    for number, content in enumerate(cases):
        wrong = tmp_path / f"wrong{number}"
        wrong.write_bytes(content)
        with pytest.raises(TrustError) as caught:
            restore(wrong, tmp_path / "never", SECRET, PASSPHRASE, NOW)
        assert caught.value.code == "security.backup"
        assert not (tmp_path / "never" / "keys").exists()
    with pytest.raises(TrustError):
        restore(file, tmp_path / "never", b"another passphrase", PASSPHRASE, NOW)
    with pytest.raises(TrustError) as caught:
        restore(file, tmp_path / "never", SECRET, b"another passphrase", NOW)
    assert caught.value.code == "security.passphrase"
    restore(file, tmp_path / "never", SECRET, PASSPHRASE, NOW)


async def test_a_stolen_backup_shows_nothing(bench: Bench, tmp_path: Path) -> None:
    module = await bench.module(1)
    file = await made(bench, tmp_path)
    raw = file.read_bytes()
    room = bench.service.room
    hidden = [expose(room.keys.symmetric(one.id)) for one in room.keys.all_facts() if one.id != "TRANSPORT"]
    for secret in (
        *hidden,
        module.device_id,
        module.module_id,
        b"SQLite format 3",
        b"DIAK",
        PASSPHRASE,
        SECRET,
    ):
        assert secret not in raw
        assert secret.hex().encode() not in raw
    assert MANIFEST.encode() not in raw


async def test_nothing_is_written_over(bench: Bench, tmp_path: Path) -> None:
    file = await made(bench, tmp_path)
    for path in (str(file), "keys.backup", str(bench.directory / "inside")):
        with pytest.raises(LocalError) as caught:
            await operator(bench).backup(path, SECRET)
        assert caught.value.code == "security.file"
    with pytest.raises(LocalError) as kept:
        restore(file, bench.directory.parent, SECRET, PASSPHRASE, NOW)
    assert kept.value.code == "security.file"
    assert not list(bench.directory.glob(".backup-*"))


async def test_a_request_used_after_the_backup_is_not_used_again(bench: Bench, tmp_path: Path) -> None:
    """A restore is a roll-back: what was spent since is unknown, so only requests that must be newer are taken."""
    module = await bench.module(1)
    people = await founded(bench)
    early = await bench.platform.authorise_command(*signed(order(module), people[0]))
    file = await made(bench, tmp_path)
    asked = signed(order(module), people[0])
    late = await bench.platform.authorise_command(*asked)
    change = o.OfficerChange(**fields(), add=(Person("cy").card,))  # type: ignore[arg-type]
    used = ordered("officers", change, people)
    await bench.platform.submit(used)
    bench.service.close()
    restore(file, tmp_path / "new", SECRET, PASSPHRASE, NOW)
    bench.clock.now = NOW + HOUR // 2
    back = Bench(tmp_path / "new" / "keys", bench.clock)
    for replay in (back.platform.authorise_command(*asked), back.platform.submit(used)):
        with pytest.raises(TrustError) as caught:
            await replay
        assert caught.value.code == "security.restored"
    epoch = await operator(back).epoch()
    assert len(epoch) == 8
    quick = structs.replace(order(module), request_id=o.fresh_request_id(epoch))
    first = await back.platform.authorise_command(*signed(quick, people[0]))
    assert first.number == early.number + NUMBERS_AHEAD + 1 > late.number
    forged = structs.replace(order(module), request_id=bytes(8) + quick.request_id[8:])
    with pytest.raises(TrustError) as other:
        await back.platform.authorise_command(*signed(forged, people[0]))
    assert other.value.code == "security.restored"
    back.service.close()
    restore(file, tmp_path / "again", SECRET, PASSPHRASE, NOW + HOUR // 2)
    twice = Bench(tmp_path / "again" / "keys", bench.clock)
    with pytest.raises(
        TrustError
    ) as replayed:  # what was signed after the first restore, after the second one
        await twice.platform.authorise_command(*signed(quick, people[0]))
    assert replayed.value.code == "security.restored"
    twice.service.close()
    back = Bench(tmp_path / "new" / "keys", bench.clock)
    ends = NOW + 7 * DAY + 1000
    fresh = await back.platform.authorise_command(*signed(order(module, not_after=ends), people[0]))
    assert fresh.number == first.number + 1
    second = Module(7)
    await back.platform.accept_head()
    await back.platform.personalise(second.device_id, second.module_id, 1, second.key.public_point)
    given = await back.platform.authorise_command(*signed(order(second, not_after=ends), people[0]))
    assert given.number == NUMBERS_AHEAD + 1


async def test_an_audit_log_put_back_is_seen_by_whoever_kept_its_head(bench: Bench, tmp_path: Path) -> None:
    """The whole directory rolled back: the head that the platform kept is not in the log any more, or not the same."""
    await bench.module(1)
    copy = tmp_path / "older"
    bench.service.close()
    shutil.copytree(bench.directory, copy)
    now = bench.restarted_from_closed()
    await now.module(2)
    kept = await now.platform.audit_head()
    assert (await now.platform.audit_head(kept.sequence)).known == kept.hash
    now.service.close()
    back = Bench(copy, bench.clock)
    assert (await back.platform.verify_audit()).ok  # by itself it cannot know
    assert (await back.platform.audit_head(kept.sequence)).known == b""
    for number in range(3, 6):
        await back.module(number)
    assert (await back.platform.audit_head(kept.sequence)).known not in (b"", kept.hash)


async def test_random_bytes_are_no_backup(tmp_path: Path) -> None:
    for number, size in enumerate((0, 7, 8, 100, 5000)):
        file = tmp_path / f"{number}"
        file.write_bytes(os.urandom(size))
        with pytest.raises(TrustError):
            restore(file, tmp_path / "never", SECRET, PASSPHRASE, NOW)


async def test_a_folder_that_cannot_be_copied_is_named_with_what_is_wrong(
    bench: Bench, tmp_path: Path
) -> None:
    (bench.directory / "offline" / "share.note").symlink_to(tmp_path / "carried away")
    with pytest.raises(EngineError) as caught:
        await operator(bench).backup(str(tmp_path / "keys.backup"), SECRET)
    assert caught.value.code == "security.disk"
    assert "No such file" in caught.value.message
    assert "None" not in caught.value.message
    assert not (tmp_path / "keys.backup").exists()
    assert not list(bench.directory.glob(".backup-*"))
