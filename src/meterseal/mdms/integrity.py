"""Station MDMS, integrity: opens every sealed piece of a store once, and says which do not open and what is lost by it.

Of the ledger's tree it hashes every node anew. It compares nothing with what was accepted (`ledger verify` does) and mends
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.engine import read
from meterseal.control.opening import looked
from meterseal.control.sealed import UNDER
from meterseal.control.sealing import KeyRing
from meterseal.crypto.symmetric import DIGEST
from meterseal.errors import DataError, EngineError, MetersealError, TrustError
from meterseal.mdms.forecasts import Forecasts
from meterseal.mdms.ledger.checkpoints import newest_of
from meterseal.mdms.ledger.ledger import Ledger, read_leaves
from meterseal.mdms.ledger.tree import TreeFile, nodes_of
from meterseal.mdms.store.index import Index
from meterseal.mdms.store.manifest import Manifest
from meterseal.mdms.store.segments import Segment, SegmentFile
from meterseal.mdms.store.store import Store
from meterseal.mdms.store.strict import StrictJournal
from meterseal.security.checkpoints import read as read_note

MOST = 100
"""Damages that are named; more are counted."""


class Damage(Struct, frozen=True, kw_only=True):
    """One piece that is not what was stored. `code`: "segment", "chunk", "journal", "ledger", "forecast", "control", "row".

    `readings` versions of readings are in it, of times since <= end_at <= until (Unix ms) and of `channels` channels; all
    zero where it holds none.
    """

    code: str
    where: str
    sentence: str
    readings: int = 0
    channels: int = 0
    since: int = 0
    until: int = 0


class Integrity(Struct, frozen=True, kw_only=True):
    """What was opened, and every damage."""

    segments: int
    chunks: int
    readings: int
    entries: int
    """Of the journal, after what segments hold."""
    leaves: int
    forecasts: int
    damages: tuple[Damage, ...]
    more: int
    sealed: int = 0
    """Values in sealed columns of the control store, of those rings that were at hand."""

    @property
    def good(self) -> bool:
        """Does everything open?"""
        return not self.damages


class Look:
    """One look over a store, whose files nobody replaces meanwhile."""

    def __init__(
        self,
        keys: KeyRing,
        store: Store,
        segments: list[Segment],
        ledger: Ledger,
        forecasts: Forecasts,
    ) -> None:
        self._keys = keys
        self._store = store
        self._segments = segments
        self._ledger = ledger
        self._forecasts = forecasts
        self._damages: list[Damage] = []
        self._more = self._chunks = self._readings = self._entries = self._sealed = 0

    def journal(self, directory: Path, manifest: Manifest) -> None:
        """Read the journal's frames; nobody may write it meanwhile."""
        journal = StrictJournal(directory, manifest.store_id, self._keys, manifest)
        try:
            for _ in journal.replay(manifest.sequence):
                self._entries += 1
        except MetersealError as error:
            self._add(
                Damage(
                    code="journal",
                    where=f"after entry {journal.sequence}",
                    sentence=f"{error.message} Entries after it cannot be read.",
                )
            )

    def rest(self, engine: sa.Engine, rings: Mapping[str, KeyRing]) -> Integrity:
        """Open everything else; `rings` are the control store's, by name. EngineError when a disk does not answer."""
        for segment in self._segments:
            self._segment(segment)
        leaves = self._leaves()
        try:
            self._tree(newest_of(engine))
        except (DataError, TrustError) as error:
            self._hash("ledger_checkpoints", error.message)
        forecasts = self._forecast()
        self._control(engine, rings)
        return Integrity(
            segments=len(self._segments),
            chunks=self._chunks,
            readings=self._readings,
            entries=self._entries,
            leaves=leaves,
            forecasts=forecasts,
            damages=tuple(self._damages),
            more=self._more,
            sealed=self._sealed,
        )

    def _segment(self, segment: Segment) -> None:
        try:
            with SegmentFile(self._store.directory, segment, self._keys) as file:
                index = file.index(self._store.words)
                for number in range(len(index.sizes)):
                    self._chunks += 1
                    try:
                        file.chunk(index, number)
                    except DataError as error:
                        self._add(_lost(segment, index, number, error))
                    else:
                        self._readings += int(index.chunk_rows[number + 1] - index.chunk_rows[number])
        except DataError as error:
            self._add(
                Damage(
                    code="segment",
                    where=f"{segment.path}, usage points {segment.first_usage_point} to {segment.last_usage_point}",
                    sentence=error.message,
                    readings=segment.rows,
                    since=segment.first_end_at,
                    until=segment.last_end_at,
                )
            )

    def _leaves(self) -> int:
        found = 0
        for file in self._ledger.at_rest()[0]:
            try:
                found += len(read_leaves(self._ledger, file))
            except DataError as error:
                self._add(
                    Damage(
                        code="ledger",
                        where=f"{file.path.name}, leaves {file.first} to {file.end - 1}",
                        sentence=error.message,
                    )
                )
        return found

    def _tree(self, note: str) -> None:
        _, tree, kept = self._ledger.at_rest()
        size = tree.stat().st_size if tree.exists() else 0
        if size < nodes_of(kept) * DIGEST:
            self._add(
                Damage(
                    code="ledger",
                    where="tree",
                    sentence=f"{tree} has {size} bytes and should have {nodes_of(kept) * DIGEST}: its end was cut off. "
                    "Restore it from a backup.",
                )
            )
            return
        signed = read_note(note) if note else None
        walk = TreeFile(tree, kept, signed.size if signed else 0)
        for first, end in walk.run():
            self._hash(
                f"tree, leaves {first} to {end - 1}", "The hash over them is not that of the hashes below it."
            )
        if signed is not None and signed.size <= kept and walk.root != signed.root:
            self._hash(
                "tree",
                f"The first {signed.size} leaves have not the root that checkpoint {signed.number} was signed over.",
            )
        if kept % 2 and not self._ledger.holds(kept - 1):
            self._hash(
                f"tree, leaf {kept - 1}", "The hash is not that of the leaf, and no other stands over it yet."
            )

    def _hash(self, where: str, sentence: str) -> None:
        self._add(Damage(code="ledger", where=where, sentence=f"{sentence} Restore the tree from a backup."))

    def _forecast(self) -> int:
        found = 0
        for name, error in self._forecasts.opened():
            found += 1
            if error is not None:
                self._add(Damage(code="forecast", where=name, sentence=error.message))
        return found

    def _control(self, engine: sa.Engine, rings: Mapping[str, KeyRing]) -> None:
        for sentence in control_faults(engine):
            self._add(Damage(code="control", where="control.db", sentence=sentence))
        for name, ring in rings.items():
            for table in UNDER[name]:
                try:
                    for page in looked(engine, ring, table):
                        self._sealed += page.values
                        for row, column, sentence in page.shut:
                            where = f"{table.table.name}, row {row}, column {column}"
                            self._add(Damage(code="control", where=where, sentence=sentence))
                except MetersealError as error:
                    if isinstance(error, EngineError) and error.code != "control.failed":
                        raise
                    self._add(Damage(code="control", where=table.table.name, sentence=error.message))

    def _add(self, damage: Damage) -> None:
        if len(self._damages) < MOST:
            self._damages.append(damage)
        else:
            self._more += 1


def control_faults(engine: sa.Engine) -> list[str]:
    """What SQLite itself finds wrong in the control store: pages, indices, and rows that refer to none."""
    try:
        with read(engine) as connection:
            said = [str(row[0]) for row in connection.exec_driver_sql(f"PRAGMA integrity_check({MOST})")]
            loose = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    except MetersealError as error:
        if isinstance(error, EngineError) and error.code != "control.failed":
            raise
        return [error.message]
    faults = [f"{line}. Restore the control store from a backup." for line in said if line != "ok"]
    return faults + [
        f"Row {row[1]} of {row[0]} refers to a row of {row[2]} that is not there." for row in loose
    ]


def _lost(segment: Segment, index: Index, number: int, error: DataError) -> Damage:
    first, last = (int(row) for row in index.chunk_rows[number : number + 2])
    entries = np.flatnonzero((index.row < last) & (index.row + index.rows > first))
    return Damage(
        code="chunk",
        where=f"{segment.path}, part {number + 1} of {len(index.sizes)}",
        sentence=error.message,
        readings=last - first,
        channels=len(entries),
        since=int(index.first[entries].min()),
        until=int(index.last[entries].max()),
    )
