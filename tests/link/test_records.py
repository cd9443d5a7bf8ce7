"""Records as LINK section 4 tells them, and what someone with the session's keys still may not do.

Proves HM 8.5.5.2, HM 8.5.5.3.a, HM 8.5.5.3.b, X 9.1.b and X 10.1.c.
"""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.crypto.symmetric import hmac_sm3, pad80, sm4_cbc_encrypt, sm4_ecb
from meterseal.errors import LocalError, PeerError
from meterseal.link import records
from meterseal.link.records import CONTROL, DOWN, GUARDED, LEGAL, PLAIN, VOUCHED, WANTED
from meterseal.link.schedule import TrafficKeys
from meterseal.wire.frame import Frame, Protocol, address_of, parse_frames
from tests.link.parties import DEVICE, OTHER_DEVICE, code_of, refuses
from tests.link.vectors import SUITES

KEYS = TrafficKeys(b"e" * 16, b"m" * 32, b"i" * 16, b"E" * 16, b"M" * 32, b"I" * 16)
SESSION = bytes(range(8))
METER_645 = bytes.fromhex("d700112233445566")
REPORT = bytes.fromhex(SUITES[0].raw["records"][0]["frames"][0])


def frame(data: bytes, device_id: bytes = DEVICE, control: int = 0x81) -> Frame:
    protocol, meter_type, address = address_of(device_id)
    return Frame(protocol, meter_type, address, control, data)


def opened(
    record: bytes, device_id: bytes = DEVICE, *, up: bool = True, protocol: Protocol | None = None
) -> list[Frame]:
    header = records.parse_header(record, up=up)
    assert records.check_tag(KEYS, record)
    sealed = records.parse_body(header, record, protocol)
    records.check_addresses(header, sealed, device_id)
    return records.open_frames(KEYS, header, sealed)


def sealed(body: bytes, flags: int = WANTED, counter: int = 1) -> bytes:
    """A record with a right tag around any body: what only the module or the head-end could make."""
    head = b"MR\x01" + bytes((flags,)) + SESSION + counter.to_bytes(6, "big") + len(body).to_bytes(2, "big")
    mac = KEYS.down_mac if flags & DOWN else KEYS.up_mac
    return head + body + hmac_sm3(mac, head + body)[:16]


meters = st.sampled_from([DEVICE, OTHER_DEVICE, METER_645])
counters = st.integers(1, 2**48 - 1)


@given(meters, st.lists(st.binary(max_size=95), min_size=1, max_size=8), counters, st.booleans())
def test_what_is_sealed_opens(device_id: bytes, fields: list[bytes], counter: int, plain: bool) -> None:
    frames = [frame(one, device_id) for one in fields]
    record = records.seal_record(
        KEYS,
        SESSION,
        counter,
        [one.encode() for one in frames],
        up=True,
        plain=plain,
        protocol=frames[0].protocol,
    )
    header = records.parse_header(record)
    assert (header.session_id, header.counter, header.plain, header.up) == (SESSION, counter, plain, True)
    assert opened(record, device_id, protocol=frames[0].protocol) == frames


@given(
    st.lists(st.binary(max_size=40), min_size=1, max_size=4), counters, st.sampled_from([DEVICE, METER_645])
)
def test_a_record_is_what_the_page_says_byte_by_byte(
    fields: list[bytes], counter: int, device_id: bytes
) -> None:
    """An independent composition of LINK section 4, DL/T 645 offset included."""
    frames = [frame(one, device_id, 0x91) for one in fields]
    body = b""
    for index, one in enumerate(frames):
        iv = sm4_ecb(KEYS.up_iv, counter.to_bytes(6, "big") + index.to_bytes(2, "big") + bytes(8))
        cipher = sm4_cbc_encrypt(KEYS.up_enc, iv, pad80(one.data))
        if one.protocol == "dlt645":
            inner = b"\x68" + one.address + b"\x68\x91" + bytes((len(cipher),))
            inner += bytes((byte + 0x33) & 0xFF for byte in cipher)
        else:
            inner = b"\x68\x10" + one.address + b"\x91" + bytes((len(cipher),)) + cipher
        body += inner + bytes((sum(inner) & 0xFF, 0x16))
    record = records.seal_record(
        KEYS, SESSION, counter, [one.encode() for one in frames], up=True, protocol=frames[0].protocol
    )
    assert record == sealed(body, WANTED, counter)
    assert hmac.compare_digest(record, sealed(body, WANTED, counter))


def test_one_cold_water_answer_is_an_81_byte_record() -> None:
    assert len(records.seal_record(KEYS, SESSION, 1, [REPORT], up=True)) == 81


