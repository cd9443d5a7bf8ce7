"""Desk of the root: acts that need it open wait here for its holders' shares; and the quorum that is being set up.

It signs no certificate itself; `pki` does with the key that was opened here, and `rootquorum` keeps the quorum.

Two officers order an act (a CA, a new quorum). It is checked, used up, and then waits as an opening: a fresh
SM2 key whose point the holders seal their shares to. A holder signs what is handed in, with the opening and
the digest of the very request it is for, so a share that was recorded opens nothing else: the key is forgotten
with the opening, and the signed words name no other act. The share that completes the number carries the act
out at once; the root is open for that call and at no other time. What waits is forgotten when its time is
over, when another act is ordered, and when the service stops.

Under the lab default the passphrase takes the place of the shares.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from meterseal.crypto.names import Purpose
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import equal
from meterseal.errors import LocalError, TrustError
from meterseal.mesh.rpc import Empty
from meterseal.security import offline, pki
from meterseal.security import rootorders as r
from meterseal.security.authorise import OPERATOR, WATCH
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.orders import Done, Request, encoded

WAITS_FOR = 24 * 3_600_000
"""How long an act waits for shares at most (ms): people at several places have a day."""


class _Way(NamedTuple):
    """An act of the root: what is looked at before officers' words are used up, and what is done with the root open."""

    check: Callable[[object], None]
    act: Callable[[object, offline.OpenRoot], Done]


class _Waiting:
    """One opening; `shares` are checked, by officer."""

    def __init__(self, purpose: str, asked: Request, people: tuple[str, ...], until: int) -> None:
        self.purpose, self.asked, self.people, self.until = purpose, asked, people, until
        self.request = encoded(asked)
        self.key = Sm2PrivateKey.generate("an opening's key")
        self.shares: dict[str, bytes] = {}
        self.timer: asyncio.TimerHandle | None = None


