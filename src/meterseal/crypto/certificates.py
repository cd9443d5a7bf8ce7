"""Station crypto, certificates: what one says, and whether a chain of leaf and CA holds (LINK section 1).

It keeps no trust of its own: root, time, purpose and revocation lists are arguments. Issuing is in `issuing`.

Security argument: signatures, names, key identifiers, revocation and (where asked) dates are checked by
OpenSSL's own path validation in strict mode, through pyOpenSSL; on top of it the shapes that LINK fixes are
checked here on every certificate of the chain, so that no device key can issue and no usage stands in for
another.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import lru_cache
from typing import NoReturn, TypeVar

from cryptography import x509
from msgspec import Struct
from OpenSSL import crypto as pyopenssl

from meterseal.crypto.issuing import issue_ca, issue_crl, issue_leaf, issue_root
from meterseal.crypto.names import ARC, PLATFORM_LIFETIME, USAGE, Purpose, identity_of, uri
from meterseal.errors import TrustError

__all__ = [
    "ARC",
    "PLATFORM_LIFETIME",
    "USAGE",
    "Certificate",
    "Purpose",
    "issue_ca",
    "issue_crl",
    "issue_leaf",
    "issue_root",
    "list_number",
    "list_until",
    "parse",
    "uri",
    "verify_chain",
]

LONGEST = 2048
"""Most bytes of one certificate; a handshake message has room for no more."""
_SM2_WITH_SM3 = "1.2.156.10197.1.501"
_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
"""SubjectPublicKeyInfo of an uncompressed point on curve SM2, up to the point."""
_NO_CHECK_TIME = 0x20_0000
"""X509_V_FLAG_NO_CHECK_TIME, which pyOpenSSL does not name."""

_UNREADABLE = (
    ValueError,
    TypeError,
    IndexError,
    pyopenssl.Error,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the two parsers raise for bytes that are no certificate."""

_E = TypeVar("_E", bound=x509.ExtensionType)


class Certificate(Struct, frozen=True, kw_only=True):
    """What one certificate says. Times are Unix ms; `since` and `until` themselves are still valid."""

    der: bytes
    serial: int
    subject: str
    issuer: str
    key_id: bytes
    """Subject key identifier, empty when there is none."""
    issuer_key_id: bytes
    """Authority key identifier, empty when there is none."""
    point: bytes
    since: int
    until: int
    authority: bool
    path_length: int | None
    signs: bool
    certifies: bool
    usages: tuple[str, ...]
    names: tuple[tuple[str, bytes], ...]
    """Kind and id of each URI; an alternative name that is not ours stands here as ("", b"")."""

    def identity(self, kind: str) -> bytes:
        """The id of this kind (`project`, `device`, `module`), empty when there is none."""
        return next((value for name, value in self.names if name == kind), b"")


@lru_cache(maxsize=512)
def parse(der: bytes) -> Certificate:
    """Read one DER certificate. Raises TrustError `crypto.certificate` for anything but an SM2 one of LINK
    section 1.

    It proves nothing about who issued it.
    """
    if len(der) > LONGEST:
        _refuse("crypto.certificate", "A certificate is longer than 2048 bytes; it is refused.")
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = certificate.extensions
        shape = _extension(extensions, x509.BasicConstraints)
        usage = _extension(extensions, x509.KeyUsage)
        extended = _extension(extensions, x509.ExtendedKeyUsage)
        alternative = _extension(extensions, x509.SubjectAlternativeName)
        own = _extension(extensions, x509.SubjectKeyIdentifier)
        above = _extension(extensions, x509.AuthorityKeyIdentifier)
        if (
            certificate.version != x509.Version.v3
            or certificate.signature_algorithm_oid.dotted_string != _SM2_WITH_SM3
            or certificate.serial_number <= 0
        ):
            _refuse(
                "crypto.certificate",
                "A certificate is not version 3 with a positive serial, signed by SM2 with SM3; refused.",
            )
        return Certificate(
            der=der,
            serial=certificate.serial_number,
            subject=certificate.subject.rfc4514_string(),
            issuer=certificate.issuer.rfc4514_string(),
            key_id=b"" if own is None else own.digest,
            issuer_key_id=b"" if above is None else above.key_identifier or b"",
            point=_point(certificate.tbs_certificate_bytes),
            since=_milliseconds(certificate.not_valid_before_utc),
            until=_milliseconds(certificate.not_valid_after_utc) + 999,
            authority=shape is not None and shape.ca,
            path_length=None if shape is None else shape.path_length,
            signs=usage is not None and usage.digital_signature,
            certifies=usage is not None and usage.key_cert_sign,
            usages=() if extended is None else tuple(one.dotted_string for one in extended),
            names=() if alternative is None else tuple(_named(one) for one in alternative),
        )
    except _UNREADABLE:
        raise TrustError(
            "crypto.certificate", "These bytes are no certificate; the chain is refused."
        ) from None


