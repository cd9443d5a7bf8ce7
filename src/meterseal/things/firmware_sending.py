"""What is said to devices about firmware: the manifest, blocks in bursts, and that a new image was seen; beside the queue.

It is the head-ends' port of words, with the queue inside: orders to switch are words of the queue like any other. Offers
and blocks are none. A device says what it lacks and gets some of that, so nothing of it needs to be kept: whatever process
stops, and whatever is lost, the next report goes on from what the device has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from meterseal.errors import MetersealError
from meterseal.headend.limits import Buckets
from meterseal.headend.ports import Answer, AuditTrail, Down, FirmwareSaid, Taken, Waiting
from meterseal.link import firmware
from meterseal.link.control import Word
from meterseal.link.firmware import REPORT_NOW, Phase, Reason, Report
from meterseal.model import Refusal
from meterseal.things.firmware import Firmwares
from meterseal.things.firmware_campaigns import FELL_BACK, Campaigns
from meterseal.things.words import DownWords

BURST = 4
"""Blocks that are given at once; a concentrator holds them for a slow bus."""
PAUSE = 300_000
"""Milliseconds after which something is said again to a device that does not answer."""
SOON = 10_000
"""The same for an offer to a device that speaks and has not taken it."""
TURN = 5.0
"""Seconds between looks at the campaigns."""
NUDGED = 500
"""Most devices whose head-ends are reminded of them in one answer."""
FALLS_A_DAY = 16
"""Entries in the audit trail about one device that says again and again that it fell back."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Flow:
    """What was said to a device lately (Unix ms), and whether a report of it waits for an answer. `offered` is the digest
    of the manifest offered last, `heard` counts reports since that one was offered first.
    """

    offered_at: int = 0
    burst_at: int = 0
    owed: bool = False
    offered: bytes = b""
    heard: int = 0

    def due(self, now: int) -> bool:
        return now - max(self.offered_at, self.burst_at) >= PAUSE


