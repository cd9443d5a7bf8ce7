"""The head-end's CoAP socket: a device posts one message to `/ms` and hears in the answer what waits for it.

Moves bytes only. It fits devices that sleep and that nobody can reach between their own words (NB-IoT behind an address
translation): what is to go down waits, bounded, for the device's next POST; an empty one asks without saying anything. An
answer (2.04) carries any number of messages, each behind its 2-byte length as on a stream. As on UDP nothing shows that a
sender receives at its address, so a HELLO must bring a cookie.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meterseal.errors import EngineError
from meterseal.headend.limits import Buckets
from meterseal.headend.link import REMEMBERED, Receive, Ways
from meterseal.hostport import family, written
from meterseal.link.messages import LONGEST
from meterseal.link.transport import COAP_OCTETS, COAP_PATH, frame_message

if TYPE_CHECKING:
    from aiocoap import Message

WAITING_DOWN = 32
"""Messages that wait for one device's next word."""
ANSWER_WITHIN = 1.5
"""Seconds that a POST is kept for its answer; what comes later waits for the next one."""
RATE, BURST = 1_000, 4_000
"""Datagrams a second from everybody together. The library remembers each for 247 s (RFC 7252, 4.8.2), so this bounds
its memory: to some 100 MB under a flood without end."""
ASSEMBLED = 256
"""Messages in several blocks that may be under way; the oldest gives way."""


class _Bounded(OrderedDict[Any, Any]):
    """A table of the library's that would grow with the number of its askers: the oldest entry gives way."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        while len(self) > self._most:
            self.popitem(last=False)

    def pop(self, key: Any, default: Any = None) -> Any:
        """As a dictionary's; a key that gave way is no fault."""
        return super().pop(key, default)


class Polled:
    """The way to one address: what waits for its next word."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.concentrator_id = b""
        self._waiting: deque[bytes] = deque(maxlen=WAITING_DOWN)
        self._news = asyncio.Event()

    def send(self, device_id: bytes, message: bytes) -> None:
        """Keep it for the device's next POST; over the bound the oldest is dropped."""
        self._waiting.append(frame_message(message))
        self._news.set()

    async def collect(self, within: float) -> bytes:
        """What waits, or comes within so many seconds; at most `LONGEST` bytes and at least one message of them."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._news.wait()
        found = b""
        while self._waiting and (not found or len(found) + len(self._waiting[0]) <= LONGEST):
            found += self._waiting.popleft()
        if not self._waiting:
            self._news.clear()
        return found


class CoapListener:
    """One CoAP socket."""

    def __init__(
        self, receive: Receive, host: str, port: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._receive = receive
        self._place = host, port
        self._clock = clock
        self._links: Ways[str, Polled] = Ways(REMEMBERED)
        self._rate = Buckets(rate=RATE, burst=BURST, keys=1)
        self._context: Any = None
        self._paused = False
        self.dropped = 0

    async def start(self) -> str:
        """Listen; returns host:port. EngineError `headend.port`."""
        from aiocoap import Context
        from aiocoap.resource import Site

        for name in ("coap", "coap-server"):  # the library would write addresses to the log
            logging.getLogger(name).setLevel(logging.CRITICAL)
        host, port = self._place
        site = Site()
        site.add_resource([COAP_PATH], _resource(self))
        try:
            # The library shares a port with whoever else shares it; a plain socket says that it is taken.
            with socket.socket(family(host), socket.SOCK_DGRAM) as probe:
                probe.bind((host, port))
            self._context = await Context.create_server_context(site, bind=(host, port), transports=["udp6"])
        except OSError as error:
            raise EngineError(
                "headend.port",
                f"The head-end cannot listen on CoAP {written(host, port)} ({error.strerror}). Choose another port.",
            ) from None
        self._bound(self._context)
        return f"coap://{written(host, port)}/{COAP_PATH}"

    def _bound(self, context: Any) -> None:
        """Put limits where the library has none."""
        messages = context.request_interfaces[0].token_interface
        messages._recent_messages = _Bounded(RATE * 250)
        interface = messages.message_interface
        take = interface.datagram_msg_received

        def limited(data: bytes, *rest: Any) -> None:
            if len(data) <= LONGEST and self._rate.take("", int(self._clock() * 1000)):
                take(data, *rest)
            else:
                self.dropped += 1

        interface.datagram_msg_received = limited

    async def post(self, source: str, place: str, payload: bytes) -> bytes | None:
        """Take a message, or an empty question; what goes down, or None while no more is taken."""
        if self._paused:
            return None
        link = self._links.of(place, lambda: Polled(source))
        if payload:
            self._receive(link, b"", payload, proven=False, way="coap")
        return await link.collect(ANSWER_WITHIN if payload else 0.0)

    def pause(self, paused: bool) -> None:
        """Answer 5.03 for a while, or serve again."""
        self._paused = paused

    async def stop(self) -> None:
        """Close the socket."""
        if self._context is not None:
            await self._context.shutdown()


def _resource(listener: CoapListener) -> Any:
    """The library's view of `/ms`. Made here, for the library is loaded only where CoAP is served."""
    from aiocoap import Message, error, resource
    from aiocoap.blockwise import Block1Spool
    from aiocoap.numbers import Unreliable, codes

    class Spool(Block1Spool):  # type: ignore[misc]  # the library carries no types
        """Messages in blocks: no longer than any of ours, and a bounded number of them."""

        def __init__(self) -> None:
            super().__init__()
            self._assemblies = _Bounded(ASSEMBLED)

        def feed_and_take(self, req: Message) -> Message:
            block = req.opt.block1
            if block is not None and block.start + len(req.payload) > LONGEST:
                raise error.RequestEntityTooLarge
            return super().feed_and_take(req)

    class Messages(resource.Resource):  # type: ignore[misc]  # the same
        def __init__(self) -> None:
            super().__init__()
            self._block1 = Spool()

        async def render_post(self, request: Message) -> Message:
            if len(request.payload) > LONGEST:
                raise error.RequestEntityTooLarge
            host = request.remote.hostinfo
            down = await listener.post(_address(host), host, request.payload)
            if down is None:
                return Message(code=codes.SERVICE_UNAVAILABLE, max_age=5)
            # An answer that comes after its acknowledgement would be sent five times to whoever the question only
            # claims to be from, and kept until then. Once is enough: what matters is sent again by its own layer.
            return Message(
                code=codes.CHANGED, payload=down, content_format=COAP_OCTETS, transport_tuning=Unreliable
            )

    return Messages()


def _address(hostinfo: str) -> str:
    """The address without its port: what limits and cookies go by."""
    host = hostinfo.rpartition(":")[0] if hostinfo.count(":") == 1 or hostinfo.startswith("[") else hostinfo
    return host.strip("[]")
