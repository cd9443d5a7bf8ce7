"""Refusals of the link that need a peer with good keys or a fault of our own, each shown by itself."""

from __future__ import annotations

import pytest

from meterseal.crypto.symmetric import hmac_sm3, sm4_cbc_encrypt, sm4_ecb
from meterseal.errors import DataError, LocalError
from meterseal.link import messages, proving, schedule
from meterseal.link.counters import CounterSet
from meterseal.link.handshake import DeviceRun, PlatformRun
from tests.link.parties import refuses
from tests.link.vectors import SENT, SUITES, Run, device_run, platform_run

both = pytest.mark.parametrize("run", SUITES, ids=["suite 1", "suite 2"])


def greeted(run: Run) -> tuple[DeviceRun, PlatformRun]:
    """A device that answered and a platform that waits for it."""
    device, platform = device_run(run), platform_run(run)
    platform.begin(device.hello(SENT), SENT)
    device.platform(run.platform, SENT)
    return device, platform


@both
def test_a_session_with_a_policy_that_does_not_exist_is_refused(run: Run) -> None:
    device, _ = greeted(run)
    keys = schedule.handshake_keys(run.hs, run.th1)
    for policy in (3, 255):
        grant = messages.Grant(run.seed, 1, 1, SENT, policy)
        message = proving.seal_part(keys.down, messages.SESSION, run.session_id, grant.encode())
        refuses("link.policy", lambda message=message: device.session(message, SENT))
    assert device.phase == "answered"
    device.session(run.session, SENT)


@both
def test_bad_padding_under_a_good_tag_is_refused_on_both_sides(run: Run) -> None:
    device, platform = greeted(run)
    keys = schedule.handshake_keys(run.hs, run.th1)
    for way, kind, take in (
        (keys.up, messages.DEVICE, lambda one: platform.finish(one, SENT)),
        (keys.down, messages.SESSION, lambda one: device.session(one, SENT)),
    ):
        for padded in (bytes(32), b"x" * 32, b"x" * 15 + b"\x80" + bytes(16)):
            head = messages.sealed_head(kind, run.session_id, len(padded) - 1)
            covered = head + sm4_cbc_encrypt(way.enc, sm4_ecb(way.iv, bytes(16)), padded)
            message = covered + hmac_sm3(way.mac, covered)[: messages.TAG]
            refuses("link.padding", lambda take=take, message=message: take(message))
    assert (platform.phase, device.phase) == ("greeted", "answered")


@pytest.mark.parametrize("count", [0, 1, 3, 255])
def test_a_chain_of_another_length_than_two_is_refused(count: int) -> None:
    run = SUITES[0]
    at = messages.parse_platform(run.platform).chain_at
    changed = run.platform[:at] + bytes((count,)) + run.platform[at + 1 :]
    refuses("link.chain-shape", lambda: messages.parse_platform(changed))
    refuses("link.chain-shape", lambda: messages.parse_chain(bytes((count,)) + bytes(40)))


def test_a_chain_too_long_for_a_message_is_not_sent() -> None:
    with pytest.raises(LocalError) as refused:
        messages.platform_up_to_signature(1, bytes(8), bytes(32), 1, bytes(65), [bytes(2048), bytes(2048)])
    assert refused.value.code == "link.length"


def test_stored_counters_that_no_set_wrote_are_named_as_such() -> None:
    with pytest.raises(DataError) as refused:
        CounterSet.from_bytes(bytes(13))
    assert refused.value.code == "link.counters"


@both
def test_nothing_is_answered_or_taken_before_there_is_a_transcript(run: Run) -> None:
    """Behind the table of legal steps stands a second guard: no keys are made of a run that has not begun."""
    device, platform = device_run(run), platform_run(run)
    refuses("link.order", lambda: device._answer(messages.parse_platform(run.platform)))
    refuses("link.order", lambda: device._take(run.session, SENT))
    sealed = messages.parse_sealed(run.device, messages.DEVICE)
    refuses("link.order", lambda: platform._issue(sealed, SENT))
    assert (device.phase, platform.phase) == ("new", "new")
