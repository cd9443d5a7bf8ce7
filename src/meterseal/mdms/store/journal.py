"""Station MDMS, the commit: an append-only journal of sealed entries, each on disk before it is answered.

It does not know what an entry says; `mdms.entries` does.

A file holds frames: length 4 || sequence 8 || key version 4 || CRC-32 of these 16 || sealed entry. Sequences
run 1, 2, 3 … across files. Only the last frame of the last file can be torn by a crash, for a frame is
written after the one before it was synced; a torn frame ends too early or lies partly in disk sectors that
were never written (all zero). It was not answered and is cut. Anything else that does not open is damage,
and is said loudly.

The control store notes when a file is begun and up to where the ended ones reach (`Noted`), so that files which are not
there any more are missed. What was cut off at the edge of a frame from the file that was being written when the process
or the power ended is not: nothing says how far it reached.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, EngineError, TrustError
from meterseal.mdms.store.faults import HEADER, Fault, gives, next_frame
from meterseal.mdms.store.files import FULL, disk, sync_directory, write_all
from meterseal.places import place

log = structlog.get_logger()
LARGEST = 256 * 1024 * 1024
SECTOR = 512
SUFFIX = ".journal"


class Noted(NamedTuple):
    """What is known elsewhere of the journal's files."""

    ended: int
    """Every entry up to this one is durable, in a file that was ended or somewhere better."""
    begun: int | None = None
    """First entry of the file that was begun after it and is being written: durable under its name, maybe empty."""

    def lacks(self, directory: Path, after: int) -> bool:
        """Is the file that is being written not there, and what it held not elsewhere up to entry `after` either?"""
        return self.begun is not None and self.begun > after and not named(directory, self.begun).exists()


class Book(Protocol):
    """Where that is kept, durably (`manifest`)."""

    noted: Noted | None
    """What was noted last; None when nothing ever was."""

    given: Sequence[tuple[int, int]]
    """Entries that somebody gave up, from first to last: where they cannot be read, the journal goes on behind them."""

    def note(self, noted: Noted) -> None:
        """Keep it instead of what was. EngineError `control.*`; then it is as it was."""


