"""For any bytes and any text at all: an answer or a PeerError, never another exception, never a wrong yes."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.errors import PeerError
from meterseal.wire.codec import Reader, search
from meterseal.wire.decode import decode, decode_all, decode_bytes
from meterseal.wire.frame import Frame, parse_frame, parse_frames
from meterseal.wire.meaning import interpret
from meterseal.wire.tree import tree

from .frames import VALID, electricity, household

spice = st.sampled_from([b"\x68", b"\x16", b"\xfe", b"\x90\x1f", b"\x2c", b"\x68\x10", b"\xff" * 4])
noise = st.lists(st.one_of(st.binary(max_size=12), spice), max_size=24).map(b"".join)
captured = st.sampled_from([bytes.fromhex(vector["hex"]) for vector in VALID])
identifiers = st.sampled_from(
    ["1F90", "901F", "911F", "20D1", "00D2", "00D3", "8102", "8105", "A017", "01E0", "02E0"]
)
identifiers_645 = st.sampled_from(
    ["00000100", "00FF0100", "00FF0102", "01010004", "04040004", "000001E0", "000002E0"]
)
frames = st.one_of(
    st.builds(
        lambda control, di, rest, kind: household(control, bytes.fromhex(di) + rest, kind),
        st.integers(0, 255),
        identifiers,
        st.binary(max_size=80),
        st.integers(0, 255),
    ),
    st.builds(
        lambda control, di, rest: electricity(control, bytes.fromhex(di) + rest),
        st.integers(0, 255),
        identifiers_645,
        st.binary(max_size=80),
    ),
    st.builds(household, st.integers(0, 255), st.binary(max_size=60)),
    st.builds(electricity, st.integers(0, 255), st.binary(max_size=60)),
)


@given(noise)
def test_any_bytes_are_answered(buf: bytes) -> None:
    decoded = decode_bytes(buf)
    json.dumps(decoded.answer)
    assert tree(decoded)
    if decoded.valid:
        assert decoded.found.frame is not None
        assert decoded.found.frame.encode() in buf
    else:
        assert decoded.answer["error"]["code"].startswith("wire.")


@given(st.text(max_size=200))
def test_any_text_is_answered(text: str) -> None:
    for decoded in decode_all(text):
        json.dumps(decoded.answer)
        assert tree(decoded, colour=True)


@given(frames)
@settings(max_examples=400)
def test_any_frame_with_a_right_checksum_is_valid_and_means_something(raw: bytes) -> None:
    decoded = decode_bytes(raw)
    json.dumps(decoded.answer)
    assert decoded.valid
    assert decoded.meaning is not None
    taken = b"".join(part.raw for part in decoded.meaning.parts)
    assert decoded.found.frame is not None
    assert taken == decoded.found.frame.data


@given(noise)
def test_strict_parsing_of_any_bytes_raises_peer_errors_only(buf: bytes) -> None:
    for read in (parse_frame, parse_frames):
        try:
            assert read(buf)
        except PeerError as error:
            code = error.code
        else:
            continue
        assert code in (
            "wire.no-frame",
            "wire.truncated",
            "wire.end",
            "wire.checksum",
            "wire.length",
        )


@given(noise, captured, noise)
def test_a_whole_frame_in_noise_is_found_unless_another_comes_first(
    before: bytes, raw: bytes, behind: bytes
) -> None:
    before = before.replace(b"\x68", b"\x00")
    found = search(before + raw + behind)
    assert found.frame == search(raw).frame


@given(captured, st.data())
def test_two_changed_bytes_never_give_the_same_reading(raw: bytes, draw: st.DataObject) -> None:
    raw = raw.lstrip(b"\xfe")
    changed = bytearray(raw)
    for _ in range(2):
        changed[draw.draw(st.integers(0, len(raw) - 1))] = draw.draw(st.integers(0, 255))
    frame = search(bytes(changed)).frame
    assert bytes(changed) == raw or frame is None or frame != search(raw).frame


@given(st.lists(st.one_of(captured, noise), max_size=6), st.integers(1, 40), st.booleans())
def test_a_reader_takes_any_stream_in_any_pieces(pieces: list[bytes], step: int, idle: bool) -> None:
    stream = b"".join(pieces)
    reader = Reader()
    got: list[Frame] = []
    for start in range(0, len(stream), step):
        reader.feed(stream[start : start + step])
        while (frame := reader.next_frame()) is not None:
            got.append(frame)
    while idle and (frame := reader.next_frame(idle=True)) is not None:
        got.append(frame)
    for frame in got:
        assert frame.encode() in stream
        interpret(frame)
    if idle:
        assert len(reader) == 0


def test_a_flood_of_start_bytes_stays_cheap_and_bounded() -> None:
    reader = Reader()
    for _ in range(40):
        reader.feed(b"\x68" * 4096)
    assert len(reader) <= 1 << 16
    assert decode_bytes(b"\x16\x68" * 4000).answer["valid"] is False


def test_text_may_be_long() -> None:
    assert decode("zz " * 300_000 + VALID[0]["hex"]).answer["valid"] is True
