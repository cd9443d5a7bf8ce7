"""Station link, records: seals around meter frames, one function for each step of LINK section 4.

It keeps no counter and knows no session; whoever opens calls the steps in LINK's order:
`parse_header`, `check_tag`, (counter), `parse_body`, `check_addresses`, `open_frames`.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct as Layout
from typing import NamedTuple

from msgspec import Struct

from meterseal.crypto.symmetric import (
    equal,
    hmac_sm3,
    pad80,
    sm4_cbc_decrypt_all,
    sm4_cbc_encrypt,
    sm4_ecb,
    unpad80,
)
from meterseal.errors import LocalError, PeerError, TrustError
from meterseal.link.messages import LONGEST
from meterseal.link.schedule import DirectionKeys, TrafficKeys
from meterseal.wire.frame import Frame, Protocol, parse_frame, parse_frames

MAGIC = b"MR\x01"
HEADER = 20
TAG = 16
LAST_COUNTER = 2**48 - 1
DOWN, WANTED, VOUCHED, CONTROL, PLAIN, GUARDED = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

LARGEST: dict[tuple[Protocol, bool], int] = {
    ("cjt188", True): 96,
    ("cjt188", False): 48,
    ("dlt645", True): 192,
    ("dlt645", False): 48,
}
"""Most cipher bytes of one data field, by protocol and up; a meter's profile may say less."""
LARGEST_PLAIN: dict[tuple[Protocol, bool], int] = {
    ("cjt188", True): 100,
    ("cjt188", False): 50,
    ("dlt645", True): 200,
    ("dlt645", False): 50,
}
"""Most bytes of a plain data field: L as the editions allow it."""

_LAYOUT = Layout(">3sB8sHIH")
_BLOCK = 16


class Rule(NamedTuple):
    """Where `flags & mask == value`, `flags & then_mask` must be `then_value`."""

    mask: int
    value: int
    then_mask: int
    then_value: int
    sentence: str


RULES = (
    Rule(0, 0, 0xC0, 0, "Bits 6 and 7 are zero."),
    Rule(PLAIN, PLAIN, CONTROL | GUARDED, 0, "Plain never goes with control or a guarded command."),
    Rule(CONTROL, CONTROL, GUARDED | VOUCHED, 0, "Control is never guarded or vouched."),
    Rule(GUARDED, GUARDED, DOWN, DOWN, "A guarded command only goes down."),
    Rule(VOUCHED, VOUCHED, DOWN, 0, "A vouched record only goes up."),
    Rule(DOWN, DOWN, WANTED, 0, "Down, no acknowledgement is wanted."),
    Rule(DOWN | CONTROL, 0, WANTED, WANTED, "Up, frames always want an acknowledgement."),
)
"""The bit rules of LINK section 4. Up, the bit that control wants stands in `control.KINDS`."""


def broken_rule(flags: int) -> Rule | None:
    """The first rule that these flags break."""
    for rule in RULES:
        if flags & rule.mask == rule.value and flags & rule.then_mask != rule.then_value:
            return rule
    return None


LEGAL = frozenset(flags for flags in range(256) if broken_rule(flags) is None)


class Header(Struct, frozen=True):
    """The 20 bytes before the body. `length` counts the body alone."""

    flags: int
    session_id: bytes
    counter: int
    length: int

    @property
    def up(self) -> bool:
        """From the device to the platform."""
        return not self.flags & DOWN

    @property
    def wanted(self) -> bool:
        """An acknowledgement is wanted."""
        return bool(self.flags & WANTED)

    @property
    def vouched(self) -> bool:
        """Frames of plain meters, sealed by a concentrator's module."""
        return bool(self.flags & VOUCHED)

    @property
    def control(self) -> bool:
        """The body is a word of control."""
        return bool(self.flags & CONTROL)

    @property
    def plain(self) -> bool:
        """Data fields are authenticated only."""
        return bool(self.flags & PLAIN)

    @property
    def guarded(self) -> bool:
        """The body is a guarded command."""
        return bool(self.flags & GUARDED)


