"""An alarm: which one each code of a refusal belongs to, and how often a code was seen, as it travels (HM 8.4.3).

No behaviour but that; `alarms` counts them.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Alarm = Literal[
    "integrity", "counter", "decryption", "identity", "policy", "content", "load", "tamper", "meter", "other"
]

UNKNOWN = "meter.unknown"
"""A meter that a concentrator found: an alarm of as many as are not enrolled now."""

KINDS: dict[str, Alarm] = {
    "control.row-changed": "integrity",
    "security.put-back": "integrity",
    "link.tag": "integrity",
    "link.fin": "integrity",
    "link.signature": "integrity",
    "link.hello-mac": "integrity",
    "link.replay": "counter",
    "link.counter": "counter",
    "link.counter-ranges": "counter",
    "link.order": "counter",
    "link.no-run": "counter",
    "link.time-out": "counter",
    "link.padding": "decryption",
    "link.module-copied": "identity",
    "link.withdrawn": "identity",
    "link.unknown-module": "identity",
    "link.identity": "identity",
    "link.project": "identity",
    "link.point": "identity",
    "link.chain": "identity",
    "link.envelope": "identity",
    "link.address": "identity",
    "link.session": "identity",
    "link.vouching": "identity",
    "link.key-version": "identity",
    "link.suite": "policy",
    "link.policy": "policy",
    "link.direction": "policy",
    "link.flags": "policy",
    "link.rate": "load",
    "meter.removed": "tamper",
    "meter.magnet": "tamper",
    "meter.fault": "meter",
    "meter.reverse": "meter",
    "meter.valve": "meter",
    "meter.battery": "meter",
    "meter.power": "meter",
    "meter.clock": "meter",
    "meter.too-many": "load",
    UNKNOWN: "meter",
}
"""Which alarm a code belongs to; codes of frames (`wire.*`) and of shapes are `content`."""


class Count(Struct, frozen=True, kw_only=True):
    """How often one code was seen, and when last (Unix ms). `held`: it lies in quarantine, under a good seal."""

    code: str
    alarm: Alarm
    held: bool
    count: int
    last_at: int


def alarm_of(code: str) -> Alarm:
    """The alarm that a code of a refusal belongs to."""
    known = KINDS.get(code)
    if known is not None:
        return known
    return "content" if code.startswith(("wire.", "link.length", "link.header", "mdms.")) else "other"
