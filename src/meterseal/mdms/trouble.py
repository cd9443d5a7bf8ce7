"""Station MDMS, what is wrong with a store now: why it takes no readings, why its work waits, what cannot be read.

It tries nothing again; who works says how the last try went, and what went well is no trouble any more.
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.errors import MetersealError

REFUSES = "readings are not accepted"
WAITS = "evidence and compaction wait"
DAMAGED = "readings cannot be read"
PARTLY = "forecasts leave readings out"


class Trouble(Struct, frozen=True):
    """`what` does not go well, by the last try, and what to do about it."""

    what: str
    code: str
    sentence: str


class Troubles:
    """What did not go well the last time; may be used from any thread."""

    def __init__(self) -> None:
        self._known: dict[str, Trouble] = {}

    def failed(self, what: str, error: MetersealError) -> None:
        """A try failed."""
        self._known[what] = Trouble(what, error.code, error.message)

    def over(self, what: str) -> None:
        """A try went well."""
        self._known.pop(what, None)

    def said(self) -> tuple[Trouble, ...]:
        """Everything that is wrong now."""
        return tuple(trouble for _, trouble in sorted(self._known.items()))
