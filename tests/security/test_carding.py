"""Answers to modules in a reader: what unlocks the real emulated module, and what nobody gets without the right order."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from msgspec import structs

from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.apdu import CardIns, Sw, call
from meterseal.edge.card import Card, field
from meterseal.edge.chip import DESTROYED, LOCKED, PERSONALISED, Chip, Personal
from meterseal.edge.module import Module as Emulated
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.errors import MetersealError, TrustError
from meterseal.link.cardkeys import Purpose
from meterseal.security import cardorders as c
from meterseal.security.orders import SignedOrder

from .conftest import NOW, Bench, Clock
from .people import HOUR, Person, fields, founded, operator, ordered

STORAGE = b"a storage key 16"
PIN, PUK = "135790", "24680246"


class InReader:
    """A module that this service enrolled, in a reader: the emulated chip on its memory."""

    def __init__(self, number: int) -> None:
        self.device_id = bytes.fromhex("10783300") + number.to_bytes(4)
        self.module_id = bytes.fromhex("01020304") + number.to_bytes(4)
        self.memory = SealedNv(MemoryNv(), SymmetricKey.from_bytes(STORAGE, "storage"), self.module_id)
        self.power()

    def power(self) -> None:
        module = Emulated(self.memory)
        self.chip, self.card = Chip(module), Card(module)
        self.port = module

    async def enrol(self, bench: Bench) -> InReader:
        point = self.chip.make_key(self.module_id)
        given = await bench.platform.personalise(self.device_id, self.module_id, 1, point)
        self.chip.personalise(
            Personal(
                given.device_id, 1, given.project_id, given.key_version, given.bound_at, given.envelope,
                given.root, given.chain,
            )
        )  # fmt: skip
        return self

    def order(self, purpose: str, signers: Iterable[Person], **other: object) -> SignedOrder:
        about = {"device_id": self.device_id, "module_id": self.module_id, "reason": "desk 4"}
        return ordered(purpose, c.CardOrder(**{**fields(), **about, **other}), signers)  # type: ignore[arg-type]

    def ask(self, order: SignedOrder, **other: object) -> c.CardAsk:
        asked = c.CardAsk(
            order=order, device_id=self.device_id, module_id=self.module_id, challenge=self.card.challenge()
        )
        return structs.replace(asked, **other)

    def say(self, answer: bytes, purpose: Purpose) -> int:
        """The module's word to an answer, 9000 when it took it."""
        try:
            call(self.port, CardIns.EXTERNAL, answer, p2=purpose)
        except TrustError as error:
            return int(error.facts["word"] or 0)
        return 0x9000

    def lock_by_wrong_pins(self) -> None:
        for _ in range(5):
            with pytest.raises(TrustError):
                self.card.verify("999999")
        assert self.card.state().life == LOCKED


async def with_pin(bench: Bench, number: int, an: Person) -> InReader:
    """An enrolled module whose PIN and PUK the service sealed, in one card session of one officer."""
    one = await InReader(number).enrol(bench)
    order = one.order(c.RIGHTS, [an])
    assert one.say(await bench.platform.card_answer(one.ask(order)), Purpose.RIGHTS) == 0x9000
    for which, digits in ((1, PIN), (2, PUK)):
        header = bytes((0x84, 0x24, 1, which, 20))
        ask = c.CardSeal(**structs.asdict(one.ask(order)), header=header, plain=field(digits))
        call(one.port, CardIns.CHANGE_SEALED, await bench.platform.card_seal(ask), p1=1, p2=which)
    one.power()
    one.card.verify(PIN)
    return one


async def refused(bench: Bench, act: Callable[[], object], code: str) -> None:
    before = bench.service.room.keys.facts("DIAK", 1).used
    with pytest.raises(MetersealError) as caught:
        await act()  # type: ignore[misc]
    assert caught.value.code == code
    assert (await bench.refusals())[-1].code == code
    assert bench.service.room.keys.facts("DIAK", 1).used == before


