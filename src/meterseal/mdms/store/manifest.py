"""Station MDMS, the manifest: which segments count, up to where the journal is in them, which counters
are consumed.

It stores no reading. One SQL transaction moves all of it at once (LINK section 4: committed counters are
stored in the same transaction as the readings).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.engine import read, write
from meterseal.control.sealed import METER_STATUS, STORES
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import consumed_counters, meter_status, segments, stores
from meterseal.control.writes import upsert
from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import DataError, EngineError
from meterseal.mdms.store.faults import Fault
from meterseal.mdms.store.journal import Noted
from meterseal.mdms.store.segments import Segment
from meterseal.model import Status

MARK = "the key of findings' digests"
LEDGER_FROM = BEGINS, IN_TIME = "leaves_from", "leaves_in_time_from"
"""Of the counts what stands in a column of its own: the journal entry after which the ledger's leaves begin, and the leaf
from which on readings of the future gave way to what was said in time (`Ingest`). Who could move these would take readings
out of what the ledger is held against."""


class Checkpoint(Struct, frozen=True):
    """What one compaction makes durable beside the segments; everything as of journal entry `sequence`."""

    sequence: int
    counts: dict[str, int]
    consumed: dict[bytes, bytes]
    at: int


class Manifest:
    """The rows of one store in the control store."""

    def __init__(self, engine: sa.Engine, keys: KeyRing) -> None:
        self._engine = engine
        self._keys = keys
        self.store_id = ""
        self.sequence = 0
        """Journal entry up to which segments hold everything."""
        self.noted: Noted | None = None
        """What it knows of the journal's files; None in a store from before it knew any."""
        self.given: Sequence[tuple[int, int]] = ()
        """Entries of the journal that somebody gave up."""
        self.mark: SymmetricKey

    def open(self, *, empty: bool = True) -> tuple[int, dict[str, int], list[Segment]]:
        """(journal position, counts, segments) of the store, which is made at the first start: in an `empty` directory.

        Raises TrustError `sealing.key`, `crypto.tag` when the data keys are not this store's, DataError
        `mdms.manifest-lost` when a store's files are there and it is not known; then nothing was made.
        """
        with write(self._engine) as connection:
            row = connection.execute(sa.select(stores)).first()
            if row is None and not empty:
                raise DataError(
                    "mdms.manifest-lost",
                    "The control store knows of no measurements, and files of some are there: it is new, or another one's. "
                    "Put back the control store (control.db) that belongs to them, or restore a backup of both. Nothing "
                    "was changed.",
                )
            if row is None:
                self.store_id = "st-" + secrets.token_hex(8)
                self.mark = SymmetricKey.generate(MARK, 32)
                made = {"id": self.store_id, "sequence": 0, "counts": {}, "sealed_mark": expose(self.mark)}
                made["journal_ended"], self.noted = 0, Noted(0)
                made["ledger_from"] = dict.fromkeys(LEDGER_FROM, 0)
                connection.execute(stores.insert().values(**STORES.seal(self._keys, made)))
                return 0, dict.fromkeys(LEDGER_FROM, 0), []
            self.store_id, self.sequence = row.id, row.sequence
            if row.journal_ended is not None:
                self.noted = Noted(row.journal_ended, row.journal_begun)
            self.given = [(first, last) for first, last in row.journal_given or ()]
            self.mark = SymmetricKey.from_bytes(STORES.open(self._keys, row) or b"", MARK)
            found = (
                connection.execute(sa.select(segments).where(segments.c.store_id == row.id)).mappings().all()
            )
            listed = [Segment(**columns) for columns in found]
            counts = {name: number for name, number in row.counts.items() if name not in LEDGER_FROM}
            counts |= row.ledger_from or {}
            return row.sequence, counts, sorted(listed, key=lambda s: (s.medium, s.month, s.id))

    def note(self, noted: Noted) -> None:
        """Keep what is known of the journal's files."""
        if noted == self.noted:
            return
        with write(self._engine) as connection:
            connection.execute(
                stores.update()
                .where(stores.c.id == self.store_id)
                .values(journal_ended=noted.ended, journal_begun=noted.begun)
            )
        self.noted = noted

    def unreadable(self, faults: Sequence[Fault]) -> None:
        """Keep what of the journal a start could not read, for who is to decide about it."""
        with write(self._engine) as connection:
            connection.execute(
                stores.update()
                .where(stores.c.id == self.store_id)
                .values(journal_faults=msgspec.to_builtins(faults))
            )

    def took(self) -> None:
        """The journal could be read. What was given up of its end was so once: another end is another matter."""
        given = [one for one in self.given if one[1] > self.sequence]
        with write(self._engine) as connection:
            here = stores.c.id == self.store_id
            row = connection.execute(sa.select(stores).where(here)).one()
            if row.journal_faults or len(given) < len(row.journal_given or ()):
                values = {"journal_faults": None, "journal_given": given or None}
                connection.execute(stores.update().where(here).values(values))
        self.given = given

    def advance(self, checkpoint: Checkpoint, removed: Sequence[str], added: Sequence[Segment]) -> None:
        """The one transaction that makes a compaction count."""
        with write(self._engine) as connection:
            if removed:
                connection.execute(segments.delete().where(segments.c.id.in_(removed)))
            if added:
                connection.execute(segments.insert(), [msgspec.structs.asdict(segment) for segment in added])
            upsert(
                connection,
                consumed_counters,
                [
                    {"session_id": session_id, "ranges": ranges, "changed_at": checkpoint.at}
                    for session_id, ranges in checkpoint.consumed.items()
                ],
            )
            apart = {name: number for name, number in checkpoint.counts.items() if name in LEDGER_FROM}
            counts = {name: number for name, number in checkpoint.counts.items() if name not in apart}
            values = {"sequence": checkpoint.sequence, "counts": counts, "ledger_from": apart}
            moved = connection.execute(
                stores.update()
                .where(stores.c.id == self.store_id, stores.c.sequence == self.sequence)
                .values(values)
            )
            if moved.rowcount != 1:
                raise EngineError(
                    "mdms.manifest",
                    "The manifest moved on without this process, which must start again. Nothing is lost.",
                )
        self.sequence = checkpoint.sequence

    def statuses(self, found: Sequence[tuple[Status, int]]) -> None:
        """Store (state, receipt) of meters where none newer is stored."""
        rows: list[dict[str, Any]] = [
            {
                "device_id": status.device_id,
                "at": status.at,
                "received_at": at,
                "sealed_state": msgspec.msgpack.encode([status.valve, status.battery_low, status.raw]),
            }
            for status, at in found
        ]
        if not rows:
            return
        with write(self._engine) as connection:
            known = sa.select(meter_status.c.device_id, meter_status.c.at).where(
                meter_status.c.device_id.in_([row["device_id"] for row in rows])
            )
            newest: dict[bytes, int] = {device_id: at for device_id, at in connection.execute(known)}
            upsert(
                connection,
                meter_status,
                [
                    METER_STATUS.seal(self._keys, row)
                    for row in rows
                    if newest.get(row["device_id"], -1) <= row["at"]
                ],
            )

    def status(self, device_id: bytes) -> Status | None:
        """The newest stored state of a meter, opened."""
        with read(self._engine) as connection:
            row = connection.execute(
                sa.select(meter_status).where(meter_status.c.device_id == device_id)
            ).first()
        if row is None:
            return None
        valve, battery_low, raw = msgspec.msgpack.decode(METER_STATUS.open(self._keys, row) or b"")
        return Status(row.device_id, row.at, valve, battery_low, raw)

    def exchange(self, removed: Sequence[str], added: Sequence[Segment]) -> None:
        """Segments take the place of others in one transaction; the journal position stays."""
        with write(self._engine) as connection:
            connection.execute(segments.delete().where(segments.c.id.in_(removed)))
            connection.execute(segments.insert(), [msgspec.structs.asdict(segment) for segment in added])

    def consumed(self, session_id: bytes) -> bytes:
        """Consumed counters of a session as stored, empty if there are none."""
        with read(self._engine) as connection:
            ranges = connection.execute(
                sa.select(consumed_counters.c.ranges).where(consumed_counters.c.session_id == session_id)
            ).scalar()
        return bytes(ranges or b"")
