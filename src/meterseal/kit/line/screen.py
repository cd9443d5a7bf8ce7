"""Beside the path: the line view on a terminal: the timeline, each request beside its reply, and the bytes of one of them.

It moves no bytes itself; what it is told to do, the tap does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from meterseal.errors import MetersealError
from meterseal.kit.line.entries import MOST_KEPT, Entry, save
from meterseal.kit.line.faults import FAULTS, Fault
from meterseal.kit.line.overhear import Overhearer
from meterseal.kit.line.tap import Tap
from meterseal.kit.line.timeline import Cells, Timeline
from meterseal.kit.line.words import WAYS, meter_of, shown_hex, summary
from meterseal.wire.decode import decode_bytes
from meterseal.wire.tree import tree

SHOWN = 20_000
"""Rows of the timeline; older ones are in the saved session."""
REDRAW = 0.1
STACKED_BELOW = 100
"""Columns of a terminal under which the bytes stand below the timeline, not beside it."""


class Ask(ModalScreen[str | None]):
    """One line of text from a person; Escape for none."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]
    DEFAULT_CSS = """
    Ask { align: center middle; }
    Ask > Vertical { width: 90%; height: auto; border: round $accent; padding: 1 2; background: $surface; }
    """

    def __init__(self, title: str, value: str = "") -> None:
        super().__init__()
        self._title, self._value = title, value

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Label(self._title)
            yield Input(self._value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)


