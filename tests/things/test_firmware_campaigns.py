"""Campaigns over many meters that only say what they would say: waves, the stop, going on, words that come to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from meterseal.control import write
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import firmware_campaigns, firmware_items, sessions
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import sm3
from meterseal.errors import DataError, LocalError
from meterseal.headend.ports import FirmwareSaid
from meterseal.link import firmware
from meterseal.link.firmware import Phase, Reason, Report, Signed, switch_frame
from meterseal.model import Refusal
from meterseal.security.orders import (
    Authorised,
    BulkGrant,
    BulkGranted,
    BulkOrder,
    BulkPart,
    SignedBulk,
    encoded,
)
from meterseal.things.bulk import Bulks
from meterseal.things.firmware import Firmwares, Payload
from meterseal.things.firmware_campaigns import LATE, Campaign, Campaigns, ready
from meterseal.things.firmware_sending import FALLS_A_DAY, FirmwareWords
from meterseal.things.words import DownWords
from tests.control_store import control_at

NOW, DAY = 1_779_200_000_000, 86_400_000
DEVICES = [bytes.fromhex("10783300") + number.to_bytes(4, "big") for number in range(20)]
DIGEST = sm3(b"a manifest")
IMAGE = "water-generic-h1-v2.img"


class Service:
    """Authorises whatever it is asked; the real one is in the scenarios."""

    async def authorise_bulk(
        self, order: bytes, signatures: Sequence[object], device_ids: Sequence[bytes] = ()
    ) -> BulkGranted:
        grants = tuple(
            BulkGrant(
                device_id=one,
                authorised=Authorised(
                    device_id=one,
                    module_id=b"M" + one[1:],
                    number=1,
                    not_after=NOW + 6 * DAY,
                    authorisation=bytes(16),
                    frame=switch_frame(one, DIGEST, 1).encode(),
                ),
            )
            for one in device_ids
        )
        return BulkGranted(grants=grants, officers=("li", "wang"))


class Platform(NamedTuple):
    clock: list[int]
    engine: sa.Engine
    words: DownWords
    bulks: Bulks
    campaigns: Campaigns

    async def start(
        self, waves: tuple[int, ...] = (5, 25, 100), stop: int = 10, digest: bytes = DIGEST
    ) -> int:
        frame = switch_frame(DEVICES[0], digest, 1)
        part = BulkPart(zone="default", control=frame.control, data=frame.data, device_ids=tuple(DEVICES))
        order = BulkOrder(
            request_id=sm3(digest + self.clock[0].to_bytes(8))[:16],
            not_after=self.clock[0] + 6 * DAY,
            project_id=bytes(16),
            act="firmware",
            reason="a test",
            parts=(part,),
        )
        signed = SignedBulk(order=encoded(order), signatures=())
        return await self.campaigns.start(signed, lambda _: {}, lambda _: IMAGE, waves, stop)

    def report(self, device_id: bytes, phase: Phase, **other: object) -> None:
        plain = {"reason": Reason.NONE, "running": bytes(32), "staged": bytes(32), "version": 1}
        said = Report(phase=phase, hardware=1, refused=0, model="water-generic", **{**plain, **other})  # type: ignore[arg-type]
        self.campaigns.moved(device_id, said, offered=DIGEST)

    def sent(self, campaign: int) -> list[bytes]:
        """Devices that are to be given the image."""
        self.campaigns.step()
        return [one for one in DEVICES if self.campaigns.sending(one) is not None]

    def shown(self, campaign: int) -> Campaign:
        return self.campaigns.campaign(campaign)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    now = [NOW]
    engine = control_at(tmp_path / "control.db")
    ring = KeyRing({1: SymmetricKey.from_bytes(bytes(16), "a test's data key")}, 1)
    words = DownWords(engine, ring, lambda: now[0])
    bulks = Bulks(engine, ring, words, Service(), lambda: now[0], lambda *asked: ready(engine, *asked))
    return Platform(now, engine, words, bulks, Campaigns(engine, bulks, lambda: now[0]))


async def test_a_wave_begins_when_the_one_before_has_ended(platform: Platform) -> None:
    campaign = await platform.start()
    assert await platform.start() == campaign, "the same order again is the same campaign"
    done: set[bytes] = set()
    for count in (1, 5, 20):
        sent = platform.sent(campaign)
        assert len(set(sent) | done) == count
        for device_id in sent:
            assert platform.shown(campaign).items[device_id.hex()][1] == "sending"
            platform.report(device_id, Phase.READY, staged=DIGEST)
        await platform.bulks.step()
        assert platform.shown(campaign).order.outcomes.get("waiting") == count, (
            "a word for each that is ready"
        )
        for device_id in sent:
            platform.report(device_id, Phase.TRIAL, running=DIGEST, version=2)
            platform.report(device_id, Phase.IDLE, running=DIGEST, version=2)
            done.add(device_id)
    platform.campaigns.step()
    assert (platform.shown(campaign).state, platform.shown(campaign).meters) == ("ended", {"done": 20})


async def test_no_word_goes_out_before_a_meter_has_the_image_whole(platform: Platform) -> None:
    campaign = await platform.start((100,))
    await platform.bulks.step()
    assert platform.shown(campaign).order.outcomes == {"pending": 20}
    platform.report(DEVICES[3], Phase.READY, staged=DIGEST)
    platform.report(DEVICES[4], Phase.READY, staged=sm3(b"another"))
    platform.report(DEVICES[5], Phase.RECEIVING, staged=DIGEST)
    await platform.bulks.step()
    assert platform.shown(campaign).order.outcomes == {"pending": 19, "waiting": 1}
    assert [one.device_id for one in platform.words.latest()] == [DEVICES[3]]


async def test_failures_above_the_share_stop_it_and_it_goes_on_when_told(platform: Platform) -> None:
    campaign = await platform.start((50, 100), stop=10)
    sent = platform.sent(campaign)
    platform.report(sent[0], Phase.IDLE, reason=Reason.SIGNATURE)
    assert len(platform.sent(campaign)) == 9, "one of ten is no more than a tenth"
    platform.report(sent[1], Phase.READY, staged=DIGEST)
    platform.report(sent[1], Phase.IDLE, reason=Reason.NO_START)
    assert platform.sent(campaign) == []
    assert platform.shown(campaign).state == "stopped"
    codes = {one.code for one in platform.shown(campaign).failed}
    assert codes == {"firmware.signature", "firmware.no-start"}
    platform.report(sent[2], Phase.READY, staged=DIGEST)
    await platform.bulks.step()
    assert platform.words.latest() == [], "no word goes out while it is stopped"
    platform.campaigns.resume(campaign)
    assert set(platform.sent(campaign)) == set(sent[3:])
    for device_id in sent[2:4]:
        platform.report(device_id, Phase.IDLE, reason=Reason.LATE)
        platform.report(device_id, Phase.IDLE, reason=Reason.NO_REPORT)
    assert platform.sent(campaign) == []
    assert platform.shown(campaign).state == "stopped"


async def test_what_is_taken_back_is_told_no_more(platform: Platform) -> None:
    campaign = await platform.start((100,))
    platform.report(DEVICES[0], Phase.READY, staged=DIGEST)
    await platform.bulks.step()
    platform.campaigns.cancel(campaign)
    assert platform.sent(campaign) == []
    assert platform.shown(campaign).meters == {"cancelled": 20}
    assert platform.words.latest()[0].state == "withdrawn"
    with pytest.raises(DataError):
        platform.campaigns.cancel(99)


async def test_a_meter_whose_word_came_to_nothing_or_that_stays_silent_has_failed(platform: Platform) -> None:
    campaign = await platform.start((100,), stop=100)
    platform.report(DEVICES[0], Phase.READY, staged=DIGEST)
    await platform.bulks.step()
    platform.words.end([platform.words.latest()[0].id], "refused")
    platform.campaigns.step()
    assert platform.shown(campaign).failed[0].code == "word-refused"
    platform.report(DEVICES[1], Phase.TRIAL, running=DIGEST)
    platform.clock[0] += 6 * DAY + LATE + 1
    platform.campaigns.step()
    assert {one.code for one in platform.shown(campaign).failed} == {"word-refused", "silent"}
    assert platform.shown(campaign).state == "ended"
    platform.report(DEVICES[1], Phase.IDLE, running=DIGEST)
    assert platform.shown(campaign).meters == {"failed": 19, "done": 1}, "who says that it runs it does"


async def test_waves_and_orders_that_are_none_are_refused(platform: Platform) -> None:
    for waves in ((), (50,), (0, 100), (50, 25, 100), (50, 50, 100), (100, 101)):
        with pytest.raises(LocalError) as caught:
            await platform.start(waves)
        assert caught.value.code == "firmware.waves"


async def test_campaigns_as_old_as_orders_may_be_are_forgotten_with_them(platform: Platform) -> None:
    await platform.start()
    platform.clock[0] += 500 * DAY
    campaign = await platform.start(digest=sm3(b"another manifest"))
    with platform.engine.connect() as connection:
        assert connection.execute(sa.select(firmware_campaigns.c.id)).scalars().all() == [campaign]
        count = sa.select(sa.func.count()).select_from(firmware_items)
        assert connection.execute(count).scalar_one() == len(DEVICES)


def open_sessions(platform: Platform) -> None:
    with write(platform.engine) as connection:
        for name, device_id, at in (
            (b"session1", DEVICES[0], 1),
            (b"session2", DEVICES[0], 2),
            (b"session3", DEVICES[1], 3),
        ):
            values = {
                column.name: 0 for column in sessions.c if not column.nullable and column.default is None
            }
            values |= {
                "session_id": name,
                "device_id": device_id,
                "module_id": bytes(8),
                "wrapped": b"",
                "created_at": at,
            }
            values |= {"profile": "meterseal-1", "suite": 1}
            connection.execute(sessions.insert().values(values))


def idle(reason: Reason, version: int = 1) -> bytes:
    """A report of a device that does nothing about firmware."""
    plain = Report(
        phase=Phase.IDLE,
        reason=reason,
        version=version,
        hardware=1,
        running=bytes(32),
        staged=bytes(32),
        refused=0,
        model="m",
    )
    return firmware.report(plain)


class Offering(Firmwares):
    """Says one manifest of every image; what signs it is in the scenarios."""

    async def payload(self, name: str) -> Payload:
        return Payload(Signed(b"a manifest", bytes(64), (b"leaf", b"authority")), DIGEST, [], [], NOW + DAY)


async def test_what_a_meter_refused_before_is_not_its_answer_to_this_offer(platform: Platform) -> None:
    """Its last reason stands in every report, in one that was under way when the offer was said too."""
    open_sessions(platform)
    firmwares = Offering(platform.engine, None, Service(), lambda: NOW)  # type: ignore[arg-type]
    said = FirmwareWords(platform.words, firmwares, platform.campaigns, None, lambda: NOW)  # type: ignore[arg-type]

    async def report(counter: int, reason: Reason) -> tuple[int, str]:
        await said.firmware([FirmwareSaid(DEVICES[0], b"session1", counter, idle(reason))])
        return platform.shown(campaign).items[DEVICES[0].hex()]

    campaign = await platform.start((100,))
    platform.campaigns.step()
    assert (await report(1, Reason.LATE))[1] == "sending", "of a release before"
    taken = await said.take(DEVICES[0], b"session1", 0, anew=True)
    assert [word.kind for word in taken.words] == ["firmware"]
    assert (await report(2, Reason.LATE))[1] == "sending", "it may have been under way"
    assert (await report(3, Reason.LATE))[1] == "failed"
    other = await platform.start((100,), digest=sm3(b"released again"))
    platform.campaigns.step()
    await report(4, Reason.LATE)
    assert platform.shown(other).items[DEVICES[0].hex()][1] == "sending", "nothing of this was offered"


class Trail:
    """An audit trail that counts."""

    def __init__(self) -> None:
        self.entries: list[Refusal] = []

    async def refused(self, entries: Sequence[Refusal]) -> None:
        self.entries += entries


async def test_a_meter_that_says_over_and_over_that_it_fell_back_does_not_fill_the_audit_trail(
    platform: Platform,
) -> None:
    open_sessions(platform)
    firmwares, trail = Offering(platform.engine, None, Service(), lambda: NOW), Trail()  # type: ignore[arg-type]
    said = FirmwareWords(platform.words, firmwares, platform.campaigns, trail, lambda: platform.clock[0])  # type: ignore[arg-type]

    async def falls(session: bytes, device_id: bytes, since: int) -> int:
        before = len(trail.entries)
        for counter in range(since, since + 200):
            reason = (Reason.NONE, Reason.NO_REPORT, Reason.NO_START)[counter % 3]
            await said.firmware([FirmwareSaid(device_id, session, counter, idle(reason))])
        return len(trail.entries) - before

    assert await falls(b"session1", DEVICES[0], 1) == FALLS_A_DAY
    assert await falls(b"session3", DEVICES[1], 1) == FALLS_A_DAY, "another meter is heard all the same"
    platform.clock[0] += DAY
    assert await falls(b"session1", DEVICES[0], 1_000) == FALLS_A_DAY


def test_a_report_that_is_repeated_late_or_somebody_elses_changes_nothing(platform: Platform) -> None:
    firmwares = Firmwares(platform.engine, None, Service(), lambda: NOW)  # type: ignore[arg-type]
    open_sessions(platform)

    def said(session: bytes, counter: int, version: int, device_id: bytes = DEVICES[0]) -> FirmwareSaid:
        return FirmwareSaid(device_id, session, counter, idle(Reason.NONE, version))

    def version() -> int:
        return firmwares.versions([DEVICES[0]])[DEVICES[0]][2]

    assert firmwares.note([said(b"session1", 5, 1)])[0] is not None
    for late in (
        said(b"session1", 5, 9),
        said(b"session1", 4, 9),
        said(b"session3", 9, 9),
        said(b"session9", 9, 9),
    ):
        assert firmwares.note([late]) == [None]
    assert firmwares.note([FirmwareSaid(DEVICES[0], b"session1", 8, b"\x11")]) == [None]
    assert version() == 1
    assert firmwares.note([said(b"session2", 1, 2)])[0] is not None
    assert firmwares.note([said(b"session1", 99, 1)]) == [None]
    assert version() == 2
