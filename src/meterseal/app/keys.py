"""Process `keys`: the security service behind its table of methods. The only process that ever holds a long-term key.

It also issues the TLS identities of concentrators, because the second root's key opens with the same passphrase. A Unix
socket of its own, mode 0600 like the platform's, takes the operator's calls (`meterseal keys …`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from meterseal.app.config import Layout
from meterseal.app.door import KEYS, socket_path
from meterseal.app.reach import Reach
from meterseal.app.sm_identity import SmIdentities
from meterseal.app.system import now_ms
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.rpc import Method, Methods, serve, serve_unix
from meterseal.security.keystore import open_place, parse_place
from meterseal.security.service import SecurityService


class IssueConcentrator(Struct, frozen=True):
    """Make a TLS identity for a concentrator; its key comes back encrypted under the password it chose."""

    device_id: bytes
    key_password: bytes


class TlsIdentity(Struct, frozen=True):
    """PEM certificate, encrypted PEM key, PEM root."""

    certificate: bytes
    key: bytes
    root: bytes


def methods(
    service: SecurityService, directory: TlsDirectory, passphrase: bytes, clock: Callable[[], int]
) -> Methods:
    """What the process answers: the service's own table, and TLS identities for concentrators."""

    async def issue(_: str, asked: IssueConcentrator) -> TlsIdentity:
        passwords = await asyncio.to_thread(directory.open, passphrase)
        sm = SmIdentities(directory.directory)
        if sm.enabled:
            made = sm.concentrator(asked.device_id, passwords, asked.key_password, clock())
            return TlsIdentity(made.certificate, made.key, sm.root())
        identity = directory.issuer(passwords).concentrator(asked.device_id, clock(), asked.key_password)
        return TlsIdentity(identity.certificate, identity.key, directory.files("root").root.read_bytes())

    return service.methods() | {
        "issue_concentrator": Method(issue, IssueConcentrator, frozenset({"platform"})),
    }


async def main(orders: dict[str, Any], stop: asyncio.Event, ready: Callable[..., None]) -> None:
    """Open the vaults and serve until told to end."""
    passphrase = str(orders.pop("passphrase")).encode("latin-1")
    store = open_place(parse_place(str(orders.get("keystore", ""))), passphrase)
    service = SecurityService.open(Path(orders["data"]) / "keys", store, clock=now_ms)
    offered = methods(service, TlsDirectory(Path(orders["data"]) / "tls"), passphrase, now_ms)
    reach = Reach("keys", orders)
    watching = asyncio.create_task(reach.watch())
    server = await serve(offered, host="127.0.0.1", port=reach.ports["keys"], context=reach.listening())
    local = await serve_unix(offered, socket_path(Layout(Path(orders["data"])), KEYS))
    ready()
    await stop.wait()
    await local.close()
    watching.cancel()
    await server.close()
    service.close()
    store.close()
