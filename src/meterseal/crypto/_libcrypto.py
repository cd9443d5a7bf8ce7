"""Station crypto, libcrypto: the library that Python's own `ssl` links, opened once by cffi in ABI mode.

It declares functions and turns their failures into errors; it knows no key and no rule.

`cryptography` carries a second libcrypto in the same process: the two exchange DER only, never pointers.
"""

from __future__ import annotations

import _ssl
from typing import Any

from cffi import FFI

from meterseal.errors import EngineError

_DECLARATIONS = """
typedef struct evp_pkey_st EVP_PKEY; typedef struct evp_pkey_ctx_st EVP_PKEY_CTX;
typedef struct evp_md_st EVP_MD; typedef struct evp_md_ctx_st EVP_MD_CTX;
typedef struct ec_key_st EC_KEY; typedef struct ec_group_st EC_GROUP; typedef struct ec_point_st EC_POINT;
typedef struct bignum_st BIGNUM; typedef struct p8_st PKCS8_PRIV_KEY_INFO;
typedef struct x509_st X509; typedef struct crl_st X509_CRL; typedef struct revoked_st X509_REVOKED;
typedef struct name_st X509_NAME; typedef struct ext_st X509_EXTENSION; typedef struct conf_st CONF;
typedef struct x509_sig_st X509_SIG; typedef struct evp_cipher_st EVP_CIPHER;
typedef struct asn1_string_st ASN1_INTEGER; typedef struct asn1_time_st ASN1_TIME;

unsigned long OpenSSL_version_num(void); const char *OpenSSL_version(int);
unsigned long ERR_get_error(void); void ERR_error_string_n(unsigned long, char *, size_t);
int OBJ_sn2nid(const char *);

BIGNUM *BN_new(void); BIGNUM *BN_bin2bn(const unsigned char *, int, BIGNUM *); void BN_clear_free(BIGNUM *);
int BN_bn2binpad(const BIGNUM *, unsigned char *, int);
ASN1_INTEGER *BN_to_ASN1_INTEGER(const BIGNUM *, ASN1_INTEGER *); void ASN1_INTEGER_free(ASN1_INTEGER *);

EC_GROUP *EC_GROUP_new_by_curve_name(int);
EC_POINT *EC_POINT_new(const EC_GROUP *); void EC_POINT_free(EC_POINT *);
int EC_POINT_copy(EC_POINT *, const EC_POINT *);
int EC_POINT_mul(const EC_GROUP *, EC_POINT *, const BIGNUM *, const EC_POINT *, const BIGNUM *, void *);
int EC_POINT_oct2point(const EC_GROUP *, EC_POINT *, const unsigned char *, size_t, void *);
size_t EC_POINT_point2oct(const EC_GROUP *, const EC_POINT *, int, unsigned char *, size_t, void *);
int EC_POINT_add(const EC_GROUP *, EC_POINT *, const EC_POINT *, const EC_POINT *, void *);
int EC_POINT_set_to_infinity(const EC_GROUP *, EC_POINT *); int EC_POINT_is_at_infinity(const EC_GROUP *, const EC_POINT *);
int EC_POINT_get_Jprojective_coordinates_GFp(
    const EC_GROUP *, const EC_POINT *, BIGNUM *, BIGNUM *, BIGNUM *, void *);
int EC_POINTs_make_affine(const EC_GROUP *, size_t, EC_POINT **, void *);
const EC_POINT *EC_GROUP_get0_generator(const EC_GROUP *); void *BN_CTX_new(void); void BN_CTX_free(void *);
EC_KEY *EC_KEY_new_by_curve_name(int); void EC_KEY_free(EC_KEY *);
EC_KEY *EC_KEY_new(void); int EC_KEY_set_group(EC_KEY *, const EC_GROUP *);
int EC_KEY_generate_key(EC_KEY *);
int EC_KEY_set_private_key(EC_KEY *, const BIGNUM *); int EC_KEY_set_public_key(EC_KEY *, const EC_POINT *);
int EC_KEY_oct2key(EC_KEY *, const unsigned char *, size_t, void *);
const EC_POINT *EC_KEY_get0_public_key(const EC_KEY *);
int ECDH_compute_key(void *, size_t, const EC_POINT *, const EC_KEY *, void *);

EVP_PKEY *EVP_PKEY_new(void); void EVP_PKEY_free(EVP_PKEY *);
int EVP_PKEY_set1_EC_KEY(EVP_PKEY *, EC_KEY *);
int EVP_PKEY_sign_init(EVP_PKEY_CTX *);
int EVP_PKEY_sign(EVP_PKEY_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);
int EVP_PKEY_get_bn_param(const EVP_PKEY *, const char *, BIGNUM **);
int EVP_PKEY_is_a(const EVP_PKEY *, const char *);
PKCS8_PRIV_KEY_INFO *EVP_PKEY2PKCS8(const EVP_PKEY *); void PKCS8_PRIV_KEY_INFO_free(PKCS8_PRIV_KEY_INFO *);
int i2d_PKCS8_PRIV_KEY_INFO(const PKCS8_PRIV_KEY_INFO *, unsigned char **);
const EVP_CIPHER *EVP_aes_256_cbc(void);
X509_SIG *PKCS8_encrypt(int, const EVP_CIPHER *, const char *, int, unsigned char *, int, int,
                        PKCS8_PRIV_KEY_INFO *);
PKCS8_PRIV_KEY_INFO *PKCS8_decrypt(const X509_SIG *, const char *, int); void X509_SIG_free(X509_SIG *);
int i2d_X509_SIG(const X509_SIG *, unsigned char **);
X509_SIG *d2i_X509_SIG(X509_SIG **, const unsigned char **, long);
EVP_PKEY *d2i_AutoPrivateKey(EVP_PKEY **, const unsigned char **, long);

EVP_MD *EVP_MD_fetch(void *, const char *, const char *);
EVP_MD_CTX *EVP_MD_CTX_new(void); void EVP_MD_CTX_free(EVP_MD_CTX *);
void EVP_MD_CTX_set_pkey_ctx(EVP_MD_CTX *, EVP_PKEY_CTX *);
EVP_PKEY_CTX *EVP_PKEY_CTX_new(EVP_PKEY *, void *); void EVP_PKEY_CTX_free(EVP_PKEY_CTX *);
int EVP_PKEY_CTX_set1_id(EVP_PKEY_CTX *, const void *, int);
int EVP_DigestSignInit(EVP_MD_CTX *, EVP_PKEY_CTX **, const EVP_MD *, void *, EVP_PKEY *);
int EVP_DigestSign(EVP_MD_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);
int EVP_PKEY_encrypt_init(EVP_PKEY_CTX *); int EVP_PKEY_decrypt_init(EVP_PKEY_CTX *);
int EVP_PKEY_encrypt(EVP_PKEY_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);
int EVP_PKEY_decrypt(EVP_PKEY_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);

X509 *X509_new(void); void X509_free(X509 *); int X509_set_version(X509 *, long);
int X509_set_serialNumber(X509 *, ASN1_INTEGER *); int X509_set_pubkey(X509 *, EVP_PKEY *);
int X509_set_issuer_name(X509 *, const X509_NAME *); int X509_set_subject_name(X509 *, const X509_NAME *);
int X509_set1_notBefore(X509 *, const ASN1_TIME *); int X509_set1_notAfter(X509 *, const ASN1_TIME *);
X509_NAME *X509_get_subject_name(const X509 *); int X509_add_ext(X509 *, X509_EXTENSION *, int);
int X509_sign_ctx(X509 *, EVP_MD_CTX *); int i2d_X509(X509 *, unsigned char **);
X509 *d2i_X509(X509 **, const unsigned char **, long);
ASN1_TIME *ASN1_TIME_set(ASN1_TIME *, int64_t); void ASN1_TIME_free(ASN1_TIME *);
X509_NAME *X509_NAME_new(void); void X509_NAME_free(X509_NAME *);
int X509_NAME_add_entry_by_txt(X509_NAME *, const char *, int, const unsigned char *, int, int, int);
X509_EXTENSION *X509V3_EXT_conf_nid(void *, void *, int, const char *);
void X509_EXTENSION_free(X509_EXTENSION *);
void X509V3_set_ctx(void *, X509 *, X509 *, void *, X509_CRL *, int);

X509_CRL *X509_CRL_new(void); void X509_CRL_free(X509_CRL *); int X509_CRL_set_version(X509_CRL *, long);
int X509_CRL_set_issuer_name(X509_CRL *, const X509_NAME *);
int X509_CRL_set1_lastUpdate(X509_CRL *, const ASN1_TIME *);
int X509_CRL_set1_nextUpdate(X509_CRL *, const ASN1_TIME *);
int X509_CRL_add_ext(X509_CRL *, X509_EXTENSION *, int);
X509_REVOKED *X509_REVOKED_new(void); void X509_REVOKED_free(X509_REVOKED *);
int X509_REVOKED_set_serialNumber(X509_REVOKED *, ASN1_INTEGER *);
int X509_REVOKED_set_revocationDate(X509_REVOKED *, ASN1_TIME *);
int X509_CRL_add0_revoked(X509_CRL *, X509_REVOKED *); int X509_CRL_sort(X509_CRL *);
int X509_CRL_sign_ctx(X509_CRL *, EVP_MD_CTX *); int i2d_X509_CRL(X509_CRL *, unsigned char **);
X509_EXTENSION *X509V3_EXT_i2d(int, int, void *);
"""

