"""The command `meterseal decode`: hex from an argument, a file or standard input; prints what it says.

It imports only the station wire, so that an answer does not wait for a web server's imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from meterseal.wire import decode as wire
from meterseal.wire.tree import tree

NO_INPUT = (
    "meterseal: there is nothing to decode; give the frame in hex, `-` for standard input, or --file FILE.\n"
)


def decode_command(
    *hex: Annotated[str, Parameter(allow_leading_hyphen=True)],
    json: bool = False,
    file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
) -> int:
    """Say what a CJ/T 188 or DL/T 645 frame means, byte by byte.

    Parameters
    ----------
    hex
        The frame in hex, with any spaces, commas, 0x or text around it; `-` reads standard input.
    json
        Print one JSON object.
    file
        A file with one frame a line; prints one JSON object a line. `-` reads standard input.
    """
    strange = next((word for word in hex if word.startswith("-") and word != "-"), None)
    if strange is not None:
        sys.stderr.write(f"meterseal: decode has no option {strange}; see meterseal decode --help.\n")
        return 2
    if hex and file is not None:
        sys.stderr.write("meterseal: a frame and --file were both given; give one of them.\n")
        return 2
    return decode(" ".join(hex) or None, json=json, file=file)


def decode(hex: str | None, *, json: bool, file: Path | None) -> int:
    """Exit status: 0 answered, 1 the one frame is not valid, 2 no input or a file that cannot be read."""
    if file is not None:
        return _lines(file)
    text = sys.stdin.buffer.read().decode("utf-8", "replace") if hex == "-" else hex or ""
    if not text.strip():
        sys.stderr.write(NO_INPUT)
        return 2
    if json:
        answer = wire.decode(text)
        _write_json(answer.answer)
        sys.stdout.buffer.flush()
        return 0 if answer.valid else 1
    answers = wire.decode_all(text)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    sys.stdout.buffer.write("\n\n".join(tree(answer, colour=colour) for answer in answers).encode() + b"\n")
    sys.stdout.buffer.flush()
    return 0 if answers[0].valid else 1


def _lines(file: Path) -> int:
    """One JSON object for each line, bad lines answered too."""
    if str(file) == "-":
        _answer_lines(sys.stdin.buffer)
        return 0
    try:
        with file.open("rb") as lines:
            _answer_lines(lines)
    except OSError as error:
        reason = error.strerror or "unreadable"
        sys.stderr.write(f"meterseal: {file} cannot be read ({reason}); give a file with one frame a line.\n")
        return 2
    return 0


def _answer_lines(lines: Iterable[bytes]) -> None:
    for line in lines:
        _write_json(wire.decode(line.decode("utf-8", "replace")).answer)
    sys.stdout.buffer.flush()


def _write_json(answer: wire.Answer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
