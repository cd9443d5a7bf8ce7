"""Beside the path: bare operations of the two libraries, as little Python around them as can be: what bounds the rest.

No product code runs here, so a limit does not move when the code that it bounds does. Keys are made for the moment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB, GCM
from cryptography.hazmat.primitives.hashes import SM3, Hash
from cryptography.hazmat.primitives.hmac import HMAC

from meterseal.crypto._libcrypto import GROUP, NULL, SM2, ffi, lib, need, owned
from meterseal.errors import EngineError
from meterseal.kit.bench.timing import Primitive

_SM3 = SM3()
_SECRET = bytes(range(32))


class _Key:
    """A key pair in libcrypto's own objects."""

    def __init__(self) -> None:
        self.ec = owned(lib.EC_KEY_new_by_curve_name(SM2), lib.EC_KEY_free, "make a key")
        need(lib.EC_KEY_generate_key(self.ec), "make a key")
        self.pkey = owned(lib.EVP_PKEY_new(), lib.EVP_PKEY_free, "make a key")
        need(lib.EVP_PKEY_set1_EC_KEY(self.pkey, self.ec), "make a key")


@cache
def keygen() -> Primitive:
    """SM2 key generation."""
    key = _Key()

    def run(times: int) -> None:
        generate, ec = lib.EC_KEY_generate_key, key.ec
        for _ in range(times):
            generate(ec)

    return Primitive("SM2 keygen", run)


@cache
def ecdh() -> Primitive:
    """ECDH on curve SM2 with a point that is already checked."""
    own, peer = _Key(), _Key()
    shared = ffi.new("unsigned char[32]")

    def run(times: int) -> None:
        compute, ec = lib.ECDH_compute_key, own.ec
        point = lib.EC_KEY_get0_public_key(peer.ec)
        for _ in range(times):
            compute(shared, 32, point, ec, NULL)

    return Primitive("SM2 ECDH", run)


@cache
def sign() -> Primitive:
    """SM2 signature over a digest, by a context that is ready."""
    key = _Key()
    context = owned(lib.EVP_PKEY_CTX_new(key.pkey, NULL), lib.EVP_PKEY_CTX_free, "sign")
    need(lib.EVP_PKEY_sign_init(context), "sign")
    buffer, size = ffi.new("unsigned char[80]"), ffi.new("size_t *", 80)
    need(lib.EVP_PKEY_sign(context, buffer, size, _SECRET, 32), "sign")

    def run(times: int) -> None:
        act = lib.EVP_PKEY_sign
        for _ in range(times):
            size[0] = 80
            act(context, buffer, size, _SECRET, 32)

    return Primitive("SM2 sign", run)


@cache
def verify() -> Primitive:
    """The one double multiplication, s·G + t·P, that a verification by a key seen once cannot do without."""
    key, made = _Key(), owned(lib.EC_POINT_new(GROUP), lib.EC_POINT_free, "make a point")
    s, t = (owned(lib.BN_bin2bn(os.urandom(31), 31, NULL), lib.BN_clear_free, "make a number") for _ in "st")
    context = owned(lib.BN_CTX_new(), lib.BN_CTX_free, "make a context")

    def run(times: int) -> None:
        act, point = lib.EC_POINT_mul, lib.EC_KEY_get0_public_key(key.ec)
        for _ in range(times):
            act(GROUP, made, s, point, t, context)

    return Primitive("SM2 verify", run)


@cache
def additions(count: int) -> Primitive:
    """So many additions of a point with Z = 1: what a verification by a key whose multiples are kept cannot do without."""
    key, made = _Key(), owned(lib.EC_POINT_new(GROUP), lib.EC_POINT_free, "make a point")
    context = owned(lib.BN_CTX_new(), lib.BN_CTX_free, "make a context")
    need(lib.EC_POINT_copy(made, lib.EC_KEY_get0_public_key(key.ec)), "make a point")

    def run(times: int) -> None:
        add, base = lib.EC_POINT_add, lib.EC_GROUP_get0_generator(GROUP)
        for _ in range(times):
            for _ in range(count):
                add(GROUP, made, made, base, context)

    return Primitive(f"SM2 {count} additions", run)


