"""Handshakes at the head-end: limits first, the security service's judgement, the stored session, then SESSION.

A HELLO whose sender has not shown that it receives there, or that comes while very many are under way, hears RETRY
before anything is kept or asked for it. No long-term key is held and no trust decided here: the service checks macs,
chains and signatures and makes every byte that leaves. A refusal sends nothing, whatever its cause; the audit trail
knows which it was (LINK section 3).
"""

from __future__ import annotations

from collections.abc import Callable

from meterseal.errors import PeerError, TrustError
from meterseal.headend.cookies import Cookies
from meterseal.headend.limits import WAYS, Buckets
from meterseal.headend.link import Link
from meterseal.headend.pipeline import Arrival
from meterseal.headend.ports import Sessions, StoredSession
from meterseal.headend.sessions import SessionCache
from meterseal.link import messages
from meterseal.model import Refusal
from meterseal.security.sdk import SecuritySdk

BUSY = 64
"""Handshake messages waiting for the security service from which on every HELLO must bring a cookie."""


class Handshakes:
    """Answers HELLO and DEVICE; keeps no half-open run itself (the service does, bounded)."""

    def __init__(
        self,
        security: SecuritySdk,
        store: Sessions,
        sessions: SessionCache,
        clock: Callable[[], int],
        *,
        cookies: Cookies,
        busy: int = BUSY,
    ) -> None:
        self._security = security
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._cookies = cookies
        self._busy = busy
        self._under_way = 0
        self._by_source = Buckets(rate=100, burst=2_000)
        self._by_device = Buckets(rate=0.5, burst=12)
        self._hellos = Buckets(rate=200, burst=1_000, keys=1)
        self._unproven = Buckets(rate=200, burst=1_000, keys=WAYS)
        """DEVICE of senders that show no address, all of one way together: a session id is no cookie."""
        self.retried = 0

    async def take(self, link: Link, arrival: Arrival) -> list[Refusal]:
        """Handle one handshake message; returns what is to be written to the audit trail."""
        claimed = arrival.claimed
        try:
            kind = messages.kind_of(arrival.message)
            claimed = claimed or messages.device_id_of(arrival.message)
            if kind == messages.HELLO and self._must_come_again(link, arrival):
                return []
            if (
                not arrival.proven
                and kind == messages.DEVICE
                and not self._unproven.take(arrival.way, arrival.received_at)
            ):
                return []
            if not self._allowed(arrival, claimed):
                return [
                    self._refusal(
                        arrival, claimed, "link.rate", "Too many handshakes from this source; wait."
                    )
                ]
            if kind in (messages.HELLO, messages.DEVICE):
                self._under_way += 1
                try:
                    return await (self._hello if kind == messages.HELLO else self._device)(link, arrival)
                finally:
                    self._under_way -= 1
            sentence = "Only HELLO and DEVICE come from a device; the message was reflected or misrouted."
            return [self._refusal(arrival, claimed, "link.kind", sentence)]
        except (TrustError, PeerError) as error:
            return [self._refusal(arrival, claimed, error.code, error.message)]

    def _must_come_again(self, link: Link, arrival: Arrival) -> bool:
        """Send RETRY where a cookie is due and none holds; nothing is kept of it here."""
        now = arrival.received_at
        loaded = self._under_way >= self._busy or not self._hellos.take("", now)
        if arrival.proven and not loaded:
            return False
        hello = messages.parse_hello(arrival.message)
        if self._cookies.good(arrival.source, hello, now):
            return False
        self.retried += 1
        link.send(arrival.claimed or hello.device_id, self._cookies.retry(arrival.source, hello, now))
        return True

    def _allowed(self, arrival: Arrival, claimed: bytes) -> bool:
        now = arrival.received_at
        if not self._by_source.take(arrival.source, now):
            return False
        # Keyed by source too: whoever claims a meter that is not his cannot lock that meter out.
        return not claimed or self._by_device.take(arrival.source.encode() + claimed, now)

    async def _hello(self, link: Link, arrival: Arrival) -> list[Refusal]:
        reply = await self._security.hello(arrival.message, arrival.source)
        if arrival.claimed and arrival.claimed != reply.device_id:
            raise TrustError("link.envelope", "The envelope names another device than the HELLO in it.")
        link.send(reply.device_id, reply.message)
        return []

    async def _device(self, link: Link, arrival: Arrival) -> list[Refusal]:
        session_id = messages.session_id_of(arrival.message)
        reply = await self._security.device(session_id, arrival.message, gathered=arrival.gathered)
        stored = StoredSession(
            session_id=session_id,
            device_id=reply.device_id,
            module_id=reply.module_id,
            suite=reply.suite,
            wrapped=reply.wrapped,
            policy=reply.policy,
            records_allowed=reply.records_allowed,
            seconds_allowed=reply.seconds_allowed,
            created_at=self._clock(),
            profile=reply.profile,
        )
        # Before SESSION leaves, the session is in the control store: any head-end can take it up.
        await self._store.put(stored)
        self._sessions.add(stored, reply.keys)
        link.send(reply.device_id, reply.message)
        return []

    @staticmethod
    def _refusal(arrival: Arrival, claimed: bytes, code: str, sentence: str) -> Refusal:
        return Refusal(arrival.received_at, code, sentence, claimed, source=arrival.source)
