"""Station link, the platform's side of one handshake: HELLO judged, PLATFORM, DEVICE judged, SESSION.

It knows no other run (the security service keeps the table of them, bounded) and sends nothing.

Security argument: the HELLO mac is checked before anything costs; N_p, session_id, E_p and seed are drawn
here and nowhere taken from outside; th2 and th3 are computed from the whole messages; the seed and the
traffic keys exist only after DEVICE's tag, chain, signature and fin_d held.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from meterseal.crypto import sm2
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import TrustError
from meterseal.link import messages, proving, schedule
from meterseal.link.legality import PLATFORM_MOVES, Phase, Step, move, out_of_order
from meterseal.link.messages import Grant, Hello
from meterseal.link.proving import Ephemeral, Transcript
from meterseal.link.schedule import LinkKey, TrafficKeys

_NOBODY = SymmetricKey.from_bytes(sm3(b"no module has this key")[:16], "the key of nobody")
"""Stands in for the key of a module that is not enrolled, so that it costs the same mac."""


class Enrolment(Struct, frozen=True):
    """What the platform stored of a module: its suite, and K_link of the version asked for."""

    suite: int
    link_key: LinkKey


class PlatformPorts(Protocol):
    """What the security service lends to a handshake."""

    def random(self, size: int) -> bytes:
        """Fresh random bytes; asked for N_p 32, then session_id 8, then the seed 32."""

    def enrolled(self, device_id: bytes, module_id: bytes, key_version: int) -> Enrolment | None:
        """The module's enrolment under this key version; None when there is none in force."""

    def ephemeral(self) -> Ephemeral:
        """A fresh key on curve SM2 for this run."""

    def chain(self) -> Sequence[bytes]:
        """The platform's own chain: leaf, CA (DER)."""

    def sign(self, message: bytes) -> bytes:
        """r ‖ s by the platform's key, standard signer id."""

    def check_device(self, chain: Sequence[bytes], device_id: bytes, module_id: bytes) -> bytes:
        """The public point of the device's leaf if its chain holds now, is not revoked and names these ids.

        Raises TrustError `link.chain` or `link.identity` (`identities.check_device_chain` does it).
        """


class Granted(Struct, frozen=True):
    """An issued session: the SESSION message, to be sent once the session is stored, and what to store."""

    message: bytes
    session_id: bytes
    device_id: bytes
    module_id: bytes
    suite: int
    key_version: int
    keys: TrafficKeys
    th4: bytes
    records_allowed: int
    seconds_allowed: int
    policy: int
    granted_at: int


