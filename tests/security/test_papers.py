"""Policies, renewals, reminders, withdrawals and uses of keys, as the service answers them (issue 3, T8, T25)."""

from __future__ import annotations

import os

import pytest
from cryptography import x509
from msgspec import structs

from meterseal.crypto.certificates import parse, verify_chain
from meterseal.errors import LocalError, TrustError
from meterseal.security import messages as m
from meterseal.security.papers import LowerPolicy, RevokePlatform
from meterseal.security.usage import DAY as USE_DAY
from meterseal.security.usage import DAYS_KEPT, HOUR, HOURS_KEPT

from .conftest import DAY, NOW, Bench, Module
from .people import Person, fields, founded, operator, ordered

YEAR = 365 * DAY


# --- policies


@pytest.mark.parametrize("suite", [1, 2])
async def test_the_next_session_grants_what_was_set(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    assert (await bench.shake(module))[1].policy == 2
    (an, _) = await founded(bench)
    lower = LowerPolicy(**fields(), device_id=module.device_id, module_id=module.module_id, policy=0)  # type: ignore[arg-type]
    for policy in (0, 1, 2):
        if policy:
            await bench.platform.set_policy(module.device_id, module.module_id, policy)
        else:
            await bench.platform.submit(ordered("lower-policy", lower, [an]))
        session, reply = await bench.shake(module)
        assert (reply.policy, session.policy) == (policy, policy)
    last = [one.entry.code for one in await bench.platform.audit(limit=1000)]
    assert (last.count("security.policy-set"), last.count("security.order-lower-policy")) == (2, 1)


async def test_nobody_brings_a_meter_nearer_to_plain_without_an_officer(bench: Bench) -> None:
    module = await bench.module(1)
    an, bo = Person("an"), Person("bo", ("enrol", "ca", "command"))
    await founded(bench, an, bo)
    for caller in (bench.platform, operator(bench)):
        for policy in (0, 1):
            with pytest.raises(TrustError) as caught:
                await caller.set_policy(module.device_id, module.module_id, policy)
            assert caught.value.code == "security.policy-lowered"
    lower = LowerPolicy(**fields(), device_id=module.device_id, module_id=module.module_id, policy=1)  # type: ignore[arg-type]
    for signers, code in (([], "security.two-persons"), ([bo], "security.role")):
        with pytest.raises(TrustError) as refused:
            await bench.platform.submit(ordered("lower-policy", lower, signers))
        assert refused.value.code == code
    assert (await bench.shake(module))[1].policy == 2
    done = await bench.platform.submit(ordered("lower-policy", lower, [an]))
    assert done.officers == ("an",)
    assert (await bench.shake(module))[1].policy == 1
    with pytest.raises(TrustError) as again:
        await bench.platform.submit(ordered("lower-policy", lower, [an]))
    assert again.value.code == "security.replayed"


@pytest.mark.parametrize("policy", [2, 3, -1])
async def test_an_order_that_lowers_nothing_is_refused(bench: Bench, policy: int) -> None:
    module = await bench.module(1)
    (an, _) = await founded(bench)
    asked = LowerPolicy(**fields(), device_id=module.device_id, module_id=module.module_id, policy=policy)  # type: ignore[arg-type]
    with pytest.raises(LocalError) as caught:
        await bench.platform.submit(ordered("lower-policy", asked, [an]))
    assert caught.value.code == "security.policy"


async def test_a_module_is_enrolled_with_its_policy(bench: Bench) -> None:
    module = Module(1)
    (given,) = await bench.platform.personalise_batch([structs.replace(module.request, policy=1)])
    module.take(given)
    assert (await bench.shake(module))[1].policy == 1


@pytest.mark.parametrize(("policy", "profile"), [(3, "meterseal-1"), (-1, "meterseal-1"), (2, "unheard-of")])
async def test_a_policy_or_profile_that_is_none_is_refused(bench: Bench, policy: int, profile: str) -> None:
    module = await bench.module(1)
    with pytest.raises(LocalError) as caught:
        await bench.platform.set_policy(module.device_id, module.module_id, policy, profile)
    assert caught.value.code == "security.policy"
    with pytest.raises(LocalError) as caught:
        await bench.platform.personalise_batch(
            [structs.replace(Module(2).request, policy=policy, profile=profile)]
        )
    assert caught.value.code == "security.request"


async def test_a_policy_for_a_module_that_is_not_there_is_refused(bench: Bench) -> None:
    module = await bench.module(1)
    for device_id, module_id in ((bytes(8), module.module_id), (module.device_id, bytes(8))):
        with pytest.raises(TrustError) as caught:
            await bench.platform.set_policy(device_id, module_id, 1)
        assert caught.value.code == "security.not-enrolled"


# --- renewal


async def test_a_renewal_is_in_force_with_the_handshake_that_shows_it(bench: Bench) -> None:
    module = await bench.module(1)
    assert module.given is not None
    bench.clock.now = NOW + 19 * YEAR
    due = await bench.platform.renewals_due(2 * YEAR)
    assert (due.device_ids, due.ending, due.under_old_ca) == ((module.device_id,), 1, 0)
    renewal = await bench.platform.renew(module.device_id)
    assert (await bench.platform.renew(module.device_id)).chain == renewal.chain
    await bench.shake(module)  # with the old one
    assert (await bench.platform.device_facts(module.device_id)).chain == module.given.chain
    module.given = structs.replace(module.given, chain=renewal.chain)
    await bench.shake(module)
    assert (await bench.platform.device_facts(module.device_id)).chain == renewal.chain
    assert (await bench.platform.renewals_due(2 * YEAR)).device_ids == ()
    assert (await bench.restarted().platform.device_facts(module.device_id)).chain == renewal.chain


async def test_a_renewed_certificate_shown_by_a_thief_moves_nothing(bench: Bench) -> None:
    """Whoever reads the chain on its way and shows it without the module's key is refused, and nothing moves."""
    module = await bench.module(1)
    renewal = await bench.platform.renew(module.device_id)
    thief = await bench.module(2)
    assert module.given is not None
    assert thief.given is not None
    thief.given = structs.replace(thief.given, chain=renewal.chain)
    with pytest.raises(TrustError):
        await bench.shake(thief)
    assert (await bench.platform.device_facts(module.device_id)).chain == module.given.chain


async def test_a_renewal_for_nobody_or_for_suite_2_is_refused(bench: Bench) -> None:
    module = await bench.module(1, 2)
    with pytest.raises(TrustError) as none:
        await bench.platform.renew(bytes(8))
    assert none.value.code == "security.not-enrolled"
    with pytest.raises(LocalError) as caught:
        await bench.platform.renew(module.device_id)
    assert caught.value.code == "security.no-chain"


# --- reminders


async def test_what_ends_soon_is_listed_with_its_cure(bench: Bench) -> None:
    module = await bench.module(1)
    soon = await bench.platform.expiring(31 * DAY)
    assert [one.kind for one in soon.items] == ["platform"]
    assert "by itself" in soon.items[0].cure
    assert (await bench.platform.expiring(0)).items == ()
    every = await bench.platform.expiring(40 * YEAR)
    assert {one.kind for one in every.items} == {
        "platform",
        "root",
        "root-list",
        "platform-ca",
        "device-ca",
        "device",
    }
    assert [one.until for one in every.items] == sorted(one.until for one in every.items)
    assert module.given is not None
    device = next(one for one in every.items if one.kind == "device")
    assert int(device.serial, 16) == parse(module.given.chain[0]).serial
    assert every.devices == 1


async def test_the_authorities_say_what_stands_on_them(bench: Bench) -> None:
    await bench.module(1)
    await bench.module(2, 2)
    found = await bench.platform.authorities()
    assert [(one.purpose, one.version, one.issues, one.standing) for one in found.authorities] == [
        ("platform", 1, True, 0),
        ("device", 1, True, 1),
    ]
    assert found.to_move == 0


# --- T8: revocation


def listed(anchors: m.Anchors) -> set[int]:
    return {one.serial_number for der in anchors.lists for one in x509.load_der_x509_crl(der)}


async def test_t8_a_withdrawn_module_is_refused_listed_and_told_to_head_ends_at_once(bench: Bench) -> None:
    """New handshakes end within the same millisecond; the list that anyone fetches next names it."""
    module, other = await bench.module(1), await bench.module(2)
    assert module.given is not None
    open_session, _ = await bench.shake(module)
    half_open = module.run()
    platform = await bench.headend.hello(half_open.hello(bench.clock.now + 1))
    device = half_open.platform(platform.message, bench.clock.now + 1)
    before = await bench.headend.anchors()
    serial = parse(module.given.chain[0]).serial
    assert serial not in listed(before)
    await bench.platform.withdraw(module.device_id, module.module_id)
    for attempt in (
        bench.headend.device(platform.session_id, device),
        bench.headend.hello(module.run().hello(bench.clock.now)),
    ):
        with pytest.raises(TrustError):
            await attempt
    assert serial in listed(await bench.headend.anchors())
    gone = await bench.headend.revoked_since(0)
    assert [(one.device_id, one.module_id, one.at) for one in gone] == [
        (module.device_id, module.module_id, NOW)
    ]
    assert await bench.headend.revoked_since(gone[-1].sequence) == ()
    await bench.shake(other)
    assert open_session.keys is not None


async def test_t8_a_revoked_certificate_does_not_pass_under_another_enrolment(bench: Bench) -> None:
    module = await bench.module(1)
    await bench.platform.withdraw(module.device_id, module.module_id)
    assert module.given is not None
    again = Module(1)
    again.module_id = b"\x07" * 8
    (given,) = await bench.platform.personalise_batch([again.request])
    again.take(given)
    again.given = structs.replace(given, chain=module.given.chain)
    with pytest.raises(TrustError) as caught:
        await bench.shake(again)
    assert caught.value.code == "link.chain"
    assert "revoked" in (await bench.refusals())[-1].sentence


async def test_t8_ten_thousand_revocations_in_a_second_share_one_list(bench: Bench) -> None:
    """Many at once cost one list, and still none of them passes."""
    modules = [await bench.module(number) for number in range(1, 12)]
    room = bench.service.room
    await bench.headend.anchors()
    before = room.authorities.facts("DEVICE-CA", 1).used
    for module in modules[:10]:
        await bench.platform.withdraw(module.device_id, module.module_id)
        await bench.shake(modules[10])
    assert room.authorities.facts("DEVICE-CA", 1).used == before
    for module in modules[:10]:
        assert module.given is not None
        with pytest.raises(TrustError) as caught:
            room.pki.check_device(list(module.given.chain), module.device_id, module.module_id, NOW)
        assert caught.value.code == "crypto.revoked"
    bench.clock.now += 1_000
    await bench.shake(modules[10])
    assert room.authorities.facts("DEVICE-CA", 1).used == before + 1


async def test_t8_two_officers_revoke_the_platforms_own_certificate(bench: Bench) -> None:
    module = await bench.module(1)
    before = await bench.headend.anchors()
    people = await founded(bench)
    done = await operator(bench).submit(ordered("revoke-platform", RevokePlatform(**fields()), people))  # type: ignore[arg-type]
    assert "revoked" in done.sentence
    after = await bench.headend.anchors()
    assert after.platform_chain != before.platform_chain
    with pytest.raises(TrustError) as caught:
        verify_chain(before.platform_chain, root=after.root, purpose="platform", at=NOW, crls=after.lists)
    assert caught.value.code == "crypto.revoked"
    await bench.shake(module)
    with pytest.raises(TrustError) as one:
        await operator(bench).submit(ordered("revoke-platform", RevokePlatform(**fields()), people[:1]))  # type: ignore[arg-type]
    assert one.value.code == "security.two-persons"


async def test_a_person_with_another_role_revokes_no_platform(bench: Bench) -> None:
    await founded(
        bench, Person("an"), Person("bo"), one := Person("ca-1", ("keys",)), two := Person("ca-2", ("keys",))
    )
    with pytest.raises(TrustError) as caught:
        await operator(bench).submit(ordered("revoke-platform", RevokePlatform(**fields()), [one, two]))  # type: ignore[arg-type]
    assert caught.value.code == "security.role"


# --- uses over time (HM 8.5.3.b, T25)


async def uses(
    bench: Bench, key_id: str, since: int = 0, *, by_day: bool = False
) -> dict[tuple[int, int], int]:
    found = await bench.platform.usage_over_time(since, by_day=by_day)
    return {(one.since, one.version): one.uses for one in found if one.id == key_id}


async def counted(bench: Bench, key_id: str, version: int = 1) -> int:
    return next(
        one.used for one in (await bench.platform.usage()).keys if (one.id, one.version) == (key_id, version)
    )


async def test_t25_counts_equal_what_was_processed_hour_by_hour(bench: Bench) -> None:
    """N handshakes, M evidence checks, personalisations: equal exactly, each in its hour."""
    first_hour = NOW - NOW % HOUR
    modules = [await bench.module(number, 1 + number % 2) for number in range(5)]
    for module in modules:
        await bench.shake(module)
    bench.clock.now = first_hour + 3 * HOUR + 7
    for _ in range(3):
        for module in modules:
            bench.clock.now += 1
            await bench.shake(module)
    statement = os.urandom(65)
    evidence = [
        m.EvidenceRequest(
            device_id=one.device_id,
            module_id=one.module_id,
            key_version=1,
            statement=statement,
            mac=bytes(32),
        )
        for one in modules
        if one.suite == 2
    ] * 4
    await bench.platform.check_evidence_batch(evidence)
    platform_signatures = sum(one.suite == 1 for one in modules)
    assert await uses(bench, "DIAK") == {
        (first_hour, 1): 5 + 5,
        (first_hour + 3 * HOUR, 1): 15 + len(evidence),
    }
    assert await uses(bench, "MROOT") == {(first_hour, 1): 5}
    assert await uses(bench, "PLATFORM") == {
        (first_hour, 1): platform_signatures,
        (first_hour + 3 * HOUR, 1): 3 * platform_signatures,
    }
    assert await counted(bench, "DIAK") == 25 + len(evidence)
    day = first_hour - first_hour % USE_DAY
    assert sum((await uses(bench, "DIAK", by_day=True)).values()) == 25 + len(evidence)
    assert set(await uses(bench, "DIAK", by_day=True)) <= {(day, 1), (day + USE_DAY, 1)}
    assert await uses(bench, "DIAK", since=first_hour + HOUR) == {
        (first_hour + 3 * HOUR, 1): 15 + len(evidence)
    }


async def test_t25_sums_equal_the_counters_whatever_was_cut_off(bench: Bench) -> None:
    module = await bench.module(1)
    await bench.shake(module)
    room = bench.service.room
    for vault in (room.keys, room.authorities):
        await vault.durable()
    before = {(one.vault, one.id, one.version): one.used for one in room.keys.all_facts()}
    for opened in (room.audit, room.book, room.registry, room.authorities, room.keys):
        opened.close()  # as a kill would: the log of uses wrote nothing of its own
    bench = Bench(bench.directory, bench.clock)
    bench.clock.now += HOUR
    await bench.shake(module)
    found: dict[tuple[str, str, int], int] = {}
    for one in await bench.platform.usage_over_time(0):
        key = (one.vault, one.id, one.version)
        found[key] = found.get(key, 0) + one.uses
    facts = {(one.vault, one.id, one.version): one.used for one in (await bench.platform.usage()).keys}
    assert found["keys", "DIAK", 1] == facts["keys", "DIAK", 1] == before["keys", "DIAK", 1] + 1
    assert all(found.get(key, 0) == used for key, used in facts.items() if key[1] not in {"AUDIT", "ACTS"})


async def test_t25_use_at_limit_plus_one_is_refused_and_not_counted(bench: Bench) -> None:
    module = await bench.module(1, 2)
    room = bench.service.room
    limit = room.keys.facts("DIAK", 1).limit
    room.keys.raise_count("DIAK", 1, limit - 1)
    await bench.shake(module)
    bench.clock.now += 1
    with pytest.raises(TrustError) as caught:
        await bench.shake(module)
    assert caught.value.code == "security.limit"
    assert await counted(bench, "DIAK") == limit
    assert sum((await uses(bench, "DIAK")).values()) == limit


async def test_old_hours_become_days_and_old_days_are_forgotten(bench: Bench) -> None:
    module = await bench.module(1)
    for hour in range(3):
        bench.clock.now = NOW + hour * HOUR
        await bench.shake(module)
    total = sum((await uses(bench, "DIAK")).values())
    assert len(await uses(bench, "DIAK")) == 3
    bench.clock.now = NOW + HOURS_KEPT + 2 * USE_DAY
    folded = await uses(bench, "DIAK")
    assert sum(folded.values()) == total
    assert all(since % USE_DAY == 0 for since, _ in folded)
    assert len(folded) <= 2
    bench.clock.now = NOW + DAYS_KEPT + 3 * USE_DAY
    assert await uses(bench, "DIAK") == {}
    assert await counted(bench, "DIAK") == total


async def test_a_clock_that_runs_backwards_loses_no_use(bench: Bench) -> None:
    bench.clock.now = NOW + 5 * HOUR
    module = await bench.module(1)
    await bench.shake(module)
    bench.clock.now = NOW
    await bench.shake(await bench.module(2))
    assert sum((await uses(bench, "DIAK")).values()) == await counted(bench, "DIAK") == 4


async def test_too_many_counts_at_once_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meterseal.security.desks.papers._MOST_COUNTS", 0)
    await bench.module(1)
    with pytest.raises(LocalError) as caught:
        await bench.platform.usage_over_time(0)
    assert caught.value.code == "security.span"
