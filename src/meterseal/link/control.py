"""Station link, control: the words that both ends say to each other inside a session (LINK section 4).

It decides nothing that a word asks for. Content is bytes here; one builder and one reader for each kind. A
word is no data field: of a profile only IV and tag count here, its padding is always 80 00….
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal, pad80, sm4_cbc_decrypt, sm4_cbc_encrypt, unpad80
from meterseal.errors import LocalError, PeerError, TrustError
from meterseal.link import messages, records
from meterseal.link.counters import LAST
from meterseal.link.evidence import STATEMENT
from meterseal.link.profiles import OURS, SecurityProfile
from meterseal.link.records import CONTROL, DOWN, HEADER, WANTED, Header
from meterseal.link.schedule import MAC, TrafficKeys
from meterseal.model import Evidence

PING, ACK, TIME, REKEY, CLOSE, REJECT, KEY, EVIDENCE, CERT, FIRMWARE = range(10)
DOES_NOT_DECODE, POLICY, UNKNOWN_METER = 1, 2, 3
"""Classes of REJECT."""
ACK_RANGES = 32
_LONGEST_RUN = 0xFFFF


class Kind(NamedTuple):
    """Which ways a word goes, whether it is kept until acknowledged, and the sizes its content may have."""

    name: str
    up: bool
    down: bool
    kept: bool
    sizes: Container[int]


CERT_SIZES = range(36, 2048 + 1)
"""Bytes of the chain in CERT (ADR 0011)."""
FIRMWARE_SIZES = range(33, 3072 + 1)
"""Bytes of a word about firmware, either way (ADR 0030)."""
_SIGNATURE_SIZES = {1: 64, 2: 32}
"""Bytes of an evidence signature, by suite."""

KINDS = {
    PING: Kind("PING", True, True, False, frozenset({0})),
    ACK: Kind("ACK", False, True, False, frozenset(1 + 8 * count for count in range(1, ACK_RANGES + 1))),
    TIME: Kind("TIME", False, True, False, frozenset({14})),
    REKEY: Kind("REKEY", True, True, False, frozenset({0})),
    CLOSE: Kind("CLOSE", True, True, False, frozenset({1})),
    REJECT: Kind("REJECT", False, True, False, frozenset({7})),
    KEY: Kind("KEY", False, True, False, frozenset({36})),
    EVIDENCE: Kind(
        "EVIDENCE", True, False, True, frozenset(STATEMENT + s for s in _SIGNATURE_SIZES.values())
    ),
    CERT: Kind("CERT", False, True, False, CERT_SIZES),
    FIRMWARE: Kind("FIRMWARE", True, True, False, FIRMWARE_SIZES),
}
"""The words of version 1. Up, a kept word wants an acknowledgement and any other does not; down none does."""


class Word(Struct, frozen=True):
    """One word of control: kind 1 ‖ content."""

    kind: int
    content: bytes = b""


def seal_control(
    keys: TrafficKeys,
    session_id: bytes,
    counter: int,
    word: Word,
    *,
    up: bool,
    profile: SecurityProfile = OURS,
) -> bytes:
    """The record of a word. Raises LocalError `link.control` for another way or size than its kind has."""
    kind = KINDS.get(word.kind)
    if kind is None or not (kind.up if up else kind.down) or len(word.content) not in kind.sizes:
        raise LocalError(
            "link.control", f"No word of kind {word.kind} with {len(word.content)} bytes goes this way."
        )
    flags = CONTROL | (0 if up else DOWN) | (WANTED if up and kind.kept else 0)
    way = keys.towards(up=up)
    iv = records.frame_ivs(way.iv, counter, 1, profile)
    body = sm4_cbc_encrypt(way.enc, iv, pad80(bytes((word.kind,)) + word.content))
    return records.finish(way, flags, session_id, counter, body, profile)


def open_control(keys: TrafficKeys, header: Header, record: bytes, profile: SecurityProfile = OURS) -> Word:
    """The word of a control record, after its tag.

    Raises PeerError `link.length` or `link.control` and TrustError `link.padding` or `link.flags`.
    """
    body = record[HEADER : HEADER + header.length]
    if not header.control:
        raise PeerError("link.control", "The record carries frames, not control; read them instead.")
    if not body or len(body) % 16:
        raise PeerError(
            "link.length", f"A control record has whole cipher blocks, not {len(body)} bytes; refused."
        )
    way = keys.towards(up=header.up)
    try:
        spoken = unpad80(
            sm4_cbc_decrypt(way.enc, records.frame_ivs(way.iv, header.counter, 1, profile), body)
        )
    except TrustError as error:
        raise TrustError("link.padding", error.message) from None
    kind = KINDS.get(spoken[0]) if spoken else None
    if kind is None or not (kind.up if header.up else kind.down) or len(spoken) - 1 not in kind.sizes:
        raise PeerError(
            "link.control", f"No control of {len(spoken)} bytes and this kind goes this way; refused."
        )
    if header.up and header.wanted != kind.kept:
        raise TrustError("link.flags", f"{kind.name} does not go with this acknowledgement bit; refused.")
    return Word(spoken[0], spoken[1:])


def ping() -> Word:
    """PING."""
    return Word(PING)


def rekey() -> Word:
    """REKEY."""
    return Word(REKEY)


def close(reason: int) -> Word:
    """CLOSE with a reason 0..255."""
    return Word(CLOSE, bytes((reason,)))


def acks(counters: Iterable[int], most: int = ACK_RANGES) -> list[Word]:
    """ACKs of these counters, at most `most` ranges in each; none for no counters."""
    runs: list[tuple[int, int]] = []
    for counter in sorted(set(counters)):
        if not 0 < counter <= LAST:
            raise LocalError(
                "link.counter", f"Counter {counter} is outside 1..2^48-1; it cannot be acknowledged."
            )
        if runs and counter == runs[-1][0] + runs[-1][1] and runs[-1][1] < _LONGEST_RUN:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((counter, 1))
    return [_ack(runs[at : at + most]) for at in range(0, len(runs), most)]


def _ack(runs: list[tuple[int, int]]) -> Word:
    ranges = b"".join(first.to_bytes(6, "big") + count.to_bytes(2, "big") for first, count in runs)
    return Word(ACK, bytes((len(runs),)) + ranges)


def read_ack(content: bytes) -> list[range]:
    """The acknowledged counters as ranges. Raises PeerError `link.control` for empty or impossible ones."""
    if not content or not 1 <= content[0] <= ACK_RANGES or len(content) != 1 + 8 * content[0]:
        raise PeerError("link.control", "ACK has a count of 1 to 32 and as many ranges; refused.")
    found = []
    for at in range(1, len(content), 8):
        first, count = (
            int.from_bytes(content[at : at + 6], "big"),
            int.from_bytes(content[at + 6 : at + 8], "big"),
        )
        if first == 0 or count == 0 or first + count - 1 > LAST:
            raise PeerError("link.control", "ACK names a range of no counters; refused.")
        found.append(range(first, first + count))
    return found


def time(at: int, ping_counter: int) -> Word:
    """TIME: the platform's time (Unix ms) as the answer to the device's PING with this counter."""
    return Word(TIME, at.to_bytes(8, "big") + ping_counter.to_bytes(6, "big"))


def read_time(content: bytes) -> tuple[int, int]:
    """The platform's time and the counter of the PING that it answers."""
    _sized(TIME, content)
    return int.from_bytes(content[:8], "big"), int.from_bytes(content[8:], "big")


