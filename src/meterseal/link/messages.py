"""Station link, messages: the five handshake messages between bytes and structs (LINK section 3).

It checks shapes and lengths only; nothing here is believed before the handshake proved it. Every parser
refuses trailing bytes, and what it accepts encodes to the same bytes again.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from meterseal.crypto.symmetric import equal, hmac_sm3
from meterseal.errors import LocalError, PeerError

MAGIC = b"MS\x01"
HEADER = 6
LONGEST = 4096
"""Most bytes of a handshake message or a record."""

HELLO, PLATFORM, DEVICE, SESSION, RETRY = 1, 2, 3, 4, 5
KINDS = {HELLO: "HELLO", PLATFORM: "PLATFORM", DEVICE: "DEVICE", SESSION: "SESSION", RETRY: "RETRY"}

ID = 8
NONCE = 32
POINT = 65
SIGNATURE = 64
FIN = 32
TAG = 16
COOKIE = 16
CHAIN = 2
"""Certificates in a chain: leaf and CA."""
SUITES = (1, 2)
_BLOCK = 16


class Hello(Struct, frozen=True):
    """HELLO. `point` is E_d, empty under suite 2; `mac` 16; `cookie` empty unless it was asked for."""

    suite: int
    device_id: bytes
    module_id: bytes
    key_version: int
    nonce: bytes
    point: bytes
    mac: bytes
    cookie: bytes = b""

    def claims(self) -> bytes:
        """The body before the mac."""
        ids = self.device_id + self.module_id
        return bytes((self.suite,)) + ids + bytes((self.key_version,)) + self.nonce + self.point

    def encode(self) -> bytes:
        """The message as it is sent."""
        return _message(HELLO, self.claims() + self.mac + bytes((len(self.cookie),)) + self.cookie)

    def canonical(self) -> bytes:
        """The message with an empty cookie: how it enters every hash, and what makes two HELLOs the same."""
        return _message(HELLO, self.claims() + self.mac + b"\x00")


class Platform(Struct, frozen=True):
    """PLATFORM and where its transcripts end. `point`, `chain`, `signature` are empty under suite 2."""

    message: bytes
    suite: int
    session_id: bytes
    nonce: bytes
    key_version: int
    point: bytes
    chain: tuple[bytes, ...]
    signature: bytes
    fin: bytes
    chain_at: int
    signature_at: int


class Sealed(Struct, frozen=True):
    """DEVICE or SESSION: session id, and a part sealed with a handshake key."""

    message: bytes
    session_id: bytes
    ciphertext: bytes
    tag: bytes

    def covered(self) -> bytes:
        """What the tag covers: header, session id and ciphertext."""
        return self.message[:-TAG]


class Credential(Struct, frozen=True):
    """What DEVICE seals: chain and signature (empty under suite 2), and fin_d."""

    chain: tuple[bytes, ...]
    signature: bytes
    fin: bytes

    def encode(self) -> bytes:
        """The bytes to be padded and sealed."""
        return (chain_bytes(self.chain) if self.chain else b"") + self.signature + self.fin


class Grant(Struct, frozen=True):
    """What SESSION seals. `policy`: 0 plain only, 1 both, 2 cipher only; `platform_at` Unix ms."""

    seed: bytes
    records_allowed: int
    seconds_allowed: int
    platform_at: int
    policy: int

    def encode(self) -> bytes:
        """The bytes to be padded and sealed."""
        limits = self.records_allowed.to_bytes(4, "big") + self.seconds_allowed.to_bytes(4, "big")
        return self.seed + limits + self.platform_at.to_bytes(8, "big") + bytes((self.policy,))


def kind_of(message: bytes) -> int:
    """The type of a handshake message whose header holds. Raises PeerError `link.header` or `link.length`."""
    if len(message) < HEADER or message[:3] != MAGIC or message[3] not in KINDS:
        raise PeerError(
            "link.header", "This is no handshake message of version 1; send 4D 53 01 and a type first."
        )
    if len(message) > LONGEST or int.from_bytes(message[4:6], "big") != len(message) - HEADER:
        raise PeerError(
            "link.length",
            f"The handshake message has {len(message)} bytes and says {int.from_bytes(message[4:6], 'big')} "
            f"behind its header (at most {LONGEST} in all); send it whole and alone.",
        )
    return message[3]


def device_id_of(message: bytes) -> bytes:
    """The device id that a HELLO claims; empty for other messages."""
    return message[7:15] if kind_of(message) == HELLO and len(message) >= 15 else b""


def session_id_of(message: bytes) -> bytes:
    """The session id of a DEVICE or SESSION. Raises PeerError for other messages."""
    kind = kind_of(message)
    if kind not in (DEVICE, SESSION) or len(message) < HEADER + ID:
        raise PeerError(
            "link.header", "This handshake message begins with no session id; send DEVICE or SESSION."
        )
    return message[HEADER : HEADER + ID]


def parse_hello(message: bytes) -> Hello:
    """A HELLO. Raises PeerError `link.header`, `link.length` or `link.suite`."""
    body = _Body(message, HELLO)
    suite = body.suite()
    device_id, module_id, version = body.take(ID), body.take(ID), body.number(1)
    nonce = body.take(NONCE)
    point = body.take(POINT) if suite == 1 else b""
    mac = body.take(TAG)
    cookie = body.take(body.number(1))
    body.end()
    return Hello(suite, device_id, module_id, version, nonce, point, mac, cookie)


def parse_platform(message: bytes) -> Platform:
    """A PLATFORM. Raises PeerError `link.header`, `link.length`, `link.suite` or `link.chain-shape`."""
    body = _Body(message, PLATFORM)
    suite = body.suite()
    session_id, nonce, version = body.take(ID), body.take(NONCE), body.number(1)
    point = body.take(POINT) if suite == 1 else b""
    chain_at = body.at
    chain = body.chain() if suite == 1 else ()
    signature_at = body.at
    signature = body.take(SIGNATURE) if suite == 1 else b""
    fin = body.take(FIN)
    body.end()
    return Platform(
        message, suite, session_id, nonce, version, point, chain, signature, fin, chain_at, signature_at
    )


def parse_sealed(message: bytes, kind: int) -> Sealed:
    """A DEVICE or SESSION. Raises PeerError `link.header` or `link.length`."""
    body = _Body(message, kind)
    session_id = body.take(ID)
    size = len(message) - body.at - TAG
    if size < _BLOCK or size % _BLOCK:
        raise body.wrong()
    ciphertext, tag = body.take(size), body.take(TAG)
    body.end()
    return Sealed(message, session_id, ciphertext, tag)


def parse_credential(payload: bytes, suite: int) -> Credential:
    """What DEVICE sealed. Raises PeerError like the other parsers."""
    body = _Body(payload, None)
    chain = body.chain() if suite == 1 else ()
    signature = body.take(SIGNATURE) if suite == 1 else b""
    fin = body.take(FIN)
    body.end()
    return Credential(chain, signature, fin)


def parse_grant(payload: bytes) -> Grant:
    """What SESSION sealed. Raises PeerError `link.length` or `link.policy`."""
    body = _Body(payload, None)
    seed, records, seconds, at, policy = (
        body.take(32),
        body.number(4),
        body.number(4),
        body.number(8),
        body.number(1),
    )
    body.end()
    if policy > 2:
        raise PeerError(
            "link.policy", f"SESSION names message policy {policy}; 0, 1 and 2 are known.", found=policy
        )
    return Grant(seed, records, seconds, at, policy)


def platform_up_to_signature(
    suite: int, session_id: bytes, nonce: bytes, key_version: int, point: bytes, chain: Sequence[bytes]
) -> tuple[bytes, int]:
    """PLATFORM up to the signature, header with its final length included, and the offset of the chain."""
    head = bytes((suite,)) + session_id + nonce + bytes((key_version,)) + point
    certificates = chain_bytes(chain) if suite == 1 else b""
    size = len(head) + len(certificates) + (SIGNATURE if suite == 1 else 0) + FIN
    header = _header(PLATFORM, size)
    return header + head + certificates, HEADER + len(head)


def sealed_head(kind: int, session_id: bytes, payload_size: int) -> bytes:
    """Header and session id of a DEVICE or SESSION whose payload has this many bytes before padding."""
    size = ID + (payload_size // _BLOCK + 1) * _BLOCK + TAG
    return _header(kind, size) + session_id


def chain_bytes(chain: Sequence[bytes]) -> bytes:
    """count 1, then length 2 ‖ DER of each certificate."""
    return bytes((len(chain),)) + b"".join(len(one).to_bytes(2, "big") + one for one in chain)


def parse_chain(encoded: bytes) -> tuple[bytes, ...]:
    """The certificates of `chain_bytes`, unchecked. Raises PeerError `link.length` or `link.chain-shape`."""
    body = _Body(encoded, None)
    chain = body.chain()
    body.end()
    return chain


def cookie_for(secret: bytes, source: bytes, hello: Hello) -> bytes:
    """The cookie of a RETRY: 16 bytes that only who receives at `source` can send back (LINK section 3)."""
    return hmac_sm3(secret, source, hello.claims() + hello.mac)[:COOKIE]


def cookie_holds(secrets: Sequence[bytes], source: bytes, hello: Hello) -> bool:
    """Does this HELLO carry the cookie of one of the secrets (the rotating one and the one before)?"""
    return any([equal(cookie_for(secret, source, hello), hello.cookie) for secret in secrets])


def retry(cookie: bytes) -> bytes:
    """The RETRY message with this cookie."""
    return _message(RETRY, bytes((len(cookie),)) + cookie)


def parse_retry(message: bytes) -> bytes:
    """The cookie of a RETRY. Raises PeerError `link.header` or `link.length`."""
    body = _Body(message, RETRY)
    size = body.number(1)
    if size != COOKIE:
        raise body.wrong()
    cookie = body.take(size)
    body.end()
    return cookie


def _header(kind: int, size: int) -> bytes:
    if HEADER + size > LONGEST:
        raise LocalError(
            "link.length", f"A handshake message of {HEADER + size} bytes was asked for, {LONGEST} is most."
        )
    return MAGIC + bytes((kind,)) + size.to_bytes(2, "big")


def _message(kind: int, body: bytes) -> bytes:
    return _header(kind, len(body)) + body


class _Body:
    """A cursor over a message (its header checked) or a payload; every overrun is PeerError `link.length`."""

    __slots__ = ("_raw", "at")

    def __init__(self, raw: bytes, kind: int | None) -> None:
        self._raw = raw
        self.at = 0
        if kind is not None:
            if kind_of(raw) != kind:
                raise PeerError(
                    "link.header",
                    f"A {KINDS[kind]} was expected, this message is a {KINDS[raw[3]]}; it is refused.",
                )
            self.at = HEADER

    def take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self._raw):
            raise self.wrong()
        return self._raw[start : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def suite(self) -> int:
        suite = self.number(1)
        if suite not in SUITES:
            raise PeerError("link.suite", f"Suite {suite} does not exist; 1 and 2 do.", found=suite)
        return suite

    def chain(self) -> tuple[bytes, ...]:
        count = self.number(1)
        if count != CHAIN:
            raise PeerError(
                "link.chain-shape", f"A chain has {CHAIN} certificates, not {count}.", found=count
            )
        return tuple(self.take(self.number(2)) for _ in range(count))

    def end(self) -> None:
        if self.at != len(self._raw):
            raise self.wrong()

    def wrong(self) -> PeerError:
        return PeerError(
            "link.length",
            f"The message or sealed part of {len(self._raw)} bytes does not have its fields' lengths.",
        )
