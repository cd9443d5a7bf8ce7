"""What the keys doctor is shown and what it answers: structs, no behaviour.

No answer carries a key: keys are named by version and check value (LINK section 2), everything else by ids.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

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
