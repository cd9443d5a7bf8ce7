"""Station edge, gas meter (燃气表): as a water meter, but its valve never opens by a command alone.

The command 55 only permits; a person on site completes it within the time allowed (HM 7.2.11).
"""

from __future__ import annotations

from typing import ClassVar

from msgspec.structs import replace

from meterseal.edge.meter import HOUR
from meterseal.edge.water import VolumeMeter
from meterseal.model import Medium

PERMIT = HOUR
"""How long a permission to open by hand lasts."""


class GasMeter(VolumeMeter):
    """A gas meter, T = 30."""

    medium: ClassVar[Medium] = "gas"

    def turn_valve(self, *, opened: bool, now: int) -> None:
        """Closing is done at once; opening is only permitted, for one hour, to the person at the meter."""
        if not opened:
            self.state = replace(self.state, valve="closed", permit_until=0)
        elif self.state.valve == "closed":
            self.state = replace(self.state, permit_until=now + PERMIT)
