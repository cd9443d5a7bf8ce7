"""`meterseal device command …`: read a meter now, or have an officer command it; and what became of such words.

It builds the frame and signs the order with the officer's key file, which goes no further; the platform queues what the
security service authorises, and the module decides.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Annotated, Any

from meterseal.app.commanding import CommandMeter, Outcomes, ReadMeter, WordQuery
from meterseal.app.operator import Page, Text, as_json
from meterseal.app.system import now_ms
from meterseal.cli.keys import ask as ask_keys
from meterseal.cli.keys import epoch, secret
from meterseal.cli.keys_orders import ordered
from meterseal.cli.operate import Flag, ask, at, between, device_id_of, show
from meterseal.errors import LocalError
from meterseal.security import officerfile
from meterseal.security.orders import CommandOrder, encoded, fresh_request_id
from meterseal.security.orders import sign as signed_by
from meterseal.things.commands import ACTS, Act
from meterseal.things.words import Outcome
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame, address_of, parse_frame
from meterseal.wire.meaning import interpret

MINUTE = 60_000
ENDED = ("done", "refused", "expired", "unknown", "withdrawn")
RELAY: dict[str, int] = {"relay-trip": 0x1A, "relay-permit": 0x1B, "relay-close": 0x1C}
SENTENCES = {
    "waiting": "It waits for the meter to be heard.",
    "sent": "It was sent; the meter has not answered yet.",
    "done": "The meter did it and answered.",
    "refused": "The meter answered that it cannot do that.",
    "expired": "Its time ended before it could be sent; it takes no effect any more.",
    "unknown": "It was sent and its time ended without an answer; read the meter to see whether it took effect.",
    "withdrawn": "It was taken back, or its module was replaced; it takes no effect.",
}


def command(
    meter: str,
    *act: str,
    data: Path,
    officer: Path | None = None,
    passphrase_file: Path | None = None,
    frame: str = "",
    zone: str = "",
    reason: str = "by the operator",
    within: Annotated[int, between(1, 7 * 24 * 60)] = 60,
    wait: Annotated[int, between(0, 3600)] = 0,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Say something to a meter in its secure session: a question, or a guarded command that an officer signs.

    Nobody opens a gas valve from afar: `valve permit` lets a person at the meter open it within the hour.

    Parameters
    ----------
    meter
        Device id, 16 hex digits.
    act
        `read` with an identifier (901F by default), `valve open`, `valve close`, `valve permit`, `relay trip`,
        `relay permit`, `relay close`, or `write` with --frame.
    data
        Data directory of the running system.
    officer
        Key file of an officer with the role command; not needed to read.
    passphrase_file
        Passphrase of that key, mode 0600; typed when absent.
    frame
        The complete frame 68 … 16 in hex, in place of the one that is made.
    zone
        The zone that its limit counts by, when another one than recorded is to be refused; filled in by default.
    reason
        What the audit trail keeps.
    within
        Minutes after which the command takes no effect any more, at most a week.
    wait
        Seconds to wait for the outcome, at most an hour.
    """
    device_id = device_id_of(meter)
    now = now_ms()
    until = now + within * MINUTE
    name = "read" if act[:1] == ("read",) else "-".join(act)
    if name not in ACTS:
        said = ", ".join(ACTS).replace("-", " ")
        raise LocalError("use.act", f"`{' '.join(act)}` is nothing to say to a meter; there are: {said}.")
    made = _given(frame) if frame else _made(device_id, name, "".join(act[1:2]), until)
    if name == "read":
        request = ReadMeter(device_id=device_id, frame=made.encode(), not_after=until)
        return _shown(data, ask(data, "read_meter", request, Outcome), wait, as_json_text=json)
    if officer is None:
        raise LocalError(
            "use.officer", "A command needs an officer's signature: name the key file with --officer."
        )
    facts = ask_keys(data, lambda sdk: sdk.device_facts(device_id))
    order = encoded(
        CommandOrder(
            request_id=fresh_request_id(epoch(data)),
            device_id=device_id,
            zone=zone or facts.zone,
            frame=made.encode(),
            not_after=until,
            reason=reason,
            project_id=facts.project_id,
        )
    )
    own = officerfile.read(officer, officerfile.KeyFile)
    key = officerfile.unlock(own, secret(passphrase_file, f"Passphrase of {own.officer}: "))
    asked = CommandMeter(order=order, act=name, signatures=(signed_by(own.officer, key, "command", order),))
    return _shown(data, ask(data, "command_meter", asked, Outcome), wait, as_json_text=json)


