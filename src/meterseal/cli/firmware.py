"""`meterseal firmware …`: who may release, images, releases that two officers sign, campaigns in waves, what meters run.

It decides nothing: releases are the repository's officers', meters and waves the platform's, the switch the security
service's and the module's.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any

from meterseal.app.bulking import Filter, Plan
from meterseal.app.firmware import (
    CampaignList,
    CampaignQuery,
    FirmwareOfficers,
    Images,
    NewImage,
    PlanFirmware,
    ReleaseImage,
    RunningList,
    Said,
    SignedMetadata,
    StartFirmware,
    ToSign,
)
from meterseal.app.system import now_ms
from meterseal.cli.bulk import listed, meters_of, order_file, signed_bulk
from meterseal.cli.keys import ask as ask_keys
from meterseal.cli.keys import say
from meterseal.cli.operate import Flag, ask, at, between, device_id_of, plain
from meterseal.edge.firmware import DEAD, MUTE, sample
from meterseal.errors import LocalError
from meterseal.mesh.rpc import Empty
from meterseal.security import officerfile
from meterseal.security.firmwareorders import PURPOSES
from meterseal.security.firmwareorders import says as says_of_metadata
from meterseal.things.firmware import Image
from meterseal.things.firmware_campaigns import ACT, STOP, WAVES, Campaign
from meterseal.things.firmware_repository import LARGEST

HOUR = 3_600_000


def officers(*, data: Path, to: Path, json: Annotated[bool, Flag] = False) -> int:
    """Write, for two officers to sign, that the officers with the role command release firmware; again when they change.

    Parameters
    ----------
    data
        Data directory of the running system.
    to
        Where the request goes. Then: keys sign FILE by two, and firmware adopt FILE.
    """
    known = ask_keys(data, lambda sdk: sdk.officers())
    present = {one.officer: one.point for one in known if one.until is None and "command" in one.roles}
    return _to_sign(
        ask(data, "firmware_officers", FirmwareOfficers(officers=present), ToSign), to, as_json_text=json
    )


def add(
    image: Path,
    *,
    data: Path,
    model: str,
    version: Annotated[int, between(1, 2**32 - 1)],
    hardware: Annotated[int, between(0, 65_535)] = 1,
    lowest: Annotated[int, between(0, 2**32 - 1)] = 0,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Import an image, which waits for its release.

    Parameters
    ----------
    image
        The file, at most 512 KiB.
    data
        Data directory of the running system.
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
    return say(found, as_json_text=json, lines=lines)


def release(
    name: str,
    *,
    data: Path,
    to: Path,
    reason: str,
    days: Annotated[int, between(1, 180)] = 30,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Write, for two officers to sign, that an image is released beside those that are.

    Parameters
    ----------
    name
        The image, as firmware list names it.
    data
        Data directory of the running system.
    to
        Where the list goes. Then: keys sign FILE by two, and firmware adopt FILE.
    reason
        What the list and the audit trail keep.
    days
        How long meters take it.
    """
    asked = ReleaseImage(name=name, days=days, reason=reason)
    return _to_sign(ask(data, "firmware_release", asked, ToSign), to, as_json_text=json)


def withdraw(name: str, *, data: Path, to: Path, json: Annotated[bool, Flag] = False) -> int:
    """Write, for two officers to sign, that an image is released no more.

    Parameters
    ----------
    name
        The image.
    data
        Data directory of the running system.
    to
        Where the list goes.
    """
    return _to_sign(ask(data, "firmware_release", ReleaseImage(name=name), ToSign), to, as_json_text=json)


