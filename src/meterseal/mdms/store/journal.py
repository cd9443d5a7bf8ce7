"""Station MDMS, the commit: an append-only journal of sealed entries, each on disk before it is answered.

It does not know what an entry says; `mdms.entries` does.

A file holds frames: length 4 || sequence 8 || key version 4 || CRC-32 of these 16 || sealed entry. Sequences
run 1, 2, 3 … across files. Only the last frame of the last file can be torn by a crash, for a frame is
written after the one before it was synced; a torn frame ends too early or lies partly in disk sectors that
were never written (all zero). It was not answered and is cut. Anything else that does not open is damage,
and is said loudly.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from meterseal.control.sealing import KeyRing, place
from meterseal.errors import DataError, EngineError, TrustError
from meterseal.mdms.store.files import FULL, disk, sync_directory, write_all

HEADER = struct.Struct(">IQII")
LARGEST = 256 * 1024 * 1024
SECTOR = 512
SUFFIX = ".journal"


class Journal:
    """The journal in one directory. Calls must not overlap; the caller sees to that.

    `replay` first, then `append`. After a failed write the entry is not there; after a failed fsync nobody
    knows. If the disk was full, every later `append` first cuts off what was written of the entry, and syncs the cut:
    once there is room, the journal goes on by itself, in a new file. If the disk failed, nobody knows what else it
    lost: the journal refuses everything until it is opened again (EngineError `mdms.disk`).
    """

    def __init__(self, directory: Path, store_id: str, keys: KeyRing) -> None:
        self._directory = directory
        self._store_id = store_id
        self._keys = keys
        self._descriptor: int | None = None
        self._path = directory
        self._size = 0
        self._sizes: dict[Path, int] = {}
        self._broken = self._torn = False
        self.sequence = 0
        """Sequence of the last durable entry."""
        self.written = 0
        """Bytes appended since it was opened."""
        with disk(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    # --- reading ----------------------------------------------------------------------------------

    def replay(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Yield (sequence, entry) of every entry later than `after`, oldest first, and cut a torn tail.

        Raises DataError `mdms.journal-damaged` when an acknowledged entry is missing or does not open.
        """
        self.sequence = after
        files = self._files()
        for position, path in enumerate(files):
            with disk(path):
                content = path.read_bytes()
            self._sizes[path] = len(content)
            yield from self._frames(path, content, after, last=position == len(files) - 1)

    def _frames(self, path: Path, content: bytes, after: int, *, last: bool) -> Iterator[tuple[int, bytes]]:
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
                raise _damaged(path, offset)
            if sequence > after:
                if sequence != self.sequence + 1:
                    raise _hole(path, self.sequence + 1, sequence)
                try:
                    entry = self._keys.open(content[body:end], self._place(sequence), version)
                except TrustError as error:
                    if error.code != "crypto.tag":
                        raise
                    if last and end == len(content) and _unwritten(content, offset):
                        self._cut(path, offset)
                        return
                    raise _damaged(path, offset, sequence) from error
                yield sequence, entry
                self.sequence = sequence
            offset = end

    def _cut(self, path: Path, offset: int) -> None:
        with disk(path), path.open("r+b") as file:
            file.truncate(offset)
            os.fsync(file.fileno())
        self._sizes[path] = offset

    # --- writing ----------------------------------------------------------------------------------

    def append(self, entry: bytes) -> int:
        """Seal and write one entry; returns its sequence once it is durable.

        Raises EngineError `mdms.full` or `mdms.disk`; then nothing of it was kept.
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
            path = self._directory / f"{sequence:016d}{SUFFIX}"
            # A file of this name can only be what a torn first frame, or a try that had no room, left behind.
            descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, 0o600)
            try:
                sync_directory(self._directory)
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor, self._path, self._size = descriptor, path, 0
        return self._descriptor

    def _undo(self, descriptor: int) -> None:
        """Take back a half-written frame; if even that fails, nothing may follow it before it is mended."""
        try:
            os.ftruncate(descriptor, self._size)
        except OSError as error:
            self._unsure(error)

    def _unsure(self, error: OSError) -> None:
        self._torn = error.errno in FULL
        self._broken = not self._torn

    def _mend(self) -> None:
        """Cut off what may or may not have become durable, durably: it was refused, and its number is given out again."""
        assert self._descriptor is not None
        with disk(self._path):
            os.ftruncate(self._descriptor, self._size)
            os.fsync(self._descriptor)
        self._torn = False
        self.rotate()

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
        """End the current file; the next entry begins a new one. One that must be mended first ends then."""
        if self._torn:
            return
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor, self._size = None, 0

    def forget(self, until: int) -> None:
        """Delete files that hold only entries up to `until`; call after their content is durable
        elsewhere."""
        files = self._files()
        current = self._path if self._descriptor is not None else None
        with disk(self._directory):
            for position, path in enumerate(files):
                following = int(files[position + 1].stem) if position + 1 < len(files) else self.sequence + 1
                if path != current and following <= until + 1:
                    path.unlink()
                    self._sizes.pop(path, None)

    def close(self) -> None:
        """Close the file; what was appended is durable already."""
        self._torn = False
        self.rotate()

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob(f"*{SUFFIX}"))

    def _place(self, sequence: int) -> bytes:
        return place(self._store_id, "journal", sequence)


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
        "Restore the file from a backup or another copy; nothing was changed.",
        offset=offset,
        sequence=sequence,
    )


def _hole(path: Path, expected: int, found: int) -> DataError:
    return DataError(
        "mdms.journal-damaged",
        f"The journal misses entry {expected}: {path} goes on with {found}. Restore the missing file from a "
        "backup; nothing was changed.",
        expected=expected,
        found=found,
    )