def verify_chain(
    chain: Sequence[bytes],
    *,
    root: bytes,
    purpose: Purpose,
    at: int,
    ended_only: bool = False,
    crls: Sequence[bytes] | None = None,
    longest: int | None = None,
) -> Certificate:
    """The leaf of a chain (leaf, CA; DER) that holds under `root` (DER) for `purpose`; else a TrustError
    says why not.

    `at` (Unix ms) must lie in the validity of each certificate; with `ended_only` only their ends count (a
    device compares them with its lower bound of time and never trusts a clock for a beginning). `crls` are
    the lists of root and CA: None asks for no revocation check, anything else must hold a fresh list of
    each. `longest` bounds the leaf's validity in ms. Codes: `crypto.chain`, `crypto.certificate`,
    `crypto.shape`, `crypto.usage`, `crypto.names`, `crypto.lifetime`, `crypto.ended`, `crypto.not-yet`,
    `crypto.revoked`, `crypto.crl`.
    """
    if len(chain) != 2:
        _refuse(
            "crypto.chain", f"A chain is a leaf and its CA, not {len(chain)} certificates; it is refused."
        )
    leaf, authority = parse(chain[0]), parse(chain[1])
    _check_shapes(leaf, authority, purpose)
    _check_names(leaf, purpose)
    if longest is not None and leaf.until - leaf.since > longest + 999:
        _refuse(
            "crypto.lifetime", "The leaf certificate is valid for longer than its kind may be; it is refused."
        )
    if ended_only and (leaf.until < at or authority.until < at):
        _refuse("crypto.ended", "A certificate of the chain ended before the bound of time; it is refused.")
    _check_path(leaf, authority, root, at, ended_only, crls)
    return leaf


def list_until(der: bytes) -> int:
    """When a revocation list (DER) ends, Unix ms; TrustError `crypto.crl` for one that says no end."""
    until = _load_crl(der).next_update_utc
    if until is None:
        raise TrustError("crypto.crl", "A revocation list has no end; publish a new one.")
    return _milliseconds(until)


def list_number(der: bytes) -> int:
    """The number of a revocation list (DER), 0 for one without."""
    try:
        return _load_crl(der).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def _check_shapes(leaf: Certificate, authority: Certificate, purpose: Purpose) -> None:
    if not (authority.authority and authority.path_length == 0 and authority.certifies):
        _refuse(
            "crypto.shape",
            "The second certificate is no CA with pathLen 0 and keyCertSign; the chain is refused.",
        )
    if leaf.authority or leaf.certifies or not leaf.signs:
        _refuse(
            "crypto.shape", "The first certificate is no leaf with digitalSignature; the chain is refused."
        )
    if leaf.usages != (USAGE[purpose],) or authority.usages != (USAGE[purpose],):
        _refuse("crypto.usage", f"The chain is not for the usage {purpose} alone; it is refused.")


_NAMES: dict[Purpose, tuple[str, ...]] = {
    "platform": ("project",),
    "device": ("device", "module"),
    "ledger": (),
}


