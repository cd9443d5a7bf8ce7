"""The platform's background work: a defect or a failure costs one turn and is said, and shutdown stays clean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from meterseal.app import platform
from meterseal.errors import DataError


class Work:
    """Validation and billing that fail as told, turn by turn."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.turns = 0
        self.looking = False

    async def run_vee(self, now: int) -> None:
        self.turns += 1
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error

    async def run_bills(self, now: int) -> None:
        pass

    async def look(self) -> None:
        pass

    async def watch(self) -> None:
        pass

    async def run(self) -> None:
        pass

    async def daily(self) -> None:
        if self.looking:
            await self.run_vee(0)

    @property
    def parts(self) -> SimpleNamespace:
        return SimpleNamespace(
            mdms=self,
            utility=self,
            checkpoints=self,
            rollout=self,
            forecasting=self,
            unusual=self,
            rows=self,
        )


async def logged(work: Work, loop: Coroutine[Any, Any, None]) -> list[tuple[str, str]]:
    """What four turns of a loop say."""
    with capture_logs() as entries:
        task = asyncio.create_task(loop)
        async with asyncio.timeout(60):
            while work.turns < 4:
                await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return [(entry["event"], entry["log_level"]) for entry in entries]


def failing() -> Work:
    return Work(DataError("bill.x", "Why."), ZeroDivisionError("a defect"))


async def test_upkeep_goes_on_after_a_failure_and_after_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "UPKEEP", 0.001)
    work = failing()
    said = await logged(work, platform._upkeep(work.parts))  # type: ignore[arg-type]
    assert said == [("upkeep.failed", "warning"), ("upkeep.defect", "error")]


async def test_looking_at_bills_ahead_holds_up_no_upkeep_and_goes_on_after_a_failure_and_a_defect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a city one look takes hours: validation, billing and checkpoints waited for its end."""
    for wait in ("STARTED", "UPKEEP"):
        monkeypatch.setattr(platform, wait, 0.001)
    work = failing()
    work.looking = True
    said = await logged(work, platform._look_ahead(work))  # type: ignore[arg-type]
    assert said == [("unusual.failed", "warning"), ("unusual.defect", "error")]
