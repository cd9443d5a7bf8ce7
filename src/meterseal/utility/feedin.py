"""What was fed in: quantities of the export register within the times of which a plant is stated, priced as a credit.

Pure. It nets nothing: use is billed as if nothing had been fed in, and what was fed in is paid for at a price of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from meterseal.errors import DataError
from meterseal.mdms.plants import Fed
from meterseal.utility.bills import Determinant
from meterseal.utility.calendar import local
from meterseal.utility.determinants import Measured, by_register
from meterseal.utility.exchange import exchanges
from meterseal.utility.proof import EvidenceAt, open_use
from meterseal.utility.rating import credit
from meterseal.utility.readings import Readings
from meterseal.utility.tariff import Segment
from meterseal.utility.views import ChargeLine


class Credited(NamedTuple):
    """One quantity that was fed in, opened to its registers, with its line and the exact CNY amount of it."""

    determinant: Determinant
    line: ChargeLine
    exact: Decimal

    @property
    def trail(self) -> str:
        """As `Rated.trail`."""
        line = self.line
        return f"{line.quantity} x -{line.price} = {self.exact} CNY -> {line.amount_fen} fen"


class FedPart(NamedTuple):
    """A time of one price of which a plant is stated, as a bill has a line for, and what was fed in of it so far."""

    segment: Segment
    quantity: Decimal


def parts(segments: tuple[Segment, ...], fed: tuple[Fed, ...]) -> list[Segment]:
    """The segments, cut to the times of which a plant is stated."""
    cut = [
        segment._replace(since=max(segment.since, one.since), until=min(segment.until, one.until))
        for segment in segments
        for one in fed
    ]
    return [segment for segment in cut if segment.since < segment.until]


def credit_fen(fed: Iterable[FedPart]) -> int:
    """What a bill pays for these, each rounded as a line of its own. Raises DataError `tariff.no-feed-in`."""
    return -sum(credit(one.segment, one.quantity)[0].amount_fen for one in fed)


def quantity(readings: Readings, since: int, until: int) -> Decimal:
    """What was fed in in a time, by its registers. Raises DataError `bill.*` as `credited`."""
    _check_exchanges(readings, since, until)
    return _measured(readings, since, until).use.amount


def credited(readings: Readings, segment: Segment, evidence_at: EvidenceAt) -> Credited:
    """What was fed in within one segment, as a quantity of a bill.

    Raises DataError `bill.export-missing`, `bill.export-exchanged`, `bill.registers-apart`, `tariff.no-feed-in` and as
    `determinants.by_register` and `proof.open_use`.
    """
    _check_exchanges(readings, segment.since, segment.until)
    measured = _measured(readings, segment.since, segment.until)
    exchanges(readings, evidence_at)  # what was read at one meets what both meters said
    opened = open_use(measured, readings, evidence_at, kind="export")
    line, exact = credit(segment, measured.use.amount)
    return Credited(opened, line, exact)


def _measured(readings: Readings, since: int, until: int) -> Measured:
    try:
        return by_register(readings, since, until)
    except DataError as error:
        if error.code != "bill.boundary-missing":
            raise
        at = next(at for at in (since, until) if readings.find(at) is None)
        raise DataError(
            "bill.export-missing",
            f"A plant is stated that feeds in, and there is no usable register of what was fed in for {_when(at)}. It may "
            "still arrive or be estimated, or somebody says it (meterseal vee edit METER --fed-in); a meter "
            "that counts one way only cannot say it: then state no plant (meterseal vee facts import).",
            at=at,
        ) from None


def _check_exchanges(readings: Readings, since: int, until: int) -> None:
    for swap in readings.swaps:
        lacks = (swap.removed and swap.last is None) or (swap.installed and swap.first is None)
        if lacks and since < swap.at <= until:
            raise DataError(
                "bill.export-exchanged",
                f"The meter was exchanged at {_when(swap.at)}, and nobody wrote down what its registers of fed-in energy "
                "showed. State the plant up to the last reading of the old meter and again from the first one of the new "
                "(meterseal vee facts import): what was fed in between is known to nobody.",
                at=swap.at,
            )


def _when(at: int) -> str:
    return local(at).strftime("%Y-%m-%d %H:%M")
