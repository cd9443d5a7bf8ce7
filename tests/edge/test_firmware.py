"""New firmware in one meter: received, verified, switched, seen; the image before when it is not; any cut in between."""

from __future__ import annotations

import pytest

from meterseal.edge.firmware import DEAD, MUTE
from meterseal.link import firmware
from meterseal.link.firmware import Phase, Reason
from meterseal.wire import encode
from meterseal.wire.frame import parse_frame
from tests.edge.firmwares import MINUTE, PACE, WATER, PowerCut, Release, Rig, Supply, image


@pytest.mark.parametrize("suite", [1, 2])
def test_an_image_is_received_verified_switched_to_and_kept_once_it_was_seen(suite: int) -> None:
    rig = Rig(suite)
    (first,) = rig.run(2)[:1]
    assert (first.version, first.phase, first.model) == (1, Phase.IDLE, "water-generic")
    release = Release(rig.platform, image(2))
    rig.receive(release)
    (ready,) = rig.run(1)
    assert (ready.phase, ready.staged, ready.version) == (Phase.READY, release.digest, 1)
    rig.order(release)
    trial = rig.run(5)[-1]
    assert (trial.phase, trial.running, trial.version) == (Phase.TRIAL, release.digest, 2)
    assert rig.chip.firmware().version == 1, "nothing is installed before the platform has seen it"
    (answer,) = {frame for _, frame in rig.platform.frames}
    assert (answer.control, answer.data[:2]) == (0x84, bytes.fromhex("04e0"))
    rig.saw(release)
    assert (rig.firmware.version, rig.firmware.phase) == (2, Phase.IDLE)
    assert (rig.chip.firmware().version, rig.chip.firmware().trial) == (2, b"")
    rig.run(PACE.trial / 1000 + 60)
    rig.power_on()
    assert rig.firmware.version == 2
    rig.install(Release(rig.platform, image(3)))
    assert (rig.firmware.version, rig.firmware.phase) == (3, Phase.IDLE)


def test_blocks_lost_repeated_and_out_of_order_end_in_the_same_image() -> None:
    rig = Rig()
    rig.run(2)
    release = Release(rig.platform, image(2, 9_000))
    rig.say(release.offer())
    for index in (7, 2, 2, 0, 7):
        rig.say(release.block(index))
    told = rig.run(1)[-1]
    assert firmware.missing_of(told.missing, told.blocks) == [1, 3, 4, 5, 6, 8]
    rig.power_on()
    rig.run(2)
    rig.say(release.offer())  # again: what is there stays
    rig.say(*(release.block(index) for index in (8, 6, 5, 4, 3, 1)))
    assert rig.run(1)[-1].phase is Phase.READY
    assert rig.firmware.refused == 0


def test_an_image_that_does_not_start_gives_way_to_the_one_before() -> None:
    rig = Rig()
    release = Release(rig.platform, image(2, flaw=DEAD))
    rig.install(release)
    assert rig.run(60) == []
    ask, _ = parse_frame(encode.read_request(WATER, 0x901F, 1).encode())
    assert rig.node.answer(ask, rig.now) == b"", "a meter whose image does not start is silent"
    told = rig.run(PACE.trial / 1000)[-1]
    assert (told.version, told.phase, told.reason) == (1, Phase.IDLE, Reason.NO_START)
    assert rig.node.answer(ask, rig.now)
    assert rig.chip.firmware().trial == b""


def test_an_image_that_does_not_report_gives_way_and_a_better_one_may_follow() -> None:
    rig = Rig()
    rig.install(Release(rig.platform, image(2, flaw=MUTE)))
    told = rig.run(PACE.trial / 1000 + 10)[-1]
    assert (told.version, told.reason) == (1, Reason.NO_REPORT)
    rig.install(Release(rig.platform, image(3)))
    assert (rig.firmware.version, rig.firmware.reason) == (3, Reason.NONE)


def test_an_image_of_another_version_than_its_manifest_says_does_not_start() -> None:
    rig = Rig()
    rig.install(Release(rig.platform, image(2), version=3))
    told = rig.run(PACE.trial / 1000 + 10)[-1]
    assert (told.version, told.reason) == (1, Reason.NO_START)


