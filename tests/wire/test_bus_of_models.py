"""One meter of every household model on one bus: a master that knows none of them finds them and reads them all."""

from __future__ import annotations

from meterseal.errors import PeerError
from meterseal.wire import roles
from meterseal.wire.asked import Ask
from meterseal.wire.bus_search import BusSearch
from meterseal.wire.codec import Reader
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.meaning import interpret
from meterseal.wire.profile import Profile, profile_of, profiles
from meterseal.wire.values import Stated

from .households import NOON


class Slave:
    """A meter that answers as its model does, with one reading: the volume or heat it was given."""

    def __init__(self, device_id: bytes, profile: Profile, register: int) -> None:
        self.device_id, self.profile, self.register = device_id, profile, register
        self.valve = 0

    def heard(self, raw: bytes) -> bytes:
        reader = Reader("cjt188")
        reader.feed(raw)
        frame = reader.next_frame()
        assert frame is not None
        to_me = zip(frame.address, self.device_id[:0:-1], strict=True)
        types = {0xAA, self.device_id[0], int(self.profile.cjt188.asked_as or "AA", 16)}
        if frame.meter_type not in types or any(asked not in (0xAA, own) for asked, own in to_me):
            return b""
        return b"\xfe" * self.profile.timing.preamble_up + self.answer(frame).encode()

    def answer(self, frame: Frame) -> Frame:
        try:
            ask = roles.ask_of(frame, self.profile)
        except PeerError:
            return roles.refuse(self.device_id, frame, "bad-value", self.profile)
        if ask.kind == "read-address":
            return roles.address_answer(self.device_id, frame, self.profile)
        if ask.kind == "read" and ask.di == 0x901F:
            return roles.answer(self.device_id, frame, self.values(), self.profile)
        if ask.kind == "valve" and ask.action is not None:
            self.valve = ("open", "close").index(ask.action)
            return roles.done(self.device_id, frame, self.profile, status=bytes((self.valve, 0)))
        return roles.refuse(self.device_id, frame, "no-such-data", self.profile)

    def values(self) -> dict[str, Stated]:
        zeros: dict[str, Stated] = dict.fromkeys(
            ("settlement_volume", "settlement_energy", "power", "flow_rate", "working_time"), 0
        )
        zeros |= dict.fromkeys(("supply_temperature", "return_temperature"), 2_000)
        own: dict[str, Stated] = {"cumulative_volume": self.register, "cumulative_energy": self.register}
        return {
            **zeros,
            **own,
            "clock": NOON,
            "status": bytes((self.valve, 0)),
            "payload": bytes(19),
            "tail": b"",
        }


def captured_meters() -> dict[bytes, Profile]:
    """The meters of the package's own captures."""
    meters: dict[bytes, Profile] = {}
    for profile in profiles().values():
        for vector in profile.vectors:
            frame = parse_frame(bytes.fromhex(vector.hex).lstrip(b"\xfe"))[0]
            if (
                profile.protocol == "cjt188"
                and frame.control & 0x80
                and not profile.name.endswith("-generic")
            ):
                meters[frame.device_id] = profile
    return meters


def test_a_master_that_knows_no_meter_finds_and_reads_them_all() -> None:
    meters = captured_meters()
    assert len(meters) >= 15
    bus = [Slave(device_id, profile, 1_000 + at) for at, (device_id, profile) in enumerate(meters.items())]

    def say(frame: Frame) -> bytes:
        answers = [answer for slave in bus if (answer := slave.heard(b"\xfe" * 4 + frame.encode()))]
        return answers[0] if len(answers) == 1 else b"\x5a" * (8 if answers else 0)

    search = BusSearch("cjt188", narrowing=True)
    while (step := search.step()) is not None:
        search.heard(say(step.frame))
    assert set(search.found) == set(meters)

    for slave in bus:
        by_number = profile_of(slave.device_id)
        got = parse_frame(
            say(roles.request(slave.device_id, Ask(kind="read", di=0x901F, ser=7), by_number)).lstrip(b"\xfe")
        )[0]
        known = profile_of(slave.device_id, [got])
        request = roles.request(slave.device_id, Ask(kind="read", di=0x901F, ser=8), known)
        got = parse_frame(say(request).lstrip(b"\xfe"))[0]
        match = roles.matches(request, got, known)
        assert match.answers, match.why
        assert not match.ser_differs
        meaning = interpret(got)
        if known.cjt188.payload_of(0x901F) == ("payload",):
            continue
        name = "cumulative_energy" if known.medium == "heat" else "cumulative_volume"
        assert meaning.readings[name].register == slave.register
        assert meaning.clock_at == NOON

    valved = [slave for slave in bus if slave.profile.valve]
    assert valved
    for slave in valved:
        request = roles.request(slave.device_id, Ask(kind="valve", action="close"), slave.profile)
        got = parse_frame(say(request).lstrip(b"\xfe"))[0]
        assert roles.matches(request, got, slave.profile).answers
        status = interpret(got).status
        assert status is not None
        assert status.valve == "closed"
        assert slave.valve == 1
