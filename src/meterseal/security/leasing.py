"""How many down counters the platform may have reserved: kept where a restore of the platform's store takes nothing back.

It reserves none and knows no session; `things.sessions` does.

The platform asks for a lease before it reserves beyond the last one, and at each start. The answer says up to where
leases went before: a platform whose store knows of fewer reserved counters was put back to an older copy, or was cut
off, and skips the difference in every session, for any of them may have used all of it. Leases only rise; after a
restore of this service from a backup they begin so far above that every session of before is used up.
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.errors import LocalError
from meterseal.security.book import Book
from meterseal.security.leaseorders import Lease, LeaseRequest
from meterseal.security.officers import RESTORED, Restored

_DOCUMENT = "down-lease"
LARGEST = 1 << 20
AHEAD = 1 << 20
"""No session may send more records than this (`handshake.RECORDS_ALLOWED`)."""
JUMP = 1 << 32
"""How many counters a platform may know beyond what was leased here. It knows more than this service only when this one
was put back to an older copy; at a million words an hour this is half a year.
"""
_MOST = 1 << 62


class _Leased(Struct, frozen=True, kw_only=True):
    until: int = 0
    restored_at: int = 0


class Leasing:
    """The leases of one system."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._leased = book.read(_DOCUMENT, _Leased, _Leased())
        self._restored_at = book.read(RESTORED, Restored, Restored()).at

    @property
    def until(self) -> int:
        """Up to where counters were leased so far."""
        return self._leased.until

    def lease(self, asked: LeaseRequest) -> Lease:
        """The next counters, durably; LocalError `security.request` for impossible numbers, `security.lease-jump`."""
        if not 0 <= asked.known < _MOST or not 0 < asked.wanted <= LARGEST:
            raise LocalError(
                "security.request", f"A lease is of 1 to {LARGEST} counters; nothing was leased."
            )
        before = self._leased.until
        if self._restored_at != self._leased.restored_at:
            before += AHEAD  # what was leased after the backup is not known
        if asked.known > before + JUMP:
            raise LocalError(
                "security.lease-jump",
                f"The platform names {asked.known} counters as used and {before} were leased: no copy of these files is as "
                "old as that, so the platform's store is damaged or not this system's. Nothing was leased; restore the "
                "platform's store from its backup.",
            )
        before = max(before, asked.known)
        leased = _Leased(until=before + asked.wanted, restored_at=self._restored_at)
        with self._book.transaction() as connection:
            self._book.write(connection, _DOCUMENT, leased)
        self._leased = leased
        return Lease(before=before, until=leased.until)
