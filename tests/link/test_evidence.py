"""Evidence: the 65 bytes, the chain, and that nothing else passes for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import hmac_sm3, sm3
from meterseal.errors import LocalError
from meterseal.link import evidence, schedule
from meterseal.link.evidence import GENESIS, EvidenceStatement
from tests.link.parties import DEVICE, refuses

KEY = Sm2PrivateKey.generate("module")
statements = st.builds(
    EvidenceStatement,
    st.binary(min_size=8, max_size=8),
    st.integers(0, 255),
    st.integers(0, 2**64 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-128, 127),
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=32, max_size=32),
)
STATEMENT = EvidenceStatement(DEVICE, 1, 1_780_000_000_000, 123_456, -2, 0x2C, 0, 1, GENESIS)


@given(statements)
def test_a_statement_packs_into_65_bytes_as_the_page_says(one: EvidenceStatement) -> None:
    packed = one.pack()
    by_hand = one.device_id + bytes((one.channel,)) + one.end_at.to_bytes(8, "big")
    by_hand += one.register.to_bytes(8, "big", signed=True) + one.exponent.to_bytes(1, "big", signed=True)
    by_hand += bytes((one.unit,)) + one.status.to_bytes(2, "big") + one.sequence.to_bytes(4, "big") + one.head
    assert packed == by_hand
    assert len(packed) == 65
    assert evidence.unpack(packed) == one


@pytest.mark.parametrize(
    "change",
    [
        {"device_id": b"short"},
        {"head": bytes(31)},
        {"register": 2**63},
        {"exponent": 128},
        {"status": 65_536},
        {"sequence": -1},
    ],
)
def test_values_without_a_place_are_not_packed(change: dict[str, object]) -> None:
    with pytest.raises(LocalError):
        STATEMENT._replace(**change).pack()  # type: ignore[arg-type]


def test_statements_of_another_length_are_refused() -> None:
    for size in (0, 64, 66):
        refuses("link.evidence", lambda size=size: evidence.unpack(bytes(size)))


readings = st.lists(st.tuples(st.integers(0, 2**63), st.integers(-(2**63), 2**63 - 1)), max_size=12)


@given(readings, st.integers(0, 255))
def test_the_chain_is_sm3_over_each_reading(given_readings: list[tuple[int, int]], channel: int) -> None:
    head = GENESIS
    for end_at, register in given_readings:
        head = sm3(
            head, bytes((channel,)), end_at.to_bytes(8, "big"), register.to_bytes(8, "big", signed=True)
        )
    assert evidence.chain(GENESIS, channel, given_readings) == head
    stepped = GENESIS
    for end_at, register in given_readings:
        stepped = evidence.chain_step(stepped, channel, end_at, register)
    assert stepped == head


def test_an_altered_left_out_or_moved_reading_shows_in_the_chain() -> None:
    profile = [(1000 * at, 500 + at) for at in range(24)]
    head = evidence.chain(GENESIS, 1, profile)
    assert evidence.chain(evidence.chain(GENESIS, 1, profile[:10]), 1, profile[10:]) == head
    altered = [[*profile[:5], (5000, 999), *profile[6:]], profile[:-1], profile[1:], profile[::-1]]
    assert all(evidence.chain(GENESIS, 1, other) != head for other in altered)
    assert evidence.chain(GENESIS, 2, profile) != head


def test_a_signature_over_evidence_is_over_nothing_else() -> None:
    packed = STATEMENT.pack()
    signature = KEY.sign(evidence.signed_bytes(packed))
    assert evidence.check_signature(KEY.public_point, packed, signature)
    assert not evidence.check_signature(KEY.public_point, packed[:-1] + b"\1", signature)
    for other in (packed, schedule.signed_by_device(packed[:32]), schedule.signed_by_platform(packed[:32])):
        assert not evidence.check_signature(KEY.public_point, packed, KEY.sign(other))


def test_the_mac_of_suite_2() -> None:
    key = SymmetricKey.from_bytes(b"e" * 16, "K_evid")
    packed = STATEMENT.pack()
    mac = evidence.mac_statement(key, packed)
    assert mac == hmac_sm3(b"e" * 16, b"ms1 evidence\0", packed)
    assert evidence.check_mac(key, packed, mac)
    assert not evidence.check_mac(key, packed, mac[:-1])
    assert not evidence.check_mac(key, packed[:-1] + b"\1", mac)


@given(readings, readings, st.integers(0, 254))
def test_two_load_profiles_have_one_head_only_if_they_are_one(
    one: list[tuple[int, int]], other: list[tuple[int, int]], channel: int
) -> None:
    same = evidence.chain(GENESIS, channel, one) == evidence.chain(GENESIS, channel, other)
    assert same == (one == other)
    if one:
        assert evidence.chain(GENESIS, channel, one) != evidence.chain(GENESIS, channel + 1, one)


@given(readings, st.integers(0, 12), st.integers(0, 255))
def test_a_chain_goes_on_from_any_head(one: list[tuple[int, int]], at: int, channel: int) -> None:
    first = evidence.chain(GENESIS, channel, one[:at])
    assert evidence.chain(first, channel, one[at:]) == evidence.chain(GENESIS, channel, one)


@given(readings.filter(bool), st.data())
def test_any_one_altered_left_out_or_swapped_reading_changes_the_head(
    one: list[tuple[int, int]], data: st.DataObject
) -> None:
    head = evidence.chain(GENESIS, 1, one)
    at = data.draw(st.integers(0, len(one) - 1))
    end_at, register = one[at]
    for changed in ((end_at ^ 1, register), (end_at, register ^ 1), (end_at, register ^ (1 << 62))):
        assert evidence.chain(GENESIS, 1, [*one[:at], changed, *one[at + 1 :]]) != head
    assert evidence.chain(GENESIS, 1, [*one[:at], *one[at + 1 :]]) != head
    assert evidence.chain(GENESIS, 1, [*one, one[at]]) != head
    turned = one[::-1]
    assert (evidence.chain(GENESIS, 1, turned) == head) == (turned == one)


def test_every_changed_bit_of_a_statement_or_its_proof_shows_in_both_suites() -> None:
    packed = STATEMENT.pack()
    signature = KEY.sign(evidence.signed_bytes(packed))
    key = SymmetricKey.from_bytes(b"e" * 16, "K_evid")
    mac = evidence.mac_statement(key, packed)

    def flips(text: bytes) -> list[bytes]:
        return [
            text[:at] + bytes((text[at] ^ 1 << bit,)) + text[at + 1 :]
            for at in range(len(text))
            for bit in range(8)
        ]

    for changed in flips(packed):
        assert not evidence.check_signature(KEY.public_point, changed, signature)
        assert not evidence.check_mac(key, changed, mac)
    assert not any(evidence.check_signature(KEY.public_point, packed, one) for one in flips(signature))
    assert not any(evidence.check_mac(key, packed, one) for one in flips(mac))
