"""Station MDMS, what is judged: rules run over what came, changes are tried, facts have readings looked at again.

It holds no rule (`vee` does) and stores nothing itself.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import structlog

from meterseal.crypto.symmetric import equal
from meterseal.errors import DataError
from meterseal.mdms import clocks
from meterseal.mdms.around import Around
from meterseal.mdms.changes import Change, Changes
from meterseal.mdms.clocks import Measured
from meterseal.mdms.entries import Version
from meterseal.mdms.facts import Agreed, Fact, Facts
from meterseal.mdms.finding import Finding
from meterseal.mdms.heats import Heats, Recalled, Warm
from meterseal.mdms.reading import Reading, VeeRun
from meterseal.mdms.rolling import DAY
from meterseal.mdms.rollups import Rollups
from meterseal.mdms.runs import Kept, Runs, program
from meterseal.mdms.seen import EVERYTHING, Seen
from meterseal.mdms.state import Pending
from meterseal.mdms.store.rows import EVER, Key
from meterseal.mdms.surroundings import Surroundings
from meterseal.mdms.trouble import DAMAGED, Troubles
from meterseal.mdms.unreadable import Readable
from meterseal.mdms.vee import engine as vee
from meterseal.mdms.vee.channel import Bridging, ReadOff
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.estimators import Override
from meterseal.mdms.vee.rules import RULES
from meterseal.mdms.vee.rules.clocks import NAME as CLOCK_ERROR
from meterseal.mdms.vee.rules.clocks import ClockError
from meterseal.mdms.vee.settings import RuleChange
from meterseal.mdms.vee.trial import Trial, trial
from meterseal.model import MAIN, ClockSeen

log = structlog.get_logger()


class Judging(Reading, ABC):
    """The part of the store of measurements that rules and estimators work in. Coroutines belong to one event loop."""

    rollups: Rollups
    surroundings: Surroundings
    facts: Facts
    changes: Changes
    runs: Runs
    _judging_alone: asyncio.Lock
    _troubles: Troubles
    _heats: Heats
    _agreed: Callable[[], Agreed]
    _read_off: Callable[[str], Mapping[int, ReadOff]]

    @abstractmethod
    async def settle(self) -> None:
        """Check all evidence committed before the call."""

    @abstractmethod
    async def alone(self, make: Callable[[], Iterable[Version]]) -> None:
        """Return once the versions that `make` says are durable, with no other entry between its looking and this one."""

    # --- runs -------------------------------------------------------------------------------------

    async def run_vee(self, now: int) -> VeeRun:
        """Let every rule look at what came since the last run, append findings, estimate gaps.

        It sees what was stored at one point, which is kept with it, and nothing that comes meanwhile. Deterministic and
        idempotent: with no new readings a run adds nothing. After a start the first run looks at everything once. What
        lies in a damaged file is a finding of each of its channels, which are judged after it and looked at again by every
        run. Raises EngineError when nothing could be written; the next run does it again. One run at a time: a second one
        sees what the first one wrote, and does not estimate beside it.
        """
        async with self._judging_alone:
            return await self._run_vee(now)

    async def _run_vee(self, now: int) -> VeeRun:
        await self.settle()
        await asyncio.to_thread(self._take_facts, now)
        with self._store.lock:
            self._state.merge()
            dirty, self._state.dirty = self._state.dirty, {}
            entry = self._state.sequence
        try:
            number, outcome, readable = await asyncio.to_thread(self._judged, dirty, entry, now)
            found = await asyncio.to_thread(self._begun_here, outcome.findings)
            new = await asyncio.to_thread(self._findings.append, [*readable.findings(f"vee-{now}"), *found])
            written: list[Version] = []
            if outcome.versions:

                def stand() -> list[Version]:
                    written.extend(self._still(outcome.versions, entry))
                    return written

                await self.alone(stand)
        except BaseException:
            with self._store.lock:
                self._state.mark_dirty(dirty)
            raise
        error = readable.trouble()
        if error is None:
            self._troubles.over(DAMAGED)
        else:
            self._troubles.failed(DAMAGED, error)
            log.error("mdms.unreadable", message=error.message)
        with self._store.lock:
            # Until their file is restored; nobody else is held up by them.
            self._state.mark_dirty(readable.oldest())
            self._state.mark_grown(readable.oldest())
        return VeeRun(outcome.readings, len(dirty), new, len(written), outcome.unjudged, number)

    def _judged(self, dirty: Mapping[Key, int], entry: int, now: int) -> tuple[int, vee.Outcome, Readable]:
        """A run, written down before anything follows from it; number 0 when there was nothing to look at."""
        readable = Readable(self._store, self.rollups.floor, entry)
        if not dirty:
            return 0, vee.Outcome([], [], 0, {}), readable
        replaced = self._places.replaced()
        # After what is to be judged was taken: whatever has anything judged again was stored before it said so.
        seen = self.runs.point(entry, replaced)
        outcome = vee.run(readable, dirty, self._how(now, seen, replaced, readable.exists))
        return self.runs.keep(now, seen, dirty, outcome, len(readable.missed)), outcome, readable

    def _begun_here(self, found: Sequence[Finding]) -> list[Finding]:
        """Without those that begin with the first reading a roll-up left and go on what was said of the time before it:
        their beginning is not seen any more, and they would be said once more as if they had begun there.
        """
        cut = []
        for one in found:
            floor = self.rollups.horizon(one.usage_point, one.channel)
            if floor <= one.since < floor + DAY and floor >= 0:
                key = self._store.key(one.usage_point, one.channel, floor, one.since)
                if key is not None and not len(self._store.rows(key, floor, one.since - 1)):
                    cut.append(one)
        again = self._findings.begun_before(cut)
        return [one for one in found if id(one) not in again]

    def _still(self, versions: Sequence[Version], entry: int) -> Iterator[Version]:
        """Those of a run's versions at whose instants nothing came while it looked: that stands, the next run sees it, and
        no version is there twice.
        """
        if self._state.sequence == entry:
            yield from versions
            return
        known = self._store.words.known
        for key, of in groupby(versions, lambda one: (known(one.usage_point), one.channel)):
            its = list(of)
            point, channel = key
            assert point is not None
            first, last = min(one.start_at for one in its), max(one.start_at for one in its)
            came = self._store.came_after(Key(point, channel), first, last, entry)
            yield from (one for one in its if one.start_at not in came)

    async def try_rule(self, change: RuleChange, since: int, now: int) -> Trial:
        """What a rule would flag with a change, beside what it flags; nothing is kept but that it was tried.

        Raises LocalError `use.rule`, `use.rules` or `use.parameter`.
        """
        keys = sorted(self._store.oldest())
        readable = Readable(self._store, self.rollups.floor)
        said = await asyncio.to_thread(trial, readable, keys, change, since, self._how_now(now))
        await asyncio.to_thread(self.changes.tried, change, said)
        return said

    async def order_methods(self, override: Override, author: str, now: int) -> Change:
        """Ask methods in another order for gaps of a time; the next run estimates these anew. Errors as `Changes.order`."""
        made = await asyncio.to_thread(self.changes.order, override, author=author, now=now)
        medium = self._store.words.medium
        keys = {
            key: override.since
            for key in self._store.keys_stored()
            if override.medium in (None, medium[key.point])
        }
        with self._store.lock:
            self._state.mark_dirty(keys)
        return made

    def replay(self, number: int) -> vee.Outcome:
        """What a run said, found again bit for bit; nothing is kept. LocalError `vee.no-run`.

        Raises DataError `vee.not-replayable` when it comes out otherwise and why is known, `vee.replay-differs` when it is
        not: then what is stored, or what is kept of the run, is not what it was.
        """
        kept = self.runs.get(number)
        if kept.run.seen.entry < 0:
            raise _gone(
                number, ["journal entries that it saw were lost and given up (meterseal store give-up)"]
            )
        self._store.oldest()  # every stored channel is known by its word from here on
        looked = self.runs.looked(kept)
        medium = self._store.words.medium
        dirty = {key: since for key, since in looked.items() if key.point in medium}
        seen = kept.run.seen
        readable = Readable(self._store, self.rollups.floor_at(seen.entry), seen.entry)
        how = self._how(kept.run.at, seen, self.runs.exchanged(seen.exchange), readable.exists)
        said = vee.run(readable, dirty, how)
        if not equal(self.runs.digest(said), kept.digest):
            raise self._otherwise(kept, looked, readable, len(looked) - len(dirty))
        return said

    def _otherwise(self, kept: Kept, looked: Mapping[Key, int], readable: Readable, gone: int) -> DataError:
        """Why a run comes out otherwise than it did, as far as that is known."""
        then, medium = self.rollups.floor_at(kept.run.seen.entry), self._store.words.medium
        rolled = sum(self.rollups.floor(key) != then(key) for key in looked if key.point in medium)
        now, was = program(), kept.run.program
        others = sorted(name for name in now.keys() | was.keys() if now.get(name) != was.get(name))
        why = [
            f"{count} {what}"
            for count, what in (
                (
                    rolled,
                    "of its channels were rolled up since, and what that took away is not there any more",
                ),
                (gone, "of its channels have no readings here any more"),
                (len(readable.missed), "of its channels lie in damaged files (meterseal store check)"),
                (kept.run.unread, "of its channels lay in damaged files then, and can be read now"),
            )
            if count
        ]
        if others:
            why.append(f"what judged is another one now: {', '.join(others)}")
        number = kept.run.number
        if why:
            return _gone(number, why)
        return DataError(
            "vee.replay-differs",
            f"Run {number} comes out otherwise than it did, and nothing is known that explains it: what is stored, or what "
            "is kept of the run, was changed. See what was changed: meterseal ledger verify",
        )

    def replayed(self, now: int) -> vee.Outcome:
        """What a run at an instant that kept no point said of everything that was stored then; nothing is kept.

        It goes by the instants of receipt: the versions, facts, changes and installations of then. Weather and kinds of
        days are those of today.
        """
        oldest = self._store.oldest()
        how = self._how(now, None, self._places.replaced(now), self._is_stored)
        return vee.run(vee.AsOf(self._store, now - 1), oldest, how)

    def _how_now(self, now: int) -> vee.Run:
        """For what is no run: everything that is known."""
        return self._how(now, EVERYTHING, self._places.replaced(), self._is_stored)

    def _is_stored(self, key: Key) -> bool:
        return key.point in self._store.words.medium

    def _how(
        self,
        now: int,
        seen: Seen | None,
        replaced: Mapping[str, Sequence[int]],
        exists: Callable[[Key], bool],
    ) -> vee.Run:
        """A run with what is known beside the registers and what an operator changed, up to what it saw; without that as
        recorded up to then.
        """
        around = Around(
            self.surroundings,
            self.facts,
            self._store.words,
            now,
            seen,
            exists,
            replaced,
            self._read_off,
            Recalled(self._heats, self._warm, now, seen.entry if seen is not None else EVER),
        )
        settings, overrides = self.changes.known(now, seen.change if seen is not None else None)
        return vee.Run(
            now,
            replaced=replaced,
            surroundings=around,
            settings=settings,
            bridging=Bridging(overrides=overrides),
            rolled=self.rollups.floor if seen is None else self.rollups.floor_at(seen.entry),
        )

    def _warm(self) -> list[Warm]:
        with self._store.lock:
            return list(self._state.heats)

    # --- facts ------------------------------------------------------------------------------------

    def agreements_from(self, agreed: Callable[[], Agreed]) -> None:
        """Where periods of agreements are asked for at every run; until then no usage point is vacant."""
        self._agreed = agreed

    def registers_read_from(self, read_off: Callable[[str], Mapping[int, ReadOff]]) -> None:
        """Where is asked what installers read at a usage point's changes of meters, by the instants at which a meter was
        put in place. What is said once must never be said otherwise; until then nothing is known.
        """
        self._read_off = read_off

    async def state(self, facts: Sequence[Fact], now: int) -> None:
        """Keep facts about usage points; the next run judges these again from then on. Errors as `Facts.put`."""
        self._judge_again(await asyncio.to_thread(self.facts.put, facts, now))

    def _take_facts(self, now: int) -> None:
        """Record what agreements and weather say now; what it changes is judged again, however long ago it came."""
        points, heated = self.facts.refresh(self._agreed(), now)
        self._judge_again(points)
        if heated is not None:
            medium = self._store.words.medium
            gas = {key: heated for key in self._store.keys_stored() if medium[key.point] == "gas"}
            with self._store.lock:
                self._state.mark_dirty(gas)

    def _judge_again(self, points: Mapping[str, int]) -> None:
        known = {self._store.words.known(point): since for point, since in points.items()}
        if known:
            keys = {key: known[key.point] for key in self._store.keys_stored() if key.point in known}
            with self._store.lock:
                self._state.mark_dirty(keys)

    def _take_alarms(self, items: Sequence[Pending], good: Sequence[bool]) -> None:
        """Alarms of checked statements are facts, and what they are about is judged again."""
        self._look_again(self.facts.alarms(items, good))

    def _take_clocks(self, measured: Sequence[Measured]) -> None:
        """How far clocks are off is a fact, and what they stamped is judged again. That they still are is nothing new."""
        kept = clocks.keep(self._engine, measured)
        self._look_again(kept.again)
        self._findings.append(
            [
                found
                for one in kept.new
                # Nearly all are right; only of the others the store is asked.
                if one.seen.off and (found := self._far_off(one)) is not None and not self._has_profile(one)
            ]
        )

    async def clocks_seen(self, seen: Sequence[ClockSeen], now: int) -> None:
        """Somebody saw meters' clocks at the platform itself. Errors as `settle`; then nothing was kept."""
        places = self._places.of({one.device_id for one in seen})
        measured = [found for one in seen for found in clocks.placed(one, places, now)]
        await asyncio.to_thread(self._take_clocks, measured)

    def _has_profile(self, measured: Measured) -> bool:
        """Has it readings that the rules look at, which say so themselves?"""
        key = Key(self._store.words.code(measured.usage_point), MAIN)
        try:
            rows = self._store.rows(key, measured.seen.since - 7 * DAY, measured.seen.at + DAY)
        except DataError:  # of a damaged segment nobody knows; said twice is better than not
            return False
        return bool(rows["profile"].any())

    def _far_off(self, measured: Measured) -> Finding | None:
        """What the rule would say of a reading at the time of the measurement."""
        medium = self._store.words.medium.get(self._store.words.code(measured.usage_point))
        rule, at = RULES[CLOCK_ERROR], measured.seen.at
        context = Context(medium=medium or "water")
        settings, _ = self.changes.known(at, None)
        for parameters in settings.held_in(rule, context, at, at):
            if isinstance(parameters, ClockError) and abs(measured.seen.off) > parameters.allowed:
                return clocks.finding(measured, rule.version, rule.severity, parameters)
        return None

    def _look_again(self, said: Mapping[tuple[str, int], int]) -> None:
        words = self._store.words
        keys = {Key(words.code(p), channel): at for (p, channel), at in said.items()}
        # One of which nothing was ever read is known until the next start, and would be counted until then.
        keys = {key: at for key, at in keys.items() if self._store.came_by(key, EVER)}
        with self._store.lock:
            self._state.mark_dirty(keys)


def _gone(number: int, why: Sequence[str]) -> DataError:
    return DataError(
        "vee.not-replayable", f"Run {number} cannot be found again bit for bit: {'; '.join(why)}."
    )
