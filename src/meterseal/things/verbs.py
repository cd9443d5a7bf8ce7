"""A command by its name and what a person gave to it, made into the frame of one meter's model. Pure.

It judges nothing (`commands` does) and signs nothing; what there is to say, and within which bounds, is `link.acts`'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from meterseal.errors import LocalError
from meterseal.link.acts import COMMANDS, Act, Command, Form, Given
from meterseal.link.firmware import switch_frame
from meterseal.wire import encode, roles
from meterseal.wire import identifiers as ids
from meterseal.wire.asked import Ask
from meterseal.wire.dlt645.names import RATES
from meterseal.wire.frame import Frame, address_of
from meterseal.wire.profile import Profile
from meterseal.wire.roster import Listed, What, roster_frame
from meterseal.wire.sheet import Value
from meterseal.wire.values import Stated

Said = Mapping[str, str]
"""What a person gave: texts by the names of `Given`."""
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
AT_ONCE = "99999999"
"""The time of a freeze that is wanted now."""


ROSTER_ACTS: dict[Act, What] = {"roster-add": "add", "roster-seal": "add-sealed", "roster-remove": "remove"}
"""What is told to a meter's concentrator, and not to the meter."""


_WITHOUT: dict[tuple[Act, str], str] = {
    (
        "freeze",
        "cjt188",
    ): "no freeze command of CJ/T 188 is public; it freezes by its own days, or `freeze-parameters`",
    (
        "price",
        "dlt645",
    ): "no confirmed layout of its prices (0405, 0406) is public; hours are written by `day-table`",
    (
        "purchase",
        "dlt645",
    ): "a purchase is between it and its own security module (07), whose keys are not ours",
}
"""Why a protocol lacks a word that one would look for."""


def split(words: Sequence[str]) -> tuple[Act, tuple[str, ...]]:
    """The row that words of a command line name (`valve close`), and what stands behind. LocalError `use.act`."""
    for count in range(min(3, len(words)), 0, -1):
        name = "-".join(words[:count])
        for act in COMMANDS:
            if act == name:
                return act, tuple(words[count:])
    said = ", ".join(act.replace("-", " ") for act in COMMANDS)
    named = f"`{' '.join(words)}` is nothing to say to a meter" if words else "Say what to say to the meter"
    raise LocalError("use.act", f"{named}; there are: {said}.")


