"""Clocks of meters with a module: asked once a week by a word that reads, and set by a new session where they are off.

It decides nothing about readings (mdms does). A module answers under its seal, and the answer's clock was read after the
question was given out and before the answer came: so it is off by no less and no more than these two say, whatever the way
took. Who asks for something else and gets a clock with it measures as well.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

import sqlalchemy as sa
import structlog

from meterseal.control import read
from meterseal.control.tables import clock_sights, meters
from meterseal.errors import MetersealError, PeerError
from meterseal.headend.clocks import is_far
from meterseal.headend.ports import Down
from meterseal.headend.saying import AHEAD, BACKLOG
from meterseal.model import ClockSeen, medium_of
from meterseal.things.word import Heard, Word
from meterseal.things.words import DownWords
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.fields import clock_step, moment_at
from meterseal.wire.frame import parse_frame
from meterseal.wire.meaning import interpret

EVERY = 7 * 86_400_000
"""A clock is asked for so long after it was seen last (ms)."""
STANDS_FOR = 2 * 86_400_000
"""So long the question waits for its meter."""
AT_ONCE = 200
"""Meters asked in one turn: 25,000 in a day."""
TURN = 600.0
"""Seconds between two turns."""
SET_AGAIN = 86_400_000
"""A clock that is far off is set: the module shakes hands anew, and SESSION tells it the time; no more often than so."""
AFTER_SETTING = 3_600_000
"""So long after it was told to, it is asked again."""
DATE_AND_TIME = 0x0400010C
PREFIX = b"clock\0"

log = structlog.get_logger()
Take = Callable[[Sequence[ClockSeen]], Awaitable[None]]


def seen(heard: Heard) -> ClockSeen | None:
    """How far the clock in an answer can be off; None where the answer says no time."""
    try:
        asked, _ = parse_frame(heard.said)
        frame, _ = parse_frame(heard.answer, 0, asked.protocol)
        meaning = interpret(frame)
    except PeerError:
        return None
    shown = meaning.clock_at
    if shown is None and frame.protocol == "dlt645" and meaning.di == DATE_AND_TIME:
        shown = moment_at(meaning.clock)
    if shown is None:
        return None
    sealed = frame.device_id == heard.device_id
    stamps = sealed or medium_of(frame.device_id) != "electricity"
    return ClockSeen(
        frame.device_id,
        heard.at,
        heard.at,
        shown - heard.at,
        shown + clock_step(shown) - heard.since,
        stamps and -BACKLOG <= shown - heard.at <= AHEAD,
    )


class ClockWatch:
    """Asks, and hears what was answered. `take` keeps what was measured."""

    def __init__(self, engine: sa.Engine, words: DownWords, take: Take, clock: Callable[[], int]) -> None:
        self._engine, self._words, self._take, self._clock = engine, words, take, clock
        self._asked: dict[bytes, int] = {}
        self._set: dict[bytes, int] = {}
        self._again: dict[bytes, int] = {}
        """When those that were told to set their clock are asked whether they did."""

    async def heard(self, answers: Sequence[Heard]) -> None:
        """Answers to words, as they come."""
        measured = [one for one in map(seen, answers) if one is not None]
        if measured:
            await self._take(measured)
        for one in measured:
            if is_far(one) and any(one.device_id == answer.device_id for answer in answers):
                await self._set_clock(one.device_id)

    async def _set_clock(self, device_id: bytes) -> None:
        now = self._clock()
        if now - self._set.get(device_id, -SET_AGAIN) < SET_AGAIN:
            return
        self._set[device_id] = now
        self._again[device_id] = now + AFTER_SETTING
        await self._put(device_id, Down(kind="rekey", content=b""))

    async def turn(self) -> int:
        """Ask whose clock was not seen for long, or was to be set; how many were asked."""
        now = self._clock()
        await asyncio.to_thread(self._words.sweep, PREFIX, now - STANDS_FOR)
        set_since = [device_id for device_id, at in self._again.items() if at <= now]
        late = await asyncio.to_thread(self._due, now)
        due = list(dict.fromkeys(one for one in (*set_since, *late) if not self._words.waiting(one)))
        self._asked |= dict.fromkeys(late, now)  # who is told other things now has their turn later
        for device_id in due:
            self._again.pop(device_id, None)
            self._asked[device_id] = now
            di = DATE_AND_TIME if medium_of(device_id) == "electricity" else ids.METERING
            frame = encode.read_request(device_id, di, os.urandom(1)[0])
            await self._put(device_id, Down(kind="request", content=frame.encode()))
        return len(due)

    def _due(self, now: int) -> list[bytes]:
        """Meters with a module whose clock was seen longest ago, never first."""
        last = sa.func.coalesce(clock_sights.c.at, 0)
        mine = sa.and_(
            clock_sights.c.usage_point == meters.c.usage_point_id,
            clock_sights.c.device_id == meters.c.device_id,
            clock_sights.c.at >= meters.c.since,
        )
        waits = [one for one, at in self._asked.items() if now - at < STANDS_FOR]
        self._asked = {one: self._asked[one] for one in waits}
        query = (
            sa.select(meters.c.device_id, last)
            .select_from(meters.outerjoin(clock_sights, mine))
            .where(meters.c.plain.is_(False), meters.c.until.is_(None))
            .order_by(last, meters.c.device_id)
            .limit(AT_ONCE + len(waits))
        )
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
        due = [one for one, at in rows if one not in self._asked and now - at >= EVERY]
        return due[:AT_ONCE]

    async def _put(self, device_id: bytes, down: Down) -> None:
        word = Word(
            request_id=PREFIX + os.urandom(16 - len(PREFIX)),
            device_id=device_id,
            not_after=self._clock() + STANDS_FOR,
            down=down,
            act="read" if down.kind == "request" else "",
            reason="the clock of the meter, which the platform looks after",
        )
        await self._words.put(word)

    async def run(self) -> None:
        """Work until cancelled; a failure is said and tried again at the next turn."""
        while True:
            await asyncio.sleep(TURN)
            try:
                await self.turn()
            except MetersealError as error:
                log.warning("clocks.unasked", code=error.code)
            except Exception:  # a defect ends this turn, not the watch, and is said in full
                log.exception("clocks.defect")