class FirmwareWords:
    """The queue of words, and firmware beside it. Coroutines belong to one event loop."""

    def __init__(
        self,
        words: DownWords,
        firmwares: Firmwares,
        campaigns: Campaigns,
        audit: AuditTrail,
        clock: Callable[[], int],
    ) -> None:
        self._words = words
        self._firmwares = firmwares
        self._campaigns = campaigns
        self._audit = audit
        self._clock = clock
        self._flows: dict[bytes, _Flow] = {}
        self._falls = Buckets(rate=FALLS_A_DAY / 86_400, burst=FALLS_A_DAY)
        self._news = asyncio.Event()
        self._nudged: set[bytes] = set()

    def begun(self) -> None:
        """Devices are to be given something: head-ends hear of it at once."""
        self._news.set()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Carry campaigns on, and say that the list of releases is the newest; a failure is logged and tried again."""
        while True:
            try:
                self.step()
            except MetersealError as error:
                log.warning("firmware.failed", code=error.code)
            except Exception:  # a defect ends this turn, not the campaigns, and is said in full
                log.exception("firmware.defect")
            await asyncio.sleep(TURN)

    def step(self) -> None:
        """One turn of that. EngineError, TrustError `firmware.repository`."""
        now = self._clock()
        self._campaigns.step()
        waiting = set(self._campaigns.all_sending(NUDGED))
        if waiting - self._nudged:
            self.begun()
        self._nudged = waiting
        self._firmwares.repository.refresh(now)

    # --- the head-ends' port --------------------------------------------------------------------------------

    async def wait(self, seen: int) -> Waiting:
        """As the queue's; devices that are to be given an image and were not spoken to lately are among them."""
        queue = asyncio.ensure_future(self._words.wait(seen))
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({queue, news}, return_when=asyncio.FIRST_COMPLETED)
            found = await queue if queue.done() else Waiting(seen, [])
        finally:
            for one in (queue, news):
                one.cancel()
        now = self._clock()
        idle = [
            device_id
            for device_id in self._campaigns.all_sending(NUDGED)
            if self._flows.get(device_id, _Flow()).due(now)
        ]
        return Waiting(found.seen, list(dict.fromkeys([*found.devices, *idle])), found.more)

    async def take(self, device_id: bytes, session_id: bytes, epoch: int, *, anew: bool) -> Taken:
        """As the queue's, and what is due about firmware behind it."""
        taken = await self._words.take(device_id, session_id, epoch, anew=anew)
        try:
            said, again = await self._due(device_id, session_id, anew=anew)
        except MetersealError as error:
            log.warning("firmware.unsaid", code=error.code)
            return taken
        given = [Down(kind="firmware", content=word.content) for word in said]
        due = [at for at in (taken.next_at, again) if at]
        return Taken([*taken.words, *given], min(due, default=0))

    async def answered(self, frames: list[Answer]) -> list[bool]:
        """As the queue's."""
        return await self._words.answered(frames)

    async def firmware(self, said: list[FirmwareSaid]) -> None:
        """Take note of reports; one that is no newer than what is known, or that cannot be read, changes nothing."""
        fell_back = []
        for one, noted in zip(said, self._firmwares.note(said), strict=True):
            if noted is None:
                continue
            report, before = noted
            flow = self._flows.setdefault(one.device_id, _Flow())
            # A device says its last reason in every report, so in one that was under way when the offer was said.
            old = flow.heard == 0 and before is not None and before.reason == report.reason
            self._campaigns.moved(one.device_id, report, offered=b"" if old else flow.offered)
            flow.heard += 1
            flow.owed = True
            news = report.reason in FELL_BACK and (before is None or before.reason != report.reason)
            if news and self._falls.take(one.device_id, self._clock()):
                fell_back.append(self._fell_back(one, report))
        if fell_back:
            await self._audit.refused(fell_back)

    # --- what is due ----------------------------------------------------------------------------------------

    async def _due(self, device_id: bytes, session_id: bytes, *, anew: bool) -> tuple[list[Word], int]:
        """Words for a device now, and when to look again (0: when it speaks)."""
        now = self._clock()
        job = self._campaigns.sending(device_id)
        known = self._firmwares.said(device_id)
        flow = self._flows.get(device_id)
        if job is None:
            if flow is None or known is None or not flow.owed:
                return [], 0
            if known[1].session_id == session_id:
                del self._flows[device_id]
                return [firmware.seen(known[0].running, known[1].counter)], 0
            return [], 0
        flow = self._flows.setdefault(device_id, _Flow())
        owed, flow.owed = flow.owed, False
        image, digest = job
        if known is not None and known[0].staged == digest and known[0].phase is Phase.RECEIVING:
            if not (owed or anew or flow.due(now)):
                return [], now + PAUSE
            flow.burst_at = now
            return await self._burst(image, known[0]), now + PAUSE
        if now - flow.offered_at < (SOON if owed or anew else PAUSE):
            return [], now + SOON
        payload = await self._firmwares.payload(image)
        if payload.digest != digest:  # released again since: the officers ordered another manifest
            return [], now + PAUSE
        if flow.offered != digest:
            flow.offered, flow.heard = digest, 0
        flow.offered_at = now
        return [firmware.offer(payload.signed)], now + PAUSE

    async def _burst(self, image: str, report: Report) -> list[Word]:
        payload = await self._firmwares.payload(image)
        if payload.digest != report.staged or report.blocks != len(payload.blocks):
            return []
        some = firmware.missing_of(report.missing, report.blocks)[:BURST]
        return [
            firmware.block(
                payload.digest, index, payload.blocks, payload.leaves, REPORT_NOW if index == some[-1] else 0
            )
            for index in some
        ]

    def _fell_back(self, said: FirmwareSaid, report: Report) -> Refusal:
        why = "did not start" if report.reason is Reason.NO_START else "was not seen by the platform in time"
        return Refusal(
            at=self._clock(),
            code="firmware.fell-back",
            sentence=f"New firmware {why}, and the meter runs version {report.version} again. Look at the image before "
            "more meters get it.",
            device_id=said.device_id,
            session_id=said.session_id,
            counter=said.counter,
        )
