"""Station edge, heat meter (热量表): energy in hundredths of kWh, volume, power, flow and two temperatures.

It models no pipe: flow and volume follow from energy at a fixed difference between supply and return.
"""

from __future__ import annotations

from typing import ClassVar

from meterseal.edge.gathered import GatheredMeter
from meterseal.edge.meter import HOUR
from meterseal.model import HEAT_VOLUME, MAIN, Medium
from meterseal.units import unit_code
from meterseal.wire import encode

SUPPLY, BACK = 4500, 3500
"""Supply and return temperature in hundredths of a degree."""
KWH_PER_M3 = 1163
"""Hundredths of kWh that one m3 of water gives up over ten degrees."""


class HeatMeter(GatheredMeter):
    """A heat meter, T = 20. Channel 1 is energy, channel 2 the volume that carried it."""

    medium: ClassVar[Medium] = "heat"
    unit: ClassVar[int] = unit_code("kWh")

    def volume(self, at: int) -> int:
        """Register of channel 2 in hundredths of m3."""
        return self.readings.register(MAIN, at) * 100 // KWH_PER_M3

    def register(self, channel: int, at: int) -> int:
        """Register of either channel."""
        return self.volume(at) if channel == HEAT_VOLUME else self.readings.register(channel, at)

    def payload(self, at: int, clock: int) -> bytes:
        """The 43 bytes of 901F."""
        energy = self.readings.register(MAIN, at)
        power = energy - self.readings.register(MAIN, at - HOUR)
        settlement = self.settled(at)
        return encode.heat_payload(
            energy,
            0 if settlement is None else settlement,
            clock,
            self.status_word(),
            power=power,
            flow=power * 10_000 // KWH_PER_M3,
            volume=self.volume(at),
            supply=SUPPLY,
            back=BACK if power else SUPPLY,
            hours=(at - self.readings.since) // HOUR,
            utc_offset_minutes=self.utc_offset,
        )
