"""Station edge, gas meter (燃气表): as a water meter, but its valve never opens by a command alone.

The command 55 only permits; a person on site completes it within the time allowed (HM 7.2.11). That is its design
(`metering.design.GAS`), so nothing here could forget it.
"""

from __future__ import annotations

from typing import ClassVar

from meterseal.edge.metering.design import GAS
from meterseal.edge.water import VolumeMeter
from meterseal.model import Medium

PERMIT = GAS.permit
"""How long a permission to open by hand lasts."""


class GasMeter(VolumeMeter):
    """A gas meter, T = 30."""

    medium: ClassVar[Medium] = "gas"
