"""The quorum: fewer than m people open nothing, what was put back opens nothing, and nobody is locked out half-way."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
from collections.abc import Iterable

import msgspec
import pytest

from meterseal.crypto import sm2
from meterseal.crypto.expose import expose
from meterseal.errors import LocalError, TrustError
from meterseal.security import offline, quorum
from meterseal.security import orders as o
from meterseal.security import rootorders as r

from .conftest import NOW, PASSPHRASE, Bench
from .people import HOUR, Person, fields, founded, operator, ordered


@pytest.mark.parametrize(("threshold", "people"), [(2, 2), (2, 3), (3, 5), (16, 16)])
def test_any_m_of_n_and_no_fewer(threshold: int, people: int) -> None:
    secret = os.urandom(16)
    shares = quorum.split(secret, threshold, people)
    for chosen in itertools.islice(itertools.combinations(shares, threshold), 40):
        assert quorum.combine(chosen) == secret
    assert quorum.combine(shares) == secret
    for few in (shares[: threshold - 1], [shares[0]] * threshold, []):
        with pytest.raises(TrustError) as caught:
            quorum.combine(few)
        assert caught.value.code == "security.quorum"


def test_one_share_fewer_fits_every_secret() -> None:
    """With m - 1 shares each value of a byte is as good as any other: for one share of two, all 256 remain."""
    share = quorum.split(bytes(16), 2, 2)[0]
    found = set()
    for guess in range(256):
        other = share[:13] + bytes((2,)) + bytes((guess,)) * 16
        found.add(quorum.combine([share, other])[0])
    assert len(found) == 256


def test_the_field_is_that_of_aes() -> None:
    """FIPS 197 section 4.2: {57} x {83} = {c1}; every value but 0 has its inverse."""
    assert quorum._times(0x57, 0x83) == 0xC1
    assert all(quorum._times(value, quorum._inverse(value)) == 1 for value in range(1, 256))


def test_an_altered_share_and_shares_of_two_quorums() -> None:
    secret = os.urandom(16)
    one, two = quorum.split(secret, 2, 3)[:2]
    stranger = quorum.split(secret, 2, 3)[1]
    assert quorum.combine([one, two[:-1] + bytes((two[-1] ^ 1,))]) != secret
    for wrong in (stranger, two[:-1], two + b"!", b"", b"X" + two[1:]):
        with pytest.raises(TrustError) as caught:
            quorum.combine([one, wrong])
        assert caught.value.code == "security.share"


@pytest.mark.parametrize(("threshold", "people"), [(1, 3), (4, 3), (2, 17), (0, 0)])
def test_a_quorum_that_is_none(threshold: int, people: int) -> None:
    with pytest.raises(LocalError):
        quorum.split(bytes(16), threshold, people)


PEOPLE = tuple(Person(name) for name in ("an", "bo", "cy"))
SHARES = dict[str, bytes]


async def order(bench: Bench, purpose: str, request: o.Request, people: Iterable[Person]) -> o.Done:
    return await bench.platform.submit(ordered(purpose, request, people))


async def ask_for(bench: Bench, authority: str = "device") -> bytes:
    """Two officers order a new version of a CA, which then waits; the id of the opening."""
    request = r.RotateAuthority(**fields(bench.clock.now + HOUR), authority=authority)  # type: ignore[arg-type]
    waits = await order(bench, "ca-rotate", request, PEOPLE[:2])
    assert "waits" in waits.sentence
    return request.request_id


def handed(opening: r.Opening, who: Person, share: bytes, *, until: int = 0) -> o.SignedOrder:
    """What a holder signs: their share, for this opening and this act."""
    request = r.ShareIn(
        **fields(until or opening.until),  # type: ignore[arg-type]
        opening=opening.opening,
        act=r.act_digest(opening.purpose, opening.request),
        sealed=sm2.encrypt(opening.point, share),
    )
    return ordered("root-share", request, [who])


async def hand_in(bench: Bench, shares: SHARES, *names: str) -> o.Done:
    opening = await bench.platform.root_opening()
    done = None
    for who in [one for one in PEOPLE if one.officer in names]:
        done = await bench.platform.submit(handed(opening, who, shares[who.officer]))
    assert done is not None
    return done


async def begun(bench: Bench, threshold: int, people: Iterable[Person], current: SHARES | None) -> SHARES:
    """Officers order a quorum and the root is opened for it; the new shares in clear, not confirmed yet."""
    people = tuple(people)
    request = r.NewQuorum(
        **fields(bench.clock.now + HOUR),  # type: ignore[arg-type]
        threshold=threshold,
        officers=tuple(person.officer for person in people),
    )
    await order(bench, "root-quorum", request, PEOPLE[:2])
    if current is None:
        await operator(bench).open_root(PASSPHRASE)
    else:
        await hand_in(bench, current, *current)
    coming = await operator(bench).coming_quorum()
    assert coming.kept == ()
    return {
        one.officer: person.key.decrypt(one.sealed) for one, person in zip(coming.shares, people, strict=True)
    }


async def kept(bench: Bench, who: Person, share: bytes) -> bool:
    """A new holder shows that their share opens; whether the quorum is in force now."""
    request = r.ShareKept(
        **fields(bench.clock.now + HOUR),  # type: ignore[arg-type]
        quorum_id=quorum.id_of(share),
        check=quorum.check_of(share),
    )
    done = await order(bench, "root-kept", request, [who])
    return bool(json.loads(done.facts)["in_force"])


async def shared(
    bench: Bench, threshold: int = 2, people: Iterable[Person] = PEOPLE, current: SHARES | None = None
) -> SHARES:
    """A quorum in force; its shares in clear."""
    people = tuple(people)
    if current is None:
        await founded(bench, *PEOPLE)
    shares = await begun(bench, threshold, people, current)
    in_force = [await kept(bench, person, shares[person.officer]) for person in people]
    assert in_force == [False] * (len(people) - 1) + [True]
    return shares


def device_ca(bench: Bench) -> int:
    return bench.service.room.pki.version("device")


async def refused(bench: Bench, code: str, shares: SHARES, *names: str) -> str:
    """A new CA is ordered and the shares of these officers do not make it; the sentence."""
    before = device_ca(bench)
    await ask_for(bench)
    with pytest.raises((TrustError, LocalError)) as caught:
        await hand_in(bench, shares, *names)
    assert caught.value.code == code
    assert device_ca(bench) == before
    return caught.value.message


# --- who opens


async def test_a_quorum_opens_the_root_for_one_act_and_the_passphrase_no_more(bench: Bench) -> None:
    assert "lab default" in (await operator(bench).quorum()).sentence
    shares = await shared(bench)
    facts = await operator(bench).quorum()
    assert (facts.threshold, facts.people, facts.present) == (2, ("an", "bo", "cy"), True)
    await ask_for(bench)
    with pytest.raises(TrustError) as caught:
        await operator(bench).open_root(PASSPHRASE)
    assert caught.value.code == "security.quorum"
    half = await hand_in(bench, shares, "an")
    assert json.loads(half.facts) == {"here": ["an"], "needed": 2}
    assert device_ca(bench) == 1
    done = await hand_in(bench, shares, "cy")
    assert (json.loads(done.facts), done.officers, device_ca(bench)) == ({"version": 2}, ("an", "bo"), 2)
    with pytest.raises(TrustError) as once:
        await bench.platform.root_opening()
    assert once.value.code == "security.root-closed"


async def test_without_an_order_of_two_officers_nothing_waits_for_shares(bench: Bench) -> None:
    await shared(bench)
    request = r.RotateAuthority(**fields(), authority="device")  # type: ignore[arg-type]
    for signers in (PEOPLE[:1], [PEOPLE[0], PEOPLE[0]]):
        with pytest.raises(TrustError) as alone:
            await order(bench, "ca-rotate", request, signers)
        assert alone.value.code == "security.two-persons"
    with pytest.raises(TrustError) as nothing:
        await bench.platform.root_opening()
    assert nothing.value.code == "security.root-closed"
    with pytest.raises(TrustError) as passphrase:
        await operator(bench).open_root(PASSPHRASE)
    assert passphrase.value.code == "security.root-closed"


async def test_under_the_lab_default_a_wrong_passphrase_leaves_the_act_waiting(bench: Bench) -> None:
    await founded(bench, *PEOPLE)
    await ask_for(bench)
    with pytest.raises(TrustError) as caught:
        await operator(bench).open_root(b"another passphrase")
    assert caught.value.code == "security.passphrase"
    await operator(bench).open_root(PASSPHRASE)
    assert device_ca(bench) == 2


async def test_daily_running_needs_no_quorum(bench: Bench) -> None:
    old = await bench.module(1)
    await shared(bench)
    again = bench.restarted()
    await again.shake(old)
    await again.shake(await again.module(2))
    await operator(again).rotate("diak")
    states = {one.id: one.state for one in (await again.platform.usage()).keys}
    assert (states["ROOT"], states["REGION"], states["PROJECT"]) == ("destroyed", "destroyed", "active")


# --- shares


async def test_one_holder_alone_even_twice(bench: Bench) -> None:
    shares = await shared(bench)
    await ask_for(bench)
    for _ in range(2):
        done = await hand_in(bench, shares, "an")
        assert json.loads(done.facts)["here"] == ["an"]
    assert device_ca(bench) == 1


async def test_a_wrong_share_is_named_and_the_right_ones_still_count(bench: Bench) -> None:
    shares = await shared(bench)
    bent = shares["bo"][:-1] + bytes((shares["bo"][-1] ^ 1,))
    stranger = quorum.split(bytes(16), 2, 3)[1]
    await ask_for(bench)
    await hand_in(bench, shares, "an")
    for wrong in (bent, stranger, shares["cy"], b"no share"):
        with pytest.raises(TrustError) as caught:
            await hand_in(bench, {"bo": wrong}, "bo")
        assert caught.value.code == "security.share"
        assert "bo" in caught.value.message
    await hand_in(bench, shares, "bo")
    assert device_ca(bench) == 2


async def test_a_share_that_was_recorded_opens_nothing_later(bench: Bench) -> None:
    """Who wrote down what was handed in for one opening has nothing for the next: not as it was, and not retold."""
    shares = await shared(bench)
    await ask_for(bench)
    opening = await bench.platform.root_opening()
    sent = [handed(opening, who, shares[who.officer]) for who in PEOPLE[:2]]
    for one in sent:
        await bench.platform.submit(one)
    await ask_for(bench)
    later = await bench.platform.root_opening()
    for one in sent:
        with pytest.raises(TrustError) as again:
            await bench.platform.submit(one)
        assert again.value.code == "security.replayed"
    unused = handed(opening, PEOPLE[2], shares["cy"])
    with pytest.raises(TrustError) as other:
        await bench.platform.submit(unused)
    assert other.value.code == "security.opening"
    recorded = o.decoded(unused.request, r.ShareIn)
    retold = msgspec.structs.replace(
        recorded, opening=later.opening, act=r.act_digest(later.purpose, later.request)
    )
    with pytest.raises(TrustError) as sealed:  # even its holder's signature does not bring the old seal back
        await bench.platform.submit(ordered("root-share", retold, [PEOPLE[2]]))
    assert sealed.value.code == "security.share"
    assert device_ca(bench) == 2


async def test_a_share_for_one_act_serves_no_other(bench: Bench) -> None:
    """The holder's words name the act: who swaps what is ordered under the same opening gets nothing."""
    shares = await shared(bench)
    await ask_for(bench)
    opening = await bench.platform.root_opening()
    close = r.CloseAuthority(**fields(), authority="device", version=1)  # type: ignore[arg-type]
    other = msgspec.structs.replace(opening, purpose="ca-close", request=o.encoded(close))
    with pytest.raises(TrustError) as caught:
        await bench.platform.submit(handed(other, PEOPLE[0], shares["an"]))
    assert caught.value.code == "security.opening"


