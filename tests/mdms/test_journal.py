"""The journal keeps what was answered, cuts what was torn, and says loudly what was changed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meterseal.control.sealing import KeyRing
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import DataError, EngineError, TrustError
from meterseal.mdms.store.faults import HEADER
from meterseal.mdms.store.journal import Journal
from tests.mdms.fleet import Page, keys

ENTRIES = [b"first", b"second entry", b"third " * 9]


def written(directory: Path, entries: list[bytes] = ENTRIES) -> Path:
    journal = Journal(directory, "st-1", keys(), Page())
    assert list(journal.replay(0)) == []
    for entry in entries:
        journal.append(entry)
    journal.close()
    (path,) = directory.iterdir()
    return path


def replayed(directory: Path, after: int = 0, store_id: str = "st-1") -> list[tuple[int, bytes]]:
    return list(Journal(directory, store_id, keys(), Page()).replay(after))


def test_gives_back_what_was_appended_from_any_position(tmp_path: Path) -> None:
    written(tmp_path)
    expected = list(enumerate(ENTRIES, 1))
    for after in range(4):
        assert replayed(tmp_path, after) == expected[after:]


def test_nothing_can_be_read_on_the_disk(tmp_path: Path) -> None:
    content = written(tmp_path).read_bytes()
    assert not any(entry in content for entry in ENTRIES)


def test_goes_on_after_replay_in_a_new_file(tmp_path: Path) -> None:
    written(tmp_path)
    journal = Journal(tmp_path, "st-1", keys(), Page())
    assert len(list(journal.replay(0))) == 3
    assert journal.append(b"fourth") == 4
    journal.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert replayed(tmp_path)[-1] == (4, b"fourth")


def test_a_torn_last_frame_is_cut_wherever_it_was_torn(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    whole = len(content) - HEADER.size - 28 - len(ENTRIES[-1])
    for end in range(whole, len(content)):
        path.write_bytes(content[:end])
        assert [entry for _, entry in replayed(tmp_path)] == ENTRIES[:2]
        assert path.stat().st_size == whole
        journal = Journal(tmp_path, "st-1", keys(), Page())
        list(journal.replay(0))
        assert journal.append(b"again") == 3
        journal.close()
        assert replayed(tmp_path)[-1] == (3, b"again")
        for extra in sorted(tmp_path.iterdir())[1:]:
            extra.unlink()


def test_sectors_that_were_never_written_are_a_torn_frame(tmp_path: Path) -> None:
    path = written(tmp_path, [b"kept", os.urandom(3000)])
    content = path.read_bytes()
    path.write_bytes(content[:1024] + bytes(512) + content[1536:])
    assert replayed(tmp_path) == [(1, b"kept")]


def test_every_changed_bit_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << (at % 8)
        path.write_bytes(changed)
        with pytest.raises((DataError, TrustError)) as caught:
            replayed(tmp_path)
        assert caught.value.code in ("mdms.journal-damaged", "sealing.key"), at
        assert path.read_bytes() == changed


def test_a_journal_of_another_store_does_not_open(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(DataError, match="damaged"):
        replayed(tmp_path, store_id="st-2")


def test_frames_cannot_change_places(tmp_path: Path) -> None:
    path = written(tmp_path, [b"aaaa", b"bbbb"])
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[half:] + content[:half])
    with pytest.raises(DataError):
        replayed(tmp_path)


def test_a_missing_file_in_the_middle_is_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "st-1", keys(), Page())
    list(journal.replay(0))
    for entry in ENTRIES:
        journal.append(entry)
        journal.rotate()
    sorted(tmp_path.iterdir())[1].unlink()
    with pytest.raises(DataError, match="misses entry 2"):
        replayed(tmp_path)


def test_forgets_only_files_whose_every_entry_is_elsewhere(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "st-1", keys(), Page())
    list(journal.replay(0))
    for number in range(6):
        journal.append(b"%d" % number)
        if number % 2:
            journal.rotate()
    journal.forget(3)
    assert [sequence for sequence, _ in replayed(tmp_path, 2)] == [3, 4, 5, 6]
    journal.forget(4)
    assert [sequence for sequence, _ in replayed(tmp_path, 4)] == [5, 6]
    journal.forget(6)
    assert list(tmp_path.iterdir()) == []
    assert journal.append(b"next") == 7


def test_new_entries_take_the_new_key_and_old_ones_stay_readable(tmp_path: Path) -> None:
    written(tmp_path)
    old = SymmetricKey.from_bytes(bytes(range(16)), "old")
    both = KeyRing({1: old, 2: SymmetricKey.generate("new")}, 2)
    journal = Journal(tmp_path, "st-1", both, Page())
    list(journal.replay(0))
    journal.append(b"under the new key")
    journal.close()
    assert [entry for _, entry in Journal(tmp_path, "st-1", both, Page()).replay(0)] == [
        *ENTRIES,
        b"under the new key",
    ]
    with pytest.raises(TrustError) as caught:
        replayed(tmp_path)
    assert caught.value.code == "sealing.key"


FULL = """
import resource, signal, sys
from pathlib import Path
from meterseal.errors import EngineError
from meterseal.mdms.store.journal import Journal
from tests.mdms.fleet import Page, keys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path(sys.argv[1]), "st-1", keys(), Page())
list(journal.replay(0))
journal.append(b"kept")
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    journal.append(bytes(5000))
except EngineError as error:
    print(error.code)
