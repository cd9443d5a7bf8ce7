"""Station MDMS, runs of the rules as they are kept: the point that all of it was cut by, what was looked at, what was said.

It judges nothing. A row is enough to run again: what the run saw lies in tables and segments that are only ever appended
to, and the digest tells whether running again said the same.
"""

from __future__ import annotations

import platform
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa
import structlog
from msgspec import Struct

from meterseal import __version__
from meterseal.control.engine import read, write
from meterseal.control.tables import (
    day_kinds,
    point_facts,
    vee_changes,
    vee_channels,
    vee_exchanges,
    vee_programs,
    vee_runs,
    weather,
)
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import sm3
from meterseal.errors import DataError, LocalError
from meterseal.mdms import vee
from meterseal.mdms.seen import Seen
from meterseal.mdms.store.index import key_of, number_of
from meterseal.mdms.store.packing import Ints, Unpacker, pack
from meterseal.mdms.store.rows import Key, Words
from meterseal.mdms.vee.engine import Outcome
from meterseal.mdms.vee.estimators import ESTIMATORS
from meterseal.mdms.vee.rules import RULES

AT_ONCE = 1000
"""Findings that are encoded, and runs that go, at once."""
SET = "set"
"""In a row that names its versions: under what `vee_programs` has them. Rows of before have them all."""
AROUND = (
    "around.py",
    "changes.py",
    "clocks.py",
    "facts.py",
    "heats.py",
    "multipliers.py",
    "plants.py",
    "spans.py",
    "stated.py",
    "surroundings.py",
    "unreadable.py",
    "store/rows.py",
)
"""What beside the rules and methods decides what they are told."""
log = structlog.get_logger()
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(list[tuple[str, int]])


class Run(Struct, frozen=True, kw_only=True):
    """A run that was made at an instant, over so many channels; `unread` of them had a file that did not open.

    `program` holds the versions that judged: of meterseal, of each rule, of each method, and of what they rest on.
    """

    number: int
    at: int
    seen: Seen
    channels: int
    readings: int
    findings: int
    versions: int
    unread: int
    program: dict[str, str]


class Kept(Struct, frozen=True, kw_only=True):
    """A run with what only running it again needs: where it looked, packed, and the keyed digest of what it said."""

    run: Run
    looked: bytes
    digest: bytes


