"""`meterseal device add`: meters without a module, one or a file of them, behind concentrators that vouch for them.

It opens no file of the system. A file is CSV of somebody else's making: it is bounded, every row of it is checked before
anything is asked, and all that is wrong is said with its line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from meterseal.app import operator
from meterseal.app.clock import now_ms
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json, device_id_of
from meterseal.cli.calls import ask
from meterseal.cli.times import LOCAL, day
from meterseal.errors import LocalError, MetersealError
from meterseal.wire.profile import no_model, profiles

LONGEST_FILE = 1 << 20
MOST_METERS = 5_000
MOST_SAID = 20
"""Wrong rows that are named; what follows is counted."""
_LONGEST_CELL = 64
_MOST_RISER = 63
NEEDED, MORE = ("device_id", "model", "concentrator"), ("bus", "since", "dwelling")


def add(
    meter: str = "",
    *,
    data: Data,
    file: Path | None = None,
    model: str = "",
    concentrator: str = "",
    bus: int | None = None,
    since: str = "",
    dry_run: bool = False,
    json: Json = False,
) -> int:
    """Enrol meters without a module; each gets a usage point of its own, which is printed.

    A file is CSV with the columns device_id, model, concentrator and, where wanted, bus, since and dwelling: rows with one
    dwelling belong together. Repeating it completes what was cut off. Nothing is done when a row is wrong.

    Parameters
    ----------
    meter
        Device id of one meter, 16 hex digits.
    file
        Instead of one meter: a CSV file in UTF-8, at most 1 MiB and 5,000 meters.
    model
        Its model (`meterseal device models`).
    concentrator
        Device id of the concentrator that vouches for it.
    bus
        Number of the bus there, from 0.
    since
        Local day on which it was installed, YYYY-MM-DD; by default today.
    dry_run
        Check all of it, here and in the running system, and change nothing.
    """
    if bool(meter) == (file is not None):
        raise LocalError("use.add", "Name one meter, or a file with --file.")
    if file is not None:
        if model or concentrator or bus is not None or since:
            raise LocalError("use.add", "Model, concentrator, bus and day of each meter stand in the file.")
        homes = _read(file)
    else:
        row = {"device_id": meter, "model": model, "concentrator": concentrator, "since": since}
        homes = [(_supply(row | {"bus": "" if bus is None else str(bus)}),)]
    premises = tuple(operator.NewPremises(name="", address="", supplies=supplies) for supplies in homes)
    request = operator.Enrol(premises=premises, dry_run=dry_run)
    answer = ask(data, "enrol", request, operator.EnrolReply, timeout=600.0)
    count = sum(map(len, homes))
    document = {
        "checked": count,
        "changed": not dry_run,
        "meters": [{"device_id": one.device_id, "usage_point": one.usage_point} for one in answer.meters],
    }
    show(operator.as_json(document), as_json=json, lines=lambda said: list(_lines(said)))
    return 0


def _lines(said: dict[str, object]) -> Iterator[str]:
    meters = said["meters"]
    assert isinstance(meters, list)
    yield from (f"{one['device_id']}  {one['usage_point']}" for one in meters)
    if said["changed"]:
        yield f"{said['checked']} meters are enrolled."
    else:
        yield f"{said['checked']} meters could be enrolled as they stand. Nothing was changed."


def _read(path: Path) -> list[tuple[operator.Supply, ...]]:
    """Dwellings of a file, each with its meters. LocalError `use.file`, with every wrong row up to `MOST_SAID`."""
    homes: dict[str, list[operator.Supply]] = {}
    wrong: list[str] = []
    seen: dict[bytes, int] = {}
    for line, row in _rows(path):
        try:
            supply = _supply(row)
        except MetersealError as error:
            wrong.append(f"line {line}: {error.message}")
            continue
        if supply.device_id in seen:
            wrong.append(
                f"line {line}: {supply.device_id.hex()} stands in line {seen[supply.device_id]} already."
            )
            continue
        seen[supply.device_id] = line
        homes.setdefault(row.get("dwelling", "") or f"line {line}", []).append(supply)
    if wrong:
        more = [f"and {len(wrong) - MOST_SAID} more rows."] if len(wrong) > MOST_SAID else []
        raise LocalError(
            "use.file", "\n".join([f"{path} is not used; nothing was changed.", *wrong[:MOST_SAID], *more])
        )
    if not homes:
        raise LocalError("use.file", f"{path} names no meter; nothing was changed.")
    return [tuple(supplies) for supplies in homes.values()]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by column) of every row that is not empty."""
    try:
        with path.open("rb") as file:
            found = file.read(LONGEST_FILE + 1)
        text = found.decode("utf-8-sig")
    except OSError as error:
        raise LocalError("use.file", f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise LocalError("use.file", f"{path} is no text in UTF-8; save it as CSV in UTF-8.") from None
    if len(found) > LONGEST_FILE or "\x00" in text:
        raise LocalError("use.file", f"{path} is longer than 1 MiB or no text; cut it into several files.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        if sorted(columns) != sorted({*columns} & {*NEEDED, *MORE}) or not {*NEEDED} <= {*columns}:
            raise LocalError(
                "use.file",
                f"The first line of {path} names the columns {', '.join(NEEDED)}, and any of {', '.join(MORE)}, each once "
                "and no others.",
            )
        for number, cells in enumerate(islice(reader, MOST_METERS + 1)):
            if number == MOST_METERS:
                raise LocalError(
                    "use.file", f"{path} has more than {MOST_METERS} rows; cut it into several files."
                )
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns) or any(len(cell) > _LONGEST_CELL for cell in cells):
                raise LocalError(
                    "use.file",
                    f"{path}, line {reader.line_num}: a row has {len(columns)} cells of at most {_LONGEST_CELL} "
                    "characters.",
                )
            yield reader.line_num, dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    except csv.Error as error:
        raise LocalError("use.file", f"{path}, line {reader.line_num} is no CSV: {error}.") from None


def _supply(row: dict[str, str]) -> operator.Supply:
    """One meter. LocalError `use.device`, `use.model`, `use.date`, `use.bus`."""
    device_id = device_id_of(row["device_id"])
    model = profiles().get(row["model"])
    if model is None:
        raise LocalError(
            "use.model",
            f"{no_model(row['model']) if row['model'] else 'Name its model; see: meterseal device models'}.",
        )
    bus = row.get("bus", "")
    if bus and not (bus.isascii() and bus.isdigit() and int(bus) <= _MOST_RISER):
        raise LocalError("use.bus", f"`{bus}` is no bus: give its number, 0 to {_MOST_RISER}.")
    today = datetime.fromtimestamp(now_ms() / 1000, LOCAL).strftime("%Y-%m-%d")
    return operator.Supply(
        device_id=device_id,
        medium=model.medium,
        protocol=model.protocol,
        profile=row["model"],
        since=day(row.get("since", "") or today),
        concentrator_id=device_id_of(row["concentrator"]),
        riser=int(bus) if bus else None,
    )
