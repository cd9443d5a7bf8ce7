"""The queue of words: given out to the owner alone, one question at a time, again until settled, and sealed at rest."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from meterseal.control import write
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import down_words
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import TrustError
from meterseal.headend.ports import Answer, Down, StoredSession
from meterseal.things.answers import answers
from meterseal.things.commands import Act
from meterseal.things.sessions import SessionStore
from meterseal.things.verbs import frame_of
from meterseal.things.words import FIRST_PAUSE, LINE_PAUSE, DownWords, Word
from meterseal.wire import encode, roles
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame
from meterseal.wire.profile import profile_of
from tests.control_store import control_at
from tests.headend.ground import ELECTRIC, MASTER, NOW, OTHER, WATER, Device

HOUR = 3_600_000
RELAY: tuple[Act, Act] = "relay-trip", "relay-close"


class Ground:
    """A queue, and one device with a session that this head-end owns."""

    def __init__(self, path: Path) -> None:
        self.now = NOW
        self.engine = control_at(path)
        self.keys = KeyRing({1: SymmetricKey.from_bytes(bytes(16), "a test's key")}, 1)
        self.words = DownWords(self.engine, self.keys, lambda: self.now, listen=0.05)
        self.sessions = SessionStore(self.engine, lambda _: b"", lambda: self.now)

    async def session(self, device_id: bytes = WATER) -> tuple[StoredSession, int]:
        facts = Device(device_id).facts
        await self.sessions.put(facts)
        return facts, (await self.sessions.reserve_down(facts.session_id, 1)).epoch

    async def put(self, frame: Frame, kind: Any = "request", **how: Any) -> int:
        down = Down(kind=kind, content=frame.encode(), number=how.pop("number", 0))
        facts = {
            "request_id": os.urandom(16),
            "device_id": frame.device_id,
            "not_after": NOW + HOUR,
            "down": down,
        }
        return await self.words.put(Word(**(facts | how)))

    async def take(self, facts: StoredSession, epoch: int, *, anew: bool = False) -> list[bytes]:
        taken = await self.words.take(facts.device_id, facts.session_id, epoch, anew=anew)
        return [word.content for word in taken.words]

    def state(self, word_id: int) -> str:
        return self.words.outcome(word_id).state


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path / "control.db")


def read(ser: int = 1, device_id: bytes = WATER) -> Frame:
    return encode.read_request(device_id, ids.METERING, ser)


async def test_a_word_is_given_out_once_and_again_only_after_a_growing_pause(ground: Ground) -> None:
    word = await ground.put(read(), not_after=NOW + 10 * HOUR)
    facts, epoch = await ground.session()
    assert len(await ground.take(facts, epoch)) == 1
    assert await ground.take(facts, epoch) == []
    for pause in (FIRST_PAUSE, 2 * FIRST_PAUSE):
        ground.now += pause - 1
        assert await ground.take(facts, epoch) == []
        ground.now += 1
        assert len(await ground.take(facts, epoch)) == 1
    assert ground.words.outcome(word).attempts == 3


async def test_a_new_session_or_line_gets_it_sooner(ground: Ground) -> None:
    await ground.put(read())
    facts, epoch = await ground.session()
    await ground.take(facts, epoch)
    ground.now += LINE_PAUSE
    assert len(await ground.take(facts, epoch, anew=True)) == 1
    newer, own = await ground.session()
    assert len(await ground.take(newer, own)) == 1


@pytest.mark.parametrize(
    "who", ["an old epoch", "a replaced session", "another device", "an unknown session"]
)
async def test_whoever_does_not_own_the_newest_session_is_given_nothing(ground: Ground, who: str) -> None:
    word = await ground.put(read())
    facts, epoch = await ground.session()
    device_id, session_id = WATER, facts.session_id
    if who == "an old epoch":
        await ground.sessions.reserve_down(session_id, 1)
    elif who == "a replaced session":
        await ground.session()
    elif who == "another device":
        device_id = OTHER
    else:
        session_id = b"nothing!"
    with pytest.raises(TrustError) as refused:
        await ground.words.take(device_id, session_id, epoch, anew=False)
    assert refused.value.code == "link.owner"
    assert ground.words.outcome(word).attempts == 0


async def test_one_command_and_one_question_are_under_way_at_a_time(ground: Ground) -> None:
    frames = [encode.valve_request(WATER, opened=bool(number), ser=number + 1) for number in range(2)]
    commands = [await ground.put(frame, "guarded", number=1 + at) for at, frame in enumerate(frames)]
    questions = [await ground.put(read(ser)) for ser in (11, 12)]
    facts, epoch = await ground.session()
    assert await ground.take(facts, epoch) == [frames[0].encode(), read(11).encode()]
    done = encode.answer(WATER, frames[0], b"\x00\x00").encode()
    assert await ground.words.answered([Answer(WATER, done)]) == [True]
    assert await ground.take(facts, epoch) == [frames[1].encode()]
    assert [ground.state(word) for word in (*commands, *questions)] == ["done", "sent", "sent", "waiting"]


async def test_an_answer_finds_its_word_by_serial_number_and_no_other(ground: Ground) -> None:
    word = await ground.put(read(5))
    facts, epoch = await ground.session()
    good = encode.answer(WATER, read(5), bytes(19)).encode()
    assert await ground.words.answered([Answer(WATER, good)]) == [False]  # nothing was asked yet
    await ground.take(facts, epoch)
    foreign = encode.answer(WATER, read(6), bytes(19)).encode()
    elsewhere = encode.answer(OTHER, read(5, OTHER), bytes(19)).encode()
    assert await ground.words.answered([Answer(WATER, foreign), Answer(OTHER, elsewhere)]) == [False, False]
    assert await ground.words.answered([Answer(WATER, good)]) == [True]
    assert await ground.words.answered([Answer(WATER, good)]) == [True]  # sealed again: it changes nothing
    assert ground.words.outcome(word).answer == good


async def test_whoever_waits_hears_at_once_and_of_nothing_in_the_end(ground: Ground) -> None:
    assert (await ground.words.wait(0)).devices == []
    waiting = asyncio.create_task(ground.words.wait(0))
    await asyncio.sleep(0)
    first = await ground.put(read())
    heard = await asyncio.wait_for(waiting, 0.04)
    assert (heard.seen, heard.devices) == (first, [WATER])
    again = asyncio.create_task(ground.words.wait(heard.seen))
    await asyncio.sleep(0)
    await ground.put(read(2, OTHER))
    assert (await asyncio.wait_for(again, 0.04)).devices == [OTHER]


async def test_everything_is_there_after_a_restart(ground: Ground, tmp_path: Path) -> None:
    word = await ground.put(read())
    facts, epoch = await ground.session()
    await ground.take(facts, epoch)
    ground.engine.dispose()
    again = Ground(tmp_path / "control.db")
    assert (await again.words.wait(0)).devices == [WATER]
    again.now += FIRST_PAUSE
    assert await again.take(facts, epoch) == [read().encode()]
    assert again.words.outcome(word).attempts == 2


async def test_a_word_moved_to_another_device_on_disk_is_not_given_out(ground: Ground) -> None:
    await ground.put(read())
    with write(ground.engine) as connection:
        connection.execute(down_words.update().values(device_id=OTHER))
    facts, epoch = await ground.session(OTHER)
    with pytest.raises(TrustError):
        await ground.take(facts, epoch)


async def test_ciphertexts_swapped_between_two_words_do_not_open(ground: Ground) -> None:
    await ground.put(read(1))
    await ground.put(read(2))
    with write(ground.engine) as connection:
        rows = connection.execute(sa.select(down_words.c.id, down_words.c.sealed_content)).all()
        for (word, _), (_, content) in zip(rows, reversed(rows), strict=True):
            connection.execute(
                down_words.update().where(down_words.c.id == word).values(sealed_content=content)
            )
    facts, epoch = await ground.session()
    with pytest.raises(TrustError):
        await ground.take(facts, epoch)


async def test_only_what_was_not_sent_can_be_taken_back(ground: Ground) -> None:
    first = await ground.put(read(1))
    second = await ground.put(read(2))
    facts, epoch = await ground.session()
    await ground.take(facts, epoch)
    for word in (first, second):
        ground.words.withdraw(word)
    assert [ground.state(word) for word in (first, second)] == ["sent", "withdrawn"]


def test_answers_of_dlt645_are_told_apart_by_function_and_identifier() -> None:
    asked = encode.read_request(ELECTRIC, 0x00010000)
    trip = encode.relay_request(ELECTRIC, 0x1A, NOW)
    good = encode.answer(ELECTRIC, asked, bytes(4)).encode()
    assert answers("dlt645", asked.encode(), good) == "done"
    failed = roles.refuse(ELECTRIC, asked, "no-such-data", profile_of(ELECTRIC)).encode()
    assert answers("dlt645", asked.encode(), failed) == "refused"
    assert answers("dlt645", trip.encode(), encode.answer(ELECTRIC, trip).encode()) == "done"
    assert answers("dlt645", trip.encode(), good) is None
    other = encode.read_request(ELECTRIC, 0x00020000)
    assert answers("dlt645", other.encode(), good) is None
    assert answers("dlt645", asked.encode(), b"no frame") is None


async def test_an_answer_is_not_taken_for_that_of_a_command_before_which_nobody_answered(
    ground: Ground,
) -> None:
    """DL/T 645 answers a command by its function alone: a trip that was lost is not done because a closing is."""
    profile = profile_of(ELECTRIC)
    trip, close = (
        frame_of(ELECTRIC, action, {}, profile, ser=1, until=NOW + HOUR, now=NOW) for action in RELAY
    )
    facts, epoch = await ground.session(ELECTRIC)
    lost = await ground.put(trip, "guarded", number=1)
    await ground.take(facts, epoch)
    ground.now += 2 * HOUR
    ground.words.expire()
    assert ground.state(lost) == "unknown"
    closed = await ground.put(close, "guarded", number=2, not_after=ground.now + HOUR)
    await ground.take(facts, epoch)
    done = roles.done(ELECTRIC, close, profile).encode()
    assert await ground.words.answered([Answer(ELECTRIC, done)]) == [True]
    assert (ground.state(lost), ground.state(closed)) == ("unknown", "done")


async def test_a_word_finds_its_answer_behind_however_many_newer_ones(ground: Ground) -> None:
    """A concentrator is asked for a thousand meters while one of them keeps silent."""
    facts, epoch = await ground.session(MASTER)
    command = encode.valve_request(WATER, opened=False, ser=200)
    slow = await ground.put(command, "guarded", number=1, device_id=MASTER)
    for ser in range(100):
        await ground.put(read(ser), device_id=MASTER)
        await ground.take(facts, epoch)
        said = Frame("cjt188", 0x10, command.address, 0x81, read(ser).data + b"what it shows")
        assert await ground.words.answered([Answer(MASTER, said.encode())]) == [True]
    answer = roles.done(WATER, command, profile_of(WATER)).encode()
    assert await ground.words.answered([Answer(MASTER, answer)]) == [True]
    assert ground.state(slow) == "done"
