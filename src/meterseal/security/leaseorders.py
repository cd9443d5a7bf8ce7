"""What is asked and answered about leases of down counters, for both ends of the call.

It leases nothing; `leasing` does.
"""

from __future__ import annotations

from msgspec import Struct


class LeaseRequest(Struct, frozen=True, kw_only=True):
    """Up to where the platform knows counters as leased or reserved, and how many more it wants."""

    known: int
    wanted: int


class Lease(Struct, frozen=True, kw_only=True):
    """Leases went up to `before`; the counters after it, up to `until`, are the asker's."""

    before: int
    until: int
