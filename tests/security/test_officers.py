"""Two persons: what one person, one key, one signature or one request cannot do."""

from __future__ import annotations

import os
import shutil

import pytest
from msgspec import structs

from meterseal.errors import ConsentError, LocalError, MetersealError, TrustError
from meterseal.security import orders as o

from .conftest import DAY, NOW, Bench
from .people import HOUR, Person, fields, founded, operator, ordered


async def refused(bench: Bench, order: o.SignedOrder, code: str) -> None:
    """The order is refused for this reason, the officers stay as they are, and the log says why."""
    before = await bench.platform.officers()
    with pytest.raises(MetersealError) as caught:
        await bench.platform.submit(order)
    assert caught.value.code == code
    assert await bench.platform.officers() == before
    assert (await bench.refusals())[-1].code == code


def change(**other: object) -> o.OfficerChange:
    return o.OfficerChange(**{**fields(), **other})  # type: ignore[arg-type]


async def test_the_first_officers_are_founded_once_and_then_change_themselves(bench: Bench) -> None:
    an, bo = await founded(bench)
    assert (await bench.refusals()) == []
    cy = Person("cy", ("enrol", "command"))
    done = await bench.platform.submit(ordered("officers", change(add=(cy.card,)), (an, bo)))
    assert done.officers == ("an", "bo")
    done = await bench.platform.submit(ordered("officers", change(remove=("an",)), (cy, bo)))
    assert done.officers == ("bo", "cy")
    again = bench.restarted()
    states = {one.officer: one.until for one in await again.platform.officers()}
    assert states == {"an": NOW, "bo": None, "cy": None}
    signed = [one.entry for one in await again.platform.audit() if one.entry.officers]
    assert [entry.officers for entry in signed] == [("an", "bo"), ("an", "bo"), ("bo", "cy")]


async def test_a_second_founding_is_refused(bench: Bench) -> None:
    await founded(bench)
    with pytest.raises(TrustError) as caught:
        await founded(bench, Person("mallory"), Person("trudy"))
    assert caught.value.code == "security.founded"


async def test_only_the_operator_founds(bench: Bench) -> None:
    with pytest.raises(ConsentError):
        await bench.platform.found_officers(o.Founding(cards=(Person("an").card, Person("bo").card)))


