"""Station link, the device's side of one handshake: HELLO, PLATFORM judged, DEVICE, SESSION taken.

It stores nothing over a power cut and chooses no time to repeat itself; the module keeps its bound of time
and its session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from meterseal.crypto import sm2
from meterseal.crypto.certificates import Certificate
from meterseal.crypto.symmetric import equal
from meterseal.errors import LocalError, TrustError
from meterseal.link import messages, proving, schedule
from meterseal.link.legality import DEVICE_MOVES, Phase, Step, move, out_of_order
from meterseal.link.messages import Hello, Platform
from meterseal.link.proving import Ephemeral, Transcript
from meterseal.link.schedule import LinkKey, TrafficKeys


class Identity(Struct, frozen=True):
    """Who a module is; only the key version ever changes. `chain` (leaf, CA) is empty under suite 2."""

    suite: int
    device_id: bytes
    module_id: bytes
    key_version: int
    chain: tuple[bytes, ...] = ()


class DevicePorts(Protocol):
    """What a module lends to a handshake; only `random` and `link_key` are asked under suite 2."""

    def random(self, size: int) -> bytes:
        """Fresh random bytes."""

    def link_key(self) -> LinkKey:
        """K_link of the identity's key version."""

    def ephemeral(self) -> Ephemeral:
        """A fresh key on curve SM2 for this run."""

    def sign(self, message: bytes) -> bytes:
        """r ‖ s by the module's own key, standard signer id."""

    def check_platform(self, chain: Sequence[bytes], bound: int) -> Certificate:
        """The platform's leaf if its chain holds for this module's project and did not end before `bound`
        (Unix ms).

        Raises TrustError `link.chain` or `link.project` (`identities.check_platform_chain` does it).
        """


class Session(Struct, frozen=True):
    """A session as the device got it.

    `platform_at` is the platform's time. `clock` is the same when the device may set its clock to it, else
    None. `until` is the end of the platform's certificate (Unix ms), which no clock may be set past; None
    under suite 2.
    """

    session_id: bytes
    keys: TrafficKeys
    records_allowed: int
    seconds_allowed: int
    policy: int
    platform_at: int
    clock: int | None
    until: int | None
    key_version: int


