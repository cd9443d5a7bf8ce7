"""A leaf is let pass without OpenSSL only where OpenSSL lets it pass: the quick way and the long way agree on everything.

The long way is `certificates.verify_chain` with both lists, the names compared after it; every chain here is asked of
both, with the CA proven before, so that the quick way is open. Certificates are changed in their DER and signed anew by
the right CA, so the signature is never why one of them is refused. (T9, LINK section 1.)
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from meterseal.crypto import certificates, issuing
from meterseal.crypto.certificates import parse, verify_chain
from meterseal.crypto.names import USAGE, uri
from meterseal.crypto.proven import Authority, Leaf
from meterseal.crypto.sm2 import Sm2PrivateKey, _tagged
from meterseal.errors import TrustError
from meterseal.security import pki as root_acts
from meterseal.security.pki import Pki
from meterseal.security.registry import Registry
from meterseal.security.vault import Vault
from tests.crypto.reference import signature_der

from .conftest import DAY, NOW, PASSPHRASE, PROJECT

DEVICE, MODULE = bytes.fromhex("1078330011223344"), bytes.fromhex("0102030405060708")
ALGORITHM = bytes.fromhex("300a06082a811ccf55018375")
POINT = Sm2PrivateKey.generate().public_point


class Ground:
    """A PKI with a CA that is proven, its key in hand, and both ways to judge a chain."""

    def __init__(self, directory: Path) -> None:
        vault = Vault.create(directory / "ca.vault", "ca", PASSPHRASE)
        self.registry = Registry.create(directory / "registry.db", {}, vault)
        root_acts.establish(directory, vault, self.registry, PASSPHRASE, PROJECT, NOW)
        self.pki = Pki(vault, self.registry, PROJECT)
        self.ca, self.key = self.pki.chain("device"), vault.signing("DEVICE-CA", 1)
        self.leaf = self.pki.issue_device(DEVICE, MODULE, POINT, NOW)
        self.judged([self.leaf, self.ca])
        self.authority = self.pki._chains._authorities[self.ca]

    def long_way(self, chain: list[bytes], at: int = NOW) -> str:
        """The code with which the long way refuses, empty where it lets pass."""
        lists = (self.pki.root_list, self.pki._list("device", 1, NOW))
        try:
            leaf = verify_chain(chain, root=self.pki.root, purpose="device", at=at, crls=lists)
        except TrustError as error:
            return error.code
        return (
            "" if (leaf.identity("device"), leaf.identity("module")) == (DEVICE, MODULE) else "link.identity"
        )

    def judged(self, chain: list[bytes], at: int = NOW) -> str:
        """The same of the service."""
        try:
            self.pki.check_device(chain, DEVICE, MODULE, at)
        except TrustError as error:
            return error.code
        return ""

    def agreed(self, chain: list[bytes], at: int = NOW) -> str:
        """The answer, which both ways give, twice: what was proven once and what is remembered are alike."""
        answer = self.long_way(chain, at)
        assert [self.judged(chain, at) for _ in range(2)] == [answer] * 2
        return answer

    def quick(self, der: bytes) -> Leaf | None:
        """The quick way alone."""
        return self.authority.leaf(der)

    def signed(self, tbs: bytes, inner: bytes = ALGORITHM) -> bytes:
        """A certificate of this content by the CA."""
        return _tagged(0x30, tbs + inner + _tagged(3, b"\0" + signature_der(self.key.sign(tbs))))

    def issued(self, extensions: list[tuple[str, str]], name: str = "odd", until: int = NOW + DAY) -> bytes:
        return issuing._issue(self.key, self.ca, POINT, name, extensions, NOW - DAY, until)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("ground"))


def tbs_of(der: bytes) -> bytes:
    from cryptography import x509

    return x509.load_der_x509_certificate(der).tbs_certificate_bytes


def elements(content: bytes) -> list[bytes]:
    """The DER elements in `content`."""
    found = []
    while content:
        _, _, end = certificates._element(content, 0)
        found.append(content[:end])
        content = content[end:]
    return found


def inside(element: bytes) -> bytes:
    return element[certificates._element(element, 0)[1] :]


def with_field(der: bytes, place: int, value: bytes) -> bytes:
    """The TBS with another element in this place (0 version … 7 extensions); an empty one leaves it out."""
    fields = elements(inside(tbs_of(der)))
    fields[place : place + 1] = [value] if value else []
    return _tagged(0x30, b"".join(fields))


def with_extensions(der: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    extensions = elements(inside(inside(elements(inside(tbs_of(der)))[7])))
    return with_field(der, 7, _tagged(0xA3, _tagged(0x30, b"".join(change(extensions)))))


SKI, AKI, BASIC, USE, EXTENDED, NAMES = range(6)
CRITICAL = bytes.fromhex("0101ff")


def made_critical(extension: bytes) -> bytes:
    oid, value = elements(inside(extension))
    return _tagged(0x30, oid + CRITICAL + value)


def made_loose(extension: bytes) -> bytes:
    oid, _, value = elements(inside(extension))
    return _tagged(0x30, oid + value)


def put(place: int, change: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    return lambda all_: [change(one) if number == place else one for number, one in enumerate(all_)]


def extension(oid: str, value: str, *, critical: bool) -> bytes:
    return _tagged(
        0x30,
        _tagged(6, bytes.fromhex(oid)) + (CRITICAL if critical else b"") + _tagged(4, bytes.fromhex(value)),
    )


def turned_round(names: bytes) -> str:
    """Both names of a subjectAltName, the second first."""
    both = elements(inside(inside(elements(inside(names))[1])))
    return _tagged(0x30, b"".join(both[::-1])).hex()


def name(*pairs: tuple[str, int, bytes]) -> bytes:
    return _tagged(
        0x30,
        b"".join(
            _tagged(0x31, _tagged(0x30, _tagged(6, bytes.fromhex(oid)) + _tagged(tag, text)))
            for oid, tag, text in pairs
        ),
    )


def dates(*texts: bytes) -> bytes:
    return _tagged(0x30, b"".join(_tagged(0x17 if len(text) == 13 else 0x18, text) for text in texts))


ORGANISATION, CN = "55040a", "550403"
OTHER_KEY_ID = "301680140101010101010101010101010101010101010101"
BY_NAME = "300ea10c300a820106820102830103840104"
EXTENSIONS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "no subject key identifier": lambda e: e[1:],
    "no authority key identifier": lambda e: [e[0], *e[2:]],
    "another authority key identifier": put(AKI, lambda e: extension("551d23", OTHER_KEY_ID, critical=False)),
    "empty authority key identifier": put(AKI, lambda e: extension("551d23", "3000", critical=False)),
    "authority named by a broken name": put(AKI, lambda e: extension("551d23", BY_NAME, critical=False)),
    "critical subject key identifier": put(SKI, made_critical),
    "critical authority key identifier": put(AKI, made_critical),
    "critical names": put(NAMES, made_critical),
    "loose basic constraints": put(BASIC, made_loose),
    "loose key usage": put(USE, made_loose),
    "loose extended usage": put(EXTENDED, made_loose),
    "no basic constraints": lambda e: [one for k, one in enumerate(e) if k != BASIC],
    "explicit CA:FALSE": put(BASIC, lambda e: extension("551d13", "3003010100", critical=True)),
    "path length without CA": put(BASIC, lambda e: extension("551d13", "3003020100", critical=True)),
    "CA": put(BASIC, lambda e: extension("551d13", "30030101ff", critical=True)),
    "also non-repudiation": put(USE, lambda e: extension("551d0f", "030206c0", critical=True)),
    "also signs lists": put(USE, lambda e: extension("551d0f", "03020182", critical=True)),
    "key usage with padding bits set": put(USE, lambda e: extension("551d0f", "030207ff", critical=True)),
    "key usage of no bit": put(USE, lambda e: extension("551d0f", "030100", critical=True)),
    "unknown extension": lambda e: [*e, extension("2a0304", "0500", critical=False)],
    "unknown critical extension": lambda e: [*e, extension("2a0304", "0500", critical=True)],
    "unknown critical extension first": lambda e: [extension("2a0304", "0500", critical=True), *e],
    "critical policies": lambda e: [
        *e,
        extension("551d20", "3006300406022a03", critical=True),
    ],
    "a proxy": lambda e: [
        *e,
        extension("2b0601050507010e", "300c300a06082b06010505071501", critical=True),
    ],
    "name constraints": lambda e: [*e, extension("551d1e", "3000", critical=True)],
    "distribution points": lambda e: [*e, extension("551d1f", "3000", critical=True)],
    "an extension twice": lambda e: [*e, e[USE]],
    "another order": lambda e: e[::-1],
    "names in another order": put(NAMES, lambda e: extension("551d11", turned_round(e), critical=False)),
    "no extension": lambda e: [],
}
FIELDS: dict[str, tuple[int, bytes]] = {
    "no version": (0, b""),
    "version 1": (0, bytes.fromhex("a003020100")),
    "version 2": (0, bytes.fromhex("a003020101")),
    "version 4": (0, bytes.fromhex("a003020103")),
    "serial 0": (1, bytes.fromhex("020100")),
    "serial 5": (1, bytes.fromhex("020105")),
    "negative serial": (1, b"\x02\x10\x80" + bytes(15)),
    "serial with a byte too many": (1, b"\x02\x11\x00" + b"\x41" * 16),
    "serial of 21 bytes": (1, b"\x02\x15" + b"\x41" * 21),
    "empty serial": (1, b"\x02\x00"),
    "algorithm with NULL": (2, bytes.fromhex("300c06082a811ccf550183750500")),
    "algorithm of the other curve": (2, bytes.fromhex("300a06082a8648ce3d040302")),
    "no issuer": (3, bytes.fromhex("3000")),
    "another issuer": (3, name((ORGANISATION, 0x0C, b"meterseal"), (CN, 0x0C, b"meterseal device CB"))),
    "the platform's CA as issuer": (
        3,
        name((ORGANISATION, 0x0C, b"meterseal"), (CN, 0x0C, b"meterseal platform CA")),
    ),
    "no subject": (5, bytes.fromhex("3000")),
    "subject without organisation": (5, name((CN, 0x0C, b"module"))),
    "printable subject": (5, name((ORGANISATION, 0x13, b"meterseal"), (CN, 0x13, b"module"))),
    "subject in another tongue": (5, name((ORGANISATION, 0x0C, b"meterseal"), (CN, 0x0C, "表".encode()))),
    "subject that is no UTF-8": (5, name((ORGANISATION, 0x0C, b"meterseal"), (CN, 0x0C, b"\xff\xfe"))),
    "subject with a zero": (5, name((ORGANISATION, 0x0C, b"meterseal"), (CN, 0x0C, b"a\0b"))),
    "subject of 65 letters": (5, name((ORGANISATION, 0x0C, b"meterseal"), (CN, 0x0C, b"a" * 65))),
    "three names": (5, name((ORGANISATION, 0x0C, b"meterseal"), (CN, 0x0C, b"a"), (CN, 0x0C, b"b"))),
    "empty common name": (5, name((ORGANISATION, 0x0C, b"meterseal"), (CN, 0x0C, b""))),
    "dates turned round": (4, dates(b"460101000000Z", b"260101000000Z")),
    "dates without seconds": (4, dates(b"260101000000Z", b"4601010000Z")),
    "dates with an offset": (
        4,
        _tagged(0x30, _tagged(0x17, b"260101000000+0000") + _tagged(0x17, b"460101000000Z")),
    ),
    "a date with a fraction": (
        4,
        _tagged(0x30, _tagged(0x17, b"260101000000Z") + _tagged(0x18, b"20460101000000.5Z")),
    ),
    "a thirteenth month": (4, dates(b"261301000000Z", b"460101000000Z")),
    "a second 60": (4, dates(b"260101000060Z", b"460101000000Z")),
    "generalised time before 2050": (4, dates(b"20260101000000Z", b"20460101000000Z")),
    "utc time of 1950": (4, dates(b"500101000000Z", b"460101000000Z")),
    "one date": (4, dates(b"260101000000Z")),
    "three dates": (4, dates(b"260101000000Z", b"460101000000Z", b"460101000000Z")),
    "no end (9999)": (4, dates(b"260101000000Z", b"99991231235959Z")),
    "issuer's own unique id": (7, b"\x81\x02\x00\x01"),
    "no extensions": (7, b""),
}
OFF_CURVE = POINT[:-1] + bytes((POINT[-1] ^ 1,))
KEYS: dict[str, str] = {
    "point off the curve": "3059301306072a8648ce3d020106082a811ccf5501822d034200" + OFF_CURVE.hex(),
    "point of zeros": "3059301306072a8648ce3d020106082a811ccf5501822d03420004" + "00" * 64,
    "compressed point": "3039301306072a8648ce3d020106082a811ccf5501822d03220002" + POINT[1:33].hex(),
    "hybrid point": "3059301306072a8648ce3d020106082a811ccf5501822d034200"
    + bytes((6 + POINT[-1] % 2,)).hex()
    + POINT[1:].hex(),
    "point at infinity": "3019301306072a8648ce3d020106082a811ccf5501822d03020000",
    "on the other curve": "3059301306072a8648ce3d020106082a8648ce3d030107034200" + POINT.hex(),
    "point with unused bits": "3059301306072a8648ce3d020106082a811ccf5501822d034201" + POINT.hex(),
}


def test_what_we_issue_goes_the_quick_way_and_says_what_openssl_says(ground: Ground) -> None:
    """Sane first: else everything below would hold because nothing goes the quick way."""
    for until in (NOW + DAY, NOW + 3 * 365 * DAY):
        leaf = ground.issued(
            [
                ("basicConstraints", "critical,CA:FALSE"),
                ("keyUsage", "critical,digitalSignature"),
                ("extendedKeyUsage", f"critical,{USAGE['device']}"),
                ("subjectAltName", f"URI:{uri('device', DEVICE)},URI:{uri('module', MODULE)}"),
            ],
            until=until,
        )
        assert ground.quick(leaf) == Leaf.of(parse(leaf))
        assert ground.agreed([leaf, ground.ca]) == ""
    assert ground.quick(ground.leaf) == Leaf.of(parse(ground.leaf))
    again = ground.signed(tbs_of(ground.leaf))
    assert again != ground.leaf
    assert ground.quick(again) == ground.quick(ground.leaf)


def test_dates_beyond_2050_are_read(ground: Ground) -> None:
    tbs = with_field(ground.leaf, 4, dates(b"260101000000Z", b"20620304050607Z"))
    leaf = ground.quick(ground.signed(tbs))
    assert leaf is not None
    assert leaf.until == 999 + 1000 * int(
        datetime.datetime(2062, 3, 4, 5, 6, 7, tzinfo=datetime.UTC).timestamp()
    )
    assert ground.agreed([ground.signed(tbs), ground.ca]) == ""


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_leaves_with_other_extensions_are_judged_alike(ground: Ground, kind: str) -> None:
    leaf = ground.signed(with_extensions(ground.leaf, EXTENSIONS[kind]))
    assert ground.quick(leaf) is None
    ground.agreed([leaf, ground.ca])


@pytest.mark.filterwarnings("ignore:Parsed a serial number", "ignore:The parsed certificate")
@pytest.mark.parametrize("kind", FIELDS)
def test_leaves_with_another_field_are_judged_alike(ground: Ground, kind: str) -> None:
    leaf = ground.signed(with_field(ground.leaf, *FIELDS[kind]))
    if kind not in {"dates turned round", "no end (9999)", "utc time of 1950"}:
        assert ground.quick(leaf) is None
    ground.agreed([leaf, ground.ca])


@pytest.mark.parametrize("kind", KEYS)
def test_leaves_with_another_kind_of_key_are_judged_alike(ground: Ground, kind: str) -> None:
    leaf = ground.signed(with_field(ground.leaf, 6, bytes.fromhex(KEYS[kind])))
    assert ground.quick(leaf) is None
    assert ground.agreed([leaf, ground.ca]) != ""


def test_a_leaf_that_bears_its_cas_own_name_goes_the_long_way(ground: Ground) -> None:
    issuer = elements(inside(tbs_of(ground.leaf)))[3]
    leaf = ground.signed(with_field(ground.leaf, 5, issuer))
    assert ground.quick(leaf) is None
    ground.agreed([leaf, ground.ca])


@pytest.mark.parametrize("outer", ["300c06082a811ccf550183750500", "300a06082a8648ce3d040302", "3000"])
def test_a_signature_under_another_algorithm_than_was_signed_is_refused(ground: Ground, outer: str) -> None:
    leaf = ground.signed(tbs_of(ground.leaf), bytes.fromhex(outer))
    assert ground.quick(leaf) is None
    assert ground.agreed([leaf, ground.ca]) != ""


def test_signatures_in_other_encodings_are_judged_alike(ground: Ground) -> None:
    tbs = tbs_of(ground.leaf)
    raw = ground.key.sign(tbs)
    r, s = raw[:32], raw[32:]
    whole = signature_der(raw)
    for bits in (
        b"\0" + whole + b"\0",
        b"\0" + whole[:-1],
        b"\1" + whole,
        b"\0" + _tagged(0x30, _tagged(2, b"\0\0" + r) + _tagged(2, b"\0" + s)),
        b"\0" + _tagged(0x30, _tagged(2, b"\0" + s) + _tagged(2, b"\0" + r)),
        b"\0" + _tagged(0x30, _tagged(2, r.lstrip(b"\0")) + _tagged(2, b"")),
        b"\0" + b"\x30\x81" + whole[1:],
        b"\0",
        b"",
    ):
        leaf = _tagged(0x30, tbs + ALGORITHM + _tagged(3, bits))
        assert ground.quick(leaf) is None
        ground.agreed([leaf, ground.ca])


def test_lengths_that_are_not_the_shortest_and_bytes_behind_the_end_are_judged_alike(ground: Ground) -> None:
    leaf = ground.leaf
    long_outer = b"\x30\x83\x00" + leaf[2:]
    indefinite = b"\x30\x80" + leaf[4:] + b"\0\0"
    validity = elements(inside(tbs_of(leaf)))[4]
    padded = with_field(leaf, 4, b"\x30\x81" + validity[1:])
    for changed in (
        long_outer,
        indefinite,
        leaf + b"\0",
        leaf[:-1],
        leaf * 2,
        ground.signed(padded),
        b"",
        leaf[:1],
    ):
        assert ground.quick(changed) is None
        ground.agreed([changed, ground.ca])


def test_a_leaf_by_another_key_of_the_same_name_is_refused(ground: Ground) -> None:
    forger = Sm2PrivateKey.generate()
    tbs = tbs_of(ground.leaf)
    forged = _tagged(0x30, tbs + ALGORITHM + _tagged(3, b"\0" + signature_der(forger.sign(tbs))))
    assert ground.quick(forged) is None
    assert ground.agreed([forged, ground.ca]) == "crypto.chain"


def test_a_leaf_signed_under_another_signer_id_is_refused(ground: Ground) -> None:
    tbs = tbs_of(ground.leaf)
    signature = signature_der(ground.key.sign(tbs, b""))
    leaf = _tagged(0x30, tbs + ALGORITHM + _tagged(3, b"\0" + signature))
    assert ground.quick(leaf) is None
    assert ground.agreed([leaf, ground.ca]) == "crypto.chain"


@pytest.mark.parametrize("days", [-2, -1, 0, 1, 2, 900])
@pytest.mark.parametrize("second", [-1001, -1000, -1, 0, 999, 1000, 1999])
def test_the_ends_of_a_leafs_life_are_those_of_openssl(ground: Ground, days: int, second: int) -> None:
    begins, ends = sorted((NOW, NOW + days * DAY))
    leaf = ground.signed(with_field(ground.leaf, 4, dates(_utc(begins), _utc(ends))))
    ground.agreed([leaf, ground.ca], NOW + second)


def _utc(at: int) -> bytes:
    return datetime.datetime.fromtimestamp(at // 1000, tz=datetime.UTC).strftime("%y%m%d%H%M%SZ").encode()


def test_a_ca_that_constrains_names_has_no_quick_way(ground: Ground) -> None:
    """What such a CA lets pass may differ from leaf to leaf, so every leaf is OpenSSL's."""
    key, root_key = Sm2PrivateKey.generate(), Sm2PrivateKey.generate()
    root = issuing.issue_root(root_key, name="root", since=NOW - DAY, until=NOW + 99 * DAY)
    shape = [
        ("basicConstraints", "critical,CA:TRUE,pathlen:0"),
        ("keyUsage", "critical,keyCertSign,cRLSign"),
        ("extendedKeyUsage", f"critical,{USAGE['device']}"),
    ]
    for more in ([], [("nameConstraints", "permitted;DNS:example.org")]):
        ca = issuing._issue(root_key, root, key.public_point, "CA", shape + more, NOW - DAY, NOW + 9 * DAY)
        leaf = issuing.issue_leaf(
            ca,
            key,
            point=POINT,
            name="leaf",
            purpose="device",
            uris=[uri("device", DEVICE), uri("module", MODULE)],
            since=NOW - DAY,
            until=NOW + DAY,
        )
        lists = [
            issuing.issue_crl(one, by, revoked=(), number=1, since=NOW - DAY, until=NOW + DAY)
            for one, by in ((root, root_key), (ca, key))
        ]
        authority, proved = Authority.proved_by([leaf, ca], root=root, at=NOW, crls=lists)
        assert proved == Leaf.of(parse(leaf))
        assert authority.leaf(leaf) == (None if more else proved)


