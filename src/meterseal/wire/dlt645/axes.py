"""Station wire, DL/T 645-2007 axes: energies, phases, tariffs, settlement days, freezes, as identifiers count them.

It names no identifier by itself; rows combine these (`table`, `events`). Phase energies start at D2 = 15, 29 and 3D,
the special ones at 80, 94, A8 and BC.
"""

from __future__ import annotations

from typing import Final

from meterseal.wire.dlt645.rules import Axis, Term

MOST_TARIFFS: Final = 63

ENERGIES: Final[dict[int, Term]] = {
    0x00: Term("combined_active_energy", "组合有功电能", "kWh", signed=True),
    0x01: Term("forward_active_energy", "正向有功电能", "kWh"),
    0x02: Term("reverse_active_energy", "反向有功电能", "kWh"),
    0x03: Term("combined_reactive_energy_1", "组合无功1电能", "kvarh", signed=True),
    0x04: Term("combined_reactive_energy_2", "组合无功2电能", "kvarh", signed=True),
    0x05: Term("quadrant_1_reactive_energy", "第一象限无功电能", "kvarh"),
    0x06: Term("quadrant_2_reactive_energy", "第二象限无功电能", "kvarh"),
    0x07: Term("quadrant_3_reactive_energy", "第三象限无功电能", "kvarh"),
    0x08: Term("quadrant_4_reactive_energy", "第四象限无功电能", "kvarh"),
    0x09: Term("forward_apparent_energy", "正向视在电能", "kVAh"),
    0x0A: Term("reverse_apparent_energy", "反向视在电能", "kVAh"),
}
"""Energies by D2 of 00 D2 xx xx; the top bit is the sign where energies are combined."""

SPECIAL: Final[dict[int, Term]] = {
    0x80: Term("associated_energy", "关联电能", "kWh", signed=True),
    0x81: Term("forward_active_fundamental_energy", "正向有功基波电能", "kWh"),
    0x82: Term("reverse_active_fundamental_energy", "反向有功基波电能", "kWh"),
    0x83: Term("forward_active_harmonic_energy", "正向有功谐波电能", "kWh"),
    0x84: Term("reverse_active_harmonic_energy", "反向有功谐波电能", "kWh"),
    0x85: Term("copper_loss_energy", "铜损有功电能补偿量", "kWh"),
    0x86: Term("iron_loss_energy", "铁损有功电能补偿量", "kWh"),
}
"""Energies without tariffs; whether 80 has a sign bit no source says for sure."""

LETTERS: Final = (("a", "A相"), ("b", "B相"), ("c", "C相"))
TOTAL_AND_LETTERS: Final = (("", ""), *((f"_{letter}", said) for letter, said in LETTERS))


def _with_phases(whole: dict[int, Term], first: int) -> dict[int, Term]:
    """The energies in all and, every 14H behind one another from `first` on, those of the phases."""
    terms = dict(whole)
    base = min(whole) + (1 if 0 in whole else 0)
    for index, (letter, chinese) in enumerate(LETTERS):
        for value, term in whole.items():
            if value >= base:
                place = first + 0x14 * index + value - base
                name = f"{term.english}_{letter}"
                terms[place] = Term(name, chinese + term.chinese, term.unit, term.signed)
    return terms


ENERGY: Final = Axis(_with_phases(ENERGIES, 0x15))
SPECIAL_ENERGY: Final = Axis(_with_phases(SPECIAL, 0x94))

DEMAND_UNITS: Final = {"kWh": "kW", "kvarh": "kvar", "kVAh": "kVA"}


def demand_of(term: Term) -> Term:
    """The maximum demand that belongs to an energy."""
    name = term.english.replace("_energy", "_maximum_demand")
    return Term(name, term.chinese.replace("电能", "最大需量"), DEMAND_UNITS[term.unit], term.signed)


DEMAND: Final = Axis({value: demand_of(term) for value, term in ENERGY.terms.items()})

TARIFFS: Final = tuple(
    Term(f"_tariff_{number}" if number else "", f"费率{number}" if number else "")
    for number in range(MOST_TARIFFS + 1)
)
TARIFF: Final = Axis(dict(enumerate(TARIFFS)), block=True)

