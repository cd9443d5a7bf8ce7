"""Station edge, a meter that speaks for itself over IP: its messages straight to the head-end, on a way of its own.

It opens and seals nothing (the node's agent does) and decides nothing about time: what a way loses, the agent sends again.
The ways are UDP, CoAP and a broker of MQTT; each carries one message at a time and promises neither order nor delivery
(LINK section 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Any, Protocol

from meterseal.edge.node import Node
from meterseal.errors import PeerError
from meterseal.hostport import written
from meterseal.link.messages import LONGEST
from meterseal.link.transport import COAP_OCTETS, COAP_PATH, MessageReader

TICK = 0.02
"""Seconds between looks for something to say."""
PAUSE = 0.5
"""Seconds until a broker that is away is looked for again."""
AT_ONCE = 16
"""Messages put on a way in one look."""
WAITING = 256
"""Messages that wait for a broker; what comes on top is dropped and sent again by the agent."""
ANSWER_WITHIN = 20.0
"""Seconds for an answer of CoAP. The library waits for ever for one whose question was acknowledged."""

Hear = Callable[[bytes], None]


class Way(Protocol):
    """How messages travel, without promises."""

    def send(self, message: bytes) -> None:
        """Send one, or lose it; never raises and never waits."""
        ...

    async def run(self, hear: Hear) -> None:
        """Carry until cancelled; whatever comes down goes to `hear`."""
        ...


class UdpWay(asyncio.DatagramProtocol):
    """Datagrams to one head-end."""

    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._transport: asyncio.DatagramTransport | None = None
        self._hear: Hear | None = None

    def send(self, message: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(message)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if self._hear is not None and len(data) <= LONGEST:
            self._hear(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there just now; the agent sends again."""

    async def run(self, hear: Hear) -> None:
        self._hear = hear
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._place)
        try:
            await asyncio.Event().wait()
        finally:
            self._transport.abort()


class CoapWay:
    """POSTs to one head-end; `every` seconds an empty one asks what waits, for nobody can call a device that sleeps."""

    def __init__(self, host: str, port: int, *, every: float = 5.0) -> None:
        self._uri = f"coap://{written(host, port)}/{COAP_PATH}"
        self._every = every
        self._up: asyncio.Queue[bytes] = asyncio.Queue(WAITING)

    def send(self, message: bytes) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._up.put_nowait(message)

    async def run(self, hear: Hear) -> None:
        from aiocoap import Context

        for name in ("coap", "coap-client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        context = await Context.create_client_context(transports=["udp6"])
        try:
            while True:
                message = b""
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._every):
                        message = await self._up.get()
                await self._post(context, message, hear)
        finally:
            await context.shutdown()

    async def _post(self, context: Any, message: bytes, hear: Hear) -> None:
        from aiocoap import POST, Message
        from aiocoap.error import Error

        request = Message(code=POST, uri=self._uri, payload=message, content_format=COAP_OCTETS)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                answer = await context.request(request).response
        except (Error, OSError, TimeoutError):
            return  # the agent sends again
        reader = MessageReader()
        with contextlib.suppress(PeerError):
            for one in reader.feed(answer.payload):
                hear(one)


class MqttWay:
    """Publications to `BASE/DEVICE/up` of a broker, and what comes on `BASE/DEVICE/down`; `base` is
    prefix/v1/tenant/product.
    """

    def __init__(
        self,
        host: str,
        port: int,
        base: str,
        device_id: bytes,
        *,
        modern: bool = True,
        tls: ssl.SSLContext | None = None,
        username: str = "",
        password: str = "",
    ) -> None:
        self._place = host, port
        self._topic = f"{base}/{device_id.hex()}"
        self._client_id = f"m{device_id.hex()}"
        self._modern, self._tls = modern, tls
        self._login = username or None, password or None
        self._up: asyncio.Queue[bytes] = asyncio.Queue(WAITING)

    def send(self, message: bytes) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._up.put_nowait(message)

    async def run(self, hear: Hear) -> None:
        from aiomqtt import MqttError

        while True:
            with contextlib.suppress(MqttError, OSError, TimeoutError):
                await self._connection(hear)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # the library may turn one into an error of its own
            await asyncio.sleep(PAUSE)

    async def _connection(self, hear: Hear) -> None:
        from aiomqtt import Client, ProtocolVersion

        quiet = logging.getLogger("meterseal.mqtt")
        quiet.setLevel(logging.CRITICAL)
        username, password = self._login
        async with Client(
            *self._place,
            username=username,
            password=password,
            identifier=self._client_id,
            protocol=ProtocolVersion.V5 if self._modern else ProtocolVersion.V311,
            clean_session=None if self._modern else True,
            timeout=10,
            tls_context=self._tls,
            logger=quiet,
        ) as client:
            await client.subscribe(f"{self._topic}/down", qos=1)
            sending = asyncio.create_task(self._send(client))
            try:
                async for message in client.messages:
                    if isinstance(message.payload, bytes) and len(message.payload) <= LONGEST:
                        hear(message.payload)
            finally:
                sending.cancel()

    async def _send(self, client: Any) -> None:
        while True:
            await client.publish(f"{self._topic}/up", await self._up.get(), qos=1)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # hidden by a confirmation that came in the same turn


class Direct:
    """One meter at work on its way, until `run` is cancelled; `clock` gives Unix ms."""

    def __init__(self, node: Node, way: Way, clock: Callable[[], int]) -> None:
        self._node = node
        self._way = way
        self._clock = clock

    async def run(self) -> None:
        """Say what there is to say and take what comes."""
        carrying = asyncio.create_task(self._way.run(self._heard))
        try:
            while not carrying.done():
                self._say()
                await asyncio.sleep(TICK)
            carrying.result()
        finally:
            carrying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await carrying

    def _heard(self, message: bytes) -> None:
        self._node.take(message, self._clock())
        self._say()

    def _say(self) -> None:
        secured = self._node.secured
        if secured is None:
            return
        for _ in range(AT_ONCE):
            message = secured.offer(self._clock())
            if message is None:
                return
            self._way.send(message)
