"""Metadata of the firmware repository: SM2 signatures as officers make them, canonical bytes, times, and what is wrong.

It writes no file and decides nothing about releases; `firmware_repository` does. Bytes that officers signed are taken only
when they are the canonical bytes of what they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, Key, Signature
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import CanonicalJSONSerializer

from meterseal.crypto import sm2
from meterseal.errors import DataError, EngineError, TrustError
from meterseal.security.orders import OfficerSignature, signed_bytes

LIFE: Final = {
    Root.type: timedelta(days=400),
    Targets.type: timedelta(days=190),
    Snapshot.type: timedelta(days=8),
    Timestamp.type: timedelta(days=1),
}

SM2 = "sm2", "sm2-sm3"

BROKEN = RepositoryError, DeserializationError, DownloadError

MOST = {"root": 65_536, "timestamp": 16_384, "snapshot": 16_384, "targets": 1 << 20}


class Sm2Key(Key):
    """An officer's public key in the metadata: signatures as on every order, under a purpose that names the role."""

    @classmethod
    def from_dict(cls, keyid: str, key_dict: dict[str, Any]) -> Sm2Key:
        """As `Key.from_dict`."""
        keytype, scheme, keyval = cls._from_dict(key_dict)
        return cls(keyid, keytype, scheme, keyval, key_dict)

    def to_dict(self) -> dict[str, Any]:
        """As `Key.to_dict`."""
        return self._to_dict()

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        """As `Key.verify_signature`; `data` is canonical JSON, whose type is part of what was signed."""
        try:
            kind = msgspec.json.decode(data)["_type"]
            point, given = bytes.fromhex(self.keyval["public"]), bytes.fromhex(signature.signature)
            good = len(given) == 64 and sm2.verify(point, signed_bytes(f"firmware-{kind}", data), given)
        except (msgspec.MsgspecError, TrustError, KeyError, TypeError, ValueError):
            good = False
        if not good:
            raise UnverifiedSignatureError(f"The signature of {self.keyid} does not hold.")


KEY_FOR_TYPE_AND_SCHEME[SM2] = Sm2Key


def canonical(signed: Signed) -> bytes:
    return CanonicalJSONSerializer().serialize(signed)


def read(kind: type[Any], raw: bytes) -> Any:
    """The metadata in the bytes that officers signed. DataError `firmware.order`."""
    try:
        if len(raw) > MOST["targets"]:
            raise stale("a list of releases")
        made = kind.from_dict(msgspec.json.decode(raw) | {})
        made_again = canonical(made)
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError, AttributeError):
        raise stale("metadata of firmware") from None
    if made_again != raw:
        raise stale("metadata of firmware")
    return made


def with_signatures(signed: Any, signatures: Sequence[OfficerSignature]) -> Metadata[Any]:
    return Metadata(signed, {one.officer: Signature(one.officer, one.signature.hex()) for one in signatures})


def load(path: Path) -> Metadata[Any]:
    try:
        return Metadata.from_bytes(path.read_bytes())
    except OSError as error:
        raise disk(error) from None
    except DeserializationError as error:
        raise refused(error) from None


def ends(kind: str, now: int) -> datetime:
    return moment(now).replace(microsecond=0) + LIFE[kind]


def half_over(signed: Signed, now: int) -> bool:
    return signed.expires - moment(now) < LIFE[signed.type] / 2


def moment(now: int) -> datetime:
    return datetime.fromtimestamp(now / 1000, UTC)


def stale(what: str) -> DataError:
    return DataError(
        "firmware.order",
        f"This is {what} that does not follow what is in force; make it anew and sign it again.",
    )


def unsigned() -> TrustError:
    return TrustError(
        "firmware.signatures",
        "Two different officers who may release firmware did not both sign this; nothing was changed.",
    )


def refused(error: Exception) -> TrustError:
    return TrustError(
        "firmware.repository",
        f"The repository of firmware does not hold ({type(error).__name__}): it was altered or rolled back, or its time is "
        "over. Nothing is sent to any meter; restore its directory, or let officers release again.",
    )


def disk(error: OSError) -> EngineError:
    return EngineError(
        "firmware.disk", f"The repository of firmware cannot be used: {error.strerror}. Look at the disk."
    )
