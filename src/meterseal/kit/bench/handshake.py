"""Beside the path: how many handshakes a second the platform's side does on one core, and why not more.

On the clock are only calls of the platform's side; the device's answers are made between them, since they need the
platform's fresh bytes. Every handshake is finished by the device, and both sides must hold the same keys.

Two places are timed. *Service* is everything the security service does behind its method table: msgpack both ways,
registry, key derivation, HELLO judged, PLATFORM, DEVICE judged with chain and revocation lists, SESSION, keys wrapped,
uses counted, audit entry, and both answers only after the commits; 32 calls are under way at once, and their commits
are shared as in the service. *Link* is the pure state machine with its keys in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Literal

from meterseal.crypto.issuing import issue_ca, issue_crl, issue_leaf, issue_root
from meterseal.crypto.names import Purpose, uri
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import EngineError
from meterseal.kit.bench import raw
from meterseal.kit.bench.modules import DAY, NOW, PROJECT, BenchModule, BenchService
from meterseal.kit.bench.timing import Case, Limit, Watch
from meterseal.link.handshake import DeviceRun, Enrolment, PlatformRun
from meterseal.link.identities import check_device_chain
from meterseal.link.schedule import TrafficKeys

GOAL = 700.0
AT_ONCE = 32
UNIT = "handshakes per CPU second"
UNIT_WALL = "handshakes per second"


Leaf = Literal["proved before", "under a known CA", "as a chain"]
"""How the device's leaf certificate is proved: not again, by its CA's kept multiples, or by OpenSSL alone."""


def needed(suite: int, *, leaf: Leaf = "under a known CA", service: bool = True) -> Limit:
    """The primitives that one handshake cannot do without on the platform's side, counted in LINK section 3.

    Suite 1: one ephemeral key, one ECDH, one signature, one verification of the device's signature, and of its leaf
    certificate 64 additions of points or a second verification (CA and lists are the same for every device and need
    proof once). HMACs: HELLO 1, ES 1, HS 1, fin_p 2, DEVICE's tag 1, fin_d 2, MS 1, SESSION's tag 1; the service's
    audit link 1; and twice six keys under one secret. SM3: run table 2, th1 to th4. SM4: diversification 3 and IVs 2 as
    single blocks, DEVICE and SESSION by CBC, the wrapped keys by GCM.
    """
    macs, digests = (11, 6) if service else (10, 4)
    parts = [(macs, raw.hmac(100)), (2, raw.hmac_each(6, 50))]
    parts += [(5 if service else 2, raw.ecb(1)), (1, raw.cbc(64))]
    if service:
        parts.append((1, raw.gcm(160)))
    if suite == 2:
        parts += [(digests, raw.sm3(256)), (1, raw.cbc(64))]
        return Limit("its HMAC-SM3, SM3 and SM4 alone", tuple(parts))
    parts += [(digests, raw.sm3(1024)), (1, raw.cbc(1152))]
    parts += [
        (1, raw.keygen()),
        (1, raw.ecdh()),
        (1, raw.sign()),
        (2 if leaf == "as a chain" else 1, raw.verify()),
    ]
    if leaf == "under a known CA":
        parts.append((1, raw.additions(64)))
    proof = {
        "proved before": "1 verify",
        "under a known CA": "1 verify + 64 additions",
        "as a chain": "2 verify",
    }
    return Limit(
        f"SM2 keygen + ECDH + sign + {proof[leaf]}, and its HMAC-SM3, SM3 and SM4 alone", tuple(parts)
    )


class ServiceHandshakes:
    """Handshakes with a security service."""

    def __init__(self, service: BenchService, modules: Callable[[], Sequence[BenchModule]]) -> None:
        self._service, self._modules = service, modules
        self.granted = 0
        """Sessions that both sides hold."""

    def work(self, watch: Watch) -> int:
        """One slice: every module of `modules` shakes hands once."""
        service = self._service
        modules = self._modules()
        runs = [module.greets() for module in modules]
        hellos = [run.hello(NOW) for run in runs]
        with watch:
            platforms = service.together([service.headend.hello(one, "bench") for one in hellos])
        devices = [run.platform(one.message, NOW) for run, one in zip(runs, platforms, strict=True)]
        with watch:
            replies = service.together(
                [
                    service.headend.device(one.session_id, device, "bench")
                    for one, device in zip(platforms, devices, strict=True)
                ]
            )
        for run, reply in zip(runs, replies, strict=True):
            finish(run, reply.message, reply.keys)
        self.granted += len(replies)
        return len(replies)


class LinkHandshakes:
    """Handshakes of the pure state machine, with ports that hold keys in memory and prove the whole chain each time."""

    def __init__(self, suite: int) -> None:
        module = BenchModule(1, suite)
        self.enrolment = Enrolment(suite, module.link_key())
        self._key = Sm2PrivateKey.generate("the platform's key")
        root_key, cas = Sm2PrivateKey.generate("root"), {}
        self._root = issue_root(root_key, name="bench root", **_VALID)
        purposes: tuple[Purpose, ...] = ("platform", "device")
        for purpose in purposes:
            key = Sm2PrivateKey.generate(purpose)
            ca = issue_ca(
                self._root,
                root_key,
                point=key.public_point,
                name=f"bench {purpose}",
                purpose=purpose,
                **_VALID,
            )
            cas[purpose] = (ca, key)
        self._chain = _chain(*cas["platform"], self._key.public_point, "platform", [uri("project", PROJECT)])
        names = [uri("device", module.device_id), uri("module", module.module_id)]
        device = _chain(*cas["device"], module.point, "device", names)
        module.certify(device if suite == 1 else (), self._root)
        self._lists = [
            issue_crl(*issuer, revoked=(), number=1, since=NOW - DAY, until=NOW + DAY)
            for issuer in ((self._root, root_key), cas["device"])
        ]
        self.module = module
        self.granted = 0
        """Sessions that both sides hold."""

    def work(self, watch: Watch) -> int:
        """One slice: four handshakes."""
        for _ in range(4):
            device = self.module.greets()
            hello = device.hello(NOW)
            with watch:
                run = self.run()
                platform = run.begin(hello, NOW)
            answer = device.platform(platform, NOW)
            with watch:
                granted = run.finish(answer, NOW)
            finish(device, granted.message, granted.keys)
            self.granted += 1
        return 4

    def run(self) -> PlatformRun:
        """A new run of the platform's side."""
        return PlatformRun(self, records_allowed=1 << 20, seconds_allowed=86_400, policy=2)

    def random(self, size: int) -> bytes:
        """Fresh random bytes."""
        return os.urandom(size)

    def enrolled(self, device_id: bytes, module_id: bytes, key_version: int) -> Enrolment:
        """The one module."""
        return self.enrolment

    def ephemeral(self) -> Sm2PrivateKey:
        """A fresh key."""
        return Sm2PrivateKey.generate("E_p")

    def chain(self) -> Sequence[bytes]:
        """The platform's chain."""
        return self._chain

    def sign(self, message: bytes) -> bytes:
        """r ‖ s by the platform's key."""
        return self._key.sign(message)

    def check_device(self, chain: Sequence[bytes], device_id: bytes, module_id: bytes) -> bytes:
        """The device's point, its chain proved with both revocation lists."""
        return check_device_chain(
            chain, root=self._root, device_id=device_id, module_id=module_id, at=NOW, crls=self._lists
        ).point


