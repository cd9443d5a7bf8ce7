"""Station wire, DL/T 645-2007 identifiers: DI -> the fields behind it, each with the name its reading gets.

It reads no bytes. The names are fixed by docs/adr/0002-dlt645-reading-names.md.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

FieldKind = Literal["number", "ascii", "digits", "time", "bits"]


class Item(Struct, frozen=True):
    """One field: `size` bytes; numbers carry exponent, unit and whether the top bit is their sign.

    Kinds: `number` BCD; `ascii` text, low byte first; `digits` BCD digits kept as text; `time` BCD digits in
    printed order, YYMMDDhhmm or parts of it; `bits` hex of a status word.
    """

    name: str
    chinese: str
    size: int
    exponent: int = 0
    unit: str | None = None
    signed: bool = False
    kind: FieldKind = "number"


class Quantity(Struct, frozen=True):
    """An identifier's fields in order. In a `block` the fields repeat what single identifiers name."""

    items: tuple[Item, ...]
    block: bool = False


ACTIVE: Final = ("active_energy", "有功电能", "kWh")
REACTIVE: Final = ("reactive_energy", "无功电能", "kvarh")
APPARENT: Final = ("apparent_energy", "视在电能", "kVAh")

ENERGIES: Final[dict[int, tuple[str, str, str, bool]]] = {
    0x00: ("combined_active_energy", "组合有功电能", "kWh", True),
    0x01: ("forward_active_energy", "正向有功电能", "kWh", False),
    0x02: ("reverse_active_energy", "反向有功电能", "kWh", False),
    0x03: ("combined_reactive_energy_1", "组合无功1电能", "kvarh", True),
    0x04: ("combined_reactive_energy_2", "组合无功2电能", "kvarh", True),
    0x05: ("quadrant_1_reactive_energy", "第一象限无功电能", "kvarh", False),
    0x06: ("quadrant_2_reactive_energy", "第二象限无功电能", "kvarh", False),
    0x07: ("quadrant_3_reactive_energy", "第三象限无功电能", "kvarh", False),
    0x08: ("quadrant_4_reactive_energy", "第四象限无功电能", "kvarh", False),
    0x09: ("forward_apparent_energy", "正向视在电能", "kVAh", False),
    0x0A: ("reverse_apparent_energy", "反向视在电能", "kVAh", False),
}
"""Energies by D2 of 00 D2 xx xx: name, Chinese term, unit, whether the top bit is the sign."""

PHASES: Final = (("a", "A相", 0x15), ("b", "B相", 0x29), ("c", "C相", 0x3D))
"""Phase energies start at these D2, in the order of ENERGIES from 01 on (combined reactive once each)."""

DEMAND_UNITS: Final = {"kWh": "kW", "kvarh": "kvar", "kVAh": "kVA"}

PER_PHASE: Final[dict[int, tuple[str, str, int, int, str, bool, bool]]] = {
    0x01: ("voltage", "电压", 2, -1, "V", False, False),
    0x02: ("current", "电流", 3, -3, "A", True, False),
    0x03: ("active_power", "有功功率", 3, -4, "kW", True, True),
    0x04: ("reactive_power", "无功功率", 3, -4, "kvar", True, True),
    0x05: ("apparent_power", "视在功率", 3, -4, "kVA", True, True),
    0x06: ("power_factor", "功率因数", 2, -3, "", True, True),
    0x07: ("phase_angle", "相角", 2, -1, "deg", False, False),
    0x08: ("voltage_distortion", "电压波形失真度", 2, -2, "%", False, False),
    0x09: ("current_distortion", "电流波形失真度", 2, -2, "%", False, False),
}
"""Instantaneous quantities by D2 of 02 D2 D1 00: name, term, size, exponent, unit, sign bit, has a total."""

FREEZES: Final = {
    0x00: ("timed_freeze", "定时冻结"),
    0x01: ("instant_freeze", "瞬时冻结"),
    0x04: ("hourly_freeze", "整点冻结"),
    0x06: ("daily_freeze", "日冻结"),
}


def _one(name: str, chinese: str, size: int, exponent: int = 0, unit: str | None = None) -> Quantity:
    return Quantity((Item(name, chinese, size, exponent, unit),))


def _signed(name: str, chinese: str, size: int, exponent: int, unit: str) -> Quantity:
    return Quantity((Item(name, chinese, size, exponent, unit, signed=True),))


def _text(name: str, chinese: str, size: int, kind: FieldKind = "ascii") -> Quantity:
    return Quantity((Item(name, chinese, size, kind=kind),))


