"""Station crypto, SM2: sign, verify, encrypt, decrypt and agree on the curve of GB/T 32918.5, by libcrypto.

It knows no certificate and no message; it derives no key from what `agree` gives (the link's schedule does).

Security argument: the signer id is always set (without one libcrypto hashes an empty id, GM/T 0009 wants
`1234567812345678`); a foreign point is used only after the library found it on the curve (cofactor 1, so it
is then in the group); the library draws every nonce; each object is freed with its last reference and the
error queue is emptied, so no failure is blamed on a later call. Signatures travel as r ‖ s, 64 bytes;
ciphertexts as C1 ‖ C3 ‖ C2 with C1 uncompressed. Private keys are handles: they do not print, pickle or
compare. Verifying needs no secret and no constant time: it is the equation of GB/T 32918.2 section 7, its points
computed by libcrypto, whose own call would first take up the key, for a seventh more.
"""

from __future__ import annotations

import base64
from typing import Any, final

from meterseal.crypto import _libcrypto
from meterseal.crypto._libcrypto import GROUP, NULL, SM2, SM3, drained, ffi, lib, need, owned
from meterseal.crypto.handles import Opaque
from meterseal.crypto.symmetric import sm3
from meterseal.errors import EngineError, LocalError, TrustError

SIGNER_ID = b"1234567812345678"
POINT = 65
SIGNATURE = 64
SCALAR = 32
OVERHEAD = POINT + 32
"""How much longer a ciphertext is than its plaintext."""
_UNCOMPRESSED = 4
PBKDF2_ROUNDS = 100_000
_PEM = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"-----END ENCRYPTED PRIVATE KEY-----")


