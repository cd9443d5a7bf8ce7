"""Station wire, the catalogue of CJ/T 188: one row per identifier (数据标识), one per field of a payload.

It reads and builds no bytes (cjt188 does, from these rows); tests draw every case from it.

Marks say how well a row is supported: A two sources and captured frames, B two sources, C one source; what no source
says is not here. A layout `payload` means that none is public: its bytes are carried as they are.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

FieldKind = Literal["quantity", "number", "count", "clock", "moment", "status", "address", "action", "bytes"]
Edition = Literal["both", "2004", "2018", "one source", "own"]
Mark = Literal["A", "B", "C", "own"]
Layout = tuple[str, ...]


class Field(Struct, frozen=True):
    """One field of a payload: `size` bytes, its number scaled by 10**`exponent`, in `unit`.

    Kinds: `quantity` four BCD bytes and a unit byte; `number` BCD; `count` one binary byte; `clock` the meter's
    clock and `moment` the time of something else, seven BCD bytes; `status` ST; `address`; `action` a valve
    code; `bytes` as they are, `size` 0 for any number of them.
    """

    name: str
    chinese: str
    kind: FieldKind
    size: int
    exponent: int = 0
    unit: str | None = None


def _quantity(name: str, chinese: str, unit: str, exponent: int = -2) -> Field:
    return Field(name, chinese, "quantity", 5, exponent, unit)


def _money(name: str, chinese: str, size: int = 4) -> Field:
    return Field(name, chinese, "number", size, -2, "CNY")


FIELDS: Final[dict[str, Field]] = {
    row.name: row
    for row in (
        _quantity("cumulative_volume", "当前累积流量", "m3"),
        _quantity("settlement_volume", "结算日累积流量", "m3"),
        _quantity("cumulative_energy", "当前热量", "kWh"),
        _quantity("settlement_energy", "结算日热量", "kWh"),
        _quantity("cumulative_cooling_energy", "当前冷量", "kWh"),
        _quantity("settlement_cooling_energy", "结算日冷量", "kWh"),
        _quantity("power", "热功率", "kW"),
        _quantity("flow_rate", "流量", "m3/h", -4),
        _quantity("alarm_volume", "报警余量", "m3"),
        Field("supply_temperature", "供水温度", "number", 3, -2, "degC"),
        Field("return_temperature", "回水温度", "number", 3, -2, "degC"),
        Field("temperature", "温度", "number", 3, -2, "degC"),
        Field("supply_pressure", "供水压力", "number", 3, -2),
        Field("return_pressure", "回水压力", "number", 3, -2),
        Field("pressure", "压力", "number", 3, -2),
        Field("working_time", "累积工作时间", "number", 3, 0, "h"),
        Field("clock", "实时时间", "clock", 7),
        Field("standard time", "标准时间", "clock", 7),
        Field("freeze_time", "冻结时间", "moment", 7),
        Field("bus", "总线号", "count", 1, 0, ""),
        Field("first_seen", "首次发现时间", "moment", 7),
        Field("alarm_at", "告警时间", "moment", 7),
        Field("clock_shown", "仪表时钟", "moment", 7),
        Field("clock_asked", "询问时间", "moment", 7),
        Field("clock_answered", "应答时间", "moment", 7),
        Field("clock_agreed", "上次核对时间", "moment", 7),
        Field("status", "状态", "status", 2),
        _money("price_1", "价格1", 3),
        Field("volume_1", "用量1", "number", 3, 0, "m3"),
        _money("price_2", "价格2", 3),
        Field("volume_2", "用量2", "number", 3, 0, "m3"),
        _money("price_3", "价格3", 3),
        Field("start_day", "启用日期", "number", 1, 0, ""),
        Field("settlement_day", "结算日", "number", 1, 0, ""),
        Field("reading_day", "抄表日", "number", 1, 0, ""),
        Field("purchase_serial", "购买序号", "count", 1, 0, ""),
        _money("purchase_amount", "本次购入金额"),
        _money("total_purchase_amount", "累计购入金额"),
        _money("remaining_amount", "剩余金额"),
        _money("alarm_amount", "报警余额"),
        Field("key_version", "密钥版本号", "count", 1, 0, ""),
        Field("new key", "新密钥", "bytes", 8),
        Field("valve action", "阀门动作", "action", 1),
        Field("new address", "新地址", "address", 7),
        Field("payload", "数据", "bytes", 0),
        Field("tail", "其余字节", "bytes", 0),
    )
}
"""Every field by name. Days are BCD; a serial and a version are binary."""

Kind = Literal[
    "read",
    "read-address",
    "read-key-version",
    "write",
    "write-address",
    "valve",
    "relay",
    "time",
    "freeze",
    "sync",
    "price",
    "purchase",
    "settlement-day",
    "reading-day",
    "key",
    "factory-enable",
    "verification",
    "communication",
    "freeze-parameters",
    "alarm-volume",
    "alarm-amount",
    "segment",
    "intervals",
    "found",
    "alarm",
    "clock-seen",
    "follow-up",
    "baud-rate",
    "password",
    "clear-demand",
    "clear-meter",
    "clear-events",
    "security",
    "vendor",
]
"""What a request is about, whatever the protocol."""


class Identifier(Struct, frozen=True):
    """One identifier, or the range from `di` to `last`, high byte first.

    `function` is its control code (D5..D0). `down` are the fields a request carries behind SER, `up` those of an
    answer of a water or gas meter and `heat` those of a heat meter; for writes `up` is what follows SER in the
    answer (section 5.4), and two bytes of status may always follow. `opaque` sizes a `payload` whose length is
    public while its layout is not; 0 where neither is.
    """

    di: int
    english: str
    chinese: str
    kind: Kind
    function: int
    edition: Edition
    mark: Mark
    down: Layout = ()
    up: Layout = ()
    heat: Layout | None = None
    opaque: int = 0
    last: int | None = None

    @property
    def writes(self) -> bool:
        """Whether it is written (A0xx, A1xx) and not read."""
        return self.di >> 8 in (0xA0, 0xA1)

    def layout(self, *, up: bool, heat: bool) -> Layout:
        """The fields behind SER, by direction and whether the meter counts heat."""
        if not up:
            return self.down
        return self.heat if heat and self.heat is not None else self.up


VOLUME: Final = ("cumulative_volume", "settlement_volume", "clock", "status")
HEAT: Final = (
    "settlement_energy",
    "cumulative_energy",
    "power",
    "flow_rate",
    "cumulative_volume",
    "supply_temperature",
    "return_temperature",
    "working_time",
    "clock",
    "status",
)
HEAT_2: Final = (
    "settlement_energy",
    "settlement_cooling_energy",
    "cumulative_energy",
    "cumulative_cooling_energy",
    "power",
    "flow_rate",
    "cumulative_volume",
    "supply_temperature",
    "return_temperature",
    "supply_pressure",
    "return_pressure",
    "working_time",
    "clock",
    "status",
)
FROZEN: Final = ("freeze_time", "cumulative_volume", "flow_rate", "temperature", "pressure")
COOLED: Final = ("settlement_energy", "settlement_cooling_energy", "settlement_volume")
PRICES: Final = ("price_1", "volume_1", "price_2", "volume_2", "price_3")
PURCHASE: Final = (
    "purchase_serial",
    "purchase_amount",
    "total_purchase_amount",
    "remaining_amount",
    "status",
)
BYTES: Final = ("payload",)

READ, READ_ADDRESS, WRITE, READ_KEY, WRITE_ADDRESS, WRITE_SYNC = 0x01, 0x03, 0x04, 0x09, 0x15, 0x16
"""Functions of C (D4..D0, section 4)."""

_NG_QUANTITY: Final = ("single quantity", "单项数据", "read", READ, "one source", "C", (), BYTES)

CLOCK_SEEN: Final = ("clock_shown", "clock_asked", "clock_answered", "clock_agreed")

ROWS: Final[tuple[Identifier, ...]] = (
    Identifier(0x901F, "current metering data", "计量数据", "read", READ, "both", "A", (), VOLUME, HEAT),
    Identifier(0x911F, "metering data 2", "计量数据2", "read", READ, "2018", "C", (), HEAT_2),
    Identifier(
        0xD120,
        "history 1, settlement day of month",
        "历史计量数据",
        "read",
        READ,
        "both",
        "B",
        (),
        ("settlement_volume",),
        ("settlement_energy",),
        last=0xD12B,
    ),
    Identifier(
        0xD200,
        "history 2",
        "历史计量数据2",
        "read",
        READ,
        "2018",
        "C",
        (),
        ("settlement_volume",),
        COOLED,
        last=0xD2FF,
    ),
    Identifier(
        0xD300, "timed freeze", "定时冻结数据", "read", READ, "2018", "C", (), FROZEN, BYTES, last=0xD3FF
    ),
    Identifier(
        0xD400,
        "instantaneous freeze",
        "瞬时冻结数据",
        "read",
        READ,
        "2018",
        "C",
        (),
        FROZEN,
        BYTES,
        last=0xD4FF,
    ),
    Identifier(0x8102, "price table", "价格表", "read", READ, "both", "B", (), PRICES),
    Identifier(0x8103, "settlement day", "结算日", "read", READ, "both", "B", (), ("settlement_day",)),
    Identifier(0x8104, "meter-reading day", "抄表日", "read", READ, "both", "B", (), ("reading_day",)),
    Identifier(0x8105, "purchase amount", "购入金额", "read", READ, "both", "B", (), PURCHASE),
    Identifier(
        0x8106, "key version", "密钥版本号", "read-key-version", READ_KEY, "2004", "B", (), ("key_version",)
    ),
    Identifier(0x810A, "address", "地址", "read-address", READ_ADDRESS, "both", "A"),
    Identifier(0x907F, "clock", "实时时间", "read", READ, "one source", "C", (), ("clock",)),
    Identifier(0x903F, *_NG_QUANTITY),
    Identifier(0x904F, *_NG_QUANTITY),
    Identifier(0x905F, *_NG_QUANTITY),
    Identifier(0x906F, *_NG_QUANTITY),
    Identifier(0xA010, "write price table", "写价格表", "price", WRITE, "both", "B", (*PRICES, "start_day")),
    Identifier(
        0xA011, "write settlement day", "写结算日", "settlement-day", WRITE, "both", "B", ("settlement_day",)
    ),
    Identifier(
        0xA012, "write meter-reading day", "写抄表日", "reading-day", WRITE, "both", "B", ("reading_day",)
    ),
    Identifier(
        0xA013,
        "write purchase amount",
        "写购入金额",
        "purchase",
        WRITE,
        "both",
        "B",
        ("purchase_serial", "purchase_amount"),
    ),
    Identifier(
        0xA014,
        "write new key",
        "写新密钥",
        "key",
        WRITE,
        "2004",
        "B",
        ("key_version", "new key"),
        ("key_version",),
    ),
    Identifier(0xA015, "write standard time", "写标准时间", "time", WRITE, "both", "B", ("standard time",)),
    Identifier(
        0xA016,
        "write electromechanical sync data",
        "写机电同步数据",
        "sync",
        WRITE_SYNC,
        "both",
        "A",
        ("cumulative_volume",),
        ("status",),
    ),
    Identifier(0xA116, "write sync data 2", "写机电同步数据2", "sync", WRITE_SYNC, "2018", "B", BYTES),
    Identifier(
        0xA017, "valve control", "写阀门控制", "valve", WRITE, "both", "A", ("valve action",), ("status",)
    ),
    Identifier(
        0xA018, "write address", "写地址", "write-address", WRITE_ADDRESS, "both", "A", ("new address",)
    ),
    Identifier(0xA019, "factory enable", "写出厂启用", "factory-enable", WRITE, "both", "B"),
    Identifier(0xA101, "enter verification mode", "进入检定状态", "verification", WRITE, "2018", "B"),
    Identifier(0xA102, "leave verification mode", "退出检定状态", "verification", WRITE, "2018", "B"),
    Identifier(
        0xA103,
        "communication parameters",
        "设置通信参数",
        "communication",
        WRITE,
        "2018",
        "B",
        BYTES,
        opaque=1,
    ),
    Identifier(
        0xA104, "freeze parameters", "设置冻结参数", "freeze-parameters", WRITE, "2018", "B", BYTES, opaque=4
    ),
    Identifier(
        0xA105, "alarm remaining volume", "报警余量", "alarm-volume", WRITE, "2018", "B", ("alarm_volume",)
    ),
    Identifier(
        0xA106, "alarm remaining money", "报警余额", "alarm-amount", WRITE, "2018", "B", ("alarm_amount",)
    ),
    Identifier(0xA107, "change key", "修改密钥", "key", WRITE, "2018", "C", BYTES, opaque=32),
    Identifier(0xE001, "interval block", "区间数据块", "intervals", READ, "own", "own"),
    Identifier(0xE002, "link message segment", "链路报文分段", "segment", WRITE, "own", "own"),
    Identifier(
        0xE003,
        "meter found on a bus",
        "总线上发现的仪表",
        "found",
        READ,
        "own",
        "own",
        up=("bus", "first_seen"),
    ),
    Identifier(
        0xE007, "alarm of a plain meter", "仪表告警", "alarm", READ, "own", "own", up=("status", "alarm_at")
    ),
    Identifier(
        0xE008, "clock of a plain meter", "仪表时钟核对", "clock-seen", READ, "own", "own", up=CLOCK_SEEN
    ),
)
"""Every identifier of both editions, and our own (LINK sections 4 and 5, ADR 0034, 0040 and 0049)."""

_SINGLE: Final = {row.di: row for row in ROWS if row.last is None}
_RANGES: Final = {row.di >> 8: row for row in ROWS if row.last is not None}


def row_of(di: int) -> Identifier | None:
    """The row of an identifier, or None when it is in no edition's table."""
    row = _SINGLE.get(di)
    if row is not None:
        return row
    row = _RANGES.get(di >> 8)
    return row if row is not None and row.last is not None and row.di <= di <= row.last else None


def name_of(di: int) -> tuple[str, str] | None:
    """English and Chinese name of an identifier, with the month or entry of a range, or None."""
    row = row_of(di)
    if row is None:
        return None
    if row.last is None:
        return row.english, row.chinese
    if row.di == 0xD120:
        month = di - row.di + 1
        return f"{row.english} -{month}", f"{row.chinese}{month}"
    return f"{row.english}, entry {di - row.di}", row.chinese
