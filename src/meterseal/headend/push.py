"""The head-end's HTTP door for platforms of carriers (NB-IoT): they push what their devices sent, and take what goes down.

Moves bytes only. Carriers differ in the names of their fields and in nothing that matters here, so a carrier is a few lines
of the settings: where its JSON holds the device and the payload, which header shows its token, where to post what goes
down. A carrier is believed to be itself by that token and in nothing else: what it carries is sealed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta, Struct

from meterseal.crypto.symmetric import equal
from meterseal.errors import LocalError
from meterseal.headend.httpdoor import Ask, Body, HttpDoor
from meterseal.headend.link import REMEMBERED, Receive, Ways
from meterseal.hostport import written
from meterseal.link.messages import LONGEST

if TYPE_CHECKING:
    import httpx

WAITING_DOWN = 1024
LONGEST_BODY = 64 * 1024
MOST_AT_ONCE = 64
"""Bodies that are read at the same time; more hear 503."""
BODY_WITHIN = 10.0
DOWN_WITHIN = 10.0
"""Seconds that a carrier may take over one message, its answer to the last byte included."""
AT_ONCE = 4

_DEVICE = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.:-]{1,64}\Z")
"""A name that stays one step of a path; `.` and `..` would not."""
_PRINTED = re.compile(r"[ -~]*\Z")
_NAME = r"^[a-z0-9][a-z0-9-]{0,31}$"


class Carrier(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One carrier's platform, which posts to `/push/NAME`.

    `device` and `payload` are places in its JSON, dots between levels. `token` is the whole value of the header `header`.
    What goes down is posted to `down_url`, in which `{device}` stands for the device's name, as `down_body`: JSON whose
    strings `{device}` and `{payload}` are put in; without an url nothing goes down this way.
    """

    name: Annotated[str, Meta(pattern=_NAME)]
    token: Annotated[str, Meta(min_length=16)]
    device: str
    payload: str
    encoding: Literal["base64", "hex"] = "base64"
    header: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}$")] = "authorization"
    down_url: str = ""
    down_body: str = '{"device": "{device}", "payload": "{payload}"}'
    down_header: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}$")] = "authorization"
    down_token: str = ""

    def __repr__(self) -> str:
        return f"<carrier {self.name}>"


def checked(carrier: Carrier) -> Carrier:
    """The same carrier; LocalError `headend.push` for what cannot be one."""
    try:
        body = msgspec.json.decode(carrier.down_body)
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict):
        raise LocalError("headend.push", f"`down_body` of the carrier {carrier.name} is no JSON object.")
    if carrier.down_url and not _may_have_the_token(carrier.down_url):
        raise LocalError(
            "headend.push",
            f"`down_url` of the carrier {carrier.name} must be https://HOST/… (http:// on this machine only) and may have "
            "`{device}` behind the host alone, for the carrier's token goes along.",
        )
    if not _PRINTED.match(carrier.token) or not _PRINTED.match(carrier.down_token):
        raise LocalError(
            "headend.push",
            f"A token of the carrier {carrier.name} holds what no header can; give printed ASCII.",
        )
    return carrier


