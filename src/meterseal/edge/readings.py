"""Station edge, what a meter measures: the port to its counting mechanism and its stored load profile.

It counts nothing; a real mechanism or anything else that counts stands behind it.
"""

from __future__ import annotations

from typing import Protocol


class Readings(Protocol):
    """The registers of one meter, scaled integers; times are Unix ms."""

    @property
    def since(self) -> int:
        """Local midnight that begins the first stored day."""

    @property
    def until(self) -> int:
        """Local midnight that ends the last day stored so far."""

    def register(self, channel: int, at: int) -> int:
        """What the counting mechanism showed at an instant."""

    def stored(self, channel: int, end_at: int) -> int | None:
        """The reading the load profile holds for a full hour; None when it lost it."""