class Runs:
    """The tables `vee_runs`, `vee_programs`, `vee_channels` and `vee_exchanges`. Any thread may call."""

    def __init__(self, engine: sa.Engine, words: Words, mark: SymmetricKey) -> None:
        self._engine, self._words, self._mark = engine, words, mark
        self._lock = Lock()
        self._numbered = 0
        self._known: tuple[Ints, Ints] = np.empty(0, np.int64), np.empty(0, np.int64)
        """Numbers of keys, rising, and the numbers that `vee_channels` gives to these channels."""

    # --- the point --------------------------------------------------------------------------------

    def point(self, entry: int, replaced: Mapping[str, Sequence[int]]) -> Seen:
        """The newest of everything now: rows that come later have higher numbers, for one writer at a time gives them out.

        What meters were exchanged is written down first, where it is not what was known.
        """
        with self._lock:
            told = self.exchanged()
            rows = [
                {"usage_point": point, "begins": list(replaced.get(point, ()))}
                for point in sorted(told.keys() | replaced.keys())
                if tuple(told.get(point, ())) != tuple(replaced.get(point, ()))
            ]
            if rows:
                with write(self._engine) as connection:
                    connection.execute(vee_exchanges.insert(), rows)
            with read(self._engine) as connection:
                tables = (point_facts, vee_changes, vee_exchanges, weather, day_kinds)
                newest = [connection.execute(sa.select(sa.func.max(one.c.id))).scalar() for one in tables]
        return Seen(entry, *(one or 0 for one in newest))

    def exchanged(self, upto: int | None = None) -> dict[str, tuple[int, ...]]:
        """Usage points whose meter was exchanged as a run knew of it, with the instants at which each was put in place."""
        query = sa.select(vee_exchanges).order_by(vee_exchanges.c.id)
        if upto is not None:
            query = query.where(vee_exchanges.c.id <= upto)
        with read(self._engine) as connection:
            found = {row.usage_point: tuple(row.begins) for row in connection.execute(query)}
        return {point: begins for point, begins in found.items() if begins}

    # --- keeping ----------------------------------------------------------------------------------

    def keep(self, at: int, seen: Seen, dirty: Mapping[Key, int], said: Outcome, unread: int) -> int:
        """Write a run down before anything follows from it; gives its number."""
        keys = np.fromiter(map(number_of, dirty), np.int64, len(dirty))
        since = np.fromiter(dirty.values(), np.int64, len(dirty))
        with self._lock:
            numbers = self._numbers(keys)
        order = np.argsort(numbers)
        with write(self._engine) as connection:
            number = (connection.execute(sa.select(sa.func.max(vee_runs.c.id))).scalar() or 0) + 1
            connection.execute(
                vee_runs.insert().values(
                    id=number,
                    at=at,
                    **msgspec.structs.asdict(seen),
                    channels=len(dirty),
                    looked=zlib.compress(pack(numbers[order]) + pack(since[order])),
                    program={SET: _named(connection, program())},
                    readings=said.readings,
                    findings=len(said.findings),
                    versions=len(said.versions),
                    unread=unread,
                    digest=self.digest(said),
                )
            )
        return number

    def digest(self, said: Outcome) -> bytes:
        """Keyed, over everything that was said: a plain hash would tell a register, which has eight digits."""
        counted = _encoder.encode([said.readings, sorted(said.unjudged.items())])
        return self._mark.mac(
            b"meterseal run\0", sm3(counted) + _hashed(said.findings) + _hashed(said.versions)
        )

    def given_up(self, entry: int) -> None:
        """A start found no journal entry beyond this one: what runs saw of later ones is gone, and others will have their
        numbers. It is noted by the sign.
        """
        with read(self._engine) as connection:
            newest = connection.execute(sa.select(sa.func.max(vee_runs.c.entry))).scalar() or 0
        if newest > entry:
            log.warning("vee.given-up", entry=entry, seen=newest)
            with write(self._engine) as connection:
                connection.execute(
                    vee_runs.update().where(vee_runs.c.entry > entry).values(entry=-vee_runs.c.entry)
                )

    # --- asking -----------------------------------------------------------------------------------

    def latest(self, limit: int = 100) -> list[Run]:
        """Newest first."""
        query = sa.select(vee_runs).order_by(vee_runs.c.id.desc()).limit(limit)
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
            programs = _programs(connection)
        return [_run(row, programs) for row in rows]

    def get(self, number: int) -> Kept:
        """LocalError `vee.no-run`, `vee.run-gone`."""
        with read(self._engine) as connection:
            row = connection.execute(sa.select(vee_runs).where(vee_runs.c.id == number)).one_or_none()
            oldest = connection.execute(sa.select(sa.func.min(vee_runs.c.id))).scalar() or 0
            programs = _programs(connection)
        if row is None and 1 <= number < oldest:
            raise LocalError(
                "vee.run-gone",
                f"Run {number} was made, and went by the rule of retention for runs: what it saw and said is not kept any "
                f"more, so it cannot be made again. The oldest that can is run {oldest}. Its findings and estimates stay.",
            )
        if row is None:
            raise LocalError("vee.no-run", f"There is no run {number}. See: meterseal vee runs")
        return Kept(run=_run(row, programs), looked=bytes(row.looked), digest=bytes(row.digest))

    def older(self, at: int) -> int:
        """How many runs were made before an instant; the newest of all never counts."""
        with read(self._engine) as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(*_older(at))).scalar_one())

    def forget(self, at: int) -> int:
        """Let runs go that were made before an instant, never the newest: its number must not be given out again. How
        many went. EngineError `control.*`; then what went is gone, and the rest goes the next time.
        """
        gone = 0
        while True:
            with write(self._engine) as connection:
                some = sa.select(vee_runs.c.id).where(*_older(at)).order_by(vee_runs.c.id).limit(AT_ONCE)
                numbers = connection.execute(some).scalars().all()
                connection.execute(vee_runs.delete().where(vee_runs.c.id.in_(numbers)))
            gone += len(numbers)
            if len(numbers) < AT_ONCE:
                return gone

    def looked(self, kept: Kept) -> dict[Key, int]:
        """The channels that a run judged, and from when on. DataError `vee.run-damaged`."""
        try:
            columns = Unpacker(zlib.decompress(kept.looked))
            numbers, since = columns.next(), columns.next()
            with self._lock:
                self._load()
        except (DataError, msgspec.MsgspecError, zlib.error):
            raise _damaged(kept.run.number) from None
        keys, given = self._known
        if len(numbers) != len(since) or not np.isin(numbers, given).all():
            raise _damaged(kept.run.number)
        order = np.argsort(given)
        found = keys[order[np.searchsorted(given[order], numbers)]]
        return {key_of(number): at for number, at in zip(found.tolist(), since.tolist(), strict=True)}

    # --- numbers of channels ----------------------------------------------------------------------

    def _numbers(self, keys: Ints) -> Ints:
        """The numbers of channels, given out on first use."""
        self._load()
        new = np.setdiff1d(keys, self._known[0])
        if len(new):
            texts = self._words.texts
            named = sorted((texts[key.point], key.channel) for key in map(key_of, new.tolist()))
            content = zlib.compress(msgspec.msgpack.encode(named))
            with write(self._engine) as connection:
                connection.execute(
                    vee_channels.insert().values(id=self._numbered, count=len(named), content=content)
                )
            self._load()
        known, given = self._known
        found: Ints = given[np.searchsorted(known, keys)]
        return found

    def _load(self) -> None:
        """Take in what the table has beyond what is known."""
        query = sa.select(vee_channels).where(vee_channels.c.id >= self._numbered).order_by(vee_channels.c.id)
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
        if not rows:
            return
        code = self._words.code
        named = [one for row in rows for one in _decoder.decode(zlib.decompress(row.content))]
        keys = [number_of(Key(code(point), channel)) for point, channel in named]
        numbers = np.concatenate([np.arange(row.id, row.id + row.count) for row in rows])
        known = np.append(self._known[0], np.array(keys, np.int64))
        order = np.argsort(known)
        self._known = known[order], np.append(self._known[1], numbers)[order]
        self._numbered = rows[-1].id + rows[-1].count