def _may_have_the_token(url: str) -> bool:
    """Is the host fixed, and its way sealed or inside this machine? No pushed name of a device may choose it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or "{" in parts.netloc or not _PRINTED.match(url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in ("127.0.0.1", "::1", "localhost"))


class _Customer:
    """The way to one device over a carrier."""

    def __init__(self, listener: PushListener, carrier: Carrier, device: str) -> None:
        self._listener, self._carrier, self._device = listener, carrier, device
        self.source = f"push {carrier.name} {device}"
        self.concentrator_id = b""

    def send(self, device_id: bytes, message: bytes) -> None:
        """Queue one message for the carrier."""
        if self._carrier.down_url:
            self._listener.down(self._carrier, self._device, message)


class PushListener:
    """One HTTP port for all carriers. It speaks HTTP; TLS stands in front of it, as before the portal."""

    def __init__(self, receive: Receive, host: str, port: int, carriers: tuple[Carrier, ...]) -> None:
        self._receive = receive
        self._place = host, port
        self._carriers = {f"/push/{one.name}": checked(one) for one in carriers}
        self._links: Ways[tuple[str, str], _Customer] = Ways(REMEMBERED)
        self._down: asyncio.Queue[tuple[Carrier, str, bytes]] = asyncio.Queue(WAITING_DOWN)
        self._paused = False
        self._reading = 0
        self._door = HttpDoor(self._status)
        self._works: list[asyncio.Task[None]] = []
        self.refused = self.undelivered = 0

    async def start(self) -> str:
        """Listen; returns the url to which `/push/NAME` is added. EngineError `headend.port`."""
        host, port = self._place
        await self._door.start(host, port)
        self._works = [asyncio.create_task(self._deliver()) for _ in range(AT_ONCE)]
        return f"http://{written(host, port)}"

    def pause(self, paused: bool) -> None:
        """Answer 503 for a while: carriers push again."""
        self._paused = paused

    async def stop(self) -> None:
        """Close the port and drop what waits."""
        await self._door.stop()
        for work in self._works:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

    # --- up ------------------------------------------------------------------------------------------------

    async def _status(self, asked: Ask, read: Body) -> int:
        """What a request is worth: 200 taken, 400 not understood, 401 not the carrier, 404, 405, 413, 503 later."""
        carrier = self._carriers.get(asked.path.partition("?")[0])
        if carrier is None:
            return 404
        if asked.method != "POST":
            return 405
        if not equal(asked.headers.get(carrier.header.encode(), b""), carrier.token.encode()):
            self.refused += 1
            return 401
        if self._paused or self._reading >= MOST_AT_ONCE:
            return 503
        self._reading += 1
        try:
            async with asyncio.timeout(BODY_WITHIN):
                body = await read(LONGEST_BODY)
        except TimeoutError:
            body = None
        finally:
            self._reading -= 1
        if body is None:
            return 413
        found = _read(carrier, body)
        if found is None:
            self.refused += 1
            return 400
        device, message = found
        self._receive(self._link(carrier, device), b"", message, proven=False, way="push")
        return 200

    def _link(self, carrier: Carrier, device: str) -> _Customer:
        key = carrier.name, device
        return self._links.of(key, lambda: _Customer(self, carrier, device))

    # --- down ----------------------------------------------------------------------------------------------

    def down(self, carrier: Carrier, device: str, message: bytes) -> None:
        """Queue a message; over the bound it is lost, and sent again by whoever misses its answer."""
        try:
            self._down.put_nowait((carrier, device, message))
        except asyncio.QueueFull:
            self.undelivered += 1

    async def _deliver(self) -> None:
        import httpx

        async with httpx.AsyncClient(timeout=DOWN_WITHIN, follow_redirects=False) as client:
            while True:
                carrier, device, message = await self._down.get()
                try:
                    ask = client.build_request(
                        "POST",
                        carrier.down_url.replace("{device}", quote(device, safe="")),
                        content=msgspec.json.encode(_filled(carrier, device, message)),
                        headers={"content-type": "application/json", carrier.down_header: carrier.down_token},
                    )
                    async with asyncio.timeout(DOWN_WITHIN):
                        fault = await _posted(client, ask)
                except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
                    fault = type(error).__name__
                if fault:
                    self.undelivered += 1
                    import structlog  # slow to import, and only needed here

                    structlog.get_logger().warning("push.undelivered", carrier=carrier.name, fault=fault)


async def _posted(client: httpx.AsyncClient, ask: httpx.Request) -> str:
    """What was wrong with the answer, or nothing. It is read, so that the connection serves again, and never kept."""
    answer = await client.send(ask, stream=True)
    try:
        read = 0
        async for part in answer.aiter_raw():
            read += len(part)
            if read > LONGEST_BODY:
                break
    finally:
        await answer.aclose()
    return "" if answer.is_success else str(answer.status_code)


def _read(carrier: Carrier, body: bytes) -> tuple[str, bytes] | None:
    """The carrier's name of the device and the message in a body; None for what is not one."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    device, payload = _at(found, carrier.device), _at(found, carrier.payload)
    if isinstance(device, int) and not isinstance(device, bool):
        device = str(device)
    if not isinstance(device, str) or not _DEVICE.match(device) or not isinstance(payload, str):
        return None
    try:
        message = (
            base64.b64decode(payload, validate=True)
            if carrier.encoding == "base64"
            else bytes.fromhex(payload)
        )
    except (binascii.Error, ValueError):
        return None
    return (device, message) if 0 < len(message) <= LONGEST else None


def _at(found: Any, place: str) -> Any:
    for name in place.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _filled(carrier: Carrier, device: str, message: bytes) -> Any:
    payload = base64.b64encode(message).decode() if carrier.encoding == "base64" else message.hex()

    def fill(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: fill(value) for name, value in part.items()}
        if isinstance(part, list):
            return [fill(value) for value in part]
        return {"{device}": device, "{payload}": payload}.get(part, part) if isinstance(part, str) else part

    return fill(msgspec.json.decode(carrier.down_body))