async def test_somebody_elses_share_and_one_signed_by_two(bench: Bench) -> None:
    shares = await shared(bench, 2, PEOPLE[:2])
    await ask_for(bench)
    opening = await bench.platform.root_opening()
    with pytest.raises(TrustError) as caught:
        await bench.platform.submit(handed(opening, PEOPLE[2], shares["an"]))
    assert caught.value.code == "security.share"
    request = r.ShareIn(
        **fields(),  # type: ignore[arg-type]
        opening=opening.opening,
        act=r.act_digest(opening.purpose, opening.request),
        sealed=sm2.encrypt(opening.point, shares["an"]),
    )
    with pytest.raises(TrustError) as two:
        await bench.platform.submit(ordered("root-share", request, PEOPLE[:2]))
    assert two.value.code == "security.share"
    with pytest.raises(TrustError) as nobody:
        await bench.platform.submit(ordered("root-share", request, [Person("di")]))
    assert nobody.value.code == "security.officer"


# --- nothing stays open


async def test_what_waits_ends_with_its_time_with_another_order_and_with_the_service(bench: Bench) -> None:
    shares = await shared(bench)
    desk = next(one for one in bench.service._desks if "root_opening" in one.acts())
    first = await ask_for(bench)
    await hand_in(bench, shares, "an")
    assert await ask_for(bench) != first
    assert (await bench.platform.root_opening()).handed_in == ()
    await hand_in(bench, shares, "an")
    bench.clock.now += HOUR + 1
    with pytest.raises(TrustError) as late:
        await bench.platform.root_opening()
    assert late.value.code == "security.root-closed"
    assert vars(desk)["_waiting"] is None
    await ask_for(bench)
    await hand_in(bench, shares, "an")
    again = bench.restarted()
    assert vars(desk)["_waiting"] is None
    with pytest.raises(TrustError):
        await again.platform.root_opening()


