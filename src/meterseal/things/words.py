"""The words that wait to be said to devices: a durable queue, from the desk or the roll-out to the owner of the session.

It makes no authorisation and opens no record. A word is given out until it is confirmed, expired or withdrawn; whatever
process stops at whatever moment, it stays here. That it takes effect at most once is the module's doing, by the number of a
command and the version of a key. What a word says, and what was answered, is on disk only as ciphertext.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
from msgspec.structs import replace

from meterseal.control import read, write
from meterseal.control.sealed import DOWN_WORDS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import down_words as table
from meterseal.control.tables import sessions
from meterseal.errors import DataError, MetersealError, PeerError, TrustError
from meterseal.headend.ports import Answer, Taken, Waiting, WordKind
from meterseal.link.identities import is_concentrator
from meterseal.things.answers import answers
from meterseal.things.word import Heard, Outcome, State, Word
from meterseal.wire.frame import parse_frame

__all__ = ["DownWords", "Outcome", "State", "Word", "passed_to"]

log = structlog.get_logger()

OPEN: tuple[State, ...] = ("waiting", "sent")
MAY_HAVE_ACTED: tuple[State, ...] = ("waiting", "sent", "unknown", "done")
ASKS: tuple[WordKind, ...] = ("request", "guarded")
"""Kinds that the device answers. Of each, one is under way at a time: commands must arrive in order of their numbers, and
an answer of DL/T 645 does not say which request it is to."""

FIRST_PAUSE, LONGEST_PAUSE = 60_000, 3_600_000
"""Milliseconds until a word is given out again that was not confirmed: doubling from the first to the longest."""
LINE_PAUSE = 5_000
"""The same where the device came over another line since."""
LISTEN = 20.0
"""Seconds that a head-end is kept waiting when there is nothing new."""
PAGE = 5_000
_LOOKED_AT = 5_000
"""Words of a concentrator among which those of one meter are looked for."""
MAY_COME = 35 * 86_400_000
"""Milliseconds within which an answer may come to what was given up: the backlog time."""
KEPT_FOR = 400 * 86_400_000
"""Milliseconds after which an ended word is deleted."""


class DownWords:
    """The queue of one platform. Coroutines belong to one event loop."""

    def __init__(
        self, engine: sa.Engine, keys: KeyRing, clock: Callable[[], int], listen: float = LISTEN
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._clock = clock
        self._listen = listen
        self._news = asyncio.Event()
        self.hears: Callable[[Sequence[Heard]], Awaitable[None]] | None = None
        """Told of good answers once they are kept, where it is sure to which question of ours they are."""

    # --- in ------------------------------------------------------------------------------------------------

    async def put(self, word: Word) -> int:
        """Queue a word durably; its id. The same request again is the same word, whatever became of it."""
        with write(self._engine) as connection:
            known = connection.execute(
                sa.select(table.c.id).where(table.c.request_id == word.request_id)
            ).scalar()
            if known is not None:
                return int(known)
            row = {
                "device_id": word.device_id,
                "kind": word.down.kind,
                "state": "waiting",
                "request_id": word.request_id,
                "number": word.down.number or None,
                "created_at": self._clock(),
                "not_after": word.not_after,
                "attempts": 0,
                "sealed_content": msgspec.msgpack.encode(word),
            }
            made = connection.execute(table.insert().values(DOWN_WORDS.seal(self._keys, row)))
            key = made.inserted_primary_key
            assert key is not None
        self._news.set()  # wakes everybody who waits; whoever comes next waits for the next one
        self._news = asyncio.Event()
        return int(key[0])

    def known(self, request_id: bytes) -> int | None:
        """The id of the word of a request, if there is one."""
        with read(self._engine) as connection:
            found = connection.execute(sa.select(table.c.id).where(table.c.request_id == request_id)).scalar()
        return None if found is None else int(found)

    def withdraw(self, word_id: int) -> None:
        """Take back a word that did not reach its device yet; one that was sent stays as it is."""
        with write(self._engine) as connection:
            self._end(connection, [word_id], "withdrawn", ("waiting",))

    def reword(self, word_id: int, word: Word) -> None:
        """Other content for an open word, to be given out at once: a command authorised under the module's new key."""
        row = {
            "request_id": word.request_id,
            "state": "waiting",
            "sealed_content": msgspec.msgpack.encode(word),
        }
        with write(self._engine) as connection:
            connection.execute(
                table.update()
                .where(table.c.id == word_id, table.c.state.in_(OPEN))
                .values(DOWN_WORDS.seal(self._keys, row))
            )

    # --- the head-end's port -------------------------------------------------------------------------------

    async def wait(self, seen: int) -> Waiting:
        """Devices of open words with a higher id than `seen`; after a while without any, none."""
        news = self._news
        found = self._newer(seen)
        if not found.devices:
            try:
                async with asyncio.timeout(self._listen):
                    await news.wait()
            except TimeoutError:
                self.expire()
            found = self._newer(seen)
        return found

    def _newer(self, seen: int) -> Waiting:
        with read(self._engine) as connection:
            rows = connection.execute(
                sa.select(table.c.id, table.c.device_id)
                .where(table.c.state.in_(OPEN), table.c.id > seen)
                .order_by(table.c.id)
                .limit(PAGE)
            ).all()
        devices = list(dict.fromkeys(row.device_id for row in rows))
        return Waiting(rows[-1].id if rows else seen, devices, len(rows) == PAGE)

    async def take(self, device_id: bytes, session_id: bytes, epoch: int, *, anew: bool) -> Taken:
        """As `headend.ports.Words.take`: noted as sent before it is given out."""
        now = self._clock()
        self.expire(device_id)
        with write(self._engine) as connection:
            self._owned(connection, device_id, session_id, epoch)
            rows = connection.execute(
                sa.select(table)
                .where(table.c.device_id == device_id, table.c.state.in_(OPEN))
                .order_by(table.c.id)
                .limit(64)
            ).all()
            given, next_at, begun = [], 0, set[str]()
            for row in rows:
                if row.kind in ASKS and row.kind in begun:
                    continue
                begun.add(row.kind)
                due = _due(row, session_id, anew=anew)
                if due > now:
                    next_at = min(due, next_at or due)
                    continue
                given.append(self._open(row).down)
                attempts = row.attempts + 1
                last = (
                    row.kind == "close"
                )  # nothing confirms it, and after it nothing is sent in this session
                connection.execute(
                    table.update()
                    .where(table.c.id == row.id)
                    .values(
                        state="done" if last else "sent",
                        attempts=attempts,
                        sent_at=now,
                        sent_session=session_id,
                        ended_at=now if last else None,
                    )
                )
                if last:
                    break
                again = now + _pause(attempts)
                next_at = min(again, next_at or again)
        return Taken(given, next_at)

    async def answered(self, frames: list[Answer]) -> list[bool]:
        """Complete the words that these frames answer; an answer that came before finds its word again."""
        now = self._clock()
        found, heard = [], list[Heard]()
        with write(self._engine) as connection:
            for answer in frames:
                found.append(self._settle(connection, answer, now, heard))
        if heard and self.hears is not None:
            try:
                await self.hears(heard)
            except MetersealError as error:  # the words are settled; what else they say is asked for again
                log.warning("words.unheard", code=error.code)
        return found

    def _settle(self, connection: sa.Connection, answer: Answer, now: int, heard: list[Heard]) -> bool:
        asked = (
            sa.select(table)
            .where(table.c.device_id == answer.device_id, table.c.kind.in_(ASKS), table.c.attempts > 0)
            .order_by(table.c.id.desc())
            .limit(64)
        )

        def those(*states: State) -> Sequence[sa.Row[Any]]:
            return connection.execute(asked.where(table.c.state.in_(states))).all()

        # Waiting again, after it was sent: its answer may be on the way up in a session made meanwhile. What is under way
        # goes before what is over: DL/T 645 does not say which of two commands it answers.
        for row in (*reversed(those(*OPEN)), *reversed(those("unknown"))):
            said = self._open(row).down.content
            # What a concentrator passes on is of the meter's protocol, which the frame was made by.
            outcome = answers(parse_frame(said)[0].protocol, said, answer.frame)
            if outcome:
                settled = {
                    "request_id": row.request_id,
                    "state": outcome,
                    "ended_at": now,
                    "sealed_content": DOWN_WORDS.open(self._keys, row, "sealed_content"),
                    "sealed_answer": answer.frame,
                }
                connection.execute(
                    table.update().where(table.c.id == row.id).values(DOWN_WORDS.seal(self._keys, settled))
                )
                if outcome == "done" and not _doubtful(connection, row, now):
                    since = int(row.sent_at if row.attempts == 1 else row.created_at)
                    heard.append(
                        Heard(device_id=row.device_id, said=said, answer=answer.frame, since=since, at=now)
                    )
                return True
        return any(
            row.sealed_answer is not None and self._answer(row) == answer.frame
            for row in those("done", "refused")
        )

    @staticmethod
    def _owned(connection: sa.Connection, device_id: bytes, session_id: bytes, epoch: int) -> None:
        row = connection.execute(
            sa.select(sessions.c.owner_epoch, sessions.c.replaced_at, sessions.c.device_id).where(
                sessions.c.session_id == session_id
            )
        ).first()
        good = row is not None and row.replaced_at is None and row.device_id == device_id
        if row is None or not good or row.owner_epoch != epoch:
            raise TrustError(
                "link.owner",
                "The session is replaced or another head-end has taken it over; nothing was given out.",
            )

    # --- what became of them -------------------------------------------------------------------------------

    def opened(self, device_id: bytes) -> list[tuple[int, State, bytes | None, Word]]:
        """A device's open words: id, state, the session they were sent in, and the word."""
        with read(self._engine) as connection:
            rows = connection.execute(
                sa.select(table)
                .where(table.c.device_id == device_id, table.c.state.in_(OPEN))
                .order_by(table.c.id)
            ).all()
        return [(row.id, row.state, row.sent_session, self._open(row)) for row in rows]

    def waiting(self, device_id: bytes) -> int:
        """How many questions and commands of a device are open."""
        mine = table.c.device_id == device_id, table.c.state.in_(OPEN), table.c.kind.in_(ASKS)
        with read(self._engine) as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(*mine)).scalar_one())

    def end(self, ids: Sequence[int], state: State) -> None:
        """Settle open words that something else than an answer confirmed, or made impossible."""
        with write(self._engine) as connection:
            self._end(connection, ids, state, OPEN)

    def _end(
        self, connection: sa.Connection, ids: Sequence[int], state: State, among: tuple[State, ...]
    ) -> None:
        connection.execute(
            table.update()
            .where(table.c.id.in_(ids), table.c.state.in_(among))
            .values(state=state, ended_at=self._clock())
        )

    def expire(self, device_id: bytes | None = None) -> None:
        """End what is past its time: never sent it is `expired`; sent, it may have taken effect and is `unknown`."""
        now = self._clock()
        late = [table.c.state.in_(OPEN), table.c.not_after < now]
        if device_id is not None:
            late.append(table.c.device_id == device_id)
        with read(self._engine) as connection:
            if connection.execute(sa.select(table.c.id).where(*late).limit(1)).first() is None:
                return
        state = sa.case(
            (sa.and_(table.c.state == "sent", table.c.kind.in_(ASKS)), "unknown"), else_="expired"
        )
        with write(self._engine) as connection:
            connection.execute(table.update().where(*late).values(state=state, ended_at=now))
            connection.execute(table.delete().where(table.c.ended_at < now - KEPT_FOR))

    def sweep(self, prefix: bytes, before: int) -> None:
        """Delete ended words whose requests begin so: nobody asks for them again."""
        first, last = (prefix + filling * (16 - len(prefix)) for filling in (b"\0", b"\xff"))
        mine = table.c.request_id.between(first, last)
        with write(self._engine) as connection:
            connection.execute(table.delete().where(mine, table.c.ended_at < before))

    def outcome(self, word_id: int) -> Outcome:
        """One word. DataError `words.none` when there is no such word."""
        self.expire()
        with read(self._engine) as connection:
            row = connection.execute(sa.select(table).where(table.c.id == word_id)).first()
        if row is None:
            raise DataError("words.none", f"There is no word {word_id}; see: meterseal device words")
        return self._outcome(row)

    def purchases(self, device_id: bytes, meter: bytes = b"") -> list[tuple[int, State, bytes]]:
        """The newest purchases that this device was told of and may have taken: id, state, frame. With `meter` those that
        a concentrator was to pass on to it.
        """
        with read(self._engine) as connection:
            rows = connection.execute(
                sa.select(table)
                .where(
                    table.c.device_id == device_id,
                    table.c.kind == "guarded",
                    table.c.state.in_(MAY_HAVE_ACTED),
                )
                .order_by(table.c.id.desc())
                .limit(_LOOKED_AT if meter else 64)
            ).all()
        opened = [(row, self._open(row)) for row in rows]
        return [
            (row.id, row.state, word.down.content)
            for row, word in opened
            if word.act == "purchase" and passed_to(word) == meter
        ]

    def latest(self, limit: int = 50, device_id: bytes | None = None, meter: bytes = b"") -> list[Outcome]:
        """The newest words first, without their answers. With `meter` those that a concentrator was to pass on to it."""
        self.expire()
        most = max(0, min(limit, 500))
        query = sa.select(table).order_by(table.c.id.desc()).limit(_LOOKED_AT if meter else most)
        if device_id is not None:
            query = query.where(table.c.device_id == device_id)
        with read(self._engine) as connection:
            found = [replace(self._outcome(row), said=b"", answer=b"") for row in connection.execute(query)]
        return [one for one in found if not meter or one.meter == meter][:most]

    def counts(self) -> dict[str, dict[str, int]]:
        """How many words there are, by kind and state."""
        self.expire()
        query = sa.select(table.c.kind, table.c.state, sa.func.count()).group_by(table.c.kind, table.c.state)
        found: dict[str, dict[str, int]] = {}
        with read(self._engine) as connection:
            for kind, state, number in connection.execute(query):
                found.setdefault(kind, {})[state] = number
        return found

    def _outcome(self, row: sa.Row[tuple[object, ...]]) -> Outcome:
        word = self._open(row)
        return Outcome(
            id=row.id,
            device_id=row.device_id,
            kind=row.kind,
            state=row.state,
            number=row.number,
            created_at=row.created_at,
            not_after=row.not_after,
            attempts=row.attempts,
            ended_at=row.ended_at,
            act=word.act,
            officers=word.officers,
            reason=word.reason,
            bulk_id=word.bulk_id,
            meter=passed_to(word),
            sent_at=row.sent_at,
            said=word.down.content if row.kind in ASKS else b"",
            answer=self._answer(row) if row.sealed_answer is not None else b"",
        )

    # --- at rest -------------------------------------------------------------------------------------------

    def _open(self, row: sa.Row[tuple[object, ...]]) -> Word:
        plain = DOWN_WORDS.open(self._keys, row, "sealed_content") or b""
        try:
            word = msgspec.msgpack.decode(plain, type=Word)
        except msgspec.MsgspecError:
            raise PeerError("words.content", f"Word {row.id} was written by another version.") from None
        if word.device_id != row.device_id or word.down.kind != row.kind:
            raise TrustError("words.content", f"Word {row.id} was moved to another device; restore a backup.")
        return word

    def _answer(self, row: sa.Row[tuple[object, ...]]) -> bytes:
        return DOWN_WORDS.open(self._keys, row, "sealed_answer") or b""


def _doubtful(connection: sa.Connection, row: sa.Row[Any], now: int) -> bool:
    """Whether an answer may be to an earlier question, which is still under way: DL/T 645 does not say to which."""
    others = sa.select(table.c.id).where(
        table.c.device_id == row.device_id,
        table.c.kind.in_(ASKS),
        table.c.state == "unknown",
        table.c.id != row.id,
        table.c.created_at > now - MAY_COME,
    )
    return connection.execute(others.limit(1)).first() is not None


def passed_to(word: Word) -> bytes:
    """The meter that a concentrator is to pass this on to; empty for a device's own word."""
    if not is_concentrator(word.device_id) or word.down.kind not in ASKS:
        return b""
    return parse_frame(word.down.content)[0].device_id


def _pause(attempts: int) -> int:
    return int(min(FIRST_PAUSE << min(max(attempts, 1) - 1, 10), LONGEST_PAUSE))


def _due(row: sa.Row[tuple[object, ...]], session_id: bytes, *, anew: bool) -> int:
    """When a word may be given out (again); 0 at once."""
    if row.state == "waiting" or row.sent_session != session_id:
        return 0
    return int(row.sent_at) + (LINE_PAUSE if anew else _pause(row.attempts))
