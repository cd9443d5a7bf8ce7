"""A batch is enrolled whole or not at all although other calls are answered between its modules."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from meterseal.crypto.certificates import parse
from meterseal.errors import TrustError
from meterseal.security.hierarchy import renew_diak
from meterseal.security.messages import Personalisation, PersonaliseRequest

from .conftest import Bench, Module


def requests(modules: list[Module]) -> list[PersonaliseRequest]:
    return [module.request for module in modules]


async def part_way(bench: Bench, modules: list[Module]) -> asyncio.Task[list[Personalisation]]:
    """A batch that is under way: some of its certificates are made, none of its modules is enrolled."""
    batch = asyncio.create_task(bench.platform.personalise_batch(requests(modules)))
    for _ in range(12):
        await asyncio.sleep(0)
    assert not batch.done()
    assert bench.service.room.registry.module(modules[-1].module_id) is None
    return batch


async def test_a_handshake_is_answered_while_a_batch_is_made(bench: Bench) -> None:
    first = await bench.module(1)
    batch = await part_way(bench, [Module(number) for number in range(2, 42)])
    await bench.shake(first)
    assert not batch.done()
    assert len(await batch) == 40


async def test_of_two_batches_that_want_one_device_one_is_enrolled_whole_and_one_not_at_all(
    bench: Bench,
) -> None:
    one = [Module(number) for number in range(1, 21)]
    other = [Module(number) for number in range(101, 121)]
    other[10].device_id = one[10].device_id
    results = await asyncio.gather(
        *(bench.platform.personalise_batch(requests(batch)) for batch in (one, other)), return_exceptions=True
    )
    (refused,) = [result for result in results if isinstance(result, BaseException)]
    assert isinstance(refused, TrustError)
    assert refused.code == "security.device-bound"
    assert bench.service.room.registry.count() == 20
    assert (await bench.restarted().platform.usage()).modules == 20


async def test_the_same_batch_twice_at_once_gives_each_module_one_certificate(bench: Bench) -> None:
    modules = [Module(number) for number in range(1, 21)]
    first, second = await asyncio.gather(
        *(bench.platform.personalise_batch(requests(modules)) for _ in range(2))
    )
    assert [one.chain for one in first] == [one.chain for one in second]
    for module, answer in zip(modules, second, strict=True):
        module.take(answer)
        await bench.shake(module)
    rows = bench.service.room.registry.store.rows("SELECT count(*) FROM certificate WHERE issuer = 'device'")
    assert rows == [(20,)]


async def test_a_module_that_was_bound_meanwhile_refuses_the_whole_batch(bench: Bench) -> None:
    modules = [Module(number) for number in range(1, 31)]
    batch = await part_way(bench, modules)
    thief = Module(99)
    thief.device_id = modules[0].device_id
    await bench.platform.personalise(thief.device_id, thief.module_id, 1, thief.key.public_point)
    with pytest.raises(TrustError) as caught:
        await batch
    assert caught.value.code == "security.device-bound"
    assert bench.service.room.registry.count() == 1


async def test_a_module_that_was_withdrawn_meanwhile_gets_no_new_envelope(bench: Bench) -> None:
    first = await bench.module(1)
    batch = await part_way(bench, [first, *(Module(number) for number in range(2, 32))])
    await bench.platform.withdraw(first.device_id, first.module_id)
    with pytest.raises(TrustError) as caught:
        await batch
    assert caught.value.code == "security.module-bound"
    assert bench.service.room.registry.count() == 0


async def test_modules_get_the_key_version_that_is_in_force_when_they_are_enrolled(bench: Bench) -> None:
    modules = [Module(number) for number in range(1, 31)]
    batch = await part_way(bench, modules)
    version = renew_diak(bench.service.room.keys)
    answers = await batch
    assert {answer.key_version for answer in answers} == {version} == {2}
    for module, answer in zip(modules, answers, strict=True):
        module.take(answer)
        stored = bench.service.room.registry.module(module.module_id)
        assert stored is not None
        assert (stored.key_version, stored.leaf) == (2, answer.chain[0])
    await bench.shake(modules[0])


async def test_a_caller_that_goes_away_part_way_leaves_nothing_enrolled(bench: Bench) -> None:
    modules = [Module(number) for number in range(1, 31)]
    batch = await part_way(bench, modules)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert bench.service.room.registry.count() == 0
    answers = await bench.platform.personalise_batch(requests(modules))
    assert len({parse(answer.chain[0]).serial for answer in answers}) == 30


async def test_a_batch_that_is_refused_costs_no_use_of_a_key(bench: Bench) -> None:
    taken = await bench.module(1)
    room = bench.service.room

    def used() -> list[int]:
        return [
            facts.used
            for vault in (room.keys, room.authorities)
            for facts in vault.all_facts()
            if facts.id != "AUDIT"
        ]

    before = used()
    with pytest.raises(TrustError):
        await bench.platform.personalise_batch(
            [*requests([Module(number) for number in range(2, 9)]), structs.replace(taken.request, suite=2)]
        )
    assert used() == before
