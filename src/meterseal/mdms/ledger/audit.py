"""Station MDMS, audit: walks checkpoints, tree, leaves and journal, and says what is not as it was signed.

It changes nothing and looks at no reading (`replay` does). Whatever lies on the disk is read from the disk again, so that
what somebody changed under a running system shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from meterseal.control.sealing import KeyRing
from meterseal.crypto import merkle
from meterseal.crypto.symmetric import DIGEST
from meterseal.errors import DataError, MetersealError, TrustError
from meterseal.link.counters import CounterSet
from meterseal.mdms import entries
from meterseal.mdms.ledger.files import Made
from meterseal.mdms.ledger.leaves import Leaf, commitment, leaves_of, plaintext, read
from meterseal.mdms.ledger.ledger import Ledger
from meterseal.mdms.ledger.progress import Progress
from meterseal.mdms.ledger.salts import Statement, digest_of
from meterseal.mdms.ledger.verdict import Erasure, Faults
from meterseal.mdms.store.manifest import Manifest
from meterseal.mdms.store.strict import StrictJournal
from meterseal.security.checkpoints import Checkpoint, check_key, verified
from meterseal.security.checkpoints import read as read_note
from meterseal.security.ledgerorders import LedgerHead


def check_chain(notes: Sequence[tuple[int, str]], head: LedgerHead, faults: Faults) -> list[Checkpoint]:
    """Signatures, numbers and links of every checkpoint that is kept, and that the service's last one is among them.

    Gives those whose trees must all be beginnings of the one there is: since the last time two officers let it begin
    again from an older state.
    """
    for key in head.keys:
        try:
            check_key(key, head.root)
        except TrustError as error:
            faults.add("checkpoint", f"ledger key {key.version}", error.message)
    found: list[Checkpoint] = []
    for number, note in notes:
        where = f"checkpoint {number}"
        if type(number) is not int or type(note) is not str:
            faults.add("checkpoint", where, "It is no number and text, as they are kept: it was changed.")
            continue
        try:
            checkpoint = verified(note, head.keys)
        except TrustError as error:
            faults.add("checkpoint", where, error.message)
            continue
        if checkpoint.number != number:
            faults.add("checkpoint", where, f"Checkpoint {checkpoint.number} stands in its place.")
            continue
        before = found[-1] if found else None
        if checkpoint.reset:
            found = [checkpoint]
            continue
        if number != (before.number + 1 if before else 1):
            faults.add("checkpoint", where, "The checkpoint before it is missing: it was dropped.")
        elif before is not None and (
            checkpoint.previous != before.digest()
            or checkpoint.size < before.size
            or checkpoint.begins != before.begins
            or checkpoint.store_id != before.store_id
        ):
            faults.add(
                "checkpoint", where, "It does not follow from the one before: one of the two was replaced."
            )
        found.append(checkpoint)
    if head.note:
        last = read_note(head.note)
        if not any(note == head.note for _, note in notes) and (not found or found[-1].number <= last.number):
            faults.add(
                "checkpoint",
                f"checkpoint {last.number}",
                "The security service signed it last, and it is not kept here: it was dropped or replaced, or an older "
                "copy was put back.",
            )
    return found


def check_begin(ledger: Ledger, checkpoints: Sequence[Checkpoint], faults: Faults) -> None:
    """Whether the ledger begins where its checkpoints say: what lies before it is compared with nothing."""
    signed = checkpoints[-1].begins if checkpoints else ledger.begins
    if signed != ledger.begins:
        faults.add(
            "control",
            "stores",
            f"The ledger is said to begin after entry {ledger.begins} of the journal, and its checkpoints were signed for "
            f"one that begins after entry {signed}: it was changed, and readings in between were compared with nothing. "
            "Restore the control store.",
        )


def check_since(note: str, head: LedgerHead, ledger: Ledger, size: int, faults: Faults) -> Checkpoint:
    """A checkpoint that was kept elsewhere. TrustError `ledger.note`, `ledger.signature` when it is none of ours."""
    checkpoint = verified(note, head.keys)
    where = f"checkpoint {checkpoint.number}, kept elsewhere"
    if checkpoint.store_id != ledger.store_id:
        faults.add("checkpoint", where, f"It is of {checkpoint.store_id}, and this is {ledger.store_id}.")
    elif checkpoint.size > size:
        faults.add(
            "checkpoint",
            where,
            f"It was signed over {checkpoint.size} leaves, and there are {size}: the whole of it was put back to an older "
            "copy, or its end was cut off.",
        )
    elif ledger.root(checkpoint.size) != checkpoint.root:
        faults.add(
            "checkpoint", where, f"The first {checkpoint.size} leaves are not those that it was signed over."
        )
    return checkpoint


def readable(ledger: Ledger, size: int, progress: Progress) -> Iterator[tuple[int, Made]]:
    """The leaves below `size`, without those in files that do not open (`TreeWalk` names these)."""
    for first, end, made in ledger.batches(size):
        progress.step(end - first)
        try:
            yield from enumerate(made(), first)
        except DataError:
            continue


_AT_ONCE = 8192
"""Leaves whose hashes are read at once."""


class _Gone(NamedTuple):
    """A leaf whose salt went with a person."""

    number: int
    day: int
    hash: bytes


class TreeWalk:
    """Compares what leaves are made of with the tree, the tree with itself, and its roots with checkpoints."""

    def __init__(
        self,
        ledger: Ledger,
        size: int,
        checkpoints: Sequence[Checkpoint],
        faults: Faults,
        erasures: Iterable[Erasure] = (),
        statements: Sequence[Statement] = (),
    ) -> None:
        self._ledger, self._size, self._faults = ledger, size, faults
        self._statements = statements
        self._went: dict[str, list[_Gone]] = {}
        """The leaves without a salt in an erased person's days, by usage point."""
        self._erasures: dict[str, list[Erasure]] = {}
        for erasure in erasures:
            self._erasures.setdefault(erasure.usage_point, []).append(erasure)
        self._unsalted: dict[str, int] = {}
        self._due = sorted(
            (one for one in checkpoints if one.size <= size), key=lambda one: one.size, reverse=True
        )
        for one in checkpoints:
            if one.size > size:
                faults.add(
                    "checkpoint",
                    f"checkpoint {one.number}",
                    f"It was signed over {one.size} leaves, and there are {size}: the end of the ledger was cut off.",
                )
        self.erased = 0

    def run(self, progress: Progress) -> None:
        """Look at every leaf once. The tree's file has each leaf followed by the subtrees that it completes, so it is read
        from front to back."""
        peaks: list[tuple[int, bytes]] = []
        self._roots(0, peaks)
        nodes = self._nodes(progress)
        for number, made in enumerate(self._leaves()):
            stored = next(nodes)
            if made is not None:
                self._leaf(number, made, stored)
            value, level, index = stored, 0, number
            while peaks and peaks[-1][0] == level:
                value, level, index = merkle.node_hash(peaks.pop()[1], value), level + 1, index >> 1
                if next(nodes) != value:
                    self._faults.add(
                        "tree",
                        f"leaves {index << level} to {((index + 1) << level) - 1}",
                        "The hash over them is not that of what it stands over: the tree was changed.",
                    )
            peaks.append((level, value))
            self._roots(number + 1, peaks)
        self._erasures_hold()
        for owner, count in sorted(self._unsalted.items()):
            self._faults.add(
                "salt",
                owner,
                f"The salts of {count} leaves are gone or changed, and no person was erased there: what these leaves say "
                "can be compared with nothing. Restore them from a backup.",
            )

    def _nodes(self, progress: Progress) -> Iterator[bytes]:
        """Every hash of the tree, leaves and what stands over them, as they lie on the disk."""
        for first in range(0, self._size, _AT_ONCE):
            end = min(first + _AT_ONCE, self._size)
            progress.faults = len(self._faults.named) + self._faults.more
            progress.step(end - first)
            content = self._ledger.nodes(first, end)
            for start in range(0, len(content), DIGEST):
                yield content[start : start + DIGEST]

    def _erasures_hold(self) -> None:
        """Whether the leaves without a salt are those that lost theirs: who says of another leaf that it was an erased
        person's takes it out of every comparison."""
        for one in self._statements:
            mine, rest = list[_Gone](), list[_Gone]()
            for leaf in self._went.get(one.usage_point, ()):
                here = leaf.number < one.size and one.first_day <= leaf.day <= one.last_day
                (mine if here else rest).append(leaf)
            self._went[one.usage_point] = rest
            found = digest_of((leaf.number, leaf.hash) for leaf in mine)
            if (len(mine), found) != (one.leaves, one.digest):
                self._faults.add(
                    "salt",
                    one.usage_point,
                    f"{one.leaves} leaves lost their salts with a person's erasure, and {len(mine)} are said to be of "
                    "those days now: one was made out to be that person's, or is no longer.",
                )
        for owner, left in self._went.items():
            spans = [(one.first_day, one.last_day) for one in self._statements if one.usage_point == owner]
            loose = [leaf.number for leaf in left if any(a <= leaf.day <= b for a, b in spans)]
            if loose:
                self._faults.add(
                    "salt",
                    owner,
                    f"Leaf {loose[0]} and {len(loose) - 1} more have no salts, and came after those of these days were "
                    "destroyed: they were made out to be of an erased person.",
                )

    def _roots(self, size: int, peaks: list[tuple[int, bytes]]) -> None:
        while self._due and self._due[-1].size == size:
            checkpoint = self._due.pop()
            value = peaks[-1][1] if peaks else merkle.EMPTY
            for _, left in peaks[-2::-1]:
                value = merkle.node_hash(left, value)
            if value != checkpoint.root:
                self._faults.add(
                    "checkpoint",
                    f"checkpoint {checkpoint.number}",
                    f"The first {size} leaves are not those that it was signed over: one was changed, added or removed.",
                )

    def _leaves(self) -> Iterator[Made | None]:
        """Every leaf in order; None for one in a file that does not open."""
        number = 0
        for first, end, made in self._ledger.batches(self._size):
            try:
                yield from made()
            except DataError as error:
                self._faults.add("leaf", f"leaves {first} to {end - 1}", error.message)
                yield from [None] * (end - first)
            number = end
        if number != self._size:
            self._faults.add(
                "leaf", f"leaves {number} to {self._size - 1}", "Nothing says what they are made of."
            )

    def _leaf(self, number: int, made: Made, stored: bytes) -> None:
        try:
            leaf = read(made.plaintext)
        except ValueError:
            self._faults.add("leaf", f"leaf {number}", "It is no leaf of ours.")
            return
        salt = self._salt(leaf, number)
        if salt is None:
            if any(one.first <= leaf.day <= one.last for one in self._erasures.get(leaf.owner, ())):
                self.erased += 1
                self._went.setdefault(leaf.owner, []).append(_Gone(number, leaf.day, stored))
            else:
                self._unsalted[leaf.owner] = self._unsalted.get(leaf.owner, 0) + 1
        elif leaf.day != made.day or commitment(made.digest, salt, made.plaintext) != stored:
            self._faults.add(
                "leaf",
                f"leaf {number}, {leaf.owner}",
                "What it is made of is not what stands in the tree: the record was changed.",
            )

    def _salt(self, leaf: Leaf, number: int) -> bytes | None:
        with self._ledger.lock:
            try:
                return self._ledger.salts.salt(leaf.owner, leaf.day, number)
            except TrustError as error:
                if error.code != "crypto.tag":
                    raise
        return None


