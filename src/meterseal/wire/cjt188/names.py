"""Station wire, CJ/T 188 names: meter types T, control codes C and error words.

It decides nothing; reference sections 3 and 4 are the source of each row.
"""

from __future__ import annotations

from typing import Final

MEDIA: Final = {1: "water", 2: "heat", 3: "gas", 4: "other"}
"""Medium by the high nibble of T; low nibbles are never refused."""

TYPES: Final = {
    0x10: ("cold water meter", "冷水表"),
    0x11: ("domestic hot water meter", "生活热水表"),
    0x12: ("drinking water meter", "直饮水表"),
    0x13: ("reclaimed water meter", "中水表"),
    0x20: ("heat meter, heat", "热量表(计热量)"),
    0x21: ("heat meter, cooling", "热量表(计冷量)"),
    0x22: ("heat meter, heat and cooling", "热量表(计热量和冷量)"),
    0x30: ("gas meter", "燃气表"),
    0xAA: ("any type", "任意表型"),
}

FAMILIES: Final = {
    1: ("water meter", "水表"),
    2: ("heat meter", "热量表"),
    3: ("gas meter", "燃气表"),
    4: ("other meter", "其他仪表"),
}

FUNCTIONS: Final = {
    0x01: ("read data", "读数据"),
    0x03: ("read address", "读地址"),
    0x04: ("write data", "写数据"),
    0x09: ("read key version", "读密钥版本号"),
    0x15: ("write address", "写地址"),
    0x16: ("write sync data", "写机电同步数据"),
}
"""Function by D5..D0 of the control code."""

VENDOR_BIT = 0x20


def medium_of(meter_type: int) -> str:
    """`water`, `heat`, `gas`, `other`, `any` (T = AA) or `unknown`."""
    return "any" if meter_type == 0xAA else MEDIA.get(meter_type >> 4, "unknown")


def type_of(meter_type: int) -> tuple[str, str]:
    """Name of a meter type in both languages, by family where the exact code is not in the table."""
    return TYPES.get(meter_type) or FAMILIES.get(meter_type >> 4) or ("unknown type", "未知表型")


def function_of(control: int) -> tuple[str, str]:
    """Name of the function of C in both languages; codes outside the table are the vendor's."""
    code = control & 0x3F
    if code in FUNCTIONS:
        return FUNCTIONS[code]
    if code & VENDOR_BIT:
        return f"vendor function {code:02X} or follow-up frame", "厂商自定义或后续帧"
    return f"unknown function {code:02X}", "未知功能"
