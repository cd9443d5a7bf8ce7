"""Station edge, heat meter (热量表): energy in hundredths of kWh, the volume that carried it, power, flow and two
temperatures.

It models no pipe: flow follows from power and the difference of the temperatures.
"""

from __future__ import annotations

from typing import ClassVar

from meterseal.edge.gathered import GatheredMeter
from meterseal.edge.meter import HOUR
from meterseal.model import HEAT_VOLUME, MAIN, Medium
from meterseal.units import unit_code

WATER_CARRIES = 1_163
"""Wh that one m3 of water gives up over one degree."""


class HeatMeter(GatheredMeter):
    """A heat meter, T = 20. Channel 1 is energy, channel 2 the volume that carried it."""

    medium: ClassVar[Medium] = "heat"
    unit: ClassVar[int] = unit_code("kWh")
    main = "energy"

    def quantities(self, at: int) -> dict[str, int]:
        energy = self.readings.register(MAIN, at)
        power = max(0, energy - self.readings.register(MAIN, at - HOUR))
        supply, back = self.own.stored_readings.temperatures(at)
        return {
            "cumulative_energy": energy,
            "settlement_energy": self.settled(at) or 0,
            "power": power,
            "flow_rate": power * 10_000_000 // (WATER_CARRIES * (supply - back)) if supply > back else 0,
            "cumulative_volume": self.readings.register(HEAT_VOLUME, at),
            "supply_temperature": supply,
            "return_temperature": back,
            "working_time": (at - self.readings.since) // HOUR,
        }
