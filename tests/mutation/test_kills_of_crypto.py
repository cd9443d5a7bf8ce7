"""Faults at the edges of crypto that the other tests let through, each shown here."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from cffi import FFI
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meterseal.crypto import (
    _libcrypto,
    certificates,
    issuing,
    names,
    proven,
    selftest,
    sm2,
    symmetric,
    verifying,
)
from meterseal.crypto._libcrypto import lib
from meterseal.crypto.sm2 import ORDER, Sm2PrivateKey
from meterseal.crypto.verifying import VerifyingKey
from meterseal.errors import EngineError, LocalError, TrustError
from tests.crypto import reference
from tests.crypto.pki import DAY, DEVICE, MODULE, NOW, PROJECT, SINCE, UNTIL, Tree
from tests.link.parties import tree

# --- names --------------------------------------------------------------------------------------------------


def test_ids_have_the_sizes_of_their_kinds_in_names_too() -> None:
    for kind, size in (("project", 16), ("device", 8), ("module", 8), ("concentrator", 8)):
        identity = bytes(range(size))
        assert names.identity_of(names.uri(kind, identity)) == (kind, identity)  # type: ignore[arg-type]
        for other in (identity[:-1], identity + b"x"):
            assert names.identity_of(f"urn:meterseal:{kind}:{other.hex()}") is None
            with pytest.raises(LocalError) as caught:
                names.uri(kind, other)  # type: ignore[arg-type]
            assert caught.value.code == "crypto.identity"


def test_the_name_of_a_process_is_read_back_and_no_other_word_is_one() -> None:
    assert names.uri("process", b"headend") == "urn:meterseal:process:headend"
    assert names.identity_of("urn:meterseal:process:headend") == ("process", b"headend")
    for other in ("Headend", "", "a" * 17, "head-end", "head1"):
        assert names.identity_of(f"urn:meterseal:process:{other}") is None
    assert names.PLATFORM_LIFETIME == 30 * 24 * 60 * 60 * 1000


# --- verifying: sums whose outcome is chosen, which no hash lets anybody choose -------------------------------

SCALAR = 0x1234567


def judged(monkeypatch: pytest.MonkeyPatch, r: int, s: int, x: int | None = None) -> bool:
    """What the table says of r ‖ s over a message whose hash fits them: only the checks of ranges can refuse."""
    total = (s + (r + s) * SCALAR) % ORDER
    if x is None:
        x = int.from_bytes(Sm2PrivateKey.from_scalar(total.to_bytes(32)).public_point[1:33])
    key = VerifyingKey(Sm2PrivateKey.from_scalar(SCALAR.to_bytes(32)).public_point)
    key._asked = verifying._WORTH
    monkeypatch.setattr(verifying, "sm3", lambda *_: ((r - x) % ORDER).to_bytes(32))
    return key.verify(b"", r.to_bytes(32) + s.to_bytes(32))


@pytest.mark.parametrize(("r", "s"), [(1, 1), (1, 77), (ORDER - 1, 5), (5, ORDER - 1), (2**200, 3)])
def test_the_least_and_the_greatest_r_and_s_are_numbers_of_a_signature(
    monkeypatch: pytest.MonkeyPatch, r: int, s: int
) -> None:
    assert judged(monkeypatch, r, s)


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, 5), (5, 0), (ORDER, 5), (5, ORDER), (7, ORDER - 7), (ORDER + 3, 5), (5, ORDER + 3)],
    ids=["r 0", "s 0", "r n", "s n", "r + s is n", "r over n", "s over n"],
)
def test_r_and_s_out_of_range_are_refused_though_the_equation_holds(
    monkeypatch: pytest.MonkeyPatch, r: int, s: int
) -> None:
    assert not judged(monkeypatch, r, s)


def test_a_sum_at_infinity_is_refused_though_its_missing_x_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who holds the private key can make s·G + t·P vanish; such an r ‖ s holds over nothing all the same."""
    t = 99
    s = -t * SCALAR % ORDER
    assert not judged(monkeypatch, (t - s) % ORDER, s, x=0)


