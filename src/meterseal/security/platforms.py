"""Which platforms may call the security service, for which purposes, in which project (HM 8.4.2, 8.5.1).

It authenticates nobody: the mesh takes a caller's name from its certificate, and this table says what that
name is enrolled for.

A platform is enrolled by an order of two officers over a request that its own SM2 key attested; its contact
lies in the book of acts, sealed. The built-in processes (`platform`, `headend`) stand in the same table, put
there by the founding act of a new system, and are withdrawn like any other. `operator` is no platform: it is
the account that runs the system, on the local socket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from msgspec import Struct, structs

from meterseal.crypto import sm2
from meterseal.errors import ConsentError, LocalError, TrustError
from meterseal.mesh.tls import PROCESSES
from meterseal.security.book import Book
from meterseal.security.platformorders import (
    EnrolPlatform,
    PlatformFacts,
    WithdrawPlatform,
    attested_bytes,
)

OPERATOR = "operator"
PURPOSES = ("link", "modules", "storage", "commands", "trail", "operate")
"""Areas of acts: a desk names its own (`desk.Desk.purpose`)."""
FOUNDING: dict[str, tuple[str, ...]] = {
    "platform": ("commands", "modules", "operate", "storage", "trail"),
    "headend": ("link", "modules", "operate", "trail"),
}
"""The built-in processes and what they are enrolled for when a system is new."""
NO_PLATFORMS = frozenset((OPERATOR, *PROCESSES)) - FOUNDING.keys()
"""Names that the mesh gives to others: whoever enrolled one of them would let that process in."""
_DOCUMENT = "platforms"
_LONGEST_CONTACT = 500
_WRITE_AFTER = 10_000


class _Entry(Struct, frozen=True, kw_only=True):
    facts: PlatformFacts
    contact: str
    point: bytes


class _Table(Struct, frozen=True):
    entries: dict[str, _Entry] = {}


class Platforms:
    """The table of one service."""

    def __init__(self, book: Book, project_id: bytes, clock: Callable[[], int]) -> None:
        self._book, self._project_id, self._clock = book, project_id, clock
        self._entries = dict(book.read(_DOCUMENT, _Table, _Table()).entries)
        self.founded = not self._entries
        if self.founded:
            self._found()
        self._calls: dict[str, Counter[str]] = {
            caller: Counter(entry.facts.calls) for caller, entry in self._entries.items()
        }
        self._uncounted, self._written_at = 0, clock()

    def _found(self) -> None:
        now = self._clock()
        for caller, purposes in FOUNDING.items():
            facts = PlatformFacts(
                caller=caller,
                domain=self._project_id[8:10],
                business=self._project_id[10:12],
                project_id=self._project_id,
                purposes=purposes,
                enrolled_at=now,
                approved_by=(),
                withdrawn_at=None,
                calls={},
            )
            self._entries[caller] = _Entry(facts=facts, contact="", point=b"")
        self._write(self._entries)

    def admit(self, caller: str, purpose: str, request: Struct) -> None:
        """Count a call; ConsentError `security.platform-unknown`, `security.platform-withdrawn`,
        `security.platform-purpose`, `security.platform-project` when it is not to be answered.
        """
        if caller == OPERATOR:
            return
        entry = self._entries.get(caller)
        if entry is None:
            raise ConsentError(
                "security.platform-unknown",
                f"Platform {caller} is not enrolled; two officers enrol it first.",
            )
        if entry.facts.withdrawn_at is not None:
            raise ConsentError(
                "security.platform-withdrawn", f"Platform {caller} was withdrawn; nothing is answered to it."
            )
        if purpose not in entry.facts.purposes:
            raise ConsentError(
                "security.platform-purpose",
                f"Platform {caller} is not enrolled for {purpose}; nothing was done.",
            )
        asked = getattr(request, "project_id", entry.facts.project_id)
        if asked != entry.facts.project_id:
            raise ConsentError(
                "security.platform-project",
                f"Platform {caller} asked outside the project that it is enrolled for; nothing was done.",
            )
        self._calls[caller][purpose] += 1
        self._uncounted += 1
        if self._clock() - self._written_at > _WRITE_AFTER:
            self.settle()

    def enrol(self, request: EnrolPlatform, people: tuple[str, ...]) -> None:
        """Enrol a platform that two officers approved.

        LocalError `security.platform` for its form or one that is enrolled; TrustError `security.attestation`.
        """
        known = self._entries.get(request.caller)
        if known is not None and known.facts.withdrawn_at is None:
            raise LocalError("security.platform", f"Platform {request.caller} is enrolled already.")
        project = self._project_id
        sane = (
            0 < len(request.caller) <= 64
            and request.caller not in NO_PLATFORMS
            and (request.domain, request.business) == (project[8:10], project[10:12])
            and 0 < len(request.contact) <= _LONGEST_CONTACT
            and len(request.purposes) > 0
            and set(request.purposes) <= set(PURPOSES)
        )
        if not sane:
            raise LocalError(
                "security.platform",
                "A platform has a caller name, the domain and business type of this project, a contact, and purposes of "
                f"{', '.join(PURPOSES)}; nothing was enrolled.",
            )
        if not sm2.verify(request.point, attested_bytes(request), request.attestation):
            raise TrustError(
                "security.attestation",
                "The request was not attested by the platform's own key; nothing was enrolled.",
            )
        facts = PlatformFacts(
            caller=request.caller,
            domain=request.domain,
            business=request.business,
            project_id=project,
            purposes=tuple(sorted(set(request.purposes))),
            enrolled_at=self._clock(),
            approved_by=people,
            withdrawn_at=None,
            calls={},
        )
        entry = _Entry(facts=facts, contact=request.contact, point=request.point)
        self._write({**self._entries, request.caller: entry})
        self._calls[request.caller] = Counter()

    def withdraw(self, request: WithdrawPlatform) -> None:
        """Answer nothing to a platform any more; LocalError `security.platform` when it is not enrolled."""
        entry = self._entries.get(request.caller)
        if entry is None or entry.facts.withdrawn_at is not None:
            raise LocalError("security.platform", f"Platform {request.caller[:64]} is not enrolled.")
        gone = structs.replace(entry, facts=structs.replace(entry.facts, withdrawn_at=self._clock()))
        self._write({**self._entries, request.caller: gone})

    def all(self) -> tuple[PlatformFacts, ...]:
        """Every platform, with its calls so far."""
        return tuple(self._counted(entry).facts for entry in self._entries.values())

    def settle(self) -> None:
        """Write the counts of calls down; done every ten seconds of use and at the end."""
        if self._uncounted:
            self._uncounted = 0
            self._write({caller: self._counted(entry) for caller, entry in self._entries.items()})
        self._written_at = self._clock()

    def _counted(self, entry: _Entry) -> _Entry:
        counts = dict(sorted(self._calls[entry.facts.caller].items()))
        return structs.replace(entry, facts=structs.replace(entry.facts, calls=counts))

    def _write(self, entries: dict[str, _Entry]) -> None:
        with self._book.transaction() as connection:
            self._book.write(connection, _DOCUMENT, _Table(entries))
        self._entries = dict(entries)
