"""Customers: names and addresses as ciphertext, opened for one request, gone with their key.

Each customer has a data key of their own, wrapped by the security service; nothing here keeps an opened
key or name. Whether the asker may see it was decided before (people). Deleting the wrapped key erases the
person: bills and readings stay, and belong to nobody.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

import sqlalchemy as sa

from meterseal.control import read, write
from meterseal.control.tables import customers
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import LocalError
from meterseal.utility.ports import DataKeys
from meterseal.utility.sealing import place

PURPOSE = "customer"
_TABLE = "customers"


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
        key, wrapped, version = await self._keys.new(PURPOSE, customer_id)
        values = {
            "id": customer_id,
            "name": _seal(key, customer_id, "name", version, new.person.name),
            "address": _seal(key, customer_id, "address", version, new.person.address),
            "wrapped_key": wrapped,
            "key_version": version,
            "created_at": now,
        }
        with write(self._engine) as connection:
            connection.execute(sa.insert(customers).values(**values))
        return customer_id

    async def open(self, customer_id: str) -> Person | None:
        """Open one customer's name and address for one request; None once the person is erased.

        Raises LocalError `customer.none`, TrustError `crypto.tag` when the row was changed.
        """
        row = self._row(customer_id)
        if row.wrapped_key is None:
            return None
        key = await self._keys.open(PURPOSE, customer_id, row.key_version, row.wrapped_key)
        return Person(
            _open(key, customer_id, "name", row.key_version, row.name),
            _open(key, customer_id, "address", row.key_version, row.address),
        )

    def erase(self, customer_id: str, now: int) -> None:
        """Delete a customer's data key, and the ciphertext with it. Raises LocalError `customer.none`."""
        self._row(customer_id)
        gone = {"name": None, "address": None, "wrapped_key": None, "erased_at": now}
        with write(self._engine) as connection:
            connection.exec_driver_sql(
                "PRAGMA secure_delete = ON"
            )  # the old page is overwritten, not only freed
            connection.execute(
                sa.update(customers)
                .where(customers.c.id == customer_id, customers.c.erased_at.is_(None))
                .values(**gone)
            )
        with self._engine.connect() as connection:  # and the write-ahead log forgets it too
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _row(self, customer_id: str) -> sa.Row[tuple[object, ...]]:
        with read(self._engine) as connection:
            row = connection.execute(sa.select(customers).where(customers.c.id == customer_id)).one_or_none()
        if row is None:
            raise LocalError("customer.none", f"There is no customer {customer_id}; check the id.")
        return row


def _seal(key: SymmetricKey, row: str, field: str, version: int, text: str) -> bytes:
    return key.gcm_seal(text.encode(), place(_TABLE, row, field, version))


def _open(key: SymmetricKey, row: str, field: str, version: int, blob: bytes) -> str:
    return key.gcm_open(blob, place(_TABLE, row, field, version)).decode()
