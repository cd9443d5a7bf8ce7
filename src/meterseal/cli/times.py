"""Times as people at the meters write and read them: local days and minutes, and instants that carry their offset.

It reads no clock.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from meterseal.errors import LocalError

LOCAL = ZoneInfo("Asia/Shanghai")


def day(text: str) -> int:
    """Local midnight of YYYY-MM-DD in Unix milliseconds; LocalError `use.date`."""
    return _read(text, "%Y-%m-%d", "date", "2026-11-21")


def moment(text: str) -> int:
    """Local YYYY-MM-DD HH:MM in Unix milliseconds; LocalError `use.date`."""
    return _read(text, "%Y-%m-%d %H:%M", "time", "'2026-11-21 14:30'")


def period(instant: str, since: str, until: str, day_text: str) -> tuple[int, int]:
    """Unix ms of a point, a range or a local day. LocalError `use.period`, `use.date`."""
    if [bool(instant), bool(since), bool(day_text)].count(True) != 1 or bool(since) != bool(until):
        raise LocalError("use.period", "Say --at, or --since and --until, or --day. Nothing was changed.")
    if instant:
        return moment(instant), moment(instant)
    if since:
        first, last = moment(since), moment(until)
        if first >= last:
            raise LocalError("use.period", "The range ends before it begins; give --since before --until.")
        return first, last
    begin = day(day_text)
    following = datetime.fromtimestamp(begin / 1000, LOCAL).date() + timedelta(days=1)
    return begin, day(following.isoformat())


def _read(text: str, form: str, what: str, example: str) -> int:
    try:
        return int(datetime.strptime(text, form).replace(tzinfo=LOCAL).timestamp()) * 1000
    except (ValueError, OverflowError):
        raise LocalError("use.date", f"`{text}` is no {what}: write it as {example}.") from None


def instant(text: str) -> int | None:
    """Unix milliseconds of ISO 8601 with its offset, between 1971 and 2105; None for what is not that."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if when.tzinfo is None or not 1970 < when.year < 2106:
        return None
    return round(when.timestamp() * 1000)


def at(milliseconds: int | None) -> str:
    """Local time for people."""
    if milliseconds is None:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, LOCAL).strftime("%Y-%m-%d %H:%M")
