"""Beside the path: what can go wrong with an answer, as a menu: each fault makes of one answer what goes on instead.

Pure: pauses are told, not waited; what is random is drawn from a seed. Faults are for devices of one's own.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from meterseal.errors import MetersealError
from meterseal.wire import roles
from meterseal.wire.codec import search
from meterseal.wire.fields import checksum
from meterseal.wire.frame import Frame
from meterseal.wire.profile import profile_of

LATE = 3.0
"""Seconds of a delayed answer: longer than masters wait."""
BETWEEN = 0.3
"""Seconds between the two pieces of a split answer: longer than a gap inside a frame."""
TAG = 16
E002 = (b"\x02\xe0", b"\x00\x00\x02\xe0")
"""The identifier of segments (LINK section 5), as it travels."""

Piece = tuple[float, bytes]
"""Seconds to wait, then bytes to send."""


class Case(NamedTuple):
    """An answer and what stands around it: the request, the answer to the same request before, a seed."""

    unit: bytes
    request: bytes
    before: bytes
    seed: int


class Fault(NamedTuple):
    """One row of the menu."""

    name: str
    says: str
    act: Callable[[Case], list[Piece]]


def _frame(unit: bytes) -> tuple[int, bytes, Frame] | None:
    """Where the frame begins in a unit, its bytes, and itself."""
    found = search(unit)
    if found.frame is None:
        return None
    return found.trial.start, unit[found.trial.start : found.next], found.frame


def _with_checksum(raw: bytes) -> bytes:
    """The same frame with the right sum over what it now says."""
    return raw[:-2] + bytes((checksum(raw[:-2]),)) + raw[-1:]


def _error(case: Case) -> list[Piece]:
    """What the meter says when it refuses: made by its model from the request, 00 16 bytes as captured ones have it."""
    asked, answered = _frame(case.request), _frame(case.unit)
    if asked is None or answered is None:
        return [(0.0, case.unit)]
    try:
        refused = roles.refuse(answered[2].device_id, asked[2], "other", profile_of(answered[2].device_id))
    except MetersealError:
        return [(0.0, case.unit)]
    return [(0.0, case.unit[: answered[0]] + refused.encode())]


def _delay(case: Case) -> list[Piece]:
    return [(LATE, case.unit)]


def _empty(case: Case) -> list[Piece]:
    return []


def _stray(case: Case) -> list[Piece]:
    random = Random(case.seed)
    return [
        (0.0, random.randbytes(random.randint(3, 12)) + case.unit + random.randbytes(random.randint(1, 5)))
    ]


def _split(case: Case) -> list[Piece]:
    half = max(1, len(case.unit) // 2)
    return [(0.0, case.unit[:half]), (BETWEEN, case.unit[half:])]


def _truncated(case: Case) -> list[Piece]:
    return [(0.0, case.unit[: max(1, len(case.unit) * 2 // 3)])]


def _wrong_checksum(case: Case) -> list[Piece]:
    if _frame(case.unit) is None:
        return [(0.0, case.unit)]
    wrong = bytes(((case.unit[-2] + 1) & 0xFF,))
    return [(0.0, case.unit[:-2] + wrong + case.unit[-1:])]


def _bit_flip(case: Case) -> list[Piece]:
    found = _frame(case.unit)
    if found is None or not found[2].data:
        return [(0.0, case.unit)]
    flipped = bytearray(case.unit)
    bit = Random(case.seed).randrange(8 * len(found[2].data))
    flipped[-3 - bit // 8] ^= 1 << (bit % 8)  # somewhere in the data, which end two bytes before the unit
    return [(0.0, bytes(flipped))]


def _stale(case: Case) -> list[Piece]:
    return [(0.0, case.before or case.unit)]


def _wrong_key(case: Case) -> list[Piece]:
    """The tag at the end of a sealed record, as another key would have made it; the frame around it stays whole."""
    found = _frame(case.unit)
    if found is None or not found[2].data.startswith(E002) or len(found[2].data) < TAG + 6:
        return [(0.0, case.unit)]
    raw = found[1]
    other = Random(case.seed).randbytes(TAG)
    return [(0.0, case.unit[: found[0]] + _with_checksum(raw[: -2 - TAG] + other + raw[-2:]))]


def _duplicate(case: Case) -> list[Piece]:
    found = _frame(case.unit)
    if found is None or not found[2].data:
        return [(0.0, case.unit)]
    raw = bytearray(found[1])
    raw[-3] ^= 0x01
    return [(0.0, case.unit + _with_checksum(bytes(raw)))]


FAULTS: tuple[Fault, ...] = (
    Fault("error", "the meter refuses", _error),
    Fault("delay", f"{LATE:g} s too late", _delay),
    Fault("empty", "no answer at all", _empty),
    Fault("stray", "noise before and behind", _stray),
    Fault("split", f"in two pieces, {BETWEEN:g} s apart", _split),
    Fault("truncated", "the last third is missing", _truncated),
    Fault("wrong checksum", "CS one too high", _wrong_checksum),
    Fault("bit flip", "one bit of the data", _bit_flip),
    Fault("stale counter", "the answer before this one again", _stale),
    Fault("wrong key", "the tag of a sealed record as of another key", _wrong_key),
    Fault("duplicate address", "a second meter answers under the same number", _duplicate),
)
"""The menu."""
