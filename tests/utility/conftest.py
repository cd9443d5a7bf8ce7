"""A utility over a real control store, with measurements and data keys in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.control import write
from meterseal.control.tables import premises, usage_points
from meterseal.model import Medium
from meterseal.utility.customers import NewCustomer, Person
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.service import Utility
from tests.control_store import control_at
from tests.utility.twins import Channel, MemoryKeys, MemoryMeasurements, day

NAME, ADDRESS = "张望舒", "梧桐里 3 号楼 502 室"


class Town:
    """One control store, its utility, and one customer; usage points are named by the test."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.measurements = MemoryMeasurements()
        self.keys = MemoryKeys()
        self.utility: Utility

    async def start(self, now: int) -> None:
        self.utility = await Utility.start(self.engine, self.measurements, self.keys, now)

    async def found(self) -> None:
        await self.start(day("2026-01-01"))
        self.utility.publish_tariffs(sample_tariffs())
        await self.utility.customers.add(NewCustomer(Person(NAME, ADDRESS), "c1"), day("2026-01-01"))
        with write(self.engine) as connection:
            connection.execute(sa.insert(premises).values(id="p1"))

    def supply(
        self,
        usage_point: str,
        medium: Medium,
        since: str,
        billing_day: int = 1,
        tariff: str = "",
        **agreement: int,
    ) -> Channel:
        """A usage point with an agreement `a-<usage point>` and a channel to write registers into."""
        codes = {
            "water": "sample-cold-water-tiered",
            "gas": "sample-gas-tiered",
            "heat": "sample-heat-flat",
            "electricity": "sample-electricity-time-of-use",
        }
        with write(self.engine) as connection:
            values = {"id": usage_point, "premises_id": "p1", "medium": medium}
            connection.execute(sa.insert(usage_points).values(**values))
        self.utility.add_agreement(
            f"a-{usage_point}",
            "c1",
            usage_point,
            tariff or codes[medium],
            day(since),
            billing_day,
            **agreement,  # type: ignore[arg-type]
        )
        channel = self.measurements.channels[usage_point] = Channel(medium)
        return channel


@pytest.fixture
async def town(tmp_path: Path) -> Iterator[Town]:  # type: ignore[misc]
    engine = control_at(tmp_path / "control.db")
    made = Town(engine)
    await made.found()
    yield made
    engine.dispose()
