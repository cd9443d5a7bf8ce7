"""Handshakes through the head-end with the real security service: stored before SESSION leaves, and silence else."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterseal.errors import EngineError
from meterseal.headend.cookies import GENERATION, Cookies
from meterseal.headend.handshakes import Handshakes
from meterseal.headend.pipeline import Arrival
from meterseal.headend.sessions import SessionCache
from meterseal.link import messages, records
from meterseal.link.handshake import Session
from meterseal.security.sdk import SecuritySdk
from tests.headend.ground import OTHER, Line, Platform, water
from tests.security.conftest import NOW, Bench, Module


class Ground:
    """A head-end's handshakes over the real service and a store in memory."""

    def __init__(self, bench: Bench) -> None:
        self.platform = Platform()
        self.sessions = SessionCache(self.platform, self.platform)
        self.handshakes = Handshakes(
            bench.headend, self.platform, self.sessions, lambda: NOW, cookies=Cookies(os.urandom), busy=2
        )

    async def send(
        self,
        message: bytes,
        *,
        claimed: bytes = b"",
        source: str = "a",
        at: int = NOW,
        proven: bool = True,
        way: str = "",
    ) -> tuple[list[str], list[bytes]]:
        """The codes of the refusals, and what was sent back."""
        line = Line()
        refusals = await self.handshakes.take(line, Arrival(message, source, b"", claimed, at, proven, way))
        return [one.code for one in refusals], [sent for _, sent in line.sent]

    async def shake(self, module: Module) -> tuple[bytes, bytes, Session]:
        run = module.run()
        _, (platform,) = await self.send(run.hello(NOW))
        device = run.platform(platform, NOW)
        _, (session,) = await self.send(device)
        return device, session, run.session(session, NOW)


@pytest.fixture
def ground(bench: Bench) -> Ground:
    return Ground(bench)


@pytest.mark.parametrize("suite", [1, 2])
async def test_a_handshake_ends_in_one_stored_session_whose_records_open(
    ground: Ground, bench: Bench, suite: int
) -> None:
    module = await bench.module(1, suite)
    _, _, session = await ground.shake(module)
    stored = ground.platform.stored[session.session_id]
    assert (stored.device_id, stored.suite) == (module.device_id, suite)
    live = await ground.sessions.get(session.session_id, NOW)
    assert live is not None
    record = records.seal_record(session.keys, session.session_id, 1, [water(module.device_id)], up=True)
    assert records.check_tag(live.keys, record)
    assert await bench.headend.unwrap(stored.session_id, stored.device_id, stored.wrapped) == live.keys


async def test_a_repeated_device_message_gets_the_same_bytes_and_forgets_no_counter(
    ground: Ground, bench: Bench
) -> None:
    device, answer, session = await ground.shake(await bench.module(1))
    live = await ground.sessions.get(session.session_id, NOW)
    assert live is not None
    live.consumed.add(1)
    assert await ground.send(device) == ([], [answer])
    assert await ground.sessions.get(session.session_id, NOW) is live
    assert 1 in live.consumed


@pytest.mark.parametrize(
    ("concentrator", "claimed", "good"),
    [(b"", b"", False), (b"\xf0" * 8, b"\xf0" * 8, False), (b"\xf0" * 8, b"its meter", True)],
)
async def test_a_device_message_after_14_minutes_is_taken_from_behind_a_concentrator_alone(
    ground: Ground, bench: Bench, concentrator: bytes, claimed: bytes, good: bool
) -> None:
    """What a concentrator says in its own name comes over IP, like a single device's."""
    run = (await bench.module(1)).run()
    _, (platform,) = await ground.send(run.hello(NOW))
    device = run.platform(platform, NOW)
    bench.clock.now += 14 * 60_000
    line = Line()
    refusals = await ground.handshakes.take(
        line, Arrival(device, "a", concentrator, claimed, bench.clock.now)
    )
    assert ([one.code for one in refusals], len(line.sent)) == (([], 1) if good else (["link.time-out"], 0))


