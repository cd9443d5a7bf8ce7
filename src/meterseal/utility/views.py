"""What people are shown of use: the plain structs that leave the utility station.

No calculation and no wording here, and no whole bill (`bills`); codes (`kind`, `band`, `assurance`, `quality`) are
translated at the edge.

Times are Unix milliseconds UTC, periods half-open. Quantities are exact `Decimal`s in `unit` (a string on the
wire), money is whole fen 分 (int, 100 fen = 1 CNY), prices are CNY per unit. No struct here carries a name or
an address.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

from msgspec import Struct

from meterseal.model import Medium, Quality

Resolution = Literal["hour", "day", "period"]
RowResolution = Literal["hour", "day"]
LineKind = Literal["flat", "tier", "band", "fixed", "feed-in"]
BandName = Literal["sharp", "peak", "flat", "valley"]
"""Time-of-use band: 尖 sharp, 峰 peak, 平 flat, 谷 valley."""

Assurance = Literal[
    "meter-signed",
    "meter-chained",
    "platform-attested",
    "vouched",
    "unsigned",
    "stated",
    "estimated",
    "taken-over",
    "tariff",
]
"""Who stands behind a quantity, best first; one word for one thing, the same in every answer, page and command."""

MEANING: Final[dict[Assurance, str]] = {
    "meter-signed": "The meter's security module signed both register readings that this quantity lies between.",
    "meter-chained": "The hourly readings are bound into a chain whose end the meter signed.",
    "platform-attested": "The meter's module authenticated the readings under a key that only the utility's key "
    "service shares, so the platform attests them; nobody else can check it.",
    "vouched": "This meter has no security module; the concentrator in the building vouches for its readings.",
    "unsigned": "The readings came sealed by the meter, but no signed statement for this moment is stored.",
    "stated": "The meter was exchanged in this time; what it counted from its last signed reading to the exchange, and the "
    "new one from the exchange to its first, rests on the installer's readings of both.",
    "estimated": "At least one reading was missing and was replaced by an estimate or an edit.",
    "taken-over": "Part of this was taken over from the system before; no meter's signature covers that part.",
    "tariff": "Not a metered quantity.",
}
"""What each word means, said once: the portal shows these sentences, translated, and the command line prints them.