@cache
def program() -> Mapping[str, str]:
    """What judges now, with versions; of the code of rules and methods a hash, and what its sums are made with."""
    rules_at = Path(vee.__file__).parent
    files = [*sorted(rules_at.rglob("*.py")), *(rules_at.parent / name for name in AROUND)]
    code = [path.read_bytes() for path in files]
    made = {
        "meterseal": __version__,
        "the code of rules and methods": sm3(*map(sm3, code)).hex()[:16],
        "numpy": np.__version__,
        "the processor": platform.machine(),
    }
    rules = {f"rule {one.name}": str(one.version) for one in RULES.values()}
    methods = {f"method {one.name}": str(one.version) for one in ESTIMATORS.values()}
    return made | rules | methods


def _damaged(number: int) -> DataError:
    return DataError(
        "vee.run-damaged",
        f"What is kept of run {number} is not what was written. Restore the control store from a backup.",
    )


def _older(at: int) -> tuple[sa.ColumnElement[bool], ...]:
    """The numbers below the first run that stays: a clock that was set back must leave no hole between runs."""
    newest = sa.select(sa.func.max(vee_runs.c.id)).scalar_subquery()
    stays = sa.select(sa.func.min(vee_runs.c.id)).where(vee_runs.c.at >= at).scalar_subquery()
    return vee_runs.c.id < newest, vee_runs.c.id < sa.func.coalesce(stays, newest)


def _named(connection: sa.Connection, versions: Mapping[str, str]) -> str:
    """What these versions are known by; written down on first use."""
    name = sm3(msgspec.json.encode(versions, order="deterministic")).hex()
    if connection.execute(sa.select(vee_programs.c.id).where(vee_programs.c.id == name)).first() is None:
        connection.execute(vee_programs.insert().values(id=name, versions=dict(versions)))
    return name


def _programs(connection: sa.Connection) -> dict[str, dict[str, str]]:
    """A few: one for every upgrade of rules or program."""
    return {row.id: dict(row.versions) for row in connection.execute(sa.select(vee_programs))}


def _run(row: sa.Row[Any], programs: Mapping[str, dict[str, str]]) -> Run:
    seen = Seen(row.entry, row.fact, row.change, row.exchange, row.weather, row.day)
    return Run(
        number=row.id,
        at=row.at,
        seen=seen,
        channels=row.channels,
        readings=row.readings,
        findings=row.findings,
        versions=row.versions,
        unread=row.unread,
        program=programs.get(row.program.get(SET, ""), {}) if SET in row.program else dict(row.program),
    )


def _hashed(said: Sequence[Struct]) -> bytes:
    """A hash of everything in order, some at once."""
    parts = (said[start : start + AT_ONCE] for start in range(0, len(said), AT_ONCE))
    return sm3(*[sm3(_encoder.encode(part)) for part in parts])
