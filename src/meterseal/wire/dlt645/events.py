"""Station wire, DL/T 645-2007 event records: the rules of table A.4.

It reads no bytes; what smart meters added later stands in `eventlog`. Ten records of each kind are kept, 1 is the last;
counters stand at D0 = 00.
"""

from __future__ import annotations

from typing import Final

from meterseal.wire.dlt645.axes import ENERGIES, LETTERS, TOTAL_AND_LETTERS
from meterseal.wire.dlt645.rules import Field, Rule, one

TIME, ENERGY, COUNT = "YYMMDDhhmmss", "XXXXXX.XX", "XXXXXX"
TOTALS: Final = tuple((ENERGIES[value].english, ENERGIES[value].chinese) for value in (1, 2, 3, 4))
QUADRANTS: Final = tuple((ENERGIES[value].english, ENERGIES[value].chinese) for value in (1, 2, 5, 6, 7, 8))


def unit_of(name: str) -> str:
    return "kvarh" if "reactive" in name else "kWh"


def _period(prefix: str, said: str) -> tuple[Field, ...]:
    """When an event began and ended."""
    return (
        Field(f"{prefix}_start", f"{said}发生时刻", TIME),
        Field(f"{prefix}_end", f"{said}结束时刻", TIME),
    )


def _increases(prefix: str, said: str, letter: str = "", phase: str = "") -> tuple[Field, ...]:
    """The four energies that were added while it lasted, in all or of one phase."""
    return tuple(
        Field(f"{prefix}_{name}{letter}_increase", f"{said}期间{phase}{term}增量", ENERGY, unit_of(name))
        for name, term in TOTALS
    )


def _moment(prefix: str, said: str, letter: str, phase: str) -> tuple[Field, ...]:
    """Voltage, current, powers and power factor of a phase when it began."""
    rows = (
        ("voltage", "电压", "XXX.X", "V"),
        ("current", "电流", "-XXX.XXX", "A"),
        ("active_power", "有功功率", "-XX.XXXX", "kW"),
        ("reactive_power", "无功功率", "-XX.XXXX", "kvar"),
        ("power_factor", "功率因数", "-X.XXX", ""),
    )
    return tuple(
        Field(f"{prefix}_{name}{letter}", f"{said}时刻{phase}{term}", form, unit)
        for name, term, form, unit in rows
    )


def _all_increases(prefix: str, said: str, *, moments: bool = False) -> tuple[Field, ...]:
    fields = list(_increases(prefix, said))
    for letter, phase in LETTERS:
        fields += _increases(prefix, said, f"_{letter}", phase)
        if moments:
            fields += _moment(prefix, said, f"_{letter}", phase)
    return tuple(fields)


def _ampere_hours(prefix: str, said: str) -> tuple[Field, ...]:
    whole = Field(f"{prefix}_ampere_hours", f"{said}期间总安时数", ENERGY, "Ah")
    return (
        whole,
        *(
            Field(f"{prefix}_ampere_hours_{letter}", f"{said}期间{phase}安时数", ENERGY, "Ah")
            for letter, phase in LETTERS
        ),
    )


def _counters(prefix: str, said: str) -> tuple[Field, ...]:
    """How often and how long in all."""
    return (
        Field(f"{prefix}_count", f"{said}总次数", COUNT),
        Field(f"{prefix}_duration", f"{said}总累计时间", COUNT, "min"),
    )


def _phase_record(event: str) -> tuple[str, str]:
    return f"{{{event}}}{{phase}}_{{n}}", f"(上{{n}}次){{phase}}{{{event}}}"


def _programmed(name: str, chinese: str, at: str, fields: tuple[Field, ...]) -> tuple[Rule, Rule]:
    """A counter at 00 and records that begin with time and operator."""
    head = (
        Field(f"{name}_{{n}}_time", f"(上{{n}}次){chinese}发生时刻", TIME),
        Field(f"{name}_{{n}}_operator", f"(上{{n}}次){chinese}操作者代码", "bits 4"),
    )
    return (
        one(f"{at} 00", f"{name}_count", f"{chinese}总次数", COUNT),
        Rule(f"{at} {{n=01-0A}}", head + fields, block=True),
    )


def _numbered(name: str, chinese: str, form: str, count: int) -> tuple[Field, ...]:
    return tuple(Field(f"{name}_{k}", f"{chinese}{k}", form) for k in range(1, count + 1))


def _before(name: str, said: str) -> tuple[Field, ...]:
    """Energies before a meter was cleared: forward, reverse and quadrants, in all and by phase."""
    return tuple(
        Field(f"{name}_{{n}}_{energy}{letter}", f"{said}前{phase}{term}", ENERGY, unit_of(energy))
        for letter, phase in TOTAL_AND_LETTERS
        for energy, term in QUADRANTS
    )


