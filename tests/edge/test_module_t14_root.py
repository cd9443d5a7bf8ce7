"""T14: the write-once root of the card side, and the module's own keys: no second write, no write by the wrong role,
and what is cut or torn in the middle leaves the old key, the new one or a module in its error state (HM-8.5.4.e).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.apdu import CardIns, Ins, Sw, call, pack
from meterseal.edge.cardmemory import TRIES, Counter
from meterseal.edge.chip import FACTORY, LOCKED
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, SealedNv, open_nv_database
from meterseal.edge.storing import DECRYPT, ENCRYPT
from meterseal.errors import TrustError
from meterseal.link import cardkeys
from tests.edge.cards import MODULE, PIN, ROOT_KEY, WATER, Bench, Shared, refused
from tests.edge.platform import STORAGE, Platform
from tests.edge.test_module_t13_pin import FORK, Fatal
from tests.edge.test_module_vectors import F1, F2, SM4_K2_R, R

OTHER_KEY = SymmetricKey.from_bytes(b"another root key", "another root")


def write(bench: Bench, key: SymmetricKey = ROOT_KEY, slot: int = 0, version: int = 1) -> None:
    bench.card.write_key(bench.issuer, slot, version, key, usage=ENCRYPT, levels=2)


def works(bench: Bench, slot: int = 0) -> bool:
    """Does the slot hold exactly the vectors' root? False when it is empty."""
    try:
        bench.card.init_descrypt(slot, F1 + F2)
    except TrustError:
        return False
    assert bench.card.descrypt(0x00, b"", R).hex().upper() == SM4_K2_R
    return True


def test_t14_the_root_is_written_once() -> None:
    bench = Bench()
    bench.card.external(bench.issuer)
    write(bench)
    for version in (1, 2, 255):
        assert refused(lambda version=version: write(bench, OTHER_KEY, version=version)) == Sw.CONDITIONS
    bench.power().external(bench.issuer)
    assert refused(lambda: write(bench, OTHER_KEY)) == Sw.CONDITIONS
    assert works(bench)


def test_t14_unlocking_or_a_new_pin_does_not_open_the_root_again() -> None:
    bench = Bench()
    bench.card.external(bench.issuer)
    write(bench)
    bench.card.external(bench.issuer, cardkeys.Purpose.LOCK)
    bench.card.external(bench.issuer, cardkeys.Purpose.UNLOCK)
    bench.card.external(bench.issuer)
    bench.card.set_pin(bench.issuer, "999999")
    assert refused(lambda: write(bench, OTHER_KEY)) == Sw.CONDITIONS
    assert works(bench)


def test_t14_a_key_is_not_written_by_the_pin_or_by_nobody() -> None:
    bench = Bench()
    assert refused(lambda: write(bench)) == Sw.SECURITY
    bench.card.verify(PIN)
    assert refused(lambda: write(bench)) == Sw.SECURITY
    assert not works(bench)


def test_t14_an_altered_or_replayed_key_is_refused_and_guessing_locks() -> None:
    bench = Bench()
    bench.card.external(bench.issuer)
    header = bytes.fromhex("84d4010124")
    plain = bytes((ENCRYPT, 2, 0)) + b"k" * 16 + SymmetricKey.from_bytes(b"k" * 16, "k").check_value()
    taken = bench.issuer.sealed(bench.card.challenge(), header, plain)
    call(bench.port, CardIns.WRITE_KEY, taken, p1=1, p2=1)
    assert refused(lambda: call(bench.port, CardIns.WRITE_KEY, taken, p1=1, p2=2)) == Sw.CONDITIONS
    bench.card.challenge()
    assert refused(lambda: call(bench.port, CardIns.WRITE_KEY, taken, p1=1, p2=2)) == Sw.WRONG_MAC
    left = TRIES[Counter.WRITE] - 1
    for flip in range(left):
        altered = bytearray(bench.issuer.sealed(bench.card.challenge(), header, plain))
        altered[flip * 5] ^= 1
        word = refused(
            lambda content=bytes(altered): call(bench.port, CardIns.WRITE_KEY, content, p1=2, p2=1)
        )
        assert word == Sw.WRONG_MAC
    assert bench.card.state().life == LOCKED


def test_t14_a_key_that_does_not_fit_its_check_value_or_has_no_use_is_refused() -> None:
    bench = Bench()
    bench.card.external(bench.issuer)
    check = ROOT_KEY.check_value()
    key = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    for plain in (
        bytes((ENCRYPT, 2, 0)) + key + b"\0\0\0",
        bytes((9, 2, 0)) + key + check,
        bytes((ENCRYPT, 4, 0)) + key + check,
        bytes((ENCRYPT, 0, 0)) + key + check,
        bytes((ENCRYPT, 2, 3)) + key + check,
        bytes((ENCRYPT, 2, 0)) + key,
    ):
        size = len(plain) + 16 - len(plain) % 16 + 4
        sealed = bench.issuer.sealed(bench.card.challenge(), bytes((0x84, 0xD4, 1, 1, size)), plain)
        assert (
            refused(lambda sealed=sealed: call(bench.port, CardIns.WRITE_KEY, sealed, p1=1, p2=1))
            == Sw.WRONG_DATA
        )
    assert not works(bench, 1)


