"""The command `meterseal decode`: hex from an argument, a file or standard input; prints what it says.

It imports only the station wire, so that an answer does not wait for a web server's imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import msgspec
from cyclopts import Parameter

from meterseal.cli.arguments import Json
from meterseal.errors import LocalError
from meterseal.wire import decode as wire
from meterseal.wire.text import LONGEST_TEXT

if TYPE_CHECKING:
    from meterseal.wire.profile import Models

NO_INPUT = (
    "meterseal: there is nothing to decode; give the frame in hex, `-` for standard input, or --file FILE.\n"
)


def decode_command(
    *hex: Annotated[str, Parameter(allow_leading_hyphen=True)],
    json: Json = False,
    file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    profiles: Path | None = None,
) -> int:
    """Say what a CJ/T 188 or DL/T 645 frame means, byte by byte.

    Parameters
    ----------
    hex
        The frame in hex, with any spaces, commas, 0x or text around it; `-` reads standard input.
    file
        A file with one frame a line; prints one JSON object a line. `-` reads standard input.
    profiles
        A directory of meter models (TOML) of your own; the answer then names the meter's model, yours before ours.
    """
    strange = next((word for word in hex if word.startswith("-") and word != "-"), None)
    if strange is not None:
        sys.stderr.write(f"meterseal: decode has no option {strange}; see meterseal decode --help.\n")
        return 2
    if hex and file is not None:
        sys.stderr.write("meterseal: a frame and --file were both given; give one of them.\n")
        return 2
    return decode(" ".join(hex) or None, json=json, file=file, profiles=profiles)


def decode(hex: str | None, *, json: bool, file: Path | None, profiles: Path | None = None) -> int:
    """Exit status: 0 answered, 1 the one frame is not valid, 2 no input or a file that cannot be read."""
    models = None if profiles is None else _models(profiles)
    if file is not None:
        return _lines(file, models)
    cut = False
    if hex == "-":
        raw = sys.stdin.buffer.read(LONGEST_TEXT + 1)
        cut, hex = len(raw) > LONGEST_TEXT, raw[:LONGEST_TEXT].decode("utf-8", "replace")
    text = hex or ""
    if not text.strip():
        sys.stderr.write(NO_INPUT)
        return 2
    if json:
        answer = wire.decode(text, cut=cut)
        _write_json(_named(answer, models))
        return 0 if answer.valid else 1
    from meterseal.wire.tree import tree

    answers = wire.decode_all(text, cut=cut)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for index, answer in enumerate(answers):
        between = "\n" if index else ""
        sys.stdout.buffer.write(
            f"{between}{tree(answer, colour=colour)}\n{_model_lines(answer, models)}".encode()
        )
    return 0 if answers[0].valid else 1


def _lines(file: Path, models: Models | None) -> int:
    """One JSON object for each line, bad lines answered too; LocalError `use.file` when it cannot be read."""
    if str(file) == "-":
        _answer_lines(sys.stdin.buffer, file, models)
        return 0
    try:
        lines = file.open("rb")
    except OSError as error:
        raise _unreadable(file, error) from None
    with lines:
        _answer_lines(lines, file, models)
    return 0


def _answer_lines(lines: BinaryIO, file: Path, models: Models | None) -> None:
    for line, cut in _bounded(lines, file):
        _write_json(_named(wire.decode(line.decode("utf-8", "replace"), cut=cut), models))


def _models(directory: Path) -> Models:
    from meterseal.cli.models import own_models

    return own_models(directory)


def _named(answer: wire.Decoded, models: Models | None) -> wire.Answer:
    """The answer, with the meter's model where models were asked for."""
    if models is None:
        return answer.answer
    from meterseal.cli.models import about, model_of

    profile = model_of(answer, models)
    return {**answer.answer, "model": None if profile is None else about(answer, profile)}


def _model_lines(answer: wire.Decoded, models: Models | None) -> str:
    """The same as lines of text, each with its newline."""
    model = _named(answer, models).get("model")
    if model is None:
        return "" if models is None else "model: none\n"
    said = "".join(f"  {name}: {sentence}\n" for name, sentence in model["readings"].items())
    return f"model: {model['name']}, {model['title']}\n{said}"


def _bounded(lines: BinaryIO, file: Path) -> Iterator[tuple[bytes, bool]]:
    """Each line, of a very long one the beginning, and whether it was cut."""
    try:
        while line := lines.readline(LONGEST_TEXT + 1):
            cut = len(line) > LONGEST_TEXT and not line.endswith(b"\n")
            rest = line
            while cut and rest and not rest.endswith(b"\n"):
                rest = lines.readline(LONGEST_TEXT)
            yield line[:LONGEST_TEXT], cut
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> LocalError:
    reason = error.strerror or "unreadable"
    return LocalError("use.file", f"{file} cannot be read ({reason}); give a file with one frame a line.")


def _write_json(answer: wire.Answer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
