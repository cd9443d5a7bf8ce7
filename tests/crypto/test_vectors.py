"""Every vector of `vectors/sm_vectors.json` holds, and every one that is marked invalid is refused.

Proves HM 8.5.5.2 (SM4, 16-byte blocks, CBC) and the primitives under HM 8.2.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meterseal.crypto import sm2, symmetric
from meterseal.errors import LocalError, TrustError
from tests.crypto import reference

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "sm_vectors.json").read_text(encoding="utf-8")
)


def cases(section: str, *values: str, field: str = "mode") -> list[Any]:
    found = [v for v in VECTORS[section] if not values or v[field] in values]
    assert found, "a section without vectors proves nothing"
    return [pytest.param(v, id=v["id"]) for v in found]


def octets(vector: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


def unpad_pkcs7(padded: bytes) -> bytes | None:
    size = padded[-1] if padded else 0
    return padded[:-size] if 0 < size <= 16 and padded.endswith(bytes((size,)) * size) else None


def test_every_sm4_mode_of_the_file_has_a_test_here() -> None:
    modes = {v["mode"] for v in VECTORS["sm4"]}
    assert modes == {
        *(
            "ECB-1block",
            "ECB-iterated-1000000",
            "CBC",
            "OFB",
            "CFB128",
            "CTR",
            "GCM",
            "CCM",
            "CMAC",
            "CBC-MAC",
        )
    }


@pytest.mark.parametrize("v", cases("sm4", "ECB-1block"))
def test_sm4_block(v: dict[str, Any]) -> None:
    key, plain, cipher = octets(v, "key", "pt", "ct")
    assert symmetric.sm4_ecb(key, plain) == cipher
    assert symmetric.sm4_ecb_decrypt(key, cipher) == plain


@pytest.mark.parametrize("v", cases("sm4", "ECB-iterated-1000000"))
def test_sm4_a_million_times(v: dict[str, Any]) -> None:
    key, plain, cipher = octets(v, "key", "pt", "ct")
    # CBC of zero blocks from this IV feeds each block's cipher into the next: the iteration of annex A.2.
    assert symmetric.sm4_cbc_encrypt(key, plain, bytes(16 * 1_000_000))[-16:] == cipher


@pytest.mark.parametrize("v", cases("sm4", "CBC"))
def test_sm4_cbc(v: dict[str, Any]) -> None:
    key, iv, plain, cipher = octets(v, "key", "iv", "pt", "ct")
    if v["padding"] == "none":
        assert symmetric.sm4_cbc_encrypt(key, iv, plain) == cipher
        assert symmetric.sm4_cbc_decrypt(key, iv, cipher) == plain
        return
    if len(cipher) % 16:
        with pytest.raises(LocalError, match="whole 16-byte blocks"):
            symmetric.sm4_cbc_decrypt(key, iv, cipher)
        assert v["result"] == "invalid"
        return
    opened = unpad_pkcs7(symmetric.sm4_cbc_decrypt(key, iv, cipher))
    assert opened == (plain if v["result"] == "valid" else None)
    if v["result"] == "valid":
        size = 16 - len(plain) % 16
        assert symmetric.sm4_cbc_encrypt(key, iv, plain + bytes((size,)) * size) == cipher


@pytest.mark.parametrize("v", cases("sm4", "GCM"))
def test_sm4_gcm(v: dict[str, Any]) -> None:
    key, iv, aad, plain, cipher, tag = octets(v, "key", "iv", "aad", "pt", "ct", "tag")
    if v.get("result") == "invalid":
        with pytest.raises(TrustError) as refused:
            symmetric.sm4_gcm_open(key, iv, cipher + tag, aad)
        assert refused.value.code == "crypto.tag"
        return
    assert symmetric.sm4_gcm_seal(key, iv, plain, aad) == cipher + tag
    assert symmetric.sm4_gcm_open(key, iv, cipher + tag, aad) == plain


@pytest.mark.parametrize("v", cases("sm4", "CCM"))
def test_sm4_block_under_ccm(v: dict[str, Any]) -> None:
    key, iv, aad, plain, cipher, tag = octets(v, "key", "iv", "aad", "pt", "ct", "tag")
    opened, found = reference.ccm(key, iv, aad, cipher, len(tag), opening=True)
    assert (found == tag) == (v.get("result") != "invalid")
    if found == tag:
        assert opened == plain
        assert reference.ccm(key, iv, aad, plain, len(tag), opening=False) == (cipher, tag)


STREAMS = {
    "OFB": reference.output_feedback,
    "CFB128": reference.cipher_feedback,
    "CTR": reference.counter_mode,
}


@pytest.mark.parametrize("v", cases("sm4", *STREAMS))
def test_sm4_block_under_stream_modes(v: dict[str, Any]) -> None:
    key, iv, plain, cipher = octets(v, "key", "iv", "pt", "ct")
    assert STREAMS[v["mode"]](key, iv, plain) == cipher


@pytest.mark.parametrize("v", cases("sm4", "CMAC", "CBC-MAC"))
def test_sm4_block_under_block_macs(v: dict[str, Any]) -> None:
    key, plain, tag = octets(v, "key", "pt", "tag")
    if v["mode"] == "CMAC":
        assert reference.cmac(key, plain) == tag
    else:
        assert symmetric.sm4_cbc_encrypt(key, bytes(16), symmetric.pad80(plain))[-16:] == tag


@pytest.mark.parametrize("v", cases("sm3"))
def test_sm3(v: dict[str, Any]) -> None:
    message, digest = octets(v, "msg", "digest")
    assert symmetric.sm3(message) == digest
    assert symmetric.sm3(message[:7], b"", message[7:]) == digest


@pytest.mark.parametrize("v", cases("hmac_sm3"))
def test_hmac_sm3(v: dict[str, Any]) -> None:
    key, message, tag = octets(v, "key", "msg", "tag")
    assert symmetric.equal(symmetric.hmac_sm3(key, message), tag) == (v["result"] == "valid")


@pytest.mark.parametrize("v", cases("synthetic", "80-then-00", field="padding"))
def test_padding_80_then_00(v: dict[str, Any]) -> None:
    key, iv, field, padded, cipher = octets(v, "key", "iv", "data_field", "padded", "ct")
    assert symmetric.pad80(field) == padded
    assert symmetric.sm4_cbc_encrypt(key, iv, padded) == cipher
    assert symmetric.unpad80(symmetric.sm4_cbc_decrypt(key, iv, cipher)) == field


@pytest.mark.parametrize("v", cases("synthetic", "zero", "PKCS7", field="padding"))
def test_padding_of_other_policies_is_not_ours(v: dict[str, Any]) -> None:
    key, iv, padded, cipher = octets(v, "key", "iv", "padded", "ct")
    assert symmetric.sm4_cbc_decrypt(key, iv, cipher) == padded
    with pytest.raises(TrustError, match="80 00"):
        symmetric.unpad80(padded)


def sm2_case(name: str) -> dict[str, Any]:
    return next(v for v in VECTORS["sm2"] if v["id"] == name)


def public(v: dict[str, Any]) -> bytes:
    return b"\x04" + bytes.fromhex(v["px"]) + bytes.fromhex(v["py"])


def test_every_sm2_operation_of_the_file_has_a_test_here() -> None:
    operations = {v.get("op", v["id"]) for v in VECTORS["sm2"]}
    assert operations == {"sm2-curve", "sign", "verify", "encrypt", "decrypt", "verify-digest"}


def test_sm2_curve() -> None:
    v = sm2_case("sm2-curve")
    curve = (reference.P, reference.A, reference.B, reference.N, *reference.G)
    assert tuple(int(v[name], 16) for name in ("p", "a", "b", "n", "gx", "gy")) == curve
    base = b"\x04" + bytes.fromhex(v["gx"]) + bytes.fromhex(v["gy"])
    assert sm2.Sm2PrivateKey.from_scalar(bytes(31) + b"\x01").public_point == base
    assert int(v["n"], 16) == sm2.ORDER


@pytest.mark.parametrize("v", cases("sm2", "sm2-sign-a2", field="id"))
def test_sm2_signature_of_the_standard(v: dict[str, Any]) -> None:
    d, k, message, user, r, s = octets(v, "d", "k", "msg", "user_id", "r", "s")
    assert sm2.Sm2PrivateKey.from_scalar(d).public_point == public(v)
    assert sm2.verify(public(v), message, r + s, user)
    e = reference.digest(reference.point(public(v)), message, user)
    assert reference.raw(e).hex() == v["e"]
    signed = reference.sign(reference.number(d), reference.number(k), e)
    assert signed == (reference.number(r), reference.number(s))
    assert reference.signature_der(r + s).hex() == v["der"]
    assert sm2._signature_from_der(bytes.fromhex(v["der"])) == r + s


SIGNED = [v for v in VECTORS["sm2"] if v.get("op") == "verify"]


@pytest.mark.parametrize("v", SIGNED, ids=lambda v: v["id"])
def test_sm2_altered_signatures_are_refused(v: dict[str, Any]) -> None:
    message, user, r, s = octets(v, "msg", "user_id", "r", "s")
    assert v["result"] == "invalid"
    assert not sm2.verify(public(v), message, r + s, user)


@pytest.mark.parametrize(
    "v", [v for v in VECTORS["sm2"] if v.get("op") == "verify-digest"], ids=lambda v: v["id"]
)
def test_sm2_reference_agrees_on_signatures_over_a_given_digest(v: dict[str, Any]) -> None:
    signature = sm2._signature_from_der(bytes.fromhex(v["der"]))
    r, s = reference.number(signature[:32]), reference.number(signature[32:])
    assert reference.verify(reference.point(public(v)), int(v["e"], 16), r, s)
    assert not reference.verify(reference.point(public(v)), int(v["e"], 16) ^ 1, r, s)
    assert reference.signature_der(signature).hex() == v["der"]
    assert sm2.Sm2PrivateKey.from_scalar(bytes.fromhex(v["d"])).public_point == public(v)


def test_sm2_ciphertext_of_the_standard() -> None:
    v = sm2_case("sm2-enc-a4")
    d, k, message, c3, c2 = octets(v, "d", "k", "msg", "c3", "c2")
    ciphertext = b"\x04" + bytes.fromhex(v["c1x"]) + bytes.fromhex(v["c1y"]) + c3 + c2
    assert reference.encrypt(reference.point(public(v)), reference.number(k), message) == ciphertext
    assert sm2.Sm2PrivateKey.from_scalar(d).decrypt(ciphertext) == message
    assert sm2._ciphertext_to_der(ciphertext).hex() == v["asn1"]
    assert sm2._ciphertext_from_der(bytes.fromhex(v["asn1"])) == ciphertext


def test_sm2_ciphertext_of_openssl() -> None:
    v = sm2_case("sm2-dec-openssl")
    ciphertext = sm2._ciphertext_from_der(bytes.fromhex(v["ct_asn1"]))
    key = sm2.Sm2PrivateKey.from_scalar(bytes.fromhex(v["d"]))
    assert key.decrypt(ciphertext) == v["msg_text"].encode()
