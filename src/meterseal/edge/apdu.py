"""Station edge, the module's port: command and response APDUs (ISO/IEC 7816-4), bytes in, bytes and a
status word out.

It holds no key and decides nothing. An emulated module and a chip in a reader both stand behind `ModulePort`.

    command    CLA INS P1 P2 [Lc data] [Le]   Lc is one byte, or 00 and two bytes when the data are longer than 255
    response   data SW1 SW2
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from msgspec import Struct

from meterseal.errors import TrustError

CLA = 0x80
"""Class byte of the session commands; a card command (`CardIns`) has the class of its form."""
LONGEST = 8192
"""Most bytes of command data."""


class Ins(IntEnum):
    """Instructions of class 80. `now` is Unix ms, 8 bytes, from the meter's clock; the module's bound of time
    is its own.
    """

    MAKE_KEY = 0x10
    """Factory only: module_id 8 -> the public point 65 of a key pair made inside."""
    PERSONALISE = 0x12
    """Factory only: packed `Personal` -> nothing. Chain, root, ids, the envelope with K_b and K_r."""
    READ_STATE = 0xCA
    """-> packed `PublicState`; no secret, allowed in every life."""
    HELLO = 0x20
    """P1 = 1: this device speaks straight over IP, whatever it was made for; now -> HELLO message. Begins a handshake
    and forgets one half done."""
    PLATFORM = 0x22
    """now, message -> DEVICE message."""
    SESSION = 0x24
    """now, message -> packed `Grant`."""
    SEAL = 0x30
    """P1 = record flags (bits 1, 2), now, frames in clear -> packed `Sealed`."""
    SEAL_CONTROL = 0x32
    """P1 = kind (PING, REKEY, CLOSE, EVIDENCE, FIRMWARE), now, content; EVIDENCE: channel 1, sequence 4 -> packed
    `Sealed`."""
    OPEN = 0x34
    """now, down record -> packed `Opened`."""
    KEEP_ANSWER = 0x36
    """number 8, answer frame -> nothing; the answer that a repeat of the guarded command gets."""
    SIGN = 0x38
    """Packed `Freeze` -> sequence 4; the signed statement is kept until its record is acknowledged."""
    RELEASE = 0x3A
    """session_id 8, counter 6 -> nothing; another copy of that record was acknowledged."""
    FIRMWARE_CHECK = 0x40
    """P1 = 0 begin, 1 with the next block of the image, 2 end -> nothing; the image is the one of the manifest."""
    FIRMWARE_SWITCH = 0x42
    """now -> nothing; the checked and ordered image may run on trial."""
    FIRMWARE_FALL_BACK = 0x44
    """-> nothing; the image on trial was not seen by the platform in time."""
    FIRMWARE_STATE = 0x46
    """-> packed `FirmwareFacts`."""


class CardIns(IntEnum):
    """Commands of the card side: CLA ‖ INS. R is the outstanding challenge, 16 bytes, used by whatever answers
    it. Class 04 carries a 4-byte MAC behind its data, class 84 a ciphertext and its MAC (`cardkeys`).
    """

    GET_CHALLENGE = 0x0084
    """Le random bytes (4..32). Sixteen are the challenge that the next answer is for; others are for none."""
    PRESENT = 0x8016
    """Proof 16 that the enrolled device asks (`cardkeys.presence`) -> nothing; each time the power comes."""
    PAIR = 0x8014
    """Personalised only, once: SM2 envelope to the module's point with the device's pairing key 16."""
    VERIFY = 0x0020
    """P2 = 1: PIN 8 -> nothing; without data 63Cx, the tries that are left."""
    CHANGE = 0x0024
    """P2 = 1: old PIN 8 ‖ new PIN 8."""
    CHANGE_SEALED = 0x8424
    """P1 = 1, P2 = 1 (PIN) or 2 (PUK), after external authentication: ciphertext of the new one ‖ MAC."""
    RESET = 0x002C
    """P2 = 1: PUK 8 ‖ new PIN 8; ends a lock that wrong PINs made."""
    INTERNAL = 0x0088
    """Host's challenge 16 -> the folded answer 8 of the module."""
    EXTERNAL = 0x0082
    """P2 = purpose (`cardkeys.Purpose`): folded answer 8 to R."""
    READ = 0x00B0
    """P1 = 80 ‖ file, P2 = offset -> Le bytes."""
    READ_SEALED = 0x04B0
    """The same, host's random 8 -> bytes ‖ MAC."""
    UPDATE = 0x04D6
    """P1 = 80 ‖ file, P2 = offset: bytes ‖ MAC."""
    PUT_POLICY = 0x04DA
    """P1 = 1, P2 = 50, after external authentication: the device's own message policy 1 ‖ MAC."""
    WRITE_KEY = 0x84D4
    """P1 = slot (0 the root, written once), P2 = version, after external authentication: ciphertext ‖ MAC."""
    INIT_DESCRYPT = 0x801A
    """P1 = slot, P2 = version or 0: as many 8-byte factors as the slot has levels -> a sub-key inside."""
    DESCRYPT = 0x80FA
    """P1 = 00 encrypt, 80 decrypt, 05 MAC with the sub-key: IV 16 ‖ bytes."""


