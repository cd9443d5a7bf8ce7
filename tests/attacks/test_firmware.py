"""Attacks on firmware, each by its name, on one meter: what a head-end, a concentrator or a thief of keys may try.

The attacker speaks in the meter's own session, as a head-end in wrong hands does. Each conversation ends with an honest
update, so that a refusal is none of an outage.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.edge.apdu import Ins, Sw, call
from meterseal.edge.chip import Chip
from meterseal.edge.module import Module
from meterseal.edge.nv import SealedNv
from meterseal.errors import PeerError, TrustError
from meterseal.link import commands, firmware
from meterseal.link.control import FIRMWARE, Word
from meterseal.link.firmware import Phase, Reason
from meterseal.wire.frame import Frame
from tests.crypto.pki import NOW, SINCE
from tests.edge.firmwares import DAY, MINUTE, MODULE, PACE, WATER, Release, Rig, image
from tests.edge.platform import STORAGE

OTHER_PROJECT = bytes(15) + b"\x01"


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    made.run(2)
    yield made
    left = Release(made.platform, image(200))
    made.run(PACE.trial / 1000 + 10)
    made.install(left)
    assert (made.firmware.version, made.firmware.phase) == (200, Phase.IDLE), "an honest update still works"


def refused(rig: Rig, release: Release, reason: Reason) -> None:
    """The meter does not take it, says why, and an order for it changes nothing."""
    rig.receive(release)
    rig.order(release)
    told = rig.run(3)[-1]
    assert (told.reason, told.version) == (reason, rig.firmware.version)
    assert told.phase is not Phase.TRIAL
    assert rig.chip.firmware().trial == b""


def test_rollback_to_an_older_release_is_refused(rig: Rig) -> None:
    old = Release(rig.platform, image(2))
    rig.install(Release(rig.platform, image(3)))
    refused(rig, old, Reason.VERSION)
    assert rig.firmware.version == 3


def test_a_replayed_old_manifest_of_the_same_version_is_refused(rig: Rig) -> None:
    release = Release(rig.platform, image(2))
    rig.install(release)
    refused(rig, release, Reason.VERSION)


def test_rollback_by_cutting_the_supply_in_the_middle_of_an_update_is_refused(rig: Rig) -> None:
    old = Release(rig.platform, image(2))
    rig.install(old)
    rig.receive(Release(rig.platform, image(4)))
    rig.power_on()
    rig.run(2)
    refused(rig, old, Reason.VERSION)


def test_freeze_a_release_that_was_held_back_past_its_time_is_refused(rig: Rig) -> None:
    release = Release(rig.platform, image(2), until=rig.now + MINUTE)
    rig.run(90)
    refused(rig, release, Reason.LATE)


def test_freeze_a_release_that_was_received_in_time_does_not_start_after_it(rig: Rig) -> None:
    release = Release(rig.platform, image(2), until=rig.now + MINUTE)
    rig.receive(release)
    assert rig.run(1)[-1].phase is Phase.READY
    rig.run(90)
    rig.order(release)
    rig.run(3)
    assert rig.platform.frames[-1][1].control == 0xC4, "the meter says that it did not"
    assert (rig.firmware.version, rig.chip.firmware().trial) == (1, b"")


def test_freeze_a_manifest_whose_signers_certificate_ended_is_refused(rig: Rig) -> None:
    ended = rig.platform.tree.platform(until=SINCE + DAY + MINUTE)
    rig.platform.platform_chain = [ended, rig.platform.tree.platform_ca]
    old = Release(rig.platform, image(2))
    rig.platform.platform_chain = rig.platform.tree.platform_chain
    rig.run(120)
    refused(rig, old, Reason.SIGNATURE)


def test_mix_and_match_of_one_releases_manifest_with_anothers_image_is_refused(rig: Rig) -> None:
    good, other = Release(rig.platform, image(2)), Release(rig.platform, image(3))
    rig.say(good.offer())
    for index in range(len(other.blocks)):
        rig.say(firmware.block(good.digest, index, other.blocks, other.leaves, 0))
    told = rig.run(1)[-1]
    assert (told.phase, told.refused) == (Phase.RECEIVING, len(other.blocks))
    rig.order(good)
    assert rig.run(3)[-1].version == 1


def test_mix_and_match_of_one_releases_order_with_another_is_refused(rig: Rig) -> None:
    wanted, other = Release(rig.platform, image(2)), Release(rig.platform, image(3))
    rig.receive(other)
    rig.order(wanted)
    assert rig.run(3)[-1].phase is Phase.READY
    assert rig.firmware.version == 1
    assert rig.platform.frames[-1][1].control == 0xC4, "the meter says that it did not"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"model": "gas-generic"}, Reason.MODEL),
        ({"hardware": 2}, Reason.HARDWARE),
        ({"project_id": OTHER_PROJECT}, Reason.PROJECT),
        ({"lowest": 2, "version": 3}, Reason.LOWEST),
    ],
)
def test_an_image_for_the_wrong_model_hardware_project_or_predecessor_is_refused(
    rig: Rig, other: dict[str, object], reason: Reason
) -> None:
    refused(rig, Release(rig.platform, image(2), **other), reason)


def test_a_manifest_that_nobody_who_may_signed_is_refused(rig: Rig) -> None:
    release = Release(rig.platform, image(2))
    thief = Sm2PrivateKey.generate("the attacker's key")
    stolen = rig.platform.tree.device_key  # a meter's own key and certificate release nothing
    signed = release.signed
    for altered in (
        replace(signed, signature=thief.sign(firmware.LABEL + signed.manifest)),
        replace(signed, signature=os.urandom(64)),
        replace(signed, signature=rig.platform.tree.platform_key.sign(b"ms1 platform\x00" + signed.manifest)),
        replace(
            signed,
            signature=stolen.sign(firmware.LABEL + signed.manifest),
            chain=tuple(rig.platform.tree.device_chain),
        ),
        replace(signed, manifest=firmware.manifest_bytes(replace(release.manifest, version=9))),
    ):
        release.signed = altered
        rig.say(release.offer())
        assert rig.run(1)[-1].reason is Reason.SIGNATURE
        assert rig.chip.firmware().staged == b""


def test_truncated_images_are_refused(rig: Rig) -> None:
    release = Release(rig.platform, image(2))
    rig.say(release.offer(), *(release.block(index) for index in range(len(release.blocks) - 1)))
    rig.order(release)
    assert rig.run(3)[-1].phase is Phase.RECEIVING
    last = len(release.blocks) - 1
    word = release.block(last)
    for content in (word.content[:-1], word.content[:40], word.content[:34]):
        rig.say(Word(FIRMWARE, content))
    short = [*release.blocks[:-1], release.blocks[-1][:-1]]
    rig.say(firmware.block(release.digest, last, short, release.leaves, 0))
    assert rig.run(12)[-1].phase is Phase.RECEIVING
    assert rig.firmware.refused == 4


def test_an_altered_block_is_refused_and_changes_nothing_but_a_count(rig: Rig) -> None:
    release = Release(rig.platform, image(2))
    rig.say(release.offer(), release.block(0))
    pages, before = dict(rig.pages.pages), rig.firmware.refused
    word = release.block(1).content
    for at in (9, 10, 12, 14, 20, 700, len(word) - 40, len(word) - 1):
        altered = bytearray(word)
        altered[at] ^= 1
        rig.say(Word(FIRMWARE, bytes(altered)))
    assert rig.firmware.refused == before + 8
    assert rig.pages.pages == pages
    rig.say(*(release.block(index) for index in range(len(release.blocks))))
    assert rig.run(12)[-1].phase is Phase.READY


def test_an_image_that_was_altered_in_the_meters_memory_does_not_run(rig: Rig) -> None:
    release = Release(rig.platform, image(2))
    rig.say(release.offer(), *(release.block(index) for index in range(len(release.blocks) - 1)))
    pages = SealedNv(rig.pages, STORAGE, b"controller")
    pages.write({"firmware/1/001": bytes(1024)})
    rig.say(release.block(len(release.blocks) - 1))
    told = rig.run(2)[-1]
    assert (told.phase, told.reason) == (Phase.IDLE, Reason.IMAGE)


def test_endless_data_is_bounded(rig: Rig) -> None:
    with pytest.raises(PeerError):
        firmware.read_manifest(
            firmware.manifest_bytes(
                replace(
                    Release(rig.platform, image(2)).manifest, size=firmware.MOST_BLOCKS * firmware.SIZE + 1
                )
            )
        )
    release = Release(rig.platform, image(2))
    rig.say(release.offer())
    for index in range(len(release.blocks), 600):
        word = firmware.block(release.digest, 0, release.blocks, release.leaves, 0).content
        rig.say(Word(FIRMWARE, word[:9] + index.to_bytes(2, "big") + word[11:]))
    assert len([name for name in rig.pages.pages if name.startswith("firmware/")]) == 0
    chip = rig.chip
    call(chip._port, Ins.FIRMWARE_CHECK, p1=0)
    for _ in range(firmware.MOST_BLOCKS):
        call(chip._port, Ins.FIRMWARE_CHECK, bytes(1), p1=1)
    with pytest.raises(TrustError) as caught:
        call(chip._port, Ins.FIRMWARE_CHECK, bytes(1), p1=1)
    assert caught.value.facts["word"] == Sw.WRONG_LENGTH


def test_no_switch_without_an_order_that_the_security_service_authorised(rig: Rig) -> None:
    release = Release(rig.platform, image(2))
    rig.receive(release)
    assert rig.run(1)[-1].phase is Phase.READY
    rig.order(release, authorisation=os.urandom(16))
    with pytest.raises(TrustError):
        rig.chip.switch_firmware(rig.now)
    assert rig.firmware.phase is Phase.READY
    assert not rig.firmware.switch(release.digest, rig.now)
    assert (rig.firmware.version, rig.chip.firmware().trial) == (1, b"")


def test_an_order_in_the_clear_or_for_another_meter_switches_nothing(rig: Rig) -> None:
    release = Release(rig.platform, image(2))
    rig.receive(release)
    frame = firmware.switch_frame(WATER, release.digest, 7)
    answer = rig.node.answer(frame, rig.now)
    assert answer[9] == 0xC4
    other = Frame(frame.protocol, frame.meter_type, frame.address[::-1], frame.control, frame.data)
    known = rig.platform.enrolled_modules[WATER]
    mac = commands.authorise(known.keys.command, WATER, 1, rig.now + MINUTE, frame.encode())
    rig.number += 1
    rig.node.take(rig.platform.command(WATER, other, 1, rig.now + MINUTE, mac), rig.now)
    assert (rig.firmware.version, rig.firmware.phase) == (1, Phase.READY)


def test_a_sighting_that_answers_no_report_of_the_new_image_keeps_nothing(rig: Rig) -> None:
    release = Release(rig.platform, image(2))
    rig.receive(release)
    before = rig.run(1)[-1]
    asked = rig.platform.counter
    rig.order(release)
    rig.say(firmware.seen(release.digest, asked), firmware.seen(before.running, asked))
    rig.say(Word(FIRMWARE, bytes((firmware.SEEN,)) + release.digest))
    assert rig.chip.firmware().version == 1
    rig.run(3)
    rig.say(firmware.seen(release.digest, rig.platform.counter + 1))
    assert rig.chip.firmware().version == 1
    assert rig.chip.firmware().trial == release.digest


def test_a_new_offer_does_not_disturb_a_trial(rig: Rig) -> None:
    release = Release(rig.platform, image(2))
    rig.receive(release)
    rig.order(release)
    rig.run(3)
    rig.say(Release(rig.platform, image(3)).offer())
    told = rig.run(2)[-1]
    assert (told.phase, told.reason) == (Phase.TRIAL, Reason.BUSY)
    rig.saw(release)
    assert rig.chip.firmware().version == 2


def test_a_concentrator_in_wrong_hands_can_withhold_repeat_and_reorder_and_nothing_else(rig: Rig) -> None:
    """It has no keys: what it can do to sealed words is drop, repeat, reorder, alter and hold them back."""
    release = Release(rig.platform, image(2))
    session = rig.platform.latest[WATER]
    words = [release.offer(), *(release.block(index) for index in range(len(release.blocks)))]
    records = [rig.platform.word(session, word) for word in words]
    for record in (*records[:3], records[1], records[0], *reversed(records[2:]), *records):
        altered = bytearray(record)
        altered[len(record) // 2] ^= 1
        rig.node.take(bytes(altered), rig.now)
        rig.node.take(record, rig.now)
    told = rig.run(12)[-1]
    assert (told.version, told.phase) == (1, Phase.RECEIVING)
    assert firmware.missing_of(told.missing, told.blocks) == list(range(2, len(release.blocks) - 1))


def test_a_locked_or_unknown_instruction_order_gives_no_switch() -> None:
    rig = Rig()
    fresh = Chip(Module(SealedNv(rig.memory, STORAGE, MODULE)))
    for ins in (Ins.FIRMWARE_CHECK, Ins.FIRMWARE_SWITCH, Ins.FIRMWARE_FALL_BACK):
        with pytest.raises(TrustError):
            call(fresh._port, ins, NOW.to_bytes(8, "big"), p1=2)
    assert fresh.firmware().version == 1
