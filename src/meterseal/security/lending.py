"""Sessions that other people's platforms opened: which modules still have one as their newest, with whom, until when.

It opens and ends none: `handshake` grants them a short life, and a module forgets one when it has a newer session.

A platform that is withdrawn begins no handshake any more, but keeps the keys that it was given. Nobody can take these
out of its hands, and no word of ours reaches a module whose newest session is not ours. What ends such a session is the
module itself, at the end that was granted or with its next handshake; this says which modules that is still to come for.
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.mesh.tls import PLATFORMS
from meterseal.security.messages import SessionReply
from meterseal.security.registry import Registry


class Lent(Struct, frozen=True, kw_only=True):
    """A module's newest session, which a platform opened, and its end (Unix ms)."""

    module_id: bytes
    device_id: bytes
    caller: str
    until: int


class Lending:
    """The sessions of one system that are lent, in its registry's file."""

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store
        self._lent: dict[bytes, Lent] = {
            module_id: Lent(module_id=module_id, device_id=device_id, caller=caller, until=until)
            for module_id, device_id, caller, until in self._store.rows(
                "SELECT CAST(module_id AS BLOB), CAST(device_id AS BLOB), caller, until FROM lent"
            )
        }

    def opened(self, reply: SessionReply, caller: str, now: int) -> None:
        """A module has a new session with this caller, durably noted before its keys leave; what ended is forgotten."""
        known = self._lent.get(reply.module_id)
        if not caller.startswith(PLATFORMS):
            if known is not None:
                with self._store.transaction() as connection:
                    connection.execute("DELETE FROM lent WHERE module_id = ?", (reply.module_id,))
                del self._lent[reply.module_id]
            return
        until = reply.created_at + 1000 * reply.seconds_allowed
        one = Lent(module_id=reply.module_id, device_id=reply.device_id, caller=caller, until=until)
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM lent WHERE until <= ?", (now,))
            connection.execute(
                "INSERT OR REPLACE INTO lent VALUES (?, ?, ?, ?)",
                (one.module_id, one.device_id, one.caller, one.until),
            )
        self._lent = {key: held for key, held in self._lent.items() if held.until > now}
        self._lent[one.module_id] = one

    def of(self, caller: str, now: int) -> list[Lent]:
        """Modules whose newest session is this caller's and has not ended, soonest end first."""
        held = (one for one in self._lent.values() if one.caller == caller and one.until > now)
        return sorted(held, key=lambda one: (one.until, one.module_id))
