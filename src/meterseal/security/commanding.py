"""Guarded commands at the security service: who ordered, how many, under which number; then the authorisation.

It delivers nothing and knows no queue; the platform does, and the module has the last word.

Security argument: nothing that a platform says is believed. The officers' signatures are over the whole
frame, its device, its project and its end; the frame must be that device's own and must not be a read. What the limits
count by is the zone that this service recorded for the module; an officer who names another one is refused, so nobody
gets round a zone's limit by a zone of their own. Number, limits and
the used-up request are one transaction on disk before the authorisation is computed, so a crash skips a
number and never gives one twice. The very same order shown again gets the very same number, so a lost answer
costs no second signature and no second act: the module repeats its stored answer for a number it has.
"""

from __future__ import annotations

from collections.abc import Sequence

from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import LocalError, PeerError, TrustError
from meterseal.link import commands
from meterseal.security.book import Book
from meterseal.security.hierarchy import KeyTree
from meterseal.security.officers import RESTORED, Officers, Restored
from meterseal.security.orders import (
    Authorised,
    CommandOrder,
    CommandPolicy,
    CommandPolicyChange,
    OfficerSignature,
    ZoneChange,
    check_zone,
    decoded,
)
from meterseal.security.registry import Module, Registry
from meterseal.security.vault import Vault
from meterseal.wire.frame import address_of, parse_frame

PURPOSE = "command"
_POLICY = "command-policy"
_MINUTE = 60_000
_KEPT_MINUTES = 24 * 60
_LONGEST = 200
_MOST_DEVICES = 5000
_EVERYWHERE = ""
"""The zone under which all commands of a minute are counted together; no order can name it."""


