"""How long a module waits for SESSION and TIME: as it was installed, never longer because its controller says so."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from meterseal.edge.agent import Item, LinkAgent, Timing
from meterseal.edge.apdu import Ins, Sw, pack
from meterseal.edge.chip import Chip, Sealed
from meterseal.edge.image import State, state_from_bytes, state_to_bytes
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.errors import TrustError
from meterseal.link import control, messages
from tests.crypto.pki import NOW
from tests.edge.platform import STORAGE, Platform, shake_hands

WATER = bytes.fromhex("1078330000000001")
MODULE = bytes.fromhex("4d53000000000001")
SECOND, MINUTE = 1_000, 60_000
GATHERED_TIMES = {9 * SECOND: True, 11 * SECOND: True, 14 * MINUTE: True, 16 * MINUTE: False}
DIRECT_TIMES = {9 * SECOND: True, 11 * SECOND: False, 14 * MINUTE: False, 16 * MINUTE: False}
TIMES = [(True, later, good) for later, good in GATHERED_TIMES.items()] + [
    (False, later, good) for later, good in DIRECT_TIMES.items()
]
held_back = pytest.mark.parametrize(("gathered", "later", "good"), TIMES)


def installed(platform: Platform, *, gathered: bool) -> tuple[Chip, SealedNv]:
    store = SealedNv(MemoryNv(), STORAGE, MODULE)
    chip = Chip(Module(store))
    chip.personalise(replace(platform.personal(chip, WATER, MODULE, 2), gathered=gathered))
    return chip, store


def held_session(platform: Platform, chip: Chip, later: int, *, direct: bool = False) -> int:
    """The clock that a SESSION held back so long sets; 0 for none."""
    (answer,) = platform.receive(chip.hello(NOW, direct=direct))
    (session,) = platform.receive(chip.platform(answer, NOW))
    return chip.session(session, NOW + later).clock_at


def held_time(platform: Platform, chip: Chip, later: int) -> int:
    """The clock that a TIME held back so long after its PING sets; a refusal when it is too late."""
    ping = chip.seal_control(control.PING, NOW)
    session = platform.latest[WATER]
    return chip.open(platform.word(session, control.time(NOW, ping.counter)), NOW + later).clock_at


def refused(act) -> int:  # type: ignore[no-untyped-def]
    with pytest.raises(TrustError) as caught:
        act()
    return int(caught.value.facts["word"])


@held_back
def test_a_session_held_back_sets_the_clock_only_within_the_window_of_its_way(
    gathered: bool, later: int, good: bool
) -> None:
    platform = Platform()
    chip, store = installed(platform, gathered=gathered)
    if later > (15 * MINUTE if gathered else 30 * SECOND):
        assert refused(lambda: held_session(platform, chip, later)) == Sw.SECURITY
        assert Chip(Module(store)).state().session_id == b""
    else:
        assert held_session(platform, chip, later) == (NOW if good else 0)
        assert chip.state().session_id


@held_back
def test_a_time_held_back_is_refused_beyond_the_window_of_its_way(
    gathered: bool, later: int, good: bool
) -> None:
    platform = Platform()
    chip, _ = installed(platform, gathered=gathered)
    shake_hands(platform, chip)
    if good:
        assert held_time(platform, chip, later) == NOW
    else:
        assert refused(lambda: held_time(platform, chip, later)) == Sw.SECURITY


@pytest.mark.parametrize(("gathered", "longest"), [(True, 15 * MINUTE), (False, 30 * SECOND)])
def test_a_platform_message_held_back_is_refused_beyond_the_time_out_of_its_way(
    gathered: bool, longest: int
) -> None:
    platform = Platform()
    chip, _ = installed(platform, gathered=gathered)
    (answer,) = platform.receive(chip.hello(NOW))
    assert refused(lambda: chip.platform(answer, NOW + longest + 1)) == Sw.SECURITY
    assert messages.kind_of(chip.platform(answer, NOW + longest)) == messages.DEVICE


def test_a_controller_narrows_the_windows_until_the_power_goes_and_widens_none() -> None:
    platform = Platform()
    chip, store = installed(platform, gathered=True)
    assert held_session(platform, chip, 11 * SECOND, direct=True) == 0
    assert not chip.state().gathered
    # Saying nothing of it the next time takes nothing back, for a handshake as for TIME.
    assert held_session(platform, chip, 11 * SECOND) == 0
    assert refused(lambda: held_time(platform, chip, 11 * SECOND)) == Sw.SECURITY
    again = Chip(Module(store))
    assert again.state().gathered
    assert held_session(platform, again, 11 * SECOND) == NOW
    # What was made for IP stays so whatever the controller sends.
    strict, kept = installed(Platform(), gathered=False)
    for p1 in (0, 2, 0x80, 0xFF):
        strict._port.transmit(pack(Ins.HELLO, NOW.to_bytes(8, "big"), p1=p1))
        assert not strict.state().gathered
        assert not Chip(Module(kept)).state().gathered


def test_a_hello_with_an_unknown_p1_begins_nothing() -> None:
    chip, _ = installed(Platform(), gathered=True)
    answer = chip._port.transmit(pack(Ins.HELLO, NOW.to_bytes(8, "big"), p1=2))
    assert answer == Sw.WRONG_PLACE.to_bytes(2, "big")
    assert chip.state().gathered


def test_a_module_of_an_older_format_keeps_the_windows_it_was_made_with() -> None:
    """Format 3 said nothing; all of its modules were made for a place behind a concentrator."""
    fields = msgspec.msgpack.decode(state_to_bytes(State(serial=MODULE, life=1)))
    assert state_from_bytes(msgspec.msgpack.encode(fields[:-1])).gathered
    assert not state_from_bytes(msgspec.msgpack.encode([*fields[:-1], False])).gathered


class _Nothing:
    """An outbox without anything."""

    def next(self, now: int) -> Item | None:
        return None

    def seal(self, item: Item, chip: Chip, now: int) -> Sealed:
        raise AssertionError

    def done(self, items: list[Item]) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("gathered", "direct", "longest"),
    [(True, False, 900_000), (True, True, 30_000), (False, False, 30_000), (False, True, 30_000)],
)
def test_a_device_gives_up_a_half_open_run_after_the_time_out_of_its_way(
    gathered: bool, direct: bool, longest: int
) -> None:
    """PLATFORM never comes: at the time-out, not before, HELLO is a new one; then the same for SESSION."""
    platform = Platform()
    chip, _ = installed(platform, gathered=gathered)
    agent = LinkAgent(chip, _Nothing(), Timing(sends=100, backoff=0), lambda: 0.0, direct=direct)
    first = agent.offer(NOW)
    assert first is not None
    assert agent.offer(NOW + longest - 1) == first
    assert agent.offer(NOW + longest) is None
    second = agent.offer(NOW + longest)
    assert second not in (None, first)
    (answer,) = platform.receive(second)
    begun = NOW + longest + longest - 1
    agent.receive(answer, begun)
    device = agent.offer(begun)
    assert device is not None
    assert messages.kind_of(device) == messages.DEVICE
    assert agent.offer(begun + longest - 1) == device
    assert agent.offer(begun + longest) is None
    assert agent.phase == "silent"
