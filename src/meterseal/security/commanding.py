"""Guarded commands at the security service: who ordered, what for, how many, under which number; then the authorisation.

It delivers nothing and knows no queue; the platform does, and the module has the last word.

Security argument: nothing that a platform says is believed. The officers' signatures are over the whole
frame, its device, its project and its end, or over a list of devices with what each is told; the frame must be that
device's own and must not be a read. What it would do is read from its bytes (`link.acts`): valves, relays, load control
and whatever no row names want two different officers, whatever the policy says. What the limits
count by is the zone that this service recorded for the module; an officer who names another one is refused, so nobody
gets round a zone's limit by a zone of their own. What is said to a concentrator about a meter is held against the modules
in service: none is read as plain, or told anything by a concentrator, that has one. Number, limits and
the used-up request are one transaction on disk before the authorisation is computed, so a crash skips a
number and never gives one twice. The very same order shown again gets the very same number, so a lost answer
costs no second signature and no second act: the module repeats its stored answer for a number it has. A bulk order is used
up device by device, under an id made of its own and the device's.
"""

from __future__ import annotations

from collections.abc import Sequence

from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import LocalError, MetersealError, PeerError, TrustError
from meterseal.link import commands
from meterseal.link.acts import BY_NAME, Act, Command, protection
from meterseal.link.identities import is_concentrator
from meterseal.model import medium_of
from meterseal.security.book import Book
from meterseal.security.granting import Granting
from meterseal.security.hierarchy import KeyTree
from meterseal.security.officers import RESTORED, Officers, Restored
from meterseal.security.orders import (
    Authorised,
    BulkGrant,
    BulkGranted,
    BulkOrder,
    BulkPart,
    CommandOrder,
    OfficerSignature,
    ZoneChange,
    check_zone,
    decoded,
)
from meterseal.security.registry import Module, Registry
from meterseal.security.vault import Vault
from meterseal.wire.frame import Frame, address_of, is_one, parse_frame
from meterseal.wire.roster import is_roster, listed_of