class Journal:
    """The journal in one directory. Calls but `forget` must not overlap; the caller sees to that.

    `replay` first, then `append`. After a failed write the entry is not there; after a failed fsync nobody
    knows. If the disk was full or could only be read, every later `append` first cuts off what was written of the entry,
    and syncs the cut: once it can be written, the journal goes on by itself, in a new file. If the disk failed in a sync,
    nobody knows what else it lost: the journal refuses everything until it is opened again (EngineError `mdms.disk`).
    """

    def __init__(self, directory: Path, store_id: str, keys: KeyRing, book: Book) -> None:
        self._directory = directory
        self._store_id = store_id
        self._keys = keys
        self._book = book
        self._descriptor: int | None = None
        self._path = directory
        self._size = 0
        self._sizes: dict[Path, int] = {}
        self._broken = self._torn = False
        self.passed: list[Fault] = []
        """What a replay went on behind, because it was given up."""
        self.sequence = 0
        """Sequence of the last durable entry."""
        self.written = 0
        """Bytes appended since it was opened."""
        with disk(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    # --- reading ----------------------------------------------------------------------------------

    def replay(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Yield (sequence, entry) of every entry later than `after`, oldest first, and cut a torn tail.

        Raises DataError `mdms.journal-damaged` when an acknowledged entry does not open or is missing between others,
        `mdms.journal-lost` when files are missing at the end; EngineError `mdms.disk`, `control.*`.
        """
        self.sequence = after
        files = self._files()
        for position, path in enumerate(files):
            with disk(path):
                content = path.read_bytes()
            self._sizes[path] = len(content)
            last = position == len(files) - 1
            behind = self._ends_before() if last else int(files[position + 1].stem)
            yield from self._frames(path, content, after, behind, last=last)
        noted = self._book.noted
        if noted is not None and self.sequence < noted.ended:
            known = noted.ended if noted.begun is None else 0
            self._pass(Fault(self.sequence + 1, known), _lost(self._directory, self.sequence, noted))
        elif noted is not None and noted.lacks(self._directory, after):
            self._pass(Fault(self.sequence + 1, 0), _lost(self._directory, self.sequence, noted))
        self._took()

    def _ends_before(self) -> int:
        """The first entry that was never written, 0 when nobody knows: what is being written as a process ends has none."""
        noted = self._book.noted
        return noted.ended + 1 if noted is not None and noted.begun is None else 0

    def _pass(self, fault: Fault, error: DataError) -> None:
        """Go on behind entries that cannot be read, if somebody gave them up; else raise."""
        if not gives(self._book.given, fault.first, fault.last):
            raise error
        log.warning("mdms.given-up", entries=fault.entries, file=fault.file)
        self.passed.append(fault)
        self.sequence = max(self.sequence, fault.last)

    def _took(self) -> None:
        """What was read counts from here on: a process that was killed may have left it to the system's memory alone."""
        if self._book.noted == Noted(self.sequence):
            return
        with disk(self._directory):
            for path in self._files()[-1:]:
                with path.open("r+b") as file:
                    os.fsync(file.fileno())
            sync_directory(self._directory)
        self._book.note(Noted(self.sequence))

    def _frames(
        self, path: Path, content: bytes, after: int, behind: int, *, last: bool
    ) -> Iterator[tuple[int, bytes]]:
        """`behind`: the first entry that is not in this file; 0 when nobody knows."""
        seen = int(path.stem) - 1
        offset = 0
        while offset < len(content):
            body = offset + HEADER.size
            header = content[offset:body]
            end = body
            fits = sound = len(header) == HEADER.size and zlib.crc32(header[:16]) == int.from_bytes(
                header[16:]
            )
            if sound:
                length, sequence, version, _ = HEADER.unpack(header)
                end = body + length
                fits = end <= len(content)
            if (
                last
                and not fits
                and (sound or len(content) - offset < HEADER.size or _unwritten(content, offset))
            ):
                self._cut(path, offset)
                return
            if not fits:
                found = next_frame(content, offset, seen)
                end, following = found or (len(content), behind)
                first = max(seen, after) + 1
                if first < following or not following:  # else segments have all that stood there
                    if first > self.sequence + 1:
                        self._missing(path, first)
                    piece = content[offset:end]
                    fault = Fault(first, max(following - 1, 0), path.name, offset, end, zlib.crc32(piece))
                    self._pass(fault, _damaged(path, offset))
                    entry = self._without_header(piece, first) if following == first + 1 else None
                    if entry is not None:
                        self.passed.remove(fault)
                        yield first, entry
                    if not following:
                        self._cut(path, offset)  # its numbers are given out again
                        return
                seen, offset = max(seen, following - 1), end
                continue
            if sequence > after:
                if sequence != self.sequence + 1:
                    self._missing(path, sequence)
                try:
                    entry = self._opened(content[body:end], sequence, version)
                except TrustError as error:
                    if error.code != "crypto.tag":
                        raise
                    if last and end == len(content) and _unwritten(content, offset):
                        self._cut(path, offset)
                        return
                    # A length that somebody made up must not lead behind frames that are whole.
                    found = next_frame(content, offset, sequence)
                    end = min(end, found[0]) if found else end
                    check = zlib.crc32(content[offset:end])
                    fault = Fault(sequence, sequence, path.name, offset, end, check)
                    self._pass(fault, _damaged(path, offset, sequence))
                else:
                    yield sequence, entry
                    self.sequence = sequence
            seen, offset = sequence, end

    def _missing(self, path: Path, sequence: int) -> None:
        """The next entry that is there is `sequence`."""
        error = _hole(path, self.sequence + 1, sequence)
        if sequence <= self.sequence:
            raise error
        self._pass(Fault(self.sequence + 1, sequence - 1), error)

    def _opened(self, sealed: bytes, sequence: int, version: int) -> bytes:
        return self._keys.open(sealed, self._place(sequence), version)

    def _without_header(self, piece: bytes, sequence: int) -> bytes | None:
        """An entry of which the header alone is damaged: where it stands says its number, and its seal that it is whole."""
        for version in self._keys.versions:
            try:
                return self._opened(piece[HEADER.size :], sequence, version)
            except TrustError:
                continue
        return None

    def _cut(self, path: Path, offset: int) -> None:
        with disk(path), path.open("r+b") as file:
            file.truncate(offset)
            os.fsync(file.fileno())
        self._sizes[path] = offset

    # --- writing ----------------------------------------------------------------------------------

    def append(self, entry: bytes) -> int:
        """Seal and write one entry; returns its sequence once it is durable.

        Raises EngineError `mdms.full`, `mdms.disk`, or where a file is begun or ended `control.*`; then nothing of it was
        kept.
        """
        if self._broken:
            raise EngineError(
                "mdms.disk",
                f"The disk under {self._directory} failed while readings were synced. See to it and restart.",
            )
        if self._torn:
            self._mend()
        sequence = self.sequence + 1
        version = self._keys.version
        sealed = self._keys.seal(entry, self._place(sequence), version)
        fields = struct.pack(">IQI", len(sealed), sequence, version)
        frame = fields + zlib.crc32(fields).to_bytes(4) + sealed
        with disk(self._path):
            descriptor = self._open(sequence)
            try:
                write_all(descriptor, frame)
            except OSError:
                self._undo(descriptor)
                raise
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                self._unsure(error)
                raise
        self._size += len(frame)
        self.written += len(frame)
        self._sizes[self._path] = self._size
        self.sequence = sequence
        return sequence

    def _open(self, sequence: int) -> int:
        if self._descriptor is None:
            path = named(self._directory, sequence)
            # A file of this name can only be what a torn first frame, or a try that had no room, left behind.
            descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, 0o600)
            try:
                # In this order: what is noted must be there after any loss of power, and what is not is missed by nobody.
                sync_directory(self._directory)
                self._book.note(Noted(self.sequence, sequence))
            except BaseException:
                os.close(descriptor)
                raise
            self._descriptor, self._path, self._size = descriptor, path, 0
        return self._descriptor

    def _undo(self, descriptor: int) -> None:
        """Take back a half-written frame; if even that fails, nothing may follow it before it is mended."""
        try:
            os.ftruncate(descriptor, self._size)
        except OSError:
            self._torn = True  # all before it was synced: a disk that can only be read has lost none of it

    def _unsure(self, error: OSError) -> None:
        self._torn = error.errno in FULL
        self._broken = not self._torn

    def _mend(self) -> None:
        """Cut off what may or may not have become durable, durably: it was refused, and its number is given out again."""
        assert self._descriptor is not None
        with disk(self._path):
            os.ftruncate(self._descriptor, self._size)
            os.fsync(self._descriptor)
        self._end()
        self._torn = False

    @property
    def size(self) -> int:
        """Bytes of all its files, those of earlier starts included: what the next start would have to read."""
        return sum(list(self._sizes.values()))

    def older(self) -> int:
        """Entries on disk that are sealed under another key version than the newest."""
        found = 0
        for path in self._files():
            with disk(path), path.open("rb") as file:
                while len(header := file.read(HEADER.size)) == HEADER.size:
                    length, _, version, _ = HEADER.unpack(header)
                    found += version != self._keys.version
                    file.seek(length, os.SEEK_CUR)
        return found

    def rotate(self) -> None:
        """End the current file; the next entry begins a new one. One that must be mended first ends then.

        Raises EngineError `control.*`; then it goes on.
        """
        if not self._torn:
            self._end()

    def _end(self) -> None:
        if self._descriptor is not None:
            self._book.note(Noted(self.sequence))
            os.close(self._descriptor)
            self._descriptor, self._size = None, 0

    def forget(self, until: int) -> None:
        """Delete files that hold only entries up to `until`; call after their content is durable
        elsewhere.

        May run while an entry is appended: a file that begins later is never touched, whether or not it is open yet.
        """
        files = self._files()
        current = self._path if self._descriptor is not None else None
        with disk(self._directory):
            for position, path in enumerate(files):
                following = int(files[position + 1].stem) if position + 1 < len(files) else self.sequence + 1
                if path != current and int(path.stem) <= until and following <= until + 1:
                    path.unlink()
                    self._sizes.pop(path, None)

    def close(self) -> None:
        """Close the file; what was appended is durable already."""
        if self._descriptor is not None:
            with contextlib.suppress(
                EngineError
            ):  # the next start knows less of its end, and reads it all the same
                self._book.note(Noted(self.sequence))
            os.close(self._descriptor)
            self._descriptor, self._size = None, 0
        self._torn = False

    def _files(self) -> list[Path]:
        return files_in(self._directory)

    def _place(self, sequence: int) -> bytes:
        return place(self._store_id, "journal", sequence)


def named(directory: Path, sequence: int) -> Path:
    """The file that begins with this entry."""
    return directory / f"{sequence:016d}{SUFFIX}"


def files_in(directory: Path) -> list[Path]:
    """Every file of a journal, oldest first."""
    return sorted(directory.glob(f"*{SUFFIX}"))


def _unwritten(content: bytes, start: int) -> bool:
    """Is part of what begins at `start` a disk sector that was never written? No ciphertext is zero that
    long."""
    while start < len(content):
        end = min((start // SECTOR + 1) * SECTOR, len(content))
        if end - start >= 16 and not any(content[start:end]):
            return True
        start = end
    return False


def _damaged(path: Path, offset: int, sequence: int | None = None) -> DataError:
    return DataError(
        "mdms.journal-damaged",
        f"The journal {path} is damaged at byte {offset}: what stands there is not what was written. "
        "Restore the file from a backup or another copy; nothing was changed. What is lost for good is named by: meterseal "
        "store give-up",
        offset=offset,
        sequence=sequence,
    )


def _hole(path: Path, expected: int, found: int) -> DataError:
    return DataError(
        "mdms.journal-damaged",
        f"The journal misses entry {expected}: {path} goes on with {found}. Restore the missing file from a "
        "backup; nothing was changed. What is lost for good is named by: meterseal store give-up",
        expected=expected,
        found=found,
    )


def _lost(directory: Path, sequence: int, noted: Noted) -> DataError:
    if noted.begun is None:
        gone = f"entries {sequence + 1} to {noted.ended} are gone"
    elif sequence < noted.ended:
        gone = f"entries {sequence + 1} to {noted.ended} are gone, and those that may have come after them"
    else:
        gone = f"the file that begins with entry {noted.begun} is gone, with as many entries as it had"
    return DataError(
        "mdms.journal-lost",
        f"Of the journal in {directory} {gone}: readings that were acknowledged. Restore the missing files; nothing was "
        "changed. If they are lost for good: meterseal store give-up",
        found=sequence,
        ended=noted.ended,
        begun=noted.begun,
    )
