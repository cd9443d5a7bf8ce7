"""Who may not speak on the mesh, and what bytes may not do to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from pathlib import Path

import pytest

from meterseal.errors import EngineError, LocalError, MetersealError, TrustError
from meterseal.mesh.authority import Issuer, TlsDirectory, make_root
from meterseal.mesh.rpc import LARGEST, Connection, Server
from meterseal.mesh.tls import Files, client_context

from .conftest import NOW, PASSPHRASE, Ask, Desk, Say, Setup

DAY = 86_400_000


async def refused(context: ssl.SSLContext, port: int) -> bool:
    """Whether the server ends the link without a byte; a refused TLS 1.3 client has already connected."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    except (ssl.SSLError, OSError):
        return True
    try:
        writer.write(b"\x00\x00\x00\x05\x93\x01\xa4echo")
        await writer.drain()
        return await asyncio.wait_for(reader.read(1), 5) == b""
    except (ssl.SSLError, OSError):
        return True
    finally:
        writer.transport.abort()


def bare(setup: Setup) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(str(setup.tls.files("keys").root))
    return context


def written(directory: Path, identity: tuple[bytes, bytes], root: Path, name: str = "x") -> Files:
    files = Files(directory / f"{name}.crt", directory / f"{name}.key", root)
    files.certificate.write_bytes(identity[0])
    files.key.write_bytes(identity[1])
    return files


async def test_a_client_without_a_certificate(setup: Setup, server: Server, desk: Desk) -> None:
    assert await refused(bare(setup), server.port)
    assert desk.calls == []


async def test_a_client_under_another_root(setup: Setup, server: Server, desk: Desk, tmp_path: Path) -> None:
    foreign = Issuer(make_root(NOW, b"p"), b"p").process("headend", NOW, b"p")
    files = written(tmp_path, foreign, setup.tls.files("keys").root)
    assert await refused(client_context(files, b"p"), server.port)
    assert desk.calls == []


async def test_a_client_whose_certificate_has_ended(
    setup: Setup, server: Server, desk: Desk, tmp_path: Path
) -> None:
    ended = setup.tls.issuer(setup.passwords).process("headend", NOW - 800 * DAY, b"p")
    files = written(tmp_path, ended, setup.tls.files("keys").root)
    assert await refused(client_context(files, b"p"), server.port)
    assert desk.calls == []


async def test_a_concentrator_has_no_voice_among_processes(
    setup: Setup, server: Server, desk: Desk, tmp_path: Path
) -> None:
    own = setup.tls.issuer(setup.passwords).concentrator(bytes.fromhex("f000000000000001"), NOW, b"p")
    files = written(tmp_path, own, setup.tls.files("keys").root)
    assert await refused(client_context(files, b"p"), server.port)
    assert desk.calls == []


async def test_a_leaf_used_as_an_issuer(setup: Setup, server: Server, tmp_path: Path) -> None:
    passwords = setup.passwords
    leaf = (setup.tls.files("web").certificate.read_bytes(), setup.tls.files("web").key.read_bytes())
    from meterseal.mesh.authority import Identity

    forged = Issuer(Identity(*leaf), passwords.of("web")).process("headend", NOW, b"p")
    chained = (forged.certificate + leaf[0], forged.key)
    files = written(tmp_path, chained, setup.tls.files("keys").root)
    assert await refused(client_context(files, b"p"), server.port)


async def test_tls_1_2_is_not_spoken(setup: Setup, server: Server) -> None:
    context = client_context(setup.tls.files("headend"), setup.passwords.of("headend"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, OSError)):
        await asyncio.open_connection("127.0.0.1", server.port, ssl=context)


async def test_another_process_in_the_servers_place(setup: Setup, desk: Desk) -> None:
    impostor = await setup.serve(desk.methods(), name="web")
    rpc = setup.client("headend", impostor, to="keys")
    with pytest.raises(TrustError) as caught:
        await rpc.call("echo", Ask("for keys only"), Say)
    assert caught.value.code == "mesh.peer-name"
    assert desk.calls == []
    await impostor.close()


async def test_a_server_under_another_root(setup: Setup, desk: Desk, tmp_path: Path) -> None:
    foreign = Setup(tmp_path / "foreign")
    impostor = await foreign.serve(desk.methods())
    rpc = setup.client("headend", impostor)
    with pytest.raises(TrustError) as caught:
        await rpc.call("echo", Ask("for ours only"), Say)
    assert caught.value.code == "mesh.peer-certificate"
    assert desk.calls == []
    await impostor.close()


async def test_a_refused_client_learns_it_from_its_first_call(
    setup: Setup, server: Server, tmp_path: Path
) -> None:
    foreign = Issuer(make_root(NOW, b"p"), b"p").process("headend", NOW, b"p")
    files = written(tmp_path, foreign, setup.tls.files("keys").root)
    rpc = Connection.tls("keys", "127.0.0.1", server.port, client_context(files, b"p"), patience=1, timeout=3)
    with pytest.raises(EngineError) as caught:
        await rpc.call("echo", Ask(), Say)
    assert caught.value.code == "mesh.unreachable"


