"""Deliveries in hostile hands: whatever is altered, dropped, swapped, repeated or put beside them is said in a sentence,
costs bounded memory, and whoever writes them loses nothing to a second writer, a kill, a full disk or a link."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader
from arro3.io import read_parquet, write_parquet

from meterseal.app.exporting import AskStore, ExportDesk
from meterseal.errors import DataError, LocalError
from meterseal.mdms.export import counting
from meterseal.mdms.export.handover import FIRST as BEFORE_ALL
from meterseal.mdms.export.handover import LOCK, MANIFEST, READINGS, State, deliver
from meterseal.mdms.export.handover import manifests as deliveries
from meterseal.mdms.export.receiving import check
from meterseal.mdms.export.rowkeys import MEMORY, RowKeys
from meterseal.mdms.export.schema import SCHEMA
from meterseal.mdms.export.series import Page, Since
from meterseal.mdms.service import Mdms
from tests.mdms.fleet import open_store
from tests.mdms.test_crash import die_at
from tests.mdms.test_handover import METERS, pages, take, write
from tests.small_disk import small_disk

Doing = Callable[[Path], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three deliveries of one store, and one of another, made once and copied."""
    import asyncio

    root = tmp_path_factory.mktemp("made")

    async def make(folder: str) -> None:
        mdms, engine = open_store(root / folder / "store", METERS)
        for day in range(3):
            await take(mdms, day)
            write(mdms, root / folder / "out")
        await mdms.close()
        engine.dispose()

    asyncio.run(make("one"))
    asyncio.run(make("other"))
    return root


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "one/out", tmp_path / "copy"))


def refusal(root: Path, manifest: str = "") -> tuple[str, str]:
    with pytest.raises(DataError) as refused:
        check(root, manifest)
    return refused.value.code, refused.value.message


def swap(root: Path, one: str, other: str) -> None:
    (root / one).rename(root / "away")
    (root / other).rename(root / one)
    (root / "away").rename(root / other)


def edited(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def forged(root: Path, **values: object) -> str:
    """Change the last manifest, as who writes there can; its SHA-256."""
    path = root / "000003" / MANIFEST
    edited(path, **values)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (lambda r: swap(r, "000002", "000003"), "Delivery 2 was changed"),
        (lambda r: shutil.copytree(r / "000002", r / "000004"), "Delivery 4 was changed"),
        (lambda r: shutil.copytree(r / "000002", r / "0000002"), "Delivery 2 was changed: it is here twice"),
        (lambda r: shutil.copytree(r / "000002", r / "000002 (1)"), "is none of the deliveries"),
        (lambda r: shutil.copytree(r / "000002", r / "2"), "is none of the deliveries"),
        (lambda r: shutil.copytree(r / "000002", r / "٠٠٠٠٠٤"), "is none of the deliveries"),
        (lambda r: shutil.copytree(r / "000002", r / "new\nline"), "is none of the deliveries"),
        (lambda r: shutil.rmtree(r / "000003") or (r / "000003").touch(), "cannot be read: Not a directory"),
        (lambda r: shutil.rmtree(r / "000003") or (r / "000003").symlink_to("no"), "cannot be read"),
        (lambda r: (r / "000003").rename(r / "900000000000000003"), "Delivery 3 is missing"),
        (lambda r: (r / "000002" / "more.parquet").write_bytes(b"x"), "more.parquet was not delivered"),
        (
            lambda r: (r / "000002" / ".DS_Store").write_bytes(b"x"),
            "was not delivered. Look who put it there",
        ),
        (lambda r: os.truncate(r / "000002" / READINGS, 1000), "is not the file that was delivered"),
        (lambda r: edited(r / "000003" / MANIFEST, removed=-5), "its manifest is none"),
        (lambda r: edited(r / "000003" / MANIFEST, store="st-1\x1b[2J"), "its manifest is none"),
        (lambda r: edited(r / "000003" / MANIFEST, readings=-1), "its manifest is none"),
        (lambda r: edited(r / "000003" / MANIFEST, readings=10**30), "its manifest is none"),
        (lambda r: edited(r / "000003" / MANIFEST, total="120"), "its manifest is none"),
        (lambda r: edited(r / "000003" / MANIFEST, through=True), "its manifest is none"),
        (lambda r: edited(r / "000003" / MANIFEST, store=None), "its manifest is none"),
    ],
)
def test_attack_deliveries_that_were_moved_repeated_or_added_to(copy: Path, do: Doing, says: str) -> None:
    do(copy)
    code, sentence = refusal(copy)
    assert code in ("handover.changed", "handover.missing")
    assert says in sentence


