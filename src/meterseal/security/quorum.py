"""A secret in n shares of which any m give it back, and m - 1 say nothing: Shamir's scheme over GF(2^8).

It seals nothing and knows nobody; `offline` seals the root under such a secret, `desks.root` gives out shares.

Each byte of the secret is the constant term of a random polynomial of degree m - 1, a share its values at
one point (Shamir, 1979; the field is that of AES, x^8 + x^4 + x^3 + x + 1). Products are computed without
tables and without branches on secret bits. A share carries the id of its quorum, so shares of two quorums
are not mixed by mistake. Whoever made the shares keeps a check of each (`check_of`): a share that was altered
is named before anything is combined. A check says nothing: it is SM3 of 16 bytes that are as good as random.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from meterseal.crypto.symmetric import sm3
from meterseal.errors import LocalError, TrustError

SECRET = 16
MOST = 16
_MARK = b"MSQ1"
_ID = 8
SHARE = len(_MARK) + _ID + 2 + SECRET


def fits(threshold: int, people: int) -> bool:
    """Whether this is a quorum: 2 <= threshold <= people <= 16."""
    return 2 <= threshold <= people <= MOST


def check_of(share: bytes) -> bytes:
    """What a share is known by to whoever must not know it (32 bytes)."""
    return sm3(b"ms1 share\x00", share)


def id_of(share: bytes) -> bytes:
    """The id (8 bytes) of the quorum that a share of `split` belongs to."""
    return share[len(_MARK) : len(_MARK) + _ID]


def split(secret: bytes, threshold: int, people: int) -> list[bytes]:
    """Shares (mark 4 ‖ quorum id 8 ‖ threshold 1 ‖ point 1 ‖ values 16) of a 16-byte secret, fresh each time.

    LocalError `security.quorum` unless 2 <= threshold <= people <= 16.
    """
    if len(secret) != SECRET or not fits(threshold, people):
        raise LocalError(
            "security.quorum", f"A quorum is m of n people with 2 <= m <= n <= {MOST}; nothing was shared."
        )
    quorum_id = os.urandom(_ID)
    polynomials = [bytes((byte,)) + os.urandom(threshold - 1) for byte in secret]
    return [
        _MARK
        + quorum_id
        + bytes((threshold, point))
        + bytes(_value(polynomial, point) for polynomial in polynomials)
        for point in range(1, people + 1)
    ]


def combine(shares: Sequence[bytes]) -> bytes:
    """The secret of enough different shares of one quorum.

    TrustError `security.share` for what is no share or of another quorum, `security.quorum` for too few.
    """
    for share in shares:
        if len(share) != SHARE or not share.startswith(_MARK) or not share[_ID + len(_MARK) + 1]:
            raise TrustError(
                "security.share", "This is no share of a quorum; ask its holder for the right file."
            )
    heads = {share[: len(_MARK) + _ID + 1] for share in shares}
    if len(heads) > 1:
        raise TrustError("security.share", "These shares belong to different quorums; nothing was opened.")
    values = {share[len(_MARK) + _ID + 1]: share[-SECRET:] for share in shares}
    threshold = shares[0][len(_MARK) + _ID] if shares else MOST
    if len(values) < threshold:
        raise TrustError(
            "security.quorum",
            f"{len(values)} different shares are here and {threshold} people are needed; nothing was opened.",
        )
    secret = bytearray(SECRET)
    for point, value in values.items():
        weight = 1
        for other in values:
            if other != point:
                weight = _times(weight, _times(other, _inverse(other ^ point)))
        for at in range(SECRET):
            secret[at] ^= _times(weight, value[at])
    return bytes(secret)


def _value(polynomial: bytes, point: int) -> int:
    total = 0
    for coefficient in reversed(polynomial):
        total = _times(total, point) ^ coefficient
    return total


def _times(one: int, other: int) -> int:
    product = 0
    for _ in range(8):
        product ^= one & -(other & 1)
        one = (one << 1) ^ (0x11B & -(one >> 7))
        other >>= 1
    return product


def _inverse(value: int) -> int:
    """value^254."""
    result = 1
    for _ in range(254):
        result = _times(result, value)
    return result
