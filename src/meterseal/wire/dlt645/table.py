"""Station wire, DL/T 645-2007 identifiers: one row for each rule of the standard's tables A.1 to A.3, A.5 to A.7.

It reads no bytes; event records (A.4) stand in `events` and `eventlog`. The names are fixed by
docs/adr/0002-dlt645-reading-names.md.
Marks say how sure a row is (`items.Mark`): rows of the older smart-meter supplements are C or U.
"""

from __future__ import annotations

from typing import Final

from meterseal.wire.dlt645.axes import AXES, LETTERS, TARIFFS
from meterseal.wire.dlt645.eventlog import LATER_EVENTS
from meterseal.wire.dlt645.events import EVENTS
from meterseal.wire.dlt645.items import Quantity
from meterseal.wire.dlt645.rules import Field, Rule, Table, one

ENERGY_ROWS: Final = (
    one(
        "00 {energy} {tariff} {settlement}",
        "{energy}{tariff}{settlement}",
        "{settlement}{energy}{tariff}",
        "±XXXXXX.XX",
        "{energy}",
        mark="A",
    ),
    one(
        "00 {special} 00 {settlement}",
        "{special}{settlement}",
        "{settlement}{special}",
        "±XXXXXX.XX",
        "{special}",
    ),
    one("00 90 01 00", "remaining_energy", "剩余电量", "XXXXXX.XX", "kWh"),
    one("00 90 01 01", "overdraft_energy", "透支电量", "XXXXXX.XX", "kWh"),
    one("00 90 02 00", "remaining_amount", "剩余金额", "XXXXXX.XX", "CNY"),
    one("00 90 02 01", "overdraft_amount", "透支金额", "XXXXXX.XX", "CNY"),
    one(
        "00 0B 00 {settlement}",
        "period_combined_active_energy{settlement}",
        "{settlement}结算周期组合有功总累计用电量",
        "XXXXXX.XX",
        "kWh",
        mark="C",
    ),
    one(
        "00 0C 00 {settlement}",
        "monthly_combined_active_energy{settlement}",
        "{settlement}月度组合有功总累计用电量",
        "XXXXXX.XX",
        "kWh",
        mark="U",
    ),
    one(
        "00 0D 00 {settlement}",
        "yearly_combined_active_energy{settlement}",
        "{settlement}年度组合有功总累计用电量",
        "XXXXXX.XX",
        "kWh",
        mark="C",
    ),
    Rule(
        "01 {demand} {tariff} {settlement}",
        (
            Field("{demand}{tariff}{settlement}", "{settlement}{demand}{tariff}", "±XX.XXXX", "{demand}"),
            Field("{demand}{tariff}{settlement}_time", "{settlement}{demand}{tariff}发生时间", "YYMMDDhhmm"),
        ),
    ),
)
"""Tables A.1 and A.2: energies and maximum demands with the time they occurred."""

