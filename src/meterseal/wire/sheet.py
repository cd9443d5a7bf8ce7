"""Station wire, the sheet: one data field read from left to right, each byte named, each value kept.

It knows the field kinds that both protocols share, no identifier and no layout (cjt188, dlt645).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct, field

from meterseal.units import UNITS
from meterseal.wire.fields import Clock, bcd, clock_at, is_bcd, read_clock
from meterseal.wire.frame import Protocol

Valve = Literal["open", "closed", "abnormal", "reserved"]
VALVES: tuple[Valve, ...] = ("open", "closed", "reserved", "abnormal")
"""Valve state (阀门) of D1 D0 of the first status byte (reference section 6.5)."""

HOTTEST = 200
"""degC. Heat meters are made for less (EN 1434: up to 180)."""


class Value(Struct, frozen=True):
    """One reading: `value` = `register` * 10**`exponent` in `unit`; None where the digits are no BCD.

    `unit` is None when the frame names none we know. Readings that are words carry `text` instead.
    """

    value: Decimal | None
    unit: str | None
    register: int | None = None
    exponent: int = 0
    text: str | None = None

    @property
    def shown(self) -> str | None:
        """The decimal string (or text) as the command line gives it; None for unreadable digits."""
        return self.text if self.text is not None else None if self.value is None else f"{self.value:f}"


class Status(Struct, frozen=True):
    """Status word ST (状态): `raw` hex in wire order, valve and battery of its first byte."""

    raw: str
    valve: Valve
    battery_low: bool


class Interval(Struct, frozen=True):
    """An interval block E001 (LINK section 4): register k was read at `start_at` + k * `step` (ms).

    `exponent` follows the unit table; missing registers are None; `unit` is empty for an unknown `unit_code`.
    """

    channel: int
    unit: str
    unit_code: int
    exponent: int
    status: int
    start_at: int
    step: int
    registers: tuple[int | None, ...]


class Segment(Struct, frozen=True):
    """A piece of a link message on a bus (LINK section 5); a request to read has no `total`."""

    total: int | None
    offset: int
    chunk: bytes


class Part(Struct, frozen=True):
    """Some bytes of the data field with their name in both languages and what they say."""

    offset: int
    raw: bytes
    name: str
    chinese: str
    text: str = ""


class Meaning(Struct, frozen=True, kw_only=True):
    """What one frame says; `recognised` is true when identifier and layout are known and complete.

    `di` is the identifier high byte first, `width` its hex digits (4 or 8). `clock` is local time (ISO 8601),
    `clock_at` Unix ms where the clock is a date; `frozen_at` the same of the time that a freeze's readings are of.
    `anomalies` are `code: sentence` strings; none of them makes a frame invalid. `action` is what a valve or relay
    command asks for. `error_code` is hex as sent.
    """

    protocol: Protocol
    function: str
    function_chinese: str
    direction: Literal["up", "down"]
    error: bool = False
    more: bool = False
    edition: str | None = None
    di: int | None = None
    width: int = 4
    ser: int | None = None
    readings: dict[str, Value] = field(default_factory=dict)
    clock: str | None = None
    clock_at: int | None = None
    frozen_at: int | None = None
    status: Status | None = None
    anomalies: tuple[str, ...] = ()
    interval: Interval | None = None
    segment: Segment | None = None
    new_address: str | None = None
    action: str | None = None
    error_code: str | None = None
    error_reasons: tuple[str, ...] = ()
    recognised: bool = False
    parts: tuple[Part, ...] = ()

    @property
    def di_text(self) -> str | None:
        """The identifier in hex, high byte first, or None where the frame has none."""
        return None if self.di is None else f"{self.di:0{self.width}X}"


def printed(address: bytes) -> str:
    """An address in printed order: the reverse of the wire order, upper-case hex."""
    return address[::-1].hex().upper()


class Sheet:
    """A reading head over one data field; filled by a layout, turned into a Meaning by its protocol.

    `address` is the header's, in wire order, for fields that repeat it.
    """

    def __init__(self, body: bytes, utc_offset_minutes: int = 480, address: bytes = b"") -> None:
        self.body = body
        self.address = address
        self.at = 0
        self.utc_offset_minutes = utc_offset_minutes
        self.parts: list[Part] = []
        self.readings: dict[str, Value] = {}
        self.anomalies: list[str] = []
        self.clock: str | None = None
        self.clock_at: int | None = None
        self.frozen_at: int | None = None
        self.status: Status | None = None
        self.interval: Interval | None = None
        self.segment: Segment | None = None
        self.new_address: str | None = None
        self.action: str | None = None
        self.complete = True
        self.ended = False

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self.body) - self.at

    def peek(self, index: int) -> int | None:
        """The byte `index` places ahead, or None behind the end."""
        return self.body[self.at + index] if self.at + index < len(self.body) else None

    def odd(self, code: str, said: str) -> None:
        """Note something unusual that does not make the frame invalid."""
        self.anomalies.append(f"{code}: {said}")

    def take(self, size: int, name: str, chinese: str, text: str = "") -> bytes:
        """Read `size` bytes as one named part; at the end of the data fewer."""
        raw = self.body[self.at : self.at + size]
        if raw:
            self.parts.append(Part(self.at, raw, name, chinese, text))
        self.at += len(raw)
        return raw

    def say(self, text: str) -> None:
        """Give the part just read its text."""
        last = self.parts[-1]
        self.parts[-1] = Part(last.offset, last.raw, last.name, last.chinese, text)

    def fits(self, size: int, name: str) -> bool:
        """Whether `size` more bytes are there; if not, the answer is short and no later field is read."""
        if not self.ended and self.left >= size:
            return True
        if not self.ended:
            self.ended, self.complete = True, False
            self.odd("short", f"the data end before {name}")
        return False

    def keep(self, name: str, value: Value) -> None:
        """Keep a reading and print it beside its bytes."""
        self.readings[name] = value
        self.say(f"{value.shown if value.shown is not None else 'unreadable'} {value.unit or ''}".rstrip())
        if value.value is None and value.text is None:
            raw = self.parts[-1].raw
            blank = set(raw) == {0xFF}
            self.odd("not-bcd", f"{name} is {'left blank (FF)' if blank else f'no BCD number ({raw.hex()})'}")

    def number(
        self, name: str, chinese: str, size: int, exponent: int, unit: str | None, *, signed: bool = False
    ) -> bool:
        """A BCD number of `size` bytes, low byte first; `signed` takes the top bit as the sign."""
        if not self.fits(size, name):
            return False
        raw = self.take(size, name, chinese)
        negative = signed and raw[-1] & 0x80 != 0 and set(raw) != {0xFF}
        register = bcd(raw[:-1] + bytes((raw[-1] & 0x7F,))) if negative else bcd(raw)
        if negative and register is not None:
            register = -register
        self.keep(name, scaled(register, exponent, unit))
        return True

    def quantity(
        self, name: str, chinese: str, *, exponent: int | None = None, unit_first: bool = False
    ) -> bool:
        """A 4-byte BCD number and its unit byte (behind it, or in front of it as some vendors send)."""
        if not self.fits(5, name):
            return False
        code = self.body[self.at] if unit_first else self.body[self.at + 4]
        if unit_first:
            self._unit(name, code)
        raw = self.take(4, name, chinese)
        known = UNITS.get(code)
        places = exponent if exponent is not None else -2
        if known is not None:
            places = known.exponent
        self.keep(name, scaled(bcd(raw), places, known.symbol if known else None))
        if known is not None and known.symbol == "L":
            self.odd(
                "unit-decimals",
                f"{name} is in litres, whose decimals the sources disagree on: its digits are {raw[::-1].hex()}, shown "
                f"with {-places} decimals",
            )
        if not unit_first:
            self._unit(name, code)
        return True

    def temperature(self, name: str, chinese: str) -> bool:
        """Three bytes XXXX.XX degC. No source has a rule for a sign: what no meter measures is kept and flagged."""
        if not self.number(name, chinese, 3, -2, "degC"):
            return False
        value = self.readings[name].value
        if value is not None and value > HOTTEST:
            sign = (
                " (its top bit may be a sign, for which no rule is known)"
                if self.parts[-1].raw[-1] & 0x80
                else ""
            )
            self.odd(
                "range", f"{name} is {value} degC, more than a meter measures{sign}; the digits are kept"
            )
        return True

    def whole_number(self, name: str, chinese: str) -> bool:
        """One byte that counts (a version, a serial): a reading without unit."""
        if not self.fits(1, name.replace("_", " ")):
            return False
        code = self.take(1, name.replace("_", " "), chinese)[0]
        self.keep(name, scaled(code, 0, ""))
        return True

    def _unit(self, name: str, code: int) -> None:
        known = UNITS.get(code)
        self.take(1, f"{name} unit", "单位", known.symbol if known else "unknown unit")
        if known is None:
            self.odd("unit", f"unit code {code:02X} of {name} is not known; the digits are kept without unit")

    def read_clock(self, name: str = "clock", chinese: str = "实时时间") -> bool:
        """Seven BCD clock bytes ss mm hh DD MM YY CC; other order, blanks and partial dates are flagged."""
        if not self.fits(7, name):
            return False
        raw = self.take(7, name, chinese)
        clock = read_clock(raw, self.utc_offset_minutes)
        self.clock, self.clock_at = clock.text, clock.at
        self._judge(clock, raw, "clock")
        return True

    def moment(self, name: str, chinese: str) -> bool:
        """Seven bytes like a clock's that are the time of something else: a reading, not the meter's clock."""
        spoken = name.replace("_", " ")
        if not self.fits(7, spoken):
            return False
        raw = self.take(7, spoken, chinese)
        clock = read_clock(raw, self.utc_offset_minutes)
        self.readings[name], self.frozen_at = Value(None, None, text=clock.text), clock.at
        self._judge(clock, raw, spoken)
        return True

    def _judge(self, clock: Clock, raw: bytes, name: str) -> None:
        code = name.replace(" ", "-")
        if clock.high_first:
            self.odd(f"{code}-order", f"the {name} was sent high byte first")
        elif clock.at is None and clock.text is not None:
            self.odd(f"{code}-unset", f"the {name} is no date ({clock.text})")
        elif clock.text is None:
            self.odd(f"{code}-unreadable", f"the {name} bytes {raw.hex()} are no date in either order")
        self.say(clock.text or "no date")

    def read_status(self, size: int = 2) -> bool:
        """The status word ST: one or two bytes."""
        if self.left < size and not self.fits(size, "status"):
            return False
        raw = self.take(size, "status", "状态")
        self.status = status_of(raw)
        self.say(f"valve {self.status.valve}, battery {'low' if self.status.battery_low else 'normal'}")
        return True

    def tail(self) -> None:
        """Whatever is left behind a known layout: kept as bytes and flagged (rule 7)."""
        if self.left and self.ended:
            self.take(self.left, "cut field", "残缺字段", "too short for the field that belongs here")
        elif self.left:
            size = self.left
            self.take(size, "more bytes", "其余字节", "not part of the known layout")
            self.odd("tail", f"{size} bytes follow the known layout")

    def read_interval(self) -> None:
        """The payload of an interval block (LINK section 4): head of 12 bytes, then 4 bytes a register."""
        if not self.fits(12, "interval head"):
            return
        start = clock_at(self.take(7, "start", "起始时间"), self.utc_offset_minutes)
        self.say(
            "no date" if start is None else read_clock(self.parts[-1].raw, self.utc_offset_minutes).text or ""
        )
        minutes = self.take(1, "interval", "间隔")[0]
        self.say(f"{minutes} min")
        channel = self.take(1, "channel", "通道")[0]
        self.say(str(channel))
        code = self.take(1, "unit", "单位")[0]
        unit = UNITS.get(code)
        self.say(unit.symbol if unit else "unknown unit")
        status = self.take(1, "status", "状态")[0]
        count = self.take(1, "count", "数量")[0]
        self.say(str(count))
        if self.left < 4 * count or count == 0 or minutes == 0 or start is None or unit is None:
            self.complete = False
            self.odd(
                "interval", "the interval block's head and its values do not agree; its values are not taken"
            )
            self.tail()
            return
        registers: list[int | None] = []
        for index in range(count):
            raw = self.take(4, f"register {index}", "示值")
            register = bcd(raw)
            if register is None and raw != b"\xff" * 4:
                self.odd("not-bcd", f"register {index} is no BCD number ({raw.hex()})")
                self.complete = False
            registers.append(register)
            self.say(
                "missing"
                if register is None
                else f"{Decimal(register).scaleb(unit.exponent):f} {unit.symbol}"
            )
        self.interval = Interval(
            channel, unit.symbol, code, unit.exponent, status, start, minutes * 60_000, tuple(registers)
        )

    def read_segment(self, *, asks: bool) -> None:
        """The payload of E002: offset alone when `asks`, else total, offset and the bytes (big-endian)."""
        if not self.fits(2 if asks else 4, "segment head"):
            return
        total = None if asks else int.from_bytes(self.take(2, "total", "总长"), "big")
        if total is not None:
            self.say(f"{total} bytes" if total else "nothing waits")
        offset = int.from_bytes(self.take(2, "offset", "偏移"), "big")
        self.say(str(offset))
        chunk = b"" if asks else self.take(self.left, "bytes of the link message", "链路报文")
        if total is not None and offset + len(chunk) > total:
            self.complete = False
            self.odd("segment", "the segment reaches beyond the total it names")
            return
        self.segment = Segment(total, offset, chunk)


def scaled(register: int | None, exponent: int, unit: str | None) -> Value:
    """A Value from scaled digits; null digits stay null."""
    if register is None:
        return Value(None, unit, None, exponent)
    return Value(Decimal(register).scaleb(exponent), unit, register, exponent)


def status_of(raw: bytes) -> Status:
    """Valve (D1 D0) and battery (D2) of the first status byte sent. `raw` has one byte at least."""
    return Status(raw.hex(), VALVES[raw[0] & 3], bool(raw[0] & 4))


def words(raw: bytes) -> str:
    """ASCII sent low byte first, as a string; bytes outside ASCII are shown as `\\xNN`."""
    return raw[::-1].decode("ascii", "backslashreplace")


def digits(raw: bytes) -> str | None:
    """BCD digits in printed order (numbers of meters, customers), or None."""
    return raw[::-1].hex() if is_bcd(raw) else None
