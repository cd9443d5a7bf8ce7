"""The operator's desk for words to devices: read a meter now, command it with an officer's signature, see what came of it.

It signs nothing and decides nothing alone: policy is `things.commands`, the authorisation the security service's, the queue
`things.words`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.app import operator as ask
from meterseal.app.alarming import Alarms, Since
from meterseal.control import read
from meterseal.control.sealed import METERS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import concentrators, meters, usage_points
from meterseal.errors import DataError, LocalError, MetersealError, PeerError
from meterseal.headend.ports import Down
from meterseal.link.identities import is_concentrator
from meterseal.mesh.rpc import OPERATOR, Methods, offered_to
from meterseal.model import Medium
from meterseal.security.orders import CommandOrder, CommandRoom, OfficerSignature, decoded
from meterseal.security.sdk import SecuritySdk
from meterseal.things import alarms, commands, witness
from meterseal.things.commands import Act
from meterseal.things.rollout import Rollout
from meterseal.things.words import DownWords, Outcome, Word
from meterseal.wire.frame import parse_frame
from meterseal.wire.roster import listed_of

LONGEST = 7 * 86_400_000
"""How long a request may wait for its meter, in ms; a command at most as long as its order says."""
MOST_OPEN = 4_096
"""Questions and commands that may wait for one device: each of the 2,000 meters of a concentrator taken off its list and
put on it again. They go one after the other, so what stands behind more would hardly be told in time.
"""


class ReadMeter(Struct, frozen=True, kw_only=True):
    """Send a frame that only reads. `not_after` Unix ms."""

    device_id: bytes
    frame: bytes
    not_after: int


class CommandMeter(Struct, frozen=True, kw_only=True):
    """Send a guarded command: the bytes of a `CommandOrder`, what it is said to do, and the officers' signatures."""

    order: bytes
    act: Act
    signatures: tuple[OfficerSignature, ...]


class Way(Struct, frozen=True, kw_only=True):
    """How a meter is reached: by itself, or where it is plain by its concentrator; its medium and model."""

    plain: bool
    concentrator_id: bytes
    medium: Medium
    model: str


class WordQuery(Struct, frozen=True, kw_only=True):
    """One word by its id, or the newest of a device or of all; `room` asks for the limits of commands too."""

    word_id: int = 0
    device_id: bytes = b""
    limit: int = 50
    room: bool = False


class Outcomes(Struct, frozen=True, kw_only=True):
    """What became of words, newest first; how many there are, by kind and state; what the security service lets out in
    this minute, None where it was not asked or is away.
    """

    words: list[Outcome]
    counts: dict[str, dict[str, int]]
    room: CommandRoom | None = None


