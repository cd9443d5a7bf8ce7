"""Who plays: modules, the service and the attacker, each a set of ports for the shipped machines.

All randomness follows from a name, so that equal histories give equal bytes; SM2 signatures are remembered
for the same reason. Nothing here decides anything: trust in chains is `link.identities`, the machines are
`link.handshake`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from meterseal.crypto import certificates
from meterseal.crypto.certificates import Certificate
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import sm3
from meterseal.errors import TrustError
from meterseal.link import identities
from meterseal.link.handshake import DeviceRun, Enrolment, Identity, PlatformRun
from tests.crypto.pki import DEVICE, MODULE, NOW, PROJECT, SINCE, Tree

A, A_MODULE = DEVICE, MODULE
B, B_MODULE = bytes.fromhex("1078330011223355"), bytes.fromhex("0102030405060709")
X, X_MODULE = bytes.fromhex("1078330011223366"), bytes.fromhex("010203040506070a")
"""Two honest devices, and one that the attacker owns: enrolled, with keys and a certificate."""
OTHER_PROJECT = bytes(15) + b"\x09"


@cache
def tree() -> Tree:
    return Tree()


@cache
def others_tree() -> Tree:
    """The attacker's own certificates: right in every shape, under a root of its own."""
    return Tree()


@cache
def key_of(device_id: bytes) -> SymmetricKey:
    return SymmetricKey.from_bytes(sm3(b"K_link", device_id)[:16], f"K_link of {device_id.hex()}")


@cache
def owned_key(name: str) -> Sm2PrivateKey:
    """The SM2 key of a device, or one that the attacker made."""
    return Sm2PrivateKey.from_scalar(b"\0" + sm3(b"SM2", name.encode())[:31], name)


@cache
def chain_of(device_id: bytes, module_id: bytes, owner: str, of: str = "ours") -> tuple[bytes, ...]:
    """A device chain for these ids over the key of `owner`."""
    issuer = tree() if of == "ours" else others_tree()
    leaf = certificates.issue_leaf(
        issuer.device_ca,
        issuer.device_ca_key,
        point=owned_key(owner).public_point,
        name=owner,
        purpose="device",
        uris=[certificates.uri("device", device_id), certificates.uri("module", module_id)],
        since=SINCE,
        until=NOW + 86_400_000,
    )
    return leaf, issuer.device_ca


@cache
def foreign_project_chain() -> tuple[bytes, ...]:
    """A platform of another project under our own root, over the attacker's key: another customer of ours."""
    leaf = certificates.issue_leaf(
        tree().platform_ca,
        tree().platform_ca_key,
        point=owned_key("other project").public_point,
        name="other project",
        purpose="platform",
        uris=[certificates.uri("project", OTHER_PROJECT)],
        since=SINCE,
        until=SINCE + 86_400_000 * 29,
    )
    return leaf, tree().platform_ca


class _Ephemeral:
    """An ephemeral key that remembers what it agreed."""

    def __init__(self, name: str) -> None:
        self._key = owned_key("ephemeral " + name)
        self.public_point = self._key.public_point
        self.agree = lru_cache(maxsize=None)(self._key.agree)


ephemeral_of = cache(_Ephemeral)
_SIGNED: dict[tuple[str, bytes], bytes] = {}


def sign(key: Sm2PrivateKey, message: bytes) -> bytes:
    """A signature, the same each time that the same key signs the same message."""
    at = key.label + key.public_point.hex(), message
    if at not in _SIGNED:
        _SIGNED[at] = key.sign(message)
    return _SIGNED[at]


_CHAINS: dict[tuple[object, ...], Certificate | TrustError] = {}


def _remembered(judge: object, chain: Sequence[bytes], **facts: object) -> Certificate:
    at = (judge, tuple(chain), *((name, str(value)) for name, value in facts.items()))
    if at not in _CHAINS:
        try:
            _CHAINS[at] = judge(chain, **facts)  # type: ignore[operator]
        except TrustError as error:
            _CHAINS[at] = error
    found = _CHAINS[at]
    if isinstance(found, TrustError):
        raise TrustError(found.code, found.message)
    return found


