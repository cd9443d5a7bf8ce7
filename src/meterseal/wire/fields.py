"""Station wire, the fields: checksum, BCD and little-endian numbers, clocks of meters.

It knows no frame and no identifier; frames, layouts and builders all take their fields from here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct


def checksum(body: bytes | bytearray) -> int:
    """Sum mod 256 of all bytes from the first 68 to the last data byte (校验码; both protocols)."""
    return sum(body) & 0xFF


def is_bcd(raw: bytes) -> bool:
    """Whether every nibble is a decimal digit."""
    return not raw or raw.hex().isdecimal()


def bcd(raw: bytes) -> int | None:
    """A BCD number sent low byte first; None when a nibble is no digit (rule 5: value null)."""
    return int(raw[::-1].hex()) if raw and is_bcd(raw) else None


def to_bcd(value: int, size: int) -> bytes:
    """`size` BCD bytes, low byte first. Raises OverflowError when the digits do not fit."""
    digits = f"{value:0{2 * size}d}"
    if value < 0 or len(digits) > 2 * size:
        raise OverflowError(f"{value} does not fit in {2 * size} BCD digits")
    return bytes.fromhex(digits)[::-1]


class Clock(Struct, frozen=True):
    """A meter clock (实时时间) as sent: `text` is ISO 8601 local time or None, `at` Unix ms or None.

    A clock that is all zero or partly unset keeps its digits as text
    (`0000-00-00T00:00:00`) and has no `at`. `high_first` marks the field
    habit of sending the seven bytes in reading order.
    """

    text: str | None
    at: int | None
    high_first: bool = False


def clock_step(at: int) -> int:
    """How long a clock shows what it shows (ms): a second, or a minute where it may show none (no seconds)."""
    return 1_000 if at % 60_000 else 60_000


def moment_at(text: str | None, utc_offset_minutes: int = 480) -> int | None:
    """Unix ms of an ISO 8601 local time, to the minute or second; None where it is none."""
    try:
        local = datetime.fromisoformat(text or "").replace(tzinfo=UTC)
    except ValueError:
        return None
    return (int(local.timestamp()) - utc_offset_minutes * 60) * 1_000


def clock_at(raw: bytes, utc_offset_minutes: int = 480) -> int | None:
    """Unix ms of seven BCD bytes ss mm hh DD MM YY CC (local time), or None when that is no date."""
    if len(raw) != 7 or not is_bcd(raw):
        return None
    second, minute, hour, day, month, year, century = [(byte >> 4) * 10 + (byte & 15) for byte in raw]
    if not 19 <= century <= 21:
        return None
    try:
        local = datetime(century * 100 + year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return (int(local.timestamp()) - utc_offset_minutes * 60) * 1000


def clock_text(at: int, utc_offset_minutes: int = 480) -> str:
    """ISO 8601 local time of a Unix ms instant, without zone, to the second."""
    local = datetime.fromtimestamp(at / 1000, UTC) + timedelta(minutes=utc_offset_minutes)
    return local.isoformat()[:19]


def read_clock(raw: bytes, utc_offset_minutes: int = 480) -> Clock:
    """The clock field of seven bytes: low byte first, else high byte first with the mark set (rule 6)."""
    if raw == bytes(7):
        return Clock("0000-00-00T00:00:00", None)
    at = clock_at(raw, utc_offset_minutes)
    if at is not None:
        return Clock(clock_text(at, utc_offset_minutes), at)
    at = clock_at(raw[::-1], utc_offset_minutes)
    if at is not None:
        return Clock(clock_text(at, utc_offset_minutes), at, high_first=True)
    return Clock(_partial(raw), None)


def _partial(raw: bytes) -> str | None:
    """The digits of a clock whose date is partly unset (a zero year, month or day), else None."""
    if not is_bcd(raw):
        return None
    second, minute, hour, day, month, year, century = raw.hex(" ").split()
    likely = hour < "24" and minute < "60" and second < "60" and day < "32" and month < "13"
    if not likely or (century != "00" and day != "00" and month != "00"):
        return None
    return f"{century}{year}-{month}-{day}T{hour}:{minute}:{second}"


def to_clock(at: int, utc_offset_minutes: int = 480) -> bytes:
    """Seven BCD bytes ss mm hh DD MM YY CC of a Unix ms instant in local time."""
    local = datetime.fromtimestamp(at / 1000, UTC) + timedelta(minutes=utc_offset_minutes)
    return (
        bytes.fromhex(local.strftime("%S%M%H%d%m"))
        + to_bcd(local.year % 100, 1)
        + to_bcd(local.year // 100, 1)
    )
