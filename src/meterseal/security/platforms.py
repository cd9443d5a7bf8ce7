"""Which platforms may call the security service, for which purposes, in which project (HM 8.4.2, 8.5.1).

It authenticates nobody: the mesh takes a caller's name from its certificate, and this table says what that
name is enrolled for.

A platform is enrolled by an order of two officers over a request that its own SM2 key attested and whose TLS key is
proved too; its contact lies in the book of acts, sealed. On the mesh it is `platform:NAME`, so no name of its makes it
a process of ours, and a name that was withdrawn never comes back: certificates under it may still be good TLS. The
built-in processes (`platform`, `headend`) stand in the same table, put there by the founding act of a new system, and
are withdrawn like any other. `operator` is no platform: it is the account that runs the system, on the local socket.

A request belongs to the project that it names, to that of each module that it names, and to that of the order that it
carries. A module that nobody enrolled here is in no platform's project.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from msgspec import Struct, structs

from meterseal.crypto import sm2
from meterseal.errors import ConsentError, LocalError, TrustError
from meterseal.mesh.requests import point_of
from meterseal.mesh.tls import PLATFORM_NAME, PLATFORMS, PROCESSES
from meterseal.security.book import Book
from meterseal.security.orders import SignedCommand
from meterseal.security.platformorders import (
    EnrolPlatform,
    PlatformFacts,
    WithdrawPlatform,
    attested_bytes,
)
from meterseal.security.registry import Registry

OPERATOR = "operator"
PURPOSES = ("link", "modules", "storage", "commands", "trail", "operate")
"""Areas of acts: a desk names its own (`desk.Desk.purpose`)."""
ENROLLED = "enrolled"
"""What every platform that is enrolled may ask for, whatever its purposes."""
PARTNER_PURPOSES = ("commands", "link", "modules", "trail")
"""What somebody else's platform may be enrolled for."""
FOUNDING: dict[str, tuple[str, ...]] = {
    "platform": ("commands", "modules", "operate", "storage", "trail"),
    "headend": ("link", "modules", "operate", "trail"),
}
"""The built-in processes and what they are enrolled for when a system is new."""
NO_PLATFORMS = frozenset((OPERATOR, *PROCESSES)) - FOUNDING.keys()
"""Names that the mesh gives to others: whoever enrolled one of them would let that process in."""
_DOCUMENT = "platforms"
_LONGEST_CONTACT = 500
_LONGEST_REASON = 200
_WRITE_AFTER = 10_000
_BURST, _PER_SECOND = 500, 50
_DEEPEST = -1000
_REFUSAL_COSTS = 10
RATE = "security.platform-rate"
"""Code of the one refusal that is counted and not written each time: it is what a flood gets."""


class _Entry(Struct, frozen=True, kw_only=True):
    facts: PlatformFacts
    contact: str
    point: bytes
    tls_request: bytes = b""


class _Pace:
    """How many calls one platform may make: a burst, then so many a second. What costs more than one call is owed: with
    nothing left it is answered nothing until that was waited for.
    """

    __slots__ = ("_at", "_left")

    def __init__(self, now: int) -> None:
        self._left, self._at = float(_BURST), now

    def take(self, now: int) -> bool:
        self._left = min(float(_BURST), self._left + max(0, now - self._at) * _PER_SECOND / 1000)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def lose(self, calls: int) -> None:
        self._left = max(float(_DEEPEST), self._left - calls)


class _Table(Struct, frozen=True):
    entries: dict[str, _Entry] = {}


