"""Station MDMS, at the door of the disk: data keys by version, and what binds a ciphertext to its place.

It fetches and wraps no keys; the application hands over opened ones.

Associated data = place || key version, where the place names store, kind and position: a sealed file or row
that is moved, renamed, swapped with another or claimed for another key version does not open.
"""

from __future__ import annotations

from collections.abc import Mapping

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import TrustError


class KeyRing:
    """Data keys of one store: `version` seals, every key in `keys` opens."""

    def __init__(self, keys: Mapping[int, SymmetricKey], version: int) -> None:
        if version not in keys:
            raise TrustError(
                "mdms.key", f"The data key of version {version}, which is to seal, was not handed over."
            )
        self._keys = dict(keys)
        self.version = version

    def seal(self, plaintext: bytes, place: bytes) -> bytes:
        """Nonce || ciphertext || tag under the newest version; keep `version` beside it."""
        return self._keys[self.version].gcm_seal(plaintext, _aad(place, self.version))

    def mark(self, content: bytes) -> bytes:
        """32 bytes by which the same content is known again, and which tell nothing without the oldest key.

        A plain hash would: a register has eight digits.
        """
        return self._keys[min(self._keys)].mac(b"meterseal mark\0", content)

    def open(self, sealed: bytes, place: bytes, version: int) -> bytes:
        """The plaintext. Raises TrustError `mdms.key` (no such version) or `crypto.tag` (not what was
        sealed here)."""
        key = self._keys.get(version)
        if key is None:
            raise TrustError(
                "mdms.key",
                f"Stored measurements are sealed under data key version {version}, which the key service did "
                "not give. Restore the vault that belongs to this data directory.",
                version=version,
            )
        return key.gcm_open(sealed, _aad(place, version))


def place(store_id: str, kind: str, position: bytes) -> bytes:
    """Where something sealed belongs: no two places have the same bytes."""
    return store_id.encode() + b"\0" + kind.encode() + b"\0" + position


def _aad(place_: bytes, version: int) -> bytes:
    return place_ + version.to_bytes(4)
