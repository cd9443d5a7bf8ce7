"""T18: the security service's disk runs full while keys rotate and while audit entries are written: what was answered is
there with its entry, no key is lost, and with room again everything goes on."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

from meterseal.errors import MetersealError
from meterseal.security.rotation import KINDS
from tests.small_disk import small_disk

from .conftest import PASSPHRASE, Bench, Clock
from .people import operator

WITHIN = 30.0


async def test_t18_keys_rotate_and_audit_entries_are_written_on_a_disk_that_runs_full(
    template: Path, tmp_path: Path
) -> None:
    dice = random.Random(7)
    with small_disk(tmp_path / "disk", 12_000) as disk:
        shutil.copytree(template, disk.path / "keys")
        bench = Bench(disk.path / "keys", Clock())
        module = await bench.module(1)
        wrapped: list[tuple[str, bytes, object]] = []
        failed: list[str] = []

        async def work(number: int, kind: str) -> None:
            """One data key and one rotation; refused or answered, never half."""
            try:
                made = await bench.platform.data_key("journal", f"j{number}")
                wrapped.append((f"j{number}", made.wrapped, made.key))
            except MetersealError as error:
                failed.append(error.code)
            secret = PASSPHRASE if kind == "vault-kek" else b""
            try:
                await operator(bench).rotate(kind, secret, secret)
            except MetersealError as error:
                failed.append(error.code)

        async def all_open() -> None:
            for name, sealed, key in wrapped:
                assert (await bench.platform.unwrap_data_key("journal", name, sealed)).key == key

        for at, kind in enumerate(KINDS):
            disk.fill(dice.choice((0, 0, 0, 4, 16)) * 1024)
            for number in range(4):
                await work(10 * at + number, kind)
            disk.free()
            async with asyncio.timeout(WITHIN):
                before = len(failed)
                await work(10 * at + 9, kind)
                assert failed[before:] == []
                await bench.shake(module)
            await all_open()
            assert (await bench.platform.verify_audit()).ok
        assert len(failed) > len(KINDS)
        assert set(failed) == {"security.disk-full"}

        bench = bench.restarted()
        await all_open()
        await bench.shake(module)
        found = await bench.platform.verify_audit()
        assert found.ok
        asked = await bench.platform.audit(limit=1000)
        assert len(asked) > len(wrapped)
        bench.service.close()
