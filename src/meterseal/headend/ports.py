"""What the head-end needs from others, as small ports: the session store, the topology and the audit trail.

Their adapters are calls to the platform; the head-end itself keeps nothing that outlives it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from msgspec import Struct, field

from meterseal.model import Medium, Refusal


class StoredSession(Struct, frozen=True, kw_only=True):
    """A session as the control store holds it: traffic keys only wrapped by the security service.

    `consumed` and `rejected` (by class of REJECT) are ranges as `link.counters` writes them; a rejected counter is
    consumed too.
    """

    session_id: bytes
    device_id: bytes
    module_id: bytes
    suite: int
    wrapped: bytes
    policy: int
    records_allowed: int
    seconds_allowed: int
    created_at: int
    consumed: bytes = b""
    rejected: dict[int, bytes] = field(default_factory=dict)
    down_reserved: int = 0


class Reserved(Struct, frozen=True):
    """A block of down counters: its first one, and the epoch under which this head-end owns the session."""

    first: int
    epoch: int


class Enrolment(Struct, frozen=True, kw_only=True):
    """What the head-end may know of a device: is it enrolled, sealed or plain, and behind which concentrator."""

    device_id: bytes
    plain: bool
    medium: Medium | None
    concentrator_id: bytes = b""
    utc_offset: int = 480


class Sessions(Protocol):
    """Sessions outlive processes: stored before SESSION leaves, fetched by whoever meets the id."""

    async def put(self, session: StoredSession) -> None:
        """Store durably and mark the device's older sessions replaced."""

    async def get(self, session_id: bytes) -> StoredSession | None:
        """The session, or None when there is none or its backlog time is over."""

    async def latest(self, device_id: bytes) -> StoredSession | None:
        """The newest session of a device."""

    async def reserve_down(self, session_id: bytes, count: int, epoch: int = 0) -> Reserved:
        """Reserve `count` down counters, which nobody else will get.

        With `epoch` 0 the asker has just heard the device and becomes the session's owner. Any other epoch must still
        be the owner's: TrustError `link.owner` when another head-end has taken the session over since.
        """


class Topology(Protocol):
    """Which devices exist and behind whom."""

    async def enrolments(self, device_ids: Collection[bytes]) -> list[Enrolment]:
        """Those of the devices that somebody enrolled, as they stand now."""


class AuditTrail(Protocol):
    """Where refusals go."""

    async def refused(self, refusals: list[Refusal]) -> None:
        """Append to the hash-chained log."""