class CommandingDesk:
    """What the Unix socket serves about words."""

    def __init__(
        self,
        engine: sa.Engine,
        security: SecuritySdk,
        words: DownWords,
        rollout: Rollout,
        fleet: KeyRing,
        clock: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._fleet = fleet
        self._security = security
        self._words = words
        self._rollout = rollout
        self._clock = clock

    def methods(self) -> Methods:
        """The table, to be joined with the desk's."""
        return offered_to(
            OPERATOR,
            {
                "read_meter": (self.read, ReadMeter),
                "command_meter": (self.command, CommandMeter),
                "command_way": (self.way, WordQuery),
                "words": (self.words, WordQuery),
                "withdraw_word": (self.withdraw, WordQuery),
                "rollout": (self.rollout, ask.Page),
                "alarms": (self.alarms, Since),
            },
        )

    async def read(self, _: str, asked: ReadMeter) -> Outcome:
        """Queue a request that reads; its answer comes up sealed and completes it."""
        now = self._clock()
        if not now < asked.not_after <= now + LONGEST:
            raise LocalError(
                "command.late", "A request waits for its meter at most seven days, and not backwards."
            )
        whom, medium = self._whom(asked.device_id, asked.frame)
        commands.check(whom, medium, asked.frame, "read")
        self._check_room(asked.device_id)
        word = Word(
            request_id=os.urandom(16),
            device_id=asked.device_id,
            not_after=asked.not_after,
            down=Down(kind="request", content=asked.frame),
            act="read",
        )
        return self._words.outcome(await self._words.put(word))

    async def command(self, _: str, asked: CommandMeter) -> Outcome:
        """Check policy, have the command authorised, queue it. The same order again is the same command.

        LocalError `command.*`; what `SecuritySdk.authorise_command` raises.
        """
        order = decoded(asked.order, CommandOrder)
        if asked.act == "firmware":
            raise LocalError(
                "command.bulk",
                "Firmware goes out behind its image, to one meter too: meterseal firmware plan",
            )
        whom, medium = self._whom(order.device_id, order.frame)
        commands.check(whom, medium, order.frame, asked.act)
        known = self._words.known(order.request_id)
        if known is None:
            self._check_room(order.device_id)
            commands.timely(asked.act, order.not_after, self._clock())
            if asked.act == "purchase":
                meter = whom if whom != order.device_id else b""
                commands.unbought(order.frame, self._words.purchases(order.device_id, meter))
        given = await self._security.authorise_command(asked.order, asked.signatures)
        word = Word(
            request_id=order.request_id,
            device_id=given.device_id,
            not_after=given.not_after,
            down=Down(
                kind="guarded",
                content=given.frame,
                number=given.number,
                not_after=given.not_after,
                authorisation=given.authorisation,
            ),
            order=asked.order,
            signatures=tuple((one.officer, one.signature) for one in asked.signatures),
            key_version=given.key_version,
            module_id=given.module_id,
            act=asked.act,
            officers=tuple(sorted({one.officer for one in asked.signatures})),
            reason=order.reason,
        )
        return self._words.outcome(await self._words.put(word))

    async def words(self, _: str, asked: WordQuery) -> Outcomes:
        """One word with its answer, or the newest without theirs."""
        if asked.word_id:
            found = [self._words.outcome(asked.word_id)]
        else:
            found = self._words.latest(asked.limit, *self._said_to(asked.device_id))
        room = await self._room() if asked.room else None
        return Outcomes(words=found, counts=self._words.counts(), room=room)

    def _said_to(self, device_id: bytes) -> tuple[bytes | None, bytes]:
        """Under which device words to this one are queued, and which meter they are about where it is another."""
        if not device_id or is_concentrator(device_id):
            return device_id or None, b""
        way = self._way(device_id, gone=True)
        return (way.concentrator_id, device_id) if way.plain else (device_id, b"")

    async def withdraw(self, _: str, asked: WordQuery) -> Outcome:
        """Take back a word that has not been sent; one that was stays as it is."""
        self._words.withdraw(asked.word_id)
        return self._words.outcome(asked.word_id)

    async def rollout(self, _: str, asked: ask.Page) -> ask.Text:
        """Queue what modules lack: keys of the newest version, certificates that are due."""
        return ask.Text(json=ask.as_json(await self._rollout.run()))

    async def alarms(self, _: str, asked: Since) -> Alarms:
        """Failed seals, counters, identities and decryptions, and what waits for meters; no meter is named."""
        return Alarms(
            alarms=alarms.counts(self._engine, asked.at),
            words=self._words.counts(),
            keys_put_back_at=witness.seen(self._engine).lost_at,
            room=await self._room(),
        )

    async def _room(self) -> CommandRoom | None:
        try:
            return await self._security.command_room()
        except MetersealError:
            return None

    def _whom(self, device_id: bytes, raw: bytes) -> tuple[bytes, Any]:
        """Whom a frame to this device is for, and of which medium: the device itself, or what is plain behind it."""
        if not is_concentrator(device_id):
            way = self._way(device_id)
            if way.plain:
                raise LocalError(
                    "command.plain",
                    f"Meter {device_id.hex()} has no module; what is said to it goes by its concentrator "
                    f"{way.concentrator_id.hex()}, whose order this is not.",
                )
            return device_id, way.medium
        try:
            frame, _ = parse_frame(raw)
        except PeerError as error:
            raise LocalError("command.frame", f"The command is no complete frame: {error.message}") from None
        removed = (listed := listed_of(frame)) is not None and listed.what == "remove"
        way = self._way(frame.device_id, gone=removed)
        if removed and self._is_enrolled(device_id):
            return frame.device_id, way.medium  # it may be another's meanwhile, and still on this one's list
        if way.concentrator_id != device_id or (listed is None and not way.plain):
            raise LocalError(
                "command.elsewhere",
                f"Meter {frame.device_id.hex()} is no plain meter behind concentrator {device_id.hex()}; nothing was "
                "queued. See: meterseal device list",
            )
        if listed is not None and way.plain != (listed.what == "add"):
            raise LocalError(
                "command.roster",
                f"Meter {frame.device_id.hex()} is enrolled {'without' if way.plain else 'with'} a module: say "
                f"`roster {'add' if way.plain else 'seal'}`. Nothing was queued.",
            )
        return frame.device_id, way.medium

    def _check_room(self, device_id: bytes) -> None:
        """Before anything is authorised: an order that finds no room used up no number and no limit."""
        if (waiting := self._words.waiting(device_id)) >= MOST_OPEN:
            raise LocalError(
                "command.too-many",
                f"{waiting} questions and commands wait for {device_id.hex()} already; nothing was queued. Wait until it "
                "has answered some, or take some back (device words --withdraw).",
            )

    def _is_enrolled(self, concentrator_id: bytes) -> bool:
        with read(self._engine) as connection:
            row = sa.select(concentrators.c.device_id).where(concentrators.c.device_id == concentrator_id)
            return connection.execute(row).first() is not None

    async def way(self, _: str, asked: WordQuery) -> Way:
        """By whom a meter is reached. It is looked for among those taken out too."""
        return self._way(asked.device_id, gone=True)

    def _way(self, device_id: bytes, *, gone: bool = False) -> Way:
        with read(self._engine) as connection:
            row = connection.execute(
                sa.select(meters, usage_points.c.medium)
                .join(usage_points, usage_points.c.id == meters.c.usage_point_id)
                .where(meters.c.device_id == device_id, sa.true() if gone else meters.c.until.is_(None))
            ).first()
        if row is None:
            raise DataError(
                "fleet.unknown", f"No device {device_id.hex()} is enrolled. See: meterseal device list"
            )
        packed = METERS.open(self._fleet, row, "sealed_parameters")
        return Way(
            plain=row.plain,
            concentrator_id=row.concentrator_id or b"",
            medium=row.medium,
            model=str(msgspec.msgpack.decode(packed)[0]) if packed else "",
        )
