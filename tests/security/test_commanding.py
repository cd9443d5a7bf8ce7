"""Guarded commands: what a platform in wrong hands, a kill -9 or an old order cannot make the service sign."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from meterseal.errors import LocalError, MetersealError, TrustError
from meterseal.link import commands
from meterseal.security import orders as o
from meterseal.security.enrolled import DEFAULT_ZONE
from meterseal.wire.frame import Frame, address_of
from meterseal.wire.roster import Listed, roster_frame

from .conftest import NOW, PASSPHRASE, PROJECT, Bench, Clock, Module
from .people import HOUR, Person, fields, founded, ordered


def frame(device_id: bytes, control: int = 0x04, data: bytes = b"\x11\xa0\x01\x0f") -> bytes:
    protocol, meter_type, address = address_of(device_id)
    return Frame(protocol, meter_type, address, control, data).encode()


def order(module: Module, **other: object) -> o.CommandOrder:
    plain = o.CommandOrder(
        request_id=o.fresh_request_id(),
        device_id=module.device_id,
        zone=DEFAULT_ZONE,
        frame=other.pop("frame") if "frame" in other else frame(module.device_id),  # type: ignore[arg-type]
        not_after=NOW + HOUR,
        reason="a settlement in the middle of the month",
        project_id=PROJECT,
    )
    return structs.replace(plain, **other)


def signed(asked: o.CommandOrder, *people: Person) -> tuple[bytes, tuple[o.OfficerSignature, ...]]:
    raw = o.encoded(asked)
    return raw, tuple(person.sign("command", raw) for person in people)


async def zoned(bench: Bench, zone: str, modules: list[Module], people: tuple[Person, ...]) -> None:
    """Two officers' order that puts modules into a zone."""
    ids = tuple(module.device_id for module in modules)
    change = o.ZoneChange(**fields(), zone=zone, device_ids=ids, reason="a new street")  # type: ignore[arg-type]
    await bench.platform.submit(ordered("zone", change, people))


async def refused(bench: Bench, asked: tuple[bytes, tuple[o.OfficerSignature, ...]], code: str) -> None:
    with pytest.raises(MetersealError) as caught:
        await bench.platform.authorise_command(*asked)
    assert caught.value.code == code
    assert (await bench.refusals())[-1].code == code


async def test_the_module_obeys_what_the_service_authorised(bench: Bench) -> None:
    module, other = await bench.module(1), await bench.module(2)
    an, _ = await founded(bench)
    used = bench.service.room.keys.facts("DIAK", 1).used
    for number in (1, 2, 3):
        asked = order(module)
        given = await bench.platform.authorise_command(*signed(asked, an))
        assert (given.number, given.frame, given.module_id) == (number, asked.frame, module.module_id)
        key = module.k_bound.diversify(b"CMND0001", "K_cmnd")
        assert given.authorisation == commands.authorise(
            key, module.device_id, number, asked.not_after, asked.frame
        )
    assert bench.service.room.keys.facts("DIAK", 1).used == used + 3
    assert (await bench.platform.authorise_command(*signed(order(other), an))).number == 1


async def test_nobody_signed(bench: Bench) -> None:
    module = await bench.module(1)
    await founded(bench)
    await refused(bench, signed(order(module)), "security.two-persons")


async def test_without_officers_nothing_is_commanded(bench: Bench) -> None:
    module = await bench.module(1)
    await refused(bench, signed(order(module), Person("an")), "security.officer")


async def test_an_order_that_the_platform_changed_after_the_signature(bench: Bench) -> None:
    module, other = await bench.module(1), await bench.module(2)
    an, _ = await founded(bench)
    asked = order(module)
    _, signatures = signed(asked, an)
    for change in (
        {"device_id": other.device_id, "frame": frame(other.device_id)},
        {"frame": frame(module.device_id, data=b"\x11\xa0\x01\x10")},
        {"zone": "zone-2"},
        {"not_after": asked.not_after + 1},
        {"request_id": o.fresh_request_id()},
        {"reason": "other"},
    ):
        await refused(bench, (o.encoded(structs.replace(asked, **change)), signatures), "security.signature")


