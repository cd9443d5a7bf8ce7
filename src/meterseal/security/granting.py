"""How many commands go out in a minute: to a zone, to all, and how many of them may cut or give a supply.

It judges no order (`commanding` does). Counts stand in the book of acts, so a restart does not empty them.
"""

from __future__ import annotations

import sqlite3

from meterseal.errors import LocalError, TrustError
from meterseal.security.book import Book
from meterseal.security.orders import CommandPolicy, CommandPolicyChange, CommandRoom, ZoneRoom

MINUTE = 60_000
_POLICY = "command-policy"
_KEPT_MINUTES = 24 * 60
_EVERYWHERE = ""
"""The zone under which all commands of a minute are counted together; no order can name it."""
_SUPPLY = "\x1f"
"""Stands before a zone's name where what cuts or gives a supply is counted; no zone's name has it."""


class Granting:
    """The limits of one project, and what was granted under them."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.policy = book.read(_POLICY, CommandPolicy, CommandPolicy())

    def set_policy(self, change: CommandPolicyChange) -> None:
        """Other limits from now on; LocalError `security.request` for impossible ones."""
        sane = (
            1 <= change.signatures <= 2
            and change.supply_per_zone_minute >= 0
            and 0 <= change.per_zone_minute <= change.per_minute <= 1_000_000
            and 0 <= change.supply_bulk <= 5000
        )
        if not sane:
            raise LocalError(
                "security.request",
                "One or two officers sign a command, a zone has at most as many a minute as all zones together, and a bulk "
                "order names at most 5000 devices.",
            )
        policy = CommandPolicy(
            signatures=change.signatures,
            per_zone_minute=change.per_zone_minute,
            per_minute=change.per_minute,
            supply_per_zone_minute=change.supply_per_zone_minute,
            supply_bulk=change.supply_bulk,
        )
        with self._book.transaction() as connection:
            self._book.write(connection, _POLICY, policy)
        self.policy = policy

    def count(self, connection: sqlite3.Connection, zone: str, now: int, *, supply: bool) -> None:
        """Count one command inside a transaction; TrustError `security.command-limit` where it is one too many."""
        minute, policy = now // MINUTE, self.policy
        counted = [(_EVERYWHERE, policy.per_minute), (zone, policy.per_zone_minute)]
        if supply:
            counted.append((_SUPPLY + zone, policy.supply_per_zone_minute))
        for name, limit in counted:
            row = connection.execute(
                "SELECT count FROM granted WHERE zone = ? AND minute = ?", (name, minute)
            ).fetchone()
            count = 1 + (row[0] if row else 0)
            if count > limit:
                what = " for valves, relays and loads" if name.startswith(_SUPPLY) else ""
                raise TrustError(
                    "security.command-limit",
                    f"{'The system' if name == _EVERYWHERE else 'The zone'} has had its {limit} commands{what} of this "
                    "minute; send it again in a minute, or let two officers raise the limit.",
                )
            connection.execute("INSERT OR REPLACE INTO granted VALUES (?, ?, ?)", (name, minute, count))
        connection.execute("DELETE FROM granted WHERE minute < ?", (minute - _KEPT_MINUTES,))

    def room(self, now: int, zones_of: tuple[str, ...] = ()) -> CommandRoom:
        """What is left in this minute."""
        minute = now // MINUTE
        rows = dict(
            self._book.store.rows("SELECT zone, count FROM granted WHERE minute = ? ORDER BY zone", minute)
        )
        names = sorted(name for name in rows if name != _EVERYWHERE and not name.startswith(_SUPPLY))
        return CommandRoom(
            policy=self.policy,
            granted=rows.get(_EVERYWHERE, 0),
            zones=tuple(
                ZoneRoom(zone=name, granted=rows[name], supply=rows.get(_SUPPLY + name, 0)) for name in names
            ),
            next_minute_at=(minute + 1) * MINUTE,
            zones_of=zones_of,
        )