@final
class Sm2PrivateKey(Opaque):
    """A private key on curve SM2, with its public point."""

    __slots__ = ("_ec", "_pkey", "public_point")

    public_point: bytes
    """65 bytes, 04 ‖ x ‖ y."""

    def __init__(self, ec: Any, label: str) -> None:
        self._ec = ec
        self._pkey = _as_pkey(ec)
        self.public_point = _point_bytes(lib.EC_KEY_get0_public_key(ec))
        self.label = label

    @classmethod
    def generate(cls, label: str = "SM2") -> Sm2PrivateKey:
        """A fresh key pair."""
        ec = _new_ec()
        need(lib.EC_KEY_generate_key(ec), "generate an SM2 key")
        return cls(ec, label)

    @classmethod
    def from_scalar(cls, scalar: bytes, label: str = "SM2") -> Sm2PrivateKey:
        """The key with this 32-byte private number. Raises LocalError `crypto.scalar` unless 0 < d < n -
        1."""
        if len(scalar) != SCALAR or not 0 < int.from_bytes(scalar, "big") < ORDER - 1:
            raise LocalError("crypto.scalar", "An SM2 private key is 32 bytes between 1 and n - 2.")
        number = owned(lib.BN_bin2bn(scalar, SCALAR, NULL), lib.BN_clear_free, "read a private number")
        point = owned(lib.EC_POINT_new(GROUP), lib.EC_POINT_free, "make a point")
        need(lib.EC_POINT_mul(GROUP, point, number, NULL, NULL, NULL), "compute a public point")
        ec = _new_ec()
        need(lib.EC_KEY_set_private_key(ec, number), "set a private key")
        need(lib.EC_KEY_set_public_key(ec, point), "set a public key")
        return cls(ec, label)

    @classmethod
    def from_pkcs8(cls, encoded: bytes, label: str = "SM2") -> Sm2PrivateKey:
        """The key of a PKCS#8 structure. Raises TrustError `crypto.key` for anything but an SM2 key."""
        cursor = ffi.new("unsigned char **")
        source = ffi.from_buffer("unsigned char[]", encoded)
        cursor[0] = source
        pkey = lib.d2i_AutoPrivateKey(NULL, cursor, len(encoded))
        if pkey == NULL:
            drained()
            raise TrustError("crypto.key", "These bytes are no private key in PKCS#8; give another file.")
        pkey = ffi.gc(pkey, lib.EVP_PKEY_free)
        if lib.EVP_PKEY_is_a(pkey, b"SM2") != 1:
            raise TrustError("crypto.key", "This private key is not on curve SM2; give an SM2 key.")
        number = ffi.new("BIGNUM **")
        need(lib.EVP_PKEY_get_bn_param(pkey, b"priv", number), "read a private number")
        scalar = ffi.new("unsigned char[32]")
        try:
            need(lib.BN_bn2binpad(number[0], scalar, SCALAR), "read a private number")
        finally:
            lib.BN_clear_free(number[0])
        return cls.from_scalar(bytes(ffi.buffer(scalar, SCALAR)), label)

    def to_pkcs8(self) -> bytes:
        """The key as PKCS#8 DER, in clear: seal it before it is stored."""
        info = owned(lib.EVP_PKEY2PKCS8(self._pkey), lib.PKCS8_PRIV_KEY_INFO_free, "encode a private key")
        return _libcrypto.der(lib.i2d_PKCS8_PRIV_KEY_INFO, info, "encode a private key")

    def to_encrypted_pem(self, password: bytes) -> bytes:
        """The key as encrypted PKCS#8 in PEM (PBES2: PBKDF2-HMAC-SHA256, AES-256-CBC), for TLS libraries."""
        info = owned(lib.EVP_PKEY2PKCS8(self._pkey), lib.PKCS8_PRIV_KEY_INFO_free, "encode a private key")
        sealed = lib.PKCS8_encrypt(
            -1, lib.EVP_aes_256_cbc(), password, len(password), NULL, 0, PBKDF2_ROUNDS, info
        )
        sealed = owned(sealed, lib.X509_SIG_free, "encrypt a private key")
        text = base64.encodebytes(_libcrypto.der(lib.i2d_X509_SIG, sealed, "encrypt a private key"))
        return _PEM[0] + b"\n" + text + _PEM[1] + b"\n"

    @classmethod
    def from_encrypted_pem(cls, pem: bytes, password: bytes, label: str = "SM2") -> Sm2PrivateKey:
        """The key of `to_encrypted_pem`. TrustError `crypto.key` for another password, other bytes or another key."""
        text, end, _ = pem.partition(_PEM[0])[2].partition(_PEM[1])
        try:
            encoded = base64.b64decode(text) if end else b""
        except ValueError:
            encoded = b""
        cursor = ffi.new("unsigned char **")
        source = ffi.from_buffer("unsigned char[]", encoded)
        cursor[0] = source
        sealed = lib.d2i_X509_SIG(NULL, cursor, len(encoded))
        info = NULL
        if sealed != NULL:
            sealed = ffi.gc(sealed, lib.X509_SIG_free)
            info = lib.PKCS8_decrypt(sealed, password, len(password))
        if info == NULL:
            drained()
            raise TrustError("crypto.key", "This private key does not open with this password; give another.")
        info = ffi.gc(info, lib.PKCS8_PRIV_KEY_INFO_free)
        return cls.from_pkcs8(_libcrypto.der(lib.i2d_PKCS8_PRIV_KEY_INFO, info, "read a private key"), label)

    def sign(self, message: bytes, signer_id: bytes = SIGNER_ID) -> bytes:
        """SM2 signature with SM3 over the message: r ‖ s, 64 bytes."""
        digest, _keep = signing(self._pkey, signer_id)
        buffer = ffi.new("unsigned char[80]")
        size = ffi.new("size_t *", 80)
        need(lib.EVP_DigestSign(digest, buffer, size, message, len(message)), "sign")
        return _signature_from_der(bytes(ffi.buffer(buffer, size[0])))

    def agree(self, peer_point: bytes) -> bytes:
        """ECDH: the x-coordinate, 32 bytes, of own scalar times the peer's point (65 bytes). Not yet a key.

        Raises TrustError `crypto.point` when the point is not on the curve.
        """
        peer = _foreign_point(peer_point)
        shared = ffi.new("unsigned char[32]")
        if lib.ECDH_compute_key(shared, SCALAR, peer, self._ec, NULL) != SCALAR:
            drained()
            raise _bad_point()
        return bytes(ffi.buffer(shared, SCALAR))

    def decrypt(self, ciphertext: bytes) -> bytes:
        """The plaintext of C1 ‖ C3 ‖ C2. Raises TrustError `crypto.ciphertext`, whatever is wrong with it."""
        if len(ciphertext) > OVERHEAD and ciphertext[0] == _UNCOMPRESSED:
            encoded = _ciphertext_to_der(ciphertext)
            context = owned(lib.EVP_PKEY_CTX_new(self._pkey, NULL), lib.EVP_PKEY_CTX_free, "decrypt")
            need(lib.EVP_PKEY_decrypt_init(context), "decrypt")
            buffer = ffi.new("unsigned char[]", len(encoded))
            size = ffi.new("size_t *", len(encoded))
            if lib.EVP_PKEY_decrypt(context, buffer, size, encoded, len(encoded)) == 1:
                return bytes(ffi.buffer(buffer, size[0]))
            drained()
        raise TrustError("crypto.ciphertext", "This SM2 ciphertext does not open with this key; refused.")


