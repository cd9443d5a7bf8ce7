"""Station crypto, expose: the one door through which a key's bytes leave their handle.

It decides nothing; every caller answers in review for what it does with the bytes (wrap, personalise, hand a
session's traffic keys to the head-end that serves it).
"""

from __future__ import annotations

from meterseal.crypto.handles import SymmetricKey


def expose(key: SymmetricKey) -> bytes:
    """The 16 or 32 secret bytes of a key."""
    return key._raw
