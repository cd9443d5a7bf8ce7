"""The operator's desk for data out: visible readings by the page, as those who export them ask for it.

It writes no file and no format (`cli.export`, `mdms.export` do). Whoever may speak over the Unix socket may export.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct

from meterseal.errors import LocalError
from meterseal.mdms.export.history import Held, held
from meterseal.mdms.export.series import Page, Since
from meterseal.mdms.service import Mdms
from meterseal.mesh.rpc import OPERATOR, Empty, Method, Methods
from meterseal.things.fleet import Fleet


class ExportPage(Struct, frozen=True, kw_only=True):
    """Readings with since <= end_at < until of all channels, or of one meter's usage point, from the channel behind
    `after` on; with `as_of` (Unix ms) as they were visible then.
    """

    since: int
    until: int
    device_id: bytes = b""
    as_of: int | None = None
    after: tuple[str, int] | None = None
    entries: Since | None = None
    """Only what these journal entries changed; None for everything up to the newest."""


class AskStore(Struct, frozen=True, kw_only=True):
    """Which store is this, and what was the root of its ledger over so many leaves?"""

    leaves: int = 0


class Store(Struct, frozen=True, kw_only=True):
    """Which store this is, its newest journal entry, and its ledger: how many leaves, the root over them, and the root
    over as many as were asked for, empty where it has fewer; roots in hex.
    """

    store_id: str
    sequence: int
    removed: int = 0
    """Readings that were rolled up so far."""
    leaves: int = 0
    root: str = ""
    root_then: str = ""


class Multipliers(Struct, frozen=True, kw_only=True):
    """Whether a multiplier was ever stated here, and all that are not 1."""

    stated: bool
    held: tuple[Held, ...]


class ExportDesk:
    """Answers pages off the event loop: opening segments takes a while."""

    def __init__(self, measurements: Mdms, fleet: Fleet) -> None:
        self._measurements = measurements
        self._fleet = fleet

    def methods(self) -> Methods:
        """The table that the Unix socket serves."""
        return {
            "export": Method(self.page, ExportPage, frozenset({OPERATOR})),
            "store": Method(self.store, AskStore, frozenset({OPERATOR})),
            "multipliers": Method(self.multipliers, Empty, frozenset({OPERATOR})),
        }

    async def store(self, _: str, asked: AskStore) -> Store:
        """Which store this is, and how far it has come."""
        return await asyncio.to_thread(self._store, asked.leaves)

    def _store(self, asked: int) -> Store:
        store_id, sequence = self._measurements.position()
        ledger = self._measurements.ledger
        leaves = ledger.take_up()
        return Store(
            store_id=store_id,
            sequence=sequence,
            removed=self._measurements.rollups.readings(),
            leaves=leaves,
            root=ledger.root(leaves).hex(),
            root_then=ledger.root(asked).hex() if 0 <= asked <= leaves else "",
        )

    async def multipliers(self, _: str, asked: Empty) -> Multipliers:
        """Every multiplier of all time, as it is known now."""
        stated, found = await asyncio.to_thread(self._measurements.multipliers)
        return Multipliers(stated=stated, held=tuple(held(found)))

    async def page(self, _: str, asked: ExportPage) -> Page:
        """The next channels. LocalError `use.period` when the period ends before it begins."""
        if asked.until <= asked.since:
            raise LocalError(
                "use.period", "The period to export ends before it begins; give --since before --until."
            )
        usage_point = self._fleet.device(asked.device_id).usage_point if asked.device_id else None
        return await asyncio.to_thread(
            self._measurements.page,
            asked.since,
            asked.until,
            asked.as_of,
            asked.after,
            usage_point,
            asked.entries,
        )