def verify(point: bytes, message: bytes, signature: bytes, signer_id: bytes = SIGNER_ID) -> bool:
    """Is `signature` (r ‖ s) a signature over `message` by the key with this public point (65 bytes)?

    Everything that is not a plain yes is no: other lengths, points off the curve, r or s out of range.
    """
    numbers = signed_numbers(signature)
    if numbers is None:
        return False
    try:
        key = _foreign_point(point)
    except TrustError:
        return False
    r, s, t = numbers
    total = owned(lib.EC_POINT_new(GROUP), lib.EC_POINT_free, "make a point")
    need(lib.EC_POINT_mul(GROUP, total, _number(s), key, _number(t), NULL), "verify")
    return holds(total, r, sm3(identity_digest(point, signer_id), message))


def signed_numbers(signature: bytes) -> tuple[int, int, int] | None:
    """r, s and t = r + s mod n of r ‖ s (GB/T 32918.2 section 7, B1, B2 and B5); None where one is out of range."""
    if len(signature) != SIGNATURE:
        return None
    r, s = int.from_bytes(signature[:SCALAR]), int.from_bytes(signature[SCALAR:])
    t = (r + s) % ORDER
    return (r, s, t) if 0 < r < ORDER and 0 < s < ORDER and t else None


def holds(total: Any, r: int, digest: bytes) -> bool:
    """Is r = e + x mod n, with e the digest of Z ‖ message and x of the point `total`, s·G + t·P (B6 and B7)?

    The library keeps a point as X and Z with x = X / Z² mod p; that x is the number asked for is seen without the
    division. Such numbers are r - e mod n and, as x is below p and p above n, sometimes that one plus n.
    """
    if lib.EC_POINT_is_at_infinity(GROUP, total) == 1:
        return False
    above, z = _projective(total)
    x = (r - int.from_bytes(digest)) % ORDER
    return any((one * z * z - above) % FIELD == 0 for one in (x, x + ORDER) if one < FIELD)


def identity_digest(point: bytes, signer_id: bytes = SIGNER_ID) -> bytes:
    """Z of GB/T 32918.2 clause 5.5, which comes before a message that is hashed to be signed: 32 bytes."""
    return sm3((8 * len(signer_id)).to_bytes(2, "big"), signer_id, _CURVE, point[1:])