class Sw(IntEnum):
    """Status words."""

    OK = 0x9000
    TRIES = 0x63C0
    """That was wrong; the last four bits say how many tries are left (15 stands for more)."""
    WRONG_LENGTH = 0x6700
    SECURITY = 0x6982
    """A signature, mac, certificate, number, time or right does not hold. Nothing changed."""
    BLOCKED = 0x6983
    """No try is left."""
    WRONG_MAC = 0x6988
    """The MAC of a card command, or what it covers, does not hold."""
    FULL = 0x6A84
    """64 counters are unacknowledged; wait for an ACK."""
    CONDITIONS = 0x6985
    """Not now: wrong life, no session, no room, no such thing kept."""
    WRONG_DATA = 0x6A80
    NOT_FOUND = 0x6A88
    NO_FILE = 0x6A82
    WRONG_PLACE = 0x6B00
    """P1, P2 or Le reach outside."""
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
    expected: int = 0
    """Le: most bytes of the answer, 256 or 65536 for a zero; 0 when it is absent."""

    @property
    def header(self) -> bytes:
        """CLA INS P1 P2 Lc, as a MAC covers it."""
        return bytes((self.cla, self.ins, self.p1, self.p2, len(self.content) & 0xFF))


class ModulePort(Protocol):
    """A security module, emulated or in a reader."""

    def transmit(self, command: bytes) -> bytes:
        """Response APDU of one command APDU; never raises for what the command says."""


def pack(
    ins: int, content: bytes = b"", p1: int = 0, p2: int = 0, *, cla: int | None = None, expected: int = 0
) -> bytes:
    """The bytes of a command: a session command by its INS, a card command by its CLA and INS in one.

    `expected` (1..256) becomes a short Le.
    """
    if cla is None:
        cla = ins >> 8 if isinstance(ins, CardIns) else CLA
    head = bytes((cla, ins & 0xFF, p1, p2))
    end = bytes((expected & 0xFF,)) if expected else b""
    if not content:
        return head + end
    if len(content) < 256:
        return head + bytes((len(content),)) + content + end
    return head + b"\x00" + len(content).to_bytes(2, "big") + content


def parse(command: bytes) -> Command | None:
    """A command taken apart; None when its lengths disagree."""
    if len(command) < 4:
        return None
    cla, ins, p1, p2 = command[:4]
    body = command[4:]
    if not body:
        return Command(cla, ins, p1, p2, b"")
    if len(body) == 1:
        return Command(cla, ins, p1, p2, b"", body[0] or 256)
    wide = body[0] == 0
    if wide and len(body) == 3:
        return Command(cla, ins, p1, p2, b"", int.from_bytes(body[1:], "big") or 65_536)
    begin = 3 if wide else 1
    if len(body) < begin:
        return None
    size = int.from_bytes(body[1:3], "big") if wide else body[0]
    content, end = body[begin : begin + size], body[begin + size :]
    if len(content) != size or size > LONGEST or len(end) not in (0, 2 if wide else 1):
        return None
    expected = (int.from_bytes(end, "big") or (65_536 if wide else 256)) if end else 0
    return Command(cla, ins, p1, p2, content, expected)


def call(
    port: ModulePort, ins: int, content: bytes = b"", p1: int = 0, p2: int = 0, *, expected: int = 0
) -> bytes:
    """The response data of a command. Raises TrustError `module.sw` with the status word when it is not
    9000.
    """
    response = port.transmit(pack(ins, content, p1, p2, expected=expected))
    word = int.from_bytes(response[-2:], "big")
    if word != Sw.OK:
        name = CardIns(ins).name if isinstance(ins, CardIns) else Ins(ins).name
        raise TrustError(
            "module.sw",
            f"The module refused {name} with status {word:04X}; nothing was changed.",
            word=word,
            ins=ins,
        )
    return response[:-2]
