"""Everything the head-end sends down inside a session: ACK, REJECT and TIME, each under a reserved down counter.

It commands nothing: guarded commands carry the security service's authorisation and come with the command queue.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary

from meterseal.headend.ports import Sessions
from meterseal.headend.sessions import LiveSession
from meterseal.headend.tcp import Link
from meterseal.link import control

class Delivery:
    """Gathers acknowledgements of one batch per session and sends them; knows over which link a device was last heard."""

    def __init__(self, store: Sessions, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._links: WeakValueDictionary[bytes, Link] = WeakValueDictionary()
        self._due: dict[bytes, tuple[LiveSession, Link, set[int]]] = {}
        self._words: list[tuple[LiveSession, Link, control.Word]] = []

    def here(self, device_id: bytes, link: Link) -> None:
        """Note over which link a device was heard, after its tag was good."""
        self._links[device_id] = link

    def acknowledge(self, session: LiveSession, counter: int, link: Link) -> None:
        """Owe an ACK for a committed counter."""
        _, _, counters = self._due.setdefault(session.facts.session_id, (session, link, set()))
        counters.add(counter)

    def reject(self, session: LiveSession, counter: int, reject_class: int, link: Link) -> None:
        """Owe a REJECT for a quarantined counter."""
        self._words.append((session, link, control.reject(counter, reject_class)))

    def repeat(self, session: LiveSession, counter: int, link: Link) -> None:
        """The same answer again for a counter that was answered before."""
        reject_class = session.rejected.get(counter)
        if reject_class is None:
            self.acknowledge(session, counter, link)
        else:
            self.reject(session, counter, reject_class, link)

    def time(self, session: LiveSession, ping: int, link: Link) -> None:
        """Answer a PING with the platform's time, bound to its counter."""
        self._words.append((session, link, control.time(self._clock(), ping)))

    async def flush(self) -> None:
        """Seal and send what is owed; each word under a counter that was reserved before."""
        due, self._due = self._due, {}
        words, self._words = self._words, []
        for session, link, counters in due.values():
            words += [(session, link, word) for word in control.acks(counters)]
        for session, link, word in words:
            counter = await session.down_counter(self._store)
            facts = session.facts
            record = control.seal_control(session.keys, facts.session_id, counter, word, up=False)
            link.send(facts.device_id, record)
