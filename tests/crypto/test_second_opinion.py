"""T10 and T11: what libcrypto makes and judges, made and judged once more by gmalg, which shares no code with it.

1 000 random cases of each kind under `make soak`, fewer in the default run (gmalg is plain Python).
"""

from __future__ import annotations

import hmac
import os

import gmalg
import pytest
from cryptography import x509

from meterseal.crypto import sm2, symmetric
from meterseal.crypto.sm2 import ORDER, SIGNER_ID, Sm2PrivateKey
from meterseal.errors import TrustError
from tests.crypto.pki import DEVICE, MODULE, Tree

SIZES = [pytest.param(40, id="cut"), pytest.param(1_000, id="full", marks=pytest.mark.soak)]
SLOW = [pytest.param(8, id="cut"), pytest.param(1_000, id="full", marks=pytest.mark.soak)]


class Gm3:
    """SM3 of gmalg in the shape that `hmac` of the standard library wants."""

    digest_size, block_size = 32, 64

    def __init__(self, message: bytes = b"") -> None:
        self._bytes = message

    def update(self, more: bytes) -> None:
        self._bytes += more

    def copy(self) -> Gm3:
        return Gm3(self._bytes)

    def digest(self) -> bytes:
        made = gmalg.SM3()
        made.update(self._bytes)
        return bytes(made.value())


def cbc(key: bytes, iv: bytes, blocks: bytes) -> bytes:
    """CBC by gmalg's single blocks."""
    cipher, out, last = gmalg.SM4(key), b"", iv
    for at in range(0, len(blocks), 16):
        last = bytes(cipher.encrypt(bytes(a ^ b for a, b in zip(blocks[at : at + 16], last, strict=True))))
        out += last
    return out


def drawn() -> int:
    return os.urandom(1)[0]


@pytest.mark.parametrize("count", SIZES)
def test_t11_sm3_and_hmac(count: int) -> None:
    for _ in range(count):
        key, message = os.urandom(drawn() % 97), os.urandom(drawn())
        assert symmetric.sm3(message) == Gm3(message).digest()
        second = hmac.new(key, message, Gm3).digest()  # type: ignore[arg-type]
        assert symmetric.hmac_sm3(key, message) == second