async def test_what_waits_is_forgotten_by_the_clock_when_nobody_asks(bench: Bench) -> None:
    await shared(bench)
    request = r.RotateAuthority(**fields(bench.clock.now + 50), authority="device")  # type: ignore[arg-type]
    await order(bench, "ca-rotate", request, PEOPLE[:2])
    desk = next(one for one in bench.service._desks if "root_opening" in one.acts())
    assert vars(desk)["_waiting"] is not None
    await asyncio.sleep(0.1)
    assert vars(desk)["_waiting"] is None


async def test_an_act_that_cannot_be_done_uses_no_order_up_and_asks_for_no_share(bench: Bench) -> None:
    await shared(bench)
    request = r.CloseAuthority(**fields(), authority="device", version=1)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(LocalError) as caught:
            await order(bench, "ca-close", request, PEOPLE[:2])
        assert caught.value.code == "security.authority"
    with pytest.raises(TrustError):
        await bench.platform.root_opening()


# --- what was put back


async def test_an_older_root_file_put_back_opens_nothing(bench: Bench) -> None:
    """The file of the lab default with the passphrase, and the file of the quorum before with its own shares."""
    folder = bench.directory / "offline"
    shutil.copy(folder / "root.key", bench.directory.parent / "lab.key")
    old = await shared(bench)
    shutil.copy(folder / "root.key", bench.directory.parent / "old.key")
    new = await shared(bench, 2, PEOPLE, {name: old[name] for name in ("an", "bo")})
    right = (folder / "root.key").read_bytes()
    for kept_back in ("lab.key", "old.key"):
        offline.replace(folder, (bench.directory.parent / kept_back).read_bytes())
        assert not (await operator(bench).quorum()).present
        request = r.RotateAuthority(**fields(), authority="device")  # type: ignore[arg-type]
        with pytest.raises(TrustError) as caught:
            await order(bench, "ca-rotate", request, PEOPLE[:2])
        assert caught.value.code == "security.root-file"
    offline.replace(folder, right)
    await ask_for(bench)
    offline.replace(folder, (bench.directory.parent / "old.key").read_bytes())  # while the act waits
    with pytest.raises(TrustError) as between:
        await hand_in(bench, new, "an", "bo")
    assert between.value.code == "security.root-file"
    offline.replace(folder, right)
    assert "older quorum" in await refused(bench, "security.share", old, "an", "bo")
    await hand_in(bench, new, "an", "bo")
    assert device_ca(bench) == 2


