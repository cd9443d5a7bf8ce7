"""The security service: opens the vaults, offers the table of methods, and writes every act and refusal to
the audit log.

It sees no reading, no name and no address; the acts themselves live at the desks (`desks`, one file for
each area), which work with what they share in a `desk.Room`.

Security argument:

- Long-term keys exist in this process alone, as handles that do not print; on disk they are ciphertext
bound to its place. - A caller is who its certificate says; a method answers the callers that its desk
names and nobody else. - The answer to an act leaves after its use of a key and its audit
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

from msgspec import Struct

from meterseal.errors import EngineError, LocalError, MetersealError
from meterseal.mesh.rpc import Method, Methods, Refused
from meterseal.mesh.tls import PLATFORMS
from meterseal.security import hierarchy, pki
from meterseal.security.audit import Audit
from meterseal.security.book import Book
from meterseal.security.calllog import ANSWERED
from meterseal.security.desk import Act, Desk, Room, TlsAuthority
from meterseal.security.desks.anchors import AnchorDesk
from meterseal.security.desks.cards import CardDesk
from meterseal.security.desks.commands import CommandDesk
from meterseal.security.desks.diagnosis import DiagnosisDesk
from meterseal.security.desks.editing import EditDesk
from meterseal.security.desks.factory import FactoryDesk
from meterseal.security.desks.firmware import FirmwareDesk
from meterseal.security.desks.keylife import KeyLifeDesk
from meterseal.security.desks.ledger import LedgerDesk
from meterseal.security.desks.links import LinkDesk
from meterseal.security.desks.modules import ModuleDesk
from meterseal.security.desks.papers import PapersDesk
from meterseal.security.desks.persons import PersonsDesk
from meterseal.security.desks.platforms import PlatformDesk
from meterseal.security.desks.reserving import ReservingDesk
from meterseal.security.desks.root import RootDesk
from meterseal.security.desks.stored import StoredDesk
from meterseal.security.desks.trail import TrailDesk
from meterseal.security.desks.upkeep import UpkeepDesk
from meterseal.security.keystore import KeyStore, Opener
from meterseal.security.messages import AuditEntry
from meterseal.security.platforms import RATE
from meterseal.security.registry import Registry
from meterseal.security.vault import Vault

KEYS, CA, REGISTRY, AUDIT, BOOK = "keys.vault", "ca.vault", "registry.db", "audit.db", "acts.db"


def provisioned(directory: Path) -> bool:
    """Whether a security service was set up here."""
    return (directory / REGISTRY).exists()


def provision(
    directory: Path,
    passphrase: bytes,
    project_id: bytes,
    now: int,
    *,
    lab: bool = False,
    store: KeyStore | None = None,
) -> None:
    """First start: key tree, certificates, registry and audit log in `directory`, complete or not at all.

    The vaults stand under keys of `store`, by default the passphrase's, the offline root under the
    passphrase. On a directory that is set up already it only checks that passphrase and project fit.
    LocalError `security.project`, `security.passphrase-short`; TrustError `security.passphrase`;
    EngineError for the disk.
    """
    if len(project_id) != 16:
        raise LocalError(
            "security.project", "A project id has 16 bytes (32 hex digits); correct the settings."
        )
    if provisioned(directory):
        service = SecurityService.open(directory, store or passphrase, clock=lambda: now)
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
    keys = Vault.create(making / KEYS, "keys", store or passphrase)
    hierarchy.plant(keys, project_id)
    authorities = Vault.create(making / CA, "ca", store or passphrase, keys)
    registry = Registry.create(making / REGISTRY, {"project": project_id, "lab": bytes((lab,))}, keys)
    pki.establish(making, authorities, registry, passphrase, project_id, now)
    Audit.create(making / AUDIT, keys)
    Book.create(making / BOOK, keys)
    keys.tie()
    keys.revisions.tie()
    for opened in (authorities, registry, keys):
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

    def __init__(self, room: Room) -> None:
        self.room = room
        self.project_id, self.lab = room.project_id, room.lab
        desks: list[Desk] = [
            LinkDesk(room),
            ModuleDesk(room),
            StoredDesk(room),
            TrailDesk(room),
            AnchorDesk(room),
            LedgerDesk(room),
            ReservingDesk(room),
            CommandDesk(room),
            CardDesk(room),
            KeyLifeDesk(room),
            RootDesk(room),
            PlatformDesk(room),
            UpkeepDesk(room),
            PapersDesk(room),
            DiagnosisDesk(room),
            FactoryDesk(room),
            FirmwareDesk(room),
            EditDesk(room),
        ]
        orders = {purpose: order for desk in desks for purpose, order in desk.orders().items()}
        self._desks = (*desks, PersonsDesk(room, orders))
        if room.platforms.founded:
            said = "The built-in processes were enrolled as platforms."
            room.note("operator", room, "security.platforms-founded", said)

        if room.keys.revisions.raised:
            said = "The files of an older format were given proofs of all that they hold, as it stood."
            room.note("operator", room, "security.proofs-begun", said)

    provision = staticmethod(provision)

    @classmethod
    def open(
        cls, directory: Path, opener: Opener, *, clock: Callable[[], int], tls: TlsAuthority | None = None
    ) -> SecurityService:
        """Open what `provision` made; `opener` is the passphrase or the key store of its vaults, `clock` gives
        Unix milliseconds, `tls` issues certificates to other people's platforms.

        TrustError `security.passphrase`, `security.token-key`, `security.key-record`, `security.key-tree`,
        `security.tampered` and `security.rolled-back` for files that are not as they were left; LocalError
        `security.missing`, `security.newer`; EngineError `security.in-use`, `security.damaged`,
        `security.read-only`.
        """
        opened: list[Vault | Registry | Audit | Book] = []
        try:
            opened.append(keys := Vault.open(directory / KEYS, "keys", opener))
            opened.append(authorities := Vault.open(directory / CA, "ca", opener, keys))
            opened.append(registry := Registry.open(directory / REGISTRY, keys))
            opened.append(audit := Audit.open(directory / AUDIT, keys))
            opened.append(book := Book.open(directory / BOOK, keys))
            if keys.revisions.raised:
                keys.tie()  # from here on the vault knows that every file has a proof
            return cls(Room(keys, authorities, registry, audit, book, clock, tls))
        except BaseException:
            for one in reversed(opened):
                one.close()
            raise

    def close(self) -> None:
        """Forget what waits in memory, write what is pending and close every file."""
        for desk in self._desks:
            desk.close()
        self.room.close()

    def methods(self) -> Methods:
        """The table of methods for the mesh."""
        table: Methods = {}
        for desk in self._desks:
            for name, act in desk.acts().items():
                assert name not in table, f"two desks answer {name}"
                run = self._audited(name, act, act.purpose or desk.purpose)
                table[name] = Method(run, act.request, act.callers)
        return table

    def _audited(self, name: str, act: Act, purpose: str) -> Callable[[str, Any], Awaitable[Struct]]:
        """The act, for callers who are enrolled for its purpose; a refusal is in the audit log before it is answered. A
        call of somebody else's platform is there too, or counted for the next minute's entry (`calllog`).
        """
        room = self.room

        async def run(caller: str, request: Any) -> Struct:
            room.tell_calls()
            try:
                room.platforms.admit(caller, purpose, request)
                if caller.startswith(PLATFORMS):
                    room.reserved.check_platforms()
                await room.uses.tick(room.clock())
                answer = await act.run(caller, request)
            except MetersealError as error:
                if error.code == RATE:
                    room.tally.note(error.code, caller, name)
                elif not isinstance(error, EngineError):
                    room.platforms.refused(caller)
                    room.note(caller, request, error.code, error.message, refused=True)
                    await room.durable()
                raise
            if caller.startswith(PLATFORMS):
                room.note(caller, request, ANSWERED, f"{name} was answered ({purpose}).")
                await room.durable()
            return answer

        return run

    async def told(self, refused: list[Refused]) -> None:
        """Write what the mesh refused before any act ran into the audit log, durably."""
        room = self.room
        for one in refused:
            room.audit.write(
                AuditEntry(
                    at=one.until,
                    code=one.code,
                    sentence=one.sentence,
                    caller=one.caller,
                    source=one.source,
                    refused=True,
                )
            )
        await room.durable()


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
