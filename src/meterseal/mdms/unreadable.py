"""Station MDMS, a store as far as it can be read: what a damaged file holds is named, and everybody else is judged.

It repairs nothing, and hides nothing from those who bill or show: they read the store itself, which refuses.

Of a channel of which part cannot be read, only what came after the last such part is given: the rules must not take what
is there and cannot be read for a gap, and fill it. It is judged whole by the first run that can read it again.
"""

from __future__ import annotations

from collections.abc import Callable

from meterseal.errors import DataError
from meterseal.mdms.columns import Missed
from meterseal.mdms.finding import Finding
from meterseal.mdms.findings import Findings
from meterseal.mdms.store.rows import EVER, Key, Rows, Words, pick
from meterseal.mdms.store.store import Store
from meterseal.mdms.trouble import PARTLY, Troubles

UNREADABLE = "unreadable"
"""The finding about readings that are stored in a file that does not open."""


class Readable:
    """The rows of a store for one run of the rules, up to a journal entry; `missed` says afterwards what could not be
    read.
    """

    def __init__(self, store: Store, floor: Callable[[Key], int] = lambda _: -1, entry: int = EVER) -> None:
        self._store = store
        self._floor = floor
        """From when on a channel has intervals: what was rolled up before would be taken for gaps."""
        self._entry = entry
        self._there: dict[Key, bool] = {}
        self.words = store.words
        self.missed: Missed = {}

    def exists(self, key: Key) -> bool:
        """Is there any reading of a channel?"""
        if key not in self._there:
            self._there[key] = self._store.came_by(key, self._entry)
        return self._there[key]

    def rows(self, key: Key, since: int, until: int) -> Rows:
        """Every version with since <= end_at <= until that lies after what cannot be read."""
        rows, lost = self._store.readable(key, max(since, self._floor(key)), until)
        if (rows["batch"] > self._entry).any():
            rows = pick(rows, rows["batch"] <= self._entry)
        if not lost:
            return rows
        known = self.missed.setdefault(key, [])
        known += [one for one in lost if one not in known]
        return pick(rows, rows["end_at"] > max(one.until for one in lost))

    def oldest(self) -> dict[Key, int]:
        """The channels that must be judged again, and from when on."""
        return {key: min(one.since for one in lost) for key, lost in self.missed.items()}

    def trouble(self) -> DataError | None:
        """All of it in a sentence; None when everything could be read."""
        return _trouble(self.missed, "nothing is billed or estimated across them") if self.missed else None

    def findings(self, run: str) -> list[Finding]:
        """One for each channel and file."""
        return _findings(self.missed, self.words, run)


class Missing:
    """Says what forecasts could not read: a finding for each channel and file, once, and a line of the status."""

    def __init__(self, findings: Findings, words: Words, troubles: Troubles) -> None:
        self._findings = findings
        self._words = words
        self._troubles = troubles

    def forecasts(self, missed: Missed, now: int) -> None:
        """What the forecasts of a day could not read; nothing when all was."""
        if not missed:
            self._troubles.over(PARTLY)
            return
        self._findings.append(_findings(missed, self._words, f"forecast-{now}"))
        self._troubles.failed(PARTLY, _trouble(missed, "forecasts know nothing of them"))


def _trouble(missed: Missed, sentence: str) -> DataError:
    files = sorted({one.file for lost in missed.values() for one in lost})
    return DataError(
        "mdms.segment-damaged",
        f"{len(missed)} channels have readings in {len(files)} damaged files, {files[0]} the first; {sentence}. Restore "
        "them from a backup; findings name the channels and times.",
    )


def _findings(missed: Missed, words: Words, run: str) -> list[Finding]:
    return [
        Finding(
            usage_point=words.texts[key.point],
            channel=key.channel,
            since=one.since,
            until=one.until,
            rule=UNREADABLE,
            version=1,
            severity="error",
            detail={"file": one.file},
            run=run,
        )
        for key, lost in sorted(missed.items())
        for one in lost
    ]
