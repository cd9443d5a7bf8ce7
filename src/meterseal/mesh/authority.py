"""The second root of the system (P-256): certificates for our processes and for concentrators' TLS links.

It has nothing to do with the SM2 certificates inside the link (`security.pki`) and signs nothing for them.

Every private key lies on disk as encrypted PKCS#8, each under a password of its own. The passwords come
from the system's passphrase by one Argon2id and a derivation per name, so a head-end that must open its own
key is given that one password and learns neither the passphrase nor another process's password; and
guessing the passphrase from a key file costs the full Argon2id, not the cheap derivation inside PKCS#8.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.mesh import doors
from meterseal.mesh.requests import point_of
from meterseal.mesh.tls import CONCENTRATOR_URI, PLATFORM_URI, PROCESS_URI, PROCESSES, Files

DAY = timedelta(days=1)
ROOT_DAYS = 3650
LEAF_DAYS = 397
PLATFORM_DAYS = 90
"""How long another's platform uses one certificate; it fetches the next one while this one lasts."""
RENEW_DAYS = 60
"""A process certificate is renewed at start once it has fewer days than this left."""

_BACKDATE = timedelta(hours=1)  # peers' clocks differ a little


class Identity(NamedTuple):
    """A certificate and its private key: PEM, and PEM of encrypted PKCS#8."""

    certificate: bytes
    key: bytes


class Passwords:
    """The passwords of the key files, all from one passphrase; does not print."""

    def __init__(self, master: bytes) -> None:
        self._master = master

    @classmethod
    def derive(cls, passphrase: bytes, salt: bytes) -> Passwords:
        """Argon2id (64 MiB, 3 passes) over the passphrase with the 16-byte salt of the tls directory."""
        return cls(doors.stretched(passphrase, salt))

    def door(self, passphrase: bytes) -> doors.Door:
        """A door to these passwords for another passphrase."""
        return doors.make(self._master, passphrase)

    def of(self, name: str) -> bytes:
        """The password of one key file, 64 hex digits."""
        key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"ms1 tls key " + name.encode())
        return key.derive(self._master).hex().encode()

    def __repr__(self) -> str:
        return "Passwords()"

    def __reduce__(self) -> str:
        raise TypeError("passwords do not pickle")


def make_root(now: int, password: bytes) -> Identity:
    """A self-signed root that may issue leaves only; `now` in Unix milliseconds."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "meterseal links")])
    builder = (
        _builder(name, name, key.public_key(), now, ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return _identity(builder.sign(key, hashes.SHA256()), key, password)


class Issuer:
    """The opened root; issues leaves."""

    def __init__(self, root: Identity, password: bytes) -> None:
        try:
            key = serialization.load_pem_private_key(root.key, password)
        except ValueError:
            raise TrustError(
                "mesh.passphrase",
                "The TLS root key does not open with this passphrase; give the one the system was set up "
                "with.",
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise LocalError("mesh.files", "The TLS root key is not a P-256 key; restore the tls directory.")
        self._key = key
        try:
            self._certificate = x509.load_pem_x509_certificate(root.certificate)
        except ValueError:
            raise LocalError(
                "mesh.files", "The certificate of the TLS root is damaged; restore the tls directory."
            ) from None

    @property
    def ends(self) -> datetime:
        """When the root's time is over."""
        return self._certificate.not_valid_after_utc

    def stands_under(self, trusted: bytes) -> bool:
        """Whether this file of trusted certificates (PEM) is the root of this very key, and holds nothing else."""
        return self._certificate.public_key() == self._key.public_key() and trusted == (
            self._certificate.public_bytes(serialization.Encoding.PEM)
        )

    def process(self, name: str, now: int, password: bytes) -> Identity:
        """Certificate of a process: one of `PROCESSES`, else LocalError `mesh.name`."""
        if name not in PROCESSES:
            raise LocalError(
                "mesh.name", f"No process is called {name!r}; the names are {', '.join(PROCESSES)}."
            )
        return self._leaf(name, PROCESS_URI + name, now, password)

    def concentrator(self, device_id: bytes, now: int, password: bytes) -> Identity:
        """Certificate of a concentrator's link to the head-end; 8-byte device_id that begins with F0."""
        if len(device_id) != 8 or device_id[0] != 0xF0:
            raise LocalError("mesh.name", "A concentrator's device_id has 8 bytes and begins with F0.")
        return self._leaf(device_id.hex(), CONCENTRATOR_URI + device_id.hex(), now, password)

    def platform(self, name: str, request: bytes, now: int) -> bytes:
        """Certificate (PEM) of another's platform for the key in its request (`requests`); it may call and never be
        called. TrustError `mesh.tls-request`.
        """
        public = point_of(request, name)
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        leaf = self._signed(name, PLATFORM_URI + name, public, now, PLATFORM_DAYS, uses)
        return leaf.public_bytes(serialization.Encoding.PEM)

    def _leaf(self, common_name: str, uri: str, now: int, password: bytes) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        both_ways = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        leaf = self._signed(common_name, uri, key.public_key(), now, LEAF_DAYS, both_ways)
        return _identity(leaf, key, password)

    def _signed(
        self,
        common_name: str,
        uri: str,
        public: ec.EllipticCurvePublicKey,
        now: int,
        days: int,
        uses: list[x509.ObjectIdentifier],
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        root_id = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _builder(subject, self._certificate.subject, public, now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False
            )
        )
        return builder.sign(self._key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: int, days: int
) -> x509.CertificateBuilder:
    at = datetime.fromtimestamp(now // 1000, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _BACKDATE)
        .not_valid_after(at + days * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not sign,
        crl_sign=not sign,
        encipher_only=False,
        decipher_only=False,
    )


def _identity(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, password: bytes) -> Identity:
    return Identity(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password),
        ),
    )


