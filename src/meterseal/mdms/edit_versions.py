"""Station MDMS, what an edit or its undoing adds: versions, how they are named, and what they are held against.

Pure: which registers they have is `editing`'s and `undoing`'s; `edits` saves them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import DataError
from meterseal.mdms.entries import Version
from meterseal.mdms.store.rows import ORIGINS, Key, Rows, Words
from meterseal.mdms.vee.context import HOUR, Context
from meterseal.mdms.vee.estimators import Gap
from meterseal.model import Quality

LARGEST = 10**8
"""Registers have eight digits."""
MOST_VERSIONS = 1000
"""Versions of one instant, beyond which no edit goes."""

USABLE = (Quality.MEASURED, Quality.ESTIMATED, Quality.EDITED)
EDIT, UNDO = SAID_BY_PEOPLE = "edit/", "undo/"
NO_NUMBER = 0
"""Of an edit that is not saved yet (`Plan.numbered`)."""


class Scene(NamedTuple):
    """What an edit is held against: every version of the channel from long before to the newest, when further meters
    were put in place, what is known around, and now (Unix ms); and as a run would ask them, the methods for a gap, first
    one first, and the use of neighbours in its intervals.
    """

    key: Key
    rows: Rows
    words: Words
    begins: Sequence[int]
    context: Context
    now: int
    order: Callable[[Gap], Sequence[str]]
    beside: Callable[[Gap], NDArray[np.int64]]


class Plan(Struct, frozen=True, kw_only=True):
    """New versions (`recorded_at` 0 until they are saved); `basis` is a hash of all that is stored from `first` to
    `last`, neighbours included.

    `moved`: most that a register differs from what stood there before any edit, of an undo from the edit's, in the unit of
    the medium.
    """

    versions: tuple[Version, ...]
    first: int
    last: int
    basis: bytes
    moved: Decimal

    def numbered(self, number: int) -> Plan:
        """The same under the number of its edit."""
        named = [msgspec.structs.replace(one, method=_numbered(one.method, number)) for one in self.versions]
        return msgspec.structs.replace(self, versions=tuple(named))

    def stands(self, rows: Rows) -> bool:
        """Whether what it stands on is still what is stored of the channel."""
        return equal(basis(rows, self.first, self.last), self.basis)

    @property
    def instants(self) -> Iterator[tuple[int, int, Version]]:
        """(end_at, register, the version it belongs to) of every reading."""
        for one in self.versions:
            for index, register in enumerate(one.registers):
                yield one.start_at + index * one.step, register, one


def own_method(method: str) -> str:
    """How a reading came about, whether it is visible because it was made or because something after it was undone."""
    return method.partition(":")[2] if method.startswith(UNDO) else method


def basis(rows: Rows, first: int, last: int) -> bytes:
    """Hash of all versions of one channel with first <= end_at <= last; it changes with every reading that comes."""
    within = rows[(rows["end_at"] >= first) & (rows["end_at"] <= last)]
    names = ("end_at", "version", "register", "exponent", "quality")
    columns = sorted(zip(*(within[name].tolist() for name in names), strict=True))
    return sm3(msgspec.msgpack.encode((first, last, columns)))


def refused(code: str, why: str) -> DataError:
    """Why an edit is not made."""
    return DataError(code, f"The edit is refused: {why}. Nothing was changed.")


def lifted(rows: Rows, context: Context) -> Rows:
    """The same, registers counted on where one began anew after its last digit, so that none but a wrong one falls."""
    found = rows.copy()
    lift = 0
    for place in range(1, len(rows)):
        fell = rows["register"][place] < rows["register"][place - 1]
        if fell and rolls(rows[place - 1], rows[place], context):
            lift += LARGEST
        found["register"][place] += lift
    return found


def rolls(before: np.void, after: np.void, context: Context) -> bool:
    """Can what passed between two registers, of which the later is lower, have passed (as the rule `roll-over` asks)?"""
    if any(before[name] != after[name] for name in ("exponent", "unit")):
        return False
    passed = int(after["register"]) - int(before["register"]) + LARGEST
    elapsed = (int(after["end_at"]) - int(before["end_at"])) / HOUR
    most = context.carried / 1000 * 10.0 ** -int(before["exponent"]) * elapsed
    return int(after["register"]) >= 0 and passed <= min(most, LARGEST // 2)


def version_of(scene: Scene, at: int, register: int, like: np.void, version: int, origin: int) -> Version:
    if version > MOST_VERSIONS:
        raise refused("edit.versions", f"the reading of {when(at)} was changed {MOST_VERSIONS} times already")
    texts = scene.words.texts
    return Version(
        usage_point=texts[scene.key.point],
        medium=scene.words.medium[scene.key.point],
        channel=scene.key.channel,
        start_at=at,
        step=0,
        registers=(register,),
        exponent=int(like["exponent"]),
        unit=texts[int(like["unit"])],
        quality=Quality.EDITED,
        method=f"{EDIT}{NO_NUMBER}",
        recorded_at=0,
        origin=ORIGINS[origin],
        version=version,
    )


def together(made: Sequence[Version]) -> Iterator[Version]:
    """The same versions, those that are alike and evenly spaced as one."""
    waiting: Version | None = None
    for one in made:
        if waiting is not None:
            last = waiting.start_at + waiting.step * (len(waiting.registers) - 1)
            step = one.start_at - last
            joined = msgspec.structs.replace(
                waiting, step=step, registers=(*waiting.registers, *one.registers)
            )
            alike = msgspec.structs.replace(one, start_at=0, registers=()) == msgspec.structs.replace(
                waiting, start_at=0, step=0, registers=()
            )
            if alike and waiting.step in (0, step):
                waiting = joined
                continue
            yield waiting
        waiting = one
    if waiting is not None:
        yield waiting


def _numbered(method: str, number: int) -> str:
    how, colon, before = method.partition(":")
    return f"{how.partition('/')[0]}/{number}{colon}{before}"


def when(at: int) -> str:
    local = np.datetime64(at + 8 * HOUR, "ms")
    return str(local.astype("datetime64[m]")).replace("T", " ")