def parse_header(record: bytes, *, up: bool | None = None) -> Header:
    """Step 1: lengths, version and legal flags; with `up` also that the record goes this way.

    Raises PeerError `link.header` or `link.length`, TrustError `link.flags`, `link.direction` or
    `link.counter`.
    """
    size = len(record)
    if size < HEADER + TAG or size > LONGEST:
        raise PeerError(
            "link.length", f"A record has {HEADER + TAG} to {LONGEST} bytes, not {size}; refused.", found=size
        )
    magic, flags, session_id, high, low, length = _LAYOUT.unpack_from(record)
    if magic != MAGIC:
        raise PeerError("link.header", "This is no record of version 1; send 4D 52 01 first.")
    if length != size - HEADER - TAG:
        raise PeerError(
            "link.length", f"The record says {length} body bytes and has {size - HEADER - TAG}; refused."
        )
    if flags not in LEGAL:
        rule = broken_rule(flags)
        raise TrustError(
            "link.flags", f"Flags {flags:02X}: {rule.sentence if rule else ''} Refused.", found=flags
        )
    counter = high << 32 | low
    if counter == 0:
        raise TrustError("link.counter", "Counter 0 is never used; the record is refused.")
    if up is not None and up == bool(flags & DOWN):
        raise TrustError("link.direction", "The record runs the other way: reflected or misrouted; refused.")
    return Header(flags, session_id, counter, length)


def check_tag(keys: TrafficKeys, record: bytes) -> bool:
    """Step 3: does the tag hold, under the keys of the way that the flags name? In constant time.

    Look at the way first (`parse_header(record, up=…)`), or a record could be reflected.
    """
    if len(record) < HEADER + TAG:
        return False
    mac = keys.down_mac if record[3] & DOWN else keys.up_mac
    return equal(hmac_sm3(mac, record[:-TAG])[:TAG], record[-TAG:])


def parse_body(header: Header, record: bytes, protocol: Protocol | None = None) -> list[Frame]:
    """Step 5: the frames, each whole with a right CS; their data are still ciphertext unless the record is
    plain.

    Name the session's `protocol` where it is known (all but vouched records). Raises PeerError `wire.*`.
    """
    return parse_frames(record[HEADER : HEADER + header.length], protocol)


def check_addresses(header: Header, frames: Sequence[Frame], device_id: bytes) -> None:
    """Step 6: every frame is the session's device's own. Raises TrustError `link.address`.

    The frames of a vouched record name other meters; which those may be is asked where enrolments are known.
    """
    if header.vouched:
        return
    for frame in frames:
        if frame.device_id != device_id:
            raise TrustError(
                "link.address", "A frame bears another address than the session's device; refused."
            )


def open_frames(keys: TrafficKeys, header: Header, frames: Sequence[Frame]) -> list[Frame]:
    """Step 7: decrypt and unpad the data fields; plain frames as they are. Only after a good tag.

    Raises PeerError `link.length` for cipher of another size than LINK allows and TrustError `link.padding`.
    """
    if header.plain:
        _check_sizes(frames, LARGEST_PLAIN, header.up)
        return list(frames)
    _check_sizes(frames, LARGEST, header.up)
    ivs = frame_ivs(keys.up_iv if header.up else keys.down_iv, header.counter, len(frames))
    enc = keys.up_enc if header.up else keys.down_enc
    padded = sm4_cbc_decrypt_all(enc, ivs, [frame.data for frame in frames])
    try:
        return [
            Frame(frame.protocol, frame.meter_type, frame.address, frame.control, unpad80(one))
            for frame, one in zip(frames, padded, strict=True)
        ]
    except TrustError as error:
        raise TrustError("link.padding", error.message) from None


