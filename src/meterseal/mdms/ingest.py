"""Station MDMS, ingest: turns one committed journal entry into readings, statuses, evidence and quarantine.

It writes no file and reads no clock: replaying the same entries gives the same state, after any crash.

Exactly one visible reading per (usage point, channel, end_at): a repeat with the same value is one reading,
another value for the same instant is kept as a finding. Of two, the load profile's is the visible one, because
the meter's evidence covers it; else the first. What was said of an instant that had not come is suspect, and gives way to
what is said of it in time. What cannot be placed (unknown device, value out of range) goes
to quarantine; nothing that was committed is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog

from meterseal.errors import DataError, PeerError
from meterseal.link.evidence import unpack
from meterseal.mdms import heats
from meterseal.mdms.bulk import unpack_bulk
from meterseal.mdms.clocks import placed
from meterseal.mdms.cutting import LATEST, pieces, split, storable
from meterseal.mdms.edit_versions import SAID_BY_PEOPLE
from meterseal.mdms.entries import Entry, Place, Version
from meterseal.mdms.ingest_columns import FUTURE, IngestColumns
from meterseal.mdms.noticed import CLOCK, Said, ahead, clock, conflict
from meterseal.mdms.state import Pending, State
from meterseal.mdms.store.consumed import Consumed
from meterseal.mdms.store.rows import EVER, ORIGINS, RETRACTED, Block, Key, Rows
from meterseal.mdms.store.store import Store
from meterseal.mdms.vee.context import DAY, OFFSET
from meterseal.model import MAIN, Evidence, Opened, Quality, Quarantined, Series, Status

UNKNOWN_METER = 3
"""LINK section 4, class of REJECT."""
DOES_NOT_DECODE = 1
ROLLED_UP = "mdms.rolled-up"
"""What is held back because it came for a time that was rolled up."""

log = structlog.get_logger()


class _Known(NamedTuple):
    """A stored version that a delivered reading is held against."""

    version: int
    register: int
    exponent: int
    unit: int
    quality: int
    profile: bool
    method: int


Strange = dict[tuple[str, bytes], tuple[list[Series], list[Evidence]]]
"""What of one record cannot be placed, by (code, device_id)."""


class Ingest(IngestColumns):
    """Applies entries in the order of the journal. Not thread-safe: callers hold the store's lock."""

    def __init__(self, store: Store, consumed: Consumed, state: State) -> None:
        self._store = store
        self._words = store.words
        self._consumed = consumed
        self.state = state
        self.in_time = True
        """Do readings of the future give way? Not in what is compared by the rule of before they did."""

    def apply(self, sequence: int, entry: Entry) -> list[Opened]:
        """Take in one entry; gives the records of it that were no repeats."""
        places: dict[bytes, list[Place]] = {}
        for place in entry.places:
            places.setdefault(place.device_id, []).append(place)
            self._words.medium[self._words.code(place.usage_point)] = place.medium
        taken = []
        for opened in entry.batch.opened:
            self.state.latest_receipt = max(self.state.latest_receipt, opened.received_at)
            if self._opened(sequence, opened, places):
                taken.append(opened)
        for held in entry.batch.quarantined:
            if self._consumed.add(held.session_id, held.counter):
                self._hold(held)
        for version in entry.versions:
            self._version(sequence, version)
        for columns in entry.columns:
            self._bulk(sequence, unpack_bulk(columns))
        for one in entry.rolled:
            self.state.rolled.take(one)
            self.state.rolled.waiting.append((sequence, one))
        self.state.sequence = sequence
        return taken

    # --- records ----------------------------------------------------------------------------------

    def _opened(self, sequence: int, opened: Opened, places: Mapping[bytes, Sequence[Place]]) -> bool:
        counts = self.state.counts
        came = sum(len(series.registers) for series in opened.series)
        self.state.reconciliation.begin(opened.origin, opened.received_at, came, _behind(opened, places))
        if opened.counter in self._consumed.of(opened.session_id):
            counts["repeated_records"] += 1
            self.state.reconciliation.note("repeated", came)
            return False
        strange: Strange = {}
        # The load profile first: it wins over a single reading of the same instant.
        for series in sorted(opened.series, key=_single):
            if not series.registers:
                continue
            if not storable(series):
                strange.setdefault(("mdms.out-of-range", series.device_id), ([], []))[0].append(series)
                continue
            rest = [series]
            for place in places.get(series.device_id, ()):
                rest = [
                    part for left in rest for part in self._placed(sequence, opened, left, place, strange)
                ]
            if rest:
                strange.setdefault(("mdms.unknown-device", series.device_id), ([], []))[0].extend(rest)
        for status in opened.statuses:
            self._status(status, opened.received_at)
        for evidence in opened.evidence:
            if code := self._evidence(sequence, opened, evidence, places):
                strange.setdefault((code, evidence.device_id), ([], []))[1].append(evidence)
        for seen in opened.clocks:
            self.state.clocks += placed(seen, places.get(seen.device_id, ()), opened.received_at)
        for warm in opened.heats:
            for one in heats.placed(warm, places.get(warm.device_id, ()), sequence):
                if warm.at > self.state.rolled.horizon(one.usage_point, "heat", MAIN):
                    self.state.heats.append(one)
        for (code, device_id), (series_, evidence_) in strange.items():
            part = msgspec.structs.replace(
                opened, series=tuple(series_), statuses=(), evidence=tuple(evidence_)
            )
            self._hold(_quarantined(part, device_id, code))
            self.state.reconciliation.note("held", sum(len(series.registers) for series in series_))
        self._consumed.add(opened.session_id, opened.counter)
        counts["records"] += 1
        return True

    def _placed(
        self, sequence: int, opened: Opened, series: Series, place: Place, strange: Strange
    ) -> list[Series]:
        """Take in the readings inside the place's period; returns the others."""
        before, inside, after = split(series, place.since, place.until or EVER)
        if inside.registers and inside.start_at <= (
            rolled := self.state.rolled.horizon(place.usage_point, place.medium, series.channel)
        ):
            _, late, inside = split(inside, inside.start_at, rolled + 1)
            strange.setdefault((ROLLED_UP, series.device_id), ([], []))[0].append(late)
        if inside.registers:
            self._series(sequence, opened, inside, self._words.code(place.usage_point))
        return [part for part in (before, after) if part.registers]

    def _series(self, sequence: int, opened: Opened, series: Series, point: int) -> None:
        step = series.step if len(series.registers) > 1 or series.step else 0
        block = Block(
            key=Key(point, series.channel),
            start_at=series.start_at,
            step=step,
            registers=series.registers,  # type: ignore[arg-type]  # pieces without None follow
            exponent=series.exponent,
            unit=self._words.code(series.unit),
            quality=Quality.MEASURED,
            origin=ORIGINS.index(opened.origin),
            profile=step > 0,
            version=1,
            method=0,
            recorded_at=opened.received_at,
            batch=sequence,
        )
        self._hold_against_clock(block)
        for piece in pieces(block, series.registers, opened.received_at + FUTURE):
            self._piece(piece, f"{opened.session_id.hex()}/{opened.counter}")
        new = {block.key: block.start_at}
        self.state.mark_dirty(new)
        self.state.mark_grown(new)

    def _hold_against_clock(self, block: Block) -> None:
        """No meter has read what is still to come: one that says so by little has a clock that leads. Once a local day."""
        values = [k for k, register in enumerate(block.registers) if register is not None]
        lead = block.start_at + block.step * values[-1] - block.recorded_at if values else 0
        day = (block.recorded_at + OFFSET) // DAY
        if CLOCK < lead <= FUTURE and self.state.leads.get(block.key) != day:
            self.state.leads[block.key] = day
            self.state.findings.append(
                clock(block.key, day * DAY - OFFSET, lead, self._words, f"clock-{day}")
            )

    # --- readings ---------------------------------------------------------------------------------

    def _add(self, block: Block, run: str) -> None:
        self._store.add(block)
        counts, size = self.state.counts, len(block.registers)
        self.state.reconciliation.note("stored", size)
        if block.quality == Quality.MISSING:
            counts["missing"] += size
            return
        counts["readings"] += size
        if block.quality == Quality.SUSPECT:
            counts["suspect"] += size
            self.state.findings.append(ahead(block, self._words, run))
        self._note_newest(block)

    def _note_newest(self, block: Block) -> None:
        if block.quality == Quality.MEASURED and block.key.channel == MAIN:
            newest = self.state.newest.get(block.key.point, (-1, 0))
            if block.last_at > newest[0]:
                self.state.newest[block.key.point] = (block.last_at, block.recorded_at)

    def _piece(self, block: Block, run: str) -> None:
        """Readings of one quality; `run` names in findings what brought them."""
        known = self._known(block)
        if known is None:
            self._add(block, run)
        else:
            self._against_known(block, known, run)

    def _known(self, block: Block) -> Rows | None:
        """Every stored version near a block; None when there can be none.

        Where a segment is damaged nobody knows: what comes is kept as if it were new, and the version that was
        committed first is the visible one again once the segment is restored.
        """
        try:
            if self._store.touches(block.key, block.start_at, block.last_at):
                return self._store.rows(block.key, block.start_at, block.last_at)
        except DataError as error:
            if error.code != "mdms.segment-damaged":
                raise
            log.warning("mdms.ingest", code=error.code, message=str(error))
        return None

    def _against_known(self, block: Block, rows: Rows, run: str) -> None:
        """Readings near instants that are stored: one by one against every stored version."""
        known: dict[int, list[_Known]] = {}
        for at, *version in rows[["end_at", *_Known._fields]].tolist():
            known.setdefault(at, []).append(_Known(*version))
        counts = self.state.counts
        for index, register in enumerate(block.registers):
            at = block.start_at + index * block.step
            versions = sorted(known.get(at, ()))
            one = msgspec.structs.replace(block, start_at=at, registers=(register,))
            delivered = _delivered(versions, self._words.known(RETRACTED), in_time=self.in_time)
            late = msgspec.structs.replace(one, version=versions[-1].version + 1) if versions else one
            if not versions:
                self._add(one, run)
            elif block.quality == Quality.MISSING:
                counts["repeated_readings"] += 1
                self.state.reconciliation.note("repeated")
            elif delivered is None:
                # A late reading where only a hole or an estimate stood.
                if any(v.quality == Quality.MISSING for v in versions):
                    counts["missing"] -= 1
                self._add(late, run)
            else:
                joins = _joins(block, delivered, in_time=self.in_time)
                if block.unit == delivered.unit and _same(one, delivered):
                    counts["repeated_readings"] += 1
                    self.state.reconciliation.note("repeated")
                else:
                    counts["conflicts"] += 1
                    self.state.reconciliation.note("refused")
                    self._conflict(one, delivered, run, replaces=joins)
                if joins:
                    self._store.add(late)
                    self._note_newest(late)

    def _conflict(self, block: Block, known: _Known, run: str, *, replaces: bool) -> None:
        unit = self._words.texts
        stood = Said(known.register, known.exponent, unit[known.unit])
        came = Said(block.registers[0], block.exponent, unit[block.unit])
        kept, refused = (came, stood) if replaces else (stood, came)
        self.state.findings.append(conflict(block, self._words, run, kept=kept, refused=refused))

    # --- the rest of a record ---------------------------------------------------------------------

    def _status(self, status: Status, received_at: int) -> None:
        known = self.state.statuses.get(status.device_id)
        if known is None or known[0].at <= status.at:
            self.state.statuses[status.device_id] = (status, received_at)
        self.state.counts["statuses"] += 1

    def _evidence(
        self, sequence: int, opened: Opened, evidence: Evidence, places: Mapping[bytes, Sequence[Place]]
    ) -> str:
        """Queue a statement for its check; returns the code under which it is held back instead, or ""."""
        try:
            statement = unpack(evidence.statement)
        except PeerError:
            return "mdms.statement"
        if statement.end_at >= LATEST or statement.device_id != evidence.device_id:
            return "mdms.statement"
        here = [
            p for p in places.get(statement.device_id, ()) if p.since <= statement.end_at < (p.until or EVER)
        ]
        if not here:
            return "mdms.unknown-device"
        if statement.end_at <= self.state.rolled.horizon(
            here[0].usage_point, here[0].medium, statement.channel
        ):
            return ROLLED_UP
        pending = Pending(
            usage_point=here[0].usage_point,
            statement=statement,
            raw=evidence.statement,
            signature=evidence.signature,
            suite=opened.suite,
            module_id=opened.module_id,
            received_at=opened.received_at,
            batch=sequence,
        )
        # A false statement that came first waits beside the true one until signatures are checked.
        key = (*pending.key, pending.raw + pending.signature)
        self.state.pending.setdefault(key, pending)
        return ""

    def _version(self, sequence: int, version: Version) -> None:
        point = self._words.code(version.usage_point)
        self._words.medium[point] = version.medium
        if version.start_at <= self.state.rolled.horizon(
            version.usage_point, version.medium, version.channel
        ):
            return  # its instants are there no more
        key = Key(point, version.channel)
        if version.method.startswith(SAID_BY_PEOPLE):  # estimates meet it
            self.state.mark_dirty({key: version.start_at})
        self._store.add(
            Block(
                key=key,
                start_at=version.start_at,
                step=version.step,
                registers=version.registers,
                exponent=version.exponent,
                unit=self._words.code(version.unit),
                quality=version.quality,
                origin=ORIGINS.index(version.origin),
                profile=False,
                version=version.version,
                method=self._words.code(version.method),
                recorded_at=version.recorded_at,
                batch=sequence,
            )
        )
        names = {Quality.ESTIMATED: "estimated", Quality.MISSING: "missing", Quality.SUSPECT: "suspect"}
        if name := names.get(version.quality):
            self.state.counts[name] += len(version.registers)

    def _hold(self, held: Quarantined) -> None:
        self.state.quarantined.append(held)
        self.state.counts["quarantined"] += 1


