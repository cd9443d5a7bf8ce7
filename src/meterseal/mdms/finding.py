"""Station MDMS, a finding: what a rule or ingest noticed, as it travels inside this station.

No behaviour, and no memory of what was found before; `findings` keeps them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

Severity = Literal["info", "warning", "error"]
_encoder = msgspec.json.Encoder(order="deterministic")


class Finding(Struct, frozen=True, kw_only=True):
    """One thing noticed about since <= t < `until` of a channel, by a version of a rule.

    `values` is msgpack of the registers concerned (sealed at rest), and where a rule found it, of the `facts` that led
    to it, numbers by name in the channel's unit; `run` names what found it.
    """

    usage_point: str
    channel: int
    since: int
    until: int
    rule: str
    version: int
    severity: Severity
    detail: dict[str, Any]
    values: bytes | None = None
    run: str

    @property
    def content(self) -> bytes:
        """What was found; not when or by which run, and not what its history was: that changes as late data come."""
        values = self.values or b""
        if b"\xa5facts" in values and isinstance(opened := msgspec.msgpack.decode(values), dict):
            opened.pop("facts", None)
            values = msgspec.msgpack.encode(opened)
        return _encoder.encode([self.rule, self.version, self.detail]) + b"\0" + values

    @property
    def facts(self) -> dict[str, float]:
        """The numbers that led to it, none where no rule found it."""
        opened = msgspec.msgpack.decode(self.values) if self.values else None
        return dict(opened.get("facts", {})) if isinstance(opened, dict) else {}
