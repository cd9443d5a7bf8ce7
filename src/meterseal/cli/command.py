"""`meterseal device command …`: read a meter now, or have officers command it; an order that two sign at two places.

It builds the frame and signs the order with the officers' key files, which go no further; the platform queues what the
security service authorises, and the module decides. What became of it is `cli.words`'.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

from meterseal.app.clock import now_ms
from meterseal.app.commanding import CommandMeter, ReadMeter, Way, WordQuery
from meterseal.app.listing import Listing
from meterseal.app.operator import Page, Text
from meterseal.cli.answers import say, show
from meterseal.cli.arguments import Data, Json, between, device_id_of
from meterseal.cli.calls import ask, ask_keys, epoch
from meterseal.cli.orders import ordered, says
from meterseal.cli.passphrases import secret
from meterseal.cli.times import at
from meterseal.cli.words import shown
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError
from meterseal.link.acts import COMMANDS, act_of
from meterseal.model import medium_of
from meterseal.security import officerfile
from meterseal.security.orders import (
    LONGEST_WAIT,
    CommandOrder,
    OfficerSignature,
    decoded,
    encoded,
    fresh_request_id,
)
from meterseal.security.orders import sign as signed_by
from meterseal.things.verbs import ROSTER_ACTS, frame_of, given, split
from meterseal.things.words import Outcome
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.profile import profile_of, profiles

MINUTE = 60_000
WITHIN = 60
Key = tuple[str, Sm2PrivateKey]
"""An officer and the key."""


def command(
    meter: str,
    *act: str,
    data: Data,
    officer: list[Path] | None = None,
    passphrase_file: list[Path] | None = None,
    to: Path | None = None,
    frame: str = "",
    zone: str = "",
    reason: str = "by the operator",
    within: Annotated[int, between(0, 7 * 24 * 60)] = 0,
    concentrator: str = "",
    wait: Annotated[int, between(0, 3600)] = 0,
    json: Json = False,
) -> int:
    """Say something to a meter in its secure session: a question, or a guarded command that officers sign.

    A meter without a module is told by its concentrator, in that one's session. `roster add`, `roster seal` and `roster
    remove` say to a concentrator whether it reads the meter at all.

    Valves, relays, load control and addresses take two officers: both here, or with --to each where they are. Nobody
    opens a gas valve from afar: `valve permit` lets a person at the meter open it within the hour. See: device verbs

    Parameters
    ----------
    meter
        Device id, 16 hex digits.
    act
        What to say, such as `read 901F`, `time`, `valve close`, `purchase serial=4 amount=100.00`, or `write` with --frame.
    officer
        Key file of an officer with the role command; twice for two. Not needed to read.
    passphrase_file
        Passphrase of that key, mode 0600; one for all keys or one each; typed when absent.
    to
        Write the order there instead; officers sign it (keys sign FILE), then it is sent (device send FILE).
    frame
        The complete frame 68 … 16 in hex, in place of the one that is made.
    zone
        The zone that its limit counts by, when another one than recorded is to be refused; filled in by default.
    reason
        What the audit trail keeps.
    within
        Minutes after which the command takes no effect any more: an hour unless said, at most a week; setting the clock
        five, at most ten.
    concentrator
        With `roster remove`, the concentrator that still reads the meter, where it is behind another one by now.
    wait
        Seconds to wait for the outcome, at most an hour.
    """
    device_id = device_id_of(meter)
    now = now_ms()
    name, rest = split(act)
    row = COMMANDS[name]
    way = ask(data, "command_way", WordQuery(device_id=device_id), Way)
    by = way.concentrator_id if way.plain or name in ROSTER_ACTS else device_id
    if concentrator:
        if name != "roster-remove":
            raise LocalError(
                "use.concentrator", "Only `roster remove` is told to a concentrator that you name."
            )
        by = device_id_of(concentrator)
    until = now + (within * MINUTE or min(WITHIN * MINUTE, row.lasts // 2 or WITHIN * MINUTE))
    if frame:
        made = _given(frame)
    elif name == "write":
        raise LocalError("use.frame", "Give the frame to write with --frame, in hex.")
    else:
        ser = secrets.randbelow(255) + 1  # 0 is a report's
        made = frame_of(
            device_id,
            name,
            given(name, rest),
            profiles().get(way.model) or profile_of(device_id),
            ser=ser,
            until=until,
            now=now,
        )
    if name == "read":
        request = ReadMeter(device_id=by, frame=made.encode(), not_after=until)
        return shown(data, ask(data, "read_meter", request, Outcome), wait, as_json=json)
    if officer is None and to is None:
        raise LocalError(
            "use.officer",
            "A command needs an officer's signature: name the key file with --officer, or write the order with --to.",
        )
    order = _order(data, by, made, until, reason, zone)
    signatures = signed("command", encoded(order), unlocked(officer or [], passphrase_file or []))
    if to is not None:
        return _written(to, order, signatures, as_json=json)
    asked = CommandMeter(order=encoded(order), act=name, signatures=signatures)
    return shown(data, ask(data, "command_meter", asked, Outcome), wait, as_json=json)


def send(
    file: Path,
    *,
    data: Data,
    wait: Annotated[int, between(0, 3600)] = 0,
    json: Json = False,
) -> int:
    """Send the command of an order that officers signed; the same order again is the same command.

    Parameters
    ----------
    file
        The order with its signatures, as `device command --to FILE` and `keys sign FILE` make it.
    wait
        Seconds to wait for the outcome, at most an hour.
    """
    asked = officerfile.read(file, officerfile.RequestFile)
    if asked.purpose != "command":
        raise LocalError("use.purpose", f"{file} is no order for one meter; it is for `{asked.purpose}`.")
    order = decoded(asked.request, CommandOrder)
    frame, _ = parse_frame(order.frame)
    act = act_of(frame, medium_of(frame.device_id) or "water")
    said = CommandMeter(order=asked.request, act=act, signatures=asked.order.signatures)
    return shown(data, ask(data, "command_meter", said, Outcome), wait, as_json=json)


def verbs(*, json: Json = False) -> int:
    """List everything that can be said to a meter: its protocols, officers, fields and bounds."""
    rows = [
        {
            "act": row.act,
            "english": row.english,
            "chinese": row.chinese,
            "protocols": list(row.forms),
            "officers": row.officers,
            "bulk": row.bulk,
            "fields": [one.name for one in row.given],
        }
        for row in COMMANDS.values()
    ]
    lines = [
        f"{row.act.replace('-', ' '):<20} {'+'.join(row.forms) or 'any':<14} "
        f"{('question', 'one officer', 'two officers')[row.officers]:<13} {row.english} {row.chinese}"
        f"{''.join(f' {one.name}=' for one in row.given)}"
        for row in COMMANDS.values()
    ]
    return say(rows, as_json=json, lines=lines)


def listed(data: Path, change: Listing, reason: str, keys: list[Key]) -> Outcome:
    """Have a concentrator told of a change of its list, by these officers; it waits for the concentrator for a week."""
    now = now_ms()
    until = now + LONGEST_WAIT - MINUTE
    model = profile_of(change.device_id)
    ser = secrets.randbelow(255) + 1
    made = frame_of(change.device_id, change.act, change.given, model, ser=ser, until=until, now=now)
    order = encoded(_order(data, change.concentrator_id, made, until, reason))
    asked = CommandMeter(order=order, act=change.act, signatures=signed("command", order, keys))
    return ask(data, "command_meter", asked, Outcome)


def _order(data: Path, by: bytes, made: Frame, until: int, reason: str, zone: str = "") -> CommandOrder:
    facts = ask_keys(data, lambda sdk: sdk.device_facts(by))
    return CommandOrder(
        request_id=fresh_request_id(epoch(data)),
        device_id=by,
        zone=zone or facts.zone,
        frame=made.encode(),
        not_after=until,
        reason=reason,
        project_id=facts.project_id,
    )


def unlocked(officers: list[Path], passphrase_files: list[Path]) -> list[Key]:
    """The keys of these officers' key files."""
    if len(passphrase_files) > 1 and len(passphrase_files) != len(officers):
        raise LocalError("use.passphrase", "Give one --passphrase-file for all officers, or one for each.")
    made = []
    for place, path in enumerate(officers):
        own = officerfile.read(path, officerfile.KeyFile)
        file = passphrase_files[place % len(passphrase_files)] if passphrase_files else None
        key = officerfile.unlock(own, secret(file, f"Passphrase of {own.officer}: "))
        made.append((own.officer, key))
    return made


def signed(purpose: str, order: bytes, keys: list[Key]) -> tuple[OfficerSignature, ...]:
    """The signatures of officers over an order."""
    return tuple(signed_by(name, key, purpose, order) for name, key in keys)


def _written(
    to: Path, order: CommandOrder, signatures: tuple[OfficerSignature, ...], *, as_json: bool
) -> int:
    file = officerfile.RequestFile(
        purpose="command", says=says(order), request=encoded(order), signatures=signatures
    )
    officerfile.write(to, file, mode=0o644)
    lines = [
        f"{to}: until {at(order.not_after)}. Sign it: meterseal keys sign {to}; then: meterseal device send {to}"
    ]
    return say({"request": str(to), "says": file.says}, as_json=as_json, lines=lines)


def zone(
    name: str,
    *meters: str,
    data: Data,
    to: Path,
    reason: str,
    hours: int = 24,
    json: Json = False,
) -> int:
    """Make the request by which two officers put meters into a zone, whose commands a minute are limited together.

    Parameters
    ----------
    name
        A pseudonym of the zone, no address.
    meters
        Device ids, 16 hex digits each; up to 5000.
    to
        Where the request goes.
    reason
        What the audit trail keeps.
    hours
        How long the request holds, at most 168.
    """
    values = {"zone": name, "device_ids": tuple(map(device_id_of, meters)), "reason": reason}
    return ordered(data, "zone", values, to, hours, as_json=json)


def rollout(*, data: Data, json: Json = False) -> int:
    """Queue new keys for modules that stand on an old version, and certificates for those whose own ends soon."""
    answer = ask(data, "rollout", Page(), Text, timeout=3600.0)
    show(
        answer.json,
        as_json=json,
        lines=lambda said: [
            f"keys: {said['keys_queued']} queued, {said['keys_waiting']} on their way, {said['keys_behind']} behind in all",
            f"certificates: {said['certificates_queued']} queued, {said['certificates_waiting']} on their way",
            f"refused by the security service: {said['refused']}",
        ],
    )
    return 0


def _given(text: str) -> Frame:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise LocalError("use.frame", "A frame is hex: 68 … 16.") from None
    made, end = parse_frame(raw)
    if end != len(raw):
        raise LocalError("use.frame", f"There are {len(raw) - end} bytes behind the frame; give exactly one.")
    return made
