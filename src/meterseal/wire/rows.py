"""Station wire, the rows: every byte of a search in its place, with its name in both languages and what it says.

The tree prints them and `--json` lists them as `fields`, so that neither shows what the other leaves out. It reads
nothing new (interpret did).
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.wire import cjt188, dlt645
from meterseal.wire.codec import Found
from meterseal.wire.frame import END, LENGTH_AT, START, TAKE_33H, Frame, Trial
from meterseal.wire.sheet import Meaning, printed


class Row(Struct, frozen=True):
    """Some bytes as sent, from `offset` on; `said` is empty where there is nothing to say."""

    offset: int
    raw: bytes
    name: str
    chinese: str
    said: str = ""


def rows(
    buf: bytes, found: Found, frame: Frame | None, meaning: Meaning | None, begin: int, until: int
) -> list[Row]:
    """All bytes of `buf` from `begin` to `until`; `frame` and `meaning` are of the frame, whole or as far as sent."""
    start = found.trial.start
    if found.trial.fault == "wire.no-frame":
        return [Row(begin, buf[begin:until], "no frame", "非报文")] if until > begin else []
    listed: list[Row] = []
    before = start - found.preamble
    if before > begin:
        listed.append(Row(begin, buf[begin:before], "not part of the frame", "非报文"))
    if found.preamble:
        listed.append(Row(before, buf[before:start], "preamble", "前导符", f"{found.preamble} bytes"))
    listed += _header(buf, found.trial, meaning)
    place = start + LENGTH_AT[found.trial.protocol] + 1
    if frame is not None and meaning is not None:
        for part in meaning.parts:
            sent = buf[place + part.offset : place + part.offset + len(part.raw)]
            said = part.text
            if frame.protocol == "dlt645":
                said = f"{in_hex(part.raw)}: {said}" if said else in_hex(part.raw)
            listed.append(Row(place + part.offset, sent, part.name, part.chinese, said))
        place += len(frame.data)
    return listed + _closing(buf, found.trial, place, until)


def as_far_as_sent(buf: bytes, trial: Trial) -> Frame | None:
    """A truncated frame with the data that are there, so that they too get their names."""
    at = LENGTH_AT[trial.protocol]
    if trial.fault != "wire.truncated" or len(buf) <= trial.start + at:
        return None
    head = buf[trial.start : trial.start + at + 1]
    body = bytes(buf[trial.start + at + 1 : trial.start + at + 1 + head[at]])
    if trial.protocol == "cjt188":
        return Frame("cjt188", head[1], bytes(head[2:9]), head[9], body)
    return Frame("dlt645", 0, bytes(head[1:7]), head[8], body.translate(TAKE_33H))


def in_hex(raw: bytes) -> str:
    """Upper-case hex with spaces, as field engineers write it."""
    return raw.hex(" ").upper()


def _header(buf: bytes, trial: Trial, meaning: Meaning | None) -> list[Row]:
    start = trial.start
    if trial.protocol == "cjt188":
        layout = (("start", "帧起始符", 1), ("meter type", "仪表类型", 1), ("address", "地址域", 7))
    else:
        layout = (("start", "帧起始符", 1), ("address", "地址域", 6), ("start", "帧起始符", 1))
    listed: list[Row] = []
    for name, chinese, size in (*layout, ("control code", "控制码", 1), ("data length", "数据域长度", 1)):
        raw = buf[start : start + size]
        if raw:
            said = _header_text(trial, name, raw, meaning) if len(raw) == size else "cut off here"
            listed.append(Row(start, raw, name, chinese, said))
        start += size
    return listed


def _header_text(trial: Trial, name: str, raw: bytes, meaning: Meaning | None) -> str:
    if name == "meter type":
        return " ".join(cjt188.type_of(raw[0]))
    if name == "address":
        wild = set(raw) == {0xAA}
        return f"{printed(raw)} any meter 通配" if wild else printed(raw)
    if name == "data length" and trial.fault == "wire.length":
        return f"WRONG, says {raw[0]} bytes, there are {trial.expected} 应为{trial.expected}"
    if name == "data length":
        return f"{raw[0]} bytes"
    if name == "control code":
        read = cjt188.function_of if trial.protocol == "cjt188" else dlt645.function_of
        said = read(raw[0]) if meaning is None else (meaning.function, meaning.function_chinese)
        function, chinese = said
        failed = ", error 异常" if raw[0] & 0xC0 == 0xC0 else ""
        return f"{'answer' if raw[0] & 0x80 else 'request'}, {function} {chinese}{failed}"
    return ""


def _closing(buf: bytes, trial: Trial, place: int, until: int) -> list[Row]:
    """Checksum, end byte, what is missing and what follows."""
    listed: list[Row] = []
    if trial.end is None:
        if place < until:
            said = "cannot be checked, the frame is cut off"
            listed.append(Row(place, buf[place:until], "checksum", "校验码", said))
        if trial.fault == "wire.truncated" and trial.expected is not None and trial.found is not None:
            missing = trial.expected - trial.found
            listed.append(Row(len(buf), b"", "missing", "缺失", f"at least {missing} more bytes"))
        return listed
    listed.append(
        Row(trial.end - 2, buf[trial.end - 2 : trial.end - 1], "checksum", "校验码", _checked(buf, trial))
    )
    last = buf[trial.end - 1]
    ending = "" if last == END else f"WRONG, should be {END:02X} 应为{END:02X}"
    listed.append(Row(trial.end - 1, buf[trial.end - 1 : trial.end], "end", "结束符", ending))
    if trial.end < until:
        kind = "more bytes, perhaps a frame" if START in buf[trial.end : until] else "not part of the frame"
        listed.append(Row(trial.end, buf[trial.end : until], kind, "帧后字节"))
    return listed


def _checked(buf: bytes, trial: Trial) -> str:
    """Whether the checksum agrees; where the length is wrong, for which of the two lengths."""
    assert trial.end is not None
    found, right = buf[trial.end - 2], trial.right_checksum
    if trial.as_sent is None or trial.mended is None:
        return "right" if found == right else f"WRONG, should be {right:02X} 应为{right:02X}"
    lengths = f"{trial.as_sent:02X} for the length as sent, {trial.mended:02X} for length {trial.expected}"
    return (
        f"right for one length: {lengths}" if found in (trial.as_sent, trial.mended) else f"WRONG, {lengths}"
    )
