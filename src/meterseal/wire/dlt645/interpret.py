"""Station wire, DL/T 645 meaning: control code, identifier and data of one frame become a Meaning.

It never raises: whatever the bytes, the answer is a Meaning with its anomalies. It reads no frame from bytes.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from meterseal.wire import identifiers as ids
from meterseal.wire.catalogue import CLOCK_SEEN, FIELDS
from meterseal.wire.dlt645 import load, table, table1997
from meterseal.wire.dlt645.items import Item, Quantity
from meterseal.wire.dlt645.names import (
    ERRORS_1997,
    ERRORS_2007,
    FAILED,
    FROM_METER,
    FUNCTION,
    FUNCTIONS_1997,
    LEVELS,
    MORE,
    RELAY,
    SECURITY,
    function_of,
    is_security,
    rates_of,
    state_of,
)
from meterseal.wire.fields import clock_at, clock_text, is_bcd
from meterseal.wire.frame import Frame
from meterseal.wire.sheet import Meaning, Sheet, Value, digits, printed, words

BLOCK_MINIMUM = 1
WEEKDAY_AT: Final = {"date": 0, "date_time": 3}
"""Where WW stands in YYMMDDWW and in YYMMDDWWhhmmss, sent low byte first; 0 to 6."""


class _Head(Struct, frozen=True):
    """Control code of one frame, taken apart."""

    up: bool
    error: bool
    more: bool
    function: int
    edition: str

    @property
    def width(self) -> int:
        return 2 if self.edition == "1997" else 4


def interpret(frame: Frame, utc_offset_minutes: int = 480) -> Meaning:
    """The meaning of a DL/T 645 frame of either edition; the edition follows from the function code."""
    control = frame.control
    up = bool(control & FROM_METER)
    function = control & FUNCTION
    edition = "1997" if function in FUNCTIONS_1997 and not is_security(frame) else "2007"
    head = _Head(up, up and bool(control & FAILED), bool(control & MORE), function, edition)
    sheet = Sheet(frame.data, utc_offset_minutes)
    wild = bytes(byte for byte in frame.address if byte not in (0xAA, 0x99))
    if not is_bcd(wild):
        sheet.odd("address", "the address is not BCD")
    if head.error:
        return _error(sheet, head, control)
    if head.edition == "2007" and function == SECURITY:
        return _security(sheet, head, control)
    di = _body(frame, sheet, head)
    sheet.tail()
    return _meaning(sheet, head, control, di)


def _body(frame: Frame, sheet: Sheet, head: _Head) -> int | None:
    function = head.function
    if function in ((0x01, 0x02, 0x03, 0x04) if head.edition == "1997" else (0x11, 0x12, 0x14)):
        return _with_identifier(sheet, head)
    if function in (0x15, 0x0A) or (function == 0x13 and head.up):
        _address(frame, sheet, writes=function != 0x13)
    elif function == 0x08:
        _short_time(sheet, "time", "时间")
    elif function == 0x1C and not head.up:
        _relay(sheet)
    elif function in (0x19, 0x1A, 0x1B, 0x18) and not head.up:
        _guarded(sheet, head)
    elif function == 0x16 and sheet.left == 4:
        sheet.take(4, "freeze time", "冻结时间")
        sheet.say(f"{sheet.parts[-1].raw[::-1].hex(' ')} (MM DD hh mm, 99 = any)")
    elif function in (0x17, 0x0C) and sheet.left == 1:
        sheet.take(1, "baud rate", "通信速率特征字")
        sheet.say(rates_of(sheet.parts[-1].raw[0]))
    elif function == 0x18 and head.up and sheet.left == 4:
        sheet.take(4, "new password", "新密码")
    elif sheet.left:
        sheet.complete = False
    return None


def _with_identifier(sheet: Sheet, head: _Head) -> int | None:
    """Data that start with an identifier: reads, their answers, writes."""
    write = head.function in (0x14, 0x04)
    if write and head.up and not sheet.left:
        return None
    if sheet.left < head.width:
        sheet.fits(head.width, "the identifier")
        return None
    di = int.from_bytes(sheet.take(head.width, "data identifier", "数据标识"), "little")
    quantity = table1997.lookup(di) if head.edition == "1997" else table.lookup(di)
    own = {
        ids.INTERVALS_645: "interval block 区间数据块",
        ids.SEGMENTS_645: "link message segment 链路报文分段",
        ids.FOUND_645: "meter found on a bus 总线上发现的仪表",
        ids.ALARM_645: "alarm of a plain meter 仪表告警",
        ids.CLOCK_645: "clock of a plain meter 仪表时钟核对",
    }
    said = own.get(di) or (f"{quantity.chinese}{'数据块' if quantity.block else ''}" if quantity else "")
    sheet.say(f"{di:0{2 * head.width}X} {said or 'not known'}")
    if write:
        if head.edition == "2007":
            _credentials(sheet)
        elif not head.up and sheet.left >= 4:
            sheet.take(4, "password", "密码")
    if di == ids.SEGMENTS_645 and head.edition == "2007":
        if not (write and head.up):
            sheet.read_segment(asks=not head.up and not write)
    elif di == ids.INTERVALS_645 and head.edition == "2007" and head.up:
        sheet.read_interval()
    elif di == ids.FOUND_645 and head.edition == "2007" and head.up:
        sheet.whole_number("bus", "总线号")
        sheet.moment("first_seen", "首次发现时间")
    elif di == ids.ALARM_645 and head.edition == "2007" and head.up:
        sheet.read_status()
        sheet.moment("alarm_at", "告警时间")
    elif di == ids.CLOCK_645 and head.edition == "2007" and head.up:
        for name in CLOCK_SEEN:
            sheet.moment(name, FIELDS[name].chinese)
    elif head.up or write:
        _values(sheet, head, di, quantity)
    elif head.function in (0x12, 0x02) and sheet.left == 1:
        _frame_number(sheet)
    elif sheet.left:
        _load_profile_request(sheet)
    return di


def _values(sheet: Sheet, head: _Head, di: int, quantity: Quantity | None) -> None:
    follow = head.up and head.function in (0x12, 0x02)
    if quantity is None:
        sheet.complete = False
        sheet.odd("identifier", f"the identifier {di:0{2 * head.width}X} is not in the table")
        if sheet.left > 1 or (sheet.left and not follow):
            sheet.take(sheet.left - follow, "data", "数据", "layout not known")
    elif di >> 24 == load.GROUP and head.width == 4 and head.up:
        load.read(sheet, follow=follow)
    else:
        reserve = 1 if follow else 0
        for index, item in enumerate(quantity.items):
            left = sheet.left - reserve
            if quantity.block and index >= BLOCK_MINIMUM and left < item.size:
                break
            if not _item(sheet, item):
                break
        if quantity.block and sheet.left - reserve == 1 and sheet.peek(0) == table1997.DELIMITER:
            sheet.take(1, "end of block", "块结束符")
    if follow and sheet.left == 1:
        _frame_number(sheet)


def _item(sheet: Sheet, item: Item) -> bool:
    if item.kind == "bytes":
        return _bytes(sheet, item)
    if item.kind == "number":
        return sheet.number(item.name, item.chinese, item.size, item.exponent, item.unit, signed=item.signed)
    if not sheet.fits(item.size, item.name):
        return False
    raw = sheet.take(item.size, item.name, item.chinese)
    text: str | None
    if item.kind == "ascii":
        text = words(raw)
    elif item.kind == "bits":
        text = raw[::-1].hex().upper()
    elif item.kind == "digits":
        text = digits(raw)
    else:
        text = _time_text(item.name, raw)
    sheet.keep(item.name, Value(None, None, text=text))
    if item.kind == "bits":
        sheet.say(f"{text} {state_of(item.name, raw)}".rstrip())
    weekday = WEEKDAY_AT.get(item.name)
    if weekday is not None and raw[weekday] < 7:
        day = str(raw[weekday])
        sheet.readings["weekday"] = Value(None, None, text=day)
        sheet.say(f"{text or 'unreadable'}, weekday 星期 {day}")
    if item.name == "date_time" and text is not None and "T" in text:
        sheet.clock = text
        sheet.clock_at = clock_at(raw[:3] + raw[4:] + b"\x20", sheet.utc_offset_minutes)
    return True


def _time_text(name: str, raw: bytes) -> str | None:
    """BCD time fields as text: dates as 20YY-MM-DD, times as hh:mm:ss, moments as 20YY-MM-DDThh:mm."""
    if not is_bcd(raw):
        return None
    pairs = raw[::-1].hex(" ").split()
    if name == "date":
        return f"20{pairs[0]}-{pairs[1]}-{pairs[2]}"
    if name == "time":
        return ":".join(pairs)
    if name == "date_time":
        at = clock_at(raw[:3] + raw[4:] + b"\x20", 0)
        return None if at is None else clock_text(at, 0)
    if len(pairs) == 5:
        return f"20{pairs[0]}-{pairs[1]}-{pairs[2]}T{pairs[3]}:{pairs[4]}"
    if len(pairs) == 6:
        return f"20{pairs[0]}-{pairs[1]}-{pairs[2]}T{':'.join(pairs[3:])}"
    return "".join(pairs)


def _bytes(sheet: Sheet, item: Item) -> bool:
    """A field whose layout is not public, or a password: its bytes, and no reading."""
    sheet.take(sheet.left, item.name.replace("_", " "), item.chinese)
    sheet.complete = False
    sheet.odd("layout", f"the layout of {item.name.replace('_', ' ')} is not public; it is kept as bytes")
    return False


def _address(frame: Frame, sheet: Sheet, *, writes: bool) -> None:
    if not sheet.left and writes:
        return
    if not sheet.fits(6, "address"):
        return
    raw = sheet.take(6, "new address" if writes else "address", "新地址" if writes else "地址")
    sheet.say(printed(raw))
    if writes:
        sheet.new_address = printed(raw)
    elif raw != frame.address:
        sheet.odd("address-differs", "the address in the data differs from that of the header")


def _short_time(sheet: Sheet, name: str, chinese: str) -> None:
    """Six BCD bytes ss mm hh DD MM YY."""
    if not sheet.fits(6, name):
        return
    raw = sheet.take(6, name, chinese)
    at = clock_at(raw + b"\x20", sheet.utc_offset_minutes)
    if at is not None:
        sheet.clock, sheet.clock_at = clock_text(at, sheet.utc_offset_minutes), at
    sheet.say(sheet.clock or "no date")


def _credentials(sheet: Sheet) -> None:
    if sheet.fits(8, "password and operator"):
        level = sheet.take(4, "password", "密码")[0]
        sheet.say(f"level {level:02X} {LEVELS.get(level, '')}".rstrip())
        sheet.take(4, "operator", "操作者代码")


def _relay(sheet: Sheet) -> None:
    """1C: password, operator, command, 00, expiry (reference section 11)."""
    _credentials(sheet)
    if not sheet.fits(8, "relay command"):
        return
    code = sheet.take(1, "relay command", "控制命令类型")[0]
    sheet.action, said = RELAY.get(code, (None, f"unknown command {code:02X}"))
    sheet.say(said)
    sheet.take(1, "reserved", "保留")
    raw = sheet.take(6, "valid until", "命令有效截止时间")
    at = clock_at(raw + b"\x20", sheet.utc_offset_minutes)
    sheet.say(clock_text(at, sheet.utc_offset_minutes) if at is not None else "no date")


def _guarded(sheet: Sheet, head: _Head) -> None:
    if head.function == 0x18 and sheet.fits(12, "identifier and passwords"):
        sheet.take(4, "data identifier", "数据标识")
        sheet.take(4, "old password", "原密码")
        sheet.take(4, "new password", "新密码")
        return
    _credentials(sheet)
    if head.function == 0x1B and sheet.fits(4, "event identifier"):
        sheet.take(4, "event identifier", "事件标识")


def _security(sheet: Sheet, head: _Head, control: int) -> Meaning:
    """03 with an identifier 07xxxxxx: authentication by the meter's security module, whose content is not public."""
    di = int.from_bytes(sheet.take(4, "data identifier", "数据标识"), "little")
    sheet.say(f"{di:08X}")
    if sheet.left >= 4 and not head.up:
        sheet.take(4, "operator", "操作者代码")
    if sheet.left:
        sheet.take(sheet.left, "security data", "安全认证数据")
    sheet.complete = False
    return _meaning(sheet, head, control, di)


