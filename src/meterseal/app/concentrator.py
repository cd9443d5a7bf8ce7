"""Beside the path: a concentrator at work on its kept parameters: its module powered on, its gateway running.

It decides nothing; `edge.gateway` and `edge.concentrator` do. Who starts it (a supervisor, systemd, a person) is the
caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from meterseal.edge.concentrator import Concentrator, MeterAt, Up
from meterseal.edge.gateway import Address, Gateway
from meterseal.edge.memories import Memories
from meterseal.edge.parameters import ConcentratorConfig, TlsFiles
from meterseal.mesh.sm_tls import SmContext
from meterseal.mesh.tls import Files, client_context

STATUS_EVERY = 0.5
SM2_WITH_SM3 = "1.2.156.10197.1.501"


def gateway_of(config: ConcentratorConfig, memories: Memories) -> Gateway:
    """The gateway of these parameters, its module powered on. LocalError `line.place`, `module.in-use`; DataError
    `wire.profile` for a model that nobody has.
    """
    module_id = bytes.fromhex(config.module_id)
    jitter = random.SystemRandom().random

    def make(send: Callable[[Up], None]) -> Concentrator:
        return Concentrator(
            device_id=bytes.fromhex(config.device_id),
            chip=memories.chip(module_id, bytes.fromhex(config.device_id)),
            store=memories.held(module_id),
            risers=[
                [
                    MeterAt(device_id=bytes.fromhex(one.device_id), plain=one.plain, model=one.model)
                    for one in riser.meters
                ]
                for riser in config.risers
            ],
            pace=config.pace,
            timing=config.timing,
            jitter=jitter,
            send=send,
            schedule=config.schedule,
            alarms=config.alarms,
        )

    return Gateway(
        make,
        buses=[riser.place for riser in config.risers],
        headend=Address(config.headend_host, config.headend_port),
        tls=_context(config.tls),
        backoff=config.backoff,
        clock=lambda: time.time_ns() // 1_000_000,
        jitter=jitter,
    )


async def work(gateway: Gateway, stop: asyncio.Event, tell: Callable[[dict[str, object]], None]) -> None:
    """Run it until `stop`; `tell` hears its status twice a second."""
    running = asyncio.create_task(gateway.run())
    try:
        while not stop.is_set():
            waiter = asyncio.create_task(stop.wait())
            await asyncio.wait([waiter, running], timeout=STATUS_EVERY, return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
            if running.done():
                running.result()
            tell(gateway.status())
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def _context(files: TlsFiles | None) -> ssl.SSLContext | SmContext | None:
    if files is None:
        return None
    paths = Files(Path(files.certificate), Path(files.key), Path(files.root))
    if _for_sm(paths.certificate):
        return SmContext(paths, files.password.encode())
    return client_context(paths, files.password.encode())


def _for_sm(certificate: Path) -> bool:
    """The signature that a certificate carries says which TLS it is for: SM2 for RFC 8998."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes()).signature_algorithm_oid
    except (OSError, ValueError):
        return False  # the context says what is wrong with the file
    return found.dotted_string == SM2_WITH_SM3