def _check_names(leaf: Certificate, purpose: Purpose) -> None:
    kinds = tuple(sorted(kind for kind, _ in leaf.names))
    if kinds != _NAMES[purpose]:
        _refuse(
            "crypto.names", f"A {purpose} certificate names exactly {_NAMES[purpose]}, not {kinds}; refused."
        )


def _check_path(
    leaf: Certificate,
    authority: Certificate,
    root: bytes,
    at: int,
    ended_only: bool,
    crls: Sequence[bytes] | None,
) -> None:
    store = pyopenssl.X509Store()
    store.add_cert(_load(root))
    flags = pyopenssl.X509StoreFlags.X509_STRICT
    if ended_only:
        flags |= _NO_CHECK_TIME
    else:
        store.set_time(datetime.datetime.fromtimestamp(at // 1000, tz=datetime.UTC))
    if crls is not None:
        flags |= pyopenssl.X509StoreFlags.CRL_CHECK | pyopenssl.X509StoreFlags.CRL_CHECK_ALL
        for one in crls:
            store.add_crl(_load_crl(one))
    store.set_flags(flags)
    try:
        pyopenssl.X509StoreContext(store, _load(leaf.der), [_load(authority.der)]).verify_certificate()
    except pyopenssl.X509StoreContextError as error:
        code, sentence = _REASONS.get(
            error.errors[0], ("crypto.chain", "The chain does not lead to our root")
        )
        raise TrustError(
            code, f"{sentence}; it is refused.", reason=error.errors[0], depth=error.errors[1]
        ) from None


_REASONS: dict[int, tuple[str, str]] = {
    3: ("crypto.crl", "The revocation list of a CA is missing"),
    8: ("crypto.crl", "A revocation list is not signed by its CA"),
    9: ("crypto.not-yet", "A certificate of the chain is not valid yet"),
    10: ("crypto.ended", "A certificate of the chain has ended"),
    11: ("crypto.crl", "A revocation list is not valid yet"),
    12: ("crypto.crl", "A revocation list has ended; publish a new one"),
    23: ("crypto.revoked", "A certificate of the chain is revoked"),
}
"""X509_V_ERR_… of OpenSSL to our codes; any other is `crypto.chain`."""


@lru_cache(maxsize=64)
def _load(der: bytes) -> pyopenssl.X509:
    try:
        return pyopenssl.X509.from_cryptography(x509.load_der_x509_certificate(der))
    except _UNREADABLE:
        raise TrustError(
            "crypto.certificate", "These bytes are no certificate; the chain is refused."
        ) from None


@lru_cache(maxsize=16)
def _load_crl(der: bytes) -> x509.CertificateRevocationList:
    try:
        return x509.load_der_x509_crl(der)
    except ValueError:
        raise TrustError("crypto.crl", "These bytes are no revocation list; publish a new one.") from None


def _extension(extensions: x509.Extensions, kind: type[_E]) -> _E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _named(name: x509.GeneralName) -> tuple[str, bytes]:
    known = identity_of(name.value) if isinstance(name, x509.UniformResourceIdentifier) else None
    return known or ("", b"")


def _milliseconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp()) * 1000


def _point(tbs: bytes) -> bytes:
    """The public point: subjectPublicKeyInfo is the seventh element of a version 3 TBSCertificate."""
    _, start, _ = _element(tbs, 0)
    for _ in range(6):
        _, _, start = _element(tbs, start)
    _, _, end = _element(tbs, start)
    info = tbs[start:end]
    if len(info) != len(_SPKI) + 65 or not info.startswith(_SPKI + b"\x04"):
        _refuse("crypto.certificate", "A certificate has no uncompressed point on curve SM2; it is refused.")
    return info[len(_SPKI) :]


def _element(encoded: bytes, offset: int) -> tuple[int, int, int]:
    """Tag, start of content and end of the DER element at `offset`."""
    size = encoded[offset + 1]
    start = offset + 2
    if size & 0x80:
        count = size & 0x7F
        size = int.from_bytes(encoded[start : start + count], "big")
        start += count
    return encoded[offset], start, start + size


def _refuse(code: str, sentence: str) -> NoReturn:
    raise TrustError(code, sentence)