@pytest.mark.parametrize("name", [MANIFEST, READINGS])
@pytest.mark.parametrize("kind", ["pipe", "zero"])
def test_attack_a_pipe_or_a_device_in_the_place_of_a_file_keeps_nobody_waiting(
    copy: Path, name: str, kind: str
) -> None:
    path = copy / "000002" / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert refusal(copy) == ("handover.missing", f"{path} is no file.")


def test_attack_all_deliveries_of_another_system_are_told_apart_by_the_manifest_that_was_named(
    made: Path, copy: Path
) -> None:
    named = check(copy).manifest
    assert check(copy, named.upper()).deliveries == 3
    code, sentence = refusal(made / "other/out", named)
    assert (code, "not the one that you name" in sentence) == ("handover.changed", True)
    shutil.rmtree(copy / "000003")  # the end cut off holds together, and is seen by the name alone
    assert check(copy).deliveries == 2
    assert refusal(copy, named)[0] == "handover.changed"


def test_attack_one_delivery_of_another_system_among_ours(made: Path, copy: Path) -> None:
    shutil.rmtree(copy / "000003")
    shutil.copytree(made / "other/out/000003", copy / "000003")
    assert "Delivery 3 was changed: it does not follow" in refusal(copy)[1]
    forged(copy, previous=hashlib.sha256((copy / "000002" / MANIFEST).read_bytes()).hexdigest())
    assert "Delivery 3 was changed: it does not go on" in refusal(copy)[1]


def test_attack_readings_changed_with_their_manifest_are_seen_by_the_manifest_that_was_named(
    copy: Path,
) -> None:
    """Nothing in a delivery is signed: who can write the last one makes it fit, and only its digest says otherwise."""
    named = check(copy).manifest
    path = copy / "000003" / READINGS
    rows = list(read_parquet(path))
    out = io.BytesIO()
    write_parquet(RecordBatchReader.from_batches(SCHEMA, [_with_other_registers(one) for one in rows]), out)
    path.write_bytes(out.getvalue())
    assert refusal(copy)[0] == "handover.changed"
    forged(copy, sha256=hashlib.sha256(out.getvalue()).hexdigest())
    assert check(copy).distinct == METERS * 72
    assert refusal(copy, named)[0] == "handover.changed"


def _with_other_registers(batch: RecordBatch) -> RecordBatch:
    others = Array(np.zeros(batch.num_rows, np.int64))
    columns = [others if name == "register" else batch.column(name) for name in SCHEMA.names]
    return RecordBatch.from_arrays(columns, schema=SCHEMA)


@pytest.mark.parametrize("lacks", ["register", "quality"])
def test_attack_a_file_without_a_column_that_was_delivered_is_refused(copy: Path, lacks: str) -> None:
    path = copy / "000003" / READINGS
    rows = [one.select([name for name in SCHEMA.names if name != lacks]) for one in read_parquet(path)]
    out = io.BytesIO()
    write_parquet(RecordBatchReader.from_batches(rows[0].schema, rows), out)
    path.write_bytes(out.getvalue())
    forged(copy, sha256=hashlib.sha256(out.getvalue()).hexdigest())
    assert "no Parquet file of readings" in refusal(copy)[1]


MOST = """
import contextlib, pathlib, resource, sys
from meterseal.errors import DataError
from meterseal.mdms.export.rowkeys import RowKeys
with RowKeys() as keys, contextlib.suppress(DataError):
    list(keys.of(pathlib.Path(sys.argv[1]), 10**6))
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_attack_a_small_file_that_unfolds_to_gigabytes_costs_bounded_memory(
    copy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Twenty-four rows of one text of 32 MB are a few KB in the file, and cost 1.5 GB before."""
    one = next(iter(read_parquet(copy / "000003" / READINGS))).slice(0, 1)
    text = Array(["x" * (32 << 20)], type=DataType.string())
    columns = [text if name == "usage_point" else one.column(name) for name in SCHEMA.names]
    batch = RecordBatch.from_arrays(columns, schema=SCHEMA)
    out = io.BytesIO()
    batches = RecordBatchReader.from_batches(SCHEMA, [batch] * 24)
    write_parquet(batches, out, compression="zstd(3)")
    content = out.getvalue()
    assert len(content) < 100_000
    (copy / "000003" / READINGS).write_bytes(content)
    forged(copy, sha256=hashlib.sha256(content).hexdigest())
    with RowKeys() as keys:
        list(keys.of(copy / "000001" / READINGS, 10**6))
        with pytest.raises(DataError, match="no Parquet file"):
            list(keys.of(copy / "000003" / READINGS, 10**6))
    # In a process of its own: a child counts as large as the process that started it.
    command = [sys.executable, "-c", MOST, copy / "000003" / READINGS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) << 10 < MEMORY + (300 << 20)
    assert refusal(copy)[0] == "handover.changed"
    assert capfd.readouterr().err == ""


