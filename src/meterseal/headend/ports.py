"""What the head-end needs from others, as small ports: sessions, topology, the words that wait, the audit trail.

Their adapters are calls to the platform; the head-end itself keeps nothing that outlives it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Protocol

from msgspec import Struct, field

from meterseal.link.profiles import OURS
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
    profile: str = OURS.name
    """Name of the security profile that its records are sealed by."""


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


WordKind = Literal["request", "guarded", "key", "cert", "rekey", "close", "firmware"]
"""request: a frame that reads. guarded: an authorised frame. The others are words of control (LINK section 4)."""


class Down(Struct, frozen=True, kw_only=True):
    """One word to be sealed and sent: a frame in clear (68 … 16) or the content of a word of control.

    `number`, `not_after` and `authorisation` are a guarded command's, made by the security service.
    """

    kind: WordKind
    content: bytes
    number: int = 0
    not_after: int = 0
    authorisation: bytes = b""


class Waiting(Struct, frozen=True):
    """Devices with words that came since `seen` was asked with; ask with the new `seen` next. `more` says that there are
    others right away."""

    seen: int
    devices: list[bytes]
    more: bool = False


class Taken(Struct, frozen=True):
    """Words to send now, and when to ask again for this device (Unix ms); 0 when it has none left."""

    words: list[Down]
    next_at: int = 0


class Answer(Struct, frozen=True):
    """One frame in clear that came up alone in a record, and may be the answer to a word."""

    device_id: bytes
    frame: bytes


class FirmwareSaid(Struct, frozen=True):
    """What a device said of its firmware, in which session and under which up counter."""

    device_id: bytes
    session_id: bytes
    counter: int
    content: bytes


class Words(Protocol):
    """What waits to be said to devices; kept by the platform, so that no restart loses a word."""

    async def wait(self, seen: int) -> Waiting:
        """Return as soon as words came after `seen`, and after a while without any."""

    async def take(self, device_id: bytes, session_id: bytes, epoch: int, *, anew: bool) -> Taken:
        """What is due for a device in its newest session, noted as sent before it is given out.

        `anew`: the device came over another line, so what went over the old one may be lost. TrustError `link.owner`
        when the session is replaced or belongs to another head-end by now.
        """

    async def answered(self, answers: list[Answer]) -> list[bool]:
        """Complete the words that these frames answer, durably; False for a frame that answers none."""

    async def firmware(self, said: list[FirmwareSaid]) -> None:
        """Take note of what devices said of their firmware; what there is to say to them is due at once."""


class Topology(Protocol):
    """Which devices exist and behind whom."""

    async def enrolments(self, device_ids: Collection[bytes]) -> list[Enrolment]:
        """Those of the devices that somebody enrolled, as they stand now."""


class AuditTrail(Protocol):
    """Where refusals go."""

    async def refused(self, refusals: list[Refusal]) -> None:
        """Append to the hash-chained log."""
