"""Station wire, DL/T 645-1997 identifiers: the two-byte DI of the older edition, with the same reading names.

It reads no bytes; 2007 identifiers stand in `table`.
"""

from __future__ import annotations

from typing import Final

from meterseal.wire.dlt645.axes import LETTERS
from meterseal.wire.dlt645.items import Quantity
from meterseal.wire.dlt645.rules import Axis, Field, Rule, Table, Term, one

DELIMITER: Final = 0xAA
"""A block may end with AA (块结束符)."""
TARIFFS: Final = 14

_DIRECTIONS: Final = {
    1: Term("forward", "正向"),
    2: Term("reverse", "反向"),
    3: Term("quadrant_1", "第一象限"),
    4: Term("quadrant_4", "第四象限"),
    5: Term("quadrant_2", "第二象限"),
    6: Term("quadrant_3", "第三象限"),
}
_MONTHS: Final = (Term("", ""), Term("_settlement_1", "(上月)"), Term("_settlement_2", "(上上月)"))
AXES: Final = {
    "way": Axis({value: _DIRECTIONS[value] for value in (1, 2)}, 1),
    "quadrant": Axis(_DIRECTIONS, 1),
    "active": Axis({4 * index: month for index, month in enumerate(_MONTHS)}, 1),
    "reactive": Axis({4 * index + 1: month for index, month in enumerate(_MONTHS)}, 1),
    "tariff": Axis(
        {n: Term(f"_tariff_{n}" if n else "", f"费率{n}" if n else "") for n in range(TARIFFS + 1)},
        1,
        block=True,
    ),
    "phase": Axis(
        {number: Term(f"_{letter}", said) for number, (letter, said) in enumerate(LETTERS, start=1)},
        1,
        block=True,
    ),
    "each": Axis(
        {0: Term("", "总")}
        | {number: Term(f"_{letter}", said) for number, (letter, said) in enumerate(LETTERS, start=1)},
        1,
        block=True,
    ),
}
"""One hex digit each: month and kind, direction, tariff, phase."""

_REGISTERS: Final = tuple(
    rule
    for kind, term, month, way, energy, power in (
        ("active", "有功", "active", "way", "kWh", "kW"),
        ("reactive", "无功", "reactive", "quadrant", "kvarh", "kvar"),
    )
    for rule in (
        one(
            f"9 {{{month}}} {{{way}}} {{tariff}}",
            f"{{{way}}}_{kind}_energy{{tariff}}{{{month}}}",
            f"{{{month}}}{{{way}}}{term}电能{{tariff}}",
            "XXXXXX.XX",
            energy,
            mark="A",
        ),
        one(
            f"A {{{month}}} {{{way}}} {{tariff}}",
            f"{{{way}}}_{kind}_maximum_demand{{tariff}}{{{month}}}",
            f"{{{month}}}{{{way}}}{term}最大需量{{tariff}}",
            "XX.XXXX",
            power,
        ),
        one(
            f"B {{{month}}} {{{way}}} {{tariff}}",
            f"{{{way}}}_{kind}_maximum_demand{{tariff}}{{{month}}}_time",
            f"{{{month}}}{{{way}}}{term}最大需量{{tariff}}发生时间",
            "MMDDhhmm",
        ),
    )
)

