"""New firmware from an imported image to what meters run: two officers, waves, a bad image, stops on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meterseal.app.alarming import Alarms, Since
from meterseal.app.bulking import Filter, Plan
from meterseal.app.commanding import Outcomes, WordQuery
from meterseal.app.firmware import (
    CampaignList,
    CampaignQuery,
    FirmwareOfficers,
    Images,
    NewImage,
    PlanFirmware,
    ReleaseImage,
    RunningList,
    Said,
    SignedMetadata,
    StartFirmware,
    ToSign,
)
from meterseal.edge.firmware import DEAD, Firmware, sample
from meterseal.errors import LocalError, MetersealError, TrustError
from meterseal.mesh.rpc import Empty
from meterseal.security.orders import BulkOrder, BulkPart, SignedBulk, encoded, fresh_request_id, sign
from meterseal.things.bulk import Progress
from meterseal.things.firmware import Image
from meterseal.things.firmware_campaigns import Campaign
from tests.scenarios.small_system import ELECTRIC, GAS, PROJECT, WATER, System
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]
DAY = 86_400_000


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[System]:
    made = System(tmp_path)
    await made.start()
    yield made
    await made.centre.stop()


def station(system: System, device_id: bytes) -> Firmware:
    secured = system.nodes[device_id].secured
    assert secured is not None
    assert secured.firmware is not None
    return secured.firmware


def by_two(system: System, made: ToSign) -> SignedMetadata:
    keys = (("li", system.officer), ("wang", system.other_officer))
    return SignedMetadata(
        purpose=made.purpose,
        request=made.request,
        signatures=tuple(sign(name, key, made.purpose, made.request) for name, key in keys),
    )


async def found(system: System) -> None:
    """Li and Wang release firmware."""
    people = {"li": system.officer.public_point, "wang": system.other_officer.public_point}
    made = await system.desk.call("firmware_officers", FirmwareOfficers(officers=people), ToSign)
    await system.desk.call("firmware_adopt", by_two(system, made), Said)


async def released(
    system: System,
    version: int,
    *,
    model: str = "water-generic",
    flaw: int = 0,
    lowest: int = 1,
    size: int = 6_000,
) -> Image:
    image = sample(version, size=size, flaw=flaw)
    new = NewImage(image=image, model=model, hardware=1, version=version, lowest=lowest)
    kept = await system.desk.call("firmware_import", new, Image)
    asked = ReleaseImage(name=kept.name, days=30, reason="mends the valve")
    made = await system.desk.call("firmware_release", asked, ToSign)
    await system.desk.call("firmware_adopt", by_two(system, made), Said)
    listed = await system.desk.call("firmware_list", Empty(), Images)
    return next(one for one in listed.images if one.name == kept.name)


async def planned(system: System, image: Image) -> Plan:
    asked = PlanFirmware(name=image.name, which=Filter(), ser=9, until=system.clock.now + 6 * DAY)
    return await system.desk.call("firmware_plan", asked, Plan)


def ordered(system: System, parts: tuple[BulkPart, ...], officers: int = 2) -> SignedBulk:
    order = encoded(
        BulkOrder(
            request_id=fresh_request_id(),
            not_after=system.clock.now + 6 * DAY,
            project_id=PROJECT,
            act="firmware",
            reason="mends the valve",
            parts=parts,
        )
    )
    keys = (("li", system.officer), ("wang", system.other_officer))[:officers]
    return SignedBulk(
        order=order, signatures=tuple(sign(name, key, "command-bulk", order) for name, key in keys)
    )


async def begun(system: System, image: Image, **other: int) -> Campaign:
    plan = await planned(system, image)
    asked = StartFirmware(signed=ordered(system, plan.parts), waves=(100,), **other)  # type: ignore[arg-type]
    return await system.desk.call("firmware_start", asked, Campaign)


async def shown(system: System, campaign: Campaign) -> Campaign:
    asked = CampaignQuery(campaign_id=campaign.id)
    return (await system.desk.call("firmware_show", asked, CampaignList)).campaigns[0]


async def until(system: System, campaign: Campaign, state: str, turns: int = 3_000) -> Campaign:
    parts = system.centre.parts
    for turn in range(turns):
        if turn % 20 == 0:
            parts = system.centre.parts
            parts.firmware.step()
            await parts.bulks.step()
            now = await shown(system, campaign)
            if now.state == state:
                return now
        await system.turn()
    raise AssertionError(f"It came to {now}, {[(d.hex(), station(system, d).phase) for d in system.nodes]}")


async def test_a_released_image_reaches_each_meter_behind_its_concentrator_and_runs(system: System) -> None:
    await found(system)
    await system.settle()
    campaigns = [
        await begun(system, await released(system, 2, model=f"{medium}-generic"))
        for medium in ("water", "gas", "electricity")
    ]
    for campaign, device_id in zip(campaigns, (WATER, GAS, ELECTRIC), strict=True):
        ended = await until(system, campaign, "ended")
        assert ended.meters == {"done": 1}
        assert (station(system, device_id).version, station(system, device_id).phase.name) == (2, "IDLE")
        running = await system.desk.call("firmware_meters", Empty(), RunningList)
        assert {one.device_id: one.version for one in running.meters}[device_id] == 2
        word = (await system.desk.call("words", WordQuery(device_id=device_id), Outcomes)).words[0]
        said = (word.act, word.officers, word.reason, word.state)
        assert said == ("firmware", ("li", "wang"), "mends the valve", "done")
    listed = (await system.desk.call("firmware_list", Empty(), Images)).images
    assert not (await planned(system, listed[0])).parts, "who runs it is not told again"
    await system.settle()
    await system.check_complete()


async def test_a_bad_image_falls_back_stops_the_campaign_and_is_in_the_audit_trail(system: System) -> None:
    await found(system)
    await system.settle()
    campaign = await begun(system, await released(system, 2, flaw=DEAD))
    stopped = await until(system, campaign, "stopped")
    assert [(one.device_id, one.code) for one in stopped.failed] == [(WATER, "firmware.no-start")]
    assert station(system, WATER).version == 1
    told = await system.desk.call("alarms", Since(), Alarms)
    assert "firmware.fell-back" in {one.code for one in told.alarms}
    again = await begun(system, await released(system, 3))
    assert (await until(system, again, "ended")).meters == {"done": 1}


async def receiving(system: System) -> None:
    system.centre.parts.firmware.step()
    await system.until(lambda: station(system, WATER).phase.name == "RECEIVING", "blocks")
    for _ in range(20):
        await system.turn()
    assert station(system, WATER).phase.name == "RECEIVING"


async def test_every_process_stops_in_the_middle_and_the_image_arrives_whole(system: System) -> None:
    await found(system)
    await system.settle()
    image = await released(system, 2, size=60_000)
    taken = await begun(system, image)
    await receiving(system)
    taken = await system.desk.call("firmware_cancel", CampaignQuery(campaign_id=taken.id), Campaign)
    assert (taken.state, taken.meters) == ("cancelled", {"cancelled": 1})
    for _ in range(100):
        await system.turn()
    assert (station(system, WATER).version, station(system, WATER).phase.name) == (1, "RECEIVING")
    campaign = await begun(system, image)
    await receiving(system)
    await system.centre.restart()
    system.move_to(1)
    for _ in range(10):
        await system.turn()
    system.power_on()
    assert (await until(system, campaign, "ended")).meters == {"done": 1}
    assert station(system, WATER).version == 2


async def test_an_image_for_a_misspelt_model_is_not_kept_and_the_nearest_names_are_said(
    system: System,
) -> None:
    new = NewImage(image=sample(2, size=2_000), model="water-genric", hardware=1, version=2, lowest=1)
    with pytest.raises(LocalError, match="water-generic") as refused:
        await system.desk.call("firmware_import", new, Image)
    assert refused.value.code == "firmware.model"
    assert (await system.desk.call("firmware_list", Empty(), Images)).images == []


async def test_one_officer_only_releases_nothing_and_orders_nothing(system: System) -> None:
    await found(system)
    image = sample(2, size=2_000)
    new = NewImage(image=image, model="water-generic", hardware=1, version=2, lowest=1)
    kept = await system.desk.call("firmware_import", new, Image)
    made = await system.desk.call(
        "firmware_release", ReleaseImage(name=kept.name, days=30, reason="alone"), ToSign
    )
    signed = by_two(system, made)
    one = SignedMetadata(purpose=made.purpose, request=made.request, signatures=signed.signatures[:1])
    with pytest.raises(TrustError) as refused:
        await system.desk.call("firmware_adopt", one, Said)
    assert refused.value.code == "security.two-persons"
    twice = SignedMetadata(purpose=made.purpose, request=made.request, signatures=signed.signatures[:1] * 2)
    with pytest.raises(MetersealError):
        await system.desk.call("firmware_adopt", twice, Said)
    with pytest.raises(MetersealError):
        await planned(system, kept)
    await system.desk.call("firmware_adopt", signed, Said)
    listed = (await system.desk.call("firmware_list", Empty(), Images)).images[0]
    plan = await planned(system, listed)
    alone = StartFirmware(signed=ordered(system, plan.parts, officers=1))
    with pytest.raises(TrustError) as refused:
        await system.desk.call("firmware_start", alone, Campaign)
    assert refused.value.code == "security.two-persons"
    with pytest.raises(LocalError) as sent:
        await system.desk.call("bulk_start", ordered(system, plan.parts), Progress)
    assert sent.value.code == "command.bulk", "firmware goes out behind its image only"
