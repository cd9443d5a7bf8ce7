"""What officers sign: requests in their exact bytes, signatures, the cards by which officers are made known.

No behaviour but encoding and signing; `officers` judges, the desks act.

An officer signs `"ms1 officer" ‖ 00 ‖ purpose ‖ 00 ‖ request` with SM2 under the standard id, so a signature
for one purpose is none for another. A request is the msgpack array of its fields and travels as those
bytes, which are what was signed: nobody encodes it anew between the officer and the service.
"""

from __future__ import annotations

import os
import re
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError
from meterseal.mesh.bounds import within

Role = Literal["enrol", "keys", "ca", "command"]
ROLES: tuple[Role, ...] = ("enrol", "keys", "ca", "command")
"""enrol: officers, platforms. keys: key life. ca: certification authorities, root. command: guarded commands."""

OFFICER_ID = re.compile(r"[a-z0-9-]{1,32}")
REQUEST_ID = 16
LONGEST_WAIT = 7 * 86_400_000
"""How far ahead a request may end: two people at two places have a week."""
_LARGEST = 65_536

R = TypeVar("R", bound="Request")


class Request(Struct, frozen=True, kw_only=True, array_like=True):
    """Base of every request that officers sign: used once, until `not_after` (Unix ms), in one project."""

    request_id: bytes
    not_after: int
    project_id: bytes


class OfficerSignature(Struct, frozen=True):
    """r ‖ s of one officer over one request."""

    officer: str
    signature: bytes


class SignedOrder(Struct, frozen=True, kw_only=True):
    """A request with its signatures, for the purpose that they were made for."""

    purpose: str
    request: bytes
    signatures: tuple[OfficerSignature, ...]


class Done(Struct, frozen=True, kw_only=True):
    """What came of an order: one sentence, who signed, and facts for a script (JSON)."""

    sentence: str
    officers: tuple[str, ...]
    facts: str = "{}"


class OfficerCard(Struct, frozen=True, array_like=True):
    """A person who may sign: id, roles, SM2 public point (65 bytes), and proof that the key is at hand."""

    officer: str
    roles: tuple[str, ...]
    point: bytes
    proof: bytes


