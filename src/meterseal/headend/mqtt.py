"""The head-end as a client of an MQTT broker, 3.1.1 or 5: one message in each publication (LINK section 5).

Moves bytes only, and trusts no broker: what it carries is sealed, and the acknowledgement of a record is the sealed one
that follows its commit, never the broker's. Topics are `PREFIX/v1/TENANT/PRODUCT/DEVICE/up` and `…/down`, the device id in
lower-case hex; a topic is a claim like an envelope. Any client may write any topic that the broker lets it, so whoever
speaks from here must bring a cookie. With MQTT 5 several head-ends share one subscription; with 3.1.1 one head-end serves
a broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import ssl
from collections import deque
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from meterseal.errors import EngineError, LocalError
from meterseal.headend.link import REMEMBERED, Receive, Ways
from meterseal.hostport import written
from meterseal.link.messages import LONGEST

if TYPE_CHECKING:
    from aiomqtt import Client
    from paho.mqtt.properties import Properties

WAITING_DOWN = 4096
"""Messages that wait for the broker; over that the oldest is dropped, devices repeat and words are given out again."""
INCOMING = 8192
"""Publications taken off the socket and not looked at yet; more are dropped, their devices repeat them."""
AT_ONCE = 32
CONNECT_WITHIN = 3.0
"""Seconds for the way to a broker. It is tried in a thread, and the process cannot end before."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
SHARE = "meterseal-headend"

_LEVEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_UP = re.compile(r"([a-z0-9][a-z0-9._-]{0,63})/([0-9a-f]{16})/up\Z")


class Broker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a broker is and how its topics begin.

    `url` is `mqtt://HOST:PORT` or `mqtts://HOST:PORT`; `prefix` and `tenant` are one lower-case topic level each.
    """

    url: str
    version: Literal["3.1.1", "5"] = "5"
    prefix: str = "meterseal"
    tenant: str = "home"
    username: str = ""
    password: str = ""
    root: str = ""
    """Certificates (PEM) that the broker's must stand under; empty for those of the operating system."""
    client: str = ""
    """Client id; empty for a new one at each start, so that several head-ends may sit at one broker."""

    def __repr__(self) -> str:
        return f"<broker {self.address}>"

    @property
    def address(self) -> str:
        """Host and port, without user and password."""
        host, port = _place(self)
        return written(host, port)


def checked(broker: Broker) -> Broker:
    """The same broker; LocalError `headend.mqtt` for what cannot be one."""
    _place(broker)
    for name, level in (("prefix", broker.prefix), ("tenant", broker.tenant)):
        if not _LEVEL.match(level):
            raise LocalError(
                "headend.mqtt",
                f"{level!r} cannot be the {name} of a topic: give one level of small letters, digits, `.`, `_`, `-`.",
            )
    if len(broker.client) > 23 and broker.version == "3.1.1":
        raise LocalError(
            "headend.mqtt", "A client id of MQTT 3.1.1 has at most 23 characters; shorten `client`."
        )
    return broker


