"""Station wire, the search: frames found in noise, in text and in a stream that arrives in pieces.

It knows framing only; what a frame says is `meaning`, what the command line prints is `decode`.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from meterseal.wire.cjt188.names import FUNCTIONS as FUNCTIONS_188
from meterseal.wire.cjt188.names import MEDIA
from meterseal.wire.dlt645 import is_function as is_function_645
from meterseal.wire.fields import checksum
from meterseal.wire.frame import END, LENGTH_AT, START, Frame, Protocol, Trial, trials_at, try_frame
from meterseal.wire.scan import BEYOND, CHECKSUM, ELSE, ENDED, LENGTH, PREAMBLE, TRUNCATED, Scan

LONGEST: Final = 13 + 255
"""The longest frame of either protocol, without preamble."""
BUFFER: Final = 1 << 16
NOTHING: Final = Trial("cjt188", 0, fault="wire.no-frame")


class Found(Struct, frozen=True):
    """What a search came to: the first whole frame, or the fault most worth telling.

    `trial` holds the frame or the fault, `preamble` counts the FE in front, `next` is where to search on.
    """

    trial: Trial
    preamble: int = 0
    next: int = 0

    @property
    def frame(self) -> Frame | None:
        """The frame, or None when the bytes hold none that is whole."""
        return self.trial.frame


def preamble_before(buf: bytes, start: int) -> int:
    """How many wake-up bytes FE (前导符) stand directly in front of `start`."""
    count = 0
    while count < start and buf[start - 1 - count] == PREAMBLE:
        count += 1
    return count


def search(buf: bytes, offset: int = 0, scan: Scan | None = None) -> Found:
    """The first whole frame from `offset` on, else the likeliest fault; any bytes, never raises (rule 1).

    A whole frame inside a damaged one counts only if what surrounds it does not look like a frame itself.
    Every 68 costs the same few look-ups, whatever stands around it; `scan` keeps those of an earlier search of
    the same bytes.
    """
    scan = scan or Scan(buf)
    best, score, shadow = NOTHING, NO_FRAME_BELOW, 0
    start = buf.find(START, offset)
    while start >= 0:
        second = buf[start + 7 : start + 8]
        if (second == FIRST and scan.whole(start, 9)) or scan.whole(start, 10):
            trial = trials_at(buf, start)[0]
            if trial.end is not None and trial.end >= shadow:
                return Found(trial, preamble_before(buf, start), trial.end)
        else:
            for protocol, weight in _weights(scan, start, offset, score):
                if weight > score:
                    best, score = lengthened(buf, try_frame(buf, start, protocol)), weight
                    if best.fault == "wire.checksum" and weight >= CONVINCING:
                        shadow = best.end or 0
        start = buf.find(START, start + 1)
    return Found(best, preamble_before(buf, best.start), best.end or len(buf))


NO_FRAME_BELOW: Final = 25
CONVINCING: Final = 75
FIRST: Final = bytes((START,))


def _weights(scan: Scan, start: int, offset: int, score: int) -> tuple[tuple[Protocol, int], ...]:
    """The protocols in which the bytes at `start` may look more like a frame than `score`, likeliest first."""
    buf = scan.buf
    bonus = header_weight(buf, start, "cjt188", offset)
    if buf[start + 7 : start + 8] not in (FIRST, b""):
        return (("cjt188", scan.likeness(start, 10) + bonus),) if CHECKSUM + bonus > score else ()
    bonus_645 = header_weight(buf, start, "dlt645", offset)
    if CHECKSUM + max(bonus, bonus_645) <= score:
        return ()
    household, electricity = scan.likeness(start, 10), scan.likeness(start, 9)
    weights: tuple[tuple[Protocol, int], ...] = (
        ("dlt645", electricity + bonus_645),
        ("cjt188", household + bonus),
    )
    return weights[::-1] if household == CHECKSUM != electricity else weights


def weigh(buf: bytes, trial: Trial, offset: int = 0) -> int:
    """How much a failed trial looks like the frame that was meant; up to NO_FRAME_BELOW: not at all."""
    agrees = trial.end is not None and buf[trial.end - 2] == trial.right_checksum
    likeness = {
        "wire.checksum": CHECKSUM,
        "wire.length": LENGTH if agrees else BEYOND,
        "wire.end": ENDED if agrees else ELSE,
        "wire.truncated": TRUNCATED,
    }.get(trial.fault)
    return 0 if likeness is None else likeness + header_weight(buf, trial.start, trial.protocol, offset)


def header_weight(buf: bytes, start: int, protocol: Protocol, offset: int = 0) -> int:
    """What the bytes around and behind a 68 add to the weight of a fault."""
    weight = 6 if start == offset or (start and buf[start - 1] == PREAMBLE) else 0
    there = len(buf) - start
    if protocol == "dlt645":
        known = there > 8 and is_function_645(buf[start + 8])
        return weight + (20 if there > 7 else 0) + (8 if known else 0)
    if there > 1 and (buf[start + 1] >> 4 in MEDIA or buf[start + 1] == 0xAA):
        weight += 8
    if there > 9 and buf[start + 9] & 0x3F in FUNCTIONS_188:
        weight += 8
    return weight


def lengthened(buf: bytes, trial: Trial) -> Trial:
    """The trial, or `wire.length` when another length makes the same bytes a whole frame.

    The frame must end where the bytes end or the next frame starts, with the checksum right either for the
    length byte as sent (a wrong length was sent) or for the right one (it was damaged on the way). Bytes that
    end with 16 but fit neither keep their fault, or get `wire.length` where they reach beyond L; then the
    checksum that ought to stand before that 16 is told.
    """
    if trial.fault not in ("wire.truncated", "wire.end"):
        return trial
    at = LENGTH_AT[trial.protocol]
    first = trial.start + at + 3
    if len(buf) < first:
        return trial
    length = buf[trial.start + at]
    last = min(len(buf), first + 255)
    total = checksum(buf[trial.start : first - 2])
    for end in range(first, last + 1):
        if end > first:
            total = (total + buf[end - 3]) & 0xFF
        if buf[end - 1] != END or (end < len(buf) and buf[end] not in (START, PREAMBLE)):
            continue
        right = end - first
        mended = (total - length + right) & 0xFF
        if right != length and buf[end - 2] in (total, mended):
            claim = buf[end - 2]
            return Trial(
                trial.protocol,
                trial.start,
                end,
                None,
                "wire.length",
                right,
                length,
                claim,
                total,
                mended,
                claim,
            )
    if last < len(buf) or buf[-1] != END:
        return trial
    mended = (total - length + last - first) & 0xFF
    if trial.fault == "wire.truncated":
        return replace(trial, right_checksum=total, as_sent=total, mended=mended)
    if trial.end is not None and trial.end < last and buf[trial.end - 2] != trial.right_checksum:
        right = last - first
        return Trial(
            trial.protocol,
            trial.start,
            last,
            None,
            "wire.length",
            right,
            length,
            total,
            total,
            mended,
            buf[last - 2],
        )
    return trial


def faulty_frame(buf: bytes, trial: Trial) -> Frame | None:
    """The fields of a frame that is all there but wrong, for showing only; None when bytes are missing."""
    if trial.frame is not None or trial.end is None:
        return trial.frame
    mended = bytearray(buf[trial.start : trial.end - 2])
    mended[LENGTH_AT[trial.protocol]] = len(mended) - LENGTH_AT[trial.protocol] - 1
    mended += bytes((checksum(mended), END))
    return try_frame(bytes(mended), 0, trial.protocol).frame


class Reader:
    """Incremental reader for one side of a bus: feed bytes, take frames.

    `next_frame` returns None for "need more bytes". A damaged or foreign byte is passed over silently; a
    start byte whose frame never comes is given up when the line was idle. Beyond BUFFER bytes the oldest
    are lost.
    """

    def __init__(self, protocol: Protocol | None = None) -> None:
        self._buffer = bytearray()
        self._protocol = protocol

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, received: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""
        self._buffer += received
        if len(self._buffer) > BUFFER:
            del self._buffer[:-BUFFER]

    def next_frame(self, *, idle: bool = False) -> Frame | None:
        """The next whole frame, or None. `idle` says that nothing more belongs to what has arrived."""
        buffer = self._buffer
        while True:
            start = buffer.find(START)
            if start < 0:
                buffer.clear()
                return None
            del buffer[:start]
            window = bytes(buffer[:LONGEST])
            trials = trials_at(window, 0, self._protocol)
            if trials[0].frame is not None and trials[0].end is not None:
                del buffer[: trials[0].end]
                return trials[0].frame
            if not idle and any(trial.fault == "wire.truncated" for trial in trials):
                return None
            del buffer[:1]
