"""The last HELLOs that were refused, so that the keys doctor can look at them; in memory and bounded.

A HELLO carries no secret. Whoever floods with HELLOs in a meter's name pushes out that meter's alone, and for each code
of refusal one is kept, so a forged one does not hide another kind of trouble.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

MOST_METERS = 1024
MOST_EACH = 8
LONGEST = 512


class RefusedHello(NamedTuple):
    """A HELLO, when it came, and the code of its refusal."""

    at: int
    code: str
    message: bytes


class RefusedHellos:
    """By the device id that they claim."""

    def __init__(self) -> None:
        self._meters: OrderedDict[bytes, OrderedDict[str, RefusedHello]] = OrderedDict()

    def note(self, device_id: bytes, message: bytes, code: str, at: int) -> None:
        """Keep a refused HELLO; one without an id, or too long, is not kept."""
        if len(device_id) != 8 or len(message) > LONGEST:
            return
        kept = self._meters.setdefault(device_id, OrderedDict())
        self._meters.move_to_end(device_id)
        kept[code] = RefusedHello(at, code, message)
        kept.move_to_end(code)
        while len(kept) > MOST_EACH:
            kept.popitem(last=False)
        while len(self._meters) > MOST_METERS:
            self._meters.popitem(last=False)

    def last(self, device_id: bytes) -> RefusedHello | None:
        """The newest of a meter."""
        kept = self._meters.get(device_id)
        return kept[next(reversed(kept))] if kept else None
