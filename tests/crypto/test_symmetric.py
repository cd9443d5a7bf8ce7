"""Padding, HKDF and sealed boxes by their properties; keys that keep to themselves."""

from __future__ import annotations

import copy
import hmac
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.crypto import symmetric
from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import LocalError, TrustError

keys = st.binary(min_size=16, max_size=16)


@given(st.binary(max_size=100))
def test_padding_returns_the_plain_bytes_and_adds_one_to_sixteen(plain: bytes) -> None:
    padded = symmetric.pad80(plain)
    assert len(padded) % 16 == 0
    assert 1 <= len(padded) - len(plain) <= 16
    assert symmetric.unpad80(padded) == plain


@given(st.binary(max_size=64))
def test_any_bytes_unpad_to_what_pads_back_to_them_or_are_refused(padded: bytes) -> None:
    try:
        plain = symmetric.unpad80(padded)
    except TrustError as error:
        assert error.code == "crypto.padding"  # noqa: PT017 - both outcomes are legal, the code is fixed
    else:
        assert symmetric.pad80(plain) == padded


@pytest.mark.parametrize(
    "padded", [b"", bytes(16), bytes(32), b"\x80" + bytes(16), b"\x80" + bytes(31), b"\x80"]
)
def test_padding_of_no_byte_a_whole_block_or_a_part_is_refused(padded: bytes) -> None:
    with pytest.raises(TrustError):
        symmetric.unpad80(padded)


@given(st.binary(max_size=80), st.lists(st.binary(max_size=40), max_size=4))
def test_hmac_equals_the_standard_library(key: bytes, parts: list[bytes]) -> None:
    assert symmetric.hmac_sm3(key, *parts) == hmac.digest(key, b"".join(parts), "sm3")


@given(keys, st.binary(max_size=40), st.integers(1, 100))
def test_hkdf_expand_is_rfc_5869(prk: bytes, info: bytes, size: int) -> None:
    one = hmac.digest(prk, info + b"\x01", "sm3")
    two = hmac.digest(prk, one + info + b"\x02", "sm3")
    three = hmac.digest(prk, two + info + b"\x03", "sm3")
    four = hmac.digest(prk, three + info + b"\x04", "sm3")
    assert symmetric.hkdf_expand(prk, info, size) == (one + two + three + four)[:size]
    assert symmetric.hkdf_extract(b"", info) == hmac.digest(bytes(32), info, "sm3")


@given(
    st.binary(min_size=1, max_size=80),
    st.lists(st.tuples(st.binary(max_size=80), st.integers(1, 32)), max_size=7),
)
def test_hkdf_for_several_is_hkdf_for_each(prk: bytes, wanted: list[tuple[bytes, int]]) -> None:
    assert symmetric.hkdf_expand_each(prk, wanted) == [symmetric.hkdf_expand(prk, *one) for one in wanted]


@pytest.mark.parametrize("size", [-1, 0, 33])
def test_hkdf_for_several_gives_one_block_each(size: int) -> None:
    with pytest.raises(LocalError) as caught:
        symmetric.hkdf_expand_each(bytes(32), [(b"", 32), (b"", size)])
    assert caught.value.code == "crypto.size"


def test_hkdf_gives_no_more_than_it_can() -> None:
    for size in (0, -1, 255 * 32 + 1):
        with pytest.raises(LocalError):
            symmetric.hkdf_expand(bytes(32), b"", size)


@given(keys, st.binary(max_size=60), st.binary(max_size=20))
def test_gcm_box_opens_and_every_change_is_refused(raw: bytes, plain: bytes, aad: bytes) -> None:
    key = SymmetricKey.from_bytes(raw, "box key")
    sealed = key.gcm_seal(plain, aad)
    assert len(sealed) == len(plain) + 28
    assert key.gcm_open(sealed, aad) == plain
    for at in range(0, len(sealed), 7):
        with pytest.raises(TrustError, match="box key"):
            key.gcm_open(sealed[:at] + bytes((sealed[at] ^ 128,)) + sealed[at + 1 :], aad)
        with pytest.raises(TrustError):
            key.gcm_open(sealed[:at], aad)
    with pytest.raises(TrustError):
        key.gcm_open(sealed, aad + b"\0")
    assert key.gcm_seal(plain, aad) != sealed, "a nonce came twice"


