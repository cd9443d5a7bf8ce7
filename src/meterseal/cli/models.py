"""The commands around meter models: a new data file from captured frames, and a user's own files for `decode`.

What makes a model of frames is the station wire's; this reads and writes files and prints.
"""

from __future__ import annotations

import json as jsonlib
import re
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from meterseal.cli.arguments import Json
from meterseal.errors import DataError, LocalError
from meterseal.wire.decode import Decoded
from meterseal.wire.profile import Models, Profile, parse_profile, profiles
from meterseal.wire.text import LONGEST_TEXT

LONGEST_PROFILE = 1 << 18
"""Bytes of one data file."""
MOST_PROFILES = 500
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def new_profile(
    frames: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    *,
    name: str | None = None,
    to: Path | None = None,
    json: Json = False,
) -> int:
    """Start a meter model from captured frames: a TOML file that holds, to be edited further.

    Parameters
    ----------
    frames
        A text with one or more frames a line, in any form that decode takes, lines with # left out; `-` reads
        standard input.
    name
        The model's name; lower-case letters, digits and hyphens. Made from medium and numbers where it is not given.
    to
        The file to write, NAME.toml where it is not given. A file that is there is never written over.
    """
    from meterseal.wire.draft import draft

    if name is not None and not NAME.fullmatch(name):
        raise LocalError(
            "use.arguments", f"{name!r} is no name of a model; use lower-case letters, digits and hyphens."
        )
    made = draft(_text(frames).splitlines(), name)
    target = to or Path(f"{made.name}.toml")
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(made.text)
    except FileExistsError:
        raise LocalError(
            "use.file", f"{target} is there already; give another file with --to or another --name."
        ) from None
    if json:
        said: dict[str, Any] = {"profile": made.name, "file": str(target), "known": made.known}
        sys.stdout.write(jsonlib.dumps({**said, "seen": made.seen, "left_out": made.left_out}) + "\n")
        return 0
    lines = [f"{target}: the model {made.name}.", *made.seen]
    if made.known is not None:
        lines.append(f"The package's model {made.known} takes such meters already.")
    lines += [f"Left out: {one}" for one in made.left_out]
    lines.append(f"Next: meterseal decode FRAME --profiles {target.parent}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def models(*, json: Json = False) -> int:
    """List the meter models of the package: name, medium, protocol, and what each is."""
    known = sorted(profiles().values(), key=lambda one: (one.medium, one.name))
    if json:
        said = [
            {"name": one.name, "medium": one.medium, "protocol": one.protocol, "title": one.title}
            for one in known
        ]
        sys.stdout.write(jsonlib.dumps(said, ensure_ascii=False) + "\n")
        return 0
    longest = max(len(one.name) for one in known)
    lines = [f"{one.name:<{longest}}  {one.medium:<11}  {one.protocol}  {one.title}" for one in known]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def own_models(directory: Path) -> Models:
    """The models of a user's directory before those of the package. Errors as `own_texts`."""
    return Models(map(parse_profile, own_texts(directory).values()), profiles().values())


def own_texts(directory: Path) -> dict[str, str]:
    """The data files of a user's directory by the name of their model.

    Raises LocalError `use.file` and DataError `wire.profile`, each with the file's name.
    """
    files = sorted(directory.glob("*.toml"))
    if not files or len(files) > MOST_PROFILES:
        raise LocalError(
            "use.file",
            f"{directory} has {len(files)} TOML files; give a directory with 1 to {MOST_PROFILES}.",
        )
    found: dict[str, str] = {}
    for file in files:
        name, text = _profile(file)
        if name in found:
            raise DataError("wire.profile", f"{file}: another file has a model {name} too; rename one.")
        found[name] = text
    return found


def _profile(file: Path) -> tuple[str, str]:
    with file.open("rb") as opened:
        raw = opened.read(LONGEST_PROFILE + 1)
    if len(raw) > LONGEST_PROFILE:
        raise LocalError(
            "use.file", f"{file} is longer than {LONGEST_PROFILE} bytes; a meter profile is not."
        )
    try:
        text = raw.decode("utf-8", "replace")
        return parse_profile(text).name, text
    except DataError as error:
        raise DataError(error.code, f"{file}: {error.message}") from None


def model_of(answer: Decoded, models: Models) -> Profile | None:
    """The model of the meter that a frame is of or for; None for requests to any meter and for meters without."""
    frame = answer.found.frame
    if frame is None or 0xAA in frame.address:
        return None
    return models.find(frame.device_id, [frame])


def about(answer: Decoded, profile: Profile) -> dict[str, Any]:
    """What `decode --json` adds about the model: name, title, and its sentence for each reading."""
    read = answer.meaning.readings if answer.meaning else {}
    sentences = {name: profile.fields[name].doc for name in read if name in profile.fields}
    return {"name": profile.name, "title": profile.title, "readings": sentences}


def _text(frames: Path) -> str:
    if str(frames) == "-":
        raw = sys.stdin.buffer.read(LONGEST_TEXT + 1)
    else:
        with frames.open("rb") as file:
            raw = file.read(LONGEST_TEXT + 1)
    if len(raw) > LONGEST_TEXT:
        raise LocalError("use.file", f"{frames} is longer than {LONGEST_TEXT:,} bytes; give fewer frames.")
    return raw.decode("utf-8", "replace")
