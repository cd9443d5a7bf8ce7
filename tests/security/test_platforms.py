"""Platforms: who is not enrolled, was withdrawn, or asks beyond its enrolment is answered nothing (HM 8.4.2, 8.5.1)."""

from __future__ import annotations

import sqlite3

import pytest
from msgspec import structs

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import ConsentError, LocalError, TrustError
from meterseal.mesh.requests import make_request
from meterseal.mesh.rpc import Method
from meterseal.security.platformorders import EnrolPlatform, WithdrawPlatform, attested_bytes

from .conftest import NOW, PROJECT, Bench
from .people import fields, founded, operator, ordered

CONTACT = "Operations desk, telephone 021 5555 0101"


def application(key: Sm2PrivateKey, **other: object) -> EnrolPlatform:
    request, _ = make_request(str(other.get("caller", "billing")) or "nobody", b"a password")
    plain = EnrolPlatform(
        **fields(),  # type: ignore[arg-type]
        caller="billing",
        domain=PROJECT[8:10],
        business=PROJECT[10:12],
        contact=CONTACT,
        purposes=("trail",),
        point=key.public_point,
        tls_request=request,
    )
    asked = structs.replace(plain, **other)
    return structs.replace(asked, attestation=key.sign(attested_bytes(asked)))


async def withdrawn(bench: Bench, caller: str) -> None:
    people = await founded(bench)
    request = WithdrawPlatform(**fields(), caller=caller, reason="taken over by somebody")  # type: ignore[arg-type]
    await operator(bench).submit(ordered("withdraw-platform", request, people))


async def test_the_built_in_processes_are_enrolled_by_the_founding_act(bench: Bench) -> None:
    listed = {one.caller: one for one in await operator(bench).platforms()}
    assert set(listed) == {"platform", "headend"}
    assert listed["platform"].project_id == PROJECT
    assert listed["platform"].enrolled_at == NOW
    assert "link" not in listed["platform"].purposes
    assert not {"storage", "commands"} & set(listed["headend"].purposes)


async def test_a_withdrawn_platform_is_answered_nothing(bench: Bench) -> None:
    module = await bench.module(1)
    await withdrawn(bench, "platform")
    now = bench
    for _ in range(2):
        with pytest.raises(ConsentError) as caught:
            await now.platform.data_key("journal", "j")
        assert caught.value.code == "security.platform-withdrawn"
        for method in (now.platform.usage, now.platform.audit):
            with pytest.raises(ConsentError):
                await method()
        await now.shake(module)  # the others go on
        now = now.restarted()
    entries = [one.entry for one in await operator(now).audit(limit=1000)]
    said = [one for one in entries if one.refused]
    assert {one.code for one in said} == {"security.platform-withdrawn"}
    assert all(one.caller == "platform" and "withdrawn" in one.sentence for one in said)


async def test_a_withdrawn_head_end_opens_no_session(bench: Bench) -> None:
    module = await bench.module(1)
    await withdrawn(bench, "headend")
    with pytest.raises(ConsentError) as caught:
        await bench.shake(module)
    assert caught.value.code == "security.platform-withdrawn"


async def test_a_platform_that_nobody_enrolled(bench: Bench) -> None:
    with pytest.raises(ConsentError) as caught:
        bench.service.room.platforms.admit("platform:billing", "trail", application(Sm2PrivateKey.generate()))
    assert caught.value.code == "security.platform-unknown"


async def test_two_officers_enrol_an_attested_platform(bench: Bench) -> None:
    people, key = await founded(bench), Sm2PrivateKey.generate()
    order = ordered("enrol-platform", application(key), people)
    done = await operator(bench).submit(order)
    assert done.officers == ("an", "bo")
    now = bench.restarted()
    platforms = now.service.room.platforms
    platforms.admit("platform:billing", "trail", order)
    with pytest.raises(ConsentError) as caught:
        platforms.admit("platform:billing", "storage", order)
    assert caught.value.code == "security.platform-purpose"
    with pytest.raises(ConsentError) as outside:
        platforms.admit("platform:billing", "trail", application(key, project_id=bytes(16)))
    assert outside.value.code == "security.platform-project"
    listed = {one.caller: one for one in await operator(now).platforms()}
    assert listed["platform:billing"].approved_by == ("an", "bo")
    assert listed["platform:billing"].calls == {"trail": 1}


async def test_one_officer_alone_enrols_no_platform(bench: Bench) -> None:
    people = await founded(bench)
    order = ordered("enrol-platform", application(Sm2PrivateKey.generate()), people[:1])
    with pytest.raises(TrustError) as caught:
        await bench.platform.submit(order)
    assert caught.value.code == "security.two-persons"


async def test_an_application_that_the_platforms_key_did_not_attest(bench: Bench) -> None:
    people, key = await founded(bench), Sm2PrivateKey.generate()
    good = application(key)
    for change in (
        {"purposes": ("modules", "trail")},
        {"caller": "other"},
        {"point": Sm2PrivateKey.generate().public_point},
        {"tls_request": make_request("billing", b"somebody else's")[0]},
        {"attestation": bytes(64)},
    ):
        with pytest.raises(TrustError) as caught:
            await bench.platform.submit(ordered("enrol-platform", structs.replace(good, **change), people))
        assert caught.value.code == "security.attestation"
        good = application(key)