async def test_an_officer_without_the_role(bench: Bench) -> None:
    module = await bench.module(1)
    *_, cy = await founded(bench, Person("an"), Person("bo"), Person("cy", ("keys", "enrol", "ca")))
    await refused(bench, signed(order(module), cy), "security.role")


async def test_a_signature_for_another_purpose(bench: Bench) -> None:
    module = await bench.module(1)
    an, _ = await founded(bench)
    raw = o.encoded(order(module))
    await refused(bench, (raw, (an.sign("officers", raw),)), "security.signature")


@pytest.mark.parametrize(
    "change",
    [
        {"frame": b""},
        {"frame": frame(Module(1).device_id) + b"\x00"},
        {"frame": frame(Module(1).device_id) * 2},
        {"frame": frame(Module(1).device_id)[:-1]},
        {"frame": frame(Module(2).device_id)},
        {"frame": frame(bytes.fromhex("10") + b"\xaa" * 7)},
        {"frame": frame(Module(1).device_id, control=0x01)},
        {"zone": ""},
        {"zone": "z" * 201},
        {"reason": ""},
    ],
    ids=[
        "nothing",
        "a byte more",
        "two frames",
        "cut off",
        "another meter",
        "all meters",
        "a read",
        "no zone",
        "a long zone",
        "no reason",
    ],
)
async def test_an_order_that_is_no_command_for_its_device(bench: Bench, change: dict[str, object]) -> None:
    module = await bench.module(1)
    an, _ = await founded(bench)
    await refused(bench, signed(order(module, **change), an), "security.command")


async def test_a_device_that_is_not_enrolled_or_withdrawn(bench: Bench) -> None:
    module = await bench.module(1)
    an, _ = await founded(bench)
    await refused(bench, signed(order(Module(9)), an), "security.not-enrolled")
    await bench.platform.withdraw(module.device_id, module.module_id)
    await refused(bench, signed(order(module), an), "security.not-enrolled")


async def test_an_expired_order(bench: Bench) -> None:
    module = await bench.module(1)
    an, _ = await founded(bench)
    asked = signed(order(module), an)
    bench.clock.now = NOW + HOUR + 1
    await refused(bench, asked, "security.expired")


async def test_the_same_order_again_is_the_same_command(bench: Bench) -> None:
    """A lost answer costs no second signature; the module sees the same number and repeats its stored answer."""
    module = await bench.module(1)
    an, _ = await founded(bench)
    asked = signed(order(module), an)
    first = await bench.platform.authorise_command(*asked)
    assert await bench.platform.authorise_command(*asked) == first
    again = bench.restarted()
    assert await again.platform.authorise_command(*asked) == first
    again.clock.now = NOW + HOUR + 1
    await refused(again, asked, "security.expired")


async def test_a_used_request_id_under_another_order(bench: Bench) -> None:
    module, other = await bench.module(1), await bench.module(2)
    an, _ = await founded(bench)
    asked = order(module)
    await bench.platform.authorise_command(*signed(asked, an))
    for change in (
        {"device_id": other.device_id, "frame": frame(other.device_id)},
        {"frame": frame(module.device_id, data=b"\x11\xa0\x01\x10")},
    ):
        await refused(bench, signed(structs.replace(asked, **change), an), "security.replayed")


async def test_the_order_for_a_module_that_was_replaced(bench: Bench) -> None:
    module = await bench.module(1)
    an, _ = await founded(bench)
    asked = signed(order(module), an)
    await bench.platform.authorise_command(*asked)
    await bench.platform.withdraw(module.device_id, module.module_id)
    second = Module(2)
    await bench.platform.personalise(module.device_id, second.module_id, 1, second.key.public_point)
    await refused(bench, asked, "security.replayed")