def test_attack_a_module_that_lies_among_deliveries_is_not_run(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who checked from within the directory of deliveries ran whatever program was delivered under our name."""
    (copy / "meterseal").mkdir()
    for name in ("meterseal/__init__.py", "numpy.py", "hashlib.py"):
        (copy / name).write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    monkeypatch.chdir(copy)
    assert check(Path()).deliveries == 3
    assert not (tmp_path / "run").exists()


def test_deliveries_from_before_two_columns_came_are_checked_still(copy: Path) -> None:
    path = copy / "000003" / READINGS
    rows = [one.select(SCHEMA.names[:-2]) for one in read_parquet(path)]
    write_parquet(RecordBatchReader.from_batches(rows[0].schema, rows), path)
    forged(copy, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert check(copy).distinct == METERS * 72


def test_keys_of_rows_are_as_many_as_rows_and_fall_into_all_shares(copy: Path) -> None:
    """Nobody outside can choose them: two processes give others of the same file."""
    path = copy / "000001" / READINGS
    found = []
    for _ in range(2):
        with RowKeys() as keys:
            found.append(np.concatenate(list(keys.of(path, 10**6))))
            assert np.array_equal(found[-1], np.concatenate(list(keys.of(path, 10**6))))
    assert [len(set(one.tolist())) for one in found] == [METERS * 24] * 2
    assert not set(found[0].tolist()) & set(found[1].tolist())
    assert len(set((found[0] >> np.uint64(56)).tolist())) > METERS * 12


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/false"])
def test_a_process_that_cannot_read_accuses_no_delivery(
    copy: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    monkeypatch.setattr("sys.executable", python)
    with pytest.raises(LocalError) as refused:
        check(copy)
    assert refused.value.code == "handover.process"


def test_what_is_counted_goes_to_the_disk_and_a_full_one_is_said(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_SPOOLED", 8)
    assert check(copy).distinct == METERS * 72
    monkeypatch.setattr("tempfile.tempdir", str(copy / "no such directory"))
    with pytest.raises(LocalError) as refused:
        check(copy)
    assert refused.value.code == "handover.room"


# --- writing ----------------------------------------------------------------------------------------


@pytest.fixture
async def mdms(tmp_path: Path) -> Mdms:
    opened, _ = open_store(tmp_path / "store", METERS)
    await take(opened, 0)
    return opened


async def test_two_writers_at_once_one_is_refused_and_the_delivery_is_whole(
    mdms: Mdms, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    store_id, sequence = mdms.position()
    inside, go_on = threading.Event(), threading.Event()

    def slow(entries: Since) -> Iterator[Page]:
        inside.set()
        assert go_on.wait(10)
        yield from pages(mdms)(entries)

    first = threading.Thread(target=lambda: deliver(root, store_id, sequence, slow, 1))
    first.start()
    assert inside.wait(10)
    with pytest.raises(LocalError) as refused:
        write(mdms, root)
    go_on.set()
    first.join(10)
    assert refused.value.code == "handover.busy"
    assert check(root).deliveries == 1
    write(mdms, root)
    assert check(root).deliveries == 2


async def test_a_store_that_was_put_back_does_not_go_on_where_it_had_been(mdms: Mdms, tmp_path: Path) -> None:
    """Its journal grew beyond the last delivery again, with other entries: nobody would have been told some of them."""
    root = tmp_path / "out"
    store_id, sequence = mdms.position()

    def at(leaves: int, there: str) -> Callable[[int], State]:
        return lambda asked: State(0, leaves, f"{leaves:064x}", there if asked else "")

    deliver(root, store_id, sequence, pages(mdms), 1, at(7, ""))
    deliver(root, store_id, sequence, pages(mdms), 1, at(9, f"{7:064x}"))
    for leaves, there in ((12, "f" * 64), (8, "")):
        with pytest.raises(LocalError) as refused:
            deliver(root, store_id, sequence, pages(mdms), 1, at(leaves, there))
        assert refused.value.code == "handover.other"
    held = check(root)
    assert (held.deliveries, held.leaves, held.root) == (2, 9, f"{9:064x}")


async def test_the_desk_tells_the_root_that_the_ledger_had_over_so_many_leaves(mdms: Mdms) -> None:
    desk = ExportDesk(mdms, None)  # type: ignore[arg-type]  # it finds meters, which nobody asks for
    before = await desk.store("operator", AskStore())
    assert (before.leaves, before.root_then) == (mdms.ledger.size, mdms.ledger.root(0).hex())
    await take(mdms, 1)
    after = await desk.store("operator", AskStore(leaves=before.leaves))
    assert after.leaves > before.leaves > 0
    assert after.root != after.root_then == before.root
    assert (await desk.store("operator", AskStore(leaves=after.leaves + 1))).root_then == ""
    assert (await desk.store("operator", AskStore(leaves=-1))).root_then == ""


async def test_readings_that_are_rolled_up_meanwhile_make_no_delivery_that_looks_incomplete(
    mdms: Mdms, tmp_path: Path
) -> None:
    store_id, sequence = mdms.position()
    removed = iter((0, 24))
    with pytest.raises(LocalError) as refused:
        deliver(tmp_path / "out", store_id, sequence, pages(mdms), 1, lambda _: State(next(removed)))
    assert refused.value.code == "handover.rolled"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK]


@pytest.mark.parametrize("kind", ["link", "file", "directory"])
async def test_attack_what_stands_in_the_place_of_a_delivery_in_the_making_is_not_followed(
    mdms: Mdms, tmp_path: Path, kind: str
) -> None:
    root, mine = tmp_path / "out", tmp_path / "mine"
    root.mkdir()
    mine.mkdir()
    (mine / "kept").write_text("kept")
    making = root / ".000001.new"
    if kind == "link":
        making.symlink_to(mine)
    elif kind == "file":
        making.write_text("x")
    else:
        making.mkdir()
        (making / READINGS).symlink_to(mine / "kept")
    write(mdms, root)
    assert check(root).deliveries == 1
    assert [path.read_text() for path in mine.iterdir()] == ["kept"]


async def test_attack_a_lock_that_is_a_link_or_a_pipe_is_a_sentence(mdms: Mdms, tmp_path: Path) -> None:
    root = tmp_path / "out"
    root.mkdir()
    (root / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalError) as refused:
        write(mdms, root)
    assert refused.value.code == "handover.file"
    assert not (tmp_path / "elsewhere").exists()


def killed(mdms: Mdms, root: Path, step: int) -> bool:
    """Write a delivery in a child that is killed at a step; whether it was."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            die_at(step)
            write(mdms, root)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


async def test_a_kill_at_each_step_leaves_a_whole_delivery_or_none(mdms: Mdms, tmp_path: Path) -> None:
    root = tmp_path / "out"
    write(mdms, root)
    await take(mdms, 1)
    step = 1
    while killed(mdms, root, step):
        assert len(list(deliveries(root))) in (1, 2)
        shutil.rmtree(root / "000002", ignore_errors=True)
        step += 1
    assert step > 5
    assert check(root).deliveries == 2
    assert {path.name for path in root.iterdir()} == {"000001", "000002", LOCK}


def sentence_of(mdms: Mdms, root: Path) -> str:
    """What is said when no delivery can be written; empty when one was."""
    try:
        write(mdms, root)
    except LocalError as error:
        return error.message
    return ""


async def test_a_full_disk_is_said_and_keeps_the_deliveries_before(mdms: Mdms, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 512) as disk:
        root = disk.path / "out"
        write(mdms, root)
        await take(mdms, 1)
        said = []
        for room in range(0, 20_480, 4096):
            disk.fill(room)
            said.append(sentence_of(mdms, root))
            left = {path.name for path in root.iterdir()}
            assert left == {"000001", LOCK} | (set() if said[-1] else {"000002"})
            shutil.rmtree(root / "000002", ignore_errors=True)
            disk.free()
        refused = list(filter(None, said))
        assert len(refused) > 2
        assert all("No space left" in one for one in refused)
        write(mdms, root)
        assert check(root).deliveries == 2
        assert json.loads((root / "000001" / MANIFEST).read_text())["previous"] == BEFORE_ALL