async def test_an_older_file_with_its_own_shares_lacks_the_vaults_half(bench: Bench) -> None:
    """Whoever stole the older file and enough older shares, and sees the vaults of today, still opens nothing."""
    folder, room = bench.directory / "offline", bench.service.room
    old = await shared(bench)
    half = expose(room.authorities.symmetric("ROOT-SEAL", 1))
    stolen = (folder / "root.key").read_bytes()
    await shared(bench, 2, PEOPLE, {name: old[name] for name in ("an", "bo")})
    assert [one.state for one in room.authorities.all_facts() if one.id == "ROOT-SEAL"] == [
        "destroyed",
        "active",
    ]
    offline.replace(folder, stolen)
    today = room.authorities.symmetric("ROOT-SEAL", 2)
    with pytest.raises(TrustError):
        offline.unseal(folder, offline.quorum_key(quorum.combine([*old.values()]), today))
    bench.service.close()
    on_disk = b"".join(path.read_bytes() for path in bench.directory.rglob("*") if path.is_file())
    assert half not in on_disk


async def test_a_foreign_quorum_file_does_not_end_our_root(bench: Bench) -> None:
    """Who puts another system's offline file into the directory does not make the service destroy ROOT."""
    folder = bench.directory / "offline"
    foreign = {"generation": 1, "quorum_id": b"12345678", "root": b"", "top": b""}
    offline.replace(folder, msgspec.msgpack.encode(foreign))
    again = bench.restarted()
    assert again.service.room.keys.facts("ROOT", 1).state == "active"
    await founded(again, *PEOPLE)
    await ask_for(again)
    with pytest.raises(TrustError) as caught:
        await operator(again).open_root(PASSPHRASE)
    assert caught.value.code == "security.root-file"


