"""Handshakes at the security service: HELLO in, PLATFORM out; DEVICE in, SESSION and the session's keys out.

It decides no step of the protocol (`link.handshake` does); it lends that its keys, its random numbers and
its trust, keeps the runs, and says to the audit log what a HELLO that names no enrolled module has wrong.

Runs live in memory for 15 minutes, each with the caller who began it (`runs`): the same HELLO gets the same PLATFORM,
the same DEVICE the same SESSION. A run begins only after a good mac, so nobody but a module fills the tables.
Everything that a run must not take from outside (N_p, session_id, E_p, ES, seed, the signature) is made here. A platform
of somebody else's is granted sessions that end within a day: no word reaches a module whose newest session is another's,
so the end that was granted is what bounds a platform that is withdrawn.
"""

from __future__ import annotations

import os
from collections.abc import Sequence, Set

import msgspec

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import sm3
from meterseal.errors import TrustError
from meterseal.link import messages as wire
from meterseal.link.handshake import Enrolment, Granted, PlatformRun
from meterseal.link.messages import Hello
from meterseal.link.proving import patience
from meterseal.mesh.tls import PLATFORMS
from meterseal.security.datakeys import wrap_session
from meterseal.security.hierarchy import KeyTree
from meterseal.security.keylife import KeyLife
from meterseal.security.lending import Lending
from meterseal.security.messages import PlatformReply, SessionReply
from meterseal.security.pki import Identity, Pki
from meterseal.security.registry import CIPHER_ONLY, Registry
from meterseal.security.runs import Run, Runs
from meterseal.security.vault import Vault

RECORDS_ALLOWED = 1 << 20
SECONDS_ALLOWED = 30 * 86_400
PARTNER_RECORDS = 4096
PARTNER_SECONDS = 86_400
"""What a session of somebody else's platform may carry, and how long the module seals in it."""
MOST_RUNS = 16_384
PARTNER_RUNS = 1024


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


class Handshakes:
    """The table of runs."""

    def __init__(
        self,
        keys: Vault,
        tree: KeyTree,
        pki: Pki,
        registry: Registry,
        keylife: KeyLife,
        lending: Lending,
    ) -> None:
        self._keys, self._tree, self._pki, self._registry = keys, tree, pki, registry
        self._keylife, self._lending = keylife, lending
        self._tables: dict[str, Runs] = {}

    def __len__(self) -> int:
        """How many runs are kept."""
        return sum(len(table) for table in self._tables.values())

    def _table(self, caller: str, now: int) -> Runs:
        for name, table in list(self._tables.items()):
            table.expire(now)
            if not table:
                del self._tables[name]
        most = PARTNER_RUNS if caller.startswith(PLATFORMS) else MOST_RUNS
        return self._tables.setdefault(caller, Runs(most))

    def hello(self, message: bytes, now: int, caller: str = "") -> PlatformReply:
        """PLATFORM for a HELLO; the run is its caller's, and whoever else shows the same HELLO gets another.

        PeerError `link.*` for its shape; TrustError `link.hello-mac`, `link.unknown-module`,
        `link.module-copied`, `link.withdrawn`, `link.key-version`, `link.suite`, `link.point`,
        `security.platform-ended`, `security.limit`.
        """
        table = self._table(caller, now)
        hello = wire.parse_hello(message)
        same = sm3(hello.canonical())
        kept = table.of_hello(same)
        if kept is not None:
            platform = kept.run.greeted(hello, now)
        else:
            ports = _Ports(self._tree, self._pki, self._registry, self._keylife, now)
            module = self._registry.module(hello.module_id)
            partner = caller.startswith(PLATFORMS)
            run = PlatformRun(
                ports,
                records_allowed=PARTNER_RECORDS if partner else RECORDS_ALLOWED,
                seconds_allowed=PARTNER_SECONDS if partner else SECONDS_ALLOWED,
                policy=CIPHER_ONLY if module is None else module.policy,
            )
            try:
                platform = run.greeted(hello, now)
            except TrustError:
                if ports.wrong is not None:
                    raise ports.wrong from None
                raise
            kept = Run(run, ports, same, hello.device_id)
            table.keep(kept)
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
        table = self._table(caller, now)
        kept = table.of_session(session_id)
        if kept is None:
            raise TrustError(
                "link.no-run", "DEVICE belongs to no handshake that this caller began; begin a new one."
            )
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
        reply = self._reply(granted)
        self._lending.opened(
            reply, caller, now
        )  # before any repeat is answered, should the disk take no writes now
        kept.reply = reply
        table.opened(kept)
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

    def forget(self, device_ids: Set[bytes]) -> None:
        """Drop every run of devices that may not go on."""
        for table in self._tables.values():
            table.forget(device_ids)

    def dismiss(self, caller: str) -> None:
        """Drop every run of a caller that was withdrawn."""
        self._tables.pop(caller, None)

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