class RootDesk(Desk):
    """quorum, coming_quorum, root_opening, open_root; and the orders `ca-rotate`, `ca-close`, `root-quorum`,
    `root-share`, `root-kept`.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._waiting: _Waiting | None = None
        self._ways = {
            "ca-rotate": _Way(self._check_rotate, self._rotate),
            "ca-close": _Way(self._check_close, self._close),
            "root-quorum": _Way(self._check_deal, self._deal),
        }
        pki.settle(room.pki, room.authorities)

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "quorum": Act(self._facts, Empty, WATCH),
            "coming_quorum": Act(self._coming, Empty, OPERATOR),
            "root_opening": Act(self._opening, Empty, WATCH),
            "open_root": Act(self._open_single, r.OpenByPassphrase, OPERATOR),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {
            "ca-rotate": Order(self._begin("ca-rotate"), r.RotateAuthority, "ca", keeps=True),
            "ca-close": Order(self._begin("ca-close"), r.CloseAuthority, "ca", keeps=True),
            "root-quorum": Order(self._begin("root-quorum"), r.NewQuorum, "ca", keeps=True),
            "root-share": Order(self._share, r.ShareIn, "ca", needed=1, keeps=True),
            "root-kept": Order(self._kept, r.ShareKept, "ca", needed=1, keeps=True),
        }

    def close(self) -> None:
        """Forget an opening under way."""
        self._forget()

    # --- questions

    async def _facts(self, caller: str, request: Empty) -> r.QuorumFacts:
        return self._room.quorum.facts()

    async def _coming(self, caller: str, request: Empty) -> r.ComingQuorum:
        return self._room.quorum.coming()

    async def _opening(self, caller: str, request: Empty) -> r.Opening:
        waiting = self._current()
        return r.Opening(
            opening=waiting.asked.request_id,
            purpose=waiting.purpose,
            request=waiting.request,
            point=waiting.key.public_point,
            until=waiting.until,
            threshold=self._room.quorum.threshold,
            handed_in=tuple(sorted(waiting.shares)),
        )

    # --- an act that is ordered, then opened

    def _begin(self, purpose: str) -> Callable[[str, Request, tuple[str, ...]], Awaitable[Done]]:
        async def run(caller: str, asked: Request, people: tuple[str, ...]) -> Done:
            room = self._room
            pki.settle(room.pki, room.authorities)
            room.quorum.settle()
            room.quorum.check_file()
            self._ways[purpose].check(asked)
            now = room.clock()
            room.officers.spend(asked.request_id, asked.not_after)
            self._forget()
            waiting = _Waiting(purpose, asked, people, min(asked.not_after, now + WAITS_FOR))
            seconds = (waiting.until - now) / 1000
            waiting.timer = asyncio.get_running_loop().call_later(seconds, self._forget)
            self._waiting = waiting
            needed = room.quorum.threshold
            who = f"{needed} holders hand in their shares" if needed > 1 else "the passphrase opens the root"
            return Done(
                sentence=f"{purpose} waits until {who}.",
                officers=people,
                facts=json.dumps(
                    {"opening": asked.request_id.hex(), "needed": needed, "until": waiting.until}
                ),
            )

        return run

    async def _share(self, caller: str, shown: r.ShareIn, people: tuple[str, ...]) -> Done:
        room, waiting, officer = self._room, self._current(), _alone(people)
        named = equal(shown.opening, waiting.asked.request_id)
        if not named or not equal(shown.act, r.act_digest(waiting.purpose, waiting.request)):
            raise TrustError(
                "security.opening",
                f"{officer} handed in a share for another opening or another act than the one that waits; nothing was "
                "opened. Ask what waits now: meterseal keys quorum opening",
            )
        try:
            share = waiting.key.decrypt(shown.sealed)
        except TrustError:
            raise TrustError(
                "security.share",
                f"What {officer} handed in was not sealed for this opening; nothing was opened.",
            ) from None
        room.quorum.check_share(officer, share)
        room.officers.spend(shown.request_id, shown.not_after)
        waiting.shares[officer] = share
        alive = sorted(set(waiting.shares) & set(room.officers.present("ca")))
        if len(alive) < room.quorum.threshold:
            return Done(
                sentence=f"{len(alive)} of {room.quorum.threshold} shares are here, from {', '.join(alive)}.",
                officers=people,
                facts=json.dumps({"here": alive, "needed": room.quorum.threshold}),
            )
        self._forget()
        return self._carry_out(caller, waiting, lambda: room.quorum.open(waiting.shares), alive)

    async def _open_single(self, caller: str, request: r.OpenByPassphrase) -> Done:
        room, waiting = self._room, self._current()
        root = room.quorum.open_single(request.passphrase)  # a wrong one leaves the act waiting
        self._forget()
        done = self._carry_out(caller, waiting, lambda: root, ["whoever has the passphrase"])
        await room.durable()
        return done

    def _carry_out(
        self, caller: str, waiting: _Waiting, root: Callable[[], offline.OpenRoot], by: list[str]
    ) -> Done:
        room = self._room
        left = sorted(set(waiting.people) - set(room.officers.present("ca")))
        if left:
            raise TrustError(
                "security.officer",
                f"{', '.join(left)}, who ordered this, left meanwhile; nothing was opened. Order it anew.",
            )
        opened = root()
        said = f"The root was opened by {', '.join(by)} for {waiting.purpose}."
        room.note(caller, waiting.asked, "security.root-opened", said, officers=waiting.people)
        done = self._ways[waiting.purpose].act(waiting.asked, opened)
        room.note(caller, waiting.asked, "security.root-act", done.sentence, officers=waiting.people)
        return Done(sentence=done.sentence, officers=waiting.people, facts=done.facts)

    def _current(self) -> _Waiting:
        waiting = self._waiting
        if waiting is not None and self._room.clock() > waiting.until:
            self._forget()
        if waiting is None or self._waiting is None:
            raise TrustError(
                "security.root-closed",
                "No act waits for the root to be opened: two officers order one first, and it waits for a day.",
            )
        return waiting

    def _forget(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting.timer is not None:
            waiting.timer.cancel()

    # --- the acts

    def _check_rotate(self, asked: object) -> None:
        assert isinstance(asked, r.RotateAuthority)
        _purpose(asked.authority)

    def _rotate(self, asked: object, root: offline.OpenRoot) -> Done:
        assert isinstance(asked, r.RotateAuthority)
        room, purpose = self._room, _purpose(asked.authority)
        version = pki.rotate(room.pki, room.authorities, room.registry, purpose, root.key, room.clock())
        return Done(
            sentence=f"The {purpose} CA has a new version, {version}.",
            officers=(),
            facts=json.dumps({"version": version}),
        )

    def _check_close(self, asked: object) -> None:
        assert isinstance(asked, r.CloseAuthority)
        room, purpose = self._room, _purpose(asked.authority)
        pki.check_closing(room.pki, room.registry, purpose, asked.version, cut_off=asked.cut_off)

    def _close(self, asked: object, root: offline.OpenRoot) -> Done:
        assert isinstance(asked, r.CloseAuthority)
        room, purpose = self._room, _purpose(asked.authority)
        pki.close(
            room.pki,
            room.authorities,
            room.registry,
            purpose,
            asked.version,
            root.key,
            room.clock(),
            cut_off=asked.cut_off,
        )
        return Done(sentence=f"Version {asked.version} of the {purpose} CA is revoked.", officers=())

    def _check_deal(self, asked: object) -> None:
        assert isinstance(asked, r.NewQuorum)
        self._room.quorum.check_people(asked.threshold, asked.officers)

    def _deal(self, asked: object, root: offline.OpenRoot) -> Done:
        assert isinstance(asked, r.NewQuorum)
        coming = self._room.quorum.deal(root, asked.threshold, asked.officers)
        return Done(
            sentence=f"Shares were made for {', '.join(asked.officers)}; {asked.threshold} of {len(asked.officers)} "
            "open the root once each of them has shown that they can open their share. Until then nothing changes.",
            officers=(),
            facts=json.dumps({"quorum": coming.quorum_id.hex()}),
        )

    async def _kept(self, caller: str, kept: r.ShareKept, people: tuple[str, ...]) -> Done:
        room, officer = self._room, _alone(people)
        spent = (kept.request_id, kept.not_after)
        in_force = room.quorum.keep(officer, kept, spent)
        facts = room.quorum.facts()
        if in_force:
            self._forget()  # what waited for the shares of before
            room.note(caller, kept, "security.quorum-set", facts.sentence, officers=facts.people)
        return Done(sentence=facts.sentence, officers=people, facts=json.dumps({"in_force": in_force}))


def _alone(people: tuple[str, ...]) -> str:
    if len(people) != 1:
        raise TrustError("security.share", "A share is handed in by its holder alone; one person signs it.")
    return people[0]


def _purpose(authority: str) -> Purpose:
    if authority == "platform":
        return "platform"
    if authority == "device":
        return "device"
    raise LocalError("security.authority", "The CAs are platform and device.")
