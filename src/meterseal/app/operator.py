"""What an operator may ask a running system over its Unix socket: the requests and answers, no behaviour.

The command line and the kit speak these; the platform answers them (`app.desk`, `app.enrolling`). Names and addresses
travel only inside `NewPremises`, on their way to being sealed.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from meterseal.link.profiles import OURS
from meterseal.mdms.reconciliation import Reconciled
from meterseal.mdms.trouble import Trouble
from meterseal.model import Medium
from meterseal.utility.views import RowResolution


class Supply(Struct, frozen=True, kw_only=True):
    """One meter of new premises with the agreement that bills it.

    `suite` None is a plain meter, for which `concentrator_id` vouches. `module_point` is the module's SM2 public
    point (65 bytes), made inside the module. `since` is when it was installed, `agreement_since` when the agreement
    begins that bills it (None: nobody is billed).
    """

    device_id: bytes
    medium: Medium
    protocol: str
    profile: str
    since: int
    agreement_since: int | None = None
    tariff: str = ""
    billing_day: int = 1
    opening_accumulation: int = 0
    concentrator_id: bytes = b""
    riser: int | None = None
    suite: int | None = None
    module_id: bytes = b""
    module_point: bytes = b""
    security_profile: str = OURS.name
    """How its module seals (`link.profiles`); a module keeps it for good."""


class NewPremises(Struct, frozen=True, kw_only=True):
    """A dwelling, its customer and its meters."""

    name: str
    address: str
    supplies: tuple[Supply, ...]
    locale: str = "zh_Hans_CN"


class Enrol(Struct, frozen=True, kw_only=True):
    """Enrol dwellings at once; all of them or none. With `dry_run` everything is checked and nothing done."""

    premises: tuple[NewPremises, ...]
    dry_run: bool = False


class Enrolled(Struct, frozen=True, kw_only=True):
    """What became of one meter; `personalisation` is what its module is given (msgpack), empty for plain meters."""

    device_id: bytes
    usage_point: str
    agreement_id: str
    account_id: str
    personalisation: bytes = b""


class EnrolReply(Struct, frozen=True, kw_only=True):
    meters: tuple[Enrolled, ...]


class SealMeter(Struct, frozen=True, kw_only=True):
    """Give a plain meter in place a module; `module_point` (65 bytes) was made inside it."""

    device_id: bytes
    module_id: bytes
    module_point: bytes
    suite: int = 1
    security_profile: str = OURS.name


class Sealed(Struct, frozen=True, kw_only=True):
    """The meter's usage point, which stays, and what its module is given (msgpack)."""

    usage_point: str
    personalisation: bytes


class EnrolConcentrator(Struct, frozen=True, kw_only=True):
    """Enrol a concentrator (device id F0…) with its module; it gets a TLS identity of its own.

    `key_password` is chosen by the concentrator: its private key comes back encrypted under it.
    """

    device_id: bytes
    name: str
    module_id: bytes
    module_point: bytes
    key_password: bytes


class RenewConcentrator(Struct, frozen=True, kw_only=True):
    """A new TLS identity for an enrolled concentrator, under the root of now; its module is not touched."""

    device_id: bytes
    key_password: bytes


class TlsFiles(Struct, frozen=True, kw_only=True):
    """PEM certificate, encrypted PEM key and root of a concentrator's TLS link."""

    certificate: bytes
    key: bytes
    root: bytes


class ConcentratorIdentity(Struct, frozen=True, kw_only=True):
    """PEM certificate, encrypted PEM key and root of its TLS link, and what its module is given."""

    certificate: bytes
    key: bytes
    root: bytes
    personalisation: bytes


class LabIssue(Struct, frozen=True, kw_only=True):
    """Enrol one device of a lab project and hand its credentials out in clear (DESIGN section 7)."""

    medium: Medium
    suite: int
    device_id: bytes = b""
    module_id: bytes = b""
    since: int = 0
    billing_day: int = 1
    tariff: str = ""


class Text(Struct, frozen=True):
    """A JSON document as text, for answers that only a person or a script reads."""

    json: str


class Account(Struct, frozen=True, kw_only=True):
    """Ask for a one-time sign-in link: of the first operator, of a `new` one, or of the resident of a meter; or of the
    account that is named.
    """

    role: str = "operator"
    account_id: str = ""
    device_id: bytes = b""
    new: bool = False


class Link(Struct, frozen=True, kw_only=True):
    """A path below the web address; works once, for this account."""

    path: str
    expires_at: int
    account_id: str = ""


class EraseCustomer(Struct, frozen=True, kw_only=True):
    """Erase the person with this customer id, or the one behind a meter; with `dry_run` only say who that is."""

    customer_id: str = ""
    device_id: bytes = b""
    dry_run: bool = False


class EndAgreement(Struct, frozen=True, kw_only=True):
    """End the agreement that bills this meter at `until`, a local midnight."""

    device_id: bytes
    until: int


class Page(Struct, frozen=True, kw_only=True):
    limit: int = 50
    before: int | None = None


class BillQuery(Struct, frozen=True, kw_only=True):
    """Bills of one device, or one bill, or all newest versions when both are empty."""

    bill_id: str = ""
    device_id: bytes = b""


class BillLine(Struct, frozen=True, kw_only=True):
    """The readings behind a line of a bill, or behind a determinant, a page at a time from the cursor `after` on."""

    bill_id: str
    line: int | None = None
    determinant: int | None = None
    resolution: RowResolution = "day"
    after: int = 0
    limit: int = 500


class BillRun(Struct, frozen=True, kw_only=True):
    """Bill every completed period."""


class Counts(Struct, frozen=True, kw_only=True):
    """What the system holds, counted from what is stored."""

    meters: int
    sessions: int
    records: int
    readings: int
    evidence: int
    evidence_good: int
    repeats: int
    quarantined: int
    refused: int
    bills: int
    total_fen: int
    audit_ok: bool | None = None
    """Whether the audit trail holds: verified when asked, None while nobody could look."""
    audit_entries: int = 0
    """How many entries were verified."""
    audit_anchored: int | None = None
    """Up to which entry the security service's anchor was compared; None while it could not be asked."""
    audit_broken: str = ""
    """What is wrong with the trail, with the number of the first entry that differs; empty unless it does not hold."""
    to_reseal: int = 0
    """Rows, segments and journal entries that still stand under an older data key."""
    reconciled: tuple[Reconciled, ...] = ()
    """Of every delivered reading what became of it, by way and hour of receipt."""
    troubles: tuple[Trouble, ...] = ()
    """Why the store of measurements takes no readings, why its work waits, and what of it cannot be read."""


def as_json(value: Any) -> str:
    """Any struct or list as JSON text; bytes as hex."""
    import json

    import msgspec

    return json.dumps(
        msgspec.to_builtins(value, enc_hook=str, builtin_types=(bytes,)), default=_plain, ensure_ascii=False
    )


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
