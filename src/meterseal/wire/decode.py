"""Station wire, the answer of `meterseal decode`: a text with a frame in it becomes one plain object.

The shape is that of DESIGN section 7. It prints nothing (tree and the command line do) and never raises for
anything a text may hold.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from meterseal.wire import cjt188
from meterseal.wire.codec import Found, faulty_frame, hex_digits, search, search_text
from meterseal.wire.fields import clock_text
from meterseal.wire.frame import Frame, Trial, sentence
from meterseal.wire.meaning import interpret
from meterseal.wire.sheet import Interval, Meaning, Value, printed, scaled

Answer = dict[str, Any]
LONGEST_TEXT: Final = 1 << 20
"""Characters of a text that are looked at."""


class Decoded(Struct, frozen=True):
    """One search in a text: its bytes, what was found, its meaning, and the object for `--json`."""

    buf: bytes
    found: Found
    meaning: Meaning | None
    answer: Answer

    @property
    def valid(self) -> bool:
        """Whether a whole frame was found."""
        return self.found.frame is not None


def decode(text: str, utc_offset_minutes: int = 480) -> Decoded:
    """The first whole frame in a text of hex digits (with whatever stands around it), or what is wrong."""
    text = text[:LONGEST_TEXT]
    buf, found = search_text(text)
    return _decoded(buf, found, text, utc_offset_minutes)


def decode_bytes(buf: bytes, utc_offset_minutes: int = 480, offset: int = 0) -> Decoded:
    """The same for bytes, searched from `offset` on."""
    return _decoded(buf, search(buf, offset), None, utc_offset_minutes)


def decode_all(text: str, utc_offset_minutes: int = 480) -> list[Decoded]:
    """Every whole frame of a text in order; where there is none, the one answer that says what is wrong."""
    results = [decode(text, utc_offset_minutes)]
    while results[-1].valid:
        last = results[-1]
        following = decode_bytes(last.buf, utc_offset_minutes, last.found.next)
        if not following.valid:
            break
        results.append(following)
    return results


def _decoded(buf: bytes, found: Found, text: str | None, utc_offset_minutes: int) -> Decoded:
    frame = found.frame
    if frame is None:
        return Decoded(buf, found, None, _refusal(buf, found, text))
    meaning = interpret(frame, utc_offset_minutes)
    return Decoded(buf, found, meaning, _reading(buf, found, frame, meaning, utc_offset_minutes))


def _reading(buf: bytes, found: Found, frame: Frame, meaning: Meaning, utc_offset_minutes: int) -> Answer:
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
    answer["anomalies"] = [*meaning.anomalies, *surroundings(buf, found)]
    return answer


def frame_object(frame: Frame, meaning: Meaning, preamble: int, checksum: int | None) -> Answer:
    """The `frame` object: header fields in hex and words, numbers for lengths and counts."""
    described: Answer = {"preamble": preamble}
    if frame.protocol == "cjt188":
        described["meter_type"] = f"{frame.meter_type:02X}"
        described["medium"] = cjt188.medium_of(frame.meter_type)
    else:
        described["medium"] = "electricity"
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


def surroundings(buf: bytes, found: Found) -> list[str]:
    """Anomalies about bytes before and behind a frame."""
    notes: list[str] = []
    before = found.trial.start - found.preamble
    if before:
        notes.append(f"junk-before: {before} bytes in front of the frame were passed over")
    behind = buf[found.next :].strip(b"\xfe")
    if behind:
        more = search(behind).frame is not None
        what = "with another frame among them" if more else "which are no frame"
        notes.append(f"behind: {len(buf) - found.next} bytes follow the frame, {what}")
    return notes


def _value(value: Value) -> Answer:
    return {"value": value.shown, "unit": value.unit}


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


def _refusal(buf: bytes, found: Found, text: str | None) -> Answer:
    trial = found.trial
    answer: Answer = {"protocol": protocol_of(buf, trial), "valid": False}
    answer["error"] = {
        "code": trial.fault or "wire.no-frame",
        "message": complaint(buf, trial, text),
        "expected": shown_fact(trial, trial.expected),
        "found": shown_fact(trial, trial.found),
    }
    if trial.right_checksum is not None:
        answer["checksum_expected"] = f"{trial.right_checksum:02X}"
    frame = faulty_frame(buf, trial)
    if frame is not None:
        meaning = interpret(frame)
        answer["frame"] = frame_object(frame, meaning, found.preamble, buf[(trial.end or 2) - 2])
        if meaning.edition is not None:
            answer["edition"] = meaning.edition
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


def complaint(buf: bytes, trial: Trial, text: str | None) -> str:
    """The sentence for a fault, with what the text itself explains."""
    said = sentence(trial)
    if text is None:
        return said
    if not buf:
        return "No frame was found: the input has no hex digits; give the frame's bytes as hex."
    if len(hex_digits(text)) % 2:
        said += " The input has an odd number of hex digits, so one is missing or too many."
    return said
