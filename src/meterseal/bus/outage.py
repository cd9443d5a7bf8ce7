"""One sentence when something goes wrong and one count when it is over: for work that is tried again and again.

It decides nothing about trying; who works tells it how each try went.
"""

from __future__ import annotations

import structlog

from meterseal.errors import MetersealError

log = structlog.get_logger()


class Outage:
    """What is said of one kind of failing work until it goes well again: each code once, with its sentence."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._times: dict[str, int] = {}

    def failed(self, error: MetersealError) -> None:
        """A try failed: said in full when its code is new in this outage, and counted."""
        if error.code not in self._times:
            log.warning(self._event, code=error.code, message=error.message)
        self._times[error.code] = self._times.get(error.code, 0) + 1

    def over(self) -> None:
        """A try went well: what failed until now is closed with its counts."""
        for code, times in self._times.items():
            log.warning(f"{self._event}.over", code=code, times=times)
        self._times.clear()
