"""What an operator may ask about alarms over the Unix socket: the request and its answer, no behaviour (`app.commanding`
answers).

Commands import it, so it loads no store.
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.security.orders import CommandRoom
from meterseal.things.alarm import Count


class Since(Struct, frozen=True, kw_only=True):
    """From when on; 0 for ever."""

    at: int = 0


class Alarms(Struct, frozen=True, kw_only=True):
    """How often each code was refused or held, most frequent first; words by kind and state.

    `keys_put_back_at` is when the security service's log was found not to hold what it held (`things.witness`).
    """

    alarms: list[Count]
    words: dict[str, dict[str, int]]
    keys_put_back_at: int | None = None
    room: CommandRoom | None = None
