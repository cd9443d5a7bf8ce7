"""Manifests of firmware at the security service: signed for two officers' list, and for nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from meterseal.crypto import sm2
from meterseal.errors import LocalError, MetersealError
from meterseal.link import firmware
from meterseal.link.firmware import Manifest
from meterseal.link.identities import check_platform_chain
from meterseal.security.firmwareorders import ROOT, TARGETS, says

from .conftest import NOW, PROJECT, Bench
from .people import Person, founded

NAME = "water-generic-h1-v2.img"
MANIFEST = Manifest(
    project_id=PROJECT,
    model="water-generic",
    hardware=1,
    version=2,
    lowest=1,
    size=100,
    root=bytes(32),
    until=NOW + 86_400_000,
)


def targets(manifest: Manifest | bytes = MANIFEST, **other: object) -> bytes:
    raw = manifest if isinstance(manifest, bytes) else firmware.manifest_bytes(manifest)
    said: dict[str, Any] = {
        "_type": "targets",
        "version": 1,
        "expires": "2027-01-01T00:00:00Z",
        "spec_version": "1.0.31",
        "targets": {NAME: {"length": 100, "hashes": {}, "custom": {"manifest": raw.hex(), "reason": "r"}}},
    }
    return msgspec.json.encode(said | other)


async def refused(bench: Bench, raw: bytes, people: tuple[Person, ...], code: str, name: str = NAME) -> None:
    signatures = tuple(person.sign(TARGETS, raw) for person in people)
    with pytest.raises(MetersealError) as caught:
        await bench.platform.sign_firmware(raw, signatures, name)
    assert caught.value.code == code
    assert (await bench.refusals())[-1].code == code


async def test_what_two_officers_released_is_signed_as_modules_verify_it(bench: Bench) -> None:
    an, bo = await founded(bench)
    raw = targets()
    signatures = (an.sign(TARGETS, raw), bo.sign(TARGETS, raw))
    given = await bench.platform.sign_firmware(raw, signatures, NAME)
    assert given.manifest == firmware.manifest_bytes(MANIFEST)
    assert given.officers == ("an", "bo")
    assert given.until == MANIFEST.until
    anchors = await bench.platform.anchors()
    leaf = check_platform_chain(given.chain, root=anchors.root, project_id=PROJECT, bound=NOW)
    assert sm2.verify(leaf.point, firmware.LABEL + given.manifest, given.signature)
    again = await bench.platform.sign_firmware(raw, signatures, NAME)
    assert again.manifest == given.manifest
    entry = (await bench.platform.audit(0, 10, newest=True))[-1].entry
    assert (entry.code, entry.officers) == ("security.firmware-signed", ("an", "bo"))


async def test_one_officer_only_or_none_who_may_releases_nothing(bench: Bench) -> None:
    an, bo, guest = await founded(bench, Person("an"), Person("bo"), Person("gu", ("enrol", "keys")))
    raw = targets()
    await refused(bench, raw, (), "security.two-persons")
    await refused(bench, raw, (an,), "security.two-persons")
    await refused(bench, raw, (an, an), "security.two-persons")
    await refused(bench, raw, (an, guest), "security.role")
    await refused(bench, raw, (an, Person("eve")), "security.officer")
    await refused(bench, raw, (an, Person("bo")), "security.signature")
    other = targets(replace(MANIFEST, version=9))
    signatures = (an.sign(TARGETS, raw), bo.sign(TARGETS, raw))
    with pytest.raises(MetersealError) as caught:
        await bench.platform.sign_firmware(other, signatures, NAME)
    assert caught.value.code == "security.signature", "another list than the one that was signed"


async def test_what_the_officers_list_does_not_say_is_not_signed(bench: Bench) -> None:
    both = await founded(bench)
    await refused(bench, targets(), both, "security.firmware", name="other.img")
    await refused(bench, targets(replace(MANIFEST, project_id=bytes(16))), both, "security.project")
    await refused(bench, targets(replace(MANIFEST, until=NOW)), both, "security.expired")
    await refused(bench, targets(b"\x00"), both, "security.request")
    await refused(bench, targets(_type="root"), both, "security.request")
    await refused(bench, b"[]", both, "security.request")
    await refused(bench, b" " * (1 << 20) + targets(), both, "security.request")


def test_what_officers_are_shown_is_read_from_the_bytes() -> None:
    shown = says(TARGETS, targets())
    assert shown[NAME].startswith(
        "version 2 for water-generic, hardware 1, after version 1 or later; 100 bytes"
    )
    with pytest.raises(LocalError) as caught:
        says(ROOT, targets())
    assert caught.value.code == "security.request"
