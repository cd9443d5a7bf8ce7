"""What a restore must not let happen: that a module which was enrolled after the backup is enrolled anew by somebody else.

It enrols nobody; `personalise` asks before it does.

Whoever may enrol could otherwise show a point of their own for a module that the restored registry has never seen,
and be given its keys. So enrolment is held from a restore on, or from when the platform finds that the directory
was put back, until the operator accepts what is there now; so long other people's platforms are answered nothing. With
the acceptance the platform says which devices and modules it knows; those that the registry does not are reserved, for
good. Such a device or module is enrolled only as two officers ordered it, with the very point that they signed for.

A module that the platform says had been withdrawn never comes back: where the registry knows it, it is withdrawn again,
and where it does not, no release lets it in. A production that two officers signed is a release of each of its rows:
what they signed names device, module and point.

All of it lies in the book of acts, under its proof. That the platform's list is complete is believed.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from meterseal.errors import ConsentError, LocalError, TrustError
from meterseal.security.book import Book
from meterseal.security.registry import Registry
from meterseal.security.reserveorders import Pair, ReleaseModule, Reservations

HELD = "enrolment-held"
_GONE = "withdrawn-before"
_ID = 8
_POINT = 65
_LONGEST = 200
_MOST = 1000


class Held(Struct, frozen=True, kw_only=True):
    """Since when enrolment is held (Unix ms, 0: it is not) and why."""

    since: int = 0
    reason: str = ""


class _Gone(Struct, frozen=True):
    modules: frozenset[bytes] = frozenset()


class Reserved:
    """The reservations of one service."""

    def __init__(self, book: Book, registry: Registry) -> None:
        self._book, self._registry = book, registry
        self._held = book.read(HELD, Held, Held())
        self._gone = book.read(_GONE, _Gone, _Gone()).modules
        rows = book.store.rows("SELECT CAST(device_id AS BLOB), CAST(module_id AS BLOB) FROM reserved")
        self._devices: set[bytes] = {device_id for device_id, _ in rows}
        self._modules: set[bytes] = {module_id for _, module_id in rows if module_id}
        self._count = len(rows)

    def facts(self) -> Reservations:
        """How things stand."""
        held = self._held
        return Reservations(held=held.since > 0, since=held.since, reason=held.reason, reserved=self._count)

    def check(self, device_id: bytes, module_id: bytes, point: bytes, *, signed: bool = False) -> None:
        """TrustError `security.enrolment-held`, `security.withdrawn-before`, `security.reserved` unless this may be
        enrolled; `point` is empty where the service makes it itself, `signed` says that two officers signed for all three.
        """
        if self._held.since:
            raise TrustError(
                "security.enrolment-held",
                f"Nobody is enrolled now: {self._held.reason}. Once the operator has accepted what is there "
                "(meterseal keys head --accept), enrolment goes on.",
            )
        if module_id in self._gone:
            raise TrustError(
                "security.withdrawn-before",
                f"Module {module_id.hex()} was withdrawn before this service was brought back; it never comes into service "
                "again. Use a new module.",
            )
        if signed or (device_id not in self._devices and module_id not in self._modules):
            return
        released = self._book.store.rows(
            "SELECT 1 FROM released WHERE device_id = ? AND module_id = ? AND point = ?",
            device_id,
            module_id,
            point,
        )
        if not released:
            raise TrustError(
                "security.reserved",
                f"Device {device_id.hex()} or module {module_id.hex()} was enrolled before a restore and is not known any "
                "more. Two officers with the role enrol order release-module for it, or sign its production; a system "
                "without officers founds them first.",
            )

    def check_platforms(self) -> None:
        """ConsentError `security.platform-held` while other people's platforms are answered nothing: one that was withdrawn
        after the backup is enrolled in it, and officers must have the time to withdraw it again.
        """
        if self._held.since:
            raise ConsentError(
                "security.platform-held",
                f"Nothing is answered to platforms now: {self._held.reason}. Once the operator accepts what is there, "
                "calls go on.",
            )

    def hold(self, reason: str, now: int) -> bool:
        """Enrol nobody until `accept`, durably; whether that is new. LocalError `security.request` without a reason."""
        if not 0 < len(reason) <= _LONGEST:
            raise LocalError("security.request", f"Give the reason in at most {_LONGEST} characters.")
        if self._held.since:
            return False
        self._put(Held(since=max(1, now), reason=reason))
        return True

    def reserve(self, pairs: Iterable[Pair]) -> int:
        """Reserve what the registry does not know, durably; how many are new. LocalError `security.request`."""
        asked = _pairs(pairs)
        new = [one for one in asked if self._is_unknown(one)]
        if new:
            with self._book.transaction() as connection:
                for one in new:
                    added = connection.execute(
                        "INSERT OR IGNORE INTO reserved VALUES (?, ?)", (one.device_id, one.module_id)
                    )
                    self._count += added.rowcount
            self._devices.update(one.device_id for one in new)
            self._modules.update(one.module_id for one in new if one.module_id)
        return len(new)

    def end(self, pairs: Iterable[Pair]) -> None:
        """Let no module in that had been withdrawn and that the registry does not know, durably; LocalError
        `security.request`.
        """
        unknown = [one for one in _pairs(pairs) if one.module_id and self._is_unknown(one)]
        gone = self._gone | {one.module_id for one in unknown}
        if gone != self._gone:
            self.reserve(unknown)
            with self._book.transaction() as connection:
                self._book.write(connection, _GONE, _Gone(gone))
            self._gone = gone

    def _is_unknown(self, one: Pair) -> bool:
        if one.module_id:
            known = self._registry.module(one.module_id)
            return known is None or known.device_id != one.device_id
        return self._registry.of_address(one.device_id[1:]) is None

    def accept(self) -> None:
        """Let enrolment go on, durably."""
        if self._held.since:
            self._put(Held())

    def release(self, order: ReleaseModule) -> None:
        """Let one module with one point be enrolled for one device; LocalError `security.request` for its form."""
        if (len(order.device_id), len(order.module_id), len(order.point)) != (
            _ID,
            _ID,
            _POINT,
        ) or not 0 < len(order.reason) <= _LONGEST:
            raise LocalError(
                "security.request",
                f"A release names a device, a module, its public point and, in at most {_LONGEST} characters, the reason.",
            )
        with self._book.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO released VALUES (?, ?, ?)",
                (order.device_id, order.module_id, order.point),
            )

    def _put(self, held: Held) -> None:
        with self._book.transaction() as connection:
            self._book.write(connection, HELD, held)
        self._held = held


def _pairs(pairs: Iterable[Pair]) -> list[Pair]:
    asked = list(pairs)
    if len(asked) > _MOST or any(
        len(one.device_id) != _ID or len(one.module_id) not in (0, _ID) for one in asked
    ):
        raise LocalError("security.request", f"At most {_MOST} pairs of ids of {_ID} bytes are told at once.")
    return asked
