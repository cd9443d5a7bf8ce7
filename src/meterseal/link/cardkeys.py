"""Station link, a module's card commands: which key serves what, and the sums that module and security service both do.

It stores nothing and asks for no right: inside the module `edge.access` and `edge.storing` do, in the service
`security.carding`. All these keys hang under K_auth of the module's K_b; none is K_link, K_cmnd, K_evid or
K_updt, and no command gives one out.

| key | made | serves |
|---|---|---|
| K_auth | div(K_b, `AUTH0001`) (LINK section 2) | parent of the keys below; enciphers nothing itself |
| K_int | div(K_auth, `INTA0001`) | INTERNAL AUTHENTICATE: the module proves itself |
| K_ext | div(K_auth, `EXTA0001`) | EXTERNAL AUTHENTICATE: the host gets its rights until the power goes |
| K_unlk | div(K_auth, `UNLK0001`) | EXTERNAL AUTHENTICATE that unlocks |
| K_lock, K_dstr | div(K_auth, `LOCK0001`), div(K_auth, `DSTR0001`) | the same that locks, that destroys |
| K_file | div(K_auth, `FILE0001`), then div(K_file, R[0:8]) | MAC of UPDATE BINARY and PUT POLICY |
| K_read | div(K_auth, `READ0001`), then div(K_read, host's 8) | MAC of what READ BINARY gives |
| K_wenc | div(K_auth, `WENC0001`), then div(K_wenc, R[0:8]) | ciphertext of WRITE KEY, PIN and PUK |
| K_wmac | div(K_auth, `WMAC0001`), then div(K_wmac, R[0:8]) | MAC of the same |
| slots 0 to 7 | WRITE KEY; 0 is the root, written once | parents of DESCRYPT's sub-keys: one use, one depth each |
| pairing key | made for the device, PAIR | the device proves that it is the enrolled one |

An answer is bound to its purpose by its key: one that a module gave (K_int) is none that a module takes. The
schemes are those of Chinese card practice in their SM4 form: a sub-key is SM4(P, f ‖ not f); an answer is
SM4(K, R) with its halves added; a MAC is the first 4 bytes of CBC-MAC with padding 80 00… and an IV from the
challenge. Four bytes are a guess in 2^32; the module's error counters end guessing.
"""

from __future__ import annotations

from enum import IntEnum

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import BLOCK, pad80

CHALLENGE = 16
ANSWER = 8
MAC = 4
PROOF = 16


class Purpose(IntEnum):
    """P2 of EXTERNAL AUTHENTICATE: what the answer is for."""

    RIGHTS = 0
    UNLOCK = 1
    LOCK = 2
    DESTROY = 3


_FACTORS = {
    Purpose.RIGHTS: b"EXTA0001",
    Purpose.UNLOCK: b"UNLK0001",
    Purpose.LOCK: b"LOCK0001",
    Purpose.DESTROY: b"DSTR0001",
}


def internal_key(auth: SymmetricKey) -> SymmetricKey:
    """K_int of a module's K_auth."""
    return auth.diversify(b"INTA0001", "K_int of a module")


def external_key(auth: SymmetricKey, purpose: Purpose) -> SymmetricKey:
    """K_ext, K_unlk, K_lock or K_dstr."""
    return auth.diversify(_FACTORS[purpose], f"the key of {purpose.name} of a module")


def folded(key: SymmetricKey, challenge: bytes) -> bytes:
    """The answer, 8 bytes, to a 16-byte challenge: SM4(K, R), its halves added bit by bit."""
    block = key.ecb(challenge)
    return bytes(one ^ other for one, other in zip(block[:ANSWER], block[ANSWER:], strict=True))


def mac4(key: SymmetricKey, iv: bytes, *parts: bytes) -> bytes:
    """First 4 bytes of the CBC-MAC over the parts joined and padded; `iv` of at most 16 bytes, filled with
    zeros.
    """
    return key.cbc_encrypt(iv.ljust(BLOCK, b"\x00"), pad80(b"".join(parts)))[-BLOCK:][:MAC]


def file_mac(auth: SymmetricKey, challenge: bytes, header: bytes, content: bytes) -> bytes:
    """MAC of UPDATE BINARY or PUT POLICY: over CLA INS P1 P2 Lc (Lc counts the MAC) and the data before it."""
    session = auth.diversify(b"FILE0001", "K_file of a module").diversify(challenge[:8], "a file session key")
    return mac4(session, challenge[8:], header, content)


def read_mac(auth: SymmetricKey, asked: bytes, header: bytes, content: bytes) -> bytes:
    """MAC of a READ BINARY answer: over the command's header, the host's 8 random bytes and what was read."""
    session = auth.diversify(b"READ0001", "K_read of a module").diversify(asked, "a read session key")
    return mac4(session, asked, header, asked, content)


def sealed_key(auth: SymmetricKey, challenge: bytes, header: bytes, plain: bytes) -> bytes:
    """Ciphertext ‖ MAC of WRITE KEY or CHANGE with this plain content; the header's Lc counts all of it."""
    cipher = _secret_session(auth, challenge).cbc_encrypt(_secret_iv(challenge), pad80(plain))
    return cipher + secret_mac(auth, challenge, header, cipher)


def opened_key(auth: SymmetricKey, challenge: bytes, cipher: bytes) -> bytes:
    """The padded plain content of a ciphertext whose MAC was checked."""
    return _secret_session(auth, challenge).cbc_decrypt(_secret_iv(challenge), cipher)


def secret_mac(auth: SymmetricKey, challenge: bytes, header: bytes, cipher: bytes) -> bytes:
    """MAC of WRITE KEY and CHANGE, over header and ciphertext."""
    session = auth.diversify(b"WMAC0001", "K_wmac of a module").diversify(challenge[:8], "a write MAC key")
    return mac4(session, challenge[8:], header, cipher)


def _secret_session(auth: SymmetricKey, challenge: bytes) -> SymmetricKey:
    return auth.diversify(b"WENC0001", "K_wenc of a module").diversify(challenge[:8], "a write session key")


def _secret_iv(challenge: bytes) -> bytes:
    return challenge[8:].ljust(BLOCK, b"\x00")


def presence(pairing: SymmetricKey, device_id: bytes, challenge: bytes) -> bytes:
    """The proof, 16 bytes, that the device which the module was paired with asks."""
    return pairing.mac(b"ms1 bind", device_id, challenge)[:PROOF]
