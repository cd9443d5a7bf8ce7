"""Station edge, what meters on CJ/T 188 share: 901F with registers, clock and status, asked for or reported.

It knows no medium; `water`, `gas` and `heat` give the payload.
"""

from __future__ import annotations

from abc import abstractmethod

from meterseal.edge.meter import Meter
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame


class GatheredMeter(Meter):
    """A meter that is read whole by one identifier (CJ/T 188 section 6.3)."""

    @abstractmethod
    def payload(self, at: int, clock: int) -> bytes:
        """Data of 901F for the registers at `at`, with the clock as the meter shows it."""

    def read(self, frame: Frame, now: int) -> bytes | None:
        if len(frame.data) != 3:
            return None
        if ids.read_di(frame.data)[0] == ids.METERING:
            return self.payload(now, self.clock(now))
        return self.history(frame, now)

    def reports(self, at: int) -> list[Frame]:
        return [encode.current_data_answer(self.device_id, self.payload(at, at))]
