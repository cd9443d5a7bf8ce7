"""Station crypto, issuing: roots, CAs, leaves and revocation lists of the SM2 tree (LINK section 1).

It decides nobody's right to a certificate and keeps no record; `security.pki` does. All times are passed in.

Every certificate is X.509 v3, SM2 with SM3 under the standard signer id, with a random 127-bit serial,
subject and authority key identifiers (the strict check refuses chains without), and its usages critical.

A factory issues thousands under one CA: the CA's certificate (reading one costs half a signature) and the
extensions that are the same in each leaf are read and made once and only copied from.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from meterseal.crypto import sm2
from meterseal.crypto._libcrypto import NULL, der, ffi, lib, need, owned
from meterseal.crypto.names import USAGE, Purpose, identity_of
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError

ORGANISATION = "meterseal"
_UTF8 = 0x1000
_SERIAL = 16


def issue_root(key: Sm2PrivateKey, *, name: str, since: int, until: int) -> bytes:
    """DER of a self-signed root: CA, keyCertSign, cRLSign. `since`, `until`: Unix ms, cut to seconds."""
    extensions = [("basicConstraints", "critical,CA:TRUE"), ("keyUsage", "critical,keyCertSign,cRLSign")]
    return _issue(key, None, key.public_point, name, extensions, since, until)


def issue_ca(
    issuer: bytes,
    issuer_key: Sm2PrivateKey,
    *,
    point: bytes,
    name: str,
    purpose: Purpose,
    since: int,
    until: int,
) -> bytes:
    """DER of a CA under the root `issuer` (DER): pathLen 0, its usage that of the leaves it will issue."""
    extensions = [
        ("basicConstraints", "critical,CA:TRUE,pathlen:0"),
        ("keyUsage", "critical,keyCertSign,cRLSign"),
        ("extendedKeyUsage", f"critical,{USAGE[purpose]}"),
    ]
    return _issue(issuer_key, issuer, point, name, extensions, since, until)


def issue_leaf(
    issuer: bytes,
    issuer_key: Sm2PrivateKey,
    *,
    point: bytes,
    name: str,
    purpose: Purpose,
    uris: Sequence[str],
    since: int,
    until: int,
) -> bytes:
    """DER of a leaf under the CA `issuer` (DER): not CA, digitalSignature, the one usage, the URIs of
    `names.uri`.

    Raises LocalError `crypto.identity` for a URI that is not ours, TrustError `crypto.point` for a bad point.
    """
    if any(identity_of(one) is None for one in uris):
        raise LocalError("crypto.identity", "A certificate names only urn:meterseal URIs in lower-case hex.")
    extensions = [
        ("basicConstraints", "critical,CA:FALSE"),
        ("keyUsage", "critical,digitalSignature"),
        ("extendedKeyUsage", f"critical,{USAGE[purpose]}"),
    ]
    if uris:
        extensions.append(("subjectAltName", ",".join(f"URI:{one}" for one in uris)))
    return _issue(issuer_key, issuer, point, name, extensions, since, until)


def issue_crl(
    issuer: bytes,
    issuer_key: Sm2PrivateKey,
    *,
    revoked: Sequence[tuple[int, int]],
    number: int,
    since: int,
    until: int,
) -> bytes:
    """DER of a revocation list by the CA or root `issuer` (DER): (serial, revoked at) of each entry, and its
    number.

    An empty list is needed too: the platform refuses a chain when the list of one of its CAs is missing.
    """
    certificate = _read(issuer)
    crl = owned(lib.X509_CRL_new(), lib.X509_CRL_free, "make a revocation list")
    need(lib.X509_CRL_set_version(crl, 1), "set a version")
    need(lib.X509_CRL_set_issuer_name(crl, lib.X509_get_subject_name(certificate)), "set an issuer")
    need(lib.X509_CRL_set1_lastUpdate(crl, _time(since)), "set a date")
    need(lib.X509_CRL_set1_nextUpdate(crl, _time(until)), "set a date")
    context = ffi.new("char[512]")
    lib.X509V3_set_ctx(context, certificate, NULL, NULL, crl, 0)
    need(
        lib.X509_CRL_add_ext(crl, _extension(context, "authorityKeyIdentifier", "keyid:always"), -1),
        "add a key id",
    )
    counted = lib.X509V3_EXT_i2d(lib.OBJ_sn2nid(b"crlNumber"), 0, _integer(number))
    need(
        lib.X509_CRL_add_ext(crl, owned(counted, lib.X509_EXTENSION_free, "number a list"), -1),
        "number a list",
    )
    for serial, at in revoked:
        entry = need(lib.X509_REVOKED_new(), "make an entry")
        try:
            need(lib.X509_REVOKED_set_serialNumber(entry, _integer(serial)), "set a serial number")
            need(lib.X509_REVOKED_set_revocationDate(entry, _time(at)), "set a date")
        except BaseException:
            lib.X509_REVOKED_free(entry)
            raise
        need(lib.X509_CRL_add0_revoked(crl, entry), "add an entry")
    need(lib.X509_CRL_sort(crl), "sort a list")
    digest, _keep = sm2.signing(issuer_key._pkey, sm2.SIGNER_ID)
    need(lib.X509_CRL_sign_ctx(crl, digest), "sign a revocation list")
    return der(lib.i2d_X509_CRL, crl, "encode a revocation list")


def _issue(
    issuer_key: Sm2PrivateKey,
    issuer: bytes | None,
    point: bytes,
    name: str,
    extensions: list[tuple[str, str]],
    since: int,
    until: int,
) -> bytes:
    if until <= since:
        raise LocalError("crypto.period", "A certificate must end after it begins; give a later end.")
    certificate = owned(lib.X509_new(), lib.X509_free, "make a certificate")
    parent = certificate if issuer is None else _read(issuer)
    need(lib.X509_set_version(certificate, 2), "set a version")
    serial = bytes((0x40 | os.urandom(1)[0] & 0x3F,)) + os.urandom(_SERIAL - 1)
    need(
        lib.X509_set_serialNumber(certificate, _integer(int.from_bytes(serial, "big"))), "set a serial number"
    )
    need(lib.X509_set1_notBefore(certificate, _time(since)), "set a date")
    need(lib.X509_set1_notAfter(certificate, _time(until)), "set a date")
    need(lib.X509_set_subject_name(certificate, _name(name)), "set a subject")
    need(lib.X509_set_issuer_name(certificate, lib.X509_get_subject_name(parent)), "set an issuer")
    need(lib.X509_set_pubkey(certificate, sm2.public_pkey(point)), "set a public key")
    context = ffi.new("char[512]")
    lib.X509V3_set_ctx(context, parent, certificate, NULL, NULL, 0)
    identifiers = [("subjectKeyIdentifier", "hash"), ("authorityKeyIdentifier", "keyid:always")]
    for kind, value in identifiers + extensions:
        made = _constant(kind, value) if kind in _CONSTANT else _extension(context, kind, value)
        need(lib.X509_add_ext(certificate, made, -1), f"add {kind}")
    digest, _keep = sm2.signing(issuer_key._pkey, sm2.SIGNER_ID)
    need(lib.X509_sign_ctx(certificate, digest), "sign a certificate")
    return der(lib.i2d_X509, certificate, "encode a certificate")


@lru_cache(maxsize=16)
def _read(encoded: bytes) -> Any:
    """The certificate of an issuer; nothing here ever changes it."""
    cursor = ffi.new("unsigned char **")
    source = ffi.from_buffer("unsigned char[]", encoded)
    cursor[0] = source
    return owned(lib.d2i_X509(NULL, cursor, len(encoded)), lib.X509_free, "read the issuer's certificate")


def _time(at: int) -> Any:
    return owned(lib.ASN1_TIME_set(NULL, at // 1000), lib.ASN1_TIME_free, "make a date")


def _integer(number: int) -> Any:
    raw = number.to_bytes(20, "big")
    big = owned(lib.BN_bin2bn(raw, len(raw), NULL), lib.BN_clear_free, "make a number")
    return owned(lib.BN_to_ASN1_INTEGER(big, NULL), lib.ASN1_INTEGER_free, "make a number")


def _name(common_name: str) -> Any:
    name = owned(lib.X509_NAME_new(), lib.X509_NAME_free, "make a name")
    for field, text in ((b"O", ORGANISATION), (b"CN", common_name)):
        value = text.encode()
        need(lib.X509_NAME_add_entry_by_txt(name, field, _UTF8, value, len(value), -1, 0), "make a name")
    return name


_CONSTANT = frozenset({"basicConstraints", "keyUsage", "extendedKeyUsage"})
"""Extensions that depend on no key and no name."""


@lru_cache(maxsize=32)
def _constant(kind: str, value: str) -> Any:
    return _extension(NULL, kind, value)


def _extension(context: Any, kind: str, value: str) -> Any:
    made = lib.X509V3_EXT_conf_nid(NULL, context, lib.OBJ_sn2nid(kind.encode()), value.encode())
    return owned(made, lib.X509_EXTENSION_free, f"make {kind}")