# --- certificates -------------------------------------------------------------------------------------------


def element(tag: int, content: bytes) -> bytes:
    """DER, up to 65,535 bytes."""
    size = len(content)
    length = (
        bytes((size,))
        if size < 0x80
        else b"\x81" + bytes((size,))
        if size < 0x100
        else b"\x82" + size.to_bytes(2)
    )
    return bytes((tag,)) + length + content


def rebuilt(der: bytes, at: int, field: bytes) -> bytes:
    """A certificate with another field in the part that is signed; its signature holds no more."""
    signed, *rest = proven._inside(der, 0x30) or []
    fields = proven._inside(signed, 0x30) or []
    fields[at] = field
    return element(0x30, b"".join([element(0x30, b"".join(fields)), *rest]))


def of_size(size: int) -> bytes:
    """A leaf of exactly so many bytes: many names, then a common name as long as is missing."""
    made = tree()
    uris = [names.uri("device", bytes((at,) * 8)) for at in range(41)]
    for _ in range(200):  # a signature has 70 to 72 bytes
        missing = size - len(leaf_of(made, uris, "x")) + 1
        der = leaf_of(made, uris, "x" * max(1, min(64, missing)))
        if len(der) == size:
            return der
        uris = (
            uris[:-1] if missing < 1 else uris if missing <= 64 else [*uris, names.uri("project", bytes(16))]
        )
    raise AssertionError(f"No leaf of {size} bytes came of it.")


def leaf_of(made: Tree, uris: list[str], name: str) -> bytes:
    return certificates.issue_leaf(
        made.device_ca, made.device_ca_key, point=made.device_key.public_point, name=name, purpose="device",
        uris=uris, since=SINCE, until=UNTIL,
    )  # fmt: skip


def is_no_certificate(der: bytes, because: str | None = None) -> None:
    with pytest.raises(TrustError, match=because) as caught:
        certificates.parse(der)
    assert caught.value.code == "crypto.certificate"


def test_a_certificate_has_at_most_2048_bytes() -> None:
    assert len(certificates.parse(of_size(2048)).der) == 2048
    is_no_certificate(of_size(2049), "longer than 2048 bytes")


def test_a_certificate_is_of_version_3_with_a_positive_serial_and_signed_by_sm2_with_sm3() -> None:
    der = tree().device()
    assert certificates.parse(rebuilt(der, 1, b"\x02\x01\x01")).serial == 1
    for changed in (
        rebuilt(der, 0, bytes.fromhex("a003020100")),
        rebuilt(der, 1, b"\x02\x01\x00"),
        rebuilt(der, 1, b"\x02\x01\xff"),
        der.replace(bytes.fromhex("2a811ccf55018375"), bytes.fromhex("2a811ccf55018378")),
    ):
        is_no_certificate(changed)


def test_a_name_of_ours_in_a_field_for_hosts_is_no_name_of_ours() -> None:
    made = tree()
    extensions = [
        ("basicConstraints", "critical,CA:FALSE"),
        ("subjectAltName", f"DNS:{names.uri('device', DEVICE)},email:{names.uri('module', MODULE)}"),
    ]
    der = issuing._issue(
        made.device_ca_key, made.device_ca, made.device_key.public_point, "x", extensions, SINCE, UNTIL
    )
    assert certificates.parse(der).names == (("", b""), ("", b""))


def test_the_longest_life_counts_to_the_millisecond() -> None:
    chain, root = tree().platform_chain, tree().root
    life = 30 * DAY
    for longest, holds in ((life, True), (life + 1, True), (life - 1, False)):
        act = partial(
            certificates.verify_chain, chain, root=root, purpose="platform", at=NOW, longest=longest
        )
        if holds:
            assert act().until == SINCE + life + 999
        else:
            with pytest.raises(TrustError) as caught:
                act()
            assert caught.value.code == "crypto.lifetime"


