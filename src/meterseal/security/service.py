"""The security service: opens the vaults, offers the table of methods, and writes every act and refusal to
the audit log.

It sees no reading, no name and no address; the acts themselves live in `handshake`, `personalise`,
`datakeys` and `pki`.

Security argument:

- Long-term keys exist in this process alone, as handles that do not print; on disk they are ciphertext
bound to its place. - A caller is who its certificate says; a method answers the callers of
`authorise.CALLERS` and nobody else. - The answer to an act leaves after its use of a key and its audit
entry are on disk: a disk that takes no writes stops the service from acting, not from recording. - A
refusal says why to the audit log and to the calling process; what a device is sent is nothing, whatever the
cause.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from meterseal.crypto.symmetric import equal
from meterseal.errors import EngineError, LocalError, MetersealError, TrustError
from meterseal.link.schedule import TrafficKeys
from meterseal.mesh.rpc import Empty, Method, Methods
from meterseal.security import datakeys, hierarchy, pki
from meterseal.security import messages as m
from meterseal.security.audit import Audit
from meterseal.security.authorise import CALLERS
from meterseal.security.handshake import Handshakes
from meterseal.security.hierarchy import KeyTree
from meterseal.security.personalise import Personaliser
from meterseal.security.pki import Pki
from meterseal.security.registry import Registry
from meterseal.security.vault import Vault

KEYS, CA, REGISTRY, AUDIT = "keys.vault", "ca.vault", "registry.db", "audit.db"
_MOST_ENTRIES = 1000
_MOST_STATEMENTS = 1000


def provisioned(directory: Path) -> bool:
    """Whether a security service was set up here."""
    return (directory / REGISTRY).exists()


def provision(directory: Path, passphrase: bytes, project_id: bytes, now: int, *, lab: bool = False) -> None:
    """First start: key tree, certificates, registry and audit log in `directory`, complete or not at all.

    On a directory that is set up already it only checks that passphrase and project fit. LocalError
    `security.project`, `security.passphrase-short`; TrustError `security.passphrase`; EngineError for the
    disk.
    """
    if len(project_id) != 16:
        raise LocalError(
            "security.project", "A project id has 16 bytes (32 hex digits); correct the settings."
        )
    if provisioned(directory):
        service = SecurityService.open(directory, passphrase, clock=lambda: now)
        fits = service.project_id == project_id
        service.close()
        if not fits:
            raise LocalError(
                "security.project", f"{directory} belongs to another project; choose another directory."
            )
        return
    making = directory.with_name(f".{directory.name}.new")
    try:
        if making.exists():
            shutil.rmtree(making)  # an earlier first start that was cut off; nobody has used its keys
        making.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise _disk(making, error) from None
    keys = Vault.create(making / KEYS, "keys", passphrase)
    hierarchy.plant(keys, project_id)
    authorities = Vault.create(making / CA, "ca", passphrase)
    registry = Registry.create(making / REGISTRY, {"project": project_id, "lab": bytes((lab,))})
    pki.establish(making, authorities, registry, passphrase, project_id, now)
    Audit.create(making / AUDIT)
    for opened in (keys, authorities, registry):
        opened.close()
    try:
        for folder in (making / pki.OFFLINE, making):
            _sync(folder)
        making.replace(directory)  # over an empty directory, or none
        _sync(directory.parent)
    except OSError as error:
        raise _disk(directory, error) from None


class SecurityService:
    """The running service; made by `open`, used through `methods`."""

    def __init__(
        self, keys: Vault, authorities: Vault, registry: Registry, audit: Audit, clock: Callable[[], int]
    ) -> None:
        self._keys = keys
        self._authorities = authorities
        self._registry = registry
        self._audit = audit
        self._clock = clock
        self.project_id = registry.setting("project")
        self.lab = registry.setting("lab") == b"\x01"
        tree = KeyTree(keys, self.project_id)
        self._tree = tree
        self._pki = Pki(authorities, registry, self.project_id)
        self._personaliser = Personaliser(keys, tree, self._pki, registry, self.project_id, lab=self.lab)
        self._handshakes = Handshakes(keys, tree, self._pki, registry)

    provision = staticmethod(provision)

    @classmethod
    def open(cls, directory: Path, passphrase: bytes, *, clock: Callable[[], int]) -> SecurityService:
        """Open what `provision` made; `clock` gives Unix milliseconds.

        TrustError `security.passphrase`, `security.key-record`, `security.key-tree`; LocalError
        `security.missing`, `security.newer`; EngineError `security.in-use`, `security.damaged`,
        `security.read-only`.
        """
        opened: list[Vault | Registry | Audit] = []
        try:
            opened.append(keys := Vault.open(directory / KEYS, "keys", passphrase))
            opened.append(authorities := Vault.open(directory / CA, "ca", passphrase))
            opened.append(registry := Registry.open(directory / REGISTRY))
            opened.append(audit := Audit.open(directory / AUDIT, keys))
            return cls(keys, authorities, registry, audit, clock)
        except BaseException:
            for one in reversed(opened):
                one.close()
            raise

    def close(self) -> None:
        """Write what is pending and close every file."""
        for one in (self._audit, self._registry, self._authorities, self._keys):
            one.close()

    def methods(self) -> Methods:
        """The table of methods for the mesh."""
        table: dict[str, tuple[Callable[..., Awaitable[Struct]], type[Struct]]] = {
            "hello": (self._hello, m.HelloRequest),
            "device": (self._device, m.DeviceRequest),
            "unwrap": (self._unwrap, m.UnwrapRequest),
            "personalise": (self._personalise, m.PersonaliseRequest),
            "personalise_batch": (self._personalise_batch, m.PersonaliseBatch),
            "lab_issue": (self._lab_issue, m.LabRequest),
            "withdraw": (self._withdraw, m.WithdrawRequest),
            "check_evidence": (self._check_evidence, m.EvidenceBatch),
            "data_key": (self._data_key, m.DataKeyRequest),
            "unwrap_data_key": (self._unwrap_data_key, m.UnwrapDataKeyRequest),
            "device_facts": (self._device_facts, m.FactsRequest),
            "anchors": (self._anchors, Empty),
            "audit": (self._read_audit, m.AuditRequest),
            "verify_audit": (self._verify_audit, Empty),
            "usage": (self._usage, Empty),
        }
        return {
            name: Method(self._audited(act), request, CALLERS[name]) for name, (act, request) in table.items()
        }

    def _audited(self, act: Callable[..., Awaitable[Struct]]) -> Callable[[str, Any], Awaitable[Struct]]:
        """The act, with a refusal written to the audit log before it is answered."""

        async def run(caller: str, request: Any) -> Struct:
            try:
                return await act(caller, request)
            except MetersealError as error:
                if not isinstance(error, EngineError):
                    self._note(caller, request, error.code, error.message, refused=True)
                    await self._durable()
                raise

        return run

    def _note(
        self, caller: str, about: Struct, code: str, sentence: str, *, key: str = "", refused: bool = False
    ) -> None:
        self._audit.write(
            m.AuditEntry(
                at=self._clock(),
                code=code,
                sentence=sentence,
                caller=caller,
                source=getattr(about, "source", "")[:100],
                device_id=getattr(about, "device_id", b"")[:8],
                module_id=getattr(about, "module_id", b"")[:8],
                session_id=getattr(about, "session_id", b"")[:8],
                key=key,
                refused=refused,
            )
        )

    async def _durable(self) -> None:
        await self._audit.durable()
        await self._keys.durable()
        await self._authorities.durable()

    async def _hello(self, caller: str, request: m.HelloRequest) -> m.PlatformReply:
        reply = self._handshakes.hello(request.message, self._clock())
        await self._authorities.durable()
        return reply

    async def _device(self, caller: str, request: m.DeviceRequest) -> m.SessionReply:
        reply, fresh = self._handshakes.device(request.session_id, request.message, self._clock())
        if fresh:
            key = f"DIAK version {reply.key_version}"
            self._note(caller, reply, "security.session", "A session was opened.", key=key)
        await self._durable()
        return reply

    async def _unwrap(self, caller: str, request: m.UnwrapRequest) -> TrafficKeys:
        packed = datakeys.unwrap_session(self._keys, request.session_id, request.device_id, request.wrapped)
        self._note(caller, request, "security.session-taken-up", "A stored session's keys were opened.")
        await self._durable()
        return msgspec.msgpack.decode(packed, type=TrafficKeys)

    async def _personalise(self, caller: str, request: m.PersonaliseRequest) -> m.Personalisation:
        batch = await self._personalise_batch(caller, m.PersonaliseBatch(requests=(request,)))
        return batch.answers[0]

    async def _personalise_batch(self, caller: str, request: m.PersonaliseBatch) -> m.PersonaliseBatchReply:
        answers = self._personaliser.personalise(request.requests, self._clock())
        for answer in answers:
            key = f"DIAK version {answer.key_version}"
            self._note(caller, answer, "security.personalised", "A module was enrolled.", key=key)
        await self._durable()
        return m.PersonaliseBatchReply(answers=tuple(answers))

    async def _lab_issue(self, caller: str, request: m.LabRequest) -> m.LabCredentials:
        credentials = self._personaliser.lab_issue(request, self._clock())
        key = f"DIAK version {credentials.key_version}"
        self._note(
            caller, request, "security.lab-issued", "A lab device's keys were handed out in clear.", key=key
        )
        await self._durable()
        return credentials

    async def _withdraw(self, caller: str, request: m.WithdrawRequest) -> Empty:
        self._personaliser.withdraw(request.device_id, request.module_id, self._clock())
        self._handshakes.forget(request.device_id)
        self._note(caller, request, "security.withdrawn", "A module was taken out of service.")
        await self._durable()
        return Empty()

    async def _check_evidence(self, caller: str, request: m.EvidenceBatch) -> m.EvidenceAnswer:
        if len(request.requests) > _MOST_STATEMENTS:
            raise LocalError(
                "security.request", f"At most {_MOST_STATEMENTS} statements are checked at once."
            )
        good = tuple(self._evidence_holds(one) for one in request.requests)
        await self._durable()
        return m.EvidenceAnswer(good=good)

    def _evidence_holds(self, one: m.EvidenceRequest) -> bool:
        module = self._registry.module(one.module_id)
        if module is None or module.device_id != one.device_id or module.suite != 2:
            return False
        try:
            key = self._tree.purpose(one.device_id, one.module_id, one.key_version, "EVID0001")
        except TrustError:
            return False  # a key version that never was, or is withdrawn, proves nothing
        self._keys.use("DIAK", one.key_version)
        return equal(key.mac(b"ms1 evidence\x00", one.statement), one.mac)

    async def _data_key(self, caller: str, request: m.DataKeyRequest) -> m.DataKey:
        made = datakeys.new_data_key(self._keys, request.purpose, request.key_id)
        await self._durable()
        return made

    async def _unwrap_data_key(self, caller: str, request: m.UnwrapDataKeyRequest) -> m.DataKey:
        opened = datakeys.open_data_key(self._keys, request.purpose, request.key_id, request.wrapped)
        await self._durable()
        return opened

    async def _device_facts(self, caller: str, request: m.FactsRequest) -> m.DeviceFacts:
        return self._personaliser.facts(request.device_id, request.module_id)

    async def _anchors(self, caller: str, request: Empty) -> m.Anchors:
        now = self._clock()
        anchors = m.Anchors(
            project_id=self.project_id,
            root=self._pki.root,
            platform_chain=self._pki.platform(now).chain,
            device_ca=self._pki.chain("device"),
            lists=tuple(self._pki.lists(now)),
            lab=self.lab,
        )
        await self._authorities.durable()
        return anchors

    async def _read_audit(self, caller: str, request: m.AuditRequest) -> m.AuditReply:
        limit = max(0, min(request.limit, _MOST_ENTRIES))
        entries = self._audit.newest(limit) if request.newest else self._audit.since(request.since, limit)
        return m.AuditReply(entries=tuple(entries))

    async def _verify_audit(self, caller: str, request: Empty) -> m.AuditState:
        await self._durable()
        return self._audit.verify()

    async def _usage(self, caller: str, request: Empty) -> m.UsageReply:
        facts = (*self._keys.all_facts(), *self._authorities.all_facts())
        return m.UsageReply(keys=facts, modules=self._registry.count())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk(path: Path, error: OSError) -> EngineError:
    return EngineError(
        "security.disk",
        f"Cannot set up {path}: {error.strerror}. Free space or choose a directory that can be written, "
        "then start again.",
    )
