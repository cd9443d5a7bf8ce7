"""T15: internal and external authentication under a wrong, used, replaced, reflected or late challenge
(HM-8.5.4.f): all refused, a challenge serves once.
"""

from __future__ import annotations

import pytest

from meterseal.edge.apdu import CardIns, Ins, Sw, call, pack
from meterseal.edge.cardmemory import TRIES, Counter
from meterseal.edge.challenge import COMMANDS, LIFETIME
from meterseal.edge.chip import LOCKED
from meterseal.edge.storing import ENCRYPT
from meterseal.link import cardkeys
from meterseal.link.cardkeys import Purpose
from tests.crypto.pki import NOW
from tests.edge.cards import ROOT_KEY, Bench, refused
from tests.edge.platform import shake_hands

LEFT = 0x63C0 | (TRIES[Counter.RIGHTS] - 1)


def external(bench: Bench, answer: bytes, purpose: Purpose = Purpose.RIGHTS) -> int:
    return int.from_bytes(bench.port.transmit(pack(CardIns.EXTERNAL, answer, p2=purpose))[-2:], "big")


def hear(bench: Bench, now: int) -> None:
    """A command that says the time and is refused for its content."""
    bench.port.transmit(pack(Ins.OPEN, now.to_bytes(8, "big") + bytes(40)))


def test_t15_each_side_proves_itself() -> None:
    bench = Bench(pin=False)
    challenge = bytes(range(16))
    assert bench.issuer.proves(challenge, bench.card.internal(challenge))
    assert not bench.issuer.proves(challenge[::-1], bench.card.internal(challenge))
    bench.card.external(bench.issuer)
    assert bench.card.state().uses == {Counter.INTERNAL: 2, Counter.RIGHTS: 1}


def test_t15_an_answer_to_a_wrong_challenge_is_refused() -> None:
    bench = Bench(pin=False)
    bench.card.challenge()
    assert external(bench, bench.issuer.answer(Purpose.RIGHTS, bytes(16))) == LEFT
    assert bench.power().state().left == {Counter.RIGHTS: TRIES[Counter.RIGHTS] - 1}


def test_t15_a_challenge_serves_once_whether_the_answer_was_good_or_bad() -> None:
    bench = Bench(pin=False)
    good = bench.issuer.answer(Purpose.RIGHTS, bench.card.challenge())
    assert external(bench, good) == Sw.OK
    assert external(bench, good) == Sw.CONDITIONS
    good = bench.issuer.answer(Purpose.RIGHTS, bench.card.challenge())
    assert external(bench, bytes(8)) == LEFT
    assert external(bench, good) == Sw.CONDITIONS


def test_t15_a_replaced_challenge_is_gone() -> None:
    bench = Bench(pin=False)
    first = bench.card.challenge()
    second = bench.card.challenge()
    assert first != second
    assert external(bench, bench.issuer.answer(Purpose.RIGHTS, first)) == LEFT
    call(bench.port, CardIns.GET_CHALLENGE, expected=8)
    assert external(bench, bench.issuer.answer(Purpose.RIGHTS, second)) == Sw.CONDITIONS


def test_t15_a_challenge_does_not_outlive_the_power() -> None:
    bench = Bench(pin=False)
    answer = bench.issuer.answer(Purpose.RIGHTS, bench.card.challenge())
    bench.power()
    assert external(bench, answer) == Sw.CONDITIONS


@pytest.mark.parametrize("purpose", [Purpose.RIGHTS, Purpose.LOCK, Purpose.DESTROY])
def test_t15_the_modules_own_answer_reflected_is_refused(purpose: Purpose) -> None:
    bench = Bench(pin=False)
    challenge = bench.card.challenge()
    reflected = bench.card.internal(challenge)
    assert external(bench, reflected, purpose) == LEFT


