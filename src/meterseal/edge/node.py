"""Station edge, a meter on its bus: ordinary requests go to the meter, segments of link messages to its
agent.

It opens and seals nothing itself and reads no clock; a meter without an agent is a plain one.
"""

from __future__ import annotations

from collections.abc import Callable

from meterseal.edge.agent import Item, LinkAgent, Order
from meterseal.edge.chip import Chip, fits
from meterseal.edge.delivery import DailyOutbox
from meterseal.edge.firmware import Firmware
from meterseal.edge.meter import Meter
from meterseal.errors import PeerError
from meterseal.link import firmware as firmware_link
from meterseal.link.segments import SegmentReceiver
from meterseal.wire import encode
from meterseal.wire.frame import Frame, parse_frame

CIPHER_ONLY = 0x02
"""Message policy of SESSION under which no reading travels in clear."""
CLOCK_TOLERANCE = 1_000
"""A clock that is off by less is not set, in ms."""
_SEGMENTS = {"cjt188": bytes.fromhex("02e0"), "dlt645": bytes.fromhex("000002e0")}
"""E002 and E0020000 as they travel, low byte first."""


class Secured:
    """The secure side of a meter: module, agent and outbox, and the firmware where it can be renewed."""

    def __init__(
        self, chip: Chip, agent: LinkAgent, outbox: DailyOutbox, firmware: Firmware | None = None
    ) -> None:
        self.chip = chip
        self.agent = agent
        self.outbox = outbox
        self.firmware = firmware
        agent.station = firmware

    def runs(self, now: int) -> bool:
        """Does the meter's firmware run at all? A new image, or the one before again, begins with a handshake."""
        firmware = self.firmware
        if firmware is None:
            return True
        firmware.tick(now)
        if firmware.restarts:
            firmware.restarts = False
            self.agent.restart(now)
        return firmware.starts

    def offer(self, now: int) -> bytes | None:
        """The next message for the platform, or None when nothing waits."""
        if not self.runs(now) or (self.firmware is not None and not self.firmware.speaks):
            return None
        return self.agent.offer(now)


class Node:
    """One meter on a bus. `clear_reads` is the device's own policy; the stricter of it and SESSION's
    holds.
    """

    def __init__(self, meter: Meter, secured: Secured | None = None, *, clear_reads: bool = False) -> None:
        self.meter = meter
        self.secured = secured
        self.on_offer: Callable[[bytes, bytes], None] | None = None
        """Hears (device_id, message) of each message that the meter puts on the bus."""
        self._clear_reads = clear_reads
        self._prefix = _SEGMENTS[meter.protocol]
        self._lead = 3 if meter.protocol == "cjt188" else 4
        self._guard = 0 if meter.protocol == "cjt188" else len(encode.NO_CREDENTIALS)
        self._write = encode.WRITE if meter.protocol == "cjt188" else encode.WRITE_645
        self._offered: bytes | None = None
        self._read_through = False
        self._answers: dict[bytes, bytes] = {}
        self._incoming = SegmentReceiver()
        self._answered = 0

    def answer(self, frame: Frame, now: int) -> bytes:
        """The bytes 68 .. 16 that answer a request of the bus master; empty for silence."""
        if self.secured is not None and not self.secured.runs(now):
            return b""
        if self.secured is not None and frame.data.startswith(self._prefix) and self.meter.addressed(frame):
            if self.meter.is_read(frame):
                return self._read_segment(frame, self.secured, now)
            if frame.control == self._write:
                return self._write_segment(frame, now).encode()
        clear = self.secured is None or (self._clear_reads and self.secured.agent.policy != CIPHER_ONLY)
        answer = self.meter.handle(frame, now, clear=clear)
        return b"" if answer is None else answer.encode()

    def _read_segment(self, frame: Frame, secured: Secured, now: int) -> bytes:
        """The same bytes are offered until the last segment was read and offset 0 is asked again."""
        place = frame.data[self._lead :]
        if place == b"\x00\x00" and (self._offered is None or self._read_through):
            offered = secured.offer(now)
            if offered is not None or self._offered is not None:
                self._answers.clear()
            self._offered, self._read_through = offered, False
            if offered is not None and self.on_offer is not None:
                self.on_offer(self.meter.device_id, offered)
        answer = self._answers.get(frame.data)
        offset = int.from_bytes(place, "big")
        message = self._offered or b""
        there = offset < len(message) and len(place) == 2
        if answer is None:
            answer = encode.segment_read_answer(
                self.meter.device_id,
                frame,
                len(message) if there else 0,
                offset if there else 0,
                message[offset : offset + encode.SEGMENT_UP] if there else b"",
            ).encode()
            self._answers[frame.data] = answer
        if there and offset + encode.SEGMENT_UP >= len(message):
            self._read_through = True
        return answer

    def _write_segment(self, frame: Frame, now: int) -> Frame:
        try:
            message = self._incoming.feed(frame.data[self._lead + self._guard :])
        except PeerError:
            return self.meter.refuse(frame, "other")
        if message is not None:
            self.take(message, now)
        return encode.segment_write_answer(self.meter.device_id, frame)

    def take(self, message: bytes, now: int) -> None:
        """A link message for this meter, off the bus or off its own way to the head-end; a plain meter has none."""
        secured = self.secured
        if secured is None or not secured.runs(now):
            return
        for order in secured.agent.receive(message, now):
            self._carry_out(order, secured, now)
        self._set_clock(secured, now)

    def _carry_out(self, order: Order, secured: Secured, now: int) -> None:
        """Do what the module found good, and queue the answer."""
        frame, _ = parse_frame(order.frame, 0, self.meter.protocol)
        said = self._act(frame, secured, now)
        if not fits(said):  # sealed it would be refused each time, and hold up all that waits behind it
            said = self.meter.refuse(frame, "other")
        answer = said.encode()
        self._answered += 1
        key = ("answer", order.number or -self._answered)
        if order.number:
            secured.chip.keep_answer(order.number, answer)
        secured.agent.queue(Item(key, answer))

    def _act(self, frame: Frame, secured: Secured, now: int) -> Frame:
        digest = firmware_link.switch_of(frame)
        if digest is None:
            return self.meter.act(frame, now)
        if secured.firmware is None or not secured.firmware.switch(digest, now):
            return self.meter.refuse(frame, "other")
        return firmware_link.switched(frame)

    def _set_clock(self, secured: Secured, now: int) -> None:
        at = secured.agent.clock_to_set()
        if at and abs(self.meter.clock(now) - at) > CLOCK_TOLERANCE:
            self.meter.set_clock(at, now)
