"""A store of measurements that is slow and obvious: one dictionary, one reading at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from meterseal.errors import DataError
from meterseal.mdms.bulk import Bulk, pack_bulk
from meterseal.mdms.columns import Columns
from meterseal.mdms.entries import Version
from meterseal.mdms.ingest_columns import FUTURE
from meterseal.mdms.store.rows import ORIGINS, RETRACTED, Key, Readings
from meterseal.model import Medium, Quality


class Stored(NamedTuple):
    """One version of a reading."""

    version: int
    register: int
    exponent: int
    unit: str
    quality: Quality
    origin: str
    profile: bool
    method: str
    recorded_at: int

    @property
    def delivered(self) -> bool:
        return not self.method and self.quality != Quality.MISSING


class MemoryStore:
    """Everything in a dictionary: (usage point, channel) -> end_at -> versions in the order of their commit."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], dict[int, list[Stored]]] = {}
        self.medium: dict[str, Medium] = {}
        self.words: list[str] = []
        self.repeated = self.conflicts = 0

    async def append(self, bulk: Bulk) -> None:
        pack_bulk(bulk)
        order = sorted(
            range(len(bulk.point)),
            key=lambda k: (bulk.points[bulk.point[k]], bulk.channel[k], bulk.end_at[k]),
        )
        for k in order:
            at = int(bulk.end_at[k])
            point = bulk.points[bulk.point[k]]
            self.medium[point] = bulk.medium
            quality = Quality.SUSPECT if at > bulk.received_at + FUTURE else Quality.MEASURED
            missing = bool(bulk.missing[k])
            one = Stored(
                version=1,
                register=0 if missing else int(bulk.register[k]),
                exponent=int(bulk.exponent[k]),
                unit=bulk.units[bulk.unit[k]],
                quality=Quality.MISSING if missing else quality,
                origin=bulk.origin,
                profile=bulk.profile,
                method="",
                recorded_at=bulk.received_at,
            )
            versions = self.rows.setdefault((point, int(bulk.channel[k])), {}).setdefault(at, [])
            self._take(versions, one)

    def _take(self, versions: list[Stored], one: Stored) -> None:
        next_ = one._replace(version=max((v.version for v in versions), default=0) + 1)
        floor = max((v.version for v in versions if v.method == RETRACTED), default=0)
        delivered = [v for v in versions if v.delivered and v.version > floor]
        in_time = [v for v in delivered if v.quality != Quality.SUSPECT]
        stands = next((v for v in in_time or delivered if v.profile), None)
        stands = stands or next(iter(in_time or delivered), None)
        if not versions or (stands is None and one.quality != Quality.MISSING):
            versions.append(next_)
        elif one.quality == Quality.MISSING or stands is None:
            self.repeated += 1
        else:
            value = stands.register * 10**stands.exponent == one.register * 10**one.exponent
            self.repeated += value and stands.unit == one.unit
            self.conflicts += not (value and stands.unit == one.unit)
            early, late = stands.quality == Quality.SUSPECT, one.quality == Quality.SUSPECT
            if (early and not late) or (early == late and one.profile and not stands.profile):
                versions.append(next_)

    async def revise(self, versions: Iterable[Version]) -> None:
        for one in versions:
            self.medium[one.usage_point] = one.medium
            for k, register in enumerate(one.registers):
                at = one.start_at + k * one.step
                self.rows.setdefault((one.usage_point, one.channel), {}).setdefault(at, []).append(
                    Stored(
                        one.version,
                        register,
                        one.exponent,
                        one.unit,
                        one.quality,
                        one.origin,
                        False,
                        one.method,
                        one.recorded_at,
                    )
                )

    def registers(
        self, usage_point: str, channel: int, since: int, until: int, as_of: int | None = None
    ) -> Readings:
        shown = []
        for at, versions in sorted(self.rows.get((usage_point, channel), {}).items()):
            then = [v for v in versions if as_of is None or v.recorded_at <= as_of]
            if since <= at <= until and then:
                shown.append((at, max(then, key=lambda v: v.version)))
        units = {one.unit for _, one in shown}
        if len(units) > 1:
            raise DataError("mdms.units", "The unit changed.")
        finest = min((one.exponent for _, one in shown), default=0)
        return Readings(
            end_at=np.array([at for at, _ in shown], np.int64),
            register=np.array([one.register * 10 ** (one.exponent - finest) for _, one in shown], np.int64),
            quality=np.array([one.quality for _, one in shown], np.int8),
            origin=np.array([ORIGINS.index(one.origin) for _, one in shown], np.int8),
            version=np.array([one.version for _, one in shown], np.int16),
            profile=np.array([one.profile for _, one in shown], np.bool_),
            method=tuple(one.method for _, one in shown),
            exponent=finest,
            unit=units.pop() if units else "",
        )

    def scan(self, medium: Medium, since: int, until: int) -> Iterator[tuple[list[Key], Columns]]:
        for point, channel in sorted(self.rows):
            if self.medium[point] != medium:
                continue
            shown = []
            for at, versions in sorted(self.rows[point, channel].items()):
                floor = max((v.version for v in versions if v.method == RETRACTED), default=0)
                delivered = [v for v in versions if v.delivered and v.profile and v.version > floor]
                if since <= at <= until and delivered:
                    shown.append((at, max(delivered, key=lambda v: v.version)))
            if shown:
                key = Key(self._word(point), channel)
                yield (
                    [key],
                    Columns(
                        starts=np.array([0, len(shown)]),
                        end_at=np.array([at for at, _ in shown]),
                        register=np.array([one.register for _, one in shown]),
                        exponent=np.array([one.exponent for _, one in shown], np.int8),
                        quality=np.array([one.quality for _, one in shown], np.int8),
                        unit=np.array([self._word(one.unit) for _, one in shown], np.int32),
                        meter=np.zeros(len(shown), np.int32),
                    ),
                )

    def channels(self) -> list[tuple[str, int]]:
        return sorted(self.rows)

    async def compact(self) -> None: ...

    async def close(self) -> None: ...

    def text(self, word: int) -> str:
        return self.words[word]

    def _word(self, text: str) -> int:
        if text not in self.words:
            self.words.append(text)
        return self.words.index(text)