async def test_a_module_locked_by_wrong_pins_opens_to_the_services_answer(bench: Bench) -> None:
    an, bo = await founded(bench)
    one = await with_pin(bench, 1, an)
    one.lock_by_wrong_pins()
    one.power()
    used = bench.service.room.keys.facts("DIAK", 1).used
    answer = await operator(bench).card_answer(one.ask(one.order(c.UNLOCK, [an, bo])))
    assert one.say(answer, Purpose.UNLOCK) == 0x9000
    assert one.card.state().life == PERSONALISED
    one.card.verify(PIN)
    assert bench.service.room.keys.facts("DIAK", 1).used == used + 1
    entry = (await bench.platform.audit(limit=1, newest=True))[0].entry
    assert (entry.code, entry.officers, entry.module_id) == (
        "security.card-unlock",
        ("an", "bo"),
        one.module_id,
    )
    assert answer.hex() not in entry.sentence


async def test_one_officer_alone_unlocks_locks_and_destroys_nothing(bench: Bench) -> None:
    an, _ = await founded(bench)
    one = await with_pin(bench, 1, an)
    for purpose in (c.LOCK, c.UNLOCK, c.DESTROY):
        for signers in ([an], [an, an]):
            ask = one.ask(one.order(purpose, signers))
            await refused(bench, lambda ask=ask: bench.platform.card_answer(ask), "security.two-persons")
    ask = one.ask(one.order(c.RIGHTS, []))
    await refused(bench, lambda: bench.platform.card_answer(ask), "security.two-persons")


async def test_the_role_keys_is_needed(bench: Bench) -> None:
    an, bo = await founded(bench, Person("an"), Person("bo", ("enrol", "command", "ca")))
    one = await InReader(1).enrol(bench)
    await refused(
        bench, lambda: bench.platform.card_answer(one.ask(one.order(c.UNLOCK, [an, bo]))), "security.role"
    )


async def test_an_order_for_one_module_says_nothing_to_another(bench: Bench) -> None:
    an, bo = await founded(bench)
    one, other = await with_pin(bench, 1, an), await with_pin(bench, 2, an)
    other.lock_by_wrong_pins()
    order = one.order(c.UNLOCK, [an, bo])
    await refused(bench, lambda: bench.platform.card_answer(other.ask(order)), "security.card-module")
    # Whoever lies about what is in the reader gets the answer of the module that was ordered: no key fits the other.
    lied = other.ask(order, device_id=one.device_id, module_id=one.module_id)
    answer = await bench.platform.card_answer(lied)
    assert other.say(answer, Purpose.UNLOCK) & 0xFFF0 == Sw.TRIES
    assert other.card.state().life == LOCKED
    # A module's own order with another device, or a module that was never enrolled.
    mixed = one.order(c.UNLOCK, [an, bo], device_id=other.device_id)
    ask = one.ask(mixed, device_id=other.device_id)
    await refused(bench, lambda: bench.platform.card_answer(ask), "security.not-enrolled")
    stranger = InReader(9)
    ask = stranger.ask(stranger.order(c.UNLOCK, [an, bo]))
    await refused(bench, lambda: bench.platform.card_answer(ask), "security.not-enrolled")


async def test_an_order_for_one_purpose_is_none_for_another(bench: Bench) -> None:
    an, bo = await founded(bench)
    one = await with_pin(bench, 1, an)
    order = one.order(c.RIGHTS, [an, bo])
    renamed = structs.replace(order, purpose=c.DESTROY)
    await refused(bench, lambda: bench.platform.card_answer(one.ask(renamed)), "security.signature")
    answer = await bench.platform.card_answer(one.ask(order))
    assert one.say(answer, Purpose.DESTROY) & 0xFFF0 == Sw.TRIES
    assert one.card.state().life == PERSONALISED
    for purpose in (c.CHECK, "command", "key-state", ""):
        wrong = structs.replace(order, purpose=purpose)
        await refused(
            bench, lambda wrong=wrong: bench.platform.card_answer(one.ask(wrong)), "security.purpose"
        )
    await refused(bench, lambda: bench.platform.submit(order), "security.purpose")