def test_an_image_whose_trial_nobody_saw_gives_way_even_if_the_platform_sees_it_later() -> None:
    rig = Rig()
    release = Release(rig.platform, image(2))
    rig.run(2)
    rig.receive(release)
    rig.order(release)
    rig.run(5)
    rig.platform.latest.clear()  # the platform is away
    rig.run(PACE.trial / 1000 + 30)
    assert rig.firmware.version == 1
    rig.saw(release)
    assert (rig.firmware.version, rig.chip.firmware().version) == (1, 1)


def test_a_supply_that_comes_and_goes_ends_a_trial() -> None:
    rig = Rig()
    release = Release(rig.platform, image(2))
    rig.run(2)
    rig.receive(release)
    rig.order(release)
    for _ in range(PACE.starts - 1):
        rig.power_on()
        assert rig.firmware.version == 2
    rig.power_on()
    assert rig.firmware.version == 1


def test_a_clock_that_is_set_back_prolongs_a_trial_by_no_more_than_one() -> None:
    rig = Rig()
    release = Release(rig.platform, image(2))
    rig.run(2)
    rig.receive(release)
    rig.order(release)
    rig.run(1)
    rig.now -= 300 * MINUTE
    rig.run(PACE.trial / 1000 + 5)
    assert rig.firmware.version == 1


def _life(rig: Rig, release: Release) -> None:
    for _ in range(40):
        if rig.carry_on(release):
            return
    raise AssertionError(f"It never came to run: {rig.platform.reports[-1]}")


def _writes(flaw: int = 0) -> tuple[int, int]:
    """Writes before the update begins, and at its end."""
    rig = Rig()
    rig.run(2)
    begin = rig.supply.writes
    _life(rig, Release(rig.platform, image(2, 2_500)))
    return begin, rig.supply.writes


@pytest.mark.parametrize("after", [False, True])
def test_power_cut_at_every_step_ends_in_the_new_image_and_never_in_none(after: bool) -> None:
    begin, end = _writes()
    assert end - begin > 15
    for cut in range(begin + 1, end + 1):
        rig = Rig(supply=Supply(cut, after=after))
        release = Release(rig.platform, image(2, 2_500))
        rig.run(2)
        with pytest.raises(PowerCut):
            _life(rig, release)
        rig.power_on()
        assert rig.firmware.starts, f"cut at {cut}"
        facts = rig.chip.firmware()
        assert rig.firmware.version == 1 or facts.trial == release.digest or facts.version == 2, f"{cut}"
        _life(rig, release)
        assert (rig.firmware.version, rig.chip.firmware().version) == (2, 2), f"cut at {cut}"


@pytest.mark.parametrize("after", [False, True])
def test_power_cut_while_it_falls_back_ends_in_the_image_before(after: bool) -> None:
    def trial(supply: Supply) -> Rig:
        rig = Rig(supply=supply)
        rig.install(Release(rig.platform, image(2, 2_500, flaw=DEAD)))
        return rig

    rig = trial(Supply())
    begin = rig.supply.writes
    rig.run(PACE.trial / 1000 + 5)
    for cut in range(begin + 1, rig.supply.writes + 1):
        rig = trial(Supply(cut, after=after))
        with pytest.raises(PowerCut):
            rig.run(PACE.trial / 1000 + 5)
        rig.power_on()
        rig.run(PACE.trial / 1000 + 5)
        assert (rig.firmware.version, rig.chip.firmware().trial) == (1, b""), f"cut at {cut}"


@pytest.mark.parametrize("other", [{"model": "gas-generic"}, {"hardware": 2}], ids=str)
def test_an_offer_for_other_meters_leaves_no_image_that_is_called_ready_and_never_may_run(
    other: dict[str, object],
) -> None:
    """The module knows neither model nor hardware: it holds the other manifest from then on."""
    rig = Rig()
    rig.run(2)
    release = Release(rig.platform, image(2))
    rig.receive(release)
    assert rig.firmware.phase is Phase.READY
    rig.say(Release(rig.platform, image(3), **other).offer())
    assert rig.firmware.phase is not Phase.READY
    assert any(rig.carry_on(release) for _ in range(20))
    assert rig.firmware.version == 2
