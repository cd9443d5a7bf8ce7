"""`meterseal export`: readings into a file for a spreadsheet, a data frame, a warehouse or another MDMS.

It asks a running system over its Unix socket, a page at a time, and holds one page in memory.
"""

from __future__ import annotations

import contextlib
import errno
import json as json_module
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from meterseal.app.exporting import ExportPage
from meterseal.cli.arguments import Data, Json, device_id_of
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.times import LOCAL, day
from meterseal.cli.waiting import waiting
from meterseal.errors import LocalError
from meterseal.mdms.export.cim import write_cim
from meterseal.mdms.export.series import Exported, Page, of_one_kind
from meterseal.mdms.export.text import write_csv
from meterseal.mdms.store.files import sync_directory

Format = Literal["csv", "arrow", "parquet", "cim"]
TOMORROW = 86_400_000


def export(
    out: Path | None = None,
    *,
    data: Data,
    format: Format = "csv",
    since: str = "",
    until: str = "",
    as_of: str = "",
    meter: str = "",
    force: bool = False,
    json: Json = False,
) -> int:
    """Write the readings of all usage points, or of one meter's, as they are visible.

    Usage points are pseudonyms: no name and no address is in the file. It is readable by you alone all the same, for it
    says when somebody is at home.

    Parameters
    ----------
    out
        The file to write; nothing stands there before it is whole. Without it, standard output.
    format
        csv, arrow (IPC stream), parquet, or cim (IEC 61968-9 MeterReadings).
    since
        First day, as 2026-11-01; everything when left out.
    until
        The day after the last one; everything when left out.
    as_of
        As readings were visible at the beginning of that day, before later corrections.
    meter
        Only the usage point of this device.
    force
        Write over a file that is there.
    json
        Print one object with what was written; `out` must be a file.
    """
    if json and out is None:
        raise LocalError("use.export", "With --json the readings need a file: meterseal export FILE --json …")
    request = ExportPage(
        since=day(since) if since else 0,
        until=day(until) if until else time.time_ns() // 1_000_000 + TOMORROW,
        device_id=device_id_of(meter) if meter else b"",
        as_of=day(as_of) if as_of else None,
    )
    series, multiplied = _series(data, request)
    if out is None:
        _write(series, format, sys.stdout.buffer, multiplied=multiplied)
        return 0
    with _whole(out, force=force) as file, waiting(f"writing {out}") as tell:
        readings = _write(_counted(series, tell), format, file, multiplied=multiplied)
    if json:
        print(
            json_module.dumps({"file": str(out), "format": format, "readings": readings}, ensure_ascii=False)
        )
    else:
        print(f"{readings} readings written to {out}")
    return 0


def _counted(series: Iterator[Exported], tell: Callable[[str], None]) -> Iterator[Exported]:
    """The same, and how many readings went by."""
    readings = 0
    for one in series:
        readings += len(one.end_at) // 8
        tell(f"{readings:,} readings")
        yield one


def _series(data: Path, request: ExportPage) -> tuple[Iterator[Exported], bool]:
    """What is exported, and whether multipliers are said with it."""
    first = ask(data, "export", request, Page, timeout=LONG_RUN)

    def series() -> Iterator[Exported]:
        page = first
        yield from page.series
        while page.after is not None:
            page = ask(
                data, "export", msgspec.structs.replace(request, after=page.after), Page, timeout=LONG_RUN
            )
            yield from of_one_kind(page, first)

    return series(), first.multiplied


def _write(series: Iterator[Exported], format: Format, out: BinaryIO, *, multiplied: bool) -> int:
    if format == "csv":
        return write_csv(series, out, LOCAL, multiplied=multiplied)
    if format == "cim":
        return write_cim(series, out, LOCAL)
    from meterseal.mdms.export.columns import write_arrow, write_parquet_file

    return (write_arrow if format == "arrow" else write_parquet_file)(series, out, multiplied=multiplied)


@contextlib.contextmanager
def _whole(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file of mode 0600 that stands at `path` once all of it is on the disk, and leaves nothing when it fails."""
    if os.path.lexists(path) and not force:
        raise _there(path)
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            new.replace(path)
        else:
            _no_clobber(new, path)
        _named_durably(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        new.unlink(missing_ok=True)


def _no_clobber(new: Path, path: Path) -> None:
    """Give a file its name unless another one took it while this was written. LocalError `use.file-exists`."""
    try:
        os.link(new, path)
    except FileExistsError:
        raise _there(path) from None
    except OSError:  # a disk without hard links
        if os.path.lexists(path):
            raise _there(path) from None
        new.rename(path)


def _named_durably(directory: Path) -> None:
    """Some disks sync no directory, and a drop box may be written to and not opened: the file stands there all the same."""
    try:
        sync_directory(directory)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):
            raise


def _there(path: Path) -> LocalError:
    return LocalError(
        "use.file-exists", f"{path} is there already; give another name, or --force to write over it."
    )


def _unwritable(path: Path, error: OSError) -> LocalError:
    return LocalError("use.file", f"{path} cannot be written: {error.strerror or error}.")