def seal_record(
    keys: TrafficKeys,
    session_id: bytes,
    counter: int,
    frames: Sequence[bytes],
    *,
    up: bool,
    vouched: bool = False,
    plain: bool = False,
    protocol: Protocol | None = None,
) -> bytes:
    """A record of complete frames (68 … 16, no preambles). Up, an acknowledgement is wanted.

    Raises LocalError `link.flags`, `link.counter` or `link.length` for what may not be sent, PeerError
    `wire.*` for bytes that are no frame.
    """
    flags = (WANTED if up else DOWN) | (VOUCHED if vouched else 0) | (PLAIN if plain else 0)
    way = keys.towards(up=up)
    parsed = [_alone(frame, protocol) for frame in frames]
    if not parsed:
        raise LocalError("link.length", "A record carries at least one frame; there is nothing to seal.")
    if plain:
        _check_own_sizes(parsed, LARGEST_PLAIN, up)
        return finish(way, flags, session_id, counter, b"".join(frames))
    return finish(way, flags, session_id, counter, encrypt_frames(way, counter, parsed, up=up))


def encrypt_frames(way: DirectionKeys, counter: int, frames: Sequence[Frame], *, up: bool) -> bytes:
    """The frames with padded and encrypted data fields, encoded and joined; index and IV run from 0."""
    ivs = frame_ivs(way.iv, counter, len(frames))
    body = []
    for at, frame in enumerate(frames):
        cipher = sm4_cbc_encrypt(way.enc, ivs[at * _BLOCK : (at + 1) * _BLOCK], pad80(frame.data))
        if len(cipher) > LARGEST[frame.protocol, up]:
            raise _too_long(len(cipher), LARGEST[frame.protocol, up])
        body.append(Frame(frame.protocol, frame.meter_type, frame.address, frame.control, cipher).encode())
    return b"".join(body)


def frame_ivs(key: bytes, counter: int, count: int) -> bytes:
    """IV_0 … of a record, 16 bytes each: SM4(iv, counter 6 ‖ index 2 ‖ 0^8)."""
    _check_own_counter(counter)
    lead = counter.to_bytes(6, "big")
    return sm4_ecb(key, b"".join([lead + at.to_bytes(2, "big") + bytes(8) for at in range(count)]))


def finish(way: DirectionKeys, flags: int, session_id: bytes, counter: int, body: bytes) -> bytes:
    """Header ‖ body ‖ tag. Raises LocalError for flags, counters and sizes that LINK section 4 forbids."""
    if flags not in LEGAL:
        rule = broken_rule(flags)
        raise LocalError("link.flags", f"Flags {flags:02X} may not be sent: {rule.sentence if rule else ''}")
    _check_own_counter(counter)
    if HEADER + len(body) + TAG > LONGEST:
        raise _too_long(HEADER + len(body) + TAG, LONGEST)
    header = _LAYOUT.pack(MAGIC, flags, session_id, counter >> 32, counter & 0xFFFFFFFF, len(body))
    covered = header + body
    return covered + hmac_sm3(way.mac, covered)[:TAG]


def _check_own_counter(counter: int) -> None:
    if not 0 < counter <= LAST_COUNTER:
        raise LocalError("link.counter", f"Counter {counter} is outside 1..2^48-1; begin a new session.")


def _alone(encoded: bytes, protocol: Protocol | None) -> Frame:
    frame, end = parse_frame(encoded, 0, protocol)
    if end != len(encoded):
        raise PeerError("wire.length", "More than one frame was given as one; give each frame by itself.")
    return frame


def _check_sizes(frames: Sequence[Frame], largest: dict[tuple[Protocol, bool], int], up: bool) -> None:
    for frame in frames:
        size = len(frame.data)
        if size > largest[frame.protocol, up] or (largest is LARGEST and (size == 0 or size % _BLOCK)):
            raise PeerError(
                "link.length",
                f"A data field has {size} bytes, which is no whole cipher or more than "
                f"{largest[frame.protocol, up]}; refused.",
                found=size,
            )


def _check_own_sizes(frames: Sequence[Frame], largest: dict[tuple[Protocol, bool], int], up: bool) -> None:
    for frame in frames:
        if len(frame.data) > largest[frame.protocol, up]:
            raise _too_long(len(frame.data), largest[frame.protocol, up])


def _too_long(size: int, most: int) -> LocalError:
    return LocalError("link.length", f"{size} bytes were to be sealed where {most} are most; split the data.")
