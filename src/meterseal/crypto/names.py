"""Station crypto, names: usages under our arc and URIs that certificates may carry (LINK section 1).

It reads and issues no certificate.
"""

from __future__ import annotations

import re
import uuid
from typing import Literal

from meterseal.errors import LocalError

Purpose = Literal["platform", "device", "ledger", "tls"]

ARC = f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, 'urn:meterseal').int}"
"""The UUID arc (ITU-T X.667) of the name-based UUID, version 5, of the URL `urn:meterseal`."""

USAGE: dict[Purpose, str] = {
    "platform": f"{ARC}.1",
    "device": f"{ARC}.2",
    "ledger": f"{ARC}.3",
    "tls": "serverAuth,clientAuth",
}
"""Object identifiers of the extended key usages; those of `tls` by their names, for RFC 8998 links, and never
accepted inside the link."""

PLATFORM_LIFETIME = 30 * 86_400_000
"""Longest life of a platform certificate, in milliseconds."""

_SIZES = {"project": 16, "device": 8, "module": 8, "concentrator": 8}
_URI = re.compile(r"urn:meterseal:(project|device|module|concentrator):([0-9a-f]+)")
_PROCESS = re.compile(r"urn:meterseal:process:([a-z]{1,16})")


def uri(kind: Literal["project", "device", "module", "concentrator", "process"], identity: bytes) -> str:
    """`urn:meterseal:<kind>:<hex>` of a 16-byte project_id or an 8-byte id; of a process, its name as it is."""
    if kind == "process":
        return f"urn:meterseal:process:{identity.decode('ascii')}"
    if len(identity) != _SIZES[kind]:
        raise LocalError("crypto.identity", f"A {kind} id has {_SIZES[kind]} bytes, not {len(identity)}.")
    return f"urn:meterseal:{kind}:{identity.hex()}"


def identity_of(text: str) -> tuple[str, bytes] | None:
    """Kind and id of a URI of ours in lower-case hex and the right length, else None."""
    if process := _PROCESS.fullmatch(text):
        return "process", process[1].encode()
    match = _URI.fullmatch(text)
    if match is None or len(match[2]) != 2 * _SIZES[match[1]]:
        return None
    return match[1], bytes.fromhex(match[2])
