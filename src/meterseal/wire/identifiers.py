"""Station wire, data identifiers (数据标识 DI): those that code names, and their byte order on the wire.

It does not read payloads (layouts, dlt645) and lists no identifiers (catalogue). DIs are written high byte first
everywhere in this code.
"""

from __future__ import annotations

from meterseal.wire.catalogue import name_of

__all__ = ["name_of", "read_di", "write_di"]

INTERVALS = 0xE001
"""Interval block, our own (LINK section 4); DL/T 645: E0010000. Always low byte first on the wire."""
SEGMENTS = 0xE002
"""Link messages on a bus, our own (LINK section 5); DL/T 645: E0020000. Always low byte first."""
FOUND = 0xE003
"""A meter that a concentrator found on a bus and does not know, our own (ADR 0034); DL/T 645: E0030000."""
ALARM = 0xE007
"""What a concentrator saw a plain meter raise the alarm about, our own (ADR 0040); DL/T 645: E0070000."""
CLOCK = 0xE008
"""What a plain meter's clock showed when its concentrator looked, our own (ADR 0049); DL/T 645: E0080000."""
INTERVALS_645 = 0xE0010000
SEGMENTS_645 = 0xE0020000
FOUND_645 = 0xE0030000
ALARM_645 = 0xE0070000
CLOCK_645 = 0xE0080000

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

KNOWN_HIGH = frozenset({0x90, 0x91, 0x81, 0xA0, 0xA1, 0xD1, 0xD2, 0xD3, 0xD4, 0xE0, 0xC0})
"""High bytes of standard, own and (C0) vendor identifier groups, to guess the order of unknown ones."""


AMBIGUOUS = frozenset({0xD2, 0xD3, 0xD4})
"""Where both bytes of an identifier are among these, the swapped one is another identifier (section 5.2)."""


def read_di(raw: bytes, *, high_first: bool | None = None) -> tuple[int, bool]:
    """The DI of the first two bytes in either order, and whether it was sent high byte first (rule 3).

    A known identifier decides; where both orders are known (only within D2..D4) `high_first` does, the meter's order,
    and without it the DI is taken as sent; where none is, the high byte of a known group decides.
    """
    as_sent = raw[0] << 8 | raw[1]
    swapped = raw[1] << 8 | raw[0]
    if high_first is False and AMBIGUOUS.issuperset(raw[:2]):
        return swapped, False
    if name_of(as_sent) is not None:
        return as_sent, True
    if name_of(swapped) is not None:
        return swapped, False
    if raw[0] not in KNOWN_HIGH and raw[1] in KNOWN_HIGH:
        return swapped, False
    return as_sent, True


def write_di(di: int, *, high_first: bool) -> bytes:
    """Two DI bytes in the order asked for; our own always go low byte first (LINK 4)."""
    if di in (INTERVALS, SEGMENTS, FOUND, ALARM, CLOCK):
        high_first = False
    return di.to_bytes(2, "big" if high_first else "little")
