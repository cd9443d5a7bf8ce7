"""Station MDMS, replay: what the readings should be by the leaves of the ledger, beside what is stored.

It judges no leaf (`audit` does) and no signature (the verifier does); it changes nothing.

Readings follow from what was accepted by the rules of `ingest`, so the same rules are run again over the leaves, for one
share of the usage points at a time, and every version of every reading must come out as it is stored. A value that
somebody changed, a version slipped in or taken away, and a segment that is an older one all show as a difference, with
usage point, channel and time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import MetersealError
from meterseal.link.counters import CounterSet
from meterseal.mdms.entries import Entry, Place
from meterseal.mdms.ingest import Ingest
from meterseal.mdms.ledger.files import Made
from meterseal.mdms.ledger.gathering import Shares
from meterseal.mdms.ledger.leaves import Added, Delivered, RolledUp, read
from meterseal.mdms.ledger.verdict import Faults
from meterseal.mdms.rolling import Rolled
from meterseal.mdms.state import State
from meterseal.mdms.store.consumed import Consumed
from meterseal.mdms.store.recent import joined
from meterseal.mdms.store.rows import EVER, ROW, Block, Key, Rows, Words
from meterseal.mdms.store.segments import Segment
from meterseal.mdms.store.store import Store
from meterseal.model import Batch, Evidence

SHARE_ROWS = 1_000_000
"""Rows that are compared at once, about; it bounds memory."""
_COMPARED = tuple(name for name in ROW.names or () if name != "batch")
_KEY = ("point", "channel", "end_at", "version")

Said = dict[tuple[bytes, int, int], list[Evidence]]
"""Evidence in the ledger by device, channel and sequence."""


class _Fresh(Consumed):
    """No leaf is a repeat: repeats were left out when leaves were made."""

    def __init__(self) -> None:
        super().__init__(lambda _: b"")

    def of(self, session_id: bytes) -> CounterSet:
        return CounterSet()

    def add(self, session_id: bytes, counter: int) -> bool:
        return True


class Stored:
    """Everything that is stored now: segments as they lie on the disk, and recent rows."""

    def __init__(
        self, live: Store, segments: Iterable[Segment], sequence: int, faults: Faults, leaves: int
    ) -> None:
        self.words = live.words
        self._faults = faults
        self._disk = Store(live.directory, live.keys, live.words)
        with live.lock:
            self._recent = joined(*live.recent.up_to(sequence))
        readable = []
        for segment in segments:
            try:
                self._disk.shelf.index(segment)
                readable.append(segment)
            except MetersealError as error:
                faults.add("segment", segment.path, error.message)
        self._disk.load(readable)
        self.keys = sorted(
            {*self._disk.keys_stored()}
            | {
                Key(*key)
                for key in zip(self._recent["point"].tolist(), self._recent["channel"].tolist(), strict=True)
            }
        )
        self.rows = sum(segment.rows for segment in readable) + len(self._recent)
        self._shares = max(1, -(-max(self.rows, leaves) // SHARE_ROWS))

    def cut(self) -> Shares:
        """The usage points, in shares; `of` and `keys_of` are asked by them."""
        texts = self.words.texts
        shares = Shares({texts[key.point] for key in self.keys}, self._shares)
        self._keys: dict[int, list[Key]] = {}
        for key in sorted(self.keys, key=lambda one: (texts[one.point], one.channel)):
            self._keys.setdefault(shares.of(texts[key.point]), []).append(key)
        return shares

    def keys_of(self, share: int) -> list[Key]:
        """The channels of one share, those of a usage point together, by its name."""
        return self._keys.get(share, [])

    def of(self, share: int) -> Rows:
        """Rows of the usage points of one share."""
        keys = self.keys_of(share)
        parts = [self._recent[np.isin(self._recent["point"], sorted({key.point for key in keys}))]]
        for key in keys:
            try:
                parts.append(self._disk.rows(key, -EVER, EVER))
            except MetersealError as error:
                self._faults.add(
                    "segment", f"{self.words.texts[key.point]}, channel {key.channel}", error.message
                )
        # A channel's rows come with those of memory, of which the fresh store has none.
        return np.concatenate(parts)


def replayed(
    leaves: Iterable[tuple[int, Made]], live: Store, before: Rows, in_time: int = 0
) -> tuple[Store, Said, Rolled]:
    """The readings of one share as the rules make them of its leaves, the evidence in these, and roll-ups.

    `before` are rows from before there was a ledger; leaves before `in_time` follow the rule of their time (`Ledger`).
    """
    made = Store(live.directory, live.keys, live.words)
    for row in before:
        made.add(_block(row))
    state = State({})
    ingest = Ingest(made, _Fresh(), state)
    said: Said = {}
    for number, one in leaves:
        ingest.in_time = number >= in_time
        leaf = read(one.plaintext)
        if isinstance(leaf, Delivered):
            ingest.apply(number, Entry(columns=(leaf.columns,)))
            continue
        if isinstance(leaf, RolledUp):
            ingest.apply(number, Entry(rolled=(leaf.rollup,)))
            continue
        if isinstance(leaf, Added):
            ingest.apply(number, Entry(versions=(leaf.version,)))
        elif leaf.usage_point:
            place = Place(leaf.device_id, leaf.usage_point, leaf.medium, -EVER, 0)  # type: ignore[arg-type]  # what a leaf was made of had a medium
            ingest.apply(number, Entry(Batch((leaf.opened(one.digest),)), (place,)))
            for pending in state.pending.values():
                said.setdefault(pending.key, []).append(
                    Evidence(leaf.device_id, pending.raw, pending.signature)
                )
            state.pending.clear()
            state.findings.clear()
            state.quarantined.clear()
    return made, said, state.rolled


def compare(stored: Rows, made: Store, words: Words, faults: Faults, rolled: Rolled | None = None) -> int:
    """Name every version of a reading that is not the same in both; how many are missing because a roll-up took them.

    What a roll-up takes may still be there, where it has not come to it yet.
    """
    expected_ = joined(*made.recent.up_to(EVER))
    went = 0
    if rolled:
        gone = rolled.removable(expected_, words)
        gone[gone] = ~_among(expected_[gone], stored)
        went = int(gone.sum())
        expected_ = expected_[~gone]
    _compare(stored, expected_, words, faults)
    return went


def _among(rows: Rows, others: Rows) -> NDArray[np.bool_]:
    """Which rows have one of the same key among others."""
    known = set(others[list(_KEY)].tolist())
    return np.array([key in known for key in rows[list(_KEY)].tolist()], np.bool_)


def _compare(stored: Rows, expected_: Rows, words: Words, faults: Faults) -> None:
    is_, should = _sorted(stored), _sorted(expected_)
    if len(is_) == len(should) and all(np.array_equal(is_[name], should[name]) for name in _COMPARED):
        return
    for key, found, expected in _paired(is_, should):
        point, channel, end_at, version = key
        where = f"{words.texts[point]}, channel {channel}, end_at {end_at}, version {version}"
        if expected is None:
            faults.add("reading", where, "It is stored, and nothing that was accepted says so: it was added.")
        elif found is None:
            faults.add("reading", where, "It was accepted and is not stored any more: it was removed.")
        else:
            names = [name for name in _COMPARED if found[name] != expected[name]]
            faults.add(
                "reading", where, f"Its {' and '.join(names)} is not what was accepted: it was changed."
            )


def _sorted(rows: Rows) -> Rows:
    order = np.lexsort((rows["recorded_at"], *(rows[name] for name in reversed(_KEY))))
    found = rows[order]
    assert isinstance(found, np.ndarray)
    return found


def _paired(
    is_: Rows, should: Rows
) -> Iterator[tuple[tuple[int, int, int, int], np.void | None, np.void | None]]:
    """What differs, by key: the stored row and the expected one."""
    mine_, theirs = _by_key(is_), _by_key(should)
    for key in sorted({*mine_} | {*theirs}):
        found, expected = mine_.get(key, []), theirs.get(key, [])
        for place in range(max(len(found), len(expected))):
            one = found[place] if place < len(found) else None
            other = expected[place] if place < len(expected) else None
            if one is None or other is None or any(one[name] != other[name] for name in _COMPARED):
                yield key, one, other


def _by_key(rows: Rows) -> dict[tuple[int, int, int, int], list[np.void]]:
    found: dict[tuple[int, int, int, int], list[np.void]] = {}
    for key, row in zip(zip(*(rows[name].tolist() for name in _KEY), strict=True), rows, strict=True):
        found.setdefault(key, []).append(row)
    return found


def _block(row: np.void) -> Block:
    return Block(
        key=Key(int(row["point"]), int(row["channel"])),
        start_at=int(row["end_at"]),
        step=0,
        registers=(int(row["register"]),),
        exponent=int(row["exponent"]),
        unit=int(row["unit"]),
        quality=int(row["quality"]),
        origin=int(row["origin"]),
        profile=bool(row["profile"]),
        version=int(row["version"]),
        method=int(row["method"]),
        recorded_at=int(row["recorded_at"]),
        batch=int(row["batch"]),
    )
