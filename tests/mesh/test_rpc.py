"""Calls between processes: what is answered, what is refused, what a lost link looks like."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from meterseal.errors import ConsentError, EngineError, LocalError, PeerError, TrustError
from meterseal.mesh.rpc import LARGEST, OPERATOR, Connection, InProcess, Method, Rpc, Server, serve_unix

from .conftest import Ask, Desk, Say, Setup


@pytest.fixture(params=["in process", "tls", "unix"])
async def rpc(
    request: pytest.FixtureRequest, setup: Setup, desk: Desk, server: Server, tmp_path: Path
) -> Rpc:
    if request.param == "in process":
        return InProcess(desk.methods(), "headend")
    if request.param == "tls":
        return setup.client("headend", server)
    await serve_unix(desk.methods(), tmp_path / "s", caller="headend")
    return Connection.unix(tmp_path / "s")


async def test_a_call_is_answered_and_names_its_caller(rpc: Rpc) -> None:
    assert await rpc.call("echo", Ask("hi", b"\x00\xff"), Say) == Say("headend: hi", b"\x00\xff")


async def test_an_error_crosses_with_kind_code_and_sentence(rpc: Rpc) -> None:
    with pytest.raises(TrustError) as caught:
        await rpc.call("refuse", Ask(), Say)
    assert (caught.value.code, caught.value.message) == ("desk.no", "No, and this is why.")


async def test_a_method_for_others_and_an_unknown_one_are_refused_alike(rpc: Rpc, desk: Desk) -> None:
    answers = []
    for method in ("platform-only", "no-such-method"):
        with pytest.raises(ConsentError) as caught:
            await rpc.call(method, Ask(), Say)
        answers.append((caught.value.code, caught.value.message))
    assert answers[0] == answers[1]
    assert answers[0][0] == "mesh.denied"
    assert desk.calls == []


async def test_an_unexpected_exception_crosses_without_its_text(
    rpc: Rpc, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EngineError) as caught:
        await rpc.call("break", Ask("planted-payload"), Say)
    assert caught.value.code == "mesh.internal"
    logged = "".join(capfd.readouterr())
    assert "mesh.internal" in logged
    assert "planted-payload" not in logged + repr(caught.value)


async def test_a_request_of_another_form_is_refused_without_quoting_it(rpc: Rpc) -> None:
    class Odd(Ask.__base__, frozen=True):  # type: ignore[call-arg,name-defined,misc]
        text: int = 77

    with pytest.raises(PeerError) as caught:
        await rpc.call("echo", Odd(), Say)
    assert caught.value.code == "mesh.message"
    assert "77" not in caught.value.message


async def test_many_calls_in_flight_are_matched(setup: Setup, server: Server) -> None:
    rpc = setup.client("platform", server)
    answers = await asyncio.gather(*(rpc.call("echo", Ask(str(n)), Say) for n in range(300)))
    assert [a.text for a in answers] == [f"platform: {n}" for n in range(300)]
    await rpc.close()


async def test_a_slow_call_does_not_hold_up_others(setup: Setup, server: Server, desk: Desk) -> None:
    rpc = setup.client("headend", server)
    slow = asyncio.create_task(rpc.call("wait", Ask("slow"), Say))
    assert (await rpc.call("echo", Ask("fast"), Say)).text == "headend: fast"
    assert not slow.done()
    desk.release.set()
    assert (await slow).text == "slow"
    await rpc.close()


async def test_a_caller_that_floods_waits_and_is_still_answered(
    setup: Setup, server: Server, desk: Desk
) -> None:
    rpc = setup.client("headend", server)
    flood = [asyncio.create_task(rpc.call("wait", Ask(str(n)), Say)) for n in range(200)]
    other = setup.client("platform", server)
    assert (await other.call("echo", Ask("me too"), Say)).text == "platform: me too"
    desk.release.set()
    assert [a.text for a in await asyncio.gather(*flood)] == [str(n) for n in range(200)]
    await rpc.close()
    await other.close()


async def test_no_answer_in_time_is_unreachable(setup: Setup, server: Server) -> None:
    rpc = setup.client("headend", server, timeout=0.2)
    with pytest.raises(EngineError) as caught:
        await rpc.call("wait", Ask(), Say)
    assert caught.value.code == "mesh.unreachable"
    assert (await rpc.call("echo", Ask("after"), Say)).text == "headend: after"
    await rpc.close()


async def test_nobody_listening_is_unreachable(setup: Setup, desk: Desk) -> None:
    gone = await setup.serve(desk.methods())
    port_holder = setup.client("headend", gone, patience=0.3)
    await gone.close()
    with pytest.raises(EngineError) as caught:
        await port_holder.call("echo", Ask(), Say)
    assert caught.value.code == "mesh.unreachable"


async def test_a_restarted_process_is_found_again(setup: Setup, desk: Desk) -> None:
    first = await setup.serve(desk.methods())
    rpc = setup.client("headend", first)
    assert (await rpc.call("echo", Ask("1"), Say)).text == "headend: 1"
    port = first.port
    lost = asyncio.create_task(rpc.call("wait", Ask("lost"), Say))
    await asyncio.sleep(0.05)
    await first.close(grace=0.1)
    with pytest.raises(EngineError) as caught:
        await lost
    assert caught.value.code == "mesh.unreachable"
    later = asyncio.create_task(rpc.call("echo", Ask("2"), Say))  # asked while nobody listens
    await asyncio.sleep(0.1)
    second = await setup.serve(desk.methods(), port=port)
    assert (await later).text == "headend: 2"
    await rpc.close()
    await second.close()


async def test_a_busy_port_is_one_clear_sentence(setup: Setup, desk: Desk, server: Server) -> None:
    with pytest.raises(EngineError) as caught:
        await setup.serve(desk.methods(), port=server.port)
    assert caught.value.code == "mesh.port-busy"
    assert str(server.port) in caught.value.message


async def test_a_request_above_16_mib_does_not_leave(setup: Setup, server: Server) -> None:
    rpc = setup.client("headend", server)
    with pytest.raises(LocalError) as caught:
        await rpc.call("echo", Ask("", bytes(LARGEST)), Say)
    assert caught.value.code == "mesh.too-large"
    assert (await rpc.call("echo", Ask("", bytes(1 << 20)), Say)).blob == bytes(1 << 20)
    await rpc.close()


async def test_an_answer_above_16_mib_is_an_error_and_not_a_broken_link(setup: Setup, server: Server) -> None:
    rpc = setup.client("headend", server)
    with pytest.raises(LocalError) as caught:
        await rpc.call("huge", Ask(), Say)
    assert caught.value.code == "mesh.too-large"
    await rpc.close()


async def test_the_operators_socket_is_for_our_account_only(desk: Desk, tmp_path: Path) -> None:
    operator_only = {"echo": Method(desk.echo, Ask, frozenset({OPERATOR}))}
    path = tmp_path / "control.sock"
    running = await serve_unix(operator_only, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    rpc = Connection.unix(path)
    assert (await rpc.call("echo", Ask("x"), Say)).text == "operator: x"
    with pytest.raises(EngineError) as caught:
        await serve_unix(operator_only, path)
    assert caught.value.code == "mesh.port-busy"
    assert (await rpc.call("echo", Ask("still here"), Say)).text == "operator: still here"
    await rpc.close()
    await running.close()
    assert not path.exists()


async def test_a_socket_left_by_a_killed_process_is_replaced(desk: Desk, tmp_path: Path) -> None:
    import socket

    path = tmp_path / "control.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    running = await serve_unix({"echo": Method(desk.echo, Ask, frozenset({OPERATOR}))}, path)
    rpc = Connection.unix(path)
    assert (await rpc.call("echo", Ask("x"), Say)).text == "operator: x"
    await rpc.close()
    await running.close()


async def test_a_socket_path_too_long_for_the_system_is_named(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(LocalError) as caught:
        await serve_unix(desk.methods(), tmp_path / ("d" * 120))
    assert caught.value.code == "mesh.path"
