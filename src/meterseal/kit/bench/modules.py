"""Beside the path: modules for benchmarks, and a security service of their own with its files in a directory.

The service is the real one with real vaults, audit log and commits; a module is its ports alone, in memory, because
the device's side is never on the clock.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from meterseal.crypto.certificates import Certificate
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.link.handshake import DeviceRun, Identity
from meterseal.link.identities import check_platform_chain
from meterseal.mesh.rpc import InProcess
from meterseal.security.messages import Personalisation, PersonaliseRequest
from meterseal.security.sdk import SecuritySdk
from meterseal.security.service import SecurityService, provision

PROJECT = bytes.fromhex("31011500000000000001000200000003")
NOW = 1_795_000_000_000
"""The service's clock stands at this moment (Unix ms)."""

DAY = 86_400_000

T = TypeVar("T")


class BenchModule:
    """The device's ports of a handshake."""

    def __init__(self, number: int, suite: int) -> None:
        self.device_id = bytes.fromhex("10783300") + number.to_bytes(4)
        self.module_id = bytes.fromhex("01020304") + number.to_bytes(4)
        self.suite = suite
        self._key = Sm2PrivateKey.generate("a module's key")
        self._chain: tuple[bytes, ...] = ()
        self._root = b""
        self._key_version = 1
        self._link_key = SymmetricKey.generate("K_link")

    @property
    def point(self) -> bytes:
        """The module's public point."""
        return self._key.public_point

    def request(self) -> PersonaliseRequest:
        """What enrols it."""
        return PersonaliseRequest(
            device_id=self.device_id,
            module_id=self.module_id,
            suite=self.suite,
            module_point=self.point,
        )

    def take(self, given: Personalisation) -> None:
        """Open the envelope and keep what personalisation gave."""
        bound = SymmetricKey.from_bytes(self._key.decrypt(given.envelope)[:16], "K_b")
        self._link_key = bound.diversify(b"LINK0001", "K_link")
        self._key_version = given.key_version
        self.certify(given.chain, given.root)

    def certify(self, chain: tuple[bytes, ...], root: bytes) -> None:
        """Keep a chain (leaf, CA; empty under suite 2) and the root to trust."""
        self._chain, self._root = chain, root

    def random(self, size: int) -> bytes:
        """Fresh random bytes."""
        return os.urandom(size)

    def link_key(self) -> SymmetricKey:
        """K_link."""
        return self._link_key

    def ephemeral(self) -> Sm2PrivateKey:
        """A fresh key of one run."""
        return Sm2PrivateKey.generate("E_d")

    def sign(self, message: bytes) -> bytes:
        """r ‖ s by the module's key."""
        return self._key.sign(message)

    def check_platform(self, chain: Sequence[bytes], bound: int) -> Certificate:
        """The platform's leaf, checked as a device does."""
        return check_platform_chain(chain, root=self._root, project_id=PROJECT, bound=bound)

    def greets(self) -> DeviceRun:
        """A new handshake."""
        identity = Identity(self.suite, self.device_id, self.module_id, self._key_version, self._chain)
        return DeviceRun(identity, self, bound=NOW - DAY)


class BenchService:
    """A security service that was just set up, and the processes that call it, without sockets."""

    def __init__(self, stack: ExitStack) -> None:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="meterseal-bench-"))) / "keys"
        provision(directory, b"a passphrase of a benchmark", PROJECT, NOW)
        self.service = SecurityService.open(directory, b"a passphrase of a benchmark", clock=lambda: NOW)
        stack.callback(self.service.close)
        self.headend = SecuritySdk(InProcess(self.service.methods(), "headend"))
        self.platform = SecuritySdk(InProcess(self.service.methods(), "platform"))
        self._runner = stack.enter_context(asyncio.Runner())
        self._number = 0

    def wait(self, act: Coroutine[Any, Any, T]) -> T:
        """Run one act to its end."""
        return self._runner.run(act)

    def together(self, acts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Run acts side by side, as calls from several head-ends arrive; answers in their order."""

        async def all_of_them() -> list[T]:
            return await asyncio.gather(*acts)

        return self.wait(all_of_them())

    def made(self, count: int, suite: int) -> list[BenchModule]:
        """Modules that nobody enrolled yet."""
        self._number += count
        return [BenchModule(number, suite) for number in range(self._number - count, self._number)]

    def enrolled(self, count: int, suite: int) -> list[BenchModule]:
        """Fresh modules, enrolled."""
        modules = self.made(count, suite)
        requests = [module.request() for module in modules]
        for module, given in zip(modules, self.wait(self.platform.personalise_batch(requests)), strict=True):
            module.take(given)
        return modules
