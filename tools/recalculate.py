"""Adds up a street's bills from the simulator's register log: recalculate.py LOG.csv PLAN.json; shares no code.

The log has usage_point, end_at_ms and register (hundredths). A plan entry has usage_point, tariff, since, until
and, as they apply, agreement_since, opening_accumulation (the year's use at that time) and billing_day.
"""
import csv
import json
import sys
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal

HOUR, CHINA = 3_600_000, timezone(timedelta(hours=8))

def year(at):
    return int(datetime(datetime.fromtimestamp(at // 1000, CHINA).year, 1, 1, tzinfo=CHINA).timestamp()) * 1000

def fen(quantity, price):
    return int((quantity * Decimal(price) * 100).quantize(Decimal(1), ROUND_HALF_UP))

def tiers(tariff, above, use):
    total, low = 0, Decimal(0)
    for tier in tariff["tiers"]:
        high = Decimal(tier.get("up_to") or "Infinity")
        total += fen(max(min(above + use, high) - max(above, low), Decimal(0)), tier["price"])
        low = high
    return total

def bill(entry, registers):
    def use(begin, end):
        return Decimal((registers[end] - registers[begin]) % 10**8) / 100

    since, until, tariff = entry["since"], entry["until"], entry["tariff"]
    began, day = entry.get("agreement_since", since), datetime.fromtimestamp(since // 1000, CHINA)
    last = ((day.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)).day
    due = day.day == min(entry.get("billing_day", day.day), last)
    total = sum(fen(Decimal(1), charge["amount"]) for charge in tariff.get("fixed", ()) if due)
    if tariff["kind"] == "flat":
        return total + fen(use(since, until), tariff["price"])
    if tariff["kind"] == "time-of-use":
        for band in tariff["bands"]:
            windows = [(int(a[:2]), (int(b[:2]) - int(a[:2])) % 24 or 24) for a, b in band["windows"]]
            mine = {(first + n) % 24 for first, hours in windows for n in range(hours)}
            at = [at for at in range(since, until, HOUR) if (at // HOUR + 8) % 24 in mine]
            total += fen(sum((use(t, t + HOUR) for t in at), Decimal(0)), band["price"])
        return total
    opening = Decimal(entry.get("opening_accumulation", 0) if year(began) == year(since) else 0)
    turn = max(since, year(until - 1))  # a new year inside the period begins the tiers again
    total += tiers(tariff, opening + use(max(year(since), began), since), use(since, turn if turn > since else until))
    return total + (tiers(tariff, Decimal(0), use(turn, until)) if turn > since else 0)

registers, totals = {}, {}
with open(sys.argv[1], newline="") as log, open(sys.argv[2]) as plan:
    for row in csv.DictReader(log):
        registers.setdefault(row["usage_point"], {})[int(row["end_at_ms"])] = int(row["register"])
    for entry in json.load(plan)["agreements"]:
        fen_of = bill(entry, registers[entry["usage_point"]])
        totals[entry["usage_point"]] = totals.get(entry["usage_point"], 0) + fen_of
print(json.dumps({"usage_points": totals, "total_fen": sum(totals.values())}))
