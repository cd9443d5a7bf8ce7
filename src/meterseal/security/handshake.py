"""Handshakes at the security service: HELLO in, PLATFORM out; DEVICE in, SESSION and the session's keys out.

It decides no step of the protocol (`link.handshake` does); it lends that its keys, its random numbers and
its trust, keeps the runs, and says to the audit log what a HELLO that names no enrolled module has wrong.

Runs live in memory for 15 minutes: the same HELLO gets the same PLATFORM, the same DEVICE the same SESSION.
Up to three half-open runs of a device stand side by side, a fourth takes the place of the oldest, and the
whole table is bounded; a run begins only after a good mac, so nobody but a module fills it. Everything that
a run must not take from outside (N_p, session_id, E_p, ES, seed, the signature) is made here.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import sm3
from meterseal.errors import TrustError
from meterseal.link import messages as wire
from meterseal.link.handshake import Enrolment, Granted, PlatformRun
from meterseal.link.messages import Hello
from meterseal.link.proving import GATHERED_PATIENCE, patience
from meterseal.security.datakeys import wrap_session
from meterseal.security.hierarchy import KeyTree
from meterseal.security.keylife import KeyLife
from meterseal.security.messages import PlatformReply, SessionReply
from meterseal.security.pki import Identity, Pki
from meterseal.security.registry import CIPHER_ONLY, Registry
from meterseal.security.vault import Vault

RECORDS_ALLOWED = 1 << 20
SECONDS_ALLOWED = 30 * 86_400

HALF_OPEN = 3
"""Half-open runs of one device."""
MOST_RUNS = 16_384


class _Ports:
    """What one run borrows from the service (`link.handshake.PlatformPorts`)."""

    def __init__(self, tree: KeyTree, pki: Pki, registry: Registry, keylife: KeyLife, now: int) -> None:
        self._tree, self._pki, self._registry, self._keylife = tree, pki, registry, keylife
        self._identity: Identity | None = None
        self.now = now
        self.wrong: TrustError | None = None
        self.leaf = b""

    def random(self, size: int) -> bytes:
        return os.urandom(size)

    def enrolled(self, device_id: bytes, module_id: bytes, key_version: int) -> Enrolment | None:
        module = self._registry.module(module_id)
        version = module.key_version if module is not None else self._tree.key_version
        if module is not None and self._keylife.accepts(module, key_version):
            version = key_version
        # One key, whichever version was named and for those who are not enrolled too: equal work for all.
        key = self._tree.purpose(device_id, module_id, version, "LINK0001")
        if module is None:
            return None
        if module.device_id != device_id:
            self.wrong = TrustError(
                "link.module-copied",
                f"Module {module_id.hex()} belongs to device {module.device_id.hex()} and spoke from device "
                f"{device_id.hex()}: it was moved or copied. Look at both meters.",
            )
        elif module.state != "active":
            self.wrong = TrustError(
                "link.withdrawn", f"Module {module_id.hex()} was withdrawn; enrol a new one."
            )
        elif key_version != version:
            self.wrong = TrustError(
                "link.key-version",
                f"Module {module_id.hex()} uses key version {key_version}, enrolled is version {version}.",
            )
        return Enrolment(module.suite, key) if self.wrong is None else None

    def ephemeral(self) -> Sm2PrivateKey:
        return Sm2PrivateKey.generate("E_p")

    def chain(self) -> Sequence[bytes]:
        self._identity = self._pki.platform(self.now)
        return self._identity.chain

    def sign(self, message: bytes) -> bytes:
        assert self._identity is not None
        return self._pki.sign(self._identity, message)

    def check_device(self, chain: Sequence[bytes], device_id: bytes, module_id: bytes) -> bytes:
        try:
            point = self._pki.check_device(list(chain), device_id, module_id, self.now).point
        except TrustError as error:
            if error.code.startswith("crypto."):
                raise TrustError("link.chain", error.message, cause=error.code) from None
            raise
        self.leaf = chain[0]
        return point


class _Kept:
    """One run in the table, with what its repeats need."""

    __slots__ = ("caller", "ports", "reply", "run", "same")

    def __init__(self, run: PlatformRun, ports: _Ports, same: bytes, caller: str) -> None:
        self.run, self.ports, self.same, self.caller = run, ports, same, caller
        self.reply: SessionReply | None = None


class Handshakes:
    """The table of runs."""

    def __init__(self, keys: Vault, tree: KeyTree, pki: Pki, registry: Registry, keylife: KeyLife) -> None:
        self._keys, self._tree, self._pki, self._registry = keys, tree, pki, registry
        self._keylife = keylife
        self._by_session: OrderedDict[bytes, _Kept] = OrderedDict()
        self._by_hello: dict[bytes, _Kept] = {}
        self._half_open: dict[bytes, list[_Kept]] = {}

    def __len__(self) -> int:
        """How many runs are kept."""
        return len(self._by_session)

    def hello(self, message: bytes, now: int, caller: str = "") -> PlatformReply:
        """PLATFORM for a HELLO; the run is its caller's, and whoever else shows the same HELLO gets `link.no-run`.

        PeerError `link.*` for its shape; TrustError `link.hello-mac`, `link.unknown-module`,
        `link.module-copied`, `link.withdrawn`, `link.key-version`, `link.suite`, `link.point`,
        `security.platform-ended`, `security.limit`.
        """
        self._expire(now)
        hello = wire.parse_hello(message)
        same = sm3(hello.canonical())
        kept = self._by_hello.get(same)
        if kept is not None:
            _check_own(kept, caller)
            platform = kept.run.greeted(hello, now)
        else:
            ports = _Ports(self._tree, self._pki, self._registry, self._keylife, now)
            module = self._registry.module(hello.module_id)
            run = PlatformRun(
                ports,
                records_allowed=RECORDS_ALLOWED,
                seconds_allowed=SECONDS_ALLOWED,
                policy=CIPHER_ONLY if module is None else module.policy,
            )
            try:
                platform = run.greeted(hello, now)
            except TrustError:
                if ports.wrong is not None:
                    raise ports.wrong from None
                raise
            kept = _Kept(run, ports, same, caller)
            self._keep(kept, hello.device_id)
        return PlatformReply(
            message=platform,
            session_id=kept.run.session_id,
            device_id=hello.device_id,
            module_id=hello.module_id,
            suite=hello.suite,
        )

    def device(
        self, session_id: bytes, message: bytes, now: int, caller: str = "", *, gathered: bool = False
    ) -> tuple[SessionReply, bool]:
        """SESSION and the session for a DEVICE, and whether it is new (then the use of DIAK is counted). One that
        no concentrator gathered must come within the time-out of IP.

        PeerError `link.*` for its shape; TrustError `link.no-run`, those of `PlatformRun.finish`,
        `security.limit`.
        """
        self._expire(now)
        kept = self._by_session.get(session_id)
        if kept is None:
            raise TrustError(
                "link.no-run", "DEVICE belongs to no handshake that is under way; begin a new one."
            )
        _check_own(kept, caller)
        hello = kept.run.hello
        assert hello is not None
        kept.ports.now = now
        if kept.reply is None:
            self._still_accepted(hello)
            self._keys.check_limit("DIAK", hello.key_version)
        granted = kept.run.finish(message, now, patience=patience(gathered=gathered))
        if kept.reply is not None:
            return kept.reply, False
        self._keylife.held(hello.module_id, hello.key_version)
        self._registry.shown(hello.module_id, kept.ports.leaf)
        self._keys.use("DIAK", hello.key_version)
        kept.reply = self._reply(granted)
        self._forget_half_open(kept, hello.device_id)
        return kept.reply, True

    def _still_accepted(self, hello: Hello) -> None:
        """A half-open run ends with the key version that it began under."""
        module = self._registry.module(hello.module_id)
        if module is None or not self._keylife.accepts(module, hello.key_version):
            raise TrustError(
                "link.key-version",
                f"Module {hello.module_id.hex()} has greeted under a newer key since; key version "
                f"{hello.key_version} has ended for it.",
            )

    def forget(self, device_id: bytes) -> None:
        """Drop every run of a device that may not go on."""
        for kept in list(self._by_session.values()):
            if kept.run.hello is not None and kept.run.hello.device_id == device_id:
                self._drop(kept)

    def _reply(self, granted: Granted) -> SessionReply:
        module = self._registry.module(granted.module_id)
        assert module is not None
        packed = msgspec.msgpack.encode(granted.keys)
        return SessionReply(
            message=granted.message,
            keys=granted.keys,
            wrapped=wrap_session(self._keys, granted.session_id, granted.device_id, packed),
            session_id=granted.session_id,
            device_id=granted.device_id,
            module_id=granted.module_id,
            suite=granted.suite,
            key_version=granted.key_version,
            records_allowed=granted.records_allowed,
            seconds_allowed=granted.seconds_allowed,
            policy=granted.policy,
            created_at=granted.granted_at,
            profile=module.profile,
        )

    def _keep(self, kept: _Kept, device_id: bytes) -> None:
        others = self._half_open.setdefault(device_id, [])
        if len(others) >= HALF_OPEN:
            self._drop(others[0])
        while len(self._by_session) >= MOST_RUNS:
            self._drop(next(iter(self._by_session.values())))
        self._half_open.setdefault(device_id, []).append(kept)
        self._by_session[kept.run.session_id] = kept
        self._by_hello[kept.same] = kept

    def _expire(self, now: int) -> None:
        while self._by_session:
            oldest = next(iter(self._by_session.values()))
            if now - oldest.run.began_at <= GATHERED_PATIENCE:
                return
            self._drop(oldest)

    def _drop(self, kept: _Kept) -> None:
        self._by_session.pop(kept.run.session_id, None)
        self._by_hello.pop(kept.same, None)
        if kept.run.hello is not None:
            self._forget_half_open(kept, kept.run.hello.device_id)

    def _forget_half_open(self, kept: _Kept, device_id: bytes) -> None:
        others = self._half_open.get(device_id, [])
        if kept in others:
            others.remove(kept)
        if not others:
            self._half_open.pop(device_id, None)


def _check_own(kept: _Kept, caller: str) -> None:
    """Whoever overheard HELLO and DEVICE gets no keys by showing them again."""
    if kept.caller != caller:
        raise TrustError(
            "link.no-run", "Another platform began this handshake; let the device begin a new one."
        )