def test_a_name_in_chinese_is_a_name_in_chinese() -> None:
    root = certificates.issue_root(Sm2PrivateKey.generate(), name="水务公司", since=SINCE, until=UNTIL)
    said = x509.load_der_x509_certificate(root).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert [one.value for one in said] == ["水务公司"]


def test_a_leaf_and_a_ca_are_good_to_their_last_millisecond() -> None:
    made = tree()
    short = made.ca("platform", made.platform_ca_key, until=SINCE + 10 * DAY)
    for chain, until in (
        (made.platform_chain, SINCE + 30 * DAY + 999),
        ([made.platform(), short], SINCE + 10 * DAY + 999),
    ):
        act = partial(certificates.verify_chain, chain, root=made.root, purpose="platform", ended_only=True)
        assert act(at=until).identity("project") == PROJECT
        with pytest.raises(TrustError) as caught:
            act(at=until + 1)
        assert caught.value.code == "crypto.ended"


def test_a_revocation_list_that_is_not_valid_yet_is_refused_as_a_list() -> None:
    made = tree()
    late = certificates.issue_crl(
        made.device_ca, made.device_ca_key, revoked=[], number=1, since=NOW + DAY, until=UNTIL
    )
    with pytest.raises(TrustError) as caught:
        certificates.verify_chain(
            made.device_chain, root=made.root, purpose="device", at=NOW, crls=[made.device_crls()[0], late]
        )
    assert caught.value.code == "crypto.crl"


# --- sm2 ----------------------------------------------------------------------------------------------------

KEY = Sm2PrivateKey.generate("a test's key")


class Counting:
    """libcrypto, with its calls of one name counted."""

    def __init__(self, name: str) -> None:
        self._name, self.calls = name, 0

    def __getattr__(self, name: str) -> Any:
        self.calls += name == self._name
        return getattr(lib, name)


def test_the_table_of_a_key_gives_its_points_back(monkeypatch: pytest.MonkeyPatch) -> None:
    table = verifying._Multiples(Sm2PrivateKey.from_scalar(SCALAR.to_bytes(32)).public_point)
    counting = Counting("EC_POINT_free")
    monkeypatch.setattr(verifying, "lib", counting)
    del table
    assert counting.calls == 32 * 255


def test_a_private_number_that_was_read_is_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = KEY.to_pkcs8()
    counting = Counting("BN_clear_free")
    monkeypatch.setattr(sm2, "lib", counting)
    Sm2PrivateKey.from_pkcs8(encoded)
    assert counting.calls == 2  # the one that was read and, as a reference, the one that becomes the key


def test_a_refusal_leaves_no_reason_behind_that_a_later_call_would_be_blamed_with() -> None:
    p256 = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )
    _libcrypto.drained()
    for act, says in (
        (lambda: Sm2PrivateKey.from_pkcs8(p256), "not on curve SM2"),
        (lambda: Sm2PrivateKey.from_pkcs8(b"no key"), "no private key in PKCS#8"),
        (lambda: sm2.public_pkey(b"\x04" + bytes(64)), "not on curve"),
        (lambda: Sm2PrivateKey.from_encrypted_pem(KEY.to_encrypted_pem(b"one"), b"other"), "this password"),
    ):
        with pytest.raises(TrustError, match=says):
            act()
        assert _libcrypto.drained() == ""


def test_an_encrypted_private_key_is_pkcs_8_with_a_salt_and_many_rounds() -> None:
    """PBES2, PBKDF2 with HMAC-SHA-256 and AES-256-CBC, as any TLS library reads it."""
    pem = KEY.to_encrypted_pem(b"a password")
    first, *middle, last, rest = pem.split(b"\n")
    assert (first, last, rest) == (
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
        b"-----END ENCRYPTED PRIVATE KEY-----",
        b"",
    )
    der = base64.b64decode(b"".join(middle), validate=True)
    for oid in ("2a864886f70d01050d", "2a864886f70d01050c", "2a864886f70d0209", "60864801650304012a"):
        assert bytes.fromhex(oid) in der
    at = der.index(bytes.fromhex("2a864886f70d01050c")) + 9
    assert der[at] == 0x30
    salt, rounds, *_ = proven._inside(der[at : at + 2 + der[at + 1]], 0x30) or []
    assert salt[0] == 4
    assert len(salt) - 2 >= 8
    assert int.from_bytes(rounds[2:]) == 100_000
    assert salt not in KEY.to_encrypted_pem(b"a password")


