"""Station link, evidence: what a module signs at each settlement freeze, and the chain over its load profile.

It keeps no chain and no sequence (the module does) and does not say what a bill may rest on (`utility` does).
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct as Layout
from struct import error as LayoutError
from typing import NamedTuple

from meterseal.crypto import sm2
from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import LocalError, PeerError
from meterseal.link.schedule import LinkKey

PREFIX = b"ms1 evidence\x00"
STATEMENT = 65
"""Bytes of a statement."""
GENESIS = bytes(32)
"""The chain's head before its first reading."""

_LAYOUT = Layout(">8sBQqbBHI32s")
_STEP = Layout(">BQq")


class EvidenceStatement(NamedTuple):
    """One freeze: `register` is a scaled integer, value = register * 10^exponent in the unit with code
    `unit`.

    `end_at` is Unix ms; `status` the two status bytes as a number; `sequence` counts this channel's
    statements from 1; `head` is the chain over every stored reading up to `end_at`.
    """

    device_id: bytes
    channel: int
    end_at: int
    register: int
    exponent: int
    unit: int
    status: int
    sequence: int
    head: bytes

    def pack(self) -> bytes:
        """The 65 bytes that are signed. Raises LocalError `link.evidence` for a value out of range."""
        if len(self.device_id) != 8 or len(self.head) != 32:
            raise LocalError("link.evidence", "A statement has an 8-byte device id and a 32-byte head.")
        try:
            return _LAYOUT.pack(*self)
        except LayoutError as error:
            raise LocalError("link.evidence", f"A field of the statement is out of range: {error}.") from None


def unpack(statement: bytes) -> EvidenceStatement:
    """The fields of 65 bytes. Raises PeerError `link.evidence` for another length."""
    if len(statement) != STATEMENT:
        raise PeerError("link.evidence", f"A statement has {STATEMENT} bytes, not {len(statement)}; refused.")
    return EvidenceStatement(*_LAYOUT.unpack(statement))


def signed_bytes(statement: bytes) -> bytes:
    """What is signed under suite 1 and maced under suite 2."""
    return PREFIX + statement


def check_signature(point: bytes, statement: bytes, signature: bytes) -> bool:
    """Suite 1: did the module with this public point sign the statement?"""
    return sm2.verify(point, PREFIX + statement, signature)


def mac_statement(evidence_key: LinkKey, statement: bytes) -> bytes:
    """Suite 2: the mac of a statement under K_evid, 32 bytes."""
    return evidence_key.mac(PREFIX, statement)


def check_mac(evidence_key: LinkKey, statement: bytes, mac: bytes) -> bool:
    """Suite 2: did the module with this K_evid make the statement? In constant time."""
    return equal(mac_statement(evidence_key, statement), mac)


def chain_step(head: bytes, channel: int, end_at: int, register: int) -> bytes:
    """c' = SM3(c ‖ channel 1 ‖ end_at 8 ‖ register 8, signed)."""
    return sm3(head + _STEP.pack(channel, end_at, register))


def chain(head: bytes, channel: int, readings: Iterable[tuple[int, int]]) -> bytes:
    """The head after these readings (end_at, register) of one channel, in order, missing ones left out."""
    pack = _STEP.pack
    for end_at, register in readings:
        head = sm3(head + pack(channel, end_at, register))
    return head
