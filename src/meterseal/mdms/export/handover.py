"""Station MDMS, a hand-over to a warehouse: numbered deliveries that hang together, so that the receiver can show that it
has everything, once.

It reads no store; who receives needs the format below and nothing else of ours.

A delivery is a directory `000001`, `000002` … with `readings.parquet` (`columns`) and `manifest.json`. Each tells which
journal entries it carries (above < entry <= through), how many readings, the SHA-256 of the file, the SHA-256 of the
manifest before it, and how many distinct readings the whole store holds at `through`. A reading that was corrected comes
again in a later delivery with a higher version and takes the place of the earlier one. Beside a reading stands the
multiplier of when it was delivered; once one was ever stated each delivery has `multipliers.csv` (`history`) as well, all
of them as they are known now: that of the newest delivery holds for the readings of all. Nothing is missing when the
deliveries are without a gap from 0 on and the distinct readings in them are as many as the last manifest says.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
from arro3.io import read_parquet
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.errors import DataError, LocalError
from meterseal.mdms.export.columns import write_parquet_file
from meterseal.mdms.export.series import Exported, Page, Since, of_one_kind
from meterseal.mdms.store.files import sync_directory

MANIFEST, READINGS, MULTIPLIERS = "manifest.json", "readings.parquet", "multipliers.csv"
FORMAT = "meterseal-handover/1"
LARGEST_MANIFEST = 64 * 1024
_MAGIC = b"PAR1"
FIRST = "0" * 64
"""What the first manifest says of the one before it."""


class Manifest(Struct, frozen=True, kw_only=True):
    """One delivery's own account; digests in hex."""

    format: str
    store: str
    number: int
    previous: str
    above: int
    through: int
    readings: int
    total: int
    sha256: str
    made_at: int
    removed: int = 0
    """Readings that the store had rolled up so far; what was delivered before is still there."""
    multipliers: str = ""
    """SHA-256 of `multipliers.csv`; empty without one."""


class Held(Struct, frozen=True, kw_only=True):
    """What a directory of deliveries holds: how many, up to which entry, readings carried and distinct ones."""

    store: str
    deliveries: int
    through: int
    carried: int
    distinct: int


