"""Certificates of the link as the service issues and judges them (LINK section 1, T9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from meterseal.crypto import certificates
from meterseal.crypto.names import PLATFORM_LIFETIME, uri
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import EngineError, TrustError
from meterseal.security import chains
from meterseal.security.pki import CA_LIFE, HOUR, Pki, establish
from meterseal.security.registry import Issued, Registry
from meterseal.security.vault import Vault

from .conftest import DAY, NOW, PASSPHRASE, PROJECT

DEVICE, MODULE = bytes.fromhex("1078330011223344"), bytes.fromhex("0102030405060708")


@pytest.fixture
def authority(tmp_path: Path) -> Vault:
    return Vault.create(tmp_path / "ca.vault", "ca", PASSPHRASE)


@pytest.fixture
def registry(tmp_path: Path, authority: Vault) -> Registry:
    return Registry.create(tmp_path / "registry.db", {}, authority)


@pytest.fixture
def pki(tmp_path: Path, authority: Vault, registry: Registry) -> Pki:
    establish(tmp_path, authority, registry, PASSPHRASE, PROJECT, NOW)
    return Pki(authority, registry, PROJECT)


def device_leaf(pki: Pki, now: int = NOW) -> bytes:
    return pki.issue_device(DEVICE, MODULE, Sm2PrivateKey.generate().public_point, now)


def test_a_device_accepts_the_platforms_chain(pki: Pki) -> None:
    identity = pki.platform(NOW)
    leaf = certificates.verify_chain(
        identity.chain,
        root=pki.root,
        purpose="platform",
        at=NOW,
        longest=PLATFORM_LIFETIME,
        crls=pki.lists(NOW),
    )
    assert leaf.identity("project") == PROJECT
    assert leaf.until - leaf.since <= PLATFORM_LIFETIME + 999


def test_the_service_accepts_a_device_chain_of_its_own(pki: Pki) -> None:
    chain = list(pki.device_chain(device_leaf(pki)))
    for _ in range(2):  # proven, then remembered
        assert pki.check_device(chain, DEVICE, MODULE, NOW).module_id == MODULE


def leaf_until(pki: Pki, until: int) -> bytes:
    return certificates.issue_leaf(
        pki.chain("device"),
        pki._vault.signing("DEVICE-CA", 1),
        point=Sm2PrivateKey.generate().public_point,
        name="short-lived",
        purpose="device",
        uris=[uri("device", DEVICE), uri("module", MODULE)],
        since=NOW - DAY,
        until=until,
    )


def test_a_remembered_chain_still_ends(pki: Pki) -> None:
    chain = list(pki.device_chain(leaf_until(pki, NOW + DAY)))
    leaf = pki.check_device(chain, DEVICE, MODULE, NOW)
    assert pki.check_device(chain, DEVICE, MODULE, leaf.until - 1999) == leaf
    with pytest.raises(TrustError) as caught:
        pki.check_device(chain, DEVICE, MODULE, leaf.until + 1001)
    assert caught.value.code == "crypto.ended"


def test_a_remembered_chain_ends_with_its_lists(pki: Pki) -> None:
    chain = list(pki.device_chain(device_leaf(pki)))
    pki.check_device(chain, DEVICE, MODULE, NOW)
    listed = pki.lists(NOW)[2]
    end = certificates.list_until(listed)
    pki._lists["device", 1] = (listed, end)  # as if no newer one could be made
    with pytest.raises(TrustError) as caught:
        pki.check_device(chain, DEVICE, MODULE, end + 1000)
    assert caught.value.code == "crypto.crl"


def test_a_remembered_chain_is_refused_from_the_moment_of_its_revocation(
    pki: Pki, registry: Registry
) -> None:
    leaf = device_leaf(pki)
    chain = list(pki.device_chain(leaf))
    with registry.store.transaction() as connection:
        registry.record(connection, [Issued("device", 1, leaf, NOW)])
    pki.check_device(chain, DEVICE, MODULE, NOW)
    registry.revoke("device", certificates.parse(leaf).serial, NOW)
    with pytest.raises(TrustError) as caught:
        pki.check_device(chain, DEVICE, MODULE, NOW)
    assert caught.value.code == "crypto.revoked"


def test_a_proven_leaf_does_not_vouch_for_another_ca_beside_it(pki: Pki) -> None:
    """What is remembered is the pair: the same leaf with other bytes for its CA is a chain of its own."""
    leaf, ca = pki.device_chain(device_leaf(pki))
    pki.check_device([leaf, ca], DEVICE, MODULE, NOW)
    for other in (pki.chain("platform"), pki.root, leaf, ca + b"\x00", b""):
        with pytest.raises(TrustError):
            pki.check_device([leaf, other], DEVICE, MODULE, NOW)


def test_the_memory_of_proven_chains_is_bounded_and_keeps_those_asked_for_last(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "_REMEMBERED", 2)
    shown = [list(pki.device_chain(device_leaf(pki))) for _ in range(3)]
    for number in (0, 1, 0, 2):
        pki.check_device(shown[number], DEVICE, MODULE, NOW)
    assert [leaf.serial for leaf in pki._chains._leaves.values()] == [
        certificates.parse(shown[number][0]).serial for number in (0, 2)
    ]


def test_a_chain_of_another_device_is_refused(pki: Pki) -> None:
    chain = list(pki.device_chain(device_leaf(pki)))
    with pytest.raises(TrustError) as caught:
        pki.check_device(chain, DEVICE, b"\x09" * 8, NOW)
    assert caught.value.code == "link.identity"


def test_the_platforms_own_chain_does_not_pass_as_a_device(pki: Pki) -> None:
    with pytest.raises(TrustError) as caught:
        pki.check_device(list(pki.platform(NOW).chain), DEVICE, MODULE, NOW)
    assert caught.value.code == "crypto.usage"


def test_a_device_key_cannot_issue(pki: Pki) -> None:
    key, inner = Sm2PrivateKey.generate(), Sm2PrivateKey.generate()
    leaf = pki.issue_device(DEVICE, MODULE, key.public_point, NOW)
    forged = certificates.issue_leaf(
        leaf,
        key,
        point=inner.public_point,
        name="forged",
        purpose="device",
        uris=[uri("device", DEVICE), uri("module", MODULE)],
        since=NOW,
        until=NOW + DAY,
    )
    for chain in ([forged, leaf], [forged, pki.chain("device")], [forged], [leaf], []):
        with pytest.raises(TrustError):
            pki.check_device(chain, DEVICE, MODULE, NOW)


def test_a_chain_under_another_root_is_refused(pki: Pki, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    vault = Vault.create(other / "ca.vault", "ca", PASSPHRASE)
    registry = Registry.create(other / "r.db", {}, vault)
    establish(other, vault, registry, PASSPHRASE, PROJECT, NOW)
    foreign = Pki(vault, registry, PROJECT)
    with pytest.raises(TrustError) as caught:
        pki.check_device(list(foreign.device_chain(device_leaf(foreign))), DEVICE, MODULE, NOW)
    assert caught.value.code == "crypto.chain"


def test_the_platform_certificate_is_renewed_before_ten_days_remain(pki: Pki, authority: Vault) -> None:
    first = pki.platform(NOW)
    assert pki.platform(NOW + 19 * DAY) == first
    second = pki.platform(NOW + 21 * DAY)
    assert second.version == first.version + 1
    assert second.until > first.until
    with pytest.raises(TrustError):
        authority.signing("PLATFORM", first.version)
    message = b"ms1 platform"
    signature = pki.sign(second, message)
    from meterseal.crypto.sm2 import verify

    assert verify(certificates.parse(second.chain[0]).point, message, signature)


def test_the_certificate_in_force_survives_a_restart(pki: Pki, authority: Vault, registry: Registry) -> None:
    identity = pki.platform(NOW)
    assert Pki(authority, registry, PROJECT).platform(NOW + DAY) == identity


def test_a_full_disk_delays_renewal_and_does_not_stop_meters(
    pki: Pki, authority: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pki.platform(NOW)

    def full(*_: object, **__: object) -> None:
        raise EngineError("security.disk-full", "The disk is full.")

    monkeypatch.setattr(authority, "add", full)
    assert pki.platform(NOW + 25 * DAY) == first
    with pytest.raises(EngineError):
        pki.platform(NOW + 31 * DAY)
    monkeypatch.undo()
    assert pki.platform(NOW + 31 * DAY).version > first.version


@pytest.mark.parametrize(
    "at", [NOW + CA_LIFE + DAY, NOW - 400 * DAY], ids=["after the CA", "clock before the CA"]
)
def test_an_ended_platform_certificate_is_one_clear_refusal(pki: Pki, at: int) -> None:
    pki.platform(NOW)
    with pytest.raises(TrustError) as caught:
        pki.platform(at)
    assert caught.value.code == "security.platform-ended"
    assert "clock" in caught.value.message


def test_a_clock_ten_minutes_back_changes_nothing(pki: Pki) -> None:
    assert pki.platform(NOW - HOUR // 6).version == 1
    chain = list(pki.device_chain(device_leaf(pki)))
    assert pki.check_device(chain, DEVICE, MODULE, NOW - HOUR // 6).device_id == DEVICE


def test_lists_stay_fresh_and_their_numbers_rise(pki: Pki, authority: Vault, registry: Registry) -> None:
    from cryptography import x509

    def number(der: bytes) -> int:
        listed = x509.load_der_x509_crl(der)
        return listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    first = pki.lists(NOW)
    assert pki.lists(NOW + DAY) == first
    later = pki.lists(NOW + 20 * DAY)
    assert number(later[2]) > number(first[2])
    assert later[0] == first[0]  # the root's list needs the offline key
    restarted = Pki(authority, registry, PROJECT).lists(NOW + 20 * DAY + 1)
    assert number(restarted[2]) > number(later[2])


def test_the_root_key_is_sealed_in_the_offline_directory_and_in_no_vault(
    pki: Pki, authority: Vault, tmp_path: Path
) -> None:
    assert {path.name for path in (tmp_path / "offline").iterdir()} == {"root.key", "root.der"}
    assert (tmp_path / "offline" / "root.der").read_bytes() == pki.root
    assert b"PRIVATE" not in (tmp_path / "offline" / "root.key").read_bytes()
    point = certificates.parse(pki.root).point
    for facts in authority.all_facts():
        assert (
            authority.signing(facts.id, facts.version).public_point != point
            if facts.state == "active"
            else True
        )


def test_every_signature_of_a_ca_is_counted(pki: Pki, authority: Vault) -> None:
    before = authority.facts("DEVICE-CA", 1).used
    for _ in range(5):
        device_leaf(pki)
    assert authority.facts("DEVICE-CA", 1).used == before + 5