def words(
    word: Annotated[int, between(0, 2**53)] = 0,
    *,
    data: Path,
    meter: str = "",
    limit: Annotated[int, between(1, 1000)] = 50,
    withdraw: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
) -> int:
    """What was said to meters, newest first, and what came of it; with a number, that word and its answer.

    Parameters
    ----------
    word
        Number of one word.
    data
        Data directory of the running system.
    meter
        Only this device's.
    limit
        How many at most.
    withdraw
        Take that word back. One that was sent already stays as it is: its meter may act on it.
    """
    if withdraw:
        if not word:
            raise LocalError(
                "use.word", "Name the word to take back by its number; see: meterseal device words"
            )
        taken = ask(data, "withdraw_word", WordQuery(word_id=word), Outcome)
        _print(taken, as_json_text=json)
        return 0 if taken.state == "withdrawn" else 1
    query = WordQuery(word_id=word, device_id=device_id_of(meter) if meter else b"", limit=limit)
    found = ask(data, "words", query, Outcomes)
    if word:
        return _print(found.words[0], as_json_text=json)
    show(
        as_json(found),
        as_json=json,
        lines=lambda _: [_line(one) for one in found.words] or ["Nothing was said to any meter yet."],
    )
    return 0


def zone(
    name: str,
    *meters: str,
    data: Path,
    to: Path,
    reason: str,
    hours: int = 24,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Make the request by which two officers put meters into a zone, whose commands a minute are limited together.

    Parameters
    ----------
    name
        A pseudonym of the zone, no address.
    meters
        Device ids, 16 hex digits each; up to 5000.
    data
        Data directory of the running system.
    to
        Where the request goes.
    reason
        What the audit trail keeps.
    hours
        How long the request holds, at most 168.
    """
    values = {"zone": name, "device_ids": tuple(map(device_id_of, meters)), "reason": reason}
    return ordered(data, "zone", values, to, hours, as_json_text=json)


def rollout(*, data: Path, json: Annotated[bool, Flag] = False) -> int:
    """Queue new keys for modules that stand on an old version, and certificates for those whose own ends soon.

    Parameters
    ----------
    data
        Data directory of the running system.
    """
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


def _made(device_id: bytes, act: Act, identifier: str, until: int) -> Frame:
    electric = address_of(device_id)[0] == "dlt645"
    ser = secrets.randbelow(255) + 1  # 0 is a report's
    if act == "read":
        try:
            di = int(identifier, 16) if identifier else 0x00010000 if electric else ids.METERING
        except ValueError:
            raise LocalError(
                "use.identifier", f"`{identifier}` is no identifier: give hex, such as 901F."
            ) from None
        return encode.read_request(device_id, di, ser)
    if act in ("valve-open", "valve-permit", "valve-close"):
        return encode.valve_request(device_id, opened=act != "valve-close", ser=ser)
    if act in RELAY:
        return encode.relay_request(device_id, RELAY[act], until)
    raise LocalError("use.frame", "Give the frame to write with --frame, in hex.")


def _shown(data: Path, word: Outcome, wait: int, *, as_json_text: bool) -> int:
    until = time.monotonic() + wait
    while word.state not in ENDED and time.monotonic() < until:
        time.sleep(0.25)
        word = ask(data, "words", WordQuery(word_id=word.id), Outcomes).words[0]
    return _print(word, as_json_text=as_json_text)


def _print(word: Outcome, *, as_json_text: bool) -> int:
    said: dict[str, Any] = {"sentence": SENTENCES[word.state]}
    if word.answer:
        meaning = interpret(parse_frame(word.answer, 0, address_of(word.device_id)[0])[0])
        said["readings"] = {
            name: f"{value.shown} {value.unit or ''}".strip() for name, value in meaning.readings.items()
        }
        if meaning.status is not None:
            said["valve"] = meaning.status.valve
    if as_json_text:
        import json

        print(json.dumps(json.loads(as_json(word)) | said, ensure_ascii=False))
    else:
        print(
            "\n".join(
                [_line(word), said["sentence"], *(f"  {k}: {v}" for k, v in said.get("readings", {}).items())]
            )
        )
    return 0 if word.state in ("waiting", "sent", "done") else 1


def _line(word: Outcome) -> str:
    number = f" number {word.number}" if word.number else ""
    return f"{word.id:>6} {at(word.created_at)} {word.device_id.hex()} {word.kind}{number}: {word.state}"
