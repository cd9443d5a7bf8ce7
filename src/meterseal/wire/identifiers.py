"""Station wire, data identifiers (数据标识 DI): their byte order on the wire and their names.

It does not read payloads (layouts, dlt645). DIs are written high byte first everywhere in this code.
"""

from __future__ import annotations

INTERVALS = 0xE001
"""Interval block, our own (LINK section 4); DL/T 645: E0010000. Always low byte first on the wire."""
SEGMENTS = 0xE002
"""Link messages on a bus, our own (LINK section 5); DL/T 645: E0020000. Always low byte first."""
INTERVALS_645 = 0xE0010000
SEGMENTS_645 = 0xE0020000

METERING = 0x901F
METERING_2 = 0x911F
PRICE_TABLE = 0x8102
SETTLEMENT_DAY = 0x8103
READING_DAY = 0x8104
PURCHASE = 0x8105
KEY_VERSION = 0x8106
ADDRESS = 0x810A
WRITE_PRICE_TABLE = 0xA010
WRITE_SETTLEMENT_DAY = 0xA011
WRITE_READING_DAY = 0xA012
WRITE_PURCHASE = 0xA013
WRITE_KEY = 0xA014
WRITE_CLOCK = 0xA015
WRITE_SYNC = 0xA016
VALVE = 0xA017
WRITE_ADDRESS = 0xA018
FACTORY_ENABLE = 0xA019

NAMES: dict[int, tuple[str, str]] = {
    METERING: ("current metering data", "计量数据"),
    METERING_2: ("metering data 2", "计量数据2"),
    PRICE_TABLE: ("price table", "价格表"),
    SETTLEMENT_DAY: ("settlement day", "结算日"),
    READING_DAY: ("meter-reading day", "抄表日"),
    PURCHASE: ("purchase amount", "购入金额"),
    KEY_VERSION: ("key version", "密钥版本号"),
    ADDRESS: ("address", "地址"),
    0x907F: ("clock", "实时时间"),
    0x903F: ("single quantity", "单项数据"),
    0x904F: ("single quantity", "单项数据"),
    0x905F: ("single quantity", "单项数据"),
    0x906F: ("single quantity", "单项数据"),
    WRITE_PRICE_TABLE: ("write price table", "写价格表"),
    WRITE_SETTLEMENT_DAY: ("write settlement day", "写结算日"),
    WRITE_READING_DAY: ("write meter-reading day", "写抄表日"),
    WRITE_PURCHASE: ("write purchase amount", "写购入金额"),
    WRITE_KEY: ("write new key", "写新密钥"),
    WRITE_CLOCK: ("write standard time", "写标准时间"),
    WRITE_SYNC: ("write electromechanical sync data", "写机电同步数据"),
    0xA116: ("write sync data 2", "写机电同步数据2"),
    VALVE: ("valve control", "写阀门控制"),
    WRITE_ADDRESS: ("write address", "写地址"),
    FACTORY_ENABLE: ("factory enable", "写出厂启用"),
    0xA101: ("enter verification mode", "进入检定状态"),
    0xA102: ("leave verification mode", "退出检定状态"),
    0xA103: ("communication parameters", "设置通信参数"),
    0xA104: ("freeze parameters", "设置冻结参数"),
    0xA105: ("alarm remaining volume", "报警余量"),
    0xA106: ("alarm remaining money", "报警余额"),
    0xA107: ("change key", "修改密钥"),
    INTERVALS: ("interval block", "区间数据块"),
    SEGMENTS: ("link message segment", "链路报文分段"),
}


def name_of(di: int) -> tuple[str, str] | None:
    """English and Chinese name of a CJ/T 188 DI, the history and freeze ranges included, or None."""
    if di in NAMES:
        return NAMES[di]
    entry = di & 0xFF
    if 0xD120 <= di <= 0xD12B:
        month = entry - 0x1F
        return f"history 1, settlement day of month -{month}", f"历史计量数据{month}"
    ranges = {0xD2: ("history 2", "历史计量数据2"), 0xD3: ("timed freeze", "定时冻结数据")}
    ranges[0xD4] = ("instantaneous freeze", "瞬时冻结数据")
    if di >> 8 in ranges:
        english, chinese = ranges[di >> 8]
        return f"{english}, entry {entry}", chinese
    return None


KNOWN_HIGH = frozenset({0x90, 0x91, 0x81, 0xA0, 0xA1, 0xD1, 0xD2, 0xD3, 0xD4, 0xE0, 0xC0})
"""High bytes of standard, own and (C0) vendor identifier groups, to guess the order of unknown ones."""


def read_di(raw: bytes) -> tuple[int, bool]:
    """The DI of two bytes in either order, and whether it was sent high byte first (rule 3).

    A known identifier decides; where both orders are known (only within D2..D4) it is taken as sent, where
    none
    is, the high byte of a known group decides.
    """
    as_sent = raw[0] << 8 | raw[1]
    swapped = raw[1] << 8 | raw[0]
    if name_of(as_sent) is not None:
        return as_sent, True
    if name_of(swapped) is not None:
        return swapped, False
    if raw[0] not in KNOWN_HIGH and raw[1] in KNOWN_HIGH:
        return swapped, False
    return as_sent, True


def write_di(di: int, *, high_first: bool) -> bytes:
    """Two DI bytes in the order asked for; our own E001 and E002 always go low byte first (LINK 4)."""
    if di in (INTERVALS, SEGMENTS):
        high_first = False
    return di.to_bytes(2, "big" if high_first else "little")
