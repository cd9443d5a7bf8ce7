"""What the desks of the security service share: the open files, the clock, the audit log, and how a desk lists its acts.

It does no act itself; each area of acts is a file in `desks`, and `service` puts them behind one table.

A desk lists what it answers as method name → `Act`: how it is done, the type of the request, the callers
admitted. An act that returns has its uses of keys and its audit entries on disk (`Room.durable`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from meterseal.security.audit import Audit
from meterseal.security.handshake import Handshakes
from meterseal.security.hierarchy import KeyTree
from meterseal.security.messages import AuditEntry
from meterseal.security.pki import Pki
from meterseal.security.registry import Registry
from meterseal.security.vault import Vault


class Act(NamedTuple):
    """One method of the service: how it is done (caller, request), its request type, who may ask for it."""

    run: Callable[[str, Any], Awaitable[Struct]]
    request: type[Struct]
    callers: frozenset[str]


Acts = dict[str, Act]


class Desk(Protocol):
    """An area of acts."""

    def acts(self) -> Acts:
        """What this desk answers."""


class Room:
    """Everything that the desks of one running service work with."""

    def __init__(
        self, keys: Vault, authorities: Vault, registry: Registry, audit: Audit, clock: Callable[[], int]
    ) -> None:
        self.keys = keys
        self.authorities = authorities
        self.registry = registry
        self.audit = audit
        self.clock = clock
        self.project_id = registry.setting("project")
        self.lab = registry.setting("lab") == b"\x01"
        self.tree = KeyTree(keys, self.project_id)
        self.pki = Pki(authorities, registry, self.project_id)
        self.handshakes = Handshakes(keys, self.tree, self.pki, registry)

    def note(
        self, caller: str, about: object, code: str, sentence: str, *, key: str = "", refused: bool = False
    ) -> None:
        """Put an entry into the audit log; ids are taken from the fields of `about` that carry them."""
        self.audit.write(
            AuditEntry(
                at=self.clock(),
                code=code,
                sentence=sentence,
                caller=caller,
                source=getattr(about, "source", "")[:100],
                device_id=getattr(about, "device_id", b"")[:8],
                module_id=getattr(about, "module_id", b"")[:8],
                session_id=getattr(about, "session_id", b"")[:8],
                key=key,
                refused=refused,
            )
        )

    async def durable(self) -> None:
        """Return once every use of a key and every entry so far is on disk."""
        await self.audit.durable()
        await self.keys.durable()
        await self.authorities.durable()

    def close(self) -> None:
        """Write what is pending and close every file."""
        for one in (self.audit, self.registry, self.authorities, self.keys):
            one.close()