async def test_a_zone_at_its_limit_waits_a_minute_also_over_a_restart(bench: Bench) -> None:
    module = await bench.module(1)
    people = await founded(bench)
    limit = o.CommandPolicyChange(**fields(), signatures=1, per_zone_minute=3, per_minute=5)  # type: ignore[arg-type]
    await bench.platform.submit(ordered("command-policy", limit, people))
    an = people[0]
    for _ in range(3):
        await bench.platform.authorise_command(*signed(order(module), an))
    await refused(bench, signed(order(module), an), "security.command-limit")
    again = bench.restarted()
    waiting = order(module)
    await refused(again, signed(waiting, an), "security.command-limit")
    for number, zone in ((2, "zone-2"), (3, "zone-3")):
        await zoned(again, zone, [await again.module(number)], people)
    for _ in range(2):
        await again.platform.authorise_command(*signed(order(Module(2), zone="zone-2"), an))
    await refused(again, signed(order(Module(3), zone="zone-3"), an), "security.command-limit")
    again.clock.now += 60_000
    assert (await again.platform.authorise_command(*signed(waiting, an))).number == 4


@pytest.mark.parametrize("zone", ["zone-2", "Default", "default ", "d"])
async def test_a_zone_of_the_officers_own_gets_round_no_limit(bench: Bench, zone: str) -> None:
    """The zone is the one that was recorded; a command for a zone with room left is refused, and counts nowhere."""
    module = await bench.module(1)
    people = await founded(bench)
    limit = o.CommandPolicyChange(**fields(), signatures=1, per_zone_minute=1, per_minute=5)  # type: ignore[arg-type]
    await bench.platform.submit(ordered("command-policy", limit, people))
    await bench.platform.authorise_command(*signed(order(module), people[0]))
    await refused(bench, signed(order(module), people[0]), "security.command-limit")
    await refused(bench, signed(order(module, zone=zone), people[0]), "security.zone")
    counted = bench.service.room.book.store.rows("SELECT zone, count FROM granted ORDER BY zone")
    assert counted == [("", 1), ("default", 1)]


async def test_two_officers_move_modules_into_a_zone(bench: Bench) -> None:
    modules = [await bench.module(number) for number in (1, 2)]
    people = await founded(bench)
    facts = await bench.platform.device_facts(modules[0].device_id)
    assert facts.zone == DEFAULT_ZONE
    with pytest.raises(TrustError) as alone:
        await zoned(bench, "north", modules, people[:1])
    assert alone.value.code == "security.two-persons"
    await zoned(bench, "north", modules, people)
    now = bench.restarted()
    for module in modules:
        assert (await now.platform.device_facts(module.device_id)).zone == "north"
        await refused(now, signed(order(module), people[0]), "security.zone")
        await now.platform.authorise_command(*signed(order(module, zone="north"), people[0]))
    said = [
        one.entry for one in await now.platform.audit(limit=1000) if one.entry.code == "security.zone-set"
    ]
    assert [(one.device_id, one.officers) for one in said] == [
        (module.device_id, ("an", "bo")) for module in modules
    ]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"zone": ""}, "security.zone"),
        ({"zone": "z" * 65}, "security.zone"),
        ({"zone": "a\nb"}, "security.zone"),
        ({"reason": ""}, "security.zone"),
        ({"device_ids": ()}, "security.zone"),
        ({"device_ids": (Module(1).device_id,) * 2}, "security.zone"),
        ({"device_ids": (Module(1).device_id, Module(9).device_id)}, "security.not-enrolled"),
    ],
    ids=["no name", "long name", "two lines", "no reason", "no device", "a device twice", "a device unknown"],
)
async def test_a_change_of_zone_that_does_not_fit_changes_nothing(
    bench: Bench, change: dict[str, object], code: str
) -> None:
    module = await bench.module(1)
    people = await founded(bench)
    asked = o.ZoneChange(**fields(), zone="north", device_ids=(module.device_id,), reason="a new street")  # type: ignore[arg-type]
    with pytest.raises(MetersealError) as caught:
        await bench.platform.submit(ordered("zone", structs.replace(asked, **change), people))
    assert caught.value.code == code
    assert (await bench.platform.device_facts(module.device_id)).zone == DEFAULT_ZONE


