"""Station edge, a host's view of the card commands: typed calls over the same port, for a service desk, a
maker or a controller.

It keeps nothing. What needs K_auth it asks of an `Issuer`, which may be far away: the module's challenge goes
there and an answer or a MAC comes back.
"""

from __future__ import annotations

from typing import Protocol

from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal
from meterseal.edge.apdu import CardIns, Ins, ModulePort, Sw, call, pack
from meterseal.edge.chip import PublicState, unpack
from meterseal.errors import LocalError
from meterseal.link import cardkeys
from meterseal.link.cardkeys import CHALLENGE, MAC, Purpose


class Issuer(Protocol):
    """Who holds K_auth of the module."""

    def answer(self, purpose: Purpose, challenge: bytes) -> bytes:
        """The folded answer 8 for EXTERNAL AUTHENTICATE."""

    def mac(self, challenge: bytes, header: bytes, content: bytes) -> bytes:
        """MAC 4 of UPDATE BINARY or PUT POLICY."""

    def sealed(self, challenge: bytes, header: bytes, plain: bytes) -> bytes:
        """Ciphertext ‖ MAC of WRITE KEY, PIN or PUK."""


class IssuerKeys:
    """An issuer that has K_auth at hand."""

    def __init__(self, auth: SymmetricKey) -> None:
        self._auth = auth

    def answer(self, purpose: Purpose, challenge: bytes) -> bytes:
        return cardkeys.folded(cardkeys.external_key(self._auth, purpose), challenge)

    def mac(self, challenge: bytes, header: bytes, content: bytes) -> bytes:
        return cardkeys.file_mac(self._auth, challenge, header, content)

    def sealed(self, challenge: bytes, header: bytes, plain: bytes) -> bytes:
        return cardkeys.sealed_key(self._auth, challenge, header, plain)

    def proves(self, challenge: bytes, answer: bytes) -> bool:
        """Is this the module's answer to INTERNAL AUTHENTICATE with this challenge?"""
        return equal(cardkeys.folded(cardkeys.internal_key(self._auth), challenge), answer)


class Card:
    """Typed calls; each raises TrustError `module.sw` (with `word`) when the module refuses."""

    def __init__(self, port: ModulePort) -> None:
        self._port = port

    def state(self) -> PublicState:
        """The public state."""
        return unpack(call(self._port, Ins.READ_STATE), PublicState)

    def challenge(self) -> bytes:
        """The challenge, 16 bytes, that the next answer is for."""
        return call(self._port, CardIns.GET_CHALLENGE, expected=CHALLENGE)

    def verify(self, pin: str) -> None:
        """VERIFY PIN: 6 to 8 digits."""
        call(self._port, CardIns.VERIFY, field(pin), p2=1)

    def tries(self) -> int:
        """Wrong PINs that are left before the module locks itself; 15 stands for more."""
        word = int.from_bytes(self._port.transmit(pack(CardIns.VERIFY, p2=1))[-2:], "big")
        if word & 0xFFF0 == Sw.TRIES:
            return word & 0x0F
        return 0 if word == Sw.BLOCKED else self.state().left.get(1, 15)

    def change_pin(self, old: str, new: str) -> None:
        """A new PIN by the old one."""
        call(self._port, CardIns.CHANGE, field(old) + field(new), p2=1)

    def unblock(self, puk: str, new: str) -> None:
        """A new PIN by the PUK (8 digits)."""
        call(self._port, CardIns.RESET, field(puk) + field(new), p2=1)

    def internal(self, challenge: bytes) -> bytes:
        """The module's answer, 8 bytes, to the host's 16."""
        return call(self._port, CardIns.INTERNAL, challenge)

    def external(self, issuer: Issuer, purpose: Purpose = Purpose.RIGHTS) -> None:
        """Authenticate the issuer: for its rights, to unlock, to lock, to destroy."""
        call(self._port, CardIns.EXTERNAL, issuer.answer(purpose, self.challenge()), p2=purpose)

    def read(self, file: int, offset: int = 0, size: int = 256) -> bytes:
        """Bytes of a file."""
        return call(self._port, CardIns.READ, p1=0x80 | file, p2=offset, expected=size)

    def read_sealed(self, file: int, asked: bytes, offset: int = 0, size: int = 256) -> tuple[bytes, bytes]:
        """Bytes of a file and their MAC (`cardkeys.read_mac`) over the host's random 8 bytes."""
        answer = call(self._port, CardIns.READ_SEALED, asked, p1=0x80 | file, p2=offset, expected=size)
        return answer[:-MAC], answer[-MAC:]

    def update(self, issuer: Issuer, file: int, content: bytes, offset: int = 0) -> None:
        """Write bytes of a file."""
        self._with_mac(issuer, CardIns.UPDATE, 0x80 | file, offset, content)

    def put_policy(self, issuer: Issuer, policy: int) -> None:
        """The device's own message policy: 1 or 2 (cipher only)."""
        self._with_mac(issuer, CardIns.PUT_POLICY, 1, 0x50, bytes((policy,)))

    def write_key(
        self,
        issuer: Issuer,
        slot: int,
        version: int,
        key: SymmetricKey,
        *,
        usage: int,
        levels: int,
        right: int = 0,
    ) -> None:
        """Write a key (`storing` says what usage, levels and right mean); slot 0 only once."""
        plain = bytes((usage, levels, right)) + expose(key) + key.check_value()
        self._sealed(issuer, CardIns.WRITE_KEY, slot, version, plain)

    def set_pin(self, issuer: Issuer, pin: str) -> None:
        """PIN by the issuer, with all its tries."""
        self._sealed(issuer, CardIns.CHANGE_SEALED, 1, 1, field(pin))

    def set_puk(self, issuer: Issuer, puk: str) -> None:
        """PUK by the issuer, with all its tries."""
        self._sealed(issuer, CardIns.CHANGE_SEALED, 1, 2, field(puk))

    def init_descrypt(self, slot: int, factors: bytes, version: int = 0) -> None:
        """Make a sub-key inside: 8 bytes of factor for each level of the slot."""
        call(self._port, CardIns.INIT_DESCRYPT, factors, p1=slot, p2=version)

    def descrypt(self, mode: int, iv: bytes, content: bytes) -> bytes:
        """Encipher (00), decipher (80) or make a MAC (05) with the sub-key; `iv` is filled with zeros."""
        return call(self._port, CardIns.DESCRYPT, iv.ljust(16, b"\x00") + content, p1=mode)

    def _with_mac(self, issuer: Issuer, ins: CardIns, p1: int, p2: int, content: bytes) -> None:
        header = _header(ins, p1, p2, len(content) + MAC)
        mac = issuer.mac(self.challenge(), header, content)
        call(self._port, ins, content + mac, p1=p1, p2=p2)

    def _sealed(self, issuer: Issuer, ins: CardIns, p1: int, p2: int, plain: bytes) -> None:
        header = _header(ins, p1, p2, len(plain) + 16 - len(plain) % 16 + MAC)
        call(self._port, ins, issuer.sealed(self.challenge(), header, plain), p1=p1, p2=p2)


def field(digits: str) -> bytes:
    """A PIN or PUK as it travels: digits filled with FF to 8 bytes. LocalError `module.pin` for anything else."""
    if not (6 <= len(digits) <= 8 and digits.isascii() and digits.isdigit()):
        raise LocalError("module.pin", "A PIN has 6 to 8 digits, a PUK 8; enter digits alone.")
    return digits.encode().ljust(8, b"\xff")


def _header(ins: CardIns, p1: int, p2: int, size: int) -> bytes:
    return bytes((ins >> 8, ins & 0xFF, p1, p2, size))
