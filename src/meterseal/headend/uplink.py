"""Everything that comes up: gathers messages into batches, lets the pipeline judge them, publishes, then acknowledges.

The order is the promise: prove, open, decode, commit behind the bus, and only then ACK. What a message means is decided
in `pipeline`; what a handshake needs, in `handshakes`; this shell only awaits and sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import islice

import structlog

from meterseal.bus.outage import Outage
from meterseal.bus.port import Publisher
from meterseal.errors import EngineError, MetersealError
from meterseal.headend import pipeline
from meterseal.headend.delivery import Delivery
from meterseal.headend.downlink import Downlink
from meterseal.headend.handshakes import Handshakes
from meterseal.headend.limits import WAYS, Buckets
from meterseal.headend.link import Link
from meterseal.headend.pipeline import Accepted, Again, Arrival, Held, Proved, Refused, Spoken, Verdict
from meterseal.headend.ports import Answer, AuditTrail, Enrolment, FirmwareSaid, Topology
from meterseal.headend.sessions import LiveSession, SessionCache
from meterseal.headend.telling import Telling
from meterseal.link.control import CLOSE, FIRMWARE, PING
from meterseal.model import Batch, Refusal

BATCH = 192
"""Records judged together: large enough to share one commit, small enough to answer soon."""
WAITING = 4096
"""Messages that may wait here before the sockets stop being read."""
IN_FLIGHT = 3
"""Batches that may wait for their commit at once."""

FAULT = "mesh.internal"
"""What the platform answers when it met a fault of its own over a batch."""

log = structlog.get_logger()

Judged = tuple[Link, Arrival, LiveSession | None, Verdict]


class Uplink:
    """Receives messages from links and answers what must be answered.

    A defect of ours met by one record costs that record its answer and nobody else's: it is logged with its place, the
    record is not acknowledged, and so it stays with its device.
    """

    def __init__(
        self,
        *,
        sessions: SessionCache,
        handshakes: Handshakes,
        delivery: Delivery,
        downlink: Downlink,
        topology: Topology,
        audit: AuditTrail,
        publisher: Publisher,
        clock: Callable[[], int],
        pause: Callable[[bool], None],
    ) -> None:
        self.sessions = sessions
        self._handshakes = handshakes
        self._delivery = delivery
        self.downlink = downlink
        self._topology = topology
        self._audit = audit
        self._publisher = publisher
        self._clock = clock
        self._pause = pause
        self._paused = False
        self._queue: list[tuple[Link, Arrival]] = []
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._running: set[asyncio.Task[None]] = set()
        self._rate = Buckets(rate=2_000, burst=8_000)
        self._unproven = Buckets(rate=10_000, burst=20_000, keys=WAYS)
        self._complaints = Buckets(rate=10, burst=100)
        self._telling = Telling()
        self._outage = Outage("uplink.not-committed")
        self.counts = dict.fromkeys(
            ("records", "accepted", "again", "refused", "held", "dropped", "handshakes"), 0
        )

    def receive(
        self, link: Link, claimed: bytes, message: bytes, *, proven: bool = True, way: str = ""
    ) -> None:
        """Take one message from a socket; never raises and never waits.

        `proven`: the transport shows that the sender receives at its source address (streams do, datagrams do not). All
        that comes unproven by one `way` shares that way's limits, so that a flood there starves no other.
        """
        now = self._clock()
        # A source that anybody could have written gets no row in a table of ours.
        rate, source = (self._rate, link.source) if proven else (self._unproven, way)
        if not link.concentrator_id and not rate.take(source, now):
            self.counts["dropped"] += 1
            return
        arrival = Arrival(message, link.source, link.concentrator_id, claimed, now, proven, way)
        self._queue.append((link, arrival))
        self._wake.set()
        if len(self._queue) > WAITING and not self._paused:
            self._paused = True
            self._pause(True)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    await self._slots.acquire()
                    batch = list(islice(self._queue, BATCH))
                    del self._queue[: len(batch)]
                    if self._paused and len(self._queue) < WAITING // 2:
                        self._paused = False
                        self._pause(False)
                    self._spawn(self._take(batch))
        finally:
            for task in self._running:
                task.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(_guarded(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _take(self, batch: list[tuple[Link, Arrival]]) -> None:
        try:
            records = []
            for link, arrival in batch:
                if pipeline.is_handshake(arrival.message):
                    self.counts["handshakes"] += 1
                    self._spawn(self._shake(link, arrival))
                else:
                    records.append((link, arrival))
            if records:
                await self._records(records)
        except EngineError as error:
            # Nothing was acknowledged: the devices keep what they sent and send it again.
            self._outage.failed(error)
        finally:
            self._slots.release()

    async def _shake(self, link: Link, arrival: Arrival) -> None:
        try:
            refusals = await self._handshakes.take(link, arrival)
        except EngineError as error:
            log.warning("handshake.unfinished", code=error.code)
            return
        await self._refuse([(arrival, refusal) for refusal in refusals])

    async def _records(self, batch: list[tuple[Link, Arrival]]) -> None:
        self.counts["records"] += len(batch)
        judged: list[Judged] = []
        beyond: list[tuple[Arrival, Accepted]] = []
        try:
            proved = await self._prove(batch)
            # Asked for every batch anew: enrolling a module for a meter ends vouching for it at once.
            vouched = {
                device_id
                for *_, verdict in proved
                if isinstance(verdict, Proved) and verdict.header.vouched
                for device_id in pipeline.named_devices(verdict)
            }
            found = await self._topology.enrolments(vouched) if vouched else []
            enrolments = {one.device_id: one for one in found}
            for link, arrival, session, verdict in proved:
                if isinstance(verdict, Proved):
                    try:
                        verdict = _open(arrival, verdict, session, enrolments)
                    except Exception as error:  # noqa: BLE001 - one record must not cost the batch its acknowledgements
                        _defect(error, "uplink.unjudged")
                        continue
                if isinstance(verdict, Accepted) and not self._telling.takes(verdict, arrival.received_at):
                    self.counts["dropped"] += 1
                    beyond.append((arrival, verdict))
                    continue
                if isinstance(verdict, Accepted):
                    verdict = self._telling.clocks(verdict, arrival.received_at)
                judged.append((link, arrival, session, verdict))
            await self._answers(judged)
            await self._firmware(judged)
            await self._tell(judged, beyond)
            await self._commit(judged)
        except EngineError:
            self._telling.back(verdict for *_, verdict in judged if isinstance(verdict, Accepted))
            raise
        finally:
            await self._refuse(
                [
                    (arrival, verdict.refusal)
                    for _, arrival, _, verdict in judged
                    if isinstance(verdict, Refused | Again)
                ]
            )

    async def _answers(self, judged: list[Judged]) -> None:
        """Let frames that came alone find the words they answer; durable there before anything is committed here.

        What would be held for saying nothing else may be an answer that came before: its word is asked for though none
        is open.
        """
        asked = [
            (place, Answer(_device(verdict), verdict.answer))
            for place, (*_, verdict) in enumerate(judged)
            if isinstance(verdict, Accepted | Held)
            and verdict.answer
            and (isinstance(verdict, Held) or self.downlink.awaits(_device(verdict)))
        ]
        if not asked:
            return
        found = await self.downlink.answered([answer for _, answer in asked])
        for (place, _), good in zip(asked, found, strict=True):
            link, arrival, session, verdict = judged[place]
            if good and session is not None and isinstance(verdict, Accepted | Held):
                judged[place] = link, arrival, session, pipeline.as_answer(arrival, session.facts, verdict)

    async def _firmware(self, judged: list[Judged]) -> None:
        """Pass on what devices say of their firmware."""
        said = [
            FirmwareSaid(session.facts.device_id, session.facts.session_id, verdict.counter, verdict.content)
            for *_, session, verdict in judged
            if session is not None and isinstance(verdict, Spoken) and verdict.kind == FIRMWARE
        ]
        if said:
            await self.downlink.firmware(said)

    async def _prove(
        self, batch: list[tuple[Link, Arrival]]
    ) -> list[tuple[Link, Arrival, LiveSession | None, Proved | Verdict]]:
        """The steps up to the addresses, which may need the session from elsewhere."""
        proved = []
        for link, arrival in batch:
            try:
                proved.append((link, arrival, *await self._proved(arrival)))
            except EngineError:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                _defect(error, "uplink.unjudged")
        return proved

    async def _proved(self, arrival: Arrival) -> tuple[LiveSession | None, Proved | Verdict]:
        header = pipeline.read_header(arrival)
        if isinstance(header, Refused):
            return None, header
        session = await self.sessions.get(header.session_id, arrival.received_at)
        if session is None:
            return None, pipeline.no_session(arrival, header)
        return session, pipeline.prove(arrival, header, session.facts, session.keys, session.consumed)

    async def _commit(self, judged: list[Judged]) -> None:
        """Publish, and only then owe the answers; EngineError when nothing was committed."""
        for link, _, session, verdict in await self._published(judged):
            if session is not None:
                try:
                    self._answer(session, verdict, link)
                except MetersealError as error:
                    log.warning("uplink.unanswered", code=error.code, session=session.facts.session_id.hex())
        await self._delivery.flush()

    async def _published(self, judged: list[Judged]) -> list[Judged]:
        """Those of the batch that may be answered: all of it, once it is durable.

        What the platform refuses for another reason than being away is tried record by record, so that one that it
        cannot take holds up no other.
        """
        opened = tuple(verdict.opened for *_, verdict in judged if isinstance(verdict, Accepted))
        quarantined = tuple(verdict.quarantined for *_, verdict in judged if isinstance(verdict, Held))
        if not opened and not quarantined:
            return judged
        try:
            await self._publisher.publish(Batch(opened, quarantined))
        except MetersealError as error:
            if isinstance(error, EngineError) and error.code != FAULT:
                raise
            log.warning("uplink.batch-refused", code=error.code, records=len(opened) + len(quarantined))
            if len(opened) + len(quarantined) == 1:
                return [one for one in judged if not isinstance(one[-1], Accepted | Held)]
            return [one for each in judged for one in await self._published([each])]
        self._outage.over()
        return judged

    def _answer(self, session: LiveSession, verdict: Verdict, link: Link) -> None:
        if isinstance(verdict, Spoken) and verdict.kind == CLOSE:
            self.downlink.left(session)
        elif isinstance(verdict, Accepted | Held | Spoken):
            self.downlink.heard(session, link)
        if isinstance(verdict, Accepted):
            self.counts["accepted"] += 1
            self._delivery.acknowledge(session, verdict.opened.counter, link)
            session.consumed.add(verdict.opened.counter)
        elif isinstance(verdict, Held):
            self.counts["held"] += 1
            held = verdict.quarantined
            self._delivery.reject(session, held.counter, held.reject_class, link)
            session.rejected.add(held.counter, held.reject_class)
            session.consumed.add(held.counter)
        elif isinstance(verdict, Again):
            self.counts["again"] += 1
            self._delivery.repeat(session, verdict.counter, link)
        elif isinstance(verdict, Spoken) and verdict.kind == PING:
            self._delivery.time(session, verdict.counter, link)

    async def _tell(self, judged: list[Judged], beyond: list[tuple[Arrival, Accepted]]) -> None:
        """Write what meters raise the alarm about, before what they say is committed: told twice rather than never.

        Of what is `beyond` a meter's bound of the day nothing is committed, and once a day it is said.
        """
        accepted = [(arrival, verdict) for _, arrival, _, verdict in judged if isinstance(verdict, Accepted)]
        telling = self._telling
        alarms = [
            alarm
            for arrival, verdict in accepted
            for alarm in (*telling.of_itself(verdict, arrival.source), *telling.of_others(verdict))
        ]
        alarms += [line for arrival, verdict in beyond for line in telling.too_many(verdict, arrival.source)]
        if alarms:
            try:
                await self._audit.refused(alarms)
            except MetersealError as error:
                log.warning("audit.unwritten", code=error.code, entries=len(alarms))
                telling.unwritten(verdict for _, verdict in accepted)

    async def _refuse(self, refusals: list[tuple[Arrival, Refusal]]) -> None:
        """Write the audit entries; a flood from one source is counted, not written in full.

        All that comes unproven by one way is one source: whoever makes addresses up may not fill the trail.
        """
        self.counts["refused"] += len(refusals)
        kept = [
            entry
            for arrival, entry in refusals
            if self._complaints.take(arrival.source if arrival.proven else arrival.way, entry.at)
        ]
        if kept:
            try:
                await self._audit.refused(kept)
            except MetersealError as error:
                log.warning("audit.unwritten", code=error.code, entries=len(kept))


def _device(verdict: Accepted | Held) -> bytes:
    """Whose record it was."""
    return verdict.opened.device_id if isinstance(verdict, Accepted) else verdict.quarantined.device_id


def _open(
    arrival: Arrival, proved: Proved, session: LiveSession | None, enrolments: dict[bytes, Enrolment]
) -> Verdict:
    assert session is not None
    return pipeline.open_and_say(arrival, proved, session.facts, session.keys, enrolments)


async def _guarded(work: Coroutine[None, None, None]) -> None:
    """Nobody awaits this work: a defect in it is said here, and ends nothing else."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - the edge of a background task
        _defect(error, "uplink.defect")


def _defect(error: Exception, event: str) -> None:
    """The kind and place of a fault, or a code of ours; never an exception's text, which may quote a payload."""
    where, trace = "", error.__traceback__
    while trace is not None:
        where, trace = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}", trace.tb_next
    log.error(event, fault=getattr(error, "code", type(error).__name__), where=where)