async def test_a_zone_recorded_at_enrolment(bench: Bench) -> None:
    module = Module(1)
    (given,) = await bench.platform.personalise_batch([structs.replace(module.request, zone="north")])
    assert given.module_id == module.module_id
    assert (await bench.restarted().platform.device_facts(module.device_id)).zone == "north"


async def test_enrolment_into_what_is_no_zone(bench: Bench) -> None:
    with pytest.raises(LocalError) as caught:
        await bench.platform.personalise_batch([structs.replace(Module(1).request, zone="a\tb")])
    assert caught.value.code == "security.zone"
    assert bench.service.room.registry.count() == 0


async def test_an_order_for_another_project_or_for_none(bench: Bench) -> None:
    module = await bench.module(1)
    an, _ = await founded(bench)
    await refused(bench, signed(order(module, project_id=bytes(16)), an), "security.platform-project")
    await refused(bench, signed(order(module, project_id=b""), an), "security.project")


async def test_two_signatures_when_the_policy_says_two(bench: Bench) -> None:
    module = await bench.module(1)
    an, bo = await founded(bench)
    policy = o.CommandPolicyChange(**fields(), signatures=2, per_zone_minute=3, per_minute=5)  # type: ignore[arg-type]
    await bench.platform.submit(ordered("command-policy", policy, (an, bo)))
    again = bench.restarted()
    await refused(again, signed(order(module), an), "security.two-persons")
    await refused(again, signed(order(module), an, an), "security.two-persons")
    await again.platform.authorise_command(*signed(order(module), an, bo))


async def test_a_policy_that_stops_making_sense(bench: Bench) -> None:
    people = await founded(bench)
    for wrong in ({"signatures": 0}, {"per_zone_minute": -1}, {"per_minute": 1}, {"signatures": 3}):
        plain = {"signatures": 1, "per_zone_minute": 3, "per_minute": 5}
        change = o.CommandPolicyChange(**fields(), **{**plain, **wrong})  # type: ignore[arg-type]
        with pytest.raises(LocalError):
            await bench.platform.submit(ordered("command-policy", change, people))


async def test_commands_at_once_get_numbers_of_their_own(bench: Bench) -> None:
    module = await bench.module(1)
    an, _ = await founded(bench)
    given = await asyncio.gather(
        *(bench.platform.authorise_command(*signed(order(module), an)) for _ in range(20))
    )
    assert sorted(one.number for one in given) == list(range(1, 21))


async def test_a_number_after_kill_9_never_comes_again(bench: Bench, tmp_path: Path) -> None:
    """The service is killed while it authorises; what it said before is never said for another order."""
    module = await bench.module(1)
    an, _ = await founded(bench)
    bench.service.close()
    asked = [signed(order(module), an) for _ in range(60)]
    last = 0
    for round_number, kill_after in enumerate((1, 3, 7)):
        directory = tmp_path / "run"
        if round_number == 0:
            shutil.copytree(bench.directory, directory)
        lot = asked[round_number * 20 : round_number * 20 + 20]
        (tmp_path / "lot").write_bytes(_lot(lot))
        child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(directory), str(tmp_path / "lot"), str(NOW)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        numbers = [int(child.stdout.readline()) for _ in range(kill_after)]
        child.send_signal(signal.SIGKILL)
        numbers += [int(line) for line in child.stdout.read().split()]
        child.wait()
        child.stdout.close()
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert numbers[0] > last
        last = numbers[-1]
    after = Bench(tmp_path / "run", Clock())
    assert (await after.platform.authorise_command(*signed(order(module), an))).number > last
    with pytest.raises(TrustError):
        await after.platform.authorise_command(asked[0][0], ())


