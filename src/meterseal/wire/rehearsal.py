"""Station wire, the rehearsal: a captured frame made again by a model, from what the frame states alone.

That is what makes a model one that can be simulated. It judges nothing (profile_file compares).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from meterseal.wire import identifiers as ids
from meterseal.wire import roles
from meterseal.wire.asked import Reason
from meterseal.wire.cjt188.habits import CODES
from meterseal.wire.dlt645.answering import BITS
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret

if TYPE_CHECKING:
    from meterseal.wire.profile_file import Profile


def rehearse(frame: Frame, profile: Profile) -> Frame:
    """The frame as the model's two roles make it: a request from its Ask, an answer to the request that a master of
    the model would have sent, with the values that the captured answer states.

    Raises LocalError or PeerError where the model cannot.
    """
    if profile.protocol == "dlt645" and frame.control & 0x80:
        return _answered_645(frame, profile)
    if frame.control == int(profile.cjt188.report, 16) and _unasked(frame, profile):
        meaning = interpret(frame)
        return roles.report(
            frame.device_id, meaning.di or 0, roles.stated(frame, profile), profile, ser=meaning.ser or 0
        )
    if not frame.control & 0x80:
        return roles.request(frame.device_id, roles.ask_of(frame, profile), profile)
    return _answered(frame, profile)


def _answered_645(frame: Frame, profile: Profile) -> Frame:
    """An answer of an electricity meter: to the request for what it holds."""
    asked = replace(frame, control=frame.control & 0x1F)
    if frame.control & 0x40:
        reason: Reason = next((one for one, bit in BITS.items() if frame.data[:1] == bytes((bit,))), "other")
        return roles.refuse(frame.device_id, asked, reason, profile)
    if frame.control in (0x91, 0x81):
        return roles.answer(frame.device_id, asked, roles.stated(frame, profile), profile)
    if frame.control == 0x93:
        return roles.address_answer(frame.device_id, asked, profile)
    return roles.done(frame.device_id, asked, profile)


def _unasked(frame: Frame, profile: Profile) -> bool:
    return profile.cjt188.report != "81" or not frame.control & 0x80


def _answered(frame: Frame, profile: Profile) -> Frame:
    meaning = interpret(frame)
    asked = _asked(frame, profile)
    if frame.control & 0x40:
        reason = _reason(frame, profile)
        status = bytes.fromhex(meaning.status.raw) if meaning.status else bytes(2)
        return roles.refuse(frame.device_id, asked, reason, profile, status=status)
    if meaning.di is not None and meaning.di >> 8 in (0xA0, 0xA1):
        status = bytes.fromhex(meaning.status.raw).ljust(2, b"\0") if meaning.status else bytes(2)
        return roles.done(frame.device_id, asked, profile, status=status, values=dict(meaning.readings))
    if frame.control & 0x3F == 0x03:
        return roles.address_answer(frame.device_id, asked, profile)
    return roles.answer(frame.device_id, asked, roles.stated(frame, profile), profile)


def _asked(frame: Frame, profile: Profile) -> Frame:
    """The head of the request that the answer is to: in the model's order, with the serial number that came back."""
    meaning = interpret(frame)
    ser = b"" if meaning.ser is None else bytes((meaning.ser,))
    lead = ids.write_di(ids.METERING if meaning.di is None else meaning.di, high_first=profile.high_first)
    return replace(frame, control=frame.control & 0x3F, data=lead + ser)


def _reason(frame: Frame, profile: Profile) -> Reason:
    code = frame.data[-1]
    known = {reason: int(own, 16) for reason, own in profile.cjt188.error_codes.items()}
    table = {**CODES, **known}
    return next((reason for reason, value in table.items() if value == code), "other")
