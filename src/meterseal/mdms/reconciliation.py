"""Station MDMS, the running reconciliation: of every delivered reading what became of it, by way and hour of receipt.

It decides nothing and holds no reading. It moves with the entry that it counts, so it balances whenever the store's lock
is free, and replay of the journal gives the same after any end of the process.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

HOUR = 3_600_000
HOURS = 48
"""Hours of each way that are kept apart; older ones are one line."""
OUTCOMES = ("stored", "repeated", "refused", "held")
_PREFIX = "reconciled"
_NAMES = ("received", *OUTCOMES)


class Reconciled(Struct, frozen=True, kw_only=True):
    """Readings that came by one way in one hour: received = stored + repeated + refused + held.

    `way` is `sealed` (the meter's own module), `vouched` (a concentrator's) or `columns`. `hour_at` is the beginning of
    the hour (Unix ms), 0 for all that were before. `stored` counts marks of missing values too; `refused` are other
    values for an instant that had one; `held` are in quarantine.
    """

    way: str
    hour_at: int
    received: int
    stored: int
    repeated: int
    refused: int
    held: int

    @property
    def balanced(self) -> bool:
        """Is every reading that came accounted for?"""
        return self.received == self.stored + self.repeated + self.refused + self.held


class Reconciliation:
    """The lines; guarded by the store's lock. `counts` are what the manifest keeps, with `flat` among it."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._lines: dict[tuple[str, int], dict[str, int]] = {}
        for name, value in counts.items():
            if name.startswith(_PREFIX + " "):
                _, way, hour, what = name.split(" ")
                self._line(way, int(hour))[what] = value
        self._open = self._line("sealed", 0)

    def begin(self, way: str, received_at: int, readings: int) -> None:
        """So many readings came by this way; what becomes of them is noted next."""
        new = (way, received_at // HOUR) not in self._lines
        self._open = self._line(way, received_at // HOUR)
        self._open["received"] += readings
        if not new:
            return
        hours = sorted(hour for of, hour in self._lines if of == way and hour)
        for hour in hours[:-HOURS]:
            if (gone := self._lines.pop((way, hour))) is self._open:
                self._open = self._line(way, 0)
            older = self._line(way, 0)
            for name, value in gone.items():
                older[name] += value

    def note(self, outcome: str, readings: int = 1) -> None:
        """What became of so many of them: one of OUTCOMES."""
        self._open[outcome] += readings

    def flat(self) -> dict[str, int]:
        """What the manifest keeps."""
        return {
            f"{_PREFIX} {way} {hour} {name}": value
            for (way, hour), line in self._lines.items()
            for name, value in line.items()
            if value
        }

    def lines(self) -> list[Reconciled]:
        """All lines that hold anything, by way and hour."""
        return [
            Reconciled(way=way, hour_at=hour * HOUR, **line)
            for (way, hour), line in sorted(self._lines.items())
            if any(line.values())
        ]

    def _line(self, way: str, hour: int) -> dict[str, int]:
        return self._lines.setdefault((way, hour), dict.fromkeys(_NAMES, 0))


def without_reconciled(counts: Mapping[str, int]) -> dict[str, int]:
    """The other counts of the manifest."""
    return {name: value for name, value in counts.items() if not name.startswith(_PREFIX + " ")}
