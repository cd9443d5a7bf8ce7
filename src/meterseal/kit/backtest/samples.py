"""Beside the path: the sample meters that the package opendsm ships, for the back-test beside the simulated street.

Nothing of the package runs: its files of hourly and half-hourly use are read, so that none of what it needs is needed here
(`make backtest` brings it into an environment of its own). opendsm is Apache-2.0 and says of its samples that they are
simulated; those from Illinois are, those from Great Britain repeat and skip instants as what real meters deliver does.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import LocalError
from meterseal.kit.backtest.ground import Ints, Surroundings, Truth
from meterseal.mdms.vee.context import HOUR, OFFSET, Calendar, Weather
from meterseal.model import Medium

PACKAGE = "opendsm"
HOMES: dict[str, tuple[tuple[Medium, str, str], ...]] = {
    "British home 0": (
        ("electricity", "uk-electricity-hdd-only-hourly-sample-0", "uk-tempC-sample-0"),
        ("gas", "uk-gas-hdd-only-hourly-sample-0", "uk-tempC-sample-0"),
    ),
    "British home 1": (("electricity", "uk-electricity-hdd-only-hourly-sample-1", "uk-tempC-sample-1_2"),),
    "British home 2": (("electricity", "uk-electricity-hdd-only-hourly-sample-2", "uk-tempC-sample-1_2"),),
    "Illinois electricity, heated and cooled": (
        ("electricity", "il-electricity-cdd-hdd-hourly", "il-tempF"),
    ),
    "Illinois electricity, cooled": (("electricity", "il-electricity-cdd-only-hourly", "il-tempF"),),
    "Illinois gas, heated": (("gas", "il-gas-hdd-only-hourly", "il-tempF"),),
    "Illinois gas, not heated": (("gas", "il-gas-intercept-only-hourly", "il-tempF"),),
}
"""The meters by usage point: what is measured, the file of its use and that of the weather."""
SOURCES = ("British", "Illinois electricity", "Illinois gas")
"""Each is split on its own, so that both halves have some of it."""
HUNDREDTHS = {"kWh": 100.0, "gas in kWh": 100 / 11.1, "therm": 100 * 2.83}
"""Last digits of a register (0.01 kWh, 0.01 m3) in one unit of the file; a cubic metre of gas is about 11.1 kWh, a therm
2.83 m3."""


class Samples:
    """One split of the sample meters."""

    gaps = (330, 0)
    faults = (330, 30)
    times = 60
    often = 12

    def __init__(self, seed: int, *, published: bool) -> None:
        self.seed = seed
        self.homes = tuple(home for home in HOMES if is_published(seed, home) == published)
        self.version = version_installed()
        self.profiles: dict[Medium, list[Truth]] = {}
        self.fed: list[Truth] = []
        for home in self.homes:
            for medium, name, outdoors in HOMES[home]:
                end_at, register = registers(_file(name), _unit(medium, name))
                truth = Truth(home, medium, end_at, register, Surroundings(_weather(outdoors), Calendar()))
                self.profiles.setdefault(medium, []).append(truth)

    def beside(self, truth: Truth) -> list[Truth]:
        """None: no two of them are alike and of one time."""
        return []

    def household(self, truth: Truth) -> None:
        """Nothing is known beside their registers and the weather."""


def is_published(seed: int, home: str) -> bool:
    """Is the usage point in the half whose figures are published? Of each source the first, third, ... by a hash."""
    source = next(one for one in SOURCES if home.startswith(one))
    alike = sorted(
        (one for one in HOMES if one.startswith(source)),
        key=lambda one: hashlib.sha256(f"{seed}/{one}".encode()).digest(),
    )
    return alike.index(home) % 2 == 0


def version_installed() -> str:
    """The version of the package. LocalError `backtest.samples` where it is not installed."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise LocalError(
            "backtest.samples",
            f"The package {PACKAGE}, whose sample meters are looked at, is not installed here. Run `make backtest`, which "
            "brings it into an environment of its own, or leave --samples out.",
        )
    return version(PACKAGE)


def registers(lines: list[tuple[str, float]], digits: float) -> tuple[Ints, Ints]:
    """(end_at, register) of whole hours from (begin of an interval, use): half-hours are added up, an instant that is said
    twice counts once, and an hour of which a part is missing is not there.

    Local time of the file is taken for local time here. Registers are in whole last digits, of which one unit has `digits`.
    """
    begins = np.array([_local(text) for text, _ in lines], np.int64)
    begins, first = np.unique(begins, return_index=True)
    use = np.array([value for _, value in lines], np.float64)[first]
    step = int(np.median(np.diff(begins)))
    hours = begins // HOUR
    at, where, parts = np.unique(hours, return_inverse=True, return_counts=True)
    total = np.bincount(where, use)
    full = parts == HOUR // step
    at, total = at[full], total[full]
    end_at = np.concatenate([at[:1], at + 1]) * HOUR
    register = np.floor(np.concatenate([[0.0], np.cumsum(total)]) * digits + 1e-6).astype(np.int64)
    return end_at, register


def _local(text: str) -> int:
    """Unix ms at which the clock here shows what the file's clock shows."""
    return round(datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp() * 1000) - OFFSET


def _unit(medium: Medium, name: str) -> float:
    if medium == "electricity":
        return HUNDREDTHS["kWh"]
    return HUNDREDTHS["gas in kWh" if name.startswith("uk") else "therm"]


def _weather(name: str) -> Weather:
    lines = _file(name)
    hours = np.array([_local(text) // HOUR for text, _ in lines], np.int64)
    degrees = np.array([value for _, value in lines])
    if name.endswith("F"):
        degrees = (degrees - 32) / 1.8
    table: NDArray[np.float64] = np.full(int(hours[-1] - hours[0]) + 1, np.nan)
    table[hours - hours[0]] = degrees
    return Weather(int(hours[0]), tuple(table.tolist()))


def _file(name: str) -> list[tuple[str, float]]:
    """(instant, value) of each line; the last two columns are these, and what has no value is left out."""
    found = importlib.util.find_spec(PACKAGE)
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "eemeter" / "samples" / f"{name}.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as text:
        rows = list(csv.reader(text))[1:]
    return [(row[-2], float(row[-1])) for row in rows if row[-1] not in ("", "nan")]