def encrypt(point: bytes, plaintext: bytes) -> bytes:
    """C1 ‖ C3 ‖ C2 for the holder of the key with this public point: 97 bytes more than the plaintext (not
    empty).

    Raises TrustError `crypto.point` when the point is not on the curve.
    """
    if not plaintext:
        raise LocalError("crypto.empty", "SM2 encrypts at least one byte; there is nothing to encrypt.")
    pkey = public_pkey(point)
    context = owned(lib.EVP_PKEY_CTX_new(pkey, NULL), lib.EVP_PKEY_CTX_free, "encrypt")
    need(lib.EVP_PKEY_encrypt_init(context), "encrypt")
    size = ffi.new("size_t *")
    need(lib.EVP_PKEY_encrypt(context, NULL, size, plaintext, len(plaintext)), "encrypt")
    buffer = ffi.new("unsigned char[]", size[0])
    need(lib.EVP_PKEY_encrypt(context, buffer, size, plaintext, len(plaintext)), "encrypt")
    return _ciphertext_from_der(bytes(ffi.buffer(buffer, size[0])))


def on_curve(point: bytes) -> bool:
    """Is this 04 ‖ x ‖ y of a point on the curve?"""
    try:
        _foreign_point(point)
    except TrustError:
        return False
    return True


def supported() -> tuple[bool, str]:
    """Can this process do SM2? Answers with a sentence for a person, and proves itself on a known answer."""
    if not _libcrypto.usable():
        name = _libcrypto.version() or "no libcrypto from 3.0 up"
        return False, f"Python's ssl links {name}, which has no SM2; use a Python with OpenSSL 3.0 or later."
    try:
        known = verify(_KNOWN_POINT, b"message digest", _KNOWN_SIGNATURE)
        key = Sm2PrivateKey.generate("self-test")
        fresh = verify(key.public_point, b"self-test", key.sign(b"self-test"))
        other = verify(key.public_point, b"self-test", _KNOWN_SIGNATURE)
    except EngineError as error:
        return False, f"SM2 fails its self-test ({error}); use a Python linked to OpenSSL 3.0 or later."
    if known and fresh and not other:
        return True, f"SM2 works through {_libcrypto.version()}."
    return False, f"{_libcrypto.version()} answers the SM2 self-test wrongly; do not use it for keys."


def signing(pkey: Any, signer_id: bytes) -> tuple[Any, Any]:
    """A digest context ready to sign with SM3 and the signer id, and the key context it needs alive."""
    context = owned(lib.EVP_PKEY_CTX_new(pkey, NULL), lib.EVP_PKEY_CTX_free, "sign")
    digest = owned(lib.EVP_MD_CTX_new(), lib.EVP_MD_CTX_free, "sign")
    need(lib.EVP_PKEY_CTX_set1_id(context, signer_id, len(signer_id)), "set the signer id")
    lib.EVP_MD_CTX_set_pkey_ctx(digest, context)
    need(lib.EVP_DigestSignInit(digest, NULL, SM3, NULL, pkey), "sign")
    return digest, context


def public_pkey(point: bytes) -> Any:
    """The libcrypto key of a public point. Raises TrustError `crypto.point`."""
    ec = _new_ec()
    if len(point) != POINT or point[0] != _UNCOMPRESSED or lib.EC_KEY_oct2key(ec, point, POINT, NULL) != 1:
        drained()
        raise _bad_point()
    return _as_pkey(ec)


def _new_ec() -> Any:
    """An empty key with a copy of GROUP; made by the curve's name, it would compute the curve anew each time."""
    ec = owned(lib.EC_KEY_new() if SM2 else NULL, lib.EC_KEY_free, "make an SM2 key")
    need(lib.EC_KEY_set_group(ec, GROUP), "make an SM2 key")
    return ec


def _as_pkey(ec: Any) -> Any:
    pkey = owned(lib.EVP_PKEY_new(), lib.EVP_PKEY_free, "make a key")
    need(lib.EVP_PKEY_set1_EC_KEY(pkey, ec), "make an SM2 key")
    return pkey


def _point_bytes(point: Any) -> bytes:
    buffer = ffi.new("unsigned char[65]")
    need(lib.EC_POINT_point2oct(GROUP, point, _UNCOMPRESSED, buffer, POINT, NULL), "encode a point")
    return bytes(ffi.buffer(buffer, POINT))


