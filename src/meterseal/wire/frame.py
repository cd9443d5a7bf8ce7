"""Station wire, the frame: 68 … 16 of CJ/T 188 and DL/T 645 between bytes and a struct, strict at one place.

It neither searches for frames in noise (codec) nor knows what the data mean (meaning).

    CJ/T 188   68 T A0..A6 C L DATA CS 16
    DL/T 645   68 A0..A5 68 C L DATA+33H CS 16

A frame is tried as DL/T 645 first (68 at 0 and 7, the end byte, the checksum), then as CJ/T 188.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from meterseal.errors import LocalError, PeerError
from meterseal.wire.fields import checksum

Protocol = Literal["cjt188", "dlt645"]
Fault = Literal["", "wire.no-frame", "wire.truncated", "wire.end", "wire.checksum", "wire.length"]

START = 0x68
END = 0x16
OFFSET_33H = 0x33

ANY, EVERYBODY = 0xAA, b"\x99" * 6
"""An address byte that stands for any, and the address of DL/T 645 that all meters hear."""
ADD_33H = bytes((byte + OFFSET_33H) & 0xFF for byte in range(256))
TAKE_33H = bytes((byte - OFFSET_33H) & 0xFF for byte in range(256))

LENGTH_AT: dict[Protocol, int] = {"dlt645": 9, "cjt188": 10}
"""Offset of L from the first 68; DATA follows, then CS and 16."""


class Frame(Struct, frozen=True):
    """One whole frame, taken apart.

    `meter_type` is T (仪表类型; 0 for DL/T 645). `address` is in wire order, low byte first: 7 bytes, or 6
    for DL/T 645. `control` is C as sent. `data` is DATA without the 33H offset of DL/T 645.
    """

    protocol: Protocol
    meter_type: int
    address: bytes
    control: int
    data: bytes

    def encode(self) -> bytes:
        """The bytes 68 … 16, no preamble. Raises LocalError `wire.field` for fields that fit no frame."""
        size = 7 if self.protocol == "cjt188" else 6
        if len(self.address) != size or len(self.data) > 255:
            raise LocalError(
                "wire.field",
                f"A {self.protocol} frame takes {size} address bytes and at most 255 data bytes, "
                f"not {len(self.address)} and {len(self.data)}; split the data.",
            )
        tail = bytes((self.control, len(self.data)))
        if self.protocol == "cjt188":
            body = bytes((START, self.meter_type)) + self.address + tail + self.data
        else:
            body = bytes((START,)) + self.address + bytes((START,)) + tail + self.data.translate(ADD_33H)
        return body + bytes((checksum(body), END))

    @property
    def device_id(self) -> bytes:
        """8 bytes (LINK section 1): T and the address, or D7 00 and the address, in printed order."""
        head = bytes((self.meter_type,)) if self.protocol == "cjt188" else b"\xd7\x00"
        return head + self.address[::-1]

    def with_data(self, data: bytes) -> Frame:
        """The same frame with other data; L and CS follow when it is encoded."""
        return replace(self, data=data)


def address_of(device_id: bytes) -> tuple[Protocol, int, bytes]:
    """Protocol, T and wire-order address of a meter's 8-byte device_id (LINK section 1).

    Raises LocalError `wire.field` for ids that name no meter (F0 concentrator, F1 collector, wrong length).
    """
    if len(device_id) == 8 and device_id[:2] == b"\xd7\x00":
        return "dlt645", 0, device_id[:1:-1]
    if len(device_id) == 8 and device_id[0] not in (0xD7, 0xF0, 0xF1):
        return "cjt188", device_id[0], device_id[:0:-1]
    raise LocalError(
        "wire.field", f"{device_id.hex()} is not the device id of a meter; give 8 bytes T or D7 00 first."
    )


def is_one(device_id: bytes) -> bool:
    """Whether a device id is that of one meter: AA stands for any type or digits, 99 in every byte for all of DL/T 645."""
    protocol, meter_type, address = address_of(device_id)
    return ANY not in (meter_type, *address) and (protocol == "cjt188" or address != EVERYBODY)


class Trial(Struct, frozen=True):
    """What came of reading one frame at one place: the frame, or the first thing that is wrong.

    `end` is the offset behind the frame where it is known. `expected` and `found` belong to the fault
    (checksum and end byte: that byte; length: L; truncated: bytes needed and there). `right_checksum` is
    what CS ought to be when the frame's extent is known, else None. Where the length is in doubt `as_sent` and
    `mended` are the checksum of the bytes there, with the length byte as sent and with the one that fits them, and
    `claimed` the one that was sent.
    """

    protocol: Protocol
    start: int
    end: int | None = None
    frame: Frame | None = None
    fault: Fault = ""
    expected: int | None = None
    found: int | None = None
    right_checksum: int | None = None
    as_sent: int | None = None
    mended: int | None = None
    claimed: int | None = None


def try_frame(buf: bytes, start: int, protocol: Protocol) -> Trial:
    """Read one frame of `protocol` at `start`; never raises. The byte at `start` is taken to be 68."""
    at = LENGTH_AT[protocol]
    there = len(buf) - start
    if protocol == "dlt645" and there > 7 and buf[start + 7] != START:
        return Trial(protocol, start, fault="wire.no-frame", expected=START, found=buf[start + 7])
    if there <= at:
        return Trial(protocol, start, fault="wire.truncated", expected=at + 3, found=there)
    length = buf[start + at]
    size = at + 3 + length
    if there < size:
        return Trial(protocol, start, fault="wire.truncated", expected=size, found=there)
    end = start + size
    right = checksum(buf[start : end - 2])
    if buf[end - 1] != END:
        return Trial(protocol, start, end, None, "wire.end", END, buf[end - 1], right)
    if buf[end - 2] != right:
        return Trial(protocol, start, end, None, "wire.checksum", right, buf[end - 2], right)
    payload = bytes(buf[start + at + 1 : end - 2])
    if protocol == "cjt188":
        frame = Frame(protocol, buf[start + 1], bytes(buf[start + 2 : start + 9]), buf[start + 9], payload)
    else:
        address = bytes(buf[start + 1 : start + 7])
        frame = Frame(protocol, 0, address, buf[start + 8], payload.translate(TAKE_33H))
    return Trial(protocol, start, end, frame, right_checksum=right)


def trials_at(buf: bytes, start: int, protocol: Protocol | None = None) -> tuple[Trial, ...]:
    """The ways to read a frame whose 68 is at `start`: the good one alone, or each fault, likeliest first.

    `protocol` narrows the reading to one protocol where it is known.
    """
    if protocol is not None:
        return (try_frame(buf, start, protocol),)
    electricity = try_frame(buf, start, "dlt645")
    if electricity.frame is not None:
        return (electricity,)
    household = try_frame(buf, start, "cjt188")
    if household.frame is not None:
        return (household,)
    if electricity.fault == "wire.no-frame":
        return (household,)
    if household.end is not None and buf[household.end - 1] == END and electricity.fault != "wire.checksum":
        return (household, electricity)
    return (electricity, household)


def sentence(trial: Trial) -> str:
    """What happened, why, what to do: the sentence for a trial that failed."""
    if trial.fault == "wire.truncated":
        return (
            f"The frame at byte {trial.start} ends too early: it needs {trial.expected} bytes and has "
            f"{trial.found}; read on, or read the meter again."
        )
    if trial.fault == "wire.end":
        return (
            f"The frame at byte {trial.start} does not end with 16 where its length says so but with "
            f"{trial.found:02X}; the length byte or the end is damaged, read the meter again."
        )
    if trial.fault == "wire.checksum":
        return (
            f"The checksum of the frame at byte {trial.start} is {trial.found:02X} and should be "
            f"{trial.expected:02X}; a byte was changed on the way, read the meter again."
        )
    if trial.fault == "wire.length":
        return _length_sentence(trial)
    return "No frame was found: no 68 with a header behind it; check that these are the bytes of a meter."


def _length_sentence(trial: Trial) -> str:
    """Both lengths and both checksums; the bytes alone never tell a frame made wrong from one damaged on the way."""
    assert trial.expected is not None
    assert trial.found is not None
    said = (
        f"The length byte of the frame at byte {trial.start} says {trial.found} data bytes, but {trial.expected} "
        "stand before its end; "
    )
    again = "read the meter again"
    if trial.as_sent is None or trial.mended is None:
        return f"{said}{again}."
    if trial.claimed == trial.as_sent:
        return (
            f"{said}its checksum {trial.as_sent:02X} is the one for {trial.found}. Read the meter again, for bytes may "
            "be lost or added; if the same comes again, it is made wrong: it needs the length byte "
            f"{trial.expected:02X} and the checksum {trial.mended:02X} (hex)."
        )
    if trial.claimed == trial.mended:
        return (
            f"{said}its checksum {trial.mended:02X} is the one for {trial.expected}. The length byte was damaged, or "
            f"a byte was lost or added: {again}."
        )
    return f"{said}bytes were lost or added on the way, or the length is wrong: {again}."


def fault_error(trial: Trial) -> PeerError:
    """The PeerError of a trial that failed, with `expected`, `found` and the offset as facts."""
    code = trial.fault or "wire.no-frame"
    return PeerError(code, sentence(trial), expected=trial.expected, found=trial.found, offset=trial.start)


def parse_frame(buf: bytes, offset: int = 0, protocol: Protocol | None = None) -> tuple[Frame, int]:
    """The frame whose 68 stands exactly at `offset`, and the offset behind its 16.

    Raises PeerError `wire.no-frame`, `wire.truncated`, `wire.end` or `wire.checksum`. No preamble is skipped:
    bodies of records carry none (LINK section 4).
    """
    if offset >= len(buf) or buf[offset] != START:
        found = buf[offset] if offset < len(buf) else None
        raise fault_error(Trial("cjt188", offset, fault="wire.no-frame", expected=START, found=found))
    trial = trials_at(buf, offset, protocol)[0]
    if trial.frame is None or trial.end is None:
        raise fault_error(trial)
    return trial.frame, trial.end


def parse_frames(body: bytes, protocol: Protocol | None = None) -> list[Frame]:
    """One or more complete frames and nothing else. Raises like `parse_frame`, also for an empty body."""
    frames: list[Frame] = []
    offset = 0
    while offset < len(body) or not frames:
        frame, offset = parse_frame(body, offset, protocol)
        frames.append(frame)
    return frames