def test_t14_another_slot_takes_a_higher_version_only_and_never_a_key_twice() -> None:
    bench = Bench()
    bench.card.external(bench.issuer)
    write(bench, slot=1, version=5)
    assert refused(lambda: write(bench, OTHER_KEY, slot=1, version=5)) == Sw.CONDITIONS
    assert refused(lambda: write(bench, ROOT_KEY, slot=2)) == Sw.WRONG_DATA
    assert works(bench, 1)
    write(bench, OTHER_KEY, slot=1, version=6)
    assert refused(lambda: bench.card.init_descrypt(1, F1 + F2, version=5)) == Sw.NOT_FOUND


def test_t14_no_answer_of_a_sub_key_is_another_key() -> None:
    """One level up, enciphering f2 ‖ not f2 would be K2 itself; a slot works at its own depth and use alone."""
    bench = Bench()
    bench.card.external(bench.issuer)
    write(bench)
    for factors in (F1, F1 + F2 + F2, b""):
        assert refused(lambda factors=factors: bench.card.init_descrypt(0, factors)) == Sw.WRONG_LENGTH
    bench.card.init_descrypt(0, F1 + F2)
    for mode in (0x80, 0x05, 0x01):
        assert refused(lambda mode=mode: bench.card.descrypt(mode, b"", R)) == Sw.SECURITY
    bench.card.write_key(bench.issuer, 1, 1, OTHER_KEY, usage=DECRYPT, levels=1)
    assert refused(lambda: bench.card.descrypt(0x00, b"", R)) == Sw.CONDITIONS  # a written key ends a sub-key


def test_t14_kill_9_in_the_middle_of_a_key_leaves_none_or_the_whole(tmp_path: Path) -> None:
    path = str(tmp_path / "modules.db")
    bench = Bench(Shared(open_nv_database(path), b"module"))
    seen = set()
    for after in (False, True):
        for at in range(1, 6):  # two writes of EXTERNAL AUTHENTICATE, three of WRITE KEY

            def process(at: int = at, after: bool = after) -> None:
                store = Fatal(open_nv_database(path), b"module")
                store.at, store.after = at, after
                other = Bench.__new__(Bench)
                other.store, other.issuer = store, bench.issuer
                other.power().external(bench.issuer)
                write(other)
                os._exit(0)

            if works(bench):
                break
            child = FORK.Process(target=process)
            child.start()
            child.join(60)
            assert child.exitcode == -signal.SIGKILL
            bench.power()
            assert not bench.port.fault
            seen.add(works(bench))
    assert seen == {False, True}
    bench.card.external(bench.issuer)
    assert refused(lambda: write(bench, OTHER_KEY)) == Sw.CONDITIONS


class TornStore(MemoryNv):
    """Memory that breaks its promise: at write number `tear` the first half of each page is new, the rest old."""

    tear, writes, pages_kept = 0, 0, 99

    def write(self, pages) -> None:  # type: ignore[no-untyped-def]
        self.writes += 1
        if self.writes == self.tear:
            half = {}
            for name, page in list(pages.items())[: self.pages_kept]:
                old, new = self.pages.get(name, b""), page or b""
                half[name] = new[: len(new) // 2] + old[len(new) // 2 :]
            super().write(half)
            raise KeyboardInterrupt
        super().write(pages)


def test_t14_a_torn_key_write_puts_the_module_into_its_error_state() -> None:
    for write_number in range(1, 4):
        store = TornStore()
        bench = Bench(store)
        bench.card.external(bench.issuer)
        store.tear = store.writes + write_number
        with pytest.raises(KeyboardInterrupt):
            write(bench)
        bench.power()
        assert bench.port.fault
        for ins in (*CardIns, *Ins):
            assert bench.port.transmit(pack(ins, bytes(16))) == Sw.MEMORY.to_bytes(2, "big")


def test_t14_a_torn_personalisation_leaves_no_half_module() -> None:
    platform = Platform()
    for kept in (1, 99):
        store = TornStore()
        sealed = SealedNv(store, STORAGE, MODULE)
        from meterseal.edge.chip import Chip

        chip = Chip(Module(sealed))
        personal = platform.personal(chip, WATER, MODULE, 1)
        store.tear, store.pages_kept = store.writes + 1, kept
        with pytest.raises(KeyboardInterrupt):
            chip.personalise(personal)
        assert Module(sealed).fault


def test_t14_a_page_lost_whole_leaves_keys_without_trust_and_no_module() -> None:
    store = MemoryNv()
    Bench(store, suite=1, pin=False)
    del store.pages["trust"]
    assert "torn" in Module(SealedNv(store, STORAGE, MODULE)).fault


def test_t14_the_modules_own_root_is_written_by_personalisation_alone_and_once() -> None:
    bench = Bench(suite=1)
    again = bench.platform.personal(bench.chip, WATER, MODULE, 1)
    assert refused(lambda: bench.chip.personalise(again)) == Sw.CONDITIONS
    factory = Bench.__new__(Bench)
    factory.store = MemoryNv()
    factory.power()
    assert factory.card.state().life == FACTORY
    for ins in (CardIns.WRITE_KEY, CardIns.EXTERNAL, CardIns.CHANGE_SEALED, CardIns.PAIR):
        assert factory.port.transmit(pack(ins, bytes(20))) == Sw.CONDITIONS.to_bytes(2, "big")
