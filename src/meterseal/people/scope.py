"""Who may see what: nothing, unless a rule here says so (deny by default).

It opens no session (accounts) and fetches no data (queries); it turns a subject and a wish into what is
allowed.

What a subject may not see and what does not exist look the same: ConsentError `people.not-found`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from meterseal.errors import ConsentError
from meterseal.people.accounts import Subject

FOREVER = 1 << 62


class Grant(NamedTuple):
    """One agreement of a customer: the usage point, and the time for which its data are theirs."""

    agreement_id: str
    usage_point: str
    since: int
    until: int | None

    def runs_at(self, now: int) -> bool:
        """Whether the agreement runs at `now`."""
        return self.since <= now and (self.until is None or now < self.until)


def not_found() -> ConsentError:
    """The one answer for "not yours" and "not there"."""
    return ConsentError("people.not-found", "There is nothing here that you may see.")


def operator(subject: Subject) -> Subject:
    """The subject, if it may see the fleet."""
    if subject.role != "operator":
        raise not_found()
    return subject


def resident(subject: Subject) -> str:
    """The customer a resident speaks for."""
    if subject.role != "resident" or subject.customer_id is None:
        raise not_found()
    return subject.customer_id


def clip(grants: Iterable[Grant], usage_point: str, since: int, until: int) -> tuple[int, int]:
    """The part of since <= t < until in which a usage point's data are the subject's own.

    A former or later tenant of the same dwelling sees only their own time. Of several agreements for one
    usage point the newest that overlaps counts; one answer never spans two.
    """
    best: tuple[int, int] | None = None
    for grant in grants:
        if grant.usage_point != usage_point:
            continue
        begin, end = max(since, grant.since), min(until, FOREVER if grant.until is None else grant.until)
        if begin < end and (best is None or begin > best[0]):
            best = begin, end
    if best is None:
        raise not_found()
    return best


def own_agreement(grants: Iterable[Grant], agreement_id: str) -> Grant:
    """The grant that covers an agreement."""
    for grant in grants:
        if grant.agreement_id == agreement_id:
            return grant
    raise not_found()