@pytest.mark.parametrize("roles", [(("enrol",), ("keys",)), (("enrol",),)], ids=["one enrols", "one person"])
async def test_one_person_founds_nothing(bench: Bench, roles: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(LocalError) as caught:
        await founded(bench, *(Person(f"p{number}", each) for number, each in enumerate(roles)))
    assert caught.value.code == "security.two-persons"
    assert await bench.platform.officers() == ()


async def test_one_officer_signing_twice_is_one_person(bench: Bench) -> None:
    an, _ = await founded(bench)
    await refused(
        bench, ordered("officers", change(add=(Person("cy").card,)), (an, an)), "security.two-persons"
    )


async def test_one_key_under_two_names_is_one_person(bench: Bench) -> None:
    an, bo = await founded(bench)
    twin = Person("cy")
    twin.key = an.key
    await refused(bench, ordered("officers", change(add=(twin.card,)), (an, bo)), "security.officer")


async def test_a_card_for_somebody_elses_key(bench: Bench) -> None:
    """Who registers a key must hold it: the proof on a card is made with it, over id and roles."""
    an, bo = await founded(bench)
    theirs = structs.replace(Person("cy").card, point=Person("victim").key.public_point)
    await refused(bench, ordered("officers", change(add=(theirs,)), (an, bo)), "security.signature")
    raised = structs.replace(Person("cy", ("command",)).card, roles=("enrol",))
    await refused(bench, ordered("officers", change(add=(raised,)), (an, bo)), "security.signature")


async def test_a_replayed_request(bench: Bench) -> None:
    an, bo = await founded(bench)
    order = ordered("officers", change(add=(Person("cy").card,)), (an, bo))
    await bench.platform.submit(order)
    await refused(bench, order, "security.replayed")
    other = change(remove=("cy",))
    stolen = structs.replace(other, request_id=o.decoded(order.request, o.OfficerChange).request_id)
    await refused(bench, ordered("officers", stolen, (an, bo)), "security.replayed")
    await refused(bench.restarted(), order, "security.replayed")


async def test_an_expired_request(bench: Bench) -> None:
    an, bo = await founded(bench)
    order = ordered("officers", change(add=(Person("cy").card,)), (an, bo))
    bench.clock.now = NOW + HOUR + 1
    await refused(bench, order, "security.expired")


async def test_a_request_without_an_end_in_sight(bench: Bench) -> None:
    an, bo = await founded(bench)
    order = ordered("officers", change(not_after=NOW + 8 * DAY), (an, bo))
    await refused(bench, order, "security.request")


async def test_another_purposes_signature(bench: Bench) -> None:
    an, bo = await founded(bench)
    raw = o.encoded(change(add=(Person("cy").card,)))
    for purpose in ("command", "card", "officer", ""):
        signatures = (an.sign("officers", raw), bo.sign(purpose, raw))
        await refused(
            bench,
            o.SignedOrder(purpose="officers", request=raw, signatures=signatures),
            "security.signature",
        )


async def test_another_projects_request(bench: Bench) -> None:
    an, bo = await founded(bench)
    await refused(bench, ordered("officers", change(project_id=bytes(16)), (an, bo)), "security.project")


async def test_a_withdrawn_officer(bench: Bench) -> None:
    an, bo = await founded(bench)
    cy = Person("cy")
    await bench.platform.submit(ordered("officers", change(add=(cy.card,)), (an, bo)))
    signed_before = ordered("officers", change(add=(Person("di").card,)), (an, bo))
    await bench.platform.submit(ordered("officers", change(remove=("bo",)), (an, cy)))
    await refused(bench, signed_before, "security.officer")
    back = Person("bo")
    await refused(bench, ordered("officers", change(add=(back.card,)), (an, cy)), "security.officer")


async def test_a_missing_role(bench: Bench) -> None:
    an, _, cy = await founded(bench, Person("an"), Person("bo"), Person("cy", ("command",)))
    await refused(bench, ordered("officers", change(remove=("bo",)), (an, cy)), "security.role")


async def test_a_stranger_beside_an_officer(bench: Bench) -> None:
    an, _ = await founded(bench)
    await refused(
        bench, ordered("officers", change(remove=("bo",)), (an, Person("mallory"))), "security.officer"
    )


async def test_the_last_two_cannot_lock_everybody_out(bench: Bench) -> None:
    an, bo = await founded(bench)
    await refused(bench, ordered("officers", change(remove=("bo",)), (an, bo)), "security.two-persons")


async def test_every_bit_of_request_and_signature_counts(bench: Bench) -> None:
    an, bo = await founded(bench)
    order = ordered("officers", change(add=(Person("cy").card,)), (an, bo))
    for at in range(0, 8 * len(order.request), 7):
        raw = bytearray(order.request)
        raw[at // 8] ^= 1 << at % 8
        with pytest.raises(MetersealError):
            await bench.platform.submit(structs.replace(order, request=bytes(raw)))
    first, second = order.signatures
    for at in range(0, 512, 5):
        bent = bytearray(second.signature)
        bent[at // 8] ^= 1 << at % 8
        wrong = structs.replace(second, signature=bytes(bent))
        with pytest.raises(TrustError):
            await bench.platform.submit(structs.replace(order, signatures=(first, wrong)))
    assert len(await bench.platform.officers()) == 2
    await bench.platform.submit(order)


async def test_a_request_that_is_encoded_in_another_way(bench: Bench) -> None:
    """What was signed is what is read: no trailing bytes, no longer form of the same values."""
    an, bo = await founded(bench)
    raw = o.encoded(change(add=(Person("cy").card,)))
    for other in (raw + b"\xc0", b"\xdc\x00\x05" + raw[1:]):
        signatures = (an.sign("officers", other), bo.sign("officers", other))
        await refused(
            bench, o.SignedOrder(purpose="officers", request=other, signatures=signatures), "security.request"
        )


async def test_an_unknown_purpose(bench: Bench) -> None:
    an, bo = await founded(bench)
    await refused(bench, ordered("everything", change(), (an, bo)), "security.purpose")


async def test_the_book_put_back_to_an_older_copy(bench: Bench) -> None:
    """A roll-back of the book alone would make used requests new; the service does not start with it."""
    an, bo = await founded(bench)
    bench.service.close()
    older = (bench.directory / "acts.db").read_bytes()
    now = bench.restarted_from_closed()
    await now.platform.submit(ordered("officers", change(add=(Person("cy").card,)), (an, bo)))
    now.service.close()
    (bench.directory / "acts.db").write_bytes(older)
    with pytest.raises(TrustError) as caught:
        now.restarted_from_closed()
    assert caught.value.code == "security.rolled-back"


async def test_an_officer_written_into_the_file_by_hand(bench: Bench) -> None:
    await founded(bench)
    bench.service.close()
    import sqlite3

    with sqlite3.connect(bench.directory / "acts.db") as connection:
        sealed = bytearray(connection.execute("SELECT sealed FROM document").fetchone()[0])
        sealed[-20] ^= 1
        connection.execute("UPDATE document SET sealed = ?", (bytes(sealed),))
    connection.close()
    with pytest.raises(TrustError) as caught:
        bench.restarted_from_closed()
    assert caught.value.code == "security.tampered"


async def test_the_officers_file_taken_from_another_system(
    bench: Bench, template: object, tmp_path: object
) -> None:
    """A register sealed elsewhere does not open here: each system has a key of its own."""
    await founded(bench)
    assert (await operator(bench).officers())[0].officer == "an"
    bench.service.close()
    from pathlib import Path

    from meterseal.security.service import provision

    from .conftest import PASSPHRASE, PROJECT, Clock

    assert isinstance(tmp_path, Path)
    other = tmp_path / "other"
    provision(other, PASSPHRASE, PROJECT, NOW)
    shutil.copy(bench.directory / "acts.db", other / "acts.db")
    with pytest.raises(TrustError) as caught:
        Bench(other, Clock())
    assert caught.value.code == "security.tampered"


async def test_random_bytes_are_no_request(bench: Bench) -> None:
    an, bo = await founded(bench)
    for size in (0, 1, 40, 70_000):
        raw = os.urandom(size)
        signatures = (an.sign("officers", raw), bo.sign("officers", raw))
        await refused(
            bench, o.SignedOrder(purpose="officers", request=raw, signatures=signatures), "security.request"
        )