def finish(device: DeviceRun, message: bytes, keys: TrafficKeys) -> None:
    """The device takes SESSION; EngineError `bench.session` unless both sides hold the same keys."""
    if device.session(message, NOW).keys != keys:
        raise EngineError("bench.session", "The two sides of a handshake hold different keys; report this.")


def cases(stack: ExitStack, seconds: float) -> list[Case]:
    """The rows."""
    raw.able()
    service = BenchService(stack)
    known = {suite: service.enrolled(AT_ONCE, suite) for suite in (1, 2)}
    fresh = ServiceHandshakes(service, lambda: service.enrolled(AT_ONCE, 1))
    return [
        Case(
            name="service, suite 1, module not seen before",
            unit=UNIT,
            work=fresh.work,
            limit=needed(1),
            goal=GOAL,
        ),
        Case(
            name="service, suite 1, chain proved before",
            unit=UNIT,
            work=ServiceHandshakes(service, lambda: known[1]).work,
            limit=needed(1, leaf="proved before"),
            goal=GOAL,
        ),
        Case(
            name="service, suite 1, module not seen before, waiting for the disk",
            unit=UNIT_WALL,
            work=fresh.work,
            limit=needed(1),
            clock="wall",
        ),
        Case(
            name="service, suite 2",
            unit=UNIT,
            work=ServiceHandshakes(service, lambda: known[2]).work,
            limit=needed(2),
        ),
        Case(
            name="link, suite 1",
            unit=UNIT,
            work=LinkHandshakes(1).work,
            limit=needed(1, leaf="as a chain", service=False),
        ),
        Case(name="link, suite 2", unit=UNIT, work=LinkHandshakes(2).work, limit=needed(2, service=False)),
    ]


_VALID = {"since": NOW - DAY, "until": NOW + 20 * DAY}


def _chain(
    ca: bytes, ca_key: Sm2PrivateKey, point: bytes, purpose: Purpose, names: Sequence[str]
) -> tuple[bytes, bytes]:
    leaf = issue_leaf(ca, ca_key, point=point, name="bench", purpose=purpose, uris=names, **_VALID)
    return leaf, ca
