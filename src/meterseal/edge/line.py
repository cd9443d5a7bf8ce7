"""Station edge, what a bus master knows of one meter: how it is spoken to, what waits for it, when it was heard.

It chooses nobody's turn (`poll` does) and moves no bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from meterseal.link.segments import SegmentReceiver
from meterseal.wire import encode, roles
from meterseal.wire import identifiers as ids
from meterseal.wire.asked import Ask
from meterseal.wire.frame import Frame, address_of
from meterseal.wire.profile import models

FORWARD, FORWARD_1997 = 0x00010000, 0x9010
"""Forward active energy in the two editions of DL/T 645."""
REVERSE, REVERSE_1997 = 0x00020000, 0x9020
"""Reverse active energy: what was fed in."""
PREAMBLE = b"\xfe"

Answered = Callable[[Frame | None, int], None]
"""Hears the answer and when it came; None when the meter refused or kept silent."""

Make = Callable[[int], Frame | None]


class Wanted(NamedTuple):
    """One request to a plain meter besides its scheduled reading; `make` gives it for the moment at which it is sent, or
    None when it is to be no more.
    """

    make: Make
    answered: Answered
    errors: bool = False
    """Whether a refusal is handed on as it came, and not as None."""
    once: bool = False
    """Whether silence is an answer too, and the question is not repeated."""


class Line:
    """What the bus master knows of one meter. `model` names its meter model; by default its number tells.

    DataError `wire.profile` when no model has that name, or none is of such meters.
    """

    def __init__(self, device_id: bytes, *, plain: bool, model: str = "") -> None:
        self.device_id = device_id
        self.plain = plain
        self.protocol, self.meter_type, self.address = address_of(device_id)
        self.profile = models().by_name[model] if model else models().of(device_id)
        self.timing = self.profile.timing
        self.preamble = PREAMBLE * self.timing.preamble_down
        self.down: deque[bytes] = deque()
        self.wanted: deque[Wanted] = deque()
        self.chunk = encode.SEGMENT_DOWN[self.protocol]
        self.lead = 3 if self.protocol == "cjt188" else 4
        self.receiver = SegmentReceiver()
        self.failures = 0
        self.attempts = 0
        """Times that it kept silent since the last moment of the schedule."""
        self.asked_at = self.asked_first = self.heard_at = 0
        """Of what it was asked last, when it was asked, when for the first time; when it was heard."""
        self.due = 0
        """When a plain meter is read next."""
        self.fed_due = 0
        """When a plain electricity meter is asked next what was fed in."""
        self._reads: dict[int, bytes] = {}

    def read_segment(self, offset: int) -> bytes:
        """The request for a segment; the same bytes each time, so they are kept."""
        request = self._reads.get(offset)
        if request is None:
            request = self._reads[offset] = encode.segment_read_request(self.device_id, offset).encode()
        return request

    @property
    def register(self) -> int:
        """The identifier of current data: 901F, or forward active energy."""
        if self.protocol == "cjt188":
            return ids.METERING
        return FORWARD_1997 if self.is_1997 else FORWARD

    def read_register(self) -> Frame:
        """The request for current data the model's way."""
        return self.ask(Ask(kind="read", di=self.register))

    def read_reverse(self) -> Frame:
        """The request for what was fed in."""
        return self.ask(Ask(kind="read", di=REVERSE_1997 if self.is_1997 else REVERSE))

    @property
    def is_1997(self) -> bool:
        """Whether it speaks the older edition of DL/T 645."""
        return self.protocol == "dlt645" and self.profile.dlt645.edition == "1997"

    def ask(self, ask: Ask, *, utc_offset_minutes: int = 480) -> Frame:
        """A request the model's way. LocalError `wire.field`."""
        return roles.request(self.device_id, ask, self.profile, utc_offset_minutes=utc_offset_minutes)

    def answers(self, request: Frame, got: Frame) -> bool:
        """Whether a frame answers exactly this request."""
        return roles.matches(request, got, self.profile).answers