VARIABLE_ROWS: Final = (
    one("02 01 {phase} 00", "voltage{phase}", "{phase}电压", "XXX.X", "V", mark="A"),
    one("02 02 {phase} 00", "current{phase}", "{phase}电流", "-XXX.XXX", "A", mark="A"),
    one("02 03 {each} 00", "active_power{each}", "{each}有功功率", "-XX.XXXX", "kW", mark="A"),
    one("02 04 {each} 00", "reactive_power{each}", "{each}无功功率", "-XX.XXXX", "kvar", mark="A"),
    one("02 05 {each} 00", "apparent_power{each}", "{each}视在功率", "-XX.XXXX", "kVA", mark="A"),
    one("02 06 {each} 00", "power_factor{each}", "{each}功率因数", "-X.XXX", mark="A"),
    one("02 07 {phase} 00", "phase_angle{phase}", "{phase}相角", "XXX.X", "deg"),
    one("02 08 {phase} 00", "voltage_distortion{phase}", "{phase}电压波形失真度", "XX.XX", "%"),
    one("02 09 {phase} 00", "current_distortion{phase}", "{phase}电流波形失真度", "XX.XX", "%"),
    one(
        "02 0A {phase} {harmonic}",
        "voltage_harmonic_{harmonic}{phase}",
        "{phase}电压{harmonic}次谐波含量",
        "XX.XX",
        "%",
    ),
    one(
        "02 0B {phase} {harmonic}",
        "current_harmonic_{harmonic}{phase}",
        "{phase}电流{harmonic}次谐波含量",
        "XX.XX",
        "%",
    ),
    one("02 80 00 01", "neutral_current", "零线电流", "-XXX.XXX", "A"),
    one("02 80 00 02", "frequency", "电网频率", "XX.XX", "Hz"),
    one("02 80 00 03", "average_active_power", "一分钟有功总平均功率", "-XX.XXXX", "kW"),
    one("02 80 00 04", "active_demand", "当前有功需量", "-XX.XXXX", "kW"),
    one("02 80 00 05", "reactive_demand", "当前无功需量", "-XX.XXXX", "kvar"),
    one("02 80 00 06", "apparent_demand", "当前视在需量", "-XX.XXXX", "kVA"),
    # C as in ADR 0002 and the captured vectors; CJ/T 188 readings say degC
    one("02 80 00 07", "internal_temperature", "表内温度", "-XXX.X", "C", mark="A"),
    one("02 80 00 08", "clock_battery_voltage", "时钟电池电压", "XX.XX", "V"),
    one("02 80 00 09", "reading_battery_voltage", "停电抄表电池电压", "XX.XX", "V"),
    one("02 80 00 0A", "battery_working_time", "内部电池工作时间", "XXXXXXXX", "min"),
    one("02 80 00 0B", "step_price", "当前阶梯电价", "XXXX.XXXX", "CNY/kWh"),
    one("02 80 00 20", "price", "当前电价", "XXXX.XXXX", "CNY/kWh", mark="C"),
    one("02 80 00 21", "tariff_price", "当前费率电价", "XXXX.XXXX", "CNY/kWh", mark="C"),
    one("02 80 00 22", "authentication_remaining", "身份认证时效剩余时间", "XXXX", "min", mark="U"),
)
"""Table A.3: what the meter sees now; xx FF xx asks for all phases, 02 0A p FF for all harmonics."""

STATUS_WORDS: Final = tuple(Field(f"status_word_{n}", f"电表运行状态字{n}", "bits 2") for n in range(1, 8))
ENTRIES: Final = range(1, 15)
"""Entries of a zone or period table; a meter may send fewer."""