@pytest.mark.parametrize(
    "attack",
    [
        (LARGEST + 1).to_bytes(4) + b"x",
        b"\xff\xff\xff\xff",
        bytes(4),
        b"\x00\x00\x00\x08" + b"\xc1" * 8,
        b"\x00\x00\x00\x10" + b"\x91" * 16,
        b"\x00\x00\x00\x02\x91\x01",
        os.urandom(4096),
    ],
    ids=["oversize", "huge", "empty", "garbage", "nesting", "half a request", "noise"],
)
async def test_bytes_that_are_no_call_end_only_their_own_link(
    setup: Setup, server: Server, desk: Desk, attack: bytes
) -> None:
    good = setup.client("platform", server)
    assert (await good.call("echo", Ask("before"), Say)).text == "platform: before"
    context = client_context(setup.tls.files("headend"), setup.passwords.of("headend"))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    writer.write(attack)
    if attack[:1] not in (b"\x00", b"\xff"):
        writer.write_eof() if writer.can_write_eof() else writer.transport.abort()
    with contextlib.suppress(OSError, ssl.SSLError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.transport.abort()
    assert (await good.call("echo", Ask("after"), Say)).text == "platform: after"
    assert desk.calls == ["platform", "platform"]
    await good.close()


async def test_a_server_that_answers_noise_gives_an_error_and_no_traceback(setup: Setup) -> None:
    from meterseal.mesh.tls import server_context

    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x00\x00\x00\x04\xc1\xc1\xc1\xc1")
        await writer.drain()

    context = server_context(setup.tls.files("keys"), setup.passwords.of("keys"))
    liar = await asyncio.start_server(noise, "127.0.0.1", 0, ssl=context)
    port = liar.sockets[0].getsockname()[1]
    rpc = Connection.tls(
        "keys", "127.0.0.1", port, client_context(setup.tls.files("web"), setup.passwords.of("web"))
    )
    with pytest.raises(MetersealError) as caught:
        await rpc.call("echo", Ask(), Say)
    assert caught.value.code == "mesh.unreachable"
    await rpc.close()
    liar.close()


def test_a_wrong_passphrase_is_named_and_nothing_is_asked_on_the_terminal(setup: Setup) -> None:
    for password in (b"", b"wrong"):
        with pytest.raises(TrustError) as caught:
            client_context(setup.tls.files("keys"), password)
        assert caught.value.code == "mesh.passphrase"
    passwords = setup.tls.open(b"another passphrase")
    with pytest.raises(TrustError) as caught:
        setup.tls.issuer(passwords)
    assert caught.value.code == "mesh.passphrase"


def test_one_process_cannot_open_the_key_of_another(setup: Setup) -> None:
    with pytest.raises(TrustError):
        client_context(setup.tls.files("keys"), setup.passwords.of("web"))


def test_no_private_key_and_no_password_lies_open_in_the_directory(setup: Setup) -> None:
    for path in setup.tls.directory.iterdir():
        content = path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
        assert PASSPHRASE not in content
        assert b"BEGIN PRIVATE KEY" not in content
        assert b"BEGIN EC PRIVATE KEY" not in content
    assert repr(setup.passwords) == "Passwords()"


def test_certificates_near_their_end_are_renewed_and_others_stay(tmp_path: Path) -> None:
    tls = TlsDirectory(tmp_path / "tls")
    passwords = tls.provision(PASSPHRASE, NOW)
    before = tls.files("keys").certificate.read_bytes()
    assert tls.renew(passwords, NOW + 300 * DAY) == []
    assert tls.files("keys").certificate.read_bytes() == before
    assert tls.renew(passwords, NOW + 350 * DAY) == ["keys", "headend", "platform", "web"]
    assert tls.files("keys").certificate.read_bytes() != before
    client_context(tls.files("keys"), passwords.of("keys"))


def test_provisioning_again_keeps_what_is_there(tmp_path: Path) -> None:
    tls = TlsDirectory(tmp_path / "tls")
    tls.provision(PASSPHRASE, NOW)
    kept = {path.name: path.read_bytes() for path in tls.directory.iterdir()}
    tls.provision(PASSPHRASE, NOW)
    assert {path.name: path.read_bytes() for path in tls.directory.iterdir()} == kept


def test_names_outside_the_list_get_no_certificate(setup: Setup) -> None:
    issuer = setup.tls.issuer(setup.passwords)
    with pytest.raises(LocalError):
        issuer.process("operator", NOW, b"p")
    with pytest.raises(LocalError):
        issuer.concentrator(bytes.fromhex("d700000000000001"), NOW, b"p")


def test_a_directory_that_was_never_set_up_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as caught:
        TlsDirectory(tmp_path).open(PASSPHRASE)
    assert caught.value.code == "mesh.files"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; run as an ordinary account")
def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EngineError) as caught:
        TlsDirectory(tmp_path / "tls").provision(PASSPHRASE, NOW)
    assert caught.value.code == "mesh.disk"
