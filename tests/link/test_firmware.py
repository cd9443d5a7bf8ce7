"""Manifests, blocks and reports of firmware: what is said is read again, and nothing else is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from meterseal.crypto import merkle
from meterseal.crypto.symmetric import sm3
from meterseal.errors import PeerError
from meterseal.link import firmware
from meterseal.link.firmware import Manifest, Phase, Reason, Report
from meterseal.wire.frame import Frame, address_of
from tests.crypto.test_merkle import slow_root

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
    assert raw == msgspec.msgpack.encode(fields)
    for other in (b"", raw[:-1], raw + b"\x00", b"\xc0", msgspec.msgpack.encode([*fields, 1])):
        refused(firmware.read_manifest, other)
    for field, value in (
        ("project_id", bytes(15)),
        ("model", ""),
        ("model", "m" * 33),
        ("hardware", -1),
        ("hardware", 1 << 16),
        ("version", 1 << 32),
        ("lowest", 2),
        ("lowest", -1),
        ("size", 0),
        ("size", 512 * 1024 + 1),
        ("root", bytes(31)),
        ("until", 0),
        ("until", 1 << 62),
    ):
        refused(firmware.read_manifest, firmware.manifest_bytes(replace(MANIFEST, **{field: value})))
    for bounds in (
        {"model": "m", "hardware": 0, "lowest": 0, "version": 1, "size": 1, "until": 1},
        {"model": "m" * 32, "hardware": 65_535, "version": 2**32 - 1, "size": 512 * 1024, "until": 2**62 - 1},
    ):
        at_bounds = replace(MANIFEST, **bounds)
        assert firmware.read_manifest(firmware.manifest_bytes(at_bounds)) == at_bounds


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


def test_every_word_of_firmware_is_its_bytes() -> None:
    """Devices in the field go by them: a word that both sides here read alike and that is another one is heard by none."""
    chain = b"\x02\x00\x04leaf\x00\x02ca"
    for size in (100, 300):
        signed = firmware.Signed(bytes(size), bytes(range(64)), (b"leaf", b"ca"))
        word = firmware.offer(signed)
        assert word.content == b"\x01" + size.to_bytes(2, "big") + bytes(size) + bytes(range(64)) + chain
        assert firmware.read_offer(word.content) == signed
        fields = [signed.manifest, signed.signature, signed.chain]
        assert msgspec.msgpack.encode(signed) == msgspec.msgpack.encode(fields)  # as the platform asks for it
    path = b"".join(firmware.path_of(4, LEAVES))
    assert firmware.block(DIGEST, 4, BLOCKS, LEAVES, firmware.REPORT_NOW).content == (
        b"\x02" + DIGEST[:8] + b"\x00\x04\x01" + b"\x04\x00" + IMAGE[4096:5120] + path
    )
    seen = firmware.seen(DIGEST, 0x010203040506).content
    assert seen == b"\x03" + DIGEST + bytes(range(1, 7))
    assert firmware.read_seen(seen) == (DIGEST, 0x010203040506)
    said = replace(REPORT, phase=Phase.TRIAL, reason=Reason.NO_START, version=0x01020304, hardware=0x0506)
    assert firmware.report(said) == (
        b"\x11\x03\x0b\x01\x02\x03\x04\x05\x06"
        + (said.running + said.staged)
        + b"\x00\x00\x00\x03\x00\x10\x0dwater-generic\xa0\x01"
    )
    assert firmware.read_report(firmware.report(said)) == said
    assert firmware.LABEL == b"ms1 firmware\0"  # before the manifest, in what a platform's key signs


def test_phases_and_reasons_keep_their_numbers() -> None:
    """A device says them from its module's own program, which may be years older than the platform."""
    phases = ("IDLE", "RECEIVING", "READY", "TRIAL")
    reasons = (
        *("NONE", "SIGNATURE", "PROJECT", "VERSION", "LOWEST", "LATE", "MODEL", "HARDWARE", "BUSY", "IMAGE"),
        *("NO_REPORT", "NO_START"),
    )
    for at, phase in enumerate(phases):
        assert firmware.report(replace(REPORT, phase=Phase[phase]))[1] == at
    for at, reason in enumerate(reasons):
        assert firmware.report(replace(REPORT, reason=Reason[reason]))[2] == at


def test_an_image_is_cut_into_kibibytes_and_its_tree_is_that_of_rfc_6962() -> None:
    assert [len(one) for one in firmware.split(bytes(2049))] == [1024, 1024, 1]
    for count in range(1, 20):
        blocks = [bytes((at,)) * (at + 1) for at in range(count)]
        leaves = [firmware.leaf_of(one) for one in blocks]
        assert firmware.root_of(leaves) == slow_root(blocks)
        for at, leaf in enumerate(leaves):
            assert merkle.included(leaf, at, count, firmware.path_of(at, leaves), slow_root(blocks))


def test_an_offer_without_a_chain_and_a_block_that_ends_early_are_refused_as_what_they_are() -> None:
    refused(firmware.read_offer, b"\x01\x00\x04" + bytes(4 + 64))
    whole = firmware.block(DIGEST, 2, BLOCKS, LEAVES, 0).content
    for size in range(len(whole) - len(firmware.path_of(2, LEAVES)) * 32):
        refused(firmware.read_block, whole[:size])
    assert firmware.read_block(b"\x02" + bytes(11) + b"\x00\x01" + b"x").content == b"x"


def test_a_report_may_be_the_shortest_or_name_512_blocks_and_every_cut_of_one_is_refused() -> None:
    shortest = Report(
        phase=Phase.IDLE, reason=Reason.NONE, version=0, hardware=0, running=bytes(32), staged=bytes(32), refused=0,
        model="",
    )  # fmt: skip
    said = firmware.report(shortest)
    assert len(said) == 80
    assert firmware.read_report(said) == replace(shortest, missing=b"", blocks=0)
    longest = replace(REPORT, missing=bytes(range(64)), blocks=512)
    assert firmware.read_report(firmware.report(longest)) == longest
    refused(firmware.read_report, firmware.report(replace(longest, missing=bytes(65), blocks=513)))
    for whole in (said, firmware.report(REPORT), firmware.report(longest)):
        for size in range(len(whole)):
            refused(firmware.read_report, whole[:size])


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
    said = {
        "cjt188": (0x04, b"\x04\xe0\x09" + DIGEST, b"\x04\xe0\x09"),
        "dlt645": (0x14, b"\x00\x00\x04\xe0" + bytes(8) + DIGEST, b""),
    }
    assert (frame.control, frame.data, firmware.switched(frame).data) == said[protocol]
    for control, body in (
        (frame.control ^ 1, frame.data),
        (frame.control, frame.data[:-1]),
        (frame.control, b""),
    ):
        assert firmware.switch_of(Frame(protocol, meter_type, address, control, body)) is None
