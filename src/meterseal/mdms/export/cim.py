"""Station MDMS, CIM MeterReadings (IEC 61968-9): registers as head-ends and MDMSs exchange them, in XML.

It reads nothing back and wraps no message: the payload `MeterReadings` of namespace MeterReadings# alone. The schema's
own text is not public; element names and their order are those of the 2011 profile that products publish.

A ReadingType has 18 parts (macro period, aggregate, measuring period, accumulation, flow, commodity, kind, 2 of
harmonics, 2 of an argument, time of use, critical peak, tier, phases, multiplier, unit, currency). A ReadingQualityType
has three: system (3: a meter data management system), category and index.

The multiplier of a ReadingType is the power of ten before its unit, and of nothing else. What a register is multiplied by
to be use (`MeterMultiplier`: ratios of transformers, weights of pulses) belongs to the meter's configuration and has no
element in this payload: values stay as the meter shows them, and a reading to be multiplied says so in a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import BinaryIO, NamedTuple
from xml.sax.saxutils import escape, quoteattr
from zoneinfo import ZoneInfo

from meterseal.errors import DataError
from meterseal.mdms.export import instants
from meterseal.mdms.export.series import Exported
from meterseal.model import EXPORT, HEAT_VOLUME, MAIN, Medium, Quality

NAMESPACE = "http://iec.ch/TC57/2011/MeterReadings#"
BULK_QUANTITY, FORWARD, REVERSE = 1, 1, 19
ENERGY, VOLUME = 12, 58
ELECTRICITY, NATURAL_GAS, POTABLE_WATER, HEATING_FLUID = 1, 7, 9, 12


class Unit(NamedTuple):
    """`multiplier` is the power of ten before `symbol` (watt-hour 72, joule 31, cubic metre 42)."""

    multiplier: int
    symbol: int


UNITS: dict[str, Unit] = {
    "Wh": Unit(0, 72),
    "kWh": Unit(3, 72),
    "MWh": Unit(6, 72),
    "J": Unit(0, 31),
    "kJ": Unit(3, 31),
    "MJ": Unit(6, 31),
    "GJ": Unit(9, 31),
    "m3": Unit(0, 42),
}
COMMODITY: dict[Medium, int] = {
    "electricity": ELECTRICITY,
    "gas": NATURAL_GAS,
    "water": POTABLE_WATER,
    "heat": HEATING_FLUID,
}
_QUALITIES: dict[Quality, str] = {
    Quality.MEASURED: "3.0.0",
    Quality.ESTIMATED: "3.8.0",
    Quality.EDITED: "3.7.0",
    Quality.MISSING: "3.5.259",
    Quality.SUSPECT: "3.5.258",
}
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def quality_code(quality: Quality) -> str:
    """The ReadingQualityType of a quality: valid, estimated, edited, known missing read, suspect."""
    return _QUALITIES[quality]


def reading_type(medium: Medium, channel: int, unit: str) -> str:
    """The ReadingType of a cumulative register. Raises DataError `export.unit` for a unit that CIM is not told of here."""
    known = UNITS.get(unit.replace("³", "3"))
    if known is None or channel not in (MAIN, HEAT_VOLUME, EXPORT):
        raise DataError(
            "export.unit",
            f"Channel {channel} of {medium} in {unit} has no CIM reading type here. Export it as csv, arrow or parquet.",
        )
    kind = ENERGY if known.symbol != UNITS["m3"].symbol else VOLUME
    return (
        f"0.0.0.{BULK_QUANTITY}.{REVERSE if channel == EXPORT else FORWARD}.{COMMODITY[medium]}.{kind}.0.0.0.0.0.0.0.0."
        f"{known.multiplier}.{known.symbol}.0"
    )


def _text(words: str) -> str:
    """Words from outside within an element; what no XML document may hold (XML 1.0, 2.2) stands as U+FFFD."""
    return escape(_NO_CHARACTER.sub("\ufffd", words))


def write_cim(series: Iterable[Exported], out: BinaryIO, zone: ZoneInfo) -> int:
    """Write one MeterReadings document; returns how many readings. A missing register has a quality and no value.

    Raises DataError `export.unit`.
    """
    out.write(f'<?xml version="1.0" encoding="UTF-8"?>\n<MeterReadings xmlns="{NAMESPACE}">\n'.encode())
    written = 0
    for one in series:
        out.write(_meter_reading(one, zone).encode())
        written += len(one.columns().end_at)
    out.write(b"</MeterReadings>\n")
    return written


def _meter_reading(one: Exported, zone: ZoneInfo) -> str:
    """The readings of one channel: `Readings` come before `UsagePoint` in the profile."""
    kind = quoteattr(reading_type(one.medium, one.channel, one.unit))
    columns = one.columns()
    parts = ["<MeterReading>\n"]
    for end_at, register, quality, method in zip(
        columns.end_at.tolist(),
        columns.register.tolist(),
        columns.quality.tolist(),
        columns.method.tolist(),
        strict=True,
    ):
        parts.append(f"<Readings><timeStamp>{instants.local(end_at, zone)}</timeStamp>")
        if quality != Quality.MISSING:
            parts.append(f"<value>{Decimal(register).scaleb(one.exponent):f}</value>")
        comments = [
            one.methods[method],
            f"multiplier {one.multiplier}" if one.multiplier not in ("", "1") else "",
        ]
        words = _text("; ".join(filter(None, comments)))
        said = f"<comment>{words}</comment>" if words else ""
        code = quality_code(Quality(quality))
        parts.append(
            f'<ReadingQualities>{said}<ReadingQualityType ref="{code}"/></ReadingQualities>'
            f"<ReadingType ref={kind}/></Readings>\n"
        )
    parts.append(f"<UsagePoint><mRID>{_text(one.usage_point)}</mRID></UsagePoint>\n</MeterReading>\n")
    return "".join(parts)
