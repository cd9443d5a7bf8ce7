"""The operator's desk for keeping a store: backups while all runs, drills of them, and whether every piece still opens.

It copies nothing itself (`app.backup`, `app.restoring`) and judges no reading.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from msgspec import Struct
from msgspec.structs import replace

from meterseal.app import restoring
from meterseal.app.backup import Written
from meterseal.app.backup import write as write_backup
from meterseal.app.backup_place import Place
from meterseal.app.measurements import Verifier
from meterseal.app.restoring import Drill
from meterseal.app.rowwatch import RowWatch
from meterseal.control import acts, write
from meterseal.control.rings import MEASUREMENTS, open_ring
from meterseal.control.sealing import KeyRing
from meterseal.errors import LocalError, MetersealError
from meterseal.mdms.integrity import Damage, Integrity
from meterseal.mdms.service import Mdms
from meterseal.mesh.rpc import OPERATOR, Empty, Methods, offered_to
from meterseal.security.sdk import DataKeySource, SecuritySdk

log = structlog.get_logger()
T = TypeVar("T")


class Backup(Struct, frozen=True, kw_only=True):
    """Write a backup into the directory `place` (absolute); with `keep` only so many stay there."""

    place: str
    keep: int = 0


class DrillBackup(Struct, frozen=True, kw_only=True):
    """Prove on a copy that a backup in `place` would come back, the newest unless `name` is one."""

    place: str
    name: str = ""


class KeepingDesk:
    """What the Unix socket serves about backups and the state of the store's files."""

    def __init__(
        self,
        engine: sa.Engine,
        mdms: Mdms,
        security: SecuritySdk,
        platform: Path,
        clock: Callable[[], int],
        rings: Mapping[str, KeyRing] = MappingProxyType({}),
        rows: RowWatch | None = None,
    ) -> None:
        self._engine = engine
        self._rings = rings
        """Of the control store, by name, beside that of measurements."""
        self._rows = rows
        self._mdms = mdms
        self._security = security
        self._platform = platform
        self._clock = clock
        self._working: asyncio.Task[Any] | None = None

    def methods(self) -> Methods:
        """The table, to be joined with the desk's."""
        return offered_to(
            OPERATOR,
            {
                "store_backup": (self.backup, Backup),
                "store_drill": (self.drill, DrillBackup),
                "store_check": (self.check, Empty),
            },
        )

    async def backup(self, _: str, asked: Backup) -> Written:
        """Write a backup; everything that was acknowledged before this call is in it.

        LocalError `backup.place`, `backup.busy`; EngineError `backup.full`, `backup.disk`, `mdms.*`; DataError
        `backup.control`. Then the backups that stood there stand there still.
        """
        root = _root(asked.place)
        if root.resolve().is_relative_to(self._platform.resolve()):
            raise LocalError(
                "backup.place",
                f"A backup at {root} would lie inside what it copies. Give a directory on another disk.",
            )
        return await self._alone(self._write(Place(root), asked.keep))

    async def _write(self, place: Place, keep: int) -> Written:
        with place.writing():
            known = await asyncio.to_thread(place.known)
            at = self._clock()
            moment = await self._mdms.moment(known)
            try:
                done = await asyncio.to_thread(write_backup, place, moment, at, keep)
            finally:
                await asyncio.to_thread(moment.release)
        await asyncio.to_thread(self._act, "store-backup", done.id)
        return done

    async def drill(self, _: str, asked: DrillBackup) -> Drill:
        """Bring a backup back on a copy beside the platform's directory, and remove it. Errors as `restoring.drill`."""
        place = Place(_root(asked.place))
        source = DataKeySource(self._security)

        async def opened(engine: sa.Engine) -> KeyRing:
            return await open_ring(engine, MEASUREMENTS, source, self._clock())

        def started(directory: Path, engine: sa.Engine, ring: KeyRing) -> Mdms:
            return Mdms.open(directory, engine, ring, Verifier(self._security))

        return await self._alone(restoring.drill(place, asked.name, self._platform, opened, started))

    async def check(self, _: str, asked: Empty) -> Integrity:
        """Open every piece of the store. EngineError when a disk does not answer."""
        found = await self._mdms.integrity(self._rings)
        if self._rows is None:
            return found
        looked = await self._rows.look()
        rows = tuple(Damage(code="row", where=one.where, sentence=one.sentence) for one in looked.differences)
        return replace(found, damages=found.damages + rows, more=found.more + looked.compared.more)

    async def _alone(self, work: Coroutine[Any, Any, T]) -> T:
        """One backup or drill at a time, each a task of its own: a caller who goes away must take no pin, no lock and no
        copy from under it."""
        if self._working is not None and not self._working.done():
            work.close()
            raise LocalError("backup.busy", "Another backup or drill is under way. Wait until it is done.")
        task = self._working = asyncio.create_task(work)
        task.add_done_callback(_said)
        return await asyncio.shield(task)

    def _act(self, act: str, subject: str) -> None:
        with write(self._engine) as connection:
            acts.append(connection, acts.Act(self._clock(), OPERATOR, act, subject))


def _root(place: str) -> Path:
    root = Path(place)
    try:
        with contextlib.suppress(FileNotFoundError):
            root.stat()
        if root.is_absolute():
            return root
    except (OSError, ValueError):
        pass
    raise LocalError(
        "backup.place", "That can be no directory of backups. Give the whole path of one that can be read."
    )


def _said(working: asyncio.Task[Any]) -> None:
    """Whoever asked may be gone: then the log says what became of it."""
    if not working.cancelled() and isinstance(error := working.exception(), MetersealError):
        log.warning("backup.failed", code=error.code)
