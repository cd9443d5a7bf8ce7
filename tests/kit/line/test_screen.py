"""The line view as a person uses it: keys pressed on the real screen, without a terminal."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import Footer, Input, Static

from meterseal.cli.line import _work
from meterseal.edge.place import Place, _why
from meterseal.kit.line import screen
from meterseal.kit.line.entries import Entry, load
from meterseal.kit.line.overhear import Keys, Overhearer
from meterseal.kit.line.screen import LineView
from meterseal.kit.line.tap import Tap
from meterseal.kit.line.timeline import Timeline

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
        table = made.query_one("#lines", Timeline)
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
        assert looked.query_one("#lines", Timeline).row_count >= 4
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
        table = made.query_one("#lines", Timeline)
        for number in range(1, 9):
            made.take(Entry(number=number, at=NOW + number, way="down", raw=raw))
        await until(lambda: table.row_count == 5)
        for number, request in ((9, 1), (10, 2), (11, 8)):
            made.take(Entry(number=number, at=NOW + number, way="up", raw=raw, answers=request))
            await until(lambda: not made._fresh)
        assert table.row_count == 5
        assert len(made._entries) == 10  # a flood is not kept without end
        assert [entry.number for entry in made._chosen()] == [8, 11]


RAW = bytes.fromhex("68 10 44 33 22 11 00 33 78 01 03 90 1F 00 80 16")


async def test_a_long_flood_costs_what_is_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that kept every cell drew ever more slowly: five seconds of 200 units a second took sixteen of a core."""
    made = LineView(None, Overhearer(Keys()), where="test")
    drawn: list[int] = []
    cells = made._cells
    async with made.run_test(size=(120, 30)) as pilot:
        table = made.query_one("#lines", Timeline)
        monkeypatch.setattr(table, "_cells", lambda row: drawn.append(row) or cells(row))
        for number in range(1, 5_001):
            made.take(Entry(number=number, at=NOW + number, way="down", raw=RAW))
        made._draw()
        await pilot.pause()
        assert table.row_count == 5_000
        assert 0 < len(drawn) <= 4 * 30
        assert max(drawn) == 5_000
        await pilot.press("home")
        await pilot.pause()
        assert table.chosen == 1
        made.take(Entry(number=5_001, at=NOW + 5_001, way="down", raw=RAW))
        made._draw()
        assert table.chosen == 1  # who looks at an old row is not carried away
        await pilot.press("end")
        made.take(Entry(number=5_002, at=NOW + 5_002, way="down", raw=RAW))
        made._draw()
        assert table.chosen == 5_002
        await pilot.press("pageup", "up")
        await pilot.pause()
        assert table.chosen is not None
        assert table.chosen < 5_002 - 20


@pytest.mark.parametrize(("width", "stacked"), [(80, True), (99, True), (100, False), (150, False)])
async def test_the_panes_stand_below_each_other_on_a_narrow_terminal(width: int, stacked: bool) -> None:
    made = LineView(None, Overhearer(Keys()), entries=[Entry(number=1, at=NOW, way="down", raw=RAW)])
    async with made.run_test(size=(width, 24)) as pilot:
        await pilot.pause(0.2)
        lines, right = made.query_one("#lines").region, made.query_one("#right").region
        assert (right.y >= lines.bottom) == stacked
        assert (right.x >= lines.right) != stacked
        assert lines.height >= 8
        assert (
            made.query_one(Footer).max_scroll_x <= 0 or made.query_one(Footer).scrollbar_size_horizontal == 0
        )
        assert right.width >= 40
        assert "address" in str(made.query_one("#bytes", Static).render())


async def test_a_serial_port_that_is_missing_or_taken_is_said_with_what_to_do(tmp_path: Path) -> None:
    import pty
    import tty

    there, bus = pty.openpty()
    tty.setraw(bus)
    name = os.ttyname(bus)
    said = []
    for device in (str(tmp_path / "ttyUSB9"), name):
        first = Tap(Place(f"serial:{device}:2400:N"), lambda: NOW)
        other = Tap(Place(f"serial:{device}:2400:N"), lambda: NOW)
        works = [asyncio.create_task(one.run()) for one in (first, other)]
        await until(lambda one=first, two=other: bool(one.away or two.away))  # type: ignore[misc]
        said.append(first.away or other.away)
        made = LineView(first if first.away else other, Overhearer(Keys()), where="a line")
        async with made.run_test(size=(150, 30)) as pilot:
            await pilot.pause(0.2)
            assert said[-1] in str(made.query_one("#state", Static).render())
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
    os.close(there)
    os.close(bus)
    assert "is not there; plug it in" in said[0]
    assert "in use by another program" in said[1]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_port_that_may_not_be_opened_names_the_way_to_be_let_in(number: int) -> None:
    assert "join the group that owns it" in _why("/dev/ttyUSB0", number, "x")
    assert _why("/dev/ttyUSB0", 5, "Input/output error") == "Input/output error"
