"""T18: a real disk runs full while data keys are renewed: nothing is lost that an older key opened, no key is ended before
all moved, and with room again the renewal goes to its end."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from meterseal.app.resealing import Resealing
from meterseal.control.rings import RINGS
from meterseal.errors import MetersealError
from tests.app.test_resealing import LastingKeys, ground, key_versions
from tests.small_disk import small_disk

DAYS, WITHIN = 6, 30.0


async def steps(work: Resealing, most: int) -> list[str]:
    """Try so many steps; the codes of what failed."""
    failed = []
    for _ in range(most):
        try:
            await work.follow()
            if not await work.step():
                break
        except MetersealError as error:
            failed.append(error.code)
    return failed


async def test_t18_data_keys_are_renewed_on_a_disk_that_runs_full(tmp_path: Path) -> None:
    dice = random.Random(22)
    keys = LastingKeys()
    with small_disk(tmp_path / "disk", 16_000) as disk:
        own = await ground(disk.path, keys)
        failed: list[str] = []
        for version in (2, 3, 4):
            await own.fill((version - 2) * 2, (version - 1) * 2)
            await own.mdms.compact()
            keys.version = version
            work = own.resealing(keys)
            for _ in range(3):
                disk.fill(dice.choice((0, 0, 8, 32)) * 1024)
                failed += await steps(work, 12)
                own.readable()
                own.counted((version - 1) * 2)
                disk.free()
                await steps(work, 2)
            async with asyncio.timeout(WITHIN):
                while await work.follow() or await work.step():
                    pass
            assert await work.remaining() == 0
            # One key each; a try that began a version and found no room after it may have begun another.
            left = key_versions(own.engine)
            assert all(len(left[name]) == 1 and left[name][0] >= version for name in RINGS)
            own.readable()
            own.counted((version - 1) * 2)
        assert len(failed) > 10
        assert set(failed) <= {"mdms.full", "control.full"}
        await own.close()
        again = await ground(disk.path, keys, fresh=False)
        again.readable()
        again.counted(DAYS)
        await again.close()