PURPOSE = "command"
BULK = "command-bulk"
AT_ONCE = 25
"""Devices of a bulk order that one call authorises: each is a commit, and handshakes wait meanwhile."""
_LONGEST = 200
_MOST_DEVICES = 5000


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
        self.granting = Granting(book)
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
        people = self._signed(PURPOSE, raw, signatures)
        self._check_project(order.project_id)
        module = self._module(order.device_id)
        row = _check_frame(order)
        self._check_meter(order)
        _check_people(people, row)
        given, fresh = self._authorise(order, raw, order.request_id, module, row, now)
        return given, order, people, fresh

    def bulk(
        self, raw: bytes, signatures: Sequence[OfficerSignature], device_ids: Sequence[bytes], now: int
    ) -> tuple[BulkGranted, BulkOrder, tuple[bytes, ...]]:
        """Authorisations for some devices of a bulk order, each by itself; the order; the devices that are new.

        What refuses one device stands in its grant. LocalError `security.request`, `security.command`; TrustError of
        `Officers.check` and `Officers.timely`, `security.project` for the whole order.
        """
        order = decoded(raw, BulkOrder)
        people = self._signed(BULK, raw, signatures)
        self._check_project(order.project_id)
        row = self._check_bulk(order)
        _check_people(people, row)
        self._officers.timely(order.request_id, order.not_after, now)
        if len(device_ids) > AT_ONCE:
            raise LocalError(
                "security.command", f"At most {AT_ONCE} devices of a bulk order are looked at at once."
            )
        parts = {device_id: part for part in order.parts for device_id in part.device_ids}
        digest, grants, new = sm3(raw), list[BulkGrant](), list[bytes]()
        for device_id in device_ids:
            try:
                given, fresh = self._one(order, digest, parts.get(device_id), device_id, row, now)
            except MetersealError as error:
                grants.append(BulkGrant(device_id=device_id, code=error.code, sentence=error.message))
                continue
            grants.append(BulkGrant(device_id=device_id, authorised=given))
            if fresh:
                new.append(device_id)
        return BulkGranted(grants=tuple(grants), officers=people), order, tuple(new)

    def zones(self, device_ids: Sequence[bytes]) -> tuple[str, ...]:
        """The recorded zones of devices, empty for those without a module in service."""
        if len(device_ids) > _MOST_DEVICES:
            raise LocalError("security.zone", f"At most {_MOST_DEVICES} zones are told at once.")
        found = (self._registry.of_device(device_id) for device_id in device_ids)
        return tuple("" if module is None else module.zone for module in found)

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

    # --- what every order has to stand up to --------------------------------------------------------------

    def _signed(self, purpose: str, raw: bytes, signatures: Sequence[OfficerSignature]) -> tuple[str, ...]:
        return self._officers.check(purpose, raw, signatures, "command", self.granting.policy.signatures)

    def _check_project(self, project_id: bytes) -> None:
        if project_id != self._project_id:
            raise TrustError(
                "security.project", "The command is for another project, or for none; nothing was authorised."
            )

    def _module(self, device_id: bytes) -> Module:
        module = self._registry.of_device(device_id)
        if module is None:
            raise TrustError(
                "security.not-enrolled", f"Device {device_id[:8].hex()} has no module in service."
            )
        return module

    def _check_meter(self, order: CommandOrder) -> None:
        """What a concentrator is to pass on, or to read as plain, is a meter without a module: one with a module has its
        own say. What it is to carry for has one; whom it is to leave alone is everybody's guess.
        """
        frame, _ = parse_frame(order.frame)
        if frame.device_id == order.device_id:
            return
        what = listed.what if (listed := listed_of(frame)) is not None else None
        if is_roster(frame) and what is None:
            raise LocalError(
                "security.command",
                "What this would say about whom a concentrator reads no concentrator knows; refused.",
            )
        sealed = self._registry.of_device(frame.device_id) is not None
        if what == "add-sealed" and not sealed:
            raise TrustError(
                "security.not-enrolled",
                f"Meter {frame.device_id.hex()} has no module in service that a concentrator could carry for; nothing was "
                "authorised.",
            )
        if sealed and what in (None, "add"):
            raise TrustError(
                "security.not-plain",
                f"Meter {frame.device_id.hex()} has a module of its own, so no concentrator reads it as plain or is told "
                "anything for it; nothing was authorised.",
            )

    def _check_bulk(self, order: BulkOrder) -> Command:
        """The row that all frames of the order stand under; TrustError and LocalError for an order that names none."""
        row = BY_NAME.get(order.act)
        devices = [device_id for part in order.parts for device_id in part.device_ids]
        if not 0 < len(order.reason) <= _LONGEST or not 0 < len(devices) == len(set(devices)):
            raise LocalError(
                "security.command",
                f"A bulk order names its reason, at most {_LONGEST} characters, and its devices, each once.",
            )
        most = (
            0 if row is None else min(row.bulk, self.granting.policy.supply_bulk if row.supply else row.bulk)
        )
        if row is None or not row.officers or len(devices) > most:
            raise LocalError(
                "security.bulk",
                f"A bulk order to `{order.act[:40]}` names at most {most} devices, not {len(devices)}; nothing was "
                "authorised.",
            )
        return row

    def _one(
        self, order: BulkOrder, digest: bytes, part: BulkPart | None, device_id: bytes, row: Command, now: int
    ) -> tuple[Authorised, bool]:
        if part is None:
            raise LocalError("security.command", "The order does not name this device.")
        module = self._module(device_id)
        single = CommandOrder(
            request_id=item_id(order.request_id, device_id),
            device_id=device_id,
            zone=part.zone,
            frame=part_frame(part, device_id).encode(),
            not_after=order.not_after,
            reason=order.reason,
            project_id=order.project_id,
        )
        _check_frame(single, row.act)
        return self._authorise(single, digest + device_id, order.request_id, module, row, now)

    # --- the authorisation --------------------------------------------------------------------------------

    def _authorise(
        self, order: CommandOrder, raw: bytes, signed_id: bytes, module: Module, row: Command, now: int
    ) -> tuple[Authorised, bool]:
        number = self._earlier(order, raw, module, now)
        fresh = number is None
        self._keys.check_limit("DIAK", module.key_version)
        if number is None:
            _check_zone(order, module)
            self._officers.timely(signed_id, order.not_after, now)
            if signed_id != order.request_id and self._book.is_spent(order.request_id):
                raise TrustError(
                    "security.replayed", "The order was used for this device before; nothing was done."
                )
            number = self._count(order, raw, module, row, now)
        self._keys.use("DIAK", module.key_version)
        key = self._tree.purpose(module.device_id, module.module_id, module.key_version, "CMND0001")
        authorised = Authorised(
            device_id=module.device_id,
            module_id=module.module_id,
            number=number,
            not_after=order.not_after,
            authorisation=commands.authorise(key, module.device_id, number, order.not_after, order.frame),
            frame=order.frame,
            key_version=module.key_version,
        )
        return authorised, fresh

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

    def _count(self, order: CommandOrder, raw: bytes, module: Module, row: Command, now: int) -> int:
        with self._book.transaction() as connection:
            self.granting.count(connection, order.zone, now, supply=row.supply)
            connection.execute("DELETE FROM authorised WHERE not_after < ?", (now,))
            found = connection.execute(
                "SELECT number FROM command WHERE module_id = ?", (module.module_id,)
            ).fetchone()
            number = 1 + (found[0] if found else self._first)
            connection.execute("INSERT OR REPLACE INTO command VALUES (?, ?)", (module.module_id, number))
            connection.execute(
                "INSERT INTO authorised VALUES (?, ?, ?, ?, ?)",
                (order.request_id, sm3(raw), module.module_id, number, order.not_after),
            )
            self._book.spend(connection, order.request_id, order.not_after)
        return number


