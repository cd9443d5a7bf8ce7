"""Which devices and modules the platform knows to have been enrolled, and which of them were withdrawn: for a security
service that was brought back.

It enrols nobody and asks nobody; the service reserves and withdraws itself what it does not know any more
(`security.reserved`). Most of it is read from the service's own log while that is whole, so it has also the modules of a
production that nobody has installed yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa

from meterseal.control import read
from meterseal.control.tables import concentrators, meters, service_modules, sessions
from meterseal.control.writes import insert_new, upsert
from meterseal.security.messages import Chained
from meterseal.security.reserveorders import Pair

PAGE = 1000
ENROLLED = frozenset({"security.personalised", "security.lab-issued"})
WITHDRAWN = frozenset({"security.withdrawn"})
"""Codes of the log's entries that name a module which was enrolled, or taken out of service."""


def learn(connection: sa.Connection, entries: Iterable[Chained]) -> None:
    """Remember the modules that these entries enrol or withdraw; a withdrawal is never forgotten again."""
    joined: dict[bytes, dict[str, object]] = {}
    gone: dict[bytes, dict[str, object]] = {}
    for one in entries:
        entry = one.entry
        if entry.refused or len(entry.module_id) != 8 or len(entry.device_id) != 8:
            continue
        row = {"module_id": entry.module_id, "device_id": entry.device_id}
        if entry.code in ENROLLED:
            joined[entry.module_id] = row | {"withdrawn_at": None}
        elif entry.code in WITHDRAWN:
            gone[entry.module_id] = row | {"withdrawn_at": entry.at}
    insert_new(connection, service_modules, [*joined.values()])
    upsert(connection, service_modules, [*gone.values()])


def known_modules(engine: sa.Engine) -> Iterator[list[Pair]]:
    """Pages of at most a thousand: what the service said, meters with their module, whoever had a session, and
    concentrators by device alone.
    """
    known = (
        sa.select(service_modules.c.device_id, service_modules.c.module_id),
        sa.select(meters.c.device_id, meters.c.module_id).where(meters.c.module_id.is_not(None)),
        sa.select(sessions.c.device_id, sessions.c.module_id),
        sa.select(concentrators.c.device_id, sa.literal(b"", sa.LargeBinary).label("module_id")),
    )
    return _pages(engine, sa.union(*known))


def withdrawn_modules(engine: sa.Engine) -> Iterator[list[Pair]]:
    """Pages of at most a thousand modules that the service said it had withdrawn."""
    asked = sa.select(service_modules.c.device_id, service_modules.c.module_id)
    return _pages(engine, asked.where(service_modules.c.withdrawn_at.is_not(None)))


def _pages(engine: sa.Engine, asked: sa.Executable) -> Iterator[list[Pair]]:
    with read(engine) as connection:
        found = connection.execution_options(yield_per=PAGE).execute(asked)
        for page in found.partitions():
            yield [Pair(row.device_id, row.module_id) for row in page]
