"""The card side when the supply goes away before, after or in the middle of any write of any command that changes
state: the old state or the new one, never a try for nothing, never half a key; a torn page is an error state.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meterseal.crypto import sm2
from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.card import Card, IssuerKeys
from meterseal.edge.cardmemory import TRIES
from meterseal.edge.chip import DESTROYED, LOCKED
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.storing import ENCRYPT
from meterseal.errors import TrustError
from meterseal.link.cardkeys import Purpose
from tests.edge.cards import MODULE, PIN, PUK, ROOT_KEY, WATER, Bench
from tests.edge.platform import STORAGE, Platform
from tests.edge.test_power_cuts import WRITES, CutStore, PowerCut, _work

PAIRING = SymmetricKey.from_bytes(b"this device only", "a pairing key")


class TornAt(CutStore):
    """Loses power in the middle of write number `cut`: the first half of each page is new."""

    def write(self, pages) -> None:  # type: ignore[no-untyped-def]
        self.writes += 1
        if self.writes == self.cut:
            for name, page in pages.items():
                old, new = self.pages.get(name, b""), page or b""
                self.pages[name] = new[: len(new) // 2] + old[len(new) // 2 :]
            raise PowerCut
        MemoryNv.write(self, pages)


def _wrong(act: Callable[[], None]) -> None:
    try:
        act()
    except TrustError:
        return
    raise AssertionError("a wrong one was taken")


def _write(bench: Bench, slot: int) -> None:
    bench.card.write_key(bench.issuer, slot, 1, ROOT_KEY, usage=ENCRYPT, levels=1)


ACTS: dict[str, tuple[Callable[[Bench], None], Callable[[Bench], None]]] = {
    "a wrong PIN": (lambda b: None, lambda b: _wrong(lambda: b.card.verify("000000"))),
    "a right PIN": (lambda b: _wrong(lambda: b.card.verify("000000")), lambda b: b.card.verify(PIN)),
    "a new PIN": (lambda b: None, lambda b: b.card.change_pin(PIN, "112233")),
    "a new PIN by the PUK": (lambda b: _lock(b), lambda b: b.card.unblock(PUK, "112233")),
    "a wrong PUK": (lambda b: None, lambda b: _wrong(lambda: b.card.unblock("00000000", "112233"))),
    "a PIN by the issuer": (
        lambda b: b.card.external(b.issuer),
        lambda b: b.card.set_pin(b.issuer, "445566"),
    ),
    "a PUK by the issuer": (
        lambda b: b.card.external(b.issuer),
        lambda b: b.card.set_puk(b.issuer, "44556677"),
    ),
    "internal authentication": (lambda b: None, lambda b: b.card.internal(bytes(16)) and None),
    "external authentication": (lambda b: None, lambda b: b.card.external(b.issuer)),
    "a wrong external one": (lambda b: None, lambda b: _wrong(lambda: b.card.external(Nobody()))),
    "a lock": (lambda b: None, lambda b: b.card.external(b.issuer, Purpose.LOCK)),
    "an unlock": (lambda b: _lock(b), lambda b: b.card.external(b.issuer, Purpose.UNLOCK)),
    "a destruction": (lambda b: None, lambda b: b.card.external(b.issuer, Purpose.DESTROY)),
    "a file": (lambda b: None, lambda b: b.card.update(b.issuer, 6, b"new")),
    "a file's MAC": (lambda b: None, lambda b: b.card.read_sealed(6, bytes(8)) and None),
    "the policy": (lambda b: b.card.external(b.issuer), lambda b: b.card.put_policy(b.issuer, 2)),
    "the root": (lambda b: b.card.external(b.issuer), lambda b: _write(b, 0)),
    "another key": (lambda b: b.card.external(b.issuer), lambda b: _write(b, 3)),
    "pairing": (
        lambda b: None,
        lambda b: b.chip.pair(sm2.encrypt(b.chip.state().point, expose(PAIRING))),
    ),
}


class Nobody(IssuerKeys):
    """An issuer with another key."""

    def __init__(self) -> None:
        super().__init__(SymmetricKey.from_bytes(b"not the K_auth !", "nobody's key"))


def _lock(bench: Bench) -> None:
    for _ in range(5):
        _wrong(lambda: bench.card.verify("000000"))


def _prepared(store: CutStore, act: str) -> Bench:
    bench = Bench(store)
    ACTS[act][0](bench)
    return bench


def _image(bench: Bench) -> tuple[object, ...]:
    """What can be told of a module from outside, and its pages in clear."""
    card, files = bench.port._card.state, [name for name in bench.sealed.names() if name.startswith("file/")]
    pins = tuple(sorted((kind, one.digest) for kind, one in card.references.items()))
    return (
        bench.port.life, pins, tuple(sorted(card.slots.items())), card.policy, card.pairing,
        tuple(bench.sealed.read(name) for name in files),
    )  # fmt: skip


def _outcome(bench: Bench) -> tuple[object, ...]:
    """The image but for salted digests, which are random: whether each is the old one is told by use."""
    life, pins, slots, policy, pairing, files = _image(bench)
    return life, len(pins), slots, policy, pairing, files  # type: ignore[arg-type]


def _writes(act: str) -> int:
    store = CutStore()
    bench = _prepared(store, act)
    before = store.writes
    ACTS[act][1](bench)
    return store.writes - before


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("act", ACTS)
def test_a_cut_at_any_write_leaves_the_old_state_or_the_new(act: str, after: bool) -> None:
    whole = _prepared(CutStore(), act)
    ACTS[act][1](whole)
    done, count = _outcome(whole), _writes(act)
    assert count >= 1
    for number in range(1, count + 1):
        store = CutStore()
        bench = _prepared(store, act)
        old, tries, locked = _outcome(bench), dict(bench.card.state().left), bench.port.life == LOCKED
        store.cut, store.after = store.writes + number, after
        with pytest.raises(PowerCut):
            ACTS[act][1](bench)
        store.cut = None
        bench.power()
        assert not bench.port.fault
        assert _outcome(bench) in (old, done), number
        state = bench.card.state()
        if state.life == DESTROYED:
            continue
        if not (act == "a right PIN" or locked):  # nothing was proved: no counter rose
            assert all(left <= tries.get(counter, left) for counter, left in state.left.items())
            assert set(tries) <= set(state.left)
        if act in ("a wrong PIN", "a wrong PUK", "a wrong external one") and (number > 1 or after):
            assert sum(TRIES[counter] - left for counter, left in state.left.items()) == 1  # type: ignore[index]


@pytest.mark.parametrize("act", ACTS)
def test_a_write_torn_in_the_middle_is_an_error_state_never_half_of_anything(act: str) -> None:
    for number in range(1, _writes(act) + 1):
        store = TornAt()
        bench = _prepared(store, act)
        store.cut = store.writes + number
        with pytest.raises(PowerCut):
            ACTS[act][1](bench)
        card: Card = bench.power()
        if act == "a file" and not bench.port.fault:
            with pytest.raises(TrustError):  # a torn file does not open; the module's keys are whole
                card.read(6)
            continue
        assert bench.port.fault
        with pytest.raises(TrustError):
            card.state()


def _from_the_factory_on(platform: Platform, store: CutStore) -> None:
    chip, _ = platform.module(WATER, MODULE, 2, store=store)
    _work(chip, platform, [], [], 1)


def test_a_session_write_torn_in_the_middle_is_an_error_state() -> None:
    for cut in range(1, WRITES + 1, 7):
        store, platform = TornAt(cut), Platform()
        with pytest.raises(PowerCut):
            _from_the_factory_on(platform, store)
        assert Module(SealedNv(store, STORAGE, MODULE)).fault, cut
