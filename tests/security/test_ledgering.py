"""Checkpoints: what is signed, by which key, and that the service never signs two histories."""

from __future__ import annotations

from base64 import b64encode

import pytest
from msgspec.structs import replace

from meterseal.crypto import merkle
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import TrustError
from meterseal.mesh.rpc import InProcess
from meterseal.security.checkpoints import (
    NO_PREVIOUS,
    Checkpoint,
    LedgerKey,
    check_key,
    good,
    key_id,
    read,
    signed,
    verified,
)
from meterseal.security.keyorders import Rotate
from meterseal.security.ledgerorders import LedgerHead, LedgerReset, SignCheckpoint
from meterseal.security.sdk import SecuritySdk
from tests.crypto.test_merkle import ROOTS, node_at
from tests.security.conftest import NOW, Bench
from tests.security.people import fields, founded, ordered
from tests.security.test_t25_audit_chains import code_of


def asked(size: int, old: int = 0, **other: object) -> SignCheckpoint:
    proof = tuple(merkle.consistency(old, size, node_at)) if old <= size else ()
    made = SignCheckpoint(store_id="st-1", size=size, root=ROOTS[size], begins=0, proof=proof)
    return replace(made, **other)


def operator(bench: Bench) -> SecuritySdk:
    return SecuritySdk(InProcess(bench.service.methods(), "operator"))


async def test_a_checkpoint_is_a_note_that_anybody_with_the_root_can_check(bench: Bench) -> None:
    assert await bench.platform.ledger_head() == LedgerHead(
        note="", keys=(), root=bench.service.room.pki.root
    )
    head = await bench.platform.sign_checkpoint(asked(5))
    lines = head.note.split("\n")
    assert lines[:3] == ["meterseal/ledger/st-1", "5", b64encode(ROOTS[5]).decode()]
    assert lines[3:8] == [
        "number 1",
        f"time {NOW}",
        f"previous {b64encode(bytes(32)).decode()}",
        "begins 0",
        "",
    ]
    assert lines[8].startswith("— meterseal/ledger/st-1 ")
    checkpoint = verified(head.note, head.keys)
    assert (checkpoint.size, checkpoint.root, checkpoint.previous) == (5, ROOTS[5], NO_PREVIOUS)
    for key in head.keys:
        check_key(key, head.root)
    following = read((await bench.platform.sign_checkpoint(asked(9, 5))).note)
    assert (following.number, following.previous) == (2, checkpoint.digest())
    assert (await operator(bench).ledger_head()).note == (await bench.restarted().platform.ledger_head()).note


async def test_what_does_not_follow_is_not_signed(bench: Bench) -> None:
    await bench.platform.sign_checkpoint(asked(9))
    for bad, code in (
        (asked(8), "security.ledger-shorter"),
        (asked(12, 9, store_id="st-2"), "security.ledger-shorter"),
        (asked(12, 9, begins=4), "security.ledger-shorter"),
        (asked(12, 8), "security.ledger-changed"),
        (asked(12, 9, root=ROOTS[13]), "security.ledger-changed"),
        (asked(9, 9, root=ROOTS[8]), "security.ledger-changed"),
        (asked(12, 9, proof=()), "security.ledger-changed"),
        (asked(12, 9, root=b"short"), "security.request"),
        (replace(asked(12, 9), size=-1), "security.request"),
        (asked(12, 9, begins=-1), "security.request"),
        (asked(12, 9, store_id="a b"), "security.request"),
        (asked(12, 9, newest="nothing"), "ledger.note"),
    ):
        assert await code_of(bench.platform.sign_checkpoint(bad)) == code
        assert (await bench.refusals())[-1].code == code
    assert await code_of(bench.headend.sign_checkpoint(asked(12, 9))) == "mesh.denied"
    assert await code_of(operator(bench).sign_checkpoint(asked(12, 9))) == "mesh.denied"
    assert read((await bench.platform.ledger_head()).note).size == 9
    assert read((await bench.platform.sign_checkpoint(asked(12, 9))).note).number == 2


async def test_a_new_key_signs_and_what_the_old_one_signed_stays_verifiable(bench: Bench) -> None:
    first = await bench.platform.sign_checkpoint(asked(3))
    await operator(bench).rotate("ledger", b"", b"")
    second = await bench.platform.sign_checkpoint(asked(4, 3))
    bench = bench.restarted()
    head = await bench.platform.ledger_head()
    assert [key.version for key in head.keys] == [1, 2]
    for note, mine, others in (
        (first.note, head.keys[:1], head.keys[1:]),
        (second.note, head.keys[1:], head.keys[:1]),
    ):
        assert good(note, head.keys)
        assert good(note, mine)
        assert not good(note, others)
    for key in head.keys:
        check_key(key, head.root)
    states = {(f.id, f.version): f.state for f in (await operator(bench).usage()).keys if f.id == "LEDGER"}
    assert states == {("LEDGER", 1): "withdrawn", ("LEDGER", 2): "active"}
    assert Rotate(kind="ledger").kind == "ledger"