STATUS_WORDS: Final = tuple(
    Item(f"status_word_{index}", f"电表运行状态字{index}", 2, kind="bits") for index in range(1, 8)
)

SINGLE: Final[dict[int, Quantity]] = {
    0x00900100: _one("remaining_energy", "剩余电量", 4, -2, "kWh"),
    0x00900101: _one("overdraft_energy", "透支电量", 4, -2, "kWh"),
    0x00900200: _one("remaining_amount", "剩余金额", 4, -2, "CNY"),
    0x00900201: _one("overdraft_amount", "透支金额", 4, -2, "CNY"),
    0x02800001: _signed("neutral_current", "零线电流", 3, -3, "A"),
    0x02800002: _one("frequency", "电网频率", 2, -2, "Hz"),
    0x02800003: _signed("average_active_power", "一分钟有功总平均功率", 3, -4, "kW"),
    0x02800004: _signed("active_demand", "当前有功需量", 3, -4, "kW"),
    0x02800005: _signed("reactive_demand", "当前无功需量", 3, -4, "kvar"),
    0x02800006: _signed("apparent_demand", "当前视在需量", 3, -4, "kVA"),
    # C as in ADR 0002 and the captured vectors; CJ/T 188 readings say degC
    0x02800007: _signed("internal_temperature", "表内温度", 2, -1, "C"),
    0x02800008: _one("clock_battery_voltage", "时钟电池电压", 2, -2, "V"),
    0x02800009: _one("reading_battery_voltage", "停电抄表电池电压", 2, -2, "V"),
    0x0280000A: _one("battery_working_time", "内部电池工作时间", 4, 0, "min"),
    0x0280000B: _one("step_price", "当前阶梯电价", 4, -4, "CNY/kWh"),
    0x03110000: _one("power_failures", "掉电总次数", 3, 0, ""),
    0x04000101: Quantity((Item("date", "日期及星期", 4, kind="time"),)),
    0x04000102: Quantity((Item("time", "时间", 3, kind="time"),)),
    0x04000103: _one("demand_period", "最大需量周期", 1, 0, "min"),
    0x04000104: _one("demand_slip", "滑差时间", 1, 0, "min"),
    0x04000105: _one("pulse_width", "校表脉冲宽度", 2, 0, "ms"),
    0x0400010C: Quantity((Item("date_time", "日期及时间", 7, kind="time"),)),
    0x04000201: _one("year_zones", "年时区数", 1, 0, ""),
    0x04000202: _one("day_tables", "日时段表数", 1, 0, ""),
    0x04000203: _one("day_periods", "日时段数", 1, 0, ""),
    0x04000204: _one("tariffs", "费率数", 1, 0, ""),
    0x04000205: _one("public_holidays", "公共假日数", 2, 0, ""),
    0x04000303: _one("energy_decimals", "显示电能小数位数", 1, 0, ""),
    0x04000304: _one("power_decimals", "显示功率小数位数", 1, 0, ""),
    0x04000306: _one("current_ratio", "电流互感器变比", 3, 0, ""),
    0x04000307: _one("voltage_ratio", "电压互感器变比", 3, 0, ""),
    0x04000401: _text("address", "通信地址", 6, "digits"),
    0x04000402: _text("meter_number", "表号", 6, "digits"),
    0x04000403: _text("asset_code", "资产管理编码", 32),
    0x04000404: _text("rated_voltage", "额定电压", 6),
    0x04000405: _text("rated_current", "额定电流", 6),
    0x04000406: _text("maximum_current", "最大电流", 6),
    0x04000407: _text("active_accuracy", "有功准确度等级", 4),
    0x04000408: _text("reactive_accuracy", "无功准确度等级", 4),
    0x04000409: _one("active_constant", "电表有功常数", 3, 0, "imp/kWh"),
    0x0400040A: _one("reactive_constant", "电表无功常数", 3, 0, "imp/kvarh"),
    0x0400040B: _text("meter_model", "电表型号", 10),
    0x0400040C: _text("production_date", "生产日期", 10),
    0x0400040D: _text("protocol_version", "协议版本号", 16),
    0x0400040E: _text("customer_number", "客户编号", 6, "digits"),
    **{0x04000501 + index: Quantity((item,)) for index, item in enumerate(STATUS_WORDS)},
    0x040005FF: Quantity(STATUS_WORDS, block=True),
    0x04000B01: _text("settlement_day_1", "每月第1结算日", 2, "time"),
    0x04000B02: _text("settlement_day_2", "每月第2结算日", 2, "time"),
    0x04000B03: _text("settlement_day_3", "每月第3结算日", 2, "time"),
    0x04800001: _text("manufacturer_software", "厂家软件版本号", 32),
    0x04800002: _text("manufacturer_hardware", "厂家硬件版本号", 32),
    0x04800003: _text("manufacturer_code", "厂家编号", 32),
}

