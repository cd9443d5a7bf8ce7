"""An attacker who owns the wire: any message to anyone, in any order, repeated, relabelled, mixed.

Two devices, two runs each, against a platform with several runs. Whatever the schedule, both ends agree or
have nothing.
"""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest

from meterseal.crypto.expose import expose
from meterseal.errors import PeerError, TrustError
from meterseal.link import messages
from meterseal.link.handshake import DeviceRun, Enrolment, Granted, PlatformRun, Session
from tests.link.parties import DEVICE, MODULE, NOW, OTHER_DEVICE, OTHER_MODULE, Module, Service, link_key


class Wire:
    """The parties and every message that was ever on the wire."""

    def __init__(self, suite: int) -> None:
        self.service = Service(suite)
        self.service.enrolments[OTHER_DEVICE, OTHER_MODULE, 1] = Enrolment(suite, link_key(OTHER_DEVICE))
        one, two = Module(suite), Module(suite, OTHER_DEVICE, OTHER_MODULE)
        self.devices = [module.run() for module in (one, one, two, two)]
        self.platforms: list[PlatformRun] = []
        self.seen = [device.hello(NOW) for device in self.devices]
        self.sessions: dict[int, Session] = {}
        self.granted: dict[int, Granted] = {}

    def deliver(self, message: bytes, to: int) -> None:
        """Give a message to device `to` (0..3) or to the platform (4)."""
        try:
            answer = self._platform(message) if to == 4 else self._device(to, self.devices[to], message)
        except (PeerError, TrustError):
            return
        if answer is not None:
            self.seen.append(answer)

    def _device(self, at: int, device: DeviceRun, message: bytes) -> bytes | None:
        kind = messages.kind_of(message)
        if kind == messages.RETRY:
            return device.retry(message)
        if kind == messages.PLATFORM:
            return device.platform(message, NOW)
        if kind == messages.SESSION:
            self.sessions[at] = device.session(message, NOW)
        return None

    def _platform(self, message: bytes) -> bytes | None:
        kind = messages.kind_of(message)
        if kind == messages.HELLO:
            for run in self.platforms:
                if (
                    run.hello is not None
                    and run.hello.canonical() == messages.parse_hello(message).canonical()
                ):
                    return run.begin(message, NOW)
            run = self.service.run()
            answer = run.begin(message, NOW)
            self.platforms.append(run)
            return answer
        for at, run in enumerate(self.platforms):
            if run.session_id == messages.session_id_of(message):
                granted = run.finish(message, NOW)
                assert self.granted.setdefault(at, granted) == granted
                return granted.message
        return None

    def check(self) -> None:
        """Injective agreement on ids, nonces and keys, and one session for each run at most."""
        by_keys = {granted.keys.up_mac: granted for granted in self.granted.values()}
        assert len(by_keys) == len(self.granted), "two runs share keys"
        taken = [session.keys.up_mac for session in self.sessions.values()]
        assert len(set(taken)) == len(taken), "two device runs share a session"
        for at, session in self.sessions.items():
            granted = by_keys.get(session.keys.up_mac)
            assert granted is not None, "a device has a session that the platform never granted"
            identity = self.devices[at]._identity
            assert (granted.device_id, granted.module_id) == (identity.device_id, identity.module_id)
            assert granted.keys == session.keys
            assert granted.session_id == session.session_id
        for at, granted in self.granted.items():
            matching = [
                device
                for device in self.devices
                if device._hello is not None
                and device._hello.canonical() == self.platforms[at].hello.canonical()  # type: ignore[union-attr]
                and device.phase in ("answered", "open")
                and device._session_id == granted.session_id
            ]
            assert len(matching) == 1, "the platform granted a session that no device answered for"


def swapped(one: bytes, other: bytes, at: int, size: int) -> bytes:
    """`one` with a stretch of `other` at the same place."""
    return one[:at] + other[at : at + size] + one[at + size :]


def play(suite: int, seed: int, steps: int) -> Wire:
    """A schedule drawn from the seed: mostly messages that may fit, some of any kind, some mixed."""
    draw = Random(seed)
    wire = Wire(suite)
    for _ in range(steps):
        to = draw.choice((0, 1, 2, 3, 4, 4, 4))
        fitting = (messages.HELLO, messages.DEVICE) if to == 4 else (messages.PLATFORM, messages.SESSION)
        wild = draw.random() < 0.1
        message = draw.choice([one for one in wire.seen if wild or one[3] in fitting] or wire.seen)
        if draw.random() < 0.15:
            message = swapped(message, draw.choice(wire.seen), draw.randrange(120), draw.randrange(1, 64))
        wire.deliver(message, to)
    wire.check()
    return wire


@pytest.mark.parametrize(("suite", "seeds", "steps"), [(2, 300, 120), (1, 15, 90)])
def test_any_schedule_ends_in_agreement_or_nothing(suite: int, seeds: int, steps: int) -> None:
    taken = [len(play(suite, seed, steps).sessions) for seed in range(seeds)]
    assert {0, 1, 2} <= set(taken), "the schedules must reach far enough to prove something"


@pytest.mark.parametrize("suite", [1, 2])
def test_after_an_attack_an_honest_delivery_still_succeeds(suite: int) -> None:
    """No lock-out: after every message went to everyone, also reversed, each device still gets a session."""
    wire = Wire(suite)
    for hello in list(wire.seen):
        wire.deliver(hello, 4)
    for message in [*wire.seen, *reversed(wire.seen)]:
        for to in range(5):
            wire.deliver(message, to)
    for _ in range(3):
        for message in list(wire.seen):
            for to in range(5):
                wire.deliver(message, to)
    wire.check()
    assert len(wire.sessions) == 4


def test_every_order_of_one_runs_messages() -> None:
    """All orders of one honest run's messages, each to both sides: never a wrong session."""
    reached = set()
    for order in permutations(range(4)):
        wire = Wire(2)
        wire.devices = wire.devices[:1]
        wire.seen = wire.seen[:1]
        for _ in range(2):
            for which in order:
                if which < len(wire.seen):
                    wire.deliver(wire.seen[which], 4)
                    wire.deliver(wire.seen[which], 0)
        wire.check()
        reached.add(len(wire.sessions))
    assert 1 in reached


def test_the_two_keys_of_this_game_differ() -> None:
    assert expose(link_key(DEVICE)) != expose(link_key(OTHER_DEVICE))
    assert MODULE != OTHER_MODULE
