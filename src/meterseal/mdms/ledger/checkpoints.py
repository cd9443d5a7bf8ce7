"""Station MDMS, checkpoints: has the ledger's tree signed from time to time, and keeps every checkpoint.

It signs nothing itself (the security service does, and remembers the last) and compares nothing with readings
(`audit` does).
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import sqlalchemy as sa
import structlog

from meterseal.bus.outage import Outage
from meterseal.control.engine import read as reading
from meterseal.control.engine import write
from meterseal.control.tables import ledger_checkpoints as table
from meterseal.control.writes import insert_new
from meterseal.errors import DataError, MetersealError
from meterseal.mdms.ledger.ledger import Ledger
from meterseal.security.checkpoints import Checkpoint, read, verified
from meterseal.security.ledgerorders import LedgerHead, SignCheckpoint

log = structlog.get_logger()
EVERY = 600.0
"""Seconds between looks for leaves that no checkpoint covers."""


class Signer(Protocol):
    """The security service's two calls."""

    async def ledger_head(self) -> LedgerHead:
        """The newest checkpoint that it signed, and its keys."""

    async def sign_checkpoint(self, asked: SignCheckpoint) -> LedgerHead:
        """The next one."""


class Checkpoints:
    """The checkpoints of one store, kept as the notes that were signed."""

    def __init__(self, engine: sa.Engine, ledger: Ledger, signer: Signer) -> None:
        self._engine = engine
        self._ledger = ledger
        self.signer = signer
        self._one = asyncio.Lock()
        self._outage = Outage("ledger.checkpoint-failed")

    async def make(self) -> str:
        """The newest checkpoint, after a new one was signed when the tree has grown.

        Raises DataError `mdms.ledger-cut` or `mdms.ledger-changed` when the tree is not the one that was signed before;
        TrustError `security.ledger-*` when the service says so; EngineError when it is away.
        """
        async with self._one:
            size = await asyncio.to_thread(self._ledger.take_up)
            head = await self.signer.ledger_head()
            note = await asyncio.to_thread(self._adopt, head)
            before = read(note) if note else None
            proof: list[bytes] = []
            root = await asyncio.to_thread(self._ledger.root, size)
            if before is not None and not head.reset:
                if before.store_id != self._ledger.store_id or before.size > size:
                    raise cut(before, size)
                if await asyncio.to_thread(self._ledger.root, before.size) != before.root:
                    raise changed(before)
                if before.size == size:
                    return note
                proof = await asyncio.to_thread(self._ledger.consistency, before.size, size)
            signed = await self.signer.sign_checkpoint(
                SignCheckpoint(
                    store_id=self._ledger.store_id,
                    size=size,
                    root=root,
                    begins=self._ledger.begins,
                    proof=tuple(proof),
                    newest=note if note != head.note else "",
                )
            )
            made = verified(signed.note, signed.keys)
            await asyncio.to_thread(self._keep, made, signed.note)
            log.info("ledger.checkpoint", number=made.number, size=made.size)
            return signed.note

    def newest(self) -> str:
        """The newest checkpoint that is kept, "" when there is none."""
        return newest_of(self._engine)

    def every(self) -> list[tuple[int, str]]:
        """(number, note) of every checkpoint, oldest first."""
        query = sa.select(table.c.number, table.c.note).order_by(table.c.number)
        with reading(self._engine) as connection:
            return [(row.number, row.note) for row in connection.execute(query)]

    async def look(self) -> None:
        """Make one when the tree has grown; what hinders it is said in the log, each kind once."""
        try:
            await self.make()
            self._outage.over()
        except MetersealError as error:
            self._outage.failed(error)
        except Exception as error:  # noqa: BLE001  # a defect here must not end the work for good
            log.critical("ledger.checkpoint-defect", fault=type(error).__name__)

    async def run(self) -> None:
        """Look from time to time until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.look()

    def _adopt(self, head: LedgerHead) -> str:
        """The newer of what is kept and what the service signed last, which a crash may have kept from us."""
        mine = self.newest()
        if head.note:
            theirs = verified(head.note, head.keys)
            if not mine or theirs.number > read(mine).number:
                self._keep(theirs, head.note)
                return head.note
        return mine

    def _keep(self, checkpoint: Checkpoint, note: str) -> None:
        row = {"number": checkpoint.number, "size": checkpoint.size, "at": checkpoint.at, "note": note}
        with write(self._engine) as connection:
            insert_new(connection, table, [row])


def newest_of(engine: sa.Engine) -> str:
    """The newest checkpoint that a control store keeps, "" when there is none. DataError `mdms.checkpoint` when it is no
    text any more."""
    query = sa.select(table.c.note).order_by(table.c.number.desc()).limit(1)
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    if row is not None and type(row.note) is not str:
        raise DataError(
            "mdms.checkpoint",
            "The newest checkpoint that is kept here is no text: it was changed. Restore the control store from a backup. "
            "Run: meterseal ledger verify",
        )
    return row.note if row is not None else ""


def cut(before: Checkpoint, size: int) -> DataError:
    """The tree is shorter than one that was signed."""
    return DataError(
        "mdms.ledger-cut",
        f"Checkpoint {before.number} was signed over {before.size} leaves of {before.store_id}, and the ledger here has "
        f"{size}: its end was cut off, or an older copy was put back. Compare with a backup; after a restore two officers "
        "order ledger-reset.",
        leaf=size,
    )


def changed(before: Checkpoint) -> DataError:
    """The tree does not begin with one that was signed."""
    return DataError(
        "mdms.ledger-changed",
        f"The first {before.size} leaves are not those of checkpoint {before.number}: what was accepted was changed. Run: "
        "meterseal ledger verify",
    )
