"""Officers: the people whose signatures move the security service, and the rule of two persons.

It acts on no request; it says who signed it, that they may, and that it was not used before.

Security argument: a person is an SM2 key, so one key under two ids would be one person twice and is
refused; an id that left never comes back, so the audit log stays unambiguous. The first officers are made
known once, by the operator on the local socket, while the register is empty; afterwards it changes by two
of its own. A change that would leave fewer than two people with the role `enrol` is refused, because then
nobody could mend it. Every signature shown must hold: one bad one refuses the whole order.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from meterseal.crypto import sm2
from meterseal.errors import LocalError, TrustError
from meterseal.security.book import Book
from meterseal.security.orders import (
    LONGEST_WAIT,
    OFFICER_ID,
    REQUEST_ID,
    ROLES,
    OfficerCard,
    OfficerChange,
    OfficerFacts,
    OfficerSignature,
    R,
    Role,
    SignedOrder,
    card_bytes,
    decoded,
    sign,
    signed_bytes,
)

__all__ = ["OfficerSignature", "Officers", "sign"]

_DOCUMENT = "officers"
_MOST = 100
_MOST_SIGNATURES = 8
_FEWEST = 2


RESTORED = "restored"


class Restored(Struct, frozen=True, kw_only=True):
    """When this service was brought back from a backup (Unix ms, 0: never), what command numbers begin above, and the
    random epoch that requests made since begin with.
    """

    at: int = 0
    first_number: int = 0
    epoch: bytes = b""


class _Register(Struct, frozen=True):
    officers: tuple[OfficerFacts, ...] = ()


class Officers:
    """The register of one system."""

    def __init__(self, book: Book, project_id: bytes) -> None:
        self._book = book
        self._project_id = project_id
        self._register = book.read(_DOCUMENT, _Register, _Register())
        self._restored = book.read(RESTORED, Restored, Restored())

    def all(self) -> tuple[OfficerFacts, ...]:
        """Everybody who is or was an officer, in order of joining."""
        return self._register.officers

    def present(self, role: Role) -> dict[str, bytes]:
        """Ids and public points of those who are officers now and have this role."""
        return {one.officer: one.point for one in self.all() if one.until is None and role in one.roles}

    @property
    def epoch(self) -> bytes:
        """What request ids begin with since the last restore; empty before any."""
        return self._restored.epoch

    def found(self, cards: Sequence[OfficerCard], now: int) -> None:
        """Write the first officers down; TrustError `security.founded` once there was any."""
        if self._register.officers:
            raise TrustError(
                "security.founded",
                "This system has officers already; a change needs the signatures of two with the role enrol.",
            )
        self._write(self._joined((), cards, now), spent=None)

    def change(self, change: OfficerChange, now: int) -> None:
        """Write who joins and who leaves, and use the request up in the same transaction."""
        here = {officer.officer for officer in self._register.officers if officer.until is None}
        strangers = sorted(set(change.remove) - here)
        if strangers:
            raise LocalError(
                "security.officer", f"{', '.join(strangers)}: no such officer; nothing was changed."
            )
        stayed = tuple(
            msgspec.structs.replace(officer, until=now) if officer.officer in change.remove else officer
            for officer in self._register.officers
        )
        self._write(self._joined(stayed, change.add, now), spent=change)

    def check(
        self,
        purpose: str,
        request: bytes,
        signatures: Sequence[OfficerSignature],
        role: Role,
        needed: int,
    ) -> tuple[str, ...]:
        """The officers who signed `request` for `purpose`, at least `needed` different ones, each with `role`.

        TrustError `security.officer` for somebody who is none (any more), `security.signature`,
        `security.role`, `security.two-persons`.
        """
        if len(signatures) > _MOST_SIGNATURES:
            raise TrustError("security.signature", f"At most {_MOST_SIGNATURES} signatures are looked at.")
        known = {officer.officer: officer for officer in self._register.officers if officer.until is None}
        signed = signed_bytes(purpose, request)
        for one in signatures:
            officer = known.get(one.officer)
            if officer is None:
                raise TrustError(
                    "security.officer",
                    f"{_shown(one.officer)} is no officer of this system, or not any more; nothing was done.",
                )
            if not sm2.verify(officer.point, signed, one.signature):
                raise TrustError(
                    "security.signature",
                    f"The signature of {one.officer} does not hold for this request and purpose; nothing was done.",
                )
            if role not in officer.roles:
                raise TrustError(
                    "security.role", f"{one.officer} does not have the role {role}; nothing was done."
                )
        people = tuple(sorted({one.officer for one in signatures}))
        if len(people) < needed:
            raise TrustError(
                "security.two-persons",
                f"This needs the signatures of {needed} different officers with the role {role}, not of "
                f"{len(people)}; nothing was done.",
            )
        return people

    def judge(
        self, order: SignedOrder, kind: type[R], role: Role, needed: int, now: int
    ) -> tuple[R, tuple[str, ...]]:
        """The request of an order and who signed it; it is not used up yet.

        Besides what `check` raises: LocalError `security.request`; TrustError `security.expired`,
        `security.replayed`, `security.project`.
        """
        request = decoded(order.request, kind)
        people = self.check(order.purpose, order.request, order.signatures, role, needed)
        if request.project_id != self._project_id:
            raise TrustError("security.project", "The request is for another project; nothing was done.")
        self.timely(request.request_id, request.not_after, now)
        return request, people

    def timely(self, request_id: bytes, not_after: int, now: int) -> None:
        """TrustError `security.expired`, `security.replayed`, `security.restored`; LocalError `security.request`."""
        if len(request_id) != REQUEST_ID or not_after > now + LONGEST_WAIT:
            raise LocalError(
                "security.request",
                f"A request has an id of {REQUEST_ID} bytes and ends within seven days; make it anew.",
            )
        if now > not_after or not_after <= self._book.floor:
            raise TrustError(
                "security.expired", "The request's time is over; make it anew and sign it again."
            )
        if not_after <= self._restored.at + LONGEST_WAIT and not self._made_since(request_id):
            raise TrustError(
                "security.restored",
                "This system was brought back from a backup and no longer knows which requests were used after it. Make "
                "the request anew while the system runs, so that its id names this restore.",
            )
        if self._book.is_spent(request_id):
            raise TrustError(
                "security.replayed", "The request was used before, and each is used once; nothing was done."
            )

    def _made_since(self, request_id: bytes) -> bool:
        """Whether a request was made since the last restore: nobody could name its random epoch before."""
        restored = self._restored
        return not restored.at or (restored.epoch != b"" and request_id.startswith(restored.epoch))

    def spend(self, request_id: bytes, not_after: int) -> None:
        """Use a request up, durably; before the act, so that a crash repeats nothing."""
        with self._book.transaction() as connection:
            self._book.spend(connection, request_id, not_after)

    def _joined(
        self, before: tuple[OfficerFacts, ...], cards: Sequence[OfficerCard], now: int
    ) -> tuple[OfficerFacts, ...]:
        after = list(before)
        for shown in cards:
            if (
                not OFFICER_ID.fullmatch(shown.officer)
                or not set(shown.roles) <= set(ROLES)
                or not shown.roles
            ):
                raise LocalError(
                    "security.officer",
                    f"{_shown(shown.officer)}: an officer has an id of 1 to 32 of a-z, 0-9 and -, and roles of "
                    f"{', '.join(ROLES)}; nothing was changed.",
                )
            if not sm2.verify(shown.point, card_bytes(shown), shown.proof):
                raise TrustError(
                    "security.signature", f"The card of {shown.officer} was not made with its key; refused."
                )
            if any(shown.officer == other.officer or shown.point == other.point for other in after):
                raise TrustError(
                    "security.officer",
                    f"The id or the key of {shown.officer} is or was an officer's already; a person joins once, with a "
                    "key of their own. Nothing was changed.",
                )
            roles = tuple(sorted(set(shown.roles)))
            after.append(
                OfficerFacts(officer=shown.officer, roles=roles, point=shown.point, since=now, until=None)
            )
        if sum("enrol" in officer.roles for officer in after if officer.until is None) < _FEWEST:
            raise LocalError(
                "security.two-persons",
                "Fewer than two officers would have the role enrol, and then nobody could change the officers again; "
                "nothing was changed.",
            )
        if len(after) > _MOST:
            raise LocalError("security.officer", f"The register holds at most {_MOST} officers.")
        return tuple(after)

    def _write(self, officers: tuple[OfficerFacts, ...], *, spent: OfficerChange | None) -> None:
        register = _Register(officers)
        with self._book.transaction() as connection:
            self._book.write(connection, _DOCUMENT, register)
            if spent is not None:
                self._book.spend(connection, spent.request_id, spent.not_after)
        self._register = register


def _shown(officer: str) -> str:
    return officer if OFFICER_ID.fullmatch(officer) else "The person named"
