"""Faults that the other tests of link and crypto let through, each shown here."""

from __future__ import annotations

import importlib

import msgspec
import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.link import proving
from meterseal.link.counters import CounterSet
from meterseal.link.handshake import PlatformRun
from meterseal.link.schedule import bound_keys
from tests.link.parties import DEVICE, NOW, SINCE, Module, Service, refuses
from tests.mutation.run import FITTING


@pytest.mark.parametrize("module", FITTING)
def test_what_was_read_cannot_be_changed_afterwards(module: str) -> None:
    """Every struct is frozen, so that nobody changes a header or a session between its check and its use."""
    loaded = importlib.import_module(f"meterseal.{module}")
    own = [
        one for one in vars(loaded).values() if isinstance(one, type) and one.__module__ == loaded.__name__
    ]
    for struct in own:
        if issubclass(struct, msgspec.Struct):
            assert struct.__struct_config__.frozen, struct


def test_a_repeated_device_message_is_answered_for_15_minutes_and_a_first_one_only_within_the_patience() -> (
    None
):
    """A short patience (over IP) ends the wait for DEVICE, not the repeats of SESSION."""
    service, module = Service(), Module()
    run, device = service.run(patience=proving.DIRECT_PATIENCE), module.run()
    sealed = device.platform(run.begin(device.hello(NOW), NOW), NOW)
    granted = run.finish(sealed, NOW + proving.DIRECT_PATIENCE)
    assert run.finish(sealed, NOW + proving.GATHERED_PATIENCE) is granted
    refuses("link.time-out", lambda: run.finish(sealed, NOW + proving.GATHERED_PATIENCE + 1))

    late, other = service.run(patience=proving.DIRECT_PATIENCE), module.run()
    sealed = other.platform(late.begin(other.hello(NOW), NOW), NOW)
    refuses("link.time-out", lambda: late.finish(sealed, NOW + proving.DIRECT_PATIENCE + 1))


def test_suite_2_asks_for_no_certificate_and_no_ephemeral_key() -> None:
    """A platform that serves suite 2 alone has no chain to give."""
    service, module = Service(2), Module(2)

    def none(*_: object) -> list[bytes]:
        raise AssertionError("suite 2 has no certificates")

    service.chain = none  # type: ignore[method-assign,assignment]
    service.sign = none  # type: ignore[method-assign,assignment]
    service.enrolments = {key: one for key, one in service.enrolments.items() if key[0] == DEVICE}
    run: PlatformRun = service.run()
    device = module.run()
    granted = run.finish(device.platform(run.begin(device.hello(NOW), NOW), NOW), NOW)
    assert device.session(granted.message, NOW).session_id == granted.session_id


def shaken(bound: int, at: int, later: int = 0, **how: bool):  # type: ignore[no-untyped-def]
    """The session of a handshake whose platform says the time `at`; SESSION arrives `later` ms after DEVICE."""
    run, device = Service().run(), Module().run(bound, **how)
    sealed = device.platform(run.begin(device.hello(NOW), NOW), NOW)
    return device.session(run.finish(sealed, at).message, NOW + later)


def test_session_sets_the_clock_within_ten_seconds_of_device_and_not_later() -> None:
    assert shaken(SINCE, NOW).clock == NOW
    assert shaken(SINCE, NOW, proving.DIRECT_CLOCK).clock == NOW
    assert shaken(SINCE, NOW, proving.DIRECT_CLOCK + 1).clock is None
    assert shaken(SINCE, NOW, proving.DIRECT_CLOCK + 1, behind_concentrator=True).clock == NOW


def test_session_sets_the_clock_to_the_bound_itself_and_never_below() -> None:
    assert shaken(NOW, NOW).clock == NOW
    assert shaken(NOW + 1, NOW).clock is None


def test_the_last_counter_of_all_is_a_counter() -> None:
    last = CounterSet([2**48 - 1])
    assert last.highest == 2**48 - 1
    assert CounterSet.from_bytes(last.to_bytes()) == last


def test_sets_that_begin_alike_or_end_alike_are_not_equal() -> None:
    assert CounterSet([1, 2, 3]) != CounterSet([1, 2])
    assert CounterSet([1, 2, 3]) != CounterSet([2, 3])
    assert CounterSet([1]) != "a set of counters"


def test_the_keys_of_level_7_come_from_their_own_factors() -> None:
    bound = SymmetricKey.from_bytes(bytes(range(16)), "K_b")
    keys = bound_keys(bound)
    for name, factor in {
        "auth": b"AUTH0001",
        "link": b"LINK0001",
        "command": b"CMND0001",
        "evidence": b"EVID0001",
    }.items():
        assert getattr(keys, name).mac(b"x") == bound.diversify(factor, name).mac(b"x"), name
