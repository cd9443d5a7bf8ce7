"""T22 at its full figures: 5,000 frames a second while every key is rotated every 10 seconds, for a minute and a half.

The small system of `scenarios` with one more line, on which the two sealed meters of a riser deliver as fast as asked;
concentrator and agents go on beside it. A short run is `tests/scenarios/test_t22_rotation.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from meterseal.app import operator
from meterseal.edge.apdu import Sw
from meterseal.errors import TrustError
from meterseal.things.monitor import AuditLog
from tests.scenarios.small_system import DAY, DAYS, GAS, SINCE, WATER, Line, System
from tests.scenarios.test_t22_rotation import ROTATED, cheap_stretching, moving, rotate, system
from tests.wire import built

__all__ = ["cheap_stretching", "system"]

FRAMES = 85
"""In one record: about as many as 4,096 bytes hold."""
RATE, EVERY, LASTING = 5_000, 10.0, 90.0


class Load:
    """A meter's module that seals records full of frames, on a line of its own."""

    def __init__(self, system: System, device_id: bytes) -> None:
        self._system, self._device_id = system, device_id
        secured = system.nodes[device_id].secured
        assert secured is not None
        self._readings, self._chip, self._agent = (
            system.nodes[device_id].meter.readings,
            secured.chip,
            secured.agent,
        )
        self.line = Line("load")
        self.sent = 0

    def send(self) -> bool:
        """One more record to the head-end; False while there is no session, or the module holds no more."""
        try:
            sealed = self._chip.seal(self._frames(), self._system.clock.now)
        except TrustError as error:
            if error.facts.get("word") not in (Sw.FULL, Sw.CONDITIONS):
                raise
            return False
        uplink = self._system.centre.uplinks[self._system.at]
        uplink.receive(self.line, self._device_id, sealed.record)  # type: ignore[arg-type]
        self.sent += 1
        return True

    def _frames(self) -> bytes:
        frames = []
        for at in range(self.sent * FRAMES, (self.sent + 1) * FRAMES):
            instant = SINCE + DAYS * DAY + (1 + at % 30_000) * 1_000
            payload = built.volume_payload(self._readings.register(1, instant), 0, instant)
            frames.append(built.current_data_answer(self._device_id, payload).encode())
        return b"".join(frames)

    def take(self) -> None:
        """What came down: acknowledgements, and words for the meter, which follow where it was heard last."""
        while self.line.down:
            self._agent.receive(self.line.down.popleft().message, self._system.clock.now)


@pytest.mark.soak
async def test_t22_every_key_is_rotated_every_ten_seconds_at_5000_frames_a_second(
    system: System, record_property: Callable[[str, object], None]
) -> None:
    await system.settle()
    uplink = system.centre.uplinks[system.at]
    before = dict(uplink.counts)
    loads = [Load(system, device_id) for device_id in (WATER, GAS)]
    rotated = dict.fromkeys(ROTATED, 0)
    began = turn = time.monotonic()
    rounds = 0
    while (spent := time.monotonic() - began) < LASTING:
        if spent >= rounds * EVERY:
            rounds += 1
            for kind in ROTATED:
                rotated[kind] += await rotate(system, kind)
            await system.centre.parts.rollout.run()
        for load in loads:
            load.take()
            while (load.sent + 1) * FRAMES * len(loads) <= spent * RATE and load.send():
                pass
        if time.monotonic() >= turn:
            turn = time.monotonic() + 0.1
            await system.turn()
        else:
            system.clock.now += 5
            await asyncio.sleep(0.001)
    sent = sum(load.sent for load in loads)
    rate = sent * FRAMES / spent
    for _ in range(200):  # what is still under way, and keys that modules still move to
        await system.turn()
        for load in loads:
            load.take()
    system.connect()
    await system.settle()
    ends = time.monotonic() + 10 * LASTING
    while any(one.old or not one.complete for one in (await moving(system)).values()):
        assert time.monotonic() < ends, await moving(system)
        await system.centre.parts.rollout.run()
        await system.turn()

    counts = {name: uplink.counts[name] - before[name] for name in before}
    record_property("rate", f"{rate:.0f} frames/s, {sent} records, rotated {rotated} in {rounds} rounds")
    refused = {one.code for one in AuditLog(system.centre.engine).latest()}
    assert refused <= {"link.key-version"}, (
        refused
    )  # a HELLO of before, late, when its meter had its new key already
    assert (counts["held"], counts["dropped"]) == (0, 0), counts
    assert counts["accepted"] >= sent
    assert all(count >= 3 for count in rotated.values()), rotated
    await system.check_complete()
    shown = await system.desk.call("counts", operator.Page(), operator.Counts)
    assert (shown.quarantined, shown.to_reseal) == (0, 0)
    assert rate >= 0.99 * RATE, f"{rate:.0f} frames a second were all that this machine took"
