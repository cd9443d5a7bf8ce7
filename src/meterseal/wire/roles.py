"""Station wire, both roles on a bus: requests and answers built and taken apart, the way a meter model does it.

It chooses the protocol and nothing else; what a model does is its profile's, what the bytes mean the protocol's. A
`device_id` is the 8 bytes of LINK section 1. Values that do not fit raise LocalError `wire.field`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from meterseal.wire.asked import Ask, Match, Reason
from meterseal.wire.cjt188 import answering, asking
from meterseal.wire.dlt645 import answering as answering_645
from meterseal.wire.dlt645 import asking as asking_645
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret
from meterseal.wire.values import Stated, Values

if TYPE_CHECKING:
    from meterseal.wire.profile import Profile

__all__ = ["Ask", "Match", "Reason", "Stated", "Values"]


def ask_of(frame: Frame, profile: Profile, *, utc_offset_minutes: int = 480) -> Ask:
    """What a request asks for. Raises PeerError `wire.request` and `wire.function` for what a meter cannot act on."""
    if profile.protocol == "dlt645":
        return asking_645.ask_of(frame, profile.dlt645, utc_offset_minutes=utc_offset_minutes)
    return asking.ask_of(
        frame, profile.cjt188, high_first=profile.high_first, utc_offset_minutes=utc_offset_minutes
    )


def request(device_id: bytes, ask: Ask, profile: Profile, *, utc_offset_minutes: int = 480) -> Frame:
    """The frame of a request: the inverse of `ask_of`."""
    if profile.protocol == "dlt645":
        return asking_645.request(device_id, ask, profile.dlt645, utc_offset_minutes=utc_offset_minutes)
    return asking.request(
        device_id, ask, profile.cjt188, high_first=profile.high_first, utc_offset_minutes=utc_offset_minutes
    )


def answer(
    device_id: bytes,
    request: Frame,
    values: Values,
    profile: Profile,
    *,
    number: int = 0,
    utc_offset_minutes: int = 480,
) -> Frame:
    """The normal answer to a read request; of a model that sends pieces the `number`-th."""
    if profile.protocol == "dlt645":
        return answering_645.answer(
            device_id, request, values, profile.dlt645, number=number, utc_offset_minutes=utc_offset_minutes
        )
    return answering.answer(
        device_id,
        request,
        values,
        profile.cjt188,
        high_first=profile.high_first,
        number=number,
        utc_offset_minutes=utc_offset_minutes,
    )


def report(
    device_id: bytes,
    di: int,
    values: Values,
    profile: Profile,
    *,
    ser: int = 0,
    utc_offset_minutes: int = 480,
) -> Frame:
    """Data that nobody asked for."""
    if profile.protocol == "dlt645":
        return answering_645.report(
            device_id, di, values, profile.dlt645, utc_offset_minutes=utc_offset_minutes
        )
    return answering.report(
        device_id,
        di,
        values,
        profile.cjt188,
        high_first=profile.high_first,
        ser=ser,
        utc_offset_minutes=utc_offset_minutes,
    )


def address_answer(device_id: bytes, request: Frame, profile: Profile) -> Frame:
    """The answer to a request for the address."""
    if profile.protocol == "dlt645":
        return answering_645.address_answer(device_id, request, profile.dlt645)
    return answering.address_answer(device_id, request, profile.cjt188, high_first=profile.high_first)


def done(
    device_id: bytes,
    request: Frame,
    profile: Profile,
    *,
    status: bytes = b"\x00\x00",
    values: Values | None = None,
) -> Frame:
    """The answer to a write that was carried out."""
    if profile.protocol == "dlt645":
        return answering_645.done(device_id, request, profile.dlt645)
    return answering.done(
        device_id, request, profile.cjt188, high_first=profile.high_first, status=status, values=values
    )


def refuse(
    device_id: bytes, request: Frame, reason: Reason, profile: Profile, *, status: bytes = b"\x00\x00"
) -> Frame:
    """The error answer."""
    if profile.protocol == "dlt645":
        return answering_645.refuse(device_id, request, reason, profile.dlt645)
    return answering.refuse(
        device_id, request, reason, profile.cjt188, high_first=profile.high_first, status=status
    )


def matches(request: Frame, got: Frame, profile: Profile) -> Match:
    """Whether a frame answers a request."""
    if profile.protocol == "dlt645":
        return answering_645.matches(request, got, profile.dlt645)
    return answering.matches(request, got, profile.cjt188)


def joined(answers: Sequence[Frame]) -> Frame:
    """The pieces of one answer as one frame. Raises PeerError `wire.pieces` where they do not belong together."""
    if answers and answers[0].protocol == "dlt645":
        return answering_645.joined(answers)
    return answering.joined(answers)


def stated(frame: Frame, profile: Profile, *, utc_offset_minutes: int = 480) -> dict[str, Stated]:
    """What a frame of this model states, ready to be built again."""
    meaning = interpret(frame, utc_offset_minutes)
    if profile.protocol == "dlt645":
        return answering_645.stated(frame, meaning, profile.dlt645)
    return answering.stated(frame, meaning, profile.cjt188)


def next_ser(ser: int, profile: Profile) -> int:
    """The serial number of a master's next request (SER): one more, or the same with models that want it so."""
    return ser if profile.cjt188.ser == "constant" else (ser + 1) & 0xFF
