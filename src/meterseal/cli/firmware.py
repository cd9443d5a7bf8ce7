"""`meterseal firmware officers|import|release|withdraw|adopt|list|sample`: images, and who releases them.

It decides nothing: releases are the repository's officers'. How images reach meters is `cli.campaigns`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from meterseal.app.firmware import (
    FirmwareOfficers,
    Images,
    NewImage,
    ReleaseImage,
    Said,
    SignedMetadata,
    ToSign,
)
from meterseal.cli.answers import plain, say
from meterseal.cli.arguments import Data, Json, between
from meterseal.cli.calls import ask, ask_keys
from meterseal.cli.times import at
from meterseal.edge.firmware import DEAD, MUTE, sample
from meterseal.errors import LocalError
from meterseal.mesh.rpc import Empty
from meterseal.security import officerfile
from meterseal.security.firmwareorders import PURPOSES
from meterseal.security.firmwareorders import says as says_of_metadata
from meterseal.things.firmware import Image
from meterseal.things.firmware_repository import LARGEST


def officers(*, data: Data, to: Path, json: Json = False) -> int:
    """Write, for two officers to sign, that the officers with the role command release firmware; again when they change.

    Parameters
    ----------
    to
        Where the request goes. Then: keys sign FILE by two, and firmware adopt FILE.
    """
    known = ask_keys(data, lambda sdk: sdk.officers())
    present = {one.officer: one.point for one in known if one.until is None and "command" in one.roles}
    return _to_sign(
        ask(data, "firmware_officers", FirmwareOfficers(officers=present), ToSign), to, as_json=json
    )


def add(
    image: Path,
    *,
    data: Data,
    model: str,
    version: Annotated[int, between(1, 2**32 - 1)],
    hardware: Annotated[int, between(0, 65_535)] = 1,
    lowest: Annotated[int, between(0, 2**32 - 1)] = 0,
    json: Json = False,
) -> int:
    """Import an image, which waits for its release.

    Parameters
    ----------
    image
        The file, at most 512 KiB.
    model
        The meters' model, as they were enrolled with it, such as water-generic.
    version
        Its version; a meter takes higher ones only.
    hardware
        Revision of the hardware that it is for.
    lowest
        The lowest version that a meter must run to take it.
    """
    if image.stat().st_size > LARGEST:
        raise LocalError("firmware.image", f"{image} is larger than {LARGEST} bytes; nothing was imported.")
    asked = NewImage(image=image.read_bytes(), model=model, hardware=hardware, version=version, lowest=lowest)
    found = ask(data, "firmware_import", asked, Image)
    lines = [_image(found), f"Release it: meterseal firmware release {found.name} --reason … --to FILE"]
    return say(found, as_json=json, lines=lines)


def release(
    name: str,
    *,
    data: Data,
    to: Path,
    reason: str,
    days: Annotated[int, between(1, 180)] = 30,
    json: Json = False,
) -> int:
    """Write, for two officers to sign, that an image is released beside those that are.

    Parameters
    ----------
    name
        The image, as firmware list names it.
    to
        Where the list goes. Then: keys sign FILE by two, and firmware adopt FILE.
    reason
        What the list and the audit trail keep.
    days
        How long meters take it.
    """
    asked = ReleaseImage(name=name, days=days, reason=reason)
    return _to_sign(ask(data, "firmware_release", asked, ToSign), to, as_json=json)


def withdraw(name: str, *, data: Data, to: Path, json: Json = False) -> int:
    """Write, for two officers to sign, that an image is released no more.

    Parameters
    ----------
    name
        The image.
    to
        Where the list goes.
    """
    return _to_sign(ask(data, "firmware_release", ReleaseImage(name=name), ToSign), to, as_json=json)


def adopt(file: Path, *, data: Data, json: Json = False) -> int:
    """Take up what two officers signed: who may release, or the list of releases.

    Parameters
    ----------
    file
        The request with its signatures.
    """
    asked = officerfile.read(file, officerfile.RequestFile)
    if asked.purpose not in PURPOSES:
        raise LocalError("use.purpose", f"{file} is nothing about firmware; it is for `{asked.purpose}`.")
    metadata = SignedMetadata(purpose=asked.purpose, request=asked.request, signatures=asked.signatures)
    done = ask(data, "firmware_adopt", metadata, Said)
    return say(done, as_json=json, lines=[done.sentence])


def images(*, data: Data, json: Json = False) -> int:
    """List every image, and until when those that are released may be taken."""
    found = ask(data, "firmware_list", Empty(), Images)
    lines = [_image(one) for one in found.images] or ["No image was imported yet."]
    return say(found, as_json=json, lines=lines)


def sample_image(
    file: Path,
    *,
    version: Annotated[int, between(2, 2**32 - 1)],
    size: Annotated[int, between(16, LARGEST)] = 16_384,
    flaw: str = "none",
    json: Json = False,
) -> int:
    """Write an image for simulated meters, to rehearse with: a good one, or one that fails in the field.

    Parameters
    ----------
    file
        Where it goes.
    version
        What it says that it is.
    size
        Bytes.
    flaw
        none; start: it does not start; report: it starts and says nothing to the platform.
    """
    flaws = {"none": 0, "start": DEAD, "report": MUTE}
    if flaw not in flaws:
        raise LocalError("use.flaw", f"`{flaw}` is no flaw; there are: {', '.join(flaws)}.")
    file.write_bytes(sample(version, size=size, flaw=flaws[flaw]))
    return say({"file": str(file), "version": version}, as_json=json, lines=[f"{file}: version {version}"])


def _to_sign(made: ToSign, to: Path, *, as_json: bool) -> int:
    shown = says_of_metadata(made.purpose, made.request)
    file = officerfile.RequestFile(purpose=made.purpose, says=shown, request=made.request)
    officerfile.write(to, file, mode=0o644)
    lines = [f"  {name}: {plain(str(value))}" for name, value in shown.items()]
    lines.append(f"{to}: two officers sign it: meterseal keys sign {to}; then: meterseal firmware adopt {to}")
    return say({"request": str(to), "says": shown}, as_json=as_json, lines=lines)


def _image(one: Image) -> str:
    state = "waits for its release"
    if one.released_at is not None:
        state = f"released {at(one.released_at)}, taken until {at(one.until)}, manifest {one.digest.hex()}"
    return f"{one.name}: {one.size} bytes, after version {one.lowest} or later; {state}"
