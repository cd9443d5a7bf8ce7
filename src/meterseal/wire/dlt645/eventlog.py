"""Station wire, DL/T 645-2007 events that smart meters added: purchases, disturbances, relay events, the event log.

It reads no bytes; the events of the standard's own table stand in `events`.
"""

from __future__ import annotations

from typing import Final

from meterseal.wire.dlt645.events import COUNT, ENERGY, QUADRANTS, TIME, unit_of
from meterseal.wire.dlt645.rules import Field, Rule, one

PURCHASE_ROWS: Final = (
    one("03 33 02 {n=01-0A}", "purchase_{n}_count", "(上{n}次)购电后总购电次数", "NNNN"),
    one("03 33 06 {n=01-0A}", "purchase_{n}_total_amount", "(上{n}次)购电后累计购电金额", "XXXXXX.XX", "CNY"),
    one("03 33 01 {n=01-0A}", "purchase_{n}_time", "(上{n}次)购电日期", "YYMMDDhhmm", mark="U"),
    one("03 33 03 {n=01-0A}", "purchase_{n}_amount", "(上{n}次)购电金额", "XXXXXX.XX", "CNY", mark="U"),
    one(
        "03 33 04 {n=01-0A}",
        "purchase_{n}_amount_before",
        "(上{n}次)购电前剩余金额",
        "XXXXXX.XX",
        "CNY",
        mark="U",
    ),
    one(
        "03 33 05 {n=01-0A}",
        "purchase_{n}_amount_after",
        "(上{n}次)购电后剩余金额",
        "XXXXXX.XX",
        "CNY",
        mark="U",
    ),
)

ALARM_ROWS: Final = tuple(
    rule
    for place, name, said in (
        ("35", "magnetic_field", "恒定磁场干扰"),
        ("36", "relay_malfunction", "负荷开关误动或拒动"),
        ("37", "supply_fault", "电源异常"),
    )
    for rule in (
        one(f"03 {place} 00 00", f"{name}_count", f"{said}总次数", COUNT, mark="C"),
        one(f"03 {place} 00 {{n=01-0A}}", f"{name}_{{n}}", f"(上{{n}}次){said}记录", "bytes", mark="C"),
    )
)

RELAY_FIELDS: Final = (
    ("time", "发生时刻", TIME, None),
    ("operator", "操作者代码", "bits 4", None),
    *((energy, f"时{term}", ENERGY, unit_of(energy)) for energy, term in QUADRANTS),
)
RELAY_ROWS: Final = tuple(
    rule
    for place, name, said in (("1D", "trip", "跳闸"), ("1E", "close", "合闸"))
    for rule in (
        one(f"{place} 00 00 01", f"{name}_count", f"{said}总次数", COUNT),
        *(
            one(
                f"{place} 00 {number:02X} {{n=01-0A}}",
                f"{name}_{{n}}_{field}",
                f"(上{{n}}次){said}{term}",
                form,
                unit,
                mark="B" if field == "time" else "C",
            )
            for number, (field, term, form, unit) in enumerate(RELAY_FIELDS, start=1)
        ),
        Rule(
            f"{place} 00 FF {{n=01-0A}}",
            tuple(
                Field(f"{name}_{{n}}_{field}", f"(上{{n}}次){said}{term}", form, unit)
                for field, term, form, unit in RELAY_FIELDS
            ),
            block=True,
        ),
    )
)
"""Relay events: single fields and the block of 34 bytes."""

LOGGED: Final = (
    ("10", "voltage_loss", "失压", True),
    ("11", "undervoltage", "欠压", True),
    ("12", "overvoltage", "过压", True),
    ("13", "phase_loss", "断相", True),
    ("14", "voltage_reverse_sequence", "电压逆相序", False),
    ("15", "current_reverse_sequence", "电流逆相序", False),
    ("16", "voltage_imbalance", "电压不平衡", False),
    ("17", "current_imbalance", "电流不平衡", False),
    ("18", "current_loss", "失流", True),
    ("19", "overcurrent", "过流", True),
    ("1A", "current_break", "断流", True),
    ("1B", "reverse_flow", "潮流反向", True),
    ("1C", "overload", "过载", True),
    ("1F", "low_power_factor", "总功率因数超下限", False),
    ("20", "severe_current_imbalance", "电流严重不平衡", False),
)
LOGGED_ROWS: Final = tuple(
    rule
    for place, name, said, phases in LOGGED
    for where, log, term in (
        (("{phase}", f"{name}{{phase}}_log", f"{{phase}}{said}") if phases else ("00", f"{name}_log", said)),
    )
    for rule in (
        one(f"{place} {where} 00 01", f"{log}_count", f"{term}总次数", COUNT, mark="C"),
        one(
            f"{place} {where} 01 {{n=01-0A}}",
            f"{log}_{{n}}_start",
            f"(上{{n}}次){term}发生时刻",
            TIME,
            mark="C",
        ),
        one(f"{place} {where} FF {{n=01-0A}}", f"{log}_{{n}}", f"(上{{n}}次){term}记录", "bytes", mark="C"),
    )
)
"""The smart meters' event log, one identifier a field: only counters and beginnings are sure enough to be read."""

LATER_EVENTS: Final = (*PURCHASE_ROWS, *ALARM_ROWS, *RELAY_ROWS, *LOGGED_ROWS)
