"""Process `keys`: the security service behind its table of methods. The only process that ever holds a long-term key.

It also issues the TLS identities of concentrators and of other people's platforms, because the second root's key opens
with the same passphrase. A Unix socket of its own, mode 0600 like the platform's, takes the operator's calls
(`meterseal keys …`); other people's platforms have a listener of their own, which hears nobody else and is offered only
what is for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meterseal.app.clock import now_ms
from meterseal.app.config import Layout
from meterseal.app.door import KEYS, socket_path
from meterseal.app.reach import Reach
from meterseal.app.sm_identity import SmIdentities
from meterseal.app.tls_identities import IssueConcentrator, TlsIdentity
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.rpc import Method, Methods, serve, serve_unix
from meterseal.security.authorise import PARTNER
from meterseal.security.keystore import open_place, parse_place
from meterseal.security.service import SecurityService


class PlatformTls:
    """The second root, opened for one certificate at a time."""

    def __init__(self, directory: TlsDirectory, passphrase: bytes, clock: Callable[[], int]) -> None:
        self._directory, self._passphrase, self._clock = directory, passphrase, clock
        self._opening = asyncio.Lock()

    async def platform(self, name: str, request: bytes) -> tuple[bytes, bytes]:
        """As `desk.TlsAuthority.platform`."""
        async with self._opening:  # each costs 64 MiB and every core; others' platforms may ask for many
            passwords = await asyncio.to_thread(self._directory.open, self._passphrase)
        issued = self._directory.issuer(passwords).platform(name, request, self._clock())
        return issued, self._directory.files("root").root.read_bytes()


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
    directory = TlsDirectory(Path(orders["data"]) / "tls")
    tls = PlatformTls(directory, passphrase, now_ms)
    service = SecurityService.open(Path(orders["data"]) / "keys", store, clock=now_ms, tls=tls)
    tally = service.room.tally
    telling = asyncio.create_task(tally.report(service.told))
    offered = methods(service, directory, passphrase, now_ms)
    partners = {name: method for name, method in offered.items() if method.callers & PARTNER}
    reach = Reach("keys", orders)
    watching = asyncio.create_task(reach.watch())
    listeners = [
        await serve(
            offered, host="127.0.0.1", port=reach.ports["keys"], context=reach.listening(), tally=tally
        ),
        await serve(
            partners,
            host=reach.host,
            port=reach.ports["platforms"],
            context=reach.listening(),
            platforms=True,
            tally=tally,
        ),
        await serve_unix(offered, socket_path(Layout(Path(orders["data"])), KEYS), tally=tally),
    ]
    ready()
    await stop.wait()
    watching.cancel()
    for listener in reversed(listeners):
        await listener.close()
    telling.cancel()
    await asyncio.wait([telling])
    service.close()
    store.close()
