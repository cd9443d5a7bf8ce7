"""What crypto refuses, one test for each branch that no other test is named after."""

from __future__ import annotations

import base64

import pytest

from meterseal.crypto import _libcrypto, certificates
from meterseal.crypto._libcrypto import NULL, ffi, lib
from meterseal.crypto.sm2 import _PEM, Sm2PrivateKey
from meterseal.errors import EngineError, TrustError
from tests.crypto.pki import DAY, NOW, UNTIL, Tree

KEY = Sm2PrivateKey.generate("a test's key")
PASSWORD = b"a password of a test"


@pytest.mark.parametrize("result", [0, -1, NULL], ids=["zero", "negative", "nothing"])
def test_a_call_of_libcrypto_that_fails_is_named_with_its_task_and_reason(result: object) -> None:
    lib.d2i_X509_SIG(NULL, ffi.new("unsigned char **", ffi.from_buffer("unsigned char[]", b"\x30")), 1)
    with pytest.raises(EngineError, match=r"could not take a step: error:[0-9A-F]{8}") as caught:
        _libcrypto.need(result, "take a step")
    assert caught.value.code == "crypto.libcrypto"
    with pytest.raises(EngineError, match="no reason given"):  # the queue was emptied: nobody else is blamed
        _libcrypto.need(result, "take a step")


@pytest.mark.parametrize("result", [1, 2, _libcrypto.GROUP], ids=["one", "two", "a pointer"])
def test_a_call_of_libcrypto_that_works_gives_its_result(result: object) -> None:
    assert _libcrypto.need(result, "take a step") is result


def test_a_private_key_under_another_password_does_not_open() -> None:
    pem = KEY.to_encrypted_pem(PASSWORD)
    assert Sm2PrivateKey.from_encrypted_pem(pem, PASSWORD).public_point == KEY.public_point
    for password in (b"", b"another", PASSWORD[:-1], PASSWORD + b"1"):
        with pytest.raises(TrustError, match="this password") as caught:
            Sm2PrivateKey.from_encrypted_pem(pem, password)
        assert caught.value.code == "crypto.key"


@pytest.mark.parametrize(
    "change",
    [
        lambda pem: b"",
        lambda pem: pem.replace(_PEM[0], b""),
        lambda pem: pem.replace(_PEM[1], b""),
        lambda pem: _PEM[1] + pem.replace(_PEM[1], b""),
        lambda pem: _PEM[0] + b"\n=a=b\n" + _PEM[1],
        lambda pem: _PEM[0] + b"\n" + base64.b64encode(b"no DER") + b"\n" + _PEM[1],
        lambda pem: pem[:80] + pem[90:],
    ],
    ids=["nothing", "no begin", "no end", "end before begin", "no base64", "no DER", "cut"],
)
def test_what_is_no_encrypted_private_key_is_refused(change: object) -> None:
    assert callable(change)
    with pytest.raises(TrustError) as caught:
        Sm2PrivateKey.from_encrypted_pem(change(KEY.to_encrypted_pem(PASSWORD)), PASSWORD)
    assert caught.value.code == "crypto.key"


def test_a_list_that_says_no_number_has_number_0() -> None:
    """Before numbers were asked for, lists had none; they are older than any."""
    tree = Tree()
    listed = certificates.issue_crl(
        tree.device_ca, tree.device_ca_key, revoked=[], number=5, since=NOW, until=NOW + DAY
    )
    number = bytes.fromhex("0603551d14")  # its extension under an identifier that nobody knows
    assert certificates.list_number(listed.replace(number, bytes.fromhex("0603551d7e"))) == 0
    assert certificates.list_number(listed) == 5
    assert certificates.list_until(listed) == NOW + DAY < UNTIL
