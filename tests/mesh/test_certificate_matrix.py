"""T9 for the links between processes: P-256 certificates that are wrong in one way, on either end of TLS 1.3."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meterseal.mesh.authority import Passwords, TlsDirectory
from meterseal.mesh.tls import PROCESS_URI, Files, client_context, server_context

NOW = int(time.time() * 1000)  # noqa: TID251  # TLS judges certificates by the machine's clock
AT = datetime.fromtimestamp(NOW // 1000, UTC)
DAY = timedelta(days=1)
PASSPHRASE = b"a passphrase for tests"


class Maker:
    """The second root, in hands that issue what no rule of ours allows."""

    def __init__(self, directory: TlsDirectory, passwords: Passwords) -> None:
        self.directory, self.passwords = directory, passwords
        files = directory.files("root")
        self.root = x509.load_pem_x509_certificate(files.root.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), passwords.of("root"))
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.root_key = key

    def certificate(
        self,
        key: ec.EllipticCurvePrivateKey,
        *,
        issuer: x509.Certificate | None = None,
        by: ec.EllipticCurvePrivateKey | None = None,
        since: datetime = AT - DAY,
        until: datetime = AT + 30 * DAY,
        authority: bool = False,
        length: int | None = None,
        usages: tuple[x509.ObjectIdentifier, ...] = (
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.CLIENT_AUTH,
        ),
        name: str = "headend",
    ) -> x509.Certificate:
        above = issuer or self.root
        root_id = above.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(above.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=length), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not authority,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=authority,
                    crl_sign=authority,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(PROCESS_URI + "headend")]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False
            )
            .sign(by or self.root_key, hashes.SHA256())
        )


Chain = tuple[list[x509.Certificate], ec.EllipticCurvePrivateKey]


def fresh() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def one(**how: object) -> Callable[[Maker], Chain]:
    def make(maker: Maker) -> Chain:
        key = fresh()
        return [maker.certificate(key, **how)], key  # type: ignore[arg-type]

    return make


def below(authority: bool) -> Callable[[Maker], Chain]:
    """A leaf under something in between: a CA where the root allows none, or a leaf that plays one."""

    def make(maker: Maker) -> Chain:
        middle_key, key = fresh(), fresh()
        length = 0 if authority else None
        middle = maker.certificate(middle_key, authority=authority, length=length, name="in between")
        return [maker.certificate(key, issuer=middle, by=middle_key), middle], key

    return make


def under_another_root(maker: Maker) -> Chain:
    root_key, key = fresh(), fresh()
    root = maker.certificate(root_key, by=root_key, authority=True, length=0, name="meterseal links")
    return [maker.certificate(key, issuer=root, by=root_key), root], key


def forged(maker: Maker) -> Chain:
    key = fresh()
    return [maker.certificate(key, by=fresh())], key


MATRIX: dict[str, Callable[[Maker], Chain]] = {
    "expired": one(since=AT - 9 * DAY, until=AT - DAY),
    "not yet valid": one(since=AT + DAY, until=AT + 9 * DAY),
    "wrong usage": one(usages=(ExtendedKeyUsageOID.CODE_SIGNING,)),
    "wrong CA": under_another_root,
    "CA:FALSE issuer": below(authority=False),
    "path length, extra intermediate": below(authority=True),
    "forged signature": forged,
}


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    directory = TlsDirectory(tmp_path_factory.mktemp("tls"))
    return Maker(directory, directory.provision(PASSPHRASE, NOW))


def written(chain: Chain, path: Path, maker: Maker) -> Files:
    certificates, key = chain
    pem = serialization.Encoding.PEM
    files = Files(path / "x.crt", path / "x.key", maker.directory.files("root").root)
    files.certificate.write_bytes(b"".join(one.public_bytes(pem) for one in certificates))
    files.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x"))
    )
    return files


def shake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Both ends in memory, and one byte each way, so that a refusal after the client's Finished is seen too."""
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [server.wrap_bio(a, b, server_side=True), client.wrap_bio(b, a)]
    done = [False, False]
    for _ in range(10):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                done[number] = True
            except ssl.SSLWantReadError:
                continue
    assert done == [True, True]
    for sender, receiver in (ends, ends[::-1]):
        sender.write(b"x")
        assert receiver.read(1) == b"x"


def contexts(maker: Maker) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    files, of = maker.directory.files, maker.passwords.of
    return (
        server_context(files("platform"), of("platform")),
        client_context(files("headend"), of("headend")),
    )


def test_t9_good_certificates_shake_hands(maker: Maker, tmp_path: Path) -> None:
    """Sane first: ours, and what the matrix varies before it is varied."""
    server, client = contexts(maker)
    shake(server, client)
    good = written(one()(maker), tmp_path, maker)
    shake(server, client_context(good, b"x"))
    shake(server_context(good, b"x"), client)


@pytest.mark.parametrize("name", MATRIX)
@pytest.mark.parametrize("end", ["server", "client"])
def test_t9_a_wrong_p256_certificate_is_refused_at_either_end(
    maker: Maker, tmp_path: Path, name: str, end: str
) -> None:
    files = written(MATRIX[name](maker), tmp_path, maker)
    server, client = contexts(maker)
    if end == "server":
        server = server_context(files, b"x")
    else:
        client = client_context(files, b"x")
    with pytest.raises(ssl.SSLError):
        shake(server, client)


@pytest.mark.parametrize("end", ["server", "client"])
def test_t9_older_tls_and_no_certificate_are_refused(maker: Maker, end: str) -> None:
    server, client = contexts(maker)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if end == "server" else ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    if end == "server":
        server = old
    else:
        client = old
    with pytest.raises(ssl.SSLError):
        shake(server, client)
