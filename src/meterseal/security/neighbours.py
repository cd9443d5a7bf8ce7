"""Security profiles that are one choice away from a shipped one: what a module may seal with by mistake.

It gives nothing out of what a record says; `diagnosis` learns only which profile made sense of it.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from itertools import product

from meterseal.errors import MetersealError
from meterseal.link import control, profiles, records
from meterseal.link.profiles import SecurityProfile
from meterseal.link.schedule import TrafficKeys
from meterseal.wire.meaning import interpret

Sense = tuple[int, int, int]

_CLOSED, _OPENS, _CLEAR = (0, 0, 0), (1, 0, 0), (2, 0, 1)
_CHOICES: dict[str, tuple[str, ...]] = {
    "padding": ('"80"', '"length"', '"pkcs7"'),
    "iv": ('"counter"', '"zero"'),
    "scope": ('"field"', '"payload"'),
    "tag": ("16", "20", "24", "32"),
}


@cache
def near() -> tuple[tuple[str, SecurityProfile], ...]:
    """The shipped profiles by name, then ours with other choices, fewest changes first, each with its name in words."""
    found = [(name, profiles.load(name)) for name in profiles.names()]
    text = files("meterseal.link").joinpath("profile_data", f"{profiles.OURS.name}.toml").read_text("utf-8")
    made = []
    for values in product(*_CHOICES.values()):
        chosen = dict(zip(_CHOICES, values, strict=True))
        changed = {key: value for key, value in chosen.items() if f"\n{key} = {value} " not in text}
        other = text
        for key, value in changed.items() - {("tag", chosen["tag"])}:
            other = re.sub(rf"(?m)^{key} = \S+", f"{key} = {value}", other)
        if "scope" in changed:
            other = other.replace("down = 48", "down = 32")  # DI and SER stay in clear and need their room
        said = ", ".join(f"{key} {value.strip(chr(34))}" for key, value in changed.items())
        # No profile may have another tag than ours (`link.profiles`), but a module may be built with one by mistake.
        profile = profiles.read(other)._replace(tag=int(chosen["tag"]))
        made.append((len(changed), f"{profiles.OURS.name} but {said}", profile))
    made.sort(key=lambda one: one[0])
    found += [(name, profile) for changes, name, profile in made if changes]
    return tuple(found)


def holds_as(keys: TrafficKeys, message: bytes, session_id: bytes, own: SecurityProfile) -> bool:
    """Whether the tag holds under these keys, for the session as named or for this one."""
    renamed = message[:4] + session_id + message[12:]
    return records.check_tag(keys, message, own) or records.check_tag(keys, renamed, own)


def fit_of(
    keys: TrafficKeys, message: bytes, own: SecurityProfile
) -> tuple[str, SecurityProfile, records.Header] | None:
    """The profile under which the tag holds and, if there is one, the data open too; its name is empty for the
    module's own. None when no tag holds.
    """
    best: tuple[Sense, tuple[str, SecurityProfile, records.Header]] | None = None
    for name, profile in (("", own), *near()):
        try:
            header = records.parse_header(message, profile=profile)
        except MetersealError:
            continue
        if not records.check_tag(keys, message, profile):
            continue
        sense = _sense(keys, message, header, profile)
        if best is None or sense > best[0]:
            best = sense, (name if profile is not own else "", profile, header)
        if sense >= _CLEAR:
            break
    return None if best is None else best[1]


def _sense(keys: TrafficKeys, message: bytes, header: records.Header, profile: SecurityProfile) -> Sense:
    """How much sense a record makes under a profile: whether it opens (1) and every frame is understood (2), how few
    things are odd in it (negative), how many readings it has.

    A wrong IV spoils sixteen bytes only, and one in a hundred such frames still has an identifier that is known;
    its digits and clock give it away.
    """
    try:
        if header.control:
            control.open_control(keys, header, message, profile)
            return _CLEAR
        if header.guarded:
            return _OPENS
        opened = records.open_frames(keys, header, records.parse_body(header, message), profile)
    except MetersealError:
        return _CLOSED
    meanings = [interpret(frame) for frame in opened]
    known = 1 + all(one.recognised for one in meanings)
    return known, -sum(len(one.anomalies) for one in meanings), sum(len(one.readings) for one in meanings)
