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

    `values` is msgpack of the registers concerned (sealed at rest), `run` names what found it.
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
        """What was found; not when or by which run."""
        return _encoder.encode([self.rule, self.version, self.detail]) + b"\0" + (self.values or b"")