def item_id(request_id: bytes, device_id: bytes) -> bytes:
    """The id under which one device of a bulk order is used up, and by which its word is known."""
    return sm3(b"ms1 bulk" + request_id + device_id)[: len(request_id)]


def part_frame(part: BulkPart, device_id: bytes) -> Frame:
    """What a bulk order says to one of its devices; PeerError `wire.*` for no device id, LocalError `security.command`."""
    protocol, meter_type, address = address_of(device_id)
    if not 0 <= part.control <= 0xFF or len(part.data) > 0xFF:
        raise LocalError("security.command", "What the order would say is no frame.")
    return Frame(protocol, meter_type, address, part.control, part.data)


def _check_frame(order: CommandOrder, act: Act | None = None) -> Command:
    """The row that the frame of an order stands under, which is `act` where one is named."""
    if not 0 < len(order.zone) <= _LONGEST or not 0 < len(order.reason) <= _LONGEST:
        raise LocalError(
            "security.command", f"A command names its zone and its reason, at most {_LONGEST} characters."
        )
    passed_on = is_concentrator(order.device_id)
    try:
        frame, end = parse_frame(order.frame, 0, None if passed_on else address_of(order.device_id)[0])
        one = is_one(frame.device_id)
    except (PeerError, LocalError) as error:
        raise LocalError("security.command", f"The command is no complete frame: {error.message}") from None
    if end != len(order.frame) or (frame.device_id != order.device_id and not passed_on):
        raise LocalError(
            "security.command", "A command is exactly one frame with its own device's address; refused."
        )
    if not one:
        raise LocalError(
            "security.command", "A command is for one meter, and this address is that of many; refused."
        )
    if is_roster(frame) and not passed_on:
        raise LocalError("security.command", "Whom it reads is told to a concentrator alone; refused.")
    if commands.is_read(frame):
        raise LocalError("security.command", "This frame only reads; send it as a request, unguarded.")
    # What is enrolled here as gas by its number is; what the platform knows besides changes no protection.
    row = protection(frame, medium_of(frame.device_id) or "water")
    if act is not None and act not in (row.act, protection(frame, "gas").act):
        raise LocalError(
            "security.command", f"The frame would do `{row.act}` to this device and not `{act}`; refused."
        )
    return row


def _check_people(people: tuple[str, ...], row: Command) -> None:
    if len(people) < row.officers:
        raise TrustError(
            "security.two-persons",
            f"To {row.english} needs the signatures of {row.officers} different officers with the role command, not of "
            f"{len(people)}; nothing was done.",
        )


def _check_zone(order: CommandOrder, module: Module) -> None:
    if order.zone != module.zone:
        raise TrustError(
            "security.zone",
            f"The order names another zone than device {order.device_id.hex()} is recorded in; make it anew with the "
            "recorded one (the command line fills it in). Nothing was authorised.",
        )