@pytest.mark.parametrize("size", [1, 127, 128, 129, 255, 256, 300])
def test_lengths_in_der_are_the_shortest(size: int) -> None:
    length = (
        bytes((size,))
        if size < 128
        else b"\x81" + bytes((size,))
        if size < 256
        else b"\x82" + size.to_bytes(2)
    )
    assert sm2._tagged(4, bytes(size)) == b"\x04" + length + bytes(size)
    plain = bytes(at % 251 for at in range(size))
    assert KEY.decrypt(sm2.encrypt(KEY.public_point, plain)) == plain


def test_a_ciphertext_of_nothing_is_refused_though_its_check_holds() -> None:
    made = reference.encrypt(reference.point(KEY.public_point), 12345, b"")
    assert len(made) == sm2.OVERHEAD
    with pytest.raises(TrustError) as caught:
        KEY.decrypt(made)
    assert caught.value.code == "crypto.ciphertext"


@pytest.mark.parametrize("number", ["07", "0102", "00ff", "7f" * 31, "00" + "ff" * 32, "7f" * 32])
def test_numbers_of_any_length_in_der_fill_their_32_bytes(number: str) -> None:
    """One signature in 128 has an r or s of less than 32 bytes."""
    short, full = bytes.fromhex(number), b"\x00" + b"\xaa" * 32
    filled = int.from_bytes(short).to_bytes(32)
    for r, s in ((short, full), (full, short), (short, short)):
        numbers = element(2, r) + element(2, s)
        expected = (filled if r is short else full[1:]) + (filled if s is short else full[1:])
        assert sm2._signature_from_der(element(0x30, numbers)) == expected
        more = element(4, bytes(range(32))) + element(4, b"x" * 200)
        made = sm2._ciphertext_from_der(element(0x30, numbers + more))
        assert made == b"\x04" + expected + bytes(range(32)) + b"x" * 200
        assert sm2._ciphertext_to_der(made) == element(0x30, numbers + more)


@pytest.mark.parametrize("lie", [True, False])
def test_a_library_that_says_the_same_of_every_signature_is_not_used(
    monkeypatch: pytest.MonkeyPatch, lie: bool
) -> None:
    monkeypatch.setattr(sm2, "verify", lambda *_: lie)
    works, sentence = sm2.supported()
    assert not works
    assert "answers the SM2 self-test wrongly" in sentence


@pytest.mark.parametrize(
    ("version", "named"), [("OpenSSL 1.1.1", "OpenSSL 1.1.1"), ("", "no libcrypto from 3.0 up")]
)
def test_a_library_without_sm2_is_named(monkeypatch: pytest.MonkeyPatch, version: str, named: str) -> None:
    monkeypatch.setattr(_libcrypto, "usable", lambda: False)
    monkeypatch.setattr(_libcrypto, "version", lambda: version)
    assert sm2.supported() == (
        False,
        f"Python's ssl links {named}, which has no SM2; use a Python with OpenSSL 3.0 or later.",
    )


def test_no_key_is_made_on_a_curve_that_the_library_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sm2, "SM2", 0)
    with pytest.raises(EngineError, match="make an SM2 key"):
        sm2._new_ec()


# --- proven: the little of DER that a leaf of ours is made of ---------------------------------------------------


