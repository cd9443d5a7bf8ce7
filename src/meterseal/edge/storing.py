"""Station edge, inside the module: secure storage, keys that are written, sub-keys that work inside.

It wins no right (`access` does). A key goes in and is never read: its slot says what its sub-keys are for,
at which depth of diversification they work and who may use them, and no two slots hold one key. So no answer
of a sub-key is another key of the tree: enciphering f ‖ not f one level higher would be just that.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import BLOCK, equal
from meterseal.edge.access import AFTER_EXTERNAL, AFTER_PIN, FREE, Access
from meterseal.edge.apdu import Command, Sw
from meterseal.edge.cardmemory import FILE, CardMemory, CardState, Counter, Slot
from meterseal.edge.chipmemory import Memory
from meterseal.edge.refusal import need
from meterseal.link import cardkeys

ROOT, SLOTS = 0, 8
"""Slot 0 is the root: written once. Any other is written anew under a higher version."""
ENCRYPT, DECRYPT, AUTHENTICATE = 1, 2, 3
"""What the sub-keys of a slot are for."""
LEVELS = 3
WRITTEN = 3 + 16 + 3
"""Plain content of WRITE KEY: usage ‖ levels ‖ right ‖ key 16 ‖ check value 3."""
_USES = {0x00: ENCRYPT, 0x80: DECRYPT, 0x05: AUTHENTICATE}


class FileRule(NamedTuple):
    """Bytes of a file and the rights that reading and writing it ask for; writing asks for a MAC as well."""

    size: int
    read: int
    update: int


FILES = {
    1: FileRule(256, FREE, AFTER_EXTERNAL),
    2: FileRule(256, AFTER_PIN, AFTER_PIN),
    3: FileRule(256, AFTER_PIN, AFTER_EXTERNAL),
    4: FileRule(256, AFTER_EXTERNAL, AFTER_EXTERNAL),
    6: FileRule(256, FREE, FREE),
}
"""Public parameters; the user's own data; data of the user that the issuer keeps; the issuer's own; a file that
the MAC alone guards. A file that was never written is zeros."""


class Storing:
    """READ and UPDATE BINARY, PUT POLICY, WRITE KEY, INIT-FOR-DESCRYPT and DESCRYPT."""

    def __init__(self, memory: Memory, card: CardMemory, access: Access) -> None:
        self._memory, self._card, self._access = memory, card, access
        self._working: tuple[int, Slot, SymmetricKey] | None = None

    def forget(self) -> None:
        """The module was locked or a key was written: no sub-key works any more."""
        self._working = None

    # --- files ------------------------------------------------------------------------------------------

    def read(self, command: Command) -> bytes:
        """Part of a file."""
        need(not command.content, Sw.WRONG_LENGTH)
        return self._read(command)

    def read_sealed(self, command: Command) -> bytes:
        """Part of a file and its MAC, fresh by the host's random bytes."""
        need(len(command.content) == 8, Sw.WRONG_LENGTH)
        content = self._read(command)
        auth = self._access.auth_key()
        self._card.use(Counter.READ)
        return content + cardkeys.read_mac(auth, command.content, command.header, content)

    def _read(self, command: Command) -> bytes:
        rule = self._rule(command)
        need(self._access.has(rule.read), Sw.SECURITY)
        size = rule.size - command.p2 if command.expected >= 256 else command.expected
        need(0 < size <= rule.size - command.p2, Sw.WRONG_PLACE)
        return self._content(command)[command.p2 : command.p2 + size]

    def update(self, command: Command) -> bytes:
        """Write part of a file."""
        rule = self._rule(command)
        need(self._access.has(rule.update), Sw.SECURITY)
        need(command.p2 + len(command.content) - cardkeys.MAC <= rule.size, Sw.WRONG_PLACE)
        content = self._access.check_mac(command)
        old = self._content(command)
        new = old[: command.p2] + content + old[command.p2 + len(content) :]
        self._memory.write_page(_page(command), new)
        return b""

    def _rule(self, command: Command) -> FileRule:
        need(bool(command.p1 & 0x80), Sw.WRONG_PLACE)
        rule = FILES.get(command.p1 & 0x7F)
        need(rule is not None, Sw.NO_FILE)
        assert rule is not None
        return rule

    def _content(self, command: Command) -> bytes:
        stored = self._memory.read_page(_page(command))
        return bytes(FILES[command.p1 & 0x7F].size) if stored is None else stored

    def put_policy(self, command: Command) -> bytes:
        """The device's own message policy: 1 (as SESSION says) or 2 (cipher only)."""
        need(command.p1 == 1 and command.p2 == 0x50, Sw.WRONG_PLACE)
        need(self._access.has(AFTER_EXTERNAL), Sw.SECURITY)
        content = self._access.check_mac(command)
        need(content in (b"\x01", b"\x02"), Sw.WRONG_DATA)
        self._card.change(lambda state: replace(state, policy=content[0]))
        return b""

    # --- keys -------------------------------------------------------------------------------------------

    def write_key(self, command: Command) -> bytes:
        """A key into its slot, whole or not at all."""
        number, version = command.p1, command.p2
        need(number < SLOTS and version > 0, Sw.WRONG_PLACE)
        self._need_room(self._card.state, number, version)
        plain = self._access.open_secret(command)
        need(len(plain) == WRITTEN, Sw.WRONG_DATA)
        usage, levels, right = plain[:3]
        key, check = plain[3:19], plain[19:]
        need(usage in _USES.values() and 1 <= levels <= LEVELS, Sw.WRONG_DATA)
        need(right in (FREE, AFTER_PIN, AFTER_EXTERNAL), Sw.WRONG_DATA)
        need(equal(SymmetricKey.from_bytes(key, "a key to be written").check_value(), check), Sw.WRONG_DATA)

        def written(state: CardState) -> CardState:
            self._need_room(state, number, version)
            others = [slot.key for at, slot in state.slots.items() if at != number]
            need(not any(equal(key, other) for other in others), Sw.WRONG_DATA)
            return replace(state, slots={**state.slots, number: Slot(version, usage, levels, right, key)})

        self._card.change(written)
        self.forget()
        return b""

    @staticmethod
    def _need_room(state: CardState, number: int, version: int) -> None:
        slot = state.slots.get(number)
        need(slot is None or (number != ROOT and version > slot.version), Sw.CONDITIONS)

    def init_descrypt(self, command: Command) -> bytes:
        """Make the sub-key that DESCRYPT works with."""
        self.forget()
        slot = self._card.state.slots.get(command.p1)
        need(slot is not None, Sw.NOT_FOUND)
        assert slot is not None
        need(command.p2 in (0, slot.version), Sw.NOT_FOUND)
        need(self._access.has(slot.right), Sw.SECURITY)
        need(len(command.content) == 8 * slot.levels, Sw.WRONG_LENGTH)
        key = SymmetricKey.from_bytes(slot.key, f"slot {command.p1} of a module")
        for at in range(0, len(command.content), 8):
            key = key.diversify(command.content[at : at + 8], "a sub-key of a module")
        self._working = command.p1, slot, key
        return b""

    def descrypt(self, command: Command) -> bytes:
        """Encipher, decipher or authenticate with the sub-key: IV 16 ‖ whole blocks, or any bytes for a MAC."""
        need(self._working is not None, Sw.CONDITIONS)
        assert self._working is not None
        number, slot, key = self._working
        need(self._access.has(slot.right), Sw.SECURITY)
        need(command.p2 == 0 and _USES.get(command.p1) == slot.usage, Sw.SECURITY)
        iv, content = command.content[:BLOCK], command.content[BLOCK:]
        need(len(iv) == BLOCK and bool(content), Sw.WRONG_LENGTH)
        need(slot.usage == AUTHENTICATE or len(content) % BLOCK == 0, Sw.WRONG_LENGTH)
        self._card.use(Counter.SLOTS + number)
        if slot.usage == ENCRYPT:
            return key.cbc_encrypt(iv, content)
        if slot.usage == DECRYPT:
            return key.cbc_decrypt(iv, content)
        return cardkeys.mac4(key, iv, content)


def _page(command: Command) -> str:
    return f"{FILE}{command.p1 & 0x7F:02x}"