class DevicePorts:
    """What a device lends to one run; `fresh` False makes it draw the same nonce in every run."""

    def __init__(
        self,
        name: str,
        device_id: bytes,
        *,
        signer: Sm2PrivateKey | None = None,
        believes: bool = False,
        fresh: bool = True,
    ) -> None:
        self.name, self._device_id, self._believes, self._fresh = name, device_id, believes, fresh
        self._signer = signer or owned_key(device_id.hex())

    def random(self, size: int) -> bytes:
        return sm3(b"N_d", self._device_id, self.name.encode() if self._fresh else b"")[:size]

    def link_key(self) -> SymmetricKey:
        return key_of(self._device_id)

    def ephemeral(self) -> _Ephemeral:
        return ephemeral_of(self.name)

    def sign(self, message: bytes) -> bytes:
        return sign(self._signer, message)

    def check_platform(self, chain: Sequence[bytes], bound: int) -> Certificate:
        if self._believes:  # the attacker's own device asks nobody
            return certificates.parse(chain[0])
        return _remembered(
            identities.check_platform_chain, chain, root=tree().root, project_id=PROJECT, bound=bound
        )


class PlatformPorts:
    """What the security service lends to one run: named draws, enrolments, trust.

    `stale` names draws that come the same in every run.
    """

    def __init__(
        self,
        name: bytes,
        enrolments: dict[tuple[bytes, bytes, int], Enrolment],
        *,
        chain: Sequence[bytes] | None = None,
        signer: Sm2PrivateKey | None = None,
        believes: bool = False,
        stale: frozenset[str] = frozenset(),
    ) -> None:
        self.name, self.enrolments, self.stale = name, enrolments, stale
        self._chain = tuple(chain or tree().platform_chain)
        self._signer = signer or tree().platform_key
        self._believes = believes
        self._draws = iter(("N_p", "session_id", "seed"))
        self.costly = 0

    def random(self, size: int) -> bytes:
        what = next(self._draws)
        return sm3(what.encode(), b"" if what in self.stale else self.name)[:size]

    def fork(self, granted: bool) -> PlatformPorts:
        """The same ports for a copy of the run, the seed drawn again unless it was."""
        other = object.__new__(PlatformPorts)
        other.__dict__ = dict(self.__dict__)
        other._draws = iter(() if granted else ("seed",))
        return other

    def enrolled(self, device_id: bytes, module_id: bytes, key_version: int) -> Enrolment | None:
        return self.enrolments.get((device_id, module_id, key_version))

    def ephemeral(self) -> _Ephemeral:
        return ephemeral_of("platform " + self.name.hex())

    def chain(self) -> Sequence[bytes]:
        return self._chain

    def sign(self, message: bytes) -> bytes:
        return sign(self._signer, message)

    def check_device(self, chain: Sequence[bytes], device_id: bytes, module_id: bytes) -> bytes:
        if self._believes:
            return certificates.parse(chain[0]).point
        leaf = _remembered(
            identities.check_device_chain,
            chain,
            root=tree().root,
            device_id=device_id,
            module_id=module_id,
            at=NOW,
            crls=None,
        )
        return leaf.point


def forget() -> None:
    """Forget remembered judgements: a check was switched off or on."""
    _CHAINS.clear()


def device_run(
    name: str, suite: int, device_id: bytes, module_id: bytes, *, slow: bool, fresh: bool
) -> DeviceRun:
    """A run of an honest device; `slow` behind a concentrator."""
    chain = chain_of(device_id, module_id, device_id.hex()) if suite == 1 else ()
    identity = Identity(suite, device_id, module_id, 1, chain)
    return DeviceRun(
        identity, DevicePorts(name, device_id, fresh=fresh), bound=SINCE, behind_concentrator=slow
    )


def platform_run(ports: PlatformPorts) -> PlatformRun:
    return PlatformRun(ports, records_allowed=1000, seconds_allowed=86_400, policy=2)
