"""The platform's background work on key versions: new data keys begun, everything sealed moved to them, old ones ended.

It wraps no key (the security service does) and knows no row (each station moves its own).

When the service has a newer wrapping key than the one our data keys stand under, or when the operator asks, every ring
gets a new data key: from then on all that is written is sealed under it. What is stored follows in small steps beside
the ordinary work. A step is one transaction (or one file that the manifest takes over in one), so a kill between two
steps loses nothing: whatever still stands under an older version is found again by its version. Once a ring has
nothing left, its older keys are deleted, and what they sealed opens no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import sqlalchemy as sa
import structlog

from meterseal.control import read, write
from meterseal.control.rings import MEASUREMENTS, DataKeys, begin_version, end_versions, newest_wrapping
from meterseal.control.sealed import UNDER
from meterseal.control.sealing import KeyRing
from meterseal.errors import MetersealError
from meterseal.security.sdk import SecuritySdk
from meterseal.utility.customers import Customers

log = structlog.get_logger()

ROWS = 200
"""Rows moved in one transaction: it holds the write lock for some milliseconds."""
PAUSE = 0.05
"""Seconds between two steps, for everybody else."""
WATCH = 30.0
"""Seconds between two looks at what the service's newest wrapping key is."""
WRAPPING = "WRAP-DATA"


class Files(Protocol):
    """The store of measurements, as far as its files stand under key versions."""

    async def reseal(self) -> int:
        """Move a piece of what is sealed under an older version; 0 when nothing is left."""

    async def older(self) -> int:
        """Segments and journal entries under an older version, none of which is being written."""


class Resealing:
    """Moves what one platform has sealed. `rings` are its open rings by name; `wrapping` asks the service for the version
    of its newest wrapping key.
    """

    def __init__(
        self,
        engine: sa.Engine,
        rings: Mapping[str, KeyRing],
        files: Files,
        customers: Customers,
        keys: DataKeys,
        wrapping: Callable[[], Awaitable[int]],
        clock: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._rings = dict(rings)
        self._files = files
        self._customers = customers
        self._keys = keys
        self._newest = wrapping
        self._clock = clock
        self._beginning = asyncio.Lock()
        self._wake = asyncio.Event()

    async def begin(self) -> None:
        """A new version for every ring. EngineError when the security service is away; some may have begun then."""
        async with self._beginning:
            for name, ring in self._rings.items():
                await begin_version(self._engine, name, ring, self._keys, self._clock())
        self._wake.set()

    async def follow(self) -> bool:
        """Begin a new version where the service's wrapping key is newer than that of our newest data key."""
        newest = await self._newest()
        if all(newest_wrapping(self._engine, name) >= newest for name in self._rings):
            return False
        await self.begin()
        return True

    async def remaining(self) -> int:
        """Everything that still stands under an older key: rows, segments, journal entries, customers."""
        files = await self._files.older()
        return files + await asyncio.to_thread(self._rows) + self._customers.remaining(self._wrapping())

    def _rows(self) -> int:
        with read(self._engine) as connection:
            return sum(
                table.remaining(connection, ring.version)
                for name, ring in self._rings.items()
                if len(ring.versions) > 1
                for table in UNDER[name]
            )

    def _wrapping(self) -> int:
        """The newest wrapping key that any of our data keys names."""
        return max(newest_wrapping(self._engine, name) for name in self._rings)

    async def step(self) -> int:
        """Move one piece; returns its size, 0 when all is moved and older keys are ended."""
        for name, ring in self._rings.items():
            if len(ring.versions) == 1:
                continue  # a version that was ended left nothing behind
            for table in UNDER[name]:
                moved = await asyncio.to_thread(self._move, name, table.table.name)
                if moved:
                    return moved
            if name == MEASUREMENTS:
                moved = await self._files.reseal()
                if moved:
                    return moved
            if not (name == MEASUREMENTS and await self._files.older()):
                ended = await asyncio.to_thread(end_versions, self._engine, name, ring, UNDER[name])
                if ended:
                    log.info("reseal.ended", ring=name, version=ring.version, keys=ended)
        return await self._customers.move(self._wrapping(), ROWS // 10)

    def _move(self, name: str, table_name: str) -> int:
        ring = self._rings[name]
        (table,) = (one for one in UNDER[name] if one.table.name == table_name)
        with read(self._engine) as connection:
            if not table.remaining(connection, ring.version):
                return 0
        with write(self._engine) as connection:
            return table.move(connection, ring, ROWS)

    async def run(self) -> None:
        """Work until cancelled; a failure is said and tried again at the next look."""
        while True:
            try:
                await self.follow()
                while await self.step():
                    await asyncio.sleep(PAUSE)
            except MetersealError as error:
                log.warning("reseal.failed", code=error.code, message=error.message)
            except Exception as error:  # noqa: BLE001 - a defect ends this turn, not the work
                log.critical("reseal.defect", fault=type(error).__name__)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    WATCH
                ):  # wait_for may lose a cancellation that comes with the event
                    await self._wake.wait()


async def newest_wrapping_of(security: SecuritySdk) -> int:
    """The newest version of the service's wrapping key for stored data that is in use."""
    keys = (await security.usage()).keys
    return max((key.version for key in keys if key.id == WRAPPING and key.state == "active"), default=0)