SETTLEMENT: Final = Axis(
    {day: Term(f"_settlement_{day}" if day else "", f"(上{day}结算日)" if day else "") for day in range(13)},
    block=True,
)
"""D0: 00 is now, 01..0C the last twelve settlement days (the last is 1)."""

PHASE: Final = Axis(
    {number: Term(f"_{letter}", said) for number, (letter, said) in enumerate(LETTERS, start=1)}, block=True
)
TOTAL_AND_PHASE: Final = Axis({0: Term("", "总"), **PHASE.terms}, block=True)
HARMONIC: Final = Axis({n: Term(str(n), str(n)) for n in range(1, 22)}, block=True)

FREEZES: Final[dict[int, Term]] = {
    0x00: Term("timed_freeze", "定时冻结"),
    0x01: Term("instant_freeze", "瞬时冻结"),
    0x02: Term("zone_switch_freeze", "两套时区表切换冻结"),
    0x03: Term("period_switch_freeze", "两套日时段表切换冻结"),
    0x05: Term("price_switch_freeze", "两套费率电价切换冻结"),
    0x06: Term("daily_freeze", "日冻结"),
    0x07: Term("step_switch_freeze", "两套阶梯切换冻结"),
}
HOURLY: Final = Term("hourly_freeze", "整点冻结")
"""Hourly freezes (04) hold totals only."""

FREEZE: Final = Axis(FREEZES)
ANY_FREEZE: Final = Axis({**FREEZES, 0x04: HOURLY})
FROZEN: Final = Axis({value: ENERGIES[value] for value in range(1, 9)})
FROZEN_TOTAL: Final = Axis({value: ENERGIES[value] for value in (1, 2)})
FROZEN_DEMAND: Final = Axis({0x09: demand_of(ENERGIES[1]), 0x0A: demand_of(ENERGIES[2])})

PHASE_EVENTS: Final[dict[int, Term]] = {
    0x01: Term("voltage_loss", "失压"),
    0x02: Term("undervoltage", "欠压"),
    0x03: Term("overvoltage", "过压"),
    0x04: Term("phase_loss", "断相"),
}
CURRENT_EVENTS: Final[dict[int, Term]] = {
    0x0B: Term("current_loss", "失流"),
    0x0C: Term("overcurrent", "过流"),
    0x0D: Term("current_break", "断流"),
}
POWER_EVENTS: Final[dict[int, Term]] = {
    0x0E: Term("reverse_flow", "潮流反向"),
    0x0F: Term("overload", "过载"),
}
WHOLE_EVENTS: Final[dict[int, Term]] = {
    0x07: Term("voltage_reverse_sequence", "电压逆相序"),
    0x08: Term("current_reverse_sequence", "电流逆相序"),
}
BALANCE_EVENTS: Final[dict[int, Term]] = {
    0x09: Term("voltage_imbalance", "电压不平衡"),
    0x0A: Term("current_imbalance", "电流不平衡"),
}
"""Events by D2 of 03 D2 xx xx, grouped by what their records hold."""

AXES: Final = {
    "energy": ENERGY,
    "special": SPECIAL_ENERGY,
    "demand": DEMAND,
    "tariff": TARIFF,
    "settlement": SETTLEMENT,
    "phase": PHASE,
    "each": TOTAL_AND_PHASE,
    "harmonic": HARMONIC,
    "freeze": FREEZE,
    "any_freeze": ANY_FREEZE,
    "frozen": FROZEN,
    "frozen_total": FROZEN_TOTAL,
    "frozen_demand": FROZEN_DEMAND,
    "voltage_event": Axis(PHASE_EVENTS),
    "current_event": Axis(CURRENT_EVENTS),
    "power_event": Axis(POWER_EVENTS),
    "phase_event": Axis({**PHASE_EVENTS, **CURRENT_EVENTS, **POWER_EVENTS}),
    "whole_event": Axis(WHOLE_EVENTS),
    "balance_event": Axis(BALANCE_EVENTS),
    "counted_event": Axis({**WHOLE_EVENTS, **BALANCE_EVENTS}),
}