def check_journal(
    directory: Path, keys: KeyRing, manifest: Manifest, ledger: Ledger, sequence: int, faults: Faults
) -> int:
    """Compare the journal on the disk with the leaves that no file holds yet; how many entries it has.

    Nobody may write the journal meanwhile.
    """
    journal = StrictJournal(directory, manifest.store_id, keys, manifest)
    expected = iter(ledger.recent())
    wanted = next(expected, None)
    seen: dict[bytes, CounterSet] = {}
    entries_ = 0
    try:
        for number, content in journal.replay(manifest.sequence):
            entries_ += 1
            entry = entries.unpack(content)
            taken = []
            for opened in entry.batch.opened:
                if opened.session_id not in seen:
                    seen[opened.session_id] = CounterSet.from_bytes(manifest.consumed(opened.session_id))
                if opened.counter not in seen[opened.session_id]:
                    taken.append(opened)
                    _consume(seen[opened.session_id], opened.counter)
            for held in entry.batch.quarantined:
                if held.session_id not in seen:
                    seen[held.session_id] = CounterSet.from_bytes(manifest.consumed(held.session_id))
                _consume(seen[held.session_id], held.counter)
            leaves = leaves_of(taken, entry)
            for digest, leaf in leaves:
                content = plaintext(leaf)
                if wanted is None or (wanted[1].digest, wanted[1].plaintext) != (digest, content):
                    faults.add(
                        "journal",
                        f"entry {number}, {leaf.owner}",
                        "It says something that is not the next leaf of the ledger: it was changed or added.",
                    )
                    return entries_
                wanted = next(expected, None)
    except MetersealError as error:
        faults.add("journal", "the journal", error.message)
        return entries_
    if wanted is not None or journal.sequence != sequence:
        faults.add(
            "journal",
            f"after entry {journal.sequence}",
            f"It ends here, and {sequence} entries were written: its end was cut off.",
        )
    return entries_


def _consume(seen: CounterSet, counter: int) -> None:
    try:
        seen.add(counter)
    except TrustError:
        return  # a session that skips counters on purpose, as in `store.consumed`