async def test_a_used_order_answers_no_other_challenge(bench: Bench, clock: Clock) -> None:
    an, bo = await founded(bench)
    one = await with_pin(bench, 1, an)
    one.lock_by_wrong_pins()
    order = one.order(c.UNLOCK, [an, bo])
    first = one.ask(order)
    answer = await bench.platform.card_answer(first)
    assert await bench.platform.card_answer(first) == answer  # it was lost on its way, say
    second = one.ask(order)
    await refused(bench, lambda: bench.platform.card_answer(second), "security.replayed")
    clock.now = NOW + 600_001
    await refused(bench, lambda: bench.platform.card_answer(first), "security.replayed")
    clock.now = NOW + HOUR + 1
    await refused(bench, lambda: bench.platform.card_answer(first), "security.expired")
    late = one.order(c.UNLOCK, [an, bo])
    await refused(bench, lambda: bench.platform.card_answer(one.ask(late)), "security.expired")


async def test_a_restart_makes_no_order_new(bench: Bench) -> None:
    an, bo = await founded(bench)
    one = await with_pin(bench, 1, an)
    one.lock_by_wrong_pins()
    ask = one.ask(one.order(c.UNLOCK, [an, bo]))
    await bench.platform.card_answer(ask)
    again = bench.restarted()
    await refused(again, lambda: again.platform.card_answer(ask), "security.replayed")


async def test_a_killed_service_has_used_the_order_before_it_answered(bench: Bench, tmp_path: Path) -> None:
    an, bo = await founded(bench)
    one = await InReader(1).enrol(bench)
    ask = one.ask(one.order(c.DESTROY, [an, bo]))
    await bench.platform.card_answer(ask)
    shutil.copytree(bench.directory, tmp_path / "killed")  # as the disk stands, nothing was closed
    killed = Bench(tmp_path / "killed", bench.clock)
    await refused(killed, lambda: killed.platform.card_answer(ask), "security.replayed")


async def test_the_enrolled_module_is_told_from_a_copy_of_its_ids(bench: Bench) -> None:
    an, _ = await founded(bench)
    one, other = await InReader(1).enrol(bench), await InReader(2).enrol(bench)
    challenge = bytes(range(16))
    for source, genuine in ((one, True), (other, False)):
        ask = one.ask(one.order(c.CHECK, [an]), challenge=challenge)
        answer = source.card.internal(challenge)
        check = c.CardCheck(**structs.asdict(ask), answer=answer)
        assert await bench.platform.card_check(check) is genuine
    ask = one.ask(one.order(c.CHECK, [an]), challenge=challenge)
    # What a module would say is compared and never given out.
    await refused(bench, lambda: bench.platform.card_answer(ask), "security.purpose")
    short = c.CardCheck(**structs.asdict(ask), answer=b"")
    await refused(bench, lambda: bench.platform.card_check(short), "security.card")


async def test_a_withdrawn_module_is_destroyed_and_never_opened(bench: Bench) -> None:
    an, bo = await founded(bench)
    one = await with_pin(bench, 1, an)
    await bench.platform.withdraw(one.device_id, one.module_id)
    for purpose in (c.UNLOCK, c.RIGHTS):
        ask = one.ask(one.order(purpose, [an, bo]))
        await refused(bench, lambda ask=ask: bench.platform.card_answer(ask), "security.not-enrolled")
    answer = await bench.platform.card_answer(one.ask(one.order(c.DESTROY, [an, bo])))
    assert one.say(answer, Purpose.DESTROY) == 0x9000
    assert one.card.state().life == DESTROYED


async def test_a_lock_by_order_ends_by_order(bench: Bench) -> None:
    an, bo = await founded(bench)
    one = await with_pin(bench, 1, an)
    for purpose, act, life in (
        (c.LOCK, Purpose.LOCK, LOCKED),
        (c.UNLOCK, Purpose.UNLOCK, PERSONALISED),
    ):
        answer = await bench.platform.card_answer(one.ask(one.order(purpose, [an, bo])))
        assert one.say(answer, act) == 0x9000
        assert one.card.state().life == life


