"""LINK section 6: a lost, repeated, reordered or late message ends in one session and one copy of each reading.

Real modules and agents, head-ends, security service and platform (`tests.attacks.whole`) over a network that loses,
doubles, delays and reorders, while any of them dies at any call or write: a module's supply at a write of its memory, a
head-end, the security service or the platform at a call between them, and a line with its answer. What is judged: both
ends agree on one session, every reading and every statement is stored exactly once, nothing that a device was allowed
to forget is lost, and no counter ever sealed two different records.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from meterseal.link.control import PING
from meterseal.model import Quality
from tests.attacks.whole import (
    DAY,
    DAYS,
    HOUR,
    SEALED,
    SINCE,
    Device,
    Fault,
    PowerCut,
    Template,
    Whole,
    make_template,
    running,
)

STEP = 500
STORM = 240_000
"""How long the network is bad and stations die, ms."""
CALM = 3_600_000
"""How long everything may take to come to an end afterwards."""


class Weather(Struct, frozen=True):
    """What the network does to a message: probabilities, and the longest delay in ms; `late` is hours."""

    seed: int
    loss: float
    double: float
    delay: int
    late: float


class Cut(Struct, frozen=True):
    """The supply of device `which` goes away at its write number `write` after `at` ms, before or after it."""

    which: int
    at: int
    write: int
    after: bool


class Story(Struct, frozen=True):
    """One run."""

    weather: Weather
    headends: int
    faults: tuple[Fault, ...]
    cuts: tuple[Cut, ...]


WEATHER = st.builds(
    Weather,
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.05, 0.2, 0.4]),
    double=st.sampled_from([0.0, 0.1, 0.5]),
    delay=st.sampled_from([0, 400, 4_000, 40_000]),
    late=st.sampled_from([0.0, 0.02]),
)
FAULTS = st.builds(
    Fault,
    who=st.sampled_from(["headend", "keys", "platform", "line"]),
    at=st.integers(1, 120),
    after=st.booleans(),
)
CUTS = st.builds(
    Cut,
    which=st.integers(0, len(SEALED) - 1),
    at=st.integers(0, STORM // 2),
    write=st.integers(1, 12),
    after=st.booleans(),
)
STORIES = st.builds(
    Story,
    weather=WEATHER,
    headends=st.sampled_from([1, 1, 2]),
    faults=st.lists(FAULTS, max_size=5).map(tuple),
    cuts=st.lists(CUTS, max_size=4).map(tuple),
)


class Play:
    """A story played: the network's queue, and what was ever said."""

    def __init__(self, whole: Whole, template: Template, story: Story) -> None:
        self.whole, self.story = whole, story
        self.random = Random(story.weather.seed)
        self.devices = [Device(one, template.memories[one], Random(story.weather.seed)) for one in SEALED]
        self.flying: list[tuple[int, int, int, bool, bytes]] = []
        self.number = 0
        self.said: list[tuple[int, bool, bytes]] = []
        self.sealed: dict[tuple[bool, bytes], bytes] = {}
        self.cuts = sorted(story.cuts, key=lambda cut: cut.at)
        whole.faults = {fault.at: fault for fault in story.faults}

    # --- the network ------------------------------------------------------------------------------------

    def put(self, which: int, up: bool, message: bytes, *, stormy: bool) -> None:
        """Give a message to the network; a counter that seals two different records fails the test."""
        self.said.append((which, up, message))
        if message[:2] == b"MR":
            known = self.sealed.setdefault((up, message[4:18]), message)
            assert known == message, f"counter {message[12:18].hex()} sealed two records, up={up}"
        weather, now = self.story.weather, self.whole.clock.now
        copies = 1
        if stormy:
            copies = (self.random.random() >= weather.loss) + (self.random.random() < weather.double)
        for _ in range(copies):
            wait = self.random.randint(0, weather.delay) if stormy else 0
            if stormy and self.random.random() < weather.late:
                wait += self.random.randint(0, 2 * HOUR)
            self.number += 1
            heapq.heappush(self.flying, (now + wait, self.number, which, up, message))

    async def step(self, *, stormy: bool) -> None:
        """Half a second: everybody says what is due, and what has arrived is taken."""
        whole = self.whole
        whole.clock.now += STEP
        for which, device in enumerate(self.devices):
            for _ in range(4):
                message = self.powered(device, lambda device=device: device.agent.offer(whole.clock.now))
                if message is None:
                    break
                self.put(which, True, message, stormy=stormy)
        while self.flying and self.flying[0][0] <= whole.clock.now:
            _, _, which, up, message = heapq.heappop(self.flying)
            device = self.devices[which]
            if up:
                at = self.random.randrange(len(whole.uplinks))
                for answer in await whole.send(message, at=at):
                    self.put(which, False, answer, stormy=stormy)
            else:
                self.powered(device, lambda d=device, m=message: d.agent.receive(m, whole.clock.now))

    def powered(self, device: Device, act):  # type: ignore[no-untyped-def]
        """Let a device do something; its supply may go away meanwhile, and it starts again."""
        try:
            return act()
        except PowerCut:
            while True:
                try:
                    device.repower()
                except PowerCut:
                    continue
                return None

    async def run(self) -> None:
        """The storm, then a good network until everybody is done."""
        began = self.whole.clock.now
        while (passed := self.whole.clock.now - began) < STORM:
            while self.cuts and self.cuts[0].at <= passed:
                cut = self.cuts.pop(0)
                nv = self.devices[cut.which].nv
                nv.left, nv.after = cut.write, cut.after
            await self.step(stormy=True)
            if all(device.done for device in self.devices) and not self.whole.faults:
                break
        self.whole.faults.clear()
        for device in self.devices:
            device.nv.left = 0
        calm = self.whole.clock.now
        while not self.over():
            assert self.whole.clock.now - calm < CALM, [device.agent.phase for device in self.devices]
            await self.step(stormy=False)
        # A device speaks first in a new session; the PING that did so may be what the storm took.
        for which, device in enumerate(self.devices):
            ping = device.chip.seal_control(PING, self.whole.clock.now).record
            self.put(which, True, ping, stormy=False)
        await self.step(stormy=False)

    def over(self) -> bool:
        return all(device.done and device.agent.phase == "open" for device in self.devices)

    # --- what must hold ---------------------------------------------------------------------------------

    async def judge(self) -> tuple[object, ...]:
        """One session on which both ends agree, and every reading and statement once; the state to compare."""
        whole, state = self.whole, []
        for device in self.devices:
            readings = device.meter.readings
            columns = whole.mdms.registers(whole.points[device.device_id], 1, SINCE, SINCE + DAYS * DAY + 1)
            rows = zip(columns.end_at, columns.register, columns.quality, columns.version, strict=True)
            stored = {int(at): int(value) for at, value, quality, _ in rows if quality != Quality.MISSING}
            assert set(columns.version) == {1}
            expected = {
                at: value
                for at in range(SINCE + HOUR, SINCE + DAYS * DAY + 1, HOUR)
                if (value := readings.stored(1, at)) is not None
            }
            assert stored == expected, device.device_id.hex()
            session = await whole.latest(device.device_id)
            assert session is not None
            assert session.session_id == device.chip.state().session_id == device.agent.session_id
            state.append((session.session_id, stored))
        counts = await whole.counts()
        assert counts.readings == sum(len(stored) for _, stored in state)
        assert counts.evidence == counts.evidence_good == len(self.devices) * DAYS
        assert counts.quarantined == 0
        return (*state, counts.readings, counts.evidence, whole.in_force())

    async def all_again(self) -> None:
        """Everything that was ever said arrives once more, in any order; it changes nothing."""
        before = await self.judge()
        memories = [dict(device.pages.pages) for device in self.devices]
        sessions = [device.chip.state().session_id for device in self.devices]
        again = list(self.said)
        self.random.shuffle(again)
        for which, up, message in again:
            self.whole.clock.now += 200
            if up:
                await self.whole.send(message, at=self.random.randrange(len(self.whole.uplinks)))
            else:
                self.devices[which].agent.receive(message, self.whole.clock.now)
        assert await self.judge() == before
        assert [dict(device.pages.pages) for device in self.devices] == memories
        assert [device.chip.state().session_id for device in self.devices] == sessions


