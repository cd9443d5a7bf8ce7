"""The head-end's sockets, over real ones: framing, garbage, peers that do not read, very many connections, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from meterseal.errors import EngineError
from meterseal.headend import tcp
from meterseal.headend.tcp import HIGH_WATER, Listener, Stream, concentrator_of
from meterseal.link.transport import LONGEST_MESSAGE, frame_message, pack_envelope
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.tls import Files, client_context, server_context
from tests.headend.ground import MASTER, WATER
from tests.mesh.conftest import NOW, PASSPHRASE


class Ground:
    """One listener and everything it received."""

    def __init__(self, **how: object) -> None:
        self.received: list[tuple[bytes, bytes]] = []
        self.links: list[Stream] = []
        self.listener = Listener(self._receive, **({"tls": None} | how))  # type: ignore[arg-type]
        self.port = 0

    def _receive(self, link: Stream, claimed: bytes, message: bytes) -> None:
        self.links.append(link)
        self.received.append((claimed, message))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.received) < count:
                await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def listening(**how: object) -> AsyncIterator[Ground]:
    ground = Ground(**how)
    ground.port = await ground.listener.start("127.0.0.1", 0)
    try:
        yield ground
    finally:
        await ground.listener.stop()


async def gone(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(5):
            return await reader.read(1) == b""
    except ConnectionError:
        return True


async def test_messages_in_any_pieces_arrive_whole_and_in_order() -> None:
    async with listening() as ground:
        _, writer = await ground.connect()
        stream = frame_message(b"one") + frame_message(b"two") + frame_message(b"x" * LONGEST_MESSAGE)
        for at in range(0, len(stream), 700):
            writer.write(stream[at : at + 700])
            await writer.drain()
        await ground.until(3)
        assert ground.received == [(b"", b"one"), (b"", b"two"), (b"", b"x" * LONGEST_MESSAGE)]
        assert ground.links[0].source == "127.0.0.1"


async def test_an_answer_goes_back_behind_its_length() -> None:
    async with listening() as ground:
        reader, writer = await ground.connect()
        writer.write(frame_message(b"one"))
        await ground.until(1)
        ground.links[0].send(WATER, b"answer")
        assert await reader.readexactly(8) == b"\x00\x06answer"


@pytest.mark.parametrize(
    "garbage", [b"\x00\x00", b"\xff\xff", b"GET / HTTP/1.1\r\n", (LONGEST_MESSAGE + 1).to_bytes(2)]
)
async def test_a_length_that_no_message_has_ends_the_connection(garbage: bytes) -> None:
    async with listening() as ground:
        reader, writer = await ground.connect()
        writer.write(garbage)
        assert await gone(reader)
        assert (ground.received, ground.listener.links) == ([], set())


async def test_a_message_cut_off_by_the_end_of_the_stream_is_dropped() -> None:
    async with listening() as ground:
        reader, writer = await ground.connect()
        writer.write(frame_message(b"whole") + b"\x00\x10half")
        writer.write_eof()
        await ground.until(1)
        assert await gone(reader)
        assert [message for _, message in ground.received] == [b"whole"]


async def test_a_peer_that_does_not_read_is_dropped_and_memory_stays_bounded() -> None:
    async with listening() as ground:
        _, writer = await ground.connect()
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.pause_reading()
        writer.write(frame_message(b"one"))
        await ground.until(1)
        link = ground.links[0]
        transport = link._transport
        assert transport is not None
        for _ in range(20_000):
            link.send(WATER, bytes(4000))
            assert transport.get_write_buffer_size() <= HIGH_WATER + 8192
            if transport.is_closing():
                break
        assert transport.is_closing()
        link.send(WATER, b"into nothing")
        writer.transport.abort()


async def test_one_who_opens_very_many_connections_pushes_out_his_own() -> None:
    async with listening(limit=20) as ground:
        pairs = [await ground.connect() for _ in range(30)]
        reader, writer = await ground.connect()
        writer.write(frame_message(b"served"))
        await ground.until(1)
        assert len(ground.listener.links) <= 20
        assert await gone(pairs[0][0])
        for _, other in [*pairs, (reader, writer)]:
            other.transport.abort()


async def test_a_pause_holds_for_connections_that_come_later_too() -> None:
    async with listening() as ground:
        _, early = await ground.connect()
        await asyncio.sleep(0.01)
        ground.listener.pause(True)
        _, late = await ground.connect()
        for writer in (early, late):
            writer.write(frame_message(b"waits"))
            await writer.drain()
        await asyncio.sleep(0.05)
        assert ground.received == []
        ground.listener.pause(False)
        await ground.until(2)


async def test_a_busy_port_is_said_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(EngineError) as refused:
            await Listener(lambda *_: None, tls=None).start("127.0.0.1", taken.getsockname()[1])
        assert refused.value.code == "headend.port"


# --- concentrators -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls_directory(tmp_path_factory: pytest.TempPathFactory) -> tuple[TlsDirectory, bytes, Files]:
    directory = TlsDirectory(tmp_path_factory.mktemp("tls"))
    passwords = directory.provision(PASSPHRASE, NOW)
    made = directory.issuer(passwords).concentrator(MASTER, NOW, b"its own")
    folder = tmp_path_factory.mktemp("master")
    (folder / "crt").write_bytes(made.certificate)
    (folder / "key").write_bytes(made.key)
    files = Files(folder / "crt", folder / "key", directory.files("root").root)
    return directory, passwords.of("headend"), files


Tls = tuple[TlsDirectory, bytes, Files]


async def test_a_concentrator_speaks_for_devices_in_envelopes(tls_directory: Tls) -> None:
    directory, password, files = tls_directory
    context = server_context(directory.files("headend"), password)
    async with listening(tls=context) as ground:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", ground.port, ssl=client_context(files, b"its own")
        )
        writer.write(frame_message(pack_envelope(WATER, b"hello")))
        await ground.until(1)
        assert ground.received == [(WATER, b"hello")]
        assert ground.links[0].concentrator_id == MASTER
        ground.links[0].send(WATER, b"back")
        assert await reader.readexactly(17) == frame_message(pack_envelope(WATER, b"back"))
        writer.write(frame_message(b"no envelope, but long enough"))
        assert await gone(reader)


async def test_a_process_is_no_concentrator(tls_directory: Tls) -> None:
    directory, password, _ = tls_directory
    context = server_context(directory.files("headend"), password)
    async with listening(tls=context) as ground:
        ours = client_context(directory.files("headend"), password)
        reader, writer = await asyncio.open_connection("127.0.0.1", ground.port, ssl=ours)
        writer.write(frame_message(pack_envelope(WATER, b"hello")))
        assert await gone(reader)
        assert (ground.received, ground.listener.links) == ([], set())


async def test_handshakes_that_fail_leave_no_place_taken(
    tls_directory: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "HANDSHAKE_WITHIN", 0.3)
    directory, password, files = tls_directory
    context = server_context(directory.files("headend"), password)
    async with listening(tls=context, limit=5) as ground:
        for _ in range(5):
            reader, writer = await ground.connect()
            writer.write(b"this is no TLS at all\r\n\r\n")
            assert await gone(reader)
        await asyncio.sleep(0.5)
        _, writer = await asyncio.open_connection(
            "127.0.0.1", ground.port, ssl=client_context(files, b"its own")
        )
        writer.write(frame_message(pack_envelope(WATER, b"served")))
        await ground.until(1)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("urn:meterseal:concentrator:f000000000000001", MASTER),
        ("urn:meterseal:concentrator:f0", b""),
        ("urn:meterseal:concentrator:zz", b""),
        ("urn:meterseal:process:headend", b""),
    ],
)
def test_only_a_whole_concentrator_id_names_one(uri: str, found: bytes) -> None:
    assert concentrator_of({"subjectAltName": (("DNS", "x"), ("URI", uri))}) == found


def test_no_certificate_names_nobody() -> None:
    assert concentrator_of(None) == concentrator_of({}) == b""
