"""Agreements and published tariffs as the control store keeps them: reads in, terms of billing out.

It prices nothing and opens no name; a published tariff version never changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa

from meterseal.control import acts, read, write
from meterseal.control.sealed import AGREEMENTS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import agreements, tariffs, usage_points
from meterseal.errors import DataError, LocalError
from meterseal.mdms import multipliers, plants
from meterseal.things.exchange import MeterChange, changes
from meterseal.utility.bills import AgreementView
from meterseal.utility.calendar import billing_start, midnight
from meterseal.utility.compose import Opening, Terms
from meterseal.utility.readings import Swap
from meterseal.utility.tariff import AnyTariff, TariffBook, parse_tariff, tariff_document

TARIFFS = 1_000
"""Versions of tariffs that are remembered as read."""


def publish_tariffs(engine: sa.Engine, published: Iterable[AnyTariff]) -> None:
    """Publish tariff versions; publishing the same document again does nothing.

    Raises DataError `tariff.published` when a version exists with other contents: make a new version instead.
    """
    with write(engine) as connection:
        for tariff in published:
            here = sa.and_(tariffs.c.code == tariff.code, tariffs.c.version == tariff.version)
            row = connection.execute(sa.select(tariffs.c.document).where(here)).one_or_none()
            if row is None:
                values = {
                    "code": tariff.code,
                    "version": tariff.version,
                    "medium": tariff.medium,
                    "since": midnight(tariff.since),
                    "document": tariff,
                }
                connection.execute(sa.insert(tariffs).values(**values))
            elif tariff_document(_parse(row.document)) != tariff_document(tariff):
                raise DataError(
                    "tariff.published",
                    f"Tariff {tariff.code} version {tariff.version} is published with other contents; a "
                    "change needs a new version number.",
                )


def add_agreement(
    engine: sa.Engine,
    agreement_id: str,
    customer_id: str,
    usage_point: str,
    tariff_code: str,
    since: int,
    billing_day: int,
    *,
    tariff_version: int | None = None,
    opening_accumulation: int = 0,
    opening_exponent: int = -2,
    keys: KeyRing,
) -> None:
    """Begin an agreement at `since`.

    `tariff_version` None means whichever version of the code is in force; `opening_accumulation` is the use
    of this calendar year before `since` that a previous system counted, scaled by 10**`opening_exponent`.
    Ids have at most 32 characters. Raises DataError `bill.billing-day`, `agreement.overlap`.
    """
    billing_start(2000, 1, billing_day)
    running = sa.and_(
        agreements.c.usage_point_id == usage_point,
        sa.or_(agreements.c.until.is_(None), agreements.c.until > since),
    )
    with write(engine) as connection:
        if connection.execute(sa.select(agreements.c.id).where(running).limit(1)).one_or_none():
            raise DataError(
                "agreement.overlap",
                f"Usage point {usage_point} has an agreement that runs at that time; end it first.",
            )
        values = {
            "id": agreement_id,
            "customer_id": customer_id,
            "usage_point_id": usage_point,
            "tariff_code": tariff_code,
            "tariff_version": tariff_version,
            "since": since,
            "billing_day": billing_day,
            "sealed_opening": msgspec.msgpack.encode([opening_accumulation, opening_exponent])
            if opening_accumulation
            else None,
        }
        connection.execute(sa.insert(agreements).values(**AGREEMENTS.seal(keys, values)))


def end_agreement(engine: sa.Engine, agreement_id: str, until: int, *, actor: str = "", now: int = 0) -> None:
    """End an agreement; its last billing period ends there. With an `actor`, the trail of acts says so at `now`.

    Raises LocalError `agreement.none`, and `agreement.end` where it began later or was ended at another time.
    """
    with write(engine) as connection:
        row = connection.execute(sa.select(agreements).where(agreements.c.id == agreement_id)).one_or_none()
        if row is None:
            raise LocalError("agreement.none", f"There is no agreement {agreement_id}; check its id.")
        if row.until == until:
            return
        if row.until is not None or until <= row.since:
            why = "was ended at another time already" if row.until is not None else "began then or later"
            raise LocalError(
                "agreement.end", f"Agreement {agreement_id} {why}; check the day. Nothing was changed."
            )
        connection.execute(sa.update(agreements).where(agreements.c.id == agreement_id).values(until=until))
        if actor:
            acts.append(connection, acts.Act(now, actor, "agreement.ended", agreement_id))


def agreed(engine: sa.Engine) -> dict[str, list[tuple[int, int | None]]]:
    """When which usage point had an agreement (since <= t < until, None while it runs), rising; nobody's name."""
    query = sa.select(agreements.c.usage_point_id, agreements.c.since, agreements.c.until)
    found: dict[str, list[tuple[int, int | None]]] = defaultdict(list)
    with read(engine) as connection:
        for row in connection.execute(query.order_by(agreements.c.since, agreements.c.id)):
            found[row.usage_point_id].append((row.since, row.until))
    return found


