"""Station edge, inside the module: the device's side of the handshake over its own keys (LINK section 3).

The order of messages and what they prove is `link.device_run`'s; here are the keys, the bound of time and
what is written before an answer leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meterseal.crypto.certificates import Certificate
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.edge.apdu import Command, Sw
from meterseal.edge.cardmemory import CardMemory
from meterseal.edge.chip import ACTIVE, Grant
from meterseal.edge.chipmemory import Memory, OpenSession, pack
from meterseal.edge.image import SessionState
from meterseal.edge.refusal import need, timed
from meterseal.link.device_run import DeviceRun, Identity
from meterseal.link.identities import check_platform_chain
from meterseal.link.proving import Ephemeral
from meterseal.link.schedule import LinkKey

RESERVE = 64
"""Up counters reserved in one write."""


class _Ports:
    """What the module lends to one run."""

    def __init__(self, memory: Memory, version: int, random: Callable[[int], bytes]) -> None:
        self._memory = memory
        self._version = version
        self.random = random

    def link_key(self) -> LinkKey:
        keys = self._memory.bound(self._version)
        assert keys is not None
        return keys.link

    def ephemeral(self) -> Ephemeral:
        return Sm2PrivateKey.generate("an ephemeral key")

    def sign(self, message: bytes) -> bytes:
        assert self._memory.private is not None
        return self._memory.private.sign(message)

    def check_platform(self, chain: Sequence[bytes], bound: int) -> Certificate:
        memory = self._memory
        return check_platform_chain(
            chain, root=memory.trust.root, project_id=memory.state.project_id, bound=bound
        )


class Handshaking:
    """HELLO, PLATFORM and SESSION; at most one run, which a power cut ends."""

    def __init__(self, memory: Memory, card: CardMemory, random: Callable[[int], bytes]) -> None:
        self._memory = memory
        self._card = card
        self._random = random
        self._run: DeviceRun | None = None
        self._unanswered = 0

    def hello(self, command: Command) -> bytes:
        """Begin anew. After a key update both versions are tried in turn until one handshake succeeded."""
        now, rest = timed(command.content)
        need(not rest, Sw.WRONG_LENGTH)
        need(command.p1 in (0, 1), Sw.WRONG_PLACE)
        self._memory.direct = self._memory.direct or command.p1 == 1
        state, trust = self._memory.state, self._memory.trust
        versions = sorted(state.bound_keys, reverse=True)
        version = versions[self._unanswered % len(versions)]
        self._unanswered += 1
        identity = Identity(state.suite, state.device_id, state.serial, version, trust.chain)
        ports = _Ports(self._memory, version, self._random)
        gathered = self._memory.gathered
        self._run = DeviceRun(identity, ports, bound=state.time_bound, behind_concentrator=gathered)
        return self._run.hello(now)

    def platform(self, command: Command) -> bytes:
        """PLATFORM in, DEVICE out; a bound of time that rose is written first."""
        now, message = timed(command.content)
        run = self._running()
        device = run.platform(message, now)
        if run.bound > self._memory.state.time_bound:
            self._memory.save(time_bound=run.bound)
        return device

    def session(self, command: Command) -> bytes:
        """SESSION in; the session is written before anyone hears of it. Its repeat changes nothing."""
        now, message = timed(command.content)
        got = self._running().session(message, now)
        memory = self._memory
        grant = Grant(
            got.session_id,
            got.records_allowed,
            now + 1000 * got.seconds_allowed,
            self._card.policy(got.policy),
            got.clock or 0,
        )
        if got.session_id in memory.sessions:
            return pack(grant)
        state = SessionState(
            session_id=got.session_id,
            keys=pack(got.keys),
            policy=got.policy,
            records_allowed=got.records_allowed,
            ends_at=grant.ends_at,
            up_reserved=1 + RESERVE,
            key_version=got.key_version,
            certificate_until=got.until or 0,
        )
        previous = memory.state.current
        slots = {got.key_version: memory.state.bound_keys[got.key_version]}
        newer = {v: k for v, k in memory.state.bound_keys.items() if v > got.key_version}
        memory.save(
            life=ACTIVE,
            current=state,
            previous=previous,
            key_version=got.key_version,
            bound_keys={**slots, **newer},
        )
        kept = {} if previous is None else {previous.session_id: memory.sessions[previous.session_id]}
        memory.sessions = {**kept, got.session_id: OpenSession(state, 1)}
        self._unanswered = 0
        return pack(grant)

    def _running(self) -> DeviceRun:
        need(self._run is not None, Sw.CONDITIONS)
        assert self._run is not None
        return self._run
