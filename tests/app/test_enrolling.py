"""The operator's desk for what joins: a concentrator's TLS identity under the root of now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import structs

from meterseal.app import operator
from meterseal.errors import DataError, LocalError
from meterseal.mesh.authority import TlsDirectory
from meterseal.model import METER_TYPE, medium_of
from tests.scenarios.small_system import MASTER, PASSPHRASE, WATER, System
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[System]:
    made = System(tmp_path)
    await made.start()
    yield made
    await made.centre.stop()


async def renewed(
    system: System, device_id: bytes = MASTER, password: bytes = b"chosen"
) -> operator.TlsFiles:
    asked = operator.RenewConcentrator(device_id=device_id, key_password=password)
    return await system.desk.call("renew_concentrator", asked, operator.TlsFiles)


def check(files: operator.TlsFiles, root: Path) -> x509.Certificate:
    """That the leaf is the concentrator's, its key opens, and the root that came along signed it and is the one in use."""
    leaf = x509.load_pem_x509_certificate(files.certificate)
    assert files.root == root.read_bytes()
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(files.root))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        f"urn:meterseal:concentrator:{MASTER.hex()}"
    ]
    assert load_pem_private_key(files.key, b"chosen").public_key() == leaf.public_key()
    return leaf


async def test_a_concentrator_gets_a_certificate_of_a_root_that_was_made_anew(system: System) -> None:
    """With a new TLS root every concentrator was shut out, and there was no way to give it a certificate of that root."""
    directory = TlsDirectory(system.centre.root / "tls")
    root = directory.files("root").root
    first = await renewed(system)
    before = check(first, root)
    facts = await system.facts(MASTER)
    root.unlink()
    directory.renew(directory.open(PASSPHRASE), system.clock.now)
    second = await renewed(system)
    after = check(second, root)
    assert second.root != first.root
    assert after.serial_number != before.serial_number
    assert await system.facts(MASTER) == facts  # its module is as it was


@pytest.mark.parametrize(
    "device_id", [WATER, bytes.fromhex("f0000000000000ff")], ids=["a meter", "a stranger"]
)
async def test_nobody_but_an_enrolled_concentrator_gets_one(system: System, device_id: bytes) -> None:
    with pytest.raises((DataError, LocalError)) as refused:
        await renewed(system, device_id)
    assert refused.value.code == "fleet.unknown"


def test_a_device_id_says_its_medium_in_one_way() -> None:
    said = {medium: medium_of(bytes((kind,)) + bytes(7)) for medium, kind in METER_TYPE.items()}
    assert said == {medium: medium for medium in METER_TYPE}
    assert [medium_of(bytes((head,)) + bytes(7)) for head in (0x1F, 0x2A, 0x3D)] == ["water", "heat", "gas"]
    assert {medium_of(bytes((head,)) + bytes(7)) for head in (0x00, 0x40, 0xD6, 0xD8, 0xF0)} == {None}
    assert medium_of(b"") is None


async def test_a_dry_run_finds_what_an_enrolment_would_and_changes_nothing(system: System) -> None:
    supply = operator.Supply(
        device_id=bytes.fromhex("1078330011220055"),
        medium="water",
        protocol="cjt188",
        profile="water-generic",
        since=system.clock.now,
        concentrator_id=MASTER,
    )

    async def enrol(one: operator.Supply, *, dry_run: bool) -> operator.EnrolReply:
        home = operator.NewPremises(name="", address="", supplies=(one,))
        asked = operator.Enrol(premises=(home,), dry_run=dry_run)
        return await system.desk.call("enrol", asked, operator.EnrolReply)

    def known() -> set[bytes]:
        return {one.device_id for one in system.centre.parts.desk._fleet.devices()}

    before = known()
    assert (await enrol(supply, dry_run=True)).meters == ()
    assert known() == before
    stranger = structs.replace(supply, concentrator_id=b"\xf0" + bytes(6) + b"\x09")
    taken = structs.replace(supply, device_id=WATER)
    for wrong, code in ((stranger, "fleet.no-concentrator"), (taken, "fleet.enrolled")):
        for dry_run in (True, False):
            with pytest.raises(DataError) as refused:
                await enrol(wrong, dry_run=dry_run)
            assert refused.value.code == code
    assert known() == before
    (made,) = (await enrol(supply, dry_run=False)).meters
    assert (await enrol(supply, dry_run=False)).meters == (made,)
    assert known() == before | {supply.device_id}
