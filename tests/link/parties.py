"""A device and a platform with keys of their own, for attacks: every port and trust decision is real."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache

import pytest

from meterseal.crypto.certificates import Certificate
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import MetersealError, PeerError, TrustError
from meterseal.link import identities
from meterseal.link.handshake import DeviceRun, Enrolment, Identity, PlatformRun
from tests.crypto.pki import DEVICE, MODULE, NOW, PROJECT, SINCE, Tree

__all__ = ["DEVICE", "MODULE", "NOW", "PROJECT", "SINCE", "Module", "Service", "code_of", "refuses", "tree"]

OTHER_DEVICE = bytes.fromhex("1078330011223355")
OTHER_MODULE = bytes.fromhex("0102030405060709")


@cache
def tree() -> Tree:
    return Tree()


def link_key(device_id: bytes = DEVICE, version: int = 1) -> SymmetricKey:
    """A K_link per device and version."""
    return SymmetricKey.from_bytes(device_id + bytes(7) + bytes((version,)), "K_link of a test")


class Module:
    """A module's ports."""

    def __init__(
        self,
        suite: int = 1,
        device_id: bytes = DEVICE,
        module_id: bytes = MODULE,
        version: int = 1,
        project: bytes = PROJECT,
    ) -> None:
        self.project = project
        self.key = link_key(device_id, version)
        self.signer = tree().device_key
        chain = (tree().device(device_id, module_id), tree().device_ca) if suite == 1 else ()
        self.identity = Identity(suite, device_id, module_id, version, chain)

    def run(self, bound: int = SINCE, *, behind_concentrator: bool = False) -> DeviceRun:
        return DeviceRun(self.identity, self, bound=bound, behind_concentrator=behind_concentrator)

    def random(self, size: int) -> bytes:
        return os.urandom(size)

    def link_key(self) -> SymmetricKey:
        return self.key

    def ephemeral(self) -> Sm2PrivateKey:
        return Sm2PrivateKey.generate("ephemeral")

    def sign(self, message: bytes) -> bytes:
        return self.signer.sign(message)

    def check_platform(self, chain: Sequence[bytes], bound: int) -> Certificate:
        return identities.check_platform_chain(chain, root=tree().root, project_id=self.project, bound=bound)


class Service:
    """The security service's ports, with one or more enrolled modules."""

    def __init__(self, suite: int = 1, chain: Sequence[bytes] | None = None) -> None:
        self.enrolments = {(DEVICE, MODULE, 1): Enrolment(suite, link_key(DEVICE))}
        self._chain = chain or tree().platform_chain
        self.signer = tree().platform_key
        self.crls = tree().device_crls()
        self.costly = 0

    def run(self, **wishes: int) -> PlatformRun:
        return PlatformRun(self, records_allowed=1000, seconds_allowed=86_400, policy=2, **wishes)

    def random(self, size: int) -> bytes:
        return os.urandom(size)

    def enrolled(self, device_id: bytes, module_id: bytes, key_version: int) -> Enrolment | None:
        return self.enrolments.get((device_id, module_id, key_version))

    def ephemeral(self) -> Sm2PrivateKey:
        self.costly += 1
        return Sm2PrivateKey.generate("ephemeral")

    def chain(self) -> Sequence[bytes]:
        return self._chain

    def sign(self, message: bytes) -> bytes:
        self.costly += 1
        return self.signer.sign(message)

    def check_device(self, chain: Sequence[bytes], device_id: bytes, module_id: bytes) -> bytes:
        leaf = identities.check_device_chain(
            chain, root=tree().root, device_id=device_id, module_id=module_id, at=NOW, crls=self.crls
        )
        return leaf.point


def code_of(act: Callable[[], object]) -> str:
    """The code of the PeerError or TrustError that `act` must end in; anything else fails the test."""
    with pytest.raises((PeerError, TrustError)) as refused:
        act()
    error = refused.value
    assert isinstance(error, MetersealError)
    return error.code


def refuses(code: str, act: Callable[[], object]) -> None:
    """`act` is refused for this reason."""
    assert code_of(act) == code


def segment(message: bytes, offset: int, size: int) -> bytes:
    """total 2 ‖ offset 2 ‖ bytes of the segment at `offset` (LINK section 5)."""
    return len(message).to_bytes(2) + offset.to_bytes(2) + message[offset : offset + size]


def split(message: bytes, size: int) -> list[bytes]:
    """The payloads that carry a message in order, `size` bytes in each."""
    return [segment(message, at, size) for at in range(0, len(message), size)]