def test_a_ca_that_does_not_hold_is_never_an_authority(ground: Ground) -> None:
    lists = [ground.pki.root_list, ground.pki._list("device", 1, NOW)]
    chain = [ground.leaf, ground.ca]
    for wrong in (
        lambda: Authority.proved_by(chain, root=ground.pki.chain("platform"), at=NOW, crls=lists),
        lambda: Authority.proved_by(chain, root=ground.pki.root, at=NOW, crls=lists[:1]),
        lambda: Authority.proved_by(chain, root=ground.pki.root, at=NOW, crls=[]),
        lambda: Authority.proved_by(chain, root=ground.pki.root, at=NOW - 99 * DAY, crls=lists),
        lambda: Authority.proved_by(chain[::-1], root=ground.pki.root, at=NOW, crls=lists),
    ):
        with pytest.raises(TrustError):
            wrong()


def test_an_authority_stands_for_its_own_lists_and_time_alone(ground: Ground) -> None:
    lists = ground.authority.crls
    assert ground.authority.holds(lists, NOW)
    for other in (lists[::-1], lists[:1], (), (lists[0], lists[1] + b"\0")):
        assert not ground.authority.holds(other, NOW)
    until = certificates.list_until(lists[1])
    assert ground.authority.holds(lists, until - 1000)
    assert not ground.authority.holds(lists, until)
    assert not ground.authority.holds(lists, NOW - 2 * DAY)


