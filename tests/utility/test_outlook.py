"""What the running period will probably come to: a forecast with a band where there is enough history, else the mean."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from meterseal.mdms.surroundings import Kind
from meterseal.model import Quality
from meterseal.utility.calendar import HOUR
from meterseal.utility.outlook import HISTORY, outlook
from meterseal.utility.readings import Readings
from meterseal.utility.tariff import TariffBook
from meterseal.utility.usage import period_to_date
from tests.utility.test_usage import JUNE, POWER_BOOK, WATER_BOOK

DAY = 24 * HOUR
AS_OF = JUNE.since + 12 * DAY


class Plain:
    """No feast and no weather."""

    def days(self) -> Mapping[int, Kind]:
        return {}

    def weather(self, since: int, hours: int) -> NDArray[np.float32]:
        return np.full(hours, np.nan, np.float32)


def readings(*, weeks: int = 12, noise: float = 0.3, medium: str = "water", seed: int = 4) -> Readings:
    """Hours of use that repeat by the day, with noise, up to AS_OF."""
    dice = np.random.default_rng(seed)
    hours = weeks * 168
    shape = 10 + 8 * np.sin((np.arange(hours) % 24 - 6) * np.pi / 12)
    used = np.maximum(np.rint(shape * (1 + noise * dice.standard_normal(hours))), 0).astype(np.int64)
    end_at = AS_OF - (hours - np.arange(hours + 1)) * HOUR
    return Readings(
        medium,  # type: ignore[arg-type]
        -2,
        end_at,
        np.concatenate(([500_000], 500_000 + np.cumsum(used))),
        np.full(hours + 1, Quality.MEASURED, np.int8),
        np.zeros(hours + 1, np.bool_),
    )


def to_date(made: Readings, book: TariffBook, *, foreseen: bool = True):  # type: ignore[no-untyped-def]
    since = max(int(made.end_at[0]), AS_OF - HISTORY)
    return period_to_date(
        made,
        JUNE,
        book,
        Decimal(0),
        1,
        AS_OF,
        (lambda as_of: outlook(made, since, as_of, JUNE.until, Plain()))
        if foreseen
        else (lambda as_of: None),
    )


@pytest.mark.parametrize(("medium", "book"), [("water", WATER_BOOK), ("electricity", POWER_BOOK)])
def test_a_projection_lies_within_its_band_and_goes_on_as_the_weeks_before(
    medium: str, book: TariffBook
) -> None:
    found = to_date(readings(medium=medium), book)
    projection = found.projection
    assert projection.low < projection.used < projection.high
    assert projection.low_fen <= projection.cost_fen <= projection.high_fen
    assert projection.low_fen < projection.high_fen
    a_day = 240 * Decimal("0.01")
    expected = found.used + a_day * ((JUNE.until - AS_OF) // DAY)
    assert abs(projection.used - expected) < expected / 20
    assert projection.high - projection.low < expected / 4
    assert projection.days == 0


def test_noise_moves_the_middle_little() -> None:
    found = to_date(readings(medium="electricity"), POWER_BOOK)
    quiet = to_date(readings(medium="electricity", noise=0.0), POWER_BOOK)
    assert abs(quiet.projection.used - found.projection.used) < quiet.projection.used / 20


def test_with_little_history_the_mean_of_the_complete_days_stands_and_claims_no_band() -> None:
    found = to_date(readings(weeks=2), WATER_BOOK).projection
    assert found.days == 12
    assert (found.low, found.high, found.low_fen, found.high_fen) == (None, None, None, None)
    assert found == to_date(readings(weeks=2), WATER_BOOK, foreseen=False).projection


def test_nothing_before_the_asked_hours_is_looked_at() -> None:
    """What another customer used before the agreement began says nothing to this one."""
    made = readings()
    since = AS_OF - 6 * 7 * DAY
    other = made._replace(register=np.where(made.end_at < since, made.register // 2, made.register))
    alone = outlook(made, since, AS_OF, JUNE.until, Plain())
    assert alone is not None
    assert outlook(other, since, AS_OF, JUNE.until, Plain()) == alone


def test_the_weeks_before_the_first_reading_widen_no_band() -> None:
    """An agreement that is older than its meter's readings: out of nothing nobody would have forecast anything."""
    made = readings(weeks=9)
    known = outlook(made, int(made.end_at[0]), AS_OF, JUNE.until, Plain())
    assert known is not None
    assert known.low > Fraction(8, 10)
    assert outlook(made, AS_OF - HISTORY, AS_OF, JUNE.until, Plain()) == known


