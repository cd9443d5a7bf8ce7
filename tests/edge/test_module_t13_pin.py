"""T13: wrong PINs by the thousand, with kill -9 between try and counter write and from several processes at once
(HM-8.5.4.d). The module locks after exactly its tries; no try is compared that was not written off before.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from meterseal.crypto.symmetric import equal
from meterseal.edge import access
from meterseal.edge.apdu import CardIns, Sw, pack
from meterseal.edge.card import Card, field
from meterseal.edge.cardmemory import TRIES, Counter
from meterseal.edge.chip import ACTIVE, LOCKED, PERSONALISED
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, SealedNv, open_nv_database
from meterseal.link.cardkeys import Purpose
from tests.edge.cards import MODULE, PIN, PUK, Bench, Shared, refused
from tests.edge.platform import STORAGE, shake_hands

MOST = TRIES[Counter.PIN]
WRONG = pack(CardIns.VERIFY, field("000000"), p2=1)
FORK = multiprocessing.get_context("fork")


def test_t13_the_module_locks_after_exactly_its_tries() -> None:
    bench = Bench()
    words = [refused(lambda: bench.card.verify("000000")) for _ in range(MOST)]
    assert words == [0x63C0 | left for left in range(MOST - 1, -1, -1)]
    assert bench.card.state().life == LOCKED
    assert refused(lambda: bench.card.verify(PIN)) == Sw.BLOCKED
    assert refused(lambda: bench.power().verify(PIN)) == Sw.BLOCKED


def test_t13_a_locked_module_has_no_session_and_goes_on_after_unlocking() -> None:
    bench = Bench()
    shake_hands(bench.platform, bench.chip)
    for _ in range(MOST):
        refused(lambda: bench.card.verify("000000"))
    assert refused(lambda: bench.chip.hello(0)) == Sw.CONDITIONS
    bench.card.external(bench.issuer, Purpose.UNLOCK)
    assert bench.card.state().life == ACTIVE
    shake_hands(bench.platform, bench.chip)
    bench.card.verify(PIN)


def test_t13_a_right_pin_gives_the_tries_back_and_power_does_not() -> None:
    bench = Bench()
    refused(lambda: bench.card.verify("000000"))
    assert bench.card.tries() == bench.power().tries() == MOST - 1
    bench.card.verify(PIN)
    assert bench.power().tries() == MOST


def test_t13_the_last_try_may_still_be_right() -> None:
    bench = Bench()
    for _ in range(MOST - 1):
        refused(lambda: bench.card.verify("000000"))
    bench.card.verify(PIN)
    assert (bench.card.state().life, bench.card.state().left) == (PERSONALISED, {})


def test_t13_the_puk_ends_a_lock_of_the_pin_and_locks_in_its_turn() -> None:
    bench = Bench()
    for _ in range(MOST):
        refused(lambda: bench.card.verify("000000"))
    bench.card.unblock(PUK, "112233")
    bench.card.verify("112233")
    for _ in range(TRIES[Counter.PUK]):
        assert refused(lambda: bench.card.unblock("99999999", "112233")) & 0xFFF0 == Sw.TRIES
    assert bench.card.state().life == LOCKED
    assert refused(lambda: bench.card.unblock(PUK, "112233")) == Sw.BLOCKED


def test_t13_a_wrong_old_pin_costs_a_try_too() -> None:
    bench = Bench()
    assert refused(lambda: bench.card.change_pin("000000", "445566")) == 0x63C0 | (MOST - 1)
    bench.card.change_pin(PIN, "445566")
    assert refused(lambda: bench.card.verify(PIN)) == 0x63C0 | (MOST - 1)
    bench.card.verify("445566")


def test_t13_what_is_no_pin_is_refused_before_a_try(tmp_path: Path) -> None:
    bench = Bench()
    for content in (b"1357", PIN.encode(), b"\xff" * 9):
        assert bench.port.transmit(pack(CardIns.VERIFY, content, p2=1)) == Sw.WRONG_LENGTH.to_bytes(2, "big")
    short = pack(CardIns.CHANGE, field(PIN) + b"12345\xff\xff\xff", p2=1)
    assert bench.port.transmit(short) == Sw.WRONG_DATA.to_bytes(2, "big")
    assert bench.card.tries() == MOST


# --- real processes ---------------------------------------------------------------------------------------


class Fatal(Shared):
    """Memory whose process is killed at exchange number `at`, before or after it took effect."""

    at, after, calls = 0, False, 0

    def exchange(self, name: str, before: bytes | None, after: bytes) -> bool:
        self.calls += 1
        if self.calls == self.at and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = super().exchange(name, before, after)
        if self.calls == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


def _guess(path: str, log: str, most: int, at: int, after: bool) -> None:
    """A process that powers the module on and tries wrong PINs; each comparison leaves a byte in `log`."""
    compared = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    compare = equal

    def seen(one: bytes, other: bytes) -> bool:
        os.write(compared, b".")
        return compare(one, other)

    access.equal = seen  # type: ignore[attr-defined]
    store = Fatal(open_nv_database(path), b"module")
    store.at, store.after = at, after
    module = Module(SealedNv(store, STORAGE, MODULE))
    for _ in range(most):
        if module.transmit(WRONG) == Sw.BLOCKED.to_bytes(2, "big"):
            break
    os._exit(0)


class Guessed:
    """A module in a file, and processes that guess at it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.log = str(folder / "modules.db"), folder / "compared"
        self.bench = Bench(Shared(open_nv_database(self.path), b"module"))

    def start(self, most: int = 1000, at: int = 0, after: bool = False) -> Callable[[], int]:
        process = FORK.Process(target=_guess, args=(self.path, str(self.log), most, at, after))
        process.start()

        def wait() -> int:
            process.join(60)
            assert process.exitcode is not None
            return process.exitcode

        self.kill = process.kill
        return wait

    def compared(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def unlock(self) -> None:
        self.bench.power().external(self.bench.issuer, Purpose.UNLOCK)
        self.log.unlink(missing_ok=True)

    def left(self) -> int:
        return self.bench.power().state().left.get(Counter.PIN, MOST)


@pytest.mark.parametrize("after", [False, True])
def test_t13_killed_at_the_counter_write_no_try_is_free(tmp_path: Path, after: bool) -> None:
    guessed = Guessed(tmp_path)
    for at in range(1, MOST + 1):
        assert guessed.start(at=at, after=after)() == -signal.SIGKILL
        # killed before the write: at-1 comparisons and as many decrements; after it: one decrement more
        assert (guessed.compared(), guessed.left()) == (at - 1, MOST - at + (0 if after else 1))
        if guessed.bench.power().state().life != LOCKED:
            guessed.start()()
            assert guessed.compared() == MOST - (1 if after else 0)
        assert guessed.bench.power().state().life == LOCKED
        guessed.unlock()


def _kill_at_random(guessed: Guessed, tries: int, seed: int) -> None:
    dice = random.Random(seed)
    spent = 0
    while spent < tries:
        before = guessed.left()
        while before:
            wait = guessed.start()
            time.sleep(dice.random() * 0.02)
            guessed.kill()
            wait()
            now = guessed.left()
            assert now <= before
            assert guessed.compared() <= MOST - now
            before = now
        assert guessed.bench.power().state().life == LOCKED
        assert refused(lambda: guessed.bench.card.verify(PIN)) == Sw.BLOCKED
        spent += MOST
        guessed.unlock()


def test_t13_wrong_pins_with_kill_9_at_random_moments(tmp_path: Path) -> None:
    _kill_at_random(Guessed(tmp_path), 25, seed=13)


def _from_processes(guessed: Guessed, tries: int) -> None:
    for _ in range(tries // MOST):
        for wait in [guessed.start() for _ in range(4)]:
            assert wait() == 0
        assert (guessed.compared(), guessed.left()) == (MOST, 0)
        assert guessed.bench.power().state().life == LOCKED
        guessed.unlock()


def test_t13_wrong_pins_from_four_processes_at_once(tmp_path: Path) -> None:
    _from_processes(Guessed(tmp_path), 50)


@pytest.mark.soak
def test_t13_ten_thousand_wrong_pins_with_kill_9_and_from_four_processes(tmp_path: Path) -> None:
    guessed = Guessed(tmp_path)
    _kill_at_random(guessed, 5_000, seed=31)
    _from_processes(guessed, 5_000)


class Slow(MemoryNv):
    """Memory that lets other threads run in the middle of everything."""

    def read(self, name: str) -> bytes | None:
        time.sleep(0.0002)
        return super().read(name)


def test_t13_wrong_pins_from_eight_threads_at_once() -> None:
    bench, words = Bench(Slow()), []

    def guess() -> None:
        for _ in range(50):
            words.append(int.from_bytes(bench.port.transmit(WRONG), "big"))

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tried = [word for word in words if word & 0xFFF0 == Sw.TRIES]
    assert sorted(tried) == [0x63C0 | left for left in range(MOST)]
    assert set(words) - set(tried) == {Sw.BLOCKED}


def test_t13_a_right_pin_does_not_give_back_what_another_process_lost(tmp_path: Path) -> None:
    store = Shared(open_nv_database(str(tmp_path / "modules.db")), b"module")
    bench = Bench(store)
    other = Module(
        SealedNv(Shared(open_nv_database(str(tmp_path / "modules.db")), b"module"), STORAGE, MODULE)
    )
    memory = bench.port._card
    left = memory.spend(Counter.PIN)
    other.transmit(WRONG)
    memory.refresh()
    memory.restore(Counter.PIN, left)
    assert Card(other).tries() == MOST - 1


def test_t13_a_right_pin_does_not_end_a_lock_that_another_process_made(tmp_path: Path) -> None:
    path = str(tmp_path / "modules.db")
    bench = Bench(Shared(open_nv_database(path), b"module"))
    other = Card(Module(SealedNv(Shared(open_nv_database(path), b"module"), STORAGE, MODULE)))
    memory = bench.port._card
    left = memory.spend(Counter.PIN)
    other.external(bench.issuer, Purpose.LOCK)
    memory.restore(Counter.PIN, left)
    assert bench.power().state().life == LOCKED
