"""How near a key is to its limit of uses (HM 8.5.3.b): a reminder at half of it, an alarm at four fifths, and what to do.

It counts no use and refuses none; the vaults do.

At its limit a key is refused: with DIAK, no module that stands on that version is heard any more. A new version takes
minutes to order and weeks to reach every module, so the reminder comes while there is time for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from meterseal.security.messages import KeyFacts
from meterseal.security.vault import UNBOUNDED, USABLE

Level = Literal["", "reminder", "alarm", "reached"]
LEVELS: tuple[Level, ...] = ("", "reminder", "alarm", "reached")
_PERCENT: tuple[tuple[int, Level], ...] = ((100, "reached"), (80, "alarm"), (50, "reminder"))

_ROTATE = {
    "DIAK": "meterseal keys rotate diak, then meterseal device rollout",
    "WRAP-SESSION": "meterseal keys rotate session-wraps",
    "WRAP-DATA": "meterseal keys rotate data-keys",
    "PLATFORM": "meterseal keys rotate platform",
    "LEDGER": "meterseal keys rotate ledger",
    "PLATFORM-CA": "two officers order it: meterseal keys request ca-rotate authority=platform",
    "DEVICE-CA": "two officers order it: meterseal keys request ca-rotate authority=device",
}
_MOVE = "a newer version is in use already; move what stands on this one: meterseal keys moving"


class Nearing(Struct, frozen=True, kw_only=True):
    """A key that has used half of its limit or more; `cure` is what to do."""

    vault: str
    id: str
    version: int
    used: int
    limit: int
    percent: int
    level: Level
    cure: str

    @property
    def sentence(self) -> str:
        """For a person."""
        return (
            f"{self.id} version {self.version} has had {self.used} of {self.limit} uses ({self.percent} %); at its limit "
            f"it is refused. What to do: {self.cure}."
        )


def level_of(used: int, limit: int) -> Level:
    """How near a count is to a limit; nothing is near to a limit that bounds nothing."""
    if limit >= UNBOUNDED:
        return ""
    return next((level for percent, level in _PERCENT if used * 100 >= limit * percent), "")


def nearing(keys: Iterable[KeyFacts]) -> list[Nearing]:
    """Every key in use that has had half of its uses, nearest first."""
    known = list(keys)
    newest = {
        (one.vault, one.id): max(
            other.version
            for other in known
            if (other.vault, other.id) == (one.vault, one.id) and other.state in USABLE
        )
        for one in known
        if one.state in USABLE
    }
    found = [
        Nearing(
            vault=one.vault,
            id=one.id,
            version=one.version,
            used=one.used,
            limit=one.limit,
            percent=one.used * 100 // max(1, one.limit),
            level=level,
            cure=_ROTATE.get(one.id, "meterseal keys rotate --help")
            if one.version == newest[one.vault, one.id]
            else _MOVE,
        )
        for one in known
        if one.state in USABLE and (level := level_of(one.used, one.limit))
    ]
    return sorted(found, key=lambda one: (-one.percent, one.id, one.version))
