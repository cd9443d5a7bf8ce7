"""Erasing a person: the customer's data key, name and address go, and with them every way to sign in.

It touches no bill and no reading: they stay valid under a pseudonym that belongs to nobody.

What is gone: the wrapped key, the ciphertexts, password hashes, sessions and links; from the database file and its
log as well, so that every later backup is without them. An earlier backup still holds the wrapped key, and opens
for whoever also has the vault, until the wrapping key of that time is destroyed (rotate WRAP-DATA, then end the
old version). What a disk or file system keeps of overwritten blocks is beyond this program.
"""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import acts, read, write
from meterseal.control.engine import scrub
from meterseal.control.tables import accounts, customers, sign_in_links, web_sessions
from meterseal.errors import LocalError

ACT = "customer.erased"


class Erased(Struct, frozen=True):
    """What an erasure did: whose, since when, whether it had been done before, how many accounts ended now."""

    customer_id: str
    erased_at: int
    before: bool
    accounts: int


def facing(engine: sa.Engine, customer_id: str) -> Erased:
    """Whom `erase` would erase, since when that person is if erased already (else 0), and how many accounts would end;
    changes nothing. LocalError `customer.none`."""
    own = sa.select(sa.func.count()).where(
        accounts.c.customer_id == customer_id, accounts.c.disabled_at.is_(None)
    )
    with read(engine) as connection:
        row = connection.execute(sa.select(customers).where(customers.c.id == customer_id)).one_or_none()
        if row is None:
            raise _none(customer_id)
        return Erased(
            customer_id, row.erased_at or 0, row.erased_at is not None, connection.execute(own).scalar_one()
        )


def erase(engine: sa.Engine, customer_id: str, actor: str, now: int) -> Erased:
    """Erase one customer. Repeating it ends what is left and writes no second act.

    Raises LocalError `customer.none`; EngineError `control.busy` when the person is erased but a reader still keeps
    the log of the database: then call it again.
    """
    with write(engine) as connection:
        row = connection.execute(sa.select(customers).where(customers.c.id == customer_id)).one_or_none()
        if row is None:
            raise _none(customer_id)
        own = sa.select(accounts.c.id).where(accounts.c.customer_id == customer_id)
        names = connection.execute(own).scalars().all()
        hashes = connection.execute(
            sa.select(accounts.c.password_hash).where(accounts.c.customer_id == customer_id)
        ).scalars()
        gone = [bytes(one) for one in (row.name, row.address, row.wrapped_key) if one is not None]
        gone += [text.encode() for text in hashes if text]
        connection.execute(web_sessions.delete().where(web_sessions.c.account_id.in_(names)))
        connection.execute(sign_in_links.delete().where(sign_in_links.c.account_id.in_(names)))
        ended = connection.execute(
            accounts.update()
            .where(accounts.c.id.in_(names), accounts.c.disabled_at.is_(None))
            .values(disabled_at=now)
        ).rowcount
        connection.execute(accounts.update().where(accounts.c.id.in_(names)).values(password_hash=None))
        if row.erased_at is None:
            connection.execute(
                customers.update()
                .where(customers.c.id == customer_id)
                .values(name=None, address=None, wrapped_key=None, erased_at=now)
            )
            acts.append(connection, acts.Act(now, actor, ACT, customer_id))
    # A repeated call may be there because the first one was cut off before its search.
    scrub(engine, gone if row.erased_at is None else None)
    return Erased(customer_id, row.erased_at or now, row.erased_at is not None, ended)


def _none(customer_id: str) -> LocalError:
    return LocalError("customer.none", f"There is no customer {customer_id}; check the id.")
