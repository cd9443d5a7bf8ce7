"""RFC 8998 on real sockets: a mutual SM2 handshake, and everybody who cannot make one is refused."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from meterseal.app.reach import Reach
from meterseal.app.sm_identity import HEADEND, ROOT, SmIdentities
from meterseal.crypto import issuing
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.edge.concentrator import Up
from meterseal.edge.gateway import Uplink
from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.headend.tcp import Listener, Stream
from meterseal.mesh import sm_tls
from meterseal.mesh.authority import Identity, Passwords, TlsDirectory
from meterseal.mesh.sm_tls import CURVE, SIGNATURE, SUITE, SmContext
from meterseal.mesh.tls import Files, client_context

from .conftest import NOW, PASSPHRASE

MASTER = bytes.fromhex("f000000000000001")
METER = bytes.fromhex("1078330000000001")
DAY = 86_400_000


class Ground:
    def __init__(self, folder: Path, now: int = NOW) -> None:
        self.folder = folder
        self.directory = TlsDirectory(folder / "tls")
        self.passwords: Passwords = self.directory.provision(PASSPHRASE, now)
        self.identities = SmIdentities(folder / "tls")
        self.identities.provision(self.passwords, now)
        self.heard: list[tuple[bytes, bytes, bytes]] = []
        self.links: list[Stream] = []

    def receive(self, link: Stream, device_id: bytes, message: bytes) -> None:
        self.links.append(link)
        self.heard.append((link.concentrator_id, device_id, message))
        link.send(device_id, message[::-1])

    def server(self) -> SmContext:
        return SmContext(self.identities.files(HEADEND), self.passwords.of(HEADEND))

    def files(self, identity: Identity, name: str = "x") -> Files:
        files = Files(
            self.folder / f"{name}.crt", self.folder / f"{name}.key", self.identities.files(ROOT).certificate
        )
        files.certificate.write_bytes(identity.certificate)
        files.key.write_bytes(identity.key)
        return files

    def concentrator(self, device_id: bytes = MASTER, now: int = NOW) -> SmContext:
        made = self.identities.concentrator(device_id, self.passwords, b"chosen", now)
        return SmContext(self.files(made), b"chosen")


class Client:
    """A concentrator's uplink, as the gateway makes it."""

    def __init__(self) -> None:
        self.reached: list[bool] = []
        self.heard: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
        self.uplink: Uplink | None = None

    def make(self) -> Uplink:
        self.uplink = Uplink(
            lambda device_id, message: self.heard.put_nowait((device_id, message)),
            self.reached.append,
            tls=True,
        )
        return self.uplink


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("sm"))


@pytest.fixture
async def port(ground: Ground) -> AsyncIterator[int]:
    ground.heard.clear()
    listener = Listener(ground.receive, tls=ground.server())
    yield await listener.start("127.0.0.1", 0)
    await listener.stop()


async def talk(context: SmContext, port: int) -> Client:
    client = Client()
    await context.connect(client.make, "127.0.0.1", port)
    assert client.uplink is not None
    client.uplink.send(Up(METER, b"hello"))
    return client


async def silence(context: SmContext, port: int, ground: Ground) -> None:
    """The client is refused: no answer, the connection ends, and the listener heard nothing."""
    client = None
    with contextlib.suppress(OSError):
        client = await talk(context, port)
    if client is not None and client.uplink is not None:
        await asyncio.wait_for(client.uplink.closed.wait(), 5)
        assert client.heard.empty()
    assert ground.heard == []


async def test_both_ends_prove_themselves_by_sm2_and_speak(ground: Ground, port: int) -> None:
    client = await talk(ground.concentrator(), port)
    assert await asyncio.wait_for(client.heard.get(), 5) == (METER, b"olleh")
    assert ground.heard == [(MASTER, METER, b"hello")]
    assert client.reached == [True]
    assert client.uplink is not None
    transport = client.uplink._transport
    assert transport is not None
    assert transport.get_extra_info("cipher") == (SUITE, "TLSv1.3", 128)
    assert transport.get_extra_info("peercert") == {
        "subjectAltName": (("URI", "urn:meterseal:process:headend"),)
    }
    assert not transport.is_closing()
    client.uplink.close()
    await asyncio.wait_for(client.uplink.closed.wait(), 5)


