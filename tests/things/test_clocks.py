"""What an answer to a word says of its meter's clock, and when it says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.control import write
from meterseal.errors import EngineError
from meterseal.headend.ports import Answer
from meterseal.model import ClockSeen
from meterseal.things import clocks
from meterseal.things.clocks import DATE_AND_TIME, STANDS_FOR, ClockWatch, seen
from meterseal.things.fleet import Installation, install, new_premises
from meterseal.things.word import Heard
from meterseal.wire import encode
from meterseal.wire.fields import to_clock
from tests.headend.ground import ELECTRIC, NOW, WATER, water
from tests.things.test_words import Ground, ground, read

__all__ = ["ground"]

DAY, HOUR = 86_400_000, 3_600_000


def heard(device_id: bytes, shown: int, since: int, at: int) -> Heard:
    """An answer whose clock shows this."""
    if device_id == WATER:
        return Heard(device_id=WATER, said=read().encode(), answer=water(at=shown), since=since, at=at)
    asked = encode.read_request(ELECTRIC, DATE_AND_TIME)
    clock = to_clock(shown, 480)  # ss mm hh DD MM YY CC
    answer = encode.answer(ELECTRIC, asked, clock[:3] + b"\x01" + clock[3:6])
    return Heard(device_id=ELECTRIC, said=asked.encode(), answer=answer.encode(), since=since, at=at)


@given(
    off=st.integers(-30 * DAY, 30 * DAY),
    way=st.integers(0, 2 * DAY),
    part=st.floats(0, 1),
    device_id=st.sampled_from([WATER, ELECTRIC]),
)
def test_however_long_a_question_and_its_answer_are_on_their_way_the_bounds_hold(
    off: int, way: int, part: float, device_id: bytes
) -> None:
    since = NOW - way
    one = seen(heard(device_id, since + int(way * part) + off, since, NOW))
    assert one is not None
    assert one.least <= off + 1_000
    assert off - 1_000 <= one.most
    assert abs(one.off) <= abs(off) + 1_000
    assert one.off == 0 or abs(off) <= 1_000 or (one.off > 0) == (off > 0)


def test_an_answer_without_a_time_measures_nothing() -> None:
    asked = encode.read_request(ELECTRIC, 0x00010000)
    answer = encode.answer(ELECTRIC, asked, b"\x01\x00\x00\x00")
    assert seen(Heard(device_id=ELECTRIC, said=asked.encode(), answer=answer.encode(), since=1, at=2)) is None
    assert seen(Heard(device_id=WATER, said=b"\x68", answer=b"\x68", since=1, at=2)) is None


async def test_an_answer_is_heard_with_when_its_question_went_out_and_one_that_may_be_to_another_is_not(
    ground: Ground,
) -> None:
    said: list[Heard] = []

    async def hears(answers: Sequence[Heard]) -> None:
        said.extend(answers)

    ground.words.hears = hears
    facts, epoch = await ground.session()
    await ground.put(read(1))
    ground.now += 5_000
    assert await ground.take(facts, epoch)
    ground.now += 1_000
    assert await ground.words.answered([Answer(WATER, encode.answer(WATER, read(1), b"").encode())]) == [True]
    ((since, at),) = [(one.since, one.at) for one in said]
    assert (since, at) == (NOW + 5_000, NOW + 6_000)

    lost = await ground.put(read(2), not_after=NOW + 10_000)
    assert await ground.take(facts, epoch)
    ground.now += HOUR // 2
    assert ground.state(lost) == "unknown"
    await ground.put(read(3), not_after=ground.now + HOUR)
    assert await ground.take(facts, epoch)
    assert await ground.words.answered([Answer(WATER, encode.answer(WATER, read(3), b"").encode())]) == [True]
    assert len(said) == 1


async def test_a_word_is_settled_though_nobody_can_keep_what_its_answer_says_besides(ground: Ground) -> None:
    async def hears(_: Sequence[Heard]) -> None:
        raise EngineError("control.full", "The disk is full.")

    ground.words.hears = hears
    facts, epoch = await ground.session()
    word = await ground.put(read(1))
    assert await ground.take(facts, epoch)
    assert await ground.words.answered([Answer(WATER, encode.answer(WATER, read(1), b"").encode())]) == [True]
    assert ground.state(word) == "done"


async def test_whoever_is_told_other_things_holds_up_nobody_else(ground: Ground) -> None:
    sealed = [bytes.fromhex(f"1078330000{number:06d}") for number in range(3)]
    with write(ground.engine) as connection:
        for one in sealed:
            meter = Installation(
                device_id=one,
                medium="water",
                protocol="cjt188",
                profile="water-generic",
                since=0,
                suite=1,
                module_id=one,
                project=bytes(16),
            )
            install(connection, new_premises(connection), meter, ground.keys)

    async def take(_: Sequence[ClockSeen]) -> None:
        raise AssertionError("Nothing was answered.")

    clocks = ClockWatch(ground.engine, ground.words, take, lambda: ground.now)
    await ground.put(read(1, sealed[0]), not_after=NOW + 9 * DAY)
    assert await clocks.turn() == 2
    assert await clocks.turn() == 0
    assert [ground.words.waiting(one) for one in sealed] == [1, 1, 1]
    ground.now += STANDS_FOR + 1
    ground.words.expire()
    assert await clocks.turn() == 2


async def test_a_turn_that_meets_a_defect_ends_neither_the_asking_nor_the_orderly_end(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def taken(_: Sequence[ClockSeen]) -> None:
        pass

    turns: list[int] = []
    again = asyncio.Event()

    async def turn(_: ClockWatch) -> int:
        turns.append(1)
        if len(turns) == 1:
            raise ValueError("a defect")
        again.set()
        return 0

    monkeypatch.setattr(clocks, "TURN", 0.0)
    monkeypatch.setattr(ClockWatch, "turn", turn)
    work = asyncio.create_task(ClockWatch(ground.engine, ground.words, taken, lambda: NOW).run())
    await asyncio.wait_for(again.wait(), 60)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
