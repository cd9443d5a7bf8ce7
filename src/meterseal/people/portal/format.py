"""Numbers, money, times and units as people of one language read them; the last step before a template.

It calculates nothing but rounding for display, and it translates only units and patterns of dates.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from babel import Locale
from babel.dates import format_date, format_datetime, format_skeleton, format_time
from babel.numbers import format_decimal

from meterseal.utility.calendar import ZONE, local

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"m3": "m³"}


class Formats:
    """Filters of one language. Times are Unix milliseconds, shown in the utility's local time."""

    def __init__(self, locale: Locale, gettext: Callable[[str], str]) -> None:
        self._locale = locale
        self._chinese = locale.language == "zh"
        self._gettext = gettext

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Every public method by name, for a template environment."""
        names = ("number", "exact", "money", "price", "unit", "day", "weekday", "moment", "clock", "month")
        more = ("period", "span", "ago", "share", "address", "iso", "isoday", "scaled")
        return {name: getattr(self, name) for name in names + more}

    def number(self, value: Decimal | int, places: int = 0) -> str:
        """A grouped number with a fixed count of decimals."""
        return str(format_decimal(value, "#,##0." + "0" * places if places else "#,##0", locale=self._locale))

    def exact(self, value: Decimal) -> str:
        """A grouped number with the decimals it has."""
        exponent = value.as_tuple().exponent
        return self.number(value, max(0, -exponent) if isinstance(exponent, int) else 0)

    def money(self, fen: int) -> str:
        """Fen as yuan: ¥1,234.50."""
        sign = "−" if fen < 0 else ""
        return f"{sign}¥{self.number(Decimal(abs(fen)).scaleb(-2), 2)}"

    def price(self, value: Decimal) -> str:
        """Yuan per unit with the decimals of the tariff, two at least."""
        exponent = value.as_tuple().exponent
        return f"¥{self.number(value, max(2, -exponent if isinstance(exponent, int) else 2))}"

    def unit(self, code: str) -> str:
        """m3 -> m³."""
        return _UNITS.get(code, code)

    def day(self, at: int) -> str:
        """21 Nov / 11月21日; with the year when that is not the one of `now` (not known here), so never
        with it.
        """
        return (
            str(format_skeleton("MMMd", local(at), locale=self._locale))
            if self._chinese
            else self._english_day(at)
        )

    def _english_day(self, at: int) -> str:
        return str(format_date(local(at).date(), "d MMM", locale=self._locale))

    def weekday(self, at: int) -> str:
        """Sat, 21 Nov / 11月21日 周六."""
        pattern = "M月d日 EEE" if self._chinese else "EEE, d MMM"
        return str(format_date(local(at).date(), pattern, locale=self._locale))

    def clock(self, at: int) -> str:
        """00:00."""
        return str(format_time(local(at), "HH:mm", tzinfo=ZONE, locale=self._locale))

    def moment(self, at: int) -> str:
        """21 Nov 00:00 / 11月21日 00:00."""
        pattern = "M月d日 HH:mm" if self._chinese else "d MMM HH:mm"
        return str(format_datetime(local(at), pattern, tzinfo=ZONE, locale=self._locale))

    def month(self, at: int) -> str:
        """November 2026 / 2026年11月."""
        pattern = "y年M月" if self._chinese else "MMMM y"
        return str(format_date(local(at).date(), pattern, locale=self._locale))

    def period(self, since: int, until: int) -> str:
        """A half-open period by its first and last day: 1 – 31 Oct 2026 / 2026年10月1日–31日."""
        first = local(since).date()
        last = local(until - 1).date()
        if first == last:
            return _date(last, "y年M月d日" if self._chinese else "d MMM y", self._locale)
        if self._chinese:
            tail = "d日" if first.month == last.month and first.year == last.year else "M月d日"
            tail = tail if first.year == last.year else "y年M月d日"
            return f"{_date(first, 'y年M月d日', self._locale)}–{_date(last, tail, self._locale)}"
        head = "d" if (first.year, first.month) == (last.year, last.month) else "d MMM"
        head = head if first.year == last.year else "d MMM y"
        return f"{_date(first, head, self._locale)} – {_date(last, 'd MMM y', self._locale)}"

    def span(self, since: int, until: int) -> str:
        """From an instant to a later one, whose day is said where it is another: 26 Sep 10:00–12:00."""
        if local(since).date() == local(until).date():
            return f"{self.moment(since)}–{self.clock(until)}"
        return f"{self.moment(since)} – {self.moment(until)}"

    def ago(self, at: int, now: int) -> str:
        """How long before `now`: 3 h / 3 小时, 2 days / 2 天."""
        hours = max(0, now - at) // 3_600_000
        if hours < 1:
            return self._gettext("under an hour")
        if hours < 48:
            return self._gettext("%(hours)s h") % {"hours": hours}
        return self._gettext("%(days)s days") % {"days": self.number(hours // 24)}

    def share(self, part: int, whole: int) -> str:
        """A percentage that says 100 % only when nothing is missing."""
        if whole <= 0:
            return "–"
        tenths = part * 1000 // whole
        return f"{tenths // 10}%" if tenths % 10 == 0 or tenths >= 1000 else f"{tenths / 10:.1f}%"

    def address(self, device_id: bytes) -> str:
        """A device id as it is printed on a meter: type, then address digits (LINK section 1)."""
        if len(device_id) != 8:
            return "–"
        text = device_id.hex().upper()
        return f"{text[4:]}" if text[:4] == "D700" else f"{text[:2]} {text[2:]}"

    def iso(self, at: int) -> str:
        """For `datetime` attributes."""
        return (_EPOCH + timedelta(milliseconds=at)).astimezone(ZONE).isoformat(timespec="minutes")

    def isoday(self, at: int) -> str:
        """The local day as an address carries it: 2026-11-21."""
        return local(at).date().isoformat()

    def scaled(self, register: int, exponent: int) -> str:
        """A register reading with all its decimals: 123456 at 10**-2 -> 1,234.56."""
        return self.exact(Decimal(register).scaleb(exponent))


def _date(day: Any, pattern: str, locale: Locale) -> str:
    return str(format_date(day, pattern, locale=locale))
