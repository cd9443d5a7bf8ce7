"""Station edge, scales: a register as a model of CJ/T 188 shows it: its unit, its decimals, its digits.

It rounds nothing: a meter cuts. What a model does not say is as the catalogue of fields has it.
"""

from __future__ import annotations

from fractions import Fraction

from meterseal.units import RATIOS, UNITS, unit_code
from meterseal.wire.catalogue import FIELDS
from meterseal.wire.cjt188.habits import Habits
from meterseal.wire.sheet import Value


def _scale(name: str, habits: Habits) -> Fraction:
    """What one digit of the catalogue's field is worth in digits of the model."""
    field = FIELDS[name]
    chosen = habits.units.get(name)
    if field.unit is None or field.kind != "quantity":
        return Fraction(10) ** (field.exponent - habits.decimals.get(name, field.exponent))
    unit = UNITS.get(int(chosen, 16) if chosen else unit_code(field.unit))
    symbol, exponent = (unit.symbol, unit.exponent) if unit is not None else (field.unit, field.exponent)
    ratio = Fraction(1) if symbol == field.unit else RATIOS.get((field.unit, symbol), Fraction(1))
    return ratio * Fraction(10) ** (field.exponent - habits.decimals.get(name, exponent))


def shown(name: str, register: int, habits: Habits) -> int:
    """The digits that the model shows for a register in the catalogue's unit; beyond eight they begin again at 0."""
    return int(register * _scale(name, habits) // 1) % 10**8


def meant(name: str, value: Value, habits: Habits) -> int | None:
    """The register in the catalogue's unit that digits of the model mean; None where they are of another unit."""
    field = FIELDS[name]
    chosen = habits.units.get(name)
    unit = UNITS.get(int(chosen, 16)) if chosen else None
    symbol = unit.symbol if unit is not None else field.unit
    if value.register is None or value.unit not in (None, "", symbol):
        return None
    exact = Fraction(value.register) * Fraction(10) ** value.exponent
    ratio = (
        Fraction(1)
        if symbol in (field.unit, None)
        else RATIOS.get((field.unit or "", symbol or ""), Fraction(1))
    )
    return int(exact / ratio / Fraction(10) ** field.exponent // 1)
