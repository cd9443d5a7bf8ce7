"""A way to devices, whatever carries it: what every listener gives the head-end with each message.

It moves nothing itself; streams, datagrams, brokers and pushes each have their own.
"""

from __future__ import annotations

from typing import Protocol


class Link(Protocol):
    """One way. A listener gives the same object for the same way as long as it remembers it: `is` tells ways apart."""

    source: str
    """For limits, cookies and the audit trail: an address, a concentrator, a topic; no name of a person."""
    concentrator_id: bytes
    """Who was authenticated behind this way; empty for a device that speaks for itself."""

    def send(self, device_id: bytes, message: bytes) -> None:
        """Send one message to a device behind this way, or drop it; never raises and never waits."""
        ...
