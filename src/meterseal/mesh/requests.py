"""Certificate requests of platforms that are not ours: PKCS#10 over a P-256 key of their own, which proves they have it.

It issues nothing (`authority` does) and says nothing about who may have a certificate.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meterseal.errors import TrustError

_LARGEST = 1024


def make_request(name: str, password: bytes) -> tuple[bytes, bytes]:
    """A fresh key and a request in its name: DER, and PEM of the PKCS#8 that only the password opens."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    return request.public_bytes(serialization.Encoding.DER), sealed


def point_of(request: bytes, name: str) -> ec.EllipticCurvePublicKey:
    """The key that a request is for; TrustError `mesh.tls-request` unless it signed the request in this very name."""
    try:
        read = x509.load_der_x509_csr(request) if len(request) <= _LARGEST else None
        if read is not None and read.is_signature_valid:
            named = [
                attribute.value for attribute in read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            ]
            public = read.public_key()
            if (
                named == [name]
                and isinstance(public, ec.EllipticCurvePublicKey)
                and isinstance(public.curve, ec.SECP256R1)
            ):
                return public
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        pass
    raise TrustError(
        "mesh.tls-request",
        "The TLS request is not signed by its own P-256 key in the platform's name; make the application anew.",
    )
