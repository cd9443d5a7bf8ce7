"""Station MDMS, the questions: what others may read of measurements, as frozen structs and columns.

It changes nothing. Who may ask is decided by those who ask (`utility`, `people`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from meterseal.mdms.answers import Answers
from meterseal.mdms.columns import Columns, with_meters
from meterseal.mdms.entries import Place
from meterseal.mdms.evidence import EvidenceBook, EvidenceFacts
from meterseal.mdms.export import series
from meterseal.mdms.facts import Facts
from meterseal.mdms.finding import Finding
from meterseal.mdms.findings import Findings
from meterseal.mdms.multipliers import Stated
from meterseal.mdms.notes import Notes
from meterseal.mdms.places import Places
from meterseal.mdms.quarantine import Quarantine
from meterseal.mdms.reconciliation import Reconciled
from meterseal.mdms.state import State
from meterseal.mdms.store.consumed import Consumed
from meterseal.mdms.store.manifest import Manifest
from meterseal.mdms.store.order import Order
from meterseal.mdms.store.rows import EVER, Key, Readings, Rows, Words, visible
from meterseal.mdms.store.segments import Segment
from meterseal.mdms.store.store import Store
from meterseal.model import MEDIA, Medium, Quarantined, Status


class Limits(Struct, frozen=True):
    """When the background work begins: rows in memory, bytes of journal, evidence that waits for its check,
    seconds that anything has lain in the journal; and how long it gathers (seconds).

    They bound what a start must replay. What one had to replay is compacted at once, however little it is: a
    small system would else read an ever longer journal, and one that is restarted often would never grow old.
    """

    recent_rows: int = 150_000
    journal_bytes: int = 32 * 1024 * 1024
    pending: int = 20_000
    age_seconds: float = 6 * 3600.0
    idle_seconds: float = 5.0
    gather_seconds: float = 0.2


class Counts(Struct, frozen=True, kw_only=True):
    """What came since the store was made, counted once each.

    `readings` are distinct delivered readings (usage point, channel, end_at) with a value; `missing` are
    instants that a meter marked missing and never filled. `evidence_good` is signed or mac,
    `evidence_waiting` not checked.
    """

    records: int
    repeated_records: int
    readings: int
    repeated_readings: int
    missing: int
    conflicts: int
    suspect: int
    estimated: int
    quarantined: int
    statuses: int
    evidence: int
    evidence_good: int
    evidence_waiting: int

    @property
    def repeats(self) -> int:
        """Records whose counter was consumed before, so that they changed nothing."""
        return self.repeated_records


class VeeRun(Struct, frozen=True):
    """What a run of the rules did: readings looked at, channels, new findings, new versions; and of how many meters a rule
    lacks what it would have to know. It is replayed by its `number`, 0 where there was nothing to look at.
    """

    readings: int
    channels: int
    findings: int
    versions: int
    unjudged: dict[str, int] = msgspec.field(default_factory=dict)
    number: int = 0


class Freshness(Struct, frozen=True):
    """The newest measured reading of a usage point's main channel, and when its record was received."""

    end_at: int
    received_at: int


