"""A kill between any two writes of a keys directory leaves a directory that opens, with all that was answered."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meterseal.errors import EngineError
from meterseal.security import orders as o
from meterseal.security.store import Store

from .conftest import Bench, Clock, Module
from .people import Person, fields, founded, operator, ordered
from .test_commanding import order, signed
from .test_directory_attacks import aged


class Disk:
    """What the disk holds around every commit: where a kill -9 may strike. `answered` says what must be in it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.taken: list[tuple[dict[str, bytes], int]] = []
        self.answered = 0
        whole = Store.transaction

        @contextmanager
        def pictured(store: Store) -> Iterator[sqlite3.Connection]:
            self.take()
            with whole(store) as connection:
                yield connection
                self.take()
            self.take()

        monkeypatch.setattr(Store, "transaction", pictured)

    def take(self) -> None:
        held = {path.name: path.read_bytes() for path in self.directory.iterdir() if path.is_file()}
        if not self.taken or self.taken[-1][0] != held:
            self.taken.append((held, self.answered))

    def laid_out(self, tmp_path: Path) -> Iterator[tuple[Path, int]]:
        """Each picture as a directory of its own, and how many acts had been answered by then."""
        for number, (held, answered) in enumerate(self.taken):
            folder = tmp_path / f"killed-{number}"
            shutil.copytree(self.directory / "offline", folder / "offline")
            for name, raw in held.items():
                (folder / name).write_bytes(raw)
            yield folder, answered
            shutil.rmtree(folder)


async def test_a_kill_between_any_two_writes_leaves_a_directory_that_opens(
    bench: Bench, clock: Clock, tmp_path: Path
) -> None:
    people = await founded(bench)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(bench.directory, patch)
        modules = []
        for number in (1, 2):
            modules.append(await bench.module(number))
            disk.answered = number
        await bench.shake(modules[0])
        command = signed(order(modules[0]), people[0])
        await bench.platform.authorise_command(*command)
        change = o.OfficerChange(**fields(), add=(Person("cy").card,))  # type: ignore[arg-type]
        await bench.platform.submit(ordered("officers", change, people))
        disk.answered = 3
        await bench.platform.withdraw(modules[1].device_id, modules[1].module_id)
        disk.answered = 4
        await operator(bench).rotate("acts")
        await operator(bench).rotate("platform")
        bench.service.room._tie()
        bench.service.close()
        disk.take()
    assert len(disk.taken) > 30
    for folder, answered in disk.laid_out(tmp_path):
        back = Bench(folder, clock)
        room = back.service.room
        for number in range(1, min(answered, 2) + 1):
            assert room.registry.module(Module(number).module_id) is not None
        if answered >= 3:
            assert room.book.is_spent(o.decoded(command[0], o.CommandOrder).request_id)
            assert any(one.officer == "cy" for one in room.officers.all())
        if answered >= 4:
            assert room.registry.of_device(modules[1].device_id) is None
        assert room.audit.verify().ok
        back.service.close()
        Bench(folder, clock).service.close()  # and what the start wrote opens too


async def test_a_kill_while_older_files_are_raised_leaves_one_format_or_the_other(
    bench: Bench, clock: Clock, tmp_path: Path
) -> None:
    people = await founded(bench)
    module = await bench.module(1)
    await bench.platform.authorise_command(*signed(order(module), people[0]))
    bench.service.close()
    aged(bench.directory)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(bench.directory, patch)
        raised = bench.restarted_from_closed()
        raised.service.close()
        disk.take()
    assert len(disk.taken) > 15
    for folder, _ in disk.laid_out(tmp_path):
        back = Bench(folder, clock)
        assert back.service.room.registry.module(module.module_id) is not None
        assert (await back.platform.verify_audit()).ok
        back.service.close()
        again = Bench(folder, clock)
        assert again.service.room.keys.revisions.raised == []
        again.service.close()


async def test_writes_that_the_disk_refuses_for_long_lose_no_count(bench: Bench) -> None:
    """More than 4096 commits fail, each with a count and an entry: all counts are there, and lost entries are counted."""
    room = bench.service.room
    used = room.keys.facts("DIAK", 1).used
    refusing = True
    whole = Store.transaction

    @contextmanager
    def full(store: Store) -> Iterator[sqlite3.Connection]:
        if refusing:
            raise EngineError("security.disk-full", "The disk is full.")
        with whole(store) as connection:
            yield connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "transaction", full)
        for _ in range(5000):
            room.keys.use("DIAK", 1)
            room.note("operator", room, "test.entry", "An act.")
            with pytest.raises(EngineError):
                room.audit.flush()
            with pytest.raises(EngineError):
                room.keys.flush()
        refusing = False
        await room.durable()
        room.note("operator", room, "test.last", "The last act.")
        await room.durable()
    entries = [one.entry for one in room.audit.since(0, 9999)]
    assert sum(entry.code == "test.entry" for entry in entries) + entries[-1].unwritten == 5000
    assert entries[-1].unwritten > 0
    bench = bench.restarted()
    assert bench.service.room.keys.facts("DIAK", 1).used == used + 5000
    assert bench.service.room.audit.verify().ok
