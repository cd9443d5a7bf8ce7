"""TLS 1.3 with the SM suite of RFC 8998 (TLS_SM4_GCM_SM3, curveSM2, sm2sig_sm3) for the concentrators' listener.

It is an option beside `tls`, never between our own processes, and issues nothing. The standard library's `ssl` has no SM
suites, so the handshake runs in pyOpenSSL over memory buffers, and this adapter stands between them and asyncio: to the
protocol above it looks like a TLS transport of the standard library (`get_extra_info("peercert")` has the same shape).

Mutual: no peer without an SM2 certificate under our SM2 root is ever handed to the protocol above. No other suite, curve
or signature algorithm is offered, no session is resumed, no ticket is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Callable
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto

from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.mesh.tls import Files

SUITE, CURVE, SIGNATURE = "TLS_SM4_GCM_SM3", "curveSM2", "sm2sig_sm3"
HANDSHAKE_WITHIN = 5.0
"""Seconds a handshake may take."""
_CHUNK = 65_536

Make = Callable[[], asyncio.Protocol]


class SmContext:
    """What one end shows and whom it trusts. Made from files as `tls.server_context` is, the key an encrypted PKCS#8.

    TrustError `mesh.passphrase` when the key does not open, LocalError `mesh.files` when a file is missing or damaged,
    EngineError `mesh.no-sm` when this pyOpenSSL cannot speak the suite.
    """

    def __init__(self, files: Files, password: bytes) -> None:
        self._context = _made(files, password)

    def take_up(self, files: Files, password: bytes) -> None:
        """Show what the files hold now in every handshake from here on; open connections go on. Errors as when made."""
        self._context = _made(files, password)

    def connection(self, *, server: bool) -> SSL.Connection:
        """One end of a handshake that reads and writes memory only."""
        made = SSL.Connection(self._context, None)
        if server:
            made.set_accept_state()
        else:
            made.set_connect_state()
        return made

    def serving(self, make: Make) -> Make:
        """For `loop.create_server` without `ssl`: the protocol of `make` is told of a peer once it is proven."""
        return lambda: _SmProtocol(self.connection(server=True), make)

    async def connect(self, make: Make, host: str, port: int) -> asyncio.Protocol:
        """As `loop.create_connection` with `ssl`. OSError when there is no connection, or the peer is not proven."""
        loop = asyncio.get_running_loop()
        proven: asyncio.Future[asyncio.Protocol] = loop.create_future()
        transport, _ = await loop.create_connection(
            lambda: _SmProtocol(self.connection(server=False), make, proven), host, port
        )
        try:
            return await proven
        except BaseException:
            transport.abort()
            raise


def _offer_only_sm(context: SSL.Context) -> None:
    try:
        context.set_tls13_ciphersuites(SUITE.encode())
        # pyOpenSSL has no public name for these two; a version without them, or without SM, is refused here.
        library, native = SSL._lib, context._context  # type: ignore[attr-defined]  # not in its types
        able = (
            library.SSL_CTX_set1_curves_list(native, CURVE.encode()) == 1
            and library.SSL_CTX_set1_sigalgs_list(native, SIGNATURE.encode()) == 1
        )
    except (AttributeError, SSL.Error):
        able = False
    if not able:
        raise EngineError(
            "mesh.no-sm",
            "This pyOpenSSL does not speak the SM suite of RFC 8998; install pyOpenSSL 26.4 and cryptography 50 or later, "
            "or turn the option off.",
        )


def _made(files: Files, password: bytes) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    _offer_only_sm(context)
    try:
        own = files.certificate.read_bytes(), files.key.read_bytes(), files.root.read_bytes()
    except OSError as error:
        raise LocalError(
            "mesh.files", f"Cannot read the SM TLS files ({error.strerror}); restore the tls directory."
        ) from None
    _load(context, own, password)
    return context


def _load(context: SSL.Context, own: tuple[bytes, bytes, bytes], password: bytes) -> None:
    certificate, key, root = own
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(x509.load_pem_x509_certificate(root)))
        store.set_flags(crypto.X509StoreFlags.X509_STRICT)
        context.use_certificate(parsed)
    except (ValueError, SSL.Error, crypto.Error):
        raise LocalError(
            "mesh.files", "An SM TLS certificate is damaged; restore the tls directory."
        ) from None
    try:
        opened = crypto.load_privatekey(crypto.FILETYPE_PEM, key, password or b"\0")
        with warnings.catch_warnings():
            # `cryptography` has no SM2 keys, so there is nothing newer to hand over.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.use_privatekey(opened)
        context.check_privatekey()
    except (ValueError, SSL.Error, crypto.Error):
        raise TrustError(
            "mesh.passphrase",
            "The SM TLS key does not open with this password, or belongs to another certificate; restore the file.",
        ) from None


class _SmTransport(asyncio.Transport):
    """The transport that the protocol above writes to."""

    def __init__(self, below: _SmProtocol, raw: asyncio.Transport) -> None:
        super().__init__({"peername": raw.get_extra_info("peername")})
        self._below = below
        self._raw = raw

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peercert":
            return self._below.peercert()
        if name == "cipher":
            return (self._below.tls.get_cipher_name(), "TLSv1.3", 128)
        return self._raw.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._below.send(bytes(data))

    def is_closing(self) -> bool:
        return self._raw.is_closing()

    def close(self) -> None:
        self._below.shutdown()

    def abort(self) -> None:
        self._raw.abort()

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()


class _SmProtocol(asyncio.Protocol):
    """Bytes of the socket into the handshake and out of it."""

    def __init__(
        self, tls: SSL.Connection, make: Make, proven: asyncio.Future[asyncio.Protocol] | None = None
    ) -> None:
        self.tls = tls
        self._above = make()
        self._proven = proven
        self._up = False
        self._raw: asyncio.Transport | None = None
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._raw = transport
        self._late = asyncio.get_running_loop().call_later(HANDSHAKE_WITHIN, transport.abort)
        self._advance()

    def data_received(self, data: bytes) -> None:
        self.tls.bio_write(data)
        self._advance()

    def _advance(self) -> None:
        assert self._raw is not None
        try:
            if not self._up:
                self.tls.do_handshake()
                self._established()
            while not self._raw.is_closing():
                self._above.data_received(self.tls.recv(_CHUNK))
        except SSL.WantReadError:
            self._flush()
        except (SSL.Error, SSL.ZeroReturnError):
            self._flush()  # the alert tells the peer that it is refused; why, it does not
            self._raw.close()

    def _established(self) -> None:
        assert self._raw is not None
        assert self._late is not None
        self._late.cancel()
        self._flush()
        self._up = True
        self._above.connection_made(_SmTransport(self, self._raw))
        if self._proven is not None and not self._proven.done():
            self._proven.set_result(self._above)

    def _flush(self) -> None:
        assert self._raw is not None
        with contextlib.suppress(SSL.Error):
            while True:
                self._raw.write(self.tls.bio_read(_CHUNK))

    def send(self, data: bytes) -> None:
        if data and self._raw is not None and not self._raw.is_closing():
            with contextlib.suppress(SSL.Error):
                self.tls.sendall(data)
            self._flush()

    def shutdown(self) -> None:
        assert self._raw is not None
        with contextlib.suppress(SSL.Error):
            self.tls.shutdown()
        self._flush()
        self._raw.close()

    def peercert(self) -> dict[str, Any]:
        """As `ssl.SSLSocket.getpeercert` names them: the URIs of the proven certificate."""
        certificate = self.tls.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return {}
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            return {}
        kinds = {x509.UniformResourceIdentifier: "URI", x509.DNSName: "DNS"}
        return {"subjectAltName": tuple((kinds.get(type(one), "other"), str(one.value)) for one in names)}

    def pause_writing(self) -> None:
        if self._up:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._up:
            self._above.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        if self._up:
            self._above.connection_lost(exc)
        elif self._proven is not None and not self._proven.done():
            self._proven.set_exception(ConnectionError("the SM TLS handshake was refused"))
