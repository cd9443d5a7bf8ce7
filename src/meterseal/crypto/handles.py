"""Station crypto, handles: symmetric keys that work but do not show, print, pickle or compare themselves.

It stores nothing; `crypto.expose` is the one way to a key's bytes, and easy to find in a review.

Not claimed: that Python wipes a key from memory. Core dumps are off instead (LINK section 6).
"""

from __future__ import annotations

import os
from typing import NoReturn, final

from meterseal.crypto import symmetric
from meterseal.errors import LocalError, TrustError

FACTOR = 8


class Opaque:
    """What all key handles refuse: to print more than a label, to be pickled, copied, compared or hashed."""

    __slots__ = ("label",)
    __hash__ = None  # type: ignore[assignment]  # a key is never a dictionary key

    label: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}>"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("keys are not compared; compare their check values")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("keys are neither pickled nor copied; wrap them under another key")


@final
class SymmetricKey(Opaque):
    """A key of 16 bytes (SM4, diversification, HMAC) or of 32 (HMAC, HKDF).

    The label says in words which key it is (`K_link of 10783300…, version 1`) and stands in error sentences.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes, label: str) -> None:
        if len(raw) not in (16, 32):
            raise LocalError("crypto.key-size", f"The key {label} has {len(raw)} bytes; give 16 or 32.")
        self._raw = bytes(raw)
        self.label = label

    @classmethod
    def generate(cls, label: str, size: int = 16) -> SymmetricKey:
        """A fresh key from the operating system."""
        return cls(os.urandom(size), label)

    @classmethod
    def from_bytes(cls, raw: bytes, label: str) -> SymmetricKey:
        """The key with these 16 or 32 bytes. Raises LocalError `crypto.key-size`."""
        return cls(raw, label)

    def diversify(self, factor: bytes, label: str) -> SymmetricKey:
        """LINK section 2: div(P, f8) = SM4-ECB(P, f8 ‖ not f8), f8 of exactly 8 bytes."""
        if len(factor) != FACTOR:
            raise LocalError("crypto.factor", f"A diversification factor has 8 bytes, not {len(factor)}.")
        inverse = bytes(byte ^ 0xFF for byte in factor)
        return SymmetricKey(symmetric.sm4_ecb(self._raw, factor + inverse), label)

    def mac(self, *parts: bytes) -> bytes:
        """HMAC-SM3 of the parts joined: 32 bytes; a shorter mac is its first bytes."""
        return symmetric.hmac_sm3(self._raw, *parts)

    def ecb(self, blocks: bytes) -> bytes:
        """SM4 of each block by itself."""
        return symmetric.sm4_ecb(self._raw, blocks)

    def cbc_encrypt(self, iv: bytes, blocks: bytes) -> bytes:
        """SM4-CBC over whole blocks."""
        return symmetric.sm4_cbc_encrypt(self._raw, iv, blocks)

    def cbc_decrypt(self, iv: bytes, blocks: bytes) -> bytes:
        """The inverse of `cbc_encrypt`."""
        return symmetric.sm4_cbc_decrypt(self._raw, iv, blocks)

    def gcm_seal(self, plaintext: bytes, aad: bytes) -> bytes:
        """12-byte nonce ‖ ciphertext ‖ 16-byte tag, the nonce random (at most 2^32 seals under one key)."""
        nonce = os.urandom(symmetric.GCM_NONCE)
        return nonce + symmetric.sm4_gcm_seal(self._raw, nonce, plaintext, aad)

    def gcm_open(self, sealed: bytes, aad: bytes) -> bytes:
        """The plaintext of `gcm_seal`. Raises TrustError `crypto.tag`, which names this key's label."""
        nonce, rest = sealed[: symmetric.GCM_NONCE], sealed[symmetric.GCM_NONCE :]
        try:
            if len(nonce) == symmetric.GCM_NONCE:
                return symmetric.sm4_gcm_open(self._raw, nonce, rest, aad)
        except TrustError:
            pass
        raise TrustError(
            "crypto.tag",
            f"What was sealed under {self.label} does not open: another key or place, or changed bytes.",
        )

    def expand(self, info: bytes, size: int, label: str) -> SymmetricKey:
        """A key of 16 or 32 bytes: HKDF-Expand-SM3 of this one with `info`."""
        return SymmetricKey(symmetric.hkdf_expand(self._raw, info, size), label)

    def check_value(self) -> bytes:
        """First 3 bytes of SM4(K, 0^16); they name a wrong key (LINK section 2). For 16-byte keys."""
        return symmetric.sm4_ecb(self._raw, bytes(symmetric.BLOCK))[:3]
