"""What operators ask of the fleet through the web process, and what they are answered: a struct each.

No name and no address is in any of them; usage points are pseudonyms. Sessions, times and periods are as in `messages`.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from meterseal.model import Medium, Quality
from meterseal.people.trail import TrailState
from meterseal.utility.bills import FleetBills
from meterseal.utility.views import Projection


class OperatorHome(Struct, frozen=True):
    """Ask for the state of the fleet."""

    session: str


class MediumFreshness(Struct, frozen=True):
    """How many meters of a medium delivered lately (`fresh`), once (`late`) or never (`silent`)."""

    medium: Medium
    meters: int
    fresh: int
    late: int
    silent: int
    latest_at: int | None


class LateMeter(Struct, frozen=True):
    """One meter that is late or silent (`latest_at` None)."""

    usage_point: str
    device_id: bytes
    medium: Medium
    latest_at: int | None
    concentrator: str


class Counts(Struct, frozen=True):
    """What the store of measurements holds and what was turned away."""

    records: int
    readings: int
    repeats: int
    refused: int
    refused_lately: int
    findings: int
    quarantined: int


class OperatorHomePage(Struct, frozen=True):
    """The state of the fleet at `now`; a meter is fresh when its last reading is younger than
    `fresh_within` ms.
    """

    now: int
    fresh_within: int
    media: tuple[MediumFreshness, ...]
    late: tuple[LateMeter, ...]
    late_total: int
    counts: Counts
    bills: FleetBills
    trail: TrailState


class OperatorMeters(Struct, frozen=True):
    """Ask for the meters of the fleet, one page in the order of usage points; `after` is the last one
    seen.
    """

    session: str
    medium: Medium | None = None
    after: str = ""
    limit: int = 50


class MeterRow(Struct, frozen=True):
    """One meter in a list."""

    usage_point: str
    device_id: bytes
    medium: Medium
    protocol: str
    plain: bool
    suite: int | None
    latest_at: int | None
    fresh: bool


class OperatorMetersPage(Struct, frozen=True):
    """A page of meters; `next` is the cursor of the following page, empty on the last."""

    now: int
    total: int
    meters: tuple[MeterRow, ...]
    next: str


class OperatorRefusals(Struct, frozen=True):
    """Ask for refused messages, newest first, with ids below `before` (0: the newest)."""

    session: str
    before: int = 0
    limit: int = 50
    code: str = ""


class RefusalEntry(Struct, frozen=True):
    """One entry of the audit trail; `usage_point` is set when the named device is one of ours."""

    id: int
    at: int
    code: str
    sentence: str
    device_id: bytes
    session_id: bytes
    counter: int
    source: str
    usage_point: str
    hash: bytes


class RefusalCount(Struct, frozen=True):
    """How often one code was refused."""

    code: str
    count: int


class OperatorRefusalsPage(Struct, frozen=True):
    """A page of the audit trail; `next` is the cursor of the following page, 0 on the last."""

    total: int
    codes: tuple[RefusalCount, ...]
    entries: tuple[RefusalEntry, ...]
    next: int
    trail: TrailState


class OperatorExceptions(Struct, frozen=True):
    """Ask for findings of the validation rules and for held bills, findings with ids below `before`."""

    session: str
    before: int = 0
    limit: int = 50


class Finding(Struct, frozen=True):
    """One finding of a rule (VEE) over `since` <= t < `until`; `facts` are its public parameters as text."""

    id: int
    usage_point: str
    medium: Medium
    channel: int
    since: int
    until: int
    rule: str
    version: int
    severity: str
    facts: tuple[tuple[str, str], ...]


class QuarantineEntry(Struct, frozen=True):
    """One record with a good seal that could not be used: it does not decode, breaks policy or names no
    known meter.
    """

    id: int
    at: int
    device_id: bytes
    reject_class: int
    code: str


class OperatorExceptionsPage(Struct, frozen=True):
    """The findings made last, of them the latest hours first, held bills and quarantined records; `next` is the cursor
    of findings made earlier, 0 at the end.
    """

    total: int
    findings: tuple[Finding, ...]
    bills: FleetBills
    quarantined: tuple[QuarantineEntry, ...]
    next: int


class OperatorReconciliation(Struct, frozen=True):
    """Ask what became of every delivered reading; `concentrator` (hex) shows the hours of one alone."""

    session: str
    concentrator: str = ""


class Account(Struct, frozen=True, kw_only=True):
    """Readings that came: received = stored + repeated + refused + held, else some are not accounted for.

    `way` is sealed, vouched or columns; `concentrator` the hex id of one, `further` for those beyond the ones that are
    kept apart, empty where there is none; `name` what it is called. `hour_at` is the hour of receipt, 0 for all earlier.
    """

    received: int
    stored: int
    repeated: int
    refused: int
    held: int
    way: str = ""
    concentrator: str = ""
    name: str = ""
    hour_at: int = 0

    @property
    def missing(self) -> int:
        """Readings of which it is not known what became of them."""
        return abs(self.received - self.stored - self.repeated - self.refused - self.held)


class OperatorReconciliationPage(Struct, frozen=True):
    """The account as a whole, by way and concentrator, and by hour (newest first; of one concentrator where asked)."""

    total: Account
    unaccounted: int
    sources: tuple[Account, ...]
    hours: tuple[Account, ...]


class OperatorMeter(Struct, frozen=True):
    """Ask for one usage point: its meters, the readings and evidence of the `length` ms up to `until`.

    `until` 0 means up to the newest reading. With `as_of` (0: none) also the readings as they were visible then.
    """

    session: str
    usage_point: str
    until: int
    length: int
    as_of: int = 0


class InstalledMeter(Struct, frozen=True):
    """One meter that is or was installed at a usage point."""

    device_id: bytes
    protocol: str
    profile: str
    since: int
    until: int | None
    plain: bool
    suite: int | None
    module_id: bytes
    concentrator: str
    valve: str
    battery_low: bool | None


class ReadingRow(Struct, frozen=True):
    """One visible register reading; `register` is None where it is missing. `origin` is "sealed" or
    "vouched".
    """

    end_at: int
    register: int | None
    quality: Quality
    origin: str


class EvidenceRow(Struct, frozen=True):
    """One signed statement of a meter and what its check said (`checked` as in views.EvidenceView)."""

    device_id: bytes
    end_at: int
    register: int
    exponent: int
    sequence: int
    suite: int
    checked: str
    reason: str


class EditRow(Struct, frozen=True, kw_only=True):
    """One edit in a list. `author` is an account or "operator", `officers` signed; `readings` it has, `visible` still.

    `effect` is what was shown as it was proposed, and what officers sign.
    """

    number: int
    usage_point: str
    medium: Medium
    since: int
    until: int
    undoes: int | None
    people: int
    state: str
    author: str
    officers: tuple[str, ...]
    created_at: int
    saved_at: int | None
    reason: str
    effect: str
    readings: int
    visible: int


class RunningBill(Struct, frozen=True, kw_only=True):
    """Use and cost so far of a billing period, what its bill will probably be, and the last one (total, since, until)."""

    since: int
    until: int
    used: Decimal | None
    cost_fen: int | None
    projection: Projection | None
    last: tuple[int, int, int] | None


class OperatorMeterPage(Struct, frozen=True):
    """One usage point for operators; no name, no address."""

    now: int
    usage_point: str
    medium: Medium
    unit: str
    exponent: int
    since: int
    until: int
    latest_at: int | None
    fresh: bool
    meters: tuple[InstalledMeter, ...]
    readings: tuple[ReadingRow, ...]
    evidence: tuple[EvidenceRow, ...]
    then: tuple[ReadingRow, ...] = ()
    """The readings of the same time as they stood at `as_of`, by `then_exponent`."""
    then_exponent: int = 0
    as_of: int = 0
    edits: tuple[EditRow, ...] = ()
    """The newest edits by people."""
    running: RunningBill | None = None
    """Of the billing period that runs, where an agreement does."""
