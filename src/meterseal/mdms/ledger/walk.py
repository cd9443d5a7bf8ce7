"""Station MDMS, the walk: the whole store against its checkpoints, in one go and off the event loop.

It changes nothing. It holds off compaction while it runs, and commits for as long as it takes to read the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

import sqlalchemy as sa

from meterseal.control.kinds import UNFIT, check
from meterseal.control.sealing import KeyRing
from meterseal.crypto.symmetric import sm3
from meterseal.errors import DataError, LocalError, TrustError
from meterseal.mdms.evidence import EvidenceBook, EvidenceFacts
from meterseal.mdms.ledger import audit, replay
from meterseal.mdms.ledger.checkpoints import Checkpoints
from meterseal.mdms.ledger.gathering import Gathered, Numbered, Shares, groups
from meterseal.mdms.ledger.ledger import Ledger
from meterseal.mdms.ledger.progress import CHECKING, COMPARING, GATHERING, Progress
from meterseal.mdms.ledger.salts import stated
from meterseal.mdms.ledger.verdict import Erasure, Faults, Verdict
from meterseal.mdms.places import Places
from meterseal.mdms.rivals import UNCHECKED
from meterseal.mdms.state import EvidenceKey
from meterseal.mdms.store.manifest import Manifest
from meterseal.mdms.store.rows import Rows
from meterseal.mdms.store.segments import Segment
from meterseal.mdms.store.store import Store
from meterseal.mdms.verifier import EvidenceVerifier, SignedStatement


class Walk:
    """One walk over a store that is open, where no evidence is being checked. `sequence` is the last journal entry that it
    covers, `pending` the evidence in those that waits for its check, `erasures` where salts may be gone, `manifest` and
    `segments` what the process knows of the store, for where the control store does not say it any more."""

    def __init__(
        self,
        *,
        directory: Path,
        engine: sa.Engine,
        keys: KeyRing,
        store: Store,
        manifest: Manifest,
        segments: Sequence[Segment],
        ledger: Ledger,
        verifier: EvidenceVerifier,
        checkpoints: Checkpoints,
        sequence: int,
        pending: set[EvidenceKey],
        erasures: Sequence[Erasure],
    ) -> None:
        self._directory = directory
        self._engine = engine
        self._keys = keys
        self._store = store
        self._ledger = ledger
        self._verifier = verifier
        self._checkpoints = checkpoints
        self._sequence = sequence
        self._pending = pending
        self._erasures = erasures
        self._size = ledger.take_up()
        self._faults = Faults()
        self._manifest = Manifest(engine, keys)
        try:
            check(engine, ("segments", "stores"))
            _, _, self._segments = self._manifest.open(empty=False)
        except (DataError, TrustError, LocalError, *UNFIT) as error:
            why = f" {error.message}" if isinstance(error, DataError) else ""
            self._faults.add(
                "control",
                "stores",
                f"What the control store says of the store does not open: it was changed. Restore it.{why}",
            )
            self._manifest, self._segments = manifest, list(segments)
        self._journal = 0
        self._evidence = 0
        self._rolled = 0

    def journal(self) -> None:
        """Read the journal on the disk; nobody may write it meanwhile."""
        self._journal = audit.check_journal(
            self._directory / "journal",
            self._keys,
            self._manifest,
            self._ledger,
            self._sequence,
            self._faults,
        )

    async def run(self, since: str = "", progress: Progress | None = None) -> Verdict:
        """Everything else. `since` is a checkpoint that was kept elsewhere, as it was published; `progress` is told.

        Raises EngineError `ledger.stopped` where `progress` was ended; TrustError `ledger.note`, `ledger.signature` when
        that is none of this ledger; EngineError when the security service or a store is away.
        """
        faults, progress = self._faults, progress or Progress()
        head = await self._checkpoints.signer.ledger_head()
        outside = None
        if since:
            outside = audit.check_since(since, head, self._ledger, self._size, faults)
        notes = await asyncio.to_thread(self._checkpoints.every)
        chain = await asyncio.to_thread(audit.check_chain, notes, head, faults)
        audit.check_begin(self._ledger, chain, faults)
        tree = audit.TreeWalk(self._ledger, self._size, chain, faults, self._erasures, stated(self._engine))
        progress.begin(CHECKING, self._size)
        try:
            await asyncio.to_thread(tree.run, progress)
        except DataError as error:  # its file ends; readings are compared with the leaves all the same
            faults.add("tree", "the tree of the ledger", error.message)
        stored = await asyncio.to_thread(
            replay.Stored, self._store, self._segments, self._sequence, faults, self._size
        )
        shares = await asyncio.to_thread(stored.cut)
        for here in groups(self._ledger, shares.count):
            progress.begin(GATHERING, self._size)
            leaves = audit.readable(self._ledger, self._size, progress)
            gathered = await asyncio.to_thread(Gathered, leaves, here, shares)
            progress.begin(COMPARING, stored.rows)
            progress.step(stored.rows * here.start // shares.count)
            for share in here:
                await self._share(stored, gathered, share, shares)
                progress.step(stored.rows // shares.count)
                progress.faults = len(faults.named) + faults.more
        return Verdict(
            store_id=self._ledger.store_id,
            leaves=self._size,
            covered=max((one.size for one in chain if one.size <= self._size), default=0),
            checkpoints=len(notes),
            erased=tree.erased,
            rows=stored.rows,
            channels=len(stored.keys),
            evidence=self._evidence,
            rolled=self._rolled,
            journal=self._journal,
            since=None if outside is None else outside.number,
            faults=tuple(faults.named),
            more=faults.more,
            root=sm3(head.root).hex(),
        )

    async def _share(self, stored: replay.Stored, gathered: Gathered, share: int, shares: Shares) -> None:
        made, said, points = await asyncio.to_thread(
            self._readings, stored, gathered.of(share), share, shares
        )
        book = EvidenceBook(self._engine, made, self._keys, Places(self._engine).since)
        kept, shut = await asyncio.to_thread(book.of_points, points)
        for where, sentence in shut:
            self._faults.add("evidence", where, sentence)
        found = [one for one, _ in kept if one.checked != UNCHECKED]
        for one, at in kept:
            if one.end_at != at:
                self._faults.add(
                    "evidence", _place(one), f"It is kept as if it spoke of {at}: nobody who asks finds it."
                )
        self._evidence += len(found)
        good = await self._verifier.verify(
            [
                SignedStatement(one.device_id, one.module_id, one.suite, one.statement, one.signature)
                for one in found
            ]
        )
        await asyncio.to_thread(self._judge, book, found, list(good), said)

    def _readings(
        self, stored: replay.Stored, leaves: Iterable[Numbered], share: int, shares: Shares
    ) -> tuple[Store, replay.Said, list[str]]:
        rows = stored.of(share)
        made, said, rolled = replay.replayed(leaves, self._store, self._before(rows), self._ledger.in_time)
        self._rolled += replay.compare(rows, made, stored.words, self._faults, rolled)
        keys = {*stored.keys_of(share), *made.keys_stored()}
        points = {stored.words.texts[key.point] for key in keys}
        return made, said, sorted(point for point in points if shares.of(point) == share)

    def _before(self, rows: Rows) -> Rows:
        """Rows from before there was a ledger: nothing says what they should be."""
        found = rows[rows["batch"] <= self._ledger.begins]
        return found if self._ledger.begins else found[:0]

    def _judge(
        self, book: EvidenceBook, found: list[EvidenceFacts], good: list[bool], said: replay.Said
    ) -> None:
        faults = self._faults
        held = {one.key: one for one in found}
        for facts, holds in zip(found, good, strict=True):
            where = _place(facts)
            accepted = said.get(facts.key, [])
            if not self._ledger.begins and not any(
                (one.statement, one.signature) == (facts.statement, facts.signature) for one in accepted
            ):
                faults.add(
                    "evidence", where, "No accepted record carried this statement: it was changed or added."
                )
                continue
            try:
                checked = book.judged(facts, holds=holds)
            except TrustError:
                continue  # the statement before it does not open, and is named
            if checked != facts.checked:
                faults.add(
                    "evidence", where, f"It is kept as {facts.checked}, and by the readings it is {checked}."
                )
        waiting = {key for key in said if key not in held} - book.waiting() - self._pending
        for device_id, channel, sequence in sorted(waiting):
            faults.add(
                "evidence",
                f"device {device_id.hex()}, channel {channel}, sequence {sequence}",
                "It was accepted and is not kept any more: it was removed.",
            )


def _place(facts: EvidenceFacts) -> str:
    return f"{facts.usage_point}, channel {facts.channel}, end_at {facts.end_at}, sequence {facts.sequence}"
