"""Beside the path: the timeline of the line view, drawn line by line as far as it is seen, however long it is.

It understands no entry: what a row shows is asked for when the row comes into view. A table that keeps every cell costs
more with each row; this one costs what is on the screen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

Cells = tuple[Text, ...]
"""When, which meter, request and reply."""
TITLES = ("time", "meter", "request", "reply")
FIXED = 9, 16
"""Widths of the first two columns; the others share what is left."""
LEAST = 25
"""Columns of a request or reply at least; a narrower screen scrolls sideways."""


class Timeline(ScrollView, can_focus=True):
    """Rows by number, the newest last; the cursor follows the newest until a person moves it away."""

    class Moved(Message):
        """The cursor stands on another row."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "end(False)", "First", show=False),
        Binding("end", "end(True)", "Last", show=False),
    ]

    def __init__(self, cells: Callable[[int], Cells], most: int, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._cells = cells
        self._most = most
        self._rows: list[int] = []
        self._cursor = 0
        self.following = True

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    @property
    def chosen(self) -> int | None:
        """The row under the cursor."""
        return self._rows[self._cursor] if self._rows else None

    def add(self, rows: list[int]) -> None:
        """Put rows behind the last one; over the bound the oldest go."""
        self._rows += rows
        if (gone := len(self._rows) - self._most) > 0:
            del self._rows[:gone]
            self._cursor = max(0, self._cursor - gone)
        self._sized()
        if self.following:
            self._move_to(len(self._rows) - 1)
        self.refresh()

    def _sized(self) -> None:
        self.virtual_size = Size(sum(self._widths) + len(TITLES) - 1, len(self._rows) + 1)

    @property
    def _widths(self) -> tuple[int, int, int, int]:
        left = max(2 * LEAST, self.size.width - sum(FIXED) - len(TITLES) + 1)
        return (*FIXED, left // 2, left - left // 2)

    def on_resize(self) -> None:
        self._sized()

    def render_line(self, y: int) -> Strip:
        _, top = self.scroll_offset
        if y == 0:  # the titles stay
            return self._strip(tuple(Text(title) for title in TITLES), Style(bold=True, reverse=True))
        at = top + y - 1
        if at >= len(self._rows):
            return Strip.blank(self.size.width, self.rich_style)
        style = Style(reverse=True) if at == self._cursor else Style()
        return self._strip(self._cells(self._rows[at]), style)

    def _strip(self, cells: Cells, style: Style) -> Strip:
        line = Text(end="")
        for cell, width in zip(cells, self._widths, strict=True):
            cut = cell.copy()
            cut.truncate(width, overflow="ellipsis", pad=True)
            line.append_text(cut)
            line.append(" ")
        segments = list(Segment.apply_style(line.render(self.app.console), self.rich_style + style))
        left, _ = self.scroll_offset
        return Strip(segments).crop_extend(left, left + self.size.width, self.rich_style)

    # --- the cursor ----------------------------------------------------------------------------------------

    def _move_to(self, at: int) -> None:
        at = min(max(at, 0), max(len(self._rows) - 1, 0))
        moved, self._cursor = at != self._cursor, at
        # One line is the titles': a row is seen when the line above it is not scrolled away.
        self.scroll_to_region(Region(0, at, 1, 2), animate=False, force=True, x_axis=False)
        if moved:
            self.post_message(self.Moved())
        self.refresh()

    def action_move(self, by: int) -> None:
        """Move by rows; on the last one it follows again."""
        self._move_to(self._cursor + by)
        self.following = self._cursor >= len(self._rows) - 1

    def action_page(self, way: int) -> None:
        """Move by a screenful."""
        self.action_move(way * max(1, self.size.height - 2))

    def action_end(self, last: bool) -> None:
        """Move to the first row or the last."""
        self.action_move(len(self._rows) if last else -len(self._rows))

    def on_click(self, event: object) -> None:
        y = getattr(event, "y", 0)
        if y:
            self.action_move(int(self.scroll_offset.y) + int(y) - 1 - self._cursor)
