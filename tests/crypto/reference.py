"""SM2 by the formulas of GB/T 32918 in big integers, SM4 modes by their definitions: slow and obvious.

Nothing here calls libcrypto; only the SM3 and SM4 block under the formulas are the product's own.
"""

from __future__ import annotations

from meterseal.crypto.symmetric import sm3, sm4_ecb

P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
G = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
Point = tuple[int, int] | None


def add(one: Point, other: Point) -> Point:
    if one is None or other is None:
        return one or other
    (x1, y1), (x2, y2) = one, other
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    slope = (3 * x1 * x1 + A) * pow(2 * y1, -1, P) if one == other else (y2 - y1) * pow(x2 - x1, -1, P)
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def times(scalar: int, point: Point) -> Point:
    result: Point = None
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def number(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def raw(value: int) -> bytes:
    return value.to_bytes(32, "big")


def point(encoded: bytes) -> Point:
    return number(encoded[1:33]), number(encoded[33:])


def encoded(value: Point) -> bytes:
    assert value is not None
    return b"\x04" + raw(value[0]) + raw(value[1])


def digest(public: Point, message: bytes, user: bytes) -> int:
    """e = SM3(Z_A ‖ M), GB/T 32918.2 clause 5.5."""
    assert public is not None
    curve = b"".join(raw(value) for value in (A, B, *G, *public))
    return number(sm3(sm3((len(user) * 8).to_bytes(2, "big"), user, curve), message))


def sign(d: int, k: int, e: int) -> tuple[int, int]:
    shared = times(k, G)
    assert shared is not None
    r = (e + shared[0]) % N
    return r, pow(1 + d, -1, N) * (k - r * d) % N


def verify(public: Point, e: int, r: int, s: int) -> bool:
    if not (0 < r < N and 0 < s < N) or (r + s) % N == 0:
        return False
    found = add(times(s, G), times((r + s) % N, public))
    return found is not None and (e + found[0]) % N == r


def stream(seed: bytes, size: int) -> bytes:
    """The key derivation of GB/T 32918.4: SM3(seed ‖ counter) …"""
    blocks = (sm3(seed, counter.to_bytes(4, "big")) for counter in range(1, size // 32 + 2))
    return b"".join(blocks)[:size]


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


def encrypt(public: Point, k: int, message: bytes) -> bytes:
    shared = encoded(times(k, public))[1:]
    c1 = encoded(times(k, G))
    return c1 + sm3(shared[:32], message, shared[32:]) + xor(message, stream(shared, len(message)))


def counter_mode(key: bytes, counter: bytes, text: bytes) -> bytes:
    start = number(counter)
    blocks = b"".join(((start + i) % 2**128).to_bytes(16, "big") for i in range(-(-len(text) // 16)))
    return xor(text, sm4_ecb(key, blocks))


def output_feedback(key: bytes, iv: bytes, text: bytes) -> bytes:
    pad, state = b"", iv
    while len(pad) < len(text):
        state = sm4_ecb(key, state)
        pad += state
    return xor(text, pad)


def cipher_feedback(key: bytes, iv: bytes, text: bytes) -> bytes:
    out, state = b"", iv
    for at in range(0, len(text), 16):
        state = xor(text[at : at + 16], sm4_ecb(key, state))
        out += state
    return out


def cbc_mac(key: bytes, blocks: bytes) -> bytes:
    state = bytes(16)
    for at in range(0, len(blocks), 16):
        state = sm4_ecb(key, xor(state, blocks[at : at + 16]))
    return state


def cmac(key: bytes, message: bytes) -> bytes:
    def doubled(block: bytes) -> bytes:
        value = number(block) << 1
        return ((value ^ 0x87 if value >> 128 else value) & (2**128 - 1)).to_bytes(16, "big")

    one = doubled(sm4_ecb(key, bytes(16)))
    whole = bool(message) and len(message) % 16 == 0
    padded = message if whole else message + b"\x80" + bytes(-(len(message) + 1) % 16)
    last = xor(padded[-16:], one if whole else doubled(one))
    return cbc_mac(key, padded[:-16] + last)


def ccm(
    key: bytes, nonce: bytes, aad: bytes, text: bytes, tag_size: int, *, opening: bool
) -> tuple[bytes, bytes]:
    """Result text and tag of CCM (RFC 3610)."""
    width = 15 - len(nonce)
    start = bytes((width - 1,)) + nonce + bytes(width)
    moved = counter_mode(key, start[:-1] + b"\x01", text)
    plain = moved if opening else text
    flags = 64 * bool(aad) + 8 * ((tag_size - 2) // 2) + width - 1
    blocks = bytes((flags,)) + nonce + len(plain).to_bytes(width, "big")
    if aad:
        head = len(aad).to_bytes(2, "big") + aad
        blocks += head + bytes(-len(head) % 16)
    blocks += plain + bytes(-len(plain) % 16)
    return moved, xor(cbc_mac(key, blocks), sm4_ecb(key, start))[:tag_size]


def signature_der(signature: bytes) -> bytes:
    """r ‖ s as the DER SEQUENCE of two INTEGERs in which certificates carry it (GM/T 0009-2012 clause 7.3)."""
    numbers = (int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    parts = [value.to_bytes(value.bit_length() // 8 + 1) for value in numbers]
    inside = b"".join(bytes((2, len(part))) + part for part in parts)
    return bytes((0x30, len(inside))) + inside
