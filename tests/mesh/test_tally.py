"""What the mesh refuses is in the audit trail: every kind, at once and then as counts, however much of it comes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from meterseal.app.platform import told
from meterseal.errors import ConsentError, EngineError, PeerError
from meterseal.mesh.authority import Issuer, make_root
from meterseal.mesh.client import Connection
from meterseal.mesh.rpc import LARGEST, Refused, Server, Tally, serve, serve_unix
from meterseal.mesh.tally import MINUTE, MOST_KINDS, OTHERS, SENTENCES
from meterseal.mesh.tls import client_context, server_context
from meterseal.things.monitor import AuditLog
from tests.control_store import control_at

from .conftest import NOW, Ask, Desk, Say, Setup
from .test_attacks import bare, refused, written


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Trail:
    """What was written, as a trail would have it."""

    def __init__(self) -> None:
        self.entries: list[Refused] = []
        self.away = False

    async def __call__(self, given: list[Refused]) -> None:
        if self.away:
            raise EngineError("security.disk", "The disk is full.")
        self.entries += given


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tally(clock: Clock) -> Tally:
    return Tally(clock)


@pytest.fixture
async def watched(setup: Setup, desk: Desk, tally: Tally) -> AsyncIterator[Server]:
    context = server_context(setup.tls.files("keys"), setup.passwords.of("keys"))
    running = await serve(desk.methods(), host="127.0.0.1", port=0, context=context, tally=tally)
    yield running
    await running.close()


async def noted(tally: Tally) -> list[Refused]:
    """What is due within a short while."""
    for _ in range(200):
        found = tally.due()
        if found:
            return found
        await asyncio.sleep(0.01)
    return []


async def without_certificate(setup: Setup, server: Server, folder: Path) -> None:
    assert await refused(bare(setup), server.port)


async def under_another_root(setup: Setup, server: Server, folder: Path) -> None:
    foreign = Issuer(make_root(NOW, b"p"), b"p").process("headend", NOW, b"p")
    files = written(folder, foreign, setup.tls.files("keys").root)
    assert await refused(client_context(files, b"p"), server.port)


async def no_tls(setup: Setup, server: Server, folder: Path) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    with contextlib.suppress(OSError):
        await reader.read()
    writer.close()


async def as_concentrator(setup: Setup, server: Server, folder: Path) -> None:
    own = setup.tls.issuer(setup.passwords).concentrator(bytes.fromhex("f000000000000001"), NOW, b"p")
    files = written(folder, own, setup.tls.files("keys").root)
    assert await refused(client_context(files, b"p"), server.port)


async def raw(setup: Setup, server: Server, message: bytes) -> None:
    context = client_context(setup.tls.files("headend"), setup.passwords.of("headend"))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    writer.write(message)
    with contextlib.suppress(OSError, ssl.SSLError):
        await asyncio.wait_for(reader.read(), 5)
    writer.transport.abort()


async def oversized(setup: Setup, server: Server, folder: Path) -> None:
    await raw(setup, server, (LARGEST + 1).to_bytes(4) + b"x")


async def no_request(setup: Setup, server: Server, folder: Path) -> None:
    await raw(setup, server, b"\x00\x00\x00\x08" + b"\xc1" * 8)


async def called(setup: Setup, server: Server, method: str, kind: type[Exception], ask: Ask) -> None:
    rpc = setup.client("headend", server)
    with pytest.raises(kind):
        await rpc.call(method, ask, Say)
    await rpc.close()


async def unknown(setup: Setup, server: Server, folder: Path) -> None:
    await called(setup, server, "no-such-method", ConsentError, Ask())


async def forbidden(setup: Setup, server: Server, folder: Path) -> None:
    await called(setup, server, "platform-only", ConsentError, Ask())


async def of_another_form(setup: Setup, server: Server, folder: Path) -> None:
    await called(setup, server, "echo", PeerError, Ask(text=b"bytes"))  # type: ignore[arg-type]


Attack = Callable[[Setup, Server, Path], Awaitable[None]]


@pytest.mark.parametrize(
    ("attack", "code", "caller", "method"),
    [
        (without_certificate, "mesh.no-certificate", "", ""),
        (under_another_root, "mesh.certificate", "", ""),
        (no_tls, "mesh.handshake", "", ""),
        (as_concentrator, "mesh.caller", "", ""),
        (oversized, "mesh.frame", "headend", ""),
        (no_request, "mesh.message", "headend", ""),
        (unknown, "mesh.denied", "headend", ""),
        (forbidden, "mesh.denied", "headend", "platform-only"),
        (of_another_form, "mesh.message", "headend", "echo"),
    ],
)
async def test_a_refusal_of_the_mesh_is_due_at_once(
    setup: Setup,
    watched: Server,
    tally: Tally,
    tmp_path: Path,
    attack: Attack,
    code: str,
    caller: str,
    method: str,
) -> None:
    await attack(setup, watched, tmp_path)
    (entry,) = await noted(tally)
    assert (entry.code, entry.caller, entry.method, entry.times) == (code, caller, method, 1)
    assert entry.source == "127.0.0.1"
    assert SENTENCES[code] in entry.sentence


async def test_another_account_at_the_operators_socket(
    desk: Desk, tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterseal.mesh.server._same_account", lambda writer: False)
    running = await serve_unix(desk.methods(), tmp_path / "s", tally=tally)
    rpc = Connection.unix(tmp_path / "s", patience=0.5)
    with pytest.raises(EngineError):
        await rpc.call("echo", Ask(), Say)
    (entry,) = await noted(tally)
    assert entry.code == "mesh.account"
    await rpc.close()
    await running.close()


def test_a_flood_is_one_entry_at_once_and_one_count_for_each_minute(tally: Tally, clock: Clock) -> None:
    for _ in range(100_000):
        tally.note("mesh.no-certificate", source="10.0.0.1")
    assert [one.times for one in tally.due()] == [1]
    assert tally.due() == []
    clock.now += MINUTE
    (count,) = tally.due()
    assert (count.times, count.since, count.until) == (99_999, NOW, clock.now)
    assert "99999 times" in count.sentence
    clock.now += MINUTE
    assert tally.due() == []  # a silent minute is none of the trail's
    tally.note("mesh.no-certificate")
    assert [one.times for one in tally.due()] == [1]  # and begins anew


def test_however_many_kinds_come_a_minute_has_a_bounded_number_of_entries(tally: Tally, clock: Clock) -> None:
    entries: list[Refused] = []
    for _ in range(10):
        for number in range(5000):
            tally.note("mesh.denied", caller=f"caller {number}")
            tally.note("mesh.denied", caller=f"caller {number}")
        entries += tally.due()
        clock.now += MINUTE
    entries += tally.due(ending=True)
    assert sum(one.times for one in entries) == 100_000
    assert max(one.times for one in entries if one.code == OTHERS) > 9000
    assert len(entries) <= 11 * (MOST_KINDS + 1)


def test_every_refusal_is_counted_once(tally: Tally, clock: Clock) -> None:
    total = 0
    for step in range(1000):
        tally.note("mesh.denied", caller=f"caller {step % 90}")
        clock.now += 977
        total += sum(one.times for one in tally.due())
    assert total + sum(one.times for one in tally.due(ending=True)) == 1000


def test_long_names_are_cut(tally: Tally) -> None:
    tally.note("mesh.denied", caller="x" * 100_000, method="y" * 100_000, source="z" * 100_000)
    (entry,) = tally.due()
    assert max(len(entry.caller), len(entry.method), len(entry.source)) <= 64


async def test_a_trail_that_is_away_has_it_later_and_the_end_leaves_nothing_behind(
    tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterseal.mesh.tally._LOOK", 0.01)
    trail = Trail()
    trail.away = True
    reporting = asyncio.create_task(tally.report(trail))
    tally.note("mesh.denied")
    tally.note("mesh.denied")
    await asyncio.sleep(0.05)
    assert trail.entries == []
    trail.away = False
    for _ in range(200):
        if trail.entries:
            break
        await asyncio.sleep(0.01)
    assert [one.times for one in trail.entries] == [1]
    reporting.cancel()
    await asyncio.wait([reporting])
    assert [one.times for one in trail.entries] == [1, 1]


async def test_calls_are_answered_while_a_flood_is_refused(
    setup: Setup, watched: Server, tally: Tally
) -> None:
    """Noting a refusal waits for nothing: the trail is slow here, and nobody notices."""

    begun: list[Refused] = []

    async def slow(given: list[Refused]) -> None:
        begun.extend(given)
        await asyncio.sleep(30)

    reporting = asyncio.create_task(tally.report(slow))
    good, bad = setup.client("headend", watched), setup.client("headend", watched)
    flood = asyncio.gather(*(bad.call("no", Ask(), Say) for _ in range(500)), return_exceptions=True)
    assert (await good.call("echo", Ask("still"), Say)).text == "headend: still"
    assert {type(one) for one in await flood} == {ConsentError}
    assert [one.times for one in begun] == [1]
    assert sum(one.times for one in tally.due(ending=True)) == 499
    reporting.cancel()
    await good.close()
    await bad.close()


async def test_the_platforms_trail_takes_them_into_its_chain(tally: Tally, tmp_path: Path) -> None:
    engine = control_at(tmp_path / "control.db")
    audit = AuditLog(engine)
    tally.note("mesh.no-certificate", source="192.0.2.7")
    tally.note("mesh.denied", "web", "session_put")
    await told(audit, tally.due())
    newest, first = audit.latest()
    assert (first.code, first.source) == ("mesh.no-certificate", "192.0.2.7")
    assert (newest.code, newest.source) == ("mesh.denied", "web")
    assert "session_put" in newest.sentence
    assert audit.verify() == 2
    engine.dispose()
