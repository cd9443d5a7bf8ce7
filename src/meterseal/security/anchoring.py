"""The anchors of the platform's trails: how many rows each had and the hash of the last one, where the platform cannot
take it back.

It sees no row. An anchor is kept in the book of acts, sealed, and only rises: a shorter trail than the one that was
anchored, or another hash for the same length, is refused, and the refusal is in this service's own audit log. A platform
that was brought back from a backup has shorter trails for a good reason: two officers then let them begin again
(`trail-reset`).
"""

from __future__ import annotations

from meterseal.crypto.symmetric import equal
from meterseal.errors import LocalError, TrustError
from meterseal.security.anchororders import HASH, TRAILS, AnchorTrail, TrailAnchor, TrailReset
from meterseal.security.book import Book

_DOCUMENT = "trail-anchor"
_MOST = 1 << 48
_LONGEST = 200


class Anchoring:
    """The anchors of one system."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._newest = {trail: book.read(_document(trail), TrailAnchor, TrailAnchor()) for trail in TRAILS}

    def newest(self, trail: str) -> TrailAnchor:
        """The newest anchor of a trail. LocalError `security.request` when there is no such trail."""
        if trail not in self._newest:
            raise LocalError("security.request", "The platform has no such trail.")
        return self._newest[trail]

    def take(self, said: AnchorTrail, now: int) -> TrailAnchor:
        """The newest anchor after this one.

        LocalError `security.request`; TrustError `security.trail-shorter`, `security.trail-changed`.
        """
        known = self.newest(said.trail)
        if not 0 < said.rows < _MOST or len(said.head) != HASH:
            raise LocalError("security.request", f"An anchor is a count of rows and a hash of {HASH} bytes.")
        if said.rows < known.rows:
            raise TrustError(
                "security.trail-shorter",
                f"The platform's audit trail had {known.rows} rows and is said to have {said.rows}: its end was cut off, "
                "or an older copy was put back. Find out which; after a restore two officers order trail-reset.",
            )
        if said.rows == known.rows and not equal(said.head, known.head):
            raise TrustError(
                "security.trail-changed",
                f"Row {said.rows} of the platform's audit trail is another one than was anchored: it was written anew.",
            )
        if said.rows > known.rows:
            self._write({said.trail: TrailAnchor(rows=said.rows, head=said.head, at=now)})
        return self.newest(said.trail)

    def reset(self, order: TrailReset) -> dict[str, int]:
        """Forget all anchors; how many rows each trail had. LocalError `security.request` without a reason."""
        if not 0 < len(order.reason) <= _LONGEST:
            raise LocalError("security.request", f"Give the reason in at most {_LONGEST} characters.")
        before = {trail: anchor.rows for trail, anchor in self._newest.items()}
        self._write({trail: TrailAnchor() for trail in TRAILS})
        return before

    def _write(self, anchors: dict[str, TrailAnchor]) -> None:
        with self._book.transaction() as connection:
            for trail, anchor in anchors.items():
                self._book.write(connection, _document(trail), anchor)
        self._newest |= anchors


def _document(trail: str) -> str:
    return f"{_DOCUMENT}-{trail}" if trail else _DOCUMENT
