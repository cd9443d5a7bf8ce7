"""The line view as a person uses it: keys pressed on the real screen, without a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import DataTable, Input, Static

from meterseal.cli.line import _work
from meterseal.kit.line import screen
from meterseal.kit.line.entries import Entry, load
from meterseal.kit.line.overhear import Keys, Overhearer
from meterseal.kit.line.screen import LineView
from meterseal.kit.line.tap import Tap

NOW = 1_795_000_000_000


def view() -> tuple[LineView, Tap]:
    clock = [NOW]

    def now() -> int:
        clock[0] += 20
        return clock[0]

    tap = Tap(None, now)
    made = LineView(tap, Overhearer(Keys()), where="test")
    tap.changed = made.take
    made.work = lambda: _work(tap, "127.0.0.1", 0, lambda at: made.listening(str(at)))
    return made, tap


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_day_at_the_line(tmp_path: Path) -> None:
    made, tap = view()
    async with made.run_test(size=(150, 40)) as pilot:
        table = made.query_one("#lines", DataTable)
        await until(lambda: table.row_count >= 4)
        said = made.query_one("#bytes", Static).render()
        assert "address 地址域" in str(said)

        await pilot.press("f")
        await pilot.pause()
        await pilot.press("down", "down", "enter")  # the third: no answer at all
        await until(lambda: any(one.note == "fault: empty" for one in tap.entries.values()))

        await pilot.press("space")
        await until(lambda: bool(tap.held))
        held = tap.held[0].entry
        await pilot.press("e")
        await pilot.pause()
        box = made.screen.query_one(Input)
        box.value = "FE FE " + box.value
        await pilot.press("enter")
        await until(lambda: tap.entries[held.number].note == "edited")
        assert tap.entries[held.number].sent == (b"\xfe\xfe" + held.raw,)
        await pilot.press("space")
        assert not tap.holding

        await pilot.press("m")
        await until(lambda: any(one.marked for one in tap.entries.values()))

        await pilot.press("s")
        await pilot.pause()
        made.screen.query_one(Input).value = str(tmp_path / "session.jsonl")
        await pilot.press("enter")
        await until(lambda: (tmp_path / "session.jsonl").exists())
        await pilot.press("q")
    assert len(load(tmp_path / "session.jsonl")) >= 8

    looked = LineView(None, Overhearer(Keys()), entries=load(tmp_path / "session.jsonl"), where="saved")
    async with looked.run_test(size=(120, 30)) as pilot:
        await pilot.pause(0.3)
        assert looked.query_one("#lines", DataTable).row_count >= 4
        await pilot.press("e", "f", "space", "n", "d", "m")  # nothing to bend in what is past
        await pilot.press("q")


async def test_a_word_by_hand_that_is_no_hex_goes_nowhere() -> None:
    made, tap = view()
    async with made.run_test(size=(120, 30)) as pilot:
        await until(lambda: tap.connected and len(tap.entries) >= 2)
        for text, sent in (("no hex", False), ("68 10", True)):
            await pilot.press("e")
            await pilot.pause()
            made.screen.query_one(Input).value = text
            await pilot.press("enter")
            await pilot.pause()
            by_hand = [one for one in tap.entries.values() if one.note == "sent by hand"]
            assert bool(by_hand) == sent


async def test_an_answer_to_a_row_that_has_scrolled_out_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "SHOWN", 5)
    monkeypatch.setattr(screen, "MOST_KEPT", 10)
    made = LineView(None, Overhearer(Keys()), where="test")
    raw = bytes.fromhex("68 10 44 33 22 11 00 33 78 01 03 90 1F 00 80 16")
    async with made.run_test(size=(100, 20)):
        table = made.query_one("#lines", DataTable)
        for number in range(1, 9):
            made.take(Entry(number=number, at=NOW + number, way="down", raw=raw))
        await until(lambda: table.row_count == 5)
        for number, request in ((9, 1), (10, 2), (11, 8)):
            made.take(Entry(number=number, at=NOW + number, way="up", raw=raw, answers=request))
            await until(lambda: not made._fresh)
        assert table.row_count == 5
        assert len(made._entries) == 10  # a flood is not kept without end
        assert [entry.number for entry in made._chosen()] == [8, 11]
