"""A provisioned key service, its vaults and its clock, for the tests of the security service."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from msgspec import structs

from meterseal.crypto.certificates import Certificate
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import MetersealError
from meterseal.link.handshake import DeviceRun, Identity, Session
from meterseal.link.identities import check_platform_chain
from meterseal.mesh.rpc import InProcess
from meterseal.security import messages as m
from meterseal.security.hierarchy import plant
from meterseal.security.keystore import Opener
from meterseal.security.passphrase import Stretching
from meterseal.security.sdk import SecuritySdk
from meterseal.security.service import SecurityService, provision
from meterseal.security.vault import Vault

PASSPHRASE = b"a passphrase for tests"
PROJECT = bytes.fromhex("31011500000000000001000200000003")
NOW = 1_795_000_000_000
DAY = 86_400_000


class Clock:
    """The time that a service is told."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@pytest.fixture(scope="session", autouse=True)
def cheap_stretching() -> Iterator[None]:
    """Argon2id at a small cost: the cost is stored beside what it seals, so later opens follow it."""

    def cheap() -> Stretching:
        return Stretching(os.urandom(16), passes=1, memory=64, lanes=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meterseal.security.keystore.fresh_stretching", cheap)
        patch.setattr("meterseal.security.pki.fresh_stretching", cheap)
        patch.setattr("meterseal.security.backup.fresh_stretching", cheap)
        patch.setattr("meterseal.security.officerfile.fresh_stretching", cheap)
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault.create(tmp_path / "keys.vault", "keys", PASSPHRASE)
    plant(made, PROJECT)
    return made


class Module:
    """A module for tests: its keys as personalisation gave them, and the device's side of a handshake."""

    def __init__(self, number: int, suite: int = 1) -> None:
        self.device_id = bytes.fromhex("10783300") + number.to_bytes(4)
        self.module_id = bytes.fromhex("01020304") + number.to_bytes(4)
        self.suite = suite
        self.key = Sm2PrivateKey.generate("test module")
        self.given: m.Personalisation | None = None
        self.k_bound = SymmetricKey.generate("nothing yet")

    @property
    def request(self) -> m.PersonaliseRequest:
        return m.PersonaliseRequest(
            device_id=self.device_id,
            module_id=self.module_id,
            suite=self.suite,
            module_point=self.key.public_point,
        )

    def take(self, given: m.Personalisation) -> None:
        self.given = given
        opened = self.key.decrypt(given.envelope)
        assert len(opened) == 32
        self.k_bound = SymmetricKey.from_bytes(opened[:16], "K_b")
        assert self.k_bound.check_value() == given.check_value

    def random(self, size: int) -> bytes:
        return os.urandom(size)

    def link_key(self) -> SymmetricKey:
        return self.k_bound.diversify(b"LINK0001", "K_link")

    def ephemeral(self) -> Sm2PrivateKey:
        return Sm2PrivateKey.generate("E_d")

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)

    def check_platform(self, chain: Sequence[bytes], bound: int) -> Certificate:
        assert self.given is not None
        return check_platform_chain(
            chain, root=self.given.root, project_id=self.given.project_id, bound=bound
        )

    def run(self, **other: object) -> DeviceRun:
        assert self.given is not None
        identity = Identity(
            suite=self.suite,
            device_id=self.device_id,
            module_id=self.module_id,
            key_version=self.given.key_version,
            chain=self.given.chain,
        )
        return DeviceRun(structs.replace(identity, **other), self, bound=self.given.bound_at)


_BENCHES: weakref.WeakSet[Bench] = weakref.WeakSet()


class Bench:
    """A running service and the two processes that call it, without sockets."""

    def __init__(self, directory: Path, clock: Clock, opener: Opener = PASSPHRASE) -> None:
        self.directory = directory
        self.clock = clock
        self.service = SecurityService.open(directory, opener, clock=clock)
        _BENCHES.add(self)
        self.headend = SecuritySdk(InProcess(self.service.methods(), "headend"))
        self.platform = SecuritySdk(InProcess(self.service.methods(), "platform"))

    def restarted_from_closed(self) -> Bench:
        return Bench(self.directory, self.clock)

    def restarted(self) -> Bench:
        self.service.close()
        return Bench(self.directory, self.clock)

    async def module(self, number: int, suite: int = 1, device_id: bytes = b"") -> Module:
        module = Module(number, suite)
        module.device_id = device_id or module.device_id
        given = await self.platform.personalise(
            module.device_id, module.module_id, suite, module.key.public_point
        )
        module.take(given)
        return module

    async def shake(self, module: Module) -> tuple[Session, m.SessionReply]:
        run = module.run()
        platform = await self.headend.hello(run.hello(self.clock.now), "test")
        device = run.platform(platform.message, self.clock.now)
        reply = await self.headend.device(platform.session_id, device)
        return run.session(reply.message, self.clock.now), reply

    async def refusals(self) -> list[m.AuditEntry]:
        return [one.entry for one in await self.platform.audit(limit=1000) if one.entry.refused]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("template") / "keys"
    provision(directory, PASSPHRASE, PROJECT, NOW)
    return directory


@pytest.fixture
def bench(template: Path, tmp_path: Path, clock: Clock) -> Iterator[Bench]:
    shutil.copytree(template, tmp_path / "keys")
    yield Bench(tmp_path / "keys", clock)
    for one in list(_BENCHES):  # each has ten files open
        with contextlib.suppress(sqlite3.Error, OSError, MetersealError):  # closed before, or attacked
            one.service.close()
    _BENCHES.clear()
