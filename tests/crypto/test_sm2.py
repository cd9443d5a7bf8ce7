"""SM2 by libcrypto: agrees with two other implementations, refuses what is wrong, keeps keys to itself."""

from __future__ import annotations

import copy
import gc
import pickle
import resource

import gmalg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.crypto import _libcrypto, sm2
from meterseal.crypto.sm2 import ORDER, SIGNER_ID, Sm2PrivateKey
from meterseal.crypto.symmetric import sm3, sm4_ecb
from meterseal.errors import LocalError, TrustError
from tests.crypto import reference

SCALAR = bytes.fromhex("8f48bea9a8df36fdf31d0becd1c7636465d129af383a985a48cde71e2394d851")
KEY = Sm2PrivateKey.from_scalar(SCALAR, "test key")
MESSAGE = b"ms1 evidence"
SIGNED = KEY.sign(MESSAGE)
scalars = st.integers(1, ORDER - 2).map(reference.raw)


def second() -> gmalg.SM2:
    return gmalg.SM2(SCALAR, SIGNER_ID, KEY.public_point)


@pytest.mark.parametrize("message", [b"", b"a", bytes(range(256)) * 9])
def test_signatures_hold_in_the_second_implementation_and_back(message: bytes) -> None:
    ours = KEY.sign(message)
    assert second().verify(message, ours[:32], ours[32:])
    r, s = second().sign(message)
    assert sm2.verify(KEY.public_point, message, r.rjust(32, b"\0") + s.rjust(32, b"\0"))


@settings(max_examples=25, deadline=None)
@given(scalars, st.binary(max_size=99), st.binary(min_size=1, max_size=40))
def test_signatures_hold_by_the_formulas_of_the_standard(scalar: bytes, message: bytes, user: bytes) -> None:
    key = Sm2PrivateKey.from_scalar(scalar)
    public = reference.times(reference.number(scalar), reference.G)
    assert key.public_point == reference.encoded(public)
    signature = key.sign(message, user)
    e = reference.digest(public, message, user)
    assert reference.verify(public, e, reference.number(signature[:32]), reference.number(signature[32:]))
    r, s = reference.sign(reference.number(scalar), 0x1234567 + len(message), e)
    assert sm2.verify(key.public_point, message, reference.raw(r) + reference.raw(s), user)


@pytest.mark.parametrize("size", [1, 16, 32, 33, 200])
def test_ciphertexts_open_in_the_second_implementation_and_back(size: int) -> None:
    plain = bytes(range(size))
    ours = sm2.encrypt(KEY.public_point, plain)
    assert len(ours) == size + sm2.OVERHEAD
    assert second().decrypt(ours) == plain
    assert KEY.decrypt(second().encrypt(plain)) == plain


@settings(max_examples=25, deadline=None)
@given(scalars, scalars)
def test_agreement_is_the_x_coordinate_by_the_formulas(one: bytes, other: bytes) -> None:
    ours, theirs = Sm2PrivateKey.from_scalar(one), Sm2PrivateKey.from_scalar(other)
    shared = reference.times(reference.number(one), reference.point(theirs.public_point))
    assert shared is not None
    assert ours.agree(theirs.public_point) == theirs.agree(ours.public_point) == reference.raw(shared[0])


def test_agreement_by_the_second_implementations_points() -> None:
    curve = second()._core.ecdlp
    peer = Sm2PrivateKey.generate()
    shared = curve.ec.mul(reference.number(SCALAR), reference.point(peer.public_point))
    assert KEY.agree(peer.public_point) == reference.raw(shared[0])


