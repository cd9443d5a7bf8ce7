"""The platform's memory of the security service's audit head: a keys directory that was put back is noticed here.

It reads no entry and judges none; the service's chain is verified by the service (`keys audit`).

Whoever rolls the whole keys directory back, rolls everything back by which the service itself could notice: spent
requests, command numbers, withdrawals. The platform's files are not among them. A look asks for the log's head and
for the hash of the entry that was its head at the last look. A log that no longer holds that entry is an older one,
or another one: that is alarmed, in the audit trail, in the log and in `status`, and stays so until the right
log is back or the operator accepts what the service has now (after a restore). Until then the service enrols nobody;
it is told at once which modules had been withdrawn, and with the acceptance every device and module that the platform
knows, so that none of them is in service again or enrolled anew by somebody else (`security.reserved`). What the platform
knows it reads from the log itself, as long as that is whole, minute by minute (`things.enrolled`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import sqlalchemy as sa
import structlog
from msgspec import Struct, structs

from meterseal.control import read, write
from meterseal.control.tables import service_heads
from meterseal.crypto.symmetric import equal
from meterseal.errors import MetersealError
from meterseal.model import Refusal
from meterseal.security.backuporders import Head
from meterseal.security.messages import Chained
from meterseal.security.reserveorders import Ended, Pair, Reservations
from meterseal.things.enrolled import known_modules, learn, withdrawn_modules
from meterseal.things.monitor import AuditLog

log = structlog.get_logger()

KEYS = "keys"
WATCH = 60.0
"""Seconds between looks."""
_AT_ONCE, _PAGES = 1000, 200
"""Entries of the log in one question, and questions in one look: a log of years is read over several looks."""
PATIENCE = 2.0
"""Seconds that the end of the process waits for a last look."""
CODE = "security.put-back"
_HELD = "the platform found that the keys directory was put back to an older state or replaced"


class Service(Protocol):
    """What is asked of the security service; the SDK is one."""

    async def audit_head(self, known: int = 0) -> Head: ...

    async def audit(self, since: int = 0, limit: int = 100) -> tuple[Chained, ...]: ...

    async def hold_enrolment(self, reason: str) -> Reservations: ...

    async def reserve_modules(self, pairs: Sequence[Pair]) -> Reservations: ...

    async def end_modules(self, pairs: Sequence[Pair]) -> Ended: ...

    async def accept_head(self) -> Reservations: ...


class Seen(Struct, frozen=True, kw_only=True):
    """The head as it was last found in place (0 and empty before the first look); `lost_at` while it is not there.

    `held`, `revision` and `digest` are what the service said at the last look of this process: whether it enrols nobody
    until the head is accepted, how far its files are and what they hold together.
    """

    sequence: int = 0
    hash: bytes = b""
    seen_at: int | None = None
    lost_at: int | None = None
    held: bool = False
    revision: int = 0
    digest: bytes = b""
    learned: int = 0
    """Up to which entry the modules in the log are remembered."""


class Witness:
    """Keeps the head of one service."""

    def __init__(
        self, engine: sa.Engine, service: Service, audit: AuditLog, clock: Callable[[], int]
    ) -> None:
        self._engine, self._service, self._audit, self._clock = engine, service, audit, clock
        self._looking = asyncio.Lock()
        self._said = Head(sequence=0, hash=b"", known=b"")
        self._ended = False

    def seen(self) -> Seen:
        """What is remembered."""
        said = self._said
        return structs.replace(seen(self._engine), held=said.held, revision=said.revision, digest=said.digest)

    async def look(self) -> bool:
        """Whether the service's log still holds what it held; then its head is remembered.

        EngineError when the service is away.
        """
        async with self._looking:
            before = self.seen()
            head = self._said = await self._service.audit_head(before.sequence)
            if before.sequence and not equal(head.known, before.hash):
                await self._alarm(before, head)
                if not head.held:
                    await self._service.hold_enrolment(_HELD)
                    self._said = structs.replace(head, held=True)
                if not self._ended:
                    await self._end()
                return False
            self._remember(head)
            await self._learn(before.learned, head.sequence)
            self._ended = False
            return True

    async def accept(self) -> Seen:
        """Take the service's log as it is now for the right one, as after a restore; said in the audit trail.

        The service is told which modules the platform knows before it enrols again. EngineError when it is away.
        """
        async with self._looking:
            before = self.seen()
            ended = await self._end()
            for pairs in known_modules(self._engine):
                await self._service.reserve_modules(pairs)
            reserved = (await self._service.accept_head()).reserved
            head = self._said = await self._service.audit_head(before.sequence)
            sentence = (
                f"The operator accepted the security service's log with {head.sequence} entries; entry "
                f"{before.sequence} was remembered before; {reserved} modules that it does not know are reserved, and "
                f"{ended} that had been withdrawn were in service and are withdrawn again."
            )
            await self._audit.refused(
                [Refusal(at=self._clock(), code="security.head-accepted", sentence=sentence, source=KEYS)]
            )
            self._remember(head, learned=0)  # what this log says is read again, from its beginning
            return self.seen()

    async def _end(self) -> int:
        """Have every module withdrawn that the service's log said it had withdrawn; how many were in service."""
        count = 0
        for pairs in withdrawn_modules(self._engine):
            count += (await self._service.end_modules(pairs)).again
        self._ended = True
        return count

    async def _learn(self, learned: int, until: int) -> None:
        """Remember the modules in the entries up to `until`, some at a time; the rest waits for the next look."""
        for _ in range(_PAGES):
            if learned >= until:
                return
            entries = await self._service.audit(learned, min(_AT_ONCE, until - learned))
            if not entries:
                return
            learned = entries[-1].sequence
            with write(self._engine) as connection:
                learn(connection, entries)
                connection.execute(
                    service_heads.update().where(service_heads.c.service == KEYS).values(learned=learned)
                )

    async def _alarm(self, before: Seen, head: Head) -> None:
        if before.lost_at is not None:
            return
        sentence = (
            f"The security service's log has {head.sequence} entries and does not hold entry {before.sequence} as it was: "
            "its keys directory was put back to an older state, or replaced. What was withdrawn, spent or rotated "
            "since may be undone. If it was a restore: meterseal keys head --accept"
        )
        now = self._clock()
        log.critical(CODE, known=before.sequence, found=head.sequence)
        await self._audit.refused([Refusal(at=now, code=CODE, sentence=sentence, source=KEYS)])
        with write(self._engine) as connection:
            connection.execute(
                service_heads.update().where(service_heads.c.service == KEYS).values(lost_at=now)
            )

    def _remember(self, head: Head, learned: int | None = None) -> None:
        row = {
            "service": KEYS,
            "sequence": head.sequence,
            "hash": head.hash,
            "seen_at": self._clock(),
            "learned": seen(self._engine).learned if learned is None else learned,
        }
        with write(self._engine) as connection:
            connection.execute(service_heads.delete().where(service_heads.c.service == KEYS))
            connection.execute(service_heads.insert().values(**row))

    async def run(self) -> None:
        """Look until cancelled, and a last time then; a service that is away is asked again."""
        try:
            while True:
                await self._try()
                await asyncio.sleep(WATCH)
        finally:
            await self._last()

    async def _last(self) -> None:
        try:
            await asyncio.wait_for(self._try(), PATIENCE)
        except TimeoutError:
            log.warning("witness.failed", code="mesh.unreachable")

    async def _try(self) -> None:
        try:
            await self.look()
        except MetersealError as error:
            log.warning("witness.failed", code=error.code)
        except Exception as error:  # noqa: BLE001 - a defect ends this look, not the watch
            log.critical("witness.defect", fault=type(error).__name__)


def seen(engine: sa.Engine) -> Seen:
    """What is remembered of the security service's head."""
    with read(engine) as connection:
        row = connection.execute(sa.select(service_heads).where(service_heads.c.service == KEYS)).first()
    if row is None:
        return Seen()
    return Seen(
        sequence=row.sequence, hash=row.hash, seen_at=row.seen_at, lost_at=row.lost_at, learned=row.learned
    )