@pytest.mark.parametrize(
    "change",
    [
        {"domain": b"\xff\xff"},
        {"business": b"\xff\xff"},
        {"contact": ""},
        {"purposes": ()},
        {"purposes": ("everything",)},
        {"caller": "operator"},
        {"caller": ""},
        {"caller": "platform"},
        {"caller": "Billing"},
        {"caller": "platform:billing"},
        {"purposes": ("storage",)},
        {"purposes": ("operate", "trail")},
    ],
    ids=[
        "domain",
        "business",
        "no contact",
        "no purpose",
        "unknown purpose",
        "operator",
        "nobody",
        "enrolled already",
        "capital letter",
        "colon",
        "purpose of ours",
        "operation",
    ],
)
async def test_an_application_that_does_not_fit(bench: Bench, change: dict[str, object]) -> None:
    people = await founded(bench)
    asked = application(Sm2PrivateKey.generate(), **change)
    with pytest.raises(LocalError) as caught:
        await bench.platform.submit(ordered("enrol-platform", asked, people))
    assert caught.value.code == "security.platform"


async def test_calls_are_counted_by_caller_and_purpose_over_a_restart(bench: Bench) -> None:
    before = {one.caller: one.calls for one in await operator(bench).platforms()}
    module = await bench.module(1)
    for _ in range(3):
        await bench.shake(module)
    await bench.platform.data_key("journal", "j")
    now = bench.restarted()
    after = {one.caller: one.calls for one in await operator(now).platforms()}
    assert before == {"platform": {}, "headend": {}}
    assert after == {"platform": {"modules": 1, "storage": 1}, "headend": {"link": 6}}


async def test_the_contact_is_sealed_at_rest_and_in_no_answer(bench: Bench) -> None:
    people = await founded(bench)
    await operator(bench).submit(ordered("enrol-platform", application(Sm2PrivateKey.generate()), people))
    shown = repr(await operator(bench).platforms()) + repr(await operator(bench).audit(limit=1000))
    bench.service.close()
    on_disk = b"".join(path.read_bytes() for path in bench.directory.rglob("*") if path.is_file())
    assert CONTACT not in shown
    assert CONTACT.encode() not in on_disk
    assert b"021 5555" not in on_disk


@pytest.mark.parametrize("name", ["platforms", "officers"])
async def test_a_document_taken_out_of_the_book_is_missed(bench: Bench, name: str) -> None:
    """Deleting the table of platforms, or the officers, does not bring the founding act back."""
    await founded(bench)
    bench.service.close()
    with sqlite3.connect(bench.directory / "acts.db") as connection:
        assert connection.execute("DELETE FROM document WHERE name = ?", (name,)).rowcount == 1
    connection.close()
    with pytest.raises(TrustError) as caught:
        bench.restarted_from_closed()
    assert caught.value.code == "security.tampered"


async def test_every_act_asks_for_enrolment(bench: Bench) -> None:
    """No desk answers past the table: with nobody enrolled every method refuses every caller but the operator."""
    bench.service.room.platforms._entries.clear()
    refused = 0
    for method in bench.service.methods().values():
        assert isinstance(method, Method)
        for caller in method.callers - {"operator"}:
            with pytest.raises(ConsentError) as caught:
                await method.handler(caller, None)
            assert caught.value.code == "security.platform-unknown"
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("caller", ["operator", "keys", "web", ""])
async def test_a_platform_under_the_name_of_another_process(bench: Bench, caller: str) -> None:
    people = await founded(bench)
    key = Sm2PrivateKey.generate("a platform's key")
    with pytest.raises(LocalError) as refused:
        await operator(bench).submit(ordered("enrol-platform", application(key, caller=caller), people))
    assert refused.value.code == "security.platform"
    assert {one.caller for one in await operator(bench).platforms()} == {"platform", "headend"}


@pytest.mark.parametrize(
    "change", [{"reason": ""}, {"reason": "r" * 201}, {"caller": "nobody"}], ids=["none", "long", "unknown"]
)
async def test_a_withdrawal_without_a_reason_or_of_nobody(bench: Bench, change: dict[str, str]) -> None:
    people = await founded(bench)
    request = WithdrawPlatform(**fields(), **{"caller": "headend", "reason": "moved", **change})  # type: ignore[arg-type]
    with pytest.raises(LocalError) as caught:
        await operator(bench).submit(ordered("withdraw-platform", request, people))
    assert caught.value.code == "security.platform"
    assert all(one.withdrawn_at is None for one in await operator(bench).platforms())


async def test_a_process_of_ours_comes_back_by_two_officers_and_for_no_more_than_before(bench: Bench) -> None:
    await withdrawn(bench, "headend")
    key = Sm2PrivateKey.generate()
    asked = application(key, caller="headend", purposes=("commands", "link"))
    with pytest.raises(LocalError):
        bench.service.room.platforms.enrol(asked, ("an", "bo"))
    asked = application(
        key, caller="headend", purposes=("link", "modules", "operate", "trail"), tls_request=b""
    )
    assert bench.service.room.platforms.enrol(asked, ("an", "bo")) == "headend"
    await bench.shake(await bench.module(1))
