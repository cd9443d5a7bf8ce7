"""What people are shown of bills: whole bills with all that stands behind them, runs, and what is held back.

No calculation and no wording here; codes are those of `views`, and so are its rules for times, quantities and money.
No struct here carries a name or an address.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from meterseal.model import EXPORT, MAIN, Medium, Quality
from meterseal.utility.views import Assurance, BandName, ChargeLine, RowResolution


class EvidenceView(Struct, frozen=True):
    """What is known of the meter's own statement at one boundary (LINK section 4, evidence).

    `checked` is "signed" (suite 1: signature and chain hold), "mac" (suite 2: checked by the security
    service), "bad", "chain-broken" or "chain-open"; `reason` says why where it is not good. `statement` and
    `signature` are hex.
    """

    device_id: str
    end_at: int
    register: int
    exponent: int
    sequence: int
    suite: int
    checked: str
    reason: str
    statement: str
    signature: str


class Boundary(Struct, frozen=True):
    """One register that a quantity begins or ends with: value = `register` * 10**`exponent`."""

    end_at: int
    register: int
    exponent: int
    quality: Quality
    origin: str
    assurance: Assurance
    evidence: EvidenceView | None


class ReadingsUsed(Struct, frozen=True):
    """Which stored readings a determinant was made of: how many, of what quality, from which to which.

    For kind "hours" `count` is the number of hours of the band, and the qualities are those of the hours.
    """

    count: int
    measured: int
    estimated: int
    edited: int
    vouched: int
    first: Boundary
    last: Boundary


class MultipliedPart(Struct, frozen=True):
    """Use of since <= t < until under one multiplier: `used` is the difference of registers (of kind "hours" the sum of
    the hours of the band), `amount` is used x multiplier.

    `edge` is the register at `until` where that is neither the last one nor the instant of an exchange.
    """

    since: int
    until: int
    used: Decimal
    multiplier: Decimal
    amount: Decimal
    edge: Boundary | None = None


class Determinant(Struct, frozen=True):
    """One exact quantity that lines are priced from, opened to its readings.

    kind "register": last register minus first. kind "hours": sum of the hourly steps of one band.
    kind "year": the same as "register" from the start of the calendar year (or of the agreement) plus
    `carried` from a previous system; it is not priced, it says in which tier the bill begins. kind "export": the same as
    "register" of what was fed in, of a time in which a plant is stated. All are multiplied.
    """

    kind: Literal["register", "hours", "year", "export"]
    since: int
    until: int
    amount: Decimal
    assurance: Assurance
    readings: ReadingsUsed
    band: BandName | None = None
    carried: Decimal | None = None
    exchanged: tuple[tuple[Decimal, Decimal], ...] = ()
    """(last, first) of every change of meters in between: last of the meter that went, first of the one that came."""
    multiplied: tuple[MultipliedPart, ...] = ()
    """The use by multiplier, oldest first; empty where the register counts what was used. `amount` is the sum of the parts,
    and what was carried. A multiplier is the utility's word as a price is; meters sign registers."""

    @property
    def imported(self) -> bool:
        """Whether it is use of the bill's time."""
        return self.kind in ("register", "hours")

    @property
    def channel(self) -> int:
        """Which register of the meter it is of."""
        return EXPORT if self.kind == "export" else MAIN


class BillLine(Struct, frozen=True):
    """A line of a bill. `determinant` indexes `Bill.determinants`; None for a fixed charge."""

    charge: ChargeLine
    assurance: Assurance
    determinant: int | None


class UsedRow(Struct, frozen=True):
    """One step between two registers that a line of a bill was made of: `since` < t <= `until`.

    `register` is the one at `until`, scaled by the exponent of the answer. `used` is the step, `counted` the part of
    it that this line prices (less where a tier's limit was crossed). `quality` is the worse of the two registers',
    `origin` that of the later one.
    """

    since: int
    until: int
    register: int
    used: Decimal
    counted: Decimal
    quality: Quality
    origin: str


class LineReadings(Struct, frozen=True):
    """A page of the readings behind a line of a bill (or behind a determinant that is not priced).

    `rows` are `total` in all pages; `next` is the cursor of the following page, 0 on the last. `adds_up` says whether
    all rows together are the quantity of the bill; it is False when the store no longer holds what was billed.
    """

    bill_id: str
    line: int | None
    determinant: int
    resolution: RowResolution
    exponent: int
    unit: str
    total: int
    rows: tuple[UsedRow, ...]
    next: int
    adds_up: bool


class Change(Struct, frozen=True):
    """One thing that differs from the bill version before, named by a code.

    `code`: "period", "tariff", "first-register", "last-register", "use", "accumulation", "quality", "proof",
    "meters" (exchanges), "multiplier", "feed-in" or "total" (in fen). `before` and `after` are short values for people.
    """

    code: str
    before: str
    after: str