def _lot(lot: list[tuple[bytes, tuple[o.OfficerSignature, ...]]]) -> bytes:
    return msgspec.msgpack.encode([o.SignedCommand(order=raw, signatures=made) for raw, made in lot])


_PROGRAM = f"""
import asyncio, sys
from pathlib import Path
import msgspec
from meterseal.mesh.rpc import InProcess
from meterseal.security.orders import SignedCommand
from meterseal.security.sdk import SecuritySdk
from meterseal.security.service import SecurityService

async def main():
    service = SecurityService.open(Path(sys.argv[1]), {PASSPHRASE!r}, clock=lambda: int(sys.argv[3]))
    sdk = SecuritySdk(InProcess(service.methods(), "platform"))
    for one in msgspec.msgpack.decode(Path(sys.argv[2]).read_bytes(), type=list[SignedCommand]):
        print((await sdk.authorise_command(one.order, one.signatures)).number, flush=True)

asyncio.run(main())
"""


# --- through a concentrator ---------------------------------------------------------------------------------


async def test_a_concentrator_is_authorised_for_a_plain_meter_and_for_none_that_has_a_module(
    bench: Bench,
) -> None:
    concentrator = await bench.module(1, device_id=bytes.fromhex("f000000000000001"))
    sealed, plain = await bench.module(2), bytes.fromhex("1078330000000099")
    an, bo = await founded(bench)
    close = b"\x17\xa0\x01\x99"
    await refused(
        bench, signed(order(concentrator, frame=frame(plain, data=close)), an), "security.two-persons"
    )
    asked = order(concentrator, frame=frame(plain, data=close))
    given = await bench.platform.authorise_command(*signed(asked, an, bo))
    assert (given.device_id, given.frame) == (concentrator.device_id, asked.frame)
    for_sealed = order(concentrator, frame=frame(sealed.device_id, data=close))
    await refused(bench, signed(for_sealed, an, bo), "security.not-plain")


async def test_a_meters_own_module_is_told_nothing_about_whom_a_concentrator_reads(bench: Bench) -> None:
    module = await bench.module(1)
    an, _ = await founded(bench)
    word = roster_frame(module.device_id, Listed("remove"), 1).encode()
    await refused(bench, signed(order(module, frame=word), an), "security.command")
    concentrator = await bench.module(2, device_id=bytes.fromhex("f000000000000001"))
    given = await bench.platform.authorise_command(*signed(order(concentrator, frame=word), an))
    assert given.device_id == concentrator.device_id


async def test_a_concentrator_is_told_whom_it_reads_by_the_modules_in_service_here_and_by_no_platform(
    bench: Bench,
) -> None:
    """What the platform says of a meter, plain or sealed, counts nothing: it may be in wrong hands."""
    concentrator = await bench.module(1, device_id=bytes.fromhex("f000000000000001"))
    sealed, plain = (await bench.module(2)).device_id, bytes.fromhex("1078330000000099")
    an, _ = await founded(bench)

    def word(device_id: bytes, listed: Listed, of: Module = concentrator) -> tuple[bytes, tuple]:  # type: ignore[type-arg]
        return signed(order(of, frame=roster_frame(device_id, listed, 1).encode()), an)

    await refused(bench, word(sealed, Listed("add")), "security.not-plain")
    await refused(bench, word(plain, Listed("add-sealed")), "security.not-enrolled")
    for device_id, what in ((plain, "add"), (sealed, "add-sealed"), (plain, "remove"), (sealed, "remove")):
        given = await bench.platform.authorise_command(*word(device_id, Listed(what)))  # type: ignore[arg-type]
        assert given.device_id == concentrator.device_id
    await bench.platform.withdraw(sealed, (await bench.platform.device_facts(sealed)).module_id)
    await refused(bench, word(sealed, Listed("add-sealed")), "security.not-enrolled")
    await bench.platform.authorise_command(*word(sealed, Listed("add")))

    stranger = Module(9)
    stranger.device_id = bytes.fromhex("f000000000000009")
    for what in ("add", "add-sealed", "remove"):
        await refused(bench, word(plain, Listed(what), stranger), "security.not-enrolled")  # type: ignore[arg-type]
    again = word(plain, Listed("remove"))
    await bench.platform.authorise_command(*again)
    await bench.platform.withdraw(concentrator.device_id, concentrator.module_id)
    for asked in (again, word(plain, Listed("add")), word(plain, Listed("remove"))):
        await refused(bench, asked, "security.not-enrolled")


