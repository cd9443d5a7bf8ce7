"""Station MDMS, what is done with the store as a whole: compaction, copies, looks over all of it, roll-ups, newer keys.

It takes in nothing and judges nothing; every method is of the one facade (`service`), beside the others at work.
"""

from __future__ import annotations

import asyncio
from abc import ABC
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import structlog
from msgspec.structs import replace

from meterseal.control.rings import MEASUREMENTS
from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, EngineError
from meterseal.mdms.commit import Committer
from meterseal.mdms.entries import Entry, Rollup
from meterseal.mdms.forecasts import Forecasts
from meterseal.mdms.integrity import Integrity, Look
from meterseal.mdms.judging import Judging
from meterseal.mdms.ledger.checkpoints import Checkpoints
from meterseal.mdms.ledger.ledger import Ledger
from meterseal.mdms.ledger.progress import Progress
from meterseal.mdms.ledger.verdict import Erasure, Verdict
from meterseal.mdms.ledger.walk import Walk
from meterseal.mdms.moment import Moment, Resting
from meterseal.mdms.rollups import RolledMonth
from meterseal.mdms.store.compact import Compacted, compact, merge
from meterseal.mdms.store.journal import Journal
from meterseal.mdms.store.manifest import Checkpoint
from meterseal.mdms.threads import whole
from meterseal.mdms.turning import Turning
from meterseal.mdms.verifier import EvidenceVerifier

log = structlog.get_logger()