async def play(template: Template, story: Story, root: Path) -> Play:
    async with running(template, root, headends=story.headends) as whole:
        played = Play(whole, template, story)
        await played.run()
        await played.judge()
        await played.all_again()
        return played


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("lossy") / "system")


def tell(template: Template, story: Story) -> Play:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(play(template, story, Path(folder) / "run"))


QUIET = Weather(seed=1, loss=0.0, double=0.0, delay=0, late=0.0)
ROUGH = Weather(seed=7, loss=0.3, double=0.3, delay=4_000, late=0.02)
_UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""A story takes a second, and shrinking one takes hundreds of them: that is for whoever looks into a failure."""
_SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


def test_a_good_network_needs_one_handshake_and_no_repeat(template: Template) -> None:
    played = tell(template, Story(QUIET, 1, (), ()))
    kinds = Counter((up, message[:4]) for _, up, message in played.said)
    assert kinds[True, b"MS\x01\x01"] == kinds[False, b"MS\x01\x04"] == len(SEALED)
    assert len(played.sealed) == len([one for one in played.said if one[2][:2] == b"MR"])


@settings(max_examples=12, deadline=None, derandomize=True, phases=_UNSHRUNK, suppress_health_check=_SLOW)
@given(story=STORIES)
def test_every_loss_repeat_delay_and_restart_ends_in_one_session_and_one_copy(
    template: Template, story: Story
) -> None:
    tell(template, story)


@pytest.mark.soak
@settings(
    max_examples=int(os.environ.get("STORIES", "1500")),
    deadline=None,
    phases=_UNSHRUNK,
    suppress_health_check=_SLOW,
)
@given(story=STORIES)
def test_many_stories_end_in_one_session_and_one_copy(template: Template, story: Story) -> None:
    tell(template, story)


MOMENTS = 24
"""Calls of the head-end within a good run of two devices; a station is killed at each of them."""


STATIONS = ("headend", "keys", "platform", "line")


@pytest.mark.parametrize("who", STATIONS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_station_may_die_at_some_calls(template: Template, who: str, after: bool) -> None:
    """Every sixth call, of each station and moment others: together each call is met by somebody's end."""
    first = 1 + (STATIONS.index(who) + 3 * after) % 6
    for at in range(first, MOMENTS + 1, 6):
        tell(template, Story(QUIET, 1, (Fault(who=who, at=at, after=after),), ()))


@pytest.mark.soak
@pytest.mark.parametrize("who", STATIONS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_station_may_die_at_every_single_call(template: Template, who: str, after: bool) -> None:
    for at in range(1, MOMENTS + 1):
        tell(template, Story(QUIET, 1, (Fault(who=who, at=at, after=after),), ()))
