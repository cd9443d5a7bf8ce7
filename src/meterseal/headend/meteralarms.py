"""Station head-end, what a meter itself raises the alarm about: the status in its daily signed freeze, as audit entries.

Pure. It judges no reading and knows no person. A meter repeats an alarm in the freeze of each day that it lasts, so one
that is not told today is told tomorrow. Only meters with a module sign; what a plain meter's status means is its maker's.
"""

from __future__ import annotations

from typing import Final

from meterseal.link.evidence import unpack
from meterseal.model import FAULT, MAGNET, REMOVED, REVERSE, Opened, Refusal

SAID: Final = {
    REMOVED: ("meter.removed", "its cover was opened or it was taken off; look at it on site."),
    MAGNET: ("meter.magnet", "a magnet was held to it; compare its use with earlier months."),
    FAULT: ("meter.fault", "its battery is at its minimum, or its relay tripped by its own limits."),
    REVERSE: ("meter.reverse", "something flowed backwards through it; look for a pump or a wrong pipe."),
}
"""Bits of the second status byte, and what is written about them."""
KINDS: Final = ("battery", "fault", "magnet", "removed", "reverse")
"""Everything that a statement can raise; each is a rule's. A cover that was opened is `removed` too, a power failure is in
the counters of a meter that signs, and that a clock is off no meter knows of itself."""
BATTERY: Final = 0x0400
ABNORMAL: Final = 3
"""Valve bits of the first status byte."""
VALVE: Final = ("meter.valve", "its valve does not move as it was told.")
PLAIN: Final = {
    BATTERY: ("meter.battery", "its battery is low; have it replaced."),
    0x8000: ("meter.power", "its power failed, once or more often."),
}
"""What is told of plain meters besides, once: a meter that signs says it in its counters."""


def kinds(status: int) -> list[str]:
    """What the status bytes of a statement raise, in words of the rules: `KINDS`."""
    found = {code.removeprefix("meter.") for bit, (code, _) in SAID.items() if status & bit}
    found |= {"battery"} if status & BATTERY else set()
    return sorted(found | ({"fault"} if status >> 8 & 3 == ABNORMAL else set()))


def sayings(status: int) -> list[tuple[str, str]]:
    """Code and sentence of each alarm of a plain meter; the first byte of `status` is the higher one."""
    bits = {**PLAIN, **SAID}
    valve = [VALVE] if status >> 8 & 3 == ABNORMAL else []
    return valve + [said for bit, said in bits.items() if status & bit]


def told(opened: Opened, source: str) -> list[Refusal]:
    """The alarms of a record that is to be committed, in the order of bits; at the end of their day, never ahead of when
    they came: a meter says what time it likes."""
    entries: list[tuple[int, str, str]] = []
    for one in opened.evidence:
        statement = unpack(one.statement)
        if statement.status >> 8 & 3 == ABNORMAL:
            entries.append((statement.end_at, *VALVE))
        entries += [
            (statement.end_at, code, sentence)
            for bit, (code, sentence) in SAID.items()
            if statement.status & bit
        ]
    return [
        Refusal(
            at=min(at, opened.received_at),
            code=code,
            sentence=f"Meter {opened.device_id.hex()} says of the day that ended then: {sentence}",
            device_id=opened.device_id,
            session_id=opened.session_id,
            counter=opened.counter,
            source=source,
        )
        for at, code, sentence in entries
    ]
