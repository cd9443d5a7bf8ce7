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


class Receive(Protocol):
    """What takes messages (`Uplink.receive`): `claimed` is the device id that an envelope or a topic names, or empty;
    `proven` whether the way shows that its sender receives there. Never raises and never waits.
    """

    def __call__(self, link: Link, claimed: bytes, message: bytes, *, proven: bool) -> None: ...


class Listener(Protocol):
    """Whatever brings messages beside the streams."""

    async def start(self) -> str:
        """Begin; where it can be reached. EngineError when it cannot."""
        ...

    def pause(self, paused: bool) -> None:
        """Take no more for a while, or go on: more waits here than can be judged soon."""
        ...

    async def stop(self) -> None:
        """Close whatever is open."""
        ...
