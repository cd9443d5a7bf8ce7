"""What the desks of the security service share: the open files, the clock, the audit log, and how a desk lists its acts.

It does no act itself; each area of acts is a file in `desks`, and `service` puts them behind one table.

A desk lists what it answers as method name → `Act`: how it is done, the type of the request, the callers
admitted. An act that returns has its uses of keys and its audit entries on disk (`Room.durable`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from meterseal.errors import EngineError
from meterseal.mesh.rpc import Tally
from meterseal.mesh.tls import PLATFORMS
from meterseal.security.audit import Audit
from meterseal.security.book import Book
from meterseal.security.calllog import CallLog
from meterseal.security.handshake import Handshakes
from meterseal.security.hierarchy import KeyTree
from meterseal.security.keylife import KeyLife
from meterseal.security.lending import Lending
from meterseal.security.messages import AuditEntry
from meterseal.security.nearing import Nearing
from meterseal.security.officers import RESTORED, Officers, Restored
from meterseal.security.orders import Done, Request, Role
from meterseal.security.pki import Pki
from meterseal.security.platforms import Platforms
from meterseal.security.refused import RefusedHellos
from meterseal.security.registry import Module, Registry
from meterseal.security.reserved import Reserved
from meterseal.security.rootquorum import RootQuorum
from meterseal.security.usage import UseLog
from meterseal.security.vault import Vault

NOTED_AT_ONCE = 1000
"""Entries that wait for one commit: a store takes a few thousand and drops what is beyond."""
TIED_AFTER = 1.0
"""Seconds after which another file has written down how far the one of the newest commit is (`revisions`)."""


class Act(NamedTuple):
    """One method of the service: how it is done (caller, request), its request type, who may ask for it, and what for
    where that is not its desk's purpose.
    """

    run: Callable[[str, Any], Awaitable[Struct]]
    request: type[Struct]
    callers: frozenset[str]
    purpose: str = ""


class TlsAuthority(Protocol):
    """Who issues certificates of the mesh to other people's platforms."""

    async def platform(self, name: str, request: bytes) -> tuple[bytes, bytes]:
        """Certificate for the key in the request, and the root (both PEM)."""


class Order(NamedTuple):
    """An act that officers sign for (`desks.persons` admits it): how it is done (caller, request, officers), the
    request's type, the role and how many different officers it needs.

    `keeps` says that the act uses the request up itself, in one transaction with what it does.
    """

    run: Callable[[str, Any, tuple[str, ...]], Awaitable[Done]]
    request: type[Request]
    role: Role
    needed: int = 2
    keeps: bool = False


Acts = dict[str, Act]
Orders = dict[str, Order]


class Desk:
    """An area of acts; `purpose` is what a platform must be enrolled for to be answered (`platforms`)."""

    purpose: str = "operate"

    def acts(self) -> Acts:
        """What this desk answers: method name → act."""
        return {}

    def orders(self) -> Orders:
        """What officers may order here: purpose → order."""
        return {}

    def close(self) -> None:
        """Forget what lies in memory for an act under way; the service ends."""


class Room:
    """Everything that the desks of one running service work with."""

    def __init__(
        self,
        keys: Vault,
        authorities: Vault,
        registry: Registry,
        audit: Audit,
        book: Book,
        clock: Callable[[], int],
        tls: TlsAuthority | None = None,
    ) -> None:
        self.tls = tls
        self.tally = Tally(clock)
        self.calls = CallLog()
        self.keys = keys
        self.authorities = authorities
        self.registry = registry
        self.audit = audit
        self.book = book
        self.clock = clock
        self._tying: asyncio.TimerHandle | None = None
        self.project_id = registry.setting("project")
        self.lab = registry.setting("lab") == b"\x01"
        self.reserved = Reserved(book, registry)
        self.officers = Officers(book, self.project_id)
        registry.first_gone = book.read(RESTORED, Restored, Restored()).first_number
        self.quorum = RootQuorum(book, keys, authorities, self.officers)
        self.platforms = Platforms(book, registry, self.project_id, clock)
        self.tree = KeyTree(keys, self.project_id)
        self.pki = Pki(authorities, registry, self.project_id)
        self.uses = UseLog(registry.store, (keys, authorities), self._nearer)
        self.refused = RefusedHellos()
        self.keylife = KeyLife(keys, self.tree, registry, book)
        self.lending = Lending(registry)
        self.handshakes = Handshakes(keys, self.tree, self.pki, registry, self.keylife, self.lending)

    def note(
        self,
        caller: str,
        about: object,
        code: str,
        sentence: str,
        *,
        key: str = "",
        officers: tuple[str, ...] = (),
        refused: bool = False,
    ) -> None:
        """Put an entry into the audit log; ids are taken from the fields of `about` that carry them. One about a platform
        of somebody else's may only be counted (`calllog`).
        """
        entry = AuditEntry(
            at=self.clock(),
            code=code,
            sentence=sentence,
            caller=caller,
            source=getattr(about, "source", "")[:100],
            device_id=getattr(about, "device_id", b"")[:8],
            module_id=getattr(about, "module_id", b"")[:8],
            session_id=getattr(about, "session_id", b"")[:8],
            key=key,
            officers=officers,
            refused=refused,
        )
        if not caller.startswith(PLATFORMS) or self.calls.singly(entry):
            self.audit.write(entry)

    async def note_each(
        self,
        caller: str,
        modules: Sequence[Module],
        code: str,
        sentence: str,
        *,
        officers: tuple[str, ...] = (),
    ) -> None:
        """An entry for each of many modules, on disk before there are more than one commit takes."""
        for number, module in enumerate(modules, 1):
            self.note(caller, module, code, sentence, officers=officers)
            if not number % NOTED_AT_ONCE:
                await self.durable()

    def take_out(self, modules: Sequence[Module]) -> list[Module]:
        """Take those of these modules that are in service out of it, all or none, and end their handshakes; which they
        were. A use of their certificates is refused from when this returns.
        """
        gone = list({one.module_id: one for one in modules if one.state == "active"}.values())
        if gone:
            self.registry.withdraw(gone, self.clock())
            self.pki.revoked("device")
            self.handshakes.forget({one.device_id for one in gone})
        return gone

    def tell_calls(self, *, ending: bool = False) -> None:
        """Put what was counted of other people's calls into the log, once its minute is over."""
        for entry in self.calls.due(self.clock(), ending=ending):
            self.audit.write(entry)

    def _nearer(self, one: Nearing) -> None:
        key = f"{one.id} version {one.version}"
        self.note("operator", one, f"security.limit-{one.level}", one.sentence, key=key)

    async def durable(self) -> None:
        """Return once every use of a key and every entry so far is on disk."""
        await self.audit.durable()
        await self.authorities.durable()
        await self.keys.durable()
        if self._tying is None and not self.keys.revisions.tied:
            self._tying = asyncio.get_running_loop().call_later(TIED_AFTER, self._tie)

    def _tie(self) -> None:
        self._tying = None
        with contextlib.suppress(EngineError):  # a disk that takes no writes is said to whoever waits for one
            self.keys.revisions.tie()

    def close(self) -> None:
        """Write what is pending and close every file; none can be put back alone after that."""
        if self._tying is not None:
            self._tying.cancel()
        self.platforms.settle()
        self.tell_calls(ending=True)
        try:
            self.audit.flush()
            self.authorities.flush()
            self.keys.flush()
            self.keys.revisions.tie()
        finally:
            for one in (self.audit, self.book, self.registry, self.authorities, self.keys):
                one.close()