class DeviceRun:
    """One handshake of one module. `bound` is the module's lower bound of time, Unix ms.

    Read `bound` again after `platform`: it rose to notBefore of a platform certificate whose handshake
    passed fin_p, and the module stores it. `now` is any clock in ms that does not fall during a run. A
    message that is refused moves nothing.
    """

    def __init__(
        self, identity: Identity, ports: DevicePorts, *, bound: int, behind_concentrator: bool = False
    ) -> None:
        if identity.suite not in messages.SUITES:
            raise LocalError("link.suite", f"Suite {identity.suite} does not exist; 1 and 2 do.")
        self.bound = bound
        self.phase: Phase = "new"
        self._identity = identity
        self._ports = ports
        self._patience = proving.patience(gathered=behind_concentrator)
        self._clock_window = proving.clock_window(gathered=behind_concentrator)
        self._hello: Hello | None = None
        self._ephemeral: Ephemeral | None = None
        self._platform = self._device = self._session_message = b""
        self._transcript: Transcript | None = None
        self._secret = b""
        self._session_id = b""
        self._until: int | None = None
        self._greeted_at = self._answered_at = 0
        self._session: Session | None = None

    def hello(self, now: int) -> bytes:
        """HELLO; the same bytes each time."""
        phase = move(DEVICE_MOVES, self.phase, "hello")
        if self._hello is None:
            self._hello = self._greet()
            self._greeted_at = now
        self.phase = phase
        return self._hello.encode()

    def retry(self, message: bytes) -> bytes:
        """RETRY in, the same HELLO with its cookie out."""
        cookie = messages.parse_retry(message)
        phase = move(DEVICE_MOVES, self.phase, "retry")
        self._hello = replace(self._greeting(), cookie=cookie)
        self.phase = phase
        return self._hello.encode()

    def platform(self, message: bytes, now: int) -> bytes:
        """PLATFORM in, DEVICE out; acts on the first that holds, and answers its repeats with the same bytes.

        Raises PeerError `link.header`, `link.length`, `link.suite`, `link.chain-shape` for shapes and
        TrustError `link.order`, `link.time-out`, `link.suite`, `link.key-version`, `link.point`,
        `link.chain`, `link.project`, `link.signature`, `link.fin`.
        """
        step: Step = "same-platform" if self._platform and message == self._platform else "platform"
        phase = move(DEVICE_MOVES, self.phase, step)
        if step == "platform":
            self._in_time(now, self._greeted_at)
            self._device = self._answer(messages.parse_platform(message))
            self._platform = message
            self._answered_at = now
        self.phase = phase
        return self._device

    def session(self, message: bytes, now: int) -> Session:
        """SESSION in, the session out; again for its repeats.

        Raises PeerError for shapes and TrustError `link.order`, `link.time-out`, `link.session`, `link.tag`,
        `link.padding`.
        """
        same = self._session is not None and message == self._session_message
        step: Step = "same-session" if same else "session"
        phase = move(DEVICE_MOVES, self.phase, step)
        if self._session is None or not same:
            self._in_time(now, self._answered_at)
            self._session = self._take(message, now)
            self._session_message = message
            self._secret = b""
        self.phase = phase
        return self._session

    def _greet(self) -> Hello:
        identity = self._identity
        self._ephemeral = self._ports.ephemeral() if identity.suite == 1 else None
        bare = Hello(
            identity.suite,
            identity.device_id,
            identity.module_id,
            identity.key_version,
            self._ports.random(messages.NONCE),
            self._ephemeral.public_point if self._ephemeral else b"",
            b"",
        )
        return replace(bare, mac=schedule.hello_mac(self._ports.link_key(), bare.claims()))

    def _answer(self, platform: Platform) -> bytes:
        identity, ports, hello = self._identity, self._ports, self._greeting()
        if platform.suite != identity.suite:
            raise TrustError(
                "link.suite", "The platform answers in another suite than this module's; refused."
            )
        if platform.key_version != identity.key_version:
            raise TrustError(
                "link.key-version", "The platform names another key version than HELLO; refused."
            )
        exchange = schedule.exchange_secret(ports.link_key(), hello.nonce, platform.nonce)
        secret = schedule.handshake_secret(exchange, proving.agreed(self._ephemeral, platform.point))
        transcript = Transcript(hello.canonical(), platform.message, platform.chain_at, platform.signature_at)
        leaf: Certificate | None = None
        if identity.suite == 1:
            leaf = ports.check_platform(platform.chain, self.bound)
            if not sm2.verify(leaf.point, schedule.signed_by_platform(transcript.th2), platform.signature):
                raise TrustError("link.signature", "The platform's signature does not hold; refused.")
        fin = schedule.finished(secret, b"p", transcript.th1, transcript.th2, platform.signature)
        if not equal(fin, platform.fin):
            raise TrustError("link.fin", "The platform does not know this module's key; refused.")
        signature = ports.sign(schedule.signed_by_device(transcript.th3)) if identity.suite == 1 else b""
        own_fin = schedule.finished(secret, b"d", transcript.th1, transcript.th3, signature)
        credential = messages.Credential(identity.chain, signature, own_fin)
        keys = schedule.handshake_keys(secret, transcript.th1)
        device = proving.seal_part(keys.up, messages.DEVICE, platform.session_id, credential.encode())
        self._transcript, self._secret, self._session_id = transcript, secret, platform.session_id
        if leaf is not None:
            self._until = leaf.until
            self.bound = max(self.bound, leaf.since)
        return device

    def _take(self, message: bytes, now: int) -> Session:
        sealed = messages.parse_sealed(message, messages.SESSION)
        transcript = self._transcript
        if transcript is None:
            raise out_of_order()
        if sealed.session_id != self._session_id:
            raise TrustError("link.session", "SESSION names another session than PLATFORM did; refused.")
        keys = schedule.handshake_keys(self._secret, transcript.th1)
        grant = messages.parse_grant(proving.open_part(keys.down, sealed))
        at = grant.platform_at
        late = now - self._answered_at > self._clock_window
        possible = at >= self.bound and (self._until is None or at <= self._until)
        return Session(
            session_id=sealed.session_id,
            keys=schedule.traffic_keys(self._secret, grant.seed, transcript.th4(self._device)),
            records_allowed=grant.records_allowed,
            seconds_allowed=grant.seconds_allowed,
            policy=grant.policy,
            platform_at=at,
            clock=at if possible and not late else None,
            until=self._until,
            key_version=self._identity.key_version,
        )

    def _greeting(self) -> Hello:
        if self._hello is None:
            raise out_of_order()
        return self._hello

    def _in_time(self, now: int, since: int) -> None:
        if now - since > self._patience:
            raise TrustError("link.time-out", "The answer came too late for this handshake; begin a new one.")
