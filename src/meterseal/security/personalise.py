"""Enrolment: what a module is given at issue, and what the service remembers of it (HM 8.5.1, 8.5.4).

It sends nothing to a module; the envelope it makes opens only with the private key inside that module.

K_b and K_r leave this process in two ways alone: inside the SM2 envelope to the module's own point, and, in
a project that was set up as *lab* and never otherwise, in clear by `lab_issue`. A module is bound to its
device for good; asking again with the same point gives the same certificate and a fresh envelope, so a
request whose answer was lost may be repeated.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from meterseal.crypto import sm2
from meterseal.crypto.expose import expose
from meterseal.crypto.sm2 import ORDER, Sm2PrivateKey
from meterseal.errors import LocalError, TrustError
from meterseal.security.hierarchy import KeyTree
from meterseal.security.messages import (
    DeviceFacts,
    LabCredentials,
    LabRequest,
    Personalisation,
    PersonaliseRequest,
)
from meterseal.security.orders import check_zone
from meterseal.security.pki import DAY, Pki
from meterseal.security.registry import POLICIES, PROFILES, Issued, Module, Registry
from meterseal.security.reserved import Reserved
from meterseal.security.vault import Vault

LARGEST_BATCH = 1000
SUITES = (1, 2)


class _Made(NamedTuple):
    """What was made for one request: the module that it repeats (None for a new one), module, answer, and the
    versions that a new one stands on.
    """

    known: Module | None
    module: Module
    answer: Personalisation
    ground: tuple[int, int]


class Personaliser:
    """Enrols modules of one project."""

    def __init__(
        self,
        keys: Vault,
        tree: KeyTree,
        pki: Pki,
        registry: Registry,
        reserved: Reserved,
        project_id: bytes,
        *,
        lab: bool,
    ) -> None:
        self._keys = keys
        self._tree = tree
        self._pki = pki
        self._registry = registry
        self._reserved = reserved
        self._project_id = project_id
        self._lab = lab

    async def personalise(
        self,
        requests: Sequence[PersonaliseRequest],
        now: int,
        also: Callable[[sqlite3.Connection], None] | None = None,
        *,
        signed: bool = False,
    ) -> list[Personalisation]:
        """Enrol all of `requests` or none; `also` writes into the same transaction, `signed` says that two officers signed
        for these very modules and points.

        Certificates and envelopes are made one module at a time, and other calls are answered between two of
        them. What these have changed is looked at again before the enrolment, and from there to its end nobody
        else runs; an answer that was made for nothing is dropped unseen.

        LocalError `security.request` for malformed ids, suites, points, policies or doubles; TrustError
        `security.module-bound`, `security.device-bound`, `security.enrolment-held`, `security.reserved`,
        `security.withdrawn-before`.
        """
        if not 0 < len(requests) <= LARGEST_BATCH:
            raise LocalError(
                "security.request", f"A batch has 1 to {LARGEST_BATCH} modules, not {len(requests)}."
            )
        if len({r.module_id for r in requests}) < len(requests) or len({r.device_id for r in requests}) < len(
            requests
        ):
            raise LocalError(
                "security.request", "A module or device stands twice in the batch; nothing was enrolled."
            )
        for request in requests:
            self.known(request, signed=signed)  # a batch that is refused costs no signature
        made: list[_Made] = []
        for request in requests:
            made.append(self._made(request, now, signed=signed))
            if len(requests) > 1:
                await asyncio.sleep(0)
        still = [
            one if self._stands(request, one, signed=signed) else self._made(request, now, signed=signed)
            for request, one in zip(requests, made, strict=True)
        ]
        self._enrol([one.module for one in still if one.known is None], also)
        return [one.answer for one in still]

    def _made(self, request: PersonaliseRequest, now: int, *, signed: bool) -> _Made:
        """Module and answer for one request; nothing is stored."""
        known = self.known(request, signed=signed)
        ground = self._ground()
        module = known or self._new(request, now, lab=False)
        return _Made(known, module, self._written(module, now), ground)

    def _stands(self, request: PersonaliseRequest, made: _Made, *, signed: bool) -> bool:
        """Whether what was made a while ago would be made so now; errors as `personalise`."""
        return self.known(request, signed=signed) is made.known and (
            made.known is not None or made.ground == self._ground()
        )

    def _ground(self) -> tuple[int, int]:
        """The versions of CA and DIAK that a new module gets."""
        return self._pki.version("device"), self._tree.key_version

    def known(self, request: PersonaliseRequest, *, signed: bool = False) -> Module | None:
        """The module that this request repeats, None when it may be enrolled anew; errors as `personalise`."""
        _check_ids(request.device_id, request.module_id, request.suite)
        if request.policy not in POLICIES or request.profile not in PROFILES:
            raise LocalError(
                "security.request",
                f"A policy is 0, 1 or 2 and a profile one of {', '.join(sorted(PROFILES))}; nothing was enrolled.",
            )
        check_zone(request.zone)
        if not sm2.on_curve(request.module_point):
            raise LocalError(
                "security.request", "A module's public point is not on curve SM2; nothing was enrolled."
            )
        module = self._again(request)
        if module is None:
            self._registry.check_free(request.device_id, request.module_id)
            self._reserved.check(request.device_id, request.module_id, request.module_point, signed=signed)
        return module

    def lab_issue(self, request: LabRequest, now: int) -> LabCredentials:
        """Enrol one device and hand out its keys in clear; TrustError `security.not-lab` outside lab
        projects.
        """
        if not self._lab:
            raise TrustError(
                "security.not-lab",
                "This system was not set up as a lab, so no module's keys leave it; set up a lab system "
                "elsewhere.",
            )
        _check_ids(request.device_id, request.module_id, request.suite)
        self._registry.check_free(request.device_id, request.module_id)
        self._reserved.check(request.device_id, request.module_id, b"")
        scalar = (secrets.randbelow(ORDER - 2) + 1).to_bytes(32)
        point = Sm2PrivateKey.from_scalar(scalar, "a lab device's key").public_point
        asked = PersonaliseRequest(
            device_id=request.device_id, module_id=request.module_id, suite=request.suite, module_point=point
        )
        module = self._new(asked, now, lab=True)
        self._enrol([module])
        self._keys.use("DIAK", module.key_version)
        return LabCredentials(
            device_id=module.device_id,
            module_id=module.module_id,
            suite=module.suite,
            key_version=module.key_version,
            project_id=self._project_id,
            k_bound=expose(self._tree.bound(module.device_id, module.module_id, module.key_version)),
            root=self._pki.root,
            chain=self._chain(module),
            device_key=scalar if module.suite == 1 else b"",
        )

    def in_service(self, device_id: bytes, module_id: bytes) -> Module:
        """The module in service of a device, if it is this one; TrustError `security.not-enrolled`."""
        module = self._registry.of_device(device_id)
        if module is None or module.module_id != module_id:
            raise TrustError(
                "security.not-enrolled",
                f"Device {device_id.hex()} has no module {module_id.hex()} in service.",
            )
        return module

    def facts(self, device_id: bytes, module_id: bytes = b"") -> DeviceFacts:
        """What is known of a device's module in service, or of the one named; TrustError
        `security.not-enrolled`.
        """
        module = self._registry.module(module_id) if module_id else self._registry.of_device(device_id)
        if module is None or module.device_id != device_id:
            raise TrustError("security.not-enrolled", f"Device {device_id.hex()} has no such module.")
        return DeviceFacts(
            device_id=module.device_id,
            module_id=module.module_id,
            suite=module.suite,
            key_version=module.key_version,
            project_id=module.project_id,
            chain=self._chain(module),
            state=module.state,
            lab=module.lab,
            enrolled_at=module.enrolled_at,
            zone=module.zone,
        )

    def _again(self, request: PersonaliseRequest) -> Module | None:
        """The module of an earlier request that this one repeats."""
        module = self._registry.module(request.module_id)
        if (
            module is not None
            and module.state == "active"
            and not module.lab
            and (module.device_id, module.suite, module.point)
            == (request.device_id, request.suite, request.module_point)
        ):
            return module
        return None

    def _new(self, request: PersonaliseRequest, now: int, *, lab: bool) -> Module:
        leaf = b""
        if request.suite == 1:
            leaf = self._pki.issue_device(request.device_id, request.module_id, request.module_point, now)
        return Module(
            device_id=request.device_id,
            module_id=request.module_id,
            suite=request.suite,
            key_version=self._tree.key_version,
            project_id=self._project_id,
            point=request.module_point,
            leaf=leaf,
            state="active",
            lab=lab,
            enrolled_at=now,
            policy=request.policy,
            profile=request.profile,
            zone=request.zone,
        )

    def _enrol(
        self, modules: Sequence[Module], also: Callable[[sqlite3.Connection], None] | None = None
    ) -> None:
        version = self._pki.version("device")
        certificates = [Issued("device", version, m.leaf, m.enrolled_at) for m in modules if m.leaf]
        with self._registry.store.transaction() as connection:
            kept = self._registry.enrol_within(connection, modules, certificates)
            if also is not None:
                also(connection)
        self._registry.kept(kept)

    def _written(self, module: Module, now: int) -> Personalisation:
        self._keys.use("DIAK", module.key_version)
        self._keys.use("MROOT", 1)
        bound = self._tree.bound(module.device_id, module.module_id, module.key_version)
        root = self._tree.module_root(module.device_id, module.module_id)
        return Personalisation(
            device_id=module.device_id,
            module_id=module.module_id,
            suite=module.suite,
            project_id=self._project_id,
            key_version=module.key_version,
            chain=self._chain(module),
            root=self._pki.root,
            envelope=sm2.encrypt(module.point, expose(bound) + expose(root)),
            check_value=bound.check_value(),
            bound_at=now - now % DAY,
            profile=module.profile,
        )

    def _chain(self, module: Module) -> tuple[bytes, ...]:
        return self._pki.device_chain(module.leaf) if module.leaf else ()


def _check_ids(device_id: bytes, module_id: bytes, suite: int) -> None:
    if len(device_id) != 8 or len(module_id) != 8 or suite not in SUITES:
        raise LocalError("security.request", "Ids have 8 bytes and a suite is 1 or 2; nothing was enrolled.")
