"""Firmware at the platform: images that were imported, what two officers released of them, what devices say they run.

It sends nothing (`firmware_sending`) and plans nothing (`firmware_campaigns`). Whether an image is released is asked of the
repository each time, and the manifest that modules verify is the security service's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from meterseal.control import read, write
from meterseal.control.sealed import FIRMWARE_KEYS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import firmware_devices as devices
from meterseal.control.tables import firmware_images as images
from meterseal.control.tables import firmware_keys, sessions
from meterseal.crypto.symmetric import sm3
from meterseal.errors import DataError, LocalError, MetersealError
from meterseal.headend.ports import FirmwareSaid
from meterseal.link import firmware
from meterseal.link.firmware import Manifest, Report, Signed
from meterseal.security.firmwareorders import PURPOSES, TARGETS, Released, manifest_of, read_targets
from meterseal.security.orders import OfficerSignature
from meterseal.things.firmware_repository import LARGEST, Repository

DAY = 86_400_000
LONGEST = 180
"""Days that a release may last."""
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,31}")
_ONLINE = "online"
_MARGIN = DAY
"""A signed manifest is asked for anew when it ends sooner."""
_REASON = 200


class Image(Struct, frozen=True, kw_only=True):
    """An image that was imported; `released_at` is None while it waits, `digest` that of its released manifest."""

    name: str
    model: str
    hardware: int
    version: int
    lowest: int
    size: int
    created_at: int
    released_at: int | None = None
    digest: bytes = b""
    until: int = 0
    reason: str = ""


class Payload(NamedTuple):
    """What is said to a meter about one image: the signed manifest, its digest, the blocks and their hashes."""

    signed: Signed
    digest: bytes
    blocks: list[bytes]
    leaves: list[bytes]
    until: int


class Service(Protocol):
    """What is asked of the security service; the SDK is one."""

    async def sign_firmware(
        self, targets: bytes, signatures: Sequence[OfficerSignature], name: str
    ) -> Released: ...


class Firmwares:
    """The images of one platform, and what its devices said last."""

    def __init__(
        self, engine: sa.Engine, repository: Repository, service: Service, clock: Callable[[], int]
    ) -> None:
        self._engine = engine
        self.repository = repository
        self._service = service
        self._clock = clock
        self._payloads: dict[str, Payload] = {}

    # --- images and releases --------------------------------------------------------------------------------

    def add(self, image: bytes, *, model: str, hardware: int, version: int, lowest: int) -> Image:
        """Keep an image under the name that its model, hardware and version make. LocalError `firmware.image`."""
        good = _NAME.fullmatch(model) and 0 <= hardware <= 0xFFFF and 0 <= lowest < version <= 0xFFFF_FFFF
        if not good or not 0 < len(image) <= LARGEST:
            raise LocalError(
                "firmware.image",
                f"An image has 1 to {LARGEST} bytes, a model such as water-generic, and a version above the lowest one "
                "that it may follow. Nothing was kept.",
            )
        name = f"{model}-h{hardware}-v{version}.img"
        root = root_of(image)
        self.repository.put_image(name, image)
        row = {
            "name": name,
            "model": model,
            "hardware": hardware,
            "version": version,
            "lowest": lowest,
            "size": len(image),
            "root": root,
            "created_at": self._clock(),
        }
        with write(self._engine) as connection:
            known = connection.execute(sa.select(images).where(images.c.name == name)).first()
            if known is None:
                connection.execute(images.insert().values(row))
            elif (known.root, known.lowest) != (root, lowest):
                raise LocalError(
                    "firmware.image",
                    f"There is another image of {name} already; a changed image takes a higher version.",
                )
        return self.image(name)

    def release_draft(self, name: str, days: int, reason: str, project_id: bytes) -> bytes:
        """What officers sign to release this image for so many days. LocalError `firmware.image`."""
        row = self._row(name)
        if not 0 < len(reason) <= _REASON or not 0 < days <= LONGEST:
            raise LocalError(
                "firmware.image",
                f"A release has a reason of at most {_REASON} characters and lasts 1 to {LONGEST} days.",
            )
        manifest = Manifest(
            project_id=project_id,
            model=row.model,
            hardware=row.hardware,
            version=row.version,
            lowest=row.lowest,
            size=row.size,
            root=row.root,
            until=self._clock() + days * DAY,
        )
        image = next((one for one in self.repository.kept(name) if root_of(one) == row.root), None)
        if image is None:
            raise DataError("firmware.unknown", f"The image {name} is not there any more; import it again.")
        custom = {"manifest": firmware.manifest_bytes(manifest).hex(), "reason": reason}
        now = self._clock()
        over = [one.name for one in self.images() if one.released_at is not None and one.until <= now]
        return self.repository.targets_draft({name: (image, custom)}, over, now)

    def withdraw_draft(self, name: str) -> bytes:
        """What officers sign to end the release of an image."""
        self._row(name)
        return self.repository.targets_draft({}, [name], self._clock())

    async def adopt(self, purpose: str, raw: bytes, signatures: Sequence[OfficerSignature]) -> str:
        """Take up what officers signed; a sentence of what it was. Raises what repository and service raise."""
        now = self._clock()
        if purpose not in PURPOSES:
            raise LocalError("firmware.order", f"`{purpose[:40]}` is nothing that is signed about firmware.")
        if purpose != TARGETS:
            version = self.repository.adopt_root(raw, signatures, now)
            return f"Who may release firmware is settled, version {version}."
        listed = read_targets(raw)
        for name in listed.targets:  # what the service will not sign is no release
            await self._service.sign_firmware(raw, signatures, name)
        self.repository.adopt_targets(raw, signatures, now)
        self._payloads.clear()
        with write(self._engine) as connection:
            for name, target in listed.targets.items():
                connection.execute(
                    images.update()
                    .where(images.c.name == name)
                    .values(
                        manifest=manifest_of(target), released_at=sa.func.coalesce(images.c.released_at, now)
                    )
                )
            connection.execute(
                images.update()
                .where(images.c.name.not_in(list(listed.targets)))
                .values(manifest=None, released_at=None)
            )
        return f"Images released by list {listed.version}: {len(listed.targets)}."

    def images(self) -> list[Image]:
        """Every image, newest first."""
        with read(self._engine) as connection:
            return [_image(row) for row in connection.execute(sa.select(images).order_by(images.c.id.desc()))]

    def image(self, name: str) -> Image:
        """One image. DataError `firmware.unknown`."""
        return _image(self._row(name))

    async def payload(self, name: str) -> Payload:
        """What is said to meters about a released image. Raises what the repository and `sign_firmware` raise."""
        now = self._clock()
        known = self._payloads.get(name)
        if known is not None and known.until - now > _MARGIN:
            return known
        raw, signatures = self.repository.signed_targets(now)
        content = self.repository.image(name, now)
        given = await self._service.sign_firmware(raw, signatures, name)
        blocks = firmware.split(content)
        leaves = [firmware.leaf_of(one) for one in blocks]
        signed = Signed(given.manifest, given.signature, given.chain)
        made = Payload(signed, sm3(given.manifest), blocks, leaves, given.until)
        self._payloads[name] = made
        return made

    def _row(self, name: str) -> sa.Row[tuple[object, ...]]:
        with read(self._engine) as connection:
            row = connection.execute(sa.select(images).where(images.c.name == name)).first()
        if row is None:
            raise DataError("firmware.unknown", f"No image {name} was imported; see: meterseal firmware list")
        return row

    # --- devices --------------------------------------------------------------------------------------------

    def note(self, said: Sequence[FirmwareSaid]) -> list[tuple[Report, Report | None] | None]:
        """What devices say now and what they said before; None for a report that is no newer than the one that is known,
        or that cannot be read.
        """
        with write(self._engine) as connection:
            return [self._note(connection, one) for one in said]

    def _note(self, connection: sa.Connection, said: FirmwareSaid) -> tuple[Report, Report | None] | None:
        try:
            report = firmware.read_report(said.content)
        except MetersealError:
            return None
        row = {
            "session_id": said.session_id,
            "counter": said.counter,
            "reported_at": self._clock(),
            "model": report.model,
            "hardware": report.hardware,
            "version": report.version,
            "phase": int(report.phase),
            "reason": int(report.reason),
            "report": said.content,
        }
        known = connection.execute(sa.select(devices).where(devices.c.device_id == said.device_id)).first()
        if not _newer(connection, said, known):
            return None
        if known is None:
            connection.execute(devices.insert().values(device_id=said.device_id, **row))
            return report, None
        connection.execute(devices.update().where(devices.c.device_id == said.device_id).values(**row))
        return report, firmware.read_report(known.report)

    def said(self, device_id: bytes) -> tuple[Report, FirmwareSaid, int] | None:
        """What a device said last, in which session and under which counter, and when."""
        with read(self._engine) as connection:
            row = connection.execute(sa.select(devices).where(devices.c.device_id == device_id)).first()
        if row is None:
            return None
        heard = FirmwareSaid(row.device_id, row.session_id, row.counter, row.report)
        return firmware.read_report(row.report), heard, row.reported_at

    def versions(self, device_ids: Sequence[bytes] | None = None) -> dict[bytes, tuple[str, int, int, int]]:
        """Model, hardware, version and when it was said, of the devices that said so."""
        query = sa.select(devices)
        if device_ids is not None:
            query = query.where(devices.c.device_id.in_(device_ids))
        with read(self._engine) as connection:
            return {
                row.device_id: (row.model, row.hardware, row.version, row.reported_at)
                for row in connection.execute(query)
            }


def root_of(image: bytes) -> bytes:
    """The root of the tree over an image's blocks."""
    return firmware.root_of([firmware.leaf_of(one) for one in firmware.split(image)])