def adopt(file: Path, *, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """Take up what two officers signed: who may release, or the list of releases.

    Parameters
    ----------
    file
        The request with its signatures.
    data
        Data directory of the running system.
    """
    asked = officerfile.read(file, officerfile.RequestFile)
    if asked.purpose not in PURPOSES:
        raise LocalError("use.purpose", f"{file} is nothing about firmware; it is for `{asked.purpose}`.")
    metadata = SignedMetadata(purpose=asked.purpose, request=asked.request, signatures=asked.signatures)
    done = ask(data, "firmware_adopt", metadata, Said)
    return say(done, as_json_text=json, lines=[done.sentence])


def images(*, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """List every image, and until when those that are released may be taken.

    Parameters
    ----------
    data
        Data directory of the running system.
    """
    found = ask(data, "firmware_list", Empty(), Images)
    lines = [_image(one) for one in found.images] or ["No image was imported yet."]
    return say(found, as_json_text=json, lines=lines)


def meters(*, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """What every meter said that it runs; those that cannot be renewed say nothing.

    Parameters
    ----------
    data
        Data directory of the running system.
    """
    found = ask(data, "firmware_meters", Empty(), RunningList)
    lines = [
        f"{one.device_id.hex()} {plain(one.model)}, hardware {one.hardware}, version {one.version}, "
        f"said {at(one.reported_at)}"
        for one in found.meters
    ]
    return say(found, as_json_text=json, lines=lines or ["No meter has said yet what it runs."])


def plan(
    name: str,
    *,
    data: Path,
    zone: str = "",
    concentrator: str = "",
    file: Path | None = None,
    reason: str = "",
    hours: Annotated[int, between(1, 168)] = 168,
    to: Path | None = None,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Show which meters would run a released image, which not and why; with --to, write the order for two officers.

    Without --to nothing is written or sent. Then: keys sign FILE by two, and firmware start FILE.

    Parameters
    ----------
    name
        The released image. Every meter of its model, unless less is said.
    data
        Data directory of the running system.
    zone
        Only meters of this recorded zone.
    concentrator
        Only meters behind this one, 16 hex digits.
    file
        Only the meters of this list, one device id a line.
    reason
        What the audit trail keeps; needed with --to.
    hours
        How long the order holds, at most 168.
    to
        Where the order goes.
    """
    until = now_ms() + hours * HOUR
    which = Filter(
        zone=zone,
        concentrator_id=device_id_of(concentrator) if concentrator else b"",
        device_ids=listed(file) if file is not None else (),
    )
    asked = PlanFirmware(name=name, which=which, ser=secrets.randbelow(255) + 1, until=until)
    found = ask(data, "firmware_plan", asked, Plan, timeout=600.0)
    number = sum(len(part.device_ids) for part in found.parts)
    lines = [f"{name}: {number} meters, two officers, at most {found.most} an order"]
    lines += meters_of(found, say_what=False)
    said: dict[str, Any] = {"plan": found, "devices": number}
    if to is not None:
        officerfile.write(to, order_file(data, ACT, found, number, reason, until), mode=0o644)
        said["request"] = str(to)
        lines.append(f"{to}: until {at(until)}. Sign it: meterseal keys sign {to}; then: firmware start {to}")
    return say(said, as_json_text=json, lines=lines)


def start(
    file: Path,
    *,
    data: Path,
    waves: str = ",".join(map(str, WAVES)),
    stop: Annotated[int, between(0, 100)] = STOP,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Begin a campaign by a signed order: images go out at once, wave by wave; the same order again is the same campaign.

    Parameters
    ----------
    file
        The order with its two signatures.
    data
        Data directory of the running system.
    waves
        How many of a hundred meters are reached by the end of each wave; the last is 100.
    stop
        Stop when more than so many of a hundred meters failed.
    """
    signed = signed_bulk(file)
    shares = waves.split(",")
    if not all(one.isascii() and one.isdecimal() and len(one) <= 3 for one in shares):
        raise LocalError(
            "use.waves", f"`{waves}` are no waves: give rising shares that end with 100: 5,25,100."
        )
    begin = StartFirmware(
        signed=signed,
        waves=tuple(map(int, shares)),
        stop_percent=stop,
    )
    return _told(ask(data, "firmware_start", begin, Campaign), as_json_text=json)


def show(
    campaign: Annotated[int, between(0, 2**53)] = 0,
    *,
    data: Path,
    limit: Annotated[int, between(1, 500)] = 50,
    json: Annotated[bool, Flag] = False,
) -> int:
    """How far campaigns are, newest first; with a number, every meter of that one, and why meters failed.

    Parameters
    ----------
    campaign
        Number of one campaign.
    data
        Data directory of the running system.
    limit
        How many at most.
    """
    asked = CampaignQuery(campaign_id=campaign, limit=limit)
    found = ask(data, "firmware_show", asked, CampaignList)
    if campaign:
        return _told(found.campaigns[0], as_json_text=json)
    lines = [_line(one) for one in found.campaigns] or ["No campaign was started yet."]
    return say(found, as_json_text=json, lines=lines)


def cancel(
    campaign: Annotated[int, between(1, 2**53)], *, data: Path, json: Annotated[bool, Flag] = False
) -> int:
    """Begin nothing more of a campaign. A meter that was told to switch may do so.

    Parameters
    ----------
    campaign
        Number of the campaign.
    data
        Data directory of the running system.
    """
    return _told(
        ask(data, "firmware_cancel", CampaignQuery(campaign_id=campaign), Campaign), as_json_text=json
    )


def resume(
    campaign: Annotated[int, between(1, 2**53)], *, data: Path, json: Annotated[bool, Flag] = False
) -> int:
    """Go on with a campaign that stopped; the meters that failed so far count no more.

    Parameters
    ----------
    campaign
        Number of the campaign.
    data
        Data directory of the running system.
    """
    return _told(
        ask(data, "firmware_resume", CampaignQuery(campaign_id=campaign), Campaign), as_json_text=json
    )


def sample_image(
    file: Path,
    *,
    version: Annotated[int, between(2, 2**32 - 1)],
    size: Annotated[int, between(16, LARGEST)] = 16_384,
    flaw: str = "none",
    json: Annotated[bool, Flag] = False,
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
    return say(
        {"file": str(file), "version": version}, as_json_text=json, lines=[f"{file}: version {version}"]
    )


def _to_sign(made: ToSign, to: Path, *, as_json_text: bool) -> int:
    shown = says_of_metadata(made.purpose, made.request)
    file = officerfile.RequestFile(purpose=made.purpose, says=shown, request=made.request)
    officerfile.write(to, file, mode=0o644)
    lines = [f"  {name}: {plain(str(value))}" for name, value in shown.items()]
    lines.append(f"{to}: two officers sign it: meterseal keys sign {to}; then: meterseal firmware adopt {to}")
    return say({"request": str(to), "says": shown}, as_json_text=as_json_text, lines=lines)


def _image(one: Image) -> str:
    state = "waits for its release"
    if one.released_at is not None:
        state = f"released {at(one.released_at)}, taken until {at(one.until)}, manifest {one.digest.hex()}"
    return f"{one.name}: {one.size} bytes, after version {one.lowest} or later; {state}"


def _line(one: Campaign) -> str:
    counted = ", ".join(f"{number} {state}" for state, number in sorted(one.meters.items()))
    return (
        f"{one.id:>6} {at(one.created_at)} {one.image} {one.state}, wave {one.wave} of {one.waves}: {counted}"
    )


def _told(one: Campaign, *, as_json_text: bool) -> int:
    order = one.order
    lines = [
        _line(one),
        f"  ordered by {', '.join(order.officers)} because: {plain(order.reason)}; good until {at(order.not_after)}",
        f"  words to switch (device words): {', '.join(f'{n} {state}' for state, n in sorted(order.outcomes.items()))}",
    ]
    if one.state == "stopped":
        lines.append(
            f"  stopped: more than {one.stop_percent} of a hundred meters failed. Look why, then: meterseal firmware "
            f"resume {one.id}, or cancel {one.id}"
        )
    codes = {failure.device_id.hex(): failure.code for failure in one.failed}
    lines += [
        f"    {device_id} wave {wave}: {state}{f' ({codes[device_id]})' if device_id in codes else ''}"
        for device_id, (wave, state) in one.items.items()
    ]
    return say(one, as_json_text=as_json_text, lines=lines)
