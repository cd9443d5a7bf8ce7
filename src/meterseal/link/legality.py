"""Station link, legality: which step of a handshake may follow which, as two tables (LINK section 3).

It decides order only; whether a message holds is decided in `device_run` and `platform_run` before they step
here. A message that does not hold moves nothing. The diagram in the documentation is drawn from these
tables.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from meterseal.errors import TrustError

Phase = Literal["new", "greeted", "answered", "open"]
Step = Literal[
    "hello",
    "retry",
    "platform",
    "same-platform",
    "session",
    "same-session",
    "same-hello",
    "device",
    "same-device",
]


class Move(NamedTuple):
    """Where a step leads, and what is done, in words for the diagram."""

    then: Phase
    act: str


DEVICE_MOVES: dict[tuple[Phase, Step], Move] = {
    ("new", "hello"): Move("greeted", "send HELLO"),
    ("greeted", "hello"): Move("greeted", "send the same HELLO"),
    ("greeted", "retry"): Move("greeted", "send the same HELLO with the cookie"),
    ("greeted", "platform"): Move("answered", "check the platform, send DEVICE"),
    ("answered", "same-platform"): Move("answered", "send the same DEVICE"),
    ("answered", "session"): Move("open", "take the session"),
    ("open", "same-session"): Move("open", "nothing new"),
}
"""What a device may do. `platform` and `session` are messages that held; anything else is refused."""

PLATFORM_MOVES: dict[tuple[Phase, Step], Move] = {
    ("new", "hello"): Move("greeted", "send PLATFORM"),
    ("greeted", "same-hello"): Move("greeted", "send the same PLATFORM"),
    ("greeted", "device"): Move("open", "issue the session, send SESSION"),
    ("open", "same-hello"): Move("open", "send the same PLATFORM"),
    ("open", "same-device"): Move("open", "send the same SESSION"),
}
"""What the platform may do in one run. Only a DEVICE that held decides; after it any other is refused."""


def diagram(moves: dict[tuple[Phase, Step], Move]) -> str:
    """The table as a Mermaid state diagram, as it stands in docs/link.md."""
    lines = ["stateDiagram-v2", "    [*] --> new"]
    lines += [f"    {phase} --> {row.then}: {step} / {row.act}" for (phase, step), row in moves.items()]
    return "\n".join(lines)


def move(moves: dict[tuple[Phase, Step], Move], phase: Phase, step: Step) -> Phase:
    """The next phase. Raises TrustError `link.order` for a step that has no row."""
    found = moves.get((phase, step))
    if found is None:
        raise out_of_order()
    return found.then


def out_of_order() -> TrustError:
    """The error of a message at the wrong time: repeated otherwise than before, reflected, mixed or late."""
    return TrustError("link.order", "The handshake message does not follow what went before; it is refused.")