@pytest.mark.parametrize(
    ("encoded", "size"),
    [
        (b"", None),
        (b"\x30", None),
        (b"\x30\x00", 2),
        (b"\x30\x00 and more", 2),
        (b"\x1e\x00", 2),
        (b"\x1f\x00", None),
        (b"\x3f\x00\x00", None),
        (b"\xbf\x01\x00", None),
        (b"\x30\x7f" + bytes(127), 129),
        (b"\x30\x7f" + bytes(126), None),
        (b"\x30\x80" + bytes(200), None),
        (b"\x30\x81", None),
        (b"\x30\x81\x7f" + bytes(127), None),
        (b"\x30\x81\x80" + bytes(128), 131),
        (b"\x30\x81\xff" + bytes(255), 258),
        (b"\x30\x82", None),
        (b"\x30\x82\x01", None),
        (b"\x30\x82\x00\x01\x05", None),
        (b"\x30\x82\x01\x00" + bytes(256), 260),
        (b"\x30\x82\x01\x00" + bytes(255), None),
        (b"\x30\x83\x00\x01\x00" + bytes(9), None),
        (b"\x30\x84\x00\x01\x00" + bytes(9), None),
    ],
    ids=lambda value: value[:5].hex() + f" of {len(value)}" if isinstance(value, bytes) else str(value),
)
def test_an_element_has_the_shortest_length_that_there_is_and_no_long_tag(
    encoded: bytes, size: int | None
) -> None:
    assert proven._size(encoded) == size


def test_what_is_no_element_of_its_tag_has_no_parts() -> None:
    assert proven._inside(b"\x30\x04\x02\x00\x05\x00", 0x30) == [b"\x02\x00", b"\x05\x00"]
    assert proven._inside(b"\x30\x00", 0x30) == []
    for broken in (b"", b"\x31\x00", b"\x30\x01", b"\x30\x00\x00", b"\x30\x02\x02\x01"):
        assert proven._inside(broken, 0x30) is None