async def test_an_offline_directory_that_was_carried_away_comes_back(bench: Bench) -> None:
    shares = await shared(bench)
    away = bench.directory.parent / "away"
    (bench.directory / "offline").rename(away)
    again = bench.restarted()
    request = r.RotateAuthority(**fields(), authority="device")  # type: ignore[arg-type]
    with pytest.raises(LocalError) as caught:
        await order(again, "ca-rotate", request, PEOPLE[:2])
    assert caught.value.code == "security.offline"
    assert "not here" in (await operator(again).quorum()).sentence
    away.rename(bench.directory / "offline")
    await order(again, "ca-rotate", request, PEOPLE[:2])  # nothing had been used up
    await hand_in(again, shares, "bo", "cy")
    assert device_ca(again) == 2


# --- renewal, other numbers, other people


async def test_a_renewal_needs_two_officers_and_the_quorum_of_today(bench: Bench) -> None:
    shares = await shared(bench)
    request = r.NewQuorum(**fields(), threshold=2, officers=("an", "bo"))  # type: ignore[arg-type]
    with pytest.raises(TrustError) as alone:
        await order(bench, "root-quorum", request, PEOPLE[:1])
    assert alone.value.code == "security.two-persons"
    await order(bench, "root-quorum", request, PEOPLE[:2])
    with pytest.raises(TrustError) as passphrase:
        await operator(bench).open_root(PASSPHRASE)
    assert passphrase.value.code == "security.quorum"
    await hand_in(bench, shares, "cy")
    with pytest.raises(LocalError) as nothing:
        await operator(bench).coming_quorum()
    assert nothing.value.code == "security.quorum"


async def test_m_and_n_change_by_a_renewal_and_older_shares_are_dead(bench: Bench) -> None:
    old = await shared(bench)
    two = await shared(bench, 2, PEOPLE[1:], {name: old[name] for name in ("an", "bo")})
    facts = await operator(bench).quorum()
    assert (facts.threshold, facts.people, facts.generation) == (2, ("bo", "cy"), 2)
    assert "an" in await refused(bench, "security.share", old, "an")
    assert "bo" in await refused(bench, "security.share", old, "bo")
    three = await shared(bench, 3, PEOPLE, two)
    await ask_for(bench)
    await hand_in(bench, three, "an", "bo")
    assert device_ca(bench) == 1
    await hand_in(bench, three, "cy")
    assert device_ca(bench) == 2


