"""A word to a device: what it says and by whose order, as it is queued, and what became of it.

No queue here (`words` is).
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from meterseal.headend.ports import Down, WordKind

State = Literal["waiting", "sent", "done", "refused", "expired", "unknown", "withdrawn"]
"""`refused`: the meter answered with an error. `unknown`: sent, and not answered while it might still have taken effect; an
answer that comes later settles it. `withdrawn`: it cannot be sent any more, such as after the module was replaced."""


class Word(Struct, frozen=True, kw_only=True):
    """A word as whoever queues it gives it.

    `order` and `signatures` are what officers signed for a guarded command, kept to have it authorised anew when the
    module's key moves meanwhile; `key_version` is that of the authorisation, `module_id` whose it is. A command of a
    bulk order (`bulk_id`) leaves both to it. `act` is what it does (`link.acts`), `officers` and `reason` who ordered it
    and why.
    """

    request_id: bytes
    device_id: bytes
    not_after: int
    down: Down
    order: bytes = b""
    signatures: tuple[tuple[str, bytes], ...] = ()
    key_version: int = 0
    module_id: bytes = b""
    act: str = ""
    officers: tuple[str, ...] = ()
    reason: str = ""
    bulk_id: int = 0


class Heard(Struct, frozen=True, kw_only=True):
    """A good answer to what was said to a device: both frames, and between which instants (Unix ms) the answer was made."""

    device_id: bytes
    said: bytes
    answer: bytes
    since: int
    at: int


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a word: what it does, who ordered it and why, the frame that was `said`, when it was sent last.

    `answer` is the meter's frame in clear, empty while there is none; both frames only of one word asked for by its id.
    """

    id: int
    device_id: bytes
    kind: WordKind
    state: State
    number: int | None
    created_at: int
    not_after: int
    attempts: int
    ended_at: int | None
    act: str = ""
    officers: tuple[str, ...] = ()
    reason: str = ""
    bulk_id: int = 0
    meter: bytes = b""
    """Whom it is about, where a concentrator passes it on to a meter without a module."""
    sent_at: int | None = None
    said: bytes = b""
    answer: bytes = b""
