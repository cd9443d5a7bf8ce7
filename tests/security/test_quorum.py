"""The quorum: fewer than m people open nothing, and whatever happens in a ceremony nobody is locked out."""

from __future__ import annotations

import itertools
import os

import msgspec
import pytest

from meterseal.crypto import sm2
from meterseal.crypto.expose import expose
from meterseal.errors import LocalError, TrustError
from meterseal.security import quorum
from meterseal.security import rootorders as r

from .conftest import DAY, PASSPHRASE, Bench
from .people import Person, fields, founded, operator, ordered


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


def test_an_altered_share_and_shares_of_two_ceremonies() -> None:
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


async def shared(bench: Bench) -> dict[str, bytes]:
    """A system whose root two of three people open; their shares in clear."""
    await founded(bench, *PEOPLE)
    begun = await operator(bench).quorum_begin(2, [person.officer for person in PEOPLE], PASSPHRASE)
    shares = {
        one.officer: person.key.decrypt(one.sealed) for one, person in zip(begun.shares, PEOPLE, strict=True)
    }
    await operator(bench).quorum_confirm([sm2.encrypt(begun.point, share) for share in shares.values()])
    return shares


async def opened(bench: Bench, shares: list[bytes]) -> None:
    point = await operator(bench).root_ceremony()
    await operator(bench).open_root([sm2.encrypt(point, share) for share in shares])


async def rotate_ca(bench: Bench, authority: str = "device") -> None:
    request = r.RotateAuthority(**fields(), authority=authority)  # type: ignore[arg-type]
    await bench.platform.submit(ordered("ca-rotate", request, PEOPLE[:2]))


async def test_a_quorum_opens_the_root_for_one_act_and_the_passphrase_no_more(bench: Bench) -> None:
    assert "lab default" in (await operator(bench).quorum()).sentence
    shares = await shared(bench)
    facts = await operator(bench).quorum()
    assert (facts.threshold, facts.people) == (2, ("an", "bo", "cy"))
    with pytest.raises(TrustError) as caught:
        await operator(bench).open_root(passphrase=PASSPHRASE)
    assert caught.value.code == "security.quorum"
    with pytest.raises(TrustError) as closed:
        await rotate_ca(bench)
    assert closed.value.code == "security.root-closed"
    await opened(bench, [shares["an"], shares["cy"]])
    await rotate_ca(bench)
    assert bench.service.room.pki.version("device") == 2
    with pytest.raises(TrustError) as once:
        await rotate_ca(bench)
    assert once.value.code == "security.root-closed"


async def test_daily_running_needs_no_quorum(bench: Bench) -> None:
    old = await bench.module(1)
    await shared(bench)
    again = bench.restarted()
    await again.shake(old)
    await again.shake(await again.module(2))
    await operator(again).rotate("diak")
    states = {one.id: one.state for one in (await again.platform.usage()).keys}
    assert (states["ROOT"], states["REGION"], states["PROJECT"]) == ("destroyed", "destroyed", "active")


async def test_one_holder_alone(bench: Bench) -> None:
    shares = await shared(bench)
    for few in ([shares["an"]], [shares["an"], shares["an"]]):
        with pytest.raises(TrustError) as caught:
            await opened(bench, few)
        assert caught.value.code == "security.quorum"


async def test_an_altered_share_opens_nothing(bench: Bench) -> None:
    shares = await shared(bench)
    bent = shares["bo"][:-1] + bytes((shares["bo"][-1] ^ 1,))
    with pytest.raises(TrustError) as caught:
        await opened(bench, [shares["an"], bent])
    assert caught.value.code == "security.share"
    await opened(bench, [shares["an"], shares["bo"]])