_EVENTS: Final = (
    ("B210", "programming_time", "最近一次编程时间", "MMDDhhmm", None),
    ("B211", "demand_clear_time", "最近一次最大需量清零时间", "MMDDhhmm", None),
    ("B212", "programming_count", "编程次数", "NNNN", None),
    ("B213", "demand_clear_count", "最大需量清零次数", "NNNN", None),
    ("B214", "battery_working_time", "电池工作时间", "NNNNNN", "min"),
)
_PARAMETERS: Final = (
    ("C010", "date", "日期及周次", "YYMMDDWW", None),
    ("C011", "time", "时间", "hhmmss", None),
    ("C111", "demand_period", "最大需量周期", "NN", "min"),
    ("C112", "demand_slip", "滑差时间", "NN", "min"),
    ("C113", "screen_time", "循显时间", "NN", "s"),
    ("C114", "screen_pause", "停显时间", "NN", "s"),
    ("C115", "energy_decimals", "显示电能小数位数", "NN", None),
    ("C116", "power_decimals", "显示功率(最大需量)小数位数", "NN", None),
    ("C117", "settlement_day_1", "自动抄表日期", "DDhh", None),
    ("C118", "load_day", "负荷代表日", "NN", None),
    ("C119", "active_energy_start", "有功电能起始读数", "NNNNNNN.N", "kWh"),
    ("C11A", "reactive_energy_start", "无功电能起始读数", "NNNNNNN.N", "kvarh"),
    ("C211", "pulse_width", "输出脉冲宽度", "NNNN", "ms"),
    ("C310", "year_zones", "年时区数", "NN", None),
    ("C311", "day_tables", "日时段表数", "NN", None),
    ("C312", "day_periods", "日时段数", "NN", None),
    ("C313", "tariffs", "费率数", "NN", None),
    ("C314", "public_holidays", "公共假日数", "NN", None),
    ("C41E", "rest_day_table", "周休日采用的日时段表号", "NN", None),
    ("C510", "load_profile_start", "负荷记录起始时间", "MMDDhhmm", None),
    ("C511", "load_profile_interval_1", "负荷记录间隔时间", "NNNN", "min"),
)
_STATES: Final = (
    ("C020", "meter_status_word", "电表运行状态字", "bits 1", None),
    ("C021", "grid_status_word", "电网状态字", "bits 1", None),
    ("C022", "rest_days", "周休日状态字", "bits 1", None),
)
_IDENTITY: Final = (
    ("C030", "active_constant", "电表常数(有功)", "NNNNNN", "imp/kWh"),
    ("C031", "reactive_constant", "电表常数(无功)", "NNNNNN", "imp/kvarh"),
    ("C032", "meter_number", "表号", "digits 6", None),
    ("C033", "customer_number", "用户号", "digits 6", None),
    ("C034", "device_code", "设备码", "digits 6", None),
)


def _block(at: str) -> Rule:
    """All single rows of a group as the block that ends with F."""
    rows = (*_EVENTS, *_PARAMETERS, *_STATES, *_IDENTITY)
    fields = tuple(
        Field(name, said, form, unit) for place, name, said, form, unit in rows if place[:3] == at[:3]
    )
    return Rule(at, fields, block=True)


RULES: Final = (
    *_REGISTERS,
    one("B61 {phase}", "voltage{phase}", "{phase}电压", "XXXX", "V"),
    one("B62 {phase}", "current{phase}", "{phase}电流", "XX.XX", "A"),
    one("B63 {each}", "active_power{each}", "{each}有功功率", "XX.XXXX", "kW"),
    one("B634", "forward_power_limit", "正向有功功率上限值", "XX.XX", "kW"),
    one("B635", "reverse_power_limit", "反向有功功率上限值", "XX.XX", "kW"),
    one("B64 {each}", "reactive_power{each}", "{each}无功功率", "XX.XX", "kvar"),
    one("B65 {each}", "power_factor{each}", "{each}功率因数", "X.XXX"),
    one("B31 {each}", "phase_loss{each}_count", "{each}断相次数", "NNNN"),
    one("B32 {each}", "phase_loss{each}_duration", "{each}断相时间累计值", "NNNNNN", "min"),
    one("B33 {each}", "phase_loss{each}_start", "{each}最近一次断相起始时刻", "MMDDhhmm"),
    one("B34 {each}", "phase_loss{each}_end", "{each}最近一次断相结束时刻", "MMDDhhmm"),
    *(one(at, name, said, form, unit) for at, name, said, form, unit in _EVENTS),
    *(one(at, name, said, form, unit, "rw") for at, name, said, form, unit in (*_PARAMETERS, *_STATES)),
    *(
        one(at, name, said, form, unit, "rw", "A" if at == "C030" else "B")
        for at, name, said, form, unit in _IDENTITY
    ),
    *(_block(at) for at in ("B21F", "C01F", "C02F", "C03F", "C11F", "C31F")),
    one("C212", "password", "密码权限及密码", "bytes", access="w"),
    one("C32 {n=1-E}", "zone_{n}", "第{n}时区起始日期及日时段表号", "MMDDNN", access="rw"),
    *(
        one(
            f"C3{table + 2:X} {{n=1-E}}",
            f"day_table_{table}_period_{{n}}",
            f"第{table}日时段表第{{n}}时段起始时间及费率号",
            "hhmmNN",
            access="rw",
        )
        for table in range(1, 9)
    ),
    one("C41 {n=1-D}", "holiday_{n}", "第{n}公共假日日期及日时段表号", "MMDDNN", access="rw"),
)
"""Registers (9, A, B), variables (B2, B3, B6), parameters (C)."""

TABLE: Final = Table(RULES, AXES, digits=4)


def lookup(di: int) -> Quantity | None:
    """The fields of a 1997 identifier (high byte first), or None when it is not in the table."""
    return TABLE.lookup(di)