def test_a_leaf_on_the_list_that_the_authority_was_proved_with_has_no_quick_way(tmp_path: Path) -> None:
    fresh = Ground(tmp_path)
    other = fresh.pki.issue_device(DEVICE, MODULE, POINT, NOW)
    key = fresh.key
    listed = issuing.issue_crl(
        fresh.ca, key, revoked=[(parse(other).serial, NOW)], number=9, since=NOW - DAY, until=NOW + DAY
    )
    authority, _ = Authority.proved_by(
        [fresh.leaf, fresh.ca], root=fresh.pki.root, at=NOW, crls=[fresh.pki.root_list, listed]
    )
    assert authority.leaf(fresh.leaf) is not None
    assert authority.leaf(other) is None


@pytest.mark.filterwarnings("ignore:Parsed a serial number", "ignore:The parsed certificate")
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 464), cut=st.integers(0, 6), noise=st.binary(max_size=6))
@example(at=10, cut=1, noise=b"\x02")
def test_any_change_that_the_ca_signs_is_judged_alike(
    ground: Ground, at: int, cut: int, noise: bytes
) -> None:
    """Bytes of the signed part changed, taken out and put in, and signed anew: one answer."""
    tbs = tbs_of(ground.leaf)
    changed = tbs[:at] + noise + tbs[at + cut :]
    leaf = ground.signed(changed)
    quick = ground.quick(leaf)
    chain = [leaf, ground.ca]
    if quick is None:
        ground.agreed(chain)
        return
    # Where the quick way says yes, OpenSSL says yes too, at a time at which the leaf lives.
    lists = (ground.pki.root_list, ground.pki._list("device", 1, NOW))
    middle = max(quick.since + 1000, NOW)
    if middle <= quick.until - 1000 and ground.authority.holds(lists, middle):
        read = verify_chain(chain, root=ground.pki.root, purpose="device", at=middle, crls=lists)
        assert Leaf.of(read) == quick
    ground.agreed(chain)


