"""What every bus adapter promises a head-end: answered means committed, and errors arrive as they were
raised."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from meterseal.bus import local
from meterseal.bus.local import LocalBus
from meterseal.bus.memory import MemoryBus
from meterseal.bus.port import Publisher
from meterseal.errors import ConsentError, EngineError
from meterseal.mesh.method import InProcess
from meterseal.model import Batch, Evidence, Opened, Quarantined, Series, Status

Consumer = Callable[[Batch], Awaitable[None]]


def make_local(consumer: Consumer) -> Publisher:
    return LocalBus(InProcess(local.methods(MemoryBus(consumer)), "headend"))


ADAPTERS: dict[str, Callable[[Consumer], Publisher]] = {"memory": MemoryBus, "local": make_local}

BATCH = Batch(
    opened=(
        Opened(
            session_id=b"s" * 8,
            counter=2**48 - 1,
            device_id=b"d" * 8,
            module_id=b"m" * 8,
            suite=1,
            origin="vouched",
            received_at=1_793_462_400_000,
            digest=b"x" * 32,
            series=(Series(b"d" * 8, 1, "m3", -2, 1_793_462_400_000, 3_600_000, (1, None, -3)),),
            statuses=(Status(b"d" * 8, 1, "open", True, "0004"),),
            evidence=(Evidence(b"d" * 8, b"t" * 65, b"g" * 64),),
        ),
    ),
    quarantined=(Quarantined(b"s" * 8, 7, b"d" * 8, 5, 1, "wire.checksum", b"\xff\x00"),),
)


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> Callable[[Consumer], Publisher]:
    return ADAPTERS[request.param]


async def test_answers_only_after_the_commit(adapter: Callable[[Consumer], Publisher]) -> None:
    committed = asyncio.Event()

    async def consumer(_: Batch) -> None:
        await committed.wait()

    sending = asyncio.ensure_future(adapter(consumer).publish(BATCH))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not sending.done()
    committed.set()
    await sending


async def test_the_batch_arrives_as_it_was(adapter: Callable[[Consumer], Publisher]) -> None:
    arrived: list[Batch] = []

    async def consumer(batch: Batch) -> None:
        arrived.append(batch)

    await adapter(consumer).publish(BATCH)
    await adapter(consumer).publish(Batch())
    assert arrived == [BATCH, Batch()]


async def test_a_failed_commit_reaches_the_publisher_and_the_bus_goes_on(
    adapter: Callable[[Consumer], Publisher],
) -> None:
    full = True

    async def consumer(_: Batch) -> None:
        if full:
            raise EngineError("mdms.full", "The disk is full. Free some space.")

    bus = adapter(consumer)
    with pytest.raises(EngineError) as caught:
        await bus.publish(BATCH)
    assert (caught.value.code, caught.value.retryable) == ("mdms.full", True)
    full = False
    await bus.publish(BATCH)


async def test_batches_do_not_wait_for_each_other(adapter: Callable[[Consumer], Publisher]) -> None:
    waiting = 0
    together = asyncio.Event()

    async def consumer(_: Batch) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 5:
            together.set()
        await together.wait()

    bus = adapter(consumer)
    await asyncio.wait_for(asyncio.gather(*(bus.publish(BATCH) for _ in range(5))), 5)


async def test_only_a_head_end_may_publish() -> None:
    arrived: list[Batch] = []

    async def consumer(batch: Batch) -> None:
        arrived.append(batch)

    for caller in ("web", "keys", "operator", "platform"):
        bus = LocalBus(InProcess(local.methods(MemoryBus(consumer)), caller))
        with pytest.raises(ConsentError):
            await bus.publish(BATCH)
    assert arrived == []


async def test_a_closed_bus_refuses() -> None:
    arrived: list[Batch] = []

    async def consumer(batch: Batch) -> None:
        arrived.append(batch)

    bus = MemoryBus(consumer)
    bus.close()
    with pytest.raises(EngineError):
        await bus.publish(BATCH)
    assert arrived == []