def test_an_hour_that_the_register_jumped_in_is_not_expected_again() -> None:
    made = readings()
    jumped = made._replace(register=made.register + np.where(made.end_at > AS_OF - 7 * DAY, 15_000, 0))
    since = AS_OF - HISTORY
    plain, found = (outlook(one, since, AS_OF, JUNE.until, Plain()) for one in (made, jumped))
    assert plain is not None
    assert found is not None
    assert abs(sum(found.hours) - sum(plain.hours)) < sum(plain.hours) / 50
    assert found.high < plain.high + Fraction(1, 20)


def test_a_history_of_holes_or_of_nothing_gives_no_outlook() -> None:
    made = readings()
    sparse = made._replace(
        end_at=made.end_at[::3],
        register=made.register[::3],
        quality=made.quality[::3],
        vouched=made.vouched[::3],
    )
    assert outlook(sparse, AS_OF - HISTORY, AS_OF, JUNE.until, Plain()) is None
    still = made._replace(register=np.full_like(made.register, 5))
    assert outlook(still, AS_OF - HISTORY, AS_OF, JUNE.until, Plain()) is None
    assert outlook(made, AS_OF - HISTORY, AS_OF, AS_OF, Plain()) is None


def test_the_hours_are_those_of_the_rest_of_the_period() -> None:
    found = outlook(readings(), AS_OF - HISTORY, AS_OF, JUNE.until, Plain())
    assert found is not None
    assert len(found.hours) == (JUNE.until - AS_OF) // HOUR
    assert found.low < 1 < found.high


def test_what_was_estimated_makes_no_band_narrow() -> None:
    """Four weeks without a reading, filled with the same hour after hour, as estimates are between two registers."""
    made = readings()
    gap = slice(5 * 168, 9 * 168)
    filled = made.register.copy()
    filled[gap] = np.linspace(
        filled[gap.start], filled[gap.stop], gap.stop - gap.start, endpoint=False
    ).astype(np.int64)
    quality = made.quality.copy()
    quality[gap] = Quality.ESTIMATED
    known = np.ones(len(filled), np.bool_)
    known[gap] = False

    def foreseen(of: Readings) -> tuple[float, float, float]:
        found = outlook(of, int(made.end_at[0]), AS_OF, JUNE.until, Plain())
        assert found is not None
        return float(sum(found.hours)), float(found.low), float(found.high)

    holed = made._replace(
        end_at=made.end_at[known],
        register=made.register[known],
        quality=made.quality[known],
        vouched=made.vouched[known],
    )
    assert foreseen(made._replace(register=filled, quality=quality)) == foreseen(holed)
    assert foreseen(made._replace(register=filled)) != foreseen(holed), "as measured it would be learnt from"
    mostly = np.full(len(filled), Quality.ESTIMATED, np.int8)
    assert foreseen(made._replace(quality=mostly)) == foreseen(made)


@pytest.mark.parametrize(
    ("weeks", "estimated"), [(6, slice(0, 84)), (7, slice(420, 756)), (12, slice(1009, None))]
)
def test_where_too_little_is_left_without_estimates_these_are_better_than_no_forecast(
    weeks: int, estimated: slice
) -> None:
    made = readings(weeks=weeks)
    quality = made.quality.copy()
    quality[estimated] = Quality.ESTIMATED
    assert (quality == Quality.ESTIMATED).mean() <= 0.5
    found, measured = (
        outlook(of, int(made.end_at[0]), AS_OF, JUNE.until, Plain())
        for of in (made._replace(quality=quality), made)
    )
    assert found is not None
    assert found == measured