@given(st.sets(counters, min_size=2, max_size=30))
def test_no_two_frames_share_an_iv(numbers: set[int]) -> None:
    ivs = [records.frame_ivs(KEYS.up_iv, number, 3) for number in numbers]
    blocks = [iv[at : at + 16] for iv in ivs for at in (0, 16, 32)]
    assert len(set(blocks)) == len(blocks)


def test_equal_readings_look_different_in_each_record_and_place() -> None:
    bodies = set()
    for counter in (1, 2):
        record = records.seal_record(KEYS, SESSION, counter, [REPORT, REPORT], up=True)
        bodies |= {one.data for one in parse_frames(record[20:-16])}
    assert len(bodies) == 4


# --- flags ------------------------------------------------------------------------------------------------


def legal_by_the_page(flags: int) -> bool:
    """LINK section 4, the paragraph on flags, sentence by sentence; up control is judged with its kind."""
    up, wanted = not flags & DOWN, bool(flags & WANTED)
    vouched, control = bool(flags & VOUCHED), bool(flags & CONTROL)
    plain, guarded = bool(flags & PLAIN), bool(flags & GUARDED)
    if flags & 0xC0:
        return False
    if plain and (control or guarded):
        return False
    if control and (guarded or vouched):
        return False
    if guarded and up:
        return False
    if vouched and not up:
        return False
    if not up:
        return not wanted
    return wanted or control


@pytest.mark.parametrize("flags", range(256))
def test_flags_are_legal_as_the_page_says(flags: int) -> None:
    assert (flags in LEGAL) == legal_by_the_page(flags)
    record = sealed(REPORT, flags)
    if flags in LEGAL:
        assert records.parse_header(record).flags == flags
        return
    refuses("link.flags", lambda: records.parse_header(record))
    with pytest.raises(LocalError):
        records.finish(KEYS.up, flags, SESSION, 1, b"")


# --- what someone with the keys may not do -----------------------------------------------------------------


def test_a_record_is_not_reflected() -> None:
    up = records.seal_record(KEYS, SESSION, 1, [REPORT], up=True)
    down = records.seal_record(KEYS, SESSION, 1, [frame(b"\x90\x1f\x00", control=1).encode()], up=False)
    refuses("link.direction", lambda: records.parse_header(up, up=False))
    refuses("link.direction", lambda: records.parse_header(down, up=True))
    turned = up[:3] + bytes((DOWN,)) + up[4:]
    assert not records.check_tag(KEYS, turned)


def test_a_record_of_another_session_has_no_good_tag() -> None:
    other = TrafficKeys(b"e" * 16, b"x" * 32, b"i" * 16, b"E" * 16, b"M" * 32, b"I" * 16)
    assert not records.check_tag(other, records.seal_record(KEYS, SESSION, 1, [REPORT], up=True))
    assert not records.check_tag(KEYS, b"")


def test_counters_outside_their_range_are_refused() -> None:
    refuses("link.counter", lambda: records.parse_header(sealed(REPORT, counter=0)))
    for counter in (0, -1, 2**48):
        with pytest.raises(LocalError):
            records.seal_record(KEYS, SESSION, counter, [REPORT], up=True)
    assert records.parse_header(sealed(REPORT, counter=2**48 - 1)).counter == 2**48 - 1


def test_a_frame_of_another_meter_is_refused_unless_vouched() -> None:
    foreign = frame(b"x", OTHER_DEVICE).encode()
    refuses("link.address", lambda: opened(records.seal_record(KEYS, SESSION, 1, [REPORT, foreign], up=True)))
    vouched = records.seal_record(KEYS, SESSION, 1, [REPORT, foreign], up=True, vouched=True)
    assert [one.device_id for one in opened(vouched)] == [DEVICE, OTHER_DEVICE]


def test_frames_of_other_meters_go_down_to_a_concentrator_and_to_nobody_else() -> None:
    """It passes them on to plain meters; what comes up from it in its own name is its own alone."""
    concentrator = b"\xf0" + DEVICE[1:]
    word = frame(b"x", OTHER_DEVICE, 0x04)
    for up, device_id, passes in (
        (False, concentrator, True),
        (True, concentrator, False),
        (False, DEVICE, False),
        (False, b"\xf1" + DEVICE[1:], False),
        (False, DEVICE[:1] + b"\xf0" + DEVICE[2:], False),
    ):
        record = records.seal_record(KEYS, SESSION, 1, [word.encode()], up=up)
        header = records.parse_header(record, up=up)
        if passes:
            records.check_addresses(header, [word], device_id)
        else:
            refuses("link.address", lambda h=header, d=device_id: records.check_addresses(h, [word], d))


