"""Station wire, DL/T 645-2007 load records (负荷记录): A0 A0, length, time, six classes between AA, checksum, E5.

It reads what identifiers 06 cc 00 nn answer and builds such records; which meter keeps which classes is its model's.
"""

from __future__ import annotations

from typing import Final

from meterseal.wire.dlt645.items import Item, item
from meterseal.wire.fields import checksum, is_bcd
from meterseal.wire.sheet import Sheet, Value

GROUP: Final = 0x06
"""D3 of the identifiers."""
BEGIN, DAMAGED, AFTER, END = 0xA0, 0xE0, 0xAA, 0xE5
"""Begin of a record, of one that the meter itself calls wrong, of the byte behind each class, of the end."""
TIME: Final = item("load_time", "负荷记录存储时间", "YYMMDDhhmm")


def _each(name: str, chinese: str, form: str, unit: str, *, total: bool = True) -> tuple[Item, ...]:
    phases = (("_a", "A相"), ("_b", "B相"), ("_c", "C相"))
    return tuple(
        item(name + letter, said + chinese, form, unit)
        for letter, said in (((("", "总"),) if total else ()) + phases)
    )


CLASSES: Final[tuple[tuple[Item, ...], ...]] = (
    (
        *_each("voltage", "电压", "XXX.X", "V", total=False),
        *_each("current", "电流", "-XXX.XXX", "A", total=False),
        item("frequency", "电网频率", "XX.XX", "Hz"),
    ),
    (
        *_each("active_power", "有功功率", "-XX.XXXX", "kW"),
        *_each("reactive_power", "无功功率", "-XX.XXXX", "kvar"),
    ),
    _each("power_factor", "功率因数", "-X.XXX", ""),
    (
        item("forward_active_energy", "正向有功总电能", "XXXXXX.XX", "kWh"),
        item("reverse_active_energy", "反向有功总电能", "XXXXXX.XX", "kWh"),
        item("combined_reactive_energy_1", "组合无功1总电能", "-XXXXXX.XX", "kvarh"),
        item("combined_reactive_energy_2", "组合无功2总电能", "-XXXXXX.XX", "kvarh"),
    ),
    tuple(
        item(f"quadrant_{n}_reactive_energy", f"第{said}象限无功总电能", "XXXXXX.XX", "kvarh")
        for n, said in enumerate("一二三四", start=1)
    ),
    (
        item("active_demand", "当前有功需量", "-XX.XXXX", "kW"),
        item("reactive_demand", "当前无功需量", "-XX.XXXX", "kvar"),
    ),
)
"""The six classes (第1类 … 第6类负荷) in the order of a record: 17, 24, 8, 16, 16 and 6 bytes."""


def read(sheet: Sheet, *, follow: bool = False) -> None:
    """Every record that is left; readings are `load_1_time`, `load_1_voltage_a` … in the order sent.

    A record whose length, checksum or end is wrong stays bytes; so does what is no record.
    """
    number = 0
    while sheet.left > (1 if follow else 0):
        size = _size(sheet)
        if not size:
            sheet.complete = False
            sheet.odd("load-record", "what follows is no whole load record; it is kept as bytes")
            sheet.take(sheet.left - (1 if follow else 0), "load records", "负荷记录")
            return
        number += 1
        _record(sheet, number, size)


def _size(sheet: Sheet) -> int:
    """Bytes of the record that begins here, or 0 where none does."""
    begin, length = sheet.peek(0), sheet.peek(2)
    if begin not in (BEGIN, DAMAGED) or sheet.peek(1) != begin or length is None or length < 5:
        return 0
    raw = sheet.body[sheet.at : sheet.at + length + 5]
    whole = len(raw) == length + 5 and raw[-1] == END and checksum(raw[:-2]) == raw[-2]
    return len(raw) if whole else 0


def _record(sheet: Sheet, number: int, size: int) -> None:
    last = sheet.at + size - 2
    wrong = sheet.take(2, "load record", "负荷记录起始码")[0] == DAMAGED
    sheet.take(1, "length", "负荷记录字节数")
    raw = sheet.take(5, f"load_{number}_time", "负荷记录存储时间")
    pairs = raw[::-1].hex(" ").split()
    text = f"20{pairs[0]}-{pairs[1]}-{pairs[2]}T{pairs[3]}:{pairs[4]}" if is_bcd(raw) else None
    sheet.keep(f"load_{number}_time", Value(None, None, text=text))
    if wrong:
        sheet.odd("load-damaged", f"the meter says that load record {number} is not right")
    for items in () if wrong else CLASSES:
        if sheet.peek(0) != AFTER:
            if sheet.at + sum(one.size for one in items) >= last:
                break
            for one in items:
                name = f"load_{number}_{one.name}"
                sheet.number(name, one.chinese, one.size, one.exponent, one.unit, signed=one.signed)
        if sheet.peek(0) != AFTER:
            break
        sheet.take(1, "block separator", "块分隔码")
    if sheet.at < last:
        sheet.take(last - sheet.at, "more of the record", "其余字节")
        if not wrong:
            sheet.complete = False
            sheet.odd("load-layout", f"load record {number} has no known layout behind its named fields")
    sheet.take(1, "checksum of the record", "负荷记录累加校验码")
    sheet.take(1, "end of the record", "负荷记录结束码")


def record(time: bytes, classes: tuple[bytes, ...]) -> bytes:
    """A record of five time bytes mm hh DD MM YY and the bytes of the six classes, empty where one is not kept."""
    body = time + b"".join(one + bytes((AFTER,)) for one in classes)
    raw = bytes((BEGIN, BEGIN, len(body))) + body
    return raw + bytes((checksum(raw), END))
