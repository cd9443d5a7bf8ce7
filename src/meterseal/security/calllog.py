"""What other people's platforms did and were refused, on its way into the audit log: singly at first, then as counts.

It writes nothing itself and judges no call; `desk.Room` asks it about every entry whose caller is such a platform.

An enrolled platform may call fifty times a second for as long as it likes, and every call belongs into the log. So each
platform has a store of single entries, with ids and reasons, that fills up slowly; beyond it a call is counted by what it
was, and once a minute one entry says how often. Always written singly is what others bound: what rests on officers'
signatures, and the first session in an hour with each module, so that no noise hides whom a platform heard. So a platform
makes at most some sixteen thousand entries a day besides these, whatever it does, and none of its calls is uncounted.
"""

from __future__ import annotations

from collections import Counter

from meterseal.security.messages import AuditEntry

BURST = 300
PER_MINUTE = 10
MINUTE = 60_000
MOST_KINDS = 40
"""Kinds of one platform that are told apart in a minute; what is beyond them is one together."""
CODE = "security.platform-calls"
ANSWERED = "security.platform-call"
SESSION = "security.session"
_HOUR = 60 * MINUTE
_MOST_HEARD = 65_536
_OTHERS = "others"


class _Caller:
    __slots__ = ("at", "counts", "heard", "left", "since")

    def __init__(self, now: int) -> None:
        self.left, self.at, self.since = float(BURST), now, now
        self.counts: Counter[str] = Counter()
        self.heard: dict[bytes, int] = {}


class CallLog:
    """The stores and counts of one service, in memory; `due` empties them."""

    def __init__(self) -> None:
        self._callers: dict[str, _Caller] = {}

    def singly(self, entry: AuditEntry) -> bool:
        """Whether this entry is to be written as it is; otherwise it was counted."""
        one = self._callers.setdefault(entry.caller, _Caller(entry.at))
        one.left = min(float(BURST), one.left + max(0, entry.at - one.at) * PER_MINUTE / MINUTE)
        one.at = max(one.at, entry.at)
        if entry.officers or (entry.code == SESSION and _is_first(one, entry)):
            return True
        if one.left >= 1 and not one.counts:
            one.left -= 1
            return True
        if not one.counts:
            one.since = entry.at
        kind = entry.sentence if entry.code == ANSWERED else entry.code
        if kind not in one.counts and len(one.counts) >= MOST_KINDS:
            kind = _OTHERS
        one.counts[kind] += 1
        return False

    def due(self, now: int, *, ending: bool = False) -> list[AuditEntry]:
        """One entry for each platform whose minute of counts is over (`ending`: for each that has counts)."""
        found = []
        for caller, one in self._callers.items():
            if one.counts and (ending or not 0 <= now - one.since < MINUTE):
                told = "; ".join(
                    f"{number} times {kind.rstrip('.')}" for kind, number in one.counts.most_common()
                )
                said = f"Calls beyond those that are written singly, in {max(0, now - one.since) // 1000} s: {told}."
                found.append(AuditEntry(at=now, code=CODE, sentence=said, caller=caller))
                one.counts.clear()
        return found


def _is_first(one: _Caller, entry: AuditEntry) -> bool:
    """Whether this is a platform's first session with a module for an hour."""
    if 0 <= entry.at - one.heard.get(entry.module_id, -_HOUR) < _HOUR:
        return False
    if len(one.heard) >= _MOST_HEARD:
        one.heard = {module: at for module, at in one.heard.items() if 0 <= entry.at - at < _HOUR}
    one.heard[entry.module_id] = entry.at
    return True
