"""`meterseal firmware plan|start|show|cancel|resume|meters`: campaigns in waves, and what meters run.

It decides nothing: meters and waves are the platform's, the switch the security service's and the module's. Images and
releases are `cli.firmware`'s.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

from meterseal.app.bulking import Filter, Plan
from meterseal.app.clock import now_ms
from meterseal.app.firmware import CampaignList, CampaignQuery, PlanFirmware, RunningList, StartFirmware
from meterseal.cli.answers import plain, say
from meterseal.cli.arguments import Data, Json, between, device_id_of
from meterseal.cli.calls import ask
from meterseal.cli.many import Order, listed, meters_of, reached, signed_bulk, told
from meterseal.cli.orders import HOUR
from meterseal.cli.times import at
from meterseal.errors import LocalError
from meterseal.mesh.rpc import Empty
from meterseal.things.firmware_campaigns import ACT, STOP, WAVES, Campaign


def meters(*, data: Data, json: Json = False) -> int:
    """What every meter said that it runs; those that cannot be renewed say nothing."""
    found = ask(data, "firmware_meters", Empty(), RunningList)
    lines = [
        f"{one.device_id.hex()} {plain(one.model)}, hardware {one.hardware}, version {one.version}, "
        f"said {at(one.reported_at)}"
        for one in found.meters
    ]
    return say(found, as_json=json, lines=lines or ["No meter has said yet what it runs."])


def plan(
    name: str,
    *,
    data: Data,
    zone: str = "",
    concentrator: str = "",
    file: Path | None = None,
    reason: str = "",
    hours: Annotated[int, between(1, 168)] = 168,
    to: Path | None = None,
    json: Json = False,
) -> int:
    """Show which meters would run a released image, which not and why; with --to, write the order for two officers.

    Without --to nothing is written or sent. Then: keys sign FILE by two, and firmware start FILE.

    Parameters
    ----------
    name
        The released image. Every meter of its model, unless less is said.
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
    lines = [f"{name}: {reached(found)} meters, two officers, at most {found.most} an order"]
    lines += meters_of(found, say_what=False)
    order = Order(data=data, act=ACT, reason=reason, until=until, start="firmware start")
    return told(found, order, to, lines, as_json=json)


def start(
    file: Path,
    *,
    data: Data,
    waves: str = ",".join(map(str, WAVES)),
    stop: Annotated[int, between(0, 100)] = STOP,
    json: Json = False,
) -> int:
    """Begin a campaign by a signed order: images go out at once, wave by wave; the same order again is the same campaign.

    Parameters
    ----------
    file
        The order with its two signatures.
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
    begin = StartFirmware(signed=signed, waves=tuple(map(int, shares)), stop_percent=stop)
    return _told(ask(data, "firmware_start", begin, Campaign), as_json=json)


def show(
    campaign: Annotated[int, between(0, 2**53)] = 0,
    *,
    data: Data,
    limit: Annotated[int, between(1, 500)] = 50,
    json: Json = False,
) -> int:
    """How far campaigns are, newest first; with a number, every meter of that one, and why meters failed.

    Parameters
    ----------
    campaign
        Number of one campaign.
    limit
        How many at most.
    """
    asked = CampaignQuery(campaign_id=campaign, limit=limit)
    found = ask(data, "firmware_show", asked, CampaignList)
    if campaign:
        return _told(found.campaigns[0], as_json=json)
    lines = [_line(one) for one in found.campaigns] or ["No campaign was started yet."]
    return say(found, as_json=json, lines=lines)


def cancel(campaign: Annotated[int, between(1, 2**53)], *, data: Data, json: Json = False) -> int:
    """Begin nothing more of a campaign. A meter that was told to switch may do so.

    Parameters
    ----------
    campaign
        Number of the campaign.
    """
    return _told(ask(data, "firmware_cancel", CampaignQuery(campaign_id=campaign), Campaign), as_json=json)


def resume(campaign: Annotated[int, between(1, 2**53)], *, data: Data, json: Json = False) -> int:
    """Go on with a campaign that stopped; the meters that failed so far count no more.

    Parameters
    ----------
    campaign
        Number of the campaign.
    """
    return _told(ask(data, "firmware_resume", CampaignQuery(campaign_id=campaign), Campaign), as_json=json)


def _line(one: Campaign) -> str:
    counted = ", ".join(f"{number} {state}" for state, number in sorted(one.meters.items()))
    return (
        f"{one.id:>6} {at(one.created_at)} {one.image} {one.state}, wave {one.wave} of {one.waves}: {counted}"
    )


def _told(one: Campaign, *, as_json: bool) -> int:
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
    return say(one, as_json=as_json, lines=lines)