def _demands_before() -> tuple[Field, ...]:
    fields: list[Field] = []
    for letter, phase in TOTAL_AND_LETTERS:
        for energy, term in QUADRANTS:
            name = energy.replace("_energy", "_maximum_demand") + letter
            said = f"需量清零前{phase}{term.replace('电能', '最大需量')}"
            unit = "kvar" if "reactive" in energy else "kW"
            fields.append(Field(f"demand_clear_{{n}}_{name}", said, "XX.XXXX", unit))
            fields.append(Field(f"demand_clear_{{n}}_{name}_time", f"{said}发生时间", "YYMMDDhhmm"))
    return tuple(fields)


def _opened(name: str, said: str) -> tuple[Field, ...]:
    """When a cover was open, and the energies before and after."""
    return (
        *_period(f"{name}_{{n}}", f"(上{{n}}次){said}"),
        *(
            Field(f"{name}_{{n}}_{energy}_{when}", f"{said}{place}{term}", ENERGY, unit_of(energy))
            for when, place in (("before", "前"), ("after", "后"))
            for energy, term in QUADRANTS
        ),
    )


EXCEEDED: Final = tuple(
    (name.replace("_energy", "_demand"), term.replace("电能", "需量"), unit_of(name).removesuffix("h"))
    for name, term in QUADRANTS
)

PHASE_ROWS: Final = (
    Rule(
        "03 {phase_event} 00 00",
        tuple(
            field
            for letter, phase in LETTERS
            for field in _counters(f"{{phase_event}}_{letter}", f"{phase}{{phase_event}}")
        ),
        title="{phase_event}总次数，总累计时间",
    ),
    *(
        Rule(
            f"03 {{{event}}} {{phase}} {{n=01-0A}}",
            (
                *_period(*_phase_record(event)),
                *_all_increases(*_phase_record(event), moments=moments),
                *(_ampere_hours(*_phase_record(event)) if hours else ()),
            ),
            block=True,
            title=f"(上{{n}}次){{phase}}{{{event}}}记录",
        )
        for event, moments, hours in (
            ("voltage_event", True, True),
            ("current_event", True, False),
            ("power_event", False, False),
        )
    ),
)

WHOLE_ROWS: Final = (
    Rule("03 05 00 00", _counters("total_voltage_loss", "全失压")),
    Rule(
        "03 05 00 {n=01-0A}",
        (
            Field("total_voltage_loss_{n}_start", "(上{n}次)全失压发生时刻", TIME),
            Field("total_voltage_loss_{n}_current", "(上{n}次)全失压电流值", "XXX.XXX", "A"),
            Field("total_voltage_loss_{n}_end", "(上{n}次)全失压结束时刻", TIME),
        ),
    ),
    Rule("03 06 00 00", _counters("auxiliary_power_loss", "辅助电源失电")),
    Rule("03 06 00 {n=01-0A}", _period("auxiliary_power_loss_{n}", "(上{n}次)辅助电源失电")),
    Rule("03 {counted_event} 00 00", _counters("{counted_event}", "{counted_event}")),
    Rule(
        "03 {whole_event} 00 {n=01-0A}",
        (
            *_period("{whole_event}_{n}", "(上{n}次){whole_event}"),
            *_all_increases("{whole_event}_{n}", "(上{n}次){whole_event}"),
        ),
        block=True,
    ),
    Rule(
        "03 {balance_event} 00 {n=01-0A}",
        (
            *_period("{balance_event}_{n}", "(上{n}次){balance_event}"),
            Field("{balance_event}_{n}_maximum", "(上{n}次){balance_event}最大不平衡率", "XX.XX", "%"),
            *_all_increases("{balance_event}_{n}", "(上{n}次){balance_event}"),
        ),
        block=True,
    ),
    *(
        Rule(
            f"03 10 {place:02X} {{settlement}}",
            tuple(
                Field(f"voltage{letter}_{name}{{settlement}}", f"{{settlement}}{said}{term}", form, unit)
                for name, term, form, unit in (
                    ("monitored_time", "电压监测时间", "XXXXXX", "min"),
                    ("pass_rate", "电压合格率", "XXXX.XX", "%"),
                    ("excess_rate", "电压超限率", "XXXX.XX", "%"),
                    ("over_limit_time", "电压超上限时间", "XXXXXX", "min"),
                    ("under_limit_time", "电压超下限时间", "XXXXXX", "min"),
                    ("highest", "最高电压", "XXX.X", "V"),
                    ("highest_time", "最高电压出现时间", "MMDDhhmm", None),
                    ("lowest", "最低电压", "XXX.X", "V"),
                    ("lowest_time", "最低电压出现时间", "MMDDhhmm", None),
                )
            ),
            title="{settlement}电压合格率统计数据",
        )
        for place, (letter, said) in enumerate(TOTAL_AND_LETTERS)
    ),
    one("03 11 00 00", "power_failures", "掉电总次数", COUNT),
    Rule("03 11 00 {n=01-0A}", _period("power_failure_{n}", "(上{n}次)掉电")),
    Rule(
        "03 12 00 00",
        tuple(Field(f"{name}_excess_count", f"{term}超限总次数", COUNT) for name, term, _ in EXCEEDED),
        title="需量超限总次数",
    ),
    *(
        Rule(
            f"03 12 {place:02X} {{n=01-0A}}",
            (
                *_period(f"{name}_excess_{{n}}", f"(上{{n}}次){term}超限"),
                Field(f"{name}_excess_{{n}}_maximum", f"{term}超限期间最大需量", "XX.XXXX", unit),
                Field(f"{name}_excess_{{n}}_maximum_time", f"{term}超限期间最大需量发生时间", "YYMMDDhhmm"),
            ),
        )
        for place, (name, term, unit) in enumerate(EXCEEDED, start=1)
    ),
)

