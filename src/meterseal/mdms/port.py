"""Station MDMS, the port of a store of measurements: what every store must do, said once.

It holds nothing. `Mdms` is the store that seals; the tests bring a slow obvious one, and one suite that both pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from meterseal.mdms.bulk import Bulk
from meterseal.mdms.columns import Columns
from meterseal.mdms.entries import Version
from meterseal.mdms.store.rows import Key, Readings
from meterseal.model import Medium


class Measurements(Protocol):
    """Readings by (usage point, channel, end_at) with all their versions; the highest is the visible one.

    What `append` and `revise` returned from survives any end of the process and any loss of power. A batch is durable
    by two syncs, and is answered after the first: that of the journal, in which the batch lies sealed and whole, with
    others that waited at the same time, or not at all (and of the directory, where the file is new). The second is that
    of the sealed segment and its directory; then one transaction of the manifest names the segment, and only after
    that transaction is the journal cut. What is answered can be asked for, before and after. Delivered readings
    are judged one by one in the order of their commit: the same value again is a repeat, another one is a conflict
    and the first stays, a late one takes the place of a hole or an estimate, and a load profile that of a single
    reading (ADR 0006).
    """

    async def append(self, bulk: Bulk) -> None:
        """Take in delivered readings, all or nothing. DataError `mdms.columns`, EngineError `mdms.full`, `mdms.disk`."""

    async def revise(self, versions: Iterable[Version]) -> None:
        """Take in new versions of readings, all or nothing; errors as `append`."""

    def registers(
        self, usage_point: str, channel: int, since: int, until: int, as_of: int | None = None
    ) -> Readings:
        """Visible readings with since <= end_at <= until, of the versions recorded up to `as_of`.

        DataError `mdms.units` when the unit changed in between, `mdms.segment-damaged`.
        """

    def scan(self, medium: Medium, since: int, until: int) -> Iterator[tuple[list[Key], Columns]]:
        """Every load profile as meters delivered it, since <= end_at <= until, each whole in exactly one block; of one that
        lies in a damaged file only what comes after it.
        """

    def channels(self) -> list[tuple[str, int]]:
        """Every (usage point, channel) that has readings, sorted."""

    async def compact(self) -> object:
        """Bring everything to its resting place; changes nothing that can be asked."""

    async def close(self) -> None:
        """Let go; what was answered is durable already."""