class Menu(ModalScreen[Fault | None]):
    """The faults; Escape disarms."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "No fault")]
    DEFAULT_CSS = """
    Menu { align: center middle; }
    Menu > OptionList { width: 76; height: auto; border: round $warning; }
    """

    def compose(self) -> ComposeResult:
        yield OptionList(
            *(
                Option(f"{number:>2}  {fault.name:<18} {fault.says}")
                for number, fault in enumerate(FAULTS, start=1)
            )
        )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(FAULTS[event.option_index])

    def action_leave(self) -> None:
        self.dismiss(None)


class LineView(App[None]):
    """The whole screen. `work` runs beside it and is cancelled with it; `entries` is a session that is only looked at, then
    there is no tap.
    """

    TITLE = "meterseal line"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    * { scrollbar-size: 1 1; }
    Footer { scrollbar-size: 0 0; }
    #lines { width: 60%; }
    #right { width: 40%; border-left: solid $panel; padding: 0 1; overflow-x: auto; }
    #bytes { width: auto; }
    #state { height: auto; max-height: 2; background: $panel; padding: 0 1; }
    .-narrow #panes { layout: vertical; }
    .-narrow #lines { width: 100%; height: 55%; }
    .-narrow #right { width: 100%; height: 45%; border-left: none; border-top: solid $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "hold", "Hold"),
        Binding("n", "release", "Next"),
        Binding("d", "drop", "Drop"),
        Binding("e", "edit", "Edit, resend"),
        Binding("f", "fault", "Fault"),
        Binding("m", "mark", "Mark"),
        Binding("s", "save", "Save"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(
        self,
        tap: Tap | None,
        overhearer: Overhearer,
        *,
        entries: Sequence[Entry] = (),
        where: str = "",
    ) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (STACKED_BELOW, "-wide")]
        self.work: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._tap = tap
        self._overhearer = overhearer
        self._where = where
        self._given = entries
        self._entries: dict[int, Entry] = {}
        self._heard: dict[int, str] = {}
        self._rows: dict[int, int] = {}
        self._answered: dict[int, int] = {}
        self._fresh: dict[int, Entry] = {}
        self._begun = 0
        self._task: asyncio.Task[None] | None = None

    # --- building ------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield Static(id="state")
        with Horizontal(id="panes"):
            yield Timeline(self._cells, SHOWN, id="lines")
            with VerticalScroll(id="right"):
                yield Static(id="bytes")
        yield Footer()

    def on_mount(self) -> None:
        for entry in self._given:
            self.take(entry)
        self._draw()
        self.set_interval(REDRAW, self._draw)
        if self.work is not None:
            self._task = asyncio.create_task(self.work())
            self._task.add_done_callback(self._ended)
        self._table.focus()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            said = error.message if isinstance(error, MetersealError) else type(error).__name__
            self.exit(return_code=1, message=said)

    async def on_unmount(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, MetersealError):
                await self._task

    @property
    def _table(self) -> Timeline:
        return self.query_one("#lines", Timeline)

    def listening(self, place: str) -> None:
        """Say where the bus master connects."""
        self._where += f"   bus master: {place}"

    # --- what passes ---------------------------------------------------------------------------------------

    def take(self, entry: Entry) -> None:
        """An entry is new, or changed."""
        if entry.number not in self._entries and (frame := entry.frame) is not None:
            self._heard[entry.number] = self._overhearer.hear(frame)
        self._entries[entry.number] = entry
        self._fresh[entry.number] = entry
        if entry.answers is not None:
            self._answered[entry.answers] = entry.number
        while len(self._entries) > MOST_KEPT:
            oldest = next(iter(self._entries))
            for kept in (self._entries, self._heard, self._rows, self._answered):
                kept.pop(oldest, None)

    def _draw(self) -> None:
        """Put what is new into the timeline; a flood is drawn ten times a second, not entry by entry."""
        if not self.query("#state"):
            return  # a question stands before the timeline, or the screen is going
        fresh, self._fresh = self._fresh, {}
        if fresh:
            rows = [row for entry in fresh.values() if (row := self._row(entry)) is not None]
            self._table.add(rows)
            self._show()
        self._state()

    def _row(self, entry: Entry) -> int | None:
        """The number of the row that an entry begins; None when it stands in one that is there."""
        if entry.number in self._rows:
            return None
        row = entry.answers if entry.answers in self._rows else entry.number
        assert row is not None
        self._rows[entry.number] = row
        self._begun = self._begun or entry.at
        return row if row == entry.number else None

    def _cells(self, row: int) -> Cells:
        """What a row shows; it is asked for when the row is seen."""
        first, answer = self._entries.get(row), self._entries.get(self._answered.get(row, 0))
        if first is None:
            return Text(), Text(), Text(), Text()  # it went out of memory
        begun = Text(f"{(first.at - self._begun) / 1000:9.3f}")
        down, up = (first, answer) if first.way == "down" else (None, first)
        request, reply = (self._cell(one) if one is not None else Text() for one in (down, up))
        return begun, Text(meter_of(first)), request, reply

    def _cell(self, entry: Entry) -> Text:
        cell = Text()
        if entry.marked:
            cell.append("★ ", "yellow")
        if entry.note:
            cell.append(f"{entry.note}  ", "yellow")
        said = summary(entry, beside=entry.answers is not None)
        cell.append(f"{WAYS[entry.way]} {said}", "" if entry.frame is not None else "red")
        if self._heard.get(entry.number):
            cell.append("  " + self._heard[entry.number].splitlines()[0][:60], "green")
        return cell

    def _state(self) -> None:
        tap = self._tap
        said = [self._where]
        if tap is not None:
            said.append("meters there" if tap.connected else tap.away or "no meters yet")
            said.append("bus master there" if tap.served else "no bus master yet")
            if tap.holding:
                said.append(f"HELD, {len(tap.held)} wait")
            if tap.armed:
                said.append(f"fault: {tap.armed}")
        said.append(f"{len(self._entries)} units")
        self.query_one("#state", Static).update("   ".join(said))

    # --- one of them ---------------------------------------------------------------------------------------

    def on_timeline_moved(self) -> None:
        if self.query("#lines"):  # else a question stands before the timeline, or the screen is going
            self._show()

    def _chosen(self) -> list[Entry]:
        """The request of the row under the cursor and what answered it."""
        row = self._table.chosen
        found = (self._entries.get(row or 0), self._entries.get(self._answered.get(row or 0, 0)))
        return [entry for entry in found if entry is not None]

    def _show(self) -> None:
        said = Text()
        for entry in self._chosen():
            said.append(f"{WAYS[entry.way]} {shown_hex(entry.raw, 400)}\n", "bold")
            for other in entry.sent if entry.sent is not None else ():
                said.append(f"went on as {shown_hex(other, 400)}\n", "yellow")
            if entry.sent == ():
                said.append("went nowhere\n", "yellow")
            said.append(tree(decode_bytes(entry.raw)) + "\n")
            if self._heard.get(entry.number):
                said.append(self._heard[entry.number] + "\n", "green")
            said.append("\n")
        self.query_one("#bytes", Static).update(said)

    # --- keys ----------------------------------------------------------------------------------------------

    def action_hold(self) -> None:
        """Hold the line, or let go."""
        if self._tap is not None:
            self._tap.hold(not self._tap.holding)

    def action_release(self) -> None:
        """The oldest held unit goes on."""
        if self._tap is not None and self._tap.held:
            self._tap.release()

    def action_drop(self) -> None:
        """The oldest held unit goes nowhere."""
        if self._tap is not None and self._tap.held:
            self._tap.drop()

    def action_edit(self) -> None:
        """Edit what is held, or send the chosen request anew, edited."""
        tap = self._tap
        if tap is None:
            self.notify("A saved session is only looked at.")
            return
        if tap.held:
            entry = tap.held[0].entry
            self.push_screen(
                Ask("Held; what is to go on, in hex", entry.raw.hex(" ").upper()), self._edited_held
            )
        else:
            chosen = self._chosen()
            value = chosen[0].raw.hex(" ").upper() if chosen else ""
            self.push_screen(Ask("To the meters, in hex (the checksum is yours to set)", value), self._edited)

    def _edited_held(self, said: str | None) -> None:
        raw = self._bytes(said)
        if raw is not None and self._tap is not None and self._tap.held:
            self._tap.release(raw)

    def _edited(self, said: str | None) -> None:
        raw = self._bytes(said)
        if raw and self._tap is not None:
            try:
                self._tap.say(raw)
            except MetersealError as error:
                self.notify(error.message, severity="error")

    def _bytes(self, said: str | None) -> bytes | None:
        if said is None:
            return None
        try:
            return bytes.fromhex(said)
        except ValueError:
            self.notify("That is no hex; nothing was sent.", severity="error")
            return None

    def action_fault(self) -> None:
        """Choose what the next answer meets."""
        if self._tap is not None:
            self.push_screen(Menu(), self._tap_fault)

    def _tap_fault(self, fault: Fault | None) -> None:
        if self._tap is not None:
            self._tap.arm(fault)

    def action_mark(self) -> None:
        """Mark the chosen request, or take its mark off."""
        for entry in self._chosen()[:1]:
            if self._tap is not None:
                self._tap.mark(entry.number)

    def action_save(self) -> None:
        """Save the session."""
        name = time.strftime("line-%Y%m%d-%H%M%S.jsonl")
        self.push_screen(Ask("Save the session as", name), self._saved)

    def _saved(self, said: str | None) -> None:
        if said:
            try:
                save(Path(said), list(self._entries.values()))
            except MetersealError as error:
                self.notify(error.message, severity="error")
            else:
                self.notify(f"{len(self._entries)} units in {said}")