@settings(max_examples=30)
@given(st.binary(max_size=200), st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_sm3_and_sm4_equal_the_second_implementation(message: bytes, key: bytes, block: bytes) -> None:
    digest = gmalg.SM3()
    digest.update(message)
    assert sm3(message) == digest.value()
    assert sm4_ecb(key, block) == gmalg.SM4(key).encrypt(block)


NUMBER = int.from_bytes
R, S = NUMBER(SIGNED[:32], "big"), NUMBER(SIGNED[32:], "big")
FORGED = {
    "r = 0": (0, S),
    "s = 0": (R, 0),
    "r = n": (ORDER, S),
    "s = n": (R, ORDER),
    "r + s = n": (R, ORDER - R),
    "r + n": ((R + ORDER) % 2**256, S),
    "s + n": (R, (S + ORDER) % 2**256),
    "n - s": (R, ORDER - S),
    "swapped": (S, R),
    "all ones": (2**256 - 1, 2**256 - 1),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_signature_values_are_refused(name: str) -> None:
    r, s = FORGED[name]
    _libcrypto.drained()  # what Python's own modules left there before
    assert not sm2.verify(KEY.public_point, MESSAGE, reference.raw(r) + reference.raw(s))
    assert _libcrypto.lib.ERR_get_error() == 0


@pytest.mark.parametrize(
    "signature",
    [b"", SIGNED[:-1], SIGNED + b"\0", b"\0" + SIGNED, bytes(64)],
    ids=["empty", "short", "long", "shifted", "zeros"],
)
def test_signatures_of_another_shape_are_refused(signature: bytes) -> None:
    assert not sm2.verify(KEY.public_point, MESSAGE, signature)


def test_every_flipped_bit_of_a_signature_is_refused() -> None:
    for bit in range(512):
        flipped = (NUMBER(SIGNED, "big") ^ 1 << bit).to_bytes(64, "big")
        assert not sm2.verify(KEY.public_point, MESSAGE, flipped), bit


def test_signer_id_is_part_of_the_signature() -> None:
    assert sm2.verify(KEY.public_point, MESSAGE, SIGNED, b"1234567812345678")
    assert not sm2.verify(KEY.public_point, MESSAGE, SIGNED, b"")
    assert not sm2.verify(KEY.public_point, MESSAGE, SIGNED, b"1234567812345679")
    assert not sm2.verify(KEY.public_point, MESSAGE, KEY.sign(MESSAGE, b""))


P = reference.P
BAD_POINTS = {
    "empty": b"",
    "infinity": b"\0",
    "zeros": bytes(65),
    "origin": b"\x04" + bytes(64),
    "off the curve": KEY.public_point[:-1] + bytes((KEY.public_point[-1] ^ 1,)),
    "compressed": b"\x02" + KEY.public_point[1:33],
    "hybrid": bytes((6 + (KEY.public_point[-1] & 1),)) + KEY.public_point[1:],
    "x above p": b"\x04" + reference.raw(P) + KEY.public_point[33:],
    "y above p": KEY.public_point[:33] + b"\xff" * 32,
    "trailing byte": KEY.public_point + b"\0",
}


@pytest.mark.parametrize("name", BAD_POINTS)
def test_invalid_curve_attack_is_refused(name: str) -> None:
    point = BAD_POINTS[name]
    with pytest.raises(TrustError) as refused:
        KEY.agree(point)
    assert refused.value.code == "crypto.point"
    with pytest.raises(TrustError):
        sm2.encrypt(point, b"x")
    assert not sm2.verify(point, MESSAGE, SIGNED)
    assert not sm2.on_curve(point)
    assert _libcrypto.lib.ERR_get_error() == 0


def test_altered_ciphertexts_are_refused_alike() -> None:
    sealed = sm2.encrypt(KEY.public_point, b"sixteen byte key")
    altered = [sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :] for at in range(len(sealed))]
    sentences = set()
    for ciphertext in (*altered, sealed[:-1], sealed[: sm2.OVERHEAD], sealed + b"\0", b"", b"\x04"):
        with pytest.raises(TrustError) as refused:
            KEY.decrypt(ciphertext)
        sentences.add((refused.value.code, refused.value.message))
    assert len(sentences) == 1
    assert _libcrypto.lib.ERR_get_error() == 0


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_ciphertext_point_or_key_end_in_a_trust_error(noise: bytes) -> None:
    for use in (KEY.decrypt, KEY.agree, Sm2PrivateKey.from_pkcs8):
        with pytest.raises(TrustError):
            use(noise)
    assert not sm2.verify(noise, noise, noise)


@pytest.mark.parametrize(
    "scalar", [bytes(32), reference.raw(ORDER), reference.raw(ORDER - 1), b"", b"\1", bytes(33)]
)
def test_private_numbers_out_of_range_are_refused(scalar: bytes) -> None:
    with pytest.raises(LocalError):
        Sm2PrivateKey.from_scalar(scalar)


def test_pkcs8_round_trip_and_keys_of_another_curve() -> None:
    fresh = Sm2PrivateKey.generate()
    again = Sm2PrivateKey.from_pkcs8(fresh.to_pkcs8())
    assert again.public_point == fresh.public_point
    assert sm2.verify(fresh.public_point, MESSAGE, again.sign(MESSAGE))
    p256 = bytes.fromhex(
        "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420" + "11" * 32 + "a144034200"
        "040217e617f0b6443928278f96999e69a23a4f2c152bdf6d6cdf66e5b80282d4ed194a7debcb97712d2dda3ca85aa8765a"
        "56f45fc758599652f2897c65306e5794"
    )
    with pytest.raises(TrustError, match="curve SM2"):
        Sm2PrivateKey.from_pkcs8(p256)


def test_a_private_key_does_not_print_pickle_copy_or_compare() -> None:
    assert repr(KEY) == "<Sm2PrivateKey test key>"
    assert SCALAR.hex() not in repr(KEY)
    for act in (pickle.dumps, copy.copy, copy.deepcopy, lambda key: key == KEY, hash):
        with pytest.raises(TypeError):
            act(KEY)


def test_nothing_leaks_over_thousands_of_operations() -> None:
    def work(times: int) -> int:
        for _ in range(times):
            sm2.verify(KEY.public_point, MESSAGE, SIGNED)
            sm2.verify(KEY.public_point, MESSAGE, bytes(64))
            KEY.sign(MESSAGE)
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = work(300)
    assert work(1200) - before < 2_000, "more than 2 MB grew in 1200 rounds; an object is not freed"


def test_supported_answers_for_the_doctor() -> None:
    works, sentence = sm2.supported()
    assert works
    assert "OpenSSL" in sentence


def test_supported_says_no_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_libcrypto, "lib", None)
    works, sentence = sm2.supported()
    assert not works
    assert "use a Python" in sentence