@pytest.mark.filterwarnings("ignore:Parsed a serial number", "ignore:The parsed certificate")
def test_every_flipped_bit_of_the_signed_part_is_judged_alike_when_the_ca_signs_it(ground: Ground) -> None:
    tbs, passed = tbs_of(ground.leaf), 0
    for at in range(len(tbs)):
        leaf = ground.signed(tbs[:at] + bytes((tbs[at] ^ 1 << at % 8,)) + tbs[at + 1 :])
        passed += ground.quick(leaf) is not None
        ground.agreed([leaf, ground.ca])
    assert passed > 30  # serial, dates, subject, ids: places where a change makes another good leaf


def test_no_bit_of_a_leaf_may_change_unsigned(ground: Ground) -> None:
    for at in range(len(ground.leaf)):
        changed = ground.leaf[:at] + bytes((ground.leaf[at] ^ 1 << at % 8,)) + ground.leaf[at + 1 :]
        assert ground.quick(changed) is None
        assert ground.judged([changed, ground.ca]) != ""


def test_noise_is_no_leaf(ground: Ground) -> None:
    for size in (0, 1, 2, 3, 4, 60, 555, 3000):
        assert ground.quick(os.urandom(size)) is None
        assert ground.quick(b"\x30\x82" + size.to_bytes(2) + os.urandom(size)) is None


def test_the_usage_in_the_shape_is_the_usage_of_devices() -> None:
    from cryptography import x509

    from meterseal.crypto import proven

    usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(USAGE["device"])])
    assert usage.public_bytes() == proven._USAGE_DEVICE