async def test_long_messages_both_ways_arrive_whole(ground: Ground, port: int) -> None:
    client = await talk(ground.concentrator(), port)
    await client.heard.get()
    assert client.uplink is not None
    messages = [bytes([n]) * 1500 for n in range(1, 60)]
    for message in messages:
        client.uplink.send(Up(METER, message))
    got = [(await asyncio.wait_for(client.heard.get(), 10))[1] for _ in messages]
    assert got == messages
    client.uplink.close()


async def test_what_travels_is_tls_and_no_word_of_it_readable(ground: Ground, port: int) -> None:
    seen = bytearray()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while chunk := await source.read(4096):
                seen.extend(chunk)
                sink.write(chunk)
            sink.close()

        await asyncio.gather(copy(reader, outer), copy(inner, writer))

    tap = await asyncio.start_server(between, "127.0.0.1", 0)
    client = await talk(ground.concentrator(), tap.sockets[0].getsockname()[1])
    await asyncio.wait_for(client.heard.get(), 5)
    assert b"hello" not in seen
    assert b"\x00\xc6" in seen  # TLS_SM4_GCM_SM3 in both hellos
    assert client.uplink is not None
    client.uplink.close()
    tap.close()


# --- refused -----------------------------------------------------------------------------------------


def without_certificate(ground: Ground) -> SmContext:
    context = ground.concentrator()
    bare = SSL.Context(SSL.TLS_METHOD)
    bare.set_min_proto_version(SSL.TLS1_3_VERSION)
    sm_tls._offer_only_sm(bare)
    bare.set_verify(SSL.VERIFY_NONE)
    context._context = bare
    return context


def under_another_root(ground: Ground) -> SmContext:
    other = SmIdentities(ground.folder / "other")
    (ground.folder / "other").mkdir(exist_ok=True)
    other.provision(ground.passwords, NOW)
    made = other.concentrator(MASTER, ground.passwords, b"p", NOW)
    return SmContext(ground.files(made, "foreign"), b"p")


def ended(ground: Ground) -> SmContext:
    return ground.concentrator(now=NOW - 800 * DAY)


def self_signed(ground: Ground) -> SmContext:
    key = Sm2PrivateKey.generate()
    der = issuing.issue_root(key, name="f000000000000001", since=NOW - DAY, until=NOW + DAY)
    pem = ssl.DER_cert_to_PEM_cert(der).encode()
    return SmContext(ground.files(Identity(pem, key.to_encrypted_pem(b"p")), "self"), b"p")


def for_the_link_only(ground: Ground) -> SmContext:
    """A leaf of our own SM root, but for the use inside the link and not for TLS."""
    root = Sm2PrivateKey.from_encrypted_pem(
        ground.identities.files(ROOT).key.read_bytes(), ground.passwords.of(ROOT)
    )
    key = Sm2PrivateKey.generate()
    der = issuing.issue_leaf(
        ssl.PEM_cert_to_DER_cert(ground.identities.root().decode()),
        root,
        point=key.public_point,
        name="x",
        purpose="device",
        uris=["urn:meterseal:concentrator:f000000000000001"],
        since=NOW - DAY,
        until=NOW + DAY,
    )
    identity = Identity(ssl.DER_cert_to_PEM_cert(der).encode(), key.to_encrypted_pem(b"p"))
    return SmContext(ground.files(identity, "link"), b"p")


def as_a_process(ground: Ground) -> SmContext:
    """The head-end's own certificate is no concentrator's."""
    return ground.server()


