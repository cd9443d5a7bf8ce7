"""Weaker links than ours: older TLS, other suites, no or wrong certificates; each is refused by the shipped contexts."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from meterseal.app.reach import Reach
from meterseal.errors import ConsentError, EngineError, MetersealError, TrustError
from meterseal.mesh.authority import Identity, Issuer, make_root
from meterseal.mesh.rpc import Connection, Server
from meterseal.mesh.tls import Files, Peer, client_context, peer_of, server_context

from .conftest import NOW, PASSPHRASE, Ask, Desk, Say, Setup
from .test_attacks import DAY, refused, written


async def handshake(port: int, context: ssl.SSLContext) -> tuple[str, bytes]:
    """Version and the server's certificate of one handshake."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    link = writer.get_extra_info("ssl_object")
    found = link.version(), link.getpeercert(binary_form=True)
    writer.transport.abort()
    return found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
async def test_a_client_that_speaks_only_older_tls(
    setup: Setup, server: Server, desk: Desk, version: ssl.TLSVersion
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = version
    files = setup.tls.files("headend")
    context.load_cert_chain(files.certificate, files.key, password=setup.passwords.of("headend"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    assert desk.calls == []


async def test_a_server_that_speaks_only_tls_1_2(setup: Setup, desk: Desk) -> None:
    context = server_context(setup.tls.files("keys"), setup.passwords.of("keys"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    old = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    port = old.sockets[0].getsockname()[1]
    own = client_context(setup.tls.files("headend"), setup.passwords.of("headend"))
    rpc = Connection.tls("keys", "127.0.0.1", port, own, patience=0.3)
    with pytest.raises(EngineError) as caught:
        await rpc.call("echo", Ask(), Say)
    assert caught.value.code == "mesh.unreachable"
    old.close()


async def test_a_server_whose_certificate_has_ended(setup: Setup, desk: Desk, tmp_path: Path) -> None:
    ended = setup.tls.issuer(setup.passwords).process("keys", NOW - 800 * DAY, b"p")
    files = written(tmp_path, ended, setup.tls.files("keys").root)
    running = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=server_context(files, b"p"))
    own = client_context(setup.tls.files("headend"), setup.passwords.of("headend"))
    rpc = Connection.tls("keys", "127.0.0.1", running.sockets[0].getsockname()[1], own)
    with pytest.raises(TrustError) as caught:
        await rpc.call("echo", Ask(), Say)
    assert caught.value.code == "mesh.peer-certificate"
    running.close()


async def test_a_process_under_another_processs_certificate_calls_under_that_name(
    setup: Setup, server: Server, desk: Desk
) -> None:
    web = setup.client("web", server)
    with pytest.raises(ConsentError):
        await web.call("echo", Ask("as web, which may not"), Say)
    assert desk.calls == []
    await web.close()


@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["urn:meterseal:process:operator"],
        ["urn:meterseal:process:"],
        ["urn:meterseal:process:keys", "urn:meterseal:process:platform"],
        ["urn:meterseal:concentrator:f0"],
        ["urn:meterseal:concentrator:F000000000000001"],
        ["urn:elsewhere:process:keys"],
    ],
)
async def test_a_certificate_of_ours_that_names_nobody_or_two(
    setup: Setup, server: Server, desk: Desk, tmp_path: Path, uris: list[str]
) -> None:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    issuer = setup.tls.issuer(setup.passwords)
    good = x509.load_pem_x509_certificate(setup.tls.files("headend").certificate.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(good.subject)
        .issuer_name(good.issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(good.not_valid_before_utc)
        .not_valid_after(good.not_valid_after_utc)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for extension in good.extensions:
        if not isinstance(extension.value, x509.SubjectKeyIdentifier | x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(one) for one in uris])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(issuer._key, hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"p"),
    )
    identity = Identity(certificate.public_bytes(serialization.Encoding.PEM), pem)
    files = written(tmp_path, identity, setup.tls.files("keys").root)
    assert await refused(client_context(files, b"p"), server.port)
    assert desk.calls == []


async def test_no_session_ticket_outlives_a_certificate(setup: Setup, server: Server) -> None:
    context = client_context(setup.tls.files("headend"), setup.passwords.of("headend"))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    assert peer_of(writer) == Peer("process", "keys")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    link = writer.get_extra_info("ssl_object")
    assert link.session is None or not link.session.has_ticket
    writer.transport.abort()


# --- renewal while running ---------------------------------------------------------------------------


def reach(setup: Setup, name: str, ports: dict[str, int]) -> Reach:
    orders = {
        "data": str(setup.tls.directory.parent),
        "host": "127.0.0.1",
        "ports": ports,
        "password": setup.passwords.of(name).decode(),
    }
    return Reach(name, orders)


async def test_renewed_certificates_are_taken_up_and_no_call_is_dropped(tmp_path: Path) -> None:
    from meterseal.mesh.rpc import serve

    setup, desk = Setup(tmp_path / "tls"), Desk()
    keys = reach(setup, "keys", {})
    server = await serve(desk.methods(), host="127.0.0.1", port=0, context=keys.listening())
    headend = reach(setup, "headend", {"keys": server.port})
    rpc = headend.to("keys")
    assert (await rpc.call("echo", Ask("before"), Say)).text == "headend: before"
    probe = client_context(setup.tls.files("platform"), setup.passwords.of("platform"))
    _, before = await handshake(server.port, probe)
    waiting = asyncio.create_task(rpc.call("wait", Ask("in flight"), Say))
    await asyncio.sleep(0.05)
    assert not keys.renewed()
    names = setup.tls.renew(setup.passwords, NOW + 350 * DAY, ("keys", "headend"))
    assert names == ["keys", "headend"]
    old_line = rpc._line
    # The new leaves begin in the future, as this test's clock has it: what counts is that they are shown.
    assert keys.renewed()
    assert headend.renewed()
    assert not headend.renewed()
    assert rpc._line is None
    desk.release.set()
    assert (await waiting).text == "in flight"
    assert old_line is not None
    assert old_line.writer.transport.is_closing()
    future = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    future.check_hostname = False
    future.verify_mode = ssl.CERT_NONE
    files = setup.tls.files("platform")
    future.load_cert_chain(files.certificate, files.key, password=setup.passwords.of("platform"))
    _, after = await handshake(server.port, future)
    assert after != before
    assert (
        x509.load_der_x509_certificate(after).not_valid_after_utc
        > x509.load_der_x509_certificate(before).not_valid_after_utc
    )
    await rpc.close()
    await server.close()


async def test_calls_go_on_over_many_renewals(tmp_path: Path) -> None:
    from meterseal.mesh.rpc import serve

    setup, desk = Setup(tmp_path / "tls"), Desk()
    issuer = setup.tls.issuer(setup.passwords)
    keys = reach(setup, "keys", {})
    server = await serve(desk.methods(), host="127.0.0.1", port=0, context=keys.listening())
    headend = reach(setup, "headend", {"keys": server.port})
    rpc = headend.to("keys")
    done = asyncio.Event()
    answers = 0

    async def call() -> None:
        nonlocal answers
        while not done.is_set():
            assert (await rpc.call("echo", Ask("x"), Say)).text == "headend: x"
            answers += 1

    callers = [asyncio.create_task(call()) for _ in range(8)]
    for _ in range(5):
        await asyncio.sleep(0.05)
        for name, side in (("keys", keys), ("headend", headend)):
            setup.tls._store(name, issuer.process(name, NOW, setup.passwords.of(name)))
            assert side.renewed()
    await asyncio.sleep(0.05)
    done.set()
    await asyncio.gather(*callers)  # none failed
    assert answers > 50
    await rpc.close()
    await server.close()


async def test_a_half_replaced_pair_changes_nothing_and_is_taken_up_later(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "tls")
    side = reach(setup, "keys", {})
    side.listening()
    files = setup.tls.files("keys")
    kept = files.certificate.read_bytes()
    files.certificate.unlink()
    assert not side.renewed()
    files.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(MetersealError, match="damaged"):
        side.renewed()
    files.certificate.write_bytes(kept)
    assert not side.renewed()


async def test_a_certificate_under_a_foreign_root_is_shown_and_refused_by_everybody(tmp_path: Path) -> None:
    from meterseal.mesh.rpc import serve

    setup, desk = Setup(tmp_path / "tls"), Desk()
    keys = reach(setup, "keys", {})
    server = await serve(desk.methods(), host="127.0.0.1", port=0, context=keys.listening())
    foreign = Issuer(make_root(NOW, b"p"), b"p").process("keys", NOW, setup.passwords.of("keys"))
    files: Files = setup.tls.files("keys")
    files.key.write_bytes(foreign.key)
    files.certificate.write_bytes(foreign.certificate)
    assert keys.renewed()
    rpc = setup.client("headend", server)
    with pytest.raises(TrustError) as caught:
        await rpc.call("echo", Ask(), Say)
    assert caught.value.code == "mesh.peer-certificate"
    assert PASSPHRASE not in foreign.key
    await rpc.close()
    await server.close()
