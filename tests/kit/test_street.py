"""Both programs of the field as processes: kill -9 in any order, clean ends, and what they were told to
write.
"""

from __future__ import annotations

import asyncio
import csv
import json
import random
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterseal.crypto import certificates, sm2
from meterseal.crypto.expose import expose
from meterseal.edge import making
from meterseal.errors import MetersealError
from meterseal.kit import factory
from meterseal.kit.plan import StreetPlan, make_plan
from meterseal.kit.profiles import DAY, HOUR
from meterseal.link import evidence
from meterseal.link.transport import MessageReader, frame_message, pack_envelope, unpack_envelope
from meterseal.mesh.authority import Issuer, make_root
from meterseal.mesh.tls import Files, server_context
from meterseal.security.messages import Personalisation
from meterseal.wire.meaning import interpret
from tests.crypto.pki import NOW, PROJECT
from tests.edge.platform import Enrolled, Platform

pytestmark = pytest.mark.timeout(120)


class HeadEnd(asyncio.Protocol):
    """The scripted platform behind a socket; `down` in it are the connections that stand."""

    def __init__(self, platform: Platform, links: set[HeadEnd]) -> None:
        self.platform, self.links = platform, links
        self.reader = MessageReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.links.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.links.discard(self)

    def data_received(self, data: bytes) -> None:
        for envelope in self.reader.feed(data):
            device, message = unpack_envelope(envelope)
            try:
                for answer in self.platform.receive(message):
                    self.transport.write(frame_message(pack_envelope(device, answer)))
            except (MetersealError, KeyError) as error:
                self.platform.refused.append(repr(error))


def personalisation(platform: Platform, made: making.Made) -> Personalisation:
    known = Enrolled(made.device_id, made.module_id, made.suite, made.point)
    platform.enrolled_modules[made.device_id] = known
    leaf = certificates.issue_leaf(
        platform.tree.device_ca,
        platform.tree.device_ca_key,
        point=made.point,
        name="device",
        purpose="device",
        uris=[certificates.uri("device", made.device_id), certificates.uri("module", made.module_id)],
        since=NOW - DAY,
        until=NOW + DAY,
    )
    return Personalisation(
        device_id=made.device_id,
        module_id=made.module_id,
        suite=made.suite,
        project_id=PROJECT,
        key_version=1,
        chain=(leaf, platform.tree.device_ca) if made.suite == 1 else (),
        root=platform.tree.root,
        envelope=sm2.encrypt(made.point, expose(known.bound) + expose(known.root)),
        check_value=b"123",
        bound_at=NOW,
    )


