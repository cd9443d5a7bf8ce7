"""Station head-end, what a heat meter's answer tells of its water: both temperatures, the volume so far, whether it flows.

Pure. It makes no spread of it and holds it against no energy: the rule `heat-balance` does.
"""

from __future__ import annotations

from typing import Final

from meterseal.model import HeatSeen, medium_of
from meterseal.wire.meaning import Meaning, Value

COLDEST: Final = -5_000
HOTTEST: Final = 25_000
"""Centikelvin above 0 degC: what lies beyond no sensor in a pipe shows, and is a broken one or nobody's measurement."""
MOST_LITRES: Final = 10**12
COOLING, BOTH = 0x21, 0x22
"""CJ/T 188 types of heat meters: one counts what water takes up, so that its warm pipe is the return; the other one counts
that too, in a register of its own, which no balance is of."""
_HUNDREDTHS: Final = -2
_LITRES: Final = {"m3": 3, "L": 0}


def seen(device_id: bytes, meaning: Meaning, at: int) -> HeatSeen | None:
    """What an answer (901F, 911F) says of the water at `at`; None where it says no two temperatures that can be.

    Its registers are good whatever its sensors show, so a record is never refused for these.
    """
    if meaning.interval is not None or medium_of(device_id) != "heat":
        return None
    supply, back = (
        _temperature(meaning.readings.get(f"{pipe}_temperature")) for pipe in ("supply", "return")
    )
    if supply is None or back is None or supply == back == 0:  # zeros stand for sensors that are not there
        return None
    if device_id[0] == COOLING:
        supply, back = back, supply
    elif device_id[0] == BOTH and back > supply:
        return None
    flow = meaning.readings.get("flow_rate")
    return HeatSeen(
        device_id,
        at,
        supply,
        back,
        _litres(meaning.readings.get("cumulative_volume")),
        flow is None or flow.register != 0,
    )


def _temperature(value: Value | None) -> int | None:
    if value is None or value.register is None or value.exponent != _HUNDREDTHS:
        return None
    return value.register if COLDEST <= value.register <= HOTTEST else None


def _litres(value: Value | None) -> int:
    """Whole litres; -1 where nobody says how many."""
    if value is None or value.register is None or value.unit not in _LITRES:
        return -1
    by = value.exponent + _LITRES[value.unit]
    litres = value.register * 10**by if by >= 0 else value.register // 10**-by
    return litres if 0 <= litres <= MOST_LITRES else -1
