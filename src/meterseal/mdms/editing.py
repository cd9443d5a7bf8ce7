"""Station MDMS, an edit by a person: from what is visible of a channel and what is wished to versions, or a refusal.

Pure: it reads no store, asks nobody whether it may be done and saves nothing (`edits` does). An edited register is never
below the one before it nor above the one after it, so that energy is moved in time and never made from nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import DataError
from meterseal.mdms.entries import Version
from meterseal.mdms.store.rows import ORIGINS, Key, Rows, Words, standing, visible
from meterseal.mdms.vee.context import DAY, HOUR, Context
from meterseal.mdms.vee.engine import interval_of
from meterseal.mdms.vee.estimators import ESTIMATORS, Gap, Known, bridge, order_for
from meterseal.model import MAIN, Medium, Quality

LONGEST = 45 * DAY
"""Most that one edit covers: what the estimators reach."""
LARGEST = 10**8
"""Registers have eight digits."""
MOST_VERSIONS = 1000
"""Versions of one instant, beyond which no edit goes."""
USABLE = (Quality.MEASURED, Quality.ESTIMATED, Quality.EDITED)
EDIT, UNDO = "edit/", "undo/"
FOUR_EYES: dict[Medium, Decimal] = {
    "water": Decimal(1),
    "gas": Decimal(2),
    "heat": Decimal(50),
    "electricity": Decimal(20),
}
"""Most that one person may move a register away from what was there before any edit, in the unit of the medium."""

_NO_NUMBER = 0
Registers = dict[int, int]


class Wish(Struct, frozen=True, kw_only=True):
    """What is wished of a channel: a point (`since` = `until`) with its `register`, or the readings in
    since < end_at <= until, estimated anew by `method` (empty: the table's order) or with a stated use of `total`.

    `register` and `total` are decimals in the unit of the medium. Without a total the registers at both ends stay.
    """

    usage_point: str
    since: int
    until: int
    channel: int = MAIN
    register: str = ""
    method: str = ""
    total: str = ""


class Scene(NamedTuple):
    """What an edit is held against: every version of the channel from long before to the newest, when further meters
    were put in place, what is known around, and now (Unix ms).
    """

    key: Key
    rows: Rows
    words: Words
    begins: Sequence[int]
    context: Context
    now: int


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


def planned(wish: Wish, scene: Scene) -> Plan:
    """The versions of a wish, not numbered yet. DataError `edit.*` with the reason when it cannot be."""
    _check(wish, scene.now)
    begin, end = _meter(wish, scene.begins)
    stands = standing(scene.rows, scene.words)
    shown = visible(stands[(stands["end_at"] >= begin) & (stands["end_at"] < end)])
    good = shown[np.isin(shown["quality"], USABLE)]
    if not len(good):
        raise refused(
            "edit.nothing-known", "no reading of this meter is known that an edit could be held against"
        )
    like = good[int(np.abs(good["end_at"] - wish.since).argmin())]
    known: Registers = dict(zip(good["end_at"].tolist(), good["register"].tolist(), strict=True))
    if wish.since == wish.until:
        wanted = {wish.until: scaled(wish.register, int(like["exponent"]), "register")}
    else:
        wanted = _range(wish, scene, shown, known, int(like["exponent"]))
    new = {at: register for at, register in wanted.items() if known.get(at) != register}
    if not new:
        raise refused("edit.no-change", "the registers are those that are visible already")
    first = max((at for at in known if at < min(new)), default=min(new))
    last = min((at for at in known if at > max(new)), default=max(new))
    around = good[(good["end_at"] >= first) & (good["end_at"] <= last)]
    if (around[["exponent", "unit"]] != like[["exponent", "unit"]]).any():
        raise refused(
            "edit.units", "the unit or the decimal places change in this time; edit the parts one by one"
        )
    _check_rising({at: known[at] for at in around["end_at"].tolist()} | new, new)
    newest = visible(scene.rows)  # with what was taken back at an exchange, which an edit must stand above
    highest = dict(zip(newest["end_at"].tolist(), newest["version"].tolist(), strict=True))
    origins = dict(zip(shown["end_at"].tolist(), shown["origin"].tolist(), strict=True))
    made = [
        _version(scene, at, register, like, highest.get(at, 0) + 1, origins.get(at, int(like["origin"])))
        for at, register in sorted(new.items())
    ]
    moved = Decimal(_moved(new, stands, scene.words, begin, end)).scaleb(int(like["exponent"]))
    return Plan(
        versions=tuple(_together(made)),
        first=first,
        last=last,
        basis=basis(scene.rows, first, last),
        moved=moved,
    )


def undone(edit: int, since: int, until: int, scene: Scene) -> Plan:
    """What was visible before an edit, as further versions, wherever the edit is visible still.

    The method keeps what it was before, uncertainty included. DataError `edit.gone` when nothing of the edit is
    visible any more, `edit.built-on` when a later edit would no longer meet its neighbours.
    """
    within = (scene.rows["end_at"] >= since) & (scene.rows["end_at"] <= until)
    texts, shown = scene.words.texts, visible(scene.rows[within])
    ours = shown[[own_method(texts[method]) == f"{EDIT}{edit}" for method in shown["method"].tolist()]]
    if not len(ours):
        raise refused(
            "edit.gone", f"nothing of edit {edit} is visible any more: later readings or edits replaced it"
        )
    made = []
    moved = Decimal(0)
    word = scene.words.known(f"{EDIT}{edit}")
    for row in ours:
        at = int(row["end_at"])
        here = scene.rows[scene.rows["end_at"] == at]
        wrote = int(here["version"][here["method"] == word].min())
        before = visible(here[here["version"] < wrote])
        if not len(before):
            missing = _version(scene, at, 0, row, int(row["version"]) + 1, int(row["origin"]))
            made.append(
                msgspec.structs.replace(missing, quality=Quality.MISSING, method=f"{UNDO}{_NO_NUMBER}")
            )
            continue
        was = before[0]
        how = own_method(texts[int(was["method"])])
        moved = max(moved, abs(_value(was) - _value(row)))
        back = _version(scene, at, int(was["register"]), was, int(row["version"]) + 1, int(was["origin"]))
        method = f"{UNDO}{_NO_NUMBER}:{how}" if how else f"{UNDO}{_NO_NUMBER}"
        made.append(msgspec.structs.replace(back, quality=Quality(int(was["quality"])), method=method))
    _check_built_on(scene, made, ours)
    return Plan(
        versions=tuple(_together(made)),
        first=since,
        last=until,
        basis=basis(scene.rows, since, until),
        moved=moved,
    )


def own_method(method: str) -> str:
    """How a reading came about, whether it is visible because it was made or because something after it was undone."""
    return method.partition(":")[2] if method.startswith(UNDO) else method


def basis(rows: Rows, first: int, last: int) -> bytes:
    """Hash of all versions of one channel with first <= end_at <= last; it changes with every reading that comes."""
    within = rows[(rows["end_at"] >= first) & (rows["end_at"] <= last)]
    names = ("end_at", "version", "register", "exponent", "quality")
    columns = sorted(zip(*(within[name].tolist() for name in names), strict=True))
    return sm3(msgspec.msgpack.encode((first, last, columns)))


def scaled(text: str, exponent: int, what: str) -> int:
    """A decimal as last digits of a register. DataError `edit.number`."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value < LARGEST or value.as_tuple().exponent < -9:  # type: ignore[operator]  # a finite number's is an int
        raise refused(
            "edit.number", f"`{text[:40]}` is no {what}: write it as 1234.56, in the unit of the medium"
        )
    digits = value.scaleb(-exponent)
    if digits != digits.to_integral_value() or digits >= LARGEST:
        raise refused(
            "edit.number",
            f"the meter counts with {max(-exponent, 0)} decimals and eight digits, {text[:40]} does not fit",
        )
    return int(digits)


def refused(code: str, why: str) -> DataError:
    """Why an edit is not made."""
    return DataError(code, f"The edit is refused: {why}. Nothing was changed.")


def _check(wish: Wish, now: int) -> None:
    point = wish.since == wish.until
    if not 0 < wish.since <= wish.until:
        raise refused("edit.period", "its period ends before it begins")
    if wish.until > now:
        raise refused("edit.future", "it reaches into the future, and nobody has read a meter there")
    if wish.until - wish.since > LONGEST:
        raise refused("edit.period", f"one edit covers at most {LONGEST // DAY} days; make several")
    if point != bool(wish.register) or (point and (wish.method or wish.total)):
        raise refused(
            "edit.wish", "a point has a register, a range or day a method or a total; say one of them"
        )
    if wish.method and wish.method not in ESTIMATORS:
        raise refused("edit.method", f"`{wish.method[:40]}` is no method of {', '.join(ESTIMATORS)}")


def _meter(wish: Wish, begins: Sequence[int]) -> tuple[int, int]:
    """From when until when the meter was in place that counted in a wish's time."""
    begin = max((at for at in begins if at <= wish.since), default=0)
    end = min((at for at in begins if at > wish.since), default=1 << 62)
    if wish.until >= end:
        raise refused(
            "edit.meters", "the meter was exchanged in this time; edit the part of each meter by itself"
        )
    return begin, end


def _range(wish: Wish, scene: Scene, shown: Rows, known: Registers, exponent: int) -> Registers:
    """Registers that are wished for, by instant."""
    profile = shown[shown["profile"]]
    interval = interval_of(profile) if len(profile) > 1 else HOUR
    if (wish.until - wish.since) % interval:
        raise refused(
            "edit.period",
            f"the load profile has steps of {interval // 60_000} minutes; begin and end on them",
        )
    for at in (wish.since,) if wish.total else (wish.since, wish.until):
        if at not in known:
            raise refused(
                "edit.ends",
                f"there is no register at its {'beginning' if at == wish.since else 'end'} to meet; edit that point first",
            )
    first = known[wish.since]
    last = first + scaled(wish.total, exponent, "total") if wish.total else known[wish.until]
    if last < first:
        raise refused("edit.falls", "the register falls between its ends; edit the wrong end first")
    if last >= LARGEST:
        raise refused("edit.number", "the register would go beyond eight digits")
    gap = Gap(wish.since, wish.until, interval, first, last)
    ends = {wish.until: last} if wish.total else {}
    if gap.parts == 1:
        return ends
    medium = scene.words.medium[scene.key.point]
    context = scene.context
    before = profile[(profile["end_at"] <= wish.since) & (profile["quality"] == Quality.MEASURED)]
    before = before[before["exponent"] == exponent]
    about = Known.of(
        gap,
        before["end_at"].astype(np.int64),
        before["register"].astype(np.int64),
        medium=medium,
        customer=context.customer,
        calendar=context.calendar,
        weather=context.weather,
        offset=context.offset,
    )
    order = (wish.method,) if wish.method else order_for(gap, medium, context.customer)
    filled = bridge(gap, about, order)
    if filled is None:
        raise refused(
            "edit.method",
            f"{wish.method or 'every method'} has too little to go by here, or this is too long for it",
        )
    return dict(zip(gap.ends[:-1].tolist(), filled.registers, strict=True)) | ends


def _check_rising(registers: Mapping[int, int], new: Registers) -> None:
    ordered = sorted(registers.items())
    for (before, lower), (after, higher) in pairwise(ordered):
        if higher < lower and (before in new or after in new):
            other = "after" if before in new else "before"
            raise refused(
                "edit.falls",
                f"the register would fall between {_when(before)} and {_when(after)}, so it does not meet the "
                f"reading {other} it",
            )


def _check_built_on(scene: Scene, made: Sequence[Version], ours: Rows) -> None:
    """No later edit beside an undone one may be left with a fall."""
    shown = visible(scene.rows)
    good = shown[np.isin(shown["quality"], USABLE)]
    texts = scene.words.texts
    gone = set(ours["end_at"].tolist())
    back = {one.start_at: one.registers[0] for one in made if one.quality in USABLE}
    registers = {
        at: int(r)
        for at, r in zip(good["end_at"].tolist(), good["register"].tolist(), strict=True)
        if at not in gone
    }
    edits = {
        at
        for at, method in zip(good["end_at"].tolist(), good["method"].tolist(), strict=True)
        if at not in gone and own_method(texts[method]).startswith(EDIT)
    }
    ordered = sorted((registers | back).items())
    for (before, lower), (after, higher) in pairwise(ordered):
        if higher < lower and ((before in back and after in edits) or (after in back and before in edits)):
            later = own_method(
                texts[int(good["method"][good["end_at"] == (after if after in edits else before)][0])]
            )
            raise refused("edit.built-on", f"{later} beside it would no longer meet it; undo that one first")


def _moved(new: Registers, stands: Rows, words: Words, begin: int, end: int) -> int:
    """Most that registers differ from what stood there before any person touched it, so that many small edits are one
    large one; where nothing stood, from the register before.
    """
    by_people = {code for code, text in enumerate(words.texts) if text.startswith((EDIT, UNDO))}
    own = stands[(stands["end_at"] >= begin) & (stands["end_at"] < end)]
    rows = visible(own[~np.isin(own["method"], list(by_people))])
    rows = rows[np.isin(rows["quality"], USABLE)]
    times = rows["end_at"].astype(np.int64)
    most = 0
    for at, register in new.items():
        place = int(np.searchsorted(times, at, side="right")) - 1
        stood = int(rows["register"][max(place, 0)]) if len(rows) else 0
        most = max(most, abs(register - stood))
    return most


def _version(scene: Scene, at: int, register: int, like: np.void, version: int, origin: int) -> Version:
    if version > MOST_VERSIONS:
        raise refused(
            "edit.versions", f"the reading of {_when(at)} was changed {MOST_VERSIONS} times already"
        )
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
        method=f"{EDIT}{_NO_NUMBER}",
        recorded_at=0,
        origin=ORIGINS[origin],
        version=version,
    )


def _together(made: Sequence[Version]) -> Iterator[Version]:
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


def _value(row: np.void) -> Decimal:
    return Decimal(int(row["register"])).scaleb(int(row["exponent"]))


def _numbered(method: str, number: int) -> str:
    how, colon, before = method.partition(":")
    return f"{how.partition('/')[0]}/{number}{colon}{before}"


def _when(at: int) -> str:
    local = np.datetime64(at + 8 * HOUR, "ms")
    return str(local.astype("datetime64[m]")).replace("T", " ")