PARAMETER_ROWS: Final = (
    one("04 00 01 01", "date", "日期及星期", "YYMMDDWW", access="rw"),
    one("04 00 01 02", "time", "时间", "hhmmss", access="rw"),
    one("04 00 01 03", "demand_period", "最大需量周期", "NN", "min", "rw"),
    one("04 00 01 04", "demand_slip", "滑差时间", "NN", "min", "rw"),
    one("04 00 01 05", "pulse_width", "校表脉冲宽度", "XXXX", "ms", "rw"),
    one("04 00 01 06", "zone_switch_time", "两套时区表切换时间", "YYMMDDhhmm", access="rw"),
    one("04 00 01 07", "period_switch_time", "两套日时段表切换时间", "YYMMDDhhmm", access="rw"),
    one("04 00 01 08", "price_switch_time", "两套费率电价切换时间", "YYMMDDhhmm", access="rw", mark="C"),
    one("04 00 01 09", "step_switch_time", "两套阶梯切换时间", "YYMMDDhhmm", access="rw", mark="C"),
    one("04 00 01 0C", "date_time", "日期及时间", "YYMMDDWWhhmmss", access="rw", mark="C"),
    one("04 00 02 01", "year_zones", "年时区数", "NN", access="rw"),
    one("04 00 02 02", "day_tables", "日时段表数", "NN", access="rw"),
    one("04 00 02 03", "day_periods", "日时段数", "NN", access="rw"),
    one("04 00 02 04", "tariffs", "费率数", "NN", access="rw"),
    one("04 00 02 05", "public_holidays", "公共假日数", "NNNN", access="rw"),
    one("04 00 02 06", "harmonics", "谐波分析次数", "NN", access="rw"),
    one("04 00 02 07", "steps", "阶梯数", "NN", access="rw", mark="C"),
    one("04 00 03 01", "cycled_screens", "自动循环显示屏数", "NN", access="rw"),
    one("04 00 03 02", "screen_time", "每屏显示时间", "NN", "s", "rw"),
    one("04 00 03 03", "energy_decimals", "显示电能小数位数", "NN", access="rw"),
    one("04 00 03 04", "power_decimals", "显示功率小数位数", "NN", access="rw"),
    one("04 00 03 05", "key_screens", "按键循环显示屏数", "NN", access="rw"),
    one("04 00 03 06", "current_ratio", "电流互感器变比", "NNNNNN", access="rw", mark="C"),
    one("04 00 03 07", "voltage_ratio", "电压互感器变比", "NNNNNN", access="rw", mark="C"),
    one("04 00 04 01", "address", "通信地址", "digits 6", access="rw"),
    one("04 00 04 02", "meter_number", "表号", "digits 6", access="rw"),
    one("04 00 04 03", "asset_code", "资产管理编码", "ascii 32", access="rw"),
    one("04 00 04 04", "rated_voltage", "额定电压", "ascii 6", mark="A"),
    one("04 00 04 05", "rated_current", "额定电流", "ascii 6"),
    one("04 00 04 06", "maximum_current", "最大电流", "ascii 6"),
    one("04 00 04 07", "active_accuracy", "有功准确度等级", "ascii 4"),
    one("04 00 04 08", "reactive_accuracy", "无功准确度等级", "ascii 4"),
    one("04 00 04 09", "active_constant", "电表有功常数", "XXXXXX", "imp/kWh"),
    one("04 00 04 0A", "reactive_constant", "电表无功常数", "XXXXXX", "imp/kvarh"),
    one("04 00 04 0B", "meter_model", "电表型号", "ascii 10"),
    one("04 00 04 0C", "production_date", "生产日期", "ascii 10"),
    one("04 00 04 0D", "protocol_version", "协议版本号", "ascii 16"),
    one("04 00 04 0E", "customer_number", "客户编号", "digits 6", access="rw", mark="C"),
    *(Rule(f"04 00 05 {number:02X}", (field,)) for number, field in enumerate(STATUS_WORDS, start=1)),
    Rule("04 00 05 FF", STATUS_WORDS, block=True),
    one("04 00 06 01", "active_combination", "有功组合方式特征字", "bits 1", access="rw"),
    one("04 00 06 02", "reactive_combination_1", "无功组合方式1特征字", "bits 1", access="rw"),
    one("04 00 06 03", "reactive_combination_2", "无功组合方式2特征字", "bits 1", access="rw"),
    one("04 00 07 01", "infrared_rate", "调制型红外光口通信速率特征字", "bits 1", access="rw"),
    one("04 00 07 02", "contact_infrared_rate", "接触式红外光口通信速率特征字", "bits 1", access="rw"),
    one("04 00 07 {n=03-05}", "port_rate_{n}", "通信口通信速率特征字{n}", "bits 1", access="rw"),
    one("04 00 08 01", "rest_days", "周休日特征字", "bits 1", access="rw"),
    one("04 00 08 02", "rest_day_table", "周休日采用的日时段表号", "NN", access="rw"),
    one("04 00 09 01", "load_profile_mode", "负荷记录模式字", "bits 1", access="rw"),
    one("04 00 09 02", "freeze_mode", "定时冻结数据模式字", "bits 1", access="rw"),
    one("04 00 09 03", "instant_freeze_mode", "瞬时冻结数据模式字", "bits 1", access="rw", mark="C"),
    one("04 00 09 04", "switch_freeze_mode", "约定冻结数据模式字", "bits 1", access="rw", mark="C"),
    one("04 00 09 05", "hourly_freeze_mode", "整点冻结数据模式字", "bits 1", access="rw", mark="C"),
    one("04 00 09 06", "daily_freeze_mode", "日冻结数据模式字", "bits 1", access="rw", mark="C"),
    one("04 00 0A 01", "load_profile_start", "负荷记录起始时间", "MMDDhhmm", access="rw"),
    *(
        one(
            f"04 00 0A {number + 1:02X}",
            f"load_profile_interval_{number}",
            f"第{number}类负荷记录间隔时间",
            "NNNN",
            "min",
            "rw",
        )
        for number in range(1, 7)
    ),
    one("04 00 0B {n=01-03}", "settlement_day_{n}", "每月第{n}结算日", "DDhh", access="rw"),
    *(
        one(f"04 00 0C {level + 1:02X}", f"password_{level}", f"{level}级密码", "bytes", access="w")
        for level in range(10)
    ),
    *(
        one(
            f"04 00 0D {4 * phase + place:02X}",
            f"{name}_{letter}",
            f"{said}{term}系数",
            "N.NNN",
            access="rw",
        )
        for phase, (letter, said) in enumerate(LETTERS)
        for place, (name, term) in enumerate(
            (
                ("conductance", "电导"),
                ("susceptance", "电纳"),
                ("resistance", "电阻"),
                ("reactance", "电抗"),
            ),
            start=1,
        )
    ),
    one("04 00 0E 01", "forward_power_limit", "正向有功功率上限值", "NN.NNNN", "kW", "rw"),
    one("04 00 0E 02", "reverse_power_limit", "反向有功功率上限值", "NN.NNNN", "kW", "rw"),
    one("04 00 0E 03", "voltage_upper_limit", "电压上限值", "NNN.N", "V", "rw"),
    one("04 00 0E 04", "voltage_lower_limit", "电压下限值", "NNN.N", "V", "rw"),
    one("04 00 0F {n=01-02}", "alarm_energy_{n}", "报警电量{n}限值", "XXXXXX.XX", "kWh", "rw", "C"),
    one("04 00 0F 03", "hoarding_energy", "囤积电量限值", "XXXXXX.XX", "kWh", "rw", "C"),
    one("04 00 0F 04", "overdraft_energy_limit", "透支电量限值", "XXXXXX.XX", "kWh", "rw", "C"),
    one("04 00 10 {n=01-02}", "alarm_amount_{n}", "报警金额{n}限值", "XXXXXX.XX", "CNY", "rw", "C"),
    one("04 00 10 03", "overdraft_amount_limit", "透支金额限值", "XXXXXX.XX", "CNY", "rw"),
    one("04 00 10 04", "hoarding_amount", "囤积金额限值", "XXXXXX.XX", "CNY", "rw", "C"),
    one("04 00 10 05", "closing_amount", "合闸允许金额限值", "XXXXXX.XX", "CNY", "rw", "C"),
    one("04 00 11 01", "feature_word_1", "电表运行特征字1", "bits 1", access="rw", mark="U"),
    one("04 00 12 01", "hourly_freeze_start", "整点冻结起始时间", "YYMMDDhhmm", access="rw", mark="C"),
    one("04 00 12 02", "hourly_freeze_interval", "整点冻结时间间隔", "NN", "min", "rw", "C"),
    one("04 00 12 03", "daily_freeze_time", "日冻结时间", "hhmm", access="rw", mark="C"),
    one("04 00 13 01", "radio_state", "无线通信在线及信号强弱指示", "bits 1", access="rw", mark="C"),
    one("04 00 14 01", "trip_delay", "跳闸延时时间", "NNNN", "min", "rw", "C"),
    *(
        Rule(
            f"04 0{number} 00 00",
            tuple(
                Field(f"zone_set_{number}_zone_{entry}", f"第{number}套时区表第{entry}时区", "MMDDNN")
                for entry in ENTRIES
            ),
            "rw",
            block=True,
        )
        for number in (1, 2)
    ),
    *(
        Rule(
            f"04 0{number} 00 {{n=01-08}}",
            tuple(
                Field(
                    f"zone_set_{number}_day_table_{{n}}_period_{entry}",
                    f"第{number}套第{{n}}日时段表第{entry}时段",
                    "hhmmNN",
                )
                for entry in ENTRIES
            ),
            "rw",
            block=True,
        )
        for number in (1, 2)
    ),
    one("04 03 00 {n=01-FE}", "holiday_{n}", "第{n}公共假日日期及日时段表号", "YYMMDDNN", access="rw"),
    one("04 04 01 {n=01-FE}", "cycled_screen_{n}", "自动循环显示第{n}屏", "bits 4", access="rw"),
    one("04 04 02 {n=01-FE}", "key_screen_{n}", "按键循环显示第{n}屏", "bits 4", access="rw"),
    *(
        one(
            f"04 05 0{number} {{n=01-3F}}",
            f"price_set_{number}_tariff_{{n}}",
            f"第{number}套费率{{n}}电价",
            "NNNN.NNNN",
            "CNY/kWh",
            "rw",
            "U",
        )
        for number in (1, 2)
    ),
    *(
        row
        for number in (1, 2)
        for row in (
            one(
                f"04 06 0{2 * number - 2} {{n=01-3F}}",
                f"step_set_{number}_volume_{{n}}",
                f"第{number}套第{{n}}阶梯值",
                "NNNNNN.NN",
                "kWh",
                "rw",
                "U",
            ),
            one(
                f"04 06 0{2 * number - 1} {{n=01-3F}}",
                f"step_set_{number}_price_{{n}}",
                f"第{number}套第{{n}}阶梯电价",
                "NNNN.NNNN",
                "CNY/kWh",
                "rw",
                "U",
            ),
        )
    ),
    one("04 09 01 01", "voltage_loss_trigger", "失压事件电压触发上限", "NNN.N", "V", "rw", "C"),
    one("04 09 01 02", "voltage_loss_recovery", "失压事件电压恢复下限", "NNN.N", "V", "rw", "C"),
    one("04 09 01 03", "voltage_loss_current", "失压事件电流触发下限", "NN.NNNN", "A", "rw", "C"),
    one("04 09 01 04", "voltage_loss_delay", "失压事件判定延时时间", "NN", "s", "rw", "C"),
    one("04 09 02 01", "undervoltage_trigger", "欠压事件电压触发上限", "NNN.N", "V", "rw", "C"),
    one("04 09 02 02", "undervoltage_delay", "欠压事件判定延时时间", "NN", "s", "rw", "C"),
    one("04 09 03 01", "overvoltage_trigger", "过压事件电压触发下限", "NNN.N", "V", "rw", "C"),
    one("04 09 03 02", "overvoltage_delay", "过压事件判定延时时间", "NN", "s", "rw", "C"),
    one("04 80 00 01", "manufacturer_software", "厂家软件版本号", "ascii 32"),
    one("04 80 00 02", "manufacturer_hardware", "厂家硬件版本号", "ascii 32"),
    one("04 80 00 03", "manufacturer_code", "厂家编号", "ascii 32"),
)
"""Table A.5: parameters. Passwords are never made a reading."""

