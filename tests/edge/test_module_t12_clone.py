"""T12: a module that was cloned or moved (HM-8.5.4.f). What the module itself does about it, and what stands against
whoever holds its memory with the storage key and so may change anything in it.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from meterseal.crypto import sm2
from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.apdu import CardIns, Ins, Sw, call, pack
from meterseal.edge.cardmemory import CardMemory
from meterseal.edge.chip import Chip
from meterseal.edge.image import state_from_bytes, state_to_bytes
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.errors import TrustError
from meterseal.link import cardkeys
from tests.crypto.pki import NOW
from tests.edge.cards import MODULE, Bench, refused
from tests.edge.platform import STORAGE, Platform, shake_hands

GAS = bytes.fromhex("3078330000000002")
OTHER = bytes.fromhex("4d53000000000002")
PAIRING = SymmetricKey.from_bytes(b"this device only", "the pairing key of a device")
STRANGER = SymmetricKey.from_bytes(b"some other meter", "the pairing key of another device")


def paired(suite: int = 1) -> Bench:
    bench = Bench(suite=suite, pin=False)
    bench.chip.pair(sm2.encrypt(bench.chip.state().point, expose(PAIRING)))
    return bench


def test_t12_a_paired_module_works_in_its_device() -> None:
    bench = paired()
    shake_hands(bench.platform, bench.chip)
    bench.power()
    bench.chip.present(PAIRING)
    shake_hands(bench.platform, bench.chip)


@pytest.mark.parametrize("proof", ["none", "another device's", "nothing but zeros"])
def test_t12_a_module_in_another_device_refuses_every_command_in_the_ordinary_way(proof: str) -> None:
    bench = paired()
    shake_hands(bench.platform, bench.chip)
    before = bench.chip.state()
    bench.power()
    if proof == "another device's":
        assert refused(lambda: bench.chip.present(STRANGER)) == Sw.SECURITY
    elif proof == "nothing but zeros":
        bench.card.challenge()
        assert refused(lambda: call(bench.port, CardIns.PRESENT, bytes(16))) == Sw.SECURITY
    for ins in (*Ins, *CardIns):
        if ins in (Ins.READ_STATE, CardIns.GET_CHALLENGE, CardIns.PRESENT):
            continue
        for content in (b"", NOW.to_bytes(8, "big"), bytes(8), bytes(16)):
            assert bench.port.transmit(pack(ins, content)) == Sw.SECURITY.to_bytes(2, "big")
    after = bench.chip.state()
    assert after.foreign == (0 if proof == "none" else 1)
    assert replace(after, foreign=0) == before


def test_t12_a_proof_that_was_heard_before_is_refused() -> None:
    bench = paired()
    bench.power()
    proof = cardkeys.presence(PAIRING, bench.chip.state().device_id, bench.card.challenge())
    call(bench.port, CardIns.PRESENT, proof)
    bench.power()
    assert refused(lambda: call(bench.port, CardIns.PRESENT, proof)) == Sw.CONDITIONS
    bench.card.challenge()
    assert refused(lambda: call(bench.port, CardIns.PRESENT, proof)) == Sw.SECURITY


def test_t12_a_failed_proof_ends_the_presence() -> None:
    bench = paired()
    refused(lambda: bench.chip.present(STRANGER))
    assert refused(lambda: bench.chip.hello(NOW)) == Sw.SECURITY
    bench.chip.present(PAIRING)
    shake_hands(bench.platform, bench.chip)


def test_t12_pairing_happens_once_and_before_the_first_session() -> None:
    bench = paired()
    again = sm2.encrypt(bench.chip.state().point, expose(STRANGER))
    assert refused(lambda: bench.chip.pair(again)) == Sw.CONDITIONS
    active = Bench(suite=1, pin=False)
    shake_hands(active.platform, active.chip)
    assert (
        refused(lambda: active.chip.pair(sm2.encrypt(active.chip.state().point, expose(STRANGER))))
        == Sw.CONDITIONS
    )
    fresh = Bench(pin=False)
    assert (
        refused(lambda: fresh.chip.pair(sm2.encrypt(bench.chip.state().point, expose(PAIRING))))
        == Sw.SECURITY
    )
    assert refused(lambda: fresh.chip.pair(sm2.encrypt(fresh.chip.state().point, b"short"))) == Sw.SECURITY


def _copied(bench: Bench, device_id: bytes) -> SealedNv:
    """The module's memory in a thief's hands: the storage key is his, the pairing is gone, the device is another."""
    copy = SealedNv(MemoryNv(), STORAGE, MODULE)
    copy.write({name: bench.sealed.read(name) for name in bench.sealed.names()})
    state = state_from_bytes(copy.read("state") or b"")
    copy.write({"state": state_to_bytes(replace(state, device_id=device_id, current=None, previous=None))})
    CardMemory(copy).change(lambda card: replace(card, pairing=b""))
    return copy


@pytest.mark.parametrize("suite", [1, 2])
def test_t12_a_cloned_module_under_another_device_identity_gets_no_session(suite: int) -> None:
    bench = paired(suite)
    platform = bench.platform
    platform.module(GAS, OTHER, suite)
    shake_hands(platform, bench.chip)
    clone = Chip(Module(_copied(bench, GAS)))
    assert clone.state().device_id == GAS
    with pytest.raises(TrustError) as error:
        platform.receive(clone.hello(NOW))
    assert error.value.code == "link.unknown-module"
    platform.enrolled_modules[GAS].module_id = MODULE  # even a platform that takes the module id for good
    with pytest.raises(TrustError) as error:
        platform.receive(clone.hello(NOW))
    assert error.value.code == "link.hello-mac"
    shake_hands(platform, bench.chip)  # and the real one goes on


def test_t12_a_clone_cannot_sign_as_the_device_it_claims() -> None:
    bench = paired()
    platform = bench.platform
    platform.module(GAS, OTHER)
    known = platform.enrolled_modules[GAS]
    known.module_id, known.bound = MODULE, platform.enrolled_modules[bench.chip.state().device_id].bound
    clone = Chip(
        Module(_copied(bench, GAS))
    )  # a key tree that leaked would give it a handshake, but no certificate
    (answer,) = platform.receive(clone.hello(NOW))
    with pytest.raises(TrustError) as error:
        platform.receive(clone.platform(answer, NOW))
    assert error.value.code == "link.identity"


def test_t12_stolen_pages_without_the_storage_key_are_nothing() -> None:
    bench = paired()
    thief = SymmetricKey.from_bytes(b"another storage.", "a thief's key")
    stolen = Module(SealedNv(bench.store, thief, MODULE))
    assert stolen.fault
    raw = b"".join(bench.store.pages.values())  # type: ignore[attr-defined]
    assert expose(PAIRING) not in raw
    platform: Platform = bench.platform
    assert expose(next(iter(platform.enrolled_modules.values())).bound) not in raw
