"""Chains of LINK section 1 hold; every chain that an attacker would like is refused, for its own reason.

Proves HM 8.5.1.2.a and HM 8.5.1.2.b as far as certificates carry them.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.crypto import certificates, issuing, sm2
from meterseal.crypto.certificates import PLATFORM_LIFETIME, USAGE, parse, verify_chain
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError, TrustError
from tests.crypto.pki import DAY, DEVICE, MODULE, NOW, PROJECT, SINCE, UNTIL, Tree

TREE = Tree()
RUN = json.loads((Path(__file__).parents[1] / "vectors" / "link_runs.json").read_text(encoding="utf-8"))[
    "runs"
][0]


def check_device(chain: list[bytes], **wishes: Any) -> certificates.Certificate:
    return verify_chain(chain, root=TREE.root, purpose="device", **{"at": NOW, **wishes})


def check_platform(chain: list[bytes], **wishes: Any) -> certificates.Certificate:
    given = {"at": NOW, "ended_only": True, "longest": PLATFORM_LIFETIME, **wishes}
    return verify_chain(chain, root=TREE.root, purpose="platform", **given)


def refused(check: Callable[[], object], code: str) -> None:
    with pytest.raises(TrustError) as error:
        check()
    assert error.value.code == code, error.value


def test_usage_arc_is_the_uuid_of_urn_meterseal() -> None:
    assert uuid.uuid5(uuid.NAMESPACE_URL, "urn:meterseal").int == 285079958047663026645145762408991924743
    assert USAGE == {
        "platform": "2.25.285079958047663026645145762408991924743.1",
        "device": "2.25.285079958047663026645145762408991924743.2",
        "ledger": "2.25.285079958047663026645145762408991924743.3",
        "tls": "serverAuth,clientAuth",
    }


def test_a_device_chain_holds_and_says_whose_it_is() -> None:
    leaf = check_device(TREE.device_chain, crls=TREE.device_crls())
    assert leaf.identity("device") == DEVICE
    assert leaf.identity("module") == MODULE
    assert leaf.identity("project") == b""
    assert leaf.point == TREE.device_key.public_point
    assert (leaf.since, leaf.until) == (SINCE, UNTIL + 999)


def test_a_platform_chain_holds_and_says_whose_it_is() -> None:
    leaf = check_platform(TREE.platform_chain)
    assert leaf.identity("project") == PROJECT
    assert leaf.since == SINCE


@pytest.mark.parametrize("purpose", ["platform", "device"])
def test_chains_of_an_independent_implementation_hold(purpose: certificates.Purpose) -> None:
    chain = [bytes.fromhex(one) for one in RUN[f"{purpose}_chain"]]
    verify_chain(chain, root=bytes.fromhex(RUN["root_cert"]), purpose=purpose, at=1_800_000_000_000)


def test_a_platform_certificate_of_a_century_is_refused_by_a_product() -> None:
    chain = [bytes.fromhex(one) for one in RUN["platform_chain"]]
    root = bytes.fromhex(RUN["root_cert"])
    refused(
        lambda: verify_chain(
            chain, root=root, purpose="platform", at=NOW, ended_only=True, longest=PLATFORM_LIFETIME
        ),
        "crypto.lifetime",
    )


def test_a_platform_certificate_of_more_than_thirty_days_is_refused() -> None:
    longer = TREE.platform(until=SINCE + 30 * DAY + 1000)
    refused(lambda: check_platform([longer, TREE.platform_ca]), "crypto.lifetime")


def test_a_platform_certificate_that_ended_before_the_bound_is_refused_and_a_future_one_is_not() -> None:
    end = SINCE + 30 * DAY
    check_platform(TREE.platform_chain, at=end)
    check_platform(TREE.platform_chain, at=SINCE - 900 * DAY)
    refused(lambda: check_platform(TREE.platform_chain, at=end + 1000), "crypto.ended")


def test_a_ca_that_ended_before_the_bound_is_refused() -> None:
    ended = TREE.ca("platform", TREE.platform_ca_key, until=NOW - 1000)
    refused(lambda: check_platform([TREE.platform_chain[0], ended]), "crypto.ended")


def test_dates_are_checked_at_the_time_that_is_passed_in() -> None:
    refused(lambda: check_device(TREE.device_chain, at=UNTIL + 1000), "crypto.ended")
    refused(lambda: check_device(TREE.device_chain, at=SINCE - 1000), "crypto.not-yet")


def test_a_revoked_device_is_refused() -> None:
    serial = parse(TREE.device_chain[0]).serial
    refused(lambda: check_device(TREE.device_chain, crls=TREE.device_crls([serial])), "crypto.revoked")
    check_device(TREE.device_chain, crls=TREE.device_crls([serial + 1]))


def test_a_revoked_ca_is_refused() -> None:
    serial = parse(TREE.device_ca).serial
    crls = [TREE.crl(TREE.root, TREE.root_key, [serial]), TREE.crl(TREE.device_ca, TREE.device_ca_key)]
    refused(lambda: check_device(TREE.device_chain, crls=crls), "crypto.revoked")


def test_a_missing_ended_or_forged_revocation_list_is_refused() -> None:
    whole = TREE.device_crls()
    for crls in ([], whole[:1], whole[1:]):
        refused(lambda crls=crls: check_device(TREE.device_chain, crls=crls), "crypto.crl")
    ended = [whole[0], TREE.crl(TREE.device_ca, TREE.device_ca_key, until=NOW - 1000)]
    refused(lambda: check_device(TREE.device_chain, crls=ended), "crypto.crl")
    forged = [whole[0], TREE.crl(TREE.device_ca, TREE.device_key)]
    refused(lambda: check_device(TREE.device_chain, crls=forged), "crypto.crl")
    refused(lambda: check_device(TREE.device_chain, crls=[whole[0], b"not a list"]), "crypto.crl")


def test_a_chain_is_exactly_a_leaf_and_its_ca() -> None:
    leaf, ca = TREE.device_chain
    for chain in ([], [leaf], [leaf, ca, TREE.root], [leaf, ca, ca]):
        refused(lambda chain=chain: check_device(chain), "crypto.chain")
    refused(lambda: check_device([ca, leaf]), "crypto.shape")
    refused(lambda: check_device([leaf, TREE.root]), "crypto.shape")


def test_a_device_key_issues_nothing() -> None:
    mallory = Sm2PrivateKey.generate()
    forged = certificates.issue_leaf(
        TREE.device_chain[0],
        TREE.device_key,
        point=mallory.public_point,
        name="forged",
        purpose="device",
        uris=[certificates.uri("device", bytes(8)), certificates.uri("module", bytes(8))],
        since=SINCE,
        until=UNTIL,
    )
    refused(lambda: check_device([forged, TREE.device_chain[0]]), "crypto.shape")


def test_a_device_certificate_is_no_platform_certificate_and_no_ca_crosses_over() -> None:
    refused(lambda: check_platform(TREE.device_chain), "crypto.usage")
    refused(lambda: check_device(TREE.platform_chain), "crypto.usage")
    refused(lambda: check_device([TREE.device_chain[0], TREE.platform_ca]), "crypto.usage")
    platform_leaf_by_device_ca = certificates.issue_leaf(
        TREE.device_ca,
        TREE.device_ca_key,
        point=TREE.platform_key.public_point,
        name="platform",
        purpose="platform",
        uris=[certificates.uri("project", PROJECT)],
        since=SINCE,
        until=SINCE + DAY,
    )
    refused(lambda: check_platform([platform_leaf_by_device_ca, TREE.device_ca]), "crypto.usage")
    refused(lambda: check_platform([platform_leaf_by_device_ca, TREE.platform_ca]), "crypto.chain")


def test_another_root_of_the_same_name_is_refused() -> None:
    other = Tree()
    refused(lambda: check_device(other.device_chain), "crypto.chain")
    refused(lambda: check_device([other.device_chain[0], TREE.device_ca]), "crypto.chain")
    refused(lambda: check_device([TREE.device_chain[0], other.device_ca]), "crypto.chain")


def issue(
    extensions: list[tuple[str, str]], authority: bytes = b"", key: Sm2PrivateKey | None = None
) -> bytes:
    """A certificate of any shape under the device CA (or another), signed rightly."""
    point = TREE.device_key.public_point
    return issuing._issue(
        key or TREE.device_ca_key, authority or TREE.device_ca, point, "odd", extensions, SINCE, UNTIL
    )


LEAF = {
    "basicConstraints": "critical,CA:FALSE",
    "keyUsage": "critical,digitalSignature",
    "extendedKeyUsage": f"critical,{USAGE['device']}",
    "subjectAltName": f"URI:urn:meterseal:device:{DEVICE.hex()},URI:urn:meterseal:module:{MODULE.hex()}",
}
ODD_LEAVES = {
    "is a CA": ("crypto.shape", {"basicConstraints": "critical,CA:TRUE"}),
    "may sign certificates": ("crypto.shape", {"keyUsage": "critical,digitalSignature,keyCertSign"}),
    "may not sign": ("crypto.shape", {"keyUsage": "critical,keyAgreement"}),
    "no key usage": ("crypto.shape", {"keyUsage": ""}),
    "no extended usage": ("crypto.usage", {"extendedKeyUsage": ""}),
    "any usage": ("crypto.usage", {"extendedKeyUsage": "anyExtendedKeyUsage"}),
    "two usages": ("crypto.usage", {"extendedKeyUsage": f"critical,{USAGE['device']},{USAGE['platform']}"}),
    "server usage": ("crypto.usage", {"extendedKeyUsage": "serverAuth"}),
    "no names": ("crypto.names", {"subjectAltName": ""}),
    "device only": ("crypto.names", {"subjectAltName": f"URI:urn:meterseal:device:{DEVICE.hex()}"}),
    "upper-case hex": (
        "crypto.names",
        {"subjectAltName": LEAF["subjectAltName"].replace(DEVICE.hex(), "00000000000000AB")},
    ),
    "short id": (
        "crypto.names",
        {"subjectAltName": "URI:urn:meterseal:device:10,URI:urn:meterseal:module:0102030405060708"},
    ),
    "third name": ("crypto.names", {"subjectAltName": LEAF["subjectAltName"] + ",DNS:meter"}),
    "two devices": (
        "crypto.names",
        {"subjectAltName": LEAF["subjectAltName"] + ",URI:urn:meterseal:device:0000000000000000"},
    ),
    "project in a device": (
        "crypto.names",
        {"subjectAltName": LEAF["subjectAltName"] + f",URI:urn:meterseal:project:{PROJECT.hex()}"},
    ),
}


def test_the_leaf_that_the_odd_ones_differ_from_holds() -> None:
    check_device([issue(list(LEAF.items())), TREE.device_ca])


@pytest.mark.parametrize("name", ODD_LEAVES)
def test_leaves_of_another_shape_are_refused(name: str) -> None:
    code, change = ODD_LEAVES[name]
    extensions = [(kind, value) for kind, value in {**LEAF, **change}.items() if value]
    refused(lambda: check_device([issue(extensions), TREE.device_ca]), code)


CA = {
    "basicConstraints": "critical,CA:TRUE,pathlen:0",
    "keyUsage": "critical,keyCertSign,cRLSign",
    "extendedKeyUsage": f"critical,{USAGE['device']}",
}
ODD_CAS = {
    "no path length": ("crypto.shape", {"basicConstraints": "critical,CA:TRUE"}),
    "path length 1": ("crypto.shape", {"basicConstraints": "critical,CA:TRUE,pathlen:1"}),
    "not a CA": ("crypto.shape", {"basicConstraints": "critical,CA:FALSE"}),
    "may not sign certificates": ("crypto.shape", {"keyUsage": "critical,cRLSign,digitalSignature"}),
    "no extended usage": ("crypto.usage", {"extendedKeyUsage": ""}),
    "all usages": ("crypto.usage", {"extendedKeyUsage": f"critical,{USAGE['device']},{USAGE['platform']}"}),
}


@pytest.mark.parametrize("name", ODD_CAS)
def test_cas_of_another_shape_are_refused(name: str) -> None:
    code, change = ODD_CAS[name]
    extensions = [(kind, value) for kind, value in {**CA, **change}.items() if value]
    key = TREE.device_key
    ca = issue(extensions, TREE.root, TREE.root_key)
    refused(lambda: check_device([issue(list(LEAF.items()), ca, key), ca]), code)


def test_a_signature_under_an_empty_signer_id_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sm2, "SIGNER_ID", b"")
    leaf = issue(list(LEAF.items()))
    refused(lambda: check_device([leaf, TREE.device_ca]), "crypto.chain")


def test_an_unknown_critical_extension_is_refused() -> None:
    leaf = issue([*LEAF.items(), ("nsComment", "critical,unheard of")])
    refused(lambda: check_device([leaf, TREE.device_ca]), "crypto.chain")


def test_a_certificate_on_another_curve_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "p256")])
    start = datetime.datetime.fromtimestamp(SINCE / 1000, tz=datetime.UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 5, start, start + datetime.timedelta(days=9)
    )
    p256 = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    refused(lambda: check_device([p256, TREE.device_ca]), "crypto.certificate")


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_flipped_bit_of_the_chain_is_refused() -> None:
    leaf, ca = TREE.device_chain
    for at in range(len(leaf)):
        altered = leaf[:at] + bytes((leaf[at] ^ 1 << at % 8,)) + leaf[at + 1 :]
        with pytest.raises(TrustError):
            check_device([altered, ca])
    for at in range(0, len(ca), 3):
        altered = ca[:at] + bytes((ca[at] ^ 1 << at % 8,)) + ca[at + 1 :]
        with pytest.raises(TrustError):
            check_device([leaf, altered])


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 600), st.integers(0, 60))
def test_any_bytes_as_a_certificate_end_in_a_trust_error(noise: bytes, at: int, cut: int) -> None:
    leaf = TREE.device_chain[0]
    for certificate in (noise, leaf[:at] + noise + leaf[at + cut :], leaf + noise * 40):
        if certificate == leaf:
            continue
        with pytest.raises(TrustError):
            check_device([certificate, TREE.device_ca])


def test_names_in_certificates_are_ours_or_not_issued() -> None:
    for text in ("urn:meterseal:device:10", "urn:meterseal:device:00000000000000AB", "http://x", "a,DNS:b"):
        with pytest.raises(LocalError):
            certificates.issue_leaf(
                TREE.device_ca,
                TREE.device_ca_key,
                point=TREE.device_key.public_point,
                name="x",
                purpose="device",
                uris=[text],
                since=SINCE,
                until=UNTIL,
            )
    with pytest.raises(LocalError):
        certificates.uri("project", bytes(8))
    with pytest.raises(LocalError):
        certificates.issue_root(TREE.root_key, name="x", since=SINCE, until=SINCE)


def test_serials_are_random_and_positive() -> None:
    serials = {parse(TREE.device()).serial for _ in range(20)}
    assert len(serials) == 20
    assert all(2**126 <= serial < 2**127 for serial in serials)