FREEZE_ROWS: Final = (
    one("05 {any_freeze} 00 {n=01-FE}", "{any_freeze}_{n}_time", "(上{n}次){any_freeze}时间", "YYMMDDhhmm"),
    Rule(
        "05 {freeze} {frozen} {n=01-FE}",
        tuple(
            Field(
                f"{{frozen}}{tariff.english}_{{freeze}}_{{n}}",
                "(上{n}次){freeze}{frozen}",
                "±XXXXXX.XX",
                "{frozen}",
            )
            for tariff in TARIFFS
        ),
        block=True,
    ),
    one(
        "05 04 {frozen_total} {n=01-FE}",
        "{frozen_total}_hourly_freeze_{n}",
        "(上{n}次)整点冻结{frozen_total}",
        "XXXXXX.XX",
        "kWh",
    ),
    Rule(
        "05 {freeze} {frozen_demand} {n=01-FE}",
        tuple(
            field
            for tariff in TARIFFS
            for field in (
                Field(
                    f"{{frozen_demand}}{tariff.english}_{{freeze}}_{{n}}",
                    f"(上{{n}}次){{freeze}}{{frozen_demand}}{tariff.chinese}",
                    "XX.XXXX",
                    "{frozen_demand}",
                ),
                Field(
                    f"{{frozen_demand}}{tariff.english}_{{freeze}}_{{n}}_time",
                    f"(上{{n}}次){{freeze}}{{frozen_demand}}{tariff.chinese}发生时间",
                    "YYMMDDhhmm",
                ),
            )
        ),
        block=True,
    ),
    Rule(
        "05 {freeze} 10 {n=01-FE}",
        tuple(
            Field(f"{power}{letter}_{{freeze}}_{{n}}", f"(上{{n}}次){{freeze}}{said}{term}", "-XX.XXXX", unit)
            for power, term, unit in (
                ("active_power", "有功功率", "kW"),
                ("reactive_power", "无功功率", "kvar"),
            )
            for letter, said in (("", "总"), *((f"_{one}", name) for one, name in LETTERS))
        ),
        block=True,
    ),
    one("05 {any_freeze} FF {n=01-FE}", "{any_freeze}_{n}_block", "(上{n}次){any_freeze}数据块", "bytes"),
)
"""Table A.6. How the parts of a whole freeze (FF) are separated, sources do not agree on: it stays bytes."""

LOAD_ROWS: Final = (
    one("06 {n=00-06} 00 00", "load_profile_{n}_first", "最早负荷记录块", "bytes"),
    one("06 {n=00-06} 00 01", "load_profile_{n}_from", "给定时间负荷记录块", "bytes"),
    one("06 {n=00-06} 00 02", "load_profile_{n}_last", "最近负荷记录块", "bytes"),
)
"""Table A.7; `load` reads the records behind these."""

TABLE: Final = Table(
    (*ENERGY_ROWS, *VARIABLE_ROWS, *EVENTS, *LATER_EVENTS, *PARAMETER_ROWS, *FREEZE_ROWS, *LOAD_ROWS),
    AXES,
    digits=8,
)


def lookup(di: int) -> Quantity | None:
    """The fields of a 2007 identifier (D3 D2 D1 D0, high byte first), or None when it is not in the table."""
    return TABLE.lookup(di)