class Platforms:
    """The table of one service."""

    def __init__(self, book: Book, registry: Registry, project_id: bytes, clock: Callable[[], int]) -> None:
        self._book, self._registry, self._project_id, self._clock = book, registry, project_id, clock
        self._paces: dict[str, _Pace] = {}
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
        `security.platform-rate`, `security.platform-purpose`, `security.platform-project` when it is not to be
        answered.
        """
        if caller == OPERATOR:
            return
        partner = caller.startswith(PLATFORMS)
        now = self._clock()
        if partner and not self._paces.setdefault(caller, _Pace(now)).take(now):
            raise ConsentError(
                RATE, f"Platform {caller} makes more than {_PER_SECOND} calls a second; wait, then ask again."
            )
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
        if purpose != ENROLLED and purpose not in entry.facts.purposes:
            raise ConsentError(
                "security.platform-purpose",
                f"Platform {caller} is not enrolled for {purpose}; nothing was done.",
            )
        own = entry.facts.project_id
        if any(asked != own for asked in self._projects(request, partner=partner)):
            raise ConsentError(
                "security.platform-project",
                f"Platform {caller} asked outside the project that it is enrolled for; nothing was done.",
            )
        if partner:
            self.charge(caller, len(getattr(request, "requests", ())) - 1)
        self._calls[caller][purpose] += 1
        self._uncounted += 1
        if self._clock() - self._written_at > _WRITE_AFTER:
            self.settle()

    def refused(self, caller: str) -> None:
        """A call of this caller was refused: it has the fewer left, so that one platform does not fill the audit log."""
        self.charge(caller, _REFUSAL_COSTS)

    def charge(self, caller: str, calls: int) -> None:
        """An answered call of one of others' platforms costs as much as so many more: each item of a batch is a call."""
        if caller in self._paces and calls > 0:
            self._paces[caller].lose(calls)

    def _projects(self, request: object, *, partner: bool) -> Iterator[bytes]:
        """Every project that a request is about; for others' platforms an unknown module is in none (empty)."""
        named = getattr(request, "project_id", b"")
        if named:
            yield named
        device_id, module_id = getattr(request, "device_id", b""), getattr(request, "module_id", b"")
        if device_id or module_id:
            found = self._registry.module(module_id) if module_id else self._registry.of_device(device_id)
            if found is not None:
                yield found.project_id
            elif partner:
                yield b""
        for one in getattr(request, "requests", ()):
            yield from self._projects(one, partner=partner)
        if isinstance(request, SignedCommand):
            yield from self._projects(request.command, partner=partner)

    def enrol(self, request: EnrolPlatform, people: tuple[str, ...]) -> str:
        """Enrol a platform that two officers approved; what the mesh will call it.

        LocalError `security.platform` for its form or a name that is or was enrolled; TrustError
        `security.attestation`, `mesh.tls-request`.
        """
        ours = request.caller in FOUNDING
        caller = request.caller if ours else PLATFORMS + request.caller
        known = self._entries.get(caller)
        if known is not None and (not ours or known.facts.withdrawn_at is None):
            raise LocalError(
                "security.platform",
                f"Platform {request.caller} is enrolled already, or was withdrawn: a name never comes back.",
            )
        project = self._project_id
        allowed = FOUNDING[request.caller] if ours else PARTNER_PURPOSES
        sane = (
            (ours or PLATFORM_NAME.fullmatch(request.caller) is not None)
            and request.caller not in NO_PLATFORMS
            and (request.domain, request.business) == (project[8:10], project[10:12])
            and 0 < len(request.contact) <= _LONGEST_CONTACT
            and len(request.purposes) > 0
            and set(request.purposes) <= set(allowed)
        )
        if not sane:
            raise LocalError(
                "security.platform",
                "A platform has a name of 1 to 32 of a-z, 0-9 and -, the domain and business type of this project, a "
                f"contact, and purposes of {', '.join(allowed)}; nothing was enrolled.",
            )
        if not sm2.verify(request.point, attested_bytes(request), request.attestation):
            raise TrustError(
                "security.attestation",
                "The request was not attested by the platform's own key; nothing was enrolled.",
            )
        if not ours:
            point_of(request.tls_request, request.caller)
        facts = PlatformFacts(
            caller=caller,
            domain=request.domain,
            business=request.business,
            project_id=project,
            purposes=tuple(sorted(set(request.purposes))),
            enrolled_at=self._clock(),
            approved_by=people,
            withdrawn_at=None,
            calls={},
        )
        entry = _Entry(
            facts=facts, contact=request.contact, point=request.point, tls_request=request.tls_request
        )
        self._write({**self._entries, caller: entry})
        self._calls[caller] = Counter()
        return caller

    def withdraw(self, request: WithdrawPlatform) -> str:
        """Answer nothing to a platform any more, on connections that stand neither; its name on the mesh.

        LocalError `security.platform` when it is not enrolled, or without a reason.
        """
        caller = self.named(request.caller)
        entry = self._entries.get(caller)
        if entry is None or entry.facts.withdrawn_at is not None:
            raise LocalError("security.platform", f"Platform {request.caller[:64]} is not enrolled.")
        if not 0 < len(request.reason) <= _LONGEST_REASON:
            raise LocalError("security.platform", f"Give the reason in at most {_LONGEST_REASON} characters.")
        gone = structs.replace(entry, facts=structs.replace(entry.facts, withdrawn_at=self._clock()))
        self._write({**self._entries, caller: gone})
        return caller

    def named(self, name: str) -> str:
        """What the mesh calls the process or platform that people call so."""
        return name if name in self._entries else PLATFORMS + name

    def tls_request(self, name: str) -> bytes:
        """The request of an enrolled platform's TLS key; LocalError `security.platform` when there is none."""
        entry = self._entries.get(PLATFORMS + name)
        if entry is None or entry.facts.withdrawn_at is not None:
            raise LocalError(
                "security.platform", f"Platform {name[:64]} is not enrolled; two officers enrol it first."
            )
        return entry.tls_request

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
