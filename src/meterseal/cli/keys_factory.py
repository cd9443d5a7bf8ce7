"""`meterseal keys factory …`: from a maker's manifest to personalisation packages, resumable at any moment.

It enrols nothing: `security.manifest` reads, an officer signs, the security service enrols chunk by chunk.
"""

from __future__ import annotations

import json as json_module
import os
from functools import partial
from pathlib import Path

from meterseal.app import config
from meterseal.app.clock import now_ms
from meterseal.app.operator import as_json
from meterseal.cli.arguments import Data, Hours, Json
from meterseal.cli.calls import ask_keys, epoch
from meterseal.cli.times import at
from meterseal.errors import LocalError
from meterseal.security import manifest as mf
from meterseal.security import officerfile, orders
from meterseal.security.manifest import Manifest, ProductionOrder, RowRefusal
from meterseal.security.sdk import SecuritySdk

HOUR = 3_600_000
PURPOSE = "production"


def template() -> int:
    """Print the heading of an empty manifest (CSV)."""
    print(mf.template(), end="")
    return 0


def check(manifest: Path, *, json: Json = False) -> int:
    """Read a manifest and name every row that is wrong; exit status 1 when there is one.

    Parameters
    ----------
    manifest
        CSV or JSON lines with the columns module_id, device_id, point, suite, batch.
    """
    read = _read(manifest)
    if json:
        print(as_json({"batch": read.batch, "rows": len(read.rows), "refused": list(read.refused)}))
    else:
        print(
            "\n".join(_refusals(read.refused)) or f"{manifest}: batch {read.batch}, {len(read.rows)} modules"
        )
    return 1 if read.refused or not read.rows else 0


def order(manifest: Path, *, data: Data, to: Path, hours: Hours = 24, json: Json = False) -> int:
    """Make the order of a whole manifest, for an officer with the role enrol to sign (meterseal keys sign).

    Parameters
    ----------
    manifest
        CSV or JSON lines.
    to
        Where the order goes.
    hours
        How long it may be submitted, at most 168.
    """
    project = bytes.fromhex(config.load(config.Layout(data)).project)
    read = _read(manifest)
    made = read.order(orders.fresh_request_id(epoch(data)), now_ms() + hours * HOUR, project)
    says = {"batch": made.batch, "rows": made.rows, "chunks": len(made.digests)}
    raw = orders.encoded(made)
    officerfile.write(to, officerfile.RequestFile(purpose=PURPOSE, says=says, request=raw), mode=0o644)
    if json:
        print(as_json({"order": str(to), **says}))
    else:
        print(f"{to}: batch {made.batch}, {made.rows} modules, until {at(made.not_after)}.")
        print(f"An officer with the role enrol signs it: meterseal keys sign {to} --key FILE")
    return 0


def issue(manifest: Path, *, data: Data, order: Path, to: Path, json: Json = False) -> int:
    """Enrol the modules of a signed order and write their packages (JSON lines); call it again after any interruption.

    A chunk with a wrong row is refused whole, its rows are named, and the next one goes on; exit status 1 then.

    Parameters
    ----------
    manifest
        The manifest that was signed, unchanged.
    order
        The signed order.
    to
        Where the packages go; what is there already is kept and not asked for again.
    """
    read = _read(manifest)
    asked = officerfile.read(order, officerfile.RequestFile)
    made = orders.decoded(asked.request, ProductionOrder)
    there = _packages(to)
    refused: list[RowRefusal] = []
    _open(data, asked, made)
    for number, chunk in enumerate(read.chunks()):
        if all(row.module_id.hex() in there for row in chunk):
            continue
        reply = ask_keys(data, partial(_produced, made.request_id, number, chunk))
        refused += reply.refused
        _append(to, [mf.package_line(one) for one in reply.answers if one.module_id.hex() not in there])
    written = len(_packages(to))
    if json:
        print(as_json({"batch": made.batch, "rows": made.rows, "packages": written, "refused": refused}))
    else:
        for line in _refusals(tuple(refused)):
            print(line)
        print(f"{to}: {written} packages of {made.rows}")
    return 1 if refused or written < made.rows else 0


def state(*, data: Data, order: Path, json: Json = False) -> int:
    """Say how far a production is.

    Parameters
    ----------
    order
        The signed order.
    """
    asked = officerfile.read(order, officerfile.RequestFile)
    made = orders.decoded(asked.request, ProductionOrder)
    found = ask_keys(data, lambda sdk: sdk.production(made.request_id))
    if json:
        print(as_json(found))
    else:
        people = ", ".join(found.officers)
        print(
            f"batch {found.batch}: {len(found.done)} of {found.chunks} chunks, {found.rows} modules, ordered by {people}"
        )
    return 0


async def _produced(
    request_id: bytes, number: int, chunk: tuple[mf.Row, ...], sdk: SecuritySdk
) -> mf.ProduceReply:
    return await sdk.produce(request_id, number, chunk)


def _open(data: Path, asked: officerfile.RequestFile, made: ProductionOrder) -> None:
    """Submit the order unless it is open already."""
    try:
        ask_keys(data, lambda sdk: sdk.production(made.request_id))
    except LocalError as error:
        if error.code != "security.no-production":
            raise
        ask_keys(data, lambda sdk: sdk.submit(asked.order))


def _read(manifest: Path) -> Manifest:
    try:
        return mf.read(manifest.read_text("utf-8"))
    except OSError as error:
        raise LocalError("use.file", f"{manifest} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise LocalError("use.manifest", f"{manifest} is not UTF-8; save it as CSV in UTF-8.") from None


def _packages(path: Path) -> set[str]:
    """Modules whose packages are in the file; a last line that was cut off is taken away."""
    if not path.exists():
        return set()
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if whole != raw:
        with path.open("r+b") as file:
            file.truncate(len(whole))
    try:
        return {str(json_module.loads(line)["module_id"]) for line in whole.splitlines()}
    except (ValueError, KeyError, TypeError):
        raise LocalError("use.file", f"{path} is no file of packages; choose another name.") from None


def _append(path: Path, packages: list[str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in packages)
        file.flush()
        os.fsync(file.fileno())


def _refusals(refused: tuple[RowRefusal, ...]) -> list[str]:
    return [f"row {one.row}: {one.sentence} ({one.code})" for one in refused]