@pytest.mark.parametrize(
    ("content", "good"),
    [
        (b"", False),
        (b"\x00", False),
        (b"\x01", True),
        (b"\x7f", True),
        (b"\x80", False),
        (b"\xff\x01", False),
        (b"\x00\x7f", False),
        (b"\x00\x80", True),
        (b"\x00\x00\x80", False),
        (b"\x00\x80" + bytes(31), True),
        (b"\x00\x80" + bytes(32), False),
        (b"\x01" + bytes(32), True),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else str(value),
)
def test_a_number_of_a_signature_is_above_0_and_has_no_byte_too_many(content: bytes, good: bool) -> None:
    assert proven._positive(b"\x02" + bytes((len(content),)) + content) is good
    assert not proven._positive(b"\x03" + bytes((len(content),)) + content)


def signed_with(r: bytes, s: bytes) -> bytes:
    """Something signed, with these two numbers as its signature."""
    numbers = element(0x30, element(2, r) + element(2, s))
    body = element(0x30, b"\x05\x00") + proven._SM2_WITH_SM3 + element(3, b"\0" + numbers)
    return element(0x30, body)


def test_a_short_r_or_s_is_filled_with_zeros_and_one_of_33_bytes_is_refused() -> None:
    assert proven._certificate(signed_with(b"\x07", b"\x00\x80")) == (
        b"\x30\x02\x05\x00",
        bytes(31) + b"\x07" + bytes(31) + b"\x80",
    )
    full = b"\x00\x80" + bytes(31)
    assert proven._certificate(signed_with(full, full)) is not None
    for r, s in ((b"\x01" + bytes(32), b"\x07"), (b"\x07", b"\x01" + bytes(32))):
        assert proven._certificate(signed_with(r, s)) is None


@pytest.mark.parametrize(
    ("encoded", "year"),
    [
        (b"\x17\x0d500102030405Z", 1950),
        (b"\x17\x0d990102030405Z", 1999),
        (b"\x17\x0d000102030405Z", 2000),
        (b"\x17\x0d490102030405Z", 2049),
        (b"\x18\x0f20500102030405Z", 2050),
        (b"\x18\x0f20510102030405Z", 2051),
        (b"\x18\x0f20490102030405Z", None),
        (b"\x18\x0f19500102030405Z", None),
        (b"\x17\x0d501302030405Z", None),
    ],
    ids=lambda value: value[2:].decode() if isinstance(value, bytes) else str(value),
)
def test_dates_are_of_two_digits_from_1950_to_2049_and_of_four_from_2050(
    encoded: bytes, year: int | None
) -> None:
    expected = year and int(datetime(year, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()) * 1000
    assert proven._date(encoded) == expected


@pytest.mark.parametrize(
    ("time", "good"),
    [("000000", True), ("235959", True), ("240000", False), ("236000", False), ("235960", False)],
)
def test_a_date_has_hours_to_23_and_minutes_and_seconds_to_59(time: str, good: bool) -> None:
    midnight = int(datetime(2026, 12, 31, tzinfo=UTC).timestamp()) * 1000
    later = (int(time[:2]) * 60 + int(time[2:4])) * 60_000 + int(time[4:]) * 1000
    for encoded in (f"\x17\x0d261231{time}Z", f"\x18\x0f20601231{time}Z"):
        assert (proven._date(encoded.encode()) is not None) is good
    assert proven._date(f"\x17\x0d261231{time}Z".encode()) == (midnight + later if good else None)


def test_an_authority_stands_from_its_last_beginning_to_its_first_end_but_for_a_second() -> None:
    made = tree()
    lists = [made.device_crls()[0], made.crl(made.device_ca, made.device_ca_key, until=NOW + DAY)]
    for crls, until in ((lists, NOW + DAY), (made.device_crls(), UNTIL)):
        authority, _ = proven.Authority.proved_by(made.device_chain, root=made.root, at=NOW, crls=crls)
        assert (authority.since, authority.until) == (SINCE + 1000, until - 1000)
        assert authority.holds(crls, SINCE + 1000)
        assert authority.holds(crls, until - 1000)
        assert not authority.holds(crls, SINCE + 999)
        assert not authority.holds(crls, until - 999)
        assert not authority.holds(crls[:1], NOW)


# --- issuing ----------------------------------------------------------------------------------------------------


def test_a_list_is_of_version_2_names_its_issuers_key_and_is_in_order() -> None:
    made = tree()
    der = made.crl(made.device_ca, made.device_ca_key, [9, 3, 7])
    signed, *_ = proven._inside(der, 0x30) or []
    assert (proven._inside(signed, 0x30) or [])[0] == b"\x02\x01\x01"
    read = x509.load_der_x509_crl(der)
    key_id = read.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert key_id == certificates.parse(made.device_ca).key_id
    assert [entry.serial_number for entry in read] == [3, 7, 9]


def test_a_serial_of_more_than_20_bytes_is_not_listed_and_leaves_no_entry_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = tree()
    assert [
        one.serial_number for one in x509.load_der_x509_crl(made.crl(made.root, made.root_key, [2**160 - 1]))
    ]
    counting = Counting("X509_REVOKED_free")
    monkeypatch.setattr(issuing, "lib", counting)
    with pytest.raises(OverflowError):
        made.crl(made.root, made.root_key, [2**160])
    assert counting.calls == 1


@pytest.mark.parametrize(("byte", "first"), [(0x00, 0x40), (0xFF, 0x7F), (0x81, 0x41)])
def test_a_serial_has_16_bytes_of_which_126_bits_are_random(
    monkeypatch: pytest.MonkeyPatch, byte: int, first: int
) -> None:
    made = tree()
    monkeypatch.setattr(os, "urandom", lambda size: bytes((byte,)) * size)
    assert certificates.parse(made.device()).serial == int.from_bytes(bytes((first,)) + bytes((byte,)) * 15)


# --- the self-test: a primitive that answers wrongly a single time is found ----------------------------------------


@pytest.mark.parametrize(
    ("where", "name", "test", "calls"),
    [
        (symmetric, "equal", "comparison", 2),
        (sm2, "verify", "SM2 signature", 4),
        (sm2.Sm2PrivateKey, "decrypt", "SM2 encryption", 2),
    ],
    ids=["equal", "verify", "decrypt"],
)
def test_one_wrong_answer_of_one_primitive_fails_its_self_test(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, test: str, calls: int
) -> None:
    right, counted, wrong = getattr(where, name), 0, -1

    def once(*given: Any) -> Any:
        nonlocal counted
        counted += 1
        answer = right(*given)
        if counted - 1 != wrong:
            return answer
        return not answer if isinstance(answer, bool) else answer + b"x"

    monkeypatch.setattr(where, name, once)
    assert selftest.TESTS[test]()
    assert counted == calls
    for at in range(calls):
        counted, wrong = 0, at
        assert not selftest.TESTS[test](), at


def test_a_key_of_another_scalar_fails_all_self_tests_with_a_known_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Sm2PrivateKey.generate("another")
    monkeypatch.setattr(sm2.Sm2PrivateKey, "from_scalar", lambda *_: other)
    assert selftest.failing() == ["SM2 signature", "SM2 encryption", "SM2 key agreement"]


# --- the library itself -------------------------------------------------------------------------------------------


def opened(monkeypatch: pytest.MonkeyPatch, dlopen: Any) -> Any:
    """The module, run once more beside the real one, where opening a library does this."""
    monkeypatch.setattr(FFI, "dlopen", dlopen)
    spec = _libcrypto.__spec__  # not its file: where another source was put in its place, that runs
    assert spec is not None
    assert spec.loader is not None
    made = ModuleType(spec.name)
    spec.loader.exec_module(made)
    return made


class OfVersion:
    """libcrypto under another version number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def OpenSSL_version_num(self) -> int:  # as libcrypto calls it
        return self._number

    def __getattr__(self, name: str) -> Any:
        return getattr(lib, name)


def test_a_machine_without_a_library_has_no_curve_no_digest_and_version_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: object) -> Any:
        raise OSError("no library")

    made = opened(monkeypatch, none)
    assert (made.lib, made.SM2, made.GROUP, made.SM3) == (None, 0, made.NULL, made.NULL)
    assert (made.usable(), made.version(), made.number()) == (False, "", 0)


@pytest.mark.parametrize(("number", "taken"), [(0x30000000, True), (0x2FFFFFFF, False), (0x101010BF, False)])
def test_a_library_is_taken_from_version_3_0_0_up(
    monkeypatch: pytest.MonkeyPatch, number: int, taken: bool
) -> None:
    made = opened(monkeypatch, lambda *_: OfVersion(number))
    assert (made.lib is not None) is taken
    assert made.number() == (number if taken else 0)


def test_the_number_of_the_library_is_its_own() -> None:
    assert _libcrypto.number() == lib.OpenSSL_version_num() >= 0x30000000


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ((3, 0, 0), True), ((3, 1, 0), True), ((3, 2, 5), False), ((3, 2, 6), True), ((3, 3, 4), False),
        ((3, 3, 5), True), ((3, 4, 2), False), ((3, 4, 3), True), ((3, 5, 3), False), ((3, 5, 4), True),
        ((3, 6, 0), True), ((4, 0, 0), True), ((1, 1, 1), False),
    ],
    ids=str,
)  # fmt: skip
def test_each_series_of_the_library_is_good_from_its_own_patch_on(
    version: tuple[int, int, int], good: bool
) -> None:
    major, minor, patch = version
    number = major << 28 | minor << 20 | patch << 4
    assert selftest.advice(number, "aarch64")[0] is good
    assert selftest.advice(number, "x86_64")[0] is (major >= 3)


def test_a_library_that_fails_at_sm2_is_not_used_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bool:
        raise EngineError("crypto.libcrypto", "libcrypto could not verify: of a test.")

    monkeypatch.setattr(sm2, "verify", fails)
    works, sentence = sm2.supported()
    assert works is False
    assert "SM2 fails its self-test (libcrypto could not verify: of a test.)" in sentence


@pytest.mark.parametrize(
    ("number", "der"),
    [("0001", "020101"), ("0102", "02020102"), ("0080", "02020080"), ("0000", "020100"), ("7f", "02017f")],
)
def test_a_number_in_der_loses_its_zeros_and_nothing_else(number: str, der: str) -> None:
    assert sm2._integer(bytes.fromhex(number)) == bytes.fromhex(der)