def all_terms(engine: sa.Engine, keys: KeyRing, usage_point: str | None = None) -> tuple[Terms, ...]:
    """Return the terms of all agreements (or of those of one usage point), the oldest first.

    An agreement whose tariff is not published has an empty book, which raises when it is asked for a price.
    """
    query = (
        sa.select(agreements, usage_points.c.medium)
        .join(usage_points, usage_points.c.id == agreements.c.usage_point_id)
        .order_by(agreements.c.since, agreements.c.id)
    )
    if usage_point is not None:
        query = query.where(agreements.c.usage_point_id == usage_point)
    with read(engine) as connection:
        rows = connection.execute(query).all()
        documents = connection.execute(sa.select(tariffs.c.document)).scalars().all()
        changed = changes(connection, keys, usage_point)
        begins = {point: [one.at for one in of if one.installed is not None] for point, of in changed.items()}
        multiplied = multipliers.stated(connection, begins, usage_point)
        fed = plants.stated(connection, usage_point)
    books = _Books(_parse(document) for document in documents)
    openings: dict[str, list[Opening]] = defaultdict(list)
    for row in rows:
        opening = AGREEMENTS.open(keys, row)
        accumulation, exponent = msgspec.msgpack.decode(opening) if opening else (0, 0)
        amount = Decimal(accumulation).scaleb(exponent)
        openings[row.usage_point_id].append(Opening(row.since, amount))
    return tuple(
        Terms(
            agreement_id=row.id,
            customer_id=row.customer_id,
            usage_point=row.usage_point_id,
            medium=row.medium,
            since=row.since,
            until=row.until,
            billing_day=row.billing_day,
            book=books.book(row.tariff_code, row.tariff_version),
            openings=tuple(openings[row.usage_point_id]),
            swaps=tuple(_swap(change) for change in changed.get(row.usage_point_id, ())),
            multiplied=multiplied.get(row.usage_point_id, multipliers.NOTHING),
            fed=fed.get(row.usage_point_id, ()),
            fed_swaps=tuple(_fed_swap(change) for change in changed.get(row.usage_point_id, ())),
        )
        for row in rows
    )


def agreement_views(
    engine: sa.Engine, keys: KeyRing, customer_id: str | None = None
) -> tuple[AgreementView, ...]:
    """Return agreements (of one customer), the oldest first."""
    return tuple(
        AgreementView(
            agreement_id=terms.agreement_id,
            customer_id=terms.customer_id,
            usage_point=terms.usage_point,
            medium=terms.medium,
            tariff_code=terms.book.code,
            since=terms.since,
            until=terms.until,
            billing_day=terms.billing_day,
        )
        for terms in all_terms(engine, keys)
        if customer_id in (None, terms.customer_id)
    )


def _swap(change: MeterChange) -> Swap:
    said = change.stated
    return Swap(change.at, change.removed, change.installed, said.last, said.first)


def _fed_swap(change: MeterChange) -> Swap:
    said = change.stated
    return Swap(change.at, change.removed, change.installed, said.last_export, said.first_export)


class _Books:
    """Tariff books by code and pinned version, each made once."""

    def __init__(self, published: Iterable[AnyTariff]) -> None:
        self._by_code: dict[str, list[AnyTariff]] = defaultdict(list)
        for tariff in published:
            self._by_code[tariff.code].append(tariff)
        self._made: dict[tuple[str, int | None], TariffBook] = {}

    def book(self, code: str, version: int | None) -> TariffBook:
        if (code, version) not in self._made:
            versions = [t for t in self._by_code[code] if version in (None, t.version)]
            self._made[code, version] = TariffBook(code, versions)
        return self._made[code, version]


def _parse(document: Any) -> AnyTariff:
    return _parsed(msgspec.json.encode(document))


@lru_cache(maxsize=TARIFFS)
def _parsed(document: bytes) -> AnyTariff:
    """What was published never changes, and is asked for with every card."""
    return parse_tariff(document)
