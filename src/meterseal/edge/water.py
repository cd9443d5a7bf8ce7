"""Station edge, water meter (冷水水表): volume in hundredths of m3, a valve that commands may turn.

It seals nothing and keeps no time; `meter` has what all meters share.
"""

from __future__ import annotations

from typing import ClassVar

from meterseal.edge.gathered import GatheredMeter
from meterseal.model import MAIN, Medium
from meterseal.units import unit_code


class VolumeMeter(GatheredMeter):
    """What water and gas meters share: 901F with volume, settlement volume, clock and status (section
    6.3).
    """

    unit: ClassVar[int] = unit_code("m3")

    def quantities(self, at: int) -> dict[str, int]:
        return {
            "cumulative_volume": self.readings.register(MAIN, at),
            "settlement_volume": self.settled(at) or 0,
        }


class WaterMeter(VolumeMeter):
    """A cold-water meter, T = 10."""

    medium: ClassVar[Medium] = "water"