@pytest.mark.parametrize(
    "attack", [without_certificate, under_another_root, ended, self_signed, for_the_link_only, as_a_process]
)
async def test_a_client_that_is_not_a_proven_concentrator(ground: Ground, port: int, attack: object) -> None:
    assert callable(attack)
    await silence(attack(ground), port, ground)
    good = await talk(ground.concentrator(), port)
    assert await asyncio.wait_for(good.heard.get(), 5) == (METER, b"olleh")
    assert good.uplink is not None
    good.uplink.close()


async def test_a_client_that_speaks_tls_without_sm(ground: Ground, port: int) -> None:
    own = ground.directory.issuer(ground.passwords).concentrator(MASTER, NOW, b"p")
    files = Files(ground.folder / "p.crt", ground.folder / "p.key", ground.directory.files("root").root)
    files.certificate.write_bytes(own.certificate)
    files.key.write_bytes(own.key)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", port, ssl=client_context(files, b"p"))
    assert ground.heard == []


@pytest.mark.parametrize(
    ("suites", "curve", "signature"),
    [
        ("TLS_AES_128_GCM_SHA256", CURVE, SIGNATURE),
        (SUITE, "P-256", SIGNATURE),
        (SUITE, CURVE, "ecdsa_secp256r1_sha256"),
    ],
    ids=["suite", "curve", "signature"],
)
async def test_a_client_that_offers_something_weaker_in_one_place(
    ground: Ground, port: int, suites: str, curve: str, signature: str
) -> None:
    context = ground.concentrator()
    context._context.set_tls13_ciphersuites(suites.encode())
    assert SSL._lib.SSL_CTX_set1_curves_list(context._context._context, curve.encode()) == 1  # type: ignore[attr-defined]
    assert SSL._lib.SSL_CTX_set1_sigalgs_list(context._context._context, signature.encode()) == 1  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="refused"):
        await context.connect(Client().make, "127.0.0.1", port)
    assert ground.heard == []


async def test_a_client_refuses_a_server_under_another_root(ground: Ground, tmp_path: Path) -> None:
    other = Ground(tmp_path)
    listener = Listener(other.receive, tls=other.server())
    port = await listener.start("127.0.0.1", 0)
    with pytest.raises(OSError, match="refused"):
        await ground.concentrator().connect(Client().make, "127.0.0.1", port)
    assert other.heard == []
    await listener.stop()


async def test_a_concentrator_in_the_head_ends_place_is_not_spoken_to(ground: Ground) -> None:
    ground.heard.clear()
    impostor = Listener(ground.receive, tls=ground.concentrator())
    port = await impostor.start("127.0.0.1", 0)
    await silence(ground.concentrator(), port, ground)
    await impostor.stop()


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 600, b"\0" * 2000]
)
async def test_bytes_that_are_no_handshake_end_their_own_connection(
    ground: Ground, port: int, noise: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(noise)
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 7)
    writer.close()
    assert ground.heard == []


async def test_a_handshake_that_is_never_finished_is_ended(
    ground: Ground, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sm_tls, "HANDSHAKE_WITHIN", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 3) == b""
    writer.close()


# --- files -------------------------------------------------------------------------------------------


def test_a_key_under_another_password_is_named(ground: Ground) -> None:
    for password in (b"", b"wrong"):
        with pytest.raises(TrustError) as caught:
            SmContext(ground.identities.files(HEADEND), password)
        assert caught.value.code == "mesh.passphrase"


def test_a_key_of_another_certificate_is_named(ground: Ground) -> None:
    one = ground.identities.concentrator(MASTER, ground.passwords, b"p", NOW)
    two = ground.identities.concentrator(MASTER, ground.passwords, b"p", NOW)
    with pytest.raises(TrustError) as caught:
        SmContext(ground.files(Identity(one.certificate, two.key), "mixed"), b"p")
    assert caught.value.code == "mesh.passphrase"


