"""Revocation lists and the periods of certificates: what is read from them, and what is refused by name."""

from __future__ import annotations

import pytest
from cryptography import x509

from meterseal.crypto import certificates
from meterseal.crypto.proven import _inside
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError, TrustError

from .pki import DAY, NOW, UNTIL, Tree


def test_a_list_says_its_number_and_its_end() -> None:
    tree = Tree()
    listed = certificates.issue_crl(
        tree.device_ca, tree.device_ca_key, revoked=[(7, NOW)], number=2**80, since=NOW, until=UNTIL
    )
    assert certificates.list_number(listed) == 2**80
    assert certificates.list_until(listed) == UNTIL


def _wrapped(content: bytes) -> bytes:
    """A SEQUENCE of less than 256 bytes."""
    return (b"\x30\x81" if len(content) > 127 else b"\x30") + bytes((len(content),)) + content


def _shortened(listed: bytes) -> bytes:
    """The list without its nextUpdate: one that nobody signed, for the reader alone."""
    until = x509.load_der_x509_crl(listed).next_update_utc
    assert until is not None
    signed, *rest = _inside(listed, 0x30) or []
    fields = _inside(signed, 0x30) or []
    fields.remove(b"\x17\x0d" + until.strftime("%y%m%d%H%M%SZ").encode())
    return _wrapped(b"".join([_wrapped(b"".join(fields)), *rest]))


def test_a_list_without_an_end_is_refused() -> None:
    tree = Tree()
    listed = certificates.issue_crl(
        tree.device_ca, tree.device_ca_key, revoked=[], number=1, since=NOW, until=NOW + DAY
    )
    assert x509.load_der_x509_crl(_shortened(listed)).next_update_utc is None
    with pytest.raises(TrustError, match="has no end") as caught:
        certificates.list_until(_shortened(listed))
    assert caught.value.code == "crypto.crl"


@pytest.mark.parametrize("read", [certificates.list_until, certificates.list_number])
def test_bytes_that_are_no_list_are_refused(read: object) -> None:
    assert callable(read)
    for noise in (b"", b"\x30\x00", Tree().device_ca):
        with pytest.raises(TrustError) as caught:
            read(noise)
        assert caught.value.code == "crypto.crl"


def test_a_chain_with_bytes_that_are_no_list_is_refused() -> None:
    tree = Tree()
    lists = [tree.device_crls()[0], b"no list"]
    with pytest.raises(TrustError) as caught:
        certificates.verify_chain(tree.device_chain, root=tree.root, purpose="device", at=NOW, crls=lists)
    assert caught.value.code == "crypto.crl"


def test_a_root_that_is_no_certificate_is_refused() -> None:
    with pytest.raises(TrustError) as caught:
        certificates.verify_chain(Tree().device_chain, root=b"no root", purpose="device", at=NOW)
    assert caught.value.code == "crypto.certificate"


def test_a_certificate_that_ends_before_it_begins_is_not_issued() -> None:
    key = Sm2PrivateKey.generate("root")
    for until in (NOW, NOW - 1):
        with pytest.raises(LocalError) as caught:
            certificates.issue_root(key, name="root", since=NOW, until=until)
        assert caught.value.code == "crypto.period"


def test_a_name_that_is_not_ours_is_not_issued() -> None:
    tree = Tree()
    with pytest.raises(LocalError) as caught:
        certificates.issue_leaf(
            tree.device_ca,
            tree.device_ca_key,
            point=tree.device_key.public_point,
            name="x",
            purpose="device",
            uris=["urn:other:device:00"],
            since=NOW,
            until=UNTIL,
        )
    assert caught.value.code == "crypto.identity"


def test_a_point_off_the_curve_is_not_certified() -> None:
    tree = Tree()
    with pytest.raises(TrustError) as caught:
        certificates.issue_leaf(
            tree.device_ca,
            tree.device_ca_key,
            point=b"\x04" + bytes(64),
            name="x",
            purpose="device",
            uris=[],
            since=NOW,
            until=UNTIL,
        )
    assert caught.value.code == "crypto.point"


def test_leaves_of_one_ca_name_its_key_and_none_shares_anything_but_that() -> None:
    """The CA's certificate and the constant extensions are read once; what differs still differs."""
    tree, other = Tree(), Tree()
    one, two = certificates.parse(tree.device()), certificates.parse(tree.device(b"\x10" * 8, b"\x20" * 8))
    foreign = certificates.parse(other.device())
    authority = certificates.parse(tree.device_ca)
    assert one.issuer_key_id == two.issuer_key_id == authority.key_id
    assert one.issuer == authority.subject
    assert foreign.issuer_key_id == certificates.parse(other.device_ca).key_id != authority.key_id
    assert one.serial != two.serial
    assert (two.identity("device"), two.identity("module")) == (b"\x10" * 8, b"\x20" * 8)