def encode(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`, which the next delivery hashes."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def directory_of(number: int) -> str:
    """The name of a delivery."""
    return f"{number:06d}"


def deliver(
    root: Path,
    store_id: str,
    sequence: int,
    pages: Callable[[Since], Iterable[Page]],
    made_at: int,
    removed: int = 0,
    multipliers: Callable[[], bytes] = bytes,
) -> Manifest:
    """Write the next delivery, up to journal entry `sequence`: it stands there whole, with its manifest, or not at all.

    `pages` gives every channel with what the entries in question changed, `multipliers` the table of them all, empty while
    none was ever stated; it is asked last, so that it knows no less than any page. Raises DataError as `check`, LocalError
    `handover.other` for deliveries that are not this store's, `handover.file` when the directory cannot be written.
    """
    with _writable(root):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    before, previous = last(root) or (None, FIRST)
    if before is not None and (before.store != store_id or before.through > sequence):
        raise LocalError(
            "handover.other",
            f"{root} holds deliveries of another store, or of more than this one has (it was put back to an older "
            "copy). Begin anew in an empty directory.",
        )
    entries = Since(before.through if before is not None else 0, sequence)
    number = before.number + 1 if before is not None else 1
    making = root / f".{directory_of(number)}.new"
    told = 0
    ahead = iter(pages(entries))
    first = next(ahead, None)

    def series() -> Iterator[Exported]:
        nonlocal told
        for page in chain([] if first is None else [first], ahead):
            told += page.readings
            yield from of_one_kind(page, first)

    try:
        with _writable(root):
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(mode=0o700)
            path = making / READINGS
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                readings = write_parquet_file(
                    series(), file, multiplied=first is not None and first.multiplied
                )
                file.flush()
                os.fsync(file.fileno())
            table = multipliers()
            if table:
                with (making / MULTIPLIERS).open("xb") as beside:
                    beside.write(table)
                    beside.flush()
                    os.fsync(beside.fileno())
            manifest = Manifest(
                format=FORMAT,
                store=store_id,
                number=number,
                previous=previous,
                above=entries.above,
                through=entries.through,
                readings=readings,
                total=told,
                sha256=digest_of(path),
                made_at=made_at,
                removed=removed,
                multipliers=hashlib.sha256(table).hexdigest() if table else "",
            )
            with (making / MANIFEST).open("xb") as account:
                account.write(encode(manifest))
                account.flush()
                os.fsync(account.fileno())
            sync_directory(making)
            making.rename(root / directory_of(number))
            sync_directory(root)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return manifest


@contextmanager
def _writable(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalError(
            "handover.file", f"{root} cannot be written: {error.strerror}. Nothing of this delivery was kept."
        ) from error


def last(root: Path) -> tuple[Manifest, str] | None:
    """The newest delivery's manifest and its SHA-256; None before the first. Raises as `check`."""
    found = list(_manifests(root))
    return found[-1] if found else None


def check(root: Path) -> Held:
    """Read every delivery again and show that nothing is missing, changed, or there twice.

    Raises DataError `handover.missing`, `handover.changed`, `handover.incomplete`, naming the delivery.
    """
    seen = np.empty(0, np.uint64)
    carried = 0
    newest: Manifest | None = None
    first = None
    for newest, _ in _manifests(root):
        first = newest if first is None else first
        path = root / directory_of(newest.number) / READINGS
        if digest_of(path) != newest.sha256:
            raise _changed(newest.number, f"{path} is not the file that was delivered")
        beside = path.with_name(MULTIPLIERS)
        if newest.multipliers != (digest_of(beside) if newest.multipliers or beside.exists() else ""):
            raise _changed(newest.number, f"{beside} is not the file that was delivered")
        rows = _keys(path, newest.readings)
        here = np.unique(rows)
        if len(rows) != newest.readings or len(here) != len(rows):
            raise _changed(newest.number, f"it says {newest.readings} readings and holds {len(here)}")
        carried += len(rows)
        seen = np.union1d(seen, here)
        if len(seen) != newest.total + newest.removed - first.removed:
            raise DataError(
                "handover.incomplete",
                f"After delivery {newest.number} the store held {newest.total} readings, and these deliveries hold "
                f"{len(seen)}. Ask for all of them anew into an empty directory.",
            )
    if newest is None:
        raise DataError("handover.missing", f"{root} holds no delivery.")
    return Held(
        store=newest.store,
        deliveries=newest.number,
        through=newest.through,
        carried=carried,
        distinct=len(seen),
    )


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hex. Raises DataError `handover.missing`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError("handover.missing", f"{path} cannot be read: {error.strerror}.") from error


def _manifests(root: Path) -> Iterator[tuple[Manifest, str]]:
    """Manifests in order with their digests, each held against the one before it."""
    numbers = sorted(int(path.name) for path in root.iterdir() if path.is_dir() and path.name.isdecimal())
    previous: Manifest | None = None
    digest = FIRST
    for place, number in enumerate(numbers, start=1):
        if number != place:
            raise DataError(
                "handover.missing", f"Delivery {place} is missing: the next one here is {number}."
            )
        manifest, content = _manifest(root / directory_of(number) / MANIFEST, number)
        if manifest.previous != digest:
            raise _changed(number, "it does not follow from the delivery before it")
        if previous is not None and (manifest.store != previous.store or manifest.above != previous.through):
            raise _changed(number, "it does not go on where the delivery before it ended")
        if previous is None and manifest.above != 0:
            raise _changed(number, "the first delivery does not begin at the beginning")
        previous, digest = manifest, hashlib.sha256(content).hexdigest()
        yield manifest, digest


def _manifest(path: Path, number: int) -> tuple[Manifest, bytes]:
    try:
        if path.stat().st_size > LARGEST_MANIFEST:
            raise _changed(number, "its manifest is longer than one is")
        content = path.read_bytes()
        manifest = msgspec.json.decode(content, type=Manifest)
    except OSError as error:
        raise DataError("handover.missing", f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        raise _changed(number, "its manifest is none") from None
    if manifest.format != FORMAT or manifest.number != number or manifest.through < manifest.above:
        raise _changed(number, "its manifest is of another format or number")
    return manifest, content


def _keys(path: Path, most: int) -> NDArray[np.uint64]:
    """64 bits for what makes each row of a delivery a reading of its own: usage point, channel and instant.

    A file that holds more than `most` rows is not read to its end: a small one can hold any number of the same.
    """
    found = [np.empty(0, np.uint64)]
    rows = 0
    _ends_as_parquet(path)
    try:
        for batch in read_parquet(path):
            columns = (batch.column(name).to_pylist() for name in ("usage_point", "channel", "end_at"))
            digests = [
                hashlib.blake2b(f"{point}\0{channel}\0{end.timestamp()}".encode(), digest_size=8).digest()
                for point, channel, end in zip(*columns, strict=True)
            ]
            found.append(np.frombuffer(b"".join(digests), np.uint64))
            rows += len(digests)
            if rows > most:
                break
    except BaseException as error:
        # What the library raises for bytes that are not Parquet has no type of its own, and is often a panic.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _no_parquet(path) from error
    return np.concatenate(found)


def _ends_as_parquet(path: Path) -> None:
    """The words of both ends and the length of the footer: where they are others the library panics, and prints that."""
    with path.open("rb") as file:
        begin, size = file.read(4), file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        end = file.read()
    if begin != _MAGIC or end[4:] != _MAGIC or not 0 < int.from_bytes(end[:4], "little") <= size - 12:
        raise _no_parquet(path)


def _no_parquet(path: Path) -> DataError:
    return DataError("handover.changed", f"{path} is no Parquet file of readings.")


def _changed(number: int, what: str) -> DataError:
    return DataError("handover.changed", f"Delivery {number} was changed: {what}. Ask for all of them anew.")