MOST_TARIFFS: Final = 63


def lookup(di: int) -> Quantity | None:
    """The fields of a 2007 identifier (D3 D2 D1 D0, high byte first), or None when it is not in the table."""
    if di in SINGLE:
        return SINGLE[di]
    group, second, third, last = di.to_bytes(4, "big")
    if group == 0x00:
        return _energy(second, third, last)
    if group == 0x01:
        return _demand(second, third, last)
    if group == 0x02 and last == 0:
        return _instantaneous(second, third)
    if group == 0x05:
        return _freeze(second, third, last)
    return None


def _energy_of(second: int) -> tuple[str, str, str, bool] | None:
    if second in ENERGIES:
        return ENERGIES[second]
    for phase, chinese, first in PHASES:
        if first <= second < first + 10:
            name, term, unit, signed = ENERGIES[second - first + 1]
            return f"{name}_{phase}", chinese + term, unit, signed
    return None


def _settlement(last: int) -> tuple[str, str] | None:
    """Suffix of D0: 00 is now, 01..0C the last twelve settlement days."""
    if last == 0:
        return "", ""
    return (f"_settlement_{last}", f"(上{last}结算日)") if last <= 12 else None


def _tariff(third: int) -> tuple[str, str]:
    return (f"_tariff_{third}", f"费率{third}") if third else ("", "")


def _energy(second: int, third: int, last: int) -> Quantity | None:
    base, day = _energy_of(second), _settlement(last)
    if base is None or day is None or (third > MOST_TARIFFS and third != 0xFF):
        return None
    name, term, unit, signed = base

    def item(tariff: int) -> Item:
        suffix, label = _tariff(tariff)
        return Item(name + suffix + day[0], day[1] + term + label, 4, -2, unit, signed)

    if third == 0xFF:
        return Quantity(tuple(item(tariff) for tariff in range(MOST_TARIFFS + 1)), block=True)
    return Quantity((item(third),))


def _demand(second: int, third: int, last: int) -> Quantity | None:
    base, day = _energy_of(second), _settlement(last)
    if base is None or day is None or (third > MOST_TARIFFS and third != 0xFF):
        return None
    name = base[0].replace("_energy", "_maximum_demand")
    term = base[1].replace("电能", "最大需量")

    def items(tariff: int) -> tuple[Item, Item]:
        suffix, label = _tariff(tariff)
        full, said = name + suffix + day[0], day[1] + term + label
        value = Item(full, said, 3, -4, DEMAND_UNITS[base[2]], base[3])
        return value, Item(f"{full}_time", f"{said}发生时间", 5, kind="time")

    if third == 0xFF:
        pairs = tuple(item for tariff in range(MOST_TARIFFS + 1) for item in items(tariff))
        return Quantity(pairs, block=True)
    return Quantity(items(third))


def _instantaneous(second: int, third: int) -> Quantity | None:
    if second not in PER_PHASE:
        return None
    name, term, size, exponent, unit, signed, has_total = PER_PHASE[second]
    phases = tuple(
        Item(f"{name}_{phase}", chinese + term, size, exponent, unit, signed) for phase, chinese, _ in PHASES
    )
    total = (Item(name, f"总{term}", size, exponent, unit, signed),) if has_total else ()
    if third == 0xFF:
        return Quantity(total + phases, block=True)
    places = {index: item for index, item in enumerate((*total, *phases), start=0 if has_total else 1)}
    return Quantity((places[third],)) if third in places else None


def _freeze(second: int, third: int, last: int) -> Quantity | None:
    """05 kind content index: time (00), forward (01) and reverse (02) active energy of a freeze."""
    if second not in FREEZES or not 1 <= last <= 0xFE:
        return None
    name, chinese = FREEZES[second]
    if third == 0:
        return Quantity((Item(f"{name}_{last}_time", f"(上{last}次){chinese}时间", 5, kind="time"),))
    if third not in (1, 2):
        return None
    energy, term, unit, _ = ENERGIES[third]
    tariffs = 1 if second == 0x04 else MOST_TARIFFS + 1
    items = tuple(
        Item(f"{energy}{_tariff(tariff)[0]}_{name}_{last}", f"(上{last}次){chinese}{term}", 4, -2, unit)
        for tariff in range(tariffs)
    )
    return Quantity(items, block=tariffs > 1)