def _quarantined(part: Opened, device_id: bytes, code: str) -> Quarantined:
    """What was opened but cannot be placed, whole enough to be taken in later."""
    return Quarantined(
        session_id=part.session_id,
        counter=part.counter,
        device_id=device_id,
        received_at=part.received_at,
        reject_class=UNKNOWN_METER if code == "mdms.unknown-device" else DOES_NOT_DECODE,
        code=code,
        record=msgspec.msgpack.encode(part),
    )


def _behind(opened: Opened, places: Mapping[bytes, Sequence[Place]]) -> str:
    """The concentrator that vouches for a record, or behind which the fleet knows the meter that sealed it; in hex."""
    if opened.origin == "vouched":
        return opened.device_id.hex()
    return next((one.concentrator.hex() for one in places.get(opened.device_id, ()) if one.concentrator), "")


def _single(series: Series) -> bool:
    return series.step == 0


def _delivered(versions: Sequence[_Known], retracted: int | None, *, in_time: bool) -> _Known | None:
    """What the meter delivered for one instant, by rising version: in time, of its load profile, else the first.

    Nothing below a version of method `retracted`: that was said by a meter that was not there any more.
    """
    floor = max((v.version for v in versions if v.method == retracted), default=0)
    found = [v for v in versions if v.version > floor and not v.method and v.quality != Quality.MISSING]
    if in_time:
        found = [v for v in found if v.quality != Quality.SUSPECT] or found
    return next((v for v in found if v.profile), found[0] if found else None)


def _joins(block: Block, known: _Known, *, in_time: bool) -> bool:
    """Does what came take the place of what the meter said of that instant before? In time before ahead of it, then the
    load profile, which evidence covers, before a single reading.
    """
    came, stood = block.quality == Quality.SUSPECT, known.quality == Quality.SUSPECT
    return stood if in_time and came != stood else block.profile and not known.profile


def _same(block: Block, known: _Known) -> bool:
    finest = min(block.exponent, known.exponent)
    mine: int = block.registers[0] * 10 ** (block.exponent - finest)
    theirs: int = known.register * 10 ** (known.exponent - finest)
    return mine == theirs