class TlsDirectory:
    """The tls directory of a data directory: salt (or, after a changed passphrase, doors), root.crt, root.key, and
    NAME.crt, NAME.key of each party.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def files(self, name: str) -> Files:
        """Where the party `name` keeps its files."""
        return Files(
            self.directory / f"{name}.crt", self.directory / f"{name}.key", self.directory / "root.crt"
        )

    def provision(self, passphrase: bytes, now: int, processes: Iterable[str] = PROCESSES) -> Passwords:
        """First start: make the root and a certificate for each process.

        Safe to repeat: what exists stays. TrustError `mesh.passphrase`, EngineError `mesh.disk`.
        """
        _guard(self.directory, lambda: self.directory.mkdir(mode=0o700, parents=True, exist_ok=True))
        salt = self.directory / "salt"
        if not salt.exists() and not self._doors():
            self._write("salt", secrets.token_bytes(16))
        passwords = self.open(passphrase)
        self.renew(passwords, now, processes)
        return passwords

    def open(self, passphrase: bytes) -> Passwords:
        """Later starts: the passwords; LocalError `mesh.files` when the directory was never set up.

        After a change of the passphrase that was cut off, the one that opened stays and the other one ends. TrustError
        `mesh.passphrase` for one that opens no door (before the first change only a key file can tell).
        """
        found = self._doors()
        for door in found:
            master = doors.through(door, passphrase)
            if master is not None:
                self._settle(found, door)
                return Passwords(master)
        if found:
            raise TrustError(
                "mesh.passphrase",
                "The TLS keys do not open with this passphrase; give the one that the system has now.",
            )
        try:
            return Passwords.derive(passphrase, (self.directory / "salt").read_bytes())
        except FileNotFoundError:
            raise LocalError(
                "mesh.files",
                f"There is no TLS setup in {self.directory}; start the system there once, or restore it.",
            ) from None

    def begin_change(self, present: bytes, coming: bytes) -> None:
        """Let a coming passphrase open the passwords too, durably; errors as `open`, `mesh.passphrase` for a wrong one."""
        passwords = self.open(present)
        self.issuer(passwords)  # the root's key tells whether the passphrase is the right one
        self._write("doors", doors.encode([passwords.door(present), passwords.door(coming)]))

    def _doors(self) -> list[doors.Door]:
        try:
            return doors.decode((self.directory / "doors").read_bytes())
        except FileNotFoundError:
            return []

    def _settle(self, found: list[doors.Door], door: doors.Door) -> None:
        if len(found) > 1:
            self._write("doors", doors.encode([door]))
        salt = self.directory / "salt"
        _guard(
            salt, lambda: salt.unlink(missing_ok=True)
        )  # the passphrase of the first start opens nothing with it now

    def renew(self, passwords: Passwords, now: int, processes: Iterable[str] = PROCESSES) -> list[str]:
        """Issue anew every process certificate that is missing or near its end; gives the names renewed.

        A root that is not there is made, and everything under it with it. TrustError `mesh.root-ended`: nothing stands
        under a root whose time is over, however new it is. TrustError `mesh.foreign-root` when root.crt is anything else
        than the one certificate of root.key.
        """
        root = self.directory / "root.crt"
        if root.exists():
            self._check_root(root, now, passwords)
        else:
            for name in processes:  # first, so that a stop half-way leaves none under the root before
                self.files(name).certificate.unlink(missing_ok=True)
            made = make_root(now, passwords.of("root"))
            self._write("root.key", made.key)
            self._write("root.crt", made.certificate)
        issuer: Issuer | None = None
        renewed = []
        for name in processes:
            files = self.files(name)
            if files.certificate.exists() and files.key.exists():
                certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
                left = certificate.not_valid_after_utc - datetime.fromtimestamp(now // 1000, UTC)
                if left > RENEW_DAYS * DAY:
                    continue
            issuer = issuer or self.issuer(passwords)
            self._store(name, issuer.process(name, now, passwords.of(name)))
            renewed.append(name)
        return renewed

    def _check_root(self, root: Path, now: int, passwords: Passwords) -> None:
        """Everybody whom root.crt names is believed, so whoever wrote a root of theirs into it could be any process."""
        raw = root.read_bytes()
        issuer = self.issuer(passwords)
        if not issuer.stands_under(raw):
            raise TrustError(
                "mesh.foreign-root",
                f"{root} is not the certificate of this system's TLS root, or not it alone: somebody wrote into it while "
                "the system was stopped. Restore the tls directory from a backup, and find out who can write into it.",
            )
        ends = issuer.ends
        if ends <= datetime.fromtimestamp(now // 1000, UTC):
            raise TrustError(
                "mesh.root-ended",
                f"The TLS root {root} ended on {ends:%Y-%m-%d}, so the processes cannot trust each other. If this "
                f"machine's date is wrong, set it. If it is right, delete {root} and start again: a new root and new "
                "process certificates are made; then give every concentrator one of the new root (meterseal device "
                "renew-tls).",
            )

    def issuer(self, passwords: Passwords) -> Issuer:
        """The root, opened; TrustError `mesh.passphrase`, LocalError `mesh.files`."""
        root = self.files("root")
        try:
            identity = Identity(root.root.read_bytes(), root.key.read_bytes())
        except OSError as error:
            raise LocalError(
                "mesh.files",
                f"Cannot read the TLS root in {self.directory} ({error.strerror}); restore the tls directory.",
            ) from None
        return Issuer(identity, passwords.of("root"))

    def _store(self, name: str, identity: Identity) -> None:
        # The certificate goes last and first away: without it the pair counts as missing and is made again.
        self.files(name).certificate.unlink(missing_ok=True)
        self._write(f"{name}.key", identity.key)
        self._write(f"{name}.crt", identity.certificate)

    def _write(self, name: str, content: bytes) -> None:
        path = self.directory / name

        def write() -> None:
            fresh = path.with_name(path.name + ".new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            fresh.replace(path)
            folder = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

        _guard(path, write)


def _guard(path: Path, act: object) -> None:
    assert callable(act)
    try:
        act()
    except OSError as error:
        raise EngineError(
            "mesh.disk",
            f"Cannot write {path}: {error.strerror}. Free space or make the directory writable, then start "
            "again.",
        ) from None
