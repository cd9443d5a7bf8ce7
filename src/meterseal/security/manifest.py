"""The production manifest that a module maker fills: rows read from CSV or JSON lines, cut into chunks, and signed as one.

It enrols nobody (`factory` does) and opens no file.

A manifest lists the modules of one batch. It is cut into chunks of `CHUNK` rows; the maker's officer signs one order with
the digest of every chunk, so nobody between maker and service can add, change or exchange a module. Rows that cannot
be read are listed with their line and reason, and then there is nothing to sign.

Columns: module_id and device_id (16 hex digits), point (130 hex digits, 04…), suite (1 or 2), batch (the same in all
rows).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from meterseal.crypto.symmetric import sm3
from meterseal.errors import LocalError
from meterseal.security.messages import Personalisation
from meterseal.security.orders import Request

COLUMNS = ("module_id", "device_id", "point", "suite", "batch")
CHUNK = 200
MOST_CHUNKS = 1_500
MOST_ROWS = CHUNK * MOST_CHUNKS
_BATCH = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST_LINE = 4096


class Row(Struct, frozen=True, array_like=True):
    """One module of a batch."""

    module_id: bytes
    device_id: bytes
    point: bytes
    suite: int


class RowRefusal(Struct, frozen=True, kw_only=True):
    """A row that was refused: its number (from 1, headings not counted) and why."""

    row: int
    code: str
    sentence: str


class ProductionOrder(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `production` (role enrol, one officer): the batch, how many rows, and the digest of each chunk."""

    batch: str
    rows: int
    digests: tuple[bytes, ...]


class ProduceRequest(Struct, frozen=True, kw_only=True):
    """One chunk (from 0) of an opened production."""

    request_id: bytes
    chunk: int
    rows: tuple[Row, ...]


class ProduceReply(Struct, frozen=True, kw_only=True):
    """What the modules are given, in the order of the rows; or, when any row is refused, the refusals and nothing else."""

    answers: tuple[Personalisation, ...] = ()
    refused: tuple[RowRefusal, ...] = ()


class ProductionRequest(Struct, frozen=True, kw_only=True):
    """Ask how far a production is."""

    request_id: bytes


class ProductionState(Struct, frozen=True, kw_only=True):
    """A production: who ordered it, how many chunks it has, and which were done."""

    batch: str
    rows: int
    chunks: int
    done: tuple[int, ...]
    opened_at: int
    officers: tuple[str, ...]


class Manifest(Struct, frozen=True, kw_only=True):
    """A manifest as it was read; with `refused` rows it cannot be signed."""

    batch: str
    rows: tuple[Row, ...]
    refused: tuple[RowRefusal, ...]

    def chunks(self) -> Iterator[tuple[Row, ...]]:
        """The rows, `CHUNK` at a time."""
        for start in range(0, len(self.rows), CHUNK):
            yield self.rows[start : start + CHUNK]

    def order(self, request_id: bytes, not_after: int, project_id: bytes) -> ProductionOrder:
        """What the maker's officer signs; LocalError `use.manifest` when rows were refused or there are none."""
        if self.refused or not self.rows:
            raise LocalError(
                "use.manifest",
                f"{len(self.refused)} rows cannot be read and {len(self.rows)} can; correct the manifest before it is "
                "signed.",
            )
        return ProductionOrder(
            request_id=request_id,
            not_after=not_after,
            project_id=project_id,
            batch=self.batch,
            rows=len(self.rows),
            digests=tuple(digest(chunk) for chunk in self.chunks()),
        )


def digest(rows: tuple[Row, ...]) -> bytes:
    """SM3 over the rows of one chunk."""
    return sm3(b"ms1 production\x00", msgspec.msgpack.encode(rows))


def read(text: str) -> Manifest:
    """The manifest in a text: JSON lines when it begins with a brace, CSV with a heading otherwise.

    LocalError `use.manifest` when it is neither, or has too many rows; what is wrong with single rows is in `refused`.
    """
    records = _json_lines(text) if text.lstrip().startswith("{") else _csv(text)
    rows: list[Row] = []
    refused: list[RowRefusal] = []
    batch = ""
    modules: dict[bytes, int] = {}
    devices: dict[bytes, int] = {}
    for number, record in enumerate(records, 1):
        if number > MOST_ROWS:
            raise LocalError("use.manifest", f"A manifest has at most {MOST_ROWS} rows; split the batch.")
        try:
            row, named = _row(record)
            batch = batch or named
            if named != batch:
                raise _wrong(f"it is of batch {named}, the rows before of {batch}; one manifest is one batch")
            for seen, value, what in ((modules, row.module_id, "module"), (devices, row.device_id, "device")):
                if seen.setdefault(value, number) != number:
                    raise _wrong(f"its {what} {value.hex()} stands in row {seen[value]} already")
        except LocalError as error:
            refused.append(RowRefusal(row=number, code=error.code, sentence=error.message))
        else:
            rows.append(row)
    return Manifest(batch=batch, rows=tuple(rows), refused=tuple(refused))


def template() -> str:
    """The heading of an empty manifest (CSV)."""
    return ",".join(COLUMNS) + "\n"


def package_line(given: Personalisation) -> str:
    """One module's package as a JSON line; bytes in hex."""
    record = {
        name: [one.hex() for one in value]
        if isinstance(value, tuple)
        else value.hex()
        if isinstance(value, bytes)
        else value
        for name, value in msgspec.structs.asdict(given).items()
    }
    return json.dumps(record)


def _csv(text: str) -> Iterator[dict[str, object]]:
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), strict=True)
    try:
        heading = tuple(name.strip() for name in reader.fieldnames or ())
        if set(heading) != set(COLUMNS) or len(heading) != len(COLUMNS):
            raise LocalError(
                "use.manifest", f"The heading of a manifest is {template().strip()}; this one is not."
            )
        reader.fieldnames = list(heading)
        for record in reader:
            yield {str(name): value for name, value in record.items()}
    except csv.Error as error:
        raise LocalError("use.manifest", f"This is no CSV ({error}); save it as CSV with commas.") from None


def _json_lines(text: str) -> Iterator[dict[str, object]]:
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            record = json.loads(line) if len(line) <= _LONGEST_LINE else None
        except (ValueError, RecursionError):
            record = None
        yield record if isinstance(record, dict) else {"line": line[:40]}


def _row(record: dict[str, object]) -> tuple[Row, str]:
    if set(record) != set(COLUMNS):
        raise _wrong(f"it has not exactly the columns {', '.join(COLUMNS)}")
    module_id, device_id = _hex(record, "module_id", 8), _hex(record, "device_id", 8)
    point = _hex(record, "point", 65)
    suite, batch = str(record["suite"]).strip(), str(record["batch"]).strip()
    if suite not in ("1", "2"):
        raise _wrong("its suite is not 1 or 2")
    if not _BATCH.fullmatch(batch):
        raise _wrong("its batch is not 1 to 64 letters, digits, dots, hyphens and underscores")
    return Row(module_id, device_id, point, int(suite)), batch


def _hex(record: dict[str, object], column: str, size: int) -> bytes:
    text = str(record[column]).strip()
    if not re.fullmatch(rf"[0-9A-Fa-f]{{{2 * size}}}", text):
        raise _wrong(f"its {column} is not {2 * size} hex digits")
    return bytes.fromhex(text)


def _wrong(why: str) -> LocalError:
    return LocalError("use.row", f"This row is refused: {why}.")