def test_missing_and_damaged_files_are_named(ground: Ground) -> None:
    good = ground.identities.concentrator(MASTER, ground.passwords, b"p", NOW)
    files = ground.files(good, "damaged")
    files.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(LocalError) as caught:
        SmContext(files, b"p")
    assert caught.value.code == "mesh.files"
    files.certificate.unlink()
    with pytest.raises(LocalError) as caught:
        SmContext(files, b"p")
    assert caught.value.code == "mesh.files"


def test_a_library_without_the_suite_is_named(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sm_tls, "CURVE", "curveNone")
    with pytest.raises(EngineError) as caught:
        ground.server()
    assert caught.value.code == "mesh.no-sm"


def test_no_sm_key_lies_open_and_each_has_its_own_password(ground: Ground) -> None:
    for name in (ROOT, HEADEND):
        path = ground.identities.files(name).key
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
        other = ROOT if name == HEADEND else HEADEND
        with pytest.raises(TrustError) as caught:
            Sm2PrivateKey.from_encrypted_pem(path.read_bytes(), ground.passwords.of(other))
        assert caught.value.code == "crypto.key"


def test_provisioning_again_keeps_what_is_there_and_renews_what_ends(tmp_path: Path) -> None:
    own = Ground(tmp_path)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    own.identities.provision(own.passwords, NOW + 300 * DAY)
    assert {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()} == kept
    assert own.identities.renew(own.passwords, NOW + 350 * DAY)
    assert own.identities.root() == kept[f"{ROOT}.crt"]
    assert own.identities.files(HEADEND).certificate.read_bytes() != kept[f"{HEADEND}.crt"]


def test_only_a_concentrators_id_gets_a_concentrators_certificate(ground: Ground) -> None:
    for device_id in (METER, b"\xf0", b"\xf0" * 9):
        with pytest.raises(LocalError) as caught:
            ground.identities.concentrator(device_id, ground.passwords, b"p", NOW)
        assert caught.value.code == "mesh.name"


def test_the_handshake_gives_no_warning(ground: Ground) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ground.concentrator()


async def test_a_renewed_leaf_is_shown_to_the_next_concentrator_and_open_links_go_on(tmp_path: Path) -> None:
    """The head-end's SM certificate was renewed at a start only, so a system that runs for a year lost its field."""
    ground = Ground(tmp_path, NOW - 340 * DAY)
    context, files = ground.server(), ground.identities.files(HEADEND)
    listener = Listener(ground.receive, tls=context)
    port = await listener.start("127.0.0.1", 0)
    reach = Reach("headend", {"data": str(tmp_path), "host": "127.0.0.1", "ports": {}, "password": ""})
    reach.follow(files.certificate, lambda: context.take_up(files, ground.passwords.of(HEADEND)))
    before = await talk(ground.concentrator(), port)
    first = await asyncio.wait_for(before.heard.get(), 5)
    assert not reach.renewed()
    assert not ground.identities.renew(ground.passwords, NOW - 30 * DAY)
    shown = files.certificate.read_bytes()
    assert ground.identities.renew(ground.passwords, NOW)
    assert files.certificate.read_bytes() != shown
    assert await served(port, ground) == shown
    assert reach.renewed()
    assert not reach.renewed()
    assert await served(port, ground) == files.certificate.read_bytes()
    assert before.uplink is not None
    before.uplink.send(Up(METER, b"hello"))
    assert await asyncio.wait_for(before.heard.get(), 5) == first
    await listener.stop()


async def served(port: int, ground: Ground) -> bytes:
    """The certificate (PEM) that the listener shows to a concentrator."""
    client = await talk(ground.concentrator(), port)
    await asyncio.wait_for(client.heard.get(), 5)
    assert client.uplink is not None
    below = client.uplink._transport._below  # type: ignore[union-attr]
    shown = below.tls.get_peer_certificate(as_cryptography=True)
    return bytes(shown.public_bytes(Encoding.PEM))
