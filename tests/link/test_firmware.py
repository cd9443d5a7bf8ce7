"""Manifests, blocks and reports of firmware: what is said is read again, and nothing else is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from meterseal.crypto.symmetric import sm3
from meterseal.errors import PeerError
from meterseal.link import firmware
from meterseal.link.firmware import Manifest, Phase, Reason, Report
from meterseal.wire.frame import Frame, address_of

IMAGE = bytes(range(256)) * 20 + b"the end"
BLOCKS = firmware.split(IMAGE)
LEAVES = [firmware.leaf_of(one) for one in BLOCKS]
MANIFEST = Manifest(
    project_id=bytes(16),
    model="water-generic",
    hardware=1,
    version=2,
    lowest=1,
    size=len(IMAGE),
    root=firmware.root_of(LEAVES),
    until=1_800_000_000_000,
)
REPORT = Report(
    phase=Phase.RECEIVING,
    reason=Reason.NONE,
    version=1,
    hardware=1,
    running=bytes(32),
    staged=sm3(b"x"),
    refused=3,
    model="water-generic",
    missing=b"\xa0\x01",
    blocks=16,
)
DIGEST = sm3(firmware.manifest_bytes(MANIFEST))


def refused(call: object, *arguments: object) -> None:
    with pytest.raises(PeerError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert caught.value.code == "link.firmware"


def test_a_manifest_has_one_encoding_and_bounds() -> None:
    raw = firmware.manifest_bytes(MANIFEST)
    assert firmware.read_manifest(raw) == MANIFEST
    fields = list(msgspec.structs.astuple(MANIFEST))
    for other in (b"", raw[:-1], raw + b"\x00", b"\xc0", msgspec.msgpack.encode([*fields, 1])):
        refused(firmware.read_manifest, other)
    for field, value in (
        ("project_id", bytes(15)),
        ("model", ""),
        ("model", "m" * 33),
        ("hardware", -1),
        ("version", 1 << 32),
        ("lowest", 2),
        ("lowest", -1),
        ("size", 0),
        ("size", 513 * 1024),
        ("root", bytes(31)),
        ("until", 0),
    ):
        refused(firmware.read_manifest, firmware.manifest_bytes(replace(MANIFEST, **{field: value})))


def test_an_offer_a_block_a_sighting_and_a_report_are_read_as_they_were_said() -> None:
    raw = firmware.manifest_bytes(MANIFEST)
    signed = firmware.Signed(raw, bytes(64), (b"leaf" * 10, b"ca" * 20))
    word = firmware.offer(signed)
    assert firmware.read_offer(word.content) == signed
    refused(firmware.read_offer, word.content[:60])
    block = firmware.block(DIGEST, 2, BLOCKS, LEAVES, firmware.REPORT_NOW).content
    read = firmware.read_block(block)
    assert (read.named, read.index, read.flags, read.content) == (DIGEST[:8], 2, 1, BLOCKS[2])
    for other in (block[:-1], block[:12], block[:12] + b"\x00\x00" + block[14:], block[:12] + b"\x05\x00"):
        refused(firmware.read_block, other)
    seen = firmware.seen(DIGEST, 77).content
    assert firmware.read_seen(seen) == (DIGEST, 77)
    refused(firmware.read_seen, seen[:-1])
    said = firmware.report(REPORT)
    assert firmware.read_report(said) == REPORT
    assert firmware.missing_of(REPORT.missing, REPORT.blocks) == [0, 2, 15]
    for other in (b"", said[:-1], said + b"\x00", b"\x12" + said[1:], said[:1] + b"\x09" + said[2:]):
        refused(firmware.read_report, other)


@given(st.integers(1, 700), st.data())
def test_every_block_belongs_at_its_own_place_only(size: int, data: st.DataObject) -> None:
    image = bytes(k * 7 % 251 for k in range(size * 64))
    blocks = firmware.split(image)
    leaves = [firmware.leaf_of(one) for one in blocks]
    manifest = replace(MANIFEST, size=len(image), root=firmware.root_of(leaves))
    index = data.draw(st.integers(0, len(blocks) - 1))
    block = firmware.read_block(firmware.block(DIGEST, index, blocks, leaves, 0).content)
    assert firmware.belongs(manifest, block)
    at = data.draw(st.integers(0, len(block.content) - 1))
    flipped = bytearray(block.content)
    flipped[at] ^= data.draw(st.integers(1, 255))
    assert not firmware.belongs(manifest, replace(block, content=bytes(flipped)))
    assert not firmware.belongs(manifest, replace(block, content=block.content + b"\x00"))
    assert not firmware.belongs(manifest, replace(block, path=(*block.path, bytes(32))))
    assert not firmware.belongs(manifest, replace(block, path=block.path[:-1])) or not block.path
    assert not firmware.belongs(manifest, replace(block, index=len(blocks)))
    other = data.draw(st.integers(0, len(blocks) - 1))
    if blocks[other] != block.content:
        assert not firmware.belongs(manifest, replace(block, index=other))


@pytest.mark.parametrize("device_id", [bytes.fromhex("1078330011223344"), bytes.fromhex("d700000000000161")])
def test_an_order_to_switch_names_its_manifest_and_nothing_else_is_one(device_id: bytes) -> None:
    frame = firmware.switch_frame(device_id, DIGEST, 9)
    assert firmware.switch_of(frame) == DIGEST
    assert frame.device_id == device_id
    assert firmware.switched(frame).control == frame.control | 0x80
    protocol, meter_type, address = address_of(device_id)
    for control, body in (
        (frame.control ^ 1, frame.data),
        (frame.control, frame.data[:-1]),
        (frame.control, b""),
    ):
        assert firmware.switch_of(Frame(protocol, meter_type, address, control, body)) is None
