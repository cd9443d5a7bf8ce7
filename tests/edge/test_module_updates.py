"""Keys and certificates that reach the module over the link: control KEY and CERT (HM-8.5.4.e, ADR 0011)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from meterseal.crypto import certificates
from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.apdu import Sw
from meterseal.errors import TrustError
from meterseal.link import control
from tests.crypto.pki import NOW, Tree
from tests.edge.cards import MODULE, WATER, Bench, refused
from tests.edge.platform import shake_hands
from tests.edge.test_power_cuts import CutStore, PowerCut

DAY = 86_400_000
OTHER = bytes.fromhex("4d53000000000002")
GAS = bytes.fromhex("3078330000000002")


def keys(*versions: int) -> dict[int, SymmetricKey]:
    return {version: SymmetricKey.generate(f"K_b version {version}") for version in versions}


def update(bench: Bench, version: int, key: SymmetricKey) -> None:
    platform = bench.platform
    word = control.key(platform.enrolled_modules[WATER].update, WATER, MODULE, version, key)
    bench.chip.open(platform.word(platform.latest[WATER], word), NOW)


def greet(bench: Bench, most: int) -> int:
    """Handshakes until one succeeds; how many it took."""
    for tries in range(1, most + 1):
        try:
            shake_hands(bench.platform, bench.chip)
        except TrustError:
            continue
        return tries
    raise AssertionError("no handshake succeeded")


def slots(bench: Bench) -> set[int]:
    return set(bench.port._memory.state.bound_keys)


@pytest.mark.parametrize("known", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("suite", [1, 2])
def test_four_key_updates_before_a_handshake_end_in_the_one_the_platform_knows(
    suite: int, known: int
) -> None:
    bench = Bench(suite=suite, pin=False)
    shake_hands(bench.platform, bench.chip)
    fresh = keys(2, 3, 4, 5)
    for version, key in fresh.items():
        update(bench, version, key)
    assert slots(bench) == {1, 2, 3, 4, 5}
    there = bench.platform.enrolled_modules[WATER]
    there.bound, there.version = fresh.get(known, there.bound), known
    assert greet(bench, 5) == 6 - known
    assert slots(bench) == set(range(known, 6))
    assert bench.chip.state().key_version == known
    bench.power()
    assert slots(bench) == set(range(known, 6))


def test_an_old_version_is_dropped_by_the_first_good_handshake_and_not_before() -> None:
    bench = Bench(pin=False)
    shake_hands(bench.platform, bench.chip)
    (key,) = keys(2).values()
    update(bench, 2, key)
    with pytest.raises(TrustError):
        shake_hands(bench.platform, bench.chip)
    assert slots(bench) == {1, 2}
    there = bench.platform.enrolled_modules[WATER]
    old, there.bound, there.version = there.bound, key, 2
    assert greet(bench, 2) == 2
    assert slots(bench) == {2}
    there.bound, there.version = old, 1
    with pytest.raises(AssertionError):
        greet(bench, 3)


def test_a_lower_or_equal_version_is_refused_whatever_serves() -> None:
    bench = Bench(pin=False)
    shake_hands(bench.platform, bench.chip)
    fresh = keys(3, 2)
    update(bench, 3, fresh[3])
    for version in (1, 2, 3):
        assert refused(lambda version=version: update(bench, version, fresh[2])) == Sw.SECURITY
    assert slots(bench) == {1, 3}


def test_card_keys_follow_the_version_that_serves() -> None:
    bench = Bench(pin=False)
    shake_hands(bench.platform, bench.chip)
    (key,) = keys(2).values()
    update(bench, 2, key)
    bench.card.external(bench.issuer)
    there = bench.platform.enrolled_modules[WATER]
    there.bound, there.version = key, 2
    greet(bench, 2)
    assert refused(lambda: bench.card.external(bench.issuer)) & 0xFFF0 == Sw.TRIES
    bench.issuer = type(bench.issuer)(there.keys.auth)
    bench.card.external(bench.issuer)


@pytest.mark.parametrize("after", [False, True])
def test_a_cut_in_a_key_update_leaves_the_old_slots_or_all(after: bool) -> None:
    store = CutStore()
    bench = Bench(store, pin=False)
    shake_hands(bench.platform, bench.chip)
    (key,) = keys(2).values()
    store.cut, store.after = store.writes + 1, after
    with pytest.raises(PowerCut):
        update(bench, 2, key)
    bench.power()
    assert slots(bench) == ({1, 2} if after else {1})
    shake_hands(bench.platform, bench.chip) if not after else greet(bench, 2)


# --- CERT -------------------------------------------------------------------------------------------------


def renewed(
    bench: Bench,
    *,
    tree: Tree | None = None,
    point: bytes = b"",
    device: bytes = WATER,
    module: bytes = MODULE,
    until: int = NOW + 400 * DAY,
    purpose: str = "device",
) -> Sequence[bytes]:
    tree = tree or bench.platform.tree
    leaf = certificates.issue_leaf(
        tree.device_ca,
        tree.device_ca_key,
        point=point or bench.platform.enrolled_modules[WATER].point,
        name="device",
        purpose=purpose,  # type: ignore[arg-type]
        uris=[certificates.uri("device", device), certificates.uri("module", module)],
        since=NOW - DAY,
        until=until,
    )
    return leaf, tree.device_ca


def say(bench: Bench, chain: Sequence[bytes]) -> None:
    word = control.cert(chain)
    bench.chip.open(bench.platform.word(bench.platform.latest[WATER], word), NOW)


def test_a_renewed_chain_is_shown_in_the_next_handshake() -> None:
    bench = Bench(suite=1, pin=False)
    shake_hands(bench.platform, bench.chip)
    chain = renewed(bench)
    say(bench, chain)
    assert bench.port._memory.trust.chain == chain
    bench.power()
    bench.platform.now = NOW + 300 * DAY  # the first certificate ended long ago
    shake_hands(bench.platform, bench.chip)


def test_a_wrong_renewal_changes_nothing() -> None:
    bench = Bench(suite=1, pin=False)
    shake_hands(bench.platform, bench.chip)
    before = dict(bench.store.pages)  # type: ignore[attr-defined]
    stranger = Bench(suite=1, pin=False)
    first = bench.port._memory.trust.chain
    wrong = {
        "another root": renewed(bench, tree=Tree()),
        "another device": renewed(bench, device=GAS),
        "another module": renewed(bench, module=OTHER),
        "another point": renewed(bench, point=stranger.platform.enrolled_modules[WATER].point),
        "an end before the bound": renewed(bench, until=NOW - DAY // 2),
        "the same again": first,
        "no later end": renewed(bench, until=NOW + DAY),
        "a platform's": (bench.platform.tree.platform(), bench.platform.tree.platform_ca),
        "leaf twice": (first[0], first[0]),
    }
    for what, chain in wrong.items():
        assert refused(lambda chain=chain: say(bench, chain)) == Sw.SECURITY, what
    assert bench.store.pages == before  # type: ignore[attr-defined]
    say(bench, renewed(bench))


def test_an_older_renewal_is_not_taken_after_a_newer_one() -> None:
    bench = Bench(suite=1, pin=False)
    shake_hands(bench.platform, bench.chip)
    older, newer = renewed(bench, until=NOW + 100 * DAY), renewed(bench)
    say(bench, newer)
    assert refused(lambda: say(bench, older)) == Sw.SECURITY


def test_a_module_of_suite_2_has_no_chain_to_renew() -> None:
    bench = Bench(suite=2, pin=False)
    shake_hands(bench.platform, bench.chip)
    assert refused(lambda: say(bench, renewed(bench))) == Sw.CONDITIONS


@pytest.mark.parametrize("after", [False, True])
def test_a_cut_in_a_renewal_leaves_the_old_chain_or_the_new(after: bool) -> None:
    store = CutStore()
    bench = Bench(store, suite=1, pin=False)
    shake_hands(bench.platform, bench.chip)
    old, new = bench.port._memory.trust.chain, renewed(bench)
    store.cut, store.after = store.writes + 1, after
    with pytest.raises(PowerCut):
        say(bench, new)
    bench.power()
    assert bench.port._memory.trust.chain == (new if after else old)
    shake_hands(bench.platform, bench.chip)
