"""Below every station: where something sealed belongs, as bytes that are authenticated with it.

It seals nothing and knows no store: the programs that only open the settings need no database for it.
"""

from __future__ import annotations


def place(*parts: str | bytes | int) -> bytes:
    """Where something sealed belongs; no two lists of parts of the same kinds share their bytes."""
    encoded = (_part(part) for part in parts)
    return b"".join(len(part).to_bytes(4) + part for part in encoded)


def _part(part: str | bytes | int) -> bytes:
    if isinstance(part, str):
        return part.encode()
    return part if isinstance(part, bytes) else part.to_bytes(8, signed=True)