@pytest.mark.parametrize("size", [0, 1, 7, 8, 11, 13, 16, 128, 129])
def test_gcm_nonces_of_another_length_are_named_and_refused(size: int) -> None:
    # `cryptography` itself refuses fewer than 8 and more than 128 bytes; here a nonce has 12, always.
    for use in (symmetric.sm4_gcm_seal, symmetric.sm4_gcm_open):
        with pytest.raises(LocalError, match="12-byte nonces") as refused:
            use(bytes(16), bytes(size), bytes(32), b"")
        assert refused.value.code == "crypto.nonce"


@pytest.mark.parametrize("size", [1, 15, 17])
def test_blocks_that_are_not_whole_are_named_and_refused(size: int) -> None:
    for block_use in (symmetric.sm4_ecb, symmetric.sm4_ecb_decrypt):
        with pytest.raises(LocalError):
            block_use(bytes(16), bytes(size))
    for chain_use in (symmetric.sm4_cbc_encrypt, symmetric.sm4_cbc_decrypt):
        with pytest.raises(LocalError):
            chain_use(bytes(16), bytes(16), bytes(size))


@given(keys, keys, st.binary(max_size=5).map(lambda tail: bytes(16 * len(tail))))
def test_cbc_and_ecb_come_back(key: bytes, iv: bytes, blocks: bytes) -> None:
    assert symmetric.sm4_cbc_decrypt(key, iv, symmetric.sm4_cbc_encrypt(key, iv, blocks)) == blocks
    assert symmetric.sm4_ecb_decrypt(key, symmetric.sm4_ecb(key, blocks)) == blocks


def test_diversification_has_the_known_answers() -> None:
    """Known answers of two independent implementations: K = SM4(P, f ‖ not f), level by level."""
    root = SymmetricKey.from_bytes(bytes.fromhex("0123456789abcdeffedcba9876543210"), "root")
    one = root.diversify(bytes.fromhex("3330313100000001"), "one")
    two = one.diversify(bytes.fromhex("0000202611210001"), "two")
    assert expose(one).hex() == "73f76d498cee3ead315ee7e54b72371c"
    assert expose(two).hex() == "95b328159add8d4bdf8a69c7deb512b5"
    assert (
        two.ecb(bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == "996c4bb85d7d26b73ad669dcc773744a"
    )
    for factor in (b"", bytes(7), bytes(9), bytes(16)):
        with pytest.raises(LocalError):
            root.diversify(factor, "wrong")


def test_a_key_does_not_print_pickle_copy_or_compare() -> None:
    key = SymmetricKey.generate("meter key")
    other = SymmetricKey.from_bytes(expose(key), "meter key")
    assert expose(key).hex() not in repr(key) + str(key) + f"{key}"
    assert repr(key) == "<SymmetricKey meter key>"
    assert not hasattr(key, "__dict__")
    for act in (pickle.dumps, copy.copy, copy.deepcopy, lambda one: one == other, hash):
        with pytest.raises(TypeError):
            act(key)
    assert key.check_value() == other.check_value() == key.ecb(bytes(16))[:3]


def test_keys_of_another_length_are_refused_and_fresh_ones_differ() -> None:
    for size in (0, 15, 17, 24, 33):
        with pytest.raises(LocalError, match="some key"):
            SymmetricKey.from_bytes(bytes(size), "some key")
    assert len({expose(SymmetricKey.generate("fresh")) for _ in range(50)}) == 50
    assert len(expose(SymmetricKey.generate("fresh", 32))) == 32
    parent = SymmetricKey.generate("parent")
    assert len(expose(parent.expand(b"a", 32, "child"))) == 32
    assert expose(parent.expand(b"a", 16, "child")) != expose(parent.expand(b"b", 16, "child"))
    assert parent.mac(b"a", b"b") == hmac.digest(expose(parent), b"ab", "sm3")
    assert parent.cbc_decrypt(bytes(16), parent.cbc_encrypt(bytes(16), bytes(32))) == bytes(32)