class Reading:
    """The read side; `Mdms` adds the write side. Every method may be called from any thread.

    All raise DataError `mdms.segment-damaged` when a stored file is not what was stored, EngineError when a
    store is away.
    """

    _store: Store
    _manifest: Manifest
    _state: State
    _book: EvidenceBook
    _consumed: Consumed
    _quarantine: Quarantine
    _findings: Findings
    _notes: Notes
    _places: Places
    facts: Facts
    _answers: Answers
    _order: Order
    _engine: sa.Engine

    def readings(
        self, usage_point: str, channel: int, since: int, until: int, as_of: int | None = None
    ) -> Readings:
        """Visible readings with since <= end_at < until; with `as_of`, as they were visible then: once a moment of the past
        was asked for, here or below, its answers are the same for ever (`answers`).

        Raises DataError `mdms.units` when the unit changed within the period.
        """
        return self.registers(usage_point, channel, since, until - 1, as_of)

    def registers(
        self,
        usage_point: str,
        channel: int,
        since: int,
        until: int,
        as_of: int | None = None,
        entry: int = EVER,
    ) -> Readings:
        """Visible readings with since <= end_at <= until: registers are boundaries of what lies between
        them. With `as_of`, as they were visible then; with `entry` without those of later journal entries."""
        entry = min(entry, self._answers.upto(as_of))
        return self._store.readings(usage_point, channel, since, until, as_of, entry)

    def standing(self, now: int) -> Standing:
        """The same with no reading that is stored later. Questions as of `now` are answered by it from here on, if none was
        asked before."""
        with self._store.lock:
            entry = self._state.sequence
        self._answers.upto(now)
        return Standing(self, entry)

    def evidence_at(self, usage_point: str, channel: int, end_at: int) -> EvidenceFacts | None:
        """The checked evidence for the register of one instant, or None when the meter sent none."""
        return self._book.at(usage_point, channel, end_at)

    def evidence_between(self, usage_point: str, channel: int, since: int, until: int) -> list[EvidenceFacts]:
        """Checked evidence with since <= end_at <= until, oldest first."""
        return self._book.between(usage_point, channel, since, until)

    def freshness(self) -> dict[str, Freshness]:
        """Newest reading of every usage point that has any."""
        with self._store.lock:
            newest = self._state.all_newest(self._store)
        texts = self._store.words.texts
        return {texts[point]: Freshness(*times) for point, times in newest.items()}

    def latest(self) -> dict[str, int]:
        """End of the newest reading of the main channel, per usage point that has any."""
        return {usage_point: fresh.end_at for usage_point, fresh in self.freshness().items()}

    def reconciled(self) -> list[Reconciled]:
        """Of every delivered reading what became of it, by way and hour of receipt."""
        with self._store.lock:
            return self._state.reconciliation.lines()

    def channels(self) -> list[tuple[str, int]]:
        """Every (usage point, channel) that has readings, sorted."""
        return sorted((self._store.words.texts[key.point], key.channel) for key in self._store.keys_stored())

    def scan(self, medium: Medium, since: int, until: int) -> Iterator[tuple[list[Key], Columns]]:
        """Load profiles as meters delivered them, since <= end_at <= until, in blocks of whole channels (`columns`).

        Of a channel that lies in a damaged file only what comes after it.
        """
        replaced = self._places.replaced()
        known = {self._store.words.known(point): begins[1:] for point, begins in replaced.items()}
        for keys, columns in self._store.scan(medium, since, until):
            yield keys, with_meters(keys, columns, known)

    def page(
        self,
        since: int,
        until: int,
        as_of: int | None = None,
        after: tuple[str, int] | None = None,
        usage_point: str | None = None,
        entries: series.Since | None = None,
    ) -> series.Page:
        """Visible readings with since <= end_at < until of the next channels behind `after`, of one usage point or of
        all; with `entries` what these changed."""
        with self._store.lock:
            entries = entries or series.Since(0, self._state.sequence)
        entries = replace(entries, through=min(entries.through, self._answers.upto(as_of)))
        channels = self._order.after(self._store.numbers_stored(), after, usage_point)
        known, factors = self.multipliers()
        return series.page(self._store, channels, since, until, as_of, entries, factors if known else None)

    def places(self, device_id: bytes) -> tuple[Place, ...]:
        """Where a device counts or counted, by what stands in the control store now; none for one that is not known."""
        return Places(self._engine).of([device_id])

    def exchanged(self) -> dict[str, tuple[int, ...]]:
        """Usage points whose meter was exchanged, with the instants at which each was put in place."""
        return {point: tuple(begins) for point, begins in self._places.replaced().items()}

    def multipliers(self) -> tuple[bool, dict[str, Stated]]:
        """Whether a multiplier was ever stated, and what is stated by usage point where it ever was not 1."""
        return self.facts.multiplied(self._places.replaced())

    def visible(self, since: int, until: int, usage_point: str | None = None) -> Generator[Rows, None, None]:
        """Visible readings with since <= end_at < until, whole channels in blocks, of one usage point or of all; for
        whoever wants them all in no order. What is stored meanwhile may be missing."""
        if usage_point is None:
            for medium in MEDIA:
                yield from self._store.visible(medium, since, until - 1)
            return
        for _, channel in self._order.after(self._store.numbers_stored(), None, usage_point):
            key = self._store.key(usage_point, channel, since, until - 1)
            if key is not None:
                yield visible(self._store.rows(key, since, until - 1))

    @property
    def words(self) -> Words:
        """What numbers in `visible` rows stand for."""
        return self._store.words

    def segments(self) -> list[Segment]:
        """What the manifest lists now."""
        with self._store.lock:
            return list(self._store.catalogue.segments.values())

    def position(self) -> tuple[str, int]:
        """(id of the store, its newest journal entry)."""
        with self._store.lock:
            return self._manifest.store_id, self._state.sequence

    # --- what is kept beside readings -----------------------------------------------------------

    def consumed(self, session_id: bytes) -> bytes:
        """All consumed counters of a session, as `link.counters` ranges."""
        with self._store.lock:
            return self._consumed.of(session_id).to_bytes()

    def rejected(self, session_id: bytes) -> list[tuple[int, int]]:
        """(counter, class of REJECT) of every record of a session that was committed to quarantine, rising."""
        with self._store.lock:  # first: what leaves this list stands in the table before
            noticed = {
                (held.counter, held.reject_class)
                for held in self._state.quarantined
                if held.session_id == session_id and not held.code.startswith("mdms.")
            }
        return sorted(noticed.union(self._quarantine.rejected(session_id)))

    def status(self, device_id: bytes) -> Status | None:
        """The newest state that a meter reported."""
        self._notes.write()
        return self._manifest.status(device_id)

    def findings(
        self,
        limit: int = 100,
        usage_point: str | None = None,
        period: tuple[int, int] | None = None,
        as_of: int | None = None,
    ) -> list[Finding]:
        """Newest findings first; of a period those that reach into since < t < until; with `as_of` as the last run of the
        rules that found something by then left them."""
        self._notes.write()
        return self._findings.latest(limit, usage_point, period, as_of)

    def quarantine(self, limit: int = 100) -> list[Quarantined]:
        """Newest quarantined records first, opened; `record` of code `mdms.*` is the msgpack of a
        `model.Opened`."""
        self._notes.write()
        return self._quarantine.latest(limit)

    def counts(self) -> Counts:
        """What came and what is kept."""
        with self._store.lock:
            counts = dict(self._state.counts)
            pending = [item.key for item in self._state.pending.values()]
        tally, waiting = self._book.tally(pending)
        return Counts(
            **counts,
            evidence=sum(tally.values()) + waiting,
            evidence_good=tally.get("signed", 0) + tally.get("mac", 0),
            evidence_waiting=waiting + tally.get("unchecked", 0),
        )


class Standing:
    """Readings as they were stored at one journal entry. Evidence has one state, the newest."""

    def __init__(self, reading: Reading, entry: int) -> None:
        self._reading, self._entry = reading, entry

    def registers(
        self, usage_point: str, channel: int, since: int, until: int, as_of: int | None = None
    ) -> Readings:
        """As `Reading.registers`, up to this entry."""
        return self._reading.registers(usage_point, channel, since, until, as_of, self._entry)

    def evidence_between(self, usage_point: str, channel: int, since: int, until: int) -> list[EvidenceFacts]:
        """As `Reading.evidence_between`."""
        return self._reading.evidence_between(usage_point, channel, since, until)

    def standing(self, now: int) -> Standing:
        """It does already."""
        return self
