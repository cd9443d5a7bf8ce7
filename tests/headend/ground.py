"""A device with traffic keys of its own, a link that remembers what was sent, and memory twins of the head-end's ports."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from typing import Any

from msgspec import structs

from meterseal.errors import EngineError, TrustError
from meterseal.headend.pipeline import Arrival
from meterseal.headend.ports import Answer, Down, Enrolment, Reserved, StoredSession, Taken, Waiting
from meterseal.headend.rejected import Rejected
from meterseal.link import control, records
from meterseal.link.control import Word
from meterseal.link.counters import CounterSet
from meterseal.link.schedule import TrafficKeys
from meterseal.model import Batch, Opened, Quarantined, Refusal
from tests.wire import built

NOW = 1_795_000_000_000
WATER = bytes.fromhex("1078330011223344")
OTHER = bytes.fromhex("1078330011223355")
ELECTRIC = bytes.fromhex("d700000000000161")
MASTER = bytes.fromhex("f000000000000001")
MODULE = bytes.fromhex("0102030405060708")


def water(device_id: bytes = WATER, volume: int = 12_345, at: int = NOW) -> bytes:
    return built.current_data_answer(device_id, built.volume_payload(volume, 0, at)).encode()


class Device:
    """The sealing end of one session, and the session as the platform stored it."""

    def __init__(self, device_id: bytes = WATER, *, suite: int = 1, policy: int = 1) -> None:
        self.keys = TrafficKeys(*(os.urandom(size) for size in (16, 32, 16, 16, 32, 16)))
        self.facts = StoredSession(
            session_id=os.urandom(8),
            device_id=device_id,
            module_id=MODULE,
            suite=suite,
            wrapped=b"wrapped",
            policy=policy,
            records_allowed=1000,
            seconds_allowed=1000,
            created_at=NOW,
        )
        self.counter = 0

    def seal(self, *frames: bytes, counter: int | None = None, up: bool = True, **how: Any) -> bytes:
        self.counter = self.counter + 1 if counter is None else counter
        return records.seal_record(
            self.keys,
            self.facts.session_id,
            self.counter,
            frames or (water(self.facts.device_id),),
            up=up,
            **how,
        )

    def word(self, word: Word, counter: int | None = None) -> bytes:
        self.counter = self.counter + 1 if counter is None else counter
        return control.seal_control(self.keys, self.facts.session_id, self.counter, word, up=True)

    def raw(self, body: bytes, flags: int = records.WANTED) -> bytes:
        """Any body at all under a good tag, as a module in wrong hands could seal it."""
        self.counter += 1
        return records.finish(self.keys.towards(up=True), flags, self.facts.session_id, self.counter, body)

    def hear(self, record: bytes) -> Word:
        """The control word in a record that came down."""
        header = records.parse_header(record, up=False)
        assert header.session_id == self.facts.session_id
        assert records.check_tag(self.keys, record)
        return control.open_control(self.keys, header, record)


class Line:
    """A link that keeps what was sent over it."""

    def __init__(self, source: str = "192.0.2.1", concentrator_id: bytes = b"") -> None:
        self.source = source
        self.concentrator_id = concentrator_id
        self.sent: list[tuple[bytes, bytes]] = []

    def send(self, device_id: bytes, message: bytes) -> None:
        self.sent.append((device_id, message))

    def words(self, device: Device) -> list[Word]:
        """What this device heard; a link carries other devices' records too."""
        own = device.facts.session_id
        return [device.hear(message) for _, message in self.sent if message[4:12] == own]

    def acked(self, device: Device) -> set[int]:
        acks = [word for word in self.words(device) if word.kind == control.ACK]
        return {counter for word in acks for span in control.read_ack(word.content) for counter in span}


def arrival(message: bytes, claimed: bytes = b"", at: int = NOW) -> Arrival:
    return Arrival(message, "192.0.2.1", b"", claimed, at)


class Platform:
    """Sessions, enrolments, audit and commit of one platform in memory; `away` makes it unreachable."""

    def __init__(self, *devices: Device) -> None:
        self.stored = {device.facts.session_id: device.facts for device in devices}
        self.keys = {device.facts.session_id: device.keys for device in devices}
        self.enrolled: dict[bytes, Enrolment] = {}
        self.enrolments_asked = 0
        self.audit: list[Refusal] = []
        self.batches: list[Batch] = []
        self.poison: set[bytes] = set()
        self.waiting: dict[bytes, list[Down]] = {}
        self.heard_of = 0
        self.owners: dict[bytes, int] = {}
        self.takes: list[tuple[bytes, bool]] = []
        self.answers: list[Answer] = []
        self.expected: set[bytes] = set()
        self.away = False
        self.asked = 0

    def _here(self) -> None:
        self.asked += 1
        if self.away:
            raise EngineError("mesh.unreachable", "The platform does not answer.")

    async def put(self, session: StoredSession) -> None:
        self._here()
        self.stored.setdefault(session.session_id, session)

    async def get(self, session_id: bytes) -> StoredSession | None:
        self._here()
        return self.stored.get(session_id)

    async def latest(self, device_id: bytes) -> StoredSession | None:
        self._here()
        return next((one for one in self.stored.values() if one.device_id == device_id), None)

    async def reserve_down(self, session_id: bytes, count: int, epoch: int = 0) -> Reserved:
        self._here()
        known = self.stored[session_id]
        self.stored[session_id] = structs.replace(known, down_reserved=known.down_reserved + count)
        return Reserved(known.down_reserved + 1, epoch or 1)

    async def unwrap(self, session: StoredSession) -> TrafficKeys:
        return self.keys[session.session_id]

    async def enrolments(self, device_ids: Collection[bytes]) -> list[Enrolment]:
        self._here()
        self.enrolments_asked += 1
        return [self.enrolled[device_id] for device_id in device_ids if device_id in self.enrolled]

    async def wait(self, seen: int) -> Waiting:
        self._here()
        while seen == self.heard_of or not self.waiting:
            await asyncio.sleep(0.001)
        return Waiting(self.heard_of, list(self.waiting))

    async def take(self, device_id: bytes, session_id: bytes, epoch: int, *, anew: bool) -> Taken:
        self._here()
        if self.owners.get(session_id, epoch) != epoch:
            raise TrustError("link.owner", "Another head-end.")
        self.takes.append((device_id, anew))
        return Taken(self.waiting.pop(device_id, []))

    def queue(self, device_id: bytes, *words: Down) -> None:
        self.waiting.setdefault(device_id, []).extend(words)
        self.heard_of += 1

    async def answered(self, answers: list[Answer]) -> list[bool]:
        self._here()
        self.answers += answers
        return [answer.frame in self.expected for answer in answers]

    async def refused(self, refusals: list[Refusal]) -> None:
        self._here()
        self.audit += refusals

    async def publish(self, batch: Batch) -> None:
        self._here()
        if any(one.digest in self.poison for one in batch.opened):
            raise EngineError("mesh.internal", "The other process met a fault of its own.")
        self.batches.append(batch)
        told: tuple[Opened | Quarantined, ...] = (*batch.opened, *batch.quarantined)
        for one in told:
            known = self.stored[one.session_id]
            consumed, rejected = CounterSet.from_bytes(known.consumed), Rejected(known.rejected)
            if consumed.add(one.counter) and isinstance(one, Quarantined):
                rejected.add(one.counter, one.reject_class)
            self.stored[one.session_id] = structs.replace(
                known, consumed=consumed.to_bytes(), rejected=rejected.to_store()
            )

    @property
    def committed(self) -> list[int]:
        return [one.counter for batch in self.batches for one in batch.opened]
