"""The separate calculation: another program, from the register log alone, comes to the same fen."""

from __future__ import annotations

import ast
import asyncio
import csv
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterseal.mdms.facts import Fact, Facts
from meterseal.mdms.surroundings import Surroundings
from meterseal.utility.calendar import local_day, midnight
from meterseal.utility.readings import ROLL_OVER
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.tariff import tariff_document
from tests.control_store import control_at
from tests.utility.conftest import Town
from tests.utility.twins import day

TOOL = Path(__file__).parents[2] / "src" / "meterseal" / "kit" / "recalculate.py"
MEDIA = ("water", "gas", "heat", "electricity")


def test_it_is_short_and_knows_nothing_of_what_it_checks() -> None:
    text = TOOL.read_text()
    assert len(text.splitlines()) <= 60
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= set(sys.stdlib_module_names)


@st.composite
def streets(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A few usage points: medium, first day, billing day, opening use and hourly steps as a pattern."""
    return draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "medium": st.sampled_from(MEDIA),
                    "since": st.dates(day_of("2025-10-20"), day_of("2026-02-10")),
                    "days": st.integers(32, 75),
                    "billing_day": st.integers(1, 31),
                    "opening": st.integers(0, 60_000),
                    "register": st.one_of(st.integers(0, ROLL_OVER - 1), st.just(ROLL_OVER - 500)),
                    "multiplier": st.sampled_from(("1", "1", "40", "0.01", "62.5")),
                    "pattern": st.lists(st.integers(0, 400), min_size=1, max_size=29),
                }
            ),
            min_size=1,
            max_size=4,
        )
    )


def day_of(text: str):  # type: ignore[no-untyped-def]
    return local_day(day(text))


async def billed(folder: Path, street: list[dict[str, Any]]) -> tuple[dict[str, int], dict[str, Any]]:
    """Bill a street, write its register log and plan; return fen by usage point, and the fleet."""
    engine = control_at(folder / "control.db")
    town = Town(engine)
    await town.found()
    documents = {tariff.medium: json.loads(tariff_document(tariff)) for tariff in sample_tariffs()}
    plan = []
    with (folder / "log.csv").open("w", newline="") as file:
        log = csv.writer(file)
        log.writerow(("meter", "usage_point", "medium", "end_at_ms", "register"))
        for number, flat in enumerate(street):
            point, since = f"u{number}", flat["since"]
            channel = town.supply(
                point,
                flat["medium"],
                str(since),
                flat["billing_day"],
                opening_accumulation=flat["opening"],
            )
            steps = (flat["pattern"] * (flat["days"] * 24))[: flat["days"] * 24]
            stated = Fact(usage_point=point, kind="multiplier", value=flat.get("multiplier", "1"))
            Facts(engine, Surroundings(engine)).put([stated], 1)
            channel.count(midnight(since), steps, flat["register"])
            for end_at, register in channel.registers.items():
                log.writerow((f"m{number}", point, flat["medium"], end_at, register))
    until = max(midnight(flat["since"] + timedelta(days=flat["days"])) for flat in street)
    report = await town.utility.run_bills(until)
    totals: dict[str, int] = {}
    for bill_id in report.issued:
        bill = town.utility.bill(bill_id)
        flat = street[int(bill.usage_point[1:])]
        totals[bill.usage_point] = totals.get(bill.usage_point, 0) + bill.total_fen
        plan.append(
            {
                "usage_point": bill.usage_point,
                "multiplier": flat.get("multiplier", "1"),
                "medium": bill.medium,
                "tariff": documents[bill.medium],
                "since": bill.since,
                "until": bill.until,
                "agreement_since": midnight(flat["since"]),
                "opening_accumulation": f"{flat['opening'] // 100}.{flat['opening'] % 100:02}",
                "billing_day": flat["billing_day"],
            }
        )
    (folder / "plan.json").write_text(json.dumps({"agreements": plan}))
    fleet = town.utility.fleet()
    engine.dispose()
    return totals, {"total": fleet.total_fen, "held": {one.code for one in report.held}}


def recalculated(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-I", str(TOOL), str(folder / "log.csv"), str(folder / "plan.json")]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streets())
def test_both_come_to_the_same_fen_for_any_street(street: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        totals, fleet = asyncio.run(billed(folder, street))
        again = recalculated(folder)
    assert totals
    assert again["usage_points"] == totals
    assert again["total_fen"] == fleet["total"] == sum(totals.values())
    assert fleet["held"] <= {"bill.boundary-missing", "bill.hours-missing"}  # a street's shorter logs


def test_one_fen_of_difference_would_show(tmp_path: Path) -> None:
    flat = {
        "medium": "water",
        "since": day_of("2026-01-01"),
        "days": 40,
        "billing_day": 1,
        "opening": 17_000,
        "register": 0,
        "pattern": [3, 0, 7],
    }
    totals, _ = asyncio.run(billed(tmp_path, [flat]))
    log = (tmp_path / "log.csv").read_text().splitlines()
    row = next(k for k, line in enumerate(log) if f",{day('2026-02-01')}," in line)
    front, register = log[row].rsplit(",", 1)
    (tmp_path / "log.csv").write_text(
        "\n".join([*log[:row], f"{front},{int(register) + 1}", *log[row + 1 :]])
    )
    assert recalculated(tmp_path)["usage_points"] != totals