async def test_what_no_concentrator_could_read_of_its_list_is_not_authorised(bench: Bench) -> None:
    concentrator = await bench.module(1, device_id=bytes.fromhex("f000000000000001"))
    an, bo = await founded(bench)
    meter = bytes.fromhex("1078330000000099")
    for said in (b"", b"\x01", b"\x04\x00", b"\x01\x40", b"\x01\x00" + b"m" * 25, b"\x01\x00water meter"):
        word = frame(meter, data=b"\x05\xe0\x01" + said)
        await refused(bench, signed(order(concentrator, frame=word), an, bo), "security.command")


async def test_a_module_that_the_registry_has_for_another_project_is_told_nothing(bench: Bench) -> None:
    other = await bench.module(1, device_id=bytes.fromhex("f000000000000001"))
    an, _ = await founded(bench)
    registry = bench.service.room.registry
    known = registry.of_device(other.device_id)
    assert known is not None
    registry.kept([structs.replace(known, project_id=PROJECT[:-1] + b"\x04")])
    word = roster_frame(bytes.fromhex("1078330000000099"), Listed("add"), 1).encode()
    await refused(bench, signed(order(other, frame=word), an), "security.platform-project")


async def test_a_concentrator_itself_is_no_meter_that_a_frame_could_be_for(bench: Bench) -> None:
    concentrator = await bench.module(1, device_id=bytes.fromhex("f000000000000001"))
    an, bo = await founded(bench)
    own = Frame("cjt188", 0xF0, concentrator.device_id[:0:-1], 0x04, b"\x17\xa0\x01\x99").encode()
    await refused(bench, signed(order(concentrator, frame=own), an, bo), "security.command")


@pytest.mark.parametrize(
    "many",
    ["10aaaaaaaaaaaaaa", "aa78330000000099", "1078aaaaaaaaaaaa", "d700aaaaaaaaaaaa", "d700999999999999"],
)
async def test_no_concentrator_is_told_anything_for_all_meters_of_a_bus_at_once(
    bench: Bench, many: str
) -> None:
    """One order would count once by the limits of the minute, and close every valve that nothing guards."""
    concentrator = await bench.module(1, device_id=bytes.fromhex("f000000000000001"))
    an, bo = await founded(bench)
    device_id = bytes.fromhex(many)
    for said in (frame(device_id), roster_frame(device_id, Listed("add"), 1).encode()):
        await refused(bench, signed(order(concentrator, frame=said), an, bo), "security.command")


@pytest.mark.parametrize("number", [4, 5])
async def test_one_officer_sends_no_makers_frame_that_looks_like_a_word_of_ours_turned_round(
    bench: Bench, number: int
) -> None:
    concentrator = await bench.module(1, device_id=bytes.fromhex("f000000000000001"))
    module = await bench.module(2)
    an, bo = await founded(bench)
    for sent_to, device_id in ((concentrator, bytes.fromhex("1078330000000099")), (module, module.device_id)):
        said = frame(device_id, data=bytes((0xE0, number, 9, 1, 0)))
        await refused(bench, signed(order(sent_to, frame=said), an), "security.two-persons")
        given = await bench.platform.authorise_command(*signed(order(sent_to, frame=said), an, bo))
        assert given.frame == said
