"""Station MDMS, how an estimate or a doubt says where it comes from: one short text that travels with every version.

It estimates nothing. The text is `method/version:reason/version`, and for estimates `~half`: with nine in ten the true
register lies at most so many last digits away. So the uncertainty goes wherever the method goes: journal, segments,
exports. It is rounded up to two digits, because every text is stored once.
"""

from __future__ import annotations

from typing import NamedTuple


class Made(NamedTuple):
    """What such a text says; `uncertainty` in last digits, None where none is stated."""

    method: str
    version: int
    reason: str
    uncertainty: int | None

    @property
    def text(self) -> str:
        """The text again."""
        half = "" if self.uncertainty is None else f"~{rounded_up(self.uncertainty)}"
        return f"{self.method}/{self.version}:{self.reason}{half}"


def made(text: str) -> Made | None:
    """What a version's method says; None as delivered ("") and for what was never written here."""
    how, _, why = text.partition(":")
    method, slash, version = how.partition("/")
    reason, tilde, half = why.partition("~")
    if not slash or not version.isdecimal() or (tilde and not half.isdecimal()):
        return None
    return Made(method, int(version), reason, int(half) if tilde else None)


def rounded_up(half: int) -> int:
    """The next number of two digits and zeros."""
    scale: int = 10 ** max(0, len(str(half)) - 2)
    return -(-half // scale) * scale
