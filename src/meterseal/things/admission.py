"""Where the commit happens: what a head-end hands over is looked at once more before it is stored.

It judges no seal (the head-end has proved the record); it believes no more of a head-end than it must: that what it says
has the shape of a record, comes from a session that exists, of that session's device, and was not received in the future. A
head-end in wrong hands can so invent readings of the devices that it serves and of nobody else.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from meterseal.bus.port import Publisher
from meterseal.control import read
from meterseal.control.tables import sessions
from meterseal.errors import PeerError, TrustError
from meterseal.headend.heats import COLDEST, HOTTEST, MOST_LITRES
from meterseal.headend.saying import AHEAD
from meterseal.link.counters import LAST
from meterseal.link.evidence import STATEMENT
from meterseal.model import (
    Batch,
    ClockSeen,
    Evidence,
    HeatSeen,
    Opened,
    Quarantined,
    Series,
    Status,
    medium_of,
)
from meterseal.things.fleet import enrolments

CLOCKS_APART = 5 * 60_000
"""How far a head-end's clock may run ahead of the platform's, in ms."""
LATEST = 1 << 53
LONGEST_STEP = 400 * 86_400_000
MOST_PARTS = 256
"""Series, states and statements in one record; a record of 4096 bytes holds far fewer."""
MOST_REGISTERS = 1024
WIDEST = 1 << 62
_WORD = 64
_SIGNATURES = (32, 64)


class Admission:
    """A Publisher in front of the store of measurements."""

    def __init__(self, engine: sa.Engine, store: Publisher, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock

    async def publish(self, batch: Batch) -> None:
        """As `Publisher.publish`. What is refused kept nothing of the batch, and its records may come one by one.

        PeerError `platform.record` for what no record can hold; TrustError `link.session` for a session that is not this
        device's (any more), `link.vouching` for a vouched reading of a meter that is not plain behind that concentrator.
        """
        latest = self._clock() + CLOCKS_APART
        if not (
            all(_sane(opened, latest) for opened in batch.opened)
            and all(_sane_quarantined(held, latest) for held in batch.quarantined)
        ):
            raise PeerError("platform.record", "A head-end handed over what no record can hold; look at it.")
        with read(self._engine) as connection:
            _check_sessions(connection, batch)
            _check_vouching(connection, batch, latest)
        await self._store.publish(batch)


def _check_sessions(connection: sa.Connection, batch: Batch) -> None:
    claimed = {(one.session_id, one.device_id, one.module_id) for one in batch.opened}
    held = {(one.session_id, one.device_id) for one in batch.quarantined}
    ids = {session_id for session_id, *_ in (*claimed, *held)}
    if not ids:
        return
    rows = connection.execute(
        sa.select(sessions.c.session_id, sessions.c.device_id, sessions.c.module_id).where(
            sessions.c.session_id.in_(ids)
        )
    ).all()
    known = {(row.session_id, row.device_id, row.module_id) for row in rows}
    if not claimed <= known or not held <= {one[:2] for one in known}:
        raise TrustError(
            "link.session",
            "A record is said to come from a session that its device does not have; not stored.",
        )
    if any(device_id != opened.device_id for opened in batch.opened for device_id in _own(opened)):
        raise TrustError("link.session", "A sealed record speaks of another device than its own; not stored.")


def _own(opened: Opened) -> list[bytes]:
    """The devices that a record may speak of only when they are its sender."""
    said = [evidence.device_id for evidence in opened.evidence]
    if opened.origin != "vouched":
        said += _of_meters(opened)
    return said


def _of_meters(opened: Opened) -> list[bytes]:
    said: tuple[Series | Status | ClockSeen | HeatSeen, ...] = (
        *opened.series,
        *opened.statuses,
        *opened.clocks,
        *opened.heats,
    )
    return [one.device_id for one in said]


def _check_vouching(connection: sa.Connection, batch: Batch, now: int) -> None:
    vouched = {
        (device_id, opened.device_id)
        for opened in batch.opened
        if opened.origin == "vouched"
        for device_id in _of_meters(opened)
    }
    if not vouched:
        return
    found = enrolments(connection, {device_id for device_id, _ in vouched}, now)
    if not vouched <= {(one.device_id, one.concentrator_id) for one in found if one.plain}:
        raise TrustError(
            "link.vouching", "A vouched reading is of a meter that has a module now; seal it there."
        )


def _sane(opened: Opened, latest: int) -> bool:
    return (
        _ids(opened.session_id, opened.device_id, opened.module_id)
        and 0 < opened.counter <= LAST
        and 0 < opened.received_at <= latest
        and len(opened.digest) == 32
        and sum(map(len, (opened.series, opened.statuses, opened.evidence, opened.clocks, opened.heats)))
        <= MOST_PARTS
        and all(_sane_series(one) for one in opened.series)
        and all(_sane_status(one) for one in opened.statuses)
        and all(_sane_evidence(one) for one in opened.evidence)
        and all(_sane_clock(one, latest) for one in opened.clocks)
        and all(_sane_heat(one, latest) for one in opened.heats)
        and (opened.origin == "vouched" or not opened.clocks)  # of its own clock a meter says nothing
    )


def _sane_quarantined(held: Quarantined, latest: int) -> bool:
    return (
        _ids(held.session_id, held.device_id)
        and 0 < held.counter <= LAST
        and 0 < held.received_at <= latest
        and 0 < held.reject_class < 256
        and 0 < len(held.code) <= _WORD
        and len(held.record) <= 4096
    )


def _sane_series(series: Series) -> bool:
    return (
        _ids(series.device_id)
        and 0 <= series.channel < 256
        and len(series.unit) <= 16
        and -12 <= series.exponent <= 12
        and 0 <= series.start_at < LATEST
        and 0 <= series.step <= LONGEST_STEP
        and len(series.registers) <= MOST_REGISTERS
        and all(register is None or -WIDEST < register < WIDEST for register in series.registers)
    )


def _sane_status(status: Status) -> bool:
    return (
        _ids(status.device_id)
        and 0 <= status.at < LATEST
        and len(status.valve) <= 16
        and len(status.raw) <= 16
    )


def _sane_evidence(evidence: Evidence) -> bool:
    return (
        _ids(evidence.device_id)
        and len(evidence.statement) == STATEMENT
        and len(evidence.signature) in _SIGNATURES
    )


def _sane_clock(clock: ClockSeen, latest: int) -> bool:
    return (
        _ids(clock.device_id)
        and 0 <= clock.since <= clock.at <= latest
        and -LATEST < clock.least <= clock.most < LATEST
    )


def _sane_heat(heat: HeatSeen, latest: int) -> bool:
    return (
        _ids(heat.device_id)
        and 0 <= heat.at <= latest + AHEAD
        and medium_of(heat.device_id) == "heat"
        and all(COLDEST <= one <= HOTTEST for one in (heat.supply, heat.back))
        and -1 <= heat.volume <= MOST_LITRES
    )


def _ids(*ids: bytes) -> bool:
    return all(len(one) == 8 for one in ids)