def test_the_type_of_a_meter_is_part_of_its_address() -> None:
    same_number = frame(b"x", b"\x20" + DEVICE[1:]).encode()
    refuses("link.address", lambda: opened(records.seal_record(KEYS, SESSION, 1, [same_number], up=True)))


@pytest.mark.parametrize("padded", [bytes(16), b"\x80" + bytes(31), b"x" * 16, b"x" * 15 + b"\x81"])
def test_padding_that_is_none_is_refused(padded: bytes) -> None:
    iv = records.frame_ivs(KEYS.up_iv, 1, 1)
    bad = frame(sm4_cbc_encrypt(KEYS.up_enc, iv, padded)).encode()
    refuses("link.padding", lambda: opened(sealed(bad)))


@pytest.mark.parametrize("size", [0, 1, 15, 17, 112, 240])
def test_cipher_of_a_size_that_link_does_not_allow_is_refused(size: int) -> None:
    refuses("link.length", lambda: opened(sealed(frame(bytes(size)).encode())))


def test_largest_fields_by_protocol_and_way() -> None:
    for device_id, up, most in (
        (DEVICE, True, 95),
        (DEVICE, False, 47),
        (METER_645, True, 191),
        (METER_645, False, 47),
    ):
        whole = frame(bytes(most), device_id).encode()
        record = records.seal_record(KEYS, SESSION, 1, [whole], up=up)
        assert [one.encode() for one in opened(record, device_id, up=up)] == [whole]
        with pytest.raises(LocalError):
            records.seal_record(KEYS, SESSION, 1, [frame(bytes(most + 1), device_id).encode()], up=up)
    for device_id, up, most in (
        (DEVICE, True, 100),
        (DEVICE, False, 50),
        (METER_645, True, 200),
        (METER_645, False, 50),
    ):
        whole = frame(bytes(most), device_id).encode()
        assert opened(records.seal_record(KEYS, SESSION, 1, [whole], up=up, plain=True), device_id, up=up)
        over = frame(bytes(most + 1), device_id).encode()
        with pytest.raises(LocalError):
            records.seal_record(KEYS, SESSION, 1, [over], up=up, plain=True)
        flags = PLAIN | (WANTED if up else DOWN)
        refuses(
            "link.length",
            lambda over=over, flags=flags, d=device_id, up=up: opened(sealed(over, flags), d, up=up),
        )


def test_a_wrong_checksum_inside_a_good_tag_refuses_the_whole_record() -> None:
    good = records.seal_record(KEYS, SESSION, 1, [REPORT, REPORT], up=True)[20:-16]
    for at in (len(good) // 2 - 2, len(good) - 2):
        bad = good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :]
        refuses("wire.checksum", lambda bad=bad: opened(sealed(bad)))


@pytest.mark.parametrize("body", [b"", b"\xfe\xfe", REPORT + b"\0", b"\xfe" + REPORT, REPORT[:-1]])
def test_a_body_is_whole_frames_without_preambles(body: bytes) -> None:
    assert code_of(lambda: opened(sealed(body, WANTED | PLAIN))).startswith("wire.")


def test_a_record_has_at_most_4096_bytes() -> None:
    frames = [REPORT] * 100
    assert len(records.seal_record(KEYS, SESSION, 1, frames[:90], up=True)) <= 4096
    with pytest.raises(LocalError, match="4096"):
        records.seal_record(KEYS, SESSION, 1, frames, up=True)
    refuses("link.length", lambda: records.parse_header(sealed(bytes(4061))))
    assert records.parse_header(sealed(bytes(4060))).length == 4060


def test_nothing_and_no_frame_are_not_sealed() -> None:
    with pytest.raises(LocalError):
        records.seal_record(KEYS, SESSION, 1, [], up=True)
    for wrong in (b"", b"\xfe" + REPORT, REPORT + REPORT, REPORT[:-1]):
        with pytest.raises(PeerError):
            records.seal_record(KEYS, SESSION, 1, [wrong], up=True)


def test_a_meter_number_with_68_is_read_by_the_sessions_protocol() -> None:
    """A 68 in the address where DL/T 645 has its second 68 does not turn water into electricity."""
    device_id = bytes.fromhex("10" + "00" + "68" + "3011223344"[:10])
    for counter in range(1, 40):
        record = records.seal_record(
            KEYS, SESSION, counter, [frame(bytes(90), device_id).encode()] * 3, up=True, protocol="cjt188"
        )
        assert len(opened(record, device_id, protocol="cjt188")) == 3
