"""Tariff documents: what a unit of use costs, from which local day on, in which version.

They are validated when they are made and never change; nothing here prices a bill (rating) or stores
(control).

A document is JSON with a `kind`: "flat", "tiered" (阶梯, limits of use per calendar year) or "time-of-use"
(峰平谷, daily windows on whole hours). Prices are decimal strings in CNY per unit, never JSON numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, ClassVar, Literal, NamedTuple, NoReturn

import msgspec
from msgspec import Meta, Struct

from meterseal.errors import DataError
from meterseal.model import Medium
from meterseal.utility.calendar import local_day, midnight, year_start
from meterseal.utility.views import BandName, Text

Unit = Literal["m3", "kWh"]
UNITS: Mapping[Medium, Unit] = {"water": "m3", "gas": "m3", "heat": "kWh", "electricity": "kWh"}
Code = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")]
_MONEY_LIMIT = Decimal(1_000_000)
_QUANTITY_LIMIT = Decimal(1_000_000_000)
_PLACES = 6
_EXACT = frozenset({"price", "amount", "up_to", "feed_in"})


class FixedCharge(Struct, frozen=True, forbid_unknown_fields=True):
    """A charge per billing month in CNY, paid by whoever holds the agreement when the month begins."""

    name: Text
    amount: Decimal


class Tier(Struct, frozen=True, forbid_unknown_fields=True):
    """One tier: use of the calendar year up to and including `up_to` units; None in the last tier."""

    price: Decimal
    up_to: Decimal | None = None


class Band(Struct, frozen=True, forbid_unknown_fields=True):
    """One time-of-use band and the daily windows in which it applies, each `HH:00` to `HH:00`, half-open.

    A window whose end is not after its begin runs over midnight; "24:00" ends the day.
    """

    band: BandName
    price: Decimal
    windows: tuple[tuple[str, str], ...]


class Tariff(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds share. Valid on local days `since` <= day < `until` (None: open end).

    Where several versions of one code are valid on a day, the highest version counts: a correction is a new
    version with the same days. Raises DataError `tariff.*` when it breaks a rule.
    """

    kind: ClassVar[Literal["flat", "tiered", "time-of-use"]]
    code: Code
    version: Annotated[int, Meta(ge=1)]
    medium: Medium
    unit: Unit
    name: Text
    since: date
    until: date | None = None
    fixed: tuple[FixedCharge, ...] = ()
    feed_in: Decimal | None = None
    """What is paid for a kWh that was fed in (electricity): None where this tariff does not say it, "0" for nothing."""

    def __post_init__(self) -> None:
        if self.unit != UNITS[self.medium]:
            self._refuse("unit", f"{self.medium} is billed in {UNITS[self.medium]}, not {self.unit}")
        if self.until is not None and self.until <= self.since:
            self._refuse("validity", "its last day is not after its first")
        for charge in self.fixed:
            self._money(charge.amount)
        if self.feed_in is not None:
            if self.medium != "electricity":
                self._refuse("feed-in", f"nobody feeds in {self.medium}")
            self._money(self.feed_in)

    def _money(self, amount: Decimal) -> None:
        if not amount.is_finite() or not 0 <= amount < _MONEY_LIMIT or _places(amount) > _PLACES:
            self._refuse("price", "prices are decimal strings from 0 to 999999 with at most 6 places")

    def _refuse(self, rule: str, why: str) -> NoReturn:
        raise DataError(
            f"tariff.{rule}",
            f"Tariff {self.code} version {self.version} is not usable: {why}. Correct the document.",
            tariff=self.code,
            version=self.version,
        )


class Flat(Tariff, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="flat"):
    """One price for every unit."""

    kind = "flat"
    price: Decimal

    def __post_init__(self) -> None:
        Tariff.__post_init__(self)
        self._money(self.price)


class Tiered(Tariff, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="tiered"):
    """Prices that step with the use of the calendar year 阶梯 (local time, per usage point)."""

    kind = "tiered"
    tiers: tuple[Tier, ...]

    def __post_init__(self) -> None:
        Tariff.__post_init__(self)
        limits = [tier.up_to for tier in self.tiers[:-1]]
        if not self.tiers or self.tiers[-1].up_to is not None:
            self._refuse("tiers", "the last tier must be open (no up_to)")
        above = Decimal(0)
        for limit in limits:
            exact = limit is not None and limit.is_finite() and _places(limit) <= _PLACES
            if limit is None or not exact or not above < limit < _QUANTITY_LIMIT:
                self._refuse(
                    "tiers", "the limits of its tiers do not rise from above 0, or have over 6 places"
                )
            above = limit
        for tier in self.tiers:
            self._money(tier.price)


