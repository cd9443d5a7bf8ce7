"""Makes the bundle of a bill: the bill, who signed its registers, and the leaves of the ledger that hold them.

It checks nothing (`utility.bundle` does, at whoever gets it) and is for the customer alone: it holds salts.

A leaf goes out only when all of it was said within the customer's own time, so that nobody is shown a day of who lived
there before. An erased customer has no bundle any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import sqlalchemy as sa

from meterseal.control import read
from meterseal.control.tables import agreements, customers
from meterseal.errors import LocalError, TrustError
from meterseal.link.evidence import unpack
from meterseal.mdms.ledger.checkpoints import Checkpoints
from meterseal.mdms.ledger.leaves import Added, Delivered, Leaf, RolledUp, day_of, instants
from meterseal.mdms.ledger.ledger import Proven
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.rows import EVER
from meterseal.security.checkpoints import read as read_note
from meterseal.security.sdk import SecuritySdk
from meterseal.utility.arithmetic import registers
from meterseal.utility.bills import Bill
from meterseal.utility.bundle import Bundle, ModuleChain, ProvenRecord
from meterseal.utility.service import Utility


class Bundles:
    """Bundles of one system."""

    def __init__(
        self,
        engine: sa.Engine,
        mdms: Mdms,
        utility: Utility,
        checkpoints: Checkpoints,
        security: SecuritySdk,
    ) -> None:
        self._engine = engine
        self._mdms = mdms
        self._utility = utility
        self._checkpoints = checkpoints
        self._security = security

    async def of(self, bill_id: str) -> Bundle:
        """The bundle of a bill, under the newest checkpoint.

        Raises LocalError `bill.none`, `bill.erased`; errors of `Checkpoints.make`.
        """
        bill = await asyncio.to_thread(self._utility.bill, bill_id)
        since, until = await asyncio.to_thread(self._own_time, bill)
        note = await self._checkpoints.make()
        head = await self._security.ledger_head()
        size = read_note(note).size
        wanted = sorted({(edge.end_at, channel) for channel, edge in registers(bill)})
        proven = await asyncio.to_thread(lambda: list(self._proven(bill, wanted, since, until, size)))
        return Bundle(
            bill=bill,
            modules=await self._modules(bill, wanted),
            root=head.root,
            checkpoint=note,
            ledger_keys=head.keys,
            records=tuple(
                ProvenRecord(
                    number=one.number,
                    digest=one.digest,
                    salt=one.salt,
                    plaintext=one.plaintext.decode(),
                    path=tuple(one.path),
                )
                for one in proven
            ),
        )

    def _own_time(self, bill: Bill) -> tuple[int, int]:
        query = (
            sa.select(agreements.c.since, agreements.c.until, customers.c.erased_at)
            .join(customers, customers.c.id == agreements.c.customer_id)
            .where(agreements.c.id == bill.agreement_id)
        )
        with read(self._engine) as connection:
            row = connection.execute(query).one()
        if row.erased_at is not None:
            raise LocalError(
                "bill.erased",
                f"Bill {bill.bill_id} belongs to nobody any more: its customer was erased, and with the customer what "
                "would prove its readings.",
            )
        return row.since, row.until or EVER

    def _proven(
        self, bill: Bill, wanted: list[tuple[int, int]], since: int, until: int, size: int
    ) -> Iterator[Proven]:
        """Of each (instant, channel) on the bill the records that speak of it."""
        ledger = self._mdms.ledger
        seen = set()
        for at, channel in wanted:
            for number, made, leaf in ledger.of(bill.usage_point, day_of(at), day_of(at), size):
                first, last = instants(leaf)
                if number in seen or not since <= first <= last <= until or not _speaks_of(leaf, at, channel):
                    continue
                seen.add(number)
                proven = ledger.proven(number, made, leaf.owner, size)
                if proven is not None:
                    yield proven

    async def _modules(self, bill: Bill, wanted: list[tuple[int, int]]) -> tuple[ModuleChain, ...]:
        found: dict[bytes, ModuleChain] = {}
        for at, channel in wanted:
            facts = await asyncio.to_thread(self._mdms.evidence_at, bill.usage_point, channel, at)
            if facts is None or facts.suite != 1 or facts.device_id in found:
                continue
            try:
                module = await self._security.device_facts(facts.device_id, facts.module_id)
            except TrustError:
                continue  # nobody enrolled such a module: its signatures are not shown as any
            found[facts.device_id] = ModuleChain(device_id=facts.device_id, chain=tuple(module.chain))
        return tuple(found.values())


def _speaks_of(leaf: Leaf, at: int, channel: int) -> bool:
    if isinstance(leaf, Delivered | RolledUp):
        return False
    if isinstance(leaf, Added):
        version = leaf.version
        spans = [(version.channel, version.start_at, version.step, len(version.registers))]
    else:
        stated = (unpack(one.statement) for one in leaf.evidence)
        if any((one.end_at, one.channel) == (at, channel) for one in stated):
            return True
        spans = [(one.channel, one.start_at, one.step, len(one.registers)) for one in leaf.series]
    return any(
        of == channel and start <= at <= start + step * (count - 1) for of, start, step, count in spans
    )
