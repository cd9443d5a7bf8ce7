"""Station wire, the tree: one decoded frame as plain text, each byte with offset, name and what it says.

It reads nothing new (decode did) and needs no colour; with colour it marks what is wrong.
"""

from __future__ import annotations

from typing import Final
from unicodedata import east_asian_width

from meterseal.wire import cjt188, dlt645
from meterseal.wire.codec import faulty_frame
from meterseal.wire.decode import Decoded, protocol_of, surroundings
from meterseal.wire.frame import END, LENGTH_AT, START, TAKE_33H, Frame, Trial
from meterseal.wire.meaning import interpret
from meterseal.wire.sheet import Meaning, printed

TITLES: Final = {"cjt188": "CJ/T 188", "dlt645": "DL/T 645"}
PER_LINE: Final = 8
GOOD, BAD, DIM, PLAIN = "\x1b[32m", "\x1b[31;1m", "\x1b[2m", "\x1b[0m"

Row = tuple[int, bytes, str, str, str]
"""Offset, bytes, name, Chinese term, what they say."""


def tree(decoded: Decoded, *, colour: bool = False) -> str:
    """The text for one frame or one fault, lines joined by newlines, without one at the end."""
    trial = decoded.found.trial
    protocol = trial.protocol if decoded.valid else protocol_of(decoded.buf, trial)
    frame = (
        decoded.found.frame
        or faulty_frame(decoded.buf, trial)
        or _as_far_as_sent(decoded.buf, trial, protocol)
    )
    meaning = decoded.meaning if decoded.meaning is not None else interpret(frame) if frame else None
    lines = _headline(decoded, protocol, frame, meaning, colour=colour)
    if decoded.valid and meaning is not None:
        lines += _summary(decoded, meaning)
    rows = _rows(decoded, frame, meaning)
    lines += _table(rows, colour=colour)
    if not rows:
        lines[-1] = lines[-1].replace("├─", "└─")
    return "\n".join(lines)


def _headline(
    decoded: Decoded, protocol: str | None, frame: Frame | None, meaning: Meaning | None, *, colour: bool
) -> list[str]:
    title = TITLES.get(protocol or "", "frame")
    if meaning is not None and meaning.edition is not None:
        title += f"-{meaning.edition}"
    lines: list[str] = []
    if decoded.valid and frame is not None and meaning is not None:
        lines.append(_paint(f"{title}  valid", GOOD, colour=colour))
        way = "from the meter" if meaning.direction == "up" else "to the meter"
        kind = _meter(frame)
        lines.append(f"├─ {kind} {printed(frame.address)}")
        lines.append(f"├─ {way}: {meaning.function} {meaning.function_chinese}{_extras(meaning)}")
    else:
        error = decoded.answer["error"]
        lines.append(_paint(f"{title}  NOT VALID  {error['code']}", BAD, colour=colour))
        lines.append(f"├─ {error['message']}")
        right = decoded.found.trial.right_checksum
        if right is not None and decoded.found.trial.fault == "wire.checksum":
            lines.append(_paint(f"├─ right checksum {right:02X}, found {error['found']}", BAD, colour=colour))
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


def _meter(frame: Frame) -> str:
    if frame.protocol == "dlt645":
        return "electricity meter 电能表"
    return " ".join(cjt188.type_of(frame.meter_type))


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
    lines += [f"├─ ! {note}" for note in (*meaning.anomalies, *surroundings(decoded.buf, decoded.found))]
    return lines


def _as_far_as_sent(buf: bytes, trial: Trial, protocol: str | None) -> Frame | None:
    """A truncated frame with the data that are there, so that they too get their names."""
    at = LENGTH_AT[trial.protocol]
    if protocol is None or trial.fault != "wire.truncated" or len(buf) <= trial.start + at:
        return None
    head = buf[trial.start : trial.start + at + 1]
    body = bytes(buf[trial.start + at + 1 : trial.start + at + 1 + head[at]])
    if trial.protocol == "cjt188":
        return Frame("cjt188", head[1], bytes(head[2:9]), head[9], body)
    return Frame("dlt645", 0, bytes(head[1:7]), head[8], body.translate(TAKE_33H))


def _rows(decoded: Decoded, frame: Frame | None, meaning: Meaning | None) -> list[Row]:
    buf, found = decoded.buf, decoded.found
    start = found.trial.start
    if found.trial.fault == "wire.no-frame":
        return [(0, buf, "no frame", "非报文", "")] if buf else []
    rows: list[Row] = []
    before = start - found.preamble
    if before > 0:
        rows.append((0, buf[:before], "not part of the frame", "非报文", ""))
    if found.preamble:
        rows.append((before, buf[before:start], "preamble", "前导符", f"{found.preamble} bytes"))
    rows += _header(buf, found.trial)
    place = start + LENGTH_AT[found.trial.protocol] + 1
    if frame is not None and meaning is not None:
        for part in meaning.parts:
            sent = buf[place + part.offset : place + part.offset + len(part.raw)]
            said = part.text
            if frame.protocol == "dlt645":
                said = f"{_hex(part.raw)}: {said}" if said else _hex(part.raw)
            rows.append((place + part.offset, sent, part.name, part.chinese, said))
        place += len(frame.data)
    rows += _closing(buf, found.trial, place)
    return rows


