"""Acknowledged means durable: kill -9 of every process at random moments changes no bill and no count (DESIGN promise 1).

The processes are the real ones of the demo, restarted by its supervisor as they would be in the field.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from meterseal.app.clock import now_ms
from meterseal.kit.demo import Demo, Played, Wish
from meterseal.utility.calendar import local_day, midnight

VICTIMS = ("keys", "platform", "headend", "web", "street", "concentrator")
UNTIL = midnight(local_day(now_ms()) - timedelta(days=50))
"""Long enough ago that no report of a meter depends on the hour of the run."""


class Killer:
    """Kills a random process of a running demo again and again, `most` times at the most: a supervisor gives up what
    ended nine times within ten seconds of its start, which on a slow machine is every kill.
    """

    def __init__(
        self, seed: int, every: tuple[float, float], victims: tuple[str, ...] = VICTIMS, most: int = 8
    ) -> None:
        self._most = most
        self._random = random.Random(seed)
        self._every = every
        self._victims = victims
        self.killed: Counter[str] = Counter()
        self.step = ""

    def tell(self, step: str, share: float) -> None:
        """Hear how far the play is."""
        self.step = step

    async def run(self, demo: Demo) -> None:
        while sum(self.killed.values()) < self._most:
            await asyncio.sleep(self._random.uniform(*self._every))
            if self.step in ("attack", "done"):
                return  # the attacks need the system whole: their refusals are what is looked at there
            running = demo.system.supervisor if demo.system else None
            name = self._random.choice(self._victims)
            if running is not None and name in running.children and running.kill(name):
                self.killed[name] += 1


async def play(folder: Path, killer: Killer | None, *, dwellings: int) -> Played:
    tell = killer.tell if killer else lambda step, share: None
    demo = Demo(Wish(data=folder / "data", dwellings=dwellings, days=36, until=UNTIL, within=120), tell)
    task = asyncio.create_task(killer.run(demo)) if killer else None
    try:
        return await demo.play()
    finally:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await demo.stop()


def compared(played: Played) -> tuple[int, ...]:
    return played.meters, played.readings, played.evidence, played.bills, played.total_fen, played.held


@pytest.mark.timeout(280)
async def test_killing_any_process_at_random_moments_changes_no_bill_and_no_count(tmp_path: Path) -> None:
    """About a dozen kills over one small street, enrolment and billing included."""
    quiet = await play(tmp_path / "quiet", None, dwellings=2)
    killer = Killer(seed=1, every=(0.4, 1.2))
    beaten = await play(tmp_path / "beaten", killer, dwellings=2)

    assert sum(killer.killed.values()) >= 5, killer.killed
    assert quiet.total_fen == quiet.recalculated_fen
    assert quiet.bills == 8
    assert compared(beaten) == compared(quiet)
    assert beaten.refused == 3


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_fifty_kills_of_each_process_change_no_bill_and_no_count(tmp_path: Path) -> None:
    """Whole plays, one after the other, until each process was killed at fifty random moments."""
    quiet = await play(tmp_path / "quiet", None, dwellings=6)
    killed: Counter[str] = Counter()
    for number in range(400):
        missing = tuple(name for name in VICTIMS if killed[name] < 50)
        if not missing:
            break
        killer = Killer(seed=number, every=(0.3, 1.5), victims=missing)
        beaten = await play(tmp_path / str(number), killer, dwellings=6)
        killed += killer.killed
        assert compared(beaten) == compared(quiet)

    assert all(killed[name] >= 50 for name in VICTIMS)
