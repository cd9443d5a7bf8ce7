"""Station MDMS, a hand-over to a warehouse: numbered deliveries that hang together, so that the receiver can show that it
has everything, once.

It reads no store and checks no reading (`receiving` does); who receives needs the format below and nothing else of ours.

A delivery is a directory `000001`, `000002` … with `readings.parquet` (`columns`) and `manifest.json`. Each tells which
journal entries it carries (above < entry <= through), how many readings, the SHA-256 of the file, the SHA-256 of the
manifest before it, and how many distinct readings the whole store holds at `through`. A reading that was corrected comes
again in a later delivery with a higher version and takes the place of the earlier one. Beside a reading stands the
multiplier of when it was delivered; once one was ever stated each delivery has `multipliers.csv` (`history`) as well, all
of them as they are known now: that of the newest delivery holds for the readings of all. Nothing is missing when the
deliveries are without a gap from 0 on and the distinct readings in them are as many as the last manifest says.

A manifest also names the store's ledger as it was: how many leaves and the root over them, which the next delivery finds
again or does not follow: a store that was put back tells another history from there on. Nothing here is signed. Who can
write every delivery can make others that hang together; the SHA-256 of the newest manifest, told another way, meets that.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from meterseal.errors import DataError, LocalError
from meterseal.mdms.export.columns import write_parquet_file
from meterseal.mdms.export.series import Exported, Page, Since, of_one_kind
from meterseal.mdms.store.files import sync_directory

MANIFEST, READINGS, MULTIPLIERS = "manifest.json", "readings.parquet", "multipliers.csv"
FORMAT = "meterseal-handover/1"
LARGEST_MANIFEST = 64 * 1024
LOCK = ".lock"
_NAME = re.compile(r"[0-9]{6,18}")
_Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Digest = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
FIRST = "0" * 64
"""What the first manifest says of the one before it."""


class Manifest(Struct, frozen=True, kw_only=True):
    """One delivery's own account; digests in hex."""

    format: str
    store: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
    number: _Count
    previous: _Digest
    above: _Count
    through: _Count
    readings: _Count
    total: _Count
    sha256: _Digest
    made_at: int
    removed: _Count = 0
    """Readings that the store had rolled up so far; what was delivered before is still there."""
    multipliers: _Digest = ""
    """SHA-256 of `multipliers.csv`; empty without one."""
    leaves: _Count = 0
    root: _Digest = ""
    """Of the store's ledger when this was written; empty in deliveries from before this was told."""


class State(NamedTuple):
    """A store as a delivery finds it: readings that were rolled up so far, leaves of its ledger and the root over them,
    and the root over as many leaves as were asked for, empty where it has fewer.
    """

    removed: int = 0
    leaves: int = 0
    root: str = ""
    root_then: str = ""


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
    state: Callable[[int], State] = lambda _: State(),
    multipliers: Callable[[], bytes] = bytes,
) -> Manifest:
    """Write the next delivery, up to journal entry `sequence`: it stands there whole, with its manifest, or not at all.

    `pages` gives every channel with what the entries in question changed; `state` says how the store is now, and which
    root it had over so many leaves; `multipliers` gives the table of them all, empty while none was ever stated, and is
    asked last, so that it knows no less than any page. Raises DataError as `manifests`, LocalError `handover.other` for
    deliveries that are not this store's, `handover.busy` while another program writes there, `handover.rolled`,
    `handover.file` when the directory cannot be written.
    """
    with _alone(root):
        before, previous = last(root) or (None, FIRST)
        found = _going_on(root, before, store_id, sequence, state)
        number = before.number + 1 if before is not None else 1
        entries = Since(before.through if before is not None else 0, sequence)
        making = root / f".{directory_of(number)}.new"
        try:
            with _writable(root):
                _cleared(making)
                making.mkdir(mode=0o700)
                readings, told = _written(making / READINGS, pages(entries))
                table = multipliers()
                if table:
                    _place(making / MULTIPLIERS, table)
                after = state(0)
                if after.removed != found.removed:
                    raise LocalError(
                        "handover.rolled",
                        "Readings were rolled up while this was written, so its count is of no one moment. Nothing was "
                        "delivered; do it again.",
                    )
                manifest = Manifest(
                    format=FORMAT,
                    store=store_id,
                    number=number,
                    previous=previous,
                    above=entries.above,
                    through=entries.through,
                    readings=readings,
                    total=told,
                    sha256=digest_of(making / READINGS),
                    made_at=made_at,
                    removed=found.removed,
                    multipliers=hashlib.sha256(table).hexdigest() if table else "",
                    leaves=found.leaves,
                    root=found.root,
                )
                _place(making / MANIFEST, encode(manifest))
                sync_directory(making)
                making.rename(root / directory_of(number))
        finally:
            shutil.rmtree(making, ignore_errors=True)
        try:
            sync_directory(root)
        except OSError as error:
            raise LocalError(
                "handover.file",
                f"Delivery {number} stands in {root}, and the disk does not say that it stays: {error.strerror}. See to "
                "the disk, then run: meterseal handover check",
            ) from error
    return manifest