def _newer(connection: sa.Connection, said: FirmwareSaid, known: sa.Row[tuple[object, ...]] | None) -> bool:
    """A session of this very device, not older than the one of the last report, and in it a higher counter."""
    ages: Mapping[bytes, int] = {
        row.session_id: row.created_at
        for row in connection.execute(
            sa.select(sessions.c.session_id, sessions.c.created_at).where(
                sessions.c.device_id == said.device_id
            )
        )
    }
    if said.session_id not in ages:
        return False
    if known is None:
        return True
    if known.session_id == said.session_id:
        return bool(said.counter > known.counter)
    return bool(ages[said.session_id] >= ages.get(known.session_id, 0))


def _image(row: sa.Row[tuple[object, ...]]) -> Image:
    made = Image(
        name=row.name,
        model=row.model,
        hardware=row.hardware,
        version=row.version,
        lowest=row.lowest,
        size=row.size,
        created_at=row.created_at,
    )
    if row.manifest is None:
        return made
    until = firmware.read_manifest(row.manifest).until
    return replace(made, released_at=row.released_at, digest=sm3(row.manifest), until=until)


def online_key(engine: sa.Engine, ring: KeyRing) -> CryptoSigner:
    """The key that signs that a list of releases is the newest; made where there is none."""
    with write(engine) as connection:
        row = connection.execute(sa.select(firmware_keys)).first()
        if row is None:
            fresh = Ed25519PrivateKey.generate().private_bytes_raw()
            values = FIRMWARE_KEYS.seal(ring, {"id": _ONLINE, "sealed_key": fresh})
            connection.execute(firmware_keys.insert().values(values))
            raw: bytes | None = fresh
        else:
            raw = FIRMWARE_KEYS.open(ring, row)
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(raw or b""))