async def test_recorded_shares_open_nothing_later(bench: Bench) -> None:
    """Who wrote down what went over the socket in one ceremony has nothing for the next."""
    shares = await shared(bench)
    point = await operator(bench).root_ceremony()
    sent = [sm2.encrypt(point, shares[name]) for name in ("an", "bo")]
    await operator(bench).open_root(sent)
    with pytest.raises(TrustError) as caught:
        await operator(bench).open_root(sent)
    assert caught.value.code == "security.ceremony"
    await operator(bench).root_ceremony()
    with pytest.raises(TrustError) as other:
        await operator(bench).open_root(sent)
    assert other.value.code == "security.share"


async def test_an_opened_root_closes_by_itself(bench: Bench) -> None:
    shares = await shared(bench)
    await opened(bench, [shares["an"], shares["bo"]])
    bench.clock.now += 5 * 60_000 + 1
    with pytest.raises(TrustError) as caught:
        await rotate_ca(bench)
    assert caught.value.code == "security.root-closed"
    point = await operator(bench).root_ceremony()
    bench.clock.now += DAY + 1
    with pytest.raises(TrustError) as late:
        await operator(bench).open_root([sm2.encrypt(point, share) for share in shares.values()])
    assert late.value.code == "security.ceremony"


async def test_a_ceremony_that_not_everybody_confirmed_changes_nothing(bench: Bench) -> None:
    await founded(bench, *PEOPLE)
    begun = await operator(bench).quorum_begin(2, ["an", "bo", "cy"], PASSPHRASE)
    shares = [p.key.decrypt(one.sealed) for one, p in zip(begun.shares, PEOPLE, strict=True)]
    with pytest.raises(TrustError) as caught:
        await operator(bench).quorum_confirm([sm2.encrypt(begun.point, share) for share in shares[:2]])
    assert caught.value.code == "security.share"
    again = bench.restarted()
    with pytest.raises(LocalError):
        await operator(again).quorum_confirm([sm2.encrypt(begun.point, share) for share in shares])
    await operator(again).open_root(passphrase=PASSPHRASE)
    await rotate_ca(again, "platform")


async def test_a_crash_after_the_file_was_written_is_made_good_at_the_next_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("meterseal.security.offline.destroy_top", lambda vault: None)
        shares = await shared(bench)
    assert bench.service.room.keys.facts("ROOT", 1).state == "active"
    again = bench.restarted()
    assert again.service.room.keys.facts("ROOT", 1).state == "destroyed"
    await opened(again, [shares["an"], shares["bo"]])
    await rotate_ca(again)


async def test_a_foreign_quorum_file_does_not_end_our_root(bench: Bench) -> None:
    """Who puts another system's offline file into the directory does not make the service destroy ROOT."""
    folder = bench.directory / "offline"
    (folder / "root.key").unlink()
    foreign = {"threshold": 2, "people": ["x", "y"], "root": b"", "top": b""}
    (folder / "root.key").write_bytes(msgspec.msgpack.encode(foreign))
    again = bench.restarted()
    assert again.service.room.keys.facts("ROOT", 1).state == "active"


async def test_shares_go_to_officers_only(bench: Bench) -> None:
    await founded(bench, *PEOPLE)
    for wrong in (["an", "mallory"], ["an", "an"]):
        with pytest.raises(LocalError) as caught:
            await operator(bench).quorum_begin(2, wrong, PASSPHRASE)
        assert caught.value.code == "security.officer"
    with pytest.raises(TrustError) as locked:
        await operator(bench).quorum_begin(2, ["an", "bo"], b"another passphrase")
    assert locked.value.code == "security.passphrase"


async def test_no_secret_of_a_ceremony_lies_on_the_disk(bench: Bench) -> None:
    room = bench.service.room
    top = [expose(room.keys.symmetric(key_id, 1)) for key_id in ("ROOT", "REGION")]
    shares = await shared(bench)
    secret = quorum.combine(list(shares.values()))
    bench.service.close()
    on_disk = b"".join(path.read_bytes() for path in bench.directory.rglob("*") if path.is_file())
    for hidden in (secret, *top, *(share[-16:] for share in shares.values())):
        assert hidden not in on_disk
        assert hidden.hex().encode() not in on_disk