async def test_session_does_not_leave_before_it_is_stored(ground: Ground, bench: Bench) -> None:
    run = (await bench.module(1)).run()
    _, (platform,) = await ground.send(run.hello(NOW))
    device = run.platform(platform, NOW)
    ground.platform.away = True
    line = Line()
    with pytest.raises(EngineError):
        await ground.handshakes.take(line, Arrival(device, "a", b"", b"", NOW))
    assert line.sent == []
    ground.platform.away = False
    codes, answers = await ground.send(device)
    assert (codes, len(answers)) == ([], 1)


async def test_a_hello_in_a_foreign_envelope_hears_nothing(ground: Ground, bench: Bench) -> None:
    run = (await bench.module(1)).run()
    assert await ground.send(run.hello(NOW), claimed=OTHER) == (["link.envelope"], [])


async def test_messages_of_the_platform_reflected_upward_hear_nothing(ground: Ground, bench: Bench) -> None:
    run = (await bench.module(1)).run()
    _, (platform,) = await ground.send(run.hello(NOW))
    assert await ground.send(platform) == (["link.kind"], [])


async def test_every_refusal_is_the_same_silence(ground: Ground, bench: Bench) -> None:
    module = await bench.module(1)
    hello = module.run().hello(NOW)
    stranger = Module(2)
    stranger.given, stranger.k_bound = module.given, module.k_bound
    for message in (
        hello[:-2] + b"\x01" + hello[-1:],
        hello[:-40] + bytes(40),
        stranger.run().hello(NOW),
        hello[:50],
    ):
        codes, answers = await ground.send(message)
        assert (len(codes), answers) == (1, [])