journal.append(b"small enough")
"""


def test_a_full_disk_keeps_what_was_there_and_nothing_of_the_rest(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": f"{root / 'src'}:{root}"},
    )
    assert done.stdout.split() == ["mdms.full"]
    assert replayed(tmp_path) == [(1, b"kept"), (2, b"small enough")]


def test_after_a_failed_sync_nothing_is_answered_until_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "st-1", keys(), Page())
    list(journal.replay(0))
    journal.append(b"kept")

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        with pytest.raises(EngineError):
            journal.append(b"unknown")
    with pytest.raises(EngineError) as caught:
        journal.append(b"never")
    assert caught.value.code == "mdms.disk"
    journal.close()
    assert replayed(tmp_path)[0] == (1, b"kept")


@pytest.mark.parametrize("between", ["nothing", "rotate", "another failure", "cut fails"])
def test_an_entry_whose_sync_failed_is_cut_off_before_the_next_and_the_journal_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    journal = Journal(tmp_path, "st-1", keys(), Page())
    assert list(journal.replay(0)) == []
    for entry in ENTRIES:
        journal.append(entry)

    def fails(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        with pytest.raises(EngineError) as refused:
            journal.append(b"refused")
        assert refused.value.code == "mdms.full"
    if between == "rotate":
        journal.rotate()
    if between == "another failure":
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fails)
            for _ in range(3):
                with pytest.raises(EngineError):
                    journal.append(b"refused as well")
    if between == "cut fails":
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fails)
            with pytest.raises(EngineError):
                journal.append(b"refused as well")
    assert journal.append(b"fourth") == 4
    journal.rotate()
    assert journal.append(b"fifth") == 5
    journal.close()
    assert replayed(tmp_path) == list(enumerate([*ENTRIES, b"fourth", b"fifth"], 1))


@pytest.mark.parametrize("kind", [errno.EIO, errno.ENOSPC])
def test_a_process_that_ends_with_a_failed_sync_leaves_a_journal_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    journal = Journal(tmp_path, "st-1", keys(), Page())
    assert list(journal.replay(0)) == []
    journal.append(b"first")

    def fails(_: int) -> None:
        raise OSError(kind, os.strerror(kind))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        with pytest.raises(EngineError):
            journal.append(b"nobody knows")
    journal.close()
    again = Journal(tmp_path, "st-1", keys(), Page())
    found = list(again.replay(0))
    assert found[0] == (1, b"first")
    assert again.append(b"next") == len(found) + 1
    again.close()
    assert replayed(tmp_path)[-1] == (len(found) + 1, b"next")


def test_a_new_file_whose_name_is_not_durable_holds_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "st-1", keys(), Page())
    assert list(journal.replay(0)) == []
    synced: list[bool] = []
    fsync = os.fsync

    def once(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path)
        if len(synced) == 1:
            raise OSError(errno.ENOSPC, "no space")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", once)
    with pytest.raises(EngineError):
        journal.append(b"refused")
    assert journal.append(b"first") == 1
    assert synced == [True, True]
    journal.close()
    assert replayed(tmp_path) == [(1, b"first")]
