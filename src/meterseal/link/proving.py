"""Station link, proving: what both sides of a handshake compute alike: transcripts, agreement, sealed parts.

It keeps no state and decides no order. Every check that fails is a TrustError whose code says which; toward
the peer all are the same silence.
"""

from __future__ import annotations

from typing import Protocol

from meterseal.crypto.symmetric import (
    equal,
    hmac_sm3,
    pad80,
    sm3,
    sm4_cbc_decrypt,
    sm4_cbc_encrypt,
    sm4_ecb,
    unpad80,
)
from meterseal.errors import TrustError
from meterseal.link import messages
from meterseal.link.messages import Sealed
from meterseal.link.schedule import NO_AGREEMENT, DirectionKeys

DIRECT_PATIENCE = 30_000
"""Milliseconds one side waits for the other over IP."""
GATHERED_PATIENCE = 15 * 60_000
"""The same behind a concentrator; also how long the platform repeats itself."""
DIRECT_CLOCK = 10_000
"""SESSION sets a clock only so many ms after DEVICE, TIME after its PING; behind a concentrator GATHERED_PATIENCE."""


def patience(*, gathered: bool) -> int:
    """Milliseconds a half-open run waits: `gathered` by a concentrator, or straight over IP."""
    return GATHERED_PATIENCE if gathered else DIRECT_PATIENCE


def clock_window(*, gathered: bool) -> int:
    """Milliseconds within which the platform's time must come to set a clock."""
    return GATHERED_PATIENCE if gathered else DIRECT_CLOCK


class Ephemeral(Protocol):
    """An own ephemeral key of one run; `Sm2PrivateKey` is one."""

    @property
    def public_point(self) -> bytes:
        """65 bytes."""

    def agree(self, peer_point: bytes) -> bytes:
        """ECDH x-coordinate, 32 bytes. Raises TrustError for a point that is not on the curve."""


def agreed(ephemeral: Ephemeral | None, peer_point: bytes) -> bytes:
    """Z of LINK section 3. Raises TrustError `link.point`."""
    if ephemeral is None:
        return NO_AGREEMENT
    try:
        return ephemeral.agree(peer_point)
    except TrustError as error:
        raise TrustError("link.point", error.message) from None


class Transcript:
    """HELLO and PLATFORM whole, and the hashes over them; `hello` is in its form with an empty cookie."""

    __slots__ = ("_hello", "_platform", "th1", "th2", "th3")

    def __init__(self, hello: bytes, platform: bytes, chain_at: int, signature_at: int) -> None:
        self._take(hello, platform, sm3(hello, platform[:chain_at]), sm3(hello, platform[:signature_at]))

    @classmethod
    def signed(cls, hello: bytes, platform: bytes, th1: bytes, th2: bytes) -> Transcript:
        """The transcript of who made PLATFORM and so computed th1 and th2 of these very bytes before."""
        made = cls.__new__(cls)
        made._take(hello, platform, th1, th2)
        return made

    def _take(self, hello: bytes, platform: bytes, th1: bytes, th2: bytes) -> None:
        self._hello, self._platform = hello, platform
        self.th1, self.th2, self.th3 = th1, th2, sm3(hello, platform)

    def th4(self, device: bytes) -> bytes:
        """The hash over HELLO, PLATFORM and DEVICE."""
        return sm3(self._hello, self._platform, device)


def seal_part(keys: DirectionKeys, kind: int, session_id: bytes, payload: bytes) -> bytes:
    """A DEVICE or SESSION message around its payload."""
    head = messages.sealed_head(kind, session_id, len(payload))
    iv = sm4_ecb(keys.iv, bytes(16))
    covered = head + sm4_cbc_encrypt(keys.enc, iv, pad80(payload))
    return covered + hmac_sm3(keys.mac, covered)[: messages.TAG]


def open_part(keys: DirectionKeys, sealed: Sealed) -> bytes:
    """The payload, after its tag. Raises TrustError `link.tag` or `link.padding`."""
    if not equal(hmac_sm3(keys.mac, sealed.covered())[: messages.TAG], sealed.tag):
        raise TrustError("link.tag", "The tag of the handshake message does not match; it is refused.")
    try:
        return unpad80(sm4_cbc_decrypt(keys.enc, sm4_ecb(keys.iv, bytes(16)), sealed.ciphertext))
    except TrustError as error:
        raise TrustError("link.padding", error.message) from None
