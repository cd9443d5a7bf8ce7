"""What the people's side asks of its neighbours: use, bills and names of the utility, the fleet's readings
of mdms.

Protocols and nothing else; the facades satisfy them, tests bring small twins over real tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from meterseal.mdms.forecast_judging import Judged
from meterseal.mdms.forecasts import Forecasted
from meterseal.mdms.reconciliation import Reconciled
from meterseal.model import Medium, Status
from meterseal.utility.bills import Bill, FleetBills, LineReadings
from meterseal.utility.calendar import Period
from meterseal.utility.customers import Person
from meterseal.utility.ports import EvidenceFacts, RegisterColumns
from meterseal.utility.views import BillSummary, Resolution, RowResolution, UsagePointCard, UsageSeries


class People(Protocol):
    """Names and addresses, opened for one request."""

    async def open(self, customer_id: str) -> Person | None:
        """One customer in clear, None once erased; EngineError while the security service is away."""


class UseAndBills(Protocol):
    """The utility, as far as people are shown of it; it checks no right to see."""

    @property
    def customers(self) -> People: ...

    def card(self, usage_point: str, now: int) -> UsagePointCard:
        """The card of the agreement that runs at `now`."""

    def series(
        self, usage_point: str, resolution: Resolution, since: int, until: int, *, fed_in: bool = False
    ) -> UsageSeries:
        """Consumption, or what was fed in, as columns; LocalError `usage.range` when no interval begins in the period."""

    def bills(self, agreement_id: str) -> Sequence[BillSummary]:
        """All bills of an agreement, every version, the newest first."""

    def bill(self, bill_id: str) -> Bill:
        """One bill with everything behind it; LocalError `bill.none` when there is none."""

    def bill_readings(
        self,
        bill_id: str,
        line: int | None,
        determinant: int | None,
        by: RowResolution,
        window: Period | None,
        after: int,
        limit: int,
    ) -> LineReadings:
        """A page of the readings behind a line; LocalError `bill.no-line`."""

    def fleet(self) -> FleetBills:
        """All bills together."""


class StoredCounts(Protocol):
    """Records, distinct readings and repeated records since the store was made."""

    @property
    def records(self) -> int: ...
    @property
    def readings(self) -> int: ...
    @property
    def repeats(self) -> int: ...


class FleetReadings(Protocol):
    """The store of measurements, as far as operators are shown of it."""

    def latest(self) -> Mapping[str, int]:
        """End of the newest reading of the main channel, per usage point that has any."""

    def status(self, device_id: bytes) -> Status | None:
        """The newest state that a meter reported."""

    def counts(self) -> StoredCounts:
        """What came and what is kept."""

    def reconciled(self) -> Sequence[Reconciled]:
        """Of every delivered reading what became of it, by way, concentrator and hour of receipt."""

    def registers(
        self, usage_point: str, channel: int, since: int, until: int, as_of: int | None = None
    ) -> RegisterColumns:
        """Visible readings with since <= end_at <= until, with `as_of` as they were visible then."""

    def evidence_between(
        self, usage_point: str, channel: int, since: int, until: int
    ) -> Sequence[EvidenceFacts]:
        """Evidence with since <= end_at <= until, oldest first."""


class Foresight(Protocol):
    """The daily forecasts, as far as operators are shown of them."""

    @property
    def lately(self) -> Sequence[Judged] | None:
        """How good those of the last days were; None until that was judged."""

    def zones(self, medium: Medium) -> Sequence[str]:
        """Zones that the newest forecast has of a medium; "" stands for all of it."""

    def of(self, usage_point: str, medium: Medium, *, fed: bool = False) -> Forecasted:
        """The newest forecast of a usage point, or of what it will feed in; LocalError `forecast.none`."""

    def whole(self, medium: Medium, zone: str) -> Forecasted:
        """The newest forecast of a zone or, "", of all, net; LocalError `forecast.none`, `forecast.zone`."""
