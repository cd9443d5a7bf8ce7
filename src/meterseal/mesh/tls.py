"""TLS of the mesh: who the peer is, and contexts that admit nobody without a certificate of our second root.

It issues nothing; `authority` does. This layer stands beside the secure link and never instead of it (LINK
1).

TLS 1.3 only, certificates on both ends, strict X.509 checks, no session tickets (a resumed session would
outlive a certificate). In TLS 1.3 a client that is refused has already "connected": only what it reads next
tells it so.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path
from typing import Literal, NamedTuple

from cryptography.hazmat.primitives import serialization

from meterseal.errors import LocalError, TrustError

PROCESSES = ("keys", "headend", "platform", "web")
"""The names that a process certificate may carry."""

PROCESS_URI = "urn:meterseal:process:"
CONCENTRATOR_URI = "urn:meterseal:concentrator:"
PLATFORM_URI = "urn:meterseal:platform:"
PLATFORM_NAME = re.compile(r"[a-z0-9-]{1,32}")
"""What a platform of somebody else may be called."""
PLATFORMS = "platform:"
"""What the callers' names of such platforms begin with; no process is called so."""


class Peer(NamedTuple):
    """Who a certificate names: a process or another's platform by name, or a concentrator by its device_id in
    lower-case hex.
    """

    kind: Literal["process", "concentrator", "platform"]
    name: str


def peer_of(writer: asyncio.StreamWriter) -> Peer | None:
    """The peer at the other end of a TLS stream; None when its certificate names nobody, or more than one."""
    certificate = writer.get_extra_info("peercert")
    if not certificate:
        return None
    uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    if len(uris) != 1:
        return None
    uri: str = uris[0]
    if uri.startswith(PROCESS_URI) and uri.removeprefix(PROCESS_URI) in PROCESSES:
        return Peer("process", uri.removeprefix(PROCESS_URI))
    if uri.startswith(CONCENTRATOR_URI):
        name = uri.removeprefix(CONCENTRATOR_URI)
        if len(name) == 16 and set(name) <= set("0123456789abcdef"):
            return Peer("concentrator", name)
    if uri.startswith(PLATFORM_URI) and PLATFORM_NAME.fullmatch(uri.removeprefix(PLATFORM_URI)):
        return Peer("platform", uri.removeprefix(PLATFORM_URI))
    return None


class Files(NamedTuple):
    """Where one party keeps its certificate, its encrypted PKCS#8 key and the root it trusts (all PEM)."""

    certificate: Path
    key: Path
    root: Path


def server_context(files: Files, password: bytes) -> ssl.SSLContext:
    """Context of a listening end; errors as `client_context`."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, files, password)
    context.num_tickets = 0
    return context


def client_context(files: Files, password: bytes) -> ssl.SSLContext:
    """Context of a calling end; the caller must compare `peer_of` with whom it meant, host names are not
    looked at.

    TrustError `mesh.passphrase` when the key does not open, LocalError `mesh.files` when a file is missing
    or broken.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, files, password)


def reload(context: ssl.SSLContext, files: Files, password: bytes) -> None:
    """Show the certificate that lies in `files` now from the next handshake on; errors as `client_context`.

    Connections that stand go on under the one they were made with.
    """
    _load(context, files, password)


def _context(protocol: int, files: Files, password: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    _load(context, files, password)
    return context


def _load(context: ssl.SSLContext, files: Files, password: bytes) -> None:
    try:
        serialization.load_pem_private_key(
            files.key.read_bytes(), password
        )  # ssl would not say what is wrong
        context.load_verify_locations(cafile=str(files.root))
        # A callable, since an empty password given as bytes would make OpenSSL ask on the terminal.
        context.load_cert_chain(str(files.certificate), str(files.key), password=lambda: password)
    except (ValueError, TypeError):
        raise TrustError(
            "mesh.passphrase",
            f"The key in {files.key.name} does not open with this passphrase; give the one the system was "
            "set up "
            "with, or restore the file if it was damaged.",
        ) from None
    except ssl.SSLError:
        raise LocalError(
            "mesh.files",
            f"A TLS file beside {files.certificate.name} is damaged; restore the tls directory.",
        ) from None
    except OSError as error:
        raise LocalError(
            "mesh.files",
            f"Cannot read the TLS files of {files.certificate.stem} ({error.strerror}); restore the tls "
            "directory.",
        ) from None
