"""Station edge, the module's port: command and response APDUs (ISO/IEC 7816-4), bytes in, bytes and a
status word out.

It holds no key and decides nothing. An emulated module and a chip in a reader both stand behind `ModulePort`.

    command    CLA INS P1 P2 [Lc data]      Lc is one byte, or 00 and two bytes when the data are longer
    than 255 response   data SW1 SW2
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from msgspec import Struct

from meterseal.errors import TrustError

CLA = 0x80
"""Class byte of our own commands; GET CHALLENGE alone uses 00."""
LONGEST = 8192
"""Most bytes of command data."""


class Ins(IntEnum):
    """Instructions. `now` is Unix ms, 8 bytes, from the meter's clock; the module's bound of time is its
    own.
    """

    GET_CHALLENGE = 0x84
    """P2 = how many random bytes (8..32)."""
    MAKE_KEY = 0x10
    """Factory only: module_id 8 -> the public point 65 of a key pair made inside."""
    PERSONALISE = 0x12
    """Factory only: packed `Personal` -> nothing. Chain, root, ids, the envelope with K_b and K_r."""
    READ_STATE = 0xCA
    """-> packed `PublicState`; no secret, allowed in every life."""
    HELLO = 0x20
    """now -> HELLO message; begins a handshake and forgets one half done."""
    PLATFORM = 0x22
    """now, message -> DEVICE message."""
    SESSION = 0x24
    """now, message -> packed `Grant`."""
    SEAL = 0x30
    """P1 = record flags (bits 1, 2), now, frames in clear -> packed `Sealed`."""
    SEAL_CONTROL = 0x32
    """P1 = kind (PING, REKEY, CLOSE, EVIDENCE), now, content; EVIDENCE: channel 1, sequence 4 -> packed
    `Sealed`."""
    OPEN = 0x34
    """now, down record -> packed `Opened`."""
    KEEP_ANSWER = 0x36
    """number 8, answer frame -> nothing; the answer that a repeat of the guarded command gets."""
    SIGN = 0x38
    """Packed `Freeze` -> sequence 4; the signed statement is kept until its record is acknowledged."""
    RELEASE = 0x3A
    """session_id 8, counter 6 -> nothing; another copy of that record was acknowledged."""


class Sw(IntEnum):
    """Status words."""

    OK = 0x9000
    WRONG_LENGTH = 0x6700
    SECURITY = 0x6982
    """A signature, mac, certificate, number or time does not hold. Nothing changed."""
    FULL = 0x6A84
    """64 counters are unacknowledged; wait for an ACK."""
    CONDITIONS = 0x6985
    """Not now: wrong life, no session, no room, no such thing kept."""
    WRONG_DATA = 0x6A80
    NOT_FOUND = 0x6A88
    NO_INS = 0x6D00
    NO_CLASS = 0x6E00
    MEMORY = 0x6581
    """The non-volatile memory did not take a write; nothing was done."""


class Command(Struct, frozen=True):
    """One command APDU taken apart."""

    cla: int
    ins: int
    p1: int
    p2: int
    content: bytes


class ModulePort(Protocol):
    """A security module, emulated or in a reader."""

    def transmit(self, command: bytes) -> bytes:
        """Response APDU of one command APDU; never raises for what the command says."""


def pack(ins: int, content: bytes = b"", p1: int = 0, p2: int = 0, *, cla: int = CLA) -> bytes:
    """The bytes of a command."""
    head = bytes((cla, ins, p1, p2))
    if not content:
        return head
    if len(content) < 256:
        return head + bytes((len(content),)) + content
    return head + b"\x00" + len(content).to_bytes(2, "big") + content


def parse(command: bytes) -> Command | None:
    """A command taken apart; None when its lengths disagree."""
    if len(command) < 4:
        return None
    cla, ins, p1, p2 = command[:4]
    if len(command) == 4:
        return Command(cla, ins, p1, p2, b"")
    size, begin = command[4], 5
    if size == 0 and len(command) > 7:
        size, begin = int.from_bytes(command[5:7], "big"), 7
    if len(command) != begin + size or size > LONGEST:
        return None
    return Command(cla, ins, p1, p2, command[begin:])


def call(port: ModulePort, ins: int, content: bytes = b"", p1: int = 0, p2: int = 0) -> bytes:
    """The response data of a command. Raises TrustError `module.sw` with the status word when it is not
    9000.
    """
    response = port.transmit(pack(ins, content, p1, p2))
    word = int.from_bytes(response[-2:], "big")
    if word != Sw.OK:
        raise TrustError(
            "module.sw",
            f"The module refused {Ins(ins).name} with status {word:04X}; nothing was changed.",
            word=word,
            ins=ins,
        )
    return response[:-2]
