"""Sealed fields of the utility's tables: where a ciphertext belongs, and the key that bills are kept under.

No table is read or written for others here. A sealed value opens only in its own place: the associated
data are table || row key || field || key version, each with its length (DESIGN section 5).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from meterseal.control import read, write
from meterseal.control.tables import data_keys
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import DataError
from meterseal.utility.ports import DataKeys

BILLS = "bills"


def place(table: str, row: str, field: str, version: int) -> bytes:
    """Return the associated data of a sealed field; no two places share them."""
    parts = (table.encode(), row.encode(), field.encode(), str(version).encode())
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


class SealedDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the `document` column of a sealed table holds: the key version and base64 ciphertext."""

    key_version: int
    sealed: str


class DocumentKeys(NamedTuple):
    """The opened data keys of one table's documents; `version` seals, all of them open."""

    table: str
    version: int
    keys: dict[int, SymmetricKey]

    def seal(self, row: str, plain: bytes) -> SealedDocument:
        """Seal a document into its row."""
        blob = self.keys[self.version].gcm_seal(plain, place(self.table, row, "document", self.version))
        return SealedDocument(self.version, base64.b64encode(blob).decode())

    def open(self, row: str, column: Any) -> bytes:
        """Open a document of a row.

        Raises TrustError `crypto.tag` when it was changed or moved, DataError `sealing.document` when it
        is no sealed document or its key version is not known.
        """
        try:
            document = msgspec.convert(column, SealedDocument)
            blob = base64.b64decode(document.sealed, validate=True)
            key = self.keys[document.key_version]
        except (msgspec.ValidationError, binascii.Error, KeyError) as error:
            raise DataError(
                "sealing.document",
                f"Row {row} of {self.table} is not a document sealed with a key this system has; "
                "restore it from a backup.",
            ) from error
        return key.gcm_open(blob, place(self.table, row, "document", document.key_version))


async def open_document_keys(engine: sa.Engine, table: str, ports: DataKeys, now: int) -> DocumentKeys:
    """Open the data keys a table's documents are sealed with, making the first one where there is none.

    Raises EngineError when the security service is away, TrustError when it refuses.
    """
    query = sa.select(data_keys).where(data_keys.c.id == table).order_by(data_keys.c.version)
    with read(engine) as connection:
        rows = connection.execute(query).all()
    keys = {row.version: await ports.open(row.purpose, table, row.version, row.wrapped) for row in rows}
    if not keys:
        key, wrapped, version = await ports.new(table, table)
        values = {"id": table, "version": version, "purpose": table, "wrapped": wrapped, "created_at": now}
        with write(engine) as connection:
            connection.execute(sa.insert(data_keys).values(**values))
        keys = {version: key}
    return DocumentKeys(table, max(keys), keys)
