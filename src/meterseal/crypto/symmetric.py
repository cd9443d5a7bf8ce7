"""Station crypto, symmetric: SM4, SM3, HMAC and HKDF over `cryptography`, bytes in and bytes out.

It makes no random numbers and holds no keys; opaque keys are in `handles`.

SM4 as GB/T 32907-2016, SM3 as GB/T 32905-2016, HMAC-SM3 as GM/T 0042, HKDF as RFC 5869 over SM3. A key of
SM4 has 16 bytes. Secret bytes are compared with `equal` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from hmac import compare_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB, GCM
from cryptography.hazmat.primitives.hashes import SM3, Hash
from cryptography.hazmat.primitives.hmac import HMAC

from meterseal.errors import LocalError, TrustError

BLOCK = 16
DIGEST = 32
GCM_NONCE = 12
GCM_TAG = 16

_SM3 = SM3()
_EMPTY = Hash(_SM3)
_ECB = ECB()  # noqa: S305 - single blocks only: diversification, check values, IVs (LINK sections 2, 4)


def sm4_ecb(key: bytes, blocks: bytes) -> bytes:
    """SM4 of each 16-byte block by itself; only for diversification, check values and IVs.

    Raises LocalError `crypto.blocks` unless the input is whole blocks.
    """
    _whole_blocks(blocks)
    return Cipher(SM4(key), _ECB).encryptor().update(blocks)


def sm4_ecb_decrypt(key: bytes, blocks: bytes) -> bytes:
    """The inverse of `sm4_ecb`, block by block."""
    _whole_blocks(blocks)
    return Cipher(SM4(key), _ECB).decryptor().update(blocks)


def sm4_cbc_encrypt(key: bytes, iv: bytes, blocks: bytes) -> bytes:
    """SM4-CBC over whole blocks, no padding added; `iv` is 16 bytes. Raises LocalError `crypto.blocks`."""
    _whole_blocks(blocks)
    return Cipher(SM4(key), CBC(iv)).encryptor().update(blocks)


def sm4_cbc_decrypt(key: bytes, iv: bytes, blocks: bytes) -> bytes:
    """The inverse of `sm4_cbc_encrypt`; proves nothing, so check a tag before. Raises LocalError
    `crypto.blocks`."""
    _whole_blocks(blocks)
    return Cipher(SM4(key), CBC(iv)).decryptor().update(blocks)


def sm4_cbc_decrypt_all(key: bytes, ivs: bytes, texts: Sequence[bytes]) -> list[bytes]:
    """`sm4_cbc_decrypt` of many texts under one key, IV k of text k, in one call of the library."""
    joined = b"".join(texts)
    _whole_blocks(joined)
    before = b"".join([ivs[at * BLOCK : at * BLOCK + BLOCK] + text[:-BLOCK] for at, text in enumerate(texts)])
    if len(before) != len(joined):
        raise LocalError("crypto.blocks", "Each text is whole 16-byte blocks and has an IV of its own.")
    opened = int.from_bytes(sm4_ecb_decrypt(key, joined), "big") ^ int.from_bytes(before, "big")
    plain = opened.to_bytes(len(joined), "big")
    result, start = [], 0
    for text in texts:
        result.append(plain[start : start + len(text)])
        start += len(text)
    return result


def sm4_gcm_seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Ciphertext and 16-byte tag of SM4-GCM. A 12-byte nonce must never come twice under one key."""
    _whole_nonce(nonce)
    encryptor = Cipher(SM4(key), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(aad)
    ciphertext = encryptor.update(plaintext)
    encryptor.finalize()
    return ciphertext + encryptor.tag


def sm4_gcm_open(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    """The plaintext of `sm4_gcm_seal`. Raises TrustError `crypto.tag` for other bytes, AAD or key."""
    _whole_nonce(nonce)
    if len(sealed) < GCM_TAG:
        raise _wrong_tag()
    decryptor = Cipher(SM4(key), GCM(nonce, sealed[-GCM_TAG:])).decryptor()
    decryptor.authenticate_additional_data(aad)
    plaintext = decryptor.update(sealed[:-GCM_TAG])
    try:
        decryptor.finalize()
    except (InvalidTag, ValueError):
        # A wrong tag is a ValueError when an earlier failure (of a certificate, say) left its reason in the
        # library's error queue; both mean the same here.
        raise _wrong_tag() from None
    return plaintext


def sm3(*parts: bytes) -> bytes:
    """SM3 of the parts joined: 32 bytes."""
    digest = _EMPTY.copy()  # cheaper than to choose the algorithm anew
    for part in parts:
        digest.update(part)
    return digest.finalize()


def hmac_sm3(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SM3 of the parts joined: 32 bytes."""
    mac = HMAC(key, _SM3)
    for part in parts:
        mac.update(part)
    return mac.finalize()


def hkdf_extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-Extract with SM3 (RFC 5869): a 32-byte pseudo-random key."""
    return hmac_sm3(salt or bytes(DIGEST), ikm)


def hkdf_expand(prk: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand with SM3 (RFC 5869): `size` bytes, 1..8160."""
    if not 0 < size <= 255 * DIGEST:
        raise LocalError("crypto.size", f"HKDF gives 1 to {255 * DIGEST} bytes, not {size}; ask for less.")
    block, output = b"", b""
    counter = 1
    while len(output) < size:
        block = hmac_sm3(prk, block, info, bytes((counter,)))
        output += block
        counter += 1
    return output[:size]


def hkdf_expand_each(prk: bytes, wanted: Sequence[tuple[bytes, int]]) -> list[bytes]:
    """`hkdf_expand` for several (info, size) under one key, which is set up once; each size 1..32."""
    keyed = HMAC(prk, _SM3)
    found = []
    for info, size in wanted:
        if not 0 < size <= DIGEST:
            raise LocalError(
                "crypto.size", f"One block of HKDF has 1 to {DIGEST} bytes, not {size}; ask for less."
            )
        block = keyed.copy()
        block.update(info + b"\x01")
        found.append(block.finalize()[:size])
    return found


def pad80(plain: bytes) -> bytes:
    """`80 00…` up to a multiple of 16, at least one byte (ISO/IEC 9797-1 method 2; LINK section 4)."""
    return plain + b"\x80" + bytes(-(len(plain) + 1) % BLOCK)


def unpad80(padded: bytes) -> bytes:
    """The bytes before the padding of `pad80`, which must be whole and at most one block.

    Raises TrustError `crypto.padding`. Call it only on bytes whose tag was checked.
    """
    plain = padded.rstrip(b"\x00")
    if not padded or len(padded) % BLOCK or plain[-1:] != b"\x80" or len(padded) - len(plain) >= BLOCK:
        raise TrustError(
            "crypto.padding", "The padding is not 80 00… up to a whole block; the bytes are refused."
        )
    return plain[:-1]


def equal(one: bytes, other: bytes) -> bool:
    """Are the bytes the same? In a time that depends on their length alone."""
    return compare_digest(one, other)


def _whole_blocks(blocks: bytes) -> None:
    if len(blocks) % BLOCK:
        raise LocalError(
            "crypto.blocks", f"SM4 takes whole 16-byte blocks, not {len(blocks)} bytes; pad them first."
        )


def _whole_nonce(nonce: bytes) -> None:
    if len(nonce) != GCM_NONCE:
        raise LocalError("crypto.nonce", f"SM4-GCM is used with 12-byte nonces here, not {len(nonce)}.")


def _wrong_tag() -> TrustError:
    return TrustError(
        "crypto.tag", "The tag does not match: another key, another place, or changed bytes; refused."
    )
