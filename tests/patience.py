"""How long a test with real sockets or lines waits for something."""

from __future__ import annotations

import time


class Patience:
    """So many seconds, and no fewer of them than this process got to work in: on a busy machine it waits for its turn."""

    WORK = 3.0

    def __init__(self, seconds: float) -> None:
        self._until, self._worked = time.monotonic() + seconds, time.process_time() + self.WORK

    def over(self) -> bool:
        return time.monotonic() > self._until and time.process_time() > self._worked
