"""The platform's background work: a defect or a failure costs one turn and is said, and shutdown stays clean."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from meterseal.app import platform
from meterseal.errors import DataError


class Work:
    """Validation and billing that fail as told, turn by turn."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.turns = 0

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
        pass

    @property
    def parts(self) -> SimpleNamespace:
        return SimpleNamespace(
            mdms=self, utility=self, checkpoints=self, rollout=self, forecasting=self, rows=self
        )


async def test_upkeep_goes_on_after_a_failure_and_after_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "UPKEEP", 0.001)
    work = Work(DataError("bill.x", "Why."), ZeroDivisionError("a defect"))
    with capture_logs() as logged:
        task = asyncio.create_task(platform._upkeep(work.parts))  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            while work.turns < 4:
                await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [
        ("upkeep.failed", "warning"),
        ("upkeep.defect", "error"),
    ]
