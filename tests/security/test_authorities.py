"""CAs in several versions, renewal of device certificates, what ends when, and the revoked platform (LINK section 1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from meterseal.crypto import certificates
from meterseal.crypto.certificates import parse, verify_chain
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import LocalError, TrustError
from meterseal.link.identities import check_platform_chain, check_renewed_chain
from meterseal.security import pki as root_acts
from meterseal.security.passphrase import Stretching, key_encryption_key
from meterseal.security.pki import CA_LIFE, DAY, Pki
from meterseal.security.registry import Module

from .conftest import NOW, PASSPHRASE, PROJECT
from .test_registry import Made, made

__all__ = ["made"]

YEAR = 365 * DAY


@pytest.fixture
def root_key(made: Made) -> Sm2PrivateKey:
    """The root, opened as people would."""
    import msgspec

    raw = (made.path.parent / "offline" / "root.key").read_bytes()
    stretching, sealed = msgspec.msgpack.decode(raw, type=tuple[Stretching, bytes])
    kek = key_encryption_key(PASSPHRASE, "offline root", stretching)
    return Sm2PrivateKey.from_pkcs8(kek.gcm_open(sealed, b"offline root\x00" + made.pki.root))


def rotated(
    made: Made, root_key: Sm2PrivateKey, purpose: certificates.Purpose = "device", at: int = NOW
) -> int:
    return root_acts.rotate(made.pki, made.vault, made.registry, purpose, root_key, at)


def checked(made: Made, module: Module, at: int = NOW) -> int:
    chain = list(made.pki.device_chain(module.leaf))
    return made.pki.check_device(chain, module.device_id, module.module_id, at).serial


# --- new versions


def test_a_new_device_ca_issues_and_the_old_ones_leaves_are_still_good(
    made: Made, root_key: Sm2PrivateKey
) -> None:
    (old,) = made.enrol(made.module(1))
    first = made.pki.chain("device")
    assert rotated(made, root_key) == 2
    new = made.module(2)
    assert made.pki.device_chain(new.leaf)[1] == made.pki.chain("device") != first
    assert made.pki.device_chain(old.leaf)[1] == first
    assert checked(made, old) == parse(old.leaf).serial
    assert checked(made, new) == parse(new.leaf).serial
    again = Pki(made.vault, made.reopened(), PROJECT)
    assert again.version("device") == 2
    assert len(again.lists(NOW)) == 4  # root, platform CA, both device CAs
    verify_chain(
        again.device_chain(new.leaf), root=again.root, purpose="device", at=NOW, crls=again.lists(NOW)
    )


def test_what_still_has_to_move_is_counted_down_to_nothing(made: Made, root_key: Sm2PrivateKey) -> None:
    modules = made.enrol(*(made.module(number) for number in range(1, 4)), made.module(9, 2))[:3]
    rotated(made, root_key, at=NOW + DAY)
    assert made.registry.under(2, 2) == (3, modules[:2])
    for left, module in zip((2, 1, 0), modules, strict=True):
        waiting = made.pki.renew_device(module, NOW + DAY)
        assert made.registry.under(2, 9)[0] == left + 1  # not before the module has shown it
        made.registry.shown(module.module_id, waiting.renewed)
        assert made.registry.under(2, 9)[0] == left
    assert made.registry.standing_on(2) == 3


def test_an_old_ca_is_closed_only_when_nothing_stands_on_it(made: Made, root_key: Sm2PrivateKey) -> None:
    (module,) = made.enrol(made.module(1))
    rotated(made, root_key)
    number = certificates.list_number(made.pki.root_list)

    def close(**how: bool) -> None:
        root_acts.close(made.pki, made.vault, made.registry, "device", 1, root_key, NOW, **how)

    with pytest.raises(LocalError) as caught:
        close()
    assert caught.value.code == "security.authority-used"
    assert checked(made, module) == parse(module.leaf).serial
    close(cut_off=True)
    assert certificates.list_number(made.pki.root_list) == number + 1
    for registry in made.both():
        pki = Pki(made.vault, registry, PROJECT)
        with pytest.raises(TrustError) as refused:
            pki.check_device(list(pki.device_chain(module.leaf)), module.device_id, module.module_id, NOW)
        assert refused.value.code == "crypto.revoked"
        assert len(pki.lists(NOW)) == 3
        with pytest.raises(TrustError) as seen:  # and whoever only has the lists sees it too
            verify_chain(
                pki.device_chain(module.leaf), root=pki.root, purpose="device", at=NOW, crls=pki.lists(NOW)
            )
        assert seen.value.code in {"crypto.revoked", "crypto.crl"}
    with pytest.raises(LocalError) as twice:
        root_acts.close(made.pki, made.vault, made.registry, "device", 1, root_key, NOW)
    assert twice.value.code == "security.authority"


def test_the_ca_that_issues_now_is_never_closed(made: Made, root_key: Sm2PrivateKey) -> None:
    for version in (1, 7):
        with pytest.raises(LocalError) as caught:
            root_acts.close(made.pki, made.vault, made.registry, "platform", version, root_key, NOW)
        assert caught.value.code == "security.authority"


def test_a_key_that_is_not_the_roots_makes_and_closes_no_ca(made: Made) -> None:
    stranger = Sm2PrivateKey.generate("a stranger's")
    with pytest.raises(TrustError) as caught:
        rotated(made, stranger)
    assert caught.value.code == "security.root-key"
    with pytest.raises(TrustError) as caught:
        root_acts.close(made.pki, made.vault, made.registry, "device", 1, stranger, NOW)
    assert caught.value.code == "security.root-key"
    assert made.pki.version("device") == 1
    assert [facts.version for facts in made.vault.all_facts() if facts.id == "DEVICE-CA"] == [1]


def test_a_new_platform_ca_issues_the_platforms_certificate_at_once(
    made: Made, root_key: Sm2PrivateKey
) -> None:
    before = made.pki.platform(NOW)
    rotated(made, root_key, "platform", NOW + DAY)
    after = made.pki.platform(NOW + DAY)
    assert after.chain[1] != before.chain[1]
    leaf = check_platform_chain(after.chain, root=made.pki.root, project_id=PROJECT, bound=NOW + DAY)
    assert leaf.serial == parse(after.chain[0]).serial
    with pytest.raises(TrustError):
        made.vault.signing("PLATFORM", before.version)


def test_a_ca_whose_certificate_was_never_stored_is_skipped(made: Made, root_key: Sm2PrivateKey) -> None:
    made.vault.add("DEVICE-CA", 2, Sm2PrivateKey.generate("cut off between key and certificate"))
    assert rotated(made, root_key) == 3
    assert checked(made, made.module(5)) > 0


# --- renewal


def test_a_renewed_certificate_is_one_that_the_module_takes(made: Made, root_key: Sm2PrivateKey) -> None:
    (module,) = made.enrol(made.module(1))
    for at in (NOW, NOW + 5 * YEAR):  # at once, and years later under a new CA
        if at > NOW:
            rotated(made, root_key, at=at)
        waiting = made.pki.renew_device(module, at)
        chain = made.pki.device_chain(waiting.renewed)
        present = parse(module.leaf)
        taken = check_renewed_chain(
            chain,
            root=made.pki.root,
            device_id=module.device_id,
            module_id=module.module_id,
            point=module.point,
            until=present.until,
            bound=at,
        )
        assert taken.until > present.until
        made.registry.shown(module.module_id, waiting.renewed)
        module = made.registry.module(module.module_id) or module


def test_asked_again_a_renewal_is_the_same_certificate_until_it_is_outdated(
    made: Made, root_key: Sm2PrivateKey
) -> None:
    (module,) = made.enrol(made.module(1))
    waiting = made.pki.renew_device(module, NOW + DAY)
    assert made.pki.renew_device(waiting, NOW + 2 * DAY) == waiting
    rotated(made, root_key, at=NOW + 3 * DAY)
    assert made.pki.renew_device(waiting, NOW + 3 * DAY).renewed != waiting.renewed


def test_a_module_of_suite_2_has_no_certificate_to_renew(made: Made) -> None:
    (module,) = made.enrol(made.module(1, 2))
    with pytest.raises(LocalError) as caught:
        made.pki.renew_device(module, NOW)
    assert caught.value.code == "security.no-chain"


def test_a_renewal_that_would_end_no_later_is_refused_and_says_to_bring_the_root(made: Made) -> None:
    (module,) = made.enrol(made.module(1, at=NOW + 10 * YEAR))  # ends with its CA
    with pytest.raises(LocalError) as caught:
        made.pki.renew_device(module, NOW + 11 * YEAR)
    assert caught.value.code == "security.no-later"
    assert "root" in caught.value.message


# --- what ends, and the platform's own certificate


def test_everything_that_ends_is_listed_soonest_first(made: Made) -> None:
    endings = made.pki.endings(NOW)
    assert endings[0].kind == "platform"
    assert {ending.kind for ending in endings} == {
        "root",
        "root-list",
        "platform-ca",
        "device-ca",
        "platform",
    }
    assert endings == sorted(endings, key=lambda ending: ending.until)
    assert 29 * DAY < endings[0].until - NOW < 31 * DAY
    listed = next(ending.until for ending in endings if ending.kind == "root-list")
    assert abs(listed - NOW - CA_LIFE) < DAY


def test_a_revoked_platform_certificate_is_named_at_once_and_replaced(made: Made) -> None:
    before = made.pki.platform(NOW)
    lists = made.pki.lists(NOW)
    after = made.pki.revoke_platform(NOW)
    assert after.version == before.version + 1
    assert made.pki.platform(NOW) == after
    now_listed = made.pki.lists(NOW)
    assert now_listed != lists
    for chain, code in ((before.chain, "crypto.revoked"), (after.chain, "")):
        try:
            verify_chain(chain, root=made.pki.root, purpose="platform", at=NOW, crls=now_listed)
            found = ""
        except TrustError as error:
            found = error.code
        assert found == code
    with pytest.raises(TrustError):  # its key signs nothing any more
        made.pki.sign(before, b"ms1 platform")


def test_a_revoked_platform_certificate_is_not_taken_up_by_a_restart(made: Made, tmp_path: Path) -> None:
    before = made.pki.platform(NOW)
    made.registry.revoke("platform", parse(before.chain[0]).serial, NOW)
    again = Pki(made.vault, made.reopened(), PROJECT)
    assert again.platform(NOW).version == before.version + 1
