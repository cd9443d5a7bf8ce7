"""The operator's desk of the ledger: checkpoints, proofs, bundles of bills, and what the portal publishes of it.

It proves nothing itself (`mdms.ledger`), compares nothing (`comparing`) and signs nothing (the security service).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from meterseal.app.bundling import Bundles
from meterseal.app.comparing import Comparing, Since
from meterseal.app.operator import BillQuery, Text, as_json
from meterseal.app.rowwatch import RowWatch
from meterseal.errors import DataError, LocalError
from meterseal.mdms.ledger.checkpoints import Checkpoints
from meterseal.mdms.ledger.ledger import Ledger
from meterseal.mdms.service import Mdms
from meterseal.mesh.rpc import OPERATOR, Empty, Method, Methods, offered_to
from meterseal.people.ledger import LedgerCheckpoint, LedgerConsistency, LedgerInclusion, Published
from meterseal.people.messages import method_of
from meterseal.people.queries import CALLERS
from meterseal.security.checkpoints import read
from meterseal.security.sdk import SecuritySdk
from meterseal.things.anchoring import TrailAnchoring
from meterseal.utility.bundle import packed

BILLED = frozenset(
    (
        "agreements",
        "bills",
        "customers",
        "former_installations",
        "ledger_checkpoints",
        "meter_changes",
        "meters",
        "point_facts",
        "tariffs",
        "usage_points",
    )
)
"""What bills are counted with and proved under, as `control.rowcheck` names its rows."""


def _bears_on_bills(where: str) -> bool:
    """Is it of such a table, or of the trail itself or the file, so that it may be of any?"""
    table, of_a_row, _ = where.partition(", row ")
    return not of_a_row or table in BILLED


class LedgerDesk:
    """What the Unix socket serves about the ledger."""

    def __init__(
        self,
        engine: sa.Engine,
        mdms: Mdms,
        checkpoints: Checkpoints,
        anchoring: TrailAnchoring,
        rows: RowWatch,
        security: SecuritySdk,
        bundles: Bundles,
    ) -> None:
        self._bundles = bundles
        self.comparing = Comparing(engine, mdms, checkpoints, anchoring, rows, security)
        self._engine = engine
        self._mdms = mdms
        self._checkpoints = checkpoints
        self._rows = rows
        self._security = security
        self._told: Published | None = None
        """What was published last; strangers ask often, and each question to the security service is work of its own."""

    def methods(self) -> Methods:
        """The table, to be joined with the desk's."""
        return offered_to(
            OPERATOR,
            {
                "ledger_checkpoint": (self.checkpoint, Empty),
                "ledger_inclusion": (self.inclusion, LedgerInclusion),
                "ledger_consistency": (self.consistency, LedgerConsistency),
                "ledger_verify": (self.comparing.verify, Since),
                "bill_bundle": (self.bundle, BillQuery),
            },
        )

    def public(self) -> Methods:
        """What the portal publishes for everybody."""
        table: list[tuple[type[Struct], Callable[[Any], Awaitable[Struct]]]] = [
            (LedgerCheckpoint, self._newest),
            (LedgerInclusion, self._included),
            (LedgerConsistency, self._grown),
        ]
        return {method_of(kind): Method(_plain(answer), kind, CALLERS) for kind, answer in table}

    async def _newest(self, asked: LedgerCheckpoint) -> Published:
        note = await asyncio.to_thread(self._checkpoints.newest)
        if (
            self._told is None or self._told.note != note
        ):  # a key is new only with a checkpoint that it signed
            head = await self._security.ledger_head()
            self._told = Published(json=as_json({"keys": head.keys, "root": head.root}), note=note)
        return self._told

    async def _included(self, asked: LedgerInclusion) -> Published:
        newest = await self._signed(asked.size)
        return Published(json=as_json(await asyncio.to_thread(inclusion, self._mdms.ledger, asked, newest)))

    async def _grown(self, asked: LedgerConsistency) -> Published:
        newest = await self._signed(asked.new)
        return Published(json=as_json(await asyncio.to_thread(consistency, self._mdms.ledger, asked, newest)))

    async def _signed(self, size: int) -> int:
        """Leaves under the newest checkpoint. What came since is nobody's to watch coming; LocalError `crypto.tree`."""
        newest = await asyncio.to_thread(self._size)
        if size > newest:
            raise LocalError(
                "crypto.tree", f"No checkpoint has {size} leaves yet; ask for {newest} or fewer."
            )
        return newest

    async def checkpoint(self, _: str, asked: Empty) -> Text:
        """The newest checkpoint, after a new one was signed when the tree has grown; and who may have signed it."""
        note = await self._checkpoints.make()
        head = await self._security.ledger_head()
        return Text(json=as_json({"note": note, "keys": head.keys, "root": head.root}))

    async def inclusion(self, _: str, asked: LedgerInclusion) -> Text:
        """A leaf's hash and its audit path."""
        return Text(json=as_json(await asyncio.to_thread(inclusion, self._mdms.ledger, asked, self._size())))

    async def consistency(self, _: str, asked: LedgerConsistency) -> Text:
        """The proof that the tree only grew."""
        return Text(
            json=as_json(await asyncio.to_thread(consistency, self._mdms.ledger, asked, self._size()))
        )

    async def bundle(self, _: str, asked: BillQuery) -> Text:
        """A bill with what proves it, for its customer. DataError `bill.rows-changed` while rows that bills are counted
        with are not as they were written.
        """
        looked = await self._rows.look(BILLED)
        changed = [one.where for one in looked.differences if _bears_on_bills(one.where)]
        if not changed and looked.compared.more:
            changed = [
                f"One of {looked.compared.more} further rows"
            ]  # nobody hides a row behind a hundred others
        if changed:
            raise DataError(
                "bill.rows-changed",
                f"{changed[0]} is not as this platform wrote it, and bills are counted with it. No proof of a bill is made "
                "meanwhile. Run: meterseal ledger verify",
            )
        return Text(json=packed(await self._bundles.of(asked.bill_id)))

    def _size(self) -> int:
        note = self._checkpoints.newest()
        return read(note).size if note else 0


def inclusion(ledger: Ledger, asked: LedgerInclusion, newest: int) -> dict[str, object]:
    """LocalError `crypto.tree` when there is no such leaf or tree."""
    size = asked.size or newest
    leaf, path = ledger.inclusion(asked.leaf, size)
    return {"leaf": asked.leaf, "hash": leaf, "size": size, "root": ledger.root(size), "path": path}


def consistency(ledger: Ledger, asked: LedgerConsistency, newest: int) -> dict[str, object]:
    """LocalError `crypto.tree` when there are no such trees."""
    new = asked.new or newest
    path = ledger.consistency(asked.old, new)
    return {
        "old": asked.old,
        "old_root": ledger.root(asked.old),
        "new": new,
        "new_root": ledger.root(new),
        "path": path,
    }


def _plain(answer: Callable[[Any], Awaitable[Struct]]) -> Callable[[str, Any], Awaitable[Struct]]:
    async def answered(caller: str, question: Any) -> Struct:
        return await answer(question)

    return answered