async def test_files_and_policy_are_written_with_the_services_mac(bench: Bench) -> None:
    an, _ = await founded(bench)
    one = await with_pin(bench, 1, an)
    order = one.order(c.RIGHTS, [an])
    assert one.say(await bench.platform.card_answer(one.ask(order)), Purpose.RIGHTS) == 0x9000
    for ins, p1, p2, content in (
        (CardIns.UPDATE, 0x86, 0, b"a parameter"),
        (CardIns.PUT_POLICY, 1, 0x50, b"\x02"),
    ):
        header = bytes((ins >> 8, ins & 0xFF, p1, p2, len(content) + 4))
        ask = c.CardMac(**structs.asdict(one.ask(order)), header=header, content=content)
        call(one.port, ins, content + await bench.platform.card_mac(ask), p1=p1, p2=p2)
    one.card.verify(PIN)
    assert one.card.read(6, size=11) == b"a parameter"
    assert one.card.state().own_policy == 2
    for header, content in (
        (bytes.fromhex("84d4000117"), bytes(19)),  # WRITE KEY
        (bytes.fromhex("04d6860000"), bytes(7)),  # Lc of another length
        (bytes.fromhex("04d68600"), bytes(7)),
        (bytes.fromhex("04d6860004"), b""),
    ):
        ask = c.CardMac(**structs.asdict(one.ask(order)), header=header, content=content)
        await refused(bench, lambda ask=ask: bench.platform.card_mac(ask), "security.card")
    seal = c.CardSeal(**structs.asdict(one.ask(order)), header=bytes.fromhex("84d4000124"), plain=bytes(22))
    await refused(bench, lambda: bench.platform.card_seal(seal), "security.card")
    assert "135790" not in repr(structs.replace(seal, plain=b"135790\xff\xff"))


async def test_a_card_session_ends_after_sixteen_answers(bench: Bench) -> None:
    an, _ = await founded(bench)
    one = await InReader(1).enrol(bench)
    order = one.order(c.RIGHTS, [an])
    for _ in range(16):
        await bench.platform.card_answer(one.ask(order))
    await refused(bench, lambda: bench.platform.card_answer(one.ask(order)), "security.replayed")


async def test_a_module_gets_sixteen_orders_a_day(bench: Bench, clock: Clock) -> None:
    an, _ = await founded(bench)
    one, other = await InReader(1).enrol(bench), await InReader(2).enrol(bench)
    for _ in range(16):
        await bench.platform.card_answer(one.ask(one.order(c.RIGHTS, [an])))
    bench = bench.restarted()
    ask = one.ask(one.order(c.RIGHTS, [an]))
    await refused(bench, lambda: bench.platform.card_answer(ask), "security.card-limit")
    clock.now = NOW - 2 * 24 * HOUR  # a clock that is set back gives no new day
    await refused(bench, lambda: bench.platform.card_answer(ask), "security.card-limit")
    clock.now = NOW
    await bench.platform.card_answer(other.ask(other.order(c.RIGHTS, [an])))
    clock.now = NOW + 24 * HOUR
    late = one.order(c.RIGHTS, [an], not_after=NOW + 25 * HOUR)
    await bench.platform.card_answer(one.ask(late))


async def test_a_module_that_has_the_key_before_is_answered_under_it(bench: Bench) -> None:
    an, bo = await founded(bench)
    one = await with_pin(bench, 1, an)
    one.lock_by_wrong_pins()
    await operator(bench).rotate("diak")
    for version in (3, -1, 2**40):
        ask = one.ask(one.order(c.UNLOCK, [an, bo]), key_version=version)
        await refused(bench, lambda ask=ask: bench.platform.card_answer(ask), "security.no-key")
    ask = one.ask(one.order(c.UNLOCK, [an, bo]), key_version=one.card.state().key_version)
    assert one.say(await bench.platform.card_answer(ask), Purpose.UNLOCK) == 0x9000


async def test_a_challenge_has_sixteen_bytes(bench: Bench) -> None:
    an, bo = await founded(bench)
    one = await InReader(1).enrol(bench)
    for challenge in (b"", bytes(15), bytes(17)):
        ask = one.ask(one.order(c.UNLOCK, [an, bo]), challenge=challenge)
        await refused(bench, lambda ask=ask: bench.platform.card_answer(ask), "security.card")


async def test_two_desks_at_once_get_one_answer_between_them(bench: Bench) -> None:
    an, bo = await founded(bench)
    one = await with_pin(bench, 1, an)
    one.lock_by_wrong_pins()
    order = one.order(c.UNLOCK, [an, bo])
    got = await asyncio.gather(
        *(bench.platform.card_answer(one.ask(order)) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(one, bytes) for one in got) == 1
