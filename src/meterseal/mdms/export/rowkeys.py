"""Station MDMS, which readings a Parquet file of a delivery holds: 64 bits for each row, made by a process of its own.

It judges no manifest. The file is whoever's that handed it over: a few kilobytes may stand for gigabytes of the same text,
and bytes that are no Parquet make the library panic. So the process that takes it apart may have so much memory and writes
no file; when it ends, the file is none of ours.
"""

from __future__ import annotations

import hashlib
import os
import resource
import secrets
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from arro3.core import DataType
from arro3.io import read_parquet
from numpy.typing import NDArray

from meterseal.errors import DataError, LocalError
from meterseal.mdms.export.schema import EARLIEST, MULTIPLIED, SCHEMA

MEMORY = 1 << 29
"""Bytes that reading a file may take, beyond what the process has when it begins. Ours take some 20 MB."""
_PIECE = 1 << 16
_READY = b"ready"
_SIZE = struct.Struct("<I")
_LONGEST = _PIECE * 8 * 2


class RowKeys:
    """A process that is asked for one file after the other, begun with the first; a context manager, which ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RowKeys:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def of(self, path: Path, most: int) -> Iterator[NDArray[np.uint64]]:
        """64 bits for what makes each row a reading of its own: usage point, channel and instant.

        A file that holds more than `most` rows is not read to its end: a small one can hold any number of the same.
        DataError `handover.changed` for a file that is none of ours; LocalError `handover.process`.
        """
        self._process = process = self._process or _started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{most} {os.fsencode(path.absolute()).hex()}\n".encode())
            process.stdin.flush()
        except BrokenPipeError:
            raise _none_of_ours(path) from None
        while True:
            head = process.stdout.read(_SIZE.size)
            size = _SIZE.unpack(head)[0] if len(head) == _SIZE.size else _LONGEST + 1
            if not size:
                return
            content = process.stdout.read(size) if size <= _LONGEST else b""
            if len(content) != size:
                raise _none_of_ours(path)
            yield np.frombuffer(content, np.uint64)


def _started() -> subprocess.Popen[bytes]:
    """LocalError `handover.process`: what hinders the process must not be said of a file."""
    try:
        process = subprocess.Popen(
            # -P: no module is taken from where one stands, which may be among the deliveries
            [sys.executable, "-P", "-m", "meterseal.mdms.export.rowkeys"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what the library says of a file that is none
        )
    except OSError as error:
        raise LocalError(
            "handover.process",
            f"{sys.executable} cannot be started to read the deliveries: {error.strerror}. None was looked at.",
        ) from error
    assert process.stdout is not None
    if process.stdout.read(len(_READY)) != _READY:
        process.kill()
        process.communicate()
        raise LocalError(
            "handover.process",
            "The process that reads deliveries ended before it looked at any: is this machine out of memory, or the "
            "installation not whole? Run: meterseal doctor",
        )
    return process


def _none_of_ours(path: Path) -> DataError:
    return DataError(
        "handover.changed",
        f"{path} is no Parquet file of readings as they are delivered. Ask for all of them anew.",
    )


# --- the process ------------------------------------------------------------------------------------


def serve(asked: BinaryIO, answers: BinaryIO) -> None:
    """Answer a line for each file until there are no more; any error ends the process, and its end is the answer."""
    _confine()
    begin = _beginnings(secrets.token_bytes(32))
    answers.write(_READY)
    answers.flush()
    for line in asked:
        most, name = line.split()
        waiting, rows = [], 0
        for digests in _digests(Path(os.fsdecode(bytes.fromhex(name.decode()))), begin):
            waiting.append(digests)
            rows += len(digests) // 8
            if sum(map(len, waiting)) >= _PIECE * 8:
                _give(answers, b"".join(waiting))
                waiting = []
            if rows > int(most):
                break
        if waiting:
            _give(answers, b"".join(waiting))
        _give(answers, b"")


_Begin = Callable[[str, int], int]


def _beginnings(key: bytes) -> _Begin:
    """64 bits for a usage point's channel, which nobody outside can choose: under a key of this process alone."""

    @lru_cache(1 << 12)
    def begin(usage_point: str, channel: int) -> int:
        digest = hashlib.blake2b(f"{channel}\0{usage_point}".encode(), digest_size=8, key=key)
        return int.from_bytes(digest.digest())

    return begin


def _digests(path: Path, begin: _Begin) -> Iterator[bytes]:
    reader = read_parquet(path, batch_size=1024)
    if reader.schema not in (SCHEMA, MULTIPLIED, EARLIEST):
        raise SystemExit(1)
    for batch in reader:
        points, channels = (batch.column(name).to_pylist() for name in ("usage_point", "channel"))
        ends = batch.column("end_at").cast(DataType.int64()).to_numpy().astype(np.uint64)
        yield _mixed(np.array(list(map(begin, points, channels)), np.uint64) + ends).tobytes()


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each number another one, with every bit told by all of them (the end of SplitMix64): shares are of one size."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _give(answers: BinaryIO, content: bytes) -> None:
    answers.write(_SIZE.pack(len(content)) + content)
    answers.flush()


def _confine() -> None:
    """From here on the kernel refuses files to write, core dumps, and more memory."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    for none in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(none, (0, 0))


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