class TimeOfUse(Tariff, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="time-of-use"):
    """Prices that depend on the local hour 峰平谷; each hour of the day belongs to exactly one band."""

    kind = "time-of-use"
    bands: tuple[Band, ...]

    def __post_init__(self) -> None:
        Tariff.__post_init__(self)
        if len({band.band for band in self.bands}) != len(self.bands):
            self._refuse("bands", "a band is named twice")
        for band in self.bands:
            self._money(band.price)
        self.by_hour()

    def by_hour(self) -> tuple[BandName, ...]:
        """Return the band of each local hour, 24 of them; raises DataError `tariff.windows`."""
        hours: dict[int, BandName] = {}
        for band in self.bands:
            for window in band.windows:
                for hour in self._hours(window):
                    if hour in hours:
                        self._refuse("windows", f"hour {hour:02}:00 lies in two windows")
                    hours[hour] = band.band
        if len(hours) != 24:
            missing = next(hour for hour in range(24) if hour not in hours)
            self._refuse("windows", f"hour {missing:02}:00 lies in no window")
        return tuple(hours[hour] for hour in range(24))

    def _hours(self, window: tuple[str, str]) -> list[int]:
        clock = {f"{hour:02}:00": hour for hour in range(25)}
        begin, end = (clock.get(text) for text in window)
        if begin is None or end is None or begin == 24:
            self._refuse("windows", f"window {window[0]}-{window[1]} is not on whole hours 00:00 to 24:00")
        if begin == end:
            self._refuse("windows", f"window {window[0]}-{window[1]} is empty; a whole day is 00:00-24:00")
        return [*range(begin, end)] if begin < end else [*range(begin, 24), *range(end)]


AnyTariff = Flat | Tiered | TimeOfUse


def parse_tariff(document: bytes | str) -> AnyTariff:
    """Parse one tariff document. Raises DataError `tariff.document` or the broken rule's `tariff.*`."""
    try:
        tree = msgspec.json.decode(document)
        _refuse_numbers(tree)
        tariff: AnyTariff = msgspec.convert(tree, AnyTariff)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            "tariff.document", f"This is not a tariff document: {error}. Compare it with a sample tariff."
        ) from error
    return tariff


def tariff_document(tariff: AnyTariff) -> str:
    """Return the canonical document: same tariff, same text."""
    return msgspec.json.encode(tariff, order="sorted").decode()


def _places(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else _PLACES + 1


def _refuse_numbers(tree: object) -> None:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in _EXACT and not isinstance(value, str | None):
                raise DataError(
                    "tariff.price",
                    f'Write "{key}" as a decimal string such as "2.30": a number would pass through binary '
                    "fractions in other programs.",
                )
            _refuse_numbers(value)
    elif isinstance(tree, list):
        for value in tree:
            _refuse_numbers(value)


class Segment(NamedTuple):
    """A part of a period with one tariff version and, where a version has tiers, inside one calendar year."""

    since: int
    until: int
    tariff: AnyTariff


class TariffBook:
    """All versions of one tariff code; on each day the highest valid version counts."""

    def __init__(self, code: str, versions: Iterable[AnyTariff]) -> None:
        self.code = code
        self.versions = tuple(sorted(versions, key=lambda tariff: tariff.version))
        if any(tariff.code != code for tariff in self.versions) or len({t.medium for t in self.versions}) > 1:
            raise DataError("tariff.book", f"The book of tariff {code} holds another code or two media.")
        if len({t.version for t in self.versions}) != len(self.versions):
            raise DataError("tariff.book", f"Tariff {code} has a version number twice.")

    def on(self, day: date) -> AnyTariff:
        """Return the version that counts on a local day; raises DataError `tariff.none`."""
        for tariff in reversed(self.versions):
            if tariff.since <= day and (tariff.until is None or day < tariff.until):
                return tariff
        raise DataError(
            "tariff.none",
            f"Tariff {self.code} has no published version that is valid on {day}; publish one that "
            "covers it.",
            tariff=self.code,
        )

    def segments(self, since: int, until: int) -> tuple[Segment, ...]:
        """Cut a period where the counting version changes and, for tiers, where a calendar year begins.

        Raises DataError `tariff.none` when a day of the period has no version.
        """
        years: set[int] = set()
        year = year_start(until)
        while year > since and any(isinstance(tariff, Tiered) for tariff in self.versions):
            years.add(year)
            year = year_start(midnight(local_day(year) - timedelta(days=1)))
        cuts = {since, *years}
        for tariff in self.versions:
            cuts.update(midnight(day) for day in (tariff.since, tariff.until) if day is not None)
        found: list[Segment] = []
        inside = [at for at in sorted(cuts) if since <= at < until]
        for begin, end in zip(inside, [*inside[1:], until], strict=True):
            tariff = self.on(local_day(begin))
            if found and found[-1].tariff is tariff and begin not in years:
                found[-1] = found[-1]._replace(until=end)
            else:
                found.append(Segment(begin, end, tariff))
        return tuple(found)
