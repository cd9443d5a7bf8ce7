"""Station wire, DL/T 645 names: control codes, error words, relay commands, password levels, status bits, baud rates.

It reads no data fields (`interpret`) and decides nothing.
"""

from __future__ import annotations

from typing import Final

from meterseal.wire.frame import Frame

FROM_METER, FAILED, MORE, FUNCTION = 0x80, 0x40, 0x20, 0x1F

FUNCTIONS_2007: Final = {
    0x08: ("broadcast time", "广播校时"),
    0x11: ("read data", "读数据"),
    0x12: ("read follow-up data", "读后续数据"),
    0x13: ("read address", "读通信地址"),
    0x14: ("write data", "写数据"),
    0x15: ("write address", "写通信地址"),
    0x16: ("freeze", "冻结命令"),
    0x17: ("change baud rate", "更改通信速率"),
    0x18: ("change password", "修改密码"),
    0x19: ("clear maximum demand", "最大需量清零"),
    0x1A: ("clear meter", "电表清零"),
    0x1B: ("clear events", "事件清零"),
    0x1C: ("trip, close, alarm, keep power", "跳合闸、报警、保电"),
}

SECURITY: Final = 0x03
"""Reserved for security in 2007 (安全认证); the older edition reads again with it."""

FUNCTIONS_1997: Final = {
    0x01: ("read data", "读数据"),
    0x02: ("read follow-up data", "读后续数据"),
    0x03: ("read again", "重读数据"),
    0x04: ("write data", "写数据"),
    0x0A: ("write address", "写设备地址"),
    0x0C: ("change baud rate", "更改通信速率"),
    0x0F: ("change password", "修改密码"),
    0x10: ("clear maximum demand", "最大需量清零"),
}

ERRORS_1997: Final = (
    "illegal data 非法数据",
    "wrong data identifier 数据标识错",
    "wrong password 密码错",
    "reserved bit 3 保留",
    "too many year zones 年时区数超",
    "too many day periods 日时段数超",
    "too many tariffs 费率数超",
    "reserved bit 7 保留",
)
"""The older edition's error word, by bit. Two public readers of it agree; we have not seen its own text."""

ERRORS_2007: Final = (
    "other error 其他错误",
    "no such data 无请求数据",
    "wrong password or not authorised 密码错/未授权",
    "baud rate cannot be changed 通信速率不能更改",
    "too many year zones 年时区数超",
    "too many day periods 日时段数超",
    "too many tariffs 费率数超",
    "reserved bit 7 保留",
)

RELAY: Final = {
    0x1A: ("trip", "trip 跳闸"),
    0x1B: ("permit-close", "permit closing 合闸允许"),
    0x1C: ("close", "close 直接合闸"),
    0x2A: ("alarm", "alarm 报警"),
    0x2B: ("alarm-off", "alarm off 报警解除"),
    0x3A: ("keep-power", "keep power 保电"),
    0x3B: ("keep-power-off", "keep power off 保电解除"),
}

LEVELS: Final = {
    0x98: "cipher text with MAC 密文+MAC",
    0x99: "plain text with MAC 明文+MAC",
    **{level: f"password of level {level} {level}级密码" for level in range(10)},
}
"""What the first byte of a password says. 00 is the highest level; 98 and 99 ask the meter's security module."""

STATUS_BITS: Final[dict[int, dict[int, str]]] = {
    1: {
        1: "demand by intervals 需量区间式",
        2: "clock battery low 时钟电池欠压",
        3: "reading battery low 停电抄表电池欠压",
        4: "active power reverse 有功反向",
        5: "reactive power reverse 无功反向",
    },
    2: {
        0: "active A reverse A相有功反向",
        1: "active B reverse B相有功反向",
        2: "active C reverse C相有功反向",
        4: "reactive A reverse A相无功反向",
        5: "reactive B reverse B相无功反向",
        6: "reactive C reverse C相无功反向",
    },
    3: {
        0: "second period table 第二套时段",
        1: "auxiliary supply 辅助电源",
        2: "battery supply 电池供电",
        3: "programming permitted 编程许可",
        4: "relay off 继电器断",
    },
    4: {
        0: "voltage loss 失压",
        1: "undervoltage 欠压",
        2: "overvoltage 过压",
        3: "current loss 失流",
        4: "overcurrent 过流",
        5: "overload 过载",
        6: "reverse flow 潮流反向",
        7: "phase loss 断相",
        8: "current break 断流",
    },
    7: {
        0: "voltage reverse sequence 电压逆相序",
        1: "current reverse sequence 电流逆相序",
        2: "voltage imbalance 电压不平衡",
        3: "current imbalance 电流不平衡",
        4: "auxiliary power loss 辅助电源失电",
        5: "power failure 掉电",
        6: "demand excess 需量超限",
        7: "low power factor 总功率因数超下限",
        8: "severe current imbalance 电流严重不平衡",
    },
}
"""Bits of the status words 040005nn that two sources name; 5 and 6 are as 4, for phases B and C."""

RATES: Final = {1: 600, 2: 1200, 3: 2400, 4: 4800, 5: 9600, 6: 19200}
"""Baud rate by the bit of the rate byte (通信速率特征字); exactly one is set."""


def is_security(frame: Frame) -> bool:
    """Whether a frame with function 03 is one of security (its identifier is 07xxxxxx) and none of 1997."""
    return frame.control & FUNCTION == SECURITY and len(frame.data) >= 4 and frame.data[3] == 0x07


def function_of(control: int, *, security: bool = False) -> tuple[str, str]:
    """Name of the function of C in both languages; only 03 means something else in each edition."""
    code = control & FUNCTION
    if code == SECURITY and security:
        return "security", "安全认证"
    unknown = (f"unknown function {code:02X}", "未知功能")
    return FUNCTIONS_2007.get(code) or FUNCTIONS_1997.get(code) or unknown


def is_function(control: int) -> bool:
    """Whether C names a function of either edition."""
    return control & FUNCTION in FUNCTIONS_2007 or control & FUNCTION in FUNCTIONS_1997


def state_of(name: str, raw: bytes) -> str:
    """The bits that are set in a status word, by the name of its reading; empty where none has a name."""
    number = int(name[-1]) if name.startswith("status_word_") else 0
    bits = STATUS_BITS.get(4 if number in (5, 6) else number, {})
    word = int.from_bytes(raw, "little")
    return "; ".join(said for bit, said in bits.items() if word >> bit & 1)


def rates_of(code: int) -> str:
    """The baud rates whose bits are set in a rate byte."""
    return ", ".join(f"{rate} baud" for bit, rate in RATES.items() if code >> bit & 1) or "no known rate"
