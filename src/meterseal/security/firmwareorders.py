"""What officers sign about firmware, and what is asked of the service: metadata of the repository in its exact bytes.

No behaviour but reading and showing; `firmware` judges.

Officers sign the canonical JSON of TUF's root and targets as it is (`things.firmware_repository` makes it), under a purpose
of its own for each, so that the signature that releases an image is the repository's and the service's at once.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from meterseal.crypto.symmetric import sm3
from meterseal.errors import LocalError, MetersealError
from meterseal.link.firmware import read_manifest
from meterseal.security.orders import OfficerSignature

ROOT: Final = "firmware-root"
TARGETS: Final = "firmware-targets"
PURPOSES: Final = (ROOT, TARGETS)
_LARGEST = 1 << 20


class Custom(Struct, frozen=True, kw_only=True):
    """What stands beside a released image: its manifest in hex, and why it was released."""

    manifest: str
    reason: str = ""


class Target(Struct, frozen=True, kw_only=True):
    """One released image."""

    custom: Custom
    length: int


class Targets(Struct, frozen=True, kw_only=True, tag_field="_type", tag="targets"):
    """The part of TUF's targets that is read here."""

    version: int
    expires: str
    targets: dict[str, Target]


class Release(Struct, frozen=True, kw_only=True):
    """Signed targets, and the image in them whose manifest is wanted."""

    targets: bytes
    signatures: tuple[OfficerSignature, ...]
    name: str


class Released(Struct, frozen=True, kw_only=True):
    """The manifest, the platform key's signature over it, the chain of that key, who released it, until when the
    signature counts (Unix ms).
    """

    manifest: bytes
    signature: bytes
    chain: tuple[bytes, ...]
    officers: tuple[str, ...]
    until: int


def read_targets(raw: bytes) -> Targets:
    """The targets in these bytes. LocalError `security.request`."""
    try:
        if len(raw) <= _LARGEST:
            return msgspec.json.decode(raw, type=Targets)
    except msgspec.MsgspecError:
        pass
    raise LocalError("security.request", "This is no list of released firmware; make it anew.")


def manifest_of(target: Target) -> bytes:
    """The manifest beside an image. LocalError `security.request`."""
    try:
        raw = bytes.fromhex(target.custom.manifest)
        read_manifest(raw)
    except (ValueError, MetersealError):
        raise LocalError(
            "security.request", "The manifest of the released firmware is none; nothing was signed."
        ) from None
    return raw


def says(purpose: str, raw: bytes) -> dict[str, Any]:
    """What metadata says, read from the very bytes that are signed. LocalError `security.request`."""
    if purpose == TARGETS:
        found = read_targets(raw)
        shown: dict[str, Any] = {
            "list": found.version,
            "good until": found.expires,
            "images": len(found.targets),
        }
        for name, target in found.targets.items():
            manifest = read_manifest(manifest_of(target))
            shown[name] = (
                f"version {manifest.version} for {manifest.model}, hardware {manifest.hardware}, after version "
                f"{manifest.lowest} or later; {manifest.size} bytes, blocks {manifest.root.hex()}; {target.custom.reason}"
            )
        return shown
    try:
        root = msgspec.json.decode(raw, type=_Root)
    except msgspec.MsgspecError:
        raise LocalError(
            "security.request", "This says nothing of who releases firmware; make it anew."
        ) from None
    keys = {name: sm3(key.keyval["public"].encode())[:8].hex() for name, key in root.keys.items()}
    return {"keys": root.version, "good until": root.expires} | {
        role: f"{one.threshold} of {', '.join(f'{name} ({keys.get(name)})' for name in one.keyids)}"
        for role, one in root.roles.items()
    }


def names(raw: bytes, officer: str, point: bytes) -> bool:
    """Whether the root in these bytes knows this officer by this public point, or not at all."""
    key = msgspec.json.decode(raw, type=_Root).keys.get(officer)
    return key is None or key.keyval.get("public") == point.hex()


class _Key(Struct, frozen=True):
    keyval: dict[str, str]


class _Role(Struct, frozen=True):
    keyids: list[str]
    threshold: int


class _Root(Struct, frozen=True, kw_only=True, tag_field="_type", tag="root"):
    version: int
    expires: str
    keys: dict[str, _Key]
    roles: dict[str, _Role]