class Programs:
    """The two programs and the head-end on this machine."""

    def __init__(self, directory: Path, plan: StreetPlan) -> None:
        self.directory, self.plan = directory, plan
        self.platform = Platform()
        self.links: set[HeadEnd] = set()
        self.ports: list[int] = []
        self.port = 0
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.said: dict[str, dict[str, Any]] = {}
        (directory / "plan.json").write_bytes(msgspec.json.encode(plan))
        made = factory.manufacture(directory / "street", plan)
        making.personalise(directory / "street", [personalisation(self.platform, one) for one in made])
        gathering = factory.manufacture_concentrator(directory / "concentrator", plan)
        making.personalise(directory / "concentrator", [personalisation(self.platform, gathering)])

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: HeadEnd(self.platform, self.links), "127.0.0.1", self.port)
        self.server, self.port = server, server.sockets[0].getsockname()[1]

    def orders(self, name: str) -> dict[str, Any]:
        at = self.directory
        timing = {"repeat": 300, "slowest": 2000, "backoff": 100}
        if name == "street":
            return {
                "dir": str(at / "street"),
                "plan": str(at / "plan.json"),
                "registers": str(at / "registers.csv"),
                "record": str(at / "record.jsonl"),
                "usage_points": {self.plan.meters[0].device_id.hex(): "up-0"},
                "timing": timing,
            }
        risers: list[dict[str, Any]] = [{"port": port, "meters": []} for port in self.ports]
        for meter in self.plan.meters:
            risers[meter.riser]["meters"].append({"device_id": meter.device_id.hex()})
        return {
            "dir": str(at / "concentrator"),
            "device_id": self.plan.concentrator_id.hex(),
            "module_id": self.plan.concentrator_module.hex(),
            "headend_host": "127.0.0.1",
            "headend_port": self.port,
            "risers": risers,
            "backoff": {"first": 0.02, "longest": 0.2},
            "pace": {"answer": 300},
            "timing": timing,
        }

    async def start(self, name: str) -> dict[str, Any]:
        module = {"street": "meterseal.kit.street", "concentrator": "meterseal.kit.programs.concentrator"}[
            name
        ]
        process = self.running[name] = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(self.orders(name)).encode() + b"\n")
        said = json.loads(await process.stdout.readline())
        assert said.get("ready") == name, said
        asyncio.get_running_loop().create_task(self._listen(name, process.stdout))
        if name == "street":
            self.ports = said["ports"]
        return said

    async def _listen(self, name: str, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            self.said[name] = json.loads(line)

    async def kill(self, name: str) -> None:
        process = self.running[name]
        process.kill()
        await process.wait()

    async def delivered(self, within: float = 60.0) -> None:
        """Wait until every day is acknowledged."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while loop.time() < end:
            progress = self.said.get("street", {}).get("progress")
            if progress and progress["days"] == progress["of"] and not progress["waiting"]:
                return
            await asyncio.sleep(0.05)
        pytest.fail(f"not everything was delivered: {self.said}")

    def check(self) -> None:
        """What arrived equals the log of true registers, and every freeze is proved and chained."""
        with (self.directory / "registers.csv").open() as file:
            truth = {
                (row["meter"], int(row["end_at_ms"])): int(row["register"]) for row in csv.DictReader(file)
            }
        found: dict[tuple[str, int], int | None] = {}
        for device, frame in self.platform.frames:
            block = interpret(frame).interval
            for k, value in enumerate(block.registers if block else ()):
                assert block is not None
                assert found.setdefault((device.hex(), block.start_at + k * HOUR), value) == value
        hours = range(self.plan.since + HOUR, self.plan.until + 1, HOUR)
        for meter in self.plan.meters:
            for at in hours:
                assert found[meter.device_id.hex(), at] == truth[meter.device_id.hex(), at]
        assert len(found) == len(self.plan.meters) * len(hours)
        proved: dict[tuple[bytes, int], bytes] = {}
        for statement, signature in self.platform.statements:
            said = evidence.unpack(statement)
            assert self.platform.statement_holds(said.device_id, statement, signature)
            assert proved.setdefault((said.device_id, said.sequence), statement) == statement
            assert said.register == truth[said.device_id.hex(), said.end_at]
        assert len(proved) == len(self.plan.meters) * (self.plan.until - self.plan.since) // DAY

    async def stop(self) -> list[int | None]:
        for process in self.running.values():
            if process.returncode is None:
                process.terminate()
        codes = [await process.wait() for process in self.running.values()]
        self.server.close()
        return codes


Make = Callable[..., Awaitable[Programs]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    running: list[Programs] = []

    async def build(dwellings: int, days: int) -> Programs:
        programs = Programs(tmp_path, make_plan(until=NOW, dwellings=dwellings, days=days, risers=2))
        running.append(programs)
        await programs.serve()
        return programs

    yield build
    for programs in running:
        await programs.stop()


async def test_a_street_is_delivered_and_both_programs_end_cleanly(make: Make) -> None:
    programs = await make(2, 3)
    ready = await programs.start("street")
    assert (len(ready["ports"]), ready["meters"]) == (2, 8)
    await programs.start("concentrator")
    await programs.delivered()
    assert await programs.stop() == [0, 0]
    programs.check()
    recorded = [json.loads(line) for line in (programs.directory / "record.jsonl").read_text().splitlines()]
    assert recorded
    assert all(bytes.fromhex(one["message"])[:2] in (b"MS", b"MR") for one in recorded)
    with (programs.directory / "registers.csv").open() as file:
        row = next(csv.DictReader(file))
    assert row["usage_point"] == "up-0"
    assert row["end_at_ms"] == str(programs.plan.since)


async def test_kill_nine_of_either_program_at_any_moment_loses_and_doubles_nothing(make: Make) -> None:
    programs = await make(2, 8)
    chance = random.Random(4)
    await programs.start("street")
    await programs.start("concentrator")
    for _ in range(6):
        await asyncio.sleep(chance.uniform(0.0, 0.25))
        victims = chance.choice((["street"], ["concentrator"], ["street", "concentrator"]))
        for name in victims:
            await programs.kill(name)
        for name in victims:  # the same ports again, because the street keeps them
            ports = programs.ports
            await programs.start(name)
            assert programs.ports == ports
    await programs.delivered()
    programs.check()


async def test_the_head_end_may_go_and_come_back(make: Make) -> None:
    programs = await make(1, 10)
    await programs.start("street")
    await programs.start("concentrator")
    for _ in range(3):
        await asyncio.sleep(0.15)
        programs.server.close()
        for link in list(programs.links):
            link.transport.abort()
        await asyncio.sleep(0.1)
        await programs.serve()
    await programs.delivered()
    programs.check()


async def test_programs_end_when_their_parent_does(make: Make) -> None:
    programs = await make(1, 1)
    await programs.start("street")
    await programs.start("concentrator")
    for process in programs.running.values():
        assert process.stdin is not None
        process.stdin.close()
    async with asyncio.timeout(10):
        assert [await process.wait() for process in programs.running.values()] == [0, 0]


async def test_a_wrong_configuration_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"dir": str(tmp_path), "plan": str(tmp_path / "none")}))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "meterseal.kit.street",
        "--config",
        str(tmp_path / "config.json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 2
    assert json.loads(out)["failed"] == "kit.plan"
    assert b"Traceback" not in errors


def _tls(tmp_path: Path, process: str, concentrator: bytes) -> tuple[ssl.SSLContext, dict[str, str]]:
    """A server context with the certificate of `process`, and the files of a concentrator."""
    now = __import__("time").time_ns() // 1_000_000
    root = make_root(now, b"secret")
    issuer = Issuer(root, b"secret")
    (tmp_path / "root.pem").write_bytes(root.certificate)
    for name, identity in (
        ("server", issuer.process(process, now, b"secret")),
        ("client", issuer.concentrator(concentrator, now, b"secret")),
    ):
        (tmp_path / f"{name}.pem").write_bytes(identity.certificate)
        (tmp_path / f"{name}.key").write_bytes(identity.key)
    files = Files(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "root.pem")
    client = {
        "certificate": str(tmp_path / "client.pem"),
        "key": str(tmp_path / "client.key"),
        "root": str(tmp_path / "root.pem"),
        "password": "secret",
    }
    return server_context(files, b"secret"), client


@pytest.mark.parametrize(("process", "talks"), [("headend", True), ("web", False)])
async def test_the_concentrator_talks_to_a_verified_head_end_only(
    make: Make, tmp_path: Path, process: str, talks: bool
) -> None:
    programs = await make(1, 1)
    context, client = _tls(tmp_path, process, programs.plan.concentrator_id)
    programs.server.close()
    server = await asyncio.get_running_loop().create_server(
        lambda: HeadEnd(programs.platform, programs.links), "127.0.0.1", 0, ssl=context
    )
    programs.server, programs.port = server, server.sockets[0].getsockname()[1]
    orders = programs.orders
    programs.orders = lambda name: orders(name) | ({"tls": client} if name == "concentrator" else {})  # type: ignore[method-assign]
    await programs.start("street")
    await programs.start("concentrator")
    if talks:
        await programs.delivered()
        programs.check()
    else:
        await asyncio.sleep(0.7)
        assert not programs.platform.sessions
