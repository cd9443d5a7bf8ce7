"""Station utility, what an edit of readings would do to bills, before anybody saves it.

It composes with the composer of the bill run, over the measurements with the edit laid on top; it saves nothing and judges
no edit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.mdms.entries import Version
from meterseal.mdms.store.rows import ORIGINS
from meterseal.utility.bills import Bill, BillLine, HeldBill
from meterseal.utility.calendar import Period, local
from meterseal.utility.compose import Terms, next_version
from meterseal.utility.ports import EvidenceFacts, Measurements, RegisterColumns
from meterseal.utility.views import ChargeLine, LineChange, PeriodEffect


class Columns(NamedTuple):
    """`ports.RegisterColumns`."""

    end_at: NDArray[np.int64]
    register: NDArray[np.int64]
    quality: NDArray[np.int8]
    origin: NDArray[np.int8]
    exponent: int
    unit: str
    uncertainty: tuple[int | None, ...]


class _Laid(NamedTuple):
    register: int
    exponent: int
    quality: int
    origin: int
    unit: str


class Overlay:
    """Measurements as they would be with further versions of one channel."""

    def __init__(self, beneath: Measurements, versions: Iterable[Version]) -> None:
        self._beneath = beneath
        self._laid: dict[tuple[str, int], dict[int, _Laid]] = {}
        for one in versions:
            channel = self._laid.setdefault((one.usage_point, one.channel), {})
            for index, register in enumerate(one.registers):
                channel[one.start_at + index * one.step] = _Laid(
                    register, one.exponent, int(one.quality), ORIGINS.index(one.origin), one.unit
                )

    def registers(
        self, usage_point: str, channel: int, since: int, until: int, as_of: int | None = None
    ) -> RegisterColumns:
        """As `ports.Measurements`; with `as_of` what was visible then, without the edit."""
        found = self._beneath.registers(usage_point, channel, since, until, as_of)
        laid = {} if as_of is not None else self._laid.get((usage_point, channel), {})
        new = {at: one for at, one in laid.items() if since <= at <= until}
        if not new:
            return found
        finest = min([one.exponent for one in new.values()] + [found.exponent] * bool(len(found.end_at)))
        scale = 10 ** (found.exponent - finest) if len(found.end_at) else 1
        columns = (found.end_at, found.register, found.quality, found.origin)
        rows = {
            at: (register * scale, quality, origin)
            for at, register, quality, origin in zip(*(column.tolist() for column in columns), strict=True)
        }
        sure = dict(zip(found.end_at.tolist(), found.uncertainty, strict=True))
        for at, one in new.items():
            rows[at] = (one.register * 10 ** (one.exponent - finest), one.quality, one.origin)
        ends = sorted(rows)
        return Columns(
            np.array(ends, np.int64),
            np.array([rows[at][0] for at in ends], np.int64),
            np.array([rows[at][1] for at in ends], np.int8),
            np.array([rows[at][2] for at in ends], np.int8),
            finest,
            found.unit if len(found.end_at) else next(iter(new.values())).unit,
            tuple(sure[at] * scale if at not in new and sure.get(at) is not None else None for at in ends),
        )

    def evidence_between(
        self, usage_point: str, channel: int, since: int, until: int
    ) -> Sequence[EvidenceFacts]:
        """As `ports.Measurements`: no edit changes what a meter signed."""
        return self._beneath.evidence_between(usage_point, channel, since, until)

    def standing(self, now: int) -> Overlay:
        """As `ports.Measurements`, with the edit."""
        made = Overlay(self._beneath.standing(now), ())
        made._laid = self._laid
        return made


class Drawn(NamedTuple):
    """What a bill run would make of a period now, beside the newest bill that was issued for it; `looked_at`: a run
    still looks at a period that old by itself.
    """

    terms: Terms
    period: Period
    issued: Bill | None
    outcome: Bill | HeldBill
    looked_at: bool


def used_by(drawn: Sequence[Drawn], first: int, last: int) -> tuple[str, ...]:
    """Ids of the issued bills whose period holds an instant of first <= t <= last."""
    held = (one for one in drawn if one.period.since <= last and one.period.until >= first)
    return tuple(one.issued.bill_id for one in held if one.issued is not None)


def effects(before: Sequence[Drawn], after: Sequence[Drawn]) -> tuple[PeriodEffect, ...]:
    """The periods that come out differently, of the same periods drawn without an edit and with it."""
    pairs = zip(before, after, strict=True)
    found = [_effect(one, other) for one, other in pairs]
    return tuple(one for one in found if one is not None)


def check_one_tenant(terms: Sequence[Terms], since: int, until: int) -> None:
    """DataError `edit.tenants` when an agreement begins or ends inside since < t < until: use is not moved from one
    customer to another.
    """
    for one in terms:
        for at in (one.since, one.until):
            if at is not None and since < at < until:
                when = local(at).strftime("%Y-%m-%d %H:%M")
                raise DataError(
                    "edit.tenants",
                    f"The edit is refused: the customer changed at {when}, and use is not moved from one to another. "
                    "Edit the part of each by itself. Nothing was changed.",
                )


def between_tenants(terms: Sequence[Terms], instants: Iterable[int]) -> bool:
    """Whether one of these instants is the end of one agreement and the beginning of another."""
    ends = {one.until for one in terms if one.until is not None} & {one.since for one in terms}
    return not ends.isdisjoint(instants)


def _effect(before: Drawn, after: Drawn) -> PeriodEffect | None:
    one, other = before.outcome, after.outcome
    if isinstance(one, Bill) and isinstance(other, Bill) and next_version(other, one) is None:
        return None
    if isinstance(one, HeldBill) and isinstance(other, HeldBill) and one.sentence == other.sentence:
        return None
    issued = before.issued
    return PeriodEffect(
        agreement_id=before.terms.agreement_id,
        since=before.period.since,
        until=before.period.until,
        issued=issued.bill_id if issued is not None else "",
        corrects=issued is not None
        and before.looked_at
        and isinstance(other, Bill)
        and next_version(other, issued) is not None,
        before_fen=one.total_fen if isinstance(one, Bill) else None,
        after_fen=other.total_fen if isinstance(other, Bill) else None,
        held_before=one.sentence if isinstance(one, HeldBill) else "",
        held_after=other.sentence if isinstance(other, HeldBill) else "",
        lines=_changed(_lines(one), _lines(other)),
        code_before=one.code if isinstance(one, HeldBill) else "",
        code_after=other.code if isinstance(other, HeldBill) else "",
    )


def _lines(outcome: Bill | HeldBill) -> dict[str, ChargeLine]:
    return {_name(line): line.charge for line in outcome.lines} if isinstance(outcome, Bill) else {}


def _name(line: BillLine) -> str:
    charge = line.charge
    which = f"tier {charge.tier}" if charge.tier else charge.band or charge.kind
    return f"{which} from {local(charge.since).strftime('%Y-%m-%d')} at {charge.price}"


def _says(charge: ChargeLine | None) -> str:
    return "" if charge is None else f"{charge.quantity} = {charge.amount_fen / 100:.2f} CNY"


def _changed(before: Mapping[str, ChargeLine], after: Mapping[str, ChargeLine]) -> tuple[LineChange, ...]:
    pairs = ((name, before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after]))
    made = (
        LineChange(line=name, before=_says(was), after=_says(becomes), was=was, becomes=becomes)
        for name, was, becomes in pairs
    )
    return tuple(one for one in made if one.before != one.after)
