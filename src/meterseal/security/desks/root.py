"""Desk of the root: the ceremony that gives it a quorum, its opening for one act, and the acts that need it open.

It signs no certificate itself; `pki` does with the key that was opened here.

An opened root lies in memory for five minutes or one act, whichever is first. Shares come sealed to a point
made for one ceremony, whose key is forgotten when they were used: who recorded them opens nothing later. A
new quorum counts only when every holder has shown that they can open their share; until then the old way
in stays.
"""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from meterseal.crypto import sm2
from meterseal.crypto.names import Purpose
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import LocalError, TrustError
from meterseal.mesh.rpc import Empty
from meterseal.security import offline, pki, quorum
from meterseal.security import rootorders as r
from meterseal.security.authorise import OPERATOR, WATCH
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.orders import Done

OPEN_FOR = 5 * 60_000
CEREMONY_FOR = 24 * 3_600_000


_DOCUMENT = "quorum"


class _Sealed(Struct, frozen=True):
    """SM3 of the offline file that a ceremony of this system made."""

    digest: bytes


class RootDesk(Desk):
    """quorum, quorum_begin, quorum_confirm, root_ceremony, open_root; and the orders `ca-rotate`, `ca-close`."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._folder: Path = room.book.store.path.parent / pki.OFFLINE
        self._ceremony: tuple[Sm2PrivateKey, int] | None = None
        self._pending: tuple[Sm2PrivateKey, list[bytes], int, tuple[str, ...]] | None = None
        self._opened: tuple[Sm2PrivateKey, int] | None = None
        self._complete()

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "quorum": Act(self._facts, Empty, WATCH),
            "quorum_begin": Act(self._begin, r.QuorumBegin, OPERATOR),
            "quorum_confirm": Act(self._confirm, r.Shares, OPERATOR),
            "root_ceremony": Act(self._ceremony_point, Empty, OPERATOR),
            "open_root": Act(self._open, r.OpenRoot, OPERATOR),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {
            "ca-rotate": Order(self._rotate, r.RotateAuthority, "ca"),
            "ca-close": Order(self._close, r.CloseAuthority, "ca"),
        }

    async def _facts(self, caller: str, request: Empty) -> r.QuorumFacts:
        return offline.facts(self._folder)

    async def _begin(self, caller: str, request: r.QuorumBegin) -> r.QuorumShares:
        known = {one.officer: one.point for one in self._room.officers.all() if one.until is None}
        if len(set(request.officers)) != len(request.officers) or not set(request.officers) <= set(known):
            raise LocalError(
                "security.officer", "The shares of a quorum go to different officers of this system."
            )
        root_key = offline.open_single(self._folder, request.passphrase)
        shares = quorum.split(os.urandom(quorum.SECRET), request.threshold, len(request.officers))
        self._pending = (root_key, shares, request.threshold, request.officers)
        point = self._new_ceremony()
        sealed = tuple(
            r.SealedShare(officer=officer, sealed=sm2.encrypt(known[officer], share))
            for officer, share in zip(request.officers, shares, strict=True)
        )
        self._room.note(
            caller,
            request,
            "security.quorum-begun",
            "Shares of the root were made.",
            officers=request.officers,
        )
        await self._room.durable()
        return r.QuorumShares(shares=sealed, point=point)

    async def _confirm(self, caller: str, request: r.Shares) -> r.QuorumFacts:
        if self._pending is None:
            raise LocalError("security.quorum", "No new quorum is under way; begin one.")
        root_key, shares, threshold, people = self._pending
        shown = self._taken(request.sealed)
        if sorted(set(shown)) != sorted(shares):
            raise TrustError(
                "security.share",
                "Not every holder has shown their share, or one is not as it was given out; the old way in stays. Begin "
                "again.",
            )
        secret = quorum.combine(shown)
        content = offline.sealed_under(self._folder, root_key, self._room.keys, secret, threshold, people)
        book = self._room.book
        with book.transaction() as connection:
            book.write(connection, _DOCUMENT, _Sealed(sm3(content)))
        offline.replace(self._folder, content)
        self._complete()
        self._pending = None
        facts = offline.facts(self._folder)
        self._room.note(caller, request, "security.quorum-set", facts.sentence, officers=people)
        await self._room.durable()
        return facts

    async def _ceremony_point(self, caller: str, request: Empty) -> r.CeremonyPoint:
        return r.CeremonyPoint(self._new_ceremony())

    async def _open(self, caller: str, request: r.OpenRoot) -> r.QuorumFacts:
        room = self._room
        if request.shares:
            key = offline.open_quorum(self._folder, quorum.combine(self._taken(request.shares)))
        else:
            key = offline.open_single(self._folder, request.passphrase)
        self._opened = (key, room.clock() + OPEN_FOR)
        room.note(caller, Empty(), "security.root-opened", "The root was opened for one act.")
        await room.durable()
        return offline.facts(self._folder)

    async def _rotate(self, caller: str, request: r.RotateAuthority, people: tuple[str, ...]) -> Done:
        room, key = self._room, self._take_opened()
        purpose = _purpose(request.authority)
        version = pki.rotate(room.pki, room.authorities, room.registry, purpose, key, room.clock())
        return Done(
            sentence=f"The {purpose} CA has a new version, {version}.",
            officers=people,
            facts=f'{{"version": {version}}}',
        )

    async def _close(self, caller: str, request: r.CloseAuthority, people: tuple[str, ...]) -> Done:
        room, key = self._room, self._take_opened()
        purpose = _purpose(request.authority)
        pki.close(
            room.pki,
            room.authorities,
            room.registry,
            purpose,
            request.version,
            key,
            room.clock(),
            cut_off=request.cut_off,
        )
        return Done(sentence=f"Version {request.version} of the {purpose} CA is revoked.", officers=people)

    def _complete(self) -> None:
        """End the top of the tree in the vault once the file that holds it is in place; also after a crash."""
        sealed = self._room.book.read(_DOCUMENT, _Sealed, _Sealed(b""))
        if sealed.digest and equal(sealed.digest, offline.digest(self._folder)):
            offline.destroy_top(self._room.keys)

    def _new_ceremony(self) -> bytes:
        key = Sm2PrivateKey.generate("a ceremony's key")
        self._ceremony = (key, self._room.clock() + CEREMONY_FOR)
        return key.public_point

    def _taken(self, sealed: tuple[bytes, ...]) -> list[bytes]:
        """The shares; the ceremony's key is forgotten."""
        ceremony, self._ceremony = self._ceremony, None
        if ceremony is None or self._room.clock() > ceremony[1]:
            raise TrustError("security.ceremony", "No ceremony is under way, or it is over; begin a new one.")
        if len(sealed) > quorum.MOST:
            raise LocalError("security.quorum", f"A quorum has at most {quorum.MOST} shares.")
        try:
            return [ceremony[0].decrypt(one) for one in sealed]
        except TrustError:
            raise TrustError(
                "security.share", "A share was not sealed for this ceremony; begin a new one."
            ) from None

    def _take_opened(self) -> Sm2PrivateKey:
        opened, self._opened = self._opened, None
        if opened is None or self._room.clock() > opened[1]:
            raise TrustError(
                "security.root-closed",
                "The root is not open: its quorum opens it first, and it stays open for five minutes or one act.",
            )
        return opened[0]


def _purpose(authority: str) -> Purpose:
    if authority == "platform":
        return "platform"
    if authority == "device":
        return "device"
    raise LocalError("security.authority", "The CAs are platform and device.")
