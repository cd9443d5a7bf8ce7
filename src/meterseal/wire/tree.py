"""Station wire, the tree: one decoded frame as plain text, each byte with offset, name and what it says.

It reads nothing new (decode did) and needs no colour; with colour it marks what is wrong.
"""

from __future__ import annotations

from typing import Final
from unicodedata import east_asian_width

from meterseal.wire.decode import Decoded
from meterseal.wire.rows import Row, in_hex
from meterseal.wire.sheet import Meaning

TITLES: Final = {"cjt188": "CJ/T 188", "dlt645": "DL/T 645"}
PER_LINE: Final = 8
GOOD, BAD, DIM, PLAIN = "\x1b[32m", "\x1b[31;1m", "\x1b[2m", "\x1b[0m"


def tree(decoded: Decoded, *, colour: bool = False) -> str:
    """The text for one frame or one fault, lines joined by newlines, without one at the end."""
    lines = _headline(decoded, colour=colour)
    if decoded.meaning is not None:
        lines += _summary(decoded, decoded.meaning)
    lines += _table(decoded.rows, colour=colour)
    if not decoded.rows:
        lines[-1] = lines[-1].replace("├─", "└─")
    return "\n".join(lines)


def _headline(decoded: Decoded, *, colour: bool) -> list[str]:
    answer, meaning = decoded.answer, decoded.meaning
    title = TITLES.get(answer["protocol"] or "", "frame")
    if "edition" in answer:
        title += f"-{answer['edition']}"
    if meaning is not None:
        way = "from the meter" if meaning.direction == "up" else "to the meter"
        return [
            _paint(f"{title}  valid", GOOD, colour=colour),
            f"├─ {answer['frame']['meter']} {answer['frame']['address']}",
            f"├─ {way}: {meaning.function} {meaning.function_chinese}{_extras(meaning)}",
        ]
    error = answer["error"]
    lines = [_paint(f"{title}  NOT VALID  {error['code']}", BAD, colour=colour), f"├─ {error['message']}"]
    if error["code"] == "wire.checksum":
        said = f"├─ right checksum {error['expected']}, found {error['found']}"
        lines.append(_paint(said, BAD, colour=colour))
    if "checksums" in answer:
        both = answer["checksums"]
        lines.append(
            f"├─ checksum of the bytes there: {both['length_as_sent']} for the length as sent, "
            f"{both['length_corrected']} for the length that fits them"
        )
    return lines


def _extras(meaning: Meaning) -> str:
    said = ""
    if meaning.di_text is not None:
        said += f", {meaning.di_text}"
    if meaning.error:
        said += "  ERROR ANSWER 异常应答"
    if meaning.more:
        said += "  more follows 有后续帧"
    return said


def _summary(decoded: Decoded, meaning: Meaning) -> list[str]:
    """The readings and findings that somebody looks for first."""
    lines: list[str] = []
    width = max((len(name) for name in meaning.readings), default=0)
    for name, value in meaning.readings.items():
        shown = "unreadable" if value.shown is None else value.shown.replace("\0", "")
        lines.append(f"├─ {name:<{width}}  {shown} {value.unit or ''}".rstrip())
    if meaning.clock is not None:
        lines.append(f"├─ clock {meaning.clock}")
    if meaning.status is not None:
        battery = "low" if meaning.status.battery_low else "normal"
        lines.append(f"├─ valve 阀门 {meaning.status.valve}, battery 电池 {battery}")
    if meaning.action is not None:
        lines.append(f"├─ asks for: {meaning.action}")
    if meaning.new_address is not None:
        lines.append(f"├─ new address {meaning.new_address}")
    lines += [f"├─ ! {note}" for note in decoded.answer["anomalies"]]
    return lines


def _table(rows: tuple[Row, ...], *, colour: bool) -> list[str]:
    if not rows:
        return []
    lines = [_paint("└─ bytes: offset, hex as sent, field, value", DIM, colour=colour)]
    name_width = max(_width(f"{row.name} {row.chinese}") for row in rows)
    hex_width = 3 * min(PER_LINE, max(len(row.raw) for row in rows)) - 1
    for index, row in enumerate(rows):
        branch, stem = ("└─", "  ") if index == len(rows) - 1 else ("├─", "│ ")
        label = f"{row.name} {row.chinese}"
        label += " " * (name_width - _width(label))
        sent = f"{in_hex(row.raw[:PER_LINE]):<{max(hex_width, 2)}}"
        text = f"   {branch} {row.offset:>3}  {sent}  {label}  {_clean(row.said)}".rstrip()
        lines.append(_paint(text, BAD, colour=colour) if row.said.startswith("WRONG") else text)
        lines += [
            f"   {stem} {row.offset + place:>3}  {in_hex(row.raw[place : place + PER_LINE])}"
            for place in range(PER_LINE, len(row.raw), PER_LINE)
        ]
    return lines


def _clean(text: str) -> str:
    """Printable text: control characters of ASCII fields are left out."""
    return "".join(char for char in text if char.isprintable())


def _width(text: str) -> int:
    """Columns of a terminal: wide characters take two."""
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def _paint(text: str, colour_code: str, *, colour: bool) -> str:
    return f"{colour_code}{text}{PLAIN}" if colour else text
