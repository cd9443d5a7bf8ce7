"""Station edge, inside the module: PIN, tries, lock, slots and pairing as one page, and how it changes.

It decides nothing about rights. The page is read anew before each card command and written by exchange: two
processes that have powered one memory cannot both go on from the same number of tries.

Argument for the counters. A try is written off (`spend`) before anything is compared; if that write fails or
the power goes, nothing was compared. What was written off comes back only through `restore`, which follows a
good comparison, and restores what this try and the ones before it cost, never what a later one did. The last
try locks the module in the very write that takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from meterseal.edge.apdu import Sw
from meterseal.edge.nv import SealedNv
from meterseal.edge.refusal import need
from meterseal.errors import EngineError, TrustError

CARD, FILE = "card", "file/"
CIPHER_ONLY = 0x02
"""The strictest message policy (LINK section 3)."""
USES = 2**31
"""Uses of one card key before it must be replaced."""
_AGAIN = 1000


class Cause(IntEnum):
    """Why a module is locked."""

    NONE = 0
    PIN = 1
    PUK = 2
    AUTHENTICATION = 3
    MAC = 4
    ORDER = 5


class Counter(IntEnum):
    """What has a counter of tries, of uses, or both. The slots of WRITE KEY count from SLOTS."""

    PIN = 1
    PUK = 2
    RIGHTS = 16
    UNLOCK = 17
    LOCK = 18
    DESTROY = 19
    FILE = 32
    WRITE = 33
    INTERNAL = 34
    READ = 35
    SLOTS = 64


TRIES = {
    Counter.PIN: 5,
    Counter.PUK: 10,
    Counter.RIGHTS: 8,
    Counter.UNLOCK: 15,
    Counter.LOCK: 8,
    Counter.DESTROY: 8,
    Counter.FILE: 8,
    Counter.WRITE: 8,
}
_LOCKS = {
    Counter.PIN: Cause.PIN,
    Counter.PUK: Cause.PUK,
    Counter.RIGHTS: Cause.AUTHENTICATION,
    Counter.UNLOCK: Cause.AUTHENTICATION,
    Counter.LOCK: Cause.AUTHENTICATION,
    Counter.DESTROY: Cause.AUTHENTICATION,
    Counter.FILE: Cause.MAC,
    Counter.WRITE: Cause.MAC,
}


class Slot(Struct, frozen=True, array_like=True):
    """A key of WRITE KEY: version, the one use of its sub-keys, their depth, who may use it, the key (16)."""

    version: int
    usage: int
    levels: int
    right: int
    key: bytes


class Reference(Struct, frozen=True, array_like=True):
    """A PIN or PUK as it is stored: a salt and HMAC-SM3(salt, …), 16 bytes. A PIN is short: whoever opens
    the page can try them all.
    """

    salt: bytes
    digest: bytes


class CardState(Struct, frozen=True, array_like=True):
    """The page. `left` holds only counters that lost tries; `policy` is the device's own."""

    locked: int = Cause.NONE
    pairing: bytes = b""
    references: dict[int, Reference] = {}
    left: dict[int, int] = {}
    uses: dict[int, int] = {}
    slots: dict[int, Slot] = {}
    policy: int = 1
    foreign: int = 0


_PAGE = msgspec.msgpack.Decoder(CardState)
_ENCODE = msgspec.msgpack.Encoder().encode


class CardMemory:
    """The page in working memory."""

    def __init__(self, store: SealedNv) -> None:
        self._store = store
        self._stored: bytes | None = None
        self.state = CardState()
        self.refresh()

    def refresh(self) -> None:
        """Take the stored page, whoever wrote it last. TrustError when it does not open."""
        stored, page = self._store.fetch(CARD, self._stored)
        if stored is None:
            self.state = CardState()
        if page is not None:
            try:
                self.state = _PAGE.decode(page)
            except msgspec.MsgspecError:
                raise TrustError(
                    "module.image", "The module's card page is none that this version reads."
                ) from None
        self._stored = stored

    def change(self, make: Callable[[CardState], CardState]) -> CardState:
        """Write what `make` gives for the stored state, again if another process was faster; the state
        before. What `make` refuses changes nothing.
        """
        for _ in range(_AGAIN):
            before = self.state
            after = make(before)
            stored = self._store.exchange(CARD, self._stored, _ENCODE(after))
            if stored is not None:
                self._stored, self.state = stored, after
                return before
            self.refresh()
        raise EngineError(
            "module.memory", "The card's page is written by others without end; nothing was done."
        )

    def policy(self, granted: int) -> int:
        """The stricter of SESSION's message policy and the device's own."""
        return CIPHER_ONLY if self.state.policy == CIPHER_ONLY else granted

    def left(self, counter: Counter) -> int:
        """Tries that are left."""
        return self.state.left.get(counter, TRIES[counter])

    def spend(self, counter: Counter) -> int:
        """Write off one try, and lock with the last; how many are left. Refused with 6983 when none is."""

        def one_less(state: CardState) -> CardState:
            left = state.left.get(counter, TRIES[counter])
            need(left > 0, Sw.BLOCKED)
            lock = state.locked or (_LOCKS[counter] if left == 1 else Cause.NONE)
            uses = _once_more(state, counter)
            return replace(state, left={**state.left, counter: left - 1}, uses=uses, locked=lock)

        self.change(one_less)
        return self.left(counter)

    def restore(
        self, counter: Counter, left: int, also: Callable[[CardState], CardState] = lambda state: state
    ) -> None:
        """After a good comparison whose try left `left`: the tries up to it come back, and its lock ends.
        Written together with what `also` makes of the state.
        """

        def whole_again(state: CardState) -> CardState:
            later = max(left - state.left.get(counter, TRIES[counter]), 0)
            rest = {one: tries for one, tries in state.left.items() if one != counter}
            if later:
                rest[counter] = TRIES[counter] - later
            ours = state.locked == _LOCKS[counter] and rest.get(counter, 1) > 0
            return also(replace(state, left=rest, locked=Cause.NONE if ours else state.locked))

        self.change(whole_again)

    def use(self, counter: int) -> None:
        """Count one use of a key before it is made. Refused with 6983 at the limit."""
        self.change(lambda state: replace(state, uses=_once_more(state, counter)))


def _once_more(state: CardState, counter: int) -> dict[int, int]:
    uses = state.uses.get(counter, 0)
    need(uses < USES, Sw.BLOCKED)
    return {**state.uses, counter: uses + 1}


def wrong(left: int) -> int:
    """63Cx with the tries that are left."""
    return Sw.TRIES | min(left, 15)