def _going_on(
    root: Path, before: Manifest | None, store_id: str, sequence: int, state: Callable[[int], State]
) -> State:
    """The store's state, which a delivery may follow from. LocalError `handover.other`."""
    found = state(before.leaves if before is not None else 0)
    if before is None:
        return found
    same_past = not before.root or found.root_then == before.root
    if before.store != store_id or before.through > sequence or not same_past:
        raise LocalError(
            "handover.other",
            f"{root} holds deliveries of another store, or this one was put back to an older copy since and tells another "
            "history. Begin anew in an empty directory.",
        )
    return found


def _written(path: Path, pages: Iterable[Page]) -> tuple[int, int]:
    """Write the readings of all pages; how many were written, and how many the store shows."""
    told = 0
    ahead = iter(pages)
    first = next(ahead, None)

    def series() -> Iterator[Exported]:
        nonlocal told
        for page in chain([] if first is None else [first], ahead):
            told += page.readings
            yield from of_one_kind(page, first)

    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        readings = write_parquet_file(series(), file, multiplied=first is not None and first.multiplied)
        file.flush()
        os.fsync(file.fileno())
    return readings, told


def _place(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Be the only one who writes there. LocalError `handover.busy`, `handover.file`."""
    with _writable(root):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(root / LOCK, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(
                "handover.busy", f"Another delivery is being written to {root}. Wait until it is done."
            ) from None
        except OSError as error:
            raise _unwritable(root, error) from error
        yield
    finally:
        os.close(descriptor)


def _cleared(path: Path) -> None:
    """Remove what an earlier attempt, or somebody, left under a name that is ours."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


@contextmanager
def _writable(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(root, error) from error


def _unwritable(root: Path, error: OSError) -> LocalError:
    return LocalError(
        "handover.file",
        f"{root} cannot be written: {error.strerror or error}. Nothing of this delivery was kept.",
    )


def last(root: Path) -> tuple[Manifest, str] | None:
    """The newest delivery's manifest and its SHA-256; None before the first. Raises as `manifests`."""
    newest = deque(manifests(root), maxlen=1)
    return newest[0] if newest else None


def manifests(root: Path) -> Iterator[tuple[Manifest, str]]:
    """Manifests in order with their digests, each held against the one before it.

    DataError `handover.missing`, `handover.changed`, naming the delivery.
    """
    try:
        numbers = sorted(int(path.name) for path in root.iterdir() if _NAME.fullmatch(path.name))
    except OSError as error:
        raise DataError("handover.missing", f"{root} cannot be read: {error.strerror}.") from error
    previous: Manifest | None = None
    digest = FIRST
    for place, number in enumerate(numbers, start=1):
        if number > place:
            raise DataError(
                "handover.missing", f"Delivery {place} is missing: the next one here is {number}."
            )
        if number < place:
            raise changed(number, "it is here twice")
        manifest, content = _manifest(root / directory_of(number) / MANIFEST, number)
        if manifest.previous != digest:
            raise changed(number, "it does not follow from the delivery before it")
        if previous is not None and (manifest.store != previous.store or manifest.above != previous.through):
            raise changed(number, "it does not go on where the delivery before it ended")
        if previous is not None and (
            manifest.removed < previous.removed or manifest.leaves < previous.leaves
        ):
            raise changed(number, "it counts back what the delivery before it told")
        if previous is None and manifest.above != 0:
            raise changed(number, "the first delivery does not begin at the beginning")
        previous, digest = manifest, hashlib.sha256(content).hexdigest()
        yield manifest, digest


def _manifest(path: Path, number: int) -> tuple[Manifest, bytes]:
    with regular(path) as file:
        content = file.read(LARGEST_MANIFEST + 1)
    if len(content) > LARGEST_MANIFEST:
        raise changed(number, "its manifest is longer than one is")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        raise changed(number, "its manifest is none") from None
    if manifest.format != FORMAT or manifest.number != number or manifest.through < manifest.above:
        raise changed(number, "its manifest is of another format or number")
    return manifest, content


@contextmanager
def regular(path: Path) -> Iterator[BufferedReader]:
    """A file of a delivery, to be read: nothing waits for a pipe, and a device never ends. DataError `handover.missing`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DataError("handover.missing", f"{path} is no file.")
            yield file
    except OSError as error:
        raise DataError("handover.missing", f"{path} cannot be read: {error.strerror}.") from error


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hex. Raises DataError `handover.missing`."""
    with regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def changed(number: int, what: str) -> DataError:
    """What is said of a delivery that is not as it was made."""
    return DataError("handover.changed", f"Delivery {number} was changed: {what}. Ask for all of them anew.")
