"""Faults that the other tests of link and crypto let through, each shown here."""

from __future__ import annotations

import importlib

import msgspec
import pytest

from meterseal.link import proving
from meterseal.link.handshake import PlatformRun
from tests.link.parties import DEVICE, NOW, Module, Service, refuses
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
