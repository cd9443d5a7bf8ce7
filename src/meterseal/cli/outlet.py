"""Standard output of every command: what it cannot take is told apart from every other failure of a file.

It decides no exit status; `main` does.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Undelivered(Exception):  # no OSError, which a command may take for a file of its own
    """Standard output took no more; `reason` is the system's, empty where the reader only went away (`| head -1`)."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.reason = "" if isinstance(error, BrokenPipeError) else error.strerror or "unknown reason"


class _Descriptor(io.FileIO):
    def write(self, content: ReadableBuffer, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            raise Undelivered(error) from None


@contextlib.contextmanager
def delivering() -> Iterator[None]:
    """Standard output for the body, written out at its end. Raises Undelivered, after which nothing more is tried.

    A standard output that somebody else put there (a test's) stays as it is.
    """
    if sys.stdout is None:
        raise Undelivered(OSError(0, "it is closed"))
    given = sys.stdout
    if isinstance(given, io.TextIOWrapper) and given is sys.__stdout__:
        straight = given.isatty() or given.write_through
        raw = _Descriptor(given.fileno(), "wb", closefd=False)
        # A terminal that is not UTF-8 shows what it cannot write as \\u6c34, which in JSON means the same.
        errors = "backslashreplace" if given.errors == "strict" else given.errors
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), given.encoding, errors, line_buffering=straight)
    try:
        yield
        sys.stdout.flush()
    except Undelivered:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, given.fileno())  # the interpreter writes once more what is left
        os.close(nowhere)
        raise
