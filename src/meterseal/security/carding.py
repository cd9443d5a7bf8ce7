"""Answers for a module's card commands, under orders of officers: who ordered, for which module, how often; then the sum.

It drives no module; a host with the module in its reader does, and the module has the last word.

Security argument. An order names one module of one device and one purpose, which the officers sign with it, and
each purpose has a key of its own (`link.cardkeys`): an order to check is none to unlock, and two people stand
behind everything that changes a module's life. The order is used up, durably, with its first answer. It is then
good for that answer again, should it have been lost, and under `card-rights` for a few more of the same card
session; for ten minutes, and only in the running service. What a module would say itself (K_int) is compared
and never given out, or the service would help to make a copy. Slots of WRITE KEY are not written through here.
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import LocalError, TrustError
from meterseal.link import cardkeys
from meterseal.link.cardkeys import ANSWER, CHALLENGE, MAC, Purpose
from meterseal.security.book import Book
from meterseal.security.cardorders import (
    CHECK,
    DESTROY,
    LOCK,
    NEEDED,
    RIGHTS,
    UNLOCK,
    CardAsk,
    CardCheck,
    CardMac,
    CardOrder,
    CardSeal,
)
from meterseal.security.enrolled import Module
from meterseal.security.hierarchy import KeyTree
from meterseal.security.officers import Officers
from meterseal.security.registry import Registry
from meterseal.security.vault import Vault

_PURPOSES = {RIGHTS: Purpose.RIGHTS, LOCK: Purpose.LOCK, UNLOCK: Purpose.UNLOCK, DESTROY: Purpose.DESTROY}
_WITH_MAC = (b"\x04\xd6", b"\x04\xda")
"""UPDATE BINARY, PUT POLICY."""
_SECRETS = tuple(bytes((0x84, 0x24, 1, which, 16 + MAC)) for which in (1, 2))
"""CHANGE of PIN and of PUK by the issuer: 8 bytes in one block."""
_FIELD = 8
_OPEN_FOR = 600_000
_ANSWERS = {CHECK: 1, RIGHTS: 16, LOCK: 1, UNLOCK: 1, DESTROY: 1}
_PER_MODULE, _PER_DAY = 16, 2000
"""Orders of one day (UTC): for one module, for all together."""
_DAY = 86_400_000
_COUNTS = "cards"
_LONGEST = 200


class _Counts(Struct, frozen=True):
    day: int = 0
    modules: dict[bytes, int] = {}


class _Open:
    """An order that was used, while it may still answer."""

    def __init__(self, order: CardOrder, until: int) -> None:
        self.order, self.until = order, until
        self.answered: set[bytes] = set()


class Carding:
    """The card answers of one project."""

    def __init__(
        self, keys: Vault, tree: KeyTree, registry: Registry, book: Book, officers: Officers
    ) -> None:
        self._keys, self._tree, self._registry = keys, tree, registry
        self._book, self._officers = book, officers
        self._open: dict[bytes, _Open] = {}

    def answer(self, ask: CardAsk, now: int) -> tuple[bytes, tuple[str, ...], CardOrder]:
        """The answer 8 to EXTERNAL AUTHENTICATE, who ordered it, and the order.

        LocalError `security.card`, `security.request`; TrustError of `Officers.judge`, `security.not-enrolled`,
        `security.card-module`, `security.card-limit`, `security.limit`, `security.no-key`, `security.key-state`.
        """
        auth, people, order = self._admitted(ask, tuple(_PURPOSES), b"answer", now)
        key = cardkeys.external_key(auth, _PURPOSES[ask.order.purpose])
        return cardkeys.folded(key, ask.challenge), people, order

    def check(self, ask: CardCheck, now: int) -> tuple[bool, tuple[str, ...], CardOrder]:
        """Whether the enrolled module gave this answer to INTERNAL AUTHENTICATE; errors as for `answer`."""
        if len(ask.answer) != ANSWER:
            raise LocalError("security.card", f"A module answers with {ANSWER} bytes; ask it again.")
        auth, people, order = self._admitted(ask, (CHECK,), b"check" + ask.answer, now)
        expected = cardkeys.folded(cardkeys.internal_key(auth), ask.challenge)
        return equal(expected, ask.answer), people, order

    def mac(self, ask: CardMac, now: int) -> tuple[bytes, tuple[str, ...], CardOrder]:
        """The MAC 4 of UPDATE BINARY or PUT POLICY; errors as for `answer`."""
        lc = len(ask.content) + MAC
        if (
            len(ask.header) != 5
            or ask.header[:2] not in _WITH_MAC
            or not MAC < lc < 256
            or ask.header[4] != lc
        ):
            raise LocalError(
                "security.card", "A MAC is made for UPDATE BINARY and PUT POLICY alone; refused."
            )
        auth, people, order = self._admitted(ask, (RIGHTS,), b"mac" + ask.header + ask.content, now)
        return cardkeys.file_mac(auth, ask.challenge, ask.header, ask.content), people, order

    def seal(self, ask: CardSeal, now: int) -> tuple[bytes, tuple[str, ...], CardOrder]:
        """Ciphertext ‖ MAC of a new PIN or PUK; errors as for `answer`."""
        if ask.header not in _SECRETS or len(ask.plain) != _FIELD:
            raise LocalError("security.card", "Only a new PIN or PUK is sealed here; refused.")
        auth, people, order = self._admitted(ask, (RIGHTS,), b"seal" + ask.header + ask.plain, now)
        return cardkeys.sealed_key(auth, ask.challenge, ask.header, ask.plain), people, order

    def _admitted(
        self, ask: CardAsk, purposes: tuple[str, ...], what: bytes, now: int
    ) -> tuple[SymmetricKey, tuple[str, ...], CardOrder]:
        """K_auth of the module, once everything about the order holds and it is written down as used."""
        signed = ask.order
        if signed.purpose not in purposes:
            raise LocalError(
                "security.purpose", f"This is answered under an order for {' or '.join(purposes)}; refused."
            )
        if len(ask.challenge) != CHALLENGE:
            raise LocalError("security.card", f"A challenge has {CHALLENGE} bytes; ask the module for one.")
        name = sm3(signed.purpose.encode() + b"\x00" + signed.request)
        opened = self._open.get(name)
        needed = NEEDED[signed.purpose]
        if opened is not None and now <= opened.until:
            order = opened.order
            people = self._officers.check(signed.purpose, signed.request, signed.signatures, "keys", needed)
        else:
            opened = None
            order, people = self._officers.judge(signed, CardOrder, "keys", needed, now)
        module = self._module(ask, order)
        version = ask.key_version or module.key_version
        self._keys.check_limit("DIAK", version)
        auth = self._tree.purpose(module.device_id, module.module_id, version, "AUTH0001")
        asked = sm3(ask.challenge + version.to_bytes(2) + what)
        if opened is None:
            self._spend(order, now)
            self._open = {one: rest for one, rest in self._open.items() if now <= rest.until}
            opened = self._open[name] = _Open(order, min(order.not_after, now + _OPEN_FOR))
        elif asked not in opened.answered and len(opened.answered) >= _ANSWERS[signed.purpose]:
            raise TrustError(
                "security.replayed",
                "This order was used for another challenge; officers sign a new one for each.",
            )
        opened.answered.add(asked)
        self._keys.use("DIAK", version)
        return auth, people, order

    def _module(self, ask: CardAsk, order: CardOrder) -> Module:
        if not 0 < len(order.reason) <= _LONGEST:
            raise LocalError("security.card", f"An order gives its reason in at most {_LONGEST} characters.")
        if (ask.device_id, ask.module_id) != (order.device_id, order.module_id):
            raise TrustError(
                "security.card-module",
                "The officers signed for another module than the one in the reader; nothing was answered.",
            )
        module = self._registry.module(order.module_id)
        if module is None or module.device_id != order.device_id:
            raise TrustError(
                "security.not-enrolled",
                f"Module {order.module_id.hex()} was never enrolled in device {order.device_id.hex()}.",
            )
        if module.state != "active" and ask.order.purpose in (RIGHTS, UNLOCK):
            raise TrustError(
                "security.not-enrolled",
                f"Module {order.module_id.hex()} was taken out of service; it is not opened again.",
            )
        return module

    def _spend(self, order: CardOrder, now: int) -> None:
        today = now // _DAY
        counts = self._book.read(_COUNTS, _Counts, _Counts())
        modules = counts.modules if today <= counts.day else {}
        count = 1 + modules.get(order.module_id, 0)
        if count > _PER_MODULE or sum(modules.values()) >= _PER_DAY:
            raise TrustError(
                "security.card-limit",
                f"A module gets answers under {_PER_MODULE} orders a day, all modules under {_PER_DAY}; go on tomorrow.",
            )
        after = _Counts(max(today, counts.day), {**modules, order.module_id: count})
        with self._book.transaction() as connection:
            self._book.write(connection, _COUNTS, after)
            self._book.spend(connection, order.request_id, order.not_after)
