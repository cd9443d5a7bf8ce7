"""Two officers where a supply is cut or given, and orders for many devices: what a platform makes of neither."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from meterseal.errors import LocalError, MetersealError, TrustError
from meterseal.link import commands
from meterseal.link.acts import COMMANDS
from meterseal.security import commanding
from meterseal.security import orders as o
from meterseal.security.enrolled import DEFAULT_ZONE
from meterseal.wire.frame import parse_frame

from .conftest import NOW, Bench, Module
from .people import HOUR, Person, fields, founded, ordered
from .test_commanding import frame, order, refused, signed, zoned

CLOSE, DAY = b"\x17\xa0\x01\x99", b"\x11\xa0\x01\x0f"


def bulk(
    modules: list[Module], act: str = "settlement-day", data: bytes = DAY, **other: object
) -> o.BulkOrder:
    part = o.BulkPart(
        zone=DEFAULT_ZONE, control=4, data=data, device_ids=tuple(module.device_id for module in modules)
    )
    plain = o.BulkOrder(**fields(), act=act, reason="a new tariff year", parts=(part,))  # type: ignore[arg-type]
    return structs.replace(plain, **other)


def by(asked: o.BulkOrder, *people: Person) -> tuple[bytes, tuple[o.OfficerSignature, ...]]:
    raw = o.encoded(asked)
    return raw, tuple(person.sign("command-bulk", raw) for person in people)


def ids(modules: list[Module]) -> tuple[bytes, ...]:
    return tuple(module.device_id for module in modules)


async def limits(bench: Bench, people: tuple[Person, ...], **other: int) -> None:
    plain: dict[str, Any] = {"signatures": 1, "per_zone_minute": 60, "per_minute": 600}
    await bench.platform.submit(
        ordered("command-policy", o.CommandPolicyChange(**fields(), **{**plain, **other}), people)  # type: ignore[arg-type]
    )


async def code_of(call: Any) -> str:
    with pytest.raises(MetersealError) as caught:
        await call
    return caught.value.code


# --- two officers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        CLOSE,
        b"\x17\xa0\x01\x55",
        b"\x17\xa0\x01\x11",
        b"\xa0\x17\x01\x99",
        b"\x16\xa0\x01" + bytes(5),
        b"\xff\xff\x01",
    ],
    ids=["close", "open", "another form", "high first", "register", "vendor"],
)
async def test_one_officer_alone_moves_no_valve_and_sends_nothing_unknown(bench: Bench, data: bytes) -> None:
    module = await bench.module(1)
    an, bo = await founded(bench)
    asked = order(module, frame=frame(module.device_id, data=data))
    await refused(bench, signed(asked, an), "security.two-persons")
    await refused(bench, signed(asked, an, an), "security.two-persons")
    assert (await bench.platform.authorise_command(*signed(asked, an, bo))).number == 1


async def test_the_limit_on_supplies_is_narrower_than_the_zones(bench: Bench) -> None:
    module = await bench.module(1)
    people = await founded(bench)
    await limits(bench, people, supply_per_zone_minute=2)
    closing = [order(module, frame=frame(module.device_id, data=CLOSE)) for _ in range(3)]
    for one in closing[:2]:
        await bench.platform.authorise_command(*signed(one, *people))
    await refused(bench, signed(closing[2], *people), "security.command-limit")
    await bench.platform.authorise_command(*signed(order(module), people[0]))
    room = await bench.platform.command_room(ids([module, Module(9)]))
    assert room.zones_of == (DEFAULT_ZONE, "")
    assert (room.granted, room.policy.supply_per_zone_minute) == (3, 2)
    assert [(one.zone, one.granted, one.supply) for one in room.zones] == [(DEFAULT_ZONE, 3, 2)]
    assert room.next_minute_at == (NOW // 60_000 + 1) * 60_000
    bench.clock.now += 60_000
    await bench.platform.authorise_command(*signed(closing[2], *people))


async def test_valves_of_plain_meters_count_in_the_zone_of_their_concentrator(bench: Bench) -> None:
    concentrator = await bench.module(1, device_id=bytes.fromhex("f000000000000001"))
    people = await founded(bench)
    await limits(bench, people, supply_per_zone_minute=2)
    closing = [
        order(concentrator, frame=frame(bytes.fromhex(f"10783300000000{end:02d}"), data=CLOSE))
        for end in range(3)
    ]
    for one in closing[:2]:
        await bench.platform.authorise_command(*signed(one, *people))
    await refused(bench, signed(closing[2], *people), "security.command-limit")


# --- many devices ---------------------------------------------------------------------------------------


async def test_each_module_obeys_its_own_authorisation_and_no_other(bench: Bench) -> None:
    modules = [await bench.module(number) for number in (1, 2, 3)]
    an, _ = await founded(bench)
    raw, made = by(bulk(modules), an)
    given = await bench.platform.authorise_bulk(raw, made, ids(modules))
    assert given.officers == ("an",)
    for module, grant in zip(modules, given.grants, strict=True):
        assert grant.authorised is not None
        wanted = frame(module.device_id, data=DAY)
        assert (grant.authorised.frame, grant.authorised.number) == (wanted, 1)
        assert parse_frame(wanted)[0].device_id == module.device_id
        key = module.k_bound.diversify(b"CMND0001", "K_cmnd")
        until = grant.authorised.not_after
        assert grant.authorised.authorisation == commands.authorise(key, module.device_id, 1, until, wanted)
    entries = [one.entry for one in await bench.platform.audit(limit=1000)]
    said = [one for one in entries if one.code == "security.command-authorised"]
    assert [(one.device_id, one.officers) for one in said] == [(one.device_id, ("an",)) for one in modules]
    assert all("a new tariff year" in one.sentence for one in said)


async def test_asked_again_it_gives_the_same_numbers_and_counts_nothing_twice(bench: Bench) -> None:
    modules = [await bench.module(number) for number in (1, 2)]
    an, _ = await founded(bench)
    raw, made = by(bulk(modules), an)
    first = await bench.platform.authorise_bulk(raw, made, ids(modules))
    again = bench.restarted()
    assert await again.platform.authorise_bulk(raw, made, ids(modules)) == first
    assert (await again.platform.command_room()).granted == 2
    said = [one.entry for one in await again.platform.audit(limit=1000)]
    assert sum(one.code == "security.command-authorised" for one in said) == 2


async def test_a_device_that_the_officers_did_not_name_gets_nothing(bench: Bench) -> None:
    named, other = await bench.module(1), await bench.module(2)
    an, _ = await founded(bench)
    raw, made = by(bulk([named]), an)
    grant, missing = (await bench.platform.authorise_bulk(raw, made, (other.device_id, b"x"))).grants
    assert (grant.authorised, grant.code) == (None, "security.command")
    assert missing.code == "security.command"


async def test_an_order_that_the_platform_changed_after_the_signatures(bench: Bench) -> None:
    named, other = await bench.module(1), await bench.module(2)
    an, bo = await founded(bench)
    asked = bulk([named])
    _, made = by(asked, an, bo)
    (part,) = asked.parts
    for change in (
        {"parts": (structs.replace(part, device_ids=ids([named, other])),)},
        {"parts": (structs.replace(part, data=b"\x11\xa0\x01\x10"),)},
        {"act": "reading-day"},
        {"not_after": asked.not_after + 1},
        {"reason": "another"},
    ):
        raw = o.encoded(structs.replace(asked, **change))
        assert await code_of(bench.platform.authorise_bulk(raw, made, ids([named]))) == "security.signature"
    single = o.encoded(order(named))
    assert await code_of(bench.platform.authorise_command(single, made)) == "security.signature"


async def test_a_bulk_closing_of_valves_takes_two_officers_and_stops_at_its_ceiling(bench: Bench) -> None:
    modules = [await bench.module(number) for number in (1, 2, 3)]
    people = await founded(bench)
    raw, made = by(bulk(modules, "valve-close", CLOSE), people[0])
    assert await code_of(bench.platform.authorise_bulk(raw, made)) == "security.two-persons"
    await limits(bench, people, supply_bulk=2)
    raw, made = by(bulk(modules, "valve-close", CLOSE), *people)
    assert await code_of(bench.platform.authorise_bulk(raw, made)) == "security.bulk"
    raw, made = by(bulk(modules[:2], "valve-close", CLOSE), *people)
    given = await bench.platform.authorise_bulk(raw, made, ids(modules[:2]))
    assert all(grant.authorised is not None for grant in given.grants)


async def test_the_ceiling_of_a_row_holds_whatever_officers_set(bench: Bench) -> None:
    people = await founded(bench)
    await limits(bench, people, supply_bulk=5000)
    many = [Module(number) for number in range(1, COMMANDS["valve-close"].bulk + 2)]
    raw, made = by(bulk(many, "valve-close", CLOSE), *people)
    assert await code_of(bench.platform.authorise_bulk(raw, made)) == "security.bulk"


@pytest.mark.parametrize(
    ("act", "data"),
    [
        ("settlement-day", CLOSE),
        ("reading-day", DAY),
        ("settlement-day", b"\x11\xa0\x01"),
        ("settlement-day", b""),
    ],
)
async def test_frames_that_do_something_else_than_the_order_says(bench: Bench, act: str, data: bytes) -> None:
    module = await bench.module(1)
    people = await founded(bench)
    raw, made = by(bulk([module], act, data), *people)
    (grant,) = (await bench.platform.authorise_bulk(raw, made, ids([module]))).grants
    assert (grant.authorised, grant.code) == (None, "security.command")


@pytest.mark.parametrize("act", ["read", "write", "purchase", "address", "fly", ""])
async def test_what_no_bulk_order_may_say(bench: Bench, act: str) -> None:
    module = await bench.module(1)
    people = await founded(bench)
    raw, made = by(bulk([module], act), *people)
    assert await code_of(bench.platform.authorise_bulk(raw, made)) == "security.bulk"


async def test_orders_that_name_no_device_or_one_twice_or_no_reason(bench: Bench) -> None:
    module = await bench.module(1)
    people = await founded(bench)
    for asked in (bulk([]), bulk([module, module]), bulk([module], reason="")):
        assert await code_of(bench.platform.authorise_bulk(*by(asked, *people))) == "security.command"
    raw, made = by(bulk([module], project_id=bytes(16)), *people)
    assert await code_of(bench.platform.authorise_bulk(raw, made)) == "security.project"
    raw, made = by(bulk([module]), *people)
    too_many = [module.device_id] * (commanding.AT_ONCE + 1)
    assert await code_of(bench.platform.authorise_bulk(raw, made, too_many)) == "security.command"
    bench.clock.now += HOUR + 1
    assert await code_of(bench.platform.authorise_bulk(raw, made)) == "security.expired"


async def test_limits_and_zones_hold_for_each_device_of_a_bulk_order(bench: Bench) -> None:
    modules = [await bench.module(number) for number in (1, 2, 3)]
    people = await founded(bench)
    await zoned(bench, "north", modules[2:], people)
    await limits(bench, people, per_zone_minute=1, per_minute=5)
    raw, made = by(bulk(modules), *people)
    grants = (await bench.platform.authorise_bulk(raw, made, ids(modules))).grants
    assert [grant.code for grant in grants] == ["", "security.command-limit", "security.zone"]
    bench.clock.now += 60_000
    again = (await bench.platform.authorise_bulk(raw, made, ids(modules[:2]))).grants
    assert [grant.code for grant in again] == ["", ""]


async def test_a_device_whose_module_was_replaced_is_not_told_again(bench: Bench) -> None:
    module = await bench.module(1)
    people = await founded(bench)
    raw, made = by(bulk([module]), *people)
    await bench.platform.authorise_bulk(raw, made, ids([module]))
    await bench.platform.withdraw(module.device_id, module.module_id)
    (gone,) = (await bench.platform.authorise_bulk(raw, made, ids([module]))).grants
    assert gone.code == "security.not-enrolled"
    second = Module(2)
    await bench.platform.personalise(module.device_id, second.module_id, 1, second.key.public_point)
    (grant,) = (await bench.platform.authorise_bulk(raw, made, ids([module]))).grants
    assert (grant.authorised, grant.code) == (None, "security.replayed")


async def test_impossible_limits_are_refused(bench: Bench) -> None:
    people = await founded(bench)
    for wrong in ({"supply_bulk": 5001}, {"supply_bulk": -1}, {"supply_per_zone_minute": -1}):
        with pytest.raises(LocalError):
            await limits(bench, people, **wrong)
    with pytest.raises(TrustError):
        await limits(bench, people[:1])


async def test_a_question_for_the_zones_of_more_devices_than_are_looked_up_at_once(bench: Bench) -> None:
    assert len((await bench.platform.command_room([bytes(8)] * 5000)).zones_of) == 5000
    assert await code_of(bench.platform.command_room([bytes(8)] * 5001)) == "security.zone"


@pytest.mark.parametrize(("control", "data"), [(0x100, DAY), (-1, DAY), (4, bytes(256))])
async def test_a_bulk_order_that_would_say_what_is_no_frame(bench: Bench, control: int, data: bytes) -> None:
    module = await bench.module(1)
    people = await founded(bench)
    part = o.BulkPart(zone=DEFAULT_ZONE, control=control, data=data, device_ids=(module.device_id,))
    asked = bulk([module], parts=(part,))
    granted = await bench.platform.authorise_bulk(*by(asked, *people), (module.device_id,))
    assert [(one.code, one.authorised) for one in granted.grants] == [("security.command", None)]