def given(act: Act, words: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE by name; a single value of a row that takes one needs no name. LocalError `use.fields`."""
    row = COMMANDS[act]
    if len(words) == 1 and "=" not in words[0] and len(row.given) == 1:
        return {row.given[0].name: words[0]}
    found = dict(word.partition("=")[::2] for word in words)
    known = [one.name for one in row.given]
    if len(found) != len(words) or any("=" not in word for word in words) or not set(found) <= set(known):
        takes = f"the fields {', '.join(known)}, as NAME=VALUE" if known else "no field"
        raise LocalError("use.fields", f"`{act.replace('-', ' ')}` takes {takes}, each once.")
    return found


def frame_of(
    device_id: bytes, act: Act, said: Said, profile: Profile, *, ser: int, until: int, now: int
) -> Frame:
    """The frame that does `act` to this meter; `until` (Unix ms) ends a relay's order in the frame itself.

    LocalError `use.fields` for what is missing or out of bounds, `use.act` for what the meter's protocol does not have,
    `wire.field` for what its model cannot carry.
    """
    row, protocol = COMMANDS[act], address_of(device_id)[0]
    form = row.forms.get(protocol)
    if form is None:
        raise LocalError(
            "use.act",
            f"A meter on {'DL/T 645' if protocol == 'dlt645' else 'CJ/T 188'} is not told to {row.english} by this name: "
            f"{_WITHOUT.get((act, protocol), 'its protocol has no such command')}. Give the whole frame (write --frame) "
            "where its maker documents one.",
        )
    values = _values(row, said)
    if act == "read":
        return encode.read_request(device_id, _identifier(values, protocol), ser)
    if isinstance(digest := values.get("manifest"), bytes):
        return switch_frame(device_id, digest, ser)
    if row.act in ROSTER_ACTS:
        name, bus = values.get("model"), values.get("bus")
        listed = Listed(
            ROSTER_ACTS[row.act],
            bus if isinstance(bus, int) else 0,
            name if isinstance(name, str) else "",
        )
        return roster_frame(device_id, listed, ser)
    return roles.request(device_id, _asked(form, values, ser, until, now), profile)


def _asked(form: Form, values: dict[str, Stated], ser: int, until: int, now: int) -> Ask:
    payload, stated = values.pop("bytes", b""), values
    at = values.pop("at", now if form.kind == "time" else None)
    if form.kind == "relay":
        at = until
    if form.kind == "freeze":
        stated = {"freeze_time": AT_ONCE}
    if form.kind == "baud-rate" and isinstance(payload, bytes):
        stated = {"baud_rate": next((rate for bit, rate in RATES.items() if payload[0] == 1 << bit), None)}
    if form.name:
        stated = {form.name: next(iter(values.values()))}
    if form.name == "settlement_day_1":
        (day,) = (value for value in values.values() if isinstance(value, int))
        stated = {form.name: f"{day:02d}00"}  # from hour 0 on
    if "periods" in values:
        payload, stated = values["periods"], {}
    return Ask(
        kind=form.kind,
        di=form.di,
        ser=ser,
        values=stated,
        at=at if isinstance(at, int) else None,
        action=form.action,
        payload=payload if isinstance(payload, bytes) else b"",
    )


def _identifier(values: dict[str, Stated], protocol: str) -> int:
    raw = values.get("bytes") or values.get("identifier")
    if isinstance(raw, bytes):
        return int.from_bytes(raw)
    return 0x00010000 if protocol == "dlt645" else ids.METERING


def _values(row: Command, said: Said) -> dict[str, Stated]:
    missing = [one.name for one in row.given if one.needed and one.name not in said]
    if missing:
        raise LocalError(
            "use.fields", f"To {row.english}, give {' and '.join(f'{name}=…' for name in missing)} as well."
        )
    return {one.sent or one.name: _value(one, said[one.name]) for one in row.given if one.name in said}


def _value(row: Given, text: str) -> Stated:
    match row.shape:
        case "number":
            return _number(row, text)
        case "time":
            return _time(text)
        case "digits":
            if text.isascii() and text.isdecimal() and row.least <= len(text) <= row.most:
                return text
            raise _unfit(row, text, f"{row.least} to {row.most} digits")
        case "hex":
            return _bytes(row, text)
        case "hours":
            return _periods(row, text)
        case "name":
            if text.isascii() and text.isprintable() and " " not in text and len(text) <= row.most:
                return text
            raise _unfit(row, text, f"at most {row.most} letters")


def _number(row: Given, text: str) -> Stated:
    scaled = Decimal(text).scaleb(-row.exponent) if _NUMBER.fullmatch(text) else Decimal("-1")
    register = int(scaled)
    if scaled != register or not row.least <= register <= row.most:
        low, high = (f"{Decimal(bound).scaleb(row.exponent):f}" for bound in (row.least, row.most))
        raise _unfit(row, text, f"{low} to {high}{f' {row.unit}' if row.unit else ''}")
    return Value(Decimal(text), row.unit, register, row.exponent) if row.unit else register


def _time(text: str) -> int:
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        raise LocalError("use.fields", f"`{text}` is no time: write it as 2026-11-21T14:30:00.") from None
    if local.tzinfo is None:
        local = (local - timedelta(hours=8)).replace(tzinfo=UTC)
    return int(local.timestamp() * 1000)


def _bytes(row: Given, text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if not row.least <= len(raw) <= row.most:
        if row.name == "identifier":
            raise LocalError("use.identifier", f"`{text}` is no identifier: give hex, such as 901F.")
        many = f"{row.least}" if row.least == row.most else f"{row.least} to {row.most}"
        raise _unfit(row, text, f"{many} bytes in hex")
    return raw


def _periods(row: Given, text: str) -> bytes:
    """`6:1,22:4` as tariff, minute and hour of each change, low byte first, which is how DL/T 645 sends a table."""
    entries = [one.split(":") for one in text.split(",")]
    if len(entries) > row.most or not all(
        len(one) == 2 and all(part.isdecimal() and part.isascii() for part in one) for one in entries
    ):
        raise _unfit(row, text, "hours with tariffs, such as 6:1,22:4")
    hours = [(int(hour), int(tariff)) for hour, tariff in entries]
    if any(hour > 23 or not 1 <= tariff <= 4 for hour, tariff in hours) or not _rising(hours):
        raise _unfit(row, text, "rising hours from 0 to 23 with tariffs from 1 to 4")
    return b"".join(bytes.fromhex(f"{tariff:02d}00{hour:02d}") for hour, tariff in hours)


def _rising(hours: list[tuple[int, int]]) -> bool:
    return all(before < after for (before, _), (after, _) in pairwise(hours))


def _unfit(row: Given, text: str, wanted: str) -> LocalError:
    return LocalError("use.fields", f"{row.name}={text[:40]} is no {row.english}: give {wanted}.")
