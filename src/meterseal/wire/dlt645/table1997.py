"""Station wire, DL/T 645-1997 identifiers: the two-byte DI of the older edition, with the same reading names.

It reads no bytes; 2007 identifiers stand in `table`.
"""

from __future__ import annotations

from typing import Final

from meterseal.wire.dlt645.table import Item, Quantity

DELIMITER: Final = 0xAA
"""A block may end with AA (块结束符)."""

DIRECTIONS: Final = {
    1: ("forward", "正向"),
    2: ("reverse", "反向"),
    3: ("quadrant_1", "第一象限"),
    4: ("quadrant_4", "第四象限"),
    5: ("quadrant_2", "第二象限"),
    6: ("quadrant_3", "第三象限"),
}
MONTHS: Final = {0: ("", ""), 4: ("_settlement_1", "(上月)"), 8: ("_settlement_2", "(上上月)")}
TARIFFS: Final = 14

PHASES: Final = (("a", "A相"), ("b", "B相"), ("c", "C相"))
PER_PHASE: Final = {
    0x61: ("voltage", "电压", 2, 0, "V", False),
    0x62: ("current", "电流", 2, -2, "A", False),
    0x63: ("active_power", "有功功率", 3, -4, "kW", True),
    0x64: ("reactive_power", "无功功率", 2, -2, "kvar", True),
    0x65: ("power_factor", "功率因数", 2, -3, "", True),
}
"""By the low 12 bits of B6xx without the phase; total at 0 where there is one."""

SINGLE: Final[dict[int, Item]] = {
    0xC010: Item("date", "日期及周次", 4, kind="time"),
    0xC011: Item("time", "时间", 3, kind="time"),
    0xC020: Item("meter_status_word", "电表运行状态字", 1, kind="bits"),
    0xC021: Item("grid_status_word", "电网状态字", 1, kind="bits"),
    0xC030: Item("active_constant", "电表常数(有功)", 3, 0, "imp/kWh"),
    0xC031: Item("reactive_constant", "电表常数(无功)", 3, 0, "imp/kvarh"),
    0xC032: Item("meter_number", "表号", 6, kind="digits"),
    0xC033: Item("customer_number", "用户号", 6, kind="digits"),
    0xC034: Item("device_code", "设备码", 6, kind="digits"),
}


def lookup(di: int) -> Quantity | None:
    """The fields of a 1997 identifier (high byte first), or None when it is not in the table."""
    if di in SINGLE:
        return Quantity((SINGLE[di],))
    high, low = di >> 8, di & 0xFF
    if high >> 4 in (0x9, 0xA):
        return _register(high, low)
    if high == 0xB6:
        return _instantaneous(low)
    return None


def _register(high: int, low: int) -> Quantity | None:
    """9x energy and Ax maximum demand: month, active or reactive, direction, tariff."""
    month, reactive = MONTHS.get(high & 0x0C), bool(high & 1)
    direction = DIRECTIONS.get(low >> 4)
    if month is None or high & 2 or direction is None or (not reactive and low >> 4 > 2):
        return None
    energy = high >> 4 == 0x9
    kind = ("reactive" if reactive else "active") + ("_energy" if energy else "_maximum_demand")
    term = ("无功" if reactive else "有功") + ("电能" if energy else "最大需量")
    size, exponent = (4, -2) if energy else (3, -4)
    unit = ("kvarh" if reactive else "kWh") if energy else ("kvar" if reactive else "kW")

    def item(tariff: int) -> Item:
        suffix, label = (f"_tariff_{tariff}", f"费率{tariff}") if tariff else ("", "")
        name = f"{direction[0]}_{kind}{suffix}{month[0]}"
        return Item(name, f"{month[1]}{direction[1]}{term}{label}", size, exponent, unit)

    if low & 0x0F == 0x0F:
        return Quantity(tuple(item(tariff) for tariff in range(TARIFFS + 1)), block=True)
    return Quantity((item(low & 0x0F),))


def _instantaneous(low: int) -> Quantity | None:
    row = PER_PHASE.get(0x60 | low >> 4)
    if row is None:
        return None
    name, term, size, exponent, unit, has_total = row
    phases = [Item(f"{name}_{phase}", chinese + term, size, exponent, unit) for phase, chinese in PHASES]
    places = dict(enumerate(phases, start=1))
    if has_total:
        places[0] = Item(name, f"总{term}", size, exponent, unit)
    if low & 0x0F == 0x0F:
        return Quantity(tuple(places[index] for index in sorted(places)), block=True)
    return Quantity((places[low & 0x0F],)) if low & 0x0F in places else None
