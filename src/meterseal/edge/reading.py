"""Station edge, reading on request: what a plain meter may be asked besides its register, and answers in several pieces.

It commands nothing: every question is a read. DL/T 645 answers what is long in follow-up frames (D5, function 12 or 02);
however many a meter sends, so many are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from meterseal.edge.line import Line, Wanted
from meterseal.edge.poll import Riser
from meterseal.errors import LocalError, PeerError
from meterseal.wire import roles
from meterseal.wire.asked import Ask
from meterseal.wire.dlt645.names import MORE
from meterseal.wire.frame import Frame

MOST_PIECES = 16

NAMED: Final[dict[str, dict[str, tuple[int, ...]]]] = {
    "2007": {
        "demand": (0x01010000, 0x01020000),
        "load": tuple(range(0x06010002, 0x06070002, 0x10000)),
        "events": (
            *(0x03110000, 0x03110001),  # mains that failed
            *(0x03300000, 0x03300001, 0x03300100, 0x03300101),  # programmed, cleared
            *(0x03300200, 0x03300400, 0x03300401),  # demand cleared, clock set
            *(0x03300D00, 0x03300D01, 0x03300E00, 0x03300E01),  # covers opened
            *(0x03050000, 0x03350000),  # no voltage at all, magnetic fields
        ),
    },
    "1997": {
        "demand": (0xA010, 0xB010, 0xA020, 0xB020),
        "events": (0xB210, 0xB211, 0xB212, 0xB213, 0xB310, 0xB330),
    },
}
"""What is read under a name, by edition of DL/T 645: maximum demands with their times, the newest load record of each
class, counters of the event log and the newest records."""


def identifiers(line: Line, what: str) -> tuple[int, ...]:
    """The identifiers of a name, or the one that is written as 4 or 8 hex digits. LocalError `concentrator.ask`."""
    edition = "1997" if line.is_1997 else "2007"
    named = NAMED[edition].get(what, ()) if line.protocol == "dlt645" else ()
    width = 8 if line.protocol == "dlt645" and edition == "2007" else 4
    if not named:
        try:
            named = (int(what, 16),) if len(what) == width and what.isascii() and what.isalnum() else ()
        except ValueError:
            named = ()
    if not named:
        raise LocalError(
            "concentrator.ask",
            f"Meter {line.device_id.hex()} has no {what[:16]!r}: ask for register, for demand, events or load where it has "
            f"them, or for an identifier of {width} hex digits.",
        )
    return named


def read_whole(
    riser: Riser, line: Line, di: int, done: Callable[[Frame | None], None], *, most: int = MOST_PIECES
) -> None:
    """Read one identifier before anything that is due; `done` hears the answer, its pieces joined, or None where the meter
    refused, kept silent or sent what does not belong together. LocalError `wire.field`.
    """
    pieces: list[Frame] = []

    def ask(question: Ask) -> None:
        request = line.ask(question)
        riser.want(line.device_id, Wanted(lambda _: request, answered), hurried=True)

    def answered(frame: Frame | None, now: int) -> None:
        if frame is not None:
            pieces.append(frame)
        if frame is None or len(pieces) > most:
            done(None)
        elif line.protocol == "dlt645" and frame.control & MORE:
            ask(Ask(kind="follow-up", di=di, number=len(pieces)))
        else:
            done(_joined(pieces))

    ask(Ask(kind="read", di=di))


def _joined(pieces: list[Frame]) -> Frame | None:
    if len(pieces) == 1:
        return pieces[0]
    try:
        return roles.joined(pieces)
    except PeerError:
        return None
