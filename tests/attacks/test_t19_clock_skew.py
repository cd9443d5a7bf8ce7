"""T19: clocks that are wrong, of the meter or of the platform: periods, certificates and replays stay right."""

from __future__ import annotations

import pytest

from meterseal.errors import TrustError
from meterseal.link import control
from tests.attacks.test_t_records import digest, report
from tests.attacks.whole import (
    DAY,
    DAYS,
    HOUR,
    MORNING,
    SEALED,
    SINCE,
    WATER,
    Device,
    Template,
    Whole,
    running,
)

SKEWS = {
    "an hour behind": -HOUR,
    "an hour ahead": HOUR,
    "a day behind": -DAY,
    "a day ahead": DAY,
    "ten minutes behind": -600_000,
    "in 2038": 2_147_483_648_000 - MORNING,
}


def closing(whole: Whole, device_id: bytes) -> dict[int, int]:
    """Registers at the ends of the days, as a bill would take them."""
    columns = whole.mdms.registers(whole.points[device_id], 1, SINCE + DAY, SINCE + DAYS * DAY)
    rows = zip(map(int, columns.end_at), map(int, columns.register), strict=True)
    return {at: register for at, register in rows if (at - SINCE) % DAY == 0}


@pytest.mark.parametrize("skew", SKEWS.values(), ids=SKEWS)
@pytest.mark.parametrize("device_id", SEALED, ids=["suite-1", "suite-2"])
async def test_t19_a_meters_wrong_clock_moves_no_reading_into_another_period(
    whole: Whole, devices: dict[bytes, Device], device_id: bytes, skew: int
) -> None:
    """The load profile and the evidence carry the instants of the meter's register, whatever its clock says now."""
    device = devices[device_id]
    device.meter.set_clock(whole.clock.now + skew, whole.clock.now)
    await whole.deliver(device)
    readings = device.meter.readings
    ends = range(SINCE + DAY, SINCE + DAYS * DAY + 1, DAY)
    assert closing(whole, device_id) == {at: readings.register(1, at) for at in ends}
    assert (await whole.counts()).evidence_good == DAYS


@pytest.mark.parametrize("skew", SKEWS.values(), ids=SKEWS)
async def test_t19_a_platforms_wrong_clock_moves_no_reading_into_another_period(
    template: Template,
    tmp_path,
    devices: dict[bytes, Device],
    skew: int,  # type: ignore[no-untyped-def]
) -> None:
    """Readings stand at the instants that the meter gave them; none is taken for one of the time it arrived."""
    async with running(template, tmp_path / "skewed", now=MORNING + skew) as whole:
        device = devices[WATER]
        await whole.deliver(device)
        readings = device.meter.readings
        kept = closing(whole, WATER)
        assert kept == {at: readings.register(1, at) for at in kept}
        assert SINCE + DAY in kept


async def test_t19_a_module_judges_certificates_by_its_bound_and_not_by_its_clock(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    """A meter that believes it is 2038 or 2000 shakes hands as ever; its bound moves with certificates alone."""
    device = devices[WATER]
    bound = device.chip.state().time_bound
    for clock in (946_684_800_000, 2_147_483_648_000, whole.clock.now):
        hello = device.chip.hello(clock)
        (platform,) = await whole.send(hello)
        (session,) = await whole.send(device.chip.platform(platform, clock))
        assert device.chip.session(session, clock).session_id
        assert bound <= device.chip.state().time_bound <= whole.clock.now
        whole.clock.now += 60_000


async def test_t19_a_certificate_that_ended_before_the_bound_is_refused(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    """The platform's clock goes back beyond a later certificate's beginning: the device does not go back with it."""
    device = devices[WATER]
    start = whole.clock.now
    (old,) = await whole.send(device.chip.hello(start))
    assert device.chip.platform(old, start)
    whole.clock.now += 45 * DAY
    await whole.shake(device)
    assert device.chip.state().time_bound > start
    whole.clock.now = start
    await whole.restart("keys")
    (again,) = await whole.send(device.chip.hello(start))
    answers = device.chip.state().time_bound
    assert answers > start
    try:
        device.chip.platform(again, start)
    except TrustError:
        return
    # Accepted only under a certificate that reaches beyond the bound.
    assert device.chip.state().time_bound >= answers


@pytest.mark.parametrize("skew", SKEWS.values(), ids=SKEWS)
async def test_t19_replays_are_refused_under_every_clock(
    whole: Whole, devices: dict[bytes, Device], skew: int
) -> None:
    device = devices[WATER]
    await whole.shake(device)
    now = whole.clock.now
    record = device.chip.seal(report(device, now, 9), now).record
    (ack,) = await whole.send(record)
    device.chip.open(ack, now)
    whole.clock.now = now + skew
    before = await digest(whole, answered=True)
    await whole.send(record)
    assert await digest(whole, answered=True) == before
    with pytest.raises(TrustError):
        device.chip.open(ack, now)


async def test_t19_time_of_an_old_ping_sets_no_clock(whole: Whole, devices: dict[bytes, Device]) -> None:
    device = devices[WATER]
    await whole.shake(device)
    now = whole.clock.now
    first = device.chip.seal_control(control.PING, now)
    (old,) = await whole.send(first.record)
    second = device.chip.seal_control(control.PING, now + 1)
    (new,) = await whole.send(second.record)
    with pytest.raises(TrustError):
        device.chip.open(old, now + 2)
    assert device.chip.open(new, now + 2).clock_at == now
