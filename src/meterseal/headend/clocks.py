"""Station head-end, what a concentrator tells of the clocks of meters without a module: how far they can be off at most.

Pure. It re-times no reading: what follows for readings is decided in mdms. The clock showed a time between a question and
its answer, so how far it is off lies between two bounds, however long the bus took; without both nothing is claimed.
"""

from __future__ import annotations

from typing import Final

from meterseal.errors import PeerError
from meterseal.headend.saying import AHEAD, BACKLOG
from meterseal.model import ClockSeen, medium_of
from meterseal.wire import identifiers as ids
from meterseal.wire.fields import clock_step, moment_at
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret

CODE: Final = "meter.clock"
FAR: Final = 120_000
"""A clock that is off by more (ms) is an alarm, or set where it has a module; what is too much for its readings, the rule
`clock-error` knows."""
LONGEST: Final = 120_000
"""Between question and answer (ms)."""
_OWN: Final = ids.write_di(ids.CLOCK, high_first=False), ids.CLOCK_645.to_bytes(4, "little")


def is_one(frame: Frame) -> bool:
    """Whether a frame says no more than what a plain meter's clock showed."""
    if not frame.data.startswith(_OWN):
        return False
    meaning = interpret(frame)
    return meaning.direction == "up" and meaning.recognised and meaning.di in (ids.CLOCK, ids.CLOCK_645)


def seen(frame: Frame, received_at: int) -> ClockSeen:
    """What such a frame says. PeerError `wire.clock` where its moments are none, or in no order that they can have."""
    said = interpret(frame).readings
    shown, asked, answered, agreed = (
        moment_at(said[name].text)
        for name in ("clock_shown", "clock_asked", "clock_answered", "clock_agreed")
    )
    if shown is None or asked is None or answered is None or agreed is None:
        raise PeerError("wire.clock", "What is said of a meter's clock has a time that is no date.")
    in_order = agreed <= asked <= answered <= asked + LONGEST
    if not in_order or not received_at - BACKLOG <= answered <= received_at + AHEAD:
        raise PeerError("wire.clock", "What is said of a meter's clock has times that cannot be.")
    return ClockSeen(
        frame.device_id,
        agreed if agreed < asked else answered,
        answered,
        shown - answered,
        shown + clock_step(shown) - asked,
        medium_of(frame.device_id) != "electricity" and -BACKLOG <= shown - answered <= AHEAD,
    )


def is_far(one: ClockSeen) -> bool:
    """Whether somebody should set it."""
    return abs(one.off) > FAR


def sentence(one: ClockSeen, concentrator_id: bytes) -> str:
    """What is written of it: which meter, by how much, and what to do."""
    off = one.off
    return (
        f"The clock of meter {one.device_id.hex()}, which has no module, {'leads' if off > 0 else 'lags'} by at least "
        f"{spoken(abs(off))} by that of concentrator {concentrator_id.hex()}. Set it; where it goes wrong again, "
        "its battery or the meter is to be exchanged."
    )


def spoken(off: int) -> str:
    """A length of time in words, the larger two units of it."""
    parts = [
        (off // 86_400_000, "d"),
        (off // 3_600_000 % 24, "h"),
        (off // 60_000 % 60, "min"),
        (off // 1_000 % 60, "s"),
    ]
    said = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(said[:2]) or "0 s"