def _header(buf: bytes, trial: Trial) -> list[Row]:
    start = trial.start
    if trial.protocol == "cjt188":
        layout = (("start", "帧起始符", 1), ("meter type", "仪表类型", 1), ("address", "地址域", 7))
    else:
        layout = (("start", "帧起始符", 1), ("address", "地址域", 6), ("start", "帧起始符", 1))
    rows: list[Row] = []
    for name, chinese, size in (*layout, ("control code", "控制码", 1), ("data length", "数据域长度", 1)):
        raw = buf[start : start + size]
        if raw:
            rows.append(
                (start, raw, name, chinese, _header_text(trial.protocol, name, raw, whole=len(raw) == size))
            )
        start += size
    if trial.fault == "wire.length" and rows:
        offset, raw, name, chinese, said = rows[-1]
        rows[-1] = (
            offset,
            raw,
            name,
            chinese,
            f"WRONG, says {said}, there are {trial.expected} 应为{trial.expected}",
        )
    return rows


def _header_text(protocol: str, name: str, raw: bytes, *, whole: bool) -> str:
    if not whole:
        return "cut off here"
    if name == "meter type":
        return " ".join(cjt188.type_of(raw[0]))
    if name == "address":
        wild = set(raw) == {0xAA}
        return f"{printed(raw)} any meter 通配" if wild else printed(raw)
    if name == "data length":
        return f"{raw[0]} bytes"
    if name == "control code":
        function, chinese = cjt188.function_of(raw[0]) if protocol == "cjt188" else dlt645.function_of(raw[0])
        failed = ", error 异常" if raw[0] & 0xC0 == 0xC0 else ""
        return f"{'answer' if raw[0] & 0x80 else 'request'}, {function} {chinese}{failed}"
    return ""


def _closing(buf: bytes, trial: Trial, place: int) -> list[Row]:
    """Checksum, end byte, what is missing and what follows."""
    rows: list[Row] = []
    if trial.end is None:
        if place < len(buf):
            rows.append((place, buf[place:], "checksum", "校验码", "cannot be checked, the frame is cut off"))
        if trial.fault == "wire.truncated" and trial.expected is not None and trial.found is not None:
            missing = trial.expected - trial.found
            rows.append((len(buf), b"", "missing", "缺失", f"at least {missing} more bytes"))
        return rows
    found, right = buf[trial.end - 2], trial.right_checksum
    agrees = "right" if found == right else f"WRONG, should be {right:02X} 应为{right:02X}"
    rows.append((trial.end - 2, buf[trial.end - 2 : trial.end - 1], "checksum", "校验码", agrees))
    last = buf[trial.end - 1]
    ending = "" if last == END else f"WRONG, should be {END:02X} 应为{END:02X}"
    rows.append((trial.end - 1, buf[trial.end - 1 : trial.end], "end", "结束符", ending))
    if trial.end < len(buf):
        kind = "more bytes, perhaps a frame" if START in buf[trial.end :] else "not part of the frame"
        rows.append((trial.end, buf[trial.end :], kind, "帧后字节", ""))
    return rows


def _table(rows: list[Row], *, colour: bool) -> list[str]:
    if not rows:
        return []
    lines = [_paint("└─ bytes: offset, hex as sent, field, value", DIM, colour=colour)]
    name_width = max(_width(f"{name} {chinese}") for _, _, name, chinese, _ in rows)
    hex_width = 3 * min(PER_LINE, max(len(raw) for _, raw, _, _, _ in rows)) - 1
    for index, (offset, raw, name, chinese, said) in enumerate(rows):
        branch, stem = ("└─", "  ") if index == len(rows) - 1 else ("├─", "│ ")
        label = f"{name} {chinese}"
        label += " " * (name_width - _width(label))
        sent = f"{_hex(raw[:PER_LINE]):<{max(hex_width, 2)}}"
        text = f"   {branch} {offset:>3}  {sent}  {label}  {_clean(said)}".rstrip()
        lines.append(_paint(text, BAD, colour=colour) if said.startswith("WRONG") else text)
        lines += [
            f"   {stem} {offset + place:>3}  {_hex(raw[place : place + PER_LINE])}"
            for place in range(PER_LINE, len(raw), PER_LINE)
        ]
    return lines


def _clean(text: str) -> str:
    """Printable text: control characters of ASCII fields are left out."""
    return "".join(char for char in text if char.isprintable())


def _hex(raw: bytes) -> str:
    return raw.hex(" ").upper()


def _width(text: str) -> int:
    """Columns of a terminal: wide characters take two."""
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def _paint(text: str, colour_code: str, *, colour: bool) -> str:
    return f"{colour_code}{text}{PLAIN}" if colour else text