@cache
def encrypt() -> Primitive:
    """SM2 encryption of 32 bytes."""
    key = _Key()
    buffer, size = ffi.new("unsigned char[256]"), ffi.new("size_t *")

    def run(times: int) -> None:
        for _ in range(times):
            context = owned(lib.EVP_PKEY_CTX_new(key.pkey, NULL), lib.EVP_PKEY_CTX_free, "encrypt")
            lib.EVP_PKEY_encrypt_init(context)
            size[0] = 256
            need(lib.EVP_PKEY_encrypt(context, buffer, size, _SECRET, 32), "encrypt")

    return Primitive("SM2 encrypt", run)


@cache
def decrypt() -> Primitive:
    """SM2 decryption of 32 bytes."""
    key = _Key()
    sealed, length = ffi.new("unsigned char[256]"), ffi.new("size_t *", 256)
    context = owned(lib.EVP_PKEY_CTX_new(key.pkey, NULL), lib.EVP_PKEY_CTX_free, "encrypt")
    lib.EVP_PKEY_encrypt_init(context)
    need(lib.EVP_PKEY_encrypt(context, sealed, length, _SECRET, 32), "encrypt")
    buffer, size = ffi.new("unsigned char[256]"), ffi.new("size_t *")

    def run(times: int) -> None:
        for _ in range(times):
            context = owned(lib.EVP_PKEY_CTX_new(key.pkey, NULL), lib.EVP_PKEY_CTX_free, "decrypt")
            lib.EVP_PKEY_decrypt_init(context)
            size[0] = 256
            need(lib.EVP_PKEY_decrypt(context, buffer, size, sealed, length[0]), "decrypt")

    return Primitive("SM2 decrypt", run)


def _repeated(act: Callable[[], object]) -> Callable[[int], None]:
    def run(times: int) -> None:
        for _ in range(times):
            act()

    return run


@cache
def sm3(size: int) -> Primitive:
    """SM3 of so many bytes."""
    text, empty = os.urandom(size), Hash(_SM3)

    def act() -> None:
        digest = empty.copy()
        digest.update(text)
        digest.finalize()

    return Primitive(f"SM3 {size} B", _repeated(act))


@cache
def hmac(size: int) -> Primitive:
    """HMAC-SM3 of so many bytes under a 32-byte key."""
    key, text = os.urandom(32), os.urandom(size)

    def act() -> None:
        mac = HMAC(key, _SM3)
        mac.update(text)
        mac.finalize()

    return Primitive(f"HMAC-SM3 {size} B", _repeated(act))


@cache
def hmac_each(count: int, size: int) -> Primitive:
    """HMAC-SM3 of so many texts of so many bytes under one 32-byte key."""
    key, text = os.urandom(32), os.urandom(size)

    def act() -> None:
        keyed = HMAC(key, _SM3)
        for _ in range(count):
            mac = keyed.copy()
            mac.update(text)
            mac.finalize()

    return Primitive(f"HMAC-SM3 {count} x {size} B", _repeated(act))


@cache
def cbc(size: int) -> Primitive:
    """SM4-CBC over so many bytes, the key fresh to the library each time."""
    key, iv, text = os.urandom(16), os.urandom(16), os.urandom(size)
    return Primitive(
        f"SM4-CBC {size} B", _repeated(lambda: Cipher(SM4(key), CBC(iv)).encryptor().update(text))
    )


@cache
def ecb(blocks: int) -> Primitive:
    """SM4 of so many blocks in one call."""
    key, text = os.urandom(16), os.urandom(16 * blocks)
    mode = ECB()  # noqa: S305  # single blocks, as IVs and diversified keys are made
    return Primitive(
        f"SM4 {blocks} block", _repeated(lambda: Cipher(SM4(key), mode).encryptor().update(text))
    )


@cache
def gcm(size: int) -> Primitive:
    """SM4-GCM over so many bytes and 16 of associated data."""
    key, nonce, text, place = os.urandom(16), os.urandom(12), os.urandom(size), bytes(16)

    def act() -> None:
        encryptor = Cipher(SM4(key), GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(place)
        encryptor.update(text)
        encryptor.finalize()

    return Primitive(f"SM4-GCM {size} B", _repeated(act))


def able() -> None:
    """EngineError `bench.libcrypto` where the library of this Python has no SM2."""
    if GROUP == NULL:
        raise EngineError("bench.libcrypto", "This Python's libcrypto has no SM2; see meterseal doctor.")
