"""The operator's desk for firmware: images, what officers sign about them, campaigns and how far they are.

It signs nothing and decides nothing alone: who may release is the repository's officers', what modules verify the security
service's, who is told when `things.firmware_campaigns`'.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from meterseal.app.bulking import BulkDesk, Filter, Plan, PlanBulk
from meterseal.errors import DataError, LocalError
from meterseal.mesh.rpc import OPERATOR, Empty, Methods, offered_to
from meterseal.security.orders import BulkPart, OfficerSignature, SignedBulk
from meterseal.security.sdk import SecuritySdk
from meterseal.things.bulk import Skipped
from meterseal.things.firmware import Firmwares, Image
from meterseal.things.firmware_campaigns import ACT, STOP, WAVES, Campaign, Campaigns
from meterseal.things.firmware_sending import FirmwareWords
from meterseal.wire.profile import no_model, profiles


class FirmwareOfficers(Struct, frozen=True, kw_only=True):
    """Officers, with their public points (65 bytes), who are to release firmware."""

    officers: dict[str, bytes]


class NewImage(Struct, frozen=True, kw_only=True):
    """An image and what it is for."""

    image: bytes
    model: str
    hardware: int
    version: int
    lowest: int


class ReleaseImage(Struct, frozen=True, kw_only=True):
    """Release an imported image for so many days, or, with none, end its release."""

    name: str
    days: int = 0
    reason: str = ""


class ToSign(Struct, frozen=True, kw_only=True):
    """The very bytes that officers sign, and what for."""

    purpose: str
    request: bytes


class SignedMetadata(Struct, frozen=True, kw_only=True):
    """The same with their signatures."""

    purpose: str
    request: bytes
    signatures: tuple[OfficerSignature, ...]


class Said(Struct, frozen=True, kw_only=True):
    """One sentence."""

    sentence: str


class Images(Struct, frozen=True, kw_only=True):
    """Images, newest first."""

    images: list[Image]


class PlanFirmware(Struct, frozen=True, kw_only=True):
    """A dry run: whom an order to run this image would reach; `ser` as sent, `until` Unix ms."""

    name: str
    which: Filter
    ser: int
    until: int


class StartFirmware(Struct, frozen=True, kw_only=True):
    """A signed order to many meters, the waves it goes out in, and how many of a hundred may fail."""

    signed: SignedBulk
    waves: tuple[int, ...] = WAVES
    stop_percent: int = STOP


class CampaignQuery(Struct, frozen=True, kw_only=True):
    """One campaign by its id, or the newest."""

    campaign_id: int = 0
    limit: int = 50


class CampaignList(Struct, frozen=True, kw_only=True):
    """How far campaigns are, newest first."""

    campaigns: list[Campaign]


class Running(Struct, frozen=True, kw_only=True):
    """What a meter said that it runs, and when."""

    device_id: bytes
    model: str
    hardware: int
    version: int
    reported_at: int


class RunningList(Struct, frozen=True, kw_only=True):
    """The same of every meter that said so."""

    meters: list[Running]


class FirmwareDesk:
    """What the Unix socket serves about firmware."""

    def __init__(
        self,
        firmwares: Firmwares,
        campaigns: Campaigns,
        sending: FirmwareWords,
        bulking: BulkDesk,
        security: SecuritySdk,
        clock: Callable[[], int],
    ) -> None:
        self._firmwares = firmwares
        self._campaigns = campaigns
        self._sending = sending
        self._bulking = bulking
        self._security = security
        self._clock = clock

    def methods(self) -> Methods:
        """The table, to be joined with the desk's."""
        return offered_to(
            OPERATOR,
            {
                "firmware_officers": (self.officers, FirmwareOfficers),
                "firmware_import": (self.add, NewImage),
                "firmware_release": (self.release, ReleaseImage),
                "firmware_adopt": (self.adopt, SignedMetadata),
                "firmware_list": (self.images, Empty),
                "firmware_meters": (self.meters, Empty),
                "firmware_plan": (self.plan, PlanFirmware),
                "firmware_start": (self.start, StartFirmware),
                "firmware_show": (self.show, CampaignQuery),
                "firmware_cancel": (self.cancel, CampaignQuery),
                "firmware_resume": (self.resume, CampaignQuery),
            },
        )

    async def officers(self, _: str, asked: FirmwareOfficers) -> ToSign:
        """What officers sign to become those who release."""
        raw = self._firmwares.repository.root_draft(asked.officers, self._clock())
        return ToSign(purpose="firmware-root", request=raw)

    async def add(self, _: str, asked: NewImage) -> Image:
        """Keep an image that waits for its release. LocalError `firmware.model` for a model that no meter can have."""
        if asked.model not in profiles() and asked.model not in (own := self._bulking.models()):
            raise LocalError("firmware.model", f"{no_model(asked.model, own)}. Nothing was kept.")
        return self._firmwares.add(
            asked.image,
            model=asked.model,
            hardware=asked.hardware,
            version=asked.version,
            lowest=asked.lowest,
        )

    async def release(self, _: str, asked: ReleaseImage) -> ToSign:
        """What officers sign to release an image, or to end its release."""
        if not asked.days:
            raw = self._firmwares.withdraw_draft(asked.name)
        else:
            project_id = (await self._security.anchors()).project_id
            raw = self._firmwares.release_draft(asked.name, asked.days, asked.reason, project_id)
        return ToSign(purpose="firmware-targets", request=raw)

    async def adopt(self, _: str, asked: SignedMetadata) -> Said:
        """Take up what officers signed."""
        return Said(sentence=await self._firmwares.adopt(asked.purpose, asked.request, asked.signatures))

    async def images(self, _: str, asked: Empty) -> Images:
        """Every image."""
        return Images(images=self._firmwares.images())

    async def meters(self, _: str, asked: Empty) -> RunningList:
        """What every meter said that it runs."""
        found = self._firmwares.versions()
        return RunningList(
            meters=[
                Running(device_id=device_id, model=model, hardware=hardware, version=version, reported_at=at)
                for device_id, (model, hardware, version, at) in sorted(found.items())
            ]
        )

    async def plan(self, _: str, asked: PlanFirmware) -> Plan:
        """Whom an order would reach, and who is left out. Nothing is queued or counted.

        DataError `firmware.unknown` for an image that is not released.
        """
        image = self._firmwares.image(asked.name)
        if image.released_at is None:
            raise _unreleased(asked.name)
        found = await self._bulking.plan(
            OPERATOR,
            PlanBulk(
                act=ACT,
                said={"manifest": image.digest.hex()},
                which=replace(asked.which, model=image.model),
                ser=asked.ser,
                until=asked.until,
            ),
        )
        against = self._against(image)
        parts = tuple(
            replace(part, device_ids=kept)
            for part in found.parts
            if (kept := tuple(one for one in part.device_ids if one not in against))
        )
        named = {one for part in found.parts for one in part.device_ids}
        skipped = [Skipped(device_id=one, code=code) for one, code in against.items() if one in named]
        return replace(found, parts=parts, skipped=(*found.skipped, *skipped), minutes=_minutes(found, parts))

    async def start(self, _: str, asked: StartFirmware) -> Campaign:
        """Begin a campaign; the same order again is the same one."""
        number = await self._campaigns.start(
            asked.signed, self._bulking.against, self._released, asked.waves, asked.stop_percent
        )
        self._sending.begun()
        return self._campaigns.campaign(number)

    async def show(self, _: str, asked: CampaignQuery) -> CampaignList:
        """One campaign with all its meters, or the newest."""
        self._campaigns.step()
        if asked.campaign_id:
            return CampaignList(campaigns=[self._campaigns.campaign(asked.campaign_id)])
        return CampaignList(campaigns=self._campaigns.latest(asked.limit))

    async def cancel(self, _: str, asked: CampaignQuery) -> Campaign:
        """Begin nothing more."""
        self._campaigns.cancel(asked.campaign_id)
        return self._campaigns.campaign(asked.campaign_id)

    async def resume(self, _: str, asked: CampaignQuery) -> Campaign:
        """Go on after a stop."""
        self._campaigns.resume(asked.campaign_id)
        self._sending.begun()
        return self._campaigns.campaign(asked.campaign_id)

    def _against(self, image: Image) -> dict[bytes, str]:
        """Meters that said something which the image does not go with."""
        found: dict[bytes, str] = {}
        for device_id, (model, hardware, version, _) in self._firmwares.versions().items():
            if model != image.model:
                found[device_id] = "firmware.model"
            elif hardware != image.hardware:
                found[device_id] = "firmware.hardware"
            elif version >= image.version:
                found[device_id] = "firmware.version"
            elif version < image.lowest:
                found[device_id] = "firmware.lowest"
        return found

    def _released(self, digest: bytes) -> str:
        for image in self._firmwares.images():
            if image.released_at is not None and image.digest == digest:
                return image.name
        raise _unreleased("of this order")


def _minutes(found: Plan, parts: tuple[BulkPart, ...]) -> int:
    """The limits' minutes for what is left of a plan."""
    before = sum(len(part.device_ids) for part in found.parts)
    after = sum(len(part.device_ids) for part in parts)
    return -(-found.minutes * after // before) if before else found.minutes


def _unreleased(name: str) -> DataError:
    return DataError(
        "firmware.unknown",
        f"The image {name} is not released (any more). Let two officers release it: meterseal firmware release",
    )
