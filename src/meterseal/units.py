"""Below every station: the unit codes (单位代号) of CJ/T 188, how they scale a BCD number, and what units are in others.

It converts nothing; a code becomes a symbol and an exponent, or stays a bare code.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from msgspec import Struct


class Unit(Struct, frozen=True):
    """One unit code: value = BCD digits * 10**exponent, in `symbol`; `rate` marks units of flow."""

    code: int
    symbol: str
    exponent: int
    rate: bool = False


def _steps(first: int, symbol: str, exponent: int, *, rate: bool = False) -> list[Unit]:
    """A code and its two successors, which mean ten and a hundred times the unit."""
    return [Unit(first + step, symbol, exponent + step, rate) for step in range(3)]


UNITS: dict[int, Unit] = {
    unit.code: unit
    for unit in (
        Unit(0x01, "J", -2),
        *_steps(0x02, "Wh", -2),
        *_steps(0x05, "kWh", -2),
        *_steps(0x08, "MWh", -2),
        *_steps(0x0B, "kJ", -2),
        *_steps(0x0E, "MJ", -2),
        *_steps(0x11, "GJ", -2),
        *_steps(0x14, "W", -2),
        *_steps(0x17, "kW", -2),
        *_steps(0x1A, "MW", -2),
        *_steps(0x29, "L", -2),
        *_steps(0x2C, "m3", -2),
        *_steps(0x32, "L/h", -4, rate=True),
        *_steps(0x35, "m3/h", -4, rate=True),
        *_steps(0x40, "J/h", -4, rate=True),
        *_steps(0x43, "kJ/h", -4, rate=True),
        *_steps(0x46, "MJ/h", -4, rate=True),
        *_steps(0x49, "GJ/h", -4, rate=True),
    )
}
"""Unit codes of both editions. The steps by 10 and 100 and the 40..4B family come from one source only."""

CONFIRMED = frozenset(bytes.fromhex("01 02 05 08 0A 0B 0E 11 13 14 17 1A 29 2C 32 35"))
"""Codes that more than one source names; only these tell a unit byte from other bytes."""

CODES: dict[tuple[str, int], int] = {(unit.symbol, unit.exponent): unit.code for unit in UNITS.values()}
"""(symbol, exponent of the BCD number) -> unit code."""

RATIOS: Final[dict[tuple[str, str], Fraction]] = {
    ("m3", "L"): Fraction(1000),
    ("m3/h", "L/h"): Fraction(1000),
    ("kW", "W"): Fraction(1000),
    ("kW", "MW"): Fraction(1, 1000),
    ("kWh", "Wh"): Fraction(1000),
    ("kWh", "MWh"): Fraction(1, 1000),
    ("kWh", "J"): Fraction(3_600_000),
    ("kWh", "kJ"): Fraction(3_600),
    ("kWh", "MJ"): Fraction(36, 10),
    ("kWh", "GJ"): Fraction(36, 10_000),
}
"""How many of the second unit one of the first is."""


def unit_code(symbol: str) -> int:
    """The plain code of a unit symbol (`m3` -> 2C, `kWh` -> 05). Raises KeyError for an unknown symbol."""
    return CODES[symbol, -4 if (symbol, -4) in CODES else -2]