Signed and attested are differences of registers at the boundary; chained are hours between two signed registers,
covered by the chain head that the meter signed at the end (suite 1). Suite 2 is attested in both cases.
"""


class Text(Struct, frozen=True):
    """One short text in the two languages people see."""

    zh: str
    en: str


class UsageSeries(Struct, frozen=True):
    """Consumption per hour, day or billing period, as columns of one length for a chart.

    Interval k is `starts[k]` <= t < `ends[k]`; its use (or what was fed in, where that was asked for) is
    `used[k] * 10**exponent` in `unit`, None where a boundary register is missing or suspect. `quality[k]` is MEASURED,
    ESTIMATED (any register in the interval is an estimate or an edit: mark it), MISSING, or SUSPECT (the register fell).
    `latest_at` is the newest usable reading of the time shown (what lies after it is not missing but to
    come), `complete_to` is the end of the last interval before the first hole; None if there is none.
    """

    usage_point: str
    medium: Medium
    unit: str
    exponent: int
    resolution: Resolution
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    used: tuple[int | None, ...]
    quality: tuple[Quality, ...]
    latest_at: int | None
    complete_to: int | None
    estimated: int
    missing: int


class TierPosition(Struct, frozen=True):
    """Where a usage point stands in the yearly tiers 阶梯.

    `tier` counts from 1; it covers `above` < use <= `up_to` (None: no upper limit) of the calendar year that
    began at `year_since`. `to_next` is what is left before the next tier begins, None in the last tier.
    `limits` and `prices` list all tiers (one limit fewer than prices).
    """

    tier: int
    tiers: int
    year_since: int
    used_in_year: Decimal
    above: Decimal
    up_to: Decimal | None
    to_next: Decimal | None
    price: Decimal
    next_price: Decimal | None
    limits: tuple[Decimal, ...]
    prices: tuple[Decimal, ...]


class ChargeLine(Struct, frozen=True):
    """One priced quantity, before or on a bill: `quantity` x `price`, rounded half up to the fen.

    `tier` (from 1) is set for kind "tier", `band` for "band", `name` for "fixed" (its quantity is 1). Kind "feed-in" is a
    credit: its `amount_fen` is quantity x price below nothing.
    """

    kind: LineKind
    quantity: Decimal
    price: Decimal
    amount_fen: int
    since: int
    until: int
    tariff_version: int
    tier: int | None = None
    band: BandName | None = None
    name: Text | None = None


class Projection(Struct, frozen=True):
    """An estimate of the whole period, never a promise: a forecast of the hours to come, or the mean of complete days.

    `low` and `high` enclose the use of the period, and `low_fen` and `high_fen` its cost, nine times of ten; None when
    there is no forecast, and then `days` is how many complete days the mean is of. Costs are less `credit_fen`, what will
    probably be paid for what is fed in.
    """

    used: Decimal
    cost_fen: int
    days: int
    low: Decimal | None = None
    high: Decimal | None = None
    low_fen: int | None = None
    high_fen: int | None = None
    credit_fen: int = 0


class PeriodToDate(Struct, frozen=True):
    """The billing period that is running: use and cost so far.

    `as_of` is the reading up to which `used`, `lines` and `cost_fen` count; None, with zero lines, while the
    opening register is missing (`used` and `cost_fen` are then None too). `estimated` counts hours with an
    estimate, `missing` hours without a usable value before `as_of`.
    """

    since: int
    until: int
    as_of: int | None
    used: Decimal | None
    cost_fen: int | None
    lines: tuple[ChargeLine, ...]
    estimated: int
    missing: int
    projection: Projection | None = None


class BillSummary(Struct, frozen=True):
    """One issued bill in a list.

    `metered_fen` leaves out fixed charges; of it `signed_fen` is meter-signed and `chained_fen` meter-chained.
    `assurance` is the weakest of the metered lines. `latest` is False for a version that was replaced.
    """

    bill_id: str
    agreement_id: str
    usage_point: str
    medium: Medium
    since: int
    until: int
    version: int
    created_at: int
    currency: str
    total_fen: int
    metered_fen: int
    signed_fen: int
    chained_fen: int
    used: Decimal
    unit: str
    assurance: Assurance
    latest: bool


class FedIn(Struct, frozen=True):
    """What a plant fed in since the period began, up to `as_of`: `quantity`, a credit of `credit_fen` by the prices then.

    Of `quantity` None a register is missing. `price` is that of now, None where the tariff has none.
    """

    as_of: int | None
    quantity: Decimal | None
    price: Decimal | None
    credit_fen: int | None


class UsagePointCard(Struct, frozen=True):
    """Everything on the first card of one usage point: month to date, tier, freshness, last bill.

    `latest_at` is the newest reading of any usable quality, `complete_to` the end of the last day or hour
    before the first hole in the running period. `tier` is None unless the tariff has tiers.
    """

    usage_point: str
    agreement_id: str
    medium: Medium
    unit: str
    tariff_code: str
    tariff_version: int
    tariff_kind: Literal["flat", "tiered", "time-of-use"]
    tariff_name: Text
    latest_at: int | None
    complete_to: int | None
    period: PeriodToDate
    tier: TierPosition | None
    last_bill: BillSummary | None
    multiplier: Decimal | None = None
    """What the difference of the meter's registers is multiplied by now, where that is not 1; all use is multiplied."""
    fed: FedIn | None = None
    """Where a plant is stated that feeds in. It lowers no use, and the cost so far is without it."""


class LineChange(Struct, frozen=True, kw_only=True):
    """A line of a bill before and after, as officers read it and with the charges themselves; empty or None where there
    is none.
    """

    line: str
    before: str
    after: str
    was: ChargeLine | None
    becomes: ChargeLine | None


class PeriodEffect(Struct, frozen=True, kw_only=True):
    """What an edit does to one billing period. Totals are fen, None where the bill is held, and then why.

    `code_before` and `code_after` are the codes of why. `issued`: the bill that was issued already, "" when none;
    `corrects`: the next run corrects it.
    """

    agreement_id: str
    since: int
    until: int
    issued: str
    corrects: bool
    before_fen: int | None
    after_fen: int | None
    held_before: str
    held_after: str
    lines: tuple[LineChange, ...]
    code_before: str = ""
    code_after: str = ""


class EditEffect(Struct, frozen=True, kw_only=True):
    """What an edit does to bills: the periods that come out differently, the issued bills that counted with its
    readings, and whether it changes the register at which one customer followed another.
    """

    periods: tuple[PeriodEffect, ...]
    used_by: tuple[str, ...]
    between_tenants: bool
