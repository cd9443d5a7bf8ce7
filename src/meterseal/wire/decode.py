"""Station wire, the answer of `meterseal decode`: a text with a frame in it becomes one plain object.

The shape is that of DESIGN section 7. It prints nothing (tree and the command line do) and never raises for
anything a text may hold.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from meterseal.wire import cjt188
from meterseal.wire.codec import Found, faulty_frame, search
from meterseal.wire.fields import clock_text
from meterseal.wire.frame import Frame, Trial, sentence
from meterseal.wire.meaning import interpret
from meterseal.wire.rows import Row, as_far_as_sent, rows
from meterseal.wire.scan import Scan
from meterseal.wire.sheet import Interval, Meaning, Value, printed, scaled
from meterseal.wire.text import TextRead, read_text

Answer = dict[str, Any]


class Decoded(Struct, frozen=True):
    """One search in a text: its bytes, what was found, its meaning, the object for `--json`, and every byte's row."""

    buf: bytes
    found: Found
    meaning: Meaning | None
    answer: Answer
    rows: tuple[Row, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether a whole frame was found."""
        return self.found.frame is not None


class _Place(Struct, frozen=True):
    """Where in the bytes one answer stands: from `begin` to `until`, and whether another frame follows."""

    begin: int
    until: int
    more: bool = False


def decode(text: str, utc_offset_minutes: int = 480, *, cut: bool = False) -> Decoded:
    """The first whole frame in a text of hex digits (with whatever stands around it), or what is wrong.

    Of a text beyond LONGEST_TEXT characters only the beginning is looked at, and the answer says so; `cut` says
    that the caller left out the rest.
    """
    read = read_text(text, cut=cut)
    scan = Scan(read.buf)
    return _decoded(scan, read.found, _whole(scan, read.found, 0), read, utc_offset_minutes)


def decode_bytes(buf: bytes, utc_offset_minutes: int = 480, offset: int = 0) -> Decoded:
    """The same for bytes, searched from `offset` on."""
    scan = Scan(buf)
    found = search(buf, offset, scan)
    return _decoded(scan, found, _whole(scan, found, 0), None, utc_offset_minutes)


def decode_all(text: str, utc_offset_minutes: int = 480, *, cut: bool = False) -> list[Decoded]:
    """Every whole frame of a text in order; where there is none, the one answer that says what is wrong.

    Each answer has the bytes from the end of the frame before it; the last one has all that follow.
    """
    read = read_text(text, cut=cut)
    scan, found, begin = Scan(read.buf), read.found, 0
    results: list[Decoded] = []
    while found.frame is not None:
        following = search(read.buf, found.next, scan)
        if following.frame is None:
            break
        place = _Place(begin, found.next, more=True)
        results.append(_decoded(scan, found, place, None, utc_offset_minutes))
        found, begin = following, found.next
    last = _Place(begin, len(read.buf))
    return [*results, _decoded(scan, found, last, read, utc_offset_minutes)]


def _whole(scan: Scan, found: Found, begin: int) -> _Place:
    more = found.frame is not None and search(scan.buf, found.next, scan).frame is not None
    return _Place(begin, len(scan.buf), more)


def _decoded(
    scan: Scan, found: Found, place: _Place, read: TextRead | None, utc_offset_minutes: int
) -> Decoded:
    buf, frame = scan.buf, found.frame
    if frame is not None:
        meaning = interpret(frame, utc_offset_minutes)
        answer = _reading(found, frame, meaning, utc_offset_minutes)
        answer["anomalies"] += surroundings(buf, found, place.begin, place.until, more=place.more)
        if read is not None and read.cut:
            answer["anomalies"].append(f"cut: {read.cut}")
        listed = rows(buf, found, frame, meaning, place.begin, place.until)
        answer["fields"] = [_field(row) for row in listed]
        return Decoded(buf, found, meaning, answer, tuple(listed))
    answer = _refusal(buf, found, read)
    frame = faulty_frame(buf, found.trial)
    if frame is None and answer["protocol"] is not None:
        frame = as_far_as_sent(buf, found.trial)
    shown = interpret(frame, utc_offset_minutes) if frame else None
    if shown is not None and shown.edition is not None:
        answer["edition"] = shown.edition
    listed = rows(buf, found, frame, shown, place.begin, place.until)
    answer["fields"] = [_field(row) for row in listed]
    return Decoded(buf, found, None, answer, tuple(listed))


def _field(row: Row) -> Answer:
    return {
        "offset": row.offset,
        "hex": row.raw.hex().upper(),
        "name": row.name,
        "chinese": row.chinese,
        "value": row.said,
    }


def _reading(found: Found, frame: Frame, meaning: Meaning, utc_offset_minutes: int) -> Answer:
    answer: Answer = {"protocol": frame.protocol, "valid": True}
    if meaning.edition is not None:
        answer["edition"] = meaning.edition
    answer["frame"] = frame_object(frame, meaning, found.preamble, found.trial.right_checksum)
    if meaning.readings or meaning.direction == "up":
        answer["readings"] = {name: _value(value) for name, value in meaning.readings.items()}
    if frame.protocol == "dlt645" and meaning.readings:
        answer.update(_value(next(iter(meaning.readings.values()))))
    if meaning.clock is not None or any(name.startswith("clock-") for name in meaning.anomalies):
        answer["clock"] = meaning.clock
    if meaning.status is not None:
        answer["status"] = {
            "raw": meaning.status.raw,
            "valve": meaning.status.valve,
            "battery_low": meaning.status.battery_low,
        }
    if meaning.new_address is not None:
        answer["new_address"] = meaning.new_address
    if meaning.action is not None:
        answer["note_action"] = meaning.action
    if meaning.error:
        answer["error_answer"] = {"code": meaning.error_code, "reasons": list(meaning.error_reasons)}
    if meaning.interval is not None:
        answer["interval"] = _interval(meaning.interval, utc_offset_minutes)
    if meaning.segment is not None:
        segment = meaning.segment
        answer["segment"] = {"total": segment.total, "offset": segment.offset, "bytes": segment.chunk.hex()}
    answer["anomalies"] = list(meaning.anomalies)
    return answer


def frame_object(frame: Frame, meaning: Meaning, preamble: int, checksum: int | None) -> Answer:
    """The `frame` object: header fields in hex and words, numbers for lengths and counts."""
    described: Answer = {"preamble": preamble}
    if frame.protocol == "cjt188":
        described["meter_type"] = f"{frame.meter_type:02X}"
        described["medium"] = cjt188.medium_of(frame.meter_type)
        described["meter"] = " ".join(cjt188.type_of(frame.meter_type))
    else:
        described["medium"] = "electricity"
        described["meter"] = "electricity meter 电能表"
    described["address"] = printed(frame.address)
    described["control"] = f"{frame.control:02X}"
    described["function"] = meaning.function
    described["direction"] = meaning.direction
    described["error"] = meaning.error
    if frame.protocol == "dlt645":
        described["more"] = meaning.more
    described["length"] = len(frame.data)
    if meaning.di_text is not None:
        described["di"] = meaning.di_text
    if meaning.ser is not None:
        described["ser"] = meaning.ser
    described["checksum"] = None if checksum is None else f"{checksum:02X}"
    return described


def surroundings(buf: bytes, found: Found, begin: int, until: int, *, more: bool) -> list[str]:
    """Anomalies about bytes before and behind a frame, between `begin` and `until`."""
    notes: list[str] = []
    before = found.trial.start - found.preamble - begin
    if before > 0:
        notes.append(f"junk-before: {before} bytes in front of the frame were passed over")
    if buf[found.next : until].strip(b"\xfe"):
        what = "with another frame among them" if more else "which are no frame"
        notes.append(f"behind: {until - found.next} bytes follow the frame, {what}")
    return notes


def _value(value: Value) -> Answer:
    """Where the decimals are in doubt (litres, no known unit; reference section 6.3) with its digits as sent."""
    shown: Answer = {"value": value.shown, "unit": value.unit}
    if value.register is not None and value.unit in (None, "L"):
        shown["digits"] = str(value.register)
    return shown


def _interval(interval: Interval, utc_offset_minutes: int) -> Answer:
    return {
        "channel": interval.channel,
        "unit": interval.unit,
        "status": f"{interval.status:02x}",
        "start": clock_text(interval.start_at, utc_offset_minutes),
        "step_minutes": interval.step // 60_000,
        "values": [
            scaled(register, interval.exponent, interval.unit).shown for register in interval.registers
        ],
    }


def _refusal(buf: bytes, found: Found, read: TextRead | None) -> Answer:
    trial = found.trial
    answer: Answer = {"protocol": protocol_of(buf, trial), "valid": False}
    answer["error"] = {
        "code": trial.fault or "wire.no-frame",
        "message": complaint(trial, read),
        "expected": shown_fact(trial, trial.expected),
        "found": shown_fact(trial, trial.found),
    }
    if trial.right_checksum is not None:
        answer["checksum_expected"] = f"{trial.right_checksum:02X}"
    if trial.as_sent is not None and trial.mended is not None:
        answer["checksums"] = {
            "length_as_sent": f"{trial.as_sent:02X}",
            "length_corrected": f"{trial.mended:02X}",
        }
    frame = faulty_frame(buf, trial)
    if frame is not None:
        answer["frame"] = frame_object(frame, interpret(frame), found.preamble, buf[(trial.end or 2) - 2])
    return answer


def protocol_of(buf: bytes, trial: Trial) -> str | None:
    """The protocol of a faulty frame, or None while too few bytes are there to tell."""
    if trial.fault in ("", "wire.no-frame") or len(buf) - trial.start <= 7:
        return None
    return trial.protocol


def shown_fact(trial: Trial, fact: int | None) -> str | int | None:
    """`expected` and `found` as they are shown: bytes in hex, counts as numbers."""
    if fact is None or trial.fault in ("wire.truncated", "wire.length"):
        return fact
    return f"{fact:02X}"


def complaint(trial: Trial, read: TextRead | None) -> str:
    """The sentence for a fault, with what the text itself explains."""
    said = sentence(trial)
    if read is None:
        return said
    if not read.buf:
        said = "No frame was found: the input has no hex digits; give the frame's bytes as hex."
    if read.cut:
        return f"{said} {read.cut.capitalize()}."
    return (
        f"{said} The input has an odd number of hex digits, so one is missing or too many."
        if read.odd
        else said
    )