def test_t15_a_sub_key_makes_no_answer() -> None:
    bench = Bench(pin=False)
    bench.card.external(bench.issuer)
    bench.card.write_key(bench.issuer, 1, 1, ROOT_KEY, usage=ENCRYPT, levels=1)
    bench.card.init_descrypt(1, b"EXTA0001")
    challenge = bench.card.challenge()
    block = bench.card.descrypt(0x00, b"", challenge)
    assert external(bench, bytes(a ^ b for a, b in zip(block[:8], block[8:], strict=True))) == LEFT


@pytest.mark.parametrize("asked", list(Purpose))
@pytest.mark.parametrize("given", list(Purpose))
def test_t15_an_answer_serves_its_own_purpose_alone(asked: Purpose, given: Purpose) -> None:
    bench = Bench(pin=False)
    if asked is Purpose.UNLOCK:
        bench.card.external(bench.issuer, Purpose.LOCK)
    word = external(bench, bench.issuer.answer(given, bench.card.challenge()), asked)
    assert (word == Sw.OK) == (asked is given)


def test_t15_an_answer_after_too_many_commands_is_refused() -> None:
    for commands, word in ((COMMANDS - 1, Sw.OK), (COMMANDS, Sw.CONDITIONS)):
        bench = Bench(pin=False)
        answer = bench.issuer.answer(Purpose.RIGHTS, bench.card.challenge())
        for _ in range(commands):
            bench.card.state()
        assert external(bench, answer) == word


@pytest.mark.parametrize(
    ("later", "word"), [(LIFETIME, Sw.OK), (LIFETIME + 1, Sw.CONDITIONS), (-1, Sw.CONDITIONS)]
)
def test_t15_an_answer_after_the_time_out_is_refused(later: int, word: int) -> None:
    bench = Bench(pin=False)
    shake_hands(bench.platform, bench.chip)
    hear(bench, NOW)
    answer = bench.issuer.answer(Purpose.RIGHTS, bench.card.challenge())
    hear(bench, NOW + later)
    assert external(bench, answer) == word


def test_t15_the_time_runs_from_the_first_one_that_is_said() -> None:
    bench = Bench(pin=False)
    answer = bench.issuer.answer(Purpose.RIGHTS, bench.card.challenge())
    hear(bench, NOW)
    hear(bench, NOW + LIFETIME + 1)
    assert external(bench, answer) == Sw.CONDITIONS


def test_t15_guessing_answers_locks_the_module_and_power_gives_no_try_back() -> None:
    bench = Bench(pin=False)
    for left in range(TRIES[Counter.RIGHTS] - 1, -1, -1):
        bench.power().challenge()
        assert external(bench, bytes(8)) == 0x63C0 | left
    assert bench.power().state().life == LOCKED
    assert external(bench, bytes(8)) == Sw.CONDITIONS
    bench.card.external(bench.issuer, Purpose.UNLOCK)
    bench.card.external(bench.issuer)


def test_t15_guessing_at_the_unlock_ends_for_good() -> None:
    bench = Bench(pin=False)
    bench.card.external(bench.issuer, Purpose.LOCK)
    for left in range(TRIES[Counter.UNLOCK] - 1, -1, -1):
        bench.card.challenge()
        assert external(bench, bytes(8), Purpose.UNLOCK) == 0x63C0 | left
    assert refused(lambda: bench.power().external(bench.issuer, Purpose.UNLOCK)) == Sw.BLOCKED


def test_t15_a_failed_answer_ends_the_rights_that_were_won() -> None:
    bench = Bench(pin=False)
    bench.card.external(bench.issuer)
    bench.card.challenge()
    external(bench, bytes(8))
    assert refused(lambda: bench.card.set_pin(bench.issuer, "123456")) == Sw.SECURITY


def test_t15_an_answer_of_another_module_or_of_the_parent_key_is_none() -> None:
    one, other = Bench(pin=False), Bench(pin=False)
    assert external(one, other.issuer.answer(Purpose.RIGHTS, one.card.challenge())) == LEFT
    assert not other.issuer.proves(bytes(16), one.card.internal(bytes(16)))
    auth = one.platform.enrolled_modules[bytes.fromhex("1078330000000001")].keys.auth
    assert cardkeys.folded(auth, bytes(16)) != one.card.internal(bytes(16))
