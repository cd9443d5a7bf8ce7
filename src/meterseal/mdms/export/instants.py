"""Station MDMS, instants as text: ISO 8601 in local time, with its offset. It formats nothing else."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo


def local(milliseconds: int, zone: ZoneInfo) -> str:
    """An instant to the second, with the offset of the zone."""
    return datetime.fromtimestamp(milliseconds / 1000, zone).isoformat(timespec="seconds")
