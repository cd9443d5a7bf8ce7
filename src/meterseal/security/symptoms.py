"""What the keys doctor is shown and what it answers: structs, and how a message is taken out of its wrappings.

No answer carries a key: keys are named by version and check value (LINK section 2), everything else by ids.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from meterseal.errors import MetersealError
from meterseal.link import messages, records
from meterseal.link.transport import unpack_envelope

CHAIN = ("address", "module", "key version", "region", "project", "certificate", "counter", "profile")
"""The links of the chain, in the order in which they are shown."""

Verdict = Literal["good", "wrong", "unchecked"]


class SessionShown(Struct, frozen=True, kw_only=True):
    """A stored session of the meter, or the one that a record names: keys wrapped, counters consumed so far."""

    session_id: bytes
    device_id: bytes
    module_id: bytes
    wrapped: bytes
    policy: int
    consumed: bytes = b""


class Symptom(Struct, frozen=True, kw_only=True):
    """A meter's device id, and what was refused: a message or frame as bytes, or nothing (the last refusals).

    `projects` are ids of other projects under whose keys the module may have been made.
    """

    meter: bytes
    message: bytes = b""
    sessions: tuple[SessionShown, ...] = ()
    projects: tuple[bytes, ...] = ()


class Finding(Struct, frozen=True, kw_only=True):
    """One link. `expected` and `found` are ids, versions and check values; empty where there is nothing to say."""

    link: str
    verdict: Verdict
    says: str
    expected: str = ""
    found: str = ""


class Refused(Struct, frozen=True, kw_only=True):
    """A refusal of this meter from the audit log."""

    at: int
    code: str
    sentence: str
    source: str


class Diagnosis(Struct, frozen=True, kw_only=True):
    """All links in their order, what was looked at, and one sentence on what to do.

    `kind` is HELLO, DEVICE, record, frame, refusals or unreadable.
    """

    meter: bytes
    kind: str
    findings: tuple[Finding, ...]
    conclusion: str
    refusals: tuple[Refused, ...] = ()

    @property
    def wrong(self) -> tuple[str, ...]:
        """The links that are wrong."""
        return tuple(one.link for one in self.findings if one.verdict == "wrong")


def unwrapped(shown: bytes) -> tuple[bytes, bytes]:
    """The message inside a stream's length and a concentrator's envelope, where there are any, and the device id of
    the envelope.
    """
    inner = shown
    if inner[2:4] in (b"MS", b"MR", b"MT") and int.from_bytes(inner[:2]) == len(inner) - 2:
        inner = inner[2:]
    if inner[:2] == b"MT":
        try:
            return unpack_envelope(inner)[::-1]
        except MetersealError:
            return inner, b""
    return inner, b""


def session_named(shown: bytes) -> bytes:
    """The session id that a record names; empty for anything else."""
    message, _ = unwrapped(shown)
    named = message[:3] == records.MAGIC and len(message) >= records.HEADER
    return message[4 : 4 + messages.ID] if named else b""