class OfficerChange(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `officers`: people who join, and ids of people who leave."""

    add: tuple[OfficerCard, ...] = ()
    remove: tuple[str, ...] = ()


class Founding(Struct, frozen=True, kw_only=True):
    """The first officers, while there are none."""

    cards: tuple[OfficerCard, ...]


class OfficerFacts(Struct, frozen=True, kw_only=True):
    """What may be said about an officer; `until` is when they were removed."""

    officer: str
    roles: tuple[str, ...]
    point: bytes
    since: int
    until: int | None


class OfficerList(Struct, frozen=True, kw_only=True):
    """Everybody who is or was an officer. `epoch` (8 bytes, empty before any restore) begins the ids of requests made
    since the service was brought back from a backup.
    """

    officers: tuple[OfficerFacts, ...]
    epoch: bytes = b""


class CommandOrder(Struct, frozen=True, array_like=True):
    """Purpose `command`: one guarded command for one device, as complete clear frame (68 … 16).

    `zone` is the one that the device's module is recorded in, which the limit per minute counts by; `reason` is what the
    audit log keeps.
    """

    request_id: bytes
    device_id: bytes
    zone: str
    frame: bytes
    not_after: int
    reason: str
    project_id: bytes = b""


class BulkPart(Struct, frozen=True, array_like=True):
    """Devices of one zone that are told the same: each gets the frame with its own address, this control code and these
    data (in clear, DL/T 645 without its 33H).
    """

    zone: str
    control: int
    data: bytes
    device_ids: tuple[bytes, ...]


class BulkOrder(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `command-bulk`: one guarded command for every device that it names, each once.

    `act` is what it does (`link.acts`), the same for all.
    """

    act: str
    reason: str
    parts: tuple[BulkPart, ...]


class ZoneChange(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `zone`: these devices' modules are in this zone from now on; up to 5000 at once, all or none."""

    zone: str
    device_ids: tuple[bytes, ...]
    reason: str


class Authorised(Struct, frozen=True, kw_only=True):
    """A command that the module will obey: number, end and authorisation (LINK section 4), its frame; `key_version` is that
    of the key it was made under.
    """

    device_id: bytes
    module_id: bytes
    number: int
    not_after: int
    authorisation: bytes
    frame: bytes
    key_version: int = 0


class CommandPolicy(Struct, frozen=True, kw_only=True):
    """How many officers sign one command at least, how many commands go out in one minute, to a zone and at all, and how
    many of a zone's may cut or give a supply; most devices of a bulk order that does (rows of `link.acts` may say fewer).
    """

    signatures: int = 1
    per_zone_minute: int = 60
    per_minute: int = 600
    supply_per_zone_minute: int = 30
    supply_bulk: int = 200


class CommandPolicyChange(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `command-policy`."""

    signatures: int
    per_zone_minute: int
    per_minute: int
    supply_per_zone_minute: int = 30
    supply_bulk: int = 200


class SignedBulk(Struct, frozen=True, kw_only=True):
    """The bytes of a `BulkOrder`, the officers' signatures over them, and for which of its devices authorisations are
    wanted now, up to 25; none only asks whether the order stands.
    """

    order: bytes
    signatures: tuple[OfficerSignature, ...]
    device_ids: tuple[bytes, ...] = ()


class BulkGrant(Struct, frozen=True, kw_only=True):
    """What came of one device of a bulk order: an authorisation, or why there is none (code and sentence)."""

    device_id: bytes
    authorised: Authorised | None = None
    code: str = ""
    sentence: str = ""


class BulkGranted(Struct, frozen=True, kw_only=True):
    """What came of the devices asked for, in order, and who ordered it."""

    grants: tuple[BulkGrant, ...]
    officers: tuple[str, ...]


class RoomRequest(Struct, frozen=True, kw_only=True):
    """The zones of these devices, up to 5000, and the limits with what is left of them."""

    device_ids: tuple[bytes, ...] = ()


class ZoneRoom(Struct, frozen=True, kw_only=True):
    """How many commands a zone has had in this minute, and how many of them cut or gave a supply."""

    zone: str
    granted: int
    supply: int


class CommandRoom(Struct, frozen=True, kw_only=True):
    """The policy; how many commands went out in this minute in all, by zone; when the next begins (Unix ms).

    `zones_of` are the zones of the devices asked for, in order, empty for one that has no module in service.
    """

    policy: CommandPolicy
    granted: int
    zones: tuple[ZoneRoom, ...]
    next_minute_at: int
    zones_of: tuple[str, ...] = ()


class SignedCommand(Struct, frozen=True, kw_only=True):
    """The bytes of a `CommandOrder` and the officers' signatures over them."""

    order: bytes
    signatures: tuple[OfficerSignature, ...]

    @property
    def command(self) -> CommandOrder:
        """The order in them; LocalError `security.request`."""
        return decoded(self.order, CommandOrder)


class KeyUpdateRequest(Struct, frozen=True, kw_only=True):
    """The device whose module is to get the newest bound key."""

    device_id: bytes


class KeyUpdate(Struct, frozen=True, kw_only=True):
    """Content of control KEY (36 bytes) for one module; only that module reads it."""

    device_id: bytes
    module_id: bytes
    version: int
    content: bytes


ZONE = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
"""What a zone may be called: a pseudonym, no address."""


def check_zone(zone: str) -> None:
    """LocalError `security.zone` for what no zone is called."""
    if not ZONE.fullmatch(zone):
        raise LocalError("security.zone", "A zone is a pseudonym of 1 to 64 characters, on one line.")


def fresh_request_id(epoch: bytes = b"") -> bytes:
    """A random request id; after a restore it begins with the service's epoch (`OfficerList.epoch`)."""
    return epoch + os.urandom(REQUEST_ID - len(epoch))


def encoded(request: Struct) -> bytes:
    """The bytes that officers sign."""
    return msgspec.msgpack.encode(request)


D = TypeVar("D", bound=Struct)


def decoded(raw: bytes, kind: type[D]) -> D:
    """A request out of its bytes; LocalError `security.request` unless they are exactly its encoding."""
    try:
        request = msgspec.msgpack.decode(raw, type=kind) if len(raw) <= _LARGEST else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        request = None
    if request is None or not within(kind)(request) or msgspec.msgpack.encode(request) != raw:
        raise LocalError(
            "security.request",
            f"This is no {kind.__name__} of this version of meterseal; make the request anew with it.",
        )
    return request


def signed_bytes(purpose: str, request: bytes) -> bytes:
    """What the SM2 signature is over."""
    return b"ms1 officer\x00" + purpose.encode() + b"\x00" + request


def sign(officer: str, key: Sm2PrivateKey, purpose: str, request: bytes) -> OfficerSignature:
    """An officer's signature."""
    return OfficerSignature(officer, key.sign(signed_bytes(purpose, request)))


def card(officer: str, roles: tuple[str, ...], key: Sm2PrivateKey) -> OfficerCard:
    """The card of a person with this key."""
    bare = OfficerCard(officer, roles, key.public_point, b"")
    return msgspec.structs.replace(bare, proof=key.sign(card_bytes(bare)))


def card_bytes(shown: OfficerCard) -> bytes:
    """What the proof on a card is over."""
    return signed_bytes("card", encoded(msgspec.structs.replace(shown, proof=b"")))
