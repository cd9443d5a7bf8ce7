"""Adds up the bills of a street from the simulator's register log, sharing no code: LOG.csv PLAN.json.

The log has usage_point, end_at_ms and register (hundredths). A plan entry has usage_point, tariff, since,
until and, as they apply, agreement_since, opening_accumulation (the year's use by then), billing_day, multiplier."""

import csv
import json
import sys
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

HOUR, CHINA = 3_600_000, timezone(timedelta(hours=8))


def bill(entry: dict[str, Any], registers: dict[int, int]) -> int:
    def use(a: int, b: int) -> Decimal:
        return Decimal((registers[b] - registers[a]) % 10**8) / 100 * Decimal(entry.get("multiplier", 1))

    def fen(quantity: Decimal, price: str | Decimal) -> int:
        return int((quantity * Decimal(price) * 100).quantize(Decimal(1), ROUND_HALF_UP))

    def year(at: int) -> int:
        begin = datetime(datetime.fromtimestamp(at // 1000, CHINA).year, 1, 1, tzinfo=CHINA)
        return int(begin.timestamp()) * 1000

    since, until, tariff = entry["since"], entry["until"], entry["tariff"]
    began, day = entry.get("agreement_since", since), datetime.fromtimestamp(since // 1000, CHINA)
    last = ((day.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)).day
    due = day.day == min(entry.get("billing_day", day.day), last)
    total = sum(fen(Decimal(1), charge["amount"]) for charge in tariff.get("fixed", ()) if due)
    if tariff["kind"] == "flat":
        total += fen(use(since, until), tariff["price"])
    for band in tariff.get("bands", ()):
        windows = [(int(a[:2]), (int(b[:2]) - int(a[:2])) % 24 or 24) for a, b in band["windows"]]
        mine = {(first + n) % 24 for first, hours in windows for n in range(hours)}
        at = [at for at in range(since, until, HOUR) if (at // HOUR + 8) % 24 in mine]
        total += fen(sum((use(t, t + HOUR) for t in at), Decimal(0)), band["price"])
    opening = Decimal(entry.get("opening_accumulation", 0) if year(began) == year(since) else 0)
    turn, low = max(since, year(until - 1)), Decimal(0)  # a year that begins inside begins the tiers again
    begin = opening + (use(max(year(since), began), since) if "tiers" in tariff else 0)
    parts = [(begin, since, turn), (Decimal(0), turn, until)] if turn > since else [(begin, since, until)]
    for tier in tariff.get("tiers", ()):
        high = Decimal(tier.get("up_to") or "Infinity")
        for above, a, b in parts:
            inside = max(min(above + use(a, b), high) - max(above, low), Decimal(0))
            total += fen(inside, tier["price"])
        low = high
    return total


log: dict[str, dict[int, int]] = {}
totals: dict[str, int] = {}
for row in csv.DictReader(Path(sys.argv[1]).read_text().splitlines()):
    log.setdefault(row["usage_point"], {})[int(row["end_at_ms"])] = int(row["register"])
for entry in json.loads(Path(sys.argv[2]).read_text())["agreements"]:
    point = entry["usage_point"]
    totals[point] = totals.get(point, 0) + bill(entry, log[point])
sys.stdout.write(json.dumps({"usage_points": totals, "total_fen": sum(totals.values())}) + "\n")