async def test_until_every_holder_has_shown_their_share_the_quorum_of_before_opens(bench: Bench) -> None:
    old = await shared(bench)
    new = await begun(bench, 3, PEOPLE, {name: old[name] for name in ("an", "bo")})
    assert not await kept(bench, PEOPLE[0], new["an"])
    for share in (old["bo"], new["cy"], b"nothing of the kind"):
        with pytest.raises(TrustError) as caught:
            await kept(bench, PEOPLE[1], share)
        assert caught.value.code == "security.share"
    again = bench.restarted()  # what was shown stays shown
    assert (await operator(again).quorum()).waiting == ("bo", "cy")
    assert not await kept(again, PEOPLE[1], new["bo"])
    await ask_for(again)
    await hand_in(again, old, "bo", "cy")
    assert device_ca(again) == 2
    assert await kept(again, PEOPLE[2], new["cy"])
    assert (await operator(again).quorum()).threshold == 3


async def test_a_quorum_that_was_not_confirmed_gives_way_to_the_next(bench: Bench) -> None:
    await founded(bench, *PEOPLE)
    lost = await begun(bench, 2, PEOPLE, None)
    assert not await kept(bench, PEOPLE[0], lost["an"])
    shares = await begun(bench, 2, PEOPLE[:2], None)
    with pytest.raises(TrustError) as caught:
        await kept(bench, PEOPLE[1], lost["bo"])
    assert caught.value.code == "security.share"
    assert [await kept(bench, who, shares[who.officer]) for who in PEOPLE[:2]] == [False, True]
    states = [one.state for one in bench.service.room.authorities.all_facts() if one.id == "ROOT-SEAL"]
    assert states == ["destroyed", "active"]
    await ask_for(bench)
    await hand_in(bench, shares, "an", "bo")
    assert device_ca(bench) == 2


@pytest.mark.parametrize(
    ("threshold", "officers", "code"),
    [
        (2, ("an", "mallory"), "security.officer"),
        (2, ("an", "an"), "security.officer"),
        (2, ("an", "ed"), "security.officer"),
        (1, ("an", "bo"), "security.quorum"),
        (3, ("an", "bo"), "security.quorum"),
    ],
)
async def test_shares_go_to_officers_with_the_role_ca_and_m_of_n_is_one(
    bench: Bench, threshold: int, officers: tuple[str, ...], code: str
) -> None:
    await founded(bench, *PEOPLE, Person("ed", ("enrol", "keys", "command")))
    request = r.NewQuorum(**fields(), threshold=threshold, officers=officers)  # type: ignore[arg-type]
    with pytest.raises(LocalError) as caught:
        await order(bench, "root-quorum", request, PEOPLE[:2])
    assert caught.value.code == code


# --- officers who leave


async def leave(bench: Bench, name: str, signers: Iterable[Person]) -> None:
    change = o.OfficerChange(**fields(bench.clock.now + HOUR), remove=(name,))  # type: ignore[arg-type]
    await order(bench, "officers", change, signers)


async def test_the_share_of_an_officer_who_left_is_dead_and_nobody_leaves_when_too_few_would_stay(
    bench: Bench,
) -> None:
    shares = await shared(bench)
    await ask_for(bench)
    await hand_in(bench, shares, "cy")  # handed in, then removed
    await leave(bench, "cy", PEOPLE[:2])
    facts = await operator(bench).quorum()
    assert facts.left == ("cy",)
    assert "cy" in facts.sentence
    done = await hand_in(bench, shares, "an")
    assert json.loads(done.facts)["here"] == ["an"]
    with pytest.raises(TrustError) as gone:
        await hand_in(bench, shares, "cy")
    assert gone.value.code == "security.officer"
    with pytest.raises(LocalError) as caught:
        await leave(bench, "an", PEOPLE[:2])
    assert caught.value.code == "security.quorum"
    await hand_in(bench, shares, "bo")
    assert device_ca(bench) == 2
    opening = await ask_for(bench)
    assert opening
    with pytest.raises(TrustError) as borrowed:  # and nobody hands it in for them
        await hand_in(bench, {"an": shares["cy"]}, "an")
    assert borrowed.value.code == "security.share"


