"""Station wire, CJ/T 188 meaning: control code, identifier and payload of one frame become a Meaning.

It never raises: whatever the bytes, the answer is a Meaning with its anomalies. It reads no frame from bytes.
"""

from __future__ import annotations

from meterseal.wire import identifiers as ids
from meterseal.wire.cjt188 import layouts
from meterseal.wire.cjt188.names import function_of, medium_of
from meterseal.wire.fields import is_bcd
from meterseal.wire.frame import Frame
from meterseal.wire.sheet import Meaning, Sheet

FROM_METER, FAILED, VENDOR = 0x80, 0x40, 0x20
WRITE_GROUPS = (0xA0, 0xA1)


def interpret(frame: Frame, utc_offset_minutes: int = 480) -> Meaning:
    """The meaning of a CJ/T 188 frame; clocks are local time at `utc_offset_minutes` from UTC."""
    up = bool(frame.control & FROM_METER)
    error = up and bool(frame.control & FAILED)
    sheet = Sheet(frame.data, utc_offset_minutes, frame.address)
    if not is_bcd(frame.address) and set(frame.address) != {0xAA}:
        sheet.odd("address", "the address is not BCD")
    if frame.control & VENDOR:
        sheet.odd("control-bit-5", "D5 of the control code is set: a vendor's function, or a frame follows")
    if error:
        return _error(frame, sheet)
    di, ser = _lead(frame, sheet)
    if di is None:
        if sheet.left:
            sheet.take(sheet.left, "payload", "数据")
    elif ser is not None or sheet.left:
        _payload(frame, sheet, di, up=up)
        sheet.tail()
    return _meaning(frame, sheet, up=up, di=di, ser=ser)


def _lead(frame: Frame, sheet: Sheet) -> tuple[int | None, int | None]:
    """DI and SER, in either byte order; None where the data are too short to have them."""
    size = len(frame.data)
    if size < 2:
        if size:
            sheet.odd("short", "the data are too short for an identifier")
        sheet.complete = size == 0
        return None, None
    di, high_first = ids.read_di(frame.data)
    sheet.take(2, "data identifier", "数据标识")
    name = ids.name_of(di)
    order = "high byte first" if high_first else "low byte first"
    said = f"{name[0]} {name[1]}" if name else "not known"
    sheet.say(f"{di:04X} {said}, {order}")
    if size == 2:
        sheet.odd("no-ser", "the data have no serial number (SER)")
        return di, None
    ser = sheet.take(1, "serial number", "序列号")[0]
    sheet.say(str(ser))
    return di, ser


def _payload(frame: Frame, sheet: Sheet, di: int, *, up: bool) -> None:
    medium = medium_of(frame.meter_type)
    write = di >> 8 in WRITE_GROUPS
    reports = up or (bool(frame.control & VENDOR) and sheet.left >= 4)
    if di == ids.SEGMENTS:
        if not (up and frame.control & 0x1F == 0x04):
            sheet.read_segment(asks=not up and frame.control & 0x1F == 0x01)
        return
    if write and not up:
        layouts.write_layout(di)(sheet, medium)
    elif write:
        _write_answer(sheet, di, medium)
    elif reports and di == ids.INTERVALS:
        sheet.read_interval()
        return
    elif reports:
        layouts.answer_layout(di)(sheet, medium)
    _opaque_hint(frame, sheet, di)


def _write_answer(sheet: Sheet, di: int, medium: str) -> None:
    """L = 03, 04 or 05: nothing, one or two bytes of status behind SER (reference section 5.4)."""
    if di == ids.WRITE_KEY and sheet.left == 1:
        sheet.whole_number("key_version", "密钥版本号")
    elif sheet.left:
        sheet.read_status(min(2, sheet.left))


def _opaque_hint(frame: Frame, sheet: Sheet, di: int) -> None:
    if ids.name_of(di) is None:
        sheet.complete = False
        if len(frame.data) % 16 == 0:
            sheet.odd(
                "opaque", "the identifier is not known and L is a multiple of 16: this may be ciphertext"
            )
        else:
            sheet.odd("identifier", f"the identifier {di:04X} is not known; its payload is kept as bytes")


def _error(frame: Frame, sheet: Sheet) -> Meaning:
    """An error answer, laid out by length: err | SER err | SER ST | DI SER err | DI SER ST (section 5.3)."""
    size = len(frame.data)
    di: int | None = None
    ser: int | None = None
    if size in (4, 5):
        di, ser = _lead(frame, sheet)
    elif size in (2, 3):
        ser = sheet.take(1, "serial number", "序列号")[0]
        sheet.say(str(ser))
    code = sheet.body[sheet.at :].hex() or None
    if size in (3, 5):
        sheet.read_status()
    elif size in (1, 2, 4):
        sheet.take(1, "error code", "错误代码")
    elif size:
        sheet.take(size, "error data", "错误数据")
        sheet.odd("error-layout", f"an error answer of {size} data bytes has no known layout")
    else:
        sheet.odd("error-layout", "the error answer says nothing about its cause")
    return _meaning(frame, sheet, up=True, di=di, ser=ser, error_code=code)


def _meaning(
    frame: Frame, sheet: Sheet, *, up: bool, di: int | None, ser: int | None, error_code: str | None = None
) -> Meaning:
    function, chinese = function_of(frame.control)
    error = up and bool(frame.control & FAILED)
    return Meaning(
        protocol="cjt188",
        function=function,
        function_chinese=chinese,
        direction="up" if up else "down",
        error=error,
        more=False,
        di=di,
        ser=ser,
        readings=sheet.readings,
        clock=sheet.clock,
        clock_at=sheet.clock_at,
        frozen_at=sheet.frozen_at,
        status=sheet.status,
        anomalies=tuple(sheet.anomalies),
        interval=sheet.interval,
        segment=sheet.segment,
        new_address=sheet.new_address,
        action=sheet.action,
        error_code=error_code,
        recognised=not error and sheet.complete and di is not None and ids.name_of(di) is not None,
        parts=tuple(sheet.parts),
    )
