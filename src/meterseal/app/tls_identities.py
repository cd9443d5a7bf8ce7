"""What the platform asks the process `keys` when a concentrator gets a TLS identity, and what it hears; no behaviour."""

from __future__ import annotations

from msgspec import Struct


class IssueConcentrator(Struct, frozen=True):
    """Make a TLS identity for a concentrator; its key comes back encrypted under the password it chose."""

    device_id: bytes
    key_password: bytes


class TlsIdentity(Struct, frozen=True):
    """PEM certificate, encrypted PEM key, PEM root."""

    certificate: bytes
    key: bytes
    root: bytes
