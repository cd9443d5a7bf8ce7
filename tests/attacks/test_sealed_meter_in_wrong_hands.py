"""A sealed meter in wrong hands: its controller has its module say what it likes, as often as it may, over the link.

The module signs and counts; it does not know what is true. So the meter can lie of itself, and of nobody else: it fills
neither the audit trail nor the store of evidence with alarms, and what others raise stands there as before.
"""

from __future__ import annotations

from meterseal.edge.chip import Freeze
from meterseal.headend.meteralarms import SAID, VALVE
from meterseal.headend.telling import DAYS_AT_ONCE, STATEMENTS_A_DAY, TOO_MANY
from tests.attacks.whole import DAY, ELECTRIC, SINCE, WATER, Device, Whole

EVERYTHING = sum(SAID) | 0x0300
"""All that a freeze can raise; the two bits are a valve that does not move."""
CODES = sorted({VALVE[0], *(code for code, _ in SAID.values())})


async def raised(whole: Whole, device: Device, number: int, status: int = EVERYTHING) -> bool:
    """One more signed freeze through the module and the link; whether the platform took it."""
    now = whole.clock.now
    sequence = device.chip.sign(Freeze(1, SINCE + number, number, -2, 0x2C, status, ()))
    sealed = device.chip.seal_evidence(1, sequence, now)
    answers = await whole.send(sealed.record)
    for answer in answers:
        device.chip.open(answer, now)
    return bool(answers)


async def entries(whole: Whole, device: Device) -> list[str]:
    return [one.code for one in whole.audit.latest(500) if one.device_id == device.device_id]


async def test_alarms_signed_as_fast_as_a_meter_may_fill_neither_the_trail_nor_the_store(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    bad, good = devices[WATER], devices[ELECTRIC]
    await whole.shake(bad)
    await whole.shake(good)
    taken = 0
    for number in range(1, STATEMENTS_A_DAY + 1):
        taken += await raised(whole, bad, number)
    assert taken == STATEMENTS_A_DAY
    assert sorted(set(await entries(whole, bad))) == CODES
    for number in range(STATEMENTS_A_DAY + 1, STATEMENTS_A_DAY + 41):
        assert not await raised(whole, bad, number), "it stays with the meter, which hears nothing"
    written = await entries(whole, bad)
    assert len(written) == len(CODES) * DAYS_AT_ONCE + 1
    assert written.count(TOO_MANY) == 1
    counts = await whole.counts()
    assert counts.evidence == STATEMENTS_A_DAY

    assert await raised(whole, good, 1)
    assert sorted(await entries(whole, good)) == CODES
    whole.clock.now += DAY
    await whole.shake(bad)
    assert await raised(whole, bad, STATEMENTS_A_DAY + 41)
    assert len(await entries(whole, bad)) == len(CODES) * (DAYS_AT_ONCE + 1) + 1