OPERATION_ROWS: Final = (
    *_programmed(
        "programming",
        "编程",
        "03 30 00",
        _numbered("programming_{n}_identifier", "编程的数据标识码", "bits 4", 10),
    ),
    *_programmed("meter_clear", "电表清零", "03 30 01", _before("meter_clear", "电表清零")),
    *_programmed("demand_clear", "需量清零", "03 30 02", _demands_before()),
    *_programmed(
        "event_clear",
        "事件清零",
        "03 30 03",
        (Field("event_clear_{n}_identifier", "事件清零数据标识码", "bits 4"),),
    ),
    one("03 30 04 00", "clock_setting_count", "校时总次数", COUNT),
    Rule(
        "03 30 04 {n=01-0A}",
        (
            Field("clock_setting_{n}_operator", "(上{n}次)校时操作者代码", "bits 4"),
            Field("clock_setting_{n}_before", "(上{n}次)校时前时间", TIME),
            Field("clock_setting_{n}_after", "(上{n}次)校时后时间", TIME),
        ),
    ),
    one("03 30 05 00", "period_programming_count", "时段表编程总次数", COUNT),
    one("03 30 05 {n=01-0A}", "period_programming_{n}", "(上{n}次)时段表编程记录", "bytes"),
    *_programmed(
        "zone_programming",
        "时区表编程",
        "03 30 06",
        _numbered("zone_programming_{n}_zone", "编程前时区数据", "MMDDNN", 28),
    ),
    *_programmed(
        "rest_day_programming",
        "周休日编程",
        "03 30 07",
        (Field("rest_day_programming_{n}_table", "编程前采用的日时段表号", "NN"),),
    ),
    *_programmed(
        "holiday_programming",
        "节假日编程",
        "03 30 08",
        _numbered("holiday_programming_{n}_holiday", "编程前节假日数据", "YYMMDDNN", 254),
    ),
    *(
        rule
        for place, name, said in (
            ("09", "active_combination", "有功组合方式"),
            ("0A", "reactive_combination_1", "无功组合方式1"),
            ("0B", "reactive_combination_2", "无功组合方式2"),
        )
        for rule in _programmed(
            f"{name}_programming",
            f"{said}编程",
            f"03 30 {place}",
            (Field(f"{name}_programming_{{n}}_before", f"{said}编程前特征字", "bits 1"),),
        )
    ),
    *_programmed(
        "settlement_programming",
        "结算日编程",
        "03 30 0C",
        _numbered("settlement_programming_{n}_day", "编程前每月结算日", "DDhh", 3),
    ),
    one("03 30 0D 00", "cover_open_count", "开表盖总次数", COUNT),
    Rule("03 30 0D {n=01-0A}", _opened("cover_open", "开表盖")),
    one("03 30 0E 00", "terminal_cover_open_count", "开端钮盒总次数", COUNT),
    Rule("03 30 0E {n=01-0A}", _opened("terminal_cover_open", "开端钮盒")),
)
"""What people did to the meter. How many entries a record of 03300501 holds, sources do not agree on: it stays bytes."""

EVENTS: Final = (*PHASE_ROWS, *WHOLE_ROWS, *OPERATION_ROWS)
"""Table A.4."""
