"""Station link, records: seals around meter frames, one function for each step of LINK section 4.

It keeps no counter and knows no session; whoever opens calls the steps in LINK's order:
`parse_header`, `check_tag`, (counter), `parse_body`, `check_addresses`, `open_frames`. What the standards
leave open about data fields is a `profile` (`profiles`); ours is meant where none is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct as Layout
from typing import NamedTuple

from msgspec import Struct

from meterseal.crypto.symmetric import (
    equal,
    hmac_sm3,
    sm4_cbc_decrypt_all,
    sm4_cbc_encrypt,
)
from meterseal.errors import LocalError, PeerError, TrustError
from meterseal.link.identities import is_concentrator
from meterseal.link.messages import LONGEST
from meterseal.link.profiles import OURS, SecurityProfile, Sizes
from meterseal.link.schedule import DirectionKeys, TrafficKeys
from meterseal.wire.frame import Frame, Protocol, parse_frame, parse_frames

MAGIC = b"MR\x01"
HEADER = 20
TAG = OURS.tag
LAST_COUNTER = 2**48 - 1
DOWN, WANTED, VOUCHED, CONTROL, PLAIN, GUARDED = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

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


def parse_header(record: bytes, *, up: bool | None = None, profile: SecurityProfile = OURS) -> Header:
    """Step 1: lengths, version and legal flags; with `up` also that the record goes this way.

    Raises PeerError `link.header` or `link.length`, TrustError `link.flags`, `link.direction` or
    `link.counter`.
    """
    size, around = len(record), HEADER + profile.tag
    if size < around or size > LONGEST:
        raise PeerError(
            "link.length", f"A record has {around} to {LONGEST} bytes, not {size}; refused.", found=size
        )
    magic, flags, session_id, high, low, length = _LAYOUT.unpack_from(record)
    if magic != MAGIC:
        raise PeerError("link.header", "This is no record of version 1; send 4D 52 01 first.")
    if length != size - around:
        raise PeerError(
            "link.length", f"The record says {length} body bytes and has {size - around}; refused."
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


def check_tag(keys: TrafficKeys, record: bytes, profile: SecurityProfile = OURS) -> bool:
    """Step 3: does the tag hold, under the keys of the way that the flags name? In constant time.

    Look at the way first (`parse_header(record, up=…)`), or a record could be reflected.
    """
    tag = profile.tag
    if len(record) < HEADER + tag:
        return False
    mac = keys.down_mac if record[3] & DOWN else keys.up_mac
    return equal(hmac_sm3(mac, record[:-tag])[:tag], record[-tag:])


def parse_body(header: Header, record: bytes, protocol: Protocol | None = None) -> list[Frame]:
    """Step 5: the frames, each whole with a right CS; their data are still ciphertext unless the record is
    plain.

    Name the session's `protocol` where it is known (all but vouched records). Raises PeerError `wire.*`.
    """
    return parse_frames(record[HEADER : HEADER + header.length], protocol)


def check_addresses(header: Header, frames: Sequence[Frame], device_id: bytes) -> None:
    """Step 6: every frame is the session's device's own. Raises TrustError `link.address`.

    The frames of a vouched record name other meters; which those may be is asked where enrolments are known. So do those
    that go down to a concentrator, which passes them on to plain meters (ADR 0040); which it does it knows itself.
    """
    if header.vouched or (not header.up and is_concentrator(device_id)):
        return
    for frame in frames:
        if frame.device_id != device_id:
            raise TrustError(
                "link.address", "A frame bears another address than the session's device; refused."
            )


def open_frames(
    keys: TrafficKeys, header: Header, frames: Sequence[Frame], profile: SecurityProfile = OURS
) -> list[Frame]:
    """Step 7: decrypt and unpad the data fields; plain frames as they are. Only after a good tag.

    Raises PeerError `link.length` for cipher of another size than the profile allows and TrustError
    `link.padding`.
    """
    if header.plain:
        _check_plain(frames, profile.plain, header.up)
        return list(frames)
    _check_cipher(frames, profile, header.up)
    ivs = frame_ivs(keys.up_iv if header.up else keys.down_iv, header.counter, len(frames), profile)
    enc = keys.up_enc if header.up else keys.down_enc
    unpad = profile.unpad
    if profile.whole:
        padded = sm4_cbc_decrypt_all(enc, ivs, [frame.data for frame in frames])
        leads: Sequence[bytes] = ()
    else:
        cuts = [profile.clear[frame.protocol] for frame in frames]
        leads = [frame.data[:cut] for frame, cut in zip(frames, cuts, strict=True)]
        padded = sm4_cbc_decrypt_all(
            enc, ivs, [frame.data[cut:] for frame, cut in zip(frames, cuts, strict=True)]
        )
    try:
        opened = [unpad(one) for one in padded]
    except TrustError as error:
        raise TrustError("link.padding", error.message) from None
    if leads:
        opened = [lead + one for lead, one in zip(leads, opened, strict=True)]
    return [
        Frame(frame.protocol, frame.meter_type, frame.address, frame.control, one)
        for frame, one in zip(frames, opened, strict=True)
    ]


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
    profile: SecurityProfile = OURS,
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
        _check_own_plain(parsed, profile.plain, up)
        return finish(way, flags, session_id, counter, b"".join(frames), profile)
    body = encrypt_frames(way, counter, parsed, up=up, profile=profile)
    return finish(way, flags, session_id, counter, body, profile)


def encrypt_frames(
    way: DirectionKeys,
    counter: int,
    frames: Sequence[Frame],
    *,
    up: bool,
    profile: SecurityProfile = OURS,
) -> bytes:
    """The frames with padded and encrypted data fields, encoded and joined; index and IV run from 0.

    Raises LocalError `link.length` for a field that is too long, or too short to keep DI and SER in clear.
    """
    ivs = frame_ivs(way.iv, counter, len(frames), profile)
    pad, body = profile.pad, []
    for at, frame in enumerate(frames):
        data, lead, most = frame.data, b"", profile.cipher[frame.protocol, up]
        if not profile.whole:
            cut = profile.clear[frame.protocol]
            lead, data = data[:cut], data[cut:]
            if len(lead) < cut:
                raise _too_short(len(lead), cut)
        if len(data) > most:
            raise _too_long(len(data), most)
        cipher = sm4_cbc_encrypt(way.enc, ivs[at * _BLOCK : (at + 1) * _BLOCK], pad(data))
        if len(cipher) > most:
            raise _too_long(len(cipher), most)
        if lead:
            cipher = lead + cipher
        body.append(Frame(frame.protocol, frame.meter_type, frame.address, frame.control, cipher).encode())
    return b"".join(body)


def frame_ivs(key: bytes, counter: int, count: int, profile: SecurityProfile = OURS) -> bytes:
    """IV_0 … of a record, 16 bytes each; ours are SM4(iv, counter 6 ‖ index 2 ‖ 0^8)."""
    _check_own_counter(counter)
    return profile.ivs(key, counter, count)


def finish(
    way: DirectionKeys,
    flags: int,
    session_id: bytes,
    counter: int,
    body: bytes,
    profile: SecurityProfile = OURS,
) -> bytes:
    """Header ‖ body ‖ tag. Raises LocalError for flags, counters and sizes that LINK section 4 forbids."""
    if flags not in LEGAL:
        rule = broken_rule(flags)
        raise LocalError("link.flags", f"Flags {flags:02X} may not be sent: {rule.sentence if rule else ''}")
    _check_own_counter(counter)
    if HEADER + len(body) + profile.tag > LONGEST:
        raise _too_long(HEADER + len(body) + profile.tag, LONGEST)
    header = _LAYOUT.pack(MAGIC, flags, session_id, counter >> 32, counter & 0xFFFFFFFF, len(body))
    covered = header + body
    return covered + hmac_sm3(way.mac, covered)[: profile.tag]


def _check_own_counter(counter: int) -> None:
    if not 0 < counter <= LAST_COUNTER:
        raise LocalError("link.counter", f"Counter {counter} is outside 1..2^48-1; begin a new session.")


def _alone(encoded: bytes, protocol: Protocol | None) -> Frame:
    frame, end = parse_frame(encoded, 0, protocol)
    if end != len(encoded):
        raise PeerError("wire.length", "More than one frame was given as one; give each frame by itself.")
    return frame


def _check_cipher(frames: Sequence[Frame], profile: SecurityProfile, up: bool) -> None:
    largest, clear = profile.cipher, profile.clear
    for frame in frames:
        size = len(frame.data) - clear[frame.protocol]
        if size <= 0 or size % _BLOCK or size > largest[frame.protocol, up]:
            raise _wrong_size(len(frame.data), largest[frame.protocol, up])


def _check_plain(frames: Sequence[Frame], largest: Sizes, up: bool) -> None:
    for frame in frames:
        if len(frame.data) > largest[frame.protocol, up]:
            raise _wrong_size(len(frame.data), largest[frame.protocol, up])


def _wrong_size(size: int, most: int) -> PeerError:
    return PeerError(
        "link.length",
        f"A data field has {size} bytes, which is no whole cipher or more than {most}; refused.",
        found=size,
    )


def _check_own_plain(frames: Sequence[Frame], largest: Sizes, up: bool) -> None:
    for frame in frames:
        if len(frame.data) > largest[frame.protocol, up]:
            raise _too_long(len(frame.data), largest[frame.protocol, up])


def _too_short(size: int, clear: int) -> LocalError:
    return LocalError(
        "link.length", f"A data field of {size} bytes has no DI and SER ({clear}) to leave in clear."
    )


def _too_long(size: int, most: int) -> LocalError:
    return LocalError("link.length", f"{size} bytes were to be sealed where {most} are most; split the data.")
