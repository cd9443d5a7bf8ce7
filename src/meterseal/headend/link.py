"""A way to devices, whatever carries it: what every listener gives the head-end with each message.

It moves nothing itself; streams, datagrams, brokers and pushes each have their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

REMEMBERED = 20_000
"""Ways that a listener remembers: addresses, topics, carriers' devices."""


class Link(Protocol):
    """One way. A listener gives the same object for the same way as long as it remembers it: `is` tells ways apart."""

    source: str
    """For limits, cookies and the audit trail: an address, a concentrator, a topic; no name of a person."""
    concentrator_id: bytes
    """Who was authenticated behind this way; empty for a device that speaks for itself."""

    def send(self, device_id: bytes, message: bytes) -> None:
        """Send one message to a device behind this way, or drop it; never raises and never waits."""
        ...


K = TypeVar("K", bound=Hashable)
W = TypeVar("W", bound=Link)


class Ways(Generic[K, W]):
    """The ways that a listener remembers, by whatever tells them apart there; the longest silent one is forgotten."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._ways: OrderedDict[K, W] = OrderedDict()

    def of(self, key: K, make: Callable[[], W]) -> W:
        """The way that was there before, or a new one."""
        way = self._ways.get(key)
        if way is None:
            way = self._ways[key] = make()
            if len(self._ways) > self._most:
                self._ways.popitem(last=False)
        else:
            self._ways.move_to_end(key)
        return way

    def __len__(self) -> int:
        return len(self._ways)


class Receive(Protocol):
    """What takes messages (`Uplink.receive`): `claimed` is the device id that an envelope or a topic names, or empty;
    `proven` whether the way shows that its sender receives there, `way` what kind it is. Never raises and never waits.
    """

    def __call__(self, link: Link, claimed: bytes, message: bytes, *, proven: bool, way: str) -> None: ...


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
