"""`meterseal keys doctor METER`: which link of the chain is wrong, from a refused message or a frame, at a glance.

It holds no key and tries none: the platform shows the meter's sessions, the security service does the looking.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from meterseal.app.doctoring import Sightings, SightingsRequest
from meterseal.app.operator import as_json
from meterseal.cli.answers import plain
from meterseal.cli.arguments import Data, Json, device_id_of
from meterseal.cli.calls import ask, ask_keys
from meterseal.cli.times import at
from meterseal.errors import LocalError
from meterseal.security.symptoms import Diagnosis, Symptom, session_named

_MARKS = {"good": "good ", "wrong": "WRONG", "unchecked": "  -  "}


def doctor(
    meter: str,
    *,
    data: Data,
    message: str = "",
    frame: str = "",
    file: Path | None = None,
    project: list[str] | None = None,
    json: Json = False,
) -> int:
    """Say which link is wrong: address, module, key version, region, project, certificate, counter, profile.

    Exit status 1 when a wrong link was found or what was shown is damaged. Without a message the last refused one of
    this meter is looked at.

    Parameters
    ----------
    meter
        Device id, 16 hex digits.
    message
        A refused link message as hex: HELLO or a record, also with its envelope or length.
    frame
        A frame in clear as hex, 68 … 16.
    file
        A file with either, as hex or as bytes.
    project
        Id of another project (32 hex digits) under whose keys the module may have been made; may be given again.
    """
    shown = _shown(message, frame, file)
    device_id = device_id_of(meter)
    sightings = ask(
        data,
        "sightings",
        SightingsRequest(device_id=device_id, session_id=session_named(shown)),
        Sightings,
    )
    symptom = Symptom(
        meter=device_id,
        message=shown,
        sessions=sightings.sessions,
        projects=tuple(_project(one) for one in project or ()),
    )
    found = ask_keys(data, lambda sdk: sdk.diagnose(symptom))
    known = {(one.at, one.code) for one in found.refusals}
    refusals = (*found.refusals, *(one for one in sightings.refusals if (one.at, one.code) not in known))
    found = msgspec.structs.replace(found, refusals=tuple(sorted(refusals, key=lambda one: -one.at)[:10]))
    bad = bool(found.wrong) or found.kind == "unreadable"
    if json:
        print(as_json(msgspec.structs.asdict(found) | {"wrong": found.wrong, "ok": not bad}))
    else:
        print("\n".join(map(plain, lines(found))))
    return 1 if bad else 0


def lines(found: Diagnosis) -> list[str]:
    """The diagnosis as a field engineer reads it."""
    said = [f"meter {found.meter.hex()}, looked at: {found.kind}"]
    for one in found.findings:
        said.append(f"  {_MARKS[one.verdict]}  {one.link:<12} {one.says}")
        if one.verdict == "wrong" and (one.expected or one.found):
            said.append(f"{'':22}expected  {one.expected or 'nothing of the kind'}")
            said.append(f"{'':22}found     {one.found or 'nothing'}")
    said.append(f"  do: {found.conclusion}")
    if found.refusals:
        said.append("refused lately:")
        said += [f"  {at(one.at)}  {one.code:<20} {one.source:<16} {one.sentence}" for one in found.refusals]
    return said


def _shown(message: str, frame: str, file: Path | None) -> bytes:
    given = [one for one in (message, frame) if one]
    if len(given) + (file is not None) > 1:
        raise LocalError("use.one", "Give one of --message, --frame and --file.")
    if file is not None:
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise LocalError("use.file", f"{file} cannot be read: {error.strerror}.") from None
        return _from_hex(raw.decode("ascii")) if re.fullmatch(rb"[\s0-9A-Fa-f]+", raw) else raw
    return _from_hex(given[0]) if given else b""


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise LocalError("use.hex", "The message is not hex: give pairs of digits 0-9, a-f.") from None


def _project(text: str) -> bytes:
    if not re.fullmatch(r"[0-9A-Fa-f]{32}", text):
        raise LocalError("use.project", f"`{text}` is no project id: give 32 hex digits.")
    return bytes.fromhex(text)
