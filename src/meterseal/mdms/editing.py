"""Station MDMS, an edit by a person: from what is visible of a channel and what is wished to versions, or a refusal.

Pure: it reads no store, asks nobody whether it may be done and saves nothing (`edits` does). An edited register is never
below the one before it nor above the one after it, so that energy is moved in time and never made from nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise

import numpy as np
from msgspec import Struct

from meterseal.mdms.edit_versions import (
    EDIT,
    LARGEST,
    UNDO,
    USABLE,
    Plan,
    Scene,
    basis,
    lifted,
    refused,
    together,
    version_of,
    when,
)
from meterseal.mdms.store.rows import EVER, Rows, standing, visible
from meterseal.mdms.vee.context import DAY, HOUR
from meterseal.mdms.vee.estimators import ESTIMATORS, Gap, Known, bridge
from meterseal.mdms.vee.stretches import interval_of
from meterseal.model import EXPORT, MAIN, Medium, Quality

LONGEST = 45 * DAY
"""Most that one edit covers: what the estimators reach."""
FOUR_EYES: dict[Medium, Decimal] = {
    "water": Decimal(1),
    "gas": Decimal(2),
    "heat": Decimal(50),
    "electricity": Decimal(20),
}
"""Most that one person may move a register away from what was there before any edit, in the unit of the medium."""

Registers = dict[int, int]


class Wish(Struct, frozen=True, kw_only=True):
    """What is wished of a channel: a point (`since` = `until`) with its `register`, or the readings in
    since < end_at <= until, estimated anew by `method` (empty: the order that a run asks) or with a stated use of `total`.

    `register` and `total` are decimals in the unit of the medium. Without a total the registers at both ends stay.
    """

    usage_point: str
    since: int
    until: int
    channel: int = MAIN
    register: str = ""
    method: str = ""
    total: str = ""


def planned(wish: Wish, scene: Scene) -> Plan:
    """The versions of a wish, not numbered yet. DataError `edit.*` with the reason when it cannot be."""
    _check(wish, scene.now)
    begin, end = _meter(wish, scene.begins)
    stands = standing(scene.rows, scene.words)
    shown = visible(stands[(stands["end_at"] >= begin) & (stands["end_at"] < end)])
    good = lifted(shown[np.isin(shown["quality"], USABLE)], scene.context)
    if not len(good):
        raise refused(
            "edit.nothing-known", "no reading of this meter is known that an edit could be held against"
        )
    like = good[int(np.abs(good["end_at"] - wish.since).argmin())]
    known: Registers = dict(zip(good["end_at"].tolist(), good["register"].tolist(), strict=True))
    if wish.since == wish.until:
        register = _as_high(scaled(wish.register, int(like["exponent"]), "register"), wish.since, known)
        wanted = _beside(wish, scene, shown, good, register)
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
        version_of(
            scene, at, register % LARGEST, like, highest.get(at, 0) + 1, origins.get(at, int(like["origin"]))
        )
        for at, register in sorted(new.items())
    ]
    moved = Decimal(_moved(new, stands, scene, begin, end)).scaleb(int(like["exponent"]))
    return Plan(
        versions=tuple(together(made)),
        first=first,
        last=last,
        basis=basis(scene.rows, first, last),
        moved=moved,
    )


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
    end = min((at for at in begins if at > wish.since), default=EVER)
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
    if last // LARGEST > max(known.values()) // LARGEST:
        raise refused("edit.number", "the register would go beyond eight digits")
    gap = Gap(wish.since, wish.until, interval, first, last)
    ends = {wish.until: last} if wish.total else {}
    return _filled(wish, scene, profile, gap, exponent) | ends


def _as_high(register: int, at: int, known: Registers) -> int:
    """A register as it counts beside others, where these began anew after their last digit."""
    before = max((one for end_at, one in known.items() if end_at < at), default=0)
    after = min((one for end_at, one in known.items() if end_at > at), default=before)
    for lift in {before // LARGEST, after // LARGEST}:
        if before <= register + lift * LARGEST <= max(after, before):
            return register + lift * LARGEST
    return register + before // LARGEST * LARGEST


def _beside(wish: Wish, scene: Scene, shown: Rows, good: Rows, register: int) -> Registers:
    """A point, and where estimates around it do not meet it, these made anew between it and what was measured or written
    on both sides.
    """
    at, wanted = wish.until, {wish.until: register}
    firm = good[(good["quality"] != Quality.ESTIMATED) & (good["end_at"] != at)]
    place = int(np.searchsorted(firm["end_at"], at))
    beside = firm[max(place - 1, 0) : place + 1]
    between = good[(good["quality"] == Quality.ESTIMATED) & (good["end_at"] != at)]
    if 0 < place < len(firm):
        first, last = beside["end_at"].tolist()
        between = between[(between["end_at"] > first) & (between["end_at"] < last)]
    early = between["end_at"] < at
    if (
        not ((between["register"] > register) & early).any()
        and not ((between["register"] < register) & ~early).any()
    ):
        return wanted
    profile = shown[shown["profile"]]
    interval = interval_of(profile) if len(profile) > 1 else HOUR
    for end_at, value in beside[["end_at", "register"]].tolist():
        (since, first), (until, last) = sorted(((end_at, value), (at, register)))
        if first <= last and (until - since) % interval == 0:
            gap = Gap(since, until, interval, first, last)
            wanted |= _filled(wish, scene, profile, gap, int(beside["exponent"][0]))
    return wanted


def _filled(wish: Wish, scene: Scene, profile: Rows, gap: Gap, exponent: int) -> Registers:
    """Registers within a gap, none where it has one interval."""
    if gap.parts == 1:
        return {}
    medium = scene.words.medium[scene.key.point]
    context = scene.context
    before = profile[(profile["end_at"] <= gap.since) & (profile["quality"] == Quality.MEASURED)]
    before = before[before["exponent"] == exponent]
    about = Known.of(
        gap,
        before["end_at"].astype(np.int64),
        before["register"].astype(np.int64),
        medium=medium,
        customer=context.customer,
        calendar=context.calendar,
        weather=context.weather,
        neighbours=scene.beside(gap),
        offset=context.offset,
        fed=scene.key.channel == EXPORT,
    )
    order = (wish.method,) if wish.method else scene.order(gap)
    filled = bridge(gap, about, order)
    if filled is None:
        raise refused(
            "edit.method",
            f"{wish.method or 'every method'} has too little to go by here, or this is too long for it",
        )
    return dict(zip(gap.ends[:-1].tolist(), filled.registers, strict=True))


def _check_rising(registers: Mapping[int, int], new: Registers) -> None:
    ordered = sorted(registers.items())
    for (before, lower), (after, higher) in pairwise(ordered):
        if higher < lower and (before in new or after in new):
            other = "after" if before in new else "before"
            raise refused(
                "edit.falls",
                f"the register would fall between {when(before)} and {when(after)}, so it does not meet the "
                f"reading {other} it; edit up to a reading that it meets, or {'less' if before in new else 'more'} use",
            )


def _moved(new: Registers, stands: Rows, scene: Scene, begin: int, end: int) -> int:
    """Most that registers differ from what stood there before any person touched it, so that many small edits are one
    large one; where nothing stood, from the register before.
    """
    by_people = {code for code, text in enumerate(scene.words.texts) if text.startswith((EDIT, UNDO))}
    own = stands[(stands["end_at"] >= begin) & (stands["end_at"] < end)]
    rows = visible(own[~np.isin(own["method"], list(by_people))])
    rows = lifted(rows[np.isin(rows["quality"], USABLE)], scene.context)
    times = rows["end_at"].astype(np.int64)
    most = 0
    for at, register in new.items():
        place = int(np.searchsorted(times, at, side="right")) - 1
        stood = int(rows["register"][max(place, 0)]) if len(rows) else 0
        most = max(most, abs(register - stood))
    return most
