"""The way down: words that wait at the platform go to devices in their live sessions, and answers find their word.

It keeps nothing that a restart may not lose: the platform holds the queue, hands a word out only to the owner of the
device's newest session, and hands it out again until it is confirmed. It makes no command; a guarded one carries the
security service's authorisation.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import structlog

from meterseal.errors import EngineError, MetersealError
from meterseal.headend.link import Link
from meterseal.headend.ports import Answer, Down, FirmwareSaid, Sessions, Topology, Words
from meterseal.headend.sessions import LiveSession, SessionCache
from meterseal.link import commands, control, profiles, records
from meterseal.link.control import Word

PLAIN_ONLY = 0
ROUTES = 20_000
"""Devices whose way is remembered; the longest silent one is forgotten first and found again when it speaks."""
AT_ONCE = 8
"""Devices that are served at the same time."""
TURN = 1.0
"""Seconds between looks for words that are due again."""
AFTER_A_FAILURE = 5_000
UNREACHABLE = 60_000
"""Milliseconds until a way is looked for again where there was none; a device that speaks shows one at once."""

_CONTROL = {
    "key": control.KEY,
    "cert": control.CERT,
    "rekey": control.REKEY,
    "close": control.CLOSE,
    "firmware": control.FIRMWARE,
}

log = structlog.get_logger()


class _Route(NamedTuple):
    """Where a device was heard last, in its newest session."""

    session: LiveSession
    link: Link


class Downlink:
    """Sends what waits. `run` works until it is cancelled."""

    def __init__(
        self,
        words: Words,
        store: Sessions,
        sessions: SessionCache,
        topology: Topology,
        clock: Callable[[], int],
    ) -> None:
        self._words = words
        self._store = store
        self._sessions = sessions
        self._topology = topology
        self._clock = clock
        self._masters: dict[bytes, Link] = {}
        self._routes: OrderedDict[bytes, _Route] = OrderedDict()
        self._open: dict[bytes, int] = {}
        self._seen = 0
        self._known = False
        self._serving: set[bytes] = set()
        self._again: set[bytes] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self.sent = 0

    # --- what sockets and uplink tell --------------------------------------------------------------------

    def joined(self, link: Link) -> None:
        """A connection was made. Over a concentrator's its meters are reached, also those that have nothing to say."""
        if link.concentrator_id:
            self._masters[link.concentrator_id] = link
            for device_id in [device for device, due in self._open.items() if due]:
                if device_id not in self._routes:
                    self._serve(device_id, anew=True)

    def parted(self, link: Link) -> None:
        """A connection is gone."""
        if self._masters.get(link.concentrator_id) is link:
            del self._masters[link.concentrator_id]

    def heard(self, session: LiveSession, link: Link) -> None:
        """A new record with a good tag came over this link: the device can be reached there."""
        device_id = session.facts.device_id
        route = self._routes.get(device_id)
        if route is not None and route.session.facts.created_at > session.facts.created_at:
            return
        self._routes[device_id] = _Route(session, link)
        self._routes.move_to_end(device_id)
        while len(self._routes) > ROUTES:
            self._routes.popitem(last=False)
        anew = route is None or route.link is not link or route.session is not session
        if device_id in self._open and (anew or self._open[device_id] <= self._clock()):
            self._serve(device_id, anew=anew)

    def left(self, session: LiveSession) -> None:
        """The device closed this session."""
        route = self._routes.get(session.facts.device_id)
        if route is not None and route.session is session:
            del self._routes[session.facts.device_id]

    def forget(self, device_id: bytes, module_id: bytes) -> None:
        """This module was taken out of service: nothing more is sent to it."""
        route = self._routes.get(device_id)
        if route is not None and route.session.facts.module_id == module_id:
            del self._routes[device_id]

    def awaits(self, device_id: bytes) -> bool:
        """May a word of this device be open? True also while the platform was not asked yet."""
        return not self._known or device_id in self._open

    async def answered(self, answers: list[Answer]) -> list[bool]:
        """As `Words.answered`; the next word of those devices follows."""
        found = await self._words.answered(answers)
        for answer, good in zip(answers, found, strict=True):
            if good and answer.device_id in self._routes:
                self._serve(answer.device_id, anew=False)
        return found

    async def firmware(self, said: list[FirmwareSaid]) -> None:
        """As `Words.firmware`; what there is to say to those devices goes out as they are heard."""
        await self._words.firmware(said)
        for one in said:
            self._open[one.device_id] = 0

    # --- work --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Learn of words as they come, and of those that are due again."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._learn())
                group.create_task(self._look())
        finally:
            for task in self._tasks:
                task.cancel()

    async def _learn(self) -> None:
        while True:
            try:
                came = await self._words.wait(self._seen)
            except MetersealError as error:
                log.warning("downlink.unheard", code=error.code)
                await asyncio.sleep(TURN)
                continue
            self._seen = came.seen
            self._known = self._known or not came.more
            for device_id in came.devices:
                self._open[device_id] = 0
                self._serve(device_id, anew=False)
            await asyncio.sleep(0)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(TURN)
            now = self._clock()
            for device_id in [device for device, due in self._open.items() if due <= now]:
                self._serve(device_id, anew=False)

    def _serve(self, device_id: bytes, *, anew: bool) -> None:
        if device_id not in self._routes and not self._masters:
            return
        if device_id in self._serving:
            self._again.add(device_id)
            return
        self._serving.add(device_id)
        task = asyncio.ensure_future(self._served(device_id, anew=anew))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _served(self, device_id: bytes, *, anew: bool) -> None:
        try:
            async with self._slots:
                await self._send(device_id, anew=anew)
        except EngineError as error:
            self._open[device_id] = self._clock() + AFTER_A_FAILURE
            log.warning("downlink.unsent", code=error.code)
        except MetersealError as error:
            # Another head-end hears this device now, or its session is gone: it is found again when it speaks here.
            self._routes.pop(device_id, None)
            log.info("downlink.elsewhere", code=error.code)
        finally:
            self._serving.discard(device_id)
            if device_id in self._again:
                self._again.discard(device_id)
                self._serve(device_id, anew=False)

    async def _send(self, device_id: bytes, *, anew: bool) -> None:
        now = self._clock()
        route = self._routes.get(device_id) or await self._found(device_id, now)
        if route is None or not route.session.in_time(now):
            self._open[device_id] = now + UNREACHABLE
            return
        session, link = route
        epoch = await session.own(self._store, link)
        if session.used_up:  # or skipped after a restore: what waits goes in a new session
            self._open[device_id] = now + UNREACHABLE
            rekey = Down(kind="rekey", content=b"")
            link.send(device_id, sealed(session, await session.speaking(self._store), rekey))
            return
        taken = await self._words.take(device_id, session.facts.session_id, epoch, anew=anew)
        if taken.next_at:
            self._open[device_id] = taken.next_at
        else:
            self._open.pop(device_id, None)
        for word in taken.words:
            counter = await session.speaking(self._store)
            link.send(device_id, sealed(session, counter, word))
            self.sent += 1

    async def _found(self, device_id: bytes, now: int) -> _Route | None:
        """A way to a device that did not speak here yet: its newest session, over its concentrator's connection, which is
        its own where it is a concentrator."""
        for enrolment in await self._topology.enrolments([device_id]):
            link = self._masters.get(enrolment.concentrator_id or device_id)
            newest = await self._store.latest(device_id) if link is not None else None
            session = await self._sessions.get(newest.session_id, now) if newest is not None else None
            if link is not None and session is not None:
                return self._routes.setdefault(device_id, _Route(session, link))
        return None


def sealed(session: LiveSession, counter: int, word: Down) -> bytes:
    """The record of one word in this session under this counter. Raises LocalError for a word that fits no record."""
    session_id, keys = session.facts.session_id, session.keys
    profile = profiles.load(session.facts.profile)
    if word.kind == "guarded":
        return commands.seal_guarded(
            keys,
            session_id,
            counter,
            number=word.number,
            not_after=word.not_after,
            authorisation=word.authorisation,
            frame=word.content,
            profile=profile,
        )
    if word.kind == "request":
        plain = session.facts.policy == PLAIN_ONLY
        return records.seal_record(
            keys, session_id, counter, [word.content], up=False, plain=plain, profile=profile
        )
    said = Word(_CONTROL[word.kind], word.content)
    return control.seal_control(keys, session_id, counter, said, up=False, profile=profile)