async def test_an_act_whose_officers_left_meanwhile_is_not_done(bench: Bench) -> None:
    di = Person("di")
    await founded(bench, *PEOPLE, di)
    shares = await begun(bench, 2, PEOPLE, None)
    for person in PEOPLE:
        await kept(bench, person, shares[person.officer])
    request = r.RotateAuthority(**fields(), authority="device")  # type: ignore[arg-type]
    await order(bench, "ca-rotate", request, [PEOPLE[0], di])
    await leave(bench, "di", PEOPLE[:2])
    with pytest.raises(TrustError) as caught:
        await hand_in(bench, shares, "an", "bo")
    assert caught.value.code == "security.officer"
    assert device_ca(bench) == 1


async def test_a_coming_quorum_whose_holder_left_does_not_begin(bench: Bench) -> None:
    await founded(bench, *PEOPLE)
    shares = await begun(bench, 2, PEOPLE, None)
    await kept(bench, PEOPLE[2], shares["cy"])
    await leave(bench, "cy", PEOPLE[:2])
    with pytest.raises(LocalError) as caught:
        await kept(bench, PEOPLE[0], shares["an"])
    assert caught.value.code == "security.quorum"
    await ask_for(bench)
    await operator(bench).open_root(PASSPHRASE)  # the old way in stays
    assert device_ca(bench) == 2


# --- crashes, and what lies on the disk


@pytest.mark.parametrize("step", ["put_in_force", "destroy_top"])
async def test_a_cut_after_the_book_decided_is_made_good_at_the_next_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await founded(bench, *PEOPLE)
    shares = await begun(bench, 2, PEOPLE, None)
    for person in PEOPLE[:2]:
        await kept(bench, person, shares[person.officer])

    class Cut(BaseException):
        pass

    def cut(*_: object) -> None:
        raise Cut

    monkeypatch.setattr(offline, step, cut)
    with pytest.raises(Cut):
        await kept(bench, PEOPLE[2], shares["cy"])
    monkeypatch.undo()
    assert bench.service.room.keys.facts("ROOT", 1).state == "active"
    again = bench.restarted()
    assert again.service.room.keys.facts("ROOT", 1).state == "destroyed"
    await ask_for(again)
    await hand_in(again, shares, "an", "bo")
    assert device_ca(again) == 2


async def test_no_secret_of_a_quorum_lies_on_the_disk(bench: Bench) -> None:
    room = bench.service.room
    top = [expose(room.keys.symmetric(key_id, 1)) for key_id in ("ROOT", "REGION")]
    shares = await shared(bench)
    secret = quorum.combine(list(shares.values()))
    bench.service.close()
    on_disk = b"".join(path.read_bytes() for path in bench.directory.rglob("*") if path.is_file())
    for hidden in (secret, *top, *(share[-16:] for share in shares.values())):
        assert hidden not in on_disk
        assert hidden.hex().encode() not in on_disk
    assert bench.clock.now == NOW


async def test_shares_of_people_who_all_left_open_nothing(bench: Bench) -> None:
    """The desk asks each holder's signature before; the quorum itself looks again who is an officer."""
    shares = await shared(bench)
    room = bench.service.room
    for gone in ({}, {"dee": shares["an"]}):
        with pytest.raises(TrustError) as caught:
            room.quorum.open(gone)
        assert caught.value.code == "security.quorum"
        assert "nobody is here" in caught.value.message
    assert room.quorum.open(shares).key is not None


async def test_a_quorum_whose_file_was_carried_away_before_the_last_holder_kept_their_share(
    bench: Bench,
) -> None:
    await founded(bench, *PEOPLE)
    shares = await begun(bench, 2, PEOPLE, None)
    dealt = bench.directory / "offline" / offline.DEALT
    for who in PEOPLE[:-1]:
        assert not await kept(bench, who, shares[who.officer])
    content = dealt.read_bytes()
    dealt.unlink()
    with pytest.raises(LocalError) as caught:
        await kept(bench, PEOPLE[-1], shares[PEOPLE[-1].officer])
    assert caught.value.code == "security.offline"
    assert "is not in" in caught.value.message
    dealt.write_bytes(content)
    assert await kept(bench, PEOPLE[-1], shares[PEOPLE[-1].officer])