def _projective(point: Any) -> tuple[int, int]:
    """X and Z of a point that is not at infinity; Z is 1 where the library does not show its own."""
    try:
        read = lib.EC_POINT_get_Jprojective_coordinates_GFp
    except AttributeError:  # deprecated since OpenSSL 3.0
        return int.from_bytes(_point_bytes(point)[1:33]), 1
    x, z = (owned(lib.BN_new(), lib.BN_clear_free, "make a number") for _ in "xz")
    need(read(GROUP, point, x, NULL, z, NULL), "read a point")
    buffer = ffi.new("unsigned char[64]")
    need(lib.BN_bn2binpad(x, buffer, SCALAR), "read a point")
    need(lib.BN_bn2binpad(z, buffer + SCALAR, SCALAR), "read a point")
    return int.from_bytes(ffi.buffer(buffer, SCALAR)), int.from_bytes(ffi.buffer(buffer + SCALAR, SCALAR))


def _foreign_point(point: bytes) -> Any:
    found = owned(lib.EC_POINT_new(GROUP), lib.EC_POINT_free, "make a point")
    if (
        len(point) != POINT
        or point[0] != _UNCOMPRESSED
        or lib.EC_POINT_oct2point(GROUP, found, point, POINT, NULL) != 1
    ):
        drained()
        raise _bad_point()
    return found


def _number(value: int) -> Any:
    """libcrypto's form of a number below 2^256."""
    encoded = value.to_bytes(SCALAR)
    return owned(lib.BN_bin2bn(encoded, SCALAR, NULL), lib.BN_clear_free, "read a number")


def _bad_point() -> TrustError:
    return TrustError("crypto.point", "The public point is not on curve SM2; the message is refused.")


def _integer(number: bytes) -> bytes:
    """The DER INTEGER of an unsigned big-endian number."""
    value = number.lstrip(b"\x00")
    if not value or value[0] & 0x80:
        value = b"\x00" + value
    return bytes((2, len(value))) + value


def _tagged(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _ciphertext_to_der(ciphertext: bytes) -> bytes:
    x, y = _integer(ciphertext[1:33]), _integer(ciphertext[33:POINT])
    return _tagged(0x30, x + y + _tagged(4, ciphertext[POINT:OVERHEAD]) + _tagged(4, ciphertext[OVERHEAD:]))


def _parts(encoded: bytes) -> list[bytes]:
    """Contents of the elements of a DER SEQUENCE that our own library just made."""
    parts: list[bytes] = []
    offset = 0
    inside = encoded
    for sequence in (True, False):
        while offset < len(inside):
            size = inside[offset + 1]
            offset += 2
            if size & 0x80:
                count = size & 0x7F
                size = int.from_bytes(inside[offset : offset + count], "big")
                offset += count
            content = inside[offset : offset + size]
            offset += size
            if sequence:
                inside, offset = content, 0
                break
            parts.append(content)
    return parts


def _signature_from_der(encoded: bytes) -> bytes:
    r, s = _parts(encoded)
    return r.lstrip(b"\x00").rjust(32, b"\x00") + s.lstrip(b"\x00").rjust(32, b"\x00")


def _ciphertext_from_der(encoded: bytes) -> bytes:
    x, y, c3, c2 = _parts(encoded)
    c1 = x.lstrip(b"\x00").rjust(32, b"\x00") + y.lstrip(b"\x00").rjust(32, b"\x00")
    return b"\x04" + c1 + c3 + c2


ORDER = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
"""Order n of the base point, GB/T 32918.5-2017."""
FIELD = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
"""The prime p of the field, likewise."""
_CURVE = bytes.fromhex(
    "fffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffc"
    "28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93"
    "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"
    "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"
)
"""a, b and the base point's x and y, likewise."""
_KNOWN_POINT = bytes.fromhex(
    "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
_KNOWN_SIGNATURE = bytes.fromhex(
    "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
    "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
)
"""The example of GB/T 32918.5-2017 annex A."""