class PlatformRun:
    """One handshake; `records_allowed`, `seconds_allowed` and `policy` are what SESSION will grant. `now` is
    Unix ms."""

    def __init__(
        self,
        ports: PlatformPorts,
        *,
        records_allowed: int,
        seconds_allowed: int,
        policy: int,
    ) -> None:
        self.phase: Phase = "new"
        self.began_at = 0
        self.session_id = b""
        self.hello: Hello | None = None
        self._ports = ports
        self._limits = (records_allowed, seconds_allowed, policy)
        self._platform = b""
        self._transcript: Transcript | None = None
        self._secret = b""
        self._device_digest = b""
        self._granted: Granted | None = None

    def begin(self, message: bytes, now: int) -> bytes:
        """HELLO in, PLATFORM out; the same HELLO (but for its cookie) gets the same bytes.

        Raises PeerError `link.header`, `link.length`, `link.suite` for shapes and TrustError
        `link.hello-mac`, `link.unknown-module`, `link.suite`, `link.point`, `link.order`.
        """
        return self.greeted(messages.parse_hello(message), now)

    def greeted(self, hello: Hello, now: int) -> bytes:
        """`begin` for a HELLO whose form was looked at already; TrustErrors alone."""
        if self.hello is not None:
            step: Step = "same-hello" if hello.canonical() == self.hello.canonical() else "hello"
            self.phase = move(PLATFORM_MOVES, self.phase, step)
            return self._platform
        phase = move(PLATFORM_MOVES, self.phase, "hello")
        enrolment = check_hello(self._ports, hello)
        self._answer(hello, enrolment)
        self.hello, self.began_at, self.phase = hello, now, phase
        return self._platform

    def finish(self, message: bytes, now: int, *, patience: int = proving.GATHERED_PATIENCE) -> Granted:
        """DEVICE in, the granted session out; the same DEVICE gets the same SESSION bytes, any other is
        refused. `patience` is that of the way by which DEVICE came.

        Raises PeerError for shapes and TrustError `link.order`, `link.time-out`, `link.session`, `link.tag`,
        `link.padding`, `link.chain`, `link.identity`, `link.signature`, `link.fin`.
        """
        sealed = messages.parse_sealed(message, messages.DEVICE)
        same = self._granted is not None and equal(sm3(message), self._device_digest)
        phase = move(PLATFORM_MOVES, self.phase, "same-device" if same else "device")
        if now - self.began_at > (proving.GATHERED_PATIENCE if same else patience):
            raise TrustError("link.time-out", "DEVICE came too late for this handshake; begin a new one.")
        if self._granted is not None and same:
            return self._granted
        self._granted = self._issue(sealed, now)
        self._device_digest, self._secret, self.phase = sm3(message), b"", phase
        return self._granted

    def _answer(self, hello: Hello, enrolment: Enrolment) -> None:
        ports, suite = self._ports, enrolment.suite
        nonce, session_id = ports.random(messages.NONCE), ports.random(messages.ID)
        ephemeral = ports.ephemeral() if suite == 1 else None
        agreed = proving.agreed(ephemeral, hello.point)
        chain = ports.chain() if suite == 1 else ()
        head, chain_at = messages.platform_up_to_signature(
            suite, session_id, nonce, hello.key_version, ephemeral.public_point if ephemeral else b"", chain
        )
        canonical = hello.canonical()
        th1, th2 = sm3(canonical, head[:chain_at]), sm3(canonical, head)
        signature = ports.sign(schedule.signed_by_platform(th2)) if suite == 1 else b""
        exchange = schedule.exchange_secret(enrolment.link_key, hello.nonce, nonce)
        self._secret = schedule.handshake_secret(exchange, agreed)
        self._platform = head + signature + schedule.finished(self._secret, b"p", th1, th2, signature)
        self._transcript = Transcript.signed(canonical, self._platform, th1, th2)
        self.session_id = session_id

    def _issue(self, sealed: messages.Sealed, now: int) -> Granted:
        hello, transcript = self.hello, self._transcript
        if hello is None or transcript is None:
            raise out_of_order()
        if sealed.session_id != self.session_id:
            raise TrustError("link.session", "DEVICE names another session than this run's; refused.")
        keys = schedule.handshake_keys(self._secret, transcript.th1)
        credential = messages.parse_credential(proving.open_part(keys.up, sealed), hello.suite)
        if hello.suite == 1:
            point = self._ports.check_device(credential.chain, hello.device_id, hello.module_id)
            if not sm2.verify(point, schedule.signed_by_device(transcript.th3), credential.signature):
                raise TrustError("link.signature", "The device's signature does not hold; refused.")
        fin = schedule.finished(self._secret, b"d", transcript.th1, transcript.th3, credential.signature)
        if not equal(fin, credential.fin):
            raise TrustError("link.fin", "The device does not know its module's key; refused.")
        records, seconds, policy = self._limits
        seed = self._ports.random(32)
        grant = Grant(seed, records, seconds, now, policy)
        th4 = transcript.th4(sealed.message)
        return Granted(
            message=proving.seal_part(keys.down, messages.SESSION, self.session_id, grant.encode()),
            session_id=self.session_id,
            device_id=hello.device_id,
            module_id=hello.module_id,
            suite=hello.suite,
            key_version=hello.key_version,
            keys=schedule.traffic_keys(self._secret, seed, th4),
            th4=th4,
            records_allowed=records,
            seconds_allowed=seconds,
            policy=policy,
            granted_at=now,
        )


def check_hello(ports: PlatformPorts, hello: Hello) -> Enrolment:
    """The enrolment of a HELLO whose mac holds: the first check, before anything costs.

    A module that is not enrolled costs the same mac. Raises TrustError `link.unknown-module`,
    `link.hello-mac` or `link.suite`.
    """
    enrolment = ports.enrolled(hello.device_id, hello.module_id, hello.key_version)
    key: LinkKey = enrolment.link_key if enrolment is not None else _NOBODY
    good = equal(schedule.hello_mac(key, hello.claims()), hello.mac)
    if enrolment is None:
        raise TrustError(
            "link.unknown-module", "No such module is enrolled in this device; HELLO is refused."
        )
    if not good:
        raise TrustError("link.hello-mac", "The mac of HELLO does not hold under the module's key; refused.")
    if enrolment.suite != hello.suite:
        raise TrustError("link.suite", "HELLO asks for another suite than the module's own; refused.")
    return enrolment