class Commanding:
    """Authorises guarded commands of one project."""

    def __init__(
        self,
        keys: Vault,
        tree: KeyTree,
        registry: Registry,
        book: Book,
        officers: Officers,
        project_id: bytes,
    ) -> None:
        self._project_id = project_id
        self._keys, self._tree, self._registry = keys, tree, registry
        self._book, self._officers = book, officers
        self.policy = book.read(_POLICY, CommandPolicy, CommandPolicy())
        self._first = book.read(RESTORED, Restored, Restored()).first_number

    def authorise(
        self, raw: bytes, signatures: Sequence[OfficerSignature], now: int
    ) -> tuple[Authorised, CommandOrder, tuple[str, ...], bool]:
        """The authorised command, the order, who signed it, and whether it is new (not asked for again).

        LocalError `security.request`, `security.command`; PeerError `wire.*`; TrustError of `Officers.check`
        and `Officers.timely`, `security.project`, `security.not-enrolled`, `security.zone`, `security.command-limit`,
        `security.limit`.
        """
        order = decoded(raw, CommandOrder)
        people = self._officers.check(PURPOSE, raw, signatures, "command", self.policy.signatures)
        if order.project_id != self._project_id:
            raise TrustError(
                "security.project", "The command is for another project, or for none; nothing was authorised."
            )
        module = self._registry.of_device(order.device_id)
        if module is None:
            raise TrustError(
                "security.not-enrolled", f"Device {order.device_id.hex()} has no module in service."
            )
        self._check_frame(order)
        number = self._earlier(order, raw, module, now)
        fresh = number is None
        self._keys.check_limit("DIAK", module.key_version)
        if number is None:
            _check_zone(order, module)
            self._officers.timely(order.request_id, order.not_after, now)
            number = self._count(order, raw, module, now)
        self._keys.use("DIAK", module.key_version)
        key = self._tree.purpose(module.device_id, module.module_id, module.key_version, "CMND0001")
        authorised = Authorised(
            device_id=module.device_id,
            module_id=module.module_id,
            number=number,
            not_after=order.not_after,
            authorisation=commands.authorise(key, module.device_id, number, order.not_after, order.frame),
            frame=order.frame,
        )
        return authorised, order, people, fresh

    def set_policy(self, change: CommandPolicyChange) -> None:
        """Other limits from now on; LocalError `security.request` for impossible ones."""
        sane = 1 <= change.signatures <= 2 and 0 <= change.per_zone_minute <= change.per_minute <= 1_000_000
        if not sane:
            raise LocalError(
                "security.request",
                "One or two officers sign a command, and a zone has at most as many a minute as all zones together.",
            )
        policy = CommandPolicy(
            signatures=change.signatures,
            per_zone_minute=change.per_zone_minute,
            per_minute=change.per_minute,
        )
        with self._book.transaction() as connection:
            self._book.write(connection, _POLICY, policy)
        self.policy = policy

    def set_zone(self, change: ZoneChange) -> None:
        """Record the zone of devices; LocalError `security.zone`, TrustError `security.not-enrolled`, nothing changed."""
        check_zone(change.zone)
        once = set(change.device_ids)
        if (
            not 0 < len(once) == len(change.device_ids) <= _MOST_DEVICES
            or not 0 < len(change.reason) <= _LONGEST
        ):
            raise LocalError(
                "security.zone",
                f"A zone is given to 1 to {_MOST_DEVICES} devices, each named once, for a reason of at most {_LONGEST} "
                "characters; nothing was changed.",
            )
        found = [self._registry.of_device(device_id) for device_id in change.device_ids]
        modules = [one for one in found if one is not None]
        if len(modules) < len(found):
            missing = change.device_ids[found.index(None)]
            raise TrustError(
                "security.not-enrolled",
                f"Device {missing[:8].hex()} has no module in service; no zone was changed.",
            )
        self._registry.set_zone(modules, change.zone)

    def _check_frame(self, order: CommandOrder) -> None:
        if not 0 < len(order.zone) <= _LONGEST or not 0 < len(order.reason) <= _LONGEST:
            raise LocalError(
                "security.command", f"A command names its zone and its reason, at most {_LONGEST} characters."
            )
        try:
            protocol = address_of(order.device_id)[0]
            frame, end = parse_frame(order.frame, 0, protocol)
        except PeerError as error:
            raise LocalError(
                "security.command", f"The command is no complete frame: {error.message}"
            ) from None
        if end != len(order.frame) or frame.device_id != order.device_id:
            raise LocalError(
                "security.command", "A command is exactly one frame with its own device's address; refused."
            )
        if commands.is_read(frame):
            raise LocalError("security.command", "This frame only reads; send it as a request, unguarded.")

    def _earlier(self, order: CommandOrder, raw: bytes, module: Module, now: int) -> int | None:
        """The number that this very order got before, while it lasts."""
        rows = self._book.store.rows(
            "SELECT CAST(digest AS BLOB), CAST(module_id AS BLOB), number FROM authorised WHERE request_id = ?",
            order.request_id,
        )
        if not rows or now > order.not_after:
            return None
        digest, module_id, number = rows[0]
        # Another order under a used id, or the order for a module that was replaced: `timely` calls it used.
        return int(number) if equal(digest, sm3(raw)) and module_id == module.module_id else None

    def _count(self, order: CommandOrder, raw: bytes, module: Module, now: int) -> int:
        minute = now // _MINUTE
        with self._book.transaction() as connection:
            for zone, limit in (
                (_EVERYWHERE, self.policy.per_minute),
                (order.zone, self.policy.per_zone_minute),
            ):
                row = connection.execute(
                    "SELECT count FROM granted WHERE zone = ? AND minute = ?", (zone, minute)
                ).fetchone()
                count = 1 + (row[0] if row else 0)
                if count > limit:
                    raise TrustError(
                        "security.command-limit",
                        f"{'The system' if zone == _EVERYWHERE else 'The zone'} has had its {limit} commands of this "
                        "minute; send it again in a minute, or let two officers raise the limit.",
                    )
                connection.execute("INSERT OR REPLACE INTO granted VALUES (?, ?, ?)", (zone, minute, count))
            connection.execute("DELETE FROM granted WHERE minute < ?", (minute - _KEPT_MINUTES,))
            connection.execute("DELETE FROM authorised WHERE not_after < ?", (now,))
            row = connection.execute(
                "SELECT number FROM command WHERE module_id = ?", (module.module_id,)
            ).fetchone()
            number = 1 + (row[0] if row else self._first)
            connection.execute("INSERT OR REPLACE INTO command VALUES (?, ?)", (module.module_id, number))
            connection.execute(
                "INSERT INTO authorised VALUES (?, ?, ?, ?, ?)",
                (order.request_id, sm3(raw), module.module_id, number, order.not_after),
            )
            self._book.spend(connection, order.request_id, order.not_after)
        return number


def _check_zone(order: CommandOrder, module: Module) -> None:
    if order.zone != module.zone:
        raise TrustError(
            "security.zone",
            f"The order names another zone than device {order.device_id.hex()} is recorded in; make it anew with the "
            "recorded one (the command line fills it in). Nothing was authorised.",
        )
