"""A key with a table of its multiples says what libcrypto's own verification says, also where sums meet themselves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.crypto import sm2, verifying
from meterseal.crypto.sm2 import ORDER, SIGNER_ID, Sm2PrivateKey
from meterseal.crypto.verifying import VerifyingKey
from meterseal.errors import TrustError
from tests.crypto import reference

MESSAGE = b"a certificate of a device"


def asked_often(key: Sm2PrivateKey) -> VerifyingKey:
    made = VerifyingKey(key.public_point)
    made._asked = verifying._WORTH
    return made


KEY = Sm2PrivateKey.generate()
OFTEN = asked_often(KEY)


def both(message: bytes, signature: bytes) -> bool:
    """The answer of the table, which is the answer of libcrypto."""
    answer = OFTEN.verify(message, signature)
    assert answer == sm2.verify(KEY.public_point, message, signature)
    return answer


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=600), st.integers(0, 511), st.integers(0, 10**9))
def test_it_agrees_on_good_and_on_flipped_signatures(message: bytes, bit: int, other: int) -> None:
    signature = KEY.sign(message)
    assert both(message, signature)
    flipped = (int.from_bytes(signature) ^ 1 << bit).to_bytes(64)
    assert not both(message, flipped)
    assert not both(message + other.to_bytes(4), signature)


@pytest.mark.parametrize("r", [0, 1, ORDER - 1, ORDER, ORDER + 1, 2**256 - 1])
@pytest.mark.parametrize("s", [0, 1, ORDER - 1, ORDER, ORDER + 1, 2**256 - 1])
def test_numbers_at_the_edges_are_no_signature(r: int, s: int) -> None:
    assert not both(MESSAGE, r.to_bytes(32) + s.to_bytes(32))


def test_r_and_s_outside_their_range_are_refused_where_they_would_fit() -> None:
    signature = KEY.sign(MESSAGE)
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    for a, b in ((r + ORDER, s), (r, s + ORDER), (r, ORDER - r), (ORDER - s, s)):
        if a < 2**256 and b < 2**256:
            assert not both(MESSAGE, a.to_bytes(32) + b.to_bytes(32))


@pytest.mark.parametrize("size", [0, 63, 65, 128])
def test_another_length_is_no_signature(size: int) -> None:
    assert not both(MESSAGE, KEY.sign(MESSAGE).ljust(size, b"\0")[:size])


@pytest.mark.parametrize("scalar", [1, 2, 255, 256, 257, ORDER - 2, ORDER // 2, ORDER // 2 + 1])
def test_keys_whose_multiples_are_the_base_points_own_agree(scalar: int) -> None:
    """With P a small multiple of G the sum adds equal and opposite points, which plain formulas get wrong."""
    key = Sm2PrivateKey.from_scalar(scalar.to_bytes(32))
    often = asked_often(key)
    for number in range(8):
        message = bytes((number,))
        signature = key.sign(message)
        assert often.verify(message, signature)
        assert not often.verify(MESSAGE, signature)
    public = reference.point(key.public_point)
    for k in (1, 2, 255, ORDER - 1):
        e = reference.digest(public, MESSAGE, SIGNER_ID)
        r, s = reference.sign(scalar, k, e)
        signature = reference.raw(r) + reference.raw(s)
        assert often.verify(MESSAGE, signature) == sm2.verify(key.public_point, MESSAGE, signature)
        assert often.verify(MESSAGE, signature) == reference.verify(public, e, r, s)


def test_a_sum_at_infinity_is_refused() -> None:
    """P = 2·G and s = -2·t: the points cancel."""
    key = Sm2PrivateKey.from_scalar((2).to_bytes(32))
    often = asked_often(key)
    for t in (1, 77, ORDER - 1, ORDER // 3):
        s = -2 * t % ORDER
        r = (t - s) % ORDER
        signature = r.to_bytes(32) + s.to_bytes(32)
        assert not often.verify(MESSAGE, signature)
        assert not sm2.verify(key.public_point, MESSAGE, signature)


def test_it_answers_alike_before_and_after_it_has_a_table() -> None:
    key = Sm2PrivateKey.generate()
    made = VerifyingKey(key.public_point)
    signature = key.sign(MESSAGE)
    for _ in range(verifying._WORTH + 2):
        assert made.verify(MESSAGE, signature)
        assert not made.verify(MESSAGE + b".", signature)
    assert made._multiples is not None


def test_another_signer_id_is_another_signature() -> None:
    made = VerifyingKey(KEY.public_point, b"somebody")
    made._asked = verifying._WORTH
    assert made.verify(MESSAGE, KEY.sign(MESSAGE, b"somebody"))
    assert not made.verify(MESSAGE, KEY.sign(MESSAGE))


@pytest.mark.parametrize(
    "point",
    [b"", bytes(65), b"\x04" + bytes(64), KEY.public_point[:-1]],
    ids=["empty", "no form", "zero", "cut"],
)
def test_a_point_off_the_curve_makes_no_key(point: bytes) -> None:
    with pytest.raises(TrustError) as caught:
        VerifyingKey(point)
    assert caught.value.code == "crypto.point"
