"""Station head-end, how much of what devices tell of themselves and of others is written down and taken in a day.

It judges no record and writes nothing. Whoever holds a concentrator, or a module, may say what they like as often as they
like under good seals: here it ends that they fill the audit trail or the store with it, and each bound is its device's own,
so that nobody hides what another one says.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import structlog
from msgspec.structs import replace

from meterseal.headend import meteralarms
from meterseal.headend.limits import Buckets
from meterseal.headend.pipeline import Accepted
from meterseal.model import Refusal

FOUND_A_DAY, FOUND_IN_ALL = 256, 2_048
"""Unknown meters of one bus, and of all, that one concentrator may tell of in a day. A good one remembers so many of each
bus (`edge.strangers`) and tells of each once: false numbers on one bus may hide no meter on another.
"""

ALARMS_A_DAY = 12_000
"""Alarms of plain meters that one concentrator may tell of in a day: every kind, once of each of two thousand meters."""
KINDS_KNOWN = 100_000
"""Meters and kinds of alarm that are remembered for a day: of each a concentrator may tell once, so that whoever owns
some meters hides no alarm of another behind theirs."""
DAYS_AT_ONCE = 7
"""Of a meter that signs: so many days' alarms of a kind are written where they come at once, after an outage; then one a
day. Each says the same as the one before."""
STATEMENTS_A_DAY = 512
"""Signed statements of one meter that are taken in a day: hourly settlements of 16 channels, and more than a module keeps.
What is more stays with the meter, without an answer."""
CLOCKS_A_DAY = 48
"""So often in a day what a meter's clock showed is taken: hourly, and twice that. What is more is dropped."""
TOO_MANY = "meter.too-many"

_DAY = 86_400

log = structlog.get_logger()


class Telling:
    """The bounds of one head-end, which forgets them when it starts again."""

    def __init__(self) -> None:
        self._finders = Buckets(rate=FOUND_IN_ALL / _DAY, burst=FOUND_IN_ALL)
        self._buses = Buckets(rate=FOUND_A_DAY / _DAY, burst=FOUND_A_DAY, keys=KINDS_KNOWN)
        self._raisers = Buckets(rate=ALARMS_A_DAY / _DAY, burst=ALARMS_A_DAY)
        self._kinds = Buckets(rate=1 / _DAY, burst=1, keys=KINDS_KNOWN)
        self._signed = Buckets(rate=1 / _DAY, burst=DAYS_AT_ONCE, keys=KINDS_KNOWN)
        self._statements = Buckets(rate=STATEMENTS_A_DAY / _DAY, burst=STATEMENTS_A_DAY, keys=KINDS_KNOWN)
        self._clocks = Buckets(rate=CLOCKS_A_DAY / _DAY, burst=CLOCKS_A_DAY, keys=KINDS_KNOWN)
        self._lines = Buckets(rate=1 / _DAY, burst=1, keys=KINDS_KNOWN)
        self._left: OrderedDict[bytes, int] = OrderedDict()
        """How many statements of a meter were not taken since that was written last."""

    def takes(self, verdict: Accepted, now: int) -> bool:
        """Whether a record's signed statements are still among those of the day; if so they count."""
        opened = verdict.opened
        if not opened.evidence or self._statements.take(opened.device_id, now, float(len(opened.evidence))):
            return True
        self._left[opened.device_id] = self._left.pop(opened.device_id, 0) + len(opened.evidence)
        while len(self._left) > KINDS_KNOWN:
            self._left.popitem(last=False)
        return False

    def clocks(self, verdict: Accepted, now: int) -> Accepted:
        """The same with as much of what clocks of others showed as may be told in a day."""
        said = verdict.opened.clocks
        kept = tuple(one for one in said if self._clocks.take(one.device_id, now))
        if len(kept) == len(said):
            return verdict
        log.warning(
            "uplink.too-many-clocks",
            concentrator=verdict.opened.device_id.hex(),
            dropped=len(said) - len(kept),
        )
        return replace(verdict, opened=replace(verdict.opened, clocks=kept))

    def back(self, verdicts: Iterable[Accepted]) -> None:
        """These were not committed: they come again, and count then."""
        for verdict in verdicts:
            for _ in verdict.opened.evidence:
                self._statements.back(verdict.opened.device_id)
            for one in verdict.opened.clocks:
                self._clocks.back(one.device_id)

    def too_many(self, verdict: Accepted, source: str) -> list[Refusal]:
        """The line that says so of a meter whose statements are not taken, once a day."""
        opened = verdict.opened
        if not self._lines.take(opened.device_id, opened.received_at):
            return []
        count = self._left.pop(opened.device_id, 0)
        sentence = (
            f"Meter {opened.device_id.hex()} signs more than {STATEMENTS_A_DAY} statements a day: {count} were not taken "
            "since this was last said, and more are not today. Look at it on site; its controller may be in wrong hands."
        )
        return [
            Refusal(
                at=opened.received_at,
                code=TOO_MANY,
                sentence=sentence,
                device_id=opened.device_id,
                session_id=opened.session_id,
                counter=opened.counter,
                source=source,
            )
        ]

    def of_itself(self, verdict: Accepted, source: str) -> list[Refusal]:
        """What a meter that signs raises the alarm about, as far as it may."""
        told = meteralarms.told(verdict.opened, source)
        return [one for one in told if self._signed.take(_kind(one), verdict.opened.received_at)]

    def of_others(self, verdict: Accepted) -> list[Refusal]:
        """What a concentrator tells of meters, as far as it may: one in wrong hands may not fill the trail."""
        sender = verdict.opened.device_id
        told = [
            entry
            for bus, entry in verdict.found
            if self._buses.take(sender + bytes((bus,)), entry.at) and self._finders.take(sender, entry.at)
        ]
        told += [
            entry
            for entry in verdict.raised
            if self._kinds.take(_kind(entry), entry.at) and self._raisers.take(sender, entry.at)
        ]
        if dropped := len(verdict.found) + len(verdict.raised) - len(told):
            log.warning("uplink.too-many-told", concentrator=sender.hex(), dropped=dropped)
        return told

    def unwritten(self, verdicts: Iterable[Accepted]) -> None:
        """The trail took none of it: said again, it is to be heard."""
        for verdict in verdicts:
            for entry in verdict.raised:
                self._kinds.back(_kind(entry))
            for entry in meteralarms.told(verdict.opened, ""):
                self._signed.back(_kind(entry))


def _kind(entry: Refusal) -> bytes:
    """Which meter raises the alarm, and about what."""
    return entry.device_id + entry.code.encode()
