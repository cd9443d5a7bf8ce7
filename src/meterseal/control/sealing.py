"""Sealed columns of the control store: the one codec of every value at rest that is not for everybody's eyes.

It fetches and wraps no keys; `rings` does, and the application hands the opened ones to whoever seals.

Everything sealed is SM4-GCM with associated data = place || key version (4 bytes). The place of a column is
table || row key || column, each part with its length: a value that is moved to another row, column or table, or
claimed for another key version, does not open (DESIGN section 5).

A row is sealed inside the transaction that writes it. Whoever holds the write lock therefore sees every row of an
older key version that will ever be, and an older key may be ended in the transaction that finds none of them left.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import TrustError
from meterseal.places import place

VERSION = "key_version"
"""Name of the column that says under which version the sealed columns of a row are."""


class KeyRing:
    """Data keys by version: `version` seals, every one of them opens. May be used from any thread."""

    def __init__(self, keys: Mapping[int, SymmetricKey], version: int) -> None:
        if version not in keys:
            raise TrustError(
                "sealing.key", f"The data key of version {version}, which is to seal, was not handed over."
            )
        self._lock = threading.Lock()
        self._keys = dict(keys)
        self.version = version

    @property
    def versions(self) -> tuple[int, ...]:
        """Versions that open, rising."""
        return tuple(sorted(self._keys))

    def add(self, version: int, key: SymmetricKey) -> None:
        """Seal under a new version from now on. TrustError `sealing.version` unless it is higher than all."""
        with self._lock:
            if version <= max(self._keys):
                raise TrustError(
                    "sealing.version", f"Data key version {version} is not new; versions only rise."
                )
            self._keys[version] = key
            self.version = version

    def end(self, version: int) -> None:
        """Forget an older version: what is still sealed under it opens no more."""
        with self._lock:
            if version == self.version:
                raise TrustError(
                    "sealing.version", f"Data key version {version} seals and cannot end; make a newer one."
                )
            self._keys.pop(version, None)

    def sealing(self) -> KeyRing:
        """A ring of the one key that seals now; it goes on sealing under it however versions begin and end here."""
        with self._lock:
            return KeyRing({self.version: self._keys[self.version]}, self.version)

    def seal(self, plaintext: bytes, where: bytes, version: int | None = None) -> bytes:
        """Nonce || ciphertext || tag under the newest version (or the one named); keep the version beside it."""
        number = self.version if version is None else version
        return self._keys[number].gcm_seal(plaintext, _aad(where, number))

    def open(self, sealed: bytes, where: bytes, version: int) -> bytes:
        """The plaintext. Raises TrustError `sealing.key` (no such version, or it was ended) or `crypto.tag` (not
        what was sealed here).
        """
        key = self._keys.get(version)
        if key is None:
            raise TrustError(
                "sealing.key",
                f"This was sealed under data key version {version}, which was ended or not handed over. "
                "Restore the vault and the control store that belong together.",
                version=version,
            )
        return key.gcm_open(sealed, _aad(where, version))

    def __repr__(self) -> str:
        return f"KeyRing(versions={self.versions})"


def _aad(where: bytes, version: int) -> bytes:
    return where + version.to_bytes(4)


class SealedTable:
    """The sealed columns of one table: `row` names the columns that know a row for good, `columns` the sealed ones.

    Columns hold None or bytes; a row with nothing to seal has no key version.
    """

    def __init__(self, table: sa.Table, *, row: Sequence[str], columns: Sequence[str]) -> None:
        self.table = table
        self.row = tuple(row)
        self.columns = tuple(columns)

    def seal(self, ring: KeyRing, values: Mapping[str, Any]) -> dict[str, Any]:
        """A row to write: its sealed columns, given in clear, as ciphertext, and the key version beside them."""
        version = ring.version
        sealed = {
            column: ring.seal(values[column], self._place(values, column), version)
            for column in self.columns
            if values.get(column) is not None
        }
        return {**values, **sealed, VERSION: version if sealed else None}

    def open(self, ring: KeyRing, row: sa.Row[Any] | Mapping[str, Any], column: str = "") -> bytes | None:
        """A sealed column of a row (the first when none is named); None where it holds nothing.

        The row must have the columns of `row`, the sealed one and `key_version`. TrustError `sealing.key`,
        `crypto.tag`.
        """
        values = dict(row._mapping) if isinstance(row, sa.Row) else row
        name = column or self.columns[0]
        sealed = values[name]
        if sealed is None:
            return None
        try:
            return ring.open(sealed, self._place(values, name), values[VERSION])
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise TrustError(
                "crypto.tag",
                f"A row of {self.table.name} does not open: a value in it is of another kind than we write, so it was "
                "changed. Compare with a backup.",
            ) from error

    def _place(self, values: Mapping[str, Any], column: str) -> bytes:
        return place(self.table.name, *(values[name] for name in self.row), column)

    # --- moving to a newer key version ---------------------------------------------------------------

    def remaining(self, connection: sa.Connection, version: int) -> int:
        """Rows that are sealed under another version than this one."""
        query = sa.select(sa.func.count()).select_from(self.table).where(self._older(version))
        return int(connection.execute(query).scalar_one())

    def move(self, connection: sa.Connection, ring: KeyRing, limit: int) -> int:
        """Seal up to `limit` rows again under the newest version, inside the caller's write transaction.

        Returns how many it moved. A row that does not open raises TrustError and nothing of the step stays.
        """
        query = sa.select(self.table).where(self._older(ring.version)).limit(limit)
        rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            clear = {name: row[name] for name in self.row}
            clear |= {column: self.open(ring, row, column) for column in self.columns}
            fresh = self.seal(ring, clear)
            here = sa.and_(*(self.table.c[name] == row[name] for name in self.row))
            values = {name: fresh[name] for name in (*self.columns, VERSION)}
            connection.execute(self.table.update().where(here).values(**values))
        return len(rows)

    def _older(self, version: int) -> sa.ColumnElement[bool]:
        column = self.table.c[VERSION]
        return sa.and_(column.is_not(None), column != version)
