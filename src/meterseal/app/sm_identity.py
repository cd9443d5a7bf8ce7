"""The SM2 root of concentrators' TLS links, where a system was started with it: certificates for RFC 8998.

It speaks no TLS (`mesh.sm_tls` does) and has nothing to do with the certificates inside the link. Where its root lies in
the tls directory, the head-end's concentrator listener speaks the SM suite and nothing else; the choice is made at the
first start of a system and kept.

Keys lie as `mesh.authority` keeps those of P-256: encrypted PKCS#8, each under a password of its own.
"""

from __future__ import annotations

from pathlib import Path
from ssl import DER_cert_to_PEM_cert, PEM_cert_to_DER_cert

from cryptography import x509

from meterseal.app.config import replace_file
from meterseal.crypto import issuing
from meterseal.crypto.certificates import parse
from meterseal.crypto.names import uri
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError, MetersealError, TrustError
from meterseal.mesh.authority import LEAF_DAYS, RENEW_DAYS, ROOT_DAYS, Identity, Passwords
from meterseal.mesh.tls import Files

ROOT, HEADEND = "sm-root", "sm-headend"
_DAY = 86_400_000
_BACKDATE = 3_600_000


class SmIdentities:
    """The SM2 side of a tls directory; there is one when `enabled`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def enabled(self) -> bool:
        """Was this system started with the SM suite for its concentrators?"""
        return self.files(ROOT).certificate.exists()

    def files(self, name: str) -> Files:
        """Where the party `name` keeps its files; the root's own certificate is also what others trust."""
        path = self._directory
        return Files(path / f"{name}.crt", path / f"{name}.key", path / f"{ROOT}.crt")

    def provision(self, passwords: Passwords, now: int) -> None:
        """Make the root and the head-end's certificate, or what of them a cut-off start left out."""
        if not self.enabled:
            key = Sm2PrivateKey.generate("the SM TLS root")
            root = issuing.issue_root(
                key, name="meterseal SM links", since=now - _BACKDATE, until=now + ROOT_DAYS * _DAY
            )
            replace_file(self.files(ROOT).key, key.to_encrypted_pem(passwords.of(ROOT)))
            replace_file(self.files(ROOT).certificate, DER_cert_to_PEM_cert(root).encode())
        self.renew(passwords, now)

    def renew(self, passwords: Passwords, now: int) -> bool:
        """Issue the head-end's certificate anew when it is missing or near its end; True when it was.

        TrustError `mesh.foreign-root` when sm-root.crt is anything else than the one certificate of sm-root.key: whoever
        wrote a root of theirs into it could be any concentrator.
        """
        self._check_root(passwords)
        files = self.files(HEADEND)
        if files.certificate.exists():
            leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
            if leaf.not_valid_after_utc.timestamp() * 1000 - now > RENEW_DAYS * _DAY:
                return False
        made = self._leaf("headend", uri("process", b"headend"), passwords, passwords.of(HEADEND), now)
        files.certificate.unlink(missing_ok=True)
        replace_file(files.key, made.key)
        replace_file(files.certificate, made.certificate)
        return True

    def concentrator(self, device_id: bytes, passwords: Passwords, key_password: bytes, now: int) -> Identity:
        """Certificate of a concentrator's link; 8-byte device_id that begins with F0, else LocalError `mesh.name`."""
        if len(device_id) != 8 or device_id[0] != 0xF0:
            raise LocalError("mesh.name", "A concentrator's device_id has 8 bytes and begins with F0.")
        return self._leaf(device_id.hex(), uri("concentrator", device_id), passwords, key_password, now)

    def root(self) -> bytes:
        """PEM of the root that concentrators trust."""
        return self.files(ROOT).certificate.read_bytes()

    def _check_root(self, passwords: Passwords) -> None:
        trusted, key = self.root(), self._root_key(passwords)
        try:
            der = PEM_cert_to_DER_cert(trusted.decode())
            ours = parse(der).point == key.public_point and trusted == DER_cert_to_PEM_cert(der).encode()
        except (ValueError, MetersealError):
            ours = False
        if not ours:
            raise TrustError(
                "mesh.foreign-root",
                f"{self.files(ROOT).certificate} is not the certificate of this system's SM root, or not it alone: "
                "somebody wrote into it while the system was stopped. Restore the tls directory from a backup, and find "
                "out who can write into it.",
            )

    def _root_key(self, passwords: Passwords) -> Sm2PrivateKey:
        return Sm2PrivateKey.from_encrypted_pem(self.files(ROOT).key.read_bytes(), passwords.of(ROOT))

    def _leaf(self, name: str, named: str, passwords: Passwords, key_password: bytes, now: int) -> Identity:
        root = self._root_key(passwords)
        key = Sm2PrivateKey.generate(f"the SM TLS key of {name}")
        leaf = issuing.issue_leaf(
            PEM_cert_to_DER_cert(self.root().decode()),
            root,
            point=key.public_point,
            name=name,
            purpose="tls",
            uris=[named],
            since=now - _BACKDATE,
            until=now + LEAF_DAYS * _DAY,
        )
        return Identity(DER_cert_to_PEM_cert(leaf).encode(), key.to_encrypted_pem(key_password))