class MeterExchange(Struct, frozen=True):
    """A change of meters inside the period, with what an installer read off them and what they said themselves.

    `last` is the register of the meter that went (`removed`), `first` of the one that came (`installed`); None where
    there is none. `last_export` and `first_export` are the same of what was fed in. `before` and `after` are the nearest
    registers of either meter that it signed, or else that are
    stored. Only `stated`, what was used between those and the installer's, rests on the installer's word.
    """

    at: int
    removed: str | None
    installed: str | None
    last: Decimal | None
    first: Decimal | None
    before: Boundary | None
    after: Boundary | None
    stated: Decimal
    last_export: Decimal | None = None
    first_export: Decimal | None = None


class AssuredPart(Struct, frozen=True):
    """How many fen of a bill rest on which assurance."""

    assurance: Assurance
    amount_fen: int


class Estimated(Struct, frozen=True):
    """A bill of which a boundary register is an estimate: `at` says of which instants.

    In nine cases of ten the use is within `low` and `high`, and the total within `low_fen` and `high_fen`; None where the
    uncertainty of an estimate is not known, and for the total where one price does not hold for all of the use. What is
    too much here is too little in the bill at the other side of the boundary: both begin and end with the same register.
    """

    at: tuple[int, ...]
    low: Decimal | None = None
    high: Decimal | None = None
    low_fen: int | None = None
    high_fen: int | None = None


class Bill(Struct, frozen=True):
    """One immutable bill: version 1, or a later version that names what changed since the one it replaces.

    `used` is the use of the whole period by its boundary registers, `use_assurance` who stands behind that,
    `parts` splits the total by assurance. `changes` is empty on version 1. `trail` repeats the arithmetic in
    words a program can check (one entry a line: quantity x price = exact amount -> fen). `exchanges` are the changes of
    meters inside the period. `estimate` is there where a boundary register is an estimate.
    """

    bill_id: str
    agreement_id: str
    usage_point: str
    medium: Medium
    unit: str
    since: int
    until: int
    first_day: str
    last_day: str
    version: int
    created_at: int
    tariff_code: str
    tariff_versions: tuple[int, ...]
    currency: str
    total_fen: int
    used: Decimal
    use_assurance: Assurance
    lines: tuple[BillLine, ...]
    determinants: tuple[Determinant, ...]
    accumulated: Decimal | None
    parts: tuple[AssuredPart, ...]
    trail: tuple[str, ...]
    changes: tuple[Change, ...] = ()
    supersedes: str | None = None
    exchanges: tuple[MeterExchange, ...] = ()
    estimate: Estimated | None = None

    @property
    def fed(self) -> Decimal | None:
        """What was fed in; None where no plant is stated."""
        amounts = [one.amount for one in self.determinants if one.kind == "export"]
        return sum(amounts, Decimal(0)) if amounts else None


class HeldBill(Struct, frozen=True):
    """A completed period that was not billed, and why; it is tried again at every run.

    `code` is stable (`bill.boundary-missing`, `bill.hours-missing`, `bill.hours-differ`, `bill.negative-use`,
    `bill.evidence-differs`, `bill.evidence-bad`, `bill.meter-changed`, `bill.multiplier-changed`,
    `bill.multiplier-unstated`, `bill.registers-apart`, `bill.export-missing`, `bill.export-exchanged`,
    `bill.overlap`, `usage.multiplier`, `tariff.none`, `tariff.no-feed-in`);
    `sentence` says what happened and what to do.
    """

    agreement_id: str
    usage_point: str
    medium: Medium
    since: int
    until: int
    code: str
    sentence: str
    found_at: int


class AgreementView(Struct, frozen=True):
    """One supply agreement: which usage point, which tariff, from when; `until` None while it runs."""

    agreement_id: str
    customer_id: str
    usage_point: str
    medium: Medium
    tariff_code: str
    since: int
    until: int | None
    billing_day: int


class RunReport(Struct, frozen=True):
    """What one bill run did: periods looked at, bills issued (of them corrections), unchanged, held."""

    at: int
    periods: int
    issued: tuple[str, ...]
    corrected: tuple[str, ...]
    unchanged: int
    held: tuple[HeldBill, ...]


class FleetBills(Struct, frozen=True):
    """All newest bill versions together, for operators; usage points are named in `held` alone.

    Of `metered_fen`, `signed_fen` is meter-signed and `chained_fen` meter-chained; in these a credit counts as a charge of
    as much, for it rests on registers as well.
    """

    bills: int
    agreements: int
    total_fen: int
    metered_fen: int
    signed_fen: int
    chained_fen: int
    by_medium: dict[str, int]
    by_assurance: dict[str, int]
    corrected: int
    held: tuple[HeldBill, ...]
    last_run_at: int | None
