"""`meterseal device words`: what was said to meters, by whom and why, and what each answered; the limits that slow it.

It says nothing itself (`cli.command` does) and decides nothing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from meterseal.app import operator
from meterseal.app.commanding import Outcomes, WordQuery
from meterseal.cli.answers import plain, show
from meterseal.cli.arguments import Data, Json, Limit, between, device_id_of
from meterseal.cli.calls import ask
from meterseal.cli.times import at
from meterseal.errors import LocalError
from meterseal.link.acts import BY_NAME
from meterseal.security.orders import CommandRoom
from meterseal.things.words import Outcome
from meterseal.wire.frame import address_of, parse_frame
from meterseal.wire.meaning import interpret

ENDED = ("done", "refused", "expired", "unknown", "withdrawn")
SENTENCES = {
    "waiting": "It waits for the meter to be heard.",
    "sent": "It was sent; the meter has not answered yet.",
    "done": "The meter did it and answered.",
    "refused": "The meter answered that it cannot do that.",
    "expired": "Its time ended before it could be sent; it takes no effect any more.",
    "unknown": "It was sent and the meter gave no answer; read it to see whether it took effect.",
    "withdrawn": "It was taken back, or its module was replaced; it takes no effect.",
}

ROSTER = {
    "done": "Its concentrator did it and answered.",
    "refused": "Its concentrator cannot do that: no such bus, no model of such meters, or too many of them.",
    "unknown": "It was sent and the concentrator did not answer; see: meterseal concentrator status --meters",
}


def words(
    word: Annotated[int, between(0, 2**53)] = 0,
    *,
    data: Data,
    meter: str = "",
    limit: Limit = 50,
    withdraw: bool = False,
    json: Json = False,
) -> int:
    """What was said to meters, newest first: who ordered it, why, and what came of it; with a number, that word and what
    the meter answered.

    Parameters
    ----------
    word
        Number of one word.
    meter
        Only this device's.
    withdraw
        Take that word back. One that was sent already stays as it is: its meter may act on it.
    """
    if withdraw:
        if not word:
            raise LocalError(
                "use.word", "Name the word to take back by its number; see: meterseal device words"
            )
        taken = ask(data, "withdraw_word", WordQuery(word_id=word), Outcome)
        told(taken, as_json=json)
        return 0 if taken.state == "withdrawn" else 1
    query = WordQuery(word_id=word, device_id=device_id_of(meter) if meter else b"", limit=limit, room=True)
    found = ask(data, "words", query, Outcomes)
    if word:
        return told(found.words[0], as_json=json)
    show(
        operator.as_json(found),
        as_json=json,
        lines=lambda _: [
            *([_line(one) for one in found.words] or ["Nothing was said to any meter yet."]),
            *(limits(found.room) if found.room is not None else []),
        ],
    )
    return 0


def shown(data: Path, word: Outcome, wait: int, *, as_json: bool) -> int:
    """Print a word once it has ended or `wait` seconds are over; status 1 where it came to nothing."""
    until = time.monotonic() + wait
    while word.state not in ENDED and time.monotonic() < until:
        time.sleep(0.25)
        word = ask(data, "words", WordQuery(word_id=word.id), Outcomes).words[0]
    return told(word, as_json=as_json)


def told(word: Outcome, *, as_json: bool) -> int:
    """Print one word with who, why, when and what the meter answered."""
    sentences = SENTENCES | (ROSTER if word.act.startswith("roster-") else {})
    said: dict[str, Any] = {"sentence": sentences[word.state]}
    if word.act in BY_NAME:
        said["does"] = {"english": BY_NAME[word.act].english, "chinese": BY_NAME[word.act].chinese}
    if word.answer:
        meaning = interpret(parse_frame(word.answer, 0, address_of(word.meter or word.device_id)[0])[0])
        said["readings"] = {
            name: f"{value.shown} {value.unit or ''}".strip() for name, value in meaning.readings.items()
        }
        if meaning.status is not None:
            said["valve"] = meaning.status.valve
    if as_json:
        import json

        print(json.dumps(json.loads(operator.as_json(word)) | said, ensure_ascii=False))
    else:
        print("\n".join([_line(word), *_story(word, said)]))
    return 0 if word.state in ("waiting", "sent", "done") else 1


def _story(word: Outcome, said: dict[str, Any]) -> list[str]:
    lines = [said["sentence"]]
    if "does" in said:
        lines.append(f"  what: {said['does']['english']} {said['does']['chinese']}")
    if word.officers:
        lines.append(f"  who:  {', '.join(word.officers)}")
    if word.reason:
        lines.append(f"  why:  {plain(word.reason)}")
    lines.append(
        f"  when: ordered {at(word.created_at)}, sent {at(word.sent_at)} ({word.attempts} times), "
        f"ended {at(word.ended_at)}, good until {at(word.not_after)}"
    )
    if word.said:
        lines.append(f"  said: {word.said.hex()}")
    if word.answer:
        lines.append(f"  answered: {word.answer.hex()}")
    if "valve" in said:
        lines.append(f"  valve: {said['valve']}")
    return lines + [f"  {name}: {value}" for name, value in said.get("readings", {}).items()]


def limits(room: CommandRoom) -> list[str]:
    """What went out in this minute, of what may; in sentences."""
    policy = room.policy
    lines = [
        f"commands in this minute: {room.granted} of {policy.per_minute}; a zone may have {policy.per_zone_minute}, "
        f"{policy.supply_per_zone_minute} of them for valves, relays and loads"
    ]
    for one in room.zones:
        full = one.granted >= policy.per_zone_minute or one.supply >= policy.supply_per_zone_minute
        lines.append(
            f"  zone {plain(one.zone)}: {one.granted}, {one.supply} for valves, relays and loads"
            f"{f'; more from {at(room.next_minute_at)}' if full else ''}"
        )
    return lines


def _line(word: Outcome) -> str:
    number = f" number {word.number}" if word.number else ""
    act = f" {word.act.replace('-', ' ')}" if word.act else ""
    why = f" ({', '.join(word.officers)}: {plain(word.reason)})" if word.officers else ""
    bulk = f" bulk {word.bulk_id}" if word.bulk_id else ""
    whom = f"{word.meter.hex()} by {word.device_id.hex()}" if word.meter else word.device_id.hex()
    return f"{word.id:>6} {at(word.created_at)} {whom} {word.kind}{act}{number}{bulk}: {word.state}{why}"