def reject(counter: int, reject_class: int) -> Word:
    """REJECT of a record that is quarantined."""
    return Word(REJECT, counter.to_bytes(6, "big") + bytes((reject_class,)))


def read_reject(content: bytes) -> tuple[int, int]:
    """Counter and class. A class that is not known here is still a rejection."""
    _sized(REJECT, content)
    return int.from_bytes(content[:6], "big"), content[6]


def evidence(statement: bytes, signature: bytes) -> Word:
    """EVIDENCE: statement ‖ signature (suite 1) or mac (suite 2)."""
    return Word(EVIDENCE, statement + signature)


def read_evidence(content: bytes, suite: int) -> Evidence:
    """Statement and signature, unchecked. Raises PeerError `link.control` for another suite's size."""
    if len(content) != STATEMENT + _SIGNATURE_SIZES[suite]:
        raise PeerError(
            "link.control", f"EVIDENCE of {len(content)} bytes is none of suite {suite}; refused."
        )
    return Evidence(content[:8], content[:STATEMENT], content[STATEMENT:])


def key(update: SymmetricKey, device_id: bytes, module_id: bytes, version: int, bound: SymmetricKey) -> Word:
    """KEY: the bound key of a new version for one module under K_updt, made by the security service."""
    number = bytes((version,))
    cipher = update.cbc_encrypt(update.ecb(number + bytes(15)), expose(bound))
    fields = number + cipher + bound.check_value()
    return Word(KEY, fields + update.mac(device_id, module_id, fields)[:MAC])


def read_key(
    update: SymmetricKey, device_id: bytes, module_id: bytes, installed: int, content: bytes
) -> tuple[int, SymmetricKey]:
    """Version and bound key of a KEY that holds for this module and rises above the `installed` version.

    Raises TrustError `link.key-mac`, `link.key-version` or `link.key-check`.
    """
    _sized(KEY, content)
    fields, mac = content[:-MAC], content[-MAC:]
    if not equal(update.mac(device_id, module_id, fields)[:MAC], mac):
        raise TrustError("link.key-mac", "The key update is not for this module or was altered; refused.")
    version = fields[0]
    if version <= installed:
        raise TrustError(
            "link.key-version", f"Key version {version} does not rise above {installed}; refused."
        )
    plain = update.cbc_decrypt(update.ecb(fields[:1] + bytes(15)), fields[1:17])
    bound = SymmetricKey.from_bytes(plain, f"K_b of module {module_id.hex()}, version {version}")
    if not equal(bound.check_value(), fields[17:20]):
        raise TrustError("link.key-check", "The new key does not fit its check value; refused.")
    return version, bound


def cert(chain: Sequence[bytes]) -> Word:
    """CERT: a renewed chain (leaf, CA; DER) for the module. Raises LocalError `link.control` for one that
    does not fit a word.
    """
    content = messages.chain_bytes(chain)
    if len(chain) != messages.CHAIN or len(content) not in CERT_SIZES:
        raise LocalError(
            "link.control",
            f"A chain of {len(chain)} certificates in {len(content)} bytes does not fit CERT; issue shorter ones.",
        )
    return Word(CERT, content)


def read_cert(content: bytes) -> tuple[bytes, ...]:
    """The chain (leaf, CA; DER) of a CERT, unchecked: `identities.check_renewed_chain` judges it.

    Raises PeerError `link.control`, `link.length` or `link.chain-shape`.
    """
    _sized(CERT, content)
    return messages.parse_chain(content)


def _sized(kind: int, content: bytes) -> None:
    if len(content) not in KINDS[kind].sizes:
        raise PeerError("link.control", f"{KINDS[kind].name} does not have {len(content)} bytes; refused.")
