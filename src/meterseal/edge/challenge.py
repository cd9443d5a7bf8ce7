"""Station edge, inside the module: the one challenge that is outstanding.

It decides nothing about answers. It ends with whatever answer names it, good or bad; with the next GET
CHALLENGE; after 64 further commands; and two minutes after it was given, by the times that commands carry. A
module has no clock of its own: a controller that never says a time leaves the count alone to end it.
"""

from __future__ import annotations

from meterseal.edge.apdu import Sw
from meterseal.edge.refusal import need

COMMANDS = 64
LIFETIME = 120_000
"""Two minutes, in ms."""


class Challenge:
    """At most one; a power cut ends it."""

    def __init__(self) -> None:
        self._value = b""
        self._commands = 0
        self._at: int | None = None
        self._heard: int | None = None

    def issue(self, value: bytes) -> None:
        """This one is outstanding from now on, any other is not; empty for none."""
        self._value, self._commands, self._at = value, 0, self._heard

    def pass_command(self, now: int | None) -> None:
        """A command came, and said this time (Unix ms) if it says one."""
        self._commands += 1
        if now is not None:
            self._heard = now
            if self._at is None:
                self._at = now

    def take(self) -> bytes:
        """The challenge, which is used by that. Refused with 6985 when none is outstanding."""
        value, self._value = self._value, b""
        need(bool(value) and self._commands <= COMMANDS, Sw.CONDITIONS)
        if self._at is not None and self._heard is not None:
            need(0 <= self._heard - self._at <= LIFETIME, Sw.CONDITIONS)
        return value
