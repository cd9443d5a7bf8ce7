"""Many modules withdrawn by one order of two officers: all that it names and nobody else, at once and for good."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import pytest
from msgspec import structs

from meterseal.errors import LocalError, MetersealError, TrustError
from meterseal.security import orders as o
from meterseal.security.papers import WithdrawModules
from meterseal.security.registry import Issued

from .conftest import Bench, Module
from .people import Person, fields, founded, operator, ordered


def asked(modules: Sequence[Module], **other: object) -> WithdrawModules:
    plain = WithdrawModules(
        **fields(),  # type: ignore[arg-type]
        module_ids=tuple(one.module_id for one in modules),
        reason="a van with them was stolen",
    )
    return structs.replace(plain, **other)


async def withdrawn(bench: Bench, order: WithdrawModules, people: Sequence[Person]) -> o.Done:
    return await operator(bench).submit(ordered("withdraw-modules", order, people))


async def test_one_order_takes_many_modules_out_of_service_and_leaves_the_others(bench: Bench) -> None:
    many = [await bench.module(number, 1 + number % 2) for number in range(1, 7)]
    kept = await bench.module(9)
    people = await founded(bench)
    run = many[0].run()
    begun = await bench.headend.hello(run.hello(bench.clock.now))
    done = await withdrawn(bench, asked(many), people)
    assert json.loads(done.facts) == {"withdrawn": 6, "before": 0, "unknown": []}
    with pytest.raises(TrustError) as half_open:
        await bench.headend.device(begun.session_id, run.platform(begun.message, bench.clock.now))
    assert half_open.value.code == "link.no-run"
    for again in (False, True):
        bench = bench.restarted() if again else bench
        for module in many:
            with pytest.raises(TrustError) as caught:
                await bench.headend.hello(module.run().hello(bench.clock.now))
            assert caught.value.code == "link.withdrawn"
        await bench.shake(kept)
    gone = await bench.headend.revoked_since(0)
    assert {one.module_id for one in gone} == {one.module_id for one in many}
    assert [one.sequence for one in gone] == [1, 2, 3, 4, 5, 6]
    from cryptography import x509

    assert many[1].given is not None
    serial = x509.load_der_x509_certificate(many[1].given.chain[0]).serial_number
    listed = x509.load_der_x509_crl((await bench.platform.anchors()).lists[2])
    assert many[1].suite == 1 or listed.get_revoked_certificate_by_serial_number(serial) is not None
    said = [one.entry for one in await bench.platform.audit(limit=1000)]
    each = [one for one in said if one.code == "security.withdrawn"]
    assert [(one.module_id, one.officers) for one in each] == [(one.module_id, ("an", "bo")) for one in many]
    assert all("stolen" in one.sentence for one in each)


async def test_one_officer_alone_or_twice_and_the_wrong_role(bench: Bench) -> None:
    module = await bench.module(1)
    an, bo, cy = people = (Person("an"), Person("bo"), Person("cy", ("command",)))
    await founded(bench, *people)
    for signers, code in (
        ([an], "security.two-persons"),
        ([an, an], "security.two-persons"),
        ([an, cy], "security.role"),
    ):
        with pytest.raises(TrustError) as caught:
            await withdrawn(bench, asked([module]), signers)
        assert caught.value.code == code
    await bench.shake(module)
    once = asked([module])
    await withdrawn(bench, once, [an, bo])
    with pytest.raises(TrustError) as caught:
        await withdrawn(bench, once, [an, bo])
    assert caught.value.code == "security.replayed"


@pytest.mark.parametrize(
    "other",
    [
        {"module_ids": ()},
        {"module_ids": (b"12345678", b"12345678")},
        {"module_ids": (b"1234567",)},
        {"module_ids": tuple(number.to_bytes(8) for number in range(5001))},
        {"reason": ""},
        {"reason": "x" * 201},
    ],
    ids=["nobody", "one twice", "no id", "too many", "no reason", "an endless one"],
)
async def test_an_order_that_is_none(bench: Bench, other: dict[str, object]) -> None:
    module = await bench.module(1)
    people = await founded(bench)
    with pytest.raises(LocalError) as caught:
        await withdrawn(bench, asked([module], **other), people)
    assert caught.value.code == "security.request"
    await bench.shake(module)


async def test_what_is_withdrawn_already_or_nobodys_stops_the_order_for_nobody_else(bench: Bench) -> None:
    first, second, stranger = await bench.module(1), await bench.module(2), Module(9)
    people = await founded(bench)
    await bench.platform.withdraw(first.device_id, first.module_id)
    done = await withdrawn(bench, asked([first, stranger, second]), people)
    assert json.loads(done.facts) == {"withdrawn": 1, "before": 1, "unknown": [stranger.module_id.hex()]}
    assert "1 are none of this system's" in done.sentence
    assert len(await bench.headend.revoked_since(0)) == 2
    with pytest.raises(TrustError):
        await bench.headend.hello(second.run().hello(bench.clock.now))


async def test_a_crash_in_the_middle_leaves_all_or_none_withdrawn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [await bench.module(number) for number in range(1, 5)]
    people = await founded(bench)
    registry = bench.service.room.registry
    third = registry.module(many[2].module_id)
    assert third is not None
    monkeypatch.setitem(registry._modules, third.module_id, structs.replace(third, module_id=object()))  # type: ignore[arg-type]
    with pytest.raises((MetersealError, TypeError)):
        await withdrawn(bench, asked(many), people)
    monkeypatch.undo()
    assert await bench.headend.revoked_since(0) == ()
    for module in many:
        await bench.shake(module)
    bench = bench.restarted()
    await bench.shake(many[0])


async def test_each_of_very_many_is_in_the_log(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store takes so many writes for one commit and drops what is beyond: the entries are written in portions."""
    monkeypatch.setattr("meterseal.security.store._MOST_PENDING", 8)
    monkeypatch.setattr("meterseal.security.desk.NOTED_AT_ONCE", 4)
    many = [await bench.module(number, 2) for number in range(1, 21)]
    people = await founded(bench)
    change = o.ZoneChange(
        **fields(),  # type: ignore[arg-type]
        zone="north",
        device_ids=tuple(one.device_id for one in many),
        reason="a new feeder",
    )
    await operator(bench).submit(ordered("zone", change, people))
    await withdrawn(bench, asked(many), people)
    codes = [one.entry.code for one in await bench.platform.audit(limit=1000)]
    assert codes.count("security.zone-set") == codes.count("security.withdrawn") == 20


async def test_the_largest_order_costs_as_much_for_each_module_as_a_small_one(bench: Bench) -> None:
    """Nobody is answered meanwhile. They are written into the registry as enrolled, without their personalisation."""
    room, people = bench.service.room, await founded(bench)
    alive = await bench.module(1)
    known = room.registry.of_device(alive.device_id)
    assert known is not None
    many = [Module(number, 2) for number in range(10, 5510)]
    rows = [
        structs.replace(known, device_id=one.device_id, module_id=one.module_id, suite=2, leaf=b"", until=0)
        for one in many
    ]
    room.registry.enrol(rows, list[Issued]())
    costs = []
    for some in (many[:500], many[500:]):
        before = time.process_time()
        done = await withdrawn(bench, asked(some), people)
        costs.append((time.process_time() - before) / len(some))
        assert json.loads(done.facts)["withdrawn"] == len(some)
    assert costs[1] < 4 * costs[0]
    assert room.registry.count() == 1
    assert len(await bench.headend.revoked_since(5490)) == 10
    await bench.shake(alive)