OLDEST = 0x3000_0000


def _open() -> Any:
    """The library behind `ssl`: the module itself, else by name (statically linked interpreters)."""
    for path in (getattr(_ssl, "__file__", None), "libcrypto.so.3", "libcrypto.so.4"):
        if path is None:
            continue
        try:
            found = ffi.dlopen(path)
            if found.OpenSSL_version_num() >= OLDEST:
                return found
        except (OSError, AttributeError):
            continue
    return None


ffi: Any = FFI()
ffi.cdef(_DECLARATIONS)
lib: Any = _open()
NULL: Any = ffi.NULL
SM2: int = lib.OBJ_sn2nid(b"SM2") if lib is not None else 0
GROUP: Any = lib.EC_GROUP_new_by_curve_name(SM2) if SM2 else NULL
SM3: Any = lib.EVP_MD_fetch(NULL, b"SM3", NULL) if SM2 else NULL


def version() -> str:
    """The name and version that the library gives itself, or an empty string when there is none."""
    return ffi.string(lib.OpenSSL_version(0)).decode() if lib is not None else ""


def number() -> int:
    """The library's version as 0xMNN00PP0; 0 when there is none."""
    return int(lib.OpenSSL_version_num()) if lib is not None else 0


def usable() -> bool:
    """Is there a libcrypto from 3.0 up with curve SM2 and digest SM3?"""
    return lib is not None and GROUP != NULL and SM3 != NULL