@pytest.mark.parametrize("count", SIZES)
def test_t11_hkdf(count: int) -> None:
    """RFC 5869 written once more over gmalg's SM3."""
    for _ in range(count // 4):
        salt, ikm, info, size = os.urandom(32), os.urandom(32), os.urandom(drawn() % 60), 1 + drawn() % 90
        prk = hmac.new(salt, ikm, Gm3).digest()  # type: ignore[arg-type]
        assert symmetric.hkdf_extract(salt, ikm) == prk
        out, last = b"", b""
        for number in range(1, 4):
            last = hmac.new(prk, last + info + bytes((number,)), Gm3).digest()  # type: ignore[arg-type]
            out += last
        assert symmetric.hkdf_expand(prk, info, size) == out[:size]


@pytest.mark.parametrize("count", SIZES)
def test_t11_sm4_blocks_and_chains(count: int) -> None:
    for _ in range(count):
        key, iv, blocks = os.urandom(16), os.urandom(16), os.urandom(16 * (1 + drawn() % 8))
        sealed = symmetric.sm4_cbc_encrypt(key, iv, blocks)
        assert sealed == cbc(key, iv, blocks)
        assert symmetric.sm4_cbc_decrypt(key, iv, sealed) == blocks
        assert symmetric.sm4_cbc_decrypt_all(key, iv, [sealed]) == [blocks]
        assert symmetric.sm4_ecb(key, iv) == gmalg.SM4(key).encrypt(iv)
        assert symmetric.sm4_ecb_decrypt(key, iv) == gmalg.SM4(key).decrypt(iv)


def pair() -> tuple[Sm2PrivateKey, gmalg.SM2]:
    """One key in both libraries."""
    scalar = (int.from_bytes(os.urandom(40), "big") % (ORDER - 2) + 1).to_bytes(32, "big")
    ours = Sm2PrivateKey.from_scalar(scalar, "a test's key")
    return ours, gmalg.SM2(scalar, SIGNER_ID, ours.public_point)


@pytest.mark.parametrize("count", SLOW)
def test_t11_sm2_signatures_both_ways(count: int) -> None:
    for _ in range(count):
        ours, second = pair()
        message = os.urandom(drawn())
        made = ours.sign(message)
        assert second.verify(message, made[:32], made[32:])
        r, s = second.sign(message)
        theirs = bytes(r).rjust(32, b"\0") + bytes(s).rjust(32, b"\0")
        assert sm2.verify(ours.public_point, message, theirs)
        assert not sm2.verify(ours.public_point, message + b"\0", theirs)
        assert not second.verify(message + b"\0", made[:32], made[32:])


@pytest.mark.parametrize("count", SLOW)
def test_t11_sm2_encryption_both_ways(count: int) -> None:
    for _ in range(count):
        ours, second = pair()
        plain = os.urandom(1 + drawn())
        assert second.decrypt(sm2.encrypt(ours.public_point, plain)) == plain
        assert ours.decrypt(bytes(second.encrypt(plain))) == plain


def test_t11_signatures_of_certificates() -> None:
    """Each certificate of both chains: its DER signature over its own to-be-signed bytes, judged by gmalg."""
    tree = Tree()
    root = point_of(tree.root)
    cases = [(tree.root, root), (tree.device_ca, root), (tree.platform_chain[1], root)]
    cases.append((tree.device(DEVICE, MODULE), point_of(tree.device_ca)))
    cases.append((tree.platform_chain[0], point_of(tree.platform_chain[1])))
    for der, issuer in cases:
        certificate = x509.load_der_x509_certificate(der)
        r, s = der_pair(certificate.signature)
        second = gmalg.SM2(None, SIGNER_ID, issuer)
        assert second.verify(certificate.tbs_certificate_bytes, r, s)
        assert not second.verify(certificate.tbs_certificate_bytes + b"\0", r, s)


def point_of(der: bytes) -> bytes:
    from meterseal.crypto.certificates import parse

    return parse(der).point


def der_pair(encoded: bytes) -> tuple[bytes, bytes]:
    """r and s of SEQUENCE { INTEGER, INTEGER }, 32 bytes each."""
    at, numbers = 2, []
    for _ in range(2):
        size = encoded[at + 1]
        numbers.append(int.from_bytes(encoded[at + 2 : at + 2 + size], "big").to_bytes(32, "big"))
        at += 2 + size
    assert at == len(encoded)
    return numbers[0], numbers[1]


KEY, SECOND = pair()
MESSAGE = b"ms1 evidence\x00" + bytes(65)
SIGNED = KEY.sign(MESSAGE)
R, S = int.from_bytes(SIGNED[:32], "big"), int.from_bytes(SIGNED[32:], "big")
NEGATIVE = {
    "r is zero": (0, S),
    "s is zero": (R, 0),
    "both are zero": (0, 0),
    "r is the order": (ORDER, S),
    "s is the order": (R, ORDER),
    "r above the order": (ORDER + 1, S),
    "r and s add up to the order": (R, ORDER - R),
    "n minus s": (R, ORDER - S),
    "r and s swapped": (S, R),
    "all ones": (2**256 - 1, 2**256 - 1),
    "r plus one": (R + 1, S),
    "s plus one": (R, S + 1),
}


@pytest.mark.parametrize("name", NEGATIVE)
def test_t10_a_wrong_signature_is_refused_by_both(name: str) -> None:
    r, s = (number.to_bytes(32, "big") for number in NEGATIVE[name])
    assert sm2.verify(KEY.public_point, MESSAGE, SIGNED)
    assert SECOND.verify(MESSAGE, SIGNED[:32], SIGNED[32:])
    assert not sm2.verify(KEY.public_point, MESSAGE, r + s)
    assert not refusing(SECOND, r, s)


def refusing(second: gmalg.SM2, r: bytes, s: bytes) -> bool:
    """gmalg's verdict; an error counts as a refusal."""
    try:
        return bool(second.verify(MESSAGE, r, s))
    except (ValueError, ArithmeticError, TypeError, gmalg.errors.GMError):
        return False


@pytest.mark.parametrize("signer", [b"1234567812345679", b"another signer"], ids=["last digit", "other"])
def test_t10_another_signer_id_is_refused_by_both(signer: bytes) -> None:
    other = gmalg.SM2(None, signer, KEY.public_point)
    assert not sm2.verify(KEY.public_point, MESSAGE, SIGNED, signer)
    assert not other.verify(MESSAGE, SIGNED[:32], SIGNED[32:])
    made = KEY.sign(MESSAGE, signer)
    assert other.verify(MESSAGE, made[:32], made[32:])
    assert not sm2.verify(KEY.public_point, MESSAGE, made)
    assert not SECOND.verify(MESSAGE, made[:32], made[32:])


def test_t10_altered_ciphertexts_are_refused_by_both() -> None:
    sealed = sm2.encrypt(KEY.public_point, b"K_b and K_r, 32 bytes of secrets")
    assert SECOND.decrypt(sealed) == KEY.decrypt(sealed)
    for at in (1, 33, 64, 65, 80, 96, 97, len(sealed) - 1):
        altered = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
        with pytest.raises(TrustError):
            KEY.decrypt(altered)
        with pytest.raises((ValueError, ArithmeticError, gmalg.errors.GMError)):
            SECOND.decrypt(altered)
