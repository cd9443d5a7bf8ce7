"""Everything the head-end sends down inside a session: ACK, REJECT and TIME, each under a reserved down counter.

It commands nothing: guarded commands carry the security service's authorisation and come with the command queue.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from meterseal.errors import EngineError, MetersealError
from meterseal.headend.link import Link
from meterseal.headend.ports import Sessions
from meterseal.headend.sessions import LiveSession
from meterseal.link import control, profiles

log = structlog.get_logger()


class Delivery:
    """Gathers the acknowledgements that a batch owes, per session, and sends them."""

    def __init__(self, store: Sessions, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._due: dict[bytes, tuple[LiveSession, Link, set[int]]] = {}
        self._words: list[tuple[LiveSession, Link, control.Word]] = []

    def acknowledge(self, session: LiveSession, counter: int, link: Link) -> None:
        """Owe an ACK for a committed counter, over the link that the device used last."""
        _, _, counters = self._due.get(session.facts.session_id, (session, link, set()))
        counters.add(counter)
        self._due[session.facts.session_id] = (session, link, counters)

    def reject(self, session: LiveSession, counter: int, reject_class: int, link: Link) -> None:
        """Owe a REJECT for a quarantined counter."""
        self._words.append((session, link, control.reject(counter, reject_class)))

    def repeat(self, session: LiveSession, counter: int, link: Link) -> None:
        """The same answer again for a counter that was answered before."""
        reject_class = session.rejected.class_of(counter)
        if reject_class is None:
            self.acknowledge(session, counter, link)
        else:
            self.reject(session, counter, reject_class, link)

    def time(self, session: LiveSession, ping: int, link: Link) -> None:
        """Answer a PING with the platform's time, bound to its counter."""
        self._words.append((session, link, control.time(self._clock(), ping)))

    async def flush(self) -> None:
        """Seal and send what is owed; each word under a counter that was reserved before.

        EngineError when the store of counters is away: then nothing more leaves, the devices repeat what they sent
        and get their answer then. A session that is gone loses only its own words.
        """
        due, self._due = self._due, {}
        words, self._words = self._words, []
        for session, link, counters in due.values():
            words += [(session, link, word) for word in control.acks(counters)]
        for session, link, word in words:
            facts = session.facts
            try:
                counter = await session.answering(self._store, link)
            except EngineError:
                raise
            except MetersealError as error:
                log.warning("delivery.no-session", code=error.code, session=facts.session_id.hex())
                continue
            record = control.seal_control(
                session.keys,
                facts.session_id,
                counter,
                word,
                up=False,
                profile=profiles.load(facts.profile),
            )
            link.send(facts.device_id, record)
