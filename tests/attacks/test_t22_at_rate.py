"""T22 at its full figures: 5,000 frames a second while every key is rotated every 10 seconds, for eight turns.

The small system of `scenarios` with one more line, on which the two sealed meters of a riser deliver as fast as asked;
concentrator and agents go on beside it. Frames are made before the clock runs and sealed while it does, in the same
process; its CPU seconds stand beside the rate. A short run is `tests/scenarios/test_t22_rotation.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from meterseal.app import operator, resealing, wraps
from meterseal.edge.apdu import Sw
from meterseal.errors import TrustError
from meterseal.link import messages
from meterseal.security import rotation
from meterseal.things.monitor import AuditLog
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from tests.scenarios.causes import Causes
from tests.scenarios.small_system import GAS, MORNING, SINCE, WATER, Line, System
from tests.scenarios.test_t22_rotation import ROTATED, cheap_stretching, moving, rotate, system
from tests.wire import built

__all__ = ["cheap_stretching", "system"]

FRAMES = 85
"""In one record: about as many as 4,096 bytes hold."""
RATE, EVERY, LASTING = 5_000, 10.0, 80.0
WATCH = 1.0
"""Seconds between two looks at what has to be sealed again: a tenth of a turn, where the product, whose turns are long,
looks every 30.
"""
DIFFERENT = (MORNING - SINCE) // 1_000 // FRAMES
"""Records of a meter with readings that nobody has yet, one for each second from SINCE to now."""


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
        self._frames = [self._filled(number) for number in range(DIFFERENT)]

    def send(self) -> bool:
        """One more record to the head-end; False while there is no session, or the module holds no more."""
        try:
            sealed = self._chip.seal(self._frames[self.sent % DIFFERENT], self._system.clock.now)
        except TrustError as error:
            if error.facts.get("word") not in (Sw.FULL, Sw.CONDITIONS):
                raise
            return False
        uplink = self._system.centre.uplinks[self._system.at]
        uplink.receive(self.line, self._device_id, sealed.record)  # type: ignore[arg-type]
        self.sent += 1
        return True

    def _filled(self, number: int) -> bytes:
        frames = []
        for at in range(number * FRAMES, (number + 1) * FRAMES):
            instant = SINCE + (1 + at) * 1_000
            payload = built.volume_payload(self._readings.register(1, instant), 0, instant)
            frames.append(built.current_data_answer(self._device_id, payload).encode())
        return b"".join(frames)

    def take(self) -> None:
        """What came down: acknowledgements, and words for the meter, which follow where it was heard last."""
        while self.line.down:
            self._agent.receive(self.line.down.popleft().message, self._system.clock.now)


async def test_a_hello_that_is_held_up_until_its_key_has_ended_is_refused_by_its_version_and_changes_nothing(
    system: System,
) -> None:
    """What the load below may meet by chance: a HELLO is on its way while its module is given the next key and greets under
    that. It is the one refusal of that load that is nobody's fault."""
    await system.settle()
    secured = system.nodes[WATER].secured
    assert secured is not None
    late = secured.chip.hello(system.clock.now)  # its agent hears nothing, and begins anew with another one
    newest = (await system.facts(WATER)).key_version + 1
    assert await rotate(system, rotation.DIAK)
    while (await system.facts(WATER)).key_version < newest:
        await system.centre.parts.rollout.run()
        await system.turn()
    await system.settle()
    session_id, causes = system.chip_state(WATER).session_id, Causes(system)
    ahead = replace(messages.parse_hello(late), key_version=newest + 1).encode()
    for message in (late, late, ahead):
        system.centre.uplinks[system.at].receive(system.line, WATER, message)  # type: ignore[arg-type]
        for _ in range(5):
            await system.turn()
    assert [one.code for one in causes.late] == ["link.key-version"] * 2
    assert [one.code for one in causes.others] == ["link.key-version"]  # nobody's module has such a key
    word = await system.read(encode.read_request(WATER, ids.METERING, 9))
    assert (await system.until_ended(word)).state == "done"
    assert system.chip_state(WATER).session_id == session_id
    await system.check_complete()


@pytest.mark.soak
async def test_t22_every_key_is_rotated_every_ten_seconds_at_5000_frames_a_second(
    system: System, record_testsuite_property: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((resealing, "WATCH"), (wraps, "WATCH"), (wraps, "SOON")):
        monkeypatch.setattr(module, name, WATCH)
    await system.settle()
    causes, audit = Causes(system), AuditLog(system.centre.engine)
    last = max((one.id for one in audit.latest(1)), default=0)
    uplink = system.centre.uplinks[system.at]
    before = dict(uplink.counts)
    loads = [Load(system, device_id) for device_id in (WATER, GAS)]
    rotated = dict.fromkeys(ROTATED, 0)
    rounds = 0
    used = time.process_time()
    began = turn = time.monotonic()
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
    rate, used = sent * FRAMES / spent, time.process_time() - used
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
    record_testsuite_property(
        "rate",
        f"{rate:.0f} frames/s, {used / spent:.2f} CPU s/s, {sent} records, rotated {rotated} in {rounds} rounds, "
        f"{len(causes.late)} HELLOs of before came late",
    )
    assert causes.others == []
    codes = Counter(one.code for one in audit.latest(500) if one.id > last)
    repeats = Counter({"link.replay": counts["again"]})  # records whose ACK was late, byte for byte
    assert codes == Counter(one.code for one in causes.late) + repeats
    assert (counts["held"], counts["dropped"]) == (0, 0), counts
    assert counts["accepted"] >= sent
    assert all(count >= 3 for count in rotated.values()), rotated
    await system.check_complete()
    shown = await system.desk.call("counts", operator.Page(), operator.Counts)
    assert (shown.quarantined, shown.to_reseal) == (0, 0)
    assert rate >= 0.99 * RATE, f"{rate:.0f} frames a second were all that this machine took"
