"""Station MDMS, the running reconciliation: of every delivered reading what became of it, by way, concentrator and hour.

It decides nothing and holds no reading. It moves with the entry that it counts, so it balances whenever the store's lock
is free, and replay of the journal gives the same after any end of the process.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

HOUR = 3_600_000
HOURS = 48
"""Hours of each way and concentrator that are kept apart; older ones are one line."""
LINES = 1_000
"""Lines that are kept in all; with more, the oldest hours of all concentrators become one line each earlier."""
CONCENTRATORS = 250
"""Concentrators that are kept apart; those that come after them are one."""
FURTHER = "further"
"""The name of those."""
OUTCOMES = ("stored", "repeated", "refused", "held")
_PREFIX = "reconciled"
_NAMES = ("received", *OUTCOMES)
_Line = tuple[str, str, int]


class Reconciled(Struct, frozen=True, kw_only=True):
    """Readings that came by one way in one hour: received = stored + repeated + refused + held.

    `way` is `sealed` (the meter's own module), `vouched` (a concentrator's) or `columns`. `concentrator` is the id (hex)
    of the one that vouched, or behind which the fleet knows the meter; empty where there is none. `hour_at` is the
    beginning of the hour of receipt (Unix ms), 0 for all that were before. `stored` counts marks of missing values too;
    `refused` are other values for an instant that had one; `held` are in quarantine.
    """

    way: str
    hour_at: int
    received: int
    stored: int
    repeated: int
    refused: int
    held: int
    concentrator: str = ""

    @property
    def balanced(self) -> bool:
        """Is every reading that came accounted for?"""
        return self.received == self.stored + self.repeated + self.refused + self.held


class Reconciliation:
    """The lines; guarded by the store's lock. `counts` are what the manifest keeps, with `flat` among it."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._lines: dict[_Line, dict[str, int]] = {}
        self._apart: set[str] = set()
        for name, value in counts.items():
            if name.startswith(_PREFIX + " "):
                _, way, hour, what, *of = name.split(" ")
                self._line((way, of[0] if of else "", int(hour)))[what] = value
        self._open = self._line(("sealed", "", 0))

    def begin(self, way: str, received_at: int, readings: int, concentrator: str = "") -> None:
        """So many readings came by this way; what becomes of them is noted next."""
        line = (way, self._named(concentrator), received_at // HOUR)
        new = line not in self._lines
        self._open = self._line(line)
        self._open["received"] += readings
        if not new:
            return
        hours = sorted(hour for of, who, hour in self._lines if (of, who) == line[:2] and hour)
        for hour in hours[:-HOURS]:
            self._fold((*line[:2], hour))
        while len(self._lines) > LINES:
            first, *later = sorted({hour for _, _, hour in self._lines if hour})
            if not later:
                break
            for one in [one for one in self._lines if one[2] == first]:
                self._fold(one)

    def note(self, outcome: str, readings: int = 1) -> None:
        """What became of so many of them: one of OUTCOMES."""
        self._open[outcome] += readings

    def flat(self) -> dict[str, int]:
        """What the manifest keeps."""
        return {
            " ".join(filter(None, (_PREFIX, way, str(hour), name, concentrator))): value
            for (way, concentrator, hour), line in self._lines.items()
            for name, value in line.items()
            if value
        }

    def lines(self) -> list[Reconciled]:
        """All lines that hold anything, by way, concentrator and hour."""
        return [
            Reconciled(way=way, concentrator=concentrator, hour_at=hour * HOUR, **line)
            for (way, concentrator, hour), line in sorted(self._lines.items())
            if any(line.values())
        ]

    def _named(self, concentrator: str) -> str:
        if not concentrator or concentrator in self._apart:
            return concentrator
        return FURTHER if len(self._apart) >= CONCENTRATORS else concentrator

    def _fold(self, line: _Line) -> None:
        """Make a line part of what was before; what is being counted goes with it."""
        older = self._line((*line[:2], 0))
        gone = self._lines.pop(line)
        if gone is self._open:
            self._open = older
        for name, value in gone.items():
            older[name] += value

    def _line(self, line: _Line) -> dict[str, int]:
        if line[1] not in ("", FURTHER):
            self._apart.add(line[1])
        return self._lines.setdefault(line, dict.fromkeys(_NAMES, 0))


def without_reconciled(counts: Mapping[str, int]) -> dict[str, int]:
    """The other counts of the manifest."""
    return {name: value for name, value in counts.items() if not name.startswith(_PREFIX + " ")}
