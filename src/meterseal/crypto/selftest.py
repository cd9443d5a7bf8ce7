"""Station crypto, self-test: every primitive against a known answer, before a process is trusted with a key.

It repairs nothing and chooses no other library: a wrong answer ends the start. Answers are those of the standards
named beside them; where a standard prints none, the property itself is tried (a changed byte must be refused).
"""

from __future__ import annotations

from collections.abc import Callable

from meterseal.crypto import sm2, symmetric
from meterseal.errors import MetersealError, TrustError

_KEY = bytes.fromhex("0123456789abcdeffedcba9876543210")
_GCM_NONCE = bytes.fromhex("00001234567800000000abcd")
_GCM_AAD = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
_GCM_PLAIN = bytes.fromhex("".join(letter * 16 for letter in "abcdefea"))
_GCM_SEALED = bytes.fromhex(
    "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
    "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d83de3541e4c2b58177e065a9bf7b62ec"
)
_SCALAR = bytes.fromhex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8")
_POINT = bytes.fromhex(
    "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
_SIGNATURE = bytes.fromhex(
    "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
    "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
)
_EPHEMERAL = bytes.fromhex(
    "0404ebfc718e8d1798620432268e77feb6415e2ede0e073c0f4f640ecd2e149a73"
    "e858f9d81e5430a57b36daab8f950a3c64e6ee6a63094d99283aff767e124df0"
)
_CIPHERTEXT = _EPHEMERAL + bytes.fromhex(
    "59983c18f809e262923c53aec295d30383b54e39d609d160afcb1908d0bd876621886ca989ca9c7d58087307ca93092d651efa"
)


def _sm4() -> bool:
    """GB/T 32907-2016 annex A.1."""
    sealed = bytes.fromhex("681edf34d206965e86b3e94f536e4246")
    return symmetric.sm4_ecb(_KEY, _KEY) == sealed and symmetric.sm4_ecb_decrypt(_KEY, sealed) == _KEY


def _cbc() -> bool:
    """Draft-ribose-cfrg-sm4, example of OpenSSL's own tests."""
    plain = _KEY * 2
    sealed = bytes.fromhex("2677f46b09c122cc975533105bd4a22af6125f7275ce552c3a2bbcf533de8a3b")
    return (
        symmetric.sm4_cbc_encrypt(_KEY, _KEY, plain) == sealed
        and symmetric.sm4_cbc_decrypt(_KEY, _KEY, sealed) == plain
        and symmetric.sm4_cbc_decrypt_all(_KEY, _KEY, [sealed]) == [plain]
    )


def _gcm() -> bool:
    """RFC 8998 appendix A.1, and that one changed byte is refused."""
    if symmetric.sm4_gcm_seal(_KEY, _GCM_NONCE, _GCM_PLAIN, _GCM_AAD) != _GCM_SEALED:
        return False
    if symmetric.sm4_gcm_open(_KEY, _GCM_NONCE, _GCM_SEALED, _GCM_AAD) != _GCM_PLAIN:
        return False
    try:
        symmetric.sm4_gcm_open(_KEY, _GCM_NONCE, _GCM_SEALED, _GCM_AAD[:-1])
    except TrustError:
        return True
    return False


def _sm3() -> bool:
    """GB/T 32905-2016 annex A."""
    expected = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    return symmetric.sm3(b"a", b"bc").hex() == expected


def _hmac() -> bool:
    """GM/T 0042-2015 appendix D.3."""
    message = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq" * 2
    expected = "ca05e144ed05d1857840d1f318a4a8669e559fc8391f414485bfdf7bb408963a"
    return symmetric.hmac_sm3(bytes(range(1, 33)), message).hex() == expected


def _hkdf() -> bool:
    """RFC 5869 over SM3, written out: T(1) = HMAC(PRK, info ‖ 1), T(2) = HMAC(PRK, T(1) ‖ info ‖ 2)."""
    prk = symmetric.hmac_sm3(b"salt", b"ikm")
    first = symmetric.hmac_sm3(prk, b"info\x01")
    second = symmetric.hmac_sm3(prk, first + b"info\x02")
    return (
        symmetric.hkdf_expand(symmetric.hkdf_extract(b"salt", b"ikm"), b"info", 40) == (first + second)[:40]
    )


def _compare() -> bool:
    return symmetric.equal(_KEY, bytes(_KEY)) and not symmetric.equal(_KEY, _KEY[:-1] + b"\x11")


def _sign() -> bool:
    """GB/T 32918.5-2017 annex A.2, and a fresh signature that holds for its message alone."""
    key = sm2.Sm2PrivateKey.from_scalar(_SCALAR, "self-test")
    fresh = key.sign(b"self-test")
    return (
        key.public_point == _POINT
        and sm2.verify(_POINT, b"message digest", _SIGNATURE)
        and not sm2.verify(_POINT, b"message digesT", _SIGNATURE)
        and sm2.verify(_POINT, b"self-test", fresh)
        and not sm2.verify(_POINT, b"self-test", _SIGNATURE)
    )


def _encrypt() -> bool:
    """GB/T 32918.5-2017 annex A.4, and a round with fresh randomness."""
    key = sm2.Sm2PrivateKey.from_scalar(_SCALAR, "self-test")
    return (
        key.decrypt(_CIPHERTEXT) == b"encryption standard"
        and key.decrypt(sm2.encrypt(_POINT, b"self-test")) == b"self-test"
    )


def _agree() -> bool:
    """The shared x of GB/T 32918.5-2017 annex A.4."""
    expected = "335e18d751e51f040e27d468138b7ab1dc86ad7f981d7d416222fd6ab3ed230d"
    return sm2.Sm2PrivateKey.from_scalar(_SCALAR, "self-test").agree(_EPHEMERAL).hex() == expected


TESTS: dict[str, Callable[[], bool]] = {
    "SM4": _sm4,
    "SM4-CBC": _cbc,
    "SM4-GCM": _gcm,
    "SM3": _sm3,
    "HMAC-SM3": _hmac,
    "HKDF-SM3": _hkdf,
    "comparison": _compare,
    "SM2 signature": _sign,
    "SM2 encryption": _encrypt,
    "SM2 key agreement": _agree,
}


def failing() -> list[str]:
    """Names of the primitives that answer wrongly, or not at all."""
    wrong = []
    for name, test in TESTS.items():
        try:
            good = test()
        except MetersealError:
            good = False
        if not good:
            wrong.append(name)
    return wrong


_PATCHED = {(3, 2): 6, (3, 3): 5, (3, 4): 3, (3, 5): 4}
"""First patch level of each series without CVE-2025-9231 (SM2 signature timing on 64-bit ARM); 3.0 and 3.1 never had
that code, later series began without the fault."""
_SAFE_FROM_TIMING = frozenset({"x86_64", "amd64", "AMD64"})


def advice(number: int, machine: str) -> tuple[bool, str]:
    """Is a libcrypto of this version number good for keys on this machine? With a sentence for a person.

    `number` as OPENSSL_VERSION_NUMBER gives it (0xMNN00PP0).
    """
    major, minor, patch = number >> 28, number >> 20 & 0xFF, number >> 4 & 0xFF
    text = f"{major}.{minor}.{patch}"
    if major < 3:
        return False, f"libcrypto {text} has no SM2 that we use; take a Python linked to OpenSSL 3.0 or later"
    if machine in _SAFE_FROM_TIMING:
        return True, f"libcrypto {text} on {machine}"
    if patch < _PATCHED.get((major, minor), 0):
        fixed = f"{major}.{minor}.{_PATCHED[major, minor]}"
        return (
            False,
            f"libcrypto {text} leaks SM2 signatures by timing on {machine}; update it to {fixed} or later",
        )
    return (
        True,
        f"libcrypto {text} on {machine}: SM2 may still tell keys by timing there; run the process `keys` on x86-64",
    )


def require() -> None:
    """Raise TrustError `crypto.self-test` unless every primitive gives its known answer; takes some milliseconds."""
    wrong = failing()
    if wrong:
        raise TrustError(
            "crypto.self-test",
            f"{', '.join(wrong)} fails its self-test, so no key is opened. Use a Python linked to OpenSSL 3.0 or later, "
            "and reinstall the package `cryptography`; `meterseal doctor` shows more.",
        )