def _frame_number(sheet: Sheet) -> None:
    number = sheet.take(1, "frame number", "帧序号")[0]
    sheet.say(f"{number}, a piece of a longer answer" if sheet.readings else str(number))


def _load_profile_request(sheet: Sheet) -> None:
    """A read with a block count and perhaps a start time mmhhDDMMYY (load profile 负荷记录)."""
    if sheet.left in (1, 6):
        sheet.take(1, "blocks", "负荷记录块数")
        if sheet.left:
            sheet.take(5, "start", "起始时间")
            sheet.say(_time_text("", sheet.parts[-1].raw) or "no date")


def _error(sheet: Sheet, head: _Head, control: int) -> Meaning:
    code: str | None = None
    reasons: tuple[str, ...] = ()
    if sheet.left:
        word = sheet.take(1, "error word", "错误信息字")[0]
        code = f"{word:02x}"
        errors = ERRORS_1997 if head.edition == "1997" else ERRORS_2007
        reasons = tuple(text for bit, text in enumerate(errors) if word >> bit & 1)
        sheet.say("; ".join(reasons) or "no bit set")
        sheet.tail()
    else:
        sheet.odd("error-layout", "the error answer says nothing about its cause")
    return _meaning(sheet, head, control, None, code, reasons)


def _meaning(
    sheet: Sheet,
    head: _Head,
    control: int,
    di: int | None,
    error_code: str | None = None,
    reasons: tuple[str, ...] = (),
) -> Meaning:
    function, chinese = function_of(control, security=head.edition == "2007")
    return Meaning(
        protocol="dlt645",
        function=function,
        function_chinese=chinese,
        direction="up" if head.up else "down",
        error=head.error,
        more=head.more,
        edition=head.edition,
        di=di,
        width=2 * head.width,
        readings=sheet.readings,
        clock=sheet.clock,
        clock_at=sheet.clock_at,
        frozen_at=sheet.frozen_at,
        anomalies=tuple(sheet.anomalies),
        interval=sheet.interval,
        segment=sheet.segment,
        new_address=sheet.new_address,
        action=sheet.action,
        error_code=error_code,
        error_reasons=reasons,
        recognised=not head.error and sheet.complete and not function.startswith("unknown"),
        parts=tuple(sheet.parts),
    )
