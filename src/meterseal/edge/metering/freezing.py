"""Station edge, freezes: the load profile by the hour, all registers by the day and by the settlement month.

It counts nothing. Hours are those of the meter's own local clock. An hour that the meter did not live through is
marked as lost; a midnight that it did not live through is frozen late, with what the registers show then. A clock that
was set back freezes nothing twice.
"""

from __future__ import annotations

from msgspec.structs import replace

from meterseal.edge.metering import clock
from meterseal.edge.metering.design import DAY, HOUR, Design
from meterseal.edge.metering.state import Book, Day, Freeze, MeterState, registers

TOLERANCE = 60_000
"""A reading taken later than this after its hour is not that hour's."""


def freeze(state: MeterState, design: Design, at: int) -> tuple[MeterState, bool]:
    """Deal with every hour that the meter's clock, showing `at`, has completed; whether a local day ended."""
    book = state.book
    off = design.utc_offset * 60_000
    last = at - (at + off) % HOUR
    if last <= book.through:
        return state, False
    values = registers(state, design)
    through = book.through
    if last - through > design.days * DAY:  # the clock jumped by more than is kept
        through = clock.midnight(last, design.utc_offset) - design.days * DAY
    days, months = list(book.days), book.months
    ended, raised = False, state.raised
    while through < last:
        begin = clock.midnight(through, design.utc_offset)
        if not days or days[-1].start_at != begin:
            lost = (None,) * ((through - begin) // HOUR)
            days.append(Day(begin, lost, fed=lost if design.feeds else ()))
        through += HOUR
        taken = through == last and at - last <= TOLERANCE
        day = days[-1]
        hours = (*day.hours, values[0] if taken else None)
        fed = (*day.fed, values[1] if taken else None) if design.feeds else ()
        if (through + off) % DAY == 0:
            days[-1] = Day(begin, hours, values, raised, state.supply, state.back, fed)
            ended, raised = True, state.alarms
            if clock.settlement(through, state.parameters.settlement_day, design.utc_offset) == through:
                months = (*months, Freeze(through, values))[-design.months :]
        else:
            days[-1] = Day(begin, hours, (), raised, fed=fed)
    kept = Book(through, tuple(days[-design.days :]), months, book.instants)
    return replace(state, book=kept, raised=raised), ended


def freeze_now(state: MeterState, design: Design, at: int) -> MeterState:
    """Freeze all registers at this instant (瞬时冻结)."""
    instants = (*state.book.instants, Freeze(at, registers(state, design)))[-design.instants :]
    return replace(state, book=replace(state.book, instants=instants))


class Stored:
    """The stored readings of a state, as `edge.readings.Readings` wants them."""

    def __init__(self, state: MeterState, design: Design) -> None:
        self._state = state
        self._design = design
        self._days = {day.start_at: day for day in state.book.days}

    @property
    def since(self) -> int:
        """Local midnight that begins the first stored day."""
        days = self._state.book.days
        return days[0].start_at if days else clock.midnight(self._state.book.through, self._design.utc_offset)

    @property
    def until(self) -> int:
        """Local midnight that ends the last complete day."""
        ended = [day.start_at + DAY for day in self._state.book.days[-2:] if day.closed]
        return ended[-1] if ended else self.since

    @property
    def shown(self) -> tuple[int, ...]:
        """All registers as the meter shows them now."""
        return registers(self._state, self._design) or (0,) * len(self._design.registers)

    def closed(self, at: int) -> tuple[int, ...]:
        """All registers as frozen at a local midnight or settlement; empty when there is none."""
        day = self._days.get(at - DAY)
        if day is not None and day.closed:
            return day.closed
        return next((one.registers for one in self._state.book.months if one.at == at), ())

    def temperatures(self, at: int) -> tuple[int, int]:
        """Supply and return at a local midnight that is stored, else now; hundredths of a degree."""
        day = self._days.get(at - DAY)
        source = day if day is not None and day.closed else self._state
        return source.supply, source.back

    def status(self, at: int) -> int:
        """The alarms of the day that ends at `at`; those that last for any other instant."""
        day = self._days.get(at - DAY)
        return day.status if day is not None and day.closed else self._state.alarms | self._state.raised

    def stored(self, end_at: int, index: int = 0) -> int | None:
        """The load profile's reading of a full hour of register number `index`; None when it was lost or is not kept."""
        start_at = clock.midnight(end_at - 1, self._design.utc_offset)
        day = self._days.get(start_at)
        hours = () if day is None else (day.hours, day.fed)[index] if index < 2 else ()
        place = (end_at - start_at) // HOUR - 1
        return hours[place] if place < len(hours) else None

    def register(self, index: int, at: int) -> int:
        """Register number `index`: what was frozen at this instant or last before it, else what it shows now."""
        closed = self.closed(at)
        if closed:
            return closed[index]
        if at >= self._state.book.through:
            return registers(self._state, self._design)[index]
        if index == 0 or (index == 1 and self._design.feeds):
            off = self._design.utc_offset * 60_000
            end_at = at - (at + off) % HOUR
            while end_at > self.since:
                value = self.stored(end_at, index)
                if value is not None:
                    return value
                end_at -= HOUR
        for day in reversed(self._state.book.days):
            if day.closed and day.start_at + DAY <= at:
                return day.closed[index]
        return registers(self._state, self._design)[index]
