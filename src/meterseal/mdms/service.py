"""Station MDMS, the facade: batches in, durable before the answer; readings, evidence and findings out.

It knows no customer, no tariff and no key service; usage points are pseudonyms.

Life of a batch: journal (sealed, synced) -> answer -> memory -> evidence checked -> sealed segments. After a
crash at any step the journal is replayed from the manifest's position, and the state is the one before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import sqlalchemy as sa
import structlog
from msgspec.structs import replace

from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, MetersealError
from meterseal.mdms import entries
from meterseal.mdms.answers import Answers
from meterseal.mdms.bulk import Bulk, pack_bulk
from meterseal.mdms.changes import Changes
from meterseal.mdms.checking import Checking
from meterseal.mdms.commit import Committer
from meterseal.mdms.edits import Edits
from meterseal.mdms.entries import Entry, Version
from meterseal.mdms.evidence import EvidenceBook
from meterseal.mdms.facts import Agreed, Facts
from meterseal.mdms.findings import Findings
from meterseal.mdms.forecast_uses import Shown
from meterseal.mdms.forecasts import Forecasts
from meterseal.mdms.heats import Heats
from meterseal.mdms.ingest import Ingest
from meterseal.mdms.keeping import Keeping
from meterseal.mdms.ledger.ledger import Ledger, without_leaves
from meterseal.mdms.locking import locked
from meterseal.mdms.moment import Resting, forget_pins
from meterseal.mdms.notes import Notes
from meterseal.mdms.places import Places
from meterseal.mdms.quarantine import Quarantine
from meterseal.mdms.reading import Limits
from meterseal.mdms.retracting import taken_back
from meterseal.mdms.rollups import Rollups
from meterseal.mdms.runs import Runs
from meterseal.mdms.state import State
from meterseal.mdms.store.compact import convert, sweep
from meterseal.mdms.store.consumed import Consumed
from meterseal.mdms.store.files import disk
from meterseal.mdms.store.journal import SUFFIX as JOURNAL
from meterseal.mdms.store.journal import Journal
from meterseal.mdms.store.manifest import Manifest
from meterseal.mdms.store.order import Order
from meterseal.mdms.store.rows import Words
from meterseal.mdms.store.segments import SUFFIX as SEGMENT
from meterseal.mdms.store.store import Store
from meterseal.mdms.store.strict import LookingJournal
from meterseal.mdms.surroundings import Surroundings
from meterseal.mdms.threads import whole
from meterseal.mdms.trouble import REFUSES, Trouble, Troubles
from meterseal.mdms.turning import Turning
from meterseal.mdms.unreadable import Missing
from meterseal.mdms.upkeep import Upkeep, Works
from meterseal.mdms.vee.channel import ReadOff
from meterseal.mdms.verifier import EvidenceVerifier
from meterseal.model import Batch

BEHIND = 2
"""Columns wait for a compaction when so many times the rows lie in memory at which one begins."""

log = structlog.get_logger()


class Mdms(Keeping):
    """The store of measurements of one data directory. Open it with `Mdms.open`; questions are in `Reading`.

    Coroutines belong to one event loop; questions may be asked from any thread.
    """

    _lock_file: int | None = None
    _begun = False

    def __init__(
        self,
        directory: Path,
        engine: sa.Engine,
        keys: KeyRing,
        verifier: EvidenceVerifier,
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        self._limits = limits
        self._keys = keys
        self._verifier = verifier
        self._directory = directory
        self._engine = engine
        self._manifest = Manifest(engine, keys)
        with disk(directory):
            # Files that no manifest names are swept: a control store that is not theirs must not begin one.
            empty = not any(
                next((directory / folder).glob(f"*{suffix}"), None)
                for folder, suffix in (("segments", SEGMENT), ("journal", JOURNAL))
            )
        position, counts, segments = self._manifest.open(empty=empty)
        store_id = self._manifest.store_id
        segment_directory = directory / "segments"
        with disk(directory):
            segment_directory.mkdir(mode=0o700, exist_ok=True)
        self._store = Store(segment_directory, keys, Words())
        self._order = Order(self._store.words)
        self._state = State(without_leaves(counts))
        self._state.sequence = position
        self._consumed = Consumed(self._manifest.consumed)
        self._answers = Answers(engine, lambda: self._state.sequence, clock)
        self._ingest = Ingest(self._store, self._consumed, self._state)
        self._places = Places(engine)
        self._heats = Heats(engine, keys)
        self.rollups = Rollups(engine, self._store, self._manifest, self._state, self._heats.roll_up)
        self._book = EvidenceBook(engine, self._store, keys, self._places.since)
        self._book.rolled = self.rollups.horizon
        self._findings = Findings(engine, keys, self._manifest.mark)
        self._quarantine = Quarantine(engine, keys)
        self._notes = Notes(
            self._state,
            self._store.lock,
            self._quarantine,
            self._findings,
            self._manifest,
            self._take_clocks,
            self._heats,
        )
        self._journal = Journal(directory / "journal", store_id, keys, self._manifest)
        self.ledger = Ledger(directory / "ledger", store_id, engine, keys, counts, position)
        self.surroundings = Surroundings(engine)
        self.facts = Facts(engine, self.surroundings)
        self.changes = Changes(engine, keys)
        self.runs = Runs(engine, self._store.words, self._manifest.mark)
        self._agreed: Callable[[], Agreed] = dict
        self._read_off: Callable[[str], Mapping[int, ReadOff]] = lambda _: {}
        self._troubles = Troubles()
        self.forecasts = Forecasts(
            directory / "forecasts",
            store_id,
            keys,
            Shown(self._store),
            self._store.words,
            self.surroundings,
            self._places.replaced,
            self.facts.zones,
            Missing(self._findings, self._store.words, self._troubles).forecasts,
            self.facts.multiplied,
            self.facts.sizes,
        )
        self._turning = Turning(keys, self._store, self._manifest, self.ledger, self.forecasts)
        self._evidence = Checking(
            self._state, self._store.lock, verifier, self._book, self._findings, self._take_alarms
        )
        self._committer = Committer(self._commit)
        self.edits = Edits(
            engine,
            keys,
            self._manifest.mark,
            self._store,
            self._how_now,
            self._findings,
            self._committer.alone,
        )
        self.edits.rolled = self.rollups.horizon
        self._checking = asyncio.Lock()
        self._judging_alone = asyncio.Lock()
        self._compacting = asyncio.Lock()
        self._relieving = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._resting = Resting(directory, self._store, self.ledger, keys)
        forget_pins(self._resting.pinned)
        self._store.load(convert(self._store, self._manifest, segments))
        self._replay(position, store_id)
        for kept in (self.runs, self._answers):
            kept.given_up(self._state.sequence)
        # Only now: an older control store than the files' would have been refused by the entries that it misses.
        sweep(self._store, self.segments())
        works = Works(self.compact, self.settle, self._troubles)
        self._upkeep = Upkeep(limits, self._state, self._store, self._journal, self._manifest, works)
        # What was checked before the journal came to be replayed waits no more, and is no second statement.
        for key in self._book.settled(self._state.pending.values()):
            self._state.pending.pop(key, None)

    def _replay(self, position: int, store_id: str) -> None:
        """Take in what the journal has; what cannot be read of it is written down for who decides about it, and refused."""
        try:
            for sequence, content in self._journal.replay(position):
                self._apply(sequence, entries.unpack(content))
        except DataError:
            look = LookingJournal(self._directory / "journal", store_id, self._keys, self._manifest)
            with contextlib.suppress(MetersealError):  # what was refused is said all the same
                self._manifest.unreadable(look.faults(position))
            raise
        self._manifest.took()
        if passed := self._journal.passed:
            self.runs.given_up(min(one.first for one in passed) - 1)

    @classmethod
    def open(
        cls,
        directory: Path,
        engine: sa.Engine,
        keys: KeyRing,
        verifier: EvidenceVerifier,
        limits: Limits | None = None,
        clock: Callable[[], int] = lambda: 0,
    ) -> Mdms:
        """Open or make the store in `directory`; replays what a crash left in the journal. By `clock` (Unix ms) a moment is
        of the past, and answered once for all; by default none is.

        Raises LocalError `mdms.locked` (another process has it open), DataError `mdms.journal-damaged`,
        `mdms.journal-lost` or `mdms.ledger-damaged`, TrustError `sealing.key`, EngineError `mdms.*`, `control.*`.
        """
        with disk(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock_file = locked(directory)
        try:
            opened = cls(directory, engine, keys, verifier, limits or Limits(), clock)
        except BaseException:
            os.close(lock_file)
            raise
        opened._lock_file = lock_file
        return opened

    def start(self) -> None:
        """Check evidence and compact in the background until `close`."""
        self._task = asyncio.create_task(self._upkeep.run())

    async def close(self) -> None:
        """Finish what waits and let go of the directory. What was answered is durable already."""
        await self._committer.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        async with self._compacting, self._checking:
            await whole(self._journal.close)
            self.ledger.close()
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None

    # --- in ---------------------------------------------------------------------------------------

    async def publish(self, batch: Batch) -> None:
        """Return once every record of the batch is durable and its counter consumed.

        Raises EngineError `mdms.full`, `mdms.disk`, `control.*` or `mdms.closed`: then nothing of the batch
        was kept. A record whose counter is consumed already changes nothing.
        """
        await self._committer.submit(batch)
        self._upkeep.wake()

    async def append(self, bulk: Bulk) -> None:
        """Return once all these readings are durable: delivered again, late and contradicting ones as in a record.

        Raises DataError `mdms.columns` or `mdms.unknown-usage-point`, EngineError as `publish`: then nothing was kept.
        While compaction cannot follow, this waits for it.
        """
        columns = await asyncio.to_thread(self._packed, bulk)
        if self._store.recent.weight > BEHIND * self._limits.recent_rows:
            async with self._relieving:
                if self._store.recent.weight > BEHIND * self._limits.recent_rows:
                    await self.compact()
        await self._committer.submit(Batch(), columns=(columns,))
        self._upkeep.wake()

    def _packed(self, bulk: Bulk) -> bytes:
        columns = pack_bulk(bulk)
        self._places.require(bulk.points, bulk.medium)
        return columns

    async def alone(self, make: Callable[[], Iterable[Version]]) -> None:
        """Return once the versions that `make` (worker thread) says are durable; errors as `publish`."""
        await self._committer.alone(make)

    async def revise(self, versions: Iterable[Version]) -> None:
        """Return once these new versions of readings are durable; errors as `publish`."""
        await self._committer.submit(Batch(), versions)

    def _commit(self, entry: Entry) -> None:
        """Worker thread, one call at a time: place, write, apply."""
        try:
            self._commit_now(entry)
        except MetersealError as error:
            self._troubles.failed(REFUSES, error)
            raise
        self._troubles.over(REFUSES)

    def _commit_now(self, entry: Entry) -> None:
        devices = {series.device_id for opened in entry.batch.opened for series in opened.series}
        devices |= {seen.device_id for opened in entry.batch.opened for seen in opened.clocks}
        devices |= {seen.device_id for opened in entry.batch.opened for seen in opened.heats}
        devices |= {evidence.device_id for opened in entry.batch.opened for evidence in opened.evidence}
        placed = replace(entry, places=self._places.of(devices))
        sequence = self._journal.append(entries.pack(placed))
        with self._store.lock:
            self._apply(sequence, placed)

    def _apply(self, sequence: int, entry: Entry) -> None:
        self.ledger.note(sequence, self._ingest.apply(sequence, entry), entry)

    def meters_changed(self) -> None:
        """Installations of known meters changed (removed, moved): ask for them again. New meters need no
        call."""
        self._places.forget()

    async def meter_left(self, usage_point: str, at: int, recorded_at: int) -> int:
        """A meter was taken out of a usage point at an instant: what it said of later times is taken back; how many.

        Only what came before the change was recorded, so that asking again takes nothing from the meter after it. It
        stays stored, under a newer version that says nothing. Raises what `publish` raises.
        """
        self.meters_changed()
        await self._committer.submit(Batch())  # what was placed by the period before is in the store now
        versions = await asyncio.to_thread(taken_back, self._store, usage_point, at, recorded_at)
        if versions:
            await self.revise(versions)
        self._judge_again({usage_point: at})  # what was estimated between the two meters may be neither's
        return len(versions)

    # --- what follows -----------------------------------------------------------------------------

    async def settle(self) -> None:
        """Check all evidence committed before the call and write what ingest noticed; nothing is compacted.

        Raises EngineError when the verifier or a store is away; what was not done waits for the next time.
        """
        async with self._checking:
            await asyncio.to_thread(self.ledger.take_up)
            await asyncio.to_thread(self._notes.write)
            if not self._begun:
                await asyncio.to_thread(self._begin)
            sequence = self._state.sequence
            while await self._evidence.round(sequence):
                pass

    def _begin(self) -> None:
        """After a start every channel is new to the rules and to the check of chains; segments say which there are."""
        oldest = self._store.oldest()
        with self._store.lock:
            self._state.mark_dirty(oldest)
            self._state.mark_grown(oldest)
        self._begun = True

    # --- the store itself -------------------------------------------------------------------------

    def troubles(self) -> tuple[Trouble, ...]:
        """What is wrong now: why no readings are taken, why work waits, and what a run of the rules could not read."""
        return self._troubles.said()

    @property
    def written(self) -> int:
        """Bytes that went into the journal and into segments since the start, merges included."""
        return self._journal.written + self._store.written
