"""Process `headend`: listens for devices and concentrators, proves and opens what they send, hands it to the platform.

It holds the traffic keys of the sessions it serves and no long-term key; it sees no name, no tariff and no store.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from meterseal.app.clock import now_ms
from meterseal.app.links import RemoteAudit, RemoteSessions, RemoteTopology, RemoteWords
from meterseal.app.reach import Reach
from meterseal.app.sm_identity import HEADEND, SmIdentities
from meterseal.app.transports import Transports
from meterseal.bus.local import LocalBus
from meterseal.headend.coap import CoapListener
from meterseal.headend.cookies import Cookies
from meterseal.headend.delivery import Delivery
from meterseal.headend.downlink import Downlink
from meterseal.headend.handshakes import Handshakes
from meterseal.headend.link import Listener as Other
from meterseal.headend.link import Receive
from meterseal.headend.mqtt import MqttListener
from meterseal.headend.ports import StoredSession
from meterseal.headend.push import PushListener
from meterseal.headend.revoked import Revocations
from meterseal.headend.sessions import SessionCache
from meterseal.headend.tcp import Listener
from meterseal.headend.udp import UdpListener
from meterseal.headend.uplink import Uplink
from meterseal.link.schedule import TrafficKeys
from meterseal.mesh.rpc import Rpc
from meterseal.mesh.sm_tls import SmContext
from meterseal.security.sdk import SecuritySdk


class _Unwrap:
    """The service's `unwrap` as the session cache asks for it."""

    def __init__(self, security: SecuritySdk) -> None:
        self._security = security

    async def unwrap(self, session: StoredSession) -> TrafficKeys:
        return await self._security.unwrap(session.session_id, session.device_id, session.wrapped)


def assemble(keys: Rpc, platform: Rpc, clock: Callable[[], int], pause: Callable[[bool], None]) -> Uplink:
    """The head-end over its ways to the security service and the platform; `pause` stops and resumes its sockets.

    What it returns is to be kept running, and `beside` it.
    """
    security = SecuritySdk(keys)
    store = RemoteSessions(platform)
    sessions, topology = SessionCache(store, _Unwrap(security)), RemoteTopology(platform)
    downlink = Downlink(RemoteWords(platform), store, sessions, topology, clock)
    return Uplink(
        sessions=sessions,
        handshakes=Handshakes(security, store, sessions, clock, cookies=Cookies(os.urandom)),
        delivery=Delivery(store, clock),
        downlink=downlink,
        topology=topology,
        audit=RemoteAudit(platform),
        publisher=LocalBus(platform),
        clock=clock,
        pause=pause,
    )


def beside(uplink: Uplink, keys: Rpc) -> list[Coroutine[None, None, None]]:
    """What runs beside an uplink: the way down, and the watch for modules that were taken out of service."""
    downlink = uplink.downlink
    return [downlink.run(), Revocations(SecuritySdk(keys), uplink.sessions, downlink).run()]


def _concentrators(reach: Reach) -> ssl.SSLContext | SmContext:
    """Whom the concentrators' listener admits: by the SM suite where the system was started with it."""
    identities = SmIdentities(reach.directory)
    if identities.enabled:
        files, password = identities.files(HEADEND), reach.password_of(HEADEND)
        context = SmContext(files, password)
        reach.follow(files.certificate, lambda: context.take_up(files, password))
        return context
    return reach.listening()


def ways(orders: dict[str, Any], receive: Receive) -> dict[str, Other]:
    """What else the orders want served, by name."""
    wanted = msgspec.convert(orders.get("transports", {}), Transports)
    found: dict[str, Other] = {}
    if wanted.udp is not None:
        found["udp"] = UdpListener(receive, wanted.udp.host or str(orders["host"]), wanted.udp.port)
    if wanted.coap is not None:
        found["coap"] = CoapListener(receive, wanted.coap.host or str(orders["host"]), wanted.coap.port)
    if wanted.push is not None:
        host = wanted.push.host or str(orders["host"])
        found["push"] = PushListener(receive, host, wanted.push.port, wanted.push.carrier)
    for number, broker in enumerate(wanted.mqtt):
        found[f"mqtt{number or ''}"] = MqttListener(receive, broker)
    return found


async def main(orders: dict[str, Any], stop: asyncio.Event, ready: Callable[..., None]) -> None:
    """Serve until told to end."""
    reach = Reach("headend", orders)
    watching = asyncio.create_task(reach.watch())
    keys, platform = reach.to("keys"), reach.to("platform")
    listeners: list[Listener] = []
    others: dict[str, Other] = {}

    def pause(paused: bool) -> None:
        for listener in listeners:
            listener.pause(paused)
        for other in others.values():
            other.pause(paused)

    uplink = assemble(keys, platform, now_ms, pause)
    down = uplink.downlink
    listeners += [
        Listener(uplink.receive, tls=tls, joined=down.joined, parted=down.parted)
        for tls in (None, _concentrators(reach))
    ]
    others |= ways(orders, uplink.receive)
    tcp = await listeners[0].start(reach.host, reach.ports["headend_tcp"])
    tls = await listeners[1].start(reach.host, reach.ports["headend_tls"])
    works = {asyncio.create_task(work) for work in (uplink.run(), *beside(uplink, keys))}
    ready(tcp=tcp, tls=tls, ways={name: await other.start() for name, other in others.items()})
    stopped = asyncio.create_task(stop.wait())
    # A defect in any of them must end the process, not leave a socket that answers nothing.
    await asyncio.wait({*works, stopped}, return_when=asyncio.FIRST_COMPLETED)
    for listener in listeners:
        await listener.stop()
    for other in others.values():
        await other.stop()
    for work in works:
        if work.done():
            work.result()
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    watching.cancel()
    await keys.close()
    await platform.close()
