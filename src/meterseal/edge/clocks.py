"""Station edge, clocks: what those of plain meters show beside the concentrator's own, told to the platform.

It sets none (`timekeeping` does) and judges none: it tells what a clock showed between which two moments. A meter of
CJ/T 188 says it with every reading, one of DL/T 645 is asked for it every few hours. It is told at once where a clock is
seen for the first time or stands otherwise than was told last, and once a week where it does not.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from meterseal.edge.freezes import DATE, DATE_1997, TIME, TIME_1997, text_of
from meterseal.edge.held import HeldAnswers
from meterseal.edge.line import Line, Wanted
from meterseal.edge.poll import Riser
from meterseal.wire import encode
from meterseal.wire.asked import Ask
from meterseal.wire.fields import clock_step, moment_at
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret

EVERY = 6 * 3_600_000
"""Milliseconds between two looks at the clock of a meter of DL/T 645."""
MOVED = 30_000
"""A clock that stands by more than this otherwise than was told is told again (ms)."""
AGAIN = 7 * 86_400_000
"""So long after it was told of, a clock is told of again although nothing changed."""
LONGEST = 60_000
"""Between question and answer; what takes longer (ms) is looked at another time."""


class _Told(Struct, frozen=True):
    """How far ahead a clock was told to be, at least and at most (ms), when that was, and until when it was seen so."""

    least: int
    most: int
    told_at: int
    seen_at: int


class Clocks:
    """The clocks of the plain meters of one concentrator. `good` says whether its own can be told by."""

    def __init__(self, held: HeldAnswers, offset: int, good: Callable[[int], bool]) -> None:
        self._held, self._offset, self._good = held, offset, good
        self._told: dict[bytes, _Told] = {}
        self._looked: dict[bytes, int] = {}
        self.told = 0

    def forget(self, device_id: bytes) -> None:
        """The meter is not here any more."""
        self._told.pop(device_id, None)
        self._looked.pop(device_id, None)

    def heard(self, riser: Riser, line: Line, frame: Frame, now: int) -> None:
        """A plain meter answered for its register."""
        if line.protocol == "cjt188":
            shown = interpret(frame, self._offset).clock_at
            if shown is not None:
                self._seen(line, shown, line.asked_first, now)
        elif self._good(now) and now - self._looked.get(line.device_id, -EVERY) >= EVERY:
            self._looked[line.device_id] = now
            self._look(riser, line)

    def _look(self, riser: Riser, line: Line) -> None:
        """Ask for date, time, and the date once more: between date and time a midnight may pass."""
        date, time = (DATE_1997, TIME_1997) if line.is_1997 else (DATE, TIME)
        wanted = [(date, "date"), (time, "time"), (date, "date")]
        said: list[tuple[str, int, int]] = []

        def ask() -> None:
            di, name = wanted[len(said)]
            request = line.ask(Ask(kind="read", di=di))

            def answered(frame: Frame | None, now: int) -> None:
                text = text_of(interpret(frame, self._offset), name) if frame is not None else None
                if text is None:
                    return
                said.append((text, line.asked_first, now))
                if len(said) < len(wanted):
                    ask()
                elif said[0][0] == text:
                    shown = moment_at(f"{text}T{said[1][0]}", self._offset)
                    if shown is not None:
                        self._seen(line, shown, *said[1][1:])

            riser.want(line.device_id, Wanted(lambda _: request, answered, once=True))

        ask()

    # --- what is told -----------------------------------------------------------------------------------

    def _seen(self, line: Line, shown: int, asked: int, now: int) -> None:
        """The clock showed this somewhen between the question and the answer."""
        if not self._good(now) or not 0 <= now - asked <= LONGEST:
            return
        least, most = shown - now, shown + clock_step(shown) - asked
        known = self._told.get(line.device_id)
        same = known is not None and least - MOVED <= known.most and known.least <= most + MOVED
        if known is not None and same and now - known.told_at < AGAIN:
            self._told[line.device_id] = replace(known, seen_at=now)
            return
        agreed = known.seen_at if known is not None else asked
        frame = encode.clock_report(line.device_id, shown, asked, now, agreed)
        if self._held.hold([frame], now, beside={}):
            self._told[line.device_id] = _Told(least, most, now, now)
            self.told += 1