def _place(broker: Broker) -> tuple[str, int]:
    try:
        parts = urlsplit(broker.url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or parts.scheme not in ("mqtt", "mqtts") or parts.username or parts.path not in ("", "/"):
        raise LocalError(
            "headend.mqtt",
            "A broker's url is mqtt://HOST:PORT or mqtts://HOST:PORT; user and password have fields of their own.",
        )
    return host, port or (8883 if parts.scheme == "mqtts" else 1883)


class _Topic:
    """The way to one device over the broker."""

    def __init__(self, down: str, device: str, queue: deque[tuple[str, bytes]], news: asyncio.Event) -> None:
        self._down = down
        self._queue = queue
        self._news = news
        self.source = f"mqtt {device}"
        self.concentrator_id = b""

    def send(self, device_id: bytes, message: bytes) -> None:
        """Queue one publication."""
        self._queue.append((self._down, message))
        self._news.set()


class MqttListener:
    """One broker, for as long as `start` and `stop` enclose; a broker that is away is tried again, more and more rarely."""

    def __init__(self, receive: Receive, broker: Broker) -> None:
        self._receive = receive
        self._broker = checked(broker)
        self._client = broker.client or f"meterseal-{secrets.token_hex(4)}"
        self._base = f"{broker.prefix}/v1/{broker.tenant}"
        self._down: deque[tuple[str, bytes]] = deque(maxlen=WAITING_DOWN)
        self._news = asyncio.Event()
        self._links: Ways[str, _Topic] = Ways(REMEMBERED)
        self._paused = False
        self._work: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()
        self.dropped = 0

    async def start(self) -> str:
        """Begin to look for the broker; its absence is no reason not to serve elsewhere."""
        context = _tls(self._broker)
        self._work = asyncio.create_task(self._run(context))
        return f"{self._broker.address}/{self._base}"

    def pause(self, paused: bool) -> None:
        """Drop or take what comes: the broker would only drop it later, and silently."""
        self._paused = paused

    async def stop(self) -> None:
        """Leave the broker."""
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work

    async def _run(self, context: ssl.SSLContext | None) -> None:
        import structlog  # slow to import, and only needed here and below
        from aiomqtt import MqttError

        pause = FIRST_PAUSE
        while True:
            try:
                await self._connection(context)
            except* (MqttError, OSError, TimeoutError, ValueError) as errors:
                # ValueError: a topic that is no text, met as the broker is left. Their texts may quote what the broker
                # sent; the kind is enough to know where to look.
                faults = sorted({type(error).__name__ for error in errors.exceptions})
                structlog.get_logger().warning("mqtt.away", broker=self._broker.address, faults=faults)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                # Leaving a broker that just went away, the library answers a cancellation with an error of its own.
                raise asyncio.CancelledError
            if self.connected.is_set():
                self.connected.clear()
                pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _connection(self, context: ssl.SSLContext | None) -> None:
        from aiomqtt import Client, ProtocolVersion

        broker, modern = self._broker, self._broker.version == "5"
        host, port = _place(broker)
        quiet = logging.getLogger(
            "meterseal.mqtt"
        )  # the library would write topics, that is device ids, to the log
        quiet.setLevel(logging.CRITICAL)
        client = Client(
            host,
            port,
            username=broker.username or None,
            password=broker.password or None,
            identifier=self._client,
            protocol=ProtocolVersion.V5 if modern else ProtocolVersion.V311,
            clean_session=None if modern else True,
            timeout=10,
            keepalive=30,
            max_queued_incoming_messages=INCOMING,
            max_inflight_messages=AT_ONCE,
            properties=_largest() if modern else None,
            tls_context=context,
            logger=quiet,
        )
        client._client.connect_timeout = CONNECT_WITHIN
        try:
            async with client:
                await self._seated(client, modern=modern)
        finally:
            # After bytes that are no MQTT the library leaves its socket open and watched, one for each attempt.
            client._client._sock_close()

    async def _seated(self, client: Client, *, modern: bool) -> None:
        topics = f"{self._base}/+/+/up"
        granted = await client.subscribe(f"$share/{SHARE}/{topics}" if modern else topics, qos=1)
        if any(not isinstance(code, int) and code.is_failure for code in granted):
            import structlog

            structlog.get_logger().error("mqtt.refused", broker=self._broker.address, topics=topics)
            raise PermissionError
        self.connected.set()
        async with asyncio.TaskGroup() as group:
            sending = [group.create_task(self._send(client)) for _ in range(AT_ONCE)]
            async for message in client.messages:
                self._take(str(message.topic), message.payload)
            for one in sending:
                one.cancel()

    def _take(self, topic: str, payload: object) -> None:
        found = _UP.match(topic.removeprefix(f"{self._base}/"))
        if (
            self._paused
            or found is None
            or not isinstance(payload, bytes | bytearray)
            or not 0 < len(payload) <= LONGEST
        ):
            self.dropped += 1
            return
        product, device = found.groups()
        down = f"{self._base}/{product}/{device}/down"
        link = self._links.of(topic, lambda: _Topic(down, device, self._down, self._news))
        self._receive(link, bytes.fromhex(device), bytes(payload), proven=False, way="mqtt")

    async def _send(self, client: Client) -> None:
        while True:
            while not self._down:
                self._news.clear()
                await self._news.wait()
            topic, message = self._down.popleft()
            await client.publish(topic, message, qos=1)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                # A confirmation that comes in the same turn as a cancellation hides it, and whoever cancelled waits.
                raise asyncio.CancelledError


def _largest() -> Properties:
    """Keep publications that are longer than any of ours at the broker: the library would take 256 MB into memory."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    largest = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # shipped without types
    largest.MaximumPacketSize = 2 * LONGEST
    return largest


def _tls(broker: Broker) -> ssl.SSLContext | None:
    if not broker.url.startswith("mqtts:"):
        return None
    try:
        context = ssl.create_default_context(cadata=broker.root or None)
    except ssl.SSLError:
        raise EngineError(
            "headend.mqtt", "The root certificates of the broker are no PEM certificates; correct the file."
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
