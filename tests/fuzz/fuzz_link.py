"""Fuzz target: every parser of the link; anything but an error of our tree is a finding.

Run: python tests/fuzz/fuzz_link.py -atheris_runs=100000 (seeds in seeds/link are read unless a corpus is
named). The first byte of an input chooses the parser, the rest is what came over the wire.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["meterseal"]):
    from meterseal.crypto import certificates
    from meterseal.crypto.symmetric import hmac_sm3
    from meterseal.errors import DataError, PeerError, TrustError
    from meterseal.link import commands, control, counters, evidence, messages, records, segments, transport
    from meterseal.link.schedule import TrafficKeys

SEEDS = Path(__file__).parent / "seeds" / "link"
KEYS = TrafficKeys(b"e" * 16, b"m" * 32, b"i" * 16, b"E" * 16, b"M" * 32, b"I" * 16)
DEVICE = bytes.fromhex("1078330011223344")


def handshake(message: bytes) -> None:
    """The five handshake messages; what parses encodes to the same bytes."""
    kind = messages.kind_of(message)
    if kind == messages.HELLO:
        assert messages.parse_hello(message).encode() == message
    elif kind == messages.PLATFORM:
        parsed = messages.parse_platform(message)
        head, chain_at = messages.platform_up_to_signature(
            parsed.suite, parsed.session_id, parsed.nonce, parsed.key_version, parsed.point, parsed.chain
        )
        assert head + parsed.signature + parsed.fin == message
        assert (chain_at, len(head)) == (parsed.chain_at, parsed.signature_at)
    elif kind == messages.RETRY:
        assert messages.retry(messages.parse_retry(message)) == message
    else:
        sealed = messages.parse_sealed(message, kind)
        assert sealed.covered() + sealed.tag == message


def parts(payload: bytes) -> None:
    """What DEVICE and SESSION seal."""
    for suite in (1, 2):
        try:
            assert messages.parse_credential(payload, suite).encode() == payload
        except PeerError:
            continue
    assert messages.parse_grant(payload).encode() == payload


def record(message: bytes) -> None:
    """A record as a stranger sends it."""
    header = records.parse_header(message)
    records.check_tag(KEYS, message)
    records.parse_body(header, message)


def tagged(message: bytes) -> None:
    """A record with a right tag, as only a holder of the keys can send it."""
    body = message[:-16]
    mac = KEYS.down_mac if len(message) > 3 and message[3] & records.DOWN else KEYS.up_mac
    message = body + hmac_sm3(mac, body)[:16]
    header = records.parse_header(message)
    assert records.check_tag(KEYS, message)
    if header.control:
        content(control.open_control(KEYS, header, message).content)
    elif header.guarded:
        commands.open_guarded(KEYS, header, message, DEVICE)
    else:
        frames = records.parse_body(header, message)
        records.check_addresses(header, frames, DEVICE)
        records.open_frames(KEYS, header, frames)


def content(content: bytes) -> None:
    """The content of control words."""
    for read in (control.read_ack, control.read_time, control.read_reject):
        try:
            read(content)
        except PeerError:
            continue
    assert evidence.unpack(content).pack() == content


def stream(received: bytes) -> None:
    """A stream in two pieces, and each message of it as an envelope."""
    half = len(received) // 2
    reader = transport.MessageReader()
    for message in reader.feed(received[:half]) + reader.feed(received[half:]):
        device_id, inner = transport.unpack_envelope(message)
        assert transport.pack_envelope(device_id, inner) == message


def pieces(received: bytes) -> None:
    """Segments behind one-byte lengths."""
    receiver, at = segments.SegmentReceiver(), 0
    while at < len(received):
        size = received[at]
        message = receiver.feed(received[at + 1 : at + 1 + size])
        assert message is None or len(message) <= messages.LONGEST
        assert receiver.received <= messages.LONGEST
        at += 1 + size


def stored(counted: bytes) -> None:
    """Consumed counters out of a store."""
    assert counters.CounterSet.from_bytes(counted).to_bytes() == counted


def certificate(der: bytes) -> None:
    """One certificate of a chain."""
    assert len(certificates.parse(der).point) == 65


TARGETS = (handshake, parts, record, tagged, content, stream, pieces, stored, certificate)


def one(data: bytes) -> None:
    """Run one input."""
    if not data:
        return
    try:
        TARGETS[data[0] % len(TARGETS)](data[1:])
    except (PeerError, TrustError, DataError):
        return


def main() -> None:
    """Start the fuzzer."""
    warnings.simplefilter("ignore")
    arguments = sys.argv if any(not a.startswith("-") for a in sys.argv[1:]) else [*sys.argv, str(SEEDS)]
    atheris.Setup(arguments, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