def drained() -> str:
    """Empty the thread's error queue and give its last reason; a queue left full would blame a later call."""
    reason = ""
    buffer = ffi.new("char[256]")
    while code := lib.ERR_get_error():
        lib.ERR_error_string_n(code, buffer, 256)
        reason = ffi.string(buffer).decode(errors="replace")
    return reason


def failed(task: str) -> EngineError:
    """The error of a call that ought to have worked, its queue drained."""
    return EngineError("crypto.libcrypto", f"libcrypto could not {task}: {drained() or 'no reason given'}.")


def need(result: Any, task: str) -> Any:
    """`result` unless it is NULL, zero or negative, which raises EngineError `crypto.libcrypto`."""
    if result == NULL if isinstance(result, ffi.CData) else result <= 0:
        raise failed(task)
    return result


def owned(pointer: Any, free: Any, task: str) -> Any:
    """The pointer, freed with its last reference."""
    return ffi.gc(need(pointer, task), free)


def der(encode: Any, thing: Any, task: str) -> bytes:
    """The DER of a libcrypto object by its i2d function."""
    size = need(encode(thing, NULL), task)
    buffer = ffi.new("unsigned char[]", size)
    cursor = ffi.new("unsigned char **", buffer)
    need(encode(thing, cursor), task)
    return bytes(ffi.buffer(buffer, size))
