"""What goes down: ACK, REJECT and TIME as the device reads them, each once and under a counter of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.errors import EngineError, TrustError
from meterseal.headend.delivery import Delivery
from meterseal.headend.ports import Reserved
from meterseal.headend.sessions import LiveSession
from meterseal.link import control, records
from tests.headend.ground import NOW, WATER, Device, Line, Platform


def delivery(*devices: Device) -> tuple[Platform, Delivery, list[LiveSession]]:
    platform = Platform(*devices)
    made = Delivery(platform, lambda: NOW)
    return platform, made, [LiveSession(device.facts, device.keys) for device in devices]


@given(st.sets(st.integers(1, 500), min_size=1, max_size=120))
async def test_every_committed_counter_is_acknowledged_and_no_other(counters: set[int]) -> None:
    device, line = Device(), Line()
    _, answers, (session,) = delivery(device)
    for counter in counters:
        answers.acknowledge(session, counter, line)
    await answers.flush()
    assert line.acked(device) == counters
    assert {device_id for device_id, _ in line.sent} == {WATER}
    downs = [records.parse_header(message).counter for _, message in line.sent]
    assert downs == list(range(1, len(downs) + 1))


async def test_what_was_sent_is_owed_no_longer() -> None:
    device, line = Device(), Line()
    _, answers, (session,) = delivery(device)
    answers.acknowledge(session, 1, line)
    await answers.flush()
    await answers.flush()
    assert len(line.sent) == 1


async def test_a_rejected_counter_hears_its_class_again() -> None:
    device, line = Device(), Line()
    _, answers, (session,) = delivery(device)
    session.rejected.add(4, 3)
    answers.repeat(session, 4, line)
    answers.repeat(session, 5, line)
    await answers.flush()
    rejects = [word for word in line.words(device) if word.kind == control.REJECT]
    assert [control.read_reject(word.content) for word in rejects] == [(4, 3)]
    assert line.acked(device) == {5}


async def test_a_ping_gets_the_time_bound_to_its_counter() -> None:
    device, line = Device(), Line()
    _, answers, (session,) = delivery(device)
    answers.time(session, 9, line)
    await answers.flush()
    (word,) = line.words(device)
    assert (word.kind, control.read_time(word.content)) == (control.TIME, (NOW, 9))


async def test_the_answer_goes_over_the_link_that_the_device_used_last() -> None:
    device, old, new = Device(), Line(), Line()
    _, answers, (session,) = delivery(device)
    answers.acknowledge(session, 1, old)
    answers.acknowledge(session, 2, new)
    await answers.flush()
    assert old.sent == []
    assert new.acked(device) == {1, 2}


async def test_a_session_that_is_gone_costs_no_other_its_acknowledgement() -> None:
    class Gone(Platform):
        async def reserve_down(self, session_id: bytes, count: int, epoch: int = 0) -> Reserved:
            if session_id == dead.facts.session_id:
                raise TrustError("link.session", "Not known.")
            return await super().reserve_down(session_id, count, epoch)

    dead, living, line = Device(), Device(), Line()
    answers = Delivery(Gone(dead, living), lambda: NOW)
    for device in (dead, living):
        answers.acknowledge(LiveSession(device.facts, device.keys), 1, line)
    await answers.flush()
    assert line.acked(living) == {1}


async def test_no_word_leaves_without_a_reserved_counter() -> None:
    device, line = Device(), Line()
    platform, answers, (session,) = delivery(device)
    platform.away = True
    answers.acknowledge(session, 1, line)
    with pytest.raises(EngineError):
        await answers.flush()
    assert line.sent == []