async def test_attack_a_withdrawn_key_signs_nothing_after_the_one_that_replaced_it(bench: Bench) -> None:
    """Who stole it could else show another history, and have the service go on from there."""
    await bench.platform.sign_checkpoint(asked(3))
    vault = bench.service.room.authorities
    stolen = vault.signing("LEDGER", 1)
    await operator(bench).rotate("ledger", b"", b"")
    bench.clock.now += 1000
    second = await bench.platform.sign_checkpoint(asked(4, 3))
    bench.clock.now += 1000
    head = await bench.platform.ledger_head()
    true = read(second.note)

    def forged(at: int) -> str:
        one = replace(true, number=true.number + 1, size=5, root=ROOTS[6], at=at, previous=true.digest())
        return signed(one, head.keys[0].point, stolen.sign(one.text().encode()))

    late, early = forged(true.at + 1), forged(true.at - 1)
    assert not good(late, head.keys)
    assert good(early, head.keys), "before its time ended it may have"
    for newest, code in ((late, "ledger.signature"), (early, "security.ledger-changed")):
        proof = tuple(merkle.consistency(5, 9, node_at))
        sign = asked(9, 5, newest=newest, proof=proof)
        assert await code_of(bench.platform.sign_checkpoint(sign)) == code
    assert (await bench.platform.ledger_head()).note == second.note
    assert read((await bench.platform.sign_checkpoint(asked(9, 4))).note).number == true.number + 1


async def test_a_key_that_nobody_under_the_root_vouches_for_is_refused(bench: Bench) -> None:
    (key,) = (await bench.platform.sign_checkpoint(asked(3))).keys
    root = bench.service.room.pki.root
    other = Sm2PrivateKey.generate("other")
    for bad in (
        replace(key, point=other.public_point),
        replace(key, version=2),
        replace(key, at=key.at + 1),
        replace(key, signature=other.sign(key.said())),
    ):
        with pytest.raises(TrustError) as refused:
            check_key(bad, root)
        assert refused.value.code == "ledger.key"
    with pytest.raises(TrustError):
        check_key(replace(key, at=key.at + 400 * 86_400_000), root)
    assert isinstance(key, LedgerKey)


KEY = Sm2PrivateKey.from_scalar(bytes(range(1, 33)))
ONE = Checkpoint(
    store_id="st-1", size=7, root=ROOTS[7], number=3, at=NOW, previous=ROOTS[6], begins=2, reset=1
)
NOTE = signed(ONE, KEY.public_point, KEY.sign(ONE.text().encode()))
MINE = (LedgerKey(version=1, point=KEY.public_point, at=0, chain=(b"", b""), signature=b""),)


def test_a_note_reads_as_it_was_written_and_bears_the_signatures_of_others() -> None:
    assert verified(NOTE, MINE) == ONE
    witness = b64encode(b"four" + bytes(80)).decode()
    assert verified(f"{NOTE}— witness.example/w1 {witness}\n", MINE) == ONE
    assert key_id("a", KEY.public_point) != key_id("b", KEY.public_point)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n7\n", "\n8\n"),
        ("number 3", "number 4"),
        ("begins 2", "begins 0"),
        ("reset 1\n", ""),
        ("st-1\n7", "st-2\n7"),
        ("time 1", "time 2"),
    ],
)
def test_a_note_with_another_word_is_not_signed(old: str, new: str) -> None:
    changed = NOTE.replace(old, new, 1)
    assert changed != NOTE
    with pytest.raises(TrustError) as refused:
        verified(changed, MINE)
    assert refused.value.code == "ledger.signature"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "\n\n",
        NOTE.replace("\n7\n", "\n07\n"),
        NOTE.replace("\n7\n", "\n-7\n"),
        NOTE.replace("number", "Number"),
        NOTE.replace("reset 1", "reset 0"),
        NOTE.replace("meterseal/", "other/", 1),
        NOTE + "more\n",
        NOTE + "— a b c\n",
        NOTE + "— witness A\n",
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\n", "\r\n"),
        NOTE + "— w AAAA\n" * 3000,
        NOTE.replace(b64encode(ROOTS[7]).decode(), b64encode(ROOTS[7]).decode()[:-2] + "9="),
    ],
)
def test_a_text_that_is_no_checkpoint_is_refused(bad: str) -> None:
    with pytest.raises(TrustError) as refused:
        read(bad)
    assert refused.value.code == "ledger.note"
    assert not good(bad, MINE)


async def test_after_a_restore_of_the_service_the_platforms_newest_checkpoint_goes_on(bench: Bench) -> None:
    first = await bench.platform.sign_checkpoint(asked(3))
    second = await bench.platform.sign_checkpoint(asked(5, 3))
    desk = next(one for one in bench.service._desks if type(one).__name__ == "LedgerDesk")
    desk._ledgering._signed = replace(desk._ledgering._signed, note=first.note)  # type: ignore[attr-defined]
    third = read((await bench.platform.sign_checkpoint(asked(9, 5, newest=second.note))).note)
    assert (third.number, third.previous) == (3, read(second.note).digest())
    changed = second.note.replace("number 2", "number 7")
    assert await code_of(bench.platform.sign_checkpoint(asked(9, 5, newest=changed))) == "ledger.signature"


async def test_two_officers_let_a_restored_ledger_begin_again_and_it_says_so_for_ever(bench: Bench) -> None:
    await bench.platform.sign_checkpoint(asked(9))
    an, bo = await founded(bench)
    for signers, reason, code in (
        ([an], "disk of 3 May", "security.two-persons"),
        ([an, bo], "", "security.request"),
        ([an, bo], "disk of 3 May", ""),
    ):
        order = ordered("ledger-reset", LedgerReset(**fields(), reason=reason), signers)  # type: ignore[arg-type]
        if code:
            assert await code_of(bench.platform.submit(order)) == code
            assert await code_of(bench.platform.sign_checkpoint(asked(4))) == "security.ledger-shorter"
        else:
            await bench.platform.submit(order)
    again = read((await bench.platform.sign_checkpoint(asked(4))).note)
    assert (again.size, again.number, again.reset) == (4, 2, 1)
    assert await code_of(bench.platform.sign_checkpoint(asked(3))) == "security.ledger-shorter"
