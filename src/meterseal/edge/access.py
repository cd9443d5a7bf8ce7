"""Station edge, inside the module: who may what: PIN, internal and external authentication, pairing, locks.

It stores no file and writes no key (`storing` does). Rights last until the power goes, the module is locked
or the same proof fails.

Argument. Every comparison of a PIN or of an answer follows a try that was written off (`cardmemory`). An
answer is for the one outstanding challenge and for one purpose, by its key; the module's own answers are made
with another key, so none of them comes back as a host's. The pairing proof costs no try: its key has 128 bits,
and a module that sits in the wrong device must not be locked by asking.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal, unpad80
from meterseal.edge.apdu import Command, Sw
from meterseal.edge.cardmemory import CardMemory, CardState, Cause, Counter, Reference, wrong
from meterseal.edge.challenge import Challenge
from meterseal.edge.chip import PERSONALISED
from meterseal.edge.chipmemory import Memory
from meterseal.edge.refusal import Refused, need
from meterseal.errors import TrustError
from meterseal.link import cardkeys
from meterseal.link.cardkeys import CHALLENGE, MAC, Purpose

FIELD = 8
"""Bytes of a PIN or PUK: 6 to 8 digits, filled with FF; a PUK has 8."""
FREE, AFTER_PIN, AFTER_EXTERNAL = range(3)
"""Rights that a file or a slot asks for."""
PIN, PUK = 1, 2
"""P2 of the PIN commands."""
_FOREIGN = 255
_PURPOSES = {
    Purpose.RIGHTS: Counter.RIGHTS,
    Purpose.UNLOCK: Counter.UNLOCK,
    Purpose.LOCK: Counter.LOCK,
    Purpose.DESTROY: Counter.DESTROY,
}


class Access:
    """The rights of this power-on and the commands that win and lose them."""

    def __init__(
        self, memory: Memory, card: CardMemory, challenge: Challenge, random: Callable[[int], bytes]
    ) -> None:
        self._memory, self._card, self._challenge, self._random = memory, card, challenge, random
        self._verified = self._authenticated = self._present = False

    @property
    def present(self) -> bool:
        """Has the device that this module is paired with proved itself, or is it paired with none?"""
        return self._present or not self._card.state.pairing

    def has(self, right: int) -> bool:
        """Is this right won?"""
        return {FREE: True, AFTER_PIN: self._verified, AFTER_EXTERNAL: self._authenticated}.get(right, False)

    def forget(self) -> None:
        """The module was locked: nobody has rights any more."""
        self._verified = self._authenticated = False

    def auth_key(self) -> SymmetricKey:
        """K_auth of the slot of K_b that serves."""
        keys = self._memory.bound(self._memory.state.key_version)
        need(keys is not None, Sw.CONDITIONS)
        assert keys is not None
        return keys.auth

    # --- challenge and device ---------------------------------------------------------------------------

    def give_challenge(self, command: Command) -> bytes:
        """Random bytes; sixteen are outstanding."""
        need(not command.content and 4 <= command.expected <= 32, Sw.WRONG_LENGTH)
        value = self._random(command.expected)
        self._challenge.issue(value if len(value) == CHALLENGE else b"")
        return value

    def pair(self, command: Command) -> bytes:
        """Take the pairing key of the device, once, before the first session."""
        memory = self._memory
        need(memory.state.life == PERSONALISED and memory.private is not None, Sw.CONDITIONS)
        assert memory.private is not None
        key = memory.private.decrypt(command.content)
        need(len(key) == 16, Sw.SECURITY)

        def paired(state: CardState) -> CardState:
            need(not state.pairing, Sw.CONDITIONS)
            return replace(state, pairing=key)

        self._card.change(paired)
        self._present = True
        return b""

    def prove_device(self, command: Command) -> bytes:
        """The device proves that it is the enrolled one; a failure is counted and looks like any other."""
        state = self._card.state
        need(bool(state.pairing), Sw.CONDITIONS)
        challenge = self._challenge.take()
        pairing = SymmetricKey.from_bytes(state.pairing, "a pairing key")
        proof = cardkeys.presence(pairing, self._memory.state.device_id, challenge)
        self._present = equal(proof, command.content)
        if not self._present:
            if state.foreign < _FOREIGN:
                self._card.change(lambda now: replace(now, foreign=min(now.foreign + 1, _FOREIGN)))
            raise Refused(Sw.SECURITY)
        return b""

    # --- PIN and PUK ------------------------------------------------------------------------------------

    def verify(self, command: Command) -> bytes:
        """VERIFY PIN; without data it says whether it is needed and how many tries are left."""
        need(command.p1 == 0 and command.p2 == PIN, Sw.WRONG_PLACE)
        need(PIN in self._card.state.references, Sw.NOT_FOUND)
        if not command.content:
            need(self._verified, wrong(self._card.left(Counter.PIN)))
            return b""
        self._check(PIN, command.content, Counter.PIN)
        self._verified = True
        return b""

    def change(self, command: Command) -> bytes:
        """A new PIN by the old one."""
        need(command.p1 == 0 and command.p2 == PIN, Sw.WRONG_PLACE)
        self._replace_pin(command, PIN, Counter.PIN)
        return b""

    def reset(self, command: Command) -> bytes:
        """A new PIN by the PUK, which also ends the lock that wrong PINs made."""
        need(command.p1 == 0 and command.p2 == PIN, Sw.WRONG_PLACE)

        def unlocked(state: CardState) -> CardState:
            left = {one: tries for one, tries in state.left.items() if one != Counter.PIN}
            return replace(state, left=left, locked=0 if state.locked == Cause.PIN else state.locked)

        self._replace_pin(command, PUK, Counter.PUK, unlocked)
        return b""

    def change_sealed(self, command: Command) -> bytes:
        """PIN or PUK set by the issuer, with all its tries."""
        need(command.p1 == 1 and command.p2 in (PIN, PUK), Sw.WRONG_PLACE)
        plain = self.open_secret(command)
        reference = self._reference(plain, PUK if command.p2 == PUK else PIN)

        def issued(state: CardState) -> CardState:
            tries = {one: rest for one, rest in state.left.items() if one != command.p2}
            return replace(state, left=tries, references={**state.references, command.p2: reference})

        self._card.change(issued)
        self._verified = False
        return b""

    def _replace_pin(
        self,
        command: Command,
        by: int,
        counter: Counter,
        also: Callable[[CardState], CardState] = lambda state: state,
    ) -> None:
        need(len(command.content) == 2 * FIELD, Sw.WRONG_LENGTH)
        need(by in self._card.state.references, Sw.NOT_FOUND)
        fresh = self._reference(command.content[FIELD:], PIN)
        self._check(
            by,
            command.content[:FIELD],
            counter,
            lambda state: also(replace(state, references={**state.references, PIN: fresh})),
        )
        self._verified = False

    def _reference(self, field: bytes, kind: int) -> Reference:
        digits = field.rstrip(b"\xff")
        shortest = 8 if kind == PUK else 6
        need(len(field) == FIELD and len(digits) >= shortest and digits.isdigit(), Sw.WRONG_DATA)
        salt = self._random(16)
        return Reference(salt, _digest(salt, kind, field))

    def _check(
        self,
        kind: int,
        field: bytes,
        counter: Counter,
        also: Callable[[CardState], CardState] = lambda state: state,
    ) -> None:
        """Write off a try, compare, give it back."""
        need(len(field) == FIELD, Sw.WRONG_LENGTH)
        left = self._card.spend(counter)
        reference = self._card.state.references[kind]
        if not equal(_digest(reference.salt, kind, field), reference.digest):
            self._verified = False
            raise Refused(wrong(left))
        self._card.restore(counter, left, also)

    # --- authentication ---------------------------------------------------------------------------------

    def answer(self, command: Command) -> bytes:
        """INTERNAL AUTHENTICATE."""
        need(len(command.content) == CHALLENGE, Sw.WRONG_LENGTH)
        key = cardkeys.internal_key(self.auth_key())
        self._card.use(Counter.INTERNAL)
        return cardkeys.folded(key, command.content)

    def authenticate(self, command: Command) -> bytes:
        """EXTERNAL AUTHENTICATE for one purpose, and what comes of it."""
        need(command.p1 == 0 and command.p2 in _PURPOSES, Sw.WRONG_PLACE)
        need(len(command.content) == cardkeys.ANSWER, Sw.WRONG_LENGTH)
        purpose = Purpose(command.p2)
        need((purpose is Purpose.UNLOCK) == bool(self._card.state.locked), Sw.CONDITIONS)
        key = cardkeys.external_key(self.auth_key(), purpose)
        challenge = self._challenge.take()
        counter = _PURPOSES[purpose]
        left = self._card.spend(counter)
        if not equal(cardkeys.folded(key, challenge), command.content):
            self._authenticated = False
            raise Refused(wrong(left))
        if purpose is Purpose.DESTROY:
            try:
                self._memory.destroy()
            finally:
                self._card.refresh()
        elif purpose is Purpose.UNLOCK:
            self._card.restore(counter, left, lambda state: replace(state, locked=Cause.NONE, left={}))
        elif purpose is Purpose.LOCK:
            self._card.restore(counter, left, lambda state: replace(state, locked=Cause.ORDER))
        else:
            self._card.restore(counter, left)
            self._authenticated = True
        return b""

    def open_secret(self, command: Command) -> bytes:
        """The plain content of a class 84 command, after its right and its MAC."""
        need(self._authenticated, Sw.SECURITY)
        cipher, mac = command.content[:-MAC], command.content[-MAC:]
        need(bool(cipher) and len(cipher) % 16 == 0 and len(command.content) < 256, Sw.WRONG_LENGTH)
        auth, challenge = self.auth_key(), self._challenge.take()
        self._check_mac(Counter.WRITE, cardkeys.secret_mac(auth, challenge, command.header, cipher), mac)
        try:
            return unpad80(cardkeys.opened_key(auth, challenge, cipher))
        except TrustError:
            raise Refused(Sw.WRONG_MAC) from None

    def check_mac(self, command: Command) -> bytes:
        """The data of a class 04 command after its MAC."""
        content, mac = command.content[:-MAC], command.content[-MAC:]
        need(bool(content) and len(command.content) < 256, Sw.WRONG_LENGTH)
        auth, challenge = self.auth_key(), self._challenge.take()
        self._check_mac(Counter.FILE, cardkeys.file_mac(auth, challenge, command.header, content), mac)
        return content

    def _check_mac(self, counter: Counter, expected: bytes, mac: bytes) -> None:
        left = self._card.spend(counter)
        need(equal(expected, mac), Sw.WRONG_MAC)
        self._card.restore(counter, left)


def _digest(salt: bytes, kind: int, field: bytes) -> bytes:
    return SymmetricKey.from_bytes(salt, "a salt").mac(b"ms1 pin", bytes((kind,)), field)[:16]
