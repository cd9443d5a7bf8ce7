"""Station link, schedule: every key and mac of a session from its secrets (LINK sections 2 and 3).

It knows no message and keeps nothing. Long-term keys come as handles; what is good for one session is bytes.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from msgspec import Struct

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import hkdf_expand, hkdf_expand_each, hkdf_extract, hmac_sm3

NO_AGREEMENT = bytes(32)
"""What stands for Z under suite 2, which agrees on no point."""
MAC = 16
"""Bytes of a mac or tag that is cut."""


class LinkKey(Protocol):
    """K_link of one module and key version, wherever it lies; `SymmetricKey` is one."""

    def mac(self, *parts: bytes) -> bytes:
        """HMAC-SM3 of the parts joined: 32 bytes."""


class DirectionKeys(NamedTuple):
    """Keys of one direction: `enc` 16 (SM4), `mac` 32 (HMAC-SM3), `iv` 16 (SM4, makes IVs)."""

    enc: bytes
    mac: bytes
    iv: bytes

    def __repr__(self) -> str:
        return "<keys of one direction>"


class TrafficKeys(Struct, frozen=True):
    """The six keys of a session or a handshake; sizes as in `DirectionKeys`. It does not print them."""

    up_enc: bytes
    up_mac: bytes
    up_iv: bytes
    down_enc: bytes
    down_mac: bytes
    down_iv: bytes

    @property
    def up(self) -> DirectionKeys:
        """From the device to the platform."""
        return DirectionKeys(self.up_enc, self.up_mac, self.up_iv)

    @property
    def down(self) -> DirectionKeys:
        """From the platform to the device."""
        return DirectionKeys(self.down_enc, self.down_mac, self.down_iv)

    def towards(self, *, up: bool) -> DirectionKeys:
        """The keys of one direction."""
        return self.up if up else self.down

    def __repr__(self) -> str:
        return "<traffic keys>"


class BoundKeys(NamedTuple):
    """Level 7 under the bound key K_b: K_auth, K_link, K_cmnd and K_evid."""

    auth: SymmetricKey
    link: SymmetricKey
    command: SymmetricKey
    evidence: SymmetricKey


def bound_keys(bound: SymmetricKey) -> BoundKeys:
    """The level 7 keys of a bound key (LINK section 2)."""
    label = bound.label
    return BoundKeys(
        bound.diversify(b"AUTH0001", f"K_auth of {label}"),
        bound.diversify(b"LINK0001", f"K_link of {label}"),
        bound.diversify(b"CMND0001", f"K_cmnd of {label}"),
        bound.diversify(b"EVID0001", f"K_evid of {label}"),
    )


def update_key(module_root: SymmetricKey) -> SymmetricKey:
    """K_updt of a module root K_r; it protects key updates and nothing else."""
    return module_root.diversify(b"UPDT0001", f"K_updt of {module_root.label}")


def hello_mac(link_key: LinkKey, body: bytes) -> bytes:
    """The mac of a HELLO over its body before the mac: 16 bytes."""
    return link_key.mac(b"ms1 hello", body)[:MAC]


def exchange_secret(link_key: LinkKey, device_nonce: bytes, platform_nonce: bytes) -> bytes:
    """ES, good for one handshake: 32 bytes. All that ever leaves of K_link."""
    return link_key.mac(b"ms1 es", device_nonce, platform_nonce)


def expand(secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """Expand(secret, label, context, n) of LINK section 3."""
    return hkdf_expand(secret, labelled(label, context, size), size)


def handshake_secret(exchange: bytes, agreed: bytes) -> bytes:
    """HS from ES and Z (`NO_AGREEMENT` under suite 2)."""
    return hkdf_extract(exchange, agreed)


def handshake_keys(secret: bytes, th1: bytes) -> TrafficKeys:
    """The keys that seal DEVICE (up) and SESSION (down)."""
    return _six(secret, b"hs ", th1)


def finished(secret: bytes, who: bytes, th1: bytes, transcript: bytes, signature: bytes) -> bytes:
    """fin_p (`who` = b"p", transcript th2) or fin_d (b"d", th3); the signature is empty under suite 2."""
    return hmac_sm3(expand(secret, b"fin " + who, th1, 32), transcript, signature)


def traffic_keys(secret: bytes, seed: bytes, th4: bytes) -> TrafficKeys:
    """The session's traffic keys from HS and the seed of SESSION."""
    return _six(hkdf_extract(secret, seed), b"", th4)


def labelled(label: bytes, context: bytes, size: int) -> bytes:
    """What HKDF-Expand is told: size 2 ‖ length of the label 1 ‖ "ms1 " label ‖ context."""
    full = b"ms1 " + label
    return size.to_bytes(2, "big") + bytes((len(full),)) + full + context


_SIX = {
    prefix: [
        (labelled(prefix + way + kind, b"", size), size)
        for way in (b"up ", b"down ")
        for kind, size in ((b"enc", 16), (b"mac", 32), (b"iv", 16))
    ]
    for prefix in (b"hs ", b"")
}
"""What HKDF-Expand is told for each of six keys, up to the context."""


def _six(secret: bytes, prefix: bytes, context: bytes) -> TrafficKeys:
    return TrafficKeys(*hkdf_expand_each(secret, [(head + context, size) for head, size in _SIX[prefix]]))


def signed_by_platform(th2: bytes) -> bytes:
    """The bytes that the platform signs."""
    return b"ms1 platform\x00" + th2


def signed_by_device(th3: bytes) -> bytes:
    """The bytes that the device signs."""
    return b"ms1 device\x00" + th3
