"""Beside the path: the program of one concentrator: takes its parameters, powers its module on, and works.

It decides nothing; `edge.gateway` and `edge.concentrator` do.

    python -m meterseal.kit.programs.concentrator --config FILE   the first time; FILE is to be deleted after that
    python -m meterseal.kit.programs.concentrator --dir DIR       with the parameters that its memory keeps sealed
    python -m meterseal.kit.programs.concentrator                 as a child: one line of JSON on standard input
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509

from meterseal.app import child
from meterseal.edge.concentrator import Concentrator, MeterAt, Up
from meterseal.edge.gateway import Address, Gateway
from meterseal.edge.memories import Memories
from meterseal.edge.parameters import ConcentratorConfig, Parameters, TlsFiles
from meterseal.errors import LocalError
from meterseal.kit.programs import run
from meterseal.mesh.sm_tls import SmContext
from meterseal.mesh.tls import Files, client_context

STATUS_EVERY = 0.5
SM2_WITH_SM3 = "1.2.156.10197.1.501"


async def main(orders: dict[str, Any], stop: asyncio.Event, ready: Callable[..., None]) -> None:
    """The child process: orders are the fields of `ConcentratorConfig`, or `dir` alone once they were given."""
    directory = orders.get("dir")
    if not isinstance(directory, str):
        raise LocalError(
            "concentrator.config", "The configuration of the concentrator is wrong: `dir` names no directory."
        )
    memories = Memories(Path(directory))
    try:
        await _work(Parameters(Path(directory), memories).take(orders), memories, stop, ready)
    finally:
        memories.close()


async def _work(
    config: ConcentratorConfig, memories: Memories, stop: asyncio.Event, ready: Callable[..., None]
) -> None:
    module_id = bytes.fromhex(config.module_id)
    jitter = random.SystemRandom().random

    def make(send: Callable[[Up], None]) -> Concentrator:
        return Concentrator(
            device_id=bytes.fromhex(config.device_id),
            chip=memories.chip(module_id, bytes.fromhex(config.device_id)),
            store=memories.held(module_id),
            risers=[
                [MeterAt(device_id=bytes.fromhex(one.device_id), plain=one.plain) for one in riser.meters]
                for riser in config.risers
            ],
            pace=config.pace,
            timing=config.timing,
            jitter=jitter,
            send=send,
        )

    gateway = Gateway(
        make,
        buses=[Address(riser.host, riser.port) for riser in config.risers],
        headend=Address(config.headend_host, config.headend_port),
        tls=_context(config.tls),
        pace=config.pace,
        backoff=config.backoff,
        clock=lambda: time.time_ns() // 1_000_000,
        jitter=jitter,
    )
    work = asyncio.create_task(gateway.run())
    ready()
    last: dict[str, object] = {}
    try:
        while not stop.is_set():
            waiter = asyncio.create_task(stop.wait())
            await asyncio.wait([waiter, work], timeout=STATUS_EVERY, return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
            if work.done():
                work.result()
            status = gateway.status()
            if status != last:
                last = status
                child.say(status=status)
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


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


if __name__ == "__main__":
    sys.exit(run("concentrator", main, keeps=True))