async def test_a_hello_over_a_way_that_proves_no_source_hears_retry_and_leaves_no_trace(
    ground: Ground, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    hello = (await bench.module(1)).run().hello(NOW)
    monkeypatch.delattr(SecuritySdk, "hello")  # nobody may be asked anything
    for number in range(300):
        codes, (answer,) = await ground.send(hello, source=f"forged {number}", proven=False)
        assert codes == []
        assert messages.kind_of(answer) == messages.RETRY
        assert len(answer) < len(hello)
    assert (len(ground.handshakes._by_source), len(ground.handshakes._by_device)) == (0, 0)


async def test_whoever_showed_nothing_draws_no_more_bytes_than_he_sent(ground: Ground, bench: Bench) -> None:
    """A forged address would else be flooded by us, with what its forger need not send himself."""
    for suite in (1, 2):
        hello = (await bench.module(suite, suite)).run().hello(NOW)
        _, answers = await ground.send(hello, source="forged", proven=False)
        assert sum(map(len, answers)) == 23
        assert len(hello) > 2 * 23
        for broken in (hello[:-1], hello[:40], hello + b"x", hello[:6]):
            _, answers = await ground.send(broken, source="forged", proven=False)
            assert answers == []


async def test_a_flood_over_one_way_takes_nothing_from_another(ground: Ground) -> None:
    forged = messages.MAGIC + bytes((messages.DEVICE,)) + (40).to_bytes(2) + bytes(40)
    for _ in range(1_500):
        await ground.send(forged, proven=False, way="coap")
    codes, _ = await ground.send(forged, proven=False, way="coap")
    assert codes == []  # over the limit it is not even looked at
    codes, _ = await ground.send(forged, proven=False, way="udp")
    assert codes != []


async def test_the_device_that_receives_there_sends_its_cookie_and_comes_through(
    ground: Ground, bench: Bench
) -> None:
    run = (await bench.module(1)).run()
    _, (retry,) = await ground.send(run.hello(NOW), proven=False)
    codes, (platform,) = await ground.send(run.retry(retry), proven=False)
    assert codes == []
    _, (session,) = await ground.send(run.platform(platform, NOW), proven=False)
    assert run.session(session, NOW).session_id in ground.platform.stored


async def test_a_flood_of_forged_device_messages_is_dropped_before_the_service_is_asked(
    ground: Ground, bench: Bench
) -> None:
    module = await bench.module(1, 2)
    run = module.run()
    _, (retry,) = await ground.send(run.hello(NOW), proven=False)
    _, (platform,) = await ground.send(run.retry(retry), proven=False)
    device = run.platform(platform, NOW)
    asked = 0
    for number in range(1_200):
        forged = device[:6] + number.to_bytes(8) + device[14:]
        codes, answers = await ground.send(forged, source=f"forged {number}", proven=False)
        assert not answers
        asked += bool(codes)
    assert asked == 1_000
    _, (session,) = await ground.send(device, at=NOW + 1_000, proven=False)
    assert run.session(session, NOW).session_id


@pytest.mark.parametrize("theft", ["another source", "another device", "an altered cookie", "of long ago"])
async def test_a_stolen_cookie_is_of_no_use(ground: Ground, bench: Bench, theft: str) -> None:
    run, other = (await bench.module(1)).run(), (await bench.module(2)).run()
    hello = run.hello(NOW)
    _, (retry,) = await ground.send(hello, proven=False)
    greeting, source, at = run.retry(retry), "a", NOW
    if theft == "another source":
        source = "b"
    elif theft == "another device":
        other.hello(NOW)
        greeting = other.retry(retry)
    elif theft == "an altered cookie":
        greeting = greeting[:-1] + bytes((greeting[-1] ^ 1,))
    else:
        at += 2 * GENERATION
    codes, (answer,) = await ground.send(greeting, source=source, at=at, proven=False)
    assert (codes, messages.kind_of(answer)) == ([], messages.RETRY)


async def test_a_cookie_outlives_one_change_of_the_secret(ground: Ground, bench: Bench) -> None:
    run = (await bench.module(1)).run()
    _, (retry,) = await ground.send(run.hello(NOW), proven=False)
    greeting = run.retry(retry)
    _, (answer,) = await ground.send(greeting, at=NOW + GENERATION, proven=False)
    assert messages.kind_of(answer) == messages.PLATFORM


async def test_under_load_every_hello_must_bring_a_cookie_and_who_does_is_served(
    ground: Ground, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [(await bench.module(number)).run() for number in (1, 2, 3)]
    gate, hello = asyncio.Event(), bench.headend.hello

    async def slow(message: bytes, source: str) -> object:
        await gate.wait()
        return await hello(message, source)

    monkeypatch.setattr(bench.headend, "hello", slow)
    waiting = [asyncio.create_task(ground.send(run.hello(NOW))) for run in runs[:2]]
    await asyncio.sleep(0)
    _, (retry,) = await ground.send(runs[2].hello(NOW))
    assert messages.kind_of(retry) == messages.RETRY
    waiting.append(asyncio.create_task(ground.send(runs[2].retry(retry))))
    gate.set()
    answers = [(await task)[1] for task in waiting]
    assert [messages.kind_of(answer) for (answer,) in answers] == [messages.PLATFORM] * 3
    _, (answer,) = await ground.send((await bench.module(4)).run().hello(NOW))
    assert messages.kind_of(answer) == messages.PLATFORM


async def test_hammering_one_device_is_limited_by_source_and_locks_nobody_out(
    ground: Ground, bench: Bench
) -> None:
    hello = (await bench.module(1)).run().hello(NOW)
    answers = [await ground.send(hello, source="attacker") for _ in range(30)]
    assert [codes for codes, _ in answers].count(["link.rate"]) >= 15
    codes, sent = await ground.send(hello, source="the meter")
    assert (codes, len(sent)) == ([], 1)
    codes, sent = await ground.send(hello, source="attacker", at=NOW + 60_000)
    assert (codes, len(sent)) == ([], 1)


@given(st.binary(max_size=200), st.sampled_from((b"MS", b"MS\x01", b"MS\x01\x01", b"MS\x01\x03")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
async def test_any_bytes_hear_nothing_and_raise_nothing(ground: Ground, rest: bytes, lead: bytes) -> None:
    codes, answers = await ground.send(lead + rest, source=rest.hex()[:8])
    assert (len(codes), answers) == (1, [])
