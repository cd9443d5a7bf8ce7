"""Customers: names and addresses as ciphertext, opened for one request, gone with their key.

Each customer has a data key of their own, wrapped by the security service; nothing here keeps an opened
key or name. Whether the asker may see it was decided before (people), and so is erasing a person: who deletes
the wrapped key leaves bills and readings that belong to nobody.
"""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

import sqlalchemy as sa

from meterseal.control import read, write
from meterseal.control.rings import DataKeys
from meterseal.control.sealed import CUSTOMERS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import customers
from meterseal.control.wrapping import DATA, TRIES, below_floor, put_back, wrapped_under
from meterseal.errors import LocalError

PURPOSE = "customer"


class Person:
    """A customer's name and address, in clear for as long as one answer takes.

    Prints as nothing, is not pickled, and no serialiser knows it: what leaves must be taken field by field.
    """

    __slots__ = ("address", "name")

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    def __repr__(self) -> str:
        return "<Person>"

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        raise TypeError("a person is not pickled; names stay in the request that asked for them")


class NewCustomer(NamedTuple):
    """What one adds: an id (at most 32 characters, a pseudonym) or none to get one, and the person."""

    person: Person
    customer_id: str | None = None


class Customers:
    """The customers of one utility."""

    def __init__(self, engine: sa.Engine, keys: DataKeys) -> None:
        self._engine = engine
        self._keys = keys

    async def add(self, new: NewCustomer, now: int) -> str:
        """Add a customer and return the id. Raises EngineError or TrustError of the security service."""
        customer_id = new.customer_id or secrets.token_hex(12)
        for _ in range(TRIES):
            key, wrapped, _version = await self._keys.new(PURPOSE, customer_id)
            values = {
                "id": customer_id,
                "name": new.person.name.encode(),
                "address": new.person.address.encode(),
                "wrapped_key": wrapped,
                "created_at": now,
            }
            with write(self._engine) as connection:
                if below_floor(connection, DATA, wrapped):
                    continue  # its wrapping key was rotated and counted out meanwhile
                sealed = CUSTOMERS.seal(KeyRing({1: key}, 1), values)
                connection.execute(sa.insert(customers).values(**sealed))
            return customer_id
        raise put_back()

    async def open(self, customer_id: str) -> Person | None:
        """Open one customer's name and address for one request; None once the person is erased.

        Raises LocalError `customer.none`, TrustError `crypto.tag` when the row was changed.
        """
        with read(self._engine) as connection:
            row = connection.execute(sa.select(customers).where(customers.c.id == customer_id)).one_or_none()
        if row is None:
            raise LocalError("customer.none", f"There is no customer {customer_id}; check the id.")
        return None if row.wrapped_key is None else await self._person(row)

    async def _person(self, row: sa.Row[Any]) -> Person:
        key = await self._keys.open(PURPOSE, row.id, wrapped_under(row.wrapped_key), row.wrapped_key)
        ring = KeyRing({row.key_version: key}, row.key_version)
        name, address = (CUSTOMERS.open(ring, row, column) or b"" for column in CUSTOMERS.columns)
        return Person(name.decode(), address.decode())

    # --- moving to newer keys ------------------------------------------------------------------------

    def remaining(self, wrapping: int) -> int:
        """Customers whose key is wrapped under another version of the wrapping key than this one."""
        query = sa.select(sa.func.count()).select_from(customers).where(_older(wrapping))
        with read(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    async def move(self, wrapping: int, limit: int) -> int:
        """Give up to `limit` of them a new key, and seal their names again; returns how many moved.

        Each is one transaction, and a customer who was erased meanwhile stays erased. Errors as `open`.
        """
        query = sa.select(customers).where(_older(wrapping)).order_by(customers.c.id).limit(limit)
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
        moved = 0
        for row in rows:
            person = await self._person(row)
            key, wrapped, _ = await self._keys.new(PURPOSE, row.id)
            version = row.key_version + 1
            clear = {"id": row.id, "name": person.name.encode(), "address": person.address.encode()}
            sealed = CUSTOMERS.seal(KeyRing({version: key}, version), clear)
            with write(self._engine) as connection:
                if below_floor(connection, DATA, wrapped):
                    continue  # rotated and counted out meanwhile; it is found again among the older ones
                moved += connection.execute(
                    sa.update(customers)
                    .where(customers.c.id == row.id, customers.c.wrapped_key == row.wrapped_key)
                    .values(**sealed, wrapped_key=wrapped)
                ).rowcount
        return moved


def _older(wrapping: int) -> sa.ColumnElement[bool]:
    column = customers.c.wrapped_key
    under = sa.func.substr(column, 1, 2, type_=sa.LargeBinary)
    return sa.and_(column.is_not(None), under != wrapping.to_bytes(2))