class Keeping(Judging, ABC):
    """The part of the store of measurements that works on all of it at once. Coroutines belong to one event loop."""

    ledger: Ledger
    forecasts: Forecasts
    _directory: Path
    _keys: KeyRing
    _verifier: EvidenceVerifier
    _journal: Journal
    _committer: Committer
    _resting: Resting
    _turning: Turning
    _checking: asyncio.Lock
    _compacting: asyncio.Lock

    async def compact(self) -> Compacted:
        """Move what the journal holds into sealed segments and cut the journal. Nothing to do is no error.

        Small segments are merged afterwards. Raises EngineError or DataError; then what the journal held, it holds
        still, or it is in segments.
        """
        async with self._compacting:
            await self._clear_evidence()
            async with self._committer.quiet:
                with self._store.lock:
                    sequence = self._state.sequence
                    if sequence == self._manifest.sequence:
                        return Compacted(0, 0, 0)
                    checkpoint = Checkpoint(
                        sequence,
                        self._state.counts | self._state.reconciliation.flat(),
                        self._consumed.changed(),
                        self._state.latest_receipt,
                    )
                await whole(self._journal.rotate)
            return await whole(partial(self._compact, checkpoint))

    async def destroy_salts(self, usage_point: str, first_day: int, last_day: int) -> bytes:
        """Destroy the salts of some days of a usage point once their leaves are kept; gives the sealed bytes that are gone.

        Errors as `compact`; then nothing was destroyed.
        """
        while (
            gone := await asyncio.to_thread(self.ledger.destroy, usage_point, first_day, last_day)
        ) is None:
            await self.compact()
        return gone

    async def audit(
        self,
        checkpoints: Checkpoints,
        since: str = "",
        erasures: Sequence[Erasure] = (),
        progress: Progress | None = None,
    ) -> Verdict:
        """Compare all that is stored with the ledger and its checkpoints; nothing is compacted meanwhile.

        `since` is a checkpoint that was kept elsewhere, `erasures` are where salts may be gone, `progress` is told.
        Errors as `Walk.run`.
        """
        await self.settle()
        async with self._compacting, self._checking:  # in this order everywhere
            async with self._committer.quiet:
                walk = await asyncio.to_thread(self._walk, checkpoints, erasures)
                await asyncio.to_thread(walk.journal)
            return await walk.run(since, progress)

    def _walk(self, checkpoints: Checkpoints, erasures: Sequence[Erasure] = ()) -> Walk:
        return Walk(
            directory=self._directory,
            engine=self._engine,
            keys=self._keys,
            store=self._store,
            manifest=self._manifest,
            segments=self.segments(),
            ledger=self.ledger,
            verifier=self._verifier,
            checkpoints=checkpoints,
            sequence=self._state.sequence,
            pending={item.key for item in self._state.pending.values()},
            erasures=erasures,
        )

    async def moment(self, known: Container[str]) -> Moment:
        """Everything that is stored now, held for a copy; `known` are facts of files that need no copy.

        What was answered before the call is in it. Raises EngineError `mdms.*`, `control.*`; then nothing is held.
        """
        await self._clear_evidence()
        async with self._compacting:
            async with self._committer.quiet:
                await whole(self._journal.rotate)
                await asyncio.to_thread(self.ledger.take_up)
                begun = await whole(partial(self._resting.begin, self._engine, self._state.sequence))
            return await whole(partial(self._resting.hold, begun, known))

    async def integrity(self, rings: Mapping[str, KeyRing] = MappingProxyType({})) -> Integrity:
        """Open every piece that is stored and say which do not open, and what is lost; nothing is compacted meanwhile.

        `rings` are further ones of the control store, by name, whose sealed columns are opened with those of this store.
        """
        async with self._compacting:
            async with self._committer.quiet:
                await whole(self._journal.rotate)
                look = Look(self._keys, self._store, self.segments(), self.ledger, self.forecasts)
                await whole(partial(look.journal, self._directory / "journal", self._manifest))
            return await whole(partial(look.rest, self._engine, {MEASUREMENTS: self._keys, **rings}))

    # --- rolling up ---------------------------------------------------------------------------------

    async def try_roll_up(
        self, wanted: Sequence[Rollup], told: Callable[[int, int], None] = lambda *_: None
    ) -> list[RolledMonth]:
        """What would go with these; nothing is changed. `told` as `Rollups.tried`, errors as `roll_up`."""
        await self.compact()
        async with self._compacting:
            return await whole(lambda: list(self.rollups.tried(list(wanted), told)))

    async def roll_up(
        self, wanted: Sequence[Rollup], told: Callable[[int, int, RolledMonth], None] = lambda *_: None
    ) -> list[RolledMonth]:
        """Let these hold from here on, and take away what goes with them, month by month while everything runs.

        With none it goes on with what an end of the process left. Once they hold they hold for good: what is left to do
        is done by the next call. `told` gets each month that was gone through, as the how manieth of how many. Raises
        DataError `mdms.segment-damaged`, EngineError `mdms.*`, `control.*`.
        """
        for rollup in wanted:
            await self._committer.entry(Entry(rolled=(rollup,)))
        await self.compact()
        gone = []
        months = await asyncio.to_thread(self.rollups.open)
        for number, (medium, month) in enumerate(months, 1):
            async with self._compacting:
                one = await whole(partial(self.rollups.roll_up, medium, month))
            told(number, len(months), one)
            if one.rows:
                gone.append(one)
        await asyncio.to_thread(self.rollups.finish)
        return gone

    # --- moving to a newer data key -----------------------------------------------------------------

    async def older(self) -> int:
        """Pieces of the store under an older key version, at an instant when no entry is being written."""
        async with self._compacting, self._committer.quiet:
            return await asyncio.to_thread(self._older)

    def _older(self) -> int:
        return self._journal.older() + self._turning.older()

    async def reseal(self) -> int:
        """Move a piece to the newest key version: the journal by compacting it, else one segment or forecast.

        Returns how many pieces moved, 0 when none is left. Errors as `compact`.
        """
        if moved := await asyncio.to_thread(self._journal.older):
            await self.compact()
            async with self._committer.quiet:
                self._journal.forget(self._manifest.sequence)
            return moved
        async with self._compacting:
            return await whole(self._turning.move)

    async def _clear_evidence(self) -> None:
        try:
            await self.settle()
        except (EngineError, DataError) as error:
            log.warning("mdms.unchecked", code=error.code)  # it goes into the book unchecked

    def _compact(self, checkpoint: Checkpoint) -> Compacted:
        self._notes.write()
        self.rollups.keep()
        with self._store.lock:
            waiting = {k: p for k, p in self._state.pending.items() if p.batch <= checkpoint.sequence}
        self._findings.append(self._book.keep(list(waiting.values())))
        leaves = self.ledger.keep(checkpoint.sequence)
        done = compact(self._store, self._manifest, replace(checkpoint, counts=checkpoint.counts | leaves))
        self.ledger.kept(leaves, checkpoint.sequence)
        with self._store.lock:
            self._consumed.stored(checkpoint.consumed)
            for key in waiting:
                self._state.pending.pop(key, None)
        self._journal.forget(checkpoint.sequence)
        merge(self._store, self._manifest)
        return done
