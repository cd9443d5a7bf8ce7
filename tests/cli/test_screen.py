"""Progress on standard error: silent lines where that is no terminal, and nothing that stops the work."""

from __future__ import annotations

import asyncio

import pytest

from meterseal.cli.field import STEPS, Screen
from meterseal.cli.signals import unless


def test_each_step_is_one_line_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen() as screen:
        for step in ("start", "enrol", "deliver", "nothing known", "deliver"):
            for share in (0.0, 0.5, 1.5, -1.0):
                screen.tell(step, share)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip().splitlines() == [STEPS["start"], STEPS["enrol"], STEPS["deliver"]]
    assert "\n\n" not in said.err.strip("\n")


def test_bars_are_drawn_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Screen() as screen:
        screen.tell("start", 0.0)
        screen.tell("enrol", 0.4)
        assert [task.percentage for task in screen._progress.tasks] == [100.0, 0.0]
        screen.tell("enrol", 0.5)
        assert screen._progress.tasks[1].percentage == 50.0
    assert capsys.readouterr().out == ""


async def test_a_signal_ends_the_work_and_an_error_passes() -> None:
    async def fail() -> None:
        raise ValueError("why")

    stop = asyncio.Event()
    assert await unless(stop, asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="why"):
        await unless(stop, fail())
    asyncio.get_running_loop().call_soon(stop.set)
    assert await unless(stop, asyncio.sleep(60)) is None
